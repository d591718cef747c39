"""What fine-tuning does: network on the encoder, what is trained and how, in one typed place; no torch.

``evaluate.presets`` reads settings from YAML files, by name.
"""

import math
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias, get_args, get_type_hints

from geopretext.errors import RecipeError

Network: TypeAlias = Literal["auto", "classifier", "linear", "unet", "smp-unet", "smp-upernet", "smp-fpn", "smp-dpt"]
Trained: TypeAlias = Literal["all", "head", "lora", "norms"]


@dataclass(frozen=True)
class FinetuneSettings:
    """One way to fine-tune.

    Raises:
        RecipeError: a number is out of its range.
    """

    network: Network = "auto"
    """what stands on the encoder. Of one label a sample: "classifier" (mean over the cells, norm, linear layer). Of
    pixels: "linear" (one 1 x 1 convolution on all stages, enlarged), "unet" (MMEarth's), or a decoder of
    segmentation-models-pytorch. "auto": "classifier", or "unet", of an encoder whose maps it does not fit "linear\""""
    trained: Trained = "all"
    """which parameters of the encoder are trained beside the head: "all"; "head" (none of them); "lora" (low-rank
    additions to its pointwise layers); "norms" (norms, response norms and biases)"""
    frozen_epochs: int = 0
    """epochs at the start in which the encoder is not trained, at least 0"""
    epochs: int = 50
    """at least 1"""
    batch_size: int = 32
    """samples a step, at least 1"""
    at_once: int = 64
    """samples that go through the network together, at least 1; changes memory, not what is learnt, but for what drop
    path draws"""
    base_learning_rate: float = 1e-3
    """of a batch of 256; the rate is this times batch_size / 256; above 0"""
    min_learning_rate: float = 0.0
    """at the end of the cosine, at least 0"""
    warmup_epochs: float = 2.0
    """in which the rate rises from 0, at least 0"""
    weight_decay: float = 0.05
    """of the weights of convolutions and linear layers, and of low-rank additions to them; at least 0"""
    layer_decay: float = 0.9
    """factor of the rate from one group of blocks to the one before it, above 0, at most 1"""
    drop_path: float = 0.1
    """probability that training skips the last block for a sample, rising linearly over the blocks; 0 to below 1"""
    drop_path_when_frozen: bool = False
    """true: blocks are skipped also while the encoder is not trained, as in MMEarth's code"""
    label_smoothing: float = 0.0
    """share of a label that is spread over the classes, 0 to below 1"""
    mixup: float = 0.0
    """alpha of mixup (Zhang et al. 2018, arXiv 1710.09412), at least 0; single- and multi-label only"""
    cutmix: float = 0.0
    """alpha of CutMix (Yun et al. 2019, arXiv 1905.04899), at least 0; single- and multi-label only"""
    flips: bool = True
    """turn and mirror training images at random, in eight ways"""
    ema: float = 0.0
    """decay of an average of the weights over the steps, which is then what is scored; 0: none; below 1"""
    patience: int | None = None
    """epochs without a better validation score after which training ends, at least 1; null: none"""
    keep: Literal["best", "last"] = "best"
    """weights that are scored on the test split: of the epoch that is best on the validation split (the first of those,
    but the last while all are at 0), or the last"""
    clip_norm: float | None = 1.0
    """of the gradient, above 0; null: none"""
    precision: Literal["float32", "bfloat16"] = "float32"
    """of the encoder's arithmetic"""
    lora_rank: int = 8
    """of the additions, at least 1"""
    lora_alpha: float = 16.0
    """the additions are scaled by this over the rank, above 0"""
    head_scale: float | None = None
    """standard deviation of the first weights of the head's last layer, above 0; null: as the head has it"""
    padding: Literal["same", "published-classifier"] = "same"
    """of the encoder's first convolutions, see ``geopretext.nn.settings.EncoderSettings.dense_padding``"""
    published_groups: bool = False
    """true: parameter groups as in MMEarth's code, whose first layers have the full rate, whose downsampling layers
    belong to the stage before, and whose encoder, once unfrozen, has neither weight decay nor layer decay"""

    def __post_init__(self) -> None:
        for name, least in _AT_LEAST.items():
            number = getattr(self, name)
            if number is not None and not number >= least:
                raise RecipeError(f"{name} is {number}", hint=f"at least {least}")
        for name in ("drop_path", "label_smoothing", "ema"):
            if not 0 <= getattr(self, name) < 1:
                raise RecipeError(f"{name} is {getattr(self, name)}", hint="from 0 to below 1")
        for name in ("base_learning_rate", "clip_norm", "lora_alpha", "head_scale"):
            number = getattr(self, name)
            if number is not None and not 0 < number < float("inf"):
                raise RecipeError(f"{name} is {number}", hint="above 0")
        if not 0 < self.layer_decay <= 1:
            raise RecipeError(f"layer_decay is {self.layer_decay}", hint="above 0, at most 1")
        self._check_together()
        hints = get_type_hints(type(self))
        for field in fields(self):
            choices = get_args(hints[field.name])
            if choices and all(isinstance(choice, str) for choice in choices):
                value = getattr(self, field.name)
                if value not in choices:
                    raise RecipeError(f"{field.name} is {value!r}", hint=f"one of {', '.join(choices)}")

    def _check_together(self) -> None:
        """Numbers that are right alone and not beside each other."""
        if self.warmup_epochs >= self.epochs:
            raise RecipeError(
                f"warmup_epochs is {self.warmup_epochs:g}, and epochs {self.epochs}",
                hint=f"warmup_epochs below {self.epochs}, for example {self.epochs / 10:g}",
            )
        if self.trained != "head" and self.frozen_epochs >= self.epochs:
            raise RecipeError(
                f"frozen_epochs is {self.frozen_epochs}, and epochs {self.epochs}",
                hint="fewer; trained head, if the encoder is to stay as it is",
            )
        if self.min_learning_rate > self.learning_rate:
            raise RecipeError(
                f"min_learning_rate {self.min_learning_rate:g} is above the peak of {self.learning_rate:g}",
                hint="the peak is base_learning_rate x batch_size / 256",
            )

    @property
    def learning_rate(self) -> float:
        """Peak learning rate of a batch."""
        return self.base_learning_rate * self.batch_size / 256

    def learning_rate_at(self, step: int, steps_per_epoch: int) -> float:
        """At a step from 0: a linear rise over the warm-up, then half a cosine down to ``min_learning_rate``."""
        peak, least = self.learning_rate, self.min_learning_rate
        warmup = self.warmup_epochs * steps_per_epoch
        if step < warmup:
            return peak * step / warmup
        share = (step - warmup) / (self.epochs * steps_per_epoch - warmup)
        return least + (peak - least) * 0.5 * (1 + math.cos(math.pi * share))


_AT_LEAST = {
    "frozen_epochs": 0,
    "epochs": 1,
    "batch_size": 1,
    "at_once": 1,
    "min_learning_rate": 0,
    "warmup_epochs": 0,
    "weight_decay": 0,
    "mixup": 0,
    "cutmix": 0,
    "patience": 1,
    "lora_rank": 1,
}

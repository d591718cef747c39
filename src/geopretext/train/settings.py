"""What a pretraining run does, completely: plain, frozen, checked once, and free of torch.

``train.recipe`` makes recipes from names, YAML files and overrides.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from geopretext.errors import RecipeError
from geopretext.nn.families import DEFAULT_FAMILY, settings_class
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.methods import find_method, method_settings
from geopretext.pretext.settings import MPMAESettings

_CHOICES = {
    "weight_decay_on": ("kernels", "matrices"),
    "precision": ("fp32", "bf16"),
    "accelerator": ("auto", "cpu", "gpu", "mps"),
}


@dataclass(frozen=True)
class Recipe:
    """A complete, named configuration of a pretraining run."""

    name: str
    """what it is called, in messages and in the bundle"""
    method: str = "mp_mae"
    """pretext method, see ``pretext.methods``"""
    encoder: Any = field(default_factory=EncoderSettings)
    """the network that is kept: settings of a family of ``nn.families``"""
    pretext: Any = field(default_factory=MPMAESettings)
    """what it is trained with: the method's settings"""
    seed: int = 0
    """of weights, order, crops and masks; at least 0"""
    batch_size: int = 4096
    """tiles an optimiser step sees, over all processes and accumulated parts; at least 1"""
    accumulate: int = 1
    """parts that a batch is computed in, one after the other, to save memory; divides batch_size. Each part's losses
    are means over its own valid targets"""
    epochs: int = 200
    """times that each tile is visited, at least 1"""
    max_steps: int | None = None
    """optimiser steps after which to end instead, at least 1; null: as many as the epochs have"""
    base_learning_rate: float = 1.5e-4
    """peak learning rate for 256 tiles, above 0; multiplied by batch_size / 256"""
    warmup_epochs: float = 40.0
    """epochs over which the learning rate rises from 0 to its peak, at least 0; then it falls along a cosine to 0"""
    weight_decay: float = 0.05
    """AdamW's, at least 0; weight_decay_on says what it acts on"""
    weight_decay_on: Literal["kernels", "matrices"] = "kernels"
    """"kernels": weights of convolutions and linear layers; "matrices": response norms and the mask token, too: the
    published code stores them with more than one axis"""
    betas: tuple[float, float] = (0.9, 0.95)
    """AdamW's, each from 0 to below 1"""
    clip_norm: float | None = None
    """largest norm of all gradients together, above 0; null: gradients are not clipped"""
    precision: Literal["fp32", "bf16"] = "fp32"
    """"fp32", or "bf16": matrix products in bfloat16, weights and losses in float32"""
    compile: bool = False
    """true: the network and its losses go through torch.compile first, which takes a minute or more and a C++ compiler,
    and pays on a GPU"""
    random_crop: bool = True
    """crop tiles to encoder.image_size at a random place, else at the centre"""
    accelerator: Literal["auto", "cpu", "gpu", "mps"] = "auto"
    """"cpu", "gpu", "mps", or "auto" for the best one there is"""
    devices: int = 1
    """processes a node, one device each, at least 1"""
    nodes: int = 1
    """computers that train together, at least 1"""
    checkpoint_every_steps: int = 500
    """optimiser steps between two checkpoints, at least 1; the last step writes one too"""
    keep_every_steps: int | None = None
    """keep the checkpoint of every so many steps for good, a multiple of checkpoint_every_steps; null: only the last"""
    log_every_steps: int = 10
    """optimiser steps between two rows of metrics.csv, at least 1; the last step writes one too"""
    prefetch: int = 2
    """batches that a process reads ahead, at least 1"""

    @staticmethod
    def field_types(plain: Mapping[str, Any]) -> dict[str, type[Any]]:
        """The classes of ``encoder`` and ``pretext``, which depend on what the recipe says.

        Args:
            plain: fields of a recipe, or some of them.

        Raises:
            RecipeError: there is no such method or family.
        """
        method = plain.get("method", "mp_mae")
        encoder = plain.get("encoder")
        family = find_method(method).family or DEFAULT_FAMILY
        if isinstance(encoder, Mapping):
            family = encoder.get("family", family)
        return {"encoder": settings_class(family), "pretext": method_settings(method)}

    def __post_init__(self) -> None:
        at_least = dict.fromkeys(("batch_size", "accumulate", "epochs", "devices", "nodes", "prefetch"), 1)
        at_least |= {"checkpoint_every_steps": 1, "log_every_steps": 1, "max_steps": 1, "keep_every_steps": 1}
        at_least |= {"seed": 0, "warmup_epochs": 0, "weight_decay": 0}
        for name, least in at_least.items():
            number = getattr(self, name)
            if number is not None and not number >= least:
                raise RecipeError(f"{name} is {number}", hint=f"at least {least}")
        for name in ("base_learning_rate", "clip_norm"):
            number = getattr(self, name)
            if number is not None and not 0 < number < float("inf"):
                raise RecipeError(f"{name} is {number}", hint="above 0")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise RecipeError(f"betas are {self.betas}", hint="two numbers from 0 to below 1, for example [0.9, 0.95]")
        for name, choices in _CHOICES.items():
            if getattr(self, name) not in choices:
                raise RecipeError(f"{name} is {getattr(self, name)!r}", hint=f"one of {', '.join(choices)}")
        shares = self.accumulate * self.devices * self.nodes
        if self.batch_size % shares:
            raise RecipeError(
                f"batch_size {self.batch_size} cannot be shared evenly by accumulate {self.accumulate}"
                f" x devices {self.devices} x nodes {self.nodes}",
                hint=f"a multiple of {shares}",
            )
        if self.keep_every_steps is not None and self.keep_every_steps % self.checkpoint_every_steps:
            raise RecipeError(
                f"keep_every_steps {self.keep_every_steps} is not a multiple of checkpoint_every_steps"
                f" {self.checkpoint_every_steps}"
            )

    @property
    def learning_rate(self) -> float:
        """Peak learning rate of the whole batch."""
        return self.base_learning_rate * self.batch_size / 256

    @property
    def world_size(self) -> int:
        """Processes over all nodes."""
        return self.devices * self.nodes


MAY_CHANGE = frozenset(
    {"accelerator", "checkpoint_every_steps", "keep_every_steps", "log_every_steps", "prefetch", "devices", "nodes"}
)
"""Fields that a resumed run may have otherwise than the run that it resumes: they change cost, not what is learnt."""

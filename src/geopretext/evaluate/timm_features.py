"""Features of any timm model, adapted to the bands of a task: what photographs teach about images of the Earth.

The first convolution of a model with weights of colour photographs is adapted by name: B4, B3 and B2 take the kernels
of red, green and blue, every other band takes their mean, and all are multiplied by 3 / C, so that an image whose bands
are alike gives the answers that a grey photograph gave (timm's own adaptation repeats the three in turn, whatever the
bands are). The input is as the door of the evaluation gives it: each band with mean 0 and deviation 1, which is what
these models were trained on, too; it is not shifted by statistics of photographs.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import InputError
from geopretext.evaluate.seeding import seeded
from geopretext.nn.optional import missing

_COLOURS = {"B4": 0, "B3": 1, "B2": 2}
"""Channel of a photograph by band."""


@dataclass(frozen=True)
class TimmSettings:
    """``NAME?pretrained=false&size=224`` in words."""

    name: str
    """as timm knows it"""
    pretrained: bool = True
    """with its published weights, or with random ones"""
    size: int | None = None
    """pixels on a side that images are scaled to; null: what the model insists on, else as they are"""

    @classmethod
    def parse(cls, text: str) -> "TimmSettings":
        """Read a name with options.

        Raises:
            InputError: an option is unknown or has no such value.
        """
        name, _, options = text.partition("?")
        pretrained, size = True, None
        for key, value in parse_qsl(options, keep_blank_values=True):
            if key == "pretrained" and value in ("true", "false"):
                pretrained = value == "true"
            elif key == "size" and value.isdecimal() and int(value):
                size = int(value)
            else:
                raise InputError(f"timm:{text} has the option {key}={value}", hint=_OPTIONS)
        if not name:
            raise InputError(f"timm:{text} names no model", hint=_OPTIONS)
        return cls(name, pretrained, size)


_OPTIONS = "write timm:NAME, timm:NAME?pretrained=false or timm:NAME?size=224"


@dataclass(frozen=True)
class TimmModel:
    """A model that gives one vector an image; made by ``TimmModel.create``."""

    model: nn.Module
    size: int | None
    """pixels on a side that images are scaled to; null: as they are"""
    least: int
    """pixels on a side that smaller images are scaled to"""
    library: str
    """version of timm"""

    @classmethod
    def create(cls, settings: TimmSettings, bands: Sequence[str], *, seed: int, device: torch.device) -> "TimmModel":
        """Make it, and adapt it to the bands.

        Args:
            settings: which model.
            bands: of the input, in order.
            seed: of random weights; the global random state stays as it is.
            device: where it is to run.

        Raises:
            MissingLibraryError: timm is not installed.
            InputError: there is no such model, its weights cannot be had, or it cannot be adapted.
        """
        try:
            import timm
        except (ImportError, RuntimeError) as error:
            raise missing(error, "timm", extra="timm", purpose="score its models") from error
        where = f"timm:{settings.name}"
        if ":" not in settings.name and not timm.is_model(settings.name.partition(".")[0]):
            raise InputError("is no model of timm", where=where, hint="`timm.list_models()` lists them")
        with seeded(seed):
            weights = _published(timm, settings.name, where) if settings.pretrained else None
        with seeded(seed):
            try:
                model = timm.create_model(settings.name, pretrained=False, num_classes=0, in_chans=len(bands))
            except (OSError, RuntimeError, TypeError, ValueError, NotImplementedError) as error:
                raise InputError(f"cannot be made for {len(bands)} bands: {error}", where=where) from error
        facts = model.pretrained_cfg
        if weights is not None:
            model.load_state_dict(_for_bands(weights, facts.get("first_conv"), bands, where))
        fixed = int(facts["input_size"][-1]) if facts.get("fixed_input_size") else None
        least = (facts.get("min_input_size") or (0,))[-1]
        return cls(model.to(device).eval(), settings.size or fixed, least, timm.__version__)

    def features(self, images: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D).

        Raises:
            InputError: the model gives something else than a vector an image.
        """
        size = self.size or (self.least if min(images.shape[2:]) < self.least else None)
        if size is not None and images.shape[2:] != (size, size):
            images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
        features: Tensor = self.model(images)
        if features.ndim != 2:
            raise InputError(
                f"gives features of shape {tuple(features.shape)}, not one vector an image",
                where=type(self.model).__name__,
                hint="take a model of timm that is a classifier",
            )
        return features.float()


def _published(timm: Any, name: str, where: str) -> dict[str, Tensor]:
    """Weights of a model for colour photographs."""
    try:
        weights: dict[str, Tensor] = timm.create_model(name, pretrained=True, num_classes=0).state_dict()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(
            f"its weights cannot be had: {str(error).strip()}",
            where=where,
            hint="published weights are fetched from the Hugging Face hub when they are first used, which needs a"
            f" network; timm:{name}?pretrained=false has random ones",
        ) from error
    return weights


def _for_bands(
    weights: Mapping[str, Tensor], first: str | Sequence[str] | None, bands: Sequence[str], where: str
) -> dict[str, Tensor]:
    """Weights whose first convolution takes the bands."""
    adapted = dict(weights)
    layers = [first] if isinstance(first, str) else first
    if not layers:
        raise InputError("timm does not say which is its first convolution: it cannot be adapted to bands", where=where)
    for layer in layers:
        key = f"{layer}.weight"
        kernel = weights.get(key)
        if kernel is None or kernel.ndim != 4 or kernel.shape[1] != len(_COLOURS):
            raise InputError(f"{key} is no convolution of three colours, and cannot be adapted to bands", where=where)
        mean = kernel.mean(1)
        kernels = [kernel[:, _COLOURS[band]] if band in _COLOURS else mean for band in bands]
        adapted[key] = torch.stack(kernels, 1) * (len(_COLOURS) / len(bands))
    return adapted

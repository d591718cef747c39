"""Settings of encoders that are timm's: its ViT, Swin (v1 and v2) and ResNet; no torch, and no timm."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.settings import SENTINEL2_BANDS

FAMILY = "timm"
_STAGED = (8, 16, 32)
"""patch sizes of encoders of four stages"""


@dataclass(frozen=True)
class Architecture:
    """What is known of an architecture without timm."""

    kind: str
    """"vit", "swin" (v1 and v2) or "resnet\""""
    depths: tuple[int, ...]
    """blocks of each stage; a ViT has one"""
    widths: tuple[int, ...]
    """features of each stage"""
    base: str
    """timm's name"""
    arguments: Mapping[str, Any]
    """with which timm makes it, beside what the settings say"""


@cache
def architectures() -> Mapping[str, Architecture]:
    """Architectures by name: timm's, and small ones of ours called ``..._micro``."""
    text = files(__package__).joinpath("timm_architectures.json").read_text()
    return MappingProxyType(
        {
            name: Architecture(
                facts["kind"],
                tuple(facts["depths"]),
                tuple(facts["widths"]),
                facts.get("base", name),
                MappingProxyType(
                    {key: tuple(v) if isinstance(v, list) else v for key, v in facts.get("arguments", {}).items()}
                ),
            )
            for name, facts in json.loads(text).items()
        }
    )


@dataclass(frozen=True)
class TimmSettings:
    """An encoder of timm for one modality."""

    architecture: str = "vit_small_patch16_224"
    """timm's name of a ViT with learned positions, a Swin (v1, v2) or a ResNet, or vit_micro, swin_micro, swinv2_micro,
    resnet_micro, which are ours, for the demo; see ``docs/backbones.md``"""
    modality: str = "sentinel2"
    """name of the modality that is the input"""
    bands: tuple[str, ...] = SENTINEL2_BANDS
    """bands of the input, in order, by name"""
    patch_size: int = 16
    """pixels on a side of what masking hides or shows, and of one output cell, whatever the name says: 8, 16 or 32; of
    a ViT any number from 2"""
    image_size: int = 112
    """pixels on a side of the crop that it is trained on; a multiple of patch_size"""
    pretrained: bool = False
    """true: a new encoder starts from the weights that timm has under the name, all but the first layer; they are
    downloaded once"""
    drop_path: float = 0.0
    """largest probability of skipping a block, 0 to 1; grows linearly with depth"""
    family: str = FAMILY
    """of architectures, see ``nn.families``; that of this class is "timm\""""

    def __post_init__(self) -> None:
        if self.family != FAMILY:
            raise RecipeError(f"encoder.family is {self.family!r}", hint=FAMILY)
        if self.architecture not in architectures():
            raise RecipeError(f"encoder.architecture is {self.architecture!r}", hint=_near(self.architecture))
        if self.pretrained and self.architecture != self.facts.base:
            raise RecipeError(f"encoder.pretrained: timm has no weights of {self.architecture}", hint="false")
        if self.is_vit and self.patch_size < 2:
            raise RecipeError(f"encoder.patch_size is {self.patch_size}", hint="at least 2, for example 16")
        if not self.is_vit and self.patch_size not in _STAGED:
            raise RecipeError(
                f"encoder.patch_size is {self.patch_size}, of {self.architecture}",
                hint=f"one of {', '.join(map(str, _STAGED))}",
            )
        if self.image_size <= 0 or self.image_size % self.patch_size:
            raise RecipeError(
                f"encoder.image_size {self.image_size} is not a multiple of encoder.patch_size {self.patch_size}"
            )
        if not 0 <= self.drop_path < 1:
            raise RecipeError(f"encoder.drop_path is {self.drop_path}", hint="at least 0, below 1")
        if not self.bands:
            raise RecipeError("encoder.bands is empty", hint=f"for example {', '.join(SENTINEL2_BANDS[1:4])}")
        if self.modality in PUBLISHED:
            PUBLISHED[self.modality].band_indices(self.bands)

    @property
    def facts(self) -> Architecture:
        """Of the architecture."""
        return architectures()[self.architecture]

    @property
    def is_vit(self) -> bool:
        """Whether it has one resolution only."""
        return self.facts.kind == "vit"

    @property
    def inputs(self) -> dict[str, tuple[str, ...]]:
        """Bands of the one modality that is the input."""
        return {self.modality: self.bands}

    @property
    def initialisation(self) -> str:
        """How weights of what stands on it start; its own start as timm's do."""
        return "small"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.architecture} of timm"

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map of ``forward_stages``, from fine to coarse; of a ViT: of each of four depths."""
        return self.facts.widths * 4 if self.is_vit else self.facts.widths

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map; the maps of a ViT are all of its patches."""
        return (self.patch_size,) * 4 if self.is_vit else tuple(self.patch_size >> level for level in (3, 2, 1, 0))

    def pooled_width(self, pooling: str) -> int:
        """Numbers that a pooled vector has, see ``nn.settings.POOLINGS``."""
        return self.widths[-1] if pooling == "mean" else 2 * sum(self.widths)

    @property
    def patches(self) -> int:
        """Number of patches of a crop of ``image_size``."""
        return (self.image_size // self.patch_size) ** 2


def _near(name: str) -> str:
    """Names to choose from."""
    near = get_close_matches(name, architectures(), n=4, cutoff=0.6)
    meant = f"did you mean {', '.join(near)}? " if near else ""
    return f"{meant}vit_*, swin_*, swinv2_* or resnet* of timm, as docs/backbones.md names them"

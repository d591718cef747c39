"""What the names of published files and folders say about the weights in them.

- MMEarth: ``pt-TARGETS_SIZE_DATA_WEIGHTING_IMAGE-PATCH/checkpoint-199.pth``, such as
  ``pt-all_mod_atto_1M_64_uncertainty_56-8`` (README of github.com/vishalned/MMEarth-train);
- ConvNeXt V2: ``convnextv2_SIZE_DATA_IMAGE_fcmae.pt`` and ``..._ema.pt`` (github.com/facebookresearch/ConvNeXt-V2).
"""

import re
from dataclasses import dataclass
from pathlib import Path

_MMEARTH = re.compile(
    r"pt-(?P<targets>all_mod|S2|img_mod|pix_mod|rgb)_(?P<size>[a-z]+)_(?P<data>\d+[kM]_\d+)"
    r"_(?P<weighting>uncertainty|unweighted)_(?P<image>\d+)-(?P<patch>\d+)"
)
_CONVNEXTV2 = re.compile(r"convnextv2_(?P<size>[a-z]+)_(?P<data>\d+k)_(?P<image>\d+)_(?:fcmae|ema)")


@dataclass(frozen=True)
class PublishedName:
    """The parts of a published name; None where it does not say."""

    text: str
    """the name"""
    size: str
    """of the encoder: atto, tiny and so on"""
    data: str
    """what it was trained on: ``1M_64`` (tiles and their pixels), or ``1k``, ``22k`` (ImageNet)"""
    image_size: int
    """pixels on a side of the crop that it was trained on"""
    patch_size: int | None = None
    """pixels on a side of a patch"""
    targets: str | None = None
    """all_mod, S2, img_mod, pix_mod, or rgb"""
    weighting: str | None = None
    """uncertainty or unweighted"""

    @property
    def source(self) -> str:
        """What messages call it."""
        return f"the name {self.text}"


def published_name(path: Path) -> PublishedName | None:
    """Read the name of a file, or that of its folder; None if neither is a published one."""
    for text in (path.stem, path.resolve().parent.name):
        if match := _MMEARTH.fullmatch(text):
            return PublishedName(
                text,
                size=match["size"],
                data=match["data"],
                image_size=int(match["image"]),
                patch_size=int(match["patch"]),
                targets=match["targets"],
                weighting=match["weighting"],
            )
        if match := _CONVNEXTV2.fullmatch(text):
            return PublishedName(text, size=match["size"], data=match["data"], image_size=int(match["image"]))
    return None

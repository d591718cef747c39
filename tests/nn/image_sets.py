"""Small sets of images for tests."""

import torch
from torch import Tensor

from geopretext.modality import PUBLISHED, Modality
from geopretext.nn.image_set_settings import ImageSetSettings

SETTINGS = ImageSetSettings(
    sources={"fine": "sentinel2", "coarse": "sentinel2", "terrain": "aster"},
    image_bands={"fine": ("B2", "B3"), "coarse": ("B5",), "terrain": ("slope", "elevation")},
    factors={"coarse": 2, "terrain": 3},
    patch_size=2,
    image_size=12,
    dim=16,
    depth=5,
    heads=2,
)
"""tokens of 2, 4 and 6 pixels: 36, 9 and 4 of them"""

INPUTS: tuple[Modality, ...] = tuple(PUBLISHED[name].select(bands) for name, bands in SETTINGS.inputs.items())


def random_image(*, height: int = 12, width: int = 12, seed: int = 0) -> Tensor:
    """Two images of all bands."""
    return torch.randn(2, 5, height, width, generator=torch.Generator().manual_seed(seed))

"""What decoders ask of an encoder of images, whatever its architecture.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features.
"""

from typing import Protocol

from torch import Tensor


class Backbone(Protocol):
    """An encoder that gives maps of several resolutions, and is an ``nn.Module``."""

    @property
    def widths(self) -> tuple[int, ...]:
        """Features of each map, from fine to coarse."""

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map."""

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of images.

        Args:
            x: (B, C, H, W), normalised, 0 where missing; H and W are multiples of the last stride.

        Returns:
            (B, D, H / stride, W / stride) of each width and stride.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """

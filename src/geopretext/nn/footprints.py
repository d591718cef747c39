"""Tokens of images of different resolutions, and the ground that each covers.

Letters: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``N`` tokens, ``f`` pixels of the data on a side of one of an image.
"""

from math import inf
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor


class TokenGrid(NamedTuple):
    """The tokens of one image, row by row from the corner that all images of a set share."""

    rows: int
    columns: int
    side: float
    """metres on a side of a token"""

    @property
    def tokens(self) -> int:
        """N."""
        return self.rows * self.columns

    def centres(self, device: torch.device | None = None) -> Tensor:
        """(N, 2) float32: of each token, metres down and right of the corner."""
        return (self._corners(device) + 0.5) * self.side

    def boxes(self) -> Tensor:
        """(N, 4) float32: top, left, bottom and right of each token, metres down and right of the corner."""
        corners = self._corners(None)
        return torch.cat([corners, corners + 1], 1) * self.side

    def _corners(self, device: torch.device | None) -> Tensor:
        number = torch.arange(self.tokens, dtype=torch.float32, device=device)
        row = (number / self.columns).floor()
        return torch.stack([row, number - row * self.columns], 1)


def overlaps(one: TokenGrid, other: TokenGrid, *, ground: float = inf) -> Tensor:
    """How much of each token's ground tokens of another image cover.

    Args:
        one: of the tokens.
        other: of what covers them.
        ground: metres down and right of the corner where the images end: tokens may reach beyond, and what they have
            there does not count.

    Returns:
        (N, N') float32: areas of the intersections, each over the area of the token of ``one``.
    """
    a, b = (grid.boxes().clamp(max=ground) for grid in (one, other))
    below, right = (a[:, 2:] - a[:, :2]).unbind(1)
    a, b = a[:, None], b[None]
    sides = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0)
    return sides.prod(-1) / (below * right)[:, None]


def fill_up(image: Tensor, multiple: int) -> Tensor:
    """(B, C, H, W) -> the same with 0, or False, below and to the right, up to multiples of a number of pixels."""
    below, right = (-size % multiple for size in image.shape[2:])
    return F.pad(image, (0, right, 0, below)) if below or right else image


def area_means(values: Tensor, valid: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """An image at a coarser resolution: the mean over the valid numbers that a pixel covers.

    Args:
        values: (B, C, H, W), 0 where not valid; H and W are multiples of ``factor``.
        valid: (B, C, H, W) bool.
        factor: f.

    Returns:
        Values (B, C, H / f, W / f), 0 where nothing is valid, and where something is.
    """
    if factor == 1:
        return values, valid
    shape = (*values.shape[:2], values.shape[2] // factor, factor, values.shape[3] // factor, factor)
    counts = valid.reshape(shape).sum((3, 5))
    return values.reshape(shape).sum((3, 5)) / counts.clamp(min=1), counts > 0

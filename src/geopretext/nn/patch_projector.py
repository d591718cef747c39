"""The convolutional projector of OmniSat: patches of a map to tokens, and tokens back to patches.

A patch is halved by a convolution, and by max pooling until one cell is left, its token. Each pooling remembers where
the largest number stood (a switch); the decoder doubles by putting numbers back there (OmniSat, arXiv 2404.08351,
section 3, "index bypass"). A projector sees one patch at a time: nothing passes between patches.

Differs from the published code: group norms in the place of the batch norm behind the first convolution, and two norms
in a residual block, where the published one has the same norm twice.

Letters: ``N`` patches, ``C`` bands, ``D`` features, ``p`` pixels on a side of a patch, ``s`` cells on a side of one.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_GROUPS = 4


class Projected(NamedTuple):
    """What a projector makes of patches."""

    tokens: Tensor
    """(N, D)"""
    switches: tuple[Tensor, ...]
    """of each pooling, from fine to coarse: (N, D, s, s) int64, where in its input each number stood"""
    levels: tuple[Tensor, ...]
    """input of each pooling but the first: (N, D, s, s)"""


def pooling_sides(patch_size: int) -> tuple[int, ...]:
    """Cells on a side of a patch before each pooling: 50 pixels -> 25, 12, 6, 3; 16 -> 8, 4, 2; 10 -> 5, 2."""
    sides = [(patch_size + 1) // 2]
    while sides[-1] > 1:
        sides.append(sides[-1] // 2)
    return tuple(sides[:-1])


class PatchProjector(nn.Module):
    """Patches of p x p pixels to tokens.

    Args:
        bands: C.
        dim: D, a multiple of 4.
        patch_size: p, at least 4.
    """

    def __init__(self, bands: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(bands, dim, 3, stride=2, padding=1), nn.GroupNorm(_GROUPS, dim), nn.GELU())
        self.blocks = nn.ModuleList(_Residual(dim) for _ in pooling_sides(patch_size)[1:])

    def forward(self, patches: Tensor) -> Projected:
        """(N, C, p, p) -> tokens, and what the decoder and maps of several resolutions need."""
        x, switch = F.max_pool2d(self.stem(patches), 2, return_indices=True)
        switches, levels = [switch], []
        for block in self.blocks:
            x = block(x)
            levels.append(x)
            x, switch = F.max_pool2d(x, 2, return_indices=True)
            switches.append(switch)
        return Projected(x.flatten(1), tuple(switches), tuple(levels))


class PatchDecoder(nn.Module):
    """Tokens to patches of p x p pixels, by unpooling.

    Where the switches may not be known, a number is spread evenly over the four cells that it may have come from.

    Args:
        channels: numbers a pixel.
        dim: D.
        patch_size: p, at least 4.
    """

    def __init__(self, channels: int, dim: int, patch_size: int) -> None:
        super().__init__()
        self.sides = pooling_sides(patch_size)
        inner = [nn.ConvTranspose2d(dim, dim, 3, padding=1) for _ in self.sides[1:]]
        rest = patch_size - (2 * self.sides[0] - 1)
        last = nn.ConvTranspose2d(dim, channels, 3, stride=2, padding=1, output_padding=rest)
        self.layers = nn.ModuleList([*inner, last])

    def forward(self, tokens: Tensor, switches: tuple[Tensor, ...], known: Tensor) -> Tensor:
        """Decode.

        Args:
            tokens: (N, D).
            switches: of the projector.
            known: (N,) bool: of which patches they may be used.

        Returns:
            (N, channels, p, p).
        """
        x = tokens[..., None, None]
        known = known[:, None, None, None]
        for layer, side, switch in zip(self.layers, reversed(self.sides), reversed(switches), strict=True):
            placed = F.max_unpool2d(x, switch, (2, 2), output_size=(side, side))
            x = layer(torch.where(known, placed, _spread(x, side)))
        return x


class _Residual(nn.Module):
    def __init__(self, dim: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.GroupNorm(_GROUPS, dim),
            nn.GELU(),
            nn.Conv2d(dim, dim, 3, padding=1),
            nn.GroupNorm(_GROUPS, dim),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.gelu(x + self.body(x))


def _spread(x: Tensor, side: int) -> Tensor:
    """A quarter of each number at each of its four cells; a last row and column that pooling left out is 0."""
    wide = (x / 4).repeat_interleave(2, 2).repeat_interleave(2, 3)
    rest = side - wide.shape[-1]
    return F.pad(wide, (0, rest, 0, rest))

"""Patches of a tile, and which of them are shown.

Shapes: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``h w`` patches along y and x, ``P = h w`` patches counted row by row,
``p`` pixels on a side of a patch.
"""

import torch
from torch import Tensor

from geopretext.errors import GridError

_INCREMENT = -7046029254386353131  # 0x9E3779B97F4A7C15 as a signed number, and likewise below
_MULTIPLIERS = ((30, -4658895280553007687), (27, -7723592293110705685))


def patch_grid(*, height: int, width: int, patch_size: int) -> tuple[int, int]:
    """Number of patches along y and along x.

    Raises:
        GridError: a side is not a positive multiple of ``patch_size``.
    """
    if height < patch_size or width < patch_size or height % patch_size or width % patch_size:
        raise GridError(
            f"{height} x {width} pixels do not divide into patches of {patch_size} x {patch_size}",
            hint=f"crop to a multiple of {patch_size} pixels on each side",
        )
    return height // patch_size, width // patch_size


def patchify(x: Tensor, patch_size: int) -> Tensor:
    """Cut maps into patches.

    Args:
        x: (B, C, H, W).
        patch_size: p, in pixels.

    Returns:
        (B, P, p p C); within a patch by row, then column, then band (the band varies fastest).

    Raises:
        GridError: a side is not a multiple of ``patch_size``.
    """
    batch, bands, height, width = x.shape
    h, w = patch_grid(height=height, width=width, patch_size=patch_size)
    x = x.reshape(batch, bands, h, patch_size, w, patch_size)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(batch, h * w, patch_size * patch_size * bands)


def unpatchify(patches: Tensor, patch_size: int, *, grid: tuple[int, int]) -> Tensor:
    """Undo ``patchify``.

    Args:
        patches: (B, P, p p C).
        patch_size: p, in pixels.
        grid: patches along y and along x.

    Returns:
        (B, C, H, W).
    """
    h, w = grid
    x = patches.reshape(patches.shape[0], h, w, patch_size, patch_size, -1)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(x.shape[0], x.shape[5], h * patch_size, w * patch_size)


def visible_count(patches: int, mask_ratio: float) -> int:
    """How many of ``patches`` are shown: rounded down, as in the papers (19 of 49 at ratio 0.6)."""
    return int(patches * (1 - mask_ratio))


def sample_visible(seeds: Tensor, patches: int, mask_ratio: float) -> Tensor:
    """Choose the patches that are shown, uniformly, the same number in every tile.

    The choice is a pure function of a tile's seed: it depends neither on the other tiles of the batch, nor on the
    device, nor on any generator's state.

    Args:
        seeds: (B,) int64.
        patches: P.
        mask_ratio: share of the patches to hide, 0 to 1.

    Returns:
        (B, P) bool, True where shown.
    """
    numbers = torch.arange(1, patches + 1, device=seeds.device)
    noise = _scramble(_scramble(seeds)[:, None] + numbers * _INCREMENT)
    order = noise.argsort(dim=1, stable=True)
    shown = order[:, : visible_count(patches, mask_ratio)]
    return torch.zeros_like(noise, dtype=torch.bool).scatter(1, shown, True)


def draw_uniform(seeds: Tensor, count: int, *, stream: int) -> Tensor:
    """Numbers from 0 to below 1, uniform, a pure function of each seed.

    Args:
        seeds: (B,) int64.
        count: how many for each.
        stream: another one gives other numbers of the same seeds; 1 or more.

    Returns:
        (B, count) float32.
    """
    numbers = torch.arange(1, count + 1, device=seeds.device)
    noise = _scramble(_scramble(_scramble(seeds) + stream)[:, None] + numbers * _INCREMENT)
    return _shift_right(noise, 40).float() * 2**-24


def _scramble(x: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele et al., OOPSLA 2014) on int64, whose overflow wraps."""
    x = x + _INCREMENT
    for shift, multiplier in _MULTIPLIERS:
        x = (x ^ _shift_right(x, shift)) * multiplier
    return x ^ _shift_right(x, 31)


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift in zeros, where ``>>`` on a signed number would shift in the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

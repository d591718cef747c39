"""Randomness as a pure function of a tile's seed: the same on every device, in every batch, after every interruption.

``B`` tiles.
"""

import torch
from torch import Tensor

INCREMENT = -7046029254386353131
"""0x9E3779B97F4A7C15 as a signed number"""
_MULTIPLIERS = ((30, -4658895280553007687), (27, -7723592293110705685))
_MANTISSA = 24  # bits that float32 keeps exactly


def scramble(x: Tensor) -> Tensor:
    """The output function of SplitMix64 (Steele et al., OOPSLA 2014) on int64, whose overflow wraps."""
    x = x + INCREMENT
    for shift, multiplier in _MULTIPLIERS:
        x = (x ^ _shift_right(x, shift)) * multiplier
    return x ^ _shift_right(x, 31)


def derived(seeds: Tensor, stream: int) -> Tensor:
    """Seeds for one of many purposes, independent of those for the others.

    Args:
        seeds: (B,) int64.
        stream: number of the purpose, at least 1.

    Returns:
        (B,) int64.
    """
    step = (stream * INCREMENT + 2**63) % 2**64 - 2**63  # wraps as tensors do
    return scramble(scramble(seeds) + step)


def uniform(seeds: Tensor, count: int) -> Tensor:
    """Numbers that are uniform on [0, 1).

    Args:
        seeds: (B,) int64, of one purpose: the same seeds give the same numbers.
        count: how many for each tile.

    Returns:
        (B, count) float32.
    """
    numbers = torch.arange(1, count + 1, device=seeds.device)
    bits = scramble(scramble(seeds)[:, None] + numbers * INCREMENT)
    return _shift_right(bits, 64 - _MANTISSA).float() * 2.0**-_MANTISSA


def _shift_right(x: Tensor, bits: int) -> Tensor:
    """Shift in zeros, where ``>>`` on a signed number would shift in the sign."""
    return (x >> bits) & ((1 << (64 - bits)) - 1)

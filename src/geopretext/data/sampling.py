"""Randomness as a pure function of whole numbers: seeds, orders and crop windows.

Nothing here keeps a state, so that a tile is treated alike on any rank, in any batch layout, after any interruption,
and with every version of numpy.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

_ORDER, _WINDOW, _DATES = 1, 2, 3  # keeps the hashes of orders, windows and dates apart from the tiles' own seeds
_BITS = 31


def hash_seeds(*parts: int | npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Mixes whole numbers into seeds, with the finaliser of SplitMix64 (Steele, Lea and Flood, OOPSLA 2014).

    Args:
        parts: numbers, or arrays of numbers, that broadcast to shape (B,).

    Returns:
        (B,) seeds, none of them negative.
    """
    state: npt.NDArray[np.uint64] = np.zeros(1, np.uint64)
    for part in parts:  # overflow of arrays wraps, as it should
        state = (state ^ np.asarray(part, np.int64).reshape(-1).view(np.uint64)) + np.uint64(0x9E3779B97F4A7C15)
        state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        state = state ^ (state >> np.uint64(31))
    return (state >> np.uint64(1)).view(np.int64)


def epoch_order(tiles: npt.NDArray[np.int64], *, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """Positions in ``tiles``, shuffled for one epoch."""
    return np.argsort(hash_seeds(_ORDER, seed, epoch, tiles), kind="stable")


def crop_windows(seeds: npt.NDArray[np.int64], *, tile_size: int, crop: int) -> npt.NDArray[np.int64]:
    """(B, 2): upper row and left column of a square crop of each tile, uniform over all that fit."""
    bits = hash_seeds(_WINDOW, seeds)
    halves = np.stack([bits >> _BITS, bits & ((1 << _BITS) - 1)], axis=1) & ((1 << _BITS) - 1)
    return (halves * (tile_size - crop + 1)) >> _BITS


def choose_dates(
    seeds: npt.NDArray[np.int64], dates: npt.NDArray[np.datetime64], *, most: int
) -> npt.NDArray[np.int64]:
    """Which of the images of a series to see, at most so many a tile: each set of as many is equally likely.

    Args:
        seeds: (B,) of the tiles.
        dates: (B, T), of which NaT, at the end of a row, is padding.
        most: S, at most T.

    Returns:
        (B, S) positions in T, ascending: the images chosen, then padding if there are fewer.
    """
    tiles, length = dates.shape
    keys = hash_seeds(_DATES, np.repeat(seeds, length), np.tile(np.arange(length), tiles)).reshape(tiles, length)
    keys[np.isnat(dates)] = np.iinfo(np.int64).max
    return np.sort(np.argsort(keys, axis=1, kind="stable")[:, :most], axis=1)

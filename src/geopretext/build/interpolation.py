"""Pixels of a raster at given positions, for windows so small that starting GDAL's warp takes longer than warping.

Positions are columns and rows from the upper left corner of the raster, pixel corners at whole numbers. What is missing
is never blended in; a position is valid if the pixel that it lies in is. Positions lie so far within the raster that
all pixels which count are in it.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

MOST = 2.0
"""pixels of the raster along a pixel of the grid, up to which ``triangle`` is meant to be used"""


def nearest(values: npt.NDArray[Any], valid: Flags, columns: Floats, rows: Floats) -> tuple[npt.NDArray[Any], Flags]:
    """The pixel that each position lies in; zero where it is not valid."""
    at = rows.astype(np.intp) * values.shape[1] + columns.astype(np.intp)
    known = valid.ravel()[at]
    return np.where(known, values.ravel()[at], values.dtype.type(0)), known


def triangle(
    values: npt.NDArray[Any], valid: Flags, columns: Floats, rows: Floats, *, across: float, down: float
) -> tuple[Floats, Flags]:
    """Blended by distance: weights fall linearly, to nothing at one pixel of the raster, or of the grid if larger.

    Where the grid is finer than the raster, this is bilinear interpolation; where it is coarser, what GDAL makes of
    that, so that nothing between two pixels of the grid is lost.

    Args:
        values: of the raster, (H, W).
        valid: what of them is.
        columns: positions, of the shape of the result.
        rows: likewise.
        across: width of a pixel of the grid, in pixels of the raster.
        down: its height.
    """
    _, known = nearest(valid, valid, columns, rows)
    width, clean, whole = values.shape[1], np.where(valid, values, 0).astype(np.float64).ravel(), bool(valid.all())
    flags = valid.ravel().astype(np.float64)
    lefts, tops = _taps(columns, max(1.0, across)), _taps(rows, max(1.0, down))
    total, weights = np.zeros(columns.shape), np.zeros(columns.shape)
    for row, share in tops:
        line = row * width
        for column, part in lefts:
            at, weight = line + column, share * part
            total += weight * clean[at]
            weights += weight if whole else weight * flags[at]
    return np.where(known, total / np.where(known, weights, 1.0), 0.0), known


def _taps(positions: Floats, reach: float) -> list[tuple[npt.NDArray[np.intp], Floats]]:
    """Pixels along one axis whose centres lie within reach of positions, and their weights."""
    centres = positions - 0.5
    first = np.floor(centres - reach) + 1
    numbers = (first + step for step in range(int(np.ceil(2 * reach))))
    return [(number.astype(np.intp), np.maximum(0.0, 1.0 - np.abs(centres - number) / reach)) for number in numbers]

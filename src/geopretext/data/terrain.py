"""Slope of the ground from its elevation."""

from typing import Any

import numpy as np
import numpy.typing as npt


def slope_degrees(elevation: npt.NDArray[Any], *, x_step: float, y_step: float) -> npt.NDArray[np.float64]:
    """Steepest slope by Horn's method (Proc. IEEE 69, 1981), as GDAL and Earth Engine compute it.

    At the border of the array the elevation is continued linearly.

    Args:
        elevation: (y, x), in metres; not finite where unknown.
        x_step: width of a pixel, in metres.
        y_step: height of a pixel, in metres.

    Returns:
        (y, x), in degrees; NaN where one of the nine elevations is unknown.
    """
    z = _continue_linearly(_continue_linearly(elevation.astype(np.float64)).T).T
    west, east = (z[:-2, c] + 2 * z[1:-1, c] + z[2:, c] for c in (slice(None, -2), slice(2, None)))
    north, south = (z[r, :-2] + 2 * z[r, 1:-1] + z[r, 2:] for r in (slice(None, -2), slice(2, None)))
    gradient = np.hypot((east - west) / (8 * x_step), (south - north) / (8 * y_step))
    return np.where(np.isfinite(elevation), np.degrees(np.arctan(gradient)), np.nan)


def _continue_linearly(z: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """One more row at the top and at the bottom."""
    if len(z) == 1:
        return np.repeat(z, 3, axis=0)
    return np.concatenate([2 * z[:1] - z[1:2], z, 2 * z[-1:] - z[-2:-1]])

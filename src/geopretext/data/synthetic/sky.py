"""What is between the satellite and the ground, or missing there: clouds, their shadows, the edge of the swath.

Shapes: n windows, pixels (n, H, W).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import Noise, Windows
from geopretext.data.synthetic.noise import Float, step, uniform

_NOISE = {"puffs": Noise(26, 2), "weather": Noise(300, 2)}
_SHADOW = 2
"""nodes of the 30 m lattice from a cloud to its shadow, north and west"""
_SWATH, _GAP = 2400, 24
"""pixels between the slanted gaps of a day, and their width"""


@dataclass(frozen=True)
class Sky:
    """The sky of the day over some windows, (n, H, W)."""

    cloud: Float
    """cover by cloud"""
    shadow: Float
    """cover by the shadows of clouds"""
    unseen: npt.NDArray[np.bool_]
    """where the swath of the day did not reach"""


def sky_of(windows: Windows) -> Sky:
    """A few small clouds on some days, since cloudy images are left out of datasets; a gap here and there."""
    noise = windows.smooth(_NOISE, dated=True, margin=_SHADOW)
    field = noise["puffs"] * np.float32(0.8) + noise["weather"] * np.float32(1.1) - np.float32(0.86)
    field = step(0.0, 0.25, field)
    cloud = windows.to_pixels(field[:, _SHADOW:-_SHADOW, _SHADOW:-_SHADOW])
    shadow = windows.to_pixels(field[:, 2 * _SHADOW :, 2 * _SHADOW :])
    columns = windows.column[:, None, None] + np.arange(windows.width)
    rows = windows.row[:, None, None] + np.arange(windows.height)[:, None]
    start = (uniform(windows.key("swath", dated=True)) * _SWATH).astype(np.int64)
    return Sky(cloud, shadow * (1 - cloud), (columns + rows // 5 + start) % _SWATH < _GAP)

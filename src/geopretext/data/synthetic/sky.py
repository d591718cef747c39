"""What is between the satellite and the ground, or missing there: clouds, their shadows, the edge of the swath.

Shapes: n windows, pixels (n, H, W).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import Noise, Windows, noise_at
from geopretext.data.synthetic.noise import Float, step, uniform

CLOUDED = 0.15
"""cover from which a pixel counts as cloud, thin or thick (classes 8 to 10 of the scene classification)"""
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
    field = _cover(windows.smooth(_NOISE, dated=True, margin=_SHADOW))
    cloud = windows.to_pixels(field[:, _SHADOW:-_SHADOW, _SHADOW:-_SHADOW])
    shadow = windows.to_pixels(field[:, 2 * _SHADOW :, 2 * _SHADOW :])
    columns = windows.column[:, None, None] + np.arange(windows.width)
    rows = windows.row[:, None, None] + np.arange(windows.height)[:, None]
    start = (uniform(windows.key("swath", dated=True)) * _SWATH).astype(np.int64)
    return Sky(cloud, shadow * (1 - cloud), (columns + rows // 5 + start) % _SWATH < _GAP)


def cloud_at(
    seed: int,
    *,
    epsg: int,
    dates: npt.NDArray[np.datetime64],
    columns: npt.NDArray[np.int64],
    rows: npt.NDArray[np.int64],
) -> Float:
    """Cover by cloud, (dates, points), at single pixels of a zone: what ``Sky.cloud`` is there, without rendering.

    Args:
        seed: which planet.
        epsg: of the zone.
        dates: (d,) days.
        columns: (p,) multiples of 24, where no lattice is interpolated.
        rows: (p,) likewise.
    """
    return _cover(noise_at(_NOISE, seed, epsg=epsg, dates=dates, columns=columns, rows=rows))


def _cover(noise: Mapping[str, Float]) -> Float:
    field = noise["puffs"] * np.float32(0.8) + noise["weather"] * np.float32(1.1) - np.float32(0.86)
    return step(0.0, 0.25, field)

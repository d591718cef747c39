"""What Sentinel-1 sees: backscatter of water, soil, plants, trunks and walls from two sides, with speckle.

Levels in dB are typical of C band at 30 to 40 degrees (compare Ulaby and Dobson, Handbook of Radar Scattering
Statistics for Terrain, 1989). Ascending passes look east, descending ones west. Over polar land the instrument sends
H instead of V.
"""

from statistics import NormalDist

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.cover import Cover
from geopretext.data.synthetic.grid import BLOCK, Windows
from geopretext.data.synthetic.noise import Float, key_of, step, stir, uniform
from geopretext.data.synthetic.terrain import Terrain

POLAR_ROWS = 7_300_000 // 10 // BLOCK * BLOCK
"""10 m rows from the equator (66 degrees) beyond which every other UTM zone is observed with HH and HV"""
_LOOKS = 4.4
_NORMAL = np.array([NormalDist().inv_cdf((k + 0.5) / 1024) for k in range(1024)])
# Quantiles of the gamma distribution of multi-look intensity, by the approximation of Wilson and Hilferty (1931).
_SPECKLE = (30 * np.log10(1 - 1 / (9 * _LOOKS) + _NORMAL / (3 * np.sqrt(_LOOKS)))).astype(np.float32)
_FACING = np.float32(13)
"""dB that backscatter rises when the slope towards the radar rises by 1 m a m"""
_ONE_ORBIT, _NO_ORBIT = 0.21, 0.015
"""shares of zones and days that only one of the orbits observed, and neither"""


def sentinel1(windows: Windows, terrain: Terrain, cover: Cover) -> Float:
    """DB (n, 8, H, W): ascending VV VH HH HV, descending the same; NaN where not observed."""
    out = np.full((len(windows.row), 8, windows.height, windows.width), np.nan, np.float32)
    east, north = windows.to_pixels(terrain.east), windows.to_pixels(terrain.north)
    square_on = cover.people.built.square_on
    level = _backscatter(cover)
    rows = windows.row[:, None, None] + np.arange(windows.height)[:, None]
    polar = is_polar(windows.epsg[:, None, None], rows)
    missing = ~passes(windows.seed, windows.epsg, windows.date)
    for orbit, look in enumerate((1, -1)):
        # A slope that faces the radar is foreshortened and bright; walls are where streets run across the beam.
        facing = np.clip((np.float32(look) * east - np.float32(0.17) * north) * _FACING, -7, 7)
        walls = cover.roof * (square_on if look == 1 else 1 - square_on) * np.float32(6)
        bits = windows.bits(f"speckle {orbit}", dated=True).view(np.uint16)
        for channel, (base, bounce, shift) in enumerate(zip(level, (1.0, 0.4), (0.8, -0.3), strict=True)):
            value = base + facing + walls * np.float32(bounce) + np.take(_SPECKLE, bits[..., channel::2] >> 6)
            value[missing[orbit]] = np.nan
            out[:, 4 * orbit + channel] = np.where(polar, np.float32(np.nan), value)
            out[:, 4 * orbit + 2 + channel] = np.where(polar, value + np.float32(shift), np.float32(np.nan))
    return out


def is_polar(epsg: npt.NDArray[np.int64], row: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Whether H is sent instead of V at rows of zones; the arguments broadcast."""
    south = epsg // 100 == 327
    beyond = np.where(south, row + 1_000_000 >= POLAR_ROWS, row < -POLAR_ROWS)
    return np.asarray(beyond & (epsg % 2 == 0))


def passes(seed: int, epsg: npt.NDArray[np.int64], date: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
    """(2, n) whether an ascending, a descending pass observed the zones around the dates."""
    key = stir(key_of(seed, epsg, date.astype("datetime64[D]").astype(np.int64)), "orbits")
    chance = uniform(key)
    neither = chance > 1 - _NO_ORBIT
    return ~(np.stack([chance < _ONE_ORBIT / 2, (chance >= _ONE_ORBIT / 2) & (chance < _ONE_ORBIT)]) | neither)


def _backscatter(cover: Cover) -> tuple[Float, Float]:
    """Co- and cross-polar backscatter of level ground in dB."""
    tree, leaf, wet, water = cover.tree, cover.leaf, cover.wetness, cover.water
    soil = np.float32(-14.5) + np.float32(4.5) * wet + np.float32(2.2) * cover.tilth
    copolar = soil + leaf * (np.float32(-10.5) - soil) * np.float32(0.75)
    cross = soil - np.float32(8.5) + leaf * np.float32(4.5)
    tall = step(0, 25, cover.tree_height)
    copolar += tree * (np.float32(-9.6) + tall * np.float32(1.8) - copolar)
    cross += tree * (np.float32(-16.6) + tall * np.float32(3.0) + cover.coarse * np.float32(0.7) - cross)
    copolar += cover.roof * (np.float32(-4.5) - copolar)
    cross += cover.roof * (np.float32(-12.5) - cross)
    copolar += cover.snow * (1 - tree) * (np.float32(-13.5) - copolar) * np.float32(0.5)
    copolar += water * (np.float32(-20.5) - copolar)
    cross += water * (np.float32(-27.5) - cross)
    return copolar, cross

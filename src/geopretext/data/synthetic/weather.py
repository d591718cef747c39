"""On which days nothing is to be seen from above: overcast skies, and the dark of polar winters.

Clouds as ``sky`` draws them are small, since datasets leave cloudy images out. A series has to say which images those
were. The weather of a day is the same over a scene, and the sky is overcast the more often, the more rain falls at that
time of the year for the warmth that there is.
"""

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.climate import Climate, climate_at
from geopretext.data.synthetic.grid import PIXEL
from geopretext.data.synthetic.noise import key_of, lattice_hash, stir, uniform
from geopretext.data.synthetic.terrain import sun_of, year_part
from geopretext.data.synthetic.utm import utm_to_geographic

SCENE = 10944
"""pixels a side of a scene, 109.44 km: about as wide as a granule of Sentinel-2, a multiple of 48"""
_DRY, _WET = 0.2, 0.7
"""shares of days that are overcast where, and when, it is parched, and where it is wet. Over places as a store has them
the mean comes out near the 55 % that MODIS saw over land (King et al. 2013, IEEE TGRS 51(7))"""
_LOWEST_SUN = 0.18
"""cosine of the zenith angle; ``sun_of`` gives no less than 0.17"""


def hidden_days(
    seed: int,
    *,
    epsg: npt.NDArray[np.int64],
    column: npt.NDArray[np.int64],
    row: npt.NDArray[np.int64],
    dates: npt.NDArray[np.datetime64],
) -> npt.NDArray[np.bool_]:
    """(n, D) whether scenes are overcast or in the dark on some days.

    Args:
        seed: which planet.
        epsg: (n,) of the zones.
        column: (n,) left edges in scenes from the zone's origin.
        row: (n,) upper edges, growing southwards.
        dates: (n, D) days.
    """
    half = SCENE // 2
    lat, lon = utm_to_geographic(
        epsg, easting=PIXEL * (column * SCENE + half), northing=-PIXEL * (row * SCENE + half).astype(np.float64)
    )
    climate = climate_at(seed, lat[:, None], lon[:, None])
    chance = uniform(
        lattice_hash(
            stir(key_of(seed, epsg[:, None], dates.astype("datetime64[D]").astype(np.int64)), "overcast"),
            column[:, None],
            row[:, None],
        )
    )
    return np.asarray((chance < _cloudiness(climate, dates)) | (sun_of(climate.lat, dates).up < _LOWEST_SUN))


def _cloudiness(climate: Climate, dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float32]:
    """(n, D) share of such days of the year that are overcast."""
    moist = climate.moisture(np.maximum(climate.base, 0), year_part(dates))
    return np.asarray(_DRY + (_WET - _DRY) * moist, np.float32)

"""The order in which a build takes places, and in which its store holds them: neighbours together.

It follows from the places alone. Places of one UTM zone follow each other, since scenes belong to a zone; within a
zone they follow a Hilbert curve, so that a few hundred in a row lie in few scenes.
"""

import numpy as np
import numpy.typing as npt

from geopretext.build.places import Places

_LEVELS = 16  # cells of 180 / 2**16 degrees: 300 m


def spatial_order(places: Places) -> npt.NDArray[np.int64]:
    """(places,) numbers of the places in the order of the build; equal positions are ordered by id."""
    zone = np.floor((places.lon + 180.0) / 6.0).astype(np.int64) % 60
    cell = 180.0 / 2**_LEVELS
    north = ((places.lat + 90.0) / cell).astype(np.int64)
    east = ((places.lon + 180.0) / cell).astype(np.int64)
    return np.lexsort((places.place_id, places.lon, places.lat, _hilbert(east, north), zone))


def _hilbert(x: npt.NDArray[np.int64], y: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Position along the Hilbert curve (1891) through a square of cells, two bits a level from the largest down."""
    side = 2 ** (_LEVELS + 1)  # east goes twice as far as north
    x, y = x.clip(0, side - 1), y.clip(0, side - 1)
    along = np.zeros_like(x)
    for level in reversed(range(_LEVELS + 1)):
        right, upper = (x >> level) & 1, (y >> level) & 1
        along = along << 2 | (3 * right) ^ upper
        # The lower quadrants are walked along the other diagonal, the right one of them backwards.
        flipped = (upper == 0) & (right == 1)
        x, y = np.where(flipped, side - 1 - x, x), np.where(flipped, side - 1 - y, y)
        x, y = np.where(upper == 0, y, x), np.where(upper == 0, x, y)
    return along

"""The cell of a grid of latitudes and longitudes that stands for a place: the nearest one that has data."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

_KM_A_DEGREE = 6371.0088 * np.pi / 180
"""along a meridian of the sphere of the Earth's mean radius"""

Numbers = npt.NDArray[np.intp]


@dataclass(frozen=True)
class Cell:
    """One cell of a grid."""

    row: int
    column: int
    lat: float
    """of its centre, degrees north"""
    lon: float
    """of its centre, degrees east, as the grid has it"""
    distance: float
    """of its centre from the place, km"""


@dataclass(frozen=True, eq=False)
class Cells:
    """A grid of cells, latitudes and longitudes in any order."""

    lat: npt.NDArray[np.float64]
    """(rows,) degrees north"""
    lon: npt.NDArray[np.float64]
    """(columns,) degrees east, 0 to 360 or -180 to 180"""
    reach: float = 25.0
    """km from the place to the centre of a cell, at most; a place within a cell (half its diagonal) is always near"""

    def near(self, *, lat: float, lon: float) -> tuple[Numbers, Numbers]:
        """Rows and columns among which all cells within reach of a place are, across the antimeridian too."""
        limit = self._limit(lat) / _KM_A_DEGREE
        rows = np.flatnonzero(np.abs(self.lat - lat) <= limit)
        # a degree is shortest at the end of the reach that is nearer to a pole
        shortest = np.cos(np.radians(min(abs(lat) + limit, 90.0)))
        columns = np.flatnonzero(np.abs((self.lon - lon + 180.0) % 360.0 - 180.0) * shortest <= limit)
        return rows, columns

    def nearest(self, known: npt.NDArray[np.bool_], *, lat: float, lon: float) -> Cell | None:
        """The nearest cell with data; None if it is out of reach.

        Args:
            known: (rows, columns) of those that ``near`` gives: which have data.
            lat: of the place, degrees north.
            lon: degrees east.
        """
        rows, columns = self.near(lat=lat, lon=lon)
        if not known.any():
            return None
        distances = _distance(self.lat[rows, None], self.lon[None, columns], lat=lat, lon=lon)
        distances[~known] = np.inf
        i, j = np.unravel_index(int(np.argmin(distances)), distances.shape)
        if not distances[i, j] <= self._limit(lat):
            return None
        row, column = int(rows[i]), int(columns[j])
        return Cell(row, column, float(self.lat[row]), float(self.lon[column]), float(distances[i, j]))

    def _limit(self, lat: float) -> float:
        """Km to the farthest centre: the reach, or half the diagonal of a cell."""
        high, wide = (degrees * _KM_A_DEGREE for degrees in self._spacings)
        return max(self.reach, float(np.hypot(high, wide * np.cos(np.radians(lat)))) / 2)

    @cached_property
    def _spacings(self) -> tuple[float, float]:
        """Height and width of a cell, degrees."""
        return _spacing(self.lat), _spacing(self.lon)


def _spacing(axis: npt.NDArray[np.float64]) -> float:
    """Degrees between neighbours; the jump of a wrapped axis does not count."""
    return float(np.median(np.abs(np.diff(axis)))) if axis.size > 1 else 0.0


def _distance(
    lats: npt.NDArray[np.float64], lons: npt.NDArray[np.float64], *, lat: float, lon: float
) -> npt.NDArray[np.float64]:
    """Great-circle distance, km, by the haversine formula."""
    north, east = np.radians(lats - lat) / 2, np.radians(lons - lon) / 2
    haversine = np.sin(north) ** 2 + np.cos(np.radians(lats)) * np.cos(np.radians(lat)) * np.sin(east) ** 2
    return np.asarray(2 * np.degrees(np.arcsin(np.sqrt(np.clip(haversine, 0, 1)))) * _KM_A_DEGREE)

"""The cell of a grid of latitudes and longitudes that stands for a place: the nearest one that has data."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_KM_A_DEGREE = 6371.0088 * np.pi / 180
"""along a meridian of the sphere of the Earth's mean radius"""


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
    """A grid of cells, in any order of latitudes and longitudes, some of them without data (the sea of ERA5-Land)."""

    lat: npt.NDArray[np.float64]
    """(rows,) degrees north"""
    lon: npt.NDArray[np.float64]
    """(columns,) degrees east, 0 to 360 or -180 to 180"""
    known: npt.NDArray[np.bool_]
    """(rows, columns): which have data"""
    reach: float = 25.0
    """km from the place to the centre of a cell, at most; a place within a cell (half its diagonal) is always near"""

    def nearest(self, *, lat: float, lon: float) -> Cell | None:
        """The nearest cell with data, across the antimeridian too; None if it is out of reach."""
        limit = max(self.reach, self._half_diagonal(lat))
        rows = np.flatnonzero(np.abs(self.lat - lat) * _KM_A_DEGREE <= limit)
        if not rows.size:
            return None
        distances = _distance(self.lat[rows, None], self.lon[None, :], lat=lat, lon=lon)
        distances[~self.known[rows]] = np.inf
        row, column = np.unravel_index(int(np.argmin(distances)), distances.shape)
        if not distances[row, column] <= limit:
            return None
        return Cell(
            int(rows[row]),
            int(column),
            float(self.lat[rows[row]]),
            float(self.lon[column]),
            float(distances[row, column]),
        )

    def _half_diagonal(self, lat: float) -> float:
        """Of a cell, km."""
        high = _spacing(self.lat) * _KM_A_DEGREE
        wide = _spacing(self.lon) * _KM_A_DEGREE * np.cos(np.radians(lat))
        return float(np.hypot(high, wide)) / 2


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

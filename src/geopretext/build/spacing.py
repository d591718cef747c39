"""Places that keep their distance: by metres, or so that the squares of their tiles cannot overlap."""

import math
from array import array
from itertools import product

_EQUATOR, _ECCENTRICITY2 = 6378137.0, 6.69437999014e-3  # WGS 84: semi-major axis (m), first eccentricity squared
_FARTHEST_MERIDIAN = math.radians(9.0)
"""A tile may lie on the grid of a neighbouring zone: up to about this far from the zone's central meridian."""
_SCALE = 1.002
"""UTM shortens by at most 0.04 %; the rest covers that parallels are bent within a tile near the poles."""
_SHIFT = 10.0
"""metres: tiles are moved by up to half a pixel of the reference image, each of two its own way"""


_SMALLEST_CELL = 10.0  # metres
_CELLS = 1 << 21  # more than there are along an axis of the Earth


class Spacing:
    """Holds places and tells whether another one keeps its distance from all of them: some 150 bytes a place.

    Args:
        metres: least distance along a straight line, which is a little less than along the ground; 0: any.
        tile_metres: side of the tiles if they must not overlap; 0: they may. It is unknown yet on which zone's grid
            an image will lie, so squares are taken as turned by the most that grids are turned there: at the equator
            not at all, at 60 degrees by 8.
    """

    def __init__(self, *, metres: float = 0.0, tile_metres: float = 0.0) -> None:
        self._metres, self._tile_metres = metres, tile_metres
        # As wide as two places can be apart that disturb each other: those then lie in neighbouring cells.
        self._cell = max(metres, math.sqrt(2) * self._side(90.0), _SMALLEST_CELL)
        self._around = [(i * _CELLS + j) * _CELLS + k for i, j, k in product((-1, 0, 1), repeat=3)]
        self._newest: dict[int, int] = {}  # by cell; older ones of the cell follow in _older
        self._older = array("q")
        self._x, self._y, self._z = array("d"), array("d"), array("d")

    def admit(self, *, lat: float, lon: float) -> bool:
        """Add a place if it keeps its distance from all that were added before; whether it does."""
        phi, lam = math.radians(lat), math.radians(lon)
        sin_phi, cos_phi, sin_lam, cos_lam = math.sin(phi), math.cos(phi), math.sin(lam), math.cos(lam)
        radius = _EQUATOR / math.sqrt(1 - _ECCENTRICITY2 * sin_phi * sin_phi)
        x, y, z = radius * cos_phi * cos_lam, radius * cos_phi * sin_lam, radius * (1 - _ECCENTRICITY2) * sin_phi
        cell = (int(x // self._cell) * _CELLS + int(y // self._cell)) * _CELLS + int(z // self._cell)
        side, nearest = self._side(lat), self._metres * self._metres
        for step in self._around:
            other = self._newest.get(cell + step, -1)
            while other >= 0:
                dx, dy, dz = self._x[other] - x, self._y[other] - y, self._z[other] - z
                if dx * dx + dy * dy + dz * dz < nearest:
                    return False
                east = cos_lam * dy - sin_lam * dx
                north = cos_phi * dz - sin_phi * (cos_lam * dx + sin_lam * dy)
                if abs(east) < side and abs(north) < side:
                    return False
                other = self._older[other]
        self._older.append(self._newest.get(cell, -1))
        self._newest[cell] = len(self._x)
        self._x.append(x)
        self._y.append(y)
        self._z.append(z)
        return True

    def _side(self, lat: float) -> float:
        """Side of the upright square around a tile's own square, m."""
        if not self._tile_metres:
            return 0.0
        turn = _FARTHEST_MERIDIAN * abs(math.sin(math.radians(lat)))
        return (self._tile_metres * (math.cos(turn) + math.sin(turn)) + _SHIFT) * _SCALE

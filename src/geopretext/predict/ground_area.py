"""How much ground the pixels of a map cover.

In a projection that keeps areas to half a percent (UTM, equal-area ones) a pixel has the area that its sides say, as
surveyors count. In any other (degrees, Web Mercator) it has that of its corners on the ellipsoid.
"""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import GridError, MissingLibraryError
from geopretext.predict.scene import Georeference, Scene

try:
    import pyproj
    import shapely
    from pyproj.exceptions import CRSError
except ImportError as error:
    raise MissingLibraryError(error.name or "pyproj", extra="geo", purpose="measure areas on the ground") from error

Floats = npt.NDArray[np.float64]
_TRUE = 0.005
"""share by which areas may be off in a projection that is taken at its word; UTM's are by 0.1 % within a zone"""


@dataclass(frozen=True)
class Ground:
    """The ground under a map; made by ``ground_of``."""

    georeference: Georeference
    crs: Any
    to_degrees: Any
    """pyproj transformer to longitude and latitude"""
    longitude: float
    """of the middle: others are within 180 degrees of it, so that a map across the antimeridian stays in one piece"""
    square: float | None
    """m2 of a unit of the CRS squared, where its areas are true; None: they are not"""

    def pixel_areas(self, first: int, stop: int, *, columns: int) -> Floats:
        """Area of a pixel in each of some rows, in the middle of its row, m2.

        Args:
            first: row.
            stop: row after the last.
            columns: of the map.
        """
        if self.square is not None:
            return np.full(stop - first, self.square * _determinant(self.georeference))
        middle = columns // 2
        boxes = shapely.box(middle, np.arange(first, stop), middle + 1, np.arange(first, stop) + 1)
        return self.areas(boxes)

    def areas(self, polygons: npt.NDArray[Any]) -> Floats:
        """Of polygons whose coordinates are columns and rows, m2."""
        if self.square is not None:
            exact: Floats = shapely.area(polygons) * self.square * _determinant(self.georeference)
            return exact
        geod = self.crs.get_geod()
        return np.array([abs(geod.geometry_area_perimeter(each)[0]) for each in self.in_degrees(polygons)])

    def in_crs(self, polygons: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Polygons of columns and rows, in the map's CRS."""
        a, b, c, d, e, f = self.georeference.transform

        def place(columns: Floats, rows: Floats) -> tuple[Floats, Floats]:
            return a * columns + b * rows + c, d * columns + e * rows + f

        return np.asarray(shapely.transform(polygons, place, interleaved=False))

    def in_degrees(self, polygons: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Polygons of columns and rows, in longitude and latitude.

        A straight side of a grid is curved there: sides are cut at every 256 pixels, which keeps them on their places
        to decimetres.
        """
        short = shapely.segmentize(self.in_crs(polygons), 256 * np.sqrt(_determinant(self.georeference)))

        def turn(x: Floats, y: Floats) -> tuple[Floats, Floats]:
            longitudes, latitudes = self.to_degrees.transform(x, y)
            return self.longitude + (longitudes - self.longitude + 180) % 360 - 180, latitudes

        return np.asarray(shapely.transform(short, turn, interleaved=False))


def pixel_sides(scene: Scene) -> tuple[float, float] | None:
    """Width and height of a pixel in a scene's middle, metres on the ellipsoid; None if it does not say where it is.

    Raises:
        GridError: its coordinate reference system is none.
    """
    ground = ground_of(scene.georeference, height=scene.height, width=scene.width)
    if ground is None:
        return None
    column, row = scene.width // 2, scene.height // 2
    pixel = ground.in_degrees(np.array([shapely.box(column, row, column + 1, row + 1)]))[0]
    corners = shapely.get_coordinates(pixel)  # (right, top), (right, bottom), (left, bottom), ...
    lengths = [ground.crs.get_geod().line_length(*corners[first : first + 2].T) for first in (1, 0)]
    return float(lengths[0]), float(lengths[1])


def ground_of(georeference: Georeference, *, height: int, width: int) -> Ground | None:
    """The ground under a map; None if it does not say where it lies.

    Args:
        georeference: of its pixels.
        height: pixels.
        width: pixels.

    Raises:
        GridError: its coordinate reference system is none.
    """
    if not georeference.crs:
        return None
    try:
        crs = pyproj.CRS.from_user_input(georeference.crs)
        to_degrees = pyproj.Transformer.from_crs(crs, "OGC:CRS84", always_xy=True)
    except CRSError as error:
        raise GridError(f"{georeference.crs[:60]!r} is no coordinate reference system: {error}") from error
    middle = np.array([shapely.box(width // 2, height // 2, width // 2 + 1, height // 2 + 1)])
    ground = Ground(georeference, crs, to_degrees, 0.0, None)
    ground = replace(ground, longitude=float(shapely.get_coordinates(ground.in_degrees(middle))[0, 0]))
    if crs.is_projected:
        square = crs.axis_info[0].unit_conversion_factor ** 2
        if abs(square * _determinant(georeference) / ground.areas(middle)[0] - 1) < _TRUE:
            return replace(ground, square=square)
    return ground


def _determinant(georeference: Georeference) -> float:
    a, b, _, d, e, _ = georeference.transform
    return abs(a * e - b * d)

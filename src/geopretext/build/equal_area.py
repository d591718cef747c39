"""Areas and uniform points on the WGS 84 ellipsoid, by its cylindrical equal-area projection.

A degree is no unit of area: at 60 degrees a square degree is half of one at the equator. In this projection equal areas
of the plane are equal areas of the Earth, meridians and parallels stay straight, and a box in degrees stays a box, so
that a point drawn evenly from a box of the plane is drawn evenly from that box of the Earth.
"""

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

Array = npt.NDArray[np.float64]

_PLANE = "EPSG:6933"  # WGS 84 / NSIDC EASE-Grid 2.0 Global: cylindrical equal-area, metres
_LONGEST_EDGE = 0.1  # degrees; a straight edge in degrees is bent in the plane: by less than 2 m up to this length


def to_plane(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Degrees to metres of the equal-area plane: (x, y)."""
    x, y = _projection("OGC:CRS84", _PLANE).transform(lon, lat)
    return np.asarray(x), np.asarray(y)


def to_degrees(x: Array, y: Array) -> tuple[Array, Array]:
    """Metres of the equal-area plane to degrees: (lon, lat)."""
    lon, lat = _projection(_PLANE, "OGC:CRS84").transform(x, y)
    return np.asarray(lon), np.asarray(lat)


def areas(polygons: npt.NDArray[Any]) -> Array:
    """Area of each polygon on the ellipsoid, km²; its edges are straight in degrees, as files of polygons mean them."""

    def project(points: Array) -> Array:
        return np.stack(to_plane(points[:, 0], points[:, 1]), axis=1)

    return np.asarray(shapely.area(shapely.transform(shapely.segmentize(polygons, _LONGEST_EDGE), project)) / 1e6)


@lru_cache
def _projection(start: str, end: str) -> Any:
    return pyproj.Transformer.from_crs(start, end, always_xy=True)

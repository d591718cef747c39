"""Where places may lie: a box or polygons, between the latitudes that UTM zones reach."""

from pathlib import Path
from typing import Any

import numpy as np
import shapely

from geopretext.build.grid import NORTHERNMOST, SOUTHERNMOST
from geopretext.build.polygon_file import read_polygons, wrap_longitudes
from geopretext.errors import InputError

WITHIN_UTM = shapely.box(-180, SOUTHERNMOST, 180, NORTHERNMOST)
"""Tiles lie on UTM grids, so that no place outside of them is ever drawn."""


def box_region(*, west: float, south: float, east: float, north: float) -> Any:
    """A box in degrees; with ``west`` > ``east`` it goes across the antimeridian, and comes back as two boxes.

    Raises:
        InputError: its corners are swapped, are none on the Earth, or all of it lies outside the UTM zones.
    """
    where = f"box {west:g},{south:g},{east:g},{north:g}"
    if not (abs(west) <= 180 and abs(east) <= 180 and abs(south) <= 90 and abs(north) <= 90):
        raise InputError(
            "longitudes are -180 to 180 and latitudes -90 to 90", where=where, hint="the order is W,S,E,N, in degrees"
        )
    if south >= north:
        raise InputError(f"south {south:g} is not below north {north:g}", where=where, hint="the order is W,S,E,N")
    if west == east:
        raise InputError("has no width", where=where, hint="the order is W,S,E,N")
    if west > east:
        width = east + 360 - west
        if width > 180:
            raise InputError(
                f"west {west:g} lies east of {east:g}: across the antimeridian that is {width:g} degrees wide",
                where=where,
                hint="if the corners are swapped: the order is W,S,E,N",
            )
        east += 360
    return _reachable(wrap_longitudes(np.array([shapely.box(west, south, east, north)]))[0], where)


def read_region(path: str | Path) -> Any:
    """All polygons of a file or URL as one geometry.

    Raises:
        InputError: it is no file of polygons, or all of them lie outside the UTM zones.
    """
    return _reachable(shapely.union_all(read_polygons(path).geometry.to_numpy()), str(path))


def _reachable(region: Any, where: str) -> Any:
    region = shapely.intersection(region, WITHIN_UTM)
    if shapely.area(region) == 0:
        raise InputError(
            f"has no area between {-SOUTHERNMOST:g} S and {NORTHERNMOST:g} N",
            where=where,
            hint="UTM grids, and so tiles, end there",
        )
    return region

"""Files of a product by template: one file, one a year, or tiles of whole degrees that are named after a corner."""

import math
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from geopretext.build.source import Query
from geopretext.errors import RecipeError

_FIELDS = ("ns", "lat", "ew", "lon", "year")
_BEYOND = 1e-3
"""of a tile's side: so much farther than the place needs is looked, since resampling blends across borders"""


@dataclass(frozen=True)
class Tiling:
    """A grid of tiles in degrees."""

    degrees: int
    """side of a tile; its corners lie on multiples of it"""
    corner: Literal["south-west", "north-west"] = "south-west"
    """by which a tile is named"""

    def __post_init__(self) -> None:
        if not 1 <= self.degrees <= 90 or 180 % self.degrees:
            raise RecipeError(f"degrees is {self.degrees}", hint="side of a tile: a divisor of 180, at most 90")

    def around(self, query: Query) -> Iterator[tuple[int, int]]:
        """Named corners (lat, lon) of the tiles that a query's box touches; that of the place itself first."""
        west, south, east, north = query.box
        east += 360.0 if west > east else 0.0
        beyond, side = self.degrees * _BEYOND, self.degrees
        rows = range(_step(south - beyond, side), _step(north + beyond, side) + 1)
        columns = range(_step(west - beyond, side), _step(east + beyond, side) + 1)
        own = (_step(query.lat, side), _wrapped(_step(query.lon, side), side))
        tiles = dict.fromkeys((row, _wrapped(column, side)) for row in rows for column in columns)
        for row, column in sorted(tiles, key=lambda tile: (tile != own, tile)):
            if -90 <= row * side < 90:
                yield row * side + (side if self.corner == "north-west" else 0), column * side


def _step(degrees: float, side: int) -> int:
    return math.floor(degrees / side)


def _wrapped(column: int, side: int) -> int:
    """Tiles east of 180 degrees are those east of -180."""
    return (column * side + 180) % 360 // side - 180 // side


def check_template(template: str, tiling: Tiling | None, *, where: str) -> None:
    """Refuse a template with fields that are unknown, or that do not go with the tiling.

    Raises:
        RecipeError: names the field, or what does not go together.
    """
    try:
        fields = {name for _, name, _, _ in string.Formatter().parse(template) if name is not None}
        unknown = sorted(fields - set(_FIELDS))
        if not unknown:
            _fill(template, 0, 0, 2000)
    except ValueError as error:
        raise RecipeError(f"path {template!r} is no template: {error}", where=where) from None
    if unknown:
        raise RecipeError(
            f"path {template!r} has a field {unknown[0]!r}", where=where, hint=f"there are {', '.join(_FIELDS)}"
        )
    if bool(fields & {"lat", "lon"}) != (tiling is not None):
        raise RecipeError(
            f"path {template!r} and tiles do not go together",
            where=where,
            hint="tiles: {degrees: 3} and a path with {ns}{lat:02d}{ew}{lon:03d}, or neither",
        )


def has_year(template: str) -> bool:
    """Whether there is one file a year."""
    return any(name == "year" for _, name, _, _ in string.Formatter().parse(template))


def paths_for(template: str, tiling: Tiling | None, query: Query, year: int) -> list[str]:
    """Files that hold a place; the first one on top."""
    corners = [(0, 0)] if tiling is None else tiling.around(query)
    return [_fill(template, lat, lon, year) for lat, lon in corners]


def _fill(template: str, lat: int, lon: int, year: int) -> str:
    return template.format(
        ns="N" if lat >= 0 else "S", lat=abs(lat), ew="E" if lon >= 0 else "W", lon=abs(lon), year=year
    )

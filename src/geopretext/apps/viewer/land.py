"""Land under the points of a map: outlines of the continents, of the Earth or of a synthetic one.

The Earth's are those of Natural Earth at 1:110 million (public domain), which the wheels of pyogrio carry; a synthetic
planet's follow from its own elevation. Neither needs a network or a file of ours; decision 124 says why.
"""

from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.apps.viewer.planet import seed_of

_OUTLINES = "tests/fixtures/naturalearth_lowres/naturalearth_lowres.shp"
_STEP = 1.0
"""degrees between the points at which a synthetic planet's elevation is asked for"""

Ring = npt.NDArray[np.float64]
"""(n, 2): longitude and latitude in degrees, closed"""


@dataclass(frozen=True)
class Land:
    """Rings that, filled by the even-odd rule, are the land."""

    rings: tuple[Ring, ...]
    source: str
    """what is shown to say where it comes from; of no land, why there is none"""


@lru_cache(maxsize=8)
def land_of(planet: str) -> Land:
    """The land of a planet, see ``planet_of``."""
    seed = seed_of(planet)
    return _earth() if seed is None else _synthetic(seed)


def _earth() -> Land:
    missing = [library for library in ("pyogrio", "shapely") if find_spec(library) is None]
    if missing:
        return Land((), f'no coastlines: {missing[0]} is not installed (pip install "geopretext[viewer]")')
    outlines = Path(str(files("pyogrio"))) / _OUTLINES
    if not outlines.exists():
        return Land((), "no coastlines: this version of pyogrio carries none")
    import pyogrio.raw
    import shapely

    _, _, shapes, _ = pyogrio.raw.read(outlines, columns=[])
    # Land and sea only: borders of countries are not what this map is about.
    land = shapely.unary_union(shapely.make_valid(shapely.from_wkb(shapes)))
    return Land(tuple(_rings_of(land)), "Coastlines: Natural Earth 1:110m")


def _rings_of(land: Any) -> list[Ring]:
    import shapely

    polygons = [part for part in shapely.get_parts(land) if part.geom_type == "Polygon"]
    return [shapely.get_coordinates(ring) for polygon in polygons for ring in (polygon.exterior, *polygon.interiors)]


def _synthetic(seed: int) -> Land:
    if find_spec("contourpy") is None:
        return Land((), 'no coastlines: contourpy is not installed (pip install "geopretext[viewer]")')
    from contourpy import FillType, contour_generator

    from geopretext.data.synthetic.climate import climate_at  # a planet takes a while to import

    lat = np.arange(-90, 90 + _STEP / 2, _STEP)
    lon = np.arange(-180, 180 + _STEP / 2, _STEP)
    grid_lat, grid_lon = np.meshgrid(lat, lon, indexing="ij")
    height = np.asarray(climate_at(seed, grid_lat, grid_lon).land, np.float64)
    contours = contour_generator(lon, lat, height, fill_type=FillType.OuterOffset)
    filled: Any = contours.filled(0.0, float(height.max()) + 1)  # what it is depends on ``fill_type``
    points, offsets = filled
    rings = [
        np.asarray(part[start:stop], np.float64)
        for part, starts in zip(points, offsets, strict=True)
        for start, stop in pairwise(starts)
    ]
    return Land(tuple(rings), f"Coastlines: of synthetic Earth {seed}")

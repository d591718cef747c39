"""Maps of the synthetic Earth as items of an archive: Dynamic World by granule, the others by squares of a degree.

The squares are in degrees (EPSG:4326), as those products are published, so that reading them onto a tile's grid
resamples them twice: from the planet's 10 m pixels to theirs, and from theirs to the tile's.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import shapely

from geopretext.build.grid import Grid
from geopretext.build.synthetic_cogs import Layer, native, paste
from geopretext.build.synthetic_granules import Granule
from geopretext.build.synthetic_images import render
from geopretext.build.synthetic_items import PROJECTION, Draft
from geopretext.data.synthetic import SyntheticEarth
from geopretext.modality import PUBLISHED

_MARGIN = 48
"""pixels that are drawn beyond the edges of granules, so that nothing is missing at tiles on them"""


@dataclass(frozen=True)
class _Product:
    """A product in squares of a degree."""

    item: str
    """id, with the place of the square's name"""
    per_degree: int
    """pixels"""
    assets: Mapping[str, tuple[str, str, float | None]]
    """by key: modality and band, and the number for "not observed" """
    dtype: str
    year: int
    nearest: bool = True
    """how its pixels follow from those of 10 m"""
    properties: tuple[tuple[str, str], ...] = ()


PRODUCTS = {
    "esa-worldcover": _Product(
        "ESA_WorldCover_10m_2020_v100_{square}",
        12000,
        {"map": ("esa_worldcover", "map", 0)},
        "uint8",
        2020,
        properties=(("esa_worldcover:product_version", "1.0.0"),),
    ),
    "eth-canopy-height": _Product(
        "ETH_GlobalCanopyHeight_10m_2020_{square}",
        12000,
        {"height": ("canopy_height_eth", "height", 255), "std": ("canopy_height_eth", "std", 255)},
        "uint8",
        2020,
    ),
    "cop-dem-glo-30": _Product(
        "DEM_30m_{square}", 3600, {"data": ("aster", "elevation", -9999)}, "float32", 2020, nearest=False
    ),
}
"""by id of the collection"""


def yearly_name(granule: Granule, year: int) -> tuple[str, str]:
    """(collection, item) of what ``yearly_item`` makes."""
    return "dynamic-world", f"DW_{year}_T{granule.name}"


def square_name(collection: str, corner: tuple[int, int]) -> tuple[str, str]:
    """(collection, item) of what ``square_item`` makes."""
    lat, lon = corner
    name = f"{'N' if lat >= 0 else 'S'}{abs(lat):02d}{'E' if lon >= 0 else 'W'}{abs(lon):03d}"
    return collection, PRODUCTS[collection].item.format(square=name)


def yearly_item(seed: int, granule: Granule, year: int) -> Draft:
    """Dynamic World of a year over a granule, in its UTM zone; codes 1 to 9, 0 where nothing is known."""
    name = "dynamic_world"
    codes = render(seed, granule.grid, [name])[name][0]
    layer = native(codes, granule.grid, metres=10, nodata=0, overviews="nearest", title=PUBLISHED[name].title)
    collection, item = yearly_name(granule, year)
    return Draft(
        collection=collection,
        item=item,
        outline=granule.grid.outline(),
        span=_year(year),
        layers={"label": layer},
        properties={"gsd": 10, "proj:code": f"EPSG:{granule.grid.crs}"},
        extensions=(PROJECTION,),
    )


def squares_of(granules: Iterable[Granule]) -> tuple[tuple[int, int], ...]:
    """South-western corners (lat, lon) of the squares of a degree that the granules touch."""
    touched = set()
    for granule in granules:
        west, south, east, north = _reach(granule).outline().bounds
        touched |= {
            (lat, lon)
            for lat in range(int(np.floor(south)), int(np.floor(north)) + 1)
            for lon in range(int(np.floor(west)), int(np.floor(east)) + 1)
        }
    return tuple(sorted(touched))


def square_item(seed: int, granules: Sequence[Granule], collection: str, corner: tuple[int, int]) -> Draft:
    """One square of a product, drawn where there are granules.

    Args:
        seed: which planet.
        granules: all of the archive.
        collection: a key of ``PRODUCTS``.
        corner: latitude and longitude of its south-western corner.
    """
    product, (lat, lon) = PRODUCTS[collection], corner
    step, size = 1 / product.per_degree, product.per_degree
    layers = {
        key: Layer(
            np.full((size, size), nodata, product.dtype),
            (step, 0.0, float(lon), 0.0, -step, float(lat + 1)),
            4326,
            nodata,
            "nearest" if product.nearest else "average",
            PUBLISHED[modality].title,
        )
        for key, (modality, _, nodata) in product.assets.items()
    }
    square = shapely.box(lon, lat, lon + 1, lat + 1)
    for granule in granules:
        grid = _reach(granule)
        if grid.outline().intersects(square):
            for key, values in _drawn(seed, grid, product).items():
                paste(layers[key], values, grid)
    return Draft(
        collection=collection,
        item=square_name(collection, corner)[1],
        outline=square,
        span=_year(product.year),
        layers=layers,
        properties={"proj:code": "EPSG:4326", **dict(product.properties)},
        extensions=(PROJECTION,),
    )


def _drawn(seed: int, grid: Grid, product: _Product) -> dict[str, npt.NDArray[np.generic]]:
    """The product's assets at 10 m, (H, W)."""
    if not product.nearest:
        height = SyntheticEarth(seed).elevation(
            crs=grid.crs, x0=grid.left, y0=grid.top, height=grid.height, width=grid.width
        )
        return dict.fromkeys(product.assets, height)
    maps = render(seed, grid, {modality for modality, _, _ in product.assets.values()})
    return {
        key: maps[modality][PUBLISHED[modality].band_names.index(band)]
        for key, (modality, band, _) in product.assets.items()
    }


def _reach(granule: Granule) -> Grid:
    """A granule's grid and a margin around it."""
    grid, beyond = granule.grid, 10 * _MARGIN
    size = grid.height + 2 * _MARGIN
    return Grid(grid.crs, grid.left - beyond, grid.top + beyond, size, size)


def _year(year: int) -> tuple[np.datetime64, np.datetime64]:
    return np.datetime64(f"{year}-01-01T00:00:00", "s"), np.datetime64(f"{year}-12-31T23:59:59", "s")

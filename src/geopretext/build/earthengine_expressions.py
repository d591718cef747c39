"""Expressions that Earth Engine computes: what lies at a place, an image on a grid, climate by the month.

All are plain functions of their arguments; nothing is asked of the service. They rest on these facts (the functions'
own descriptions in its list of algorithms): ``Image.addBands`` gives a band whose name is taken another name, so that
a masked stand-in appears only where an image lacks the band; ``Image.resample`` interpolates where pixels of the
asset's own projection become those of the request, and leaves masked what is; ``Image.unmask`` with ``sameFootprint``
false fills beyond the edge of the image as well; ``Reducer.toList`` keeps rows whose optional columns are null.
"""

from collections.abc import Sequence
from typing import Any

import ee
import numpy as np

from geopretext.build.earthengine_client import MISSING
from geopretext.build.earthengine_options import EarthBand, EarthProduct
from geopretext.build.grid import Grid
from geopretext.build.source import Query, Resampling
from geopretext.modality import Modality

CRS = "geopretext_crs"
"""property that a search adds to images"""
_MONTH = "geopretext_month"
_MODES = {"bilinear": "bilinear", "cubic": "bicubic"}
_ERROR = 10
"""metres to which a footprint is followed, at least"""


def columns_of(product: EarthProduct) -> list[str]:
    """Properties that a search asks for; the first two are there in every image."""
    wanted = ["system:index", "system:time_start", CRS, product.cloud, product.group_by, *product.properties]
    return list(dict.fromkeys(name for name in wanted if name))


def rows_of_images(product: EarthProduct, asset: str, query: Query) -> Any:
    """A list with a list for each image that covers a query's box in its time: the columns of ``columns_of``."""
    images = _filtered(product, asset, query.start, query.stop)
    box = ee.Geometry.BBox(*query.box)
    images = images.filterBounds(box)
    images = images.filter(ee.Filter.contains(leftField=".geo", rightValue=box, maxError=_ERROR))
    if product.groups:
        images = images.filter(ee.Filter.inList(product.group_by, list(product.groups)))
    images = images.map(lambda image: image.set(CRS, ee.Image(image).select(0).projection().crs()))
    return _rows(images, columns_of(product), required=2)


def image_of(modality: Modality, product: EarthProduct, item: str, bands: Sequence[str], resampling: Resampling) -> Any:
    """Some bands of one image of a collection; those that it lacks are masked."""
    names = [product.bands[band].band for band in bands]
    image = _resampled(ee.Image(item), resampling).addBands(_masked(names)).select(names)
    return _sent(_in_units(image, product, bands), modality)


def static_image(modality: Modality, product: EarthProduct, bands: Sequence[str], resampling: Resampling) -> Any:
    """An image without a date: that of the recipe, the first of its collection, or one for each band."""
    home = ee.Image(product.image) if product.image else ee.ImageCollection(next(iter(product.assets.values()))).first()
    parts = []
    for name in bands:
        band = product.bands[name]
        image = (ee.Image(band.image) if band.image else home).select([band.band])
        image = ee.Terrain.slope(image) if band.slope else image
        parts.append(_scaled(_resampled(image, resampling), band).rename([name]))
    return _sent(ee.Image.cat(parts), modality)


def composite(
    modality: Modality,
    product: EarthProduct,
    grid: Grid,
    start: np.datetime64,
    stop: np.datetime64,
    bands: Sequence[str],
    resampling: Resampling,
) -> Any:
    """The images of some time reduced to one; all masked if there are none."""
    asset = next(iter(product.assets.values()))
    images = _filtered(product, asset, start, stop).filterBounds(outline(grid))
    names = [product.bands[band].band for band in bands]
    empty = ee.ImageCollection([_masked(names)])
    images = images.map(lambda image: _resampled(ee.Image(image), resampling).select(names)).merge(empty)
    reduced = {"mode": images.mode, "median": images.median, "mean": images.mean}[product.reduce]()
    return _sent(_in_units(reduced, product, bands), modality)


def climate_rows(product: EarthProduct, grid: Grid, start: np.datetime64, stop: np.datetime64) -> Any:
    """A list with a list for each month: ``YYYY-MM`` and the mean of each variable over the tile, null over sea."""
    names = list(product.variables)
    images = _filtered(product, product.collection, start, stop).select(list(product.variables.values()), names)
    region, projection = outline(grid), f"EPSG:{grid.crs}"

    def measure(image: Any) -> Any:
        image = ee.Image(image)
        means = image.reduceRegion(reducer=ee.Reducer.mean(), geometry=region, scale=grid.step, crs=projection)
        return ee.Feature(None, means).set(_MONTH, image.date().format("YYYY-MM"))

    return _rows(images.map(measure), [_MONTH, *names], required=1)


def outline(grid: Grid) -> Any:
    """The square of a grid in its own projection."""
    return ee.Geometry.Rectangle(list(grid.bounds), proj=f"EPSG:{grid.crs}", geodesic=False)


def _filtered(product: EarthProduct, asset: str, start: np.datetime64 | None, stop: np.datetime64 | None) -> Any:
    images = ee.ImageCollection(asset)
    if start is not None and stop is not None:
        images = images.filterDate(str(start.astype("datetime64[s]")), str(stop.astype("datetime64[s]")))
    for name, value in product.where.items():
        images = images.filter(ee.Filter.eq(name, value))
    return images


def _rows(collection: Any, columns: list[str], *, required: int) -> Any:
    return collection.reduceColumns(ee.Reducer.toList(len(columns), len(columns) - required), columns).get("list")


def _masked(names: Sequence[str]) -> Any:
    """An image of some bands in which nothing is observed."""
    return ee.Image.constant([0] * len(names)).rename(list(names)).selfMask()


def _in_units(image: Any, product: EarthProduct, bands: Sequence[str]) -> Any:
    """Bands of an image (in the order of ``bands``) by their names in the modality and in its units."""
    image = image.rename(list(bands))
    if all((product.bands[name].scale, product.bands[name].offset) == (1.0, 0.0) for name in bands):
        return image
    return ee.Image.cat([_scaled(image.select([name]), product.bands[name]) for name in bands])


def _resampled(image: Any, resampling: Resampling) -> Any:
    return image.resample(_MODES[resampling]) if resampling in _MODES else image


def _scaled(image: Any, band: EarthBand) -> Any:
    image = image.multiply(band.scale) if band.scale != 1.0 else image
    return image.add(band.offset) if band.offset != 0.0 else image


def _sent(image: Any, modality: Modality) -> Any:
    """As floats that hold every number of the modality exactly, with ``MISSING`` where there is none."""
    image = image.unmask(MISSING, False)
    return image.toDouble() if modality.dtype in ("int32", "uint32") else image.toFloat()

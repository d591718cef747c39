"""A STAC item with a raster for each band, as a scene.

Whether Sentinel-2's numbers carry the offset of processing baseline 04.00 is told by what the item says
(``data.stac_offset``), as it is for builds. Assets are read by GDAL over the network; an archive that wants signed
addresses (Planetary Computer) needs items whose addresses are signed. Never tried against a live archive.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.offset import OFFSET
from geopretext.data.stac_offset import is_sentinel2, offset_in
from geopretext.data.units import REFLECTANCE
from geopretext.errors import BandError, SourceError, UnitError
from geopretext.predict.band_files import Layer, join, look, one_unit
from geopretext.predict.file_scene import BandFile, FileScene
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.open_scene import SceneSource, is_url
from geopretext.predict.raster_facts import (
    OFFSET_UNIT,
    UNITS,
    Numbers,
    check_unit_name,
    missing_numbers,
    numbers_of,
    read_date,
    scaled_numbers,
)
from geopretext.predict.scene_clouds import SCENE_CLASSES, cloud_record
from geopretext.predict.stac_item import ItemBand, StacItem, read_item

_SCALE = 1e-4
"""reflectance of a number of Sentinel-2's"""
_DECIDE = f"decide with --unit: {REFLECTANCE!r}, or {OFFSET_UNIT!r}"


def open_source(source: SceneSource) -> FileScene:
    """See ``open_scene.SceneSource.open``."""
    where = source.path
    if source.bands is not None:
        raise BandError("an item names its bands itself", where=where, hint="leave --bands out")
    check_unit_name(source.unit, where=where)
    item = read_item(where)
    time = read_date(source.date or item.properties.get("datetime"), where=where)
    ours = is_sentinel2(dict(item.properties), item=item.id)
    stated = _sentinel2_numbers(item, source, time) if ours else None
    datasets = OpenDatasets()
    layers: dict[str, Layer] = {}
    meanings: dict[str, Numbers] = {}
    for name, band in item.bands.items():
        with datasets.lend(band.href, plain=True, named_by=f"the item {where}") as dataset:
            file = BandFile(band.href, band.index, missing=() if band.nodata is None else (band.nodata,))
            if name != SCENE_CLASSES:
                numbers = meanings[name] = stated or _other_numbers(band, dataset, source, where)
                missing = {*file.missing, *missing_numbers(numbers.unit, dataset.dtypes)}
                file = replace(file, scale=numbers.scale, offset=numbers.offset, missing=tuple(sorted(missing)))
            layers[name] = look(dataset, file, where=band.href, allow_no_crs=source.allow_no_crs)
    numbers = one_unit(meanings, where=where)
    return join(
        layers,
        where=where,
        unit=numbers.unit,
        level=source.level or item.level,
        time=time,
        mask_clouds=source.clouds == "mask",
        record={
            "kind": "STAC item",
            "path": where,
            "item": item.id,
            "files": {name: band.href.partition("?")[0] for name, band in item.bands.items()},
            "unit_known_from": numbers.known_from,
            "scale": numbers.scale,
            "offset": numbers.offset,
            "clouds": cloud_record(source.clouds, found=SCENE_CLASSES in item.bands),
        },
        local=_local(item),
        datasets=datasets,
    )


def _sentinel2_numbers(item: StacItem, source: SceneSource, time: np.datetime64 | None) -> Numbers:
    """What numbers of Sentinel-2 mean; a declared unit decides where the item contradicts itself.

    Raises:
        UnitError: the item leaves it open, or another unit is declared.
    """
    where, bands = source.path, [band for name, band in item.bands.items() if name != SCENE_CLASSES]
    if source.unit is not None:
        if source.unit not in (REFLECTANCE, OFFSET_UNIT):
            raise UnitError(f"{source.unit!r} is no unit of Sentinel-2's numbers", where=where, hint="leave --unit out")
        return Numbers(REFLECTANCE, "declared", offset=-float(OFFSET) * (source.unit == OFFSET_UNIT))
    scales = {band.scale for band in bands if band.scale is not None}
    if not all(np.isclose(scale, _SCALE) for scale in scales):
        raise UnitError(
            f"states scale {', '.join(f'{scale:g}' for scale in sorted(scales))} where Sentinel-2 has {_SCALE:g}",
            where=where,
            hint="its numbers are not those of the product",
        )
    offsets = {round(band.offset / _SCALE) for band in bands if band.offset is not None}
    if len(offsets) > 1:
        raise UnitError(
            f"its bands state different offsets: {', '.join(map(str, sorted(offsets)))}",
            where=where,
            hint=_DECIDE,
        )
    try:
        subtract, why = offset_in(
            item.properties, item=item.id, time=time, declared=float(offsets.pop()) if offsets else None
        )
    except SourceError as error:
        raise UnitError(error.what, where=where, hint=_DECIDE) from error
    return Numbers(REFLECTANCE, why, offset=-float(subtract))


def _other_numbers(band: ItemBand, dataset: Any, source: SceneSource, where: str) -> Numbers:
    """What numbers of another satellite mean: by the item, else by the file."""
    tags = (band.scale if band.scale is not None else 1.0, band.offset or 0.0)
    if tags != (1.0, 0.0):
        return scaled_numbers({tags}, source.unit, where=where, stated_in="scale and offset of the item")
    if source.unit is None and band.unit in UNITS:
        return Numbers(band.unit, "the unit that the item states")
    return numbers_of(dataset, [band.index], source.unit, where=where)


def _local(item: StacItem) -> tuple[Path, ...]:
    """Files on this machine, if all are."""
    hrefs = dict.fromkeys(band.href for band in item.bands.values())
    return () if any(is_url(href) for href in hrefs) else tuple(map(Path, hrefs))

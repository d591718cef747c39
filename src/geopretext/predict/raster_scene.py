"""One raster that rasterio reads, here or at an address, as a scene."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from geopretext.data.units import REFLECTANCE
from geopretext.errors import CorruptError, InputError, MissingLibraryError
from geopretext.predict.file_scene import BandFile, FileScene
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.open_scene import SceneSource, is_url
from geopretext.predict.raster_facts import (
    georeference_of,
    missing_numbers,
    names_of,
    numbers_of,
    product_facts,
    read_date,
)
from geopretext.predict.scene_clouds import SCENE_CLASSES, cloud_record

try:
    import rasterio
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_BESIDE = (".aux.xml", ".ovr")
"""files that viewers of rasters write beside them, which change no number"""


def open_source(source: SceneSource) -> FileScene:
    """See ``open_scene.SceneSource.open``."""
    if not is_url(source.path) and not Path(source.path).stat().st_size:
        raise CorruptError("is empty", where=source.path, hint="copy or download it again")
    datasets = OpenDatasets()
    with datasets.lend(source.path) as dataset:
        scene = _scene(source, dataset)
    return replace(scene, _datasets=datasets)


def _scene(source: SceneSource, dataset: Any) -> FileScene:
    where = source.path
    georeference = georeference_of(dataset, where=where, allow_no_crs=source.allow_no_crs)
    indexes = names_of(dataset, source.bands, where=where)
    classes = indexes.pop(SCENE_CLASSES, None)
    if not indexes:
        raise InputError("has no bands but its scene classification", where=where)
    dtypes = sorted({dataset.dtypes[index - 1] for index in indexes.values()})
    numbers = numbers_of(dataset, tuple(indexes.values()), source.unit, where=where)
    missing = missing_numbers(numbers.unit, dtypes)
    clouds = BandFile(where, classes) if classes is not None and source.clouds == "mask" else None
    level, time = product_facts(Path(where).name)
    return FileScene(
        where=where,
        files={
            name: BandFile(where, index, scale=numbers.scale, offset=numbers.offset, missing=missing)
            for name, index in indexes.items()
        },
        unit=numbers.unit,
        dtype=dtypes[0] if len(dtypes) == 1 else "float32",
        height=dataset.height,
        width=dataset.width,
        georeference=georeference,
        level=source.level or level,
        time=read_date(source.date, where=where) or time,
        record={
            "kind": "raster",
            "path": where,
            "bands": list(indexes),
            "pixel": georeference.transform[0],
            "unit": numbers.unit,
            "unit_known_from": numbers.known_from,
            "scale": numbers.scale,
            "offset": numbers.offset,
            "clouds": cloud_record(source.clouds, found=classes is not None),
        },
        clouds=clouds,
        floor=1.0 if numbers.unit == REFLECTANCE and missing else None,
        local=_files(dataset),
    )


def _files(dataset: Any) -> tuple[Path, ...]:
    """All that a raster's numbers come from, a VRT's sources and a mask's file among them; none if one is elsewhere."""
    found: dict[Path, None] = {}
    waiting = [] if is_url(dataset.name) else [dataset.name]
    while waiting:
        name = waiting.pop()
        path = Path(name)
        if not path.exists():
            return ()
        if path in found or name.endswith(_BESIDE):
            continue
        found[path] = None
        if name == dataset.name:
            waiting += dataset.files
        elif path.suffix.lower() == ".vrt":
            with rasterio.open(path) as inner:
                waiting += inner.files
    return tuple(found)

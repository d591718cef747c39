"""A folder with a file for each band of Sentinel-2, as a scene.

Names end with the band: ``B02.tif``, ``S2A_MSIL2A_20170617T113321_36_85_B02.tif`` as in BigEarthNet,
``T32TPS_20240830T100559_B02_10m.jp2`` as in a product, whose folders ``R10m``, ``R20m`` and ``R60m`` may lie in it.
Other files are left alone.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from geopretext.errors import BandError, InputError
from geopretext.predict.band_files import Layer, Sighting, band_in, choose, join, look, one_unit
from geopretext.predict.file_scene import BandFile, FileScene
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.raster_facts import Numbers, missing_numbers, numbers_of, product_facts, read_date
from geopretext.predict.scene_clouds import SCENE_CLASSES, cloud_record

_SUFFIXES = (".tif", ".tiff", ".jp2")
_TILE = re.compile(r"(?:^|_)(T\d{2}[A-Z]{3})(?=_)")
_DATE = re.compile(r"_(\d{8}T\d{6})(?=_)")
"""the first in a name is when it was sensed; when it was processed may follow"""
_LANDSAT = re.compile(r"^(?:L[COTEM]\d\d_|HLS\.L30\.)", re.IGNORECASE)


def open_source(source: SceneSource) -> FileScene:
    """See ``open_scene.SceneSource.open``."""
    where, folder = source.path, Path(source.path)
    if source.bands is not None:
        raise BandError("files of a folder name their bands themselves", where=where, hint="leave --bands out")
    files = [path for pattern in ("*", "R[126]0m/*") for path in sorted(folder.glob(pattern))]
    chosen = choose(_sightings(files), where=where)
    if not chosen:
        raise InputError(
            "holds no file that is named like a band of Sentinel-2",
            where=where,
            hint="names end with the band, as B02.tif or T32TPS_20240830T100559_B02_10m.jp2",
        )
    _check_one_image(chosen.values(), where=where)
    datasets = OpenDatasets()
    layers: dict[str, Layer] = {}
    meanings: dict[str, Numbers] = {}
    for name, href in chosen.items():
        with datasets.lend(href, plain=True) as dataset:
            if dataset.count != 1:
                raise BandError(f"has {dataset.count} bands, and the name of one", where=href)
            file = BandFile(href)
            if name != SCENE_CLASSES:
                numbers = meanings[name] = numbers_of(dataset, [1], source.unit, where=href)
                missing = missing_numbers(numbers.unit, dataset.dtypes)
                file = BandFile(href, scale=numbers.scale, offset=numbers.offset, missing=missing)
            layers[name] = look(dataset, file, where=href, allow_no_crs=source.allow_no_crs)
    numbers = one_unit(meanings, where=where) if meanings else Numbers("", "")
    level, time = product_facts(" ".join([folder.name, Path(next(iter(chosen.values()))).stem]))
    return join(
        layers,
        where=where,
        unit=numbers.unit,
        level=source.level or level,
        time=read_date(source.date, where=where) or time,
        mask_clouds=source.clouds == "mask",
        record={
            "kind": "folder of bands",
            "path": where,
            "files": {name: Path(href).name for name, href in chosen.items()},
            "unit_known_from": numbers.known_from,
            "scale": numbers.scale,
            "offset": numbers.offset,
            "clouds": cloud_record(source.clouds, found=SCENE_CLASSES in chosen),
        },
        local=tuple(Path(href) for href in chosen.values()),
        datasets=datasets,
    )


def _check_one_image(hrefs: Iterable[str], *, where: str) -> None:
    """Refuse files whose names, in Sentinel-2's style, say that they are of different tiles or dates.

    Raises:
        InputError: names both.
    """
    for kind, pattern in (("tiles", _TILE), ("dates", _DATE)):
        found = [match[1] for href in hrefs if (match := pattern.search(Path(href).name))]
        if len(set(found)) > 1:
            raise InputError(
                f"mixes {kind}: {', '.join(dict.fromkeys(found))}",
                where=where,
                hint="a scene is of one place and date: give each a folder of its own",
            )


def _sightings(files: list[Path]) -> list[Sighting]:
    sightings = []
    for path in files:
        found = band_in(path.stem) if path.suffix.lower() in _SUFFIXES else None
        if found is None:
            continue
        if _LANDSAT.match(path.name):
            raise BandError(
                f"is a band of Landsat: its {found[0]} is not Sentinel-2's",
                where=str(path),
                hint="stack the bands into one file, and name them by Sentinel-2's that they correspond to (--bands)",
            )
        sightings.append(Sighting(found[0], found[1], str(path)))
    return sightings

"""Bands that lie in a file each: which file is which band, and that their pixels nest in each other."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.units import REFLECTANCE
from geopretext.errors import BandError, GridError, InputError, UnitError
from geopretext.predict.file_scene import BandFile, FileScene
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.raster_facts import georeference_of
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_clouds import SCENE_CLASSES

RESOLUTIONS = {
    **dict.fromkeys(("B2", "B3", "B4", "B8"), 10),
    **dict.fromkeys(("B5", "B6", "B7", "B8A", "B11", "B12", SCENE_CLASSES), 20),
    **dict.fromkeys(("B1", "B9", "B10"), 60),
}
"""Metres of a pixel of Sentinel-2's bands as they are measured, and of its scene classification (Sentinel-2 Products
Specification Document, S2-PDGS-TAS-DI-PSD, 14.9). Products hold resampled copies besides, as B01 at 20 m."""

_BAND = re.compile(r"(?:^|[-_.])(B(?:0?[1-9]|1[0-2]|8A)|SCL)(?:[-_.](\d+)m)?$", re.IGNORECASE)
_SAME = 1e-3
"""pixels: origins no farther apart are one"""


@dataclass(frozen=True)
class Sighting:
    """What a file's name says that it holds."""

    band: str
    resolution: int | None
    """metres, if the name says it"""
    href: str
    """of the file"""


@dataclass(frozen=True)
class Layer:
    """A band's file, and the grid that was found in it."""

    file: BandFile
    georeference: Georeference
    height: int
    width: int
    dtype: str


def band_in(name: str) -> tuple[str, int | None] | None:
    """The band that a name ends with, as ``T32TPS_20240830T100559_B02_10m``, and its resolution in metres."""
    found = _BAND.search(name)
    if found is None:
        return None
    band = found[1].upper()
    return band if band == SCENE_CLASSES else re.sub(r"^B0", "B", band), int(found[2]) if found[2] else None


def choose(sightings: Sequence[Sighting], *, where: str) -> dict[str, str]:
    """One file a band: of copies at several resolutions the one at which it is measured, else the finest.

    Raises:
        BandError: two files are the same band at the same resolution.
    """
    chosen: dict[str, str] = {}
    for band in RESOLUTIONS:
        found = [one for one in sightings if one.band == band]
        native = [one for one in found if one.resolution == RESOLUTIONS[band]]
        best = native or sorted(found, key=lambda one: one.resolution or 0)
        if len(best) > 1 and best[0].resolution == best[1].resolution:
            files = ", ".join(Path(one.href).name for one in best[:2])
            raise BandError(f"two files are band {band}: {files}", where=where, hint="a scene is of one place and date")
        if best:
            chosen[band] = best[0].href
    return chosen


def look(dataset: Any, file: BandFile, *, where: str, allow_no_crs: bool = False) -> Layer:
    """The grid of one band of an open file.

    Raises:
        GridError: it does not say where it lies.
        BandError: it has no such band.
    """
    if file.index not in dataset.indexes:
        raise BandError(f"has {dataset.count} bands, none is number {file.index}", where=where)
    georeference = georeference_of(dataset, where=where, allow_no_crs=allow_no_crs)
    return Layer(file, georeference, dataset.height, dataset.width, dataset.dtypes[file.index - 1])


def join(
    layers: Mapping[str, Layer],
    *,
    where: str,
    unit: str,
    level: str | None,
    time: np.datetime64 | None,
    mask_clouds: bool,
    record: Mapping[str, Any],
    datasets: OpenDatasets,
    local: tuple[Path, ...] = (),
) -> FileScene:
    """A scene on the grid of the finest band.

    Args:
        layers: by band; a scene classification is no band of the scene.
        where: for messages.
        unit: of the numbers as the files' scales and offsets leave them.
        level: L1C or L2A, if known.
        time: UTC, if known.
        mask_clouds: by the scene classification, if there is one.
        record: what was found so far.
        datasets: that are open.
        local: see ``FileScene``.

    Raises:
        InputError: there is no band.
        GridError: the pixels of a band are not whole numbers of the finest one's, from the same corner.
    """
    finest, placed = _placed(layers, where=where)
    classes = placed.pop(SCENE_CLASSES, None)
    dtypes = {layers[name].dtype for name in placed}
    side = finest.georeference.transform[0]
    return FileScene(
        where=where,
        files=placed,
        unit=unit,
        dtype=dtypes.pop() if len(dtypes) == 1 else "float32",
        height=finest.height,
        width=finest.width,
        georeference=finest.georeference,
        level=level,
        time=time,
        record={
            **record,
            "bands": list(placed),
            "unit": unit,
            "pixel": side,
            "resampled": {
                name: f"bilinear from {file.factor * side:g}" for name, file in placed.items() if file.factor > 1
            },
        },
        clouds=classes if mask_clouds else None,
        floor=1.0 if unit == REFLECTANCE and any(file.missing for file in placed.values()) else None,
        local=local,
        plain=True,
        _datasets=datasets,
    )


def _placed(layers: Mapping[str, Layer], *, where: str) -> tuple[Layer, dict[str, BandFile]]:
    """The finest band, and all files with how many of its pixels one of theirs has."""
    bands = [layer for name, layer in layers.items() if name != SCENE_CLASSES]
    if not bands:
        raise InputError(
            "holds no band", where=where, hint="its files are named like B02.tif or T32TPS_..._B02_10m.jp2"
        )
    finest = min(bands, key=lambda layer: layer.georeference.transform[0])
    return finest, {
        name: replace(layer.file, factor=_factor(name, layer, finest, where=where)) for name, layer in layers.items()
    }


def one_unit(units: Mapping[str, Any], *, where: str) -> Any:
    """What all bands' numbers mean.

    Raises:
        UnitError: bands differ.
    """
    first = next(iter(units))
    for name, numbers in units.items():
        if numbers != units[first]:
            raise UnitError(
                f"bands {first} and {name} differ in unit, scale or offset ({units[first]}, {numbers})",
                where=where,
                hint="give all of them in one unit",
            )
    return units[first]


def _factor(name: str, layer: Layer, finest: Layer, *, where: str) -> int:
    """Pixels of the finest band along one of this band's."""
    fine, own = finest.georeference, layer.georeference
    factor = round(own.transform[0] / fine.transform[0])
    reach = (layer.width * factor, layer.height * factor)
    steps = np.array([fine.transform[0] * factor, fine.transform[4] * factor])
    apart = np.abs(np.array([own.transform[0], own.transform[4]]) - steps) * (layer.width, layer.height)
    shift = np.abs(np.subtract([own.transform[2], own.transform[5]], [fine.transform[2], fine.transform[5]]))
    if own.crs != fine.crs:
        differs = f"CRS {own.crs} and {fine.crs}"
    elif reach != (finest.width, finest.height) or factor < 1:
        differs = (
            f"{layer.height} x {layer.width} pixels of {own.transform[0]:g},"
            f" and {finest.height} x {finest.width} of {fine.transform[0]:g}"
        )
    elif (apart > _SAME * fine.transform[0]).any() or (shift > _SAME * fine.transform[0]).any():
        differs = f"transform {own.transform} and {fine.transform}"
    else:
        return factor
    raise GridError(
        f"the pixels of {name} do not nest in those of the finest band: {differs}",
        where=where,
        hint="cut and resample all bands to one extent (gdalwarp -te)",
    )

"""What a tile is saved as from the viewer: a GeoTIFF or a table of one modality, or everything as NPZ or JSON."""

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geopretext.apps.viewer.describe import describe_modality, describe_tile, describe_vectors
from geopretext.data.tiles import Array, TileReader
from geopretext.errors import InputError, MissingLibraryError
from geopretext.modality import Modality, find_modality


@dataclass(frozen=True)
class Saved:
    """A file for the browser to save."""

    name: str
    content: bytes
    content_type: str


def save_tile(reader: TileReader, tile: int, form: str, modality: str = "") -> Saved:
    """A tile as a file.

    Args:
        reader: of the tiles.
        tile: its number.
        form: ``json`` (all that is known of the tile, without maps), ``npz`` (stored numbers of all modalities), or,
            for one map or series, ``tif`` (GeoTIFF of the stored numbers; of a series all bands of the first date,
            then those of the next) or ``csv`` (a row a pixel, of a series a row a pixel and date; empty where missing).
        modality: which of them; for ``tif`` and ``csv`` only.

    Raises:
        InputError: there is no such tile, form or map.
        MissingLibraryError: a GeoTIFF needs rasterio.
    """
    about = describe_tile(reader, tile)
    name = "".join(letter if letter.isalnum() or letter in "-_." else "_" for letter in about["id"])
    if form in _OF_ALL:
        return Saved(f"{name}.{form}", _OF_ALL[form](reader, tile, about), _TYPES[form])
    if form not in _OF_ONE:
        raise InputError(f"tiles are not saved as {form!r}", hint=f"one of {', '.join(_TYPES)}")
    chosen = find_modality(modality, reader.modalities)
    if chosen.kind.is_vector:
        raise InputError(f"modality {modality!r} is a {chosen.kind}, not a map", hint="save the tile as json or npz")
    return Saved(f"{name}_{chosen.name}.{form}", _OF_ONE[form](reader, tile, about, chosen), _TYPES[form])


def _json(reader: TileReader, tile: int, about: Mapping[str, Any]) -> bytes:
    modalities = [describe_modality(modality, None) for modality in reader.modalities.values()]
    content = {"tile": about, "vectors": describe_vectors(reader, tile), "modalities": modalities}
    return json.dumps(content, indent=1, ensure_ascii=False).encode()


def _npz(reader: TileReader, tile: int, about: Mapping[str, Any]) -> bytes:
    """Stored numbers of every modality, (bands, y, x), (bands,) or (dates, bands, y, x), and names of bands, and dates.

    Series are as long as the tile's dates are: their padding is left away.
    """
    raw = reader.read(list(reader.modalities), np.array([tile]))
    days = {name: np.array(dates, "datetime64[D]") for name, dates in about["dates"].items()}
    arrays = {name: array[0, : len(days[name])] if name in days else array[0] for name, array in raw.items()}
    named = {f"{name}_bands": np.array(modality.band_names) for name, modality in reader.modalities.items()}
    named |= {f"{name}_time": dates for name, dates in days.items()}
    content = io.BytesIO()
    np.savez_compressed(content, allow_pickle=False, **arrays, **named, tile=np.array(json.dumps(about)))
    return content.getvalue()


def _csv(reader: TileReader, tile: int, about: Mapping[str, Any], modality: Modality) -> bytes:
    values, valid = modality.decode(reader.read([modality.name], np.array([tile]))[modality.name])
    text = io.StringIO(newline="")
    table = csv.writer(text, lineterminator="\n")
    units = ["" if band.unit == "1" else f" ({band.unit})" for band in modality.bands]
    heads = ["row", "column", "x", "y", *(name + u for name, u in zip(modality.band_names, units, strict=True))]
    if modality.kind.is_series:
        table.writerow(["date", *heads])
        for day, bands, mask in zip(about["dates"][modality.name], values[0], valid[0], strict=False):
            table.writerows([day, *row] for row in _pixels(bands, mask, about, modality))
        return text.getvalue().encode()
    table.writerow(heads)
    bands, mask = (values, valid) if modality.kind.is_categorical else (values[0], valid[0])
    table.writerows(_pixels(bands, mask, about, modality))
    return text.getvalue().encode()


def _pixels(bands: Array, mask: Array, about: Mapping[str, Any], modality: Modality) -> Iterator[list[Any]]:
    """Row, column, x, y and the values of each pixel, of an image (bands, y, x)."""
    _, height, width = bands.shape
    for row in range(height):
        for column in range(width):
            cells = zip(bands[:, row, column], mask[:, row, column], strict=True)
            place = row, column, *_ground(about["transform"], row, column)
            yield [*place, *(_cell(modality, value) if known else "" for value, known in cells)]


def _ground(transform: Sequence[float] | None, row: int, column: int) -> tuple[float | str, float | str]:
    """Coordinates x and y of the middle of a pixel in the CRS of the tile; empty if nobody knows where it lies."""
    if transform is None:
        return "", ""
    a, b, c, d, e, f = transform
    return a * (column + 0.5) + b * (row + 0.5) + c, d * (column + 0.5) + e * (row + 0.5) + f


def _cell(modality: Modality, value: float) -> str:
    """A class by its name, a number with as many digits as give the same float32 again."""
    return modality.classes[int(value)].name if modality.classes else str(np.float32(value)).removesuffix(".0")


def _tif(reader: TileReader, tile: int, about: Mapping[str, Any], modality: Modality) -> bytes:
    try:
        from rasterio import Affine
        from rasterio.io import MemoryFile
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="save GeoTIFFs") from error
    raw = reader.read([modality.name], np.array([tile]))[modality.name][0]
    names, units = modality.band_names, tuple("" if band.unit == "1" else band.unit for band in modality.bands)
    if modality.kind.is_series:
        days = about["dates"][modality.name]
        if not days:
            raise InputError(f"series {modality.name!r} has no date here", where=f"tile {about['number']}")
        names, units = tuple(f"{day} {name}" for day in days for name in names), units * len(days)
        raw = raw[: len(days)].reshape(-1, *raw.shape[2:])
    profile = {
        "driver": "GTiff",
        "count": raw.shape[0],
        "height": raw.shape[1],
        "width": raw.shape[2],
        "dtype": raw.dtype,
        "compress": "deflate",
        "transform": Affine(*about["transform"]) if about["transform"] else None,
        "crs": f"EPSG:{about['crs']}" if about["crs"] else None,
        "nodata": modality.fill if modality.dtype == "float32" or modality.missing else None,
    }
    with MemoryFile() as memory:
        with memory.open(**profile) as file:
            file.write(raw)
            file.descriptions = names
            file.units = units
            file.update_tags(tile=about["id"], time=about["time"] or "", modality=modality.name)
            if modality.classes and raw.dtype == np.uint8:
                file.write_colormap(1, {label.code: _rgb(label.color) for label in modality.classes if label.color})
                file.update_tags(1, **{f"class_{label.code}": label.name for label in modality.classes})
        content: bytes = memory.read()
    return content


def _rgb(color: str) -> tuple[int, int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16), 255


_OF_ALL: dict[str, Callable[..., bytes]] = {"json": _json, "npz": _npz}
_OF_ONE: dict[str, Callable[..., bytes]] = {"tif": _tif, "csv": _csv}
_TYPES = {
    "json": "application/json",
    "npz": "application/octet-stream",
    "tif": "image/tiff",
    "csv": "text/csv; charset=utf-8",
}

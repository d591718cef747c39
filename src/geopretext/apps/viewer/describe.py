"""Modalities, tiles and their statistics as plain data that the pages draw from."""

import json
import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from geopretext.data.statistics import POOLED, Statistics
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import InputError
from geopretext.modality import BIOMES, ECOREGIONS, Band, Kind, Modality, Observed
from geopretext.predict.panels import class_colors
from geopretext.predict.quantities import place_text, truth_rows

_COMPOSITES = (
    ("true colour", ("B4", "B3", "B2")),
    ("colour infrared", ("B8", "B4", "B3")),
    ("short-wave infrared", ("B12", "B8A", "B4")),
    ("agriculture", ("B11", "B8", "B2")),
)
"""band combinations in common use for Sentinel-2 (custom scripts of Copernicus Browser have them by these names)"""
_DIGITS = 12
"""of the longest number of a tile"""


def describe_modality(modality: Modality, statistics: Statistics | None, level: str | None = None) -> dict[str, Any]:
    """A modality for the browser: bands with units, colours and percentiles, classes with colours, composites.

    Args:
        modality: which.
        statistics: of the tiles; None if there are none.
        level: processing level whose percentiles are wanted; those of all levels together if it has none of its own.
    """
    quantiles = _percentiles(modality, statistics, level)
    return {
        "name": modality.name,
        "title": modality.title or modality.name,
        "kind": str(modality.kind),
        "role": str(modality.role),
        "source": modality.source,
        "bands": [describe_band(band) | {"percentiles": quantiles.get(band.name)} for band in modality.bands],
        "classes": [
            {"code": label.code, "name": label.name, "color": color}
            for label, color in zip(modality.classes, class_colors(modality), strict=True)
        ]
        if modality.kind is Kind.CATEGORICAL_MAP
        else [],
        "composites": [
            {"title": title, "bands": list(bands)}
            for title, bands in _COMPOSITES
            if set(bands) <= set(modality.band_names)
        ],
    }


def describe_band(band: Band) -> dict[str, Any]:
    """A band for the browser."""
    return {
        "name": band.name,
        "title": band.title,
        "unit": "" if band.unit == "1" else band.unit,
        "wavelength": wavelength(band),
        "colours": _colours(band),
    }


def wavelength(band: Band) -> float | None:
    """Central wavelength in nm where the modality table says it (a title that begins with ``665 nm``), else None."""
    match = re.match(r"(\d+(?:\.\d+)?) nm\b", band.title)
    return float(match[1]) if match else None


def _colours(band: Band) -> str:
    """Which map of colours suits a band: by its unit, so that a user's own modality is drawn alike."""
    if band.unit == "dB" or band.unit.startswith("reflectance"):
        return "grey"
    return "relief" if band.unit == "m" and band.name == "elevation" else "viridis"


def _percentiles(modality: Modality, statistics: Statistics | None, level: str | None) -> dict[str, dict[int, float]]:
    if statistics is None or modality.name not in statistics.modalities:
        return {}
    levels = statistics.modalities[modality.name].bands
    bands = levels.get(level or POOLED) or levels.get(POOLED) or {}
    if not any(band.count for band in bands.values()):
        bands = levels.get(POOLED, {})
    return {name: dict(band.percentiles) for name, band in bands.items() if band.count}


def describe_tile(reader: TileReader, tile: int) -> dict[str, Any]:
    """Where, when and what a tile is; None for what is not known.

    Raises:
        InputError: there is no such tile.
    """
    number = check_tile(reader, tile)
    one = reader.coordinates.take(np.array([number]))
    assert one.biome is not None
    assert one.ecoregion is not None
    assert one.split is not None
    assert one.source_items is not None
    time = one.time[0]
    return {
        "number": number,
        "count": len(reader),
        "id": str(one.tile_id[0]),
        "place": place_text(one, 0),
        "lat": _finite(one.lat[0]),
        "lon": _finite(one.lon[0]),
        "crs": int(one.crs[0]) or None,
        "transform": one.transform[0].tolist() if np.isfinite(one.transform[0]).all() else None,
        "size": reader.tile_size,
        "time": None if np.isnat(time) else str(time.astype("datetime64[s]")),
        "levels": {name: level_name(reader, name, number) for name in one.levels},
        "dates": {name: [str(day) for day in dates[0] if not np.isnat(day)] for name, dates in one.series.items()},
        "biome": _name(BIOMES, int(one.biome[0])),
        "ecoregion": _name(ECOREGIONS, int(one.ecoregion[0])),
        "split": _name(SPLITS, int(one.split[0])),
        "sources": parse_sources(str(one.source_items[0])),
    }


def level_name(reader: TileReader, modality: str, tile: int) -> str | None:
    """Processing level of a modality at a tile (``L2A``), None if it has none or it is not known."""
    codes = reader.coordinates.levels.get(modality)
    if codes is None or codes[tile] < 0:
        return None
    return reader.modalities[modality].levels[int(codes[tile])]


def describe_vectors(reader: TileReader, tile: int) -> list[dict[str, Any]]:
    """What a tile's vectors say, as people read it: a group for each modality, with rows (quantity, value)."""
    vectors = [modality for modality in reader.modalities.values() if modality.kind.is_vector]
    raw = reader.read([modality.name for modality in vectors], np.array([tile]))
    groups = []
    for modality in vectors:
        values, valid = modality.decode(raw[modality.name])
        rows = truth_rows(modality, Observed(values[0], valid[0]))
        groups.append(
            {
                "name": modality.name,
                "title": modality.title or modality.name,
                "role": str(modality.role),
                "source": modality.source,
                "rows": [{"quantity": quantity, "value": value} for quantity, value in rows],
            }
        )
    return groups


def parse_sources(text: str) -> Any:
    """What each modality was made of, as stored with the tile; text that is no JSON is given as it is."""
    if not text:
        return None
    try:
        return json.loads(text)
    except ValueError:
        return text


def check_tile(reader: TileReader, tile: int) -> int:
    """The number of a tile that there is.

    Raises:
        InputError: there is none of that number.
    """
    if not 0 <= tile < len(reader):
        raise InputError(f"there is no tile {tile}", where=reader.path, hint=f"its tiles are 0 to {len(reader) - 1}")
    return tile


def find_tile(reader: TileReader, text: str) -> int:
    """The number of the tile that a person means: its number, its id, or the only id that contains the text.

    Raises:
        InputError: there is none, or there are several.
    """
    wanted = text.strip()
    ids = reader.coordinates.tile_id
    exact = np.flatnonzero(ids == wanted)
    if len(exact):
        return int(exact[0])
    if wanted.isdecimal() and len(wanted) <= _DIGITS:
        return check_tile(reader, int(wanted))
    found = np.flatnonzero(np.char.find(ids, wanted) >= 0) if wanted else np.empty(0, np.int64)
    if len(found) == 1:
        return int(found[0])
    if not len(found):
        raise InputError(f"no tile has {wanted!r} in its id", hint=f"ids look like {ids[0]}" if len(ids) else "")
    raise InputError(f"{len(found)} tiles have {wanted!r} in their id", hint=f"the first is {ids[found[0]]}")


def _name(names: tuple[str, ...], index: int) -> str | None:
    return names[index] if 0 <= index < len(names) else None


def _finite(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def maps_of(reader: TileReader) -> Mapping[str, Modality]:
    """The map modalities of a reader by name, in order."""
    return {name: modality for name, modality in reader.modalities.items() if modality.kind.is_map}


def series_of(reader: TileReader) -> Mapping[str, Modality]:
    """The series of a reader by name, in order."""
    return {name: modality for name, modality in reader.modalities.items() if modality.kind.is_series}

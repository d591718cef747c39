"""What a search has found, for people and programs: plain rows, GeoJSON and GeoParquet."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.geoparquet import geo_metadata, polygon_column
from geopretext.data.local_file import replace_file, whole_file
from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.modality import BIOMES, ECOREGIONS
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbours import Neighbours

SUFFIXES = (".parquet", ".geojson")
"""Endings of files that ``write_hits`` writes."""

_TYPES = {
    "rank": pa.int64(),
    "similarity": pa.float32(),
    "row": pa.int64(),
    "tile": pa.int64(),
    "tile_id": pa.string(),
    "lat": pa.float64(),
    "lon": pa.float64(),
    "date": pa.string(),
    "biome": pa.string(),
    "ecoregion": pa.string(),
    "split": pa.string(),
}


def describe_rows(table: EmbeddingTable, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """Some rows in plain types: names of classes, None for what is not known."""
    return [
        {
            "row": int(row),
            "tile": int(table.tile[row]),
            "tile_id": name,
            "lat": _known(table.lat[row]),
            "lon": _known(table.lon[row]),
            "date": None if np.isnat(table.time[row]) else str(table.time[row].astype("datetime64[D]")),
            "biome": _name(BIOMES, int(table.biome[row])),
            "ecoregion": _name(ECOREGIONS, int(table.ecoregion[row])),
            "split": _name(SPLITS, int(table.split[row])),
        }
        for row, name in zip(rows, table.names(rows), strict=True)
    ]


def describe_hits(table: EmbeddingTable, found: Neighbours) -> list[dict[str, Any]]:
    """The neighbours, best first, with rank and similarity, otherwise as ``describe_rows``."""
    return [
        {"rank": rank, "similarity": round(float(similarity), 6), **row}
        for rank, (similarity, row) in enumerate(
            zip(found.similarity, describe_rows(table, found.rows), strict=True), start=1
        )
    ]


def write_hits(path: Path, table: EmbeddingTable, found: Neighbours) -> None:
    """Write the neighbours with their footprints: GeoParquet 1.1 or GeoJSON, by the ending of the name.

    Raises:
        InputError: the ending is another.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"is none of {', '.join(SUFFIXES)}", where=str(path))
    hits, rings = describe_hits(table, found), table.rings(found.rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix.lower() == ".geojson":
        features = [
            {"type": "Feature", "properties": hit, "geometry": _geometry(ring)}
            for hit, ring in zip(hits, rings, strict=True)
        ]
        replace_file(path, json.dumps({"type": "FeatureCollection", "features": features}, indent=1).encode())
        return
    columns = {name: pa.array([hit[name] for hit in hits], kind) for name, kind in _TYPES.items()}
    content = pa.table({**columns, "geometry": polygon_column(rings)})
    with whole_file(path) as file:
        pq.write_table(content.replace_schema_metadata({"geo": json.dumps(geo_metadata(rings))}), file)


def _known(degrees: float) -> float | None:
    return round(float(degrees), 6) if np.isfinite(degrees) else None


def _name(names: tuple[str, ...], number: int) -> str | None:
    return names[number] if 0 <= number < len(names) else None


def _geometry(ring: npt.NDArray[np.float64]) -> dict[str, Any] | None:
    if not np.isfinite(ring).all():
        return None
    return {"type": "Polygon", "coordinates": [np.round(ring, 7).tolist()]}

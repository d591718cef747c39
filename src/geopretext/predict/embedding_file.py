"""Embeddings as a table on disk: GeoParquet 1.1, one row a tile or a cell of a scene, for DuckDB, geopandas and QGIS.

::

    tile       int64             its number in the store; of a scene, the number of the cell
    tile_id    string            its name
    lat, lon   double            centre, degrees (WGS 84); NaN if unknown
    time       timestamp, UTC    when it was taken; null if unknown
    biome      int16             MMEarth's class number, -1 if unknown
    ecoregion  int16             likewise
    split      string            train, val, test or none
    embedding  list of D float   its vector: float32 or float16, all of one length
    geometry   WKB               footprint, a polygon in longitude and latitude (OGC:CRS84)
    bbox       struct            the box around it, by which readers of GeoParquet 1.1 skip what lies elsewhere

What made the vectors is the JSON under ``geopretext`` in the metadata of the schema; the SHA-256 of the vectors stands
under ``geopretext_vectors`` in the metadata of the file. Rows are written a group at a time: memory does not grow with
their number.

Shapes: n rows, D features.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext import __version__
from geopretext.data.geoparquet import geo_metadata, in_one_piece, polygon_column
from geopretext.data.local_file import whole_file
from geopretext.data.tiles import SPLITS, Array, Coordinates
from geopretext.errors import InputError

Precision: TypeAlias = Literal["float32", "float16"]

FORMAT, FORMAT_VERSION = "geopretext embeddings", 1
FACTS, CHECKSUM = "geopretext", "geopretext_vectors"
"""keys of the metadata"""
EMBEDDING, COVERING = "embedding", "bbox"
"""names of columns"""
GROUP = 8192
"""rows in a group, which are in memory at a time"""

_SIDES = ("xmin", "ymin", "xmax", "ymax")
_PLAIN = {
    "tile": pa.int64(),
    "tile_id": pa.string(),
    "lat": pa.float64(),
    "lon": pa.float64(),
    "time": pa.timestamp("ms", tz="UTC"),
    "biome": pa.int16(),
    "ecoregion": pa.int16(),
    "split": pa.string(),
}


@dataclass(frozen=True)
class EmbeddingRows:
    """Some rows of a table, n of them."""

    number: npt.NDArray[np.int64]
    """(n,) of the tile in its store, or of the cell in its scene"""
    coordinates: Coordinates
    """names, centres, dates and classes; its ``crs`` and ``transform`` are not looked at"""
    rings: npt.NDArray[np.float64]
    """(n, 5, 2) closed rings of corners, degrees east and north; NaN where they are not known"""
    vectors: Array
    """(n, D)"""

    @classmethod
    def of_places(
        cls,
        number: npt.NDArray[np.int64],
        *,
        names: npt.NDArray[np.str_],
        rings: npt.NDArray[np.float64],
        time: npt.NDArray[np.datetime64],
        vectors: Array,
    ) -> "EmbeddingRows":
        """Rows of which no more is known than where and when; the centre is the middle of the ring's corners.

        Rings may have corners on both sides of the antimeridian.
        """
        rings = in_one_piece(rings)
        centre = rings[:, :4].mean(axis=1)
        count = len(number)
        coordinates = Coordinates(
            tile_id=names,
            lat=centre[:, 1],
            lon=(centre[:, 0] + 180.0) % 360.0 - 180.0,
            crs=np.zeros(count, np.int32),
            transform=np.full((count, 6), np.nan),
            time=time.astype("datetime64[s]"),
        )
        return cls(number, coordinates, rings, vectors)

    def __len__(self) -> int:
        return len(self.number)


def write_embeddings(
    path: str | Path,
    blocks: Iterable[EmbeddingRows],
    *,
    width: int,
    dtype: Precision = "float32",
    facts: Mapping[str, Any] | None = None,
) -> int:
    """Write a table; what stood at ``path`` stays until all rows are written.

    Args:
        path: of the file.
        blocks: the rows in order, any number at a time.
        width: D.
        dtype: of the vectors in the file.
        facts: what made the vectors, in plain types.

    Returns:
        the number of rows.

    Raises:
        InputError: vectors are not (n, ``width``), or one holds what is no number or does not fit into ``dtype``.
    """
    schema = pa.schema(
        [
            *_PLAIN.items(),
            (EMBEDDING, pa.list_(pa.field("element", pa.from_numpy_dtype(np.dtype(dtype))), width)),
            ("geometry", pa.binary()),
            (COVERING, pa.struct([(side, pa.float64()) for side in _SIDES])),
        ],
        {
            "geo": json.dumps(geo_metadata(None, covering=COVERING)),
            FACTS: json.dumps(
                {"format": FORMAT, "format_version": FORMAT_VERSION, "geopretext_version": __version__, **(facts or {})}
            ),
        },
    )
    checksum = hashlib.sha256()
    count = 0
    with (
        whole_file(Path(path)) as file,
        # numbers of a network and coordinates repeat too seldom for a dictionary
        pq.ParquetWriter(file, schema, compression="zstd", use_dictionary=["split"]) as writer,
    ):
        for rows in blocks:
            for start in range(0, len(rows), GROUP):
                table = _table(rows, slice(start, start + GROUP), schema, where=str(path))
                checksum.update(table.column(EMBEDDING).chunk(0).flatten().to_numpy().tobytes())
                writer.write_table(table, row_group_size=GROUP)
                count += table.num_rows
        writer.add_key_value_metadata({CHECKSUM: checksum.hexdigest()})
    return count


def _table(rows: EmbeddingRows, part: slice, schema: Any, *, where: str) -> Any:
    coordinates, rings = rows.coordinates.take(part), rows.rings[part]
    assert coordinates.split is not None
    width, dtype = schema.field(EMBEDDING).type.list_size, schema.field(EMBEDDING).type.value_type.to_pandas_dtype()
    vectors = rows.vectors[part]
    if vectors.shape != (len(rings), width):
        raise InputError(f"vectors have shape {vectors.shape}, not {(len(rings), width)}", where=where)
    with np.errstate(over="ignore"):
        stored = np.ascontiguousarray(vectors, dtype)
    broken = ~np.isfinite(stored).all(axis=1)
    if broken.any():
        name = coordinates.tile_id[broken][0]
        raise InputError(
            f"the vector of {name} is not finite as {stored.dtype}",
            where=where,
            hint="write float32" if np.isfinite(vectors[broken]).all() else "leave out what was not observed",
        )
    split_names = np.array(["none", *SPLITS], object)[coordinates.split.astype(np.int64) + 1]
    seconds = pa.array(coordinates.time.astype("datetime64[s]"), pa.timestamp("s"))
    columns = {
        "tile": pa.array(rows.number[part]),
        "tile_id": pa.array(coordinates.tile_id.tolist(), pa.string()),
        "lat": pa.array(coordinates.lat),
        "lon": pa.array(coordinates.lon),
        "time": seconds.cast(_PLAIN["time"]),
        "biome": pa.array(coordinates.biome, pa.int16()),
        "ecoregion": pa.array(coordinates.ecoregion, pa.int16()),
        "split": pa.array(split_names.tolist(), pa.string()),
        EMBEDDING: pa.FixedSizeListArray.from_arrays(pa.array(stored.ravel()), type=schema.field(EMBEDDING).type),
        "geometry": polygon_column(rings),
        COVERING: _boxes(rings),
    }
    return pa.table(columns, schema=schema)


def _boxes(rings: npt.NDArray[np.float64]) -> Any:
    """The boxes around rings, null where a ring is not known."""
    bounds = np.concatenate([rings.min(axis=1), rings.max(axis=1)], axis=1)
    unknown = ~np.isfinite(bounds).all(axis=1)
    sides = [pa.array(bounds[:, side]) for side in range(4)]
    return pa.StructArray.from_arrays(sides, names=list(_SIDES), mask=pa.array(unknown))

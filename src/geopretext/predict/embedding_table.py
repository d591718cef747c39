"""A table of embeddings, opened: what each row is, in memory; vectors and footprints read when they are asked for.

``predict.embedding_file`` writes such tables. Any Parquet file serves that has a column ``embedding`` of lists of one
length and columns ``lat`` and ``lon``: what DuckDB or geopandas made of a table is still one. ::

    from geopretext.predict.embedding_table import EmbeddingTable

    table = EmbeddingTable.open("embeddings.parquet")
    table.lat, table.biome, table.vectors(np.array([3, 14]))

Shapes: n rows, D features.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.tiles import SPLITS
from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.predict.embedding_file import CHECKSUM, EMBEDDING, FACTS, FORMAT_VERSION

Vectors = npt.NDArray[np.float32]

_MADE_BY = "`geopretext embed` writes such a table"
_FOOTER_END = 8  # bytes: the length of the footer, and "PAR1"


@dataclass(frozen=True)
class EmbeddingTable:
    """Rows of embeddings; made by ``EmbeddingTable.open``. All columns have length n."""

    path: Path
    """of the file"""
    facts: Mapping[str, Any]
    """what made the vectors, see ``predict.tile_embeddings.embedding_facts``; empty if the file does not say it"""
    width: int
    """D"""
    tile: npt.NDArray[np.int64]
    """number in the store, or of the cell in its scene; the row's number if the file does not say it"""
    lat: npt.NDArray[np.float64]
    """of the centre, degrees north; NaN if unknown"""
    lon: npt.NDArray[np.float64]
    """of the centre, degrees east; NaN if unknown"""
    time: npt.NDArray[np.datetime64]
    """``datetime64[s]``, UTC; NaT if unknown"""
    biome: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    ecoregion: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    split: npt.NDArray[np.int8]
    """position in ``data.tiles.SPLITS``, -1 if in none"""
    fingerprint: str
    """sign of the content: of the file's footer, which has the checksum of the vectors; of a file without that (another
    program wrote it), of its size and the time when it was written, too"""

    @classmethod
    def open(cls, path: str | Path) -> "EmbeddingTable":
        """Open a table; vectors stay on disk.

        Raises:
            StoreError: there is no such file.
            InputError: it is no table of embeddings.
            CorruptError: it is damaged.
        """
        path = Path(path)
        if not path.is_file():
            raise StoreError("there is no such file", where=str(path), hint=_MADE_BY)
        try:
            with path.open("rb") as opened, pq.ParquetFile(opened) as file:
                width = _width(file, path)
                plain = [name for name in _COLUMNS if name in file.schema_arrow.names]
                columns = file.read(columns=plain)
                facts = json.loads((file.schema_arrow.metadata or {}).get(FACTS.encode(), b"{}"))
                fingerprint = _fingerprint(opened, file.metadata)
            if facts.get("format_version", 0) > FORMAT_VERSION:
                raise InputError(
                    f"has format version {facts['format_version']}, and {FORMAT_VERSION} is read here",
                    where=str(path),
                    hint="install a newer geopretext",
                )
            read = {name: _column(columns, name, path) for name in _COLUMNS}
            return cls(path=path, facts=facts, width=width, fingerprint=fingerprint, **read)
        except pa.ArrowInvalid as error:
            raise InputError(f"is no Parquet file: {error}", where=str(path), hint=_MADE_BY) from error
        except (OSError, pa.ArrowException, ValueError, KeyError, AttributeError) as error:
            if isinstance(error, InputError | StoreError):
                raise
            raise CorruptError(f"cannot be read: {error}", where=str(path), hint="embed again") from error

    def __len__(self) -> int:
        return len(self.tile)

    @cached_property
    def tile_id(self) -> Any:
        """Names, a pyarrow array of strings: a million of them are some 30 MB, which Python's strings are not."""
        with self._opened() as file:
            if "tile_id" not in file.schema_arrow.names:
                return pa.array(np.char.mod("%d", self.tile))
            return file.read(columns=["tile_id"]).column(0).cast(pa.large_string()).combine_chunks()

    def names(self, rows: npt.NDArray[np.int64]) -> list[str]:
        """Names of some rows."""
        found: list[str] = self.tile_id.take(pa.array(rows)).to_pylist()
        return found

    def vectors(self, rows: npt.NDArray[np.int64] | None = None) -> Vectors:
        """Vectors (n, D) of all rows, or of some in the order asked for; only their groups are read.

        Raises:
            InputError: there is no such row, or a vector holds what is no finite number.
            StoreError: the file was changed since it was opened.
            CorruptError: the file is damaged.
        """
        wanted = np.arange(len(self)) if rows is None else np.asarray(rows, np.int64)
        if len(wanted) and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise InputError(
                f"there is no row {wanted.min() if wanted.min() < 0 else wanted.max()}", where=str(self.path)
            )
        result = np.empty((len(wanted), self.width), np.float32)
        for start, block in self._groups(None if rows is None else wanted):
            if rows is None:
                result[start : start + len(block)] = block
            else:
                here = np.flatnonzero((wanted >= start) & (wanted < start + len(block)))
                result[here] = block[wanted[here] - start]
        return result

    def blocks(self) -> Iterator[tuple[int, Vectors]]:
        """All vectors in order: the number of the first row, and (B, D), a group of the file at a time.

        Raises:
            InputError: a vector holds what is no finite number.
            StoreError: the file was changed since it was opened.
            CorruptError: the file is damaged.
        """
        return self._groups(None)

    def rings(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Closed rings of corners of some rows, (n, 5, 2) degrees east and north; NaN where they are not known.

        Raises:
            StoreError: the file was changed since it was opened.
        """
        with self._opened() as file:
            if "geometry" not in file.schema_arrow.names:
                return np.full((len(rows), 5, 2), np.nan)
            column = file.read(columns=["geometry"]).column(0)
        polygons = column.take(pa.array(np.asarray(rows, np.int64))).to_pylist()
        return np.stack([_ring(polygon) for polygon in polygons]) if polygons else np.empty((0, 5, 2))

    def _groups(self, wanted: npt.NDArray[np.int64] | None) -> Iterator[tuple[int, Vectors]]:
        """Groups of rows, all of them or those with a row that is wanted."""
        with self._opened() as file:
            counts = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
            starts = np.concatenate([[0], np.cumsum(counts)])
            groups: Any = range(len(counts))
            if wanted is not None:
                groups = np.unique(np.searchsorted(starts, wanted, side="right") - 1)
            for group in groups:
                try:
                    column = file.read_row_group(int(group), columns=[EMBEDDING]).column(0).combine_chunks()
                    rows = _rows(column, self.width)
                except (OSError, pa.ArrowException, ValueError) as error:
                    raise CorruptError(
                        f"cannot be read: {error}", where=f"{self.path}, group {group}", hint="embed again"
                    ) from error
                broken = np.flatnonzero(~np.isfinite(rows).all(axis=1))
                if len(broken):
                    raise InputError(
                        f"the vector of row {starts[group] + broken[0]} holds what is no finite number",
                        where=str(self.path),
                        hint="leave out such rows",
                    )
                yield int(starts[group]), rows

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        """The file, if it is still the one of which this knows the rows; as long as it is open, it stays that one."""
        changed = StoreError("was changed since it was opened", where=str(self.path), hint="open it again")
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(self.path.open("rb"))
                file = stack.enter_context(pq.ParquetFile(opened))
            except (FileNotFoundError, pa.ArrowInvalid) as error:
                raise changed from error
            if _fingerprint(opened, file.metadata) != self.fingerprint:
                raise changed
            yield file


def _width(file: Any, path: Path) -> int:
    """D, after a look at the columns and, for lists of any length, at the first row."""
    schema = file.schema_arrow
    missing = [name for name in (EMBEDDING, "lat", "lon") if name not in schema.names]
    if missing:
        raise InputError(
            f"is no table of embeddings: it has no column {missing[0]!r}, but {', '.join(schema.names)}",
            where=str(path),
            hint=_MADE_BY,
        )
    kind = schema.field(EMBEDDING).type
    listed = pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    if not (listed and pa.types.is_floating(kind.value_type)):
        raise InputError(f"column {EMBEDDING!r} is of {kind}, not of lists of floats", where=str(path), hint=_MADE_BY)
    if not file.metadata.num_rows:
        raise InputError("has no rows", where=str(path), hint=_MADE_BY)
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    first = next(file.iter_batches(1, columns=[EMBEDDING])).column(0)
    return len(first.flatten())


def _rows(column: Any, width: int) -> Vectors:
    """(n, D) float32 of a column of lists."""
    flat = column.flatten()
    if len(flat) != len(column) * width or flat.null_count:
        raise ValueError(f"rows of column {EMBEDDING!r} are not all of {width} numbers")
    with np.errstate(over="ignore"):  # the caller refuses what is not finite
        rows: Vectors = flat.to_numpy(zero_copy_only=False).reshape(len(column), width).astype(np.float32, copy=False)
    return rows


_COLUMNS = ("tile", "lat", "lon", "time", "biome", "ecoregion", "split")


def _column(columns: Any, name: str, path: Path) -> npt.NDArray[Any]:
    count = columns.num_rows
    if name not in columns.column_names:
        if name == "tile":
            return np.arange(count)
        return np.full(count, "NaT", "datetime64[s]") if name == "time" else np.full(count, -1, _dtype(name))
    column = columns.column(name)
    try:
        return _numbers(column, name)
    except (pa.ArrowException, ValueError) as error:
        wanted = {"time": "timestamps", "split": "strings"}.get(name, "numbers")
        raise InputError(
            f"column {name!r} is of {column.type} and cannot be read as {wanted}: {error}",
            where=str(path),
            hint="convert it, or leave it out",
        ) from error


def _numbers(column: Any, name: str) -> npt.NDArray[Any]:
    if name == "time":
        return np.asarray(column.cast(pa.timestamp("s", tz="UTC"), safe=False).to_numpy().astype("datetime64[s]"))
    if name == "split":
        codes = [(column.to_numpy() == split) for split in SPLITS]
        return np.select(codes, np.arange(len(SPLITS), dtype=np.int8), np.int8(-1)).astype(np.int8)
    filled = column.cast(pa.float64()).fill_null(np.nan) if name in ("lat", "lon") else column.fill_null(-1)
    return np.asarray(filled.to_numpy().astype(_dtype(name), copy=False))


def _dtype(name: str) -> Any:
    return {"tile": np.int64, "lat": np.float64, "lon": np.float64, "split": np.int8}.get(name, np.int16)


def _ring(polygon: bytes | None) -> npt.NDArray[np.float64]:
    """Corners of a polygon of five points, as ``data.geoparquet`` writes it; another polygon is not known here."""
    ring = np.full((5, 2), np.nan)
    if polygon is not None and len(polygon) == 13 + ring.nbytes and polygon[0] == 1:
        ring[:] = np.frombuffer(polygon, "<f8", offset=13).reshape(5, 2)
    return ring


def _fingerprint(file: BinaryIO, metadata: Any) -> str:
    """See ``EmbeddingTable.fingerprint``; the footer alone is read."""
    facts = os.fstat(file.fileno())
    file.seek(max(0, facts.st_size - _FOOTER_END - metadata.serialized_size))
    digest = hashlib.sha256(file.read())
    if CHECKSUM.encode() not in (metadata.metadata or {}):
        digest.update(f"{facts.st_size} {facts.st_mtime_ns}".encode())
    return digest.hexdigest()

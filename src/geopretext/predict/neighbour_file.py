"""The index beside a large table: short codes that are all looked at, and vectors by which the best are compared.

A query looks at a code of every row (FAISS, 4-bit product quantisation in registers), and compares the rows whose
codes promise most by their true vectors, which are mapped from the file (decision 117). Nothing is left unseen, as in
graphs and inverted lists: an answer is wrong only where a row among the best hides behind its code, of whatever kind
the vectors are.

The file is a safetensors file: ``units`` float32 (n, D), ``mean`` and ``deviation`` (D,), ``axes`` (D, d) onto which
vectors are turned before they are coded, ``codes_0``, ``codes_1``, ...: serialised FAISS indexes of rows that follow
each other. Its metadata has a sign of the table.

Shapes: n rows, D features, d coded directions.
"""

import json
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.data.local_file import whole_file
from geopretext.errors import MissingLibraryError
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.unit_space import UnitSpace, Vectors

Progress = Callable[[int, int], None]
"""called with (rows done, rows in all)"""

FORMAT_VERSION = 1
_MOST_DIRECTIONS = 320
"""d at most: features hang together, and what further directions hold shows when true vectors are compared"""
_PART = 1 << 18
"""rows of a part, which one thread looks at"""
_SAMPLE = 20_000
"""rows from which directions and codes are learnt"""
_HEADER = 4096  # bytes: reserved, as the sizes of the codes are known last
_DTYPES = {"F32": "<f4", "U8": "u1"}


class NeighbourFile:
    """An open index; ``NeighbourFile.open`` makes one. Safe to ask from several threads."""

    def __init__(self, arrays: Mapping[str, Any]) -> None:
        self.space = UnitSpace(np.array(arrays["mean"]), np.array(arrays["deviation"]))
        self.units: Vectors = arrays["units"]
        self._axes: Vectors = np.array(arrays["axes"])
        faiss = _faiss()
        names = sorted((name for name in arrays if name.startswith("codes_")), key=lambda name: int(name[6:]))
        self._parts = [faiss.deserialize_index(np.array(arrays[name])) for name in names]
        self._starts = np.cumsum([0, *(part.ntotal for part in self._parts)])
        if self._starts[-1] != len(self.units) or self._axes.shape[0] != self.units.shape[1]:
            raise ValueError("codes and vectors are of different rows")
        self._pool = ThreadPoolExecutor(min(len(self._parts), os.cpu_count() or 1))

    @classmethod
    def open(
        cls,
        table: EmbeddingTable,
        *,
        standardised: bool,
        notice: Callable[[str], None] | None = None,
        progress: Progress | None = None,
    ) -> "NeighbourFile":
        """Open the index of a table; make it if there is none, or if the table has changed.

        Args:
            table: the rows.
            standardised: whether vectors are standardised before they are compared.
            notice: told, in a sentence, that an index is made.
            progress: told how far it is.

        Raises:
            MissingLibraryError: FAISS is not installed.
            CorruptError: the table is damaged.
        """
        _faiss()
        path = index_path(table)
        sign = joined_fingerprint([table.fingerprint, str(FORMAT_VERSION), str(standardised)])
        found = _load(path, sign)
        if found is not None:
            return found
        if notice is not None:
            notice(f"making the index {path} of {len(table):,} rows, which is kept for the next time")
        with whole_file(path) as file:
            _write(file, table, sign, standardised=standardised, progress=progress)
        made = _load(path, sign)
        assert made is not None
        return made

    def candidates(self, query: Vectors, count: int) -> npt.NDArray[np.int64]:
        """The rows whose codes promise the largest products with a query (D,), ``count`` of them, in no order."""
        turned = np.ascontiguousarray((query @ self._axes)[None])

        def scan(number: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
            part = self._parts[number]
            promised, rows = part.search(turned, min(count, part.ntotal))
            return promised[0], rows[0] + self._starts[number]

        found = list(self._pool.map(scan, range(len(self._parts))))
        promised, rows = (np.concatenate(each) for each in zip(*found, strict=True))
        if count >= len(rows):
            return rows
        best: npt.NDArray[np.int64] = rows[np.argpartition(-promised, count - 1)[:count]]
        return best


def index_path(table: EmbeddingTable) -> Path:
    """Where the index of a table lies: beside it."""
    return table.path.with_name(f"{table.path.name}.index")


def _write(file: BinaryIO, table: EmbeddingTable, sign: str, *, standardised: bool, progress: Progress | None) -> None:
    width = table.width
    blocks = (block for _, block in table.blocks())
    space = UnitSpace.measured(blocks, width) if standardised else UnitSpace.plain(width)
    sample = space(_sample(table))
    axes = _axes(sample)
    empty = _trained(sample @ axes)
    parts: list[Any] = []
    file.write(bytes(_HEADER))
    for start, block in table.blocks():
        units = space(block)
        file.write(units.astype("<f4", copy=False).tobytes())
        _add(parts, empty, np.ascontiguousarray(units @ axes))
        if progress is not None:
            progress(start + len(block), len(table))
    faiss = _faiss()
    rest = {"mean": space.mean, "deviation": space.deviation, "axes": axes}
    rest |= {f"codes_{number}": faiss.serialize_index(part) for number, part in enumerate(parts)}
    entries: dict[str, Any] = {"__metadata__": {"format": "geopretext neighbours", "sign": sign}}
    end = len(table) * width * 4
    entries["units"] = {"dtype": "F32", "shape": [len(table), width], "data_offsets": [0, end]}
    for name, array in rest.items():
        file.write(np.ascontiguousarray(array).tobytes())
        kind = "U8" if array.dtype == np.uint8 else "F32"
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    header = json.dumps(entries).encode().ljust(_HEADER - 8)
    assert len(header) == _HEADER - 8  # some forty parts, ten million rows
    file.seek(0)
    file.write(len(header).to_bytes(8, "little") + header)


def _add(parts: list[Any], empty: bytes, turned: Vectors) -> None:
    """Code some rows into the last part, and into a new one where it is full."""
    while len(turned):
        if not parts or parts[-1].ntotal >= _PART:
            parts.append(_faiss().deserialize_index(empty))
        room = _PART - parts[-1].ntotal
        parts[-1].add(turned[:room])
        turned = turned[room:]


def _sample(table: EmbeddingTable) -> Vectors:
    """Rows at random, of all groups of the file in turn, so that it is read from beginning to end."""
    chosen = np.random.default_rng(0).random(len(table)) < _SAMPLE / len(table)
    chosen[:1] = True
    return np.concatenate([block[chosen[start : start + len(block)]] for start, block in table.blocks()])


def _axes(sample: Vectors) -> Vectors:
    """(D, d): the directions that hold most, turned at random among themselves so that all hold the same."""
    width = sample.shape[1]
    kept = min(width, _MOST_DIRECTIONS) // 2 * 2
    _, directions = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((kept, kept)))
    return np.ascontiguousarray(directions[:, ::-1][:, :kept] @ turn, np.float32)


def _trained(sample: Vectors) -> bytes:
    """An empty FAISS index: four bits for two directions, one code book for all of them, as all are alike."""
    faiss = _faiss()
    directions = sample.shape[1]
    index = faiss.IndexPQFastScan(directions, directions // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.pq.train_type = faiss.ProductQuantizer.Train_shared
    index.train(np.ascontiguousarray(sample))
    empty: bytes = faiss.serialize_index(index)
    return empty


def _load(path: Path, sign: str) -> NeighbourFile | None:
    """The index, if it is there, whole and of this table."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length != _HEADER - 8:
                return None
            entries = json.loads(file.read(length))
        if entries.pop("__metadata__")["sign"] != sign:
            return None
        arrays = {
            name: np.memmap(path, _DTYPES[e["dtype"]], "r", 8 + length + e["data_offsets"][0], tuple(e["shape"]))
            for name, e in entries.items()
        }
        return NeighbourFile(arrays)
    except (FileNotFoundError, ValueError, KeyError, TypeError, RuntimeError):  # damaged: it is made anew
        return None


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingLibraryError("faiss", extra="search", purpose="search tables of many rows") from error
    return faiss

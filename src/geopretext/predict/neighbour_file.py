"""The index beside a large table: short codes of all rows, and vectors by which the most promising are compared.

A query looks at 4-bit codes (FAISS, product quantisation in registers) and compares the rows whose codes promise most
by their true vectors, which are mapped from the file. Where rows lie in clusters, as those of a network do, codes are
of what is left after the centre of a cluster, and only clusters near the query are looked at; where they do not, no row
is left out, since no graph and no list finds neighbours there. Which of both is measured on a sample (decision 117).

The file is a safetensors file: ``units`` float32 (n, D), ``mean`` and ``deviation`` (D,), ``axes`` (D, d) onto which
vectors are turned before they are coded, ``codes_0``, ``codes_1``, ...: serialised FAISS indexes. Its metadata has a
sign of the table, the share of clusters that is looked at, and the SHA-256 of all arrays: nothing is taken from a file,
and nothing is handed to FAISS, before that is checked.

Shapes: n rows, D features, d coded directions.
"""

import hashlib
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
from geopretext.errors import MissingLibraryError, StoreError
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.unit_space import UnitSpace, Vectors

Progress = Callable[[int, int], None]
"""called with (rows done, rows in all)"""

FORMAT_VERSION = 2
LEAST_WIDTH = 8
"""features from which an index is made: fewer are compared as they are about as fast as by codes"""
CLUSTERS = 512
_MOST_DIRECTIONS, _MOST_CODES = 320, 160
"""d, and 4-bit numbers a row, at most: features hang together, and the rest shows when true vectors are compared"""
_HELD = 0.9999
"""of the sum of squares, by as many directions as there are codes: then each has a code of its own"""
_PART = 1 << 18
"""rows of a part without clusters, which one thread looks at"""
_SAMPLE = 40_000
"""rows from which directions, clusters and codes are learnt"""
_SHARES = (1 / 16, 1 / 8, 1 / 4)
"""of the clusters, that are tried"""
_ASKED = 400
"""queries of each kind that are tried"""
_ENOUGH = 0.999
"""of the sample's neighbours that the clusters must hold; twice as many are then looked at"""
_HEADER = 4096  # bytes: reserved, as the sizes of the codes are known last
_DTYPES = {"F32": "<f4", "U8": "u1"}


class NeighbourFile:
    """An open index; ``NeighbourFile.open`` makes one. Safe to ask from several threads."""

    def __init__(self, arrays: Mapping[str, Any], share: float) -> None:
        self.space = UnitSpace(np.array(arrays["mean"]), np.array(arrays["deviation"]))
        self.units: Vectors = arrays["units"]
        self._axes: Vectors = np.array(arrays["axes"])
        self.share = share
        """of the clusters that are looked at; 0: there are none, and all rows are looked at"""
        faiss = _faiss()
        names = sorted((name for name in arrays if name.startswith("codes_")), key=lambda name: int(name[6:]))
        self._parts = [faiss.deserialize_index(np.array(arrays[name])) for name in names]
        self._starts = np.cumsum([0, *(part.ntotal for part in self._parts)])
        sizes = {part.d for part in self._parts} | {self._axes.shape[1]}
        if self._starts[-1] != len(self.units) or self._axes.shape[0] != self.units.shape[1] or len(sizes) != 1:
            raise ValueError("codes and vectors are of different rows or directions")
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
            StoreError: what lies at the place of the index can be neither read nor replaced.
            CorruptError: the table is damaged.
        """
        _faiss()
        path = index_path(table)
        sign = joined_fingerprint([table.fingerprint, str(FORMAT_VERSION), str(standardised)])
        found = _load(path, sign, (len(table), table.width))
        if found is not None:
            return found
        if notice is not None:
            notice(f"making the index {path} of {len(table):,} rows, which is kept for the next time")
        try:
            with whole_file(path) as file:
                _write(file, table, sign, standardised=standardised, progress=progress)
        except PermissionError as error:
            raise StoreError(
                "cannot be written", where=str(path), hint="copy the table to a folder that can be written to"
            ) from error
        made = _load(path, sign, (len(table), table.width))
        assert made is not None
        return made

    def candidates(self, query: Vectors, count: int, *, everywhere: bool = False) -> npt.NDArray[np.int64]:
        """The rows whose codes promise the largest products with a query, at most ``count`` of them, in no order.

        Args:
            query: (D,).
            count: how many.
            everywhere: look at all clusters.
        """
        turned = np.ascontiguousarray((query @ self._axes)[None])
        parameters = None
        if self.share:
            probes = CLUSTERS if everywhere else int(self.share * CLUSTERS)
            parameters = _faiss().SearchParametersIVF(nprobe=probes)

        def scan(number: int) -> tuple[Vectors, npt.NDArray[np.int64]]:
            part = self._parts[number]
            promised, rows = part.search(turned, min(count, part.ntotal), params=parameters)
            found = rows[0] >= 0
            return promised[0][found], rows[0][found] + self._starts[number]

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
    empty, share = _trained(np.ascontiguousarray(sample @ axes))
    room = len(table) if share else _PART
    parts: list[Any] = []
    file.write(bytes(_HEADER))
    digest = hashlib.sha256()

    def append(content: npt.NDArray[Any]) -> None:
        digest.update(content.data)
        file.write(content.data)

    for start, block in table.blocks():
        units = space(block)
        append(units.astype("<f4", copy=False))
        _add(parts, empty, np.ascontiguousarray(units @ axes), room)
        if progress is not None:
            progress(start + len(block), len(table))
    faiss = _faiss()
    rest = {"mean": space.mean, "deviation": space.deviation, "axes": axes}
    rest |= {f"codes_{number}": faiss.serialize_index(part) for number, part in enumerate(parts)}
    entries: dict[str, Any] = {}
    end = len(table) * width * 4
    entries["units"] = {"dtype": "F32", "shape": [len(table), width], "data_offsets": [0, end]}
    for name, array in rest.items():
        append(np.ascontiguousarray(array))
        kind = "U8" if array.dtype == np.uint8 else "F32"
        entries[name] = {"dtype": kind, "shape": list(array.shape), "data_offsets": [end, end + array.nbytes]}
        end += array.nbytes
    facts = {"format": "geopretext neighbours", "sign": sign, "share": str(share), "sha256": digest.hexdigest()}
    header = json.dumps({"__metadata__": facts, **entries}).encode().ljust(_HEADER - 8)
    assert len(header) == _HEADER - 8  # some forty parts, ten million rows
    file.seek(0)
    file.write(len(header).to_bytes(8, "little") + header)


def _add(parts: list[Any], empty: bytes, turned: Vectors, room: int) -> None:
    """Code some rows into the last part, and into a new one where it has ``room`` rows."""
    while len(turned):
        if not parts or parts[-1].ntotal >= room:
            parts.append(_faiss().deserialize_index(empty))
        some = room - parts[-1].ntotal
        parts[-1].add(turned[:some])
        turned = turned[some:]


def _sample(table: EmbeddingTable) -> Vectors:
    """Rows at random, of all groups of the file in turn, so that it is read from beginning to end."""
    chosen = np.random.default_rng(0).random(len(table)) < _SAMPLE / len(table)
    chosen[:1] = True
    return np.concatenate([block[chosen[start : start + len(block)]] for start, block in table.blocks()])


def _axes(sample: Vectors) -> Vectors:
    """(D, d): the directions that hold most, turned at random among themselves so that all hold the same."""
    width = sample.shape[1]
    held, directions = np.linalg.eigh(sample.T.astype(np.float64) @ sample)
    needed = int(np.searchsorted(np.cumsum(held[::-1]), _HELD * held.sum())) + 1
    kept = max(needed, _MOST_CODES // 4) if needed <= _MOST_CODES else _MOST_DIRECTIONS
    kept = -(-min(kept, width) // 2) * 2  # even, as two codes are a byte; a direction more than there are is empty
    directions = np.pad(directions[:, ::-1], [(0, 0), (0, max(0, kept - width))])
    turn, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((kept, kept)))
    return np.ascontiguousarray(directions[:, :kept] @ turn, np.float32)


def _trained(sample: Vectors) -> tuple[bytes, float]:
    """An empty FAISS index, and the share of clusters to look at; 0: it has none.

    All directions are alike, so that one code book serves for all.
    """
    faiss = _faiss()
    directions = sample.shape[1]
    codes = directions if directions <= _MOST_CODES else directions // 2
    share = 0.0
    if len(sample) >= 20 * CLUSTERS:
        clusters = faiss.Kmeans(directions, CLUSTERS, niter=8, spherical=True, seed=0, min_points_per_centroid=1)
        clusters.train(sample)
        share = _share(sample, clusters.centroids)
    if share:
        coarse = faiss.IndexFlatIP(directions)
        coarse.add(clusters.centroids)
        index = faiss.IndexIVFPQFastScan(coarse, directions, CLUSTERS, codes, 4, faiss.METRIC_INNER_PRODUCT)
        index.by_residual = True
    else:
        index = faiss.IndexPQFastScan(directions, codes, 4, faiss.METRIC_INNER_PRODUCT)
    index.pq.train_type = faiss.ProductQuantizer.Train_shared
    index.train(sample)
    return faiss.serialize_index(index), share


def _share(sample: Vectors, centres: Vectors) -> float:
    """Of the clusters that must be looked at, for rows as examples and for several with a counter-example; 0: all."""
    rng = np.random.default_rng(0)
    drawn = sample[rng.integers(0, len(sample), (4, _ASKED))]
    queries = np.concatenate([drawn[0], drawn[:3].mean(axis=0) - 0.5 * drawn[3]])
    cluster = np.concatenate([(part @ centres.T).argmax(axis=1) for part in np.array_split(sample, 16)])
    nearest = np.concatenate([np.argpartition(-(part @ sample.T), 11)[:, :11] for part in np.array_split(queries, 16)])
    rank = (queries @ centres.T).argsort(axis=1)[:, ::-1].argsort(axis=1)  # of each cluster for each query
    behind = np.take_along_axis(rank, cluster[nearest], axis=1)
    for share in _SHARES:
        if (behind < share * CLUSTERS).mean() >= _ENOUGH:
            return 2 * share
    return 0.0


def _load(path: Path, sign: str, shape: tuple[int, int]) -> NeighbourFile | None:
    """The index, if it is there, whole and of this table; ``shape`` is n, D."""
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            if length != _HEADER - 8:
                return None
            entries = json.loads(file.read(length))
            facts = entries.pop("__metadata__")
            if facts["sign"] != sign or tuple(entries["units"]["shape"]) != shape:
                return None
            if hashlib.file_digest(file, "sha256").hexdigest() != facts["sha256"]:
                return None
        arrays = {
            name: np.memmap(path, _DTYPES[e["dtype"]], "r", 8 + length + e["data_offsets"][0], tuple(e["shape"]))
            for name, e in entries.items()
        }
        return NeighbourFile(arrays, float(facts["share"]))
    except (FileNotFoundError, ValueError, KeyError, TypeError, AttributeError, RuntimeError):  # damaged: made anew
        return None
    except OSError as error:
        raise StoreError(
            f"cannot be read: {error.strerror}", where=str(path), hint="delete it; the index is made anew"
        ) from error


def _faiss() -> Any:
    try:
        import faiss
    except ImportError as error:
        raise MissingLibraryError("faiss", extra="search", purpose="search tables of many rows") from error
    return faiss

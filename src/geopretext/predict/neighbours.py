"""Places like this one: the rows of a table whose vectors point most nearly the same way.

Vectors are standardised over the table and compared by their cosine. Several examples are one question: similarity is
then the mean over the examples, less a part of the mean over the counter-examples (decision 118). Small tables are
searched as they are, large ones by an index that is made on first use and lies beside them. ::

    from geopretext.predict.embedding_table import EmbeddingTable
    from geopretext.predict.neighbours import NeighbourIndex

    table = EmbeddingTable.open("embeddings.parquet")
    found = NeighbourIndex.open(table).like(rows=[14], count=10, where=table.biome == 3)
    found.rows, found.similarity

Shapes: n rows, D features, k neighbours.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbour_file import LEAST_WIDTH, NeighbourFile, Progress
from geopretext.predict.unit_space import UnitSpace, Vectors

Mask = npt.NDArray[np.bool_]
Rows = Sequence[int] | npt.NDArray[np.int64]

AGAINST = 0.25
"""Weight of counter-examples (decision 118)."""
INDEXED_FROM = 50_000
"""Rows from which a table gets an index."""
_CANDIDATES, _CANDIDATES_NEAR = 1_000, 3_000
"""rows whose true vectors are compared for ten neighbours, without clusters and with them"""
_FEW = 50_000
"""of so many rows that may be found, all are compared"""
_MEASURED_FOR = (10, 4)
"""neighbours, and examples that are not to be found, for which the share of clusters was chosen; for more, all count"""
_AT_ONCE = 8_192


@dataclass(frozen=True)
class Neighbours:
    """The best rows, best first."""

    rows: npt.NDArray[np.int64]
    """(k,)"""
    similarity: npt.NDArray[np.float32]
    """(k,) cosine to the example, from -1 to 1; for several examples see ``NeighbourIndex.like``"""

    def __len__(self) -> int:
        return len(self.rows)


class NeighbourIndex:
    """Finds neighbours in a table; ``NeighbourIndex.open`` makes one. Safe to ask from several threads.

    Args:
        table: the rows.
        space: in which they are compared.
        units: (n, D) vectors in that space.
        file: codes of all rows; None: all vectors are compared.
    """

    def __init__(
        self, table: EmbeddingTable, space: UnitSpace, units: Vectors, file: NeighbourFile | None = None
    ) -> None:
        self.table = table
        self.space = space
        self._units = units
        self._file = file

    @classmethod
    def open(
        cls,
        table: EmbeddingTable,
        *,
        standardised: bool = True,
        indexed: bool | None = None,
        notice: Callable[[str], None] | None = None,
        progress: Progress | None = None,
    ) -> "NeighbourIndex":
        """Get ready to search a table.

        Args:
            table: the rows.
            standardised: compare vectors standardised over the table; otherwise the plain cosine.
            indexed: by the index beside the table, which is made if there is none; None: from ``INDEXED_FROM`` rows.
                Vectors of fewer than ``LEAST_WIDTH`` features are always compared as they are.
            notice: told, in a sentence, that an index is made.
            progress: told how far that is: rows done, and in all.

        Raises:
            InputError: a vector holds what is no finite number.
            StoreError: the table was changed since it was opened, or its index can be neither read nor written.
            CorruptError: the table is damaged.
            MissingLibraryError: an index is needed, and FAISS is not installed.
        """
        if table.width >= LEAST_WIDTH and (len(table) >= INDEXED_FROM if indexed is None else indexed):
            file = NeighbourFile.open(table, standardised=standardised, notice=notice, progress=progress)
            return cls(table, file.space, file.units, file)
        vectors = table.vectors()
        space = UnitSpace.measured([vectors], table.width) if standardised else UnitSpace.plain(table.width)
        return cls(table, space, space(vectors))

    @property
    def share(self) -> float:
        """Of the clusters of rows that a question looks at; 0: it looks at all rows."""
        return 0.0 if self._file is None else self._file.share

    def like(
        self,
        rows: Rows = (),
        *,
        vectors: Vectors | None = None,
        unlike: Rows = (),
        count: int = 10,
        where: Mask | None = None,
        against: float = AGAINST,
    ) -> Neighbours:
        """The rows most like some examples, without the examples and counter-examples themselves.

        Args:
            rows: examples.
            vectors: more examples, (m, D), as the encoder gave them.
            unlike: counter-examples.
            count: how many rows are wanted; there are fewer if fewer fit.
            where: (n,) rows that may be found; None: all.
            against: weight of the counter-examples. Similarity is the mean cosine to the examples, less so many times
                the mean cosine to the counter-examples.

        Raises:
            InputError: there is no example, or no such row; or ``vectors`` or ``where`` have another shape.
        """
        query = self._query(rows, vectors, unlike, against)
        if where is not None and where.shape != (len(self.table),):
            raise InputError(f"where has shape {where.shape}, not ({len(self.table)},)")
        own = np.unique(np.asarray([*rows, *unlike], np.int64))
        found = None if self._file is None else self._promising(self._file, query, count, own, where)
        if found is None:
            allowed = np.ones(len(self.table), np.bool_) if where is None else np.array(where, np.bool_)
            allowed[own] = False
            found = np.flatnonzero(allowed)
        return _best(found, self._similarity(found, query), count)

    def _promising(
        self,
        file: NeighbourFile,
        query: Vectors,
        count: int,
        own: npt.NDArray[np.int64],
        where: Mask | None,
    ) -> npt.NDArray[np.int64] | None:
        """Rows among which the best are; None if all that may be found must be compared.

        Of the rows with the best codes, those that may be found are the best of these by their codes. So it is enough
        to look until there are as many of them as would be compared without ``where``.
        """
        wanted = max(_CANDIDATES_NEAR if file.share else _CANDIDATES, 50 * count) + len(own)
        share = 1.0
        if where is not None:
            selected = np.count_nonzero(where)
            if selected <= max(_FEW, wanted):
                return None
            share = selected / len(where)
        everywhere = where is not None or count > _MEASURED_FOR[0] or len(own) > _MEASURED_FOR[1]
        candidates = file.candidates(query, int(wanted / share * 1.5) if share < 1 else wanted, everywhere=everywhere)
        if where is not None:
            candidates = candidates[where[candidates]]
        candidates = candidates[~np.isin(candidates, own)]
        return None if len(candidates) < min(wanted, len(self.table)) - len(own) else candidates

    def _similarity(self, rows: npt.NDArray[np.int64], query: Vectors) -> Vectors:
        if len(rows) == len(self._units):
            return np.asarray(self._units @ query)
        parts = [self._units[rows[start : start + _AT_ONCE]] @ query for start in range(0, len(rows), _AT_ONCE)]
        return np.concatenate([np.empty(0, np.float32), *parts])

    def _query(self, rows: Rows, vectors: Vectors | None, unlike: Rows, against: float) -> Vectors:
        if not len(rows) and (vectors is None or not len(vectors)):
            raise InputError("no example is given of what is looked for")
        beyond = [row for row in (*rows, *unlike) if not 0 <= row < len(self.table)]
        if beyond:
            raise InputError(
                f"there is no row {beyond[0]}", where=str(self.table.path), hint=f"rows are 0 to {len(self.table) - 1}"
            )
        examples = np.asarray(self._units[np.asarray(rows, np.int64)])
        if vectors is not None:
            if vectors.ndim != 2 or vectors.shape[1] != self.table.width:
                raise InputError(
                    f"examples have shape {vectors.shape}, not (m, {self.table.width}) as the table",
                    where=str(self.table.path),
                    hint="take the bundle and the pooling that the table was made with",
                )
            examples = np.concatenate([examples, self.space(vectors)])
        query: Vectors = examples.mean(axis=0)
        if len(unlike):
            query = query - np.float32(against) * self._units[np.asarray(unlike, np.int64)].mean(axis=0)
        return query


def _best(rows: npt.NDArray[np.int64], similarity: Vectors, count: int) -> Neighbours:
    """The ``count`` best; of equal ones the first rows."""
    if count < len(rows):
        some = np.argpartition(-similarity, count - 1)[:count]
        some = np.flatnonzero(similarity >= similarity[some].min())
        rows, similarity = rows[some], similarity[some]
    order = np.lexsort((rows, -similarity))[:count]
    return Neighbours(rows[order], similarity[order])

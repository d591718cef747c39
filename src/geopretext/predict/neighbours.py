"""Places like this one: the rows of a table whose vectors point most nearly the same way.

Vectors are compared by their cosine after the mean of the table is taken off (decision 117: without that all rows of a
table are alike). Several examples are one question: similarity is then the mean over the examples, less a part of the
mean over the counter-examples (decision 118). ::

    from geopretext.predict.embedding_table import EmbeddingTable
    from geopretext.predict.neighbours import NeighbourIndex

    table = EmbeddingTable.open("embeddings.parquet")
    found = NeighbourIndex.open(table).like(rows=[14], count=10, where=table.biome == 3)
    found.rows, found.similarity

Shapes: n rows, D features, k neighbours.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.predict.embedding_table import EmbeddingTable, Vectors

Mask = npt.NDArray[np.bool_]
Rows = Sequence[int] | npt.NDArray[np.int64]

AGAINST = 0.5
"""Weight of counter-examples (decision 118)."""


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
        mean: (D,) that is taken off every vector.
        units: (n, D) vectors without the mean, of length 1.
    """

    def __init__(self, table: EmbeddingTable, mean: Vectors, units: Vectors) -> None:
        self.table = table
        self._mean = mean
        self._units = units

    @classmethod
    def open(cls, table: EmbeddingTable) -> "NeighbourIndex":
        """Get ready to search a table.

        Args:
            table: the rows.

        Raises:
            CorruptError: the table is damaged.
        """
        vectors = table.vectors()
        mean = vectors.mean(axis=0, dtype=np.float64).astype(np.float32)
        return cls(table, mean, _unit(vectors - mean))

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
        allowed = np.ones(len(self.table), np.bool_) if where is None else np.array(where, np.bool_)
        if allowed.shape != (len(self.table),):
            raise InputError(f"where has shape {allowed.shape}, not ({len(self.table)},)")
        allowed[[*rows, *unlike]] = False
        selected = np.flatnonzero(allowed)
        return _best(selected, self._units[selected] @ query, count)

    def _query(self, rows: Rows, vectors: Vectors | None, unlike: Rows, against: float) -> Vectors:
        if not len(rows) and (vectors is None or not len(vectors)):
            raise InputError("no example is given of what is looked for")
        beyond = [row for row in (*rows, *unlike) if not 0 <= row < len(self.table)]
        if beyond:
            raise InputError(
                f"there is no row {beyond[0]}", where=str(self.table.path), hint=f"rows are 0 to {len(self.table) - 1}"
            )
        examples = self._units[np.asarray(rows, np.int64)]
        if vectors is not None:
            if vectors.ndim != 2 or vectors.shape[1] != self.table.width:
                raise InputError(
                    f"examples have shape {vectors.shape}, not (m, {self.table.width}) as the table",
                    where=str(self.table.path),
                    hint="take the bundle and the pooling that the table was made with",
                )
            examples = np.concatenate([examples, _unit(vectors.astype(np.float32) - self._mean)])
        query: Vectors = examples.mean(axis=0)
        if len(unlike):
            query = query - np.float32(against) * self._units[np.asarray(unlike, np.int64)].mean(axis=0)
        return query


def _unit(vectors: Vectors) -> Vectors:
    """Of length 1; a vector of length 0 stays, and is like nothing."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    return unit


def _best(rows: npt.NDArray[Any], similarity: Vectors, count: int) -> Neighbours:
    """The ``count`` best; of equal ones the first rows."""
    if count < len(rows):
        some = np.argpartition(-similarity, count - 1)[:count]
        some = np.flatnonzero(similarity >= similarity[some].min())
        rows, similarity = rows[some], similarity[some]
    order = np.lexsort((rows, -similarity))[:count]
    return Neighbours(rows[order], similarity[order])

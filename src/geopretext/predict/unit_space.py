"""The space in which rows of a table are compared: standardised over the table, then of length 1.

Shapes: n rows, D features.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]


@dataclass(frozen=True)
class UnitSpace:
    """How vectors become vectors of length 1, whose products are cosines."""

    mean: Vectors
    """(D,)"""
    deviation: Vectors
    """(D,), 1 for a feature that does not vary"""

    @classmethod
    def plain(cls, width: int) -> "UnitSpace":
        """The vectors as they are."""
        return cls(np.zeros(width, np.float32), np.ones(width, np.float32))

    @classmethod
    def measured(cls, blocks: Iterable[Vectors], width: int) -> "UnitSpace":
        """Standardised by the mean and the deviation of all rows, in one pass (Chan et al. 1979)."""
        count, mean, squares = 0, np.zeros(width), np.zeros(width)
        for block in blocks:
            here = block.mean(axis=0, dtype=np.float64)
            apart, total = here - mean, count + len(block)
            squares += np.square(block - here).sum(axis=0) + apart**2 * count * len(block) / total
            mean += apart * len(block) / total
            count = total
        deviation = np.sqrt(squares / max(count, 1))
        constant = deviation <= 1e-6 * np.abs(mean)
        return cls(mean.astype(np.float32), np.where(constant, 1.0, deviation).astype(np.float32))

    def __call__(self, vectors: Vectors) -> Vectors:
        """Vectors (n, D) of length 1; one that is the mean itself stays 0, and is like nothing."""
        moved = (vectors.astype(np.float32, copy=False) - self.mean) / self.deviation
        length = np.linalg.norm(moved, axis=1, keepdims=True)
        unit: Vectors = np.divide(moved, length, out=moved, where=length > 0)
        return unit

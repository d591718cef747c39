"""How a scene is cut into windows that overlap, and with which weights their results are put together again.

Windows are squares that start at multiples of the patch size. Each result counts nothing within ``margin`` pixels of an
inner edge of its window, where it knows too little of its surroundings, fully in the middle, and in between by a ramp
that is the complement of its neighbour's. At the edges of the scene there is nothing to wait for, and results count
fully. Weights of rows and of columns multiply, and add up to 1 in every cell.

Everything along one direction is told by an ``Axis``; cells are what a network gives one result for: a patch of
embeddings, a pixel of maps.
"""

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Axis:
    """The windows along one direction of a scene."""

    length: int
    """of the scene, pixels"""
    patch: int
    """pixels; windows start at its multiples"""
    cell: int
    """pixels on a side of a result: a divisor of ``patch``, or it"""
    size: int
    """of a window, pixels: a multiple of ``patch``"""
    margin: int
    """pixels at an inner edge whose results are dropped: a multiple of ``cell``"""
    ramp: int
    """pixels over which two windows are blended: a multiple of ``cell``"""

    def __post_init__(self) -> None:
        if self.length < 1:
            raise InputError(f"a scene of {self.length} pixels")
        if self.size % self.patch or self.patch % self.cell or self.margin % self.cell or self.ramp % self.cell:
            raise InputError(
                f"windows of {self.size} pixels with a margin of {self.margin} and a ramp of {self.ramp}",
                hint=f"windows want multiples of {self.patch} pixels, margin and ramp of {self.cell}",
            )
        if self.size < self.padded and self.step < self.patch:
            raise InputError(
                f"windows of {self.size} pixels leave nothing between margins of {self.margin} and a ramp of"
                f" {self.ramp} pixels",
                hint="take larger windows",
            )

    @property
    def padded(self) -> int:
        """Pixels of the scene, up to a multiple of the patch size."""
        return math.ceil(self.length / self.patch) * self.patch

    @property
    def extent(self) -> int:
        """Of a window, pixels: ``size``, or all of a smaller scene."""
        return min(self.size, self.padded)

    @property
    def step(self) -> int:
        """Pixels from the start of a window to that of the next one."""
        return (self.size - 2 * self.margin - self.ramp) // self.patch * self.patch

    @property
    def cells(self) -> int:
        """Of the scene; the last may lie over its edge."""
        return math.ceil(self.length / self.cell)

    @cached_property
    def starts(self) -> tuple[int, ...]:
        """First pixel of each window; the last window ends with the padded scene."""
        last = self.padded - self.extent
        return (*range(0, last, self.step), last) if last else (0,)

    @cached_property
    def weights(self) -> tuple[Floats, ...]:
        """Of the cells of each window, from its first; over windows, they add up to 1 in each cell of the scene."""
        per_window = self.extent // self.cell
        margin, ramp = self.margin // self.cell, self.ramp // self.cell
        rising = np.clip((np.arange(per_window) - margin + 0.5) / max(ramp, 0.5), 0.0, 1.0)
        total = np.zeros(self.padded // self.cell)
        each = []
        for start in self.starts:
            weight = np.ones(per_window)
            if start > 0:
                weight = np.minimum(weight, rising)
            if start + self.extent < self.padded:
                weight = np.minimum(weight, rising[::-1])
            total[start // self.cell :][:per_window] += weight
            each.append(weight)
        return tuple(
            (weight / total[start // self.cell :][:per_window]).astype(np.float32)
            for start, weight in zip(self.starts, each, strict=True)
        )

    def counted(self, number: int) -> slice:
        """The cells of a window, from its first, that count and lie in the scene."""
        counting = np.flatnonzero(self.weights[number])
        inside = self.cells - self.starts[number] // self.cell
        return slice(int(counting[0]), min(int(counting[-1]) + 1, inside))


def blended(extent: int, patch: int) -> tuple[int, int]:
    """Margin and ramp of windows for a network that sees all of its window, which is then as large as in training.

    No margin makes results those of one pass, which would be no better. So most of a window counts, and half of it is
    blended with its neighbours, which is as gradual as it can be.

    Args:
        extent: of a window, pixels.
        patch: pixels.

    Returns:
        Both in pixels: an eighth of the window at each edge, and half of what is left, in whole patches.
    """
    margin = extent // 8 // patch * patch
    return margin, (extent - 2 * margin) // 2 // patch * patch


@dataclass(frozen=True)
class Windows:
    """All windows of a scene, row by row."""

    down: Axis
    across: Axis

    @classmethod
    def of(cls, height: int, width: int, *, patch: int, cell: int, size: int, margin: int, ramp: int) -> "Windows":
        """Windows of one size for both directions; all in pixels, see ``Axis``."""
        return cls(*(Axis(length, patch, cell, size, margin, ramp) for length in (height, width)))

    def __len__(self) -> int:
        return len(self.down.starts) * len(self.across.starts)

    def corner(self, number: int) -> tuple[int, int]:
        """First row and first column of a window, pixels."""
        row, column = divmod(number, len(self.across.starts))
        return self.down.starts[row], self.across.starts[column]

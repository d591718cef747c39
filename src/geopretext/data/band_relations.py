"""How the bands of a modality go together: what tells one order of bands from another.

Mean and deviation of each band say little about a swap of two similar bands, or about red taken for blue. What differs
is how bands vary together: over a whole dataset, and within one tile, where the 10 m bands have detail that the 20 m
bands lack. Both are kept beside the statistics of single bands, so that what is shown to an encoder later can be held
against what it was trained on.

A sample of the pixels is taken (every 31st of a tile), and each pair of bands counts where both were observed.

Shapes: n tiles, C bands, N pixels.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Array
from geopretext.modality import Modality

Matrix: TypeAlias = tuple[tuple[float, ...], ...]
"""symmetric, NaN where two bands were never observed together"""

PIXEL_STEP = 31
"""Coprime to the usual tile sizes, so that the sample is not a few columns."""
_DIGITS = 6
"""More are rounding: sums are merged in any order."""


@dataclass(frozen=True)
class BandRelations:
    """How the bands of one modality vary together at one level."""

    bands: tuple[str, ...]
    """in the order of the rows"""
    correlation: Matrix
    """over all pixels of all tiles"""
    contrast: tuple[float, ...]
    """standard deviation within a tile (root of the mean square over tiles), in each band's unit"""
    contrast_correlation: Matrix
    """of the deviations from each tile's own mean"""

    def select(self, bands: Sequence[str]) -> "BandRelations":
        """Those of some bands, in the order asked for; all of them are known."""
        rows = [self.bands.index(name) for name in bands]

        def pick(matrix: Matrix) -> Matrix:
            return tuple(tuple(matrix[row][column] for column in rows) for row in rows)

        contrast = tuple(self.contrast[row] for row in rows)
        return BandRelations(tuple(bands), pick(self.correlation), contrast, pick(self.contrast_correlation))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; NaN becomes None."""
        return {
            "bands": list(self.bands),
            "correlation": [_plain(row) for row in self.correlation],
            "contrast": _plain(self.contrast),
            "contrast_correlation": [_plain(row) for row in self.contrast_correlation],
        }

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "BandRelations":
        """Read what ``to_dict`` wrote."""
        return cls(
            bands=tuple(plain["bands"]),
            correlation=tuple(_numbers(row) for row in plain["correlation"]),
            contrast=_numbers(plain["contrast"]),
            contrast_correlation=tuple(_numbers(row) for row in plain["contrast_correlation"]),
        )


@dataclass
class RelationCounts:
    """Sums over pairs of bands, from which ``BandRelations`` are made; they merge."""

    bands: tuple[str, ...]
    pairs: npt.NDArray[np.float64] = field(init=False)
    """(C, C): pixels at which both bands were observed"""
    sums: npt.NDArray[np.float64] = field(init=False)
    """(C, C): of the row's band at those pixels"""
    squares: npt.NDArray[np.float64] = field(init=False)
    """(C, C): of the square of the row's band at those pixels"""
    products: npt.NDArray[np.float64] = field(init=False)
    """(C, C): of both bands"""
    deviations: npt.NDArray[np.float64] = field(init=False)
    """(C, C): of the products of deviations from each tile's mean"""

    def __post_init__(self) -> None:
        size = len(self.bands)
        self.pairs, self.sums, self.squares, self.products, self.deviations = (np.zeros((size, size)) for _ in range(5))

    def add(self, modality: Modality, raw: Array) -> None:
        """Take in stored numbers of some tiles, (n, C, H, W)."""
        sample = raw.reshape(*raw.shape[:2], -1)[:, :, ::PIXEL_STEP]
        values, valid = modality.decode(sample)
        numbers, seen = values.astype(np.float64), valid.astype(np.float64)
        mean = numbers.sum(2, keepdims=True) / np.maximum(seen.sum(2, keepdims=True), 1)
        deviation = (numbers - mean) * seen
        flat, mask = _by_band(numbers), _by_band(seen)
        self.pairs += mask @ mask.T
        self.sums += flat @ mask.T
        self.squares += flat**2 @ mask.T
        self.products += flat @ flat.T
        departed = _by_band(deviation)
        self.deviations += departed @ departed.T

    def merge(self, other: "RelationCounts") -> None:
        """Take in all that another has."""
        self.pairs += other.pairs
        self.sums += other.sums
        self.squares += other.squares
        self.products += other.products
        self.deviations += other.deviations

    def finish(self) -> BandRelations:
        """The relations of all that was taken in."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean = self.sums / self.pairs
            variance = self.squares / self.pairs - mean**2
            covariance = self.products / self.pairs - mean * mean.T
            correlation = covariance / np.sqrt(variance * variance.T)
            within = self.deviations / self.pairs
            contrast = np.sqrt(np.diag(within))
            contrast_correlation = within / np.outer(contrast, contrast)
        return BandRelations(
            self.bands,
            _matrix(correlation),
            tuple(_rounded(value) for value in contrast),
            _matrix(contrast_correlation),
        )


def has_relations(modality: Modality) -> bool:
    """True if relations of the modality's bands are kept: maps of quantities with more than one band."""
    return modality.kind.is_continuous and modality.kind.is_map and len(modality.bands) > 1


def _by_band(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """(n, C, N) -> (C, n N)."""
    return np.moveaxis(values, 1, 0).reshape(values.shape[1], -1)


def _matrix(values: npt.NDArray[np.float64]) -> Matrix:
    bounded = np.clip(values, -1, 1)
    np.fill_diagonal(bounded, 1.0)
    return tuple(tuple(_rounded(value) for value in row) for row in bounded)


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else math.nan


def _plain(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]


def _numbers(values: Sequence[float | None]) -> tuple[float, ...]:
    return tuple(math.nan if value is None else float(value) for value in values)

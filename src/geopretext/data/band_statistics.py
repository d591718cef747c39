"""Statistics of one band, and what they are counted from: exact counts, or moments and a histogram.

Stored integers of 8 and 16 bits are counted number by number, so that all their statistics are exact. For other dtypes
mean and standard deviation are merged moments in float64 (Chan, Golub and LeVeque 1979), and percentiles come from
65,536 fixed bins: of equal width over the band's valid range if it has one (a range of 100 dB resolves 0.0015 dB), else
of equal width of the float's bit pattern (within 0.8 % of the value). Fixed bins merge exactly in any order.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Array
from geopretext.modality import Band, Modality

PERCENTILES = (1, 2, 5, 25, 50, 75, 95, 98, 99)

_BINS = 65_536


@dataclass(frozen=True)
class BandStatistics:
    """Statistics of the valid values of one band, in the band's unit; NaN (and ``count`` 0) if there are none."""

    mean: float
    std: float
    """of the population (divided by ``count``)"""
    min: float
    max: float
    percentiles: Mapping[int, float]
    """by percent"""
    count: int
    """valid values"""
    missing: int
    """values that are not valid"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; NaN becomes None."""
        plain = asdict(self)
        plain["percentiles"] = {str(p): _plain(value) for p, value in self.percentiles.items()}
        return {key: _plain(value) if isinstance(value, float) else value for key, value in plain.items()}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "BandStatistics":
        """Read what ``to_dict`` wrote."""
        numbers = {name: _number(plain[name]) for name in ("mean", "std", "min", "max")}
        percentiles = {int(p): _number(value) for p, value in plain["percentiles"].items()}
        return cls(**numbers, percentiles=percentiles, count=int(plain["count"]), missing=int(plain["missing"]))


@dataclass
class BandCounts:
    """Exact count of each number of an 8- or 16-bit dtype, in one band at one level; valid or not is settled last."""

    modality: Modality
    """with this band only"""
    counts: npt.NDArray[np.int64]
    lowest: int
    """the number that ``counts`` starts at"""

    @classmethod
    def empty(cls, modality: Modality) -> "BandCounts":
        """Nothing counted yet; the modality has one band."""
        dtype = np.dtype(modality.dtype)
        return cls(modality, np.zeros(256**dtype.itemsize, np.int64), int(np.iinfo(dtype).min))

    def add(self, raw: Array) -> None:
        """Take in stored numbers."""
        numbers = raw.ravel() if self.lowest == 0 else raw.ravel().astype(np.int32) - self.lowest
        self.counts += np.bincount(numbers, minlength=len(self.counts))

    def merge(self, other: "BandCounts") -> None:
        """Take in all that another has counted."""
        self.counts += other.counts

    def observed(self) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], int]:
        """The valid numbers that occur, how often each does, and how many are not valid."""
        occurring = np.flatnonzero(self.counts)
        numbers, counts = occurring + self.lowest, self.counts[occurring]
        valid = self.modality.decode(numbers.astype(self.modality.dtype)[:, None])[1].ravel()
        return numbers[valid], counts[valid], int(counts[~valid].sum())

    def values(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """The valid values that occur, ascending, and how often each does."""
        return self.observed()[:2]

    def finish(self) -> BandStatistics:
        """The statistics of all that was taken in."""
        numbers, counts, missing = self.observed()
        if not len(numbers):
            return _nothing(missing)
        total = int(counts.sum())
        mean = float(np.dot(numbers, counts)) / total
        variance = float(np.dot((numbers - mean) ** 2, counts)) / total
        ranks = np.cumsum(counts)
        percentiles = {p: float(numbers[np.searchsorted(ranks, p / 100 * total)]) for p in PERCENTILES}
        low, high = float(numbers[0]), float(numbers[-1])
        return BandStatistics(mean, math.sqrt(variance), low, high, percentiles, total, missing)


@dataclass
class BandMoments:
    """Moments and a histogram of the valid values of one band at one level, for any dtype."""

    low: float
    width: float
    """of a bin; 0 if bins follow the bit pattern of a float"""
    histogram: npt.NDArray[np.int64]
    count: int = 0
    missing: int = 0
    mean: float = 0.0
    squares: float = 0.0
    """sum of squared deviations from the mean"""
    min: float = math.inf
    max: float = -math.inf

    @classmethod
    def empty(cls, band: Band) -> "BandMoments":
        """Nothing taken in yet."""
        low, high = band.valid_min, band.valid_max
        if low is None or high is None or high <= low:
            return cls(0.0, 0.0, np.zeros(_BINS, np.int64))
        return cls(float(low), (high - low) / _BINS, np.zeros(_BINS, np.int64))

    def add(self, raw: Array, valid: npt.NDArray[np.bool_]) -> None:
        """Take in stored numbers, and which of them are valid."""
        values = raw[valid].astype(np.float64)
        self.missing += int(valid.size - len(values))
        if len(values):
            self.histogram += np.bincount(self._bins(values), minlength=_BINS)
            mean = float(values.mean())
            squares = float(np.square(values - mean).sum())
            self._merge_moments(len(values), mean, squares, float(values.min()), float(values.max()))

    def merge(self, other: "BandMoments") -> None:
        """Take in all that another has."""
        self.histogram += other.histogram
        self.missing += other.missing
        self._merge_moments(other.count, other.mean, other.squares, other.min, other.max)

    def _merge_moments(self, count: int, mean: float, squares: float, low: float, high: float) -> None:
        total = self.count + count
        if count == 0:
            return
        delta = mean - self.mean
        self.squares += squares + delta * delta * self.count * count / total
        self.mean += delta * count / total
        self.count, self.min, self.max = total, min(self.min, low), max(self.max, high)

    def _bins(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
        if self.width:
            return ((values - self.low) / self.width).astype(np.int64).clip(0, _BINS - 1)
        pattern = values.astype(np.float32).view(np.uint32)
        ordered = np.where(pattern >> 31, ~pattern, pattern | np.uint32(1 << 31))  # the order of the numbers
        return (ordered >> 16).astype(np.int64)

    def _edges(self, bins: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """Lower edges of bins."""
        if self.width:
            return np.asarray(self.low + bins * self.width, np.float64)
        ordered = (bins << 16).astype(np.uint32)
        pattern = np.where(ordered >> 31, ordered ^ np.uint32(1 << 31), ~ordered)
        return pattern.astype(np.uint32).view(np.float32).astype(np.float64)

    def values(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
        """Middles of the bins that values fell into, ascending, and how many did."""
        bins = np.flatnonzero(self.histogram)
        middles = (self._edges(bins) + self._edges(bins + 1)) / 2 if len(bins) else np.empty(0)
        return middles, self.histogram[bins]

    def finish(self) -> BandStatistics:
        """The statistics of all that was taken in."""
        if not self.count:
            return _nothing(self.missing)
        ranks = np.cumsum(self.histogram)
        percentiles = {}
        for p in PERCENTILES:
            rank = p / 100 * self.count
            bin_ = np.searchsorted(ranks, rank)
            share = (rank - (ranks[bin_] - self.histogram[bin_])) / self.histogram[bin_]
            low, high = self._edges(np.array([bin_, min(bin_ + 1, _BINS - 1)]))
            percentiles[p] = float(np.clip(low + share * (high - low), self.min, self.max))
        std = math.sqrt(self.squares / self.count)
        return BandStatistics(self.mean, std, self.min, self.max, percentiles, self.count, self.missing)


def _nothing(missing: int) -> BandStatistics:
    return BandStatistics(*(math.nan,) * 4, percentiles=dict.fromkeys(PERCENTILES, math.nan), count=0, missing=missing)


def _plain(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

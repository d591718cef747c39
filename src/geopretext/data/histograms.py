"""Histograms of bands for people to look at, and what MMEarth's own numbers are."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

BINS = 64

TAIL = 0.005
"""share of the values at each end that is left out"""


@dataclass(frozen=True)
class Histogram:
    """How often the values of one band fall into bins of equal width; the outermost are left out (``TAIL``)."""

    low: float
    """lower edge of the first bin, in the band's unit"""
    high: float
    """upper edge of the last bin"""
    counts: npt.NDArray[np.int64]
    """(bins,) values in each bin"""

    @classmethod
    def of(cls, values: npt.NDArray[Any], counts: npt.NDArray[np.int64], bins: int = BINS) -> "Histogram | None":
        """From distinct values, ascending, and how often each occurs; None if there are none.

        Bins of whole numbers hold equally many of them, so that no comb appears.
        """
        if not len(values):
            return None
        ranks = np.cumsum(counts) / counts.sum()
        ends = np.searchsorted(ranks, (TAIL, 1 - TAIL)).clip(max=len(values) - 1)
        low, high = (float(value) for value in values[ends])
        if np.issubdtype(values.dtype, np.integer):
            width = max(1.0, np.ceil((high - low + 1) / bins))
            bins = int(np.ceil((high - low + 1) / width))
            low, high = low - 0.5, low - 0.5 + bins * width
        elif high <= low:
            low, high = low - 0.5, low + 0.5
        found, _ = np.histogram(values, bins, (low, high), weights=counts.astype(np.float64))
        return cls(low, high, np.rint(found).astype(np.int64))

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {"low": self.low, "high": self.high, "counts": self.counts.tolist()}


@dataclass(frozen=True)
class PublishedBand:
    """Mean and standard deviation of a band over MMEarth."""

    mean: float
    std: float


def _table(bands: str, means: tuple[float, ...], stds: tuple[float, ...]) -> Mapping[str, PublishedBand]:
    return {band: PublishedBand(*pair) for band, *pair in zip(bands.split(), means, stds, strict=True)}


_OPTICAL = "B1 B2 B3 B4 B5 B6 B7 B8A B8 B9 B11 B12"

PUBLISHED_BANDS: Mapping[tuple[str, str], Mapping[str, PublishedBand]] = {
    ("sentinel2", "L1C"): _table(
        _OPTICAL,
        (1864.9, 1657.0, 1561.2, 1633.6, 1846.6, 2422.1, 2706.2, 2907.5, 2620.5, 974.5, 2154.1, 1464.8),
        (1520.1, 1575.4, 1474.4, 1734.9, 1697.1, 1585.0, 1578.0, 1560.2, 1519.2, 823.4, 1311.6, 1140.1),
    ),
    ("sentinel2", "L2A"): _table(
        _OPTICAL,
        (1349.4, 1480.0, 1720.4, 1899.2, 2253.9, 2808.2, 3003.4, 3149.5, 3110.8, 3213.8, 2399.1, 1811.8),
        (2340.3, 2375.9, 2256.9, 2354.2, 2293.0, 2033.2, 1920.2, 1816.6, 1988.2, 1947.9, 1473.2, 1390.7),
    ),
    ("sentinel1", ""): _table(
        "asc_VV asc_VH asc_HH asc_HV desc_VV desc_VH desc_HH desc_HV",
        (-11.67, -19.05, -10.53, -19.53, -11.75, -19.19, -11.73, -21.29),
        (5.13, 6.43, 5.65, 7.72, 5.01, 6.30, 5.35, 7.18),
    ),
}
"""By modality and level (empty if it has none): MMEarth's statistics of 64 px tiles, in the band's unit.

They lie in the data set's ``_band_stats.json``, which is no part of any public repository; these are the entries that
a configuration of third parties quotes (github.com/johnGachihi/scenic, projects/loca/configs/loca_mmearth64_small16.py,
commit 639049a), rounded. B10 and all other modalities are not quoted there.
"""

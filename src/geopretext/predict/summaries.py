"""What a map comes to, gathered block by block while it is written: shares of classes, quantiles of quantities."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.predict.ground_area import Ground
from geopretext.predict.legend import Codes, Legend

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_SAMPLE = 1_000_000
_SQUARE_METRES = 10_000.0  # of a hectare


@dataclass(frozen=True)
class ClassShare:
    """How much of a map has one class."""

    code: int
    name: str
    pixels: int
    share: float
    """of the pixels that have a class, 0 to 1"""
    hectares: float | None
    """None if the map does not say where it lies"""


class ClassTally:
    """Counts the pixels of each class.

    Args:
        legend: of the map.
        ground: under it; None if that is not known.
    """

    def __init__(self, legend: Legend, ground: Ground | None) -> None:
        self._legend = legend
        self._ground = ground
        self._codes = np.array(sorted(legend.codes))
        self._pixels = np.zeros(len(self._codes), np.int64)
        self._area = np.zeros(len(self._codes))
        self._row = 0

    def add(self, block: Codes) -> None:
        """The next rows of the map, (rows, W) codes."""
        height, width = block.shape
        kinds = len(self._codes)
        position = np.searchsorted(self._codes, block).clip(max=kinds - 1)
        known = self._codes[position] == block
        cells = (position + np.arange(height)[:, None] * kinds)[known]
        counts = np.bincount(cells, minlength=height * kinds).reshape(height, kinds)
        self._pixels += counts.sum(0)
        if self._ground is not None:
            self._area += self._ground.pixel_areas(self._row, self._row + height, columns=width) @ counts
        self._row += height

    @property
    def shares(self) -> tuple[ClassShare, ...]:
        """Of each class, in the order of codes."""
        total = max(1, int(self._pixels.sum()))
        names = self._legend.by_code
        return tuple(
            ClassShare(code, names[code], pixels, pixels / total, None if self._ground is None else area)
            for code, pixels, area in zip(
                self._codes.tolist(), self._pixels.tolist(), (self._area / _SQUARE_METRES).tolist(), strict=True
            )
        )


@dataclass(frozen=True)
class QuantitySummary:
    """What a quantity of a map comes to."""

    name: str
    unit: str
    pixels: int
    """that have a value"""
    mean: float
    least: float
    most: float
    quantiles: tuple[float, ...]
    """those of ``QUANTILES``; of a random million of pixels, where there are more"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {
            "name": self.name,
            "unit": self.unit,
            "pixels": self.pixels,
            "mean": self.mean,
            "min": self.least,
            "max": self.most,
            "quantiles": {f"{level:g}": value for level, value in zip(QUANTILES, self.quantiles, strict=True)},
        }


class QuantityTally:
    """Gathers the values of each of D quantities.

    Args:
        pixels: of the whole map, which settle the share of them that is kept for quantiles.
        quantities: D.
    """

    def __init__(self, pixels: int, quantities: int) -> None:
        self._share = _SAMPLE / pixels
        self._generator = np.random.default_rng(0)
        self._count = 0
        self._sum = np.zeros(quantities)
        self._least, self._most = np.full(quantities, np.inf), np.full(quantities, -np.inf)
        self._kept: list[Floats] = []

    def add(self, values: Floats, seen: Mask) -> None:
        """The next rows of the map, (rows, W, D), and which pixels (rows, W) have values."""
        found = values[seen]
        if not len(found):
            return
        self._count += len(found)
        self._sum += found.sum(0, dtype=np.float64)
        self._least = np.minimum(self._least, found.min(0))
        self._most = np.maximum(self._most, found.max(0))
        self._kept.append(found if self._share >= 1 else found[self._generator.random(len(found)) < self._share])

    def summaries(self, names: tuple[str, ...], units: tuple[str, ...]) -> tuple[QuantitySummary, ...]:
        """Of each quantity; NaN where nothing was observed."""
        kept = np.concatenate([np.full((0, len(names)), np.nan, np.float32), *self._kept])
        quantiles = np.quantile(kept, QUANTILES, axis=0) if len(kept) else np.full((len(QUANTILES), len(names)), np.nan)
        count = self._count
        bounds = (self._least, self._most) if count else (np.full(len(names), np.nan),) * 2
        return tuple(
            QuantitySummary(
                name,
                unit,
                count,
                float(self._sum[place] / count) if count else float("nan"),
                float(bounds[0][place]),
                float(bounds[1][place]),
                tuple(quantiles[:, place].tolist()),
            )
            for place, (name, unit) in enumerate(zip(names, units, strict=True))
        )

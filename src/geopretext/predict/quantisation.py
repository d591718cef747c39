"""Features in fewer bytes: one number for each, with a scale that GDAL applies.

    feature = number * scale + offset

A range of each feature is divided into 254 steps; what lies beyond is clipped. It is the whole range over the scene, or
what is left of it without its ends (of a sample, 0.01 % to 1 % of the cells at either), whichever has the least mean
absolute error, of rounding and clipping together. Squared errors would keep a few odd cells (glint, edges of clouds) at
the cost of all others.

Shapes: N cells, D features.
"""

from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError

Floats = npt.NDArray[np.float32]
StoredType: TypeAlias = Literal["int8", "float16", "float32"]
"""How features are stored"""

STORED_TYPES: tuple[StoredType, ...] = ("int8", "float16", "float32")
NOTHING = -128
"""stands for "no feature" in int8; in the others it is NaN"""
_STEPS = 127
_CLIPPED = (0.0001, 0.001, 0.003, 0.01)
"""of the cells, at either end"""


@dataclass(frozen=True)
class Quantisation:
    """How features become numbers."""

    dtype: StoredType
    scale: Floats
    """(D,), of int8; empty in the other types, as ``offset``"""
    offset: Floats
    """(D,)"""

    @classmethod
    def of(cls, sample: Floats, lowest: Floats, highest: Floats, dtype: StoredType) -> "Quantisation":
        """Scales for the features of a scene.

        Args:
            sample: some of its cells (N, D), N at least 1.
            lowest: of each feature in the scene, (D,).
            highest: (D,).
            dtype: how features are stored.
        """
        if dtype != "int8":
            return cls(dtype, np.empty(0, np.float32), np.empty(0, np.float32))
        best = cls._over(lowest, highest)
        least = best._lost(sample).mean(0)
        for share in _CLIPPED:
            low, high = np.quantile(sample, (share, 1 - share), axis=0)
            other = cls._over(low, high)
            error = other._lost(sample).mean(0)
            better = error < least
            scale = np.where(better, other.scale, best.scale)
            best = cls(dtype, scale, np.where(better, other.offset, best.offset))
            least = np.minimum(least, error)
        return best

    @classmethod
    def _over(cls, low: npt.NDArray[Any], high: npt.NDArray[Any]) -> "Quantisation":
        """Of a range of each feature."""
        half = np.maximum((high - low) / 2, 1e-6 * np.maximum(np.abs(high), 1))  # of a feature that never changes
        return cls("int8", (half / _STEPS).astype(np.float32), ((low + high) / 2).astype(np.float32))

    def _lost(self, sample: Floats) -> Floats:
        """Absolute errors (N, D)."""
        lost: Floats = np.abs(self.decode(self.encode(sample)) - sample)
        return lost

    @property
    def nodata(self) -> float:
        """What stands for "no feature"."""
        return NOTHING if self.dtype == "int8" else np.nan

    def encode(self, features: Floats) -> npt.NDArray[Any]:
        """(..., D) -> numbers (..., D).

        Raises:
            InputError: a feature does not fit.
        """
        if self.dtype == "int8":
            steps = np.rint((features - self.offset) / self.scale)
            numbers: npt.NDArray[Any] = np.clip(steps, -_STEPS, _STEPS).astype(np.int8)
            return numbers
        if self.dtype == "float16" and np.abs(features).max(initial=0) > np.finfo(np.float16).max:
            raise InputError(
                f"a feature is {np.abs(features).max():.3g}, more than 16 bits hold", hint="--dtype float32"
            )
        stored: npt.NDArray[Any] = features.astype(self.dtype).astype(np.float32)
        return stored

    def decode(self, numbers: npt.NDArray[Any]) -> Floats:
        """What a reader makes of numbers (..., D), as GDAL's scale and offset say."""
        plain = numbers.astype(np.float32)
        return plain * self.scale + self.offset if self.dtype == "int8" else plain

    def errors(self, sample: Floats) -> tuple[float, float]:
        """Mean absolute error, and root mean square, of a sample (N, D), in standard deviations of each feature."""
        lost = self._lost(sample) / np.maximum(sample.std(0), np.float32(1e-10))
        return float(lost.mean()), float(np.sqrt(np.square(lost).mean()))

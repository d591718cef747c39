"""A scene in memory."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.errors import GridError
from geopretext.predict.scene import Array, Georeference, Mask


@dataclass(frozen=True)
class ArrayScene:
    """See ``scene.Scene``."""

    values: Array
    """(C, H, W); what is not finite was not observed"""
    bands: tuple[str, ...]
    unit: str
    georeference: Georeference
    valid: Mask | None = None
    """(H, W), which pixels were observed; None: all whose numbers are finite"""
    level: str | None = None
    time: np.datetime64 | None = None
    where: str = "the array"
    record: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.values.ndim != 3 or len(self.values) != len(self.bands):
            raise GridError(
                f"an array of shape {self.values.shape} for the bands {', '.join(self.bands)}",
                where=self.where,
                hint="wanted (bands, height, width)",
            )
        if self.valid is not None and self.valid.shape != self.values.shape[1:]:
            raise GridError(f"validity of shape {self.valid.shape}, values of {self.values.shape}", where=self.where)

    def open(self) -> Self:
        """As ``scene_run.SceneOpener``: in memory there is nothing to open."""
        return self

    @property
    def dtype(self) -> str:
        """See ``Scene``."""
        return str(self.values.dtype)

    @property
    def height(self) -> int:
        """See ``Scene``."""
        return int(self.values.shape[1])

    @property
    def width(self) -> int:
        """See ``Scene``."""
        return int(self.values.shape[2])

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> tuple[Array, Mask]:
        """See ``Scene``."""
        values = self.values[[self.bands.index(name) for name in bands], rows, columns].astype(np.float32)
        seen = np.isfinite(values)
        if self.valid is not None:
            seen &= self.valid[rows, columns]
        return np.where(seen, values, np.float32(0)), seen

    def fingerprint(self) -> str:
        """See ``Scene``."""
        content = hashlib.sha256(self.values.tobytes())
        if self.valid is not None:
            content.update(self.valid.tobytes())
        return joined_fingerprint(
            [*self.bands, self.unit, self.dtype, *map(str, self.values.shape), content.hexdigest()]
        )

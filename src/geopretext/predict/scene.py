"""A scene: one image of any size, read by windows, that says where on the Earth it lies.

Where scenes come from is told by ``predict.open_scene``; what is done to their numbers by ``predict.scene_door``.

Shapes: C bands, h w pixels of a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Georeference:
    """Where the pixels of a raster lie."""

    crs: str
    """as WKT, or an authority's code such as ``EPSG:32632``; empty if it is not known"""
    transform: tuple[float, float, float, float, float, float]
    """a b c d e f of ``x = a column + b row + c``, ``y = d column + e row + f``, at upper left corners of pixels"""

    def coarser(self, factor: int) -> "Georeference":
        """Of cells of ``factor`` x ``factor`` pixels."""
        a, b, c, d, e, f = self.transform
        return Georeference(self.crs, (a * factor, b * factor, c, d * factor, e * factor, f))


class Scene(Protocol):
    """Bands by name in one unit on one grid, read by windows; safe to read from several threads."""

    @property
    def where(self) -> str:
        """File, folder or address, for messages."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names, as the modality table writes them (``B2``, ``B8A``)."""

    @property
    def unit(self) -> str:
        """Of all bands, as ``read`` gives them."""

    @property
    def dtype(self) -> str:
        """Of the numbers as stored."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    @property
    def georeference(self) -> Georeference:
        """Of its pixels."""

    @property
    def level(self) -> str | None:
        """Processing level (``L1C``, ``L2A``), if it is known."""

    @property
    def time(self) -> np.datetime64 | None:
        """When it was taken, UTC, if it is known."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What was found and undone on the way (files, offsets, resampling, masked classes), in plain types."""

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> tuple[Array, Mask]:
        """A window inside the scene.

        Args:
            rows: start and stop, pixels.
            columns: start and stop, pixels.
            bands: which, in the order wanted.

        Returns:
            numbers in ``unit``, float32 (C, h, w), and which of them were observed in a clear sky.

        Raises:
            CorruptError: the file cannot be decoded.
            SourceError: its address does not answer.
        """

    def fingerprint(self) -> str:
        """Sign of its content: another scene, or a changed one, has another."""

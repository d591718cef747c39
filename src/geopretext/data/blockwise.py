"""Maps on the CPU from stored numbers to what a network sees: cropped, decoded and standardised a few tiles at a time.

The same numbers, bit for bit, as ``Decoder`` and ``Normaliser`` give for a whole batch. There every step passes over
the batch in main memory, and here over some tiles that stay in a core's cache; and small integers are compared with
their limits as integers. It runs in the calling thread alone, since the other cores are busy reading.

Shapes: B tiles, C bands wanted, H W pixels stored, S pixels on a side of the crop.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.memory import Recycler
from geopretext.data.normalise import Normaliser, class_table, valid_range
from geopretext.modality import Modality, Observed

Array = npt.NDArray[Any]

_BLOCK = 1 << 16
"""numbers that are treated at a time, unless a tile has more: as float32 a quarter of a megabyte"""


class Blockwise:
    """One map modality.

    Args:
        modality: with the bands wanted.
        bands: where these lie among the stored ones.
        normaliser: of the same bands, on the CPU; None leaves values in their unit.
    """

    def __init__(self, modality: Modality, bands: Sequence[int], normaliser: Normaliser | None) -> None:
        self._modality, self._bands, self._normaliser = modality, tuple(_runs(bands)), normaliser
        self._memory = Recycler()
        dtype = np.dtype(modality.dtype)
        self._in_place = modality.kind.is_continuous and dtype == np.float32
        if modality.kind.is_categorical:
            self._first, table = class_table(modality)
            self._classes, self._known = np.maximum(table, 0), table >= 0
            return
        low, high, missing = valid_range(modality)
        self._as_stored = dtype.kind in "iu" and dtype.itemsize <= 2
        if self._as_stored:  # limits beyond the dtype are no limits, or let nothing pass; float32 can say either
            info = np.iinfo(dtype)
            self._as_stored = bool((low <= info.max).all() and (high >= info.min).all())
        if self._as_stored:
            low, high = (limit.clip(info.min, info.max).astype(dtype) for limit in (np.ceil(low), np.floor(high)))
        self._low, self._high = low.reshape(-1, 1, 1), high.reshape(-1, 1, 1)
        self._missing = [int(number) if dtype.kind in "iu" else number for number in missing]

    def __call__(
        self,
        stored: Array,
        levels: npt.NDArray[np.int64],
        windows: npt.NDArray[np.int64] | None = None,
        crop: int | None = None,
    ) -> Observed[Tensor]:
        """Stored numbers, whose class codes have been checked -> what a network sees.

        Args:
            stored: (B, bands stored, H, W) in the stored dtype.
            levels: (B,) position in ``Modality.levels``, -1 if unknown; checked.
            windows: (B, 2): upper row and left column of the crop of each tile; None keeps whole maps.
            crop: S.
        """
        if windows is None or crop is None:
            windows, crop = np.zeros((len(stored), 2), np.int64), stored.shape[-1]
        rows, columns = windows.T.tolist()
        is_categorical, count = self._modality.kind.is_categorical, len(self._modality.bands)
        shape = (len(stored), crop, crop) if is_categorical else (len(stored), count, crop, crop)
        values = self._memory.empty(shape, np.int64 if is_categorical else np.float32)
        valid = self._memory.empty(shape, np.bool_)
        size = max(1, _BLOCK // (count * crop**2))
        finish = self._find_classes if is_categorical else self._standardise
        scales = self._scales(levels)
        with np.errstate(all="ignore"):  # what is not valid may overflow
            for start in range(0, len(stored), size):
                part = slice(start, start + size)
                target = values[part]
                block = self._cut(stored[part], rows[part], columns[part], crop, target if self._in_place else None)
                finish(block, [scale[part] for scale in scales], target, valid[part])
        return Observed(torch.from_numpy(values), torch.from_numpy(valid))

    def _scales(self, levels: npt.NDArray[np.int64]) -> list[Array]:
        """Mean and standard deviation for each tile, (B, C, 1, 1); none of what is not standardised."""
        if self._normaliser is None or self._modality.kind.is_categorical:
            return []
        return [rows.numpy()[..., None, None] for rows in self._normaliser.rows(torch.from_numpy(levels))]

    def _cut(self, stored: Array, rows: list[int], columns: list[int], crop: int, block: Array | None) -> Array:
        """Bands and windows: (b, bands stored, H, W) -> (b, C, S, S), written into ``block`` if there is one."""
        if block is None:
            block = np.empty((len(stored), len(self._modality.bands), crop, crop), stored.dtype)
        for cut, tile, y, x in zip(block, stored, rows, columns, strict=True):
            for to, source in self._bands:
                cut[to] = tile[source, y : y + crop, x : x + crop]
        return block

    def _find_classes(self, block: Array, _: list[Array], values: Array, valid: Array) -> None:
        codes = block[:, 0].astype(np.int64)
        codes -= self._first
        self._classes.take(codes, mode="clip", out=values)
        self._known.take(codes, mode="clip", out=valid)

    def _standardise(self, block: Array, scales: list[Array], values: Array, valid: Array) -> None:
        if block is not values:
            np.copyto(values, block)
        compared = block if self._as_stored else values
        np.greater_equal(compared, self._low, out=valid)
        valid &= compared <= self._high
        exact = block if block.dtype.kind in "iu" else values  # 32-bit integers do not fit float32
        for number in self._missing:
            valid &= exact != number
        if scales:
            values -= scales[0]
            values /= scales[1]
        if not valid.all():
            np.copyto(values, 0, where=~valid)


def _runs(bands: Sequence[int]) -> Iterator[tuple[slice, slice]]:
    """Neighbours that stay neighbours: where they come to lie, and where they lie."""
    start = 0
    for stop in range(1, len(bands) + 1):
        if stop == len(bands) or bands[stop] != bands[stop - 1] + 1:
            yield slice(start, stop), slice(bands[start], bands[stop - 1] + 1)
            start = stop

"""Stored numbers to what a network sees, on any device: decode to values and validity, then standardise.

``decode`` is the torch twin of ``Modality.decode``. ``Normaliser`` subtracts the mean and divides by the standard
deviation of each band, with the statistics of each tile's own processing level.

Shapes: B tiles, C bands, T dates; maps (B, C, H, W), vectors (B, C), series (B, T, C, H, W); a categorical modality has
no band axis once decoded.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.statistics import POOLED, Statistics
from geopretext.errors import ClassError, InputError
from geopretext.modality import Modality, Observed, known_scales

Scale: TypeAlias = tuple[Sequence[float] | npt.NDArray[np.float32], Sequence[float] | npt.NDArray[np.float32]]
"""mean and standard deviation of each band"""

Scales: TypeAlias = Mapping[str, Scale]
"""by level; ``"all"`` (``POOLED``) is over all levels and serves tiles whose level is unknown"""

AnyStatistics: TypeAlias = Statistics | Mapping[str, Scales]
"""statistics of a store, or just the scales of some modalities by name, as a bundle holds them"""

Entry = TypeVar("Entry")

_MISSING, _STRAY = -1, -2


class Decoder:
    """Turns stored numbers of one modality into ``Observed``; its tables are built once and live on ``device``."""

    def __init__(self, modality: Modality, device: torch.device | str = "cpu") -> None:
        self.modality = modality
        if modality.kind.is_categorical:
            self._first, table = class_table(modality)
            self._table = torch.from_numpy(table).to(device)
            return
        low, high, self._missing = valid_range(modality)
        self._low, self._high = torch.from_numpy(low).to(device), torch.from_numpy(high).to(device)

    def __call__(self, raw: Tensor) -> Observed[Tensor]:
        """Values and validity, as ``Modality.decode`` gives them.

        Args:
            raw: stored numbers in the modality's dtype, (B, C, H, W), (B, C) or (B, T, C, H, W).

        Raises:
            ClassError: a stored code is neither a class nor missing.
        """
        if self.modality.kind.is_categorical:
            index = self._look_up(raw)
            if bool((index == _STRAY).any()):
                check_codes(raw.cpu().numpy(), self.modality)
        values, valid = self.unfilled(raw)
        return Observed(values.masked_fill(~valid, 0), valid)

    def unfilled(self, raw: Tensor) -> Observed[Tensor]:
        """The same without a check, and with anything at all where not valid, NaN included; may share ``raw``'s memory.

        For a caller that has checked the codes already (so that no answer must be fetched from the device), and fills
        what is missing later.
        """
        if self.modality.kind.is_categorical:
            index = self._look_up(raw)
            return Observed(index.clamp(min=0), index >= 0)
        values = raw.to(torch.float32)
        trailing = (1,) * (raw.ndim - self.modality.kind.band_axis - 1)
        valid = values >= self._low.view(-1, *trailing)
        valid &= values <= self._high.view(-1, *trailing)
        if self._missing:
            # 32-bit integers do not fit float32, so they are compared as integers.
            exact = raw.to(torch.int64) if self.modality.dtype in ("int32", "uint32") else values
            for number in self._missing:
                valid &= exact != number
        return Observed(values, valid)

    def _look_up(self, codes: Tensor) -> Tensor:
        """(B, 1, H, W) or (B, 1) codes -> (B, H, W) or (B,) class indices, negative if missing or stray."""
        return self._table[codes[:, 0].to(torch.int64).sub_(self._first).clamp_(0, len(self._table) - 1)]


def decode(raw: Tensor, modality: Modality) -> Observed[Tensor]:
    """Stored numbers -> values and validity, on the device of ``raw``; equal to ``Modality.decode``.

    Raises:
        ClassError: a stored code is neither a class nor missing.
    """
    return Decoder(modality, raw.device)(raw)


def check_codes(raw: npt.NDArray[Any], modality: Modality, name: Callable[[int], str] = "number {}".format) -> None:
    """Refuse class codes that a categorical modality does not define; other kinds pass.

    Args:
        raw: stored codes, (B, 1, H, W) or (B, 1).
        modality: what they are codes of.
        name: what the message calls a tile, by its place in ``raw``.

    Raises:
        ClassError: names the modality, the codes and the first tile that holds one of them.
    """
    if not modality.kind.is_categorical:
        return
    stray = _stray_codes(raw, [*modality.class_index, *(int(number) for number in modality.missing)])
    if not stray.any():
        return
    first = int(np.nonzero(stray.reshape(len(raw), -1).any(axis=1))[0][0])
    raise ClassError(
        f"code {', '.join(map(str, np.unique(raw[stray])[:5]))} is not a class of modality {modality.name!r}",
        where=f"tile {name(first)}",
        hint=f"its codes are {', '.join(map(str, list(modality.class_index)[:20]))};"
        " list others under 'missing' or 'classes' of the modality",
    )


def _stray_codes(raw: npt.NDArray[Any], allowed: Sequence[int]) -> npt.NDArray[np.bool_]:
    """Which codes are none of those allowed."""
    if raw.dtype != np.uint8:
        return ~np.isin(raw, np.array(allowed, np.int64))
    table = ~np.isin(np.arange(256), np.array(allowed, np.int64))
    return table.take(raw, mode="clip")  # several times faster than to index it


def class_table(modality: Modality) -> tuple[int, npt.NDArray[np.int64]]:
    """First code of a table, and the class index of each code from there on, negative if missing or stray.

    Both ends of the table are stray, for codes that lie before or after it.
    """
    known = {**dict.fromkeys((int(number) for number in modality.missing), _MISSING), **modality.class_index}
    first, last = min(known) - 1, max(known) + 1
    table = np.full(last - first + 1, _STRAY, np.int64)
    for code, index in known.items():
        table[code - first] = index
    return first, table


def valid_range(
    modality: Modality,
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32], tuple[float, ...]]:
    """Which numbers of a modality that is not categorical are valid.

    Returns:
        The smallest and the largest valid number of each band, (C,), both finite; and the numbers that lie in any of
        these ranges and mean "missing".
    """
    largest = float(np.finfo(np.float32).max)
    low = [-largest if b.valid_min is None else max(b.valid_min, -largest) for b in modality.bands]
    high = [largest if b.valid_max is None else min(b.valid_max, largest) for b in modality.bands]
    missing = tuple(number for number in modality.missing if min(low) <= number <= max(high))
    return np.array(low, np.float32), np.array(high, np.float32), missing


class Normaliser:
    """Standardises one modality band by band, with the statistics of each tile's processing level.

    A band that is constant, or was never observed, is divided by 1. Classes and labels pass unchanged.

    Args:
        modality: what is standardised.
        scales: by level, in the order of its bands; ``"all"`` alone serves every level. A level of which no band was
            ever observed (all NaN) counts as absent.
        device: where the tables live.

    Raises:
        InputError: ``scales`` has no entry, an unknown level, or a wrong number of bands.
    """

    def __init__(self, modality: Modality, scales: Scales, device: torch.device | str = "cpu") -> None:
        self.modality = modality
        self._rows = (*modality.levels, POOLED)
        self._absent: frozenset[int] = frozenset()
        if not modality.kind.is_continuous:
            return
        where = f"statistics of modality {modality.name!r}"
        unknown = [level for level in scales if level not in self._rows]
        if unknown or not scales:
            raise InputError(
                f"no such level: {', '.join(map(repr, unknown))}" if unknown else "are empty",
                where=where,
                hint=f"levels are {', '.join(self._rows)}"
                if unknown
                else "a bundle without statistics has to be imported again with --statistics",
            )
        # A modality that was never observed has nothing to standardise, and may be in a store all the same.
        scales = known_scales(scales) or {POOLED: _usable(next(iter(scales.values())), len(modality.bands), where)}
        if set(scales) == {POOLED}:
            scales = dict.fromkeys(self._rows, scales[POOLED])
        self._absent = frozenset(row for row, level in enumerate(self._rows) if level not in scales)
        identity = np.zeros(len(modality.bands), np.float32), np.ones(len(modality.bands), np.float32)
        rows = [_usable(scales.get(level, identity), len(modality.bands), where) for level in self._rows]
        self._mean = torch.from_numpy(np.stack([mean for mean, _ in rows])).to(device)
        self._std = torch.from_numpy(np.stack([std for _, std in rows])).to(device)

    @classmethod
    def of(cls, modality: Modality, statistics: AnyStatistics, device: torch.device | str = "cpu") -> "Normaliser":
        """From the statistics of a store, or from scales by modality as a bundle holds them.

        Raises:
            InputError: the statistics lack the modality.
            BandError: they lack one of its bands.
        """
        if not modality.kind.is_continuous:
            return cls(modality, {}, device)
        if isinstance(statistics, Statistics):
            return cls(modality, scales_of(modality, statistics), device)
        return cls(modality, _entry(statistics, modality.name), device)

    def check_levels(self, levels: npt.NDArray[np.integer[Any]]) -> None:
        """Refuse tiles whose level has no statistics.

        Args:
            levels: position in ``Modality.levels`` of each tile, -1 if unknown.

        Raises:
            InputError: names the level and how many tiles have it.
        """
        for row in sorted(self._absent):
            count = int(np.count_nonzero(np.asarray(levels) == (row if row < len(self.modality.levels) else -1)))
            if count:
                have = ", ".join(level for position, level in enumerate(self._rows) if position not in self._absent)
                raise InputError(
                    f"no statistics for level {self._rows[row]!r}, which {count} of the tiles have; there are {have}",
                    where=f"modality {self.modality.name!r}",
                    hint="use tiles of a level that the statistics cover, or statistics over these tiles",
                )

    def __call__(self, observed: Observed[Tensor], levels: Tensor | None = None) -> Observed[Tensor]:
        """Standardised values, 0 where invalid.

        Args:
            observed: values in the modality's unit, (B, C, H, W), (B, C) or (B, T, C, H, W).
            levels: position in ``Modality.levels`` of each tile, -1 if unknown; None: all unknown.

        Raises:
            InputError: a tile has a level without statistics.
        """
        if not self.modality.kind.is_continuous:
            return observed
        levels = self._checked(levels, len(observed.values))
        return self.standardise_(Observed(observed.values.clone(), observed.valid), levels)

    def standardise_(self, observed: Observed[Tensor], levels: Tensor) -> Observed[Tensor]:
        """The same in place, for levels that have been checked; classes and labels are only filled where not valid."""
        if self.modality.kind.is_continuous:
            mean, std = (self._over_pixels(rows, observed.values) for rows in self.rows(levels))
            observed.values.sub_(mean).div_(std)
        observed.values.masked_fill_(~observed.valid, 0)
        return observed

    def inverse(self, values: Tensor, levels: Tensor | None = None) -> Tensor:
        """Standardised values back in the modality's unit; (B, C, H, W), (B, C) or (B, T, C, H, W)."""
        if not self.modality.kind.is_continuous:
            return values
        mean, std = (self._over_pixels(rows, values) for rows in self.rows(self._checked(levels, len(values))))
        return values * std + mean

    def _checked(self, levels: Tensor | None, count: int) -> Tensor:
        if levels is None:
            levels = torch.full((count,), -1)
        if self._absent:
            self.check_levels(levels.cpu().numpy())
        return levels

    def rows(self, levels: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation for tiles of some levels, that have been checked: (B,) -> (B, C) each."""
        rows = levels.to(self._mean.device, torch.int64)  # -1 takes the last row, which is the pooled one
        if self._mean.device.type == "cpu":  # torch would start threads for it, which wait for cores that are busy
            mean, std = (table.numpy()[rows.numpy()] for table in (self._mean, self._std))
            return torch.from_numpy(mean), torch.from_numpy(std)
        return self._mean[rows], self._std[rows]

    def _over_pixels(self, rows: Tensor, values: Tensor) -> Tensor:
        """(B, C) in a shape that broadcasts to ``values``."""
        axis = self.modality.kind.band_axis
        return rows.view(len(rows), *(1,) * (axis - 1), rows.shape[1], *(1,) * (values.ndim - axis - 1))


def scales_of(modality: Modality, statistics: Statistics) -> dict[str, Scale]:
    """Mean and standard deviation of the modality's bands, for each level at which any of them was observed.

    Raises:
        InputError: the statistics lack the modality.
        BandError: they lack one of its bands.
    """
    known = _entry(statistics.modalities, modality.name).bands
    return {
        level: statistics.mean_std(modality, modality.band_names, level)
        for level, bands in known.items()
        if level == POOLED or any(bands[name].count for name in modality.band_names if name in bands)
    }


def _entry(statistics: Mapping[str, Entry], name: str) -> Entry:
    if name not in statistics:
        raise InputError(
            f"no statistics of modality {name!r}",
            hint=f"there are some of {', '.join(statistics) or 'nothing'}; `geopretext stats` computes them anew",
        )
    return statistics[name]


def _usable(scale: Scale, bands: int, where: str) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    mean, std = (np.asarray(numbers, np.float32) for numbers in scale)
    if mean.shape != (bands,) or std.shape != (bands,):
        raise InputError(f"are of {mean.size} means and {std.size} deviations for {bands} bands", where=where)
    mean = np.where(np.isfinite(mean), mean, np.float32(0))
    return mean, np.where(np.isfinite(std) & (std > 0), std, np.float32(1))

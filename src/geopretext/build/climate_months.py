"""Statistics of single months at single cells, from a variable in steps of an hour, a day or a month.

What a number of total precipitation means depends on the product and cannot be told from the file (facts: ECMWF,
"Conversion table for accumulated variables", confluence.ecmwf.int/pages/viewpage.action?pageId=197702790, and
"ERA5-Land: data documentation"):

================== ============================================================ =======================================
``precipitation``  a number is                                                  found in
================== ============================================================ =======================================
``monthly_rate``   the month's mean of daily totals: times the days of the      ERA5 and ERA5-Land monthly means of the
                   month it is the total                                        CDS (m, though it is m a day)
``monthly_total``  the total of the month                                       Earth Engine's ERA5_LAND/MONTHLY_AGGR
``daily_total``    the total of the day of its date                             daily statistics
``hourly_total``   the total of the hours up to its time: that of 00 UTC        ERA5 hourly
                   belongs to the day before
``since_midnight`` the total since 00 UTC: that of 00 UTC is the whole day      ERA5-Land hourly
                   before, and the only one that is used
``none``           not wanted
================== ============================================================ =======================================

Temperature: the mean of a month is that of its steps; minimum and maximum are those of steps of at most three hours,
or come from variables of their own (the extremes of daily means are not those of the month).
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from geopretext.build.climate_cells import Cell, Cells
from geopretext.build.climate_files import DAY, Series, reading
from geopretext.errors import Reason, SourceError

Precipitation = Literal["", "monthly_rate", "monthly_total", "daily_total", "hourly_total", "since_midnight", "none"]

_HOURS_OF_EXTREMES = 3
_SLAB = 16 * 2**20
"""bytes that are read at once, at most, unless a single step is larger"""
_BLOCK = 32
"""cells a side of a file without chunks that are read together"""
_REMEMBERED = 100_000
"""months of cells that a process keeps, about 30 MB"""

_UNITS = {
    "K": ("k", "kelvin", "degk", "degree_kelvin"),
    "degree Celsius": ("degc", "c", "celsius", "deg_c", "degree_celsius", "degrees_celsius", "°c"),
    "m": ("m", "metre", "meter", "meters", "metres", "m of water equivalent", "m of water"),
    "mm": ("mm", "millimetre", "millimeter", "kg m-2", "kg m**-2", "kg/m2", "kg/m^2", "kg m^-2"),
}
"""Spellings of a unit in files; 1 kg of water on a square metre is 1 mm"""
_A_DAY = (" day**-1", " day-1", " d-1", " d**-1", "/day", "/d", " per day", " day^-1")

Key = tuple[np.datetime64, int, int]
"""month, row and column"""


def unit_of(text: str) -> tuple[str, bool]:
    """A unit as this package writes it, empty if it is not known, and whether it is one a day."""
    plain = " ".join(text.lower().split())
    daily = next((ending for ending in _A_DAY if plain.endswith(ending)), "")
    plain = plain.removesuffix(daily).strip()
    return next((unit for unit, spellings in _UNITS.items() if plain in spellings), ""), bool(daily)


@dataclass(frozen=True, eq=False)
class Monthly:
    """Statistics of months from one variable.

    Raises:
        SourceError: its steps are not those of what it is said to be.
    """

    series: Series
    statistics: tuple[str, ...]
    """of ``climate_bands.STATISTICS``, those that are taken from this variable"""
    precipitation: Precipitation = ""
    """what a number means, if it is precipitation"""
    reach: float = 25.0
    """km to the farthest cell that may stand for a place"""
    _kept: OrderedDict[Key, npt.NDArray[np.float64]] = field(default_factory=OrderedDict)
    _known: dict[tuple[int, int], npt.NDArray[np.bool_]] = field(default_factory=dict)
    """by block: which cells have data"""

    def __post_init__(self) -> None:
        step = self.series.step
        there = "monthly" if not step else "daily" if step == DAY else "hourly"
        wanted = self.precipitation.partition("_")[0].replace("since", "hourly")
        if wanted not in ("", there):
            raise SourceError(
                f"is {there}, which does not fit precipitation: {self.precipitation}",
                reason=Reason.UNIT,
                where=self.series.where,
                hint=f"one of {', '.join(entry for entry in get_args(Precipitation) if entry)}",
            )

    @property
    def has_extremes(self) -> bool:
        """Whether the steps are so short that their extremes are those of the month."""
        return 0 < self.series.step <= _HOURS_OF_EXTREMES * 3600

    def cell(self, *, lat: float, lon: float) -> Cell | None:
        """The nearest cell that has data at the first time (or at the last), None if there is none within reach.

        Raises:
            SourceError: the file cannot be read.
        """
        cells = Cells(self.series.lat, self.series.lon, self.reach)
        rows, columns = cells.near(lat=lat, lon=lon)
        high, wide = self._block
        known = np.zeros((rows.size, columns.size), bool)
        for top in np.unique(rows // high):
            for left in np.unique(columns // wide):
                block = self._know(int(top), int(left))
                here = np.ix_(rows // high == top, columns // wide == left)
                known[here] = block[np.ix_(rows[rows // high == top] % high, columns[columns // wide == left] % wide)]
        return cells.nearest(known, lat=lat, lon=lon)

    @cached_property
    def _block(self) -> tuple[int, int]:
        """Rows and columns that are read together."""
        _, high, wide = self.series.chunks
        return max(high, _BLOCK), max(wide, _BLOCK)

    def _know(self, top: int, left: int) -> npt.NDArray[np.bool_]:
        """Which cells of a block have data."""
        if (top, left) not in self._known:
            high, wide = self._block
            known = np.zeros((0, 0), bool)
            for number in (0, len(self.series.times) - 1):
                part = self.series.parts[self.series.part[number]]
                box = part[int(self.series.index[number])][
                    top * high : (top + 1) * high, left * wide : (left + 1) * wide
                ]
                with reading(self.series.where):
                    known = np.isfinite(box.to_numpy())
                if known.any():
                    break
            self._known[top, left] = known
        return self._known[top, left]

    @cached_property
    def _month_of_step(self) -> npt.NDArray[np.datetime64]:
        """(n,) the month that each time belongs to; not a time where it is not used."""
        times = self.series.times
        ends = self.precipitation in ("hourly_total", "since_midnight")
        months = (times - np.timedelta64(1, "s") if ends else times).astype("datetime64[M]")
        if self.precipitation == "since_midnight":
            months[times != times.astype("datetime64[D]")] = np.datetime64("NaT")
        return months

    @cached_property
    def _expected(self) -> int:
        """Steps a day; 0 for months."""
        step = self.series.step
        return 1 if self.precipitation == "since_midnight" else DAY // step if step else 0

    @cached_property
    def months(self) -> npt.NDArray[np.datetime64]:
        """``datetime64[M]``, ascending: those of which no step is missing."""
        months = self._month_of_step
        there, counts = np.unique(months[~np.isnat(months)], return_counts=True)
        return np.asarray(there[counts == np.maximum(_days(there) * self._expected, 1)])

    def read(self, wanted: Iterable[Key]) -> dict[Key, npt.NDArray[np.float64]]:
        """(statistic,) for each month and cell, in the units of the file; months that are not complete are left out.

        Raises:
            SourceError: the file cannot be read.
        """
        asked = dict.fromkeys(wanted)
        blocks: dict[tuple[int, int], set[Key]] = {}
        high, wide = self._block
        complete = set(self.months)
        for key in asked:
            if key not in self._kept and key[0] in complete:
                blocks.setdefault((key[1] // high, key[2] // wide), set()).add(key)
        found = {key: self._kept[key] for key in asked if key in self._kept}
        for block in blocks.values():
            found |= self._read_block(block)
        for key, row in found.items():
            self._kept[key] = row
            self._kept.move_to_end(key)
        while len(self._kept) > _REMEMBERED:
            self._kept.popitem(last=False)
        return found

    def _read_block(self, keys: set[Key]) -> dict[Key, npt.NDArray[np.float64]]:
        """Cells near each other, slab by slab."""
        cells = np.array(sorted({key[1:] for key in keys}))
        (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0)
        sums = {month: _Sums.of(len(cells)) for month in sorted({key[0] for key in keys})}
        steps = np.flatnonzero(np.isin(self._month_of_step, np.array(list(sums))))
        area = int((bottom - top + 1) * (right - left + 1))
        for slab in self._slabs(steps, area):
            part = self.series.parts[self.series.part[slab[0]]]
            first, last = int(self.series.index[slab[0]]), int(self.series.index[slab[-1]])
            with reading(self.series.where):
                box = part[first : last + 1, top : bottom + 1, left : right + 1].to_numpy()
            values = box[:, cells[:, 0] - top, cells[:, 1] - left].astype(np.float64)
            months = self._month_of_step[slab]
            for month in np.unique(months):
                sums[month].add(values[months == month])
        place = {(int(row), int(column)): number for number, (row, column) in enumerate(cells)}
        return {key: self._row(sums[key[0]], key[0], place[key[1:]]) for key in keys}

    def _slabs(self, steps: npt.NDArray[np.intp], area: int) -> Iterator[npt.NDArray[np.intp]]:
        """Steps that follow each other in one file, as many as may be read at once; whole chunks where they fit."""
        most = max(1, _SLAB // (4 * area))
        chunk = self.series.chunks[0]
        part, index = self.series.part[steps], self.series.index[steps]
        start = 0
        for i in range(1, len(steps) + 1):
            size = i - start
            ends = i == len(steps) or part[i] != part[i - 1] or index[i] != index[i - 1] + 1
            at_chunk = not ends and chunk > 0 and index[i] % chunk == 0 and size + chunk > most
            if ends or at_chunk or size == most:
                yield steps[start:i]
                start = i

    def _row(self, sums: "_Sums", month: np.datetime64, number: int) -> npt.NDArray[np.float64]:
        """The statistics of one month of one cell."""
        total = sums.total[number] * (_days(month) if self.precipitation == "monthly_rate" else 1.0)
        values: Mapping[str, float] = {
            "mean": sums.total[number] / sums.count,
            "minimum": sums.least[number],
            "maximum": sums.most[number],
            "precipitation": total,
        }
        return np.array([values[name] for name in self.statistics])


@dataclass
class _Sums:
    """Of the steps of one month at some cells (n,); not a number as soon as one step is not."""

    count: int
    total: npt.NDArray[np.float64]
    least: npt.NDArray[np.float64]
    most: npt.NDArray[np.float64]

    @classmethod
    def of(cls, n: int) -> "_Sums":
        return cls(0, np.zeros(n), np.full(n, np.inf), np.full(n, -np.inf))

    def add(self, values: npt.NDArray[np.float64]) -> None:
        self.count += len(values)
        # one after another, so that the sum does not depend on how many are added at once
        self.total = np.cumsum(np.concatenate([self.total[None], values]), axis=0)[-1]
        self.least = np.minimum(self.least, values.min(axis=0))
        self.most = np.maximum(self.most, values.max(axis=0))


def _days(month: npt.NDArray[np.datetime64] | np.datetime64) -> npt.NDArray[np.int64]:
    """Of a month."""
    first = np.asarray(month).astype("datetime64[M]")
    days = (first + 1).astype("datetime64[D]") - first.astype("datetime64[D]")
    return np.asarray(days.astype(np.int64))

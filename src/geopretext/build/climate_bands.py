"""What the bands of a climate vector are made of: monthly statistics of one spot over one or several months.

A band is named ``PERIOD_STATISTIC``, as MMEarth's ``era5`` modality has them (``prev_month_avg_temp``):

============== ================================================================================
``prev_month`` the month before the reference's
``curr_month`` the month of the reference
``year``       the twelve months that end with it (MMEarth's code takes thirteen: ``year_months``)
============== ================================================================================

The mean of a year is the mean of its monthly means and its total the sum of monthly totals, as in MMEarth's code
(github.com/vishalned/MMEarth-data, ``ee_utils/ee_data.py``).
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from geopretext.build.source import Observation
from geopretext.data.units import check_plausible
from geopretext.errors import Reason, RecipeError, SourceError, UnitError
from geopretext.modality import Band, Modality

STATISTICS = ("mean", "minimum", "maximum", "precipitation")
"""of a month: 2 m temperature (K), and total precipitation (m)"""
UNITS = ("K", "K", "K", "m")
"""of the statistics"""

Row = npt.NDArray[np.float64]
"""(4,): the statistics of one month, NaN where unknown"""

_SUFFIXES = {"avg_temp": "mean", "min_temp": "minimum", "max_temp": "maximum", "total_precip": "precipitation"}
_PLAUSIBLE = {"K": (170.0, 350.0), "m": (-1e-3, 10.0)}
"""of a month: it has rained 9.3 m in one (Cherrapunji, July 1861; WMO), and packing makes dry ones slightly negative"""
_PERIODS = ("prev_month", "curr_month", "year")
_OVER_MONTHS: dict[str, Callable[[Row], float]] = {
    "mean": lambda months: float(months.mean()),
    "minimum": lambda months: float(months.min()),
    "maximum": lambda months: float(months.max()),
    "precipitation": lambda months: float(months.sum()),
}


@dataclass(frozen=True)
class ClimatePlan:
    """Which months and statistics the bands of a modality need.

    Raises:
        RecipeError: a band is no statistic of a period, or is in another unit.
    """

    modality: Modality
    year_months: int = 12
    """how many months, up to the reference's, make the year"""
    required: bool = False
    """a vector that lacks a band is refused"""

    def __post_init__(self) -> None:
        if self.year_months < 1:
            raise RecipeError(f"year_months is {self.year_months}", hint="12, or 13 as MMEarth's code has it")
        for band in self.modality.bands:
            period, statistic = _split(band.name)
            if period not in _PERIODS or statistic not in STATISTICS:
                raise RecipeError(
                    f"band {band.name!r} of {self.modality.name} is no climate statistic",
                    hint=f"one of {', '.join(_PERIODS)}, an underscore, and one of {', '.join(_SUFFIXES)}",
                )
            unit = UNITS[STATISTICS.index(statistic)]
            if band.unit != unit:
                raise RecipeError(f"band {band.name!r} of {self.modality.name} is in {band.unit!r}, not {unit!r}")

    @property
    def statistics(self) -> tuple[str, ...]:
        """Those that the bands need."""
        used = {_split(name)[1] for name in self.modality.band_names}
        return tuple(name for name in STATISTICS if name in used)

    def months(self, reference: np.datetime64) -> list[np.datetime64]:
        """All months that are needed for a reference month, ascending, ``datetime64[M]``."""
        needed = {month for name in self.modality.band_names for month in self._of(_split(name)[0], reference)}
        return sorted(needed)

    def observe(
        self, reference: np.datetime64, rows: Mapping[np.datetime64, Row], *, there: str, where: str
    ) -> Observation:
        """The vector of a reference month from the statistics of single months.

        Bands whose months are not all known are not valid, and are listed in the note ``lacking``.

        Args:
            reference: ``datetime64[M]``.
            rows: by month; those that are not known may be left out.
            there: which months the archive has, for messages.
            where: for messages.

        Raises:
            SourceError: ``NO_DATA``: nothing is known of the reference month, or a band is missing and all are
                required; the message says which months there are.
        """
        values = np.zeros(len(self.modality.bands), np.float64)
        lacking: dict[str, str] = {}
        for number, name in enumerate(self.modality.band_names):
            period, statistic = _split(name)
            months = self._of(period, reference)
            column = STATISTICS.index(statistic)
            numbers = np.array([rows[month][column] if month in rows else np.nan for month in months])
            unknown = [month for month, value in zip(months, numbers, strict=True) if not np.isfinite(value)]
            if unknown:
                lacking[name] = f"{statistic} of {months_text(unknown)}"
            else:
                total = _OVER_MONTHS[statistic](numbers)
                # the packing of GRIB files makes dry months slightly negative
                values[number] = max(0.0, total) if statistic == "precipitation" else total
        known = reference in rows and bool(np.isfinite(rows[reference]).any())
        if not known or (lacking and self.required):
            what = f"{_listed(list(lacking.values()))} is missing" if known else f"{reference} is missing"
            raise SourceError(f"{what}; there are {there or 'no months'}", reason=Reason.NO_DATA, where=where)
        valid = np.array([name not in lacking for name in self.modality.band_names])
        return Observation(values, valid, {"lacking": sorted(lacking)} if lacking else {})

    def _of(self, period: str, reference: np.datetime64) -> tuple[np.datetime64, ...]:
        return _months_of(period, reference.astype("datetime64[M]"), self.year_months)


@lru_cache(maxsize=4096)
def _months_of(period: str, last: np.datetime64, year_months: int) -> tuple[np.datetime64, ...]:
    if period == "prev_month":
        return (last - 1,)
    length = 1 if period == "curr_month" else year_months
    return tuple(last - back for back in reversed(range(length)))


@lru_cache(maxsize=256)
def _split(band: str) -> tuple[str, str]:
    """(period, statistic) of a band's name; what it does not say is empty."""
    for suffix, statistic in _SUFFIXES.items():
        if band.endswith(f"_{suffix}"):
            return band.removesuffix(f"_{suffix}"), statistic
    return band, ""


def check_months(statistic: str, numbers: Sequence[float], unit: str, *, where: str) -> None:
    """Refuse statistics of months that cannot be in the unit that they are said to be in.

    Raises:
        SourceError: ``UNIT``, with the range that was seen.
    """
    wanted = UNITS[STATISTICS.index(statistic)]
    low, high = _PLAUSIBLE[wanted]
    known = np.array([number for number in numbers if np.isfinite(number)], np.float64)
    try:
        check_plausible(known, Band(statistic, wanted, low, high), unit, dtype="float", where=where)
    except UnitError as error:
        hint = "correct 'units' or 'variables' in the recipe"
        raise SourceError(error.what, reason=Reason.UNIT, where=where, hint=hint) from error


def months_text(months: Iterable[np.datetime64]) -> str:
    """Months, ascending, in words: the first and the last of each stretch."""
    runs: list[list[np.datetime64]] = []
    for month in months:
        if runs and month == runs[-1][-1] + 1:
            runs[-1] = [runs[-1][0], month]
        else:
            runs.append([month])
    return _listed([" to ".join(map(str, run)) for run in runs])


def _listed(names: list[str]) -> str:
    """A few names, and how many more."""
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")

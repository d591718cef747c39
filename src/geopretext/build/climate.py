"""Climate from ERA5 or ERA5-Land, or any gridded temperature and precipitation: vectors by month, through xarray.

Options of this kind of archive, at the archive or at the modality (``docs/source-climate.md`` explains them)::

    archives:
      era5: {kind: climate, path: "/data/era5-land/*.nc", precipitation: monthly_rate}
    modalities:
      era5: {from: era5, pair: {rule: month}}

The numbers are those of the nearest cell that has data. A group of places is read together: every month of every
file once, slab by slab, so that memory stays the same over years of hourly files.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np

from geopretext.build.climate_bands import STATISTICS, UNITS, ClimatePlan, Row, check_months, months_text
from geopretext.build.climate_cells import Cell
from geopretext.build.climate_files import STORAGE, Attempts, Format, Series, format_of, open_series
from geopretext.build.climate_months import Key, Monthly, Precipitation, unit_of
from geopretext.build.recipe import ModalityRecipe
from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.data.fields import read_settings
from geopretext.data.units import to_unit
from geopretext.errors import Reason, RecipeError, SourceError
from geopretext.modality import Kind, Modality

_CONVERTED = {"K": ("K", "degree Celsius"), "m": ("m", "mm")}
"""units of which one can be made"""


@dataclass(frozen=True)
class ClimateSettings:
    """Options of the kind ``climate``."""

    path: str = ""
    """of a Zarr (path or URL), NetCDF or GRIB; ``*`` and ``?`` match several files"""
    format: Format = ""
    """told from the end of the path if empty"""
    name: str = ""
    """of the dataset, in what the store records; the name of the file if empty"""
    variables: dict[str, str] = field(default_factory=dict)
    """unusual names of variables by statistic: ``mean``, ``minimum``, ``maximum``, ``precipitation``"""
    units: dict[str, str] = field(default_factory=dict)
    """by statistic: K, degree Celsius, m or mm, for files that do not say or are wrong"""
    precipitation: Precipitation = ""
    """what a number of total precipitation means (see ``climate_months``); must be said unless its unit does"""
    max_distance: float = 25.0
    """km to the centre of the farthest cell with data that may stand for a place"""
    year_months: int = 12
    """how many months, up to the reference's, make the year; MMEarth's code takes 13"""
    timeout: float = 60.0
    """seconds after which a request for a part of a URL is given up"""
    retries: int = 6
    """attempts after the first one that failed for a reason that may pass"""
    backoff: float = 0.5
    """seconds before the second attempt; doubles with each, and is at most 30"""

    def __post_init__(self) -> None:
        if not self.path:
            raise RecipeError("has no path", hint="path: the file, the folder.zarr, or a pattern such as /data/*.nc")
        if "://" in self.path and (self.format or format_of(self.path)) != "zarr":
            raise RecipeError(
                f"path is {self.path!r}", hint="only Zarr is read by URL: download the file, or make Zarr of it"
            )
        for option in ("variables", "units"):
            for statistic in getattr(self, option):
                if statistic not in STATISTICS:
                    raise RecipeError(f"{option} names {statistic!r}", hint=f"one of {', '.join(STATISTICS)}")
        for statistic, unit in self.units.items():
            if not unit_of(unit)[0]:
                raise RecipeError(f"units.{statistic} is {unit!r}", hint="K, degree Celsius, m or mm")
        if not 0 <= self.max_distance <= 1000:
            raise RecipeError(f"max_distance is {self.max_distance:g}", hint="km, from 0 to 1000")
        for name, low, high in (("timeout", 1e-3, 3600), ("retries", 0, 100), ("backoff", 0, 30)):
            if not low <= getattr(self, name) <= high:
                raise RecipeError(f"{name} is {getattr(self, name):g}", hint=f"it is between {low:g} and {high:g}")

    @property
    def title(self) -> str:
        """What items are called by."""
        return self.name or Path(self.path.rstrip("/")).stem.replace("*", "_").replace("?", "_")


def open_source(entry: ModalityRecipe, archive: Mapping[str, Any], *, seed: int, where: str) -> "ClimateSource":
    """The climate of places; files are opened on first use.

    Raises:
        RecipeError: an option is unknown or does not fit, the rule is not ``month``, or the modality is no vector of
            climate statistics.
    """
    del seed
    plain = {key: value for key, value in {**archive, **entry.options}.items() if key not in ("kind", "storage")}
    plain.pop("bands", None)
    storage = {**archive, **entry.options}.get("storage") or {}
    if not isinstance(storage, Mapping) or not set(storage) <= set(STORAGE):
        raise RecipeError(
            f"storage is {storage!r}",
            where=where,
            hint=f"a mapping of {', '.join(STORAGE)}; keys and secrets come from the environment",
        )
    settings = read_settings(ClimateSettings, plain, where=where)
    if entry.modality.kind is not Kind.CONTINUOUS_VECTOR:
        raise RecipeError(f"gives vectors, and {entry.modality.name} is a {entry.modality.kind}", where=where)
    if entry.pair.rule != "month":
        raise RecipeError(f"pair.rule is {entry.pair.rule}", where=where, hint="pair: {rule: month}")
    try:
        plan = ClimatePlan(entry.modality, settings.year_months, entry.required)
    except RecipeError as error:
        raise RecipeError(error.what, where=where, hint=error.hint) from None
    return ClimateSource(plan, settings, dict(storage))


@dataclass(frozen=True)
class ClimateSource:
    """Vectors of climate statistics by month. Picklable: each process opens the files for itself."""

    plan: ClimatePlan
    settings: ClimateSettings
    storage: Mapping[str, Any]
    """of the object store, for URLs"""

    @property
    def modality(self) -> Modality:
        """What it gives."""
        return self.plan.modality

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """The month of each query's start; nothing is asked of the files."""
        return [self._candidates(query) for query in queries]

    def _candidates(self, query: Query) -> list[Candidate]:
        if query.start is None:
            return []
        month = query.start.astype("datetime64[M]")
        item = f"{self.settings.title}/{month}"
        if query.item not in ("", item):
            return []
        return [Candidate(item, time=month.astype("datetime64[s]"))]

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """Of all places together; a failure to open or read the files is one of each place."""
        try:
            archive = _archive(
                json.dumps([asdict(self.settings), dict(self.storage), self.plan.statistics], sort_keys=True)
            )
            with archive.lock:
                results = archive.read(requests, self.plan)
        except SourceError as error:
            results = [error] * len(requests)
        yield from enumerate(results)


@lru_cache(maxsize=4)
def _archive(key: str) -> "ClimateArchive":
    """The open files of this process, for settings in JSON."""
    settings, storage, statistics = json.loads(key)
    return ClimateArchive(ClimateSettings(**settings), storage, tuple(statistics))


class ClimateArchive:
    """Opened files of one dataset.

    Args:
        settings: where they are and what is in them.
        storage: of the object store.
        statistics: those that are wanted.
    """

    def __init__(self, settings: ClimateSettings, storage: Mapping[str, Any], statistics: Sequence[str]) -> None:
        self.lock = Lock()
        self._settings = settings
        self._storage = storage
        self._wanted = [name for name in statistics if name != "precipitation" or settings.precipitation != "none"]

    def read(self, requests: Sequence[Request], plan: ClimatePlan) -> list[Observation | SourceError]:
        """Vectors of some places, or why there are none.

        Raises:
            SourceError: the files cannot be read, or are not what they are said to be.
        """
        months = [_month(request) for request in requests]
        rows: list[dict[np.datetime64, Row]] = [{} for _ in requests]
        cells: list[Cell | None] = [None] * len(requests)
        refused: dict[int, SourceError] = {}
        for monthly in self._variables:
            near = [monthly.cell(lat=request.lat, lon=request.lon) for request in requests]
            cells = [before or cell for before, cell in zip(cells, near, strict=True)]
            keys: list[list[Key]] = [
                [(month, cell.row, cell.column) for month in plan.months(last)] if cell else []
                for cell, last in zip(near, months, strict=True)
            ]
            found = monthly.read(key for part in keys for key in part)
            for number, part in enumerate(keys):
                seen = {key[0]: found[key] for key in part if key in found}
                try:
                    self._fill(rows[number], monthly, seen)
                except SourceError as error:
                    refused[number] = error
        return [
            refused.get(number) or self._observe(request, plan, rows[number], cells[number])
            for number, request in enumerate(requests)
        ]

    @cached_property
    def _variables(self) -> list[Monthly]:
        settings = self._settings
        names = {name: text for name, text in settings.variables.items() if name in self._wanted}
        attempts = Attempts(settings.timeout, settings.retries, settings.backoff)
        series = open_series(settings.path, settings.format, self._storage, names, self._wanted, attempts)
        variables = []
        for name, entry in series.items():
            variable = self._monthly(entry, (name,))
            if name == "mean" and variable.has_extremes:
                rest = tuple(
                    extreme for extreme in STATISTICS[1:3] if extreme in self._wanted and extreme not in series
                )
                variable = self._monthly(entry, (name, *rest))
            variables.append(variable)
        if not variables:
            raise SourceError(
                f"has none of {', '.join(self._wanted)}",
                reason=Reason.NO_ASSET,
                where=settings.path,
                hint="name its variables: variables: {mean: t2m, precipitation: tp}",
            )
        return variables

    def _monthly(self, series: Series, statistics: tuple[str, ...]) -> Monthly:
        """A variable that is what the recipe says it is."""
        statistic, rain = statistics[0], statistics[0] == "precipitation"
        given = self._settings.units.get(statistic, series.unit)
        unit, daily = unit_of(given)
        wanted = UNITS[STATISTICS.index(statistic)]
        if unit not in _CONVERTED[wanted] or (daily and not rain):
            raise SourceError(
                f"is in {given!r}, of which {wanted} cannot be made" if given else "does not say its unit",
                reason=Reason.UNIT,
                where=series.where,
                hint=f"say what it is: units: {{{statistic}: {wanted}}}",
            )
        meaning: Precipitation = self._settings.precipitation if rain else ""
        if daily and meaning not in ("", "monthly_rate", "daily_total"):
            raise SourceError(
                f"is in {given!r}, which does not fit precipitation: {meaning}", reason=Reason.UNIT, where=series.where
            )
        if rain and not meaning:
            if not daily or series.step:
                raise SourceError(
                    "does not say what a number of it means, a rate, a total or one since midnight",
                    reason=Reason.UNIT,
                    where=series.where,
                    hint="say precipitation: monthly_rate (monthly means of the CDS), monthly_total, daily_total, "
                    "hourly_total (ERA5 hourly), since_midnight (ERA5-Land hourly), or none to do without",
                )
            meaning = "monthly_rate"
        return Monthly(series, statistics, meaning, self._settings.max_distance)

    def _fill(self, rows: dict[np.datetime64, Row], monthly: Monthly, seen: Mapping[np.datetime64, Row]) -> None:
        """Add what a variable says of some months of one place, refusing what cannot be in its unit."""
        first = monthly.statistics[0]
        unit = unit_of(self._settings.units.get(first, monthly.series.unit))[0]
        check_months(first, [numbers[0] for numbers in seen.values()], unit, where=monthly.series.where)
        for month, numbers in seen.items():
            row = rows.setdefault(month, np.full(len(STATISTICS), np.nan))
            for name, number in zip(monthly.statistics, numbers, strict=True):
                column = STATISTICS.index(name)
                row[column] = to_unit(np.asarray(number), unit, UNITS[column])

    def _observe(
        self, request: Request, plan: ClimatePlan, rows: Mapping[np.datetime64, Row], cell: Cell | None
    ) -> Observation | SourceError:
        where = f"{request.candidate.item} at lat {request.lat:.4f}, lon {request.lon:.4f}"
        if cell is None:
            return SourceError(
                f"no cell with data within {self._settings.max_distance:g} km", reason=Reason.NO_DATA, where=where
            )
        there = months_text(self._variables[0].months)
        try:
            seen = plan.observe(_month(request), rows, there=there, where=where)
        except SourceError as error:
            return error
        notes = {"cell": [cell.lat, cell.lon], "distance_km": round(cell.distance, 2), **seen.notes}
        return Observation(seen.values, seen.valid, notes)


def _month(request: Request) -> np.datetime64:
    assert request.candidate.time is not None
    month: np.datetime64 = request.candidate.time.astype("datetime64[M]")
    return month

"""Google Earth Engine: MMEarth's own sources, through the official client.

**Not exercised against the live service**: the machines this was written on cannot reach it. What is tested is that
the official client, running for real, sends the requests that it should to a server on loopback that speaks the
service's REST paths and computes the expressions, that answers are decoded, and that failures are told by their
reasons. ``docs/source-earthengine.md`` lists what remains to be seen.

How a modality is read follows from its rule:

============================ ==========================================================================================
``reference``, ``nearest``   images of a collection that cover the tile, searched for many places by one request; each
                             read by ``computePixels`` on the tile's very grid
``same``                     the image of that id, without a search
``year``                     the images of the year reduced to one (Dynamic World: the mode)
``static``                   one image, or one for each band
``month``                    monthly climate, the mean over the tile, many places by one request
============================ ==========================================================================================

Options are those of ``EarthEngineSettings`` at the archive and of ``EarthProduct`` at the modality.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from typing import Any, TypeVar

import ee
import numpy as np

from geopretext.build import earthengine_expressions as expressions
from geopretext.build.climate_bands import STATISTICS, UNITS, ClimatePlan, Row, check_months, months_text
from geopretext.build.earthengine_client import (
    MISSING,
    EarthEngineClient,
    EarthEngineSettings,
    asks_too_much,
    shared_client,
)
from geopretext.build.earthengine_options import EarthProduct, read_product
from geopretext.build.recipe import ModalityRecipe
from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.data.fields import read_settings
from geopretext.errors import Reason, RecipeError, SourceError
from geopretext.modality import Modality

Key = TypeVar("Key")


def open_source(entry: ModalityRecipe, archive: Mapping[str, Any], *, seed: int, where: str) -> "EarthEngineSource":
    """The source of one modality; the service is first asked when something is searched or read.

    Raises:
        RecipeError: an option is unknown, missing or does not fit.
    """
    del seed
    settings = read_settings(
        EarthEngineSettings, {key: value for key, value in archive.items() if key != "kind"}, where=where
    )
    product = read_product(entry, where=where)
    plan = None
    if not entry.modality.kind.is_map:
        try:
            plan = ClimatePlan(entry.modality, product.year_months, entry.required)
        except RecipeError as error:
            raise RecipeError(error.what, where=where, hint=error.hint) from None
    return EarthEngineSource(entry, product, settings, plan)


@dataclass(frozen=True)
class EarthEngineSource:
    """One modality from Earth Engine. Picklable: each process has its own client."""

    entry: ModalityRecipe
    product: EarthProduct
    settings: EarthEngineSettings
    plan: ClimatePlan | None
    """of vectors of climate; None for maps"""

    @property
    def modality(self) -> Modality:
        """What it gives."""
        return self.entry.modality

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """Candidates of each query, or why the service could not be asked for it, after retries.

        Only images of a time are asked for, of many places by one request.
        """
        if self.entry.pair.rule not in ("reference", "nearest"):
            return [self._without_search(query) for query in queries]
        asked = [
            (number, level, asset)
            for number, query in enumerate(queries)
            for level, asset in self.product.assets.items()
            if not query.item
        ]
        found = [self._by_id(query.item) if query.item else [] for query in queries]
        failed: dict[int, SourceError] = {}
        try:
            client = self._client()
        except SourceError as error:
            return [candidates if query.item else error for query, candidates in zip(queries, found, strict=True)]
        rows = self._batched(
            client, asked, lambda key: expressions.rows_of_images(self.product, key[2], queries[key[0]])
        )
        for (number, level, asset), seen in rows:
            try:
                if isinstance(seen, SourceError):
                    raise seen
                found[number] += [self._candidate(row, level, asset) for row in seen]
            except SourceError as error:
                failed.setdefault(number, error)
        return [failed.get(number) or candidates for number, candidates in enumerate(found)]

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """Each request on its grid, as many at once as the settings allow."""
        try:
            client = self._client()
        except SourceError as error:
            yield from ((number, error) for number in range(len(requests)))
            return
        if self.plan is not None:
            yield from self._read_climate(client, requests, self.plan)
            return
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            waiting = {pool.submit(self._read, client, request): number for number, request in enumerate(requests)}
            for done in as_completed(waiting):
                yield waiting[done], done.result()

    def _client(self) -> EarthEngineClient:
        """Ready to be asked: expressions cannot be made before."""
        client = shared_client(self.settings)
        client.initialize()
        return client

    def _without_search(self, query: Query) -> list[Candidate]:
        """Candidates that follow from the rule."""
        rule = self.entry.pair.rule
        if rule == "same":
            return self._by_id(query.item)
        if rule == "static":
            item = self.product.image or next(iter(self.product.assets.values()))
            return [Candidate(item)] if query.item in ("", item) else []
        if query.start is None or query.stop is None:
            return []
        asset = next(iter(self.product.assets.values()))
        if rule == "month":
            month = query.start.astype("datetime64[M]")
            item = f"{asset}/{str(month).replace('-', '')}"
            return [Candidate(item, time=month.astype("datetime64[s]"))] if query.item in ("", item) else []
        start, stop = (str(day.astype("datetime64[D]")) for day in (query.start, query.stop))
        item = f"{asset} {self.product.reduce} {start}/{stop}"
        return [Candidate(item, notes={"from": start, "to": stop})] if query.item in ("", item) else []

    def _by_id(self, item: str) -> list[Candidate]:
        """The image of an id, if it is in one of the collections."""
        levels = [level for level, asset in self.product.assets.items() if item.rpartition("/")[0] == asset]
        return [Candidate(item, level=self._level(level)) for level in levels]

    def _level(self, name: str) -> str:
        return name if name in self.modality.levels else ""

    def _candidate(self, row: Sequence[Any], level: str, asset: str) -> Candidate:
        try:
            known = dict(zip(expressions.columns_of(self.product), row, strict=True))
            item = f"{asset}/{known['system:index']}"
            time = np.datetime64(int(known["system:time_start"]), "ms").astype("datetime64[s]")
            crs = str(known[expressions.CRS] or "")
            return Candidate(
                item,
                time=time,
                crs=int(crs.removeprefix("EPSG:")) if crs.startswith("EPSG:") else None,
                group=self.product.groups[str(known[self.product.group_by])] if self.product.group_by else "",
                cloud=float(known[self.product.cloud]) if known.get(self.product.cloud) is not None else None,
                level=self._level(level),
                notes={name: known[name] for name in self.product.properties if known[name] is not None},
            )
        except (TypeError, ValueError, KeyError) as error:
            raise SourceError(f"a row cannot be read: {row!r}", reason=Reason.CORRUPT, where=asset) from error

    def _read(self, client: EarthEngineClient, request: Request) -> Observation | SourceError:
        candidate, grid = request.candidate, request.grid
        bands = tuple(
            name for name in self.modality.band_names if self.product.bands[name].group in ("", candidate.group)
        )
        try:
            numbers = client.pixels(self._image(request, bands), grid, bands, where=candidate.item)
        except SourceError as error:
            return error
        shape = (len(self.modality.bands), grid.height, grid.width)
        values, valid = np.zeros(shape, numbers.dtype), np.zeros(shape, bool)
        for name, band in zip(bands, numbers, strict=True):
            index = self.modality.band_names.index(name)
            valid[index] = np.isfinite(band) & (band > MISSING / 2)
            values[index] = np.where(valid[index], band, 0)
        return Observation(values, valid)

    def _image(self, request: Request, bands: tuple[str, ...]) -> Any:
        rule, resampling = self.entry.pair.rule, self.entry.resampling
        if rule == "static":
            return expressions.static_image(self.modality, self.product, bands, resampling)
        if rule == "year":
            start, stop = (np.datetime64(request.candidate.notes[name], "s") for name in ("from", "to"))
            return expressions.composite(self.modality, self.product, request.grid, start, stop, bands, resampling)
        return expressions.image_of(self.modality, self.product, request.candidate.item, bands, resampling)

    def _read_climate(
        self, client: EarthEngineClient, requests: Sequence[Request], plan: ClimatePlan
    ) -> Iterator[tuple[int, Observation | SourceError]]:
        def expression(number: int) -> Any:
            months = plan.months(_month(requests[number]))
            return expressions.climate_rows(self.product, requests[number].grid, months[0], months[-1] + 1)

        for number, seen in self._batched(client, range(len(requests)), expression):
            yield number, seen if isinstance(seen, SourceError) else self._climate(requests[number], plan, seen)

    def _climate(self, request: Request, plan: ClimatePlan, seen: Sequence[Any]) -> Observation | SourceError:
        names, where = list(self.product.variables), request.candidate.item
        rows: dict[np.datetime64, Row] = {}
        try:
            for month, *numbers in seen:
                row = rows.setdefault(np.datetime64(month, "M"), np.full(len(STATISTICS), np.nan))
                for name, number in zip(names, numbers, strict=True):
                    row[STATISTICS.index(name)] = np.nan if number is None else float(number)
            for name in names:
                column = STATISTICS.index(name)
                check_months(name, [row[column] for row in rows.values()], UNITS[column], where=where)
            return plan.observe(_month(request), rows, there=months_text(sorted(rows)), where=where)
        except SourceError as error:
            return error
        except (TypeError, ValueError) as error:
            return SourceError(f"months cannot be read: {error}", reason=Reason.CORRUPT, where=where)

    def _batched(
        self, client: EarthEngineClient, keys: Sequence[Key], expression: Callable[[Key], Any]
    ) -> list[tuple[Key, Any]]:
        """The value of an expression for each key, or why there is none; many by one request, requests side by side.

        A request that asks for too much is made again in halves.
        """
        where = next(iter(self.product.assets.values()))

        def ask(part: Sequence[Key]) -> list[tuple[Key, Any]]:
            try:
                values = client.compute(ee.List([expression(key) for key in part]), where=where)
            except SourceError as error:
                if len(part) > 1 and asks_too_much(error):
                    middle = len(part) // 2
                    return ask(part[:middle]) + ask(part[middle:])
                return [(key, error) for key in part]
            if not isinstance(values, list) or len(values) != len(part):
                wrong = SourceError("the answer has another length", reason=Reason.CORRUPT, where=where)
                return [(key, wrong) for key in part]
            return list(zip(part, values, strict=True))

        size = self.settings.places_per_request
        parts = [keys[start : start + size] for start in range(0, len(keys), size)]
        with ThreadPoolExecutor(self.settings.concurrency) as pool:
            return [entry for answered in pool.map(ask, parts) for entry in answered]


def _month(request: Request) -> np.datetime64:
    assert request.candidate.time is not None
    month: np.datetime64 = request.candidate.time.astype("datetime64[M]")
    return month

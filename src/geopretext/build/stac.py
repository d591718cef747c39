"""Kind ``stac``: images from any STAC catalogue, an API or a file of items.

Beyond searching and reading it undoes the Sentinel-2 offset by what each item says, turns radar power into dB, tells
orbits apart, and refuses numbers that cannot be in the unit that the recipe gives. ``docs/source-stac.md`` tells what
has been tried against real catalogues, and what has not.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.bands import ENOUGH_PIXELS, in_unit, observation_of, read_grid
from geopretext.build.raster_reader import Window, WindowJob, shared_reader
from geopretext.build.recipe import ModalityRecipe
from geopretext.build.source import Candidate, Observation, Query, Request, Resampling
from geopretext.build.stac_catalogue import Catalogue, Search, open_catalogue
from geopretext.build.stac_items import StacItem, candidate_of, refusal_of
from geopretext.build.stac_options import StacOptions, is_reflectance, read_options
from geopretext.build.stac_search import Cluster, cluster, covers_any, match
from geopretext.build.stac_signing import sign
from geopretext.data.offset import LEVELS, Verdict, judge_offset
from geopretext.errors import SourceError
from geopretext.modality import Modality


def open_source(
    entry: ModalityRecipe,
    archive: Mapping[str, Any],
    *,
    seed: int,  # noqa: ARG001 # part of what every kind of archive offers; nothing is drawn here
    where: str,
) -> "StacSource":
    """The source of one modality; nothing is asked of the catalogue yet.

    Raises:
        RecipeError: an option is unknown, missing or does not fit (the message names it).
    """
    options = read_options(entry, archive, where=where)
    max_cloud = entry.pair.max_cloud if entry.pair.rule in ("reference", "series") else 100.0
    return StacSource(entry.modality, options, entry.resampling, max_cloud)


@dataclass(frozen=True)
class StacSource:
    """One modality in one collection of a catalogue. Final, picklable."""

    modality: Modality
    options: StacOptions
    resampling: Resampling
    max_cloud: float = 100.0
    """percent: more clouded images are not asked for where others cover the place"""

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """Candidates for each query, or why the catalogue could not be asked for it, after retries.

        Of the images at a place only those with at most ``max_cloud`` are given, unless none of them covers it all:
        then all are, so that whoever chooses can say why none will do.
        """
        made: dict[str, Candidate | None] = {}
        found = self._named(queries, made) | self._find(
            queries, [number for number, query in enumerate(queries) if not query.item], self.max_cloud, made
        )
        if self.max_cloud < 100:
            uncovered = [
                number
                for number, candidates in found.items()
                if not queries[number].item
                and not isinstance(candidates, SourceError)
                and not covers_any([candidate.footprint for candidate in candidates], queries[number])
            ]
            found |= self._find(queries, uncovered, 100.0, made)
        return [found[number] for number in range(len(queries))]

    def _offer(self, items: Sequence[StacItem], made: dict[str, Candidate | None]) -> list[Candidate]:
        """Candidates of items; those that are in ``made`` already are shared."""
        for item in items:
            if item.id not in made:
                made[item.id] = candidate_of(item, self.options.layer, self.modality)
        return [candidate for item in items if (candidate := made[item.id]) is not None]

    def _named(
        self, queries: Sequence[Query], made: dict[str, Candidate | None]
    ) -> dict[int, list[Candidate] | SourceError]:
        """Candidates of the queries that name one."""
        wanted = sorted({query.item for query in queries if query.item})
        known = self._catalogue.by_id(wanted) if wanted else {}
        found: dict[int, list[Candidate] | SourceError] = {}
        for number, query in enumerate(queries):
            if query.item:
                item = known.get(query.item)
                found[number] = item if isinstance(item, SourceError) else self._offer([item] if item else [], made)
        return found

    def _find(
        self,
        queries: Sequence[Query],
        numbers: Sequence[int],
        max_cloud: float,
        made: dict[str, Candidate | None],
    ) -> dict[int, list[Candidate] | SourceError]:
        """Candidates for some of the queries, by their numbers."""
        common = Search(
            box=(0.0, 0.0, 0.0, 0.0),
            start=None,
            stop=None,
            max_cloud=max_cloud,
            where=tuple(sorted(self.options.layer.where.items())),
        )
        asked = [queries[number] for number in numbers]
        clusters = cluster(asked, square=self.options.catalogue.square, common=common)
        catalogue = self._catalogue

        def answer(one: Cluster) -> list[list[Candidate]] | SourceError:
            # items are large: what is kept of the many of all searches are candidates only, each once
            try:
                items = catalogue.search(one.search)
                return [self._offer(found, made) for found in match(items, [asked[n] for n in one.numbers], one.search)]
            except SourceError as error:
                return error

        found: dict[int, dict[str, Candidate]] = {number: {} for number in numbers}
        failed: dict[int, SourceError] = {}
        with ThreadPoolExecutor(max(1, min(len(clusters), self.options.transfer.concurrency))) as pool:
            for one, answers in zip(clusters, pool.map(answer, clusters), strict=True):
                if isinstance(answers, SourceError):
                    failed |= dict.fromkeys((numbers[n] for n in one.numbers), answers)
                    continue
                for n, candidates in zip(one.numbers, answers, strict=True):
                    found[numbers[n]] |= {candidate.item: candidate for candidate in candidates}
        return {number: failed.get(number) or list(candidates.values()) for number, candidates in found.items()}

    @property
    def _catalogue(self) -> Catalogue:
        options = self.options
        wanted = frozenset(options.layer.where)
        return open_catalogue(options.catalogue, options.layer.collection, options.transfer, keep=wanted)

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """For each request its number and what was read, or why it could not be; in any order, each exactly once."""
        jobs: list[WindowJob] = []
        owners: list[tuple[int, str]] = []
        for number, request in enumerate(requests):
            try:
                own = self._jobs(request)
            except SourceError as error:
                yield number, error
                continue
            jobs += own.values()
            owners += [(number, name) for name in own]
        windows: dict[int, dict[str, Window]] = {number: {} for number, _ in owners}
        for index, window in shared_reader(self.options.transfer).read(jobs):
            number, name = owners[index]
            if number not in windows:
                continue
            if isinstance(window, SourceError):
                del windows[number]
                yield number, window
                continue
            windows[number][name] = window
            if len(windows[number]) == len(requests[number].candidate.assets):
                yield number, self._observe(requests[number], windows.pop(number))

    def _jobs(self, request: Request) -> dict[str, WindowJob]:
        """What is to be read for a request, by band."""
        if (refusal := refusal_of(request.candidate)) is not None:
            raise refusal
        signer = self.options.catalogue.sign
        return {
            name: WindowJob(
                tuple(sign(asset, signer) for asset in assets),
                read_grid(request.grid, name, self.options.layer.slopes),
                self.resampling,
                crs=request.candidate.crs,
            )
            for name, assets in request.candidate.assets.items()
        }

    def _observe(self, request: Request, windows: Mapping[str, Window]) -> Observation | SourceError:
        """All bands of a request, in the modality's units."""
        candidate, layer = request.candidate, self.options.layer
        numbers: dict[str, npt.NDArray[np.float64]] = {}
        try:
            for band in self.modality.bands:
                if band.name in windows:
                    said = layer.bands[band.name]
                    is_undone = "offset_undone" in candidate.notes and is_reflectance(band)
                    numbers[band.name] = in_unit(
                        self.modality,
                        band,
                        windows[band.name],
                        unit=said.unit or layer.unit or band.unit,
                        undone=candidate.assets[band.name][0].offset if is_undone else 0.0,
                        where=f"{candidate.item}, asset {said.asset!r}",
                    )
        except SourceError as error:
            return error
        notes = self._judge(numbers, candidate)
        return observation_of(self.modality, request.grid, numbers, layer.slopes, notes)

    def _judge(self, numbers: Mapping[str, npt.NDArray[np.float64]], candidate: Candidate) -> dict[str, str]:
        """A note if Sentinel-2 numbers look as if the offset had been treated wrongly; they are left as they are."""
        if candidate.level not in LEVELS:
            return {}
        undone = candidate.notes.get("offset_undone", 0)
        stored = {name: n[np.isfinite(n)] + undone for name, n in numbers.items()}
        if min((n.size for n in stored.values()), default=0) < ENOUGH_PIXELS:
            return {}
        verdict = judge_offset(stored, candidate.level)
        if undone and verdict is Verdict.NONE:
            return {"offset_doubtful": f"{undone} was subtracted, but the numbers look as if it had not been there"}
        if not undone and verdict is Verdict.OFFSET:
            return {"offset_doubtful": "nothing was subtracted, but the numbers look as if the offset were there"}
        return {}

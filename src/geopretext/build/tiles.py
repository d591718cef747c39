"""The tiles of a group of places: found, paired, read and put together.

All places of a group are asked for together, so that a source searches a region once and opens a file once; what a
tile becomes does not depend on the others.
"""

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from geopretext.build.archives import open_sources
from geopretext.build.draft import MAY_LACK, Draft, batch_of
from geopretext.build.grid import utm_zone
from geopretext.build.pairing import Choice, Spot, clear_share, companions, references, window_of
from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe
from geopretext.build.series import SeriesReader
from geopretext.build.source import Observation, Query, Request, Source
from geopretext.build.storing import derived
from geopretext.build.transfer import transfer_counts
from geopretext.data.tiles import TileBatch
from geopretext.errors import Reason, SourceError
from geopretext.modality import Modality

_STAND_INS = 3
"""observations of a ``nearest`` modality that are looked at if the nearer ones have nothing at the tile"""


@dataclass(frozen=True)
class Outcome:
    """What became of one place."""

    place_id: str
    reason: Reason | None = None
    """why there is no tile; None if there is one"""
    detail: str = ""
    """the failure in a sentence"""


@dataclass(frozen=True)
class Made:
    """What became of a group of places."""

    batch: TileBatch | None
    """the tiles, in the order of the places; None if there are none"""
    outcomes: tuple[Outcome, ...]
    """one a place, in order"""
    counts: Mapping[str, int] = field(default_factory=dict)
    """what it took: ``requests`` and ``bytes`` that were read"""


class TileMaker:
    """Makes tiles by a recipe. Picklable: sources are opened on first use in each process.

    Args:
        recipe: where everything comes from.

    Raises:
        RecipeError: an option of an archive does not fit.
        MissingLibraryError: a library of an archive's kind is not installed.
    """

    def __init__(self, recipe: BuildRecipe) -> None:
        self._recipe = recipe
        _ = self._sources

    def __reduce__(self) -> tuple[Any, ...]:
        return (TileMaker, (self._recipe,))

    @property
    def recipe(self) -> BuildRecipe:
        """Where everything comes from."""
        return self._recipe

    @property
    def modalities(self) -> dict[str, Modality]:
        """Of the tiles, by name, in the order of the store."""
        return {name: entry.modality for name, entry in self._recipe.modalities.items()}

    @cached_property
    def _sources(self) -> dict[str, tuple[Source, ...]]:
        return open_sources(self._recipe)

    def make(self, places: Places) -> Made:
        """The tiles of some places; what fails is told in the outcomes, not raised."""
        recipe, before = self._recipe, transfer_counts()
        drafts = [
            Draft(
                Spot(str(name), float(lat), float(lon), recipe.tile_size, recipe.ground_sampling_distance),
                int(biome),
                int(ecoregion),
            )
            for name, lat, lon, biome, ecoregion in zip(
                places.place_id, places.lat, places.lon, places.biome, places.ecoregion, strict=True
            )
        ]
        self._find_references(drafts)
        self._finish(drafts)
        rules = {name: entry.pair.rule for name, entry in recipe.modalities.items() if entry.archives}
        alone = ("reference", "same", "series")
        self._add_companions(drafts, [name for name, rule in rules.items() if rule not in alone])
        self._add_companions(drafts, [name for name, rule in rules.items() if rule == "same"])
        SeriesReader(recipe, self._search, self._read_numbered).add(_alive(drafts))
        for draft in _alive(drafts):
            self._derive(draft)
        done = list(_alive(drafts))
        outcomes = tuple(
            Outcome(draft.spot.place)
            if draft.failure is None
            else Outcome(draft.spot.place, draft.failure.reason, _sentence(draft.failure))
            for draft in drafts
        )
        counts = transfer_counts() - before
        batch = batch_of(done, self.modalities) if done else None
        return Made(batch, outcomes, {"requests": counts.requests, "bytes": counts.bytes})

    def _find_references(self, drafts: Sequence[Draft]) -> None:
        """Give each tile its grid, time and reference image."""
        entry, seed = self._recipe.reference, self._recipe.seed
        rule, name = entry.pair, entry.modality.name
        start, stop = window_of(rule, None)
        waiting: dict[Draft, Iterator[Choice]] = {}
        for draft in drafts:
            try:
                utm_zone(lat=draft.spot.lat, lon=draft.spot.lon)
            except SourceError as error:
                draft.failure = error
        queries = [(draft, draft.spot.query(start=start, stop=stop)) for draft in _alive(drafts)]
        for draft, pool in self._search(name, queries):
            try:
                if isinstance(pool, SourceError):
                    raise pool
                waiting[draft] = iter(references(draft.spot, pool, rule, seed)[: rule.tries])
            except SourceError as error:
                draft.failure = error
        refusals: dict[Draft, SourceError] = {}
        while waiting:
            tried: list[tuple[Draft, Choice]] = []
            for draft, choices in list(waiting.items()):
                choice = next(choices, None)
                if choice is None:
                    draft.failure = refusals[draft]
                    del waiting[draft]
                    continue
                draft.grid = draft.spot.grid(choice.candidate.crs)
                tried.append((draft, choice))
            for draft, verdict in self._try_references(tried):
                if verdict is None:
                    del waiting[draft]
                elif verdict.reason.is_transient or verdict.reason is Reason.FORBIDDEN:
                    draft.failure = verdict
                    del waiting[draft]
                else:
                    refusals[draft] = verdict

    def _try_references(self, tried: Sequence[tuple[Draft, Choice]]) -> list[tuple[Draft, SourceError | None]]:
        """Read reference images; for each tile None if it is taken, or why it will not do."""
        entry = self._recipe.reference
        rule, name = entry.pair, entry.modality.name
        refused: dict[Draft, SourceError] = {}
        masks: dict[Draft, tuple[Choice, Observation]] = {}
        if rule.clear_by:
            asked = [(draft, draft.spot.query(item=choice.candidate.item)) for draft, choice in tried]
            picked = []
            for draft, pool in self._search(rule.clear_by, asked):
                if isinstance(pool, SourceError):
                    refused[draft] = pool
                elif not pool:
                    refused[draft] = SourceError(
                        f"{rule.clear_by} of the image is not there", reason=Reason.NO_ASSET, where=draft.spot.place
                    )
                else:
                    picked.append((draft, pool[0]))
            for draft, choice, seen in self._read(picked):
                if isinstance(seen, SourceError):
                    refused[draft] = seen
                    continue
                share = clear_share(seen.values, seen.valid, rule.clear_classes)
                if share < rule.min_clear:
                    refused[draft] = SourceError(
                        f"{share:.0%} of the tile is clear in the last image that was tried (at most {rule.tries} are),"
                        f" {rule.min_clear:.0%} are wanted",
                        reason=Reason.CLOUDY,
                        where=choice.candidate.item,
                        hint="lower min_clear, or raise tries",
                    )
                else:
                    masks[draft] = (choice, seen)
        wanted = [(draft, choice) for draft, choice in tried if draft not in refused]
        for draft, choice, seen in self._read(wanted):
            if isinstance(seen, SourceError):
                refused[draft] = seen
                continue
            covered = float(np.mean(seen.valid.any(axis=0)))
            if covered < rule.min_covered:
                refused[draft] = SourceError(
                    f"{covered:.0%} of the tile was observed, {rule.min_covered:.0%} are wanted",
                    reason=Reason.NO_DATA,
                    where=choice.candidate.item,
                )
                continue
            draft.time = choice.candidate.time
            draft.take(name, choice, seen)
            if draft in masks:
                draft.take(rule.clear_by, *masks[draft])
        return [(draft, refused.get(draft)) for draft, _ in tried]

    def _add_companions(self, drafts: Sequence[Draft], names: Sequence[str]) -> None:
        """Read other modalities of all tiles that have a reference."""
        wanted = {name: [draft for draft in _alive(drafts) if name not in draft.chosen] for name in names}
        queries = {name: self._companion_queries(name, wanted[name]) for name in names}
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            found = dict(zip(names, pool.map(lambda name: self._search(name, queries[name]), names), strict=True))
        needs: dict[tuple[Draft, str, int], Iterator[Choice]] = {}
        why: dict[tuple[Draft, str], SourceError] = {}
        for name in names:
            pools: dict[Draft, list[Choice]] = {draft: [] for draft in wanted[name]}
            for draft, choices in found[name]:
                if isinstance(choices, SourceError):
                    self._note(draft, name, choices, why)
                else:
                    pools[draft] += choices
            for draft, choices in pools.items():
                assert draft.grid is not None
                observations = companions(self._recipe.modalities[name].pair, draft.grid, draft.time, choices)
                for number, ranked in enumerate(observations):
                    needs[draft, name, number] = iter(ranked[:_STAND_INS])
                if not observations:
                    nothing = SourceError("no observation fits the rule", reason=Reason.NO_IMAGE)
                    self._note(draft, name, nothing, why)
        self._read_companions(needs, why)
        for name in names:
            for draft in wanted[name]:
                if name not in draft.chosen and draft.failure is None:
                    draft.lack(name, why[draft, name], required=self._recipe.modalities[name].required)
        self._finish(drafts)

    def _read_companions(
        self, needs: dict[tuple[Draft, str, int], Iterator[Choice]], why: dict[tuple[Draft, str], SourceError]
    ) -> None:
        """Read the first choice of each need that shows anything at the tile; note why there is none."""
        while needs:
            keys, picks = [], []
            for key, choices in needs.items():
                choice = next(choices, None)
                if choice is not None and key[0].failure is None:
                    keys.append(key)
                    picks.append((key[0], choice))
            needs = {key: needs[key] for key in keys}
            for number, choice, seen in self._read_numbered(picks):
                draft, name, _ = keys[number]
                if isinstance(seen, SourceError):
                    self._note(draft, name, seen, why)
                elif seen.valid.any():
                    draft.take(name, choice, seen)
                    del needs[keys[number]]
                else:
                    nothing = SourceError("nothing was observed at the tile", reason=Reason.NO_DATA)
                    self._note(draft, name, nothing, why)

    @staticmethod
    def _note(draft: Draft, name: str, error: SourceError, why: dict[tuple[Draft, str], SourceError]) -> None:
        """Remember why an observation cannot be had; the tile fails at once if the modality may not lack for that."""
        if not error.where:
            error = SourceError(f"{name}: {error.what}", reason=error.reason, where=draft.spot.place)
        why[draft, name] = error
        if error.reason not in MAY_LACK:
            draft.failure = draft.failure or error

    def _finish(self, drafts: Sequence[Draft]) -> None:
        for draft in drafts:
            draft.finish(self.modalities)

    def _companion_queries(self, name: str, drafts: Sequence[Draft]) -> list[tuple[Draft, Query]]:
        rule = self._recipe.modalities[name].pair
        if rule.rule == "same":
            return [
                (draft, draft.spot.query(item=candidate.item))
                for draft in drafts
                for candidate in draft.chosen.get(rule.to, ())
            ]
        windows = [window_of(rule, draft.time) for draft in drafts]
        return [
            (draft, draft.spot.query(start=start, stop=stop))
            for draft, (start, stop) in zip(drafts, windows, strict=True)
        ]

    def _search(
        self, name: str, queries: Sequence[tuple[Draft, Query]]
    ) -> list[tuple[Draft, list[Choice] | SourceError]]:
        """For each query the candidates of all sources of a modality, or why one of them could not be asked."""
        pools: list[list[Choice]] = [[] for _ in queries]
        failures: list[SourceError | None] = [None] * len(queries)
        for source in self._sources[name] if queries else ():
            for number, found in enumerate(source.search([query for _, query in queries])):
                if isinstance(found, SourceError):
                    failures[number] = failures[number] or found
                else:
                    pools[number] += [Choice(source, candidate) for candidate in found]
        return [(draft, failure or pool) for (draft, _), pool, failure in zip(queries, pools, failures, strict=True)]

    def _read(self, picks: Sequence[tuple[Draft, Choice]]) -> Iterator[tuple[Draft, Choice, Observation | SourceError]]:
        for number, choice, seen in self._read_numbered(picks):
            yield picks[number][0], choice, seen

    def _read_numbered(
        self, picks: Sequence[tuple[Draft, Choice]]
    ) -> Iterator[tuple[int, Choice, Observation | SourceError]]:
        """Read each pick onto its tile's grid, all picks of a source together, sources beside each other."""
        by_source: dict[int, list[int]] = {}
        for number, (_, choice) in enumerate(picks):
            by_source.setdefault(id(choice.source), []).append(number)

        def read(numbers: list[int]) -> list[tuple[int, Observation | SourceError]]:
            requests = []
            for draft, choice in (picks[number] for number in numbers):
                assert draft.grid is not None
                requests.append(Request(choice.candidate, draft.grid, draft.spot.lat, draft.spot.lon))
            return [(numbers[i], seen) for i, seen in picks[numbers[0]][1].source.read(requests)]

        with ThreadPoolExecutor(max(1, len(by_source))) as pool:
            results = [entry for part in pool.map(read, by_source.values()) for entry in part]
        for number, seen in sorted(results, key=lambda entry: entry[0]):
            yield number, picks[number][1], seen

    def _derive(self, draft: Draft) -> None:
        """Add what follows from place and date."""
        assert draft.grid is not None
        assert draft.time is not None
        lat, lon = draft.grid.center
        for name, entry in self._recipe.modalities.items():
            if not entry.archives:
                what = str(entry.options["derive"])
                numbers = derived(what, lat=lat, lon=lon, time=draft.time, biome=draft.biome, ecoregion=draft.ecoregion)
                draft.arrays[name] = numbers.astype(entry.modality.dtype)


def _alive(drafts: Sequence[Draft]) -> Iterator[Draft]:
    return (draft for draft in drafts if draft.failure is None)


def _sentence(error: SourceError) -> str:
    return f"{error.where}: {error.what}" if error.where else error.what

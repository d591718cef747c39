"""The series of tiles: which images of a year are clear at each tile, which of these are kept, and what they show.

Every image of the year whose scene may do is looked at by its mask alone; of the clear ones only those are read that
are kept. An image that turns out to show nothing gives way to the next in order. So a tile takes one small read for
each pass, and one full read for each image that it keeps, whatever else there is in the archive.

A request that fails after all its retries fails the place, as everywhere in a build: what a series consists of must not
depend on how the archive felt that day.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.draft import Draft
from geopretext.build.pairing import Choice, clear_share, days_of_series, record, window_of
from geopretext.build.recipe import BuildRecipe, Pairing
from geopretext.build.source import Observation, Query
from geopretext.build.storing import stored
from geopretext.data.date_spread import spread_order
from geopretext.data.tiles import Array
from geopretext.errors import Reason, SourceError

Search = Callable[[str, Sequence[tuple[Draft, Query]]], list[tuple[Draft, list[Choice] | SourceError]]]
"""For each query the candidates of a modality, or why they could not be asked for."""
Read = Callable[[Sequence[tuple[Draft, Choice]]], Iterator[tuple[int, Choice, Observation | SourceError]]]
"""For each pick its number and what was read, in any order."""

_MEMORY = 256e6
"""bytes of observations that are in memory at once, in double precision and with their masks"""


@dataclass(eq=False)
class _Day:
    """Images of one day at one tile."""

    draft: Draft
    day: np.datetime64
    choices: deque[Choice]
    """those that have not been tried, the preferred one first"""
    clear: npt.NDArray[np.bool_] | None = None
    """(1, H, W) of the first of ``choices``, where its mask calls it clear; None if nobody looked"""


@dataclass(eq=False)
class _Gathering:
    """The series of one tile as it comes together."""

    waiting: deque[_Day]
    """clear days in the order in which they are taken"""
    images: dict[np.datetime64, tuple[Array, Choice, dict[str, Any]]] = field(default_factory=dict)
    """stored numbers, what they were read from and what is recorded, by day"""


class SeriesReader:
    """Finds and reads series.

    Args:
        recipe: with their rules.
        search: how candidates are found.
        read: how they are read.
    """

    def __init__(self, recipe: BuildRecipe, search: Search, read: Read) -> None:
        self._recipe = recipe
        self._search = search
        self._read = read

    def add(self, drafts: Iterable[Draft]) -> None:
        """Add all series of the recipe to the tiles, each of which has its reference; some may fail."""
        tiles = list(drafts)
        for name in self._recipe.dates:
            self._add(name, [draft for draft in tiles if draft.failure is None])

    def _add(self, name: str, drafts: Sequence[Draft]) -> None:
        rule = self._recipe.modalities[name].pair
        dropped: dict[Draft, Counter[str]] = {draft: Counter() for draft in drafts}
        days = self._look(rule, self._days(name, drafts), dropped)
        gathered = self._gather(name, days, dropped)
        for draft in drafts:
            if draft.failure is None:
                self._finish(name, draft, gathered.get(draft), dropped[draft])

    def _days(self, name: str, drafts: Sequence[Draft]) -> list[_Day]:
        """Days of each tile on which there is an image of it."""
        rule, reference = self._recipe.modalities[name].pair, self._recipe.reference.modality.name
        queries = []
        for draft in drafts:
            start, stop = window_of(rule, draft.time)
            queries.append((draft, draft.spot.query(start=start, stop=stop)))
        days = []
        for draft, pool in self._search(name, queries):
            if isinstance(pool, SourceError):
                draft.failure = pool
                continue
            assert draft.grid is not None
            found = days_of_series(rule, draft.grid, draft.time, draft.chosen[reference][0], pool)
            days += [_Day(draft, day, deque(choices)) for day, choices in found.items()]
        return days

    def _look(self, rule: Pairing, days: list[_Day], dropped: dict[Draft, Counter[str]]) -> list[_Day]:
        """Of the days those with an image that its mask calls clear enough; its first choice is that image."""
        if not rule.clear_by:
            return days
        clear, waiting = [], days
        while waiting:
            waiting = [day for day in waiting if day.draft.failure is None]
            picks, asked = [], []
            queries = [(day.draft, day.draft.spot.query(item=day.choices[0].candidate.item)) for day in waiting]
            reasons: dict[_Day, Reason] = {}
            for day, (_, pool) in zip(waiting, self._search(rule.clear_by, queries), strict=True):
                if isinstance(pool, SourceError):
                    reasons[day] = _refused(day, pool)
                elif pool:
                    picks.append((day.draft, pool[0]))
                    asked.append(day)
                else:
                    reasons[day] = Reason.NO_ASSET
            for number, _, seen in self._portions(picks, bands=1):
                day = asked[number]
                if isinstance(seen, SourceError):
                    reasons[day] = _refused(day, seen)
                elif clear_share(seen.values, seen.valid, rule.clear_classes) < rule.min_clear:
                    reasons[day] = Reason.CLOUDY
                else:
                    day.clear = seen.valid & np.isin(seen.values, rule.clear_classes)
                    clear.append(day)
            waiting = [day for day in reasons if self._next_choice(day, reasons[day], dropped)]
        return clear

    @staticmethod
    def _next_choice(day: _Day, reason: Reason, dropped: dict[Draft, Counter[str]]) -> bool:
        """Go on to the next image of a day; False, and the day counts as dropped, if there is none."""
        day.choices.popleft()
        if not day.choices:
            dropped[day.draft][str(reason)] += 1
        return bool(day.choices)

    def _gather(self, name: str, days: list[_Day], dropped: dict[Draft, Counter[str]]) -> dict[Draft, _Gathering]:
        """Read as many days of each tile as are wanted and show something."""
        rule, modality = self._recipe.modalities[name].pair, self._recipe.modalities[name].modality
        by_draft: dict[Draft, dict[np.datetime64, _Day]] = {}
        for day in days:
            by_draft.setdefault(day.draft, {})[day.day] = day
        gathered = {draft: _Gathering(_in_order(draft, there)) for draft, there in by_draft.items()}
        while True:
            taken: list[_Day] = []
            for draft, one in gathered.items():
                if draft.failure is None:
                    wanted = rule.max_dates - len(one.images)
                    taken += [one.waiting.popleft() for _ in range(min(wanted, len(one.waiting)))]
            if not taken:
                return gathered
            picks = [(day.draft, day.choices[0]) for day in taken]
            for number, choice, seen in self._portions(picks, bands=len(modality.bands)):
                day = taken[number]
                reason, image = _image(rule, day, seen)
                if image is not None:
                    facts = record(choice.candidate, day.draft.time, image.notes)
                    gathered[day.draft].images[day.day] = stored(modality, image), choice, facts
                    continue
                assert reason is not None
                if day.clear is not None:  # the masks of other images of the day have not been looked at
                    dropped[day.draft][str(reason)] += 1
                elif self._next_choice(day, reason, dropped):
                    gathered[day.draft].waiting.appendleft(day)

    def _finish(self, name: str, draft: Draft, gathered: _Gathering | None, dropped: Counter[str]) -> None:
        """Give a tile its series, or say why it has none."""
        entry = self._recipe.modalities[name]
        images = sorted((gathered.images if gathered else {}).items())
        if len(images) < entry.pair.min_dates:
            why = ", ".join(f"{count} {reason}" for reason, count in sorted(dropped.items())) or "none in that time"
            error = SourceError(
                f"{name}: {len(images)} images can be used, {entry.pair.min_dates} are wanted (others: {why})",
                reason=Reason(dropped.most_common(1)[0][0]) if dropped else Reason.NO_IMAGE,
                where=draft.spot.place,
            )
            draft.lack(name, error, required=entry.required)
            return
        shape = (entry.pair.max_dates, *images[0][1][0].shape)
        values = np.full(shape, entry.modality.fill, entry.modality.dtype)
        days = np.full(entry.pair.max_dates, "NaT", "datetime64[D]")
        for number, (day, (image, choice, facts)) in enumerate(images):
            values[number], days[number] = image, day
            orbit = {"orbit": choice.candidate.orbit} if choice.candidate.orbit else {}
            draft.records.setdefault(name, []).append({**facts, **orbit})
        draft.chosen[name] = [choice.candidate for _, (_, choice, _) in images]
        draft.arrays[name], draft.dates[name] = values, days
        if dropped:
            draft.records[name].append({"dropped": dict(sorted(dropped.items()))})

    def _portions(
        self, picks: Sequence[tuple[Draft, Choice]], *, bands: int
    ) -> Iterator[tuple[int, Choice, Observation | SourceError]]:
        """Read picks, those of one item together, only so many at a time as fit into memory."""
        order = sorted(range(len(picks)), key=lambda number: picks[number][1].candidate.item)
        pixels = self._recipe.tile_size**2 * bands
        size = max(1, int(_MEMORY / (9 * pixels)))
        for portion in (order[i : i + size] for i in range(0, len(order), size)):
            for number, choice, seen in self._read([picks[number] for number in portion]):
                yield portion[number], choice, seen


def _in_order(draft: Draft, days: dict[np.datetime64, _Day]) -> deque[_Day]:
    """Days in the order in which they are taken: the reference's first, then spread over the year."""
    there = np.array(sorted(days), "datetime64[D]")
    return deque(days[there[position]] for position in spread_order(there, first=draft.time))


def _image(rule: Pairing, day: _Day, seen: Observation | SourceError) -> tuple[Reason | None, Observation | None]:
    """What is to be stored of an image, or why nothing is."""
    if isinstance(seen, SourceError):
        return _refused(day, seen), None
    if float(np.mean(seen.valid.any(axis=0))) < rule.min_covered or not seen.valid.any():
        return Reason.NO_DATA, None
    if rule.hide_clouds and day.clear is not None:
        seen = Observation(seen.values, seen.valid & day.clear, seen.notes)
    return None, seen


def _refused(day: _Day, error: SourceError) -> Reason:
    """Why an image cannot be had; the tile fails if it might be had at another time, or by someone else."""
    if error.reason.is_transient or error.reason is Reason.FORBIDDEN:
        day.draft.failure = day.draft.failure or error
    return error.reason

"""Which observations belong to a tile: candidates in the order in which the rules of a recipe prefer them.

Nothing is drawn from a generator whose state depends on what was drawn before: the order is a function of the seed,
the place and the items that exist, so that a tile is the same whoever makes it, alone or among others, and stays the
same when the archive grows by images that come later in its order.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import shapely

from geopretext.build.grid import Grid, utm_zone
from geopretext.build.recipe import Pairing
from geopretext.build.source import Candidate, Query, Source
from geopretext.errors import Reason, SourceError

_DAY = 86_400.0
_HALF_YEAR = np.timedelta64(182, "D")
_BOX_MARGIN = 1e-3
"""degrees, about 100 m: the square around a place may lie in a neighbouring zone, turned by some degrees"""


class Choice(NamedTuple):
    """A candidate, and the source that can read it."""

    source: Source
    candidate: Candidate
    parts: tuple[Candidate, ...] = ()
    """candidates that were joined into this one, files beside files, so that no seam shows; empty if it is one"""


@dataclass(frozen=True)
class Spot:
    """A place, and the size of the tile that is to be there."""

    place: str
    lat: float
    lon: float
    size: int
    """pixels"""
    step: float
    """metres a pixel"""

    def grid(self, crs: int | None) -> Grid:
        """The tile's grid in the projection of an image; in the place's own UTM zone if that has none."""
        return Grid.around(
            lat=self.lat,
            lon=self.lon,
            crs=crs or utm_zone(lat=self.lat, lon=self.lon),
            size=self.size,
            step=self.step,
        )

    def query(self, *, start: np.datetime64 | None = None, stop: np.datetime64 | None = None, item: str = "") -> Query:
        """What to ask a source about this place."""
        reach = np.degrees(self.size * self.step / np.sqrt(2) / 6.35e6) + _BOX_MARGIN
        across = min(180.0, reach / max(np.cos(np.radians(self.lat)), 1e-3))
        west, east = ((self.lon + side * across + 180.0) % 360.0 - 180.0 for side in (-1, 1))
        box = (west, max(-90.0, self.lat - reach), east, min(90.0, self.lat + reach))
        return Query(place=self.place, lat=self.lat, lon=self.lon, box=box, start=start, stop=stop, item=item)


def references(spot: Spot, pool: Sequence[Choice], rule: Pairing, seed: int) -> list[Choice]:
    """Images that may be the reference of a tile, in the order in which they are tried.

    Raises:
        SourceError: none lies in time and covers the tile (``NO_IMAGE``), or all are clouded (``CLOUDY``).
    """
    start, stop = np.datetime64(rule.start, "s"), np.datetime64(rule.stop, "s")
    in_time = [choice for choice in pool if choice.candidate.time is not None and start <= choice.candidate.time < stop]
    covering = [choice for choice in in_time if covers(choice.candidate, spot.grid(choice.candidate.crs))]
    if not covering:
        seen = f"of {len(pool)} there, {len(in_time)} have a date in that time"
        raise SourceError(
            f"no image from {rule.start} to {rule.stop} covers the tile ({seen})",
            reason=Reason.NO_IMAGE,
            where=spot.place,
        )
    clear = [choice for choice in covering if rule.max_cloud >= 100 or _cloud(choice) <= rule.max_cloud]
    if not clear:
        least = min(map(_cloud, covering))
        said = f"is clouded by {least:.0f} %, more than {rule.max_cloud:g}"
        if not np.isfinite(least):
            said = "does not say how clouded it is"
        raise SourceError(
            f"the clearest of {len(covering)} images {said}",
            reason=Reason.CLOUDY,
            where=spot.place,
        )
    return sorted(clear, key=lambda choice: (_draw(seed, spot.place, choice.candidate.item), choice.candidate.item))


def companions(rule: Pairing, grid: Grid, time: np.datetime64 | None, pool: Iterable[Choice]) -> list[list[Choice]]:
    """What to read of another modality at a tile: for each observation that is needed, candidates by preference.

    Observations complete each other. For ``nearest`` there is one of each group, of which later candidates serve if
    the first has nothing at the tile; for ``same`` each candidate is one; otherwise one that covers the tile, or all
    that touch it, whose files are read as one mosaic.
    """
    if rule.rule == "same":
        return [[choice] for choice in sorted(pool, key=lambda choice: choice.candidate.item)]
    if rule.rule == "nearest":
        assert time is not None
        limit = rule.days * _DAY
        near = [choice for choice in pool if _distance(choice.candidate, time) <= limit]
        whole = [choice for choice in near if covers(choice.candidate, grid)]
        ranked = sorted(whole, key=lambda choice: (_distance(choice.candidate, time), choice.candidate.item))
        groups = sorted({choice.candidate.group for choice in ranked})
        return [[choice for choice in ranked if choice.candidate.group == group] for group in groups]
    outline = grid.outline()
    touching = [
        choice
        for choice in sorted(pool, key=lambda choice: choice.candidate.item)
        if choice.candidate.footprint is None or shapely.intersects(choice.candidate.footprint, outline)
    ]
    whole = [choice for choice in touching if covers(choice.candidate, grid)]
    return [[choice] for choice in (whole[:1] or _joined(touching))]


def days_of_series(
    rule: Pairing, grid: Grid, time: np.datetime64 | None, reference: Candidate, pool: Iterable[Choice]
) -> dict[np.datetime64, list[Choice]]:
    """Images of a series by day, ascending: of each day those that cover the tile, the first one preferred.

    All are of one level, that of the reference if there are such, else the one with most images; with ``one_orbit``
    also of one orbit. A day has several images where scenes overlap, or are there once more after reprocessing. The
    reference image itself has been found good enough, however clouded its scene is.

    Args:
        rule: of the series.
        grid: of the tile.
        time: of the reference.
        reference: the image.
        pool: candidates.
    """
    start, stop = window_of(rule, time)
    inside = [
        choice
        for choice in pool
        if choice.candidate.time is not None
        and (start is None or start <= choice.candidate.time)
        and (stop is None or choice.candidate.time < stop)
        and (rule.max_cloud >= 100 or _cloud(choice) <= rule.max_cloud or choice.candidate.item == reference.item)
        and covers(choice.candidate, grid)
    ]
    inside = _of_most(inside, lambda candidate: candidate.level, preferred=reference.level)
    if rule.one_orbit:
        inside = _of_most(inside, lambda candidate: candidate.orbit)
    inside.sort(key=lambda one: _preference(one, grid, reference))
    days: dict[np.datetime64, list[Choice]] = {}
    for choice in inside:
        assert choice.candidate.time is not None
        days.setdefault(choice.candidate.time.astype("datetime64[D]"), []).append(choice)
    return dict(sorted(days.items()))


def _preference(choice: Choice, grid: Grid, reference: Candidate) -> tuple[bool, bool, float, str]:
    """Of two images of a day the lesser one is taken."""
    candidate = choice.candidate
    return candidate.item != reference.item, candidate.crs != grid.crs, _cloud(choice), candidate.item


def _of_most(choices: Sequence[Choice], trait: Callable[[Candidate], str], preferred: str = "") -> list[Choice]:
    """Those that share a trait: the preferred one if any has it, else the one of most days."""
    days: dict[str, set[np.datetime64]] = {}
    for choice in choices:
        assert choice.candidate.time is not None
        days.setdefault(trait(choice.candidate), set()).add(choice.candidate.time.astype("datetime64[D]"))
    if not days:
        return []
    chosen = preferred if preferred in days else min(days, key=lambda name: (-len(days[name]), name))
    return [choice for choice in choices if trait(choice.candidate) == chosen]


def _joined(choices: Sequence[Choice]) -> list[Choice]:
    """Candidates whose files can be read as one mosaic, as one; others as they are."""
    mosaics: dict[tuple[int, str, int | None], list[Choice]] = {}
    rest = []
    for choice in choices:
        candidate = choice.candidate
        if candidate.assets:
            mosaics.setdefault((id(choice.source), candidate.group, candidate.crs), []).append(choice)
        else:
            rest.append(choice)
    return [members[0] if len(members) == 1 else _mosaic(members) for members in mosaics.values()] + rest


def _mosaic(choices: Sequence[Choice]) -> Choice:
    parts = tuple(choice.candidate for choice in choices)
    bands = dict.fromkeys(band for part in parts for band in part.assets)
    assets = {band: tuple(asset for part in parts for asset in part.assets.get(band, ())) for band in bands}
    item = " + ".join(part.item for part in parts)
    return Choice(choices[0].source, replace(parts[0], item=item, footprint=None, assets=assets), parts)


def window_of(rule: Pairing, time: np.datetime64 | None) -> tuple[np.datetime64 | None, np.datetime64 | None]:
    """Start (inclusive) and stop (exclusive) of the time in which a rule's candidates lie."""
    if rule.rule == "reference":
        return np.datetime64(rule.start, "s"), np.datetime64(rule.stop, "s")
    if rule.rule in ("static", "same") or time is None:
        return None, None
    if rule.rule == "nearest":
        reach = np.timedelta64(round(rule.days * _DAY), "s")
        return time - reach, time + reach + np.timedelta64(1, "s")
    if rule.rule == "series" and rule.window == "around":
        day = time.astype("datetime64[D]")
        return (day - _HALF_YEAR).astype("datetime64[s]"), (day + _HALF_YEAR + 1).astype("datetime64[s]")
    unit = "M" if rule.rule == "month" else "Y"
    first = time.astype(f"datetime64[{unit}]")
    return first.astype("datetime64[s]"), (first + 1).astype("datetime64[s]")


def covers(candidate: Candidate, grid: Grid) -> bool:
    """Whether a candidate's footprint holds the whole tile."""
    return candidate.footprint is None or bool(shapely.contains(candidate.footprint, grid.outline()))


def record(candidate: Candidate, time: np.datetime64 | None, notes: Mapping[str, Any]) -> dict[str, Any]:
    """What a store keeps about a candidate: item, date, days from the reference, orbit, what the source notes."""
    kept: dict[str, Any] = {"item": candidate.item}
    if candidate.time is not None:
        kept["date"] = f"{candidate.time.astype('datetime64[s]')}Z"
        if time is not None:
            kept["days"] = round(float((candidate.time - time) / np.timedelta64(1, "s")) / _DAY, 3)
    if candidate.group:
        kept["group"] = candidate.group
    if candidate.level:
        kept["level"] = candidate.level
    return {**kept, **candidate.notes, **notes}


def clear_share(codes: Any, valid: Any, classes: Sequence[int]) -> float:
    """Share of a tile's pixels whose class is among ``classes``."""
    return float(np.mean(valid & np.isin(codes, classes)))


def _cloud(choice: Choice) -> float:
    """Percent of the scene; infinite if it is not said."""
    return np.inf if choice.candidate.cloud is None else choice.candidate.cloud


def _distance(candidate: Candidate, time: np.datetime64) -> float:
    """Seconds between two dates; an observation without a date is always near."""
    return 0.0 if candidate.time is None else abs(float((candidate.time - time) / np.timedelta64(1, "s")))


def _draw(seed: int, place: str, item: str) -> bytes:
    return blake2b(f"{seed}\n{place}\n{item}".encode(), digest_size=8).digest()

"""One search for many places: queries that lie close in place and time are asked for together.

Squares of ``square`` degrees are fixed on the Earth; within one, time windows are joined while they overlap and the
joint one is no more than twice as long as the longest of them, so that little is returned that nobody asked for.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import shapely

from geopretext.build.source import Query
from geopretext.build.stac_catalogue import Search
from geopretext.build.stac_items import StacItem

Box = tuple[float, float, float, float]

_EARLIEST, _LATEST = np.datetime64("1900-01-01"), np.datetime64("2200-01-01")
"""stand for windows that are open at an end"""


@dataclass(frozen=True)
class _Part:
    """A query, or what of it lies on one side of the antimeridian."""

    number: int
    box: Box
    start: int
    """seconds since 1970"""
    stop: int


@dataclass(frozen=True)
class Cluster:
    """Queries that one search serves."""

    search: Search
    numbers: tuple[int, ...]
    """of the queries; one that crosses the antimeridian is in two clusters"""


def cluster(queries: Sequence[Query], *, square: float, common: Search) -> list[Cluster]:
    """Searches that together answer all queries.

    Args:
        queries: none of which names an item.
        square: degrees.
        common: limits that hold for all; its box and times are not used.
    """
    cells: dict[tuple[int, int], list[_Part]] = {}
    for number, query in enumerate(queries):
        for box in boxes_of(query):
            cell = int(box[0] // square), int(box[1] // square)
            start, stop = _seconds(query.start, _EARLIEST), _seconds(query.stop, _LATEST)
            cells.setdefault(cell, []).append(_Part(number, box, start, stop))
    return [
        Cluster(_search(parts, common), tuple(part.number for part in parts))
        for members in cells.values()
        for parts in _by_time(members)
    ]


def boxes_of(query: Query) -> list[Box]:
    """The box of a query with west < east: two if it crosses the antimeridian."""
    west, south, east, north = query.box
    if west <= east:
        return [query.box]
    return [(west, south, 180.0, north), (-180.0, south, east, north)]


def match(items: Sequence[StacItem], queries: Sequence[Query], search: Search) -> Iterator[list[StacItem]]:
    """For each query the items that fit it, whatever the server made of the search; sorted by time and id.

    An item fits if its footprint touches the query's box, its interval the query's time, and its properties what
    ``search`` asks of clouds and properties; one that says nothing about them does not.
    """
    fitting = [item for item in items if _fits(item, search)]
    tree = shapely.STRtree([item.footprint for item in fitting])
    for query in queries:
        touching = {
            int(number) for box in boxes_of(query) for number in tree.query(shapely.box(*box), predicate="intersects")
        }
        found = [fitting[number] for number in touching if _in_time(fitting[number], query)]
        yield sorted(found, key=lambda item: (item.time is not None, item.time, item.id))


def covers_any(footprints: Sequence[Any], query: Query) -> bool:
    """Whether one of the footprints holds the whole box of a query."""
    boxes = [shapely.box(*box) for box in boxes_of(query)]
    return any(all(shapely.covers(footprint, box) for box in boxes) for footprint in footprints)


def _by_time(members: Sequence[_Part]) -> Iterator[list[_Part]]:
    joint: list[_Part] = []
    stop = longest = 0
    for part in sorted(members, key=lambda part: (part.start, part.stop, part.number)):
        length = part.stop - part.start
        if joint and (part.start > stop or max(stop, part.stop) - joint[0].start > 2 * max(longest, length)):
            yield joint
            joint = []
        stop = max(stop, part.stop) if joint else part.stop
        longest = max(longest, length) if joint else length
        joint.append(part)
    yield joint


def _search(parts: Sequence[_Part], common: Search) -> Search:
    west, south = (min(part.box[side] for part in parts) for side in (0, 1))
    east, north = (max(part.box[side] for part in parts) for side in (2, 3))
    start, stop = min(part.start for part in parts), max(part.stop for part in parts)
    return replace(
        common,
        box=(west, south, east, north),
        start=None if start == _seconds(_EARLIEST) else np.datetime64(start, "s"),
        stop=None if stop == _seconds(_LATEST) else np.datetime64(stop, "s"),
    )


def _seconds(time: np.datetime64 | None, default: np.datetime64 = _EARLIEST) -> int:
    return int((default if time is None else time).astype("datetime64[s]").astype(np.int64))


def _fits(item: StacItem, search: Search) -> bool:
    if search.max_cloud < 100:
        cloud = item.cloud
        if cloud is None or cloud > search.max_cloud:
            return False
    return all(item.properties.get(key) in values for key, values in search.where)


def _in_time(item: StacItem, query: Query) -> bool:
    """Whether an item's interval touches the query's; without a date it always does.

    The end of an interval does not count: maps of a year often end at midnight of the next one's first day.
    """
    if item.start is None or item.stop is None:
        return True
    if query.stop is not None and item.start >= query.stop:
        return False
    return query.start is None or bool(item.stop > query.start or item.start == item.stop == query.start)

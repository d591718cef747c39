"""Asking a STAC catalogue: an API over HTTP, or a file of items; what was found is kept for a while.

Servers differ in what they filter by, so that what comes from here is a superset: whoever asks looks at place, time,
clouds and properties again.
"""

import json
import logging
import os
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Protocol

import numpy as np
import shapely
from pystac import Link
from pystac.utils import make_absolute_href
from pystac_client.conformance import ConformanceClasses
from pystac_client.item_search import ItemSearch

from geopretext.build.fetch import scheme_of
from geopretext.build.stac_http import PatientIO
from geopretext.build.stac_items import StacItem, read_item
from geopretext.build.stac_options import CatalogueOptions
from geopretext.build.transfer import TransferSettings
from geopretext.errors import MissingLibraryError, Reason, SourceError

_log = logging.getLogger(__name__)

_KEPT_ITEMS = 4096
"""items of a collection that a process remembers, about 6 kB each"""
_IDS_AT_ONCE = 50
_IDLE_PAGES = 20
"""pages in a row with nothing new, after which a server that names still more is not believed"""


@dataclass(frozen=True)
class Search:
    """One question to a catalogue."""

    box: tuple[float, float, float, float]
    """west, south, east, north in degrees; west < east"""
    start: np.datetime64 | None
    """inclusive"""
    stop: np.datetime64 | None
    """exclusive"""
    max_cloud: float = 100.0
    """percent of the scene"""
    where: tuple[tuple[str, tuple[Any, ...]], ...] = ()
    """properties, and the values that they may have"""


class Catalogue(Protocol):
    """A collection of items that can be asked."""

    def search(self, question: Search) -> list[StacItem]:
        """Items that may fit, and perhaps others.

        Raises:
            SourceError: it cannot be asked, after retries.
        """

    def by_id(self, ids: Sequence[str]) -> dict[str, StacItem | SourceError]:
        """Items by id, or why they could not be asked for, after retries; those that are not there are absent."""


def open_catalogue(
    options: CatalogueOptions, collection: str, settings: TransferSettings, *, keep: frozenset[str]
) -> Catalogue:
    """The catalogue of a collection; one a process, so that modalities of the same items share what was found.

    A local file that has changed is another catalogue, and so is one of whose items other properties are kept.
    """
    changed = 0
    if options.items and scheme_of(options.items) in ("", "file"):
        file = Path(options.items.removeprefix("file://")).absolute()
        options = replace(options, items=str(file))
        changed = file.stat().st_mtime_ns if file.is_file() else 0
    return _shared(options, collection, settings, keep, changed, os.getpid())


@lru_cache(maxsize=32)
def _shared(
    options: CatalogueOptions,
    collection: str,
    settings: TransferSettings,
    keep: frozenset[str],
    _changed: int,
    _process: int,
) -> Catalogue:
    if options.url:
        return ApiCatalogue(options, collection, settings, keep)
    return FileCatalogue(options.items, collection, settings, keep)


class ApiCatalogue:
    """A collection behind a STAC API. Final."""

    def __init__(
        self, options: CatalogueOptions, collection: str, settings: TransferSettings, keep: frozenset[str]
    ) -> None:
        self._options, self._collection, self._keeps = options, collection, keep
        self._io = PatientIO(settings)
        self._kept: OrderedDict[str, StacItem] = OrderedDict()
        self._lock = Lock()
        self._landing_page: dict[str, Any] | None = None
        self._opening = Lock()

    def search(self, question: Search) -> list[StacItem]:
        """Items that may fit; properties are asked for if the server knows how to filter by them."""
        start, stop = question.start, question.stop
        time = None if start is None and stop is None else f"{_iso(start)}/{_iso(stop)}"
        return list(self._ask(bbox=question.box, datetime=time, **self._filter(question)))

    def by_id(self, ids: Sequence[str]) -> dict[str, StacItem | SourceError]:
        """Items by id, from memory as far as they are there."""
        with self._lock:
            found: dict[str, StacItem | SourceError] = {item: self._kept[item] for item in ids if item in self._kept}
        lacking = sorted(set(ids) - set(found))
        for first in range(0, len(lacking), _IDS_AT_ONCE):
            some = lacking[first : first + _IDS_AT_ONCE]
            wanted = set(some)
            # a server that ignores `ids` would list its whole collection
            try:
                for item in self._ask(ids=some, max_items=10 * len(some)):
                    if item.id in wanted:
                        found[item.id] = item
            except SourceError as error:
                found |= dict.fromkeys(wanted - set(found), error)
        return found

    def _ask(self, *, max_items: int = 0, **parameters: Any) -> Iterator[StacItem]:
        root, href = self._root(), self._options.url
        links = [link for link in root.get("links") or () if link.get("rel") == "search" and link.get("href")]
        if not links:
            raise SourceError(
                "is no STAC API: it has no link to a search",
                reason=Reason.SERVER,
                where=href,
                hint="name a static catalogue with 'items' instead of 'url'",
            )
        posts = any(link.get("method") == "POST" for link in links)
        search = ItemSearch(
            url=links[0]["href"],
            method="POST" if posts else "GET",
            stac_io=self._io,
            collections=[self._collection],
            limit=self._options.limit,
            **parameters,
        )
        seen: set[str] = set()
        where = f"{href}, collection {self._collection!r}"
        idle = 0
        try:
            for page in self._pages(search):
                new = [
                    plain for plain in page["features"] if isinstance(plain, dict) and str(plain.get("id")) not in seen
                ]
                idle = 0 if new else idle + 1
                if idle > _IDLE_PAGES:
                    raise SourceError(
                        f"gave {idle} pages in a row with nothing new, and names more", reason=Reason.SERVER
                    )
                seen.update(str(plain.get("id")) for plain in new)
                items = list(_usable(((plain, links[0]["href"]) for plain in new), self._keeps))
                self._keep(items)
                yield from items
                if max_items and len(seen) >= max_items:
                    return
        except SourceError as error:
            raise SourceError(error.what, reason=error.reason, where=where, hint=error.hint) from error
        except (KeyError, TypeError, AttributeError) as error:
            raise SourceError(
                f"answered with something that is no item collection ({type(error).__name__}: {error})",
                reason=Reason.CORRUPT,
                where=where,
            ) from error

    def _pages(self, search: ItemSearch) -> Iterator[dict[str, Any]]:
        """All pages; one that is empty, or repeats another, may be followed by others.

        A server whose last page names itself as the next one is not asked for ever.
        """
        parameters = search.get_parameters()
        page = self._io.read_json(search.url, method=search.method, parameters=parameters)
        asked: set[str] = set()
        while True:
            yield page
            after = next((link for link in page.get("links") or () if link["rel"] == "next"), None)
            if after is None or (name := json.dumps(after, sort_keys=True)) in asked:
                return
            asked.add(name)
            page = self._io.read_json(Link.from_dict(after), parameters=parameters)

    def _root(self) -> dict[str, Any]:
        with self._opening:
            if self._landing_page is None:
                self._landing_page = self._io.read_json(self._options.url)
            return self._landing_page

    def _filter(self, question: Search) -> dict[str, Any]:
        """Limits on properties, in the language that the server knows; nothing if it knows none."""
        known = [uri for uri in self._root().get("conformsTo") or () if isinstance(uri, str)]
        clear = question.max_cloud < 100
        if any(ConformanceClasses.QUERY.pattern.match(uri) for uri in known):
            query: dict[str, Any] = {"eo:cloud_cover": {"lte": question.max_cloud}} if clear else {}
            query |= {
                key: {"eq": values[0]} if len(values) == 1 else {"in": list(values)} for key, values in question.where
            }
            return {"query": query} if query else {}
        if any(ConformanceClasses.FILTER.pattern.match(uri) for uri in known):
            terms: list[dict[str, Any]] = []
            if clear:
                terms.append({"op": "<=", "args": [{"property": "eo:cloud_cover"}, question.max_cloud]})
            terms += [{"op": "in", "args": [{"property": key}, list(values)]} for key, values in question.where]
            return {"filter": {"op": "and", "args": terms}, "filter_lang": "cql2-json"} if terms else {}
        return {}

    def _keep(self, items: Iterable[StacItem]) -> None:
        with self._lock:
            for item in items:
                self._kept[item.id] = item
                self._kept.move_to_end(item.id)
            while len(self._kept) > _KEPT_ITEMS:
                self._kept.popitem(last=False)


class FileCatalogue:
    """Items of a file, all in memory. Final."""

    def __init__(self, href: str, collection: str, settings: TransferSettings, keep: frozenset[str]) -> None:
        self._href, self._collection, self._settings, self._keeps = href, collection, settings, keep
        self._lock = Lock()

    def search(self, question: Search) -> list[StacItem]:
        """Items that touch the box."""
        with self._lock:
            items, tree = self._loaded
        return [items[number] for number in sorted(tree.query(shapely.box(*question.box), predicate="intersects"))]

    def by_id(self, ids: Sequence[str]) -> dict[str, StacItem | SourceError]:
        """Items by id."""
        try:
            with self._lock:
                items, _ = self._loaded
        except SourceError as error:
            return dict.fromkeys(ids, error)
        wanted = set(ids)
        return {item.id: item for item in items if item.id in wanted}

    @cached_property
    def _loaded(self) -> tuple[list[StacItem], Any]:
        items = list(
            _usable(
                (
                    (plain, base)
                    for plain, base in _read_items(self._href, self._settings)
                    if not self._collection or plain.get("collection") in (None, self._collection)
                ),
                self._keeps,
            )
        )
        if not items:
            wanted = f" of collection {self._collection!r}" if self._collection else ""
            raise SourceError(f"holds no items{wanted}", reason=Reason.NO_FILE, where=self._href)
        return items, shapely.STRtree([item.footprint for item in items])


def _read_items(href: str, settings: TransferSettings) -> Iterator[tuple[dict[str, Any], str]]:
    """All items of a JSON or stac-geoparquet file with the file that each is in; links of a catalogue are followed."""
    if href.lower().endswith((".parquet", ".geoparquet")):
        yield from ((item, href) for item in _read_geoparquet(href))
        return
    io = PatientIO(settings)
    waiting, seen = [href], {href}
    while waiting:
        here = waiting.pop()
        plain = _read_json(here, io)
        if plain.get("type") == "FeatureCollection" and isinstance(plain.get("features"), list):
            yield from ((item, here) for item in plain["features"] if isinstance(item, dict))
        elif plain.get("type") == "Feature":
            yield plain, here
        elif plain.get("type") in ("Catalog", "Collection"):
            links = [link["href"] for link in plain.get("links") or () if link.get("rel") in ("child", "item")]
            below = [make_absolute_href(link, here) for link in links]
            waiting += [link for link in reversed(below) if link not in seen]
            seen.update(below)
        else:
            raise SourceError(
                f"is neither an item collection nor an item or a catalogue (type {plain.get('type')!r})",
                reason=Reason.CORRUPT,
                where=here,
            )


def _read_json(href: str, io: PatientIO) -> dict[str, Any]:
    if scheme_of(href):
        return io.read_json(href)
    try:
        plain = json.loads(Path(href).read_text("utf-8"))
    except OSError as error:
        raise SourceError(
            f"cannot be read: {error.strerror}", reason=Reason.NO_FILE, where=href, hint="check 'items' of the archive"
        ) from None
    except ValueError as error:
        raise SourceError(f"is not JSON: {error}", reason=Reason.CORRUPT, where=href) from None
    return plain if isinstance(plain, dict) else {}


def _read_geoparquet(href: str) -> list[dict[str, Any]]:
    try:
        import rustac
    except ImportError:
        raise MissingLibraryError(
            "rustac", extra="geo", purpose="read stac-geoparquet", hint="pip install rustac"
        ) from None
    try:
        return list(rustac.read_sync(href)["features"])
    except (rustac.RustacError, KeyError, OSError) as error:
        raise SourceError(
            f"cannot be read as stac-geoparquet: {error}",
            reason=Reason.CORRUPT if Path(href).exists() else Reason.NO_FILE,
            where=href,
        ) from None


def _usable(features: Iterable[tuple[Mapping[str, Any], str]], keep: frozenset[str]) -> Iterator[StacItem]:
    """Items without those that are malformed, which are logged."""
    for plain, base in features:
        try:
            yield read_item(plain, base=base, keep=keep)
        except SourceError as error:
            _log.warning("left out: %s %s (%s)", error.where, error.what, base)


def _iso(time: np.datetime64 | None) -> str:
    return ".." if time is None else f"{time.astype('datetime64[s]')}Z"

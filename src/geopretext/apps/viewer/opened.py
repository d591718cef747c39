"""What a viewer was opened on: stores, runs, bundles, embedding tables and reports, each under a short id.

Requests name ids and numbers only, never paths, so that nothing else on the machine can be reached.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import yaml

from geopretext.data.files import is_url
from geopretext.data.reader import open_tiles
from geopretext.data.store_root import is_store
from geopretext.data.tiles import TileReader
from geopretext.errors import InputError, StoreError

CONFIG, METRICS, BUNDLE, REPORT = "config.yaml", "metrics.csv", "bundle", "report.html"
_BUNDLE_FILES = ("config.json", "model.safetensors")
_VECTORS = "embedding"
"""the column that makes a Parquet file a table of embeddings"""


@dataclass(frozen=True)
class StoreEntry:
    """Tiles that may be looked at."""

    id: str
    name: str
    path: str

    @cached_property
    def reader(self) -> TileReader:
        """The tiles, opened on first use and kept."""
        return open_tiles(self.path)


@dataclass(frozen=True)
class BundleEntry:
    """An encoder that may be used."""

    id: str
    name: str
    folder: Path


@dataclass(frozen=True)
class RunEntry:
    """A pretraining that may be followed."""

    id: str
    name: str
    folder: Path
    bundle: str | None
    """id of what came of it; None while there is nothing yet"""
    store: str | None
    """id of the tiles that it learns from; None if they are not where its configuration says"""


@dataclass(frozen=True)
class TableEntry:
    """Embeddings of tiles."""

    id: str
    name: str
    path: Path


@dataclass(frozen=True)
class ReportEntry:
    """A page that a command wrote."""

    id: str
    name: str
    path: Path


@dataclass(frozen=True)
class Opened:
    """Everything that requests can reach, by id."""

    name: str
    """what was opened, as it was typed"""
    stores: Mapping[str, StoreEntry] = field(default_factory=dict)
    runs: Mapping[str, RunEntry] = field(default_factory=dict)
    bundles: Mapping[str, BundleEntry] = field(default_factory=dict)
    tables: Mapping[str, TableEntry] = field(default_factory=dict)
    reports: Mapping[str, ReportEntry] = field(default_factory=dict)


def look_at(
    path: str | Path, *, bundles: Sequence[str | Path] = (), embeddings: Sequence[str | Path] = (), data: str = ""
) -> Opened:
    """Find out what there is at ``path``: one thing, or a folder that holds several, two levels deep.

    Args:
        path: a store, an official MMEarth directory, a run, a bundle, an embedding table, a report, or a folder.
        bundles: more bundles.
        embeddings: more embedding tables.
        data: one more store, for a table or a run whose tiles lie elsewhere.

    Raises:
        StoreError: there is nothing there.
        InputError: nothing there can be shown, or one of the others is not what it should be.
    """
    finder = _Finder()
    if data:
        finder.add_store(str(data))
    if is_url(path):
        finder.add_store(str(path))
    elif not Path(path).exists():
        raise StoreError("there is nothing here", where=str(path), hint="`geopretext demo` makes something to look at")
    elif not finder.add(Path(path)):
        inside = _children(Path(path))
        below = (
            inner for folder in inside if not finder.add(folder) and folder.is_dir() for inner in _children(folder)
        )
        for inner in below:
            finder.add(inner)
    for given, add, kind in ((bundles, finder.add_bundle, "bundle"), (embeddings, finder.add_table, "embedding table")):
        for each in given:
            if not add(Path(each)):
                raise InputError(f"is no {kind}", where=str(each))
    opened = finder.opened(str(path))
    if not (opened.stores or opened.runs or opened.bundles or opened.tables or opened.reports):
        raise InputError(
            "holds nothing that can be shown: no store, run, bundle, embedding table or report",
            where=str(path),
            hint="`geopretext demo` makes all of them",
        )
    return opened


class _Finder:
    """Collects entries under ids that are short, readable and unique."""

    def __init__(self) -> None:
        self._stores: dict[str, StoreEntry] = {}
        self._runs: dict[str, RunEntry] = {}
        self._bundles: dict[str, BundleEntry] = {}
        self._tables: dict[str, TableEntry] = {}
        self._reports: dict[str, ReportEntry] = {}

    def opened(self, name: str) -> Opened:
        return Opened(name, self._stores, self._runs, self._bundles, self._tables, self._reports)

    def add(self, path: Path) -> bool:
        """Take what is at ``path``, if it is something."""
        if path.is_dir():
            return self._add_tiles(path) or self._add_run(path) or self.add_bundle(path) or False
        return self.add_table(path) or self._add_report(path)

    def add_store(self, path: str) -> str:
        """The id of a store."""
        for entry in self._stores.values():
            if _same(entry.path, path):
                return entry.id
        name = _id(Path(path).name, self._stores)
        self._stores[name] = StoreEntry(name, Path(path).name, path)
        return name

    def add_bundle(self, folder: Path, name: str = "") -> bool:
        if not all((folder / file).is_file() for file in _BUNDLE_FILES):
            return False
        if not any(_same(entry.folder, folder) for entry in self._bundles.values()):
            shown = name or (folder.parent.name if folder.name == BUNDLE else folder.name)
            found = _id(shown, self._bundles)
            self._bundles[found] = BundleEntry(found, shown, folder)
        return True

    def add_table(self, path: Path) -> bool:
        if path.suffix != ".parquet" or not _has_vectors(path):
            return False
        if not any(_same(entry.path, path) for entry in self._tables.values()):
            name = _id(path.stem, self._tables)
            self._tables[name] = TableEntry(name, path.name, path)
        return True

    def _add_tiles(self, folder: Path) -> bool:
        if not is_store(folder) and not any(folder.glob("*_tile_info.json")):
            return False
        self.add_store(str(folder))
        return True

    def _add_run(self, folder: Path) -> bool:
        if not (folder / METRICS).is_file():
            return False
        name = _id(folder.name, self._runs)
        self.add_bundle(folder / BUNDLE, folder.name)
        bundle = next((e.id for e in self._bundles.values() if _same(e.folder, folder / BUNDLE)), None)
        self._runs[name] = RunEntry(name, folder.name, folder, bundle, self._store_of(folder))
        return True

    def _store_of(self, run: Path) -> str | None:
        """Id of the tiles of a run: where its configuration says, or of the same name beside the run."""
        try:
            path = str(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))["data"]["path"])
        except (OSError, yaml.YAMLError, KeyError, TypeError):
            return None
        for place in (Path(path), run.parent / Path(path).name):
            if place.is_dir() and (is_store(place) or any(place.glob("*.h5"))):
                return self.add_store(str(place))
        return None

    def _add_report(self, path: Path) -> bool:
        if path.name != REPORT:
            return False
        shown = path.parent.resolve().name
        name = _id(shown, self._reports)
        self._reports[name] = ReportEntry(name, shown, path)
        return True


def _children(folder: Path) -> list[Path]:
    return sorted(child for child in folder.iterdir() if not child.name.startswith("."))


def _has_vectors(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        schema = pq.read_schema(path)
    except (pa.ArrowException, OSError):
        return False
    return _VECTORS in schema.names


def _same(one: str | Path, other: str | Path) -> bool:
    if is_url(one) or is_url(other):
        return str(one) == str(other)
    return Path(one).resolve() == Path(other).resolve()


def _id(name: str, taken: Iterable[str]) -> str:
    """``name`` as lower-case letters, digits and hyphens, with a number if it is taken."""
    plain = re.sub(r"[^a-z0-9]+", "-", Path(name).stem.lower()).strip("-") or "unnamed"
    number, found = 1, plain
    while found in taken:
        number += 1
        found = f"{plain}-{number}"
    return found

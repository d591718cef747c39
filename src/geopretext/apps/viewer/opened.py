"""What a viewer was opened on: stores, runs, bundles, embedding tables and reports, each under a short id.

Requests name ids and numbers only, never paths, so that nothing else on the machine can be reached.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import yaml

from geopretext.data.files import is_url
from geopretext.data.reader import open_tiles
from geopretext.data.store_root import is_store
from geopretext.data.tiles import TileReader
from geopretext.data.zarr_format import ROOT
from geopretext.errors import InputError, StoreError
from geopretext.predict.embedding_table import EmbeddingTable

CONFIG, METRICS, BUNDLE, REPORT = "config.yaml", "metrics.csv", "bundle", "report.html"
_BUNDLE_FILES = ("config.json", "model.safetensors")
_VECTORS = "embedding"
"""the column that makes a Parquet file a table of embeddings"""


class StoreEntry:
    """Tiles that may be looked at.

    Args:
        id: in requests.
        name: shown.
        path: of the store.
    """

    def __init__(self, id: str, name: str, path: str) -> None:  # noqa: A002 # as entries of other kinds name it
        self.id, self.name, self.path = id, name, path
        self._lock = Lock()
        self._opened: tuple[int, TileReader] | None = None

    @property
    def version(self) -> int:
        """Another number once more tiles are committed."""
        return 0 if is_url(self.path) else modified(Path(self.path, ROOT))

    @property
    def reader(self) -> TileReader:
        """The tiles, opened on first use, kept, and opened anew when the store has grown."""
        with self._lock:
            version = self.version
            if self._opened is None or self._opened[0] != version:
                self._opened = (version, open_tiles(self.path))
            return self._opened[1]


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


class Opened:
    """Everything that requests can reach, by id.

    Stores are those that were there at first; runs, bundles, tables and reports are looked for again by ``refresh``.
    Nothing that was found is forgotten, and ids stay.

    Args:
        name: what was opened, as it was typed.
        finder: what has been found.
        folder: where to look again; None if nothing can come.
    """

    def __init__(self, name: str, finder: "_Finder", folder: Path | None) -> None:
        self.name = name
        self._finder, self._folder = finder, folder
        self._lock = Lock()
        self._take()

    def refresh(self) -> None:
        """Find what has come since."""
        if self._folder is None:
            return
        with self._lock:
            self._finder.add_all(self._folder)
            self._take()

    def _take(self) -> None:
        """Copies, since requests go through them while others are found."""
        finder = self._finder
        self.stores: Mapping[str, StoreEntry] = dict(finder.stores)
        self.runs: Mapping[str, RunEntry] = dict(finder.runs)
        self.bundles: Mapping[str, BundleEntry] = dict(finder.bundles)
        self.tables: Mapping[str, TableEntry] = dict(finder.tables)
        self.reports: Mapping[str, ReportEntry] = dict(finder.reports)
        self.notes: Sequence[str] = list(finder.notes)
        """what could not be looked at, and why"""


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
        StoreError: there is nothing there, or ``data`` is no store.
        InputError: nothing there can be shown, or one of the others is not what it should be.
        CorruptError: the one store or table that was named is damaged.
    """
    finder = _Finder()
    if data:
        finder.stores[finder.add_store(str(data))].reader  # noqa: B018 # opened, so that a bad one is refused here
    if is_url(path):
        finder.stores[finder.add_store(str(path))].reader  # noqa: B018 # as above
    elif not Path(path).exists():
        raise StoreError("there is nothing here", where=str(path), hint="`geopretext demo` makes something to look at")
    else:
        _check_table(Path(path))
        finder.add_all(Path(path))
    for given, add, kind in ((bundles, finder.add_bundle, "bundle"), (embeddings, finder.add_table, "embedding table")):
        for each in given:
            _check_table(Path(each))
            if not add(Path(each)):
                raise InputError(f"is no {kind}", where=str(each))
    finder.is_begun = True
    opened = Opened(str(path), finder, None if is_url(path) else Path(path))
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
        self.stores: dict[str, StoreEntry] = {}
        self.runs: dict[str, RunEntry] = {}
        self.bundles: dict[str, BundleEntry] = {}
        self.tables: dict[str, TableEntry] = {}
        self.reports: dict[str, ReportEntry] = {}
        self.notes: list[str] = []
        self.is_begun = False
        """whether the viewer has begun: routes know its stores then, and no others are taken"""

    def add_all(self, path: Path) -> None:
        """Take what is at ``path``, or in that folder, two levels deep."""
        if self.add(path):
            return
        inside = self._children(path)
        below = (
            inner for folder in inside if not self.add(folder) and folder.is_dir() for inner in self._children(folder)
        )
        for inner in below:
            self.add(inner)

    def add(self, path: Path) -> bool:
        """Take what is at ``path``, if it is something."""
        try:
            if path.is_dir():
                return self._add_tiles(path) or self._add_run(path) or self.add_bundle(path) or False
            return self.add_table(path) or self._add_report(path)
        except OSError as error:
            self._skip(path, error)
            return False

    def _children(self, folder: Path) -> list[Path]:
        try:
            return sorted(child for child in folder.iterdir() if not child.name.startswith("."))
        except OSError as error:
            self._skip(folder, error)
            return []

    def _skip(self, path: Path, error: OSError) -> None:
        note = f"{path} is left out: {error.strerror}"
        if note not in self.notes:
            self.notes.append(note)

    def add_store(self, path: str) -> str:
        """The id of a store."""
        for entry in self.stores.values():
            if _same(entry.path, path):
                return entry.id
        shown = Path(path).name if is_url(path) else Path(path).resolve().name
        name = _id(shown, self.stores)
        self.stores[name] = StoreEntry(name, shown, path)
        return name

    def add_bundle(self, folder: Path, name: str = "") -> bool:
        if not all((folder / file).is_file() for file in _BUNDLE_FILES):
            return False
        if not any(_same(entry.folder, folder) for entry in self.bundles.values()):
            where = folder.resolve()
            shown = name or (where.parent.name if where.name == BUNDLE else where.name)
            found = _id(shown, self.bundles)
            self.bundles[found] = BundleEntry(found, shown, folder)
        return True

    def add_table(self, path: Path) -> bool:
        if any(_same(entry.path, path) for entry in self.tables.values()):
            return True
        if path.suffix != ".parquet" or not _has_vectors(path):
            return False
        name = _id(path.stem, self.tables)
        self.tables[name] = TableEntry(name, path.name, path)
        return True

    def _add_tiles(self, folder: Path) -> bool:
        if not is_store(folder) and not any(folder.glob("*_tile_info.json")):
            return False
        if not self.is_begun:
            self.add_store(str(folder))
        return True

    def _add_run(self, folder: Path) -> bool:
        if not (folder / METRICS).is_file():
            return False
        shown = folder.resolve().name
        known = next((entry.id for entry in self.runs.values() if _same(entry.folder, folder)), None)
        name = known or _id(shown, self.runs)
        self.add_bundle(folder / BUNDLE, shown)
        bundle = next((e.id for e in self.bundles.values() if _same(e.folder, folder / BUNDLE)), None)
        self.runs[name] = RunEntry(name, shown, folder, bundle, self._store_of(folder))
        return True

    def _store_of(self, run: Path) -> str | None:
        """Id of the tiles of a run: where its configuration says, or of the same name beside the run."""
        try:
            path = str(yaml.safe_load((run / CONFIG).read_text(encoding="utf-8"))["data"]["path"])
        except (OSError, UnicodeDecodeError, yaml.YAMLError, KeyError, TypeError):
            return None
        for place in (Path(path), run.parent / Path(path).name):
            if place.is_dir() and (is_store(place) or any(place.glob("*.h5"))):
                known = next((entry.id for entry in self.stores.values() if _same(entry.path, place)), None)
                return known if known or self.is_begun else self.add_store(str(place))
        return None

    def _add_report(self, path: Path) -> bool:
        if path.name != REPORT:
            return False
        if any(_same(entry.path, path) for entry in self.reports.values()):
            return True
        shown = path.parent.resolve().name
        name = _id(shown, self.reports)
        self.reports[name] = ReportEntry(name, shown, path)
        return True


def modified(path: Path) -> int:
    """When a file was last written, nanoseconds; 0 if there is none."""
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return 0


def _check_table(path: Path) -> None:
    """Refuse a table that was named and cannot be read, for what is wrong with it."""
    if path.suffix == ".parquet" and path.is_file():
        EmbeddingTable.open(path)


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

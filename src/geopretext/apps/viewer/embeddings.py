"""Embeddings that pages may look at: tables that were opened, and those that a bundle makes of a store on demand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from geopretext.apps.viewer.jobs import Jobs, Progress
from geopretext.apps.viewer.opened import BundleEntry, Opened, StoreEntry, TableEntry, modified
from geopretext.apps.viewer.table import Column, columns_of
from geopretext.data.tiles import TileReader
from geopretext.errors import GeopretextError
from geopretext.predict.embedding_plane import Plane, evenly, principal_plane, umap_plane
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbours import NeighbourIndex
from geopretext.predict.unit_space import UnitSpace

MOST = 5000
"""tiles that are embedded on demand: half a minute or so on two cores"""
_SAME_PLACE = 1e-4
"""degrees: a tenth of a tile or less"""
WEIGHTS = "model.safetensors"
LAYOUTS = {"pca": principal_plane, "umap": umap_plane}


@dataclass(frozen=True)
class Ready:
    """Embeddings in memory."""

    table: EmbeddingTable
    index: NeighbourIndex
    columns: Mapping[str, Column]
    """what is known of every row"""


@dataclass(frozen=True)
class Source:
    """Where embeddings come from: a table, or a bundle and a store."""

    id: str
    name: str
    table: TableEntry | None
    bundle: BundleEntry | None
    store: StoreEntry | None
    """of the tiles that rows are; None if it is not open"""
    note: str = ""
    """why a table has no store, or what is wrong with it"""

    @property
    def version(self) -> tuple[int, ...]:
        """Another one once the files that it comes from are others."""
        if self.table is not None:
            return (modified(self.table.path),)
        assert self.bundle is not None
        assert self.store is not None
        return (modified(self.bundle.folder / WEIGHTS), self.store.version)


class Embeddings:
    """All embeddings that can be had from what is open.

    Args:
        opened: what may be reached.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._jobs: Jobs[Ready] = Jobs()
        self._layouts: Jobs[Plane] = Jobs()
        self._files = count()
        self._made = TemporaryDirectory(prefix="geopretext-view-", ignore_cleanup_errors=True)

    @property
    def sources(self) -> Mapping[str, Source]:
        """By id; tables first."""
        stores = [store for store in self._opened.stores.values() if trouble_of_store(store) is None]
        found = [_of_table(entry, stores) for entry in self._opened.tables.values()]
        found += [
            Source(f"{bundle.id}.{store.id}", f"{bundle.name} on {store.name}", None, bundle, store)
            for bundle in self._opened.bundles.values()
            for store in stores
        ]
        return {source.id: source for source in found}

    def ready(self, source: Source) -> Ready | None:
        """The embeddings, once ``begin`` says that they are done."""
        return self._jobs.result(source.id, version=source.version)

    def begin(self, source: Source) -> dict[str, object]:
        """How far the embeddings are; begins to read or make them."""
        what = "reading embeddings" if source.table else "embedding tiles"
        return self._jobs.ask(source.id, what, lambda progress: self._make(source, progress), version=source.version)

    def begin_layout(self, source: Source, ready: Ready, kind: str) -> dict[str, object]:
        """How far a layout is; begins to compute it."""

        def lay_out(_: Progress) -> Plane:
            """In the space in which neighbours are found, so that both say the same."""
            vectors = ready.table.vectors()
            return LAYOUTS[kind](UnitSpace.measured([vectors], ready.table.width)(vectors))

        return self._layouts.ask(f"{source.id} {kind}", kind, lay_out, version=source.version)

    def layout(self, source: Source, kind: str) -> Plane | None:
        """A layout, once ``begin_layout`` says that it is done."""
        return self._layouts.result(f"{source.id} {kind}", version=source.version)

    def stop(self) -> None:
        """When the server ends."""
        self._jobs.stop()
        self._layouts.stop()
        self._made.cleanup()

    def _make(self, source: Source, progress: Progress) -> Ready:
        table = EmbeddingTable.open(source.table.path) if source.table else self._embed(source, progress)
        return Ready(table, NeighbourIndex.open(table, progress=progress), columns_of(table))

    def _embed(self, source: Source, progress: Progress) -> EmbeddingTable:
        from geopretext.nn.bundle import Encoder  # torch takes a while to import
        from geopretext.predict.tile_embeddings import embed_tiles

        assert source.bundle is not None
        assert source.store is not None
        reader = source.store.reader
        path = Path(self._made.name, f"{source.id}-{next(self._files)}.parquet")
        tiles = evenly(len(reader), MOST).astype(np.int64)
        embed_tiles(Encoder.from_pretrained(source.bundle.folder), reader, path, tiles=tiles, progress=progress)
        return EmbeddingTable.open(path)


def trouble_of_store(store: StoreEntry) -> GeopretextError | None:
    """Why the tiles of a store cannot be read; None if they can."""
    try:
        _ = store.reader
    except GeopretextError as error:
        return error
    return None


def trouble_of_table(entry: TableEntry) -> GeopretextError | None:
    """Why a table cannot be read; None if it can."""
    return _opened_table(entry.path, modified(entry.path))[1]


@lru_cache(maxsize=64)
def _opened_table(path: Path, modified: int) -> tuple[EmbeddingTable | None, GeopretextError | None]:  # noqa: ARG001 # a key
    """A table without its vectors, read again when the file is another."""
    try:
        return EmbeddingTable.open(path), None
    except GeopretextError as error:
        return None, error


def _of_table(entry: TableEntry, stores: Sequence[StoreEntry]) -> Source:
    """With the open store whose tiles its rows are."""
    table, trouble = _opened_table(entry.path, modified(entry.path))
    if table is None:
        return Source(entry.id, entry.name, entry, None, None, f"this table cannot be read: {trouble}")
    store = next((store for store in stores if are_tiles_of(table, store.reader)), None)
    if store is not None or not stores:
        return Source(entry.id, entry.name, entry, None, store)
    note = "Its rows are tiles of no store that is open (their ids or places differ), so there are no pictures of them."
    return Source(entry.id, entry.name, entry, None, None, note)


def are_tiles_of(table: EmbeddingTable, reader: TileReader) -> bool:
    """Whether rows of a table are tiles of a store: by number, id and place, since other stores have such names too."""
    try:
        where = reader.coordinates
    except GeopretextError:
        return False
    if len(table) == 0 or table.tile.min() < 0 or table.tile.max() >= len(reader):
        return False
    names = np.asarray(table.tile_id.to_numpy(zero_copy_only=False), str)
    numbers = table.tile.astype(str)
    # A table that another program wrote may have no ids, and numbers stand for them: places must tell then.
    nameless = np.array_equal(names, numbers) and np.isfinite(table.lat).all()
    if not nameless and not np.array_equal(names, where.tile_id[table.tile].astype(str)):
        return False
    return all(
        np.allclose(here, there[table.tile], rtol=0, atol=_SAME_PLACE, equal_nan=True)
        for here, there in ((table.lat, where.lat), (table.lon, where.lon))
    )

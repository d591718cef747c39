"""Embeddings that pages may look at: tables that were opened, and those that a bundle makes of a store on demand."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Lock

import numpy as np

from geopretext.apps.viewer.jobs import Jobs, Progress
from geopretext.apps.viewer.opened import BundleEntry, Opened, StoreEntry, TableEntry
from geopretext.apps.viewer.table import Column, columns_of
from geopretext.predict.embedding_plane import Plane, evenly, principal_plane, umap_plane
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbours import NeighbourIndex
from geopretext.predict.unit_space import UnitSpace

MOST = 5000
"""tiles that are embedded on demand: half a minute or so on two cores"""
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


class Embeddings:
    """All embeddings that can be had from what is open.

    Args:
        opened: what may be reached.
    """

    def __init__(self, opened: Opened) -> None:
        self._opened = opened
        self._jobs: Jobs[Ready] = Jobs()
        self._layouts: Jobs[Plane] = Jobs()
        self._lock = Lock()
        self._sources: Mapping[str, Source] | None = None
        self._made = TemporaryDirectory(prefix="geopretext-view-", ignore_cleanup_errors=True)

    @property
    def sources(self) -> Mapping[str, Source]:
        """By id; tables first."""
        with self._lock:
            if self._sources is None:
                found = [*map(self._of_table, self._opened.tables.values())]
                found += [
                    Source(f"{bundle.id}.{store.id}", f"{bundle.name} on {store.name}", None, bundle, store)
                    for bundle in self._opened.bundles.values()
                    for store in self._opened.stores.values()
                ]
                self._sources = {source.id: source for source in found}
            return self._sources

    def ready(self, source: Source) -> Ready | None:
        """The embeddings, once ``begin`` says that they are done."""
        return self._jobs.result(source.id)

    def begin(self, source: Source) -> dict[str, object]:
        """How far the embeddings are; begins to read or make them."""
        what = "reading embeddings" if source.table else "embedding tiles"
        return self._jobs.ask(source.id, what, lambda progress: self._make(source, progress))

    def begin_layout(self, source: Source, ready: Ready, kind: str) -> dict[str, object]:
        """How far a layout is; begins to compute it."""

        def lay_out(_: Progress) -> Plane:
            """In the space in which neighbours are found, so that both say the same."""
            vectors = ready.table.vectors()
            return LAYOUTS[kind](UnitSpace.measured([vectors], ready.table.width)(vectors))

        return self._layouts.ask(f"{source.id} {kind}", kind, lay_out)

    def layout(self, source: Source, kind: str) -> Plane | None:
        """A layout, once ``begin_layout`` says that it is done."""
        return self._layouts.result(f"{source.id} {kind}")

    def stop(self) -> None:
        """When the server ends."""
        self._jobs.stop()
        self._layouts.stop()
        self._made.cleanup()

    def _of_table(self, entry: TableEntry) -> Source:
        """With the store whose tiles it is of, if that is open; the only store if the table does not say."""
        said = str(EmbeddingTable.open(entry.path).facts.get("source", ""))
        stores = list(self._opened.stores.values())
        fitting = [store for store in stores if Path(store.path).name == Path(said).name] if said else stores[:1]
        return Source(entry.id, entry.name, entry, None, fitting[0] if fitting else None)

    def _make(self, source: Source, progress: Progress) -> Ready:
        table = EmbeddingTable.open(source.table.path) if source.table else self._embed(source, progress)
        return Ready(table, NeighbourIndex.open(table, progress=progress), columns_of(table))

    def _embed(self, source: Source, progress: Progress) -> EmbeddingTable:
        from geopretext.nn.bundle import Encoder  # torch takes a while to import
        from geopretext.predict.tile_embeddings import embed_tiles

        assert source.bundle is not None
        assert source.store is not None
        reader = source.store.reader
        path = Path(self._made.name, f"{source.id}.parquet")
        tiles = evenly(len(reader), MOST).astype(np.int64)
        embed_tiles(Encoder.from_pretrained(source.bundle.folder), reader, path, tiles=tiles, progress=progress)
        return EmbeddingTable.open(path)

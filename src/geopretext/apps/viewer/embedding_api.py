"""The space of embeddings: what there is, where rows lie on a plane, what they are, and which are alike."""

from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.apps.viewer.embeddings import LAYOUTS, Embeddings, Ready, Source
from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.opened import Opened
from geopretext.apps.viewer.table import describe_columns
from geopretext.predict.embedding_plane import has_umap

_MOST_FOUND = 60
_MOST_EXAMPLES = 100


def routes(opened: Opened, embeddings: Embeddings) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened, "embeddings": embeddings}
    source = r"/api/embeddings/([a-z0-9.-]+)"
    return [
        (r"/api/embeddings", _Sources, given),
        (source, _State, given),
        (rf"{source}/columns", _Columns, given),
        (rf"{source}/columns/([a-z0-9_]+)", _Values, given),
        (rf"{source}/layouts/([a-z]+)", _Layout, given),
        (rf"{source}/layouts/([a-z]+)/points", _Points, given),
        (rf"{source}/neighbours", _Neighbours, given),
    ]


class _EmbeddingHandler(ViewerHandler):
    """Something of embeddings."""

    def initialize(self, opened: Opened, embeddings: Embeddings) -> None:  # type: ignore[override] # as routes say
        super().initialize(opened)
        self.embeddings = embeddings

    async def source(self, name: str) -> Source:
        return self.entry(await self.compute(lambda: self.embeddings.sources), name, "embedding")

    async def ready(self, name: str) -> Ready:
        """Embeddings that have been made.

        Raises:
            RefusalError: 409, they have not.
        """
        ready = self.embeddings.ready(await self.source(name))
        if ready is None:
            raise RefusalError(409, "these embeddings are not made yet", where=name, hint="ask for their state first")
        return ready


class _Sources(_EmbeddingHandler):
    async def get(self) -> None:
        sources = await self.compute(lambda: self.embeddings.sources)
        self.send_json(
            [
                {
                    "id": source.id,
                    "name": source.name,
                    "table": source.table.id if source.table else None,
                    "bundle": source.bundle.id if source.bundle else None,
                    "store": source.store.id if source.store else None,
                    "note": source.note,
                }
                for source in sources.values()
            ]
        )


class _State(_EmbeddingHandler):
    async def get(self, name: str) -> None:
        source = await self.source(name)
        state = self.embeddings.begin(source)
        ready = self.embeddings.ready(source)
        if ready is not None:
            tiles = len(source.store.reader) if source.store else None
            state |= {"inputs": ready.table.facts.get("inputs")}
            state |= {"rows": len(ready.table), "width": ready.table.width, "tiles": tiles, "umap": has_umap()}
        self.send_json(state)


class _Columns(_EmbeddingHandler):
    async def get(self, name: str) -> None:
        ready = await self.ready(name)
        self.send_json(describe_columns(ready.columns))


class _Values(_EmbeddingHandler):
    async def get(self, name: str, column: str) -> None:
        ready = await self.ready(name)
        if column == "tile":
            self.send_array(ready.table.tile.astype(np.float32))
            return
        if column not in ready.columns:
            raise RefusalError(404, f"no column {column!r}", where=name, hint=f"there are {', '.join(ready.columns)}")
        self.send_array(ready.columns[column].values)


class _Layout(_EmbeddingHandler):
    async def get(self, name: str, kind: str) -> None:
        ready, source = await self.ready(name), await self.source(name)
        if kind not in LAYOUTS:
            raise RefusalError(404, f"no layout {kind!r}", hint=f"there are {', '.join(LAYOUTS)}")
        state = self.embeddings.begin_layout(source, ready, kind)
        plane = self.embeddings.layout(source, kind)
        if plane is not None:
            state |= {"explained": plane.explained, "laid_out": plane.laid_out}
        self.send_json(state)


class _Points(_EmbeddingHandler):
    async def get(self, name: str, kind: str) -> None:
        plane = self.embeddings.layout(await self.source(name), kind)
        if plane is None:
            raise RefusalError(409, "this layout is not computed yet", where=name, hint="ask for its state first")
        self.send_array(plane.points)


class _Neighbours(_EmbeddingHandler):
    async def get(self, name: str) -> None:
        ready = await self.ready(name)
        like, unlike = self._rows("like"), self._rows("unlike")
        (count,) = self._rows("count") or [12]
        found = await self.compute(ready.index.like, like, unlike=unlike, count=max(1, min(count, _MOST_FOUND)))
        rows = np.array([*like, *unlike, *found.rows], np.int64)
        self.send_json(
            {
                "rows": found.rows,
                "similarity": found.similarity,
                "about": dict(zip(rows.tolist(), _about(ready, rows), strict=True)),
            }
        )

    def _rows(self, argument: str) -> list[int]:
        text = self.get_query_argument(argument, "")
        words = text.split(",") if text else []
        if not all(word.isascii() and word.isdigit() for word in words) or len(words) > _MOST_EXAMPLES:
            raise RefusalError(400, f"{argument}={text} is not row numbers", hint="as like=0,5,9")
        return [int(word) for word in words]


def _about(ready: Ready, rows: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    """What rows are, as neighbours are labelled."""
    table = ready.table
    return [
        {
            "tile": table.tile[row],
            "name": name,
            "lat": table.lat[row],
            "lon": table.lon[row],
        }
        for row, name in zip(rows, table.names(rows), strict=True)
    ]

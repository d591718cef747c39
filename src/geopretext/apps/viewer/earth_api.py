"""The map: columns of all tiles as bare numbers, the land beneath them, and what a row is."""

from collections.abc import Mapping
from threading import Lock
from typing import Any

import numpy as np

from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.land import Land, land_of
from geopretext.apps.viewer.opened import Opened, StoreEntry
from geopretext.apps.viewer.planet import planet_of
from geopretext.apps.viewer.table import TileTable, describe_columns
from geopretext.data.tiles import TileReader


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened, "maps": {name: _Map(store) for name, store in opened.stores.items()}}
    store = r"/api/stores/([a-z0-9-]+)"
    return [
        (rf"{store}/columns", _Columns, given),
        (rf"{store}/columns/([a-z0-9_]+)", _Values, given),
        (rf"{store}/rows/([0-9]{{1,9}})", _Row, given),
        (rf"{store}/land", _Land, given),
    ]


class _Map:
    """What is kept of a store for its map."""

    def __init__(self, store: StoreEntry) -> None:
        self._store = store
        self._lock = Lock()
        self._kept: tuple[TileReader, TileTable] | None = None

    def table(self) -> TileTable:
        """Made on first use, by whoever asks first, and anew when the store has grown."""
        with self._lock:
            reader = self._store.reader
            if self._kept is None or self._kept[0] is not reader:
                self._kept = (reader, TileTable(reader))
            return self._kept[1]

    def land(self) -> Land:
        return land_of(planet_of(self._store.reader))


class _MapHandler(ViewerHandler):
    """Something of the map of a store."""

    def initialize(self, opened: Opened, maps: Mapping[str, _Map]) -> None:  # type: ignore[override] # as routes say
        super().initialize(opened)
        self._maps = maps

    def map(self, name: str) -> _Map:
        return self._maps[self.entry(self.opened.stores, name, "store").id]


class _Columns(_MapHandler):
    async def get(self, name: str) -> None:
        table = await self.compute(self.map(name).table)
        columns = describe_columns(table.columns)
        self.send_json({"tiles": table.tiles, "places": table.places, "columns": columns})


class _Values(_MapHandler):
    async def get(self, name: str, column: str) -> None:
        table = await self.compute(self.map(name).table)
        if column not in table.columns:
            raise RefusalError(404, f"no column {column!r}", where=name, hint=f"there are {', '.join(table.columns)}")
        self.send_array(table.columns[column].values)


class _Row(_MapHandler):
    async def get(self, name: str, row: str) -> None:
        table = await self.compute(self.map(name).table)
        number, count = int(row), table.tiles + table.places
        if number >= count:
            raise RefusalError(404, f"no row {number}", where=name, hint=f"there are 0 to {count - 1}")
        self.send_json(await self.compute(table.describe, number))


class _Land(_MapHandler):
    async def get(self, name: str) -> None:
        land = await self.compute(self.map(name).land)
        rings = [np.round(ring, 2).ravel().tolist() for ring in land.rings]
        self.send_json({"source": land.source, "rings": rings})

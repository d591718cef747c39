"""The map: columns of all tiles as bare numbers, the land beneath them, and what a row is."""

from threading import Lock
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np

from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.land import land_of
from geopretext.apps.viewer.opened import Opened, StoreEntry
from geopretext.apps.viewer.planet import planet_of
from geopretext.apps.viewer.table import TileTable


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened}
    store = r"/api/stores/([a-z0-9-]+)"
    return [
        (rf"{store}/columns", _Columns, given),
        (rf"{store}/columns/([a-z_]+)", _Values, given),
        (rf"{store}/rows/([0-9]{{1,9}})", _Row, given),
        (rf"{store}/land", _Land, given),
    ]


class _StoreHandler(ViewerHandler):
    """Something of a store."""

    def store(self, name: str) -> StoreEntry:
        return self.entry(self.opened.stores, name, "store")


class _Columns(_StoreHandler):
    async def get(self, name: str) -> None:
        table = await self.compute(_table_of, self.store(name))
        columns = [
            {
                "name": column.name,
                "label": column.label,
                "unit": column.unit,
                "classes": column.classes,
                "range": [float(np.nanmin(column.values)), float(np.nanmax(column.values))],
            }
            for column in table.columns.values()
        ]
        self.send_json({"tiles": table.tiles, "places": table.places, "columns": columns})


class _Values(_StoreHandler):
    async def get(self, name: str, column: str) -> None:
        table = await self.compute(_table_of, self.store(name))
        if column not in table.columns:
            raise RefusalError(404, f"no column {column!r}", where=name, hint=f"there are {', '.join(table.columns)}")
        self.send_array(table.columns[column].values)


class _Row(_StoreHandler):
    async def get(self, name: str, row: str) -> None:
        table = await self.compute(_table_of, self.store(name))
        number, count = int(row), table.tiles + table.places
        if number >= count:
            raise RefusalError(404, f"no row {number}", where=name, hint=f"there are 0 to {count - 1}")
        self.send_json(await self.compute(table.describe, number))


class _Land(_StoreHandler):
    async def get(self, name: str) -> None:
        entry = self.store(name)
        land = await self.compute(lambda: land_of(planet_of(entry.reader)))
        rings = [np.round(ring, 2).ravel().tolist() for ring in land.rings]
        self.send_json({"source": land.source, "rings": rings})


_tables: "WeakKeyDictionary[Any, TileTable]" = WeakKeyDictionary()
_making = Lock()


def _table_of(entry: StoreEntry) -> TileTable:
    """The table of a store, made once, with its columns."""
    with _making:
        reader = entry.reader
        if reader not in _tables:
            _tables[reader] = TileTable(reader)
        table = _tables[reader]
        _ = table.columns
        return table

"""One tile: its numbers, what is known of it, a small picture of it, and files to keep."""

from collections.abc import Mapping
from functools import cached_property
from typing import Any
from urllib.parse import quote

import numpy as np

from geopretext.apps.viewer.describe import (
    describe_modality,
    describe_tile,
    describe_vectors,
    find_tile,
    level_name,
    maps_of,
    series_of,
)
from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.opened import Opened, StoreEntry
from geopretext.apps.viewer.packet import CONTENT_TYPE, pack, with_gaps
from geopretext.apps.viewer.queries import shortened, whole_number
from geopretext.apps.viewer.thumbnails import Thumbnails
from geopretext.apps.viewer.tile_files import save_tile
from geopretext.data.statistics import Statistics
from geopretext.data.tiles import TileReader
from geopretext.errors import InputError
from geopretext.modality import Modality, Observed

_SIZE = 128
_LONGEST = 500
"""letters of a text that tiles are found by; ids are shorter"""
_KEEP = "private, max-age=60"
"""long enough to go back and forth between pages; a store may be built anew under the same address"""


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened, "desks": {name: TileDesk(store) for name, store in opened.stores.items()}}
    tile = r"/api/stores/([a-z0-9-]+)/tiles/([0-9]{1,12})"
    return [
        (tile, _Tile, given),
        (tile + r"/thumbnail\.png", _Thumbnail, given),
        (tile + r"/save\.([a-z]+)", _Save, given),
        (r"/api/stores/([a-z0-9-]+)/find", _Find, given),
    ]


class TileDesk:
    """What is kept of a store while its tiles are looked at.

    Args:
        store: that holds the tiles.
    """

    def __init__(self, store: StoreEntry) -> None:
        self._store = store

    @property
    def reader(self) -> TileReader:
        """The tiles."""
        return self._store.reader

    @cached_property
    def statistics(self) -> Statistics | None:
        """Of the tiles; None if none were stored with them."""
        return self.reader.statistics

    @cached_property
    def thumbnails(self) -> Thumbnails:
        """Pictures of the tiles."""
        return Thumbnails(self.reader)

    def packet(self, tile: int) -> bytes:
        """All that there is to show of a tile, as ``packet.pack`` lays it out.

        Every map is (bands, y, x), and every series (dates, bands, y, x), of the dates that the tile has.

        Raises:
            InputError: there is no such tile.
            CorruptError: a file of the store is damaged.
        """
        about = describe_tile(self.reader, tile)
        maps, series = maps_of(self.reader), series_of(self.reader)
        raw = self.reader.read([*maps, *series], np.array([tile]))
        arrays = {}
        for name, modality in maps.items():
            values = with_gaps(Observed(*modality.decode(raw[name])))
            arrays[name] = values if modality.kind.is_categorical else values[0]
        for name, modality in series.items():
            arrays[name] = with_gaps(Observed(*modality.decode(raw[name])))[0, : len(about["dates"][name])]
        header = {
            "tile": about,
            "maps": [self._describe(modality, tile) for modality in maps.values()],
            "series": [self._describe(modality, tile) for modality in series.values()],
            "vectors": describe_vectors(self.reader, tile),
        }
        return pack(header, arrays)

    def _describe(self, modality: Modality, tile: int) -> dict[str, Any]:
        return describe_modality(modality, self.statistics, level_name(self.reader, modality.name, tile))


def attachment(name: str) -> str:
    """The header that has a browser save a file by its name, in any script (RFC 6266, sections 4.1 and 4.3)."""
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    told = f'attachment; filename="{plain}"'
    return told if plain == name else f"{told}; filename*=UTF-8''{quote(name, safe='')}"


class _TileHandler(ViewerHandler):
    desks: Mapping[str, TileDesk]

    def initialize(self, opened: Opened, desks: Mapping[str, TileDesk] | None = None) -> None:
        super().initialize(opened)
        self.desks = desks or {}

    def desk(self, store: str) -> TileDesk:
        """Of a store that is open."""
        return self.entry(self.desks, store, "store")


class _Tile(_TileHandler):
    async def get(self, store: str, tile: str) -> None:
        desk = self.desk(store)
        self.send_bytes(await self.compute(desk.packet, int(tile)), CONTENT_TYPE)


class _Thumbnail(_TileHandler):
    async def get(self, store: str, tile: str) -> None:
        desk = self.desk(store)
        size = whole_number("size", self.get_query_argument("size", ""), default=_SIZE)
        content = await self.compute(lambda: desk.thumbnails.png(int(tile), size))
        self.set_header("Cache-Control", _KEEP)
        self.send_bytes(content, "image/png")


class _Save(_TileHandler):
    async def get(self, store: str, tile: str, form: str) -> None:
        desk = self.desk(store)
        modality = self.get_query_argument("modality", "")
        saved = await self.compute(lambda: save_tile(desk.reader, int(tile), form, modality))
        self.set_header("Content-Disposition", attachment(saved.name))
        self.send_bytes(saved.content, saved.content_type)


class _Find(_TileHandler):
    async def get(self, store: str) -> None:
        desk = self.desk(store)
        text = self.get_query_argument("text", "")
        if len(text) > _LONGEST:
            raise RefusalError(400, f"'text' is {shortened(text)}", hint=f"at most {_LONGEST} letters")
        try:
            number = await self.compute(lambda: find_tile(desk.reader, text))
        except InputError as error:
            raise RefusalError(404, error.what, where=error.where, hint=error.hint) from error
        self.send_json({"tile": number})

"""A small archive of the synthetic Earth behind a real web server and a STAC API, and bad weather for both.

::

    with stormy_archive(folder) as archive:
        with archive.weather(Weather(seed=3, often=0.1)) as weather:
            ...  # requests fail
        weather.happened  # how often, by kind
"""

import copy
import random
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any

import rasterio

from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe, read_build_recipe
from geopretext.build.synthetic_granules import ArchiveSettings, granules_of, places_in
from geopretext.build.synthetic_images import optical_items, radar_item
from geopretext.build.synthetic_items import item_collection, write_item
from geopretext.build.synthetic_maps import square_item, squares_of, yearly_item

from . import range_server, stac_server
from .range_server import Asked, CloseInMiddle, Corrupt, Hang, IgnoreRange, RangeServer, ShortBody, Status, Truncated
from .stac_server import StacServer

TIMEOUT = 0.4
"""seconds: a request that hangs is given up after it"""
SETTINGS = ArchiveSettings(granules=1, size=96, dates=3, places=8, tile_size=16)
HASTY = {"timeout": TIMEOUT, "retries": 2, "backoff": 0.004}
"""few attempts, so that some faults outlast them"""
_WHEN = {"start": "2019-01-01", "stop": "2021-01-01"}
MODALITIES: Mapping[str, Any] = {
    "sentinel2": {
        "pair": {"rule": "reference", **_WHEN, "max_cloud": 10, "min_clear": 0.9, "clear_by": "sentinel2_scl"},
        "collection": "sentinel-2-l2a",
        "level": "L2A",
        "bands": {"B2": "B02", "B8": "B08", "B11": "B11"},
    },
    "sentinel2_scl": {
        "pair": {"rule": "same", "to": "sentinel2"},
        "collection": "sentinel-2-l2a",
        "bands": {"SCL": "SCL"},
    },
    "sentinel2_series": {
        "pair": {"rule": "series", "max_dates": 2, "min_clear": 0.5, "clear_by": "sentinel2_scl"},
        "collection": "sentinel-2-l2a",
        "level": "L2A",
        "bands": {"B3": "B03", "B12": "B12"},
    },
    "sentinel1": {
        "pair": {"rule": "nearest", "days": 15},
        "collection": "sentinel-1-rtc",
        "unit": "linear power",
        "bands": {"asc_VV": "vv", "desc_VV": "vv", "desc_VH": "vh"},
    },
    "aster": {"collection": "cop-dem-glo-30", "bands": {"elevation": "data", "slope": {"slope_of": "elevation"}}},
    "dynamic_world": {"pair": {"rule": "year"}, "collection": "dynamic-world", "bands": {"landcover": "label"}},
    "esa_worldcover": {"collection": "esa-worldcover", "bands": {"map": "map"}},
}


def write_files(root: Path) -> Places:
    """Images and maps of one granule; returns places in it."""
    granules, seed = granules_of(SETTINGS), SETTINGS.seed
    [granule] = granules
    drafts = [draft for turn in range(len(granule.days)) for draft in optical_items(seed, granule, turn)]
    drafts += [radar_item(seed, granule, orbit, day) for orbit, day in granule.radar]
    drafts += [yearly_item(seed, granule, year) for year in range(SETTINGS.years[0], SETTINGS.years[1] + 1)]
    names = ("esa-worldcover", "cop-dem-glo-30")
    drafts += [square_item(seed, granules, name, corner) for corner in squares_of(granules) for name in names]
    for draft in drafts:
        if draft.collection != "sentinel-2-l1c":
            write_item(root, draft)
    return places_in(SETTINGS, granules)


def recipe_of(url: str, **settings: Any) -> BuildRecipe:
    """Of tiles from the archive whose STAC API is there."""
    archive = {"kind": "stac", "url": url, **HASTY, **settings}
    derived = {name: {"derive": name} for name in ("lat", "lon", "month")}
    modalities = {name: {"from": "a", **entry} for name, entry in MODALITIES.items()}
    return read_build_recipe(
        {
            "name": "stormy",
            "tile_size": SETTINGS.tile_size,
            "archives": {"a": archive},
            "modalities": {**modalities, **derived},
        }
    )


@dataclass
class Weather:
    """Which requests fail, and how: drawn from the seed and from what is asked, so that the order does not matter."""

    seed: int
    often: float
    """share of requests that fail"""
    down: float = 0.0
    """share of files that fail each time they are asked for"""
    happened: Counter[str] = field(default_factory=Counter)
    """faults by kind"""
    blocks: Mapping[str, int] = field(default_factory=dict)
    """byte at which the blocks of a file begin, by path: what comes before has no checksum"""
    _lock: Lock = field(default_factory=Lock)

    def file_fault(self, asked: Asked) -> range_server.Fault | None:
        """For a request for bytes of a file."""
        draw = random.Random(f"{self.seed} {asked.path}")
        if draw.random() >= self.down:
            draw = random.Random(f"{self.seed} {asked.path} {asked.start} {asked.number}")
            if draw.random() >= self.often:
                return None
        name = draw.choice(FILE_FAULTS)
        fault = self._fault(name, asked, draw)
        if fault is not None:
            self._note(name)
        return fault

    def search_fault(self, number: int) -> stac_server.Fault | None:
        """For a search of items."""
        draw = random.Random(f"{self.seed} search {number}")
        if draw.random() >= self.often:
            return None
        name = draw.choice(SEARCH_FAULTS)
        self._note(name)
        return _search_faults()[name]

    def _fault(self, name: str, asked: Asked, draw: random.Random) -> range_server.Fault | None:
        start = asked.start or 0
        if name == "429, Retry-After":  # a second is the least that can be said besides 0
            return Status(429, {"Retry-After": "1" if draw.random() < 0.02 else "0"})
        if name in ("429", "500", "503"):
            return Status(int(name))
        if name == "hang":
            return Hang(TIMEOUT + 0.1)
        if name == "closed in the middle":
            return CloseInMiddle(draw.random())
        if name == "short body":
            return ShortBody(0.99 * draw.random())
        if name == "truncated":
            return Truncated(draw.randrange(1, 30_000))
        if name == "range ignored":
            return IgnoreRange()
        first = max(0, self.blocks[asked.path] - start)
        return Corrupt(first) if asked.stop is None or start + first < asked.stop else None

    def _note(self, name: str) -> None:
        with self._lock:
            self.happened[name] += 1


FILE_FAULTS = (
    "429",
    "429, Retry-After",
    "500",
    "503",
    "hang",
    "closed in the middle",
    "short body",
    "truncated",
    "corrupt",
    "range ignored",
)


def _search_faults() -> dict[str, stac_server.Fault]:
    return {
        "search: 429": stac_server.Fault(429, {"Retry-After": "0"}),
        "search: 500": stac_server.Fault(500, body="broken"),
        "search: 503": stac_server.Fault(503),
        "search: hang": stac_server.Fault(wait=TIMEOUT + 0.1),
        "search: short body": stac_server.Fault(body='{"type": "Feat', promised=5000),
        "search: no JSON": stac_server.Fault(body="<html>down for maintenance</html>"),
    }


SEARCH_FAULTS = tuple(_search_faults())


@dataclass(frozen=True)
class StormyArchive:
    """Servers that run, and what they serve."""

    root: Path
    """of the files"""
    places: Places
    files: RangeServer
    stac: StacServer
    blocks: Mapping[str, int]

    @property
    def recipe(self) -> BuildRecipe:
        """That reads from the servers."""
        return recipe_of(self.stac.url)

    def path_of(self, item: str, asset: str) -> str:
        """Of an asset's file, on the server and below ``root``."""
        [href] = [plain["assets"][asset]["href"] for plain in self.stac.items if plain["id"] == item]
        return str(href).removeprefix(self.files.url)

    @contextmanager
    def weather(self, weather: Weather) -> Iterator[Weather]:
        """Let it be so; it is fine again afterwards."""
        weather.blocks = self.blocks
        self.files.clear()
        self.stac.searches.clear()
        self.files.fault, self.stac.fault = weather.file_fault, weather.search_fault
        try:
            yield weather
        finally:
            self.files.fault, self.stac.fault = (lambda _: None), (lambda _: None)

    @contextmanager
    def edited(self, edit: Callable[[dict[str, Any]], object]) -> Iterator[None]:
        """Let the API know each item as ``edit`` changes it."""
        before, items = self.stac.items, copy.deepcopy(list(self.stac.items))
        for plain in items:
            edit(plain)
        self.stac.items = items
        try:
            yield
        finally:
            self.stac.items = before


@contextmanager
def stormy_archive(root: Path) -> Iterator[StormyArchive]:
    """The archive, written and served."""
    places = write_files(root)
    with RangeServer(root) as files:
        items = item_collection(root, files.url)["features"]
        with stac_server.stac_server(StacServer(items)) as stac:
            blocks = {f"/{path.relative_to(root)}": _first_block(path) for path in root.rglob("*.tif")}
            yield StormyArchive(root, places, files, stac, blocks)


def _first_block(path: Path) -> int:
    """Where the blocks of a COG begin, those of its overviews included."""
    with rasterio.open(path) as file:
        levels = len(file.overviews(1))
    found: list[int] = []
    for level in range(-1, levels):
        options = {} if level < 0 else {"overview_level": level}
        with rasterio.open(path, **options) as file:
            offsets = (
                file.get_tag_item(f"BLOCK_OFFSET_{column}_{row}", "TIFF", bidx=1)
                for (row, column), _ in file.block_windows(1)
            )
            found += [int(offset) for offset in offsets if offset]  # a block without data has none
    return min(found, default=path.stat().st_size)

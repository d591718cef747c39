"""How fast tiles are built, beside a plain loop of one ``odc.stac.load`` a tile and modality, and beside the floor.

An archive of the synthetic Earth (``geopretext serve-synthetic``: COGs at native resolutions, STAC items of all
collections) is served on the loopback: files by HTTP with ranges, items by ``rustac serve``. From the same server,

- plain loop: for each tile and modality ``odc.stac.load`` of the very items that our build chose, onto the tile's grid,
  in one process, as tutorials show it. Searching is not counted: the loop is given its items. Climate is left out;
- ours: ``geopretext build`` with one worker and with two: searching, the choice of a clear reference (which reads cloud
  masks), reading, aligning, climate, writing the store, split and statistics. Starting the workers is not counted.

Before anything is timed, the 10 m bands of both must be equal. Requests and bytes are the server's own log. The floor
of bytes is the compressed size of every block that any tile touches, once, and of the headers (16 kB a file); that of
requests two a file: the header, and all blocks at once.

Processor time is that of the client and its workers, without the servers: on a busy machine it says more than the
clock.

Caveats: server and clients share the cores; a loopback has no latency, which hides what fewer requests gain on a real
network (``--delay`` adds some to each answer of the files). Workers are the same in all rounds, but open files anew for
each build.

Run: python benchmarks/build.py [--places 512] [--plain-places 16] [--rounds 3] [--delay 0.0] [--json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import odc.stac
import pystac
import rasterio
import rasterio.warp
import rasterio.windows
from affine import Affine
from odc.geo.geobox import GeoBox

from geopretext.build.dask_crew import DaskCrew, local_crew
from geopretext.build.pipeline import Build
from geopretext.build.places import Places, read_places
from geopretext.build.recipe import BuildRecipe, load_build_recipe
from geopretext.build.synthetic_archive import write_archive
from geopretext.build.synthetic_granules import ArchiveSettings
from geopretext.build.synthetic_items import item_collection
from geopretext.build.synthetic_server import serve_archive
from geopretext.build.tiles import TileMaker
from geopretext.data.store import Store
from measuring import Timing, machine, table, take_turns, verdict

TIMES = 5.0
_HEADER = 16_384


@dataclass(frozen=True)
class Options:
    """What is measured."""

    places: int = 512
    """of a build"""
    plain_places: int = 16
    """of the plain loop, spread over those of the build"""
    granules: int = 4
    """of the archive"""
    size: int = 1098
    """pixels of a granule"""
    dates: int = 4
    """images of a granule"""
    rounds: int = 3
    """in which every variant takes its turn"""
    delay: float = 0.0
    """seconds that the server waits before each answer"""


@dataclass(frozen=True)
class Work:
    """What one variant asked of the server, per tile."""

    requests: float
    kilobytes: float


class Processor:
    """Processor time of this process and of workers, by variant and round."""

    def __init__(self, crews: Iterable[DaskCrew]) -> None:
        self._crews = tuple(crews)
        self.seconds: dict[str, list[float]] = {}

    def of(self, name: str, run: Callable[[], object]) -> Callable[[], None]:
        """The same, measured."""

        def measured() -> None:
            before = self._now()
            run()
            self.seconds.setdefault(name, []).append(self._now() - before)

        return measured

    def milliseconds(self, name: str, tiles: int) -> float:
        """Per tile, the median of all rounds but the first."""
        return 1e3 * median(self.seconds[name][1:]) / tiles

    def _now(self) -> float:
        return time.process_time() + sum(crew.processor_seconds for crew in self._crews)


class AccessLog:
    """What a server has written into its log since the last look."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def work(self, tiles: int) -> Work:
        """Requests and bytes since the last call, over tiles."""
        lines = self._path.read_text(encoding="utf-8").splitlines()
        new, self._read = lines[self._read :], len(lines)
        sent = sum(int(line.split("\t")[2]) for line in new)
        return Work(len(new) / tiles, sent / 1e3 / tiles)


@dataclass(frozen=True)
class Load:
    """One modality of one tile, as ``odc.stac.load`` is asked for it."""

    tile: int
    item: pystac.Item
    assets: tuple[str, ...]
    box: GeoBox
    resampling: str
    offset: int
    """of Sentinel-2, that our build subtracted"""

    def __call__(self) -> Any:
        """An xarray dataset of the assets on the tile's grid."""
        return odc.stac.load([self.item], bands=self.assets, geobox=self.box, resampling=self.resampling)


def plain_loads(
    store: Store, recipe: BuildRecipe, items: Mapping[tuple[str, str], pystac.Item], tile: int
) -> list[Load]:
    """What to load for one tile: the items that its store names, for each modality that comes from a catalogue."""
    where = store.coordinates
    assert where.source_items is not None
    side = store.tile_size
    box = GeoBox((side, side), Affine(*where.transform[tile].tolist()), f"EPSG:{int(where.crs[tile])}")
    loads = []
    for name, records in json.loads(str(where.source_items[tile])).items():
        entry = recipe.modalities[name]
        for record in records:
            for archive in entry.archives:
                options = {**entry.options, **recipe.archives[archive].get("modalities", {}).get(name, {})}
                item = items.get((str(options.get("collection", "")), str(record.get("item", ""))))
                if item is not None:
                    assets = {_asset(band) for band in options["bands"].values()} & item.assets.keys()
                    loads.append(
                        Load(
                            tile,
                            item,
                            tuple(sorted(assets)),
                            box,
                            entry.resampling,
                            int(record.get("offset_undone", 0)),
                        )
                    )
                    break
    return loads


def _asset(band: Any) -> str:
    return str(band if isinstance(band, str) else band.get("asset", ""))


def check_agreement(store: Store, loads: list[Load]) -> int:
    """Compare the blue band, which needs no resampling; returns how many pixels were compared.

    Raises:
        AssertionError: one differs, or there was nothing to compare.
    """
    compared = 0
    band = store.modalities["sentinel2"].band_names.index("B2")
    for load in (load for load in loads if "B02" in load.assets):
        theirs = load()["B02"].values[0].astype(np.int64)
        ours = store.read(["sentinel2"], np.array([load.tile]))["sentinel2"][0, band].astype(np.int64)
        seen = theirs > 0
        assert np.array_equal(ours[seen], np.maximum(theirs[seen] - load.offset, 1)), f"tile {load.tile} differs"
        compared += int(seen.sum())
    assert compared
    return compared


def least_work(loads: list[Load], tiles: int, root: str, folder: Path) -> Work:
    """The floor: headers and touched blocks of all files, each once.

    Args:
        loads: of all tiles.
        tiles: how many.
        root: URL of the folder that is served.
        folder: the same on disk.
    """
    windows: dict[str, set[tuple[int, int]]] = {}
    sizes: dict[tuple[str, int, int], int] = {}
    for load in loads:
        for asset in load.assets:
            path = str(folder / load.item.assets[asset].href.removeprefix(f"{root}/"))
            with rasterio.open(path) as file:
                height, width = file.block_shapes[0]
                bounds = rasterio.warp.transform_bounds(load.box.crs, file.crs, *load.box.boundingbox)
                window = file.window(*bounds).intersection(rasterio.windows.Window(0, 0, file.width, file.height))
                rows = range(int(window.row_off) // height, -(-int(window.row_off + window.height) // height))
                columns = range(int(window.col_off) // width, -(-int(window.col_off + window.width) // width))
                for row in rows:
                    for column in columns:
                        if (path, column, row) not in sizes:
                            found = file.get_tag_item(f"BLOCK_SIZE_{column}_{row}", "TIFF", bidx=1)
                            sizes[path, column, row] = int(found or 0)
                            windows.setdefault(path, set()).add((column, row))
    total = sum(sizes.values()) + _HEADER * len(windows)
    return Work(2 * len(windows) / tiles, total / 1e3 / tiles)


def measure(options: Options) -> dict[str, Any]:
    """Build the archive, check, take turns."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = ArchiveSettings(
            granules=options.granules, size=options.size, dates=options.dates, places=options.places
        )
        write_archive(folder / "archive", settings, workers=2)
        log = AccessLog(folder / "access.log")
        with serve_archive(folder / "archive", log=folder / "access.log", delay=options.delay) as served:
            recipe = load_build_recipe(served.recipe)
            places = read_places(folder / "archive" / "places.parquet")
            return _measure(options, folder, log, served.files, recipe, places)


def _measure(
    options: Options, folder: Path, log: AccessLog, root: str, recipe: BuildRecipe, places: Places
) -> dict[str, Any]:
    maker = TileMaker(recipe)
    numbers = iter(range(10**6))

    def build(crew: DaskCrew) -> Store:
        out = folder / f"{next(numbers)}.zarr"
        report = Build(recipe, maker, places, out).run(crew)
        assert report.done == len(places), report.failed
        return Store.open(out)

    with local_crew(1) as one, local_crew(2) as two:
        log.work(1)
        store = build(one)
        ours = log.work(len(store))
        described = item_collection(folder / "archive", root)["features"]
        items = {(item["collection"], item["id"]): pystac.Item.from_dict(item) for item in described}
        chosen = np.linspace(0, len(store) - 1, options.plain_places).astype(np.int64).tolist()
        loads = [load for tile in chosen for load in plain_loads(store, recipe, items, tile)]
        compared = check_agreement(store, loads)
        log.work(1)
        for load in loads:
            load()
        plain = log.work(len(chosen))
        everything = [load for tile in range(len(store)) for load in plain_loads(store, recipe, items, tile)]
        floor = least_work(everything, len(store), root, folder / "archive")
        variants: dict[str, Callable[[], object]] = {
            "plain loop": lambda: [load() for load in loads],
            "ours, 1 worker": lambda: build(one),
            "ours, 2 workers": lambda: build(two),
        }
        processor = Processor((one, two))
        timings = take_turns({name: processor.of(name, run) for name, run in variants.items()}, rounds=options.rounds)
    tiles = {"plain loop": len(chosen), "ours, 1 worker": len(store), "ours, 2 workers": len(store)}
    return {
        "options": asdict(options),
        "machine": machine(),
        "compared_pixels": compared,
        "loads_a_tile": len(loads) / len(chosen),
        "tiles": tiles,
        "processor_ms": {name: processor.milliseconds(name, count) for name, count in tiles.items()},
        "timings": timings,
        "work": {"plain loop": plain, "ours, 1 worker": ours, "ours, 2 workers": ours, "floor": floor},
    }


def report(found: Mapping[str, Any]) -> str:
    """The table, and whether the target is met."""
    timings: Mapping[str, Timing] = found["timings"]
    plain, rows = timings["plain loop"], []
    for name, timing in timings.items():
        tiles, work = found["tiles"][name], found["work"][name]
        low, high = timing.spread(tiles)
        times = timing.times_faster_than(plain, (tiles, found["tiles"]["plain loop"]))
        rows.append(
            (
                name,
                f"{timing.rate(tiles):.1f}",
                f"{low:.1f} to {high:.1f}",
                f"{times:.2f}",
                f"{found['processor_ms'][name]:.1f}",
                f"{work.requests:.1f}",
                f"{work.kilobytes:,.0f}",
            )
        )
    floor = found["work"]["floor"]
    rows.append(("floor", "", "", "", "", f"{floor.requests:.1f}", f"{floor.kilobytes:,.0f}"))
    header = ("", "tiles/s", "slowest to fastest", "times plain", "processor ms", "requests a tile", "kB a tile")
    two, one = timings["ours, 2 workers"], timings["ours, 1 worker"]
    counts = found["tiles"]["ours, 1 worker"], found["tiles"]["plain loop"]
    return "\n".join(
        (
            found["machine"],
            f"{found['compared_pixels']:,} pixels of the blue band agree; {found['loads_a_tile']:.1f} loads a tile",
            "",
            table(header, rows),
            "",
            verdict("one worker against the plain loop", one.times_faster_than(plain, counts), TIMES, "times"),
            f"two workers against one: {two.times_faster_than(one):.2f} times",
        )
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    for name, value in asdict(Options()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(value), default=value)
    parser.add_argument("--json", action="store_true")
    given = vars(parser.parse_args())
    as_json = given.pop("json")
    found = measure(Options(**given))
    if as_json:
        plain = {**found, "timings": {name: timing.seconds for name, timing in found["timings"].items()}}
        print(json.dumps({**plain, "work": {name: asdict(work) for name, work in found["work"].items()}}, indent=2))
    else:
        print(report(found))


if __name__ == "__main__":
    main()

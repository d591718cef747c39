"""How fast the loader is, beside bare decompression and beside a loader of the published HDF5 files.

On synthetic tiles with all twelve modalities of MP-MAE, in random order:

- loader: ``TileLoader`` as ``geopretext pretrain`` uses it on a CPU, all that it does included;
- loader's threads: the same without cropping, decoding and standardising, which are done on the device: on a machine
  with a GPU this is what its processors do, but for copying to pinned memory;
- reading: ``Store.read`` alone, in batches as the loader asks for them;
- decompression: the codec library on the same compressed chunks, which lie in memory, as many threads as cores; each
  tile's numbers take the place of the last one's, so that they never leave a core's cache. "into batches" keeps a
  batch of them side by side, as everyone must who wants a batch;
- raw files: the shards read whole, one after the other;
- HDF5: the same tiles in the published layout, read and standardised one at a time by a ``DataLoader`` with no or two
  worker processes (the better counts); its tiles are checked against the loader's.

Variants take turns; figures are medians over rounds, ratios within a round. Files are in the page cache for all.

Memory is what one epoch adds to the peak of a process of its own, beside the bound that the loader states.

Caveats: here the device is the CPU, so that what is done on the device competes with decompression for the cores.
Synthetic tiles compress less well than real ones (``--data`` takes any store).

Run: python benchmarks/loader.py [--tiles 2048] [--rounds 5] [--batch-size 256] [--tile-size 64] [--codecs]
"""

import argparse
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch

from geopretext.data.loader import Batch, TileLoader
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.modality import Modality
from geopretext.pretext.settings import MPMAESettings
from measuring import Timing, machine, peak_bytes, resident_bytes, table, take_turns, verdict
from measuring.codecs import measure_codecs
from measuring.official_files import OfficialTiles, write_official
from measuring.shards import Chunks, maps_of

CROPS = {64: 56, 128: 112}
TARGETS = {"hdf5": 20.0, "decompression": 0.6}
_PREFETCH = 2
_HDF5_BATCH = 32  # few enough for several to each worker


@dataclass(frozen=True)
class Options:
    """What is measured."""

    tiles: int = 2048
    """of 64 px, and a quarter as many of 128 px"""
    rounds: int = 5
    """in which every variant takes its turn"""
    batch_size: int = 256
    """tiles a batch of 64 px, and a quarter of that of 128 px"""
    threads: int = os.cpu_count() or 1
    """that decompress"""
    hdf5_tiles: int = 128
    """of 64 px that are written to the HDF5 and read in each round, and half as many of 128 px"""
    hdf5_workers: tuple[int, ...] = (0, 2)
    """processes that read it"""


class Workload:
    """One store, and everything that is measured on it.

    Args:
        store: opened.
        options: see there.
    """

    def __init__(self, store: Store, options: Options) -> None:
        scale = (store.tile_size // 64) ** 2 if store.tile_size in CROPS else 1
        self.store, self.options = store, options
        self.crop = CROPS.get(store.tile_size, store.tile_size)
        self.batch_size = max(1, options.batch_size // scale)
        self.tiles = min(len(store), options.tiles // scale) // self.batch_size * self.batch_size
        self.bands = MPMAESettings().targets
        self.modalities: dict[str, Modality] = {
            name: store.modalities[name] if bands is None else store.modalities[name].select(bands)
            for name, bands in self.bands.items()
        }
        self.maps = [name for name, modality in self.modalities.items() if modality.kind.is_map]
        self.order = np.random.default_rng(0).permutation(len(store))[: self.tiles]

    def loader(self, **changes: Any) -> TileLoader:
        """As training makes it."""
        settings = {**self._settings(), **changes}
        return TileLoader(self.store, modalities=self.bands, statistics=self.store.statistics, **settings)

    def _settings(self) -> dict[str, Any]:
        return {"batch_size": self.batch_size, "crop": self.crop, "tiles": self.order, "prefetch": _PREFETCH}

    def threads(self) -> TileLoader:
        """The loader without what is done on the device."""
        return _Threads(self.store, modalities=self.bands, statistics=self.store.statistics, **self._settings())

    def load(self, loader: TileLoader) -> None:
        """An epoch."""
        assert sum(len(batch) for batch in loader) == self.tiles

    def read(self) -> None:
        """The same tiles by ``Store.read``."""
        for start in range(0, self.tiles, self.batch_size):
            self.store.read(self.maps, self.order[start : start + self.batch_size])

    def chunks(self) -> Chunks:
        """The compressed chunks of the maps that the loader reads."""
        stored = [self.store.modalities[name] for name in self.maps]
        formats = maps_of(stored, tile_size=self.store.tile_size, shard_size=self.store.shard_size)
        return Chunks(Path(self.store.path), formats, len(self.store))

    def bound(self, compressed: float) -> int:
        """Bytes that the loader holds at most.

        Stored numbers of ``prefetch + 1`` batches and of the one that is being finished; values and validity of that
        one and of the one that was handed out; and the files' bytes of ``prefetch + 1`` batches, ``compressed`` a tile.
        """
        raw = sum(len(self.store.modalities[n].bands) * np.dtype(self.modalities[n].dtype).itemsize for n in self.maps)
        finished = sum(
            9 if modality.kind.is_categorical else 5 * len(modality.bands)
            for name, modality in self.modalities.items()
            if name in self.maps
        )
        waiting = (_PREFETCH + 2) * raw * self.store.tile_size**2 + (_PREFETCH + 1) * int(compressed)
        return self.batch_size * (waiting + 2 * finished * self.crop**2)


class _Threads(TileLoader):
    def _finish(self, raw: Any) -> Batch:
        return Batch({}, torch.from_numpy(raw.tiles), raw.seeds, self._acquisition(raw))


def measure(path: Path, options: Options) -> dict[str, Any]:
    """Everything about one store, as plain data."""
    workload = Workload(Store.open(path), options)
    chunks, loader, threads = workload.chunks(), workload.loader(), workload.threads()
    with tempfile.TemporaryDirectory() as folder:
        official = Path(folder, "official.h5")
        count = min(options.hdf5_tiles * 64 // workload.store.tile_size, len(workload.store))
        write_official(official, workload.store, workload.modalities, count)

        def official_tiles() -> OfficialTiles:
            return OfficialTiles(official, workload.modalities, workload.store, count)

        check_agreement(workload, official_tiles())
        variants: dict[str, Callable[[], object]] = {
            "loader": lambda: workload.load(loader),
            "loader's threads": lambda: workload.load(threads),
            "reading": workload.read,
            "decompression": lambda: chunks.decompress(workload.order, threads=options.threads),
            "decompression into batches": lambda: chunks.decompress(
                workload.order, threads=options.threads, batch_size=workload.batch_size
            ),
            "raw files": chunks.read_files,
            **{f"HDF5, {n} workers": _reading_hdf5(official_tiles(), n) for n in options.hdf5_workers},
        }
        timings = take_turns(variants, rounds=options.rounds)
    amounts = {
        name: len(workload.store) if name == "raw files" else count if name.startswith("HDF5") else workload.tiles
        for name in variants
    }
    return {
        "tile_size": workload.store.tile_size,
        "tiles": workload.tiles,
        "batch_size": workload.batch_size,
        "variants": {name: _figures(name, timings, amounts) for name in variants},
        "compressed_bytes_a_tile": chunks.compressed_bytes,
        "raw_bytes_a_tile": chunks.raw_bytes,
        "memory_bound": workload.bound(sum(chunks.compressed_bytes.values())),
        "memory_grown": _memory(path, options),
    }


def check_agreement(workload: Workload, official: OfficialTiles, tiles: int = 4) -> None:
    """The published way must give the loader's numbers, wherever the loader has any.

    Raises:
        SystemExit: it gives others.
    """
    (batch,) = workload.loader(batch_size=tiles, crop=None, shuffle=False, tiles=np.arange(tiles))
    for name, (values, valid) in batch.fields.items():
        other = torch.stack([official[tile][name] for tile in range(tiles)])
        if not torch.allclose(other[valid].float(), values[valid].float(), rtol=1e-4, atol=1e-4):
            raise SystemExit(f"{name}: the HDF5 holds other numbers than the store")


def _reading_hdf5(tiles: OfficialTiles, workers: int) -> Callable[[], None]:
    batches = torch.utils.data.DataLoader(
        tiles,
        batch_size=_HDF5_BATCH,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        multiprocessing_context="spawn" if workers else None,
    )

    def read() -> None:
        for _ in batches:
            pass

    return read


def measure_memory(path: Path, options: Options) -> int | None:
    """Bytes by which an epoch raises the peak of a fresh process, beyond what a first small batch needed."""
    workload = Workload(Store.open(path), options)
    next(iter(workload.loader(batch_size=2, tiles=workload.order[:2])))
    loader = workload.loader()
    resident = resident_bytes()
    workload.load(loader)
    peak = peak_bytes()
    return None if resident is None or peak is None else peak - resident


def _memory(path: Path, options: Options) -> int | None:
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(measure_memory, path, options).result()


def _figures(name: str, timings: dict[str, Timing], amounts: dict[str, int]) -> dict[str, Any]:
    timing, amount = timings[name], amounts[name]
    slowest, fastest = timing.spread(amount)

    def times(other: str) -> float:
        return timing.times_faster_than(timings[other], (amount, amounts[other]))

    return {
        "tiles_a_second": timing.rate(amount),
        "slowest": slowest,
        "fastest": fastest,
        "of_decompression": times("decompression"),
        "times_hdf5": {other: times(other) for other in timings if other.startswith("HDF5")},
    }


def report(result: dict[str, Any]) -> str:
    """Tables and targets, for people."""
    lines = [result["machine"], f"{result['options']}"]
    for found in result["stores"]:
        size, variants = found["tile_size"], found["variants"]
        lines += ["", f"## {size} px, batches of {found['batch_size']}", ""]
        header = ("variant", "tiles/s", "slowest..fastest", "of decompression")
        rows = [
            (
                name,
                f"{each['tiles_a_second']:.0f}",
                f"{each['slowest']:.0f}..{each['fastest']:.0f}",
                f"{each['of_decompression']:.0%}",
            )
            for name, each in variants.items()
        ]
        lines += [table(header, rows), ""]
        compressed = found["compressed_bytes_a_tile"]
        lines.append(
            f"kB a tile: {found['raw_bytes_a_tile'] / 1e3:.0f} in memory, {sum(compressed.values()) / 1e3:.0f} on disk"
            f" ({', '.join(f'{name} {number / 1e3:.1f}' for name, number in compressed.items())})"
        )
        if found["memory_grown"] is not None:
            lines.append(
                f"memory of an epoch: {found['memory_grown'] / 2**20:.0f} MiB; what the loader states:"
                f" {found['memory_bound'] / 2**20:.0f} MiB at most"
            )
        for name in ("loader", "loader's threads"):
            best = max((each["tiles_a_second"], n) for n, each in variants.items() if n.startswith("HDF5"))[1]
            ratio = variants[name]["times_hdf5"][best]
            lines.append(verdict(f"{name} over {best}", ratio, TARGETS["hdf5"], "times"))
            share = variants[name]["of_decompression"]
            lines.append(verdict(f"{name} of bare decompression", share, TARGETS["decompression"], "of 1"))
    return "\n".join(lines)


def report_codecs(path: Path, *, tiles: int, rounds: int) -> str:
    """The table of codecs and shard sizes, for the maps of a store."""
    store = Store.open(path)
    names = [name for name in MPMAESettings().targets if store.modalities[name].kind.is_map]
    rows = [
        (
            f"{each.modality}, {each.codec}",
            str(each.shard_size),
            f"{each.bytes_a_tile:.0f}",
            f"{each.written:.0f}",
            f"{each.read:.0f}",
        )
        for each in measure_codecs(store, names, tiles=min(tiles, len(store)), rounds=rounds)
    ]
    return table(("codec", "tiles a shard", "bytes a tile", "tiles/s written", "tiles/s read"), rows)


def _stores(args: argparse.Namespace, folder: str) -> Iterator[Path]:
    if args.data:
        yield Path(args.data)
        return
    for size in args.tile_size or CROPS:
        count = max(1, args.tiles // (size // 64) ** 2)
        yield write_synthetic_store(Path(folder, f"{size}.zarr"), count=count, tile_size=size)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=Options.tiles)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--batch-size", type=int, default=Options.batch_size)
    parser.add_argument("--threads", type=int, default=Options.threads)
    parser.add_argument("--tile-size", type=int, choices=tuple(CROPS), action="append", help="default: both")
    parser.add_argument("--data", help="a local store with all twelve modalities, instead of synthetic ones")
    parser.add_argument("--codecs", action="store_true", help="the table of codecs and shard sizes instead")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    options = Options(args.tiles, args.rounds, args.batch_size, args.threads)
    with tempfile.TemporaryDirectory() as folder:
        if args.codecs:
            print(machine())
            for path in _stores(args, folder):
                print(f"\n{path.name}\n\n{report_codecs(path, tiles=args.tiles, rounds=args.rounds)}")
            return
        stores = [measure(path, options) for path in _stores(args, folder)]
    result = {"machine": machine(), "options": asdict(options), "stores": stores}
    print(json.dumps(result) if args.json else report(result))


if __name__ == "__main__":
    main()

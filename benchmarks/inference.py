"""How fast a scene is embedded, beside the bare encoder on the same windows and the least that it could take.

A scene of 10980 x 10980 pixels and twelve bands, as one Sentinel-2 tile has, is made up and written once as a file: a
GeoTIFF of deflated blocks. In rounds, some strips of windows go

- through the engine: read, decoded, checked, standardised, encoded with local response norms, and blended;
- through the encoder with local response norms, from memory;
- through the bare encoder, from memory, with ordinary response norms.

The floor is the time of the encoder's matrix products (counted from shapes) at the best rate of a matrix product that
was measured in the same rounds: of large square matrices, or of the encoder's own shapes. A ratio is taken within a
round. "Of the scene" counts each pixel once: the rest of a window is margin, without which windows would not agree.
"Processor" is the bare encoder's processor seconds over a variant's, of all threads: on a machine with other work it
says more, but reading, which on an idle one goes on beside the encoder, counts in full.

Then `embed_scene` writes all of the scene in a process of its own, whose peak memory is what counts.

Caveats: a shared machine is noisy; weights are random, since time does not hang on what is seen; the file lies in the
page cache.

Run: python benchmarks/inference.py [--quick] [--pixels 10980] [--size micro] [--image-size 64] [--patch-size 16]
[--window 864] [--batch 1] [--rounds 5] [--threads 2] [--workers 1] [--json]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2, as_convnextv2
from geopretext.nn.local_norm import local_norms
from geopretext.nn.settings import SENTINEL2_BANDS, EncoderSettings
from geopretext.predict.embedding_map import embed_scene
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.open_scene import SceneSource
from geopretext.predict.scene_door import SceneDoor, open_scene_door
from geopretext.predict.scene_maps import compute_strips
from geopretext.predict.scene_run import RunOptions, scene_windows
from geopretext.predict.windows import Windows
from measuring import Timing, machine, peak_bytes, table, verdict
from measuring.made_scene import UNIT, write_made_scene
from measuring.operations import OwnProducts, SquareProduct, encoder_products

SHARE, GIGABYTES = 0.9, 2.0
"""that are wanted: of the bare encoder's rate, at least, and of memory, at most"""
ENGINE, LOCAL, BARE = "engine", "encoder, local norms", "bare encoder"
_SQUARE = 1024
_STRIPS = 2  # a round, so that reading runs ahead over the end of a strip


@dataclass(frozen=True)
class Options:
    """What is measured."""

    pixels: int = 10980
    """on a side of the scene"""
    size: str = "micro"
    """of the encoder"""
    image_size: int = 64
    """pixels of the crops that it is made for, and of its local norms"""
    patch_size: int = 16
    """pixels"""
    window: int | None = None
    """pixels on a side; None: as the engine chooses"""
    batch: int = 1
    """windows at a time"""
    rounds: int = 5
    """in which every variant takes its turn"""
    threads: int | None = None
    """of torch; None: as torch chooses"""
    workers: int = 1
    """processes that write the whole scene"""

    @property
    def run(self) -> RunOptions:
        """What the engine is told."""
        return RunOptions(window=self.window, batch=self.batch, workers=self.workers)


def make_encoder(options: Options) -> Encoder:
    """Random weights, and response norms that do something."""
    torch.manual_seed(0)
    settings = EncoderSettings(size=options.size, image_size=options.image_size, patch_size=options.patch_size)
    network = ConvNeXtV2(settings)
    for name, parameter in network.named_parameters():
        if ".grn." in name:
            nn.init.normal_(parameter, std=0.5)
    count = len(SENTINEL2_BANDS)
    statistics = {"all": ((1500.0,) * count, (800.0,) * count)}
    return Encoder(network, PUBLISHED["sentinel2"].select(SENTINEL2_BANDS), statistics=statistics).eval()


class Seconds(NamedTuple):
    """That something took."""

    wall: float
    processor: float
    """of all threads"""


class Clock:
    """Runs from its making."""

    def __init__(self) -> None:
        self._began = Seconds(time.perf_counter(), time.process_time())

    def read(self) -> Seconds:
        """What has passed."""
        return Seconds(time.perf_counter() - self._began.wall, time.process_time() - self._began.processor)


@dataclass(frozen=True)
class Bench:
    """A scene and all that goes over it."""

    door: SceneDoor
    windows: Windows
    source: EmbeddingSource
    options: Options

    def engine(self, strips: range) -> Seconds:
        """For some strips."""
        network = self.source.load("cpu")
        clock = Clock()
        for _ in compute_strips(self.door, network, self.windows, strips, batch=self.options.batch):
            pass
        return clock.read()

    def encoder(self, strips: range, *, local: bool) -> Seconds:
        """Of the encoder for the windows of some strips; reading them is not counted."""
        total, encoder = Seconds(0.0, 0.0), self.source.encoder()
        for x in self._inputs(strips):
            with torch.inference_mode(), local_norms(encoder, self.source.extent) if local else nullcontext():
                clock = Clock()
                encoder(x)
                some = clock.read()
            total = Seconds(total.wall + some.wall, total.processor + some.processor)
        return total

    def _inputs(self, strips: range) -> Iterator[torch.Tensor]:
        columns = len(self.windows.across.starts)
        for strip in strips:
            for first in range(0, columns, self.options.batch):
                last = min(first + self.options.batch, columns)
                yield self.door.read(self.windows, [strip * columns + each for each in range(first, last)])[0]


def measure_rates(scene: SceneSource, options: Options) -> dict[str, Any]:
    """Rates of all variants, as plain data."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    source = EmbeddingSource(make_encoder(options))
    opened = scene.open()
    windows = scene_windows(opened, source, options.run)
    bench = Bench(open_scene_door(opened, source.encoder()), windows, source, options)
    strips = len(windows.down.starts)
    patches = (windows.across.extent // options.patch_size) ** 2
    products = list(encoder_products(as_convnextv2(source.encoder().network, "this count").settings, patches))
    device = torch.device("cpu")
    floors: dict[str, SquareProduct | OwnProducts] = {
        "square": SquareProduct(_SQUARE, torch.float32, device),
        "own shapes": OwnProducts(products, options.batch, torch.float32, device, gradients=False),
    }
    seconds: dict[str, list[Seconds]] = {name: [] for name in (ENGINE, LOCAL, BARE, *floors)}
    for turn in range(options.rounds + 1):  # the first is not counted
        first = turn * _STRIPS % max(1, strips - _STRIPS + 1)
        some = range(first, min(first + _STRIPS, strips))
        found = {
            ENGINE: bench.engine(some),
            LOCAL: bench.encoder(some, local=True),
            BARE: bench.encoder(some, local=False),
            **{name: _seconds(product) for name, product in floors.items()},
        }
        for name in seconds if turn else ():
            seconds[name].append(found[name])
    timings = {name: Timing(tuple(each.wall for each in found)) for name, found in seconds.items()}
    processor = {name: Timing(tuple(each.processor for each in found)) for name, found in seconds.items()}
    count = min(_STRIPS, strips) * len(windows.across.starts)
    least = count * sum(product.forward for product in products if not product.is_depthwise)
    rates = {name: timings[name].rate(floor.multiply_adds) for name, floor in floors.items()}
    amount = count * windows.across.extent * windows.down.extent / 1e6
    return {
        "windows": {"size": windows.across.extent, "margin": windows.across.margin, "count": len(windows)},
        "share_of_windows_that_counts": _useful(windows),
        "multiply_adds_a_second": rates,
        "variants": {
            name: {
                "megapixels_a_second": timings[name].rate(amount),
                "share_of_bare": timings[name].times_faster_than(timings[BARE]),
                "processor_share_of_bare": processor[name].times_faster_than(processor[BARE]),
                "share_of_floor": timings[name].rate(least) / max(rates.values()),
            }
            for name in (ENGINE, LOCAL, BARE)
        },
    }


def _seconds(run: Callable[[], object]) -> Seconds:
    clock = Clock()
    run()
    return clock.read()


def _useful(windows: Windows) -> float:
    """Pixels of the scene over those of all windows."""
    down, across = windows.down, windows.across
    return down.length * across.length / (len(windows) * down.extent * across.extent)


def measure_whole(scene: SceneSource, bundle: Path, out: Path, options: Options) -> dict[str, Any]:
    """Write the embeddings of all of the scene; call it in a fresh process."""
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    began = time.perf_counter()
    embed_scene(scene, bundle, out, run=options.run)
    return {"seconds": time.perf_counter() - began, "peak_bytes": peak_bytes(), "bytes_written": out.stat().st_size}


def run(options: Options) -> dict[str, Any]:
    """Measure all; plain data."""
    with tempfile.TemporaryDirectory() as folder:
        path, bundle, out = (Path(folder, name) for name in ("scene.tif", "bundle", "embeddings.tif"))
        write_made_scene(path, height=options.pixels, width=options.pixels)
        make_encoder(options).save_pretrained(bundle)
        scene = SceneSource(str(path), unit=UNIT)
        with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
            whole = pool.submit(measure_whole, scene, bundle, out, options).result()
        rates = measure_rates(scene, options)
        scene_bytes = path.stat().st_size
    whole["megapixels_a_second"] = options.pixels**2 / whole["seconds"] / 1e6
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "numpy": np.__version__,
        "options": asdict(options),
        "scene_bytes": scene_bytes,
        "rates": rates,
        "whole": whole,
    }


def report(result: dict[str, Any]) -> str:
    """A table and targets, for people."""
    rates, whole = result["rates"], result["whole"]
    useful = rates["share_of_windows_that_counts"]
    rows = [
        (
            name,
            f"{each['megapixels_a_second']:.2f}",
            f"{each['megapixels_a_second'] * useful:.2f}",
            f"{each['share_of_bare']:.1%}",
            f"{each['processor_share_of_bare']:.1%}",
            f"{each['share_of_floor']:.1%}",
        )
        for name, each in rates["variants"].items()
    ]
    windows = rates["windows"]
    cut = f"{windows['count']} windows of {windows['size']} px with margins of {windows['margin']} px"
    speeds = ", ".join(f"{name} {rate / 1e9:.0f}" for name, rate in rates["multiply_adds_a_second"].items())
    written = f"{whole['megapixels_a_second']:.2f} Mpx/s, {whole['bytes_written'] / 1e6:.0f} MB written"
    lines = [
        result["machine"],
        f"torch {result['torch']}, {result['threads']} threads, {result['options']}",
        f"{cut}; the file has {result['scene_bytes'] / 1e9:.2f} GB",
        "",
        table(("variant", "Mpx/s of windows", "Mpx/s of the scene", "of bare", "processor", "of floor"), rows),
        "",
        f"billion multiply-adds a second: {speeds}",
        f"all of the scene: {whole['seconds']:.0f} s, {written}",
        verdict("engine, of the bare encoder", rates["variants"][ENGINE]["share_of_bare"], SHARE, "of 1"),
    ]
    if whole["peak_bytes"] is not None:
        lines.append(verdict("limit of memory over its peak", GIGABYTES * 1e9 / whole["peak_bytes"], 1.0, "times"))
        lines.append(f"peak memory of the process: {whole['peak_bytes'] / 1e9:.2f} GB, limit {GIGABYTES:g} GB")
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = Options()
    parser.add_argument("--quick", action="store_true", help="a scene of 2560 pixels and two rounds")
    for name in ("pixels", "image_size", "patch_size", "batch", "rounds", "workers"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(defaults, name))
    parser.add_argument("--size", default=defaults.size)
    parser.add_argument("--window", type=int)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--json", action="store_true")
    args = vars(parser.parse_args())
    if args.pop("quick"):
        args |= {"pixels": 2560, "rounds": 2}
    as_json = args.pop("json")
    result = run(Options(**args))
    print(json.dumps(result) if as_json else report(result))


if __name__ == "__main__":
    main()

"""How soon the viewer shows its map, and how it moves, on stores of many tiles.

- address: from the command to the line that says where the server is;
- map: from there until every tile is on the map, in a new browser, with its filters and histograms;
- filter: from a key on a slider of a histogram until map and histograms show it, at the median;
- move: one frame while the map is dragged, at the median of those after the first few, in which the page learns how
  fast the machine draws.

Tiles have places, dates and biomes, and next to no data: the map reads nothing else. The browser runs without a window
and, where there is no GPU, draws in software, which is what takes most of "move" then.

Run: python benchmarks/viewer.py [--tiles 100000 1000000]
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from statistics import median
from time import perf_counter
from typing import Any

import numpy as np

from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.modality import BIOMES, PUBLISHED
from measuring import machine, table, verdict

START = 5.0
"""seconds that 100,000 tiles may take until they are on the map"""
_TARGET_TILES = 100_000
_BATCH = 1 << 14
_FRAMES, _LEARNING = 25, 8
_ARGUMENTS = ["--headless", "--no-sandbox", "--no-first-run", "--disable-background-networking", "--disable-sync"]

_FRAME_TIMES = """async (frames) => {
  const marks = document.querySelector(".plot-marks");
  const box = marks.getBoundingClientRect();
  const send = (kind, x) => marks.dispatchEvent(new PointerEvent(kind, {
    pointerId: 1, pointerType: "mouse", clientX: box.x + 300 + x, clientY: box.y + 200, bubbles: true }));
  marks.setPointerCapture = () => {};
  send("pointerdown", 0);
  const times = [];
  const gl = document.querySelector(".plot-points").getContext("webgl2");
  for (let frame = 1; frame <= frames; frame++) {
    const start = performance.now();
    send("pointermove", 7 * frame);
    await new Promise(requestAnimationFrame);
    gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4));
    times.push(performance.now() - start);
  }
  send("pointerup", 7 * frames);
  return times;
}"""

_FILTER_TIMES = """async (frames) => {
  const slider = document.querySelector(".sliders input");
  const times = [];
  await new Promise((resolve) => setTimeout(resolve, 1000));
  for (let step = 1; step <= frames; step++) {
    const start = performance.now();
    slider.value = step;
    slider.dispatchEvent(new Event("input"));
    await new Promise(requestAnimationFrame);
    await new Promise(requestAnimationFrame);
    times.push(performance.now() - start);
  }
  return times;
}"""


@dataclass(frozen=True)
class Figures:
    """Of one store, seconds."""

    tiles: int
    address: float
    map: float
    filter: float
    move: float


def write_places(path: Path, tiles: int) -> Path:
    """A store of many tiles that have no more than a month each."""
    random = np.random.default_rng(0)
    with StoreWriter.create(path, [PUBLISHED["month"]], tile_size=64, shard_size=_BATCH) as writer:
        for start in range(0, tiles, _BATCH):
            count = min(_BATCH, tiles - start)
            days = random.integers(0, 4 * 365, count)
            where = Coordinates(
                tile_id=np.array([f"place-{start + i}" for i in range(count)]),
                lat=np.degrees(np.arcsin(random.uniform(-0.95, 0.98, count))),
                lon=random.uniform(-180, 180, count),
                crs=np.full(count, 32631, np.int32),
                transform=np.tile([10.0, 0, 0, 0, -10.0, 0], (count, 1)),
                time=np.datetime64("2017-01-01", "s") + days * np.timedelta64(86400, "s"),
                biome=random.integers(0, len(BIOMES), count).astype(np.int16),
                split=random.integers(0, 3, count).astype(np.int8),
            )
            writer.append(TileBatch(where, {"month": np.zeros((count, 2), np.float32)}))
    return path


def measure(store: Path, tiles: int, chromium: str) -> Figures:
    """Open one store, look at its map, and move it."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "geopretext.apps.cli", "view", str(store), "--no-browser"]
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=_ARGUMENTS)
        page = browser.new_page(viewport={"width": 1280, "height": 800})
        start = perf_counter()
        server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert server.stdout is not None
        try:
            address = server.stdout.readline().strip()
            answered = perf_counter()
            page.goto(f"{address}#/earth")
            page.wait_for_selector(f'[data-shown="{tiles}"]', state="attached", timeout=120_000)
            shown = perf_counter()
            page.wait_for_selector(".credit[data-ready]")
            moves: Any = page.evaluate(_FRAME_TIMES, _FRAMES)
            filters: Any = page.evaluate(_FILTER_TIMES, _FRAMES)
        finally:
            server.terminate()
            server.wait()
        browser.close()
    return Figures(tiles, answered - start, shown - answered, median(filters) / 1000, median(moves[_LEARNING:]) / 1000)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tiles", type=int, nargs="+", default=[100_000, 1_000_000])
    options = parser.parse_args()
    chromium = which("chromium") or which("google-chrome")
    if chromium is None:
        parser.error("needs Chromium or Chrome on the search path")
    print(machine())
    measured = []
    with tempfile.TemporaryDirectory() as folder:
        for tiles in options.tiles:
            store = write_places(Path(folder, f"{tiles}.zarr"), tiles)
            assert len(Store.open(store)) == tiles
            measured.append(measure(store, tiles, chromium))
    rows = [
        [
            f"{each.tiles:,}",
            f"{each.address:.2f} s",
            f"{each.map:.2f} s",
            f"{1000 * each.filter:.0f} ms",
            f"{1000 * each.move:.0f} ms",
        ]
        for each in measured
    ]
    print(table(["tiles", "address", "map", "filter", "move"], rows))
    for each in measured:
        if each.tiles == _TARGET_TILES:
            print(verdict("starts in under 5 s, as a rate", 1 / (each.address + each.map), 1 / START, "/s"))
    return 0


if __name__ == "__main__":
    sys.exit(main())

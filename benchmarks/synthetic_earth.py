"""How fast the synthetic Earth renders tiles of all modalities and labels, in one process and in two.

Prints medians over repeats, and the share of each component. Caveats: machines are noisy, so compare numbers of one
run only; rendering alone is timed, not writing a store; each process uses one core.

Run: python benchmarks/synthetic_earth.py [--tiles 480] [--repeats 3] [--tile-size 64]
"""

import argparse
import cProfile
import os
import platform
import pstats
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

from geopretext.data.synthetic import SyntheticEarth

_CHUNK = 48
_COMPONENTS = {
    "site_of": "climate and terrain",
    "people_of": "fields, settlements, roads",
    "water_of": "water",
    "plants_of": "plants",
    "ground_of": "soil and snow",
    "cover_of": "ground cover as a whole",
    "sky_of": "clouds",
    "sentinel2": "Sentinel-2",
    "sentinel1": "Sentinel-1",
    "smooth": "smooth noise (everywhere)",
    "to_pixels": "interpolation (everywhere)",
}


def render(tile_size: int, start: int) -> int:
    """Render one chunk of tiles, as a worker does."""
    earth = SyntheticEarth(tile_size=tile_size)
    return len(earth.tiles(earth.places(_CHUNK, start=start)))


def rate(tiles: int, tile_size: int, processes: int, repeats: int) -> float:
    """Median tiles a second over repeats."""
    starts = range(0, tiles, _CHUNK)
    rates = []
    with ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool:
        sizes = [tile_size] * len(starts)
        list(pool.map(render, sizes[: 2 * processes], starts[: 2 * processes]))
        for _ in range(repeats):
            began = time.perf_counter()
            done = sum(pool.map(render, sizes, starts))
            rates.append(done / (time.perf_counter() - began))
    return statistics.median(rates)


def shares(tiles: int, tile_size: int) -> dict[str, float]:
    """Share of the time of each component; some are parts of others."""
    profile = cProfile.Profile()
    profile.enable()
    for start in range(0, tiles, _CHUNK):
        render(tile_size, start)
    profile.disable()
    stats = pstats.Stats(profile).get_stats_profile()
    return {
        title: stats.func_profiles[name].cumtime / stats.total_tt
        for name, title in _COMPONENTS.items()
        if name in stats.func_profiles
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiles", type=int, default=480)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tile-size", type=int, default=64)
    args = parser.parse_args()
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")
    rates = {processes: rate(args.tiles, args.tile_size, processes, args.repeats) for processes in (1, 2)}
    for processes, value in rates.items():
        print(f"{processes} process{'es' * (processes > 1)}: {value:7.0f} tiles/s of {args.tile_size} px")
    for title, share in sorted(shares(args.tiles // 2, args.tile_size).items(), key=lambda item: -item[1]):
        print(f"{share:6.1%}  {title}")


if __name__ == "__main__":
    main()

"""How a network that was trained on masked tiles is best asked about whole ones, and about scenes (decisions 121, 122).

Two tables, in standard deviations of each modality's training data (root mean squared error, over bands) and shares of
pixels or tiles whose class is right; what follows the sign is the difference from the first row, with a star where the
95 % interval of paired resampling over tiles or scenes does not hold 0. The first table is on test tiles of a store:
which patches are shown, and of which passes predictions are kept. The second is on scenes of the synthetic Earth that
no store of it holds: how windows overlap.

Run: python benchmarks/reconstruction.py BUNDLE --data tiles.zarr [--tiles 400] [--scenes 20] [--planet SEED]
"""

import argparse
from collections.abc import Callable, Iterator
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.normalise import Normaliser
from geopretext.data.reader import open_tiles
from geopretext.data.statistics import Statistics
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.modality import Kind, Observed
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import load_reconstructor, load_statistics
from geopretext.nn.masking import patch_grid, unpatchify
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.features import tile_blocks
from geopretext.predict.modality_maps import ModalityMaps
from geopretext.predict.passes import complementary_passes
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_door import open_scene_door
from geopretext.predict.scene_maps import compute_strips, join_strips
from geopretext.predict.tile_inputs import tile_levels
from geopretext.predict.windows import Windows

Floats = npt.NDArray[np.float64]
Kept = Literal["shown", "hidden", "every"]
Sums = tuple[Floats, Floats]
"""of squared errors or right answers, and how many, of each tile or scene"""

_RESAMPLES = 1000
_FIRST_PLACE = 1_000_000
_SIDE = 192
_GRID = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))


def main() -> None:
    """Both tables of one bundle."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--data", required=True)
    parser.add_argument("--tiles", type=int, default=400)
    parser.add_argument("--scenes", type=int, default=20)
    parser.add_argument("--planet", type=int, default=5, help="seed of the synthetic Earth of the scenes")
    options = parser.parse_args()
    torch.set_num_threads(1)
    network = cast("MaskedAutoencoder", load_reconstructor(options.bundle))
    statistics = Statistics.from_dict(load_statistics(options.bundle))
    print(
        f"{options.bundle}: maps are predicted on {'shown' if network.settings.predict_visible else 'hidden'} patches"
    )
    print_table(network, of_tiles(network, statistics, open_tiles(options.data), options.tiles))
    print_table(network, of_scenes(options.bundle, network, statistics, options.planet, options.scenes))


def of_tiles(
    network: MaskedAutoencoder, statistics: Statistics, reader: TileReader, count: int
) -> dict[str, dict[str, Sums]]:
    """Ways of showing patches, on tiles."""
    assert reader.coordinates.split is not None
    tiles = np.flatnonzero(reader.coordinates.split == SPLITS.index("test"))[:count]

    def read(name: str) -> Observed[Tensor]:
        modality = network.modality if name == "" else network.targets[name]
        multiple = network.encoder.settings.patch_size
        blocks = list(tile_blocks(reader, modality, tiles, multiple_of=multiple))
        whole = Observed(torch.cat([b.values for b in blocks]), torch.cat([b.valid for b in blocks]))
        return Normaliser.of(modality, statistics)(whole, tile_levels(reader, modality, tiles))

    x = read("").values
    names = [name for name in network.targets if name not in network.settings.standardise_patches]
    truth = {name: read(name) for name in names}
    grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=network.encoder.settings.patch_size)
    ratio = network.settings.mask_ratio
    lattice = complementary_passes(grid, ratio).visible
    shuffled = [
        lattice[:, torch.randperm(grid[0] * grid[1], generator=torch.Generator().manual_seed(n))] for n in range(4)
    ]
    ways: dict[str, tuple[Tensor, Kept]] = {
        "lattice, hidden patches": (lattice, "hidden"),
        "lattice, shown patches": (lattice, "shown"),
        "lattice, all patches": (lattice, "every"),
        "random, hidden patches": (shuffled[0], "hidden"),
        "random, shown patches": (shuffled[0], "shown"),
        "four times random, hidden patches": (torch.cat(shuffled), "hidden"),
        "four times random, shown patches": (torch.cat(shuffled), "shown"),
        "one mask, all patches": (lattice[:1], "every"),
        "everything shown at once": (torch.ones_like(lattice[:1]), "every"),
    }
    table = {}
    for way, (visible, kept) in ways.items():
        found = _ask(network, x, visible, kept, names)
        table[way] = {name: _score(network, name, found[name], truth[name]) for name in names}
    return table


def _ask(network: MaskedAutoencoder, x: Tensor, passes: Tensor, kept: Kept, names: list[str]) -> dict[str, Tensor]:
    """Mean predictions: maps (B, D, H, W), vectors (B, D)."""
    settings = network.encoder.settings
    grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=settings.patch_size)
    sums: dict[str, Any] = dict.fromkeys(names, 0.0)
    times = torch.zeros(passes.shape[1])
    for visible in passes:
        use = {"shown": visible, "hidden": ~visible, "every": torch.ones_like(visible)}[kept].float()
        times += use
        with torch.inference_mode():
            predictions = network(x, visible.expand(len(x), -1), everywhere=True)
        for name in names:
            target, answer = network.targets[name], predictions[name]
            if target.kind is Kind.CATEGORICAL_MAP:
                answer = answer.unflatten(2, (-1, target.channels)).softmax(-1).flatten(2)
            if target.kind is Kind.CATEGORICAL_VECTOR:
                answer = answer.softmax(-1)
            sums[name] = sums[name] + (answer * use[:, None] if target.kind.is_map else answer)
    return {
        name: unpatchify(total / times[:, None], settings.patch_size, grid=grid)
        if network.targets[name].kind.is_map
        else total / len(passes)
        for name, total in sums.items()
    }


def of_scenes(
    bundle: str, network: MaskedAutoencoder, statistics: Statistics, planet: int, count: int
) -> dict[str, dict[str, Sums]]:
    """Ways of overlapping windows, on scenes."""
    maps, encoder = ModalityMaps(network), Encoder.from_pretrained(bundle)
    patch, crop = network.encoder.settings.patch_size, network.encoder.settings.image_size
    ways = {
        "no overlap": (patch, crop, 0),
        "overlap of a patch": (patch, crop, patch),
        "overlap of half a window": (patch, crop, crop // 2),
        "overlap of half a window, by half patches": (patch // 2, crop, crop // 2 - patch // 2),
        "overlap of more, by half patches": (patch // 2, crop, crop // 2 + patch // 2),
        "windows of twice the size": (patch, 2 * crop, crop // 2),
    }
    table: dict[str, dict[str, Sums]] = {way: {} for way in ways}
    for scene, truth in _scenes(network, statistics, planet, count):
        door = open_scene_door(scene, encoder)
        for way, (step, size, ramp) in ways.items():
            windows = Windows.of(_SIDE, _SIDE, patch=step, cell=1, size=size, margin=0, ramp=ramp)
            strips = compute_strips(door, maps, windows, range(len(windows.down.starts)), batch=8)
            rows = np.concatenate([each.values for each in join_strips(strips, windows)])
            found = torch.from_numpy(rows).permute(2, 0, 1)[None]
            for name, place in maps.channels.items():
                new = _score(network, name, found[:, place], truth[name])
                old = table[way].get(name, (np.empty(0), np.empty(0)))
                table[way][name] = (np.append(old[0], new[0]), np.append(old[1], new[1]))
    return table


def _scenes(
    network: MaskedAutoencoder, statistics: Statistics, planet: int, count: int
) -> Iterator[tuple[ArrayScene, dict[str, Observed[Tensor]]]]:
    earth = SyntheticEarth(planet, tile_size=_SIDE)
    batch = earth.tiles(earth.places(count, start=_FIRST_PLACE))
    name, bands = network.modality.name, network.modality.band_names
    for number in range(count):
        full = earth.modalities[name]
        code = int(batch.coordinates.levels[name][number])
        values, valid = full.decode(batch.arrays[name][number][None])
        numbers = np.where(valid, values, np.nan)[0][list(full.band_indices(bands))]
        truth = {}
        for target in (each for each in network.targets.values() if each.kind.is_map):
            stored = earth.modalities[target.name].select(target.band_names)
            rows = list(earth.modalities[target.name].band_indices(target.band_names))
            observed = Observed(*map(torch.from_numpy, stored.decode(batch.arrays[target.name][number][None, rows])))
            levels = torch.tensor([code if target.levels else -1])
            truth[target.name] = Normaliser.of(target, statistics)(observed, levels)
        yield ArrayScene(numbers, bands, full.bands[0].unit, _GRID, level=full.levels[code]), truth


def _score(network: MaskedAutoencoder, name: str, found: Tensor, truth: Observed[Tensor]) -> Sums:
    categorical = network.targets[name].kind.is_categorical
    values, valid = truth
    each = (found.argmax(1) == values).float() if categorical else (found - values).square()
    return tuple(
        (part * valid).double().reshape(len(each), -1).sum(1).numpy() for part in (each, torch.ones_like(each))
    )  # type: ignore[return-value]  # two of them


def print_table(network: MaskedAutoencoder, table: dict[str, dict[str, Sums]]) -> None:
    """As Markdown."""
    first = next(iter(table.values()))
    print("\n| | " + " | ".join(first) + " |\n|---|" + "---:|" * len(first))
    count = len(next(iter(first.values()))[0])
    chosen = np.random.default_rng(0).integers(0, count, (_RESAMPLES, count))
    for way, scores in table.items():
        cells = []
        for name, (sums, counts) in scores.items():
            root: Callable[[Floats], Floats] = (lambda x: x) if network.targets[name].kind.is_categorical else np.sqrt
            value = root(sums.sum() / counts.sum())
            base = first[name]
            apart = root(sums[chosen].sum(1) / counts[chosen].sum(1)) - root(
                base[0][chosen].sum(1) / base[1][chosen].sum(1)
            )
            low, high = np.percentile(apart, (2.5, 97.5))
            star = "*" if low > 0 or high < 0 else ""
            difference = value - root(base[0].sum() / base[1].sum())
            cells.append(f"{value:.3f}" if scores is first else f"{value:.3f} ({difference:+.3f}{star})")
        print(f"| {way} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main()

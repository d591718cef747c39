"""How long a linear probe of cached features takes, and how fast features are had.

Probe: 20,000 training samples of 320 features and 10 classes (another 4,000 validate and test), ten strengths.
Features are mixtures whose variances fall off as those of an encoder do, over four orders; classes overlap, so that the
probe is right about half of the time. "All ten strengths" goes through the whole sweep, which the probe as it is leaves
when three strengths in a row were no better.

Features: tiles of a store, or pictures, through all that an evaluation does (reading, decoding, standardising, encoding
and pooling), beside the bare encoder on tensors in memory, in the same blocks; the encoder alone has no pooling. A
ratio is taken within a round. Files are in the page cache.

Caveats: with other work on the machine, seconds say little; processor seconds, of all threads together, say more.

Run: python benchmarks/probe.py [--rounds 5] [--tiles 1024] [--size atto] [--samples 20000]
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.evaluate.inputs import Feed, ImageInputs, TileInputs
from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.probe import probe
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import input_scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import SENTINEL2_BANDS, EncoderSettings
from geopretext.predict.images import RGB_BANDS, ImageFiles
from measuring import Timing, machine, table, take_turns, verdict

TARGETS = {"seconds": 20.0, "share": 0.9}
_VARIANTS = ("through the feed", "bare encoder")
_BLOCK = 32  # images that the encoder takes at once on a CPU, see ``predict.features``


@dataclass(frozen=True)
class Options:
    """What is measured."""

    rounds: int = 5
    """in which every variant takes its turn"""
    samples: int = 20_000
    """of which the probe is fitted"""
    features: int = 320
    """of a sample"""
    classes: int = 10
    """that are told apart"""
    tiles: int = 1024
    """of 64 px, and as many pictures"""
    size: str = "atto"
    """of the encoder"""


def made_features(options: Options) -> LabelledFeatures:
    """Features of many scales, and classes that overlap."""
    generator = np.random.default_rng(0)
    held_out = options.samples // 10
    count = options.samples + 2 * held_out
    hidden = generator.normal(size=(count, options.features)) * np.logspace(0, -2, options.features)
    mixing = np.linalg.qr(generator.normal(size=(options.features, options.features)))[0]
    by_class = generator.normal(size=(options.features, options.classes))
    labels = (hidden @ by_class + 2 * generator.normal(size=(count, options.classes))).argmax(1)
    parts = np.split(np.arange(count), [options.samples, options.samples + held_out])
    return LabelledFeatures.standardise(
        (hidden @ mixing).astype(np.float32),
        labels,
        kind=TaskKind.SINGLE_LABEL,
        outputs=options.classes,
        train=parts[0],
        val=parts[1],
        test=parts[2],
    )


def measure_probe(options: Options) -> dict[str, Any]:
    """Seconds, and processor seconds, of the probe as it is and of the whole sweep."""
    data = made_features(options)
    variants: dict[str, Callable[[], object]] = {
        "as it is": partial(probe, data),
        "all ten strengths": partial(probe, data, patience=None),
    }
    chosen = probe(data)
    return {"chosen": dict(chosen.chosen), "validation": chosen.validation, **_time(variants, options.rounds)}


def _time(variants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, Any]:
    """Seconds and processor seconds of each variant in each round."""
    busy: dict[str, list[float]] = {name: [] for name in variants}

    def run(name: str) -> None:
        began = time.process_time()
        variants[name]()
        busy[name].append(time.process_time() - began)

    timings = take_turns({name: partial(run, name) for name in variants}, rounds=rounds)
    return {
        "seconds": {name: timing.seconds for name, timing in timings.items()},
        "processor_seconds": {name: tuple(each[1:]) for name, each in busy.items()},
    }


def measure_features(options: Options, folder: Path) -> dict[str, Any]:
    """Images a second through an evaluation's feed and through the bare encoder."""
    store = Store.open(_write_tiles(folder / "tiles.zarr", options.tiles))
    numbers = np.arange(options.tiles)
    optical = _encoder(options.size, SENTINEL2_BANDS, store)
    colour = _encoder(options.size, RGB_BANDS, store)
    feeds: dict[str, tuple[Encoder, Feed]] = {
        "tiles, 12 bands": (optical, TileInputs(store).prepare(optical, numbers)),
        "pictures (png), 3 bands": (colour, ImageInputs(_write_pictures(folder, store)).prepare(colour, numbers)),
    }
    found = {}
    for name, (encoder, feed) in feeds.items():
        images = torch.cat(list(feed.standardised(numbers)))
        variants: dict[str, Callable[[], object]] = {
            _VARIANTS[0]: partial(feed.features, encoder, numbers),
            _VARIANTS[1]: partial(_encode, encoder, images),
        }
        found[name] = _time(variants, options.rounds)
    return found


def _write_tiles(path: Path, count: int) -> Path:
    write_synthetic_store(path, count=count, seed=0)
    return path


def _encoder(size: str, bands: tuple[str, ...], store: Store) -> Encoder:
    torch.manual_seed(0)
    modality = PUBLISHED["sentinel2"].select(bands)
    assert store.statistics is not None
    return Encoder(
        ConvNeXtV2(EncoderSettings(size=size, bands=bands)),
        modality,
        statistics=input_scales(store.statistics.to_dict(), modality),
    ).eval()


def _write_pictures(folder: Path, store: Store) -> ImageFiles:
    """The tiles' colours as 8-bit pictures."""
    from PIL import Image

    order = [store.modalities["sentinel2"].band_names.index(band) for band in RGB_BANDS]
    paths = []
    for number in range(len(store)):
        values = store.read(["sentinel2"], np.array([number]))["sentinel2"][0, order]
        paths.append(folder / f"{number}.png")
        Image.fromarray((values.transpose(1, 2, 0) / 16).clip(0, 255).astype(np.uint8)).save(paths[-1])
    return ImageFiles.open(paths)


@torch.inference_mode()
def _encode(encoder: Encoder, images: torch.Tensor) -> None:
    for some in torch.split(images, _BLOCK):
        encoder.network(some)


def report(result: dict[str, Any]) -> str:
    """Tables and verdicts."""
    options, sweep = Options(**result["options"]), result["probe"]
    what = f"probe, {options.samples} x {options.features}, {options.classes} classes"
    header = [what, "s", "fastest", "slowest", "processor s"]
    rows = []
    for name, seconds in sweep["seconds"].items():
        busy = sweep["processor_seconds"][name]
        rows.append([name, *(f"{s:.1f}" for s in (median(seconds), min(seconds), max(seconds), median(busy)))])
    lines = [result["machine"], f"threads: {torch.get_num_threads()}", "", table(header, rows), ""]
    header = [f"features, {options.size}", "images/s", "bare encoder", "share", "of processor time"]
    shares, rows = {}, []
    for name, each in result["features"].items():
        feed, bare = (Timing(tuple(each["seconds"][variant])) for variant in _VARIANTS)
        busy_feed, busy_bare = (Timing(tuple(each["processor_seconds"][variant])) for variant in _VARIANTS)
        shares[name] = feed.times_faster_than(bare)
        of_time = busy_feed.times_faster_than(busy_bare)
        rates = [f"{timing.rate(options.tiles):.0f}" for timing in (feed, bare)]
        rows.append([name, *rates, f"{100 * shares[name]:.0f} %", f"{100 * of_time:.0f} %"])
    lines += [table(header, rows), ""]
    longest = max(median(seconds) for seconds in sweep["seconds"].values())
    lines.append(verdict("probe", TARGETS["seconds"] / longest, 1.0, "times as fast as aimed at"))
    lines += [verdict(name, share, TARGETS["share"], "of the bare encoder's rate") for name, share in shares.items()]
    return "\n".join(lines)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--samples", type=int, default=Options.samples)
    parser.add_argument("--tiles", type=int, default=Options.tiles)
    parser.add_argument("--size", default=Options.size)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    options = Options(rounds=args.rounds, samples=args.samples, tiles=args.tiles, size=args.size)
    with tempfile.TemporaryDirectory() as folder:
        result = {
            "machine": machine(),
            "options": asdict(options),
            "probe": measure_probe(options),
            "features": measure_features(options, Path(folder)),
        }
    print(json.dumps(result) if args.json else report(result))


if __name__ == "__main__":
    main()

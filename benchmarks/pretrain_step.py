"""How fast a step of MP-MAE is, beside the published way of computing it and beside the least that it could take.

For atto with all twelve modalities, at 56/8 and 112/16 (pixels / patch), a batch on the device already:

- published: as the published code computes on a CPU (``measuring.published_step``), float32;
- masked dense: ours, but with the encoder's dense grid and in plain torch, without compiled kernels, float32;
- ours fp32, ours bf16: as ``geopretext pretrain`` does it, with autocast for bf16; the optimiser's step is included.

Before anything is timed, losses and the norm of all gradients must agree. The floor is the time of the matrix products
that cannot be left out (visible patches, shared decoder once, heads on masked patches, stem; forward and backward;
counted from shapes) at the best rate of a matrix product that was measured in the same rounds: of large square
matrices, or of the step's own shapes. Variants take turns; figures are medians over rounds, ratios within a round.

Memory is what one step on a full batch adds to the peak of a process of its own after a step on one tile, over tiles:
activations and work space, but not weights, gradients, optimiser and input. On CUDA it is what the allocator says.

Caveats: a shared machine is noisy; made-up tiles (with a tenth of the numbers missing), since time does not hang on
what they show; no loader, unless ``--store`` is given.

Run: python benchmarks/pretrain_step.py [--size atto] [--batch-size 64] [--rounds 5] [--threads 2] [--device cuda]
[--store tiles.zarr] [--json]
"""

import argparse
import copy
import json
import math
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from multiprocessing import get_context
from typing import Any

import torch
from torch import Tensor, nn

from geopretext.data.loader import TileLoader
from geopretext.data.reader import open_tiles, statistics_of
from geopretext.modality import PUBLISHED, Modality, Observed
from geopretext.nn.convnextv2 import ConvNeXtV2, as_convnextv2
from geopretext.nn.kernels import kernels_enabled
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings
from geopretext.train.memory import keep_freed_memory
from measuring import Timing, machine, peak_bytes, resident_bytes, table, take_turns, verdict
from measuring.operations import OwnProducts, SquareProduct, least_products, multiply_adds, published_products
from measuring.published_step import PublishedStep

GEOMETRIES = {"56/8": (56, 8), "112/16": (112, 16)}
BASELINE = "published"
VARIANTS = (BASELINE, "masked dense", "ours fp32", "ours bf16")
TARGETS = {"ours fp32": 4.0, "ours bf16": 8.0}
FLOOR_SHARE = 0.5
_SQUARES = (1024, 2048)

Fields = dict[str, Observed[Tensor]]


@dataclass(frozen=True)
class Options:
    """What is measured."""

    size: str = "atto"
    """of the encoder"""
    batch_size: int = 64
    """tiles a step"""
    rounds: int = 5
    """in which every variant takes its turn"""
    threads: int | None = None
    """of torch; None: as torch chooses"""
    device: str = "cpu"
    """``cpu`` or ``cuda``"""
    store: str | None = None
    """a tile store, to measure steps that wait for the loader, too"""


class MaskedDense(nn.Module):
    """An encoder that always takes its masked dense path.

    Args:
        encoder: whose weights are used.
    """

    def __init__(self, encoder: ConvNeXtV2) -> None:
        super().__init__()
        self.settings, self.encoder = encoder.settings, encoder

    def forward(self, x: Tensor, visible: Tensor, count: int) -> Tensor:  # noqa: ARG002 -- as the network calls it
        """As ``ConvNeXtV2.forward``; ``count`` is not told to the encoder."""
        features: Tensor = self.encoder(x, visible)
        return features


class Step:
    """One variant of an optimiser step, with weights of its own.

    Args:
        variant: one of ``VARIANTS``.
        method: whose weights it starts from.
    """

    def __init__(self, variant: str, method: MPMAE) -> None:
        method = copy.deepcopy(method)
        if variant == "masked dense":
            method.network.encoder = MaskedDense(as_convnextv2(method.encoder, "this variant"))  # type: ignore[assignment]
        self.network: MPMAE | PublishedStep = PublishedStep(method) if variant == BASELINE else method
        self.bf16, self.kernels = variant == "ours bf16", variant.startswith("ours")
        self.tasks = tuple(method.targets)
        self.optimizer = torch.optim.AdamW(self.network.parameters(), 1e-5, (0.9, 0.95), weight_decay=0.05, fused=True)

    def gradients(self, fields: Fields, seeds: Tensor) -> Tensor:
        """The mean losses of all tasks and the norm of all gradients, found as ``PretrainModule`` finds them."""
        self.optimizer.zero_grad()
        with kernels_enabled(self.kernels), torch.autocast(seeds.device.type, torch.bfloat16, enabled=self.bf16):
            losses = self.network(fields, seeds)
            means = {name: loss.total / loss.count.clamp(min=1) for name, loss in losses.items()}
            active = {name: loss.count > 0 for name, loss in losses.items()}
            objective = self.network.combine(means, active)
        objective.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.get_total_norm([p.grad for p in self.network.parameters() if p.grad is not None])
        return torch.stack([*(means[name].detach() for name in self.tasks), norm])

    def __call__(self, fields: Fields, seeds: Tensor) -> None:
        """A whole step."""
        assert all(map(math.isfinite, self.gradients(fields, seeds).tolist()))  # training fetches them, too
        self.optimizer.step()


def make_method(size: str, geometry: str) -> MPMAE:
    """MP-MAE with all twelve tasks; the same weights at every call."""
    image_size, patch_size = GEOMETRIES[geometry]
    torch.manual_seed(0)
    encoder = EncoderSettings(size=size, image_size=image_size, patch_size=patch_size)
    method = MPMAE(encoder, MPMAESettings(), PUBLISHED)
    for name, parameter in method.named_parameters():  # response norms that do something, so that they are compared
        if ".grn." in name:
            nn.init.normal_(parameter, std=0.5)
    return method


def make_batch(method: MPMAE, tiles: int, device: torch.device) -> tuple[Fields, Tensor]:
    """Made-up tiles, a tenth of whose numbers is missing, and their seeds."""
    random = torch.Generator().manual_seed(1)
    size = method.network.encoder.settings.image_size
    fields = {}
    for name, bands in method.bands.items():
        modality = (method.targets.get(name) or method.network.modality).select(bands)
        values = _values(modality, tiles, size, random)
        valid = torch.rand(values.shape, generator=random) < 0.9
        fields[name] = Observed(values.masked_fill(~valid, 0).to(device), valid.to(device))
    return fields, torch.arange(tiles, device=device)


def _values(modality: Modality, tiles: int, size: int, random: torch.Generator) -> Tensor:
    pixels = (size, size) if modality.kind.is_map else ()
    if modality.kind.is_categorical:
        return torch.randint(modality.channels, (tiles, *pixels), generator=random)
    return torch.randn(tiles, len(modality.bands), *pixels, generator=random)


def check_agreement(steps: dict[str, Step], fields: Fields, seeds: Tensor) -> dict[str, float]:
    """Largest relative difference from the published way, over losses and the norm of the gradients, by variant.

    Raises:
        SystemExit: a variant computes something else.
    """
    wanted = steps[BASELINE].gradients(fields, seeds)
    differences = {}
    for variant, step in steps.items():
        found = step.gradients(fields, seeds)
        differences[variant] = float(((found - wanted).abs() / wanted.abs().clamp(min=1e-3)).max())
        if not differences[variant] < (0.1 if step.bf16 else 1e-4):
            raise SystemExit(f"{variant!r} computes something else: {found.tolist()}, not {wanted.tolist()}")
    return differences


def measure_memory(options: Options, geometry: str, variant: str) -> float | None:
    """Bytes a tile that a step on a full batch needs; call it in a fresh process, or for CUDA."""
    device = _prepare(options)
    method = make_method(options.size, geometry).to(device)
    step = Step(variant, method)
    fields, seeds = make_batch(method, options.batch_size, device)
    step({name: Observed(values[:1], valid[:1]) for name, (values, valid) in fields.items()}, seeds[:1])
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        step(fields, seeds)
        return (torch.cuda.max_memory_allocated() - before) / options.batch_size
    resident = resident_bytes()
    step(fields, seeds)
    peak = peak_bytes()
    return None if resident is None or peak is None else (peak - resident) / options.batch_size


def measure_with_loader(options: Options, geometry: str, step: Step, method: MPMAE, batches: int = 40) -> float | None:
    """Tiles a second from a store, loader and step at the same time; None if the store has no tiles of that size."""
    assert options.store is not None
    device, size = torch.device(options.device), GEOMETRIES[geometry][0]
    reader = open_tiles(options.store)
    if not size <= reader.tile_size < 2 * size:
        return None
    loader = TileLoader(
        reader,
        modalities=method.bands,
        statistics=statistics_of(reader),
        batch_size=options.batch_size,
        crop=size,
        device=device,
        prefetch=4,
    )
    endless = (batch for _ in iter(int, 1) for batch in loader)
    for batch in islice(endless, 3):
        step(batch.fields, batch.seeds)
    _settle(device)
    began = time.perf_counter()
    for batch in islice(endless, batches):
        step(batch.fields, batch.seeds)
    _settle(device)
    return batches * options.batch_size / (time.perf_counter() - began)


def _prepare(options: Options) -> torch.device:
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    if options.device == "cpu":
        keep_freed_memory()  # as training does; it serves all variants
    return torch.device(options.device)


def _settle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(options: Options, geometry: str) -> dict[str, Any]:
    """Everything about one geometry, as plain data."""
    device = _prepare(options)
    method = make_method(options.size, geometry).to(device)
    fields, seeds = make_batch(method, options.batch_size, device)
    steps = {variant: Step(variant, method) for variant in VARIANTS}
    few = {name: Observed(values[:4], valid[:4]) for name, (values, valid) in fields.items()}
    differences = check_agreement(steps, few, seeds[:4])

    least = least_products(method)
    products: dict[str, SquareProduct | OwnProducts] = {}
    for dtype, kind in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        products |= {f"square {size} {dtype}": SquareProduct(size, kind, device) for size in _SQUARES}
        products[f"own shapes {dtype}"] = OwnProducts(least, options.batch_size, kind, device)
    runs: dict[str, Callable[[], object]] = {name: _bind(step, fields, seeds) for name, step in steps.items()}
    timings = take_turns({**runs, **products}, rounds=options.rounds, settle=lambda: _settle(device))

    rates = {name: timings[name].rate(product.multiply_adds) for name, product in products.items()}
    memory = _memory(options, geometry)
    figures = {
        variant: {
            **_figures(variant, timings, options.batch_size, multiply_adds(least), rates),
            "bytes_a_tile": memory[variant],
            "difference": differences[variant],
        }
        for variant in VARIANTS
    }
    result: dict[str, Any] = {
        "variants": figures,
        "multiply_adds_a_tile": multiply_adds(least),
        "depthwise_multiply_adds_a_tile": multiply_adds(least, depthwise=True),
        "published_multiply_adds_a_tile": multiply_adds(published_products(method)),
        "multiply_adds_a_second": rates,
    }
    if options.store is not None:
        result["tiles_a_second_with_loader"] = measure_with_loader(options, geometry, steps["ours bf16"], method)
    return result


def _bind(step: Step, fields: Fields, seeds: Tensor) -> Callable[[], object]:
    return lambda: step(fields, seeds)


def _memory(options: Options, geometry: str) -> dict[str, float | None]:
    if options.device == "cuda":
        return {variant: measure_memory(options, geometry, variant) for variant in VARIANTS}
    with ProcessPoolExecutor(2, mp_context=get_context("spawn"), max_tasks_per_child=1) as pool:
        pending = {variant: pool.submit(measure_memory, options, geometry, variant) for variant in VARIANTS}
        return {variant: each.result() for variant, each in pending.items()}


def _figures(
    variant: str, timings: dict[str, Timing], tiles: int, least: int, rates: dict[str, float]
) -> dict[str, float]:
    """Rate, ratio and share of the floor; the floor is that of the numbers that the variant multiplies."""
    dtype = variant[-4:] if variant[-4:] in ("fp32", "bf16") else "fp32"
    mine = {name: rate for name, rate in rates.items() if name.endswith(dtype)}
    timing = timings[variant]
    slowest, fastest = timing.spread(tiles)
    return {
        "tiles_a_second": timing.rate(tiles),
        "slowest": slowest,
        "fastest": fastest,
        "times_baseline": timing.times_faster_than(timings[BASELINE]),
        "share_of_floor": timing.rate(tiles) * least / max(mine.values()),
        "share_at_own_shapes": timing.rate(tiles) * least / mine[f"own shapes {dtype}"],
    }


def report(result: dict[str, Any]) -> str:
    """Tables and targets, for people."""
    lines = [result["machine"], f"torch {result['torch']}, {result['threads']} threads, {result['options']}"]
    for geometry, found in result["geometries"].items():
        lines += ["", f"## {result['options']['size']} {geometry}", ""]
        header = ("variant", "tiles/s", "slowest..fastest", "x published", "of floor", "at own shapes", "MiB a tile")
        lines.append(table(header, [_row(name, each) for name, each in found["variants"].items()]))
        lines.append("")
        lines.append(
            f"million multiply-adds a tile: {found['multiply_adds_a_tile'] / 1e6:.0f} in the matrix products of the"
            f" floor ({found['published_multiply_adds_a_tile'] / 1e6:.0f} in those of the published way);"
            f" {found['depthwise_multiply_adds_a_tile'] / 1e6:.0f} in depthwise convolutions, not in the floor"
        )
        rates = found["multiply_adds_a_second"].items()
        lines.append("billion multiply-adds a second: " + ", ".join(f"{n} {rate / 1e9:.0f}" for n, rate in rates))
        if found.get("tiles_a_second_with_loader"):
            lines.append(f"ours bf16 from a store, loader included: {found['tiles_a_second_with_loader']:.0f} tiles/s")
        for variant, wanted in TARGETS.items():
            each = found["variants"][variant]
            lines.append(verdict(f"{variant} against published", each["times_baseline"], wanted, "times"))
            lines.append(verdict(f"{variant} of the floor", each["share_of_floor"], FLOOR_SHARE, "of 1"))
    return "\n".join(lines)


def _row(name: str, each: dict[str, Any]) -> tuple[str, ...]:
    memory = "" if each["bytes_a_tile"] is None else f"{each['bytes_a_tile'] / 2**20:.1f}"
    return (
        name,
        f"{each['tiles_a_second']:.1f}",
        f"{each['slowest']:.1f}..{each['fastest']:.1f}",
        f"{each['times_baseline']:.2f}",
        f"{each['share_of_floor']:.0%}",
        f"{each['share_at_own_shapes']:.0%}",
        memory,
    )


def run(options: Options, geometries: tuple[str, ...] = tuple(GEOMETRIES)) -> dict[str, Any]:
    """Measure all; plain data."""
    _prepare(options)
    return {
        "machine": machine(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "options": asdict(options),
        "geometries": {geometry: measure(options, geometry) for geometry in geometries},
    }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="atto")
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--store", help="a tile store, to measure steps that wait for the loader, too")
    parser.add_argument("--geometry", choices=tuple(GEOMETRIES), action="append", help="default: all")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    options = Options(args.size, args.batch_size, args.rounds, args.threads, args.device, args.store)
    result = run(options, tuple(args.geometry or GEOMETRIES))
    print(json.dumps(result) if args.json else report(result))


if __name__ == "__main__":
    main()

"""What each departure from the published MMEarth code costs or gains (docs/fidelity.md).

Two parts. *Facts* can be had without much training, and are the same at every call on one machine: missing numbers and
denominators, what zeros for missing targets do to a least-squares fit, how weights start, how far a tile's features
depend on its batch, what weight decay adds up to. *Ablations* are short pretrainings on the synthetic Earth: the
default, each departure undone alone, and all of them (``official``), over several seeds of weights, order and masks,
each followed by linear probes and by the default loss on test tiles, which is the same measure for all.

Caveats: networks, tiles and steps are tiny beside MMEarth's, so this shows directions at best; intervals are
t-intervals over seeds on one planet and one split. Runs share two processes; only scores are compared, not times.

Run: python benchmarks/fidelity.py [--quick] [--part facts|ablations|all] [--seeds 4] [--steps 200] [--tiles 2400]
"""

import argparse
import copy
import math
import os
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.loader import Batch, TileLoader
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import SPLITS
from geopretext.errors import NonFiniteError
from geopretext.evaluate.evaluation import HEADS
from geopretext.evaluate.metrics import measure
from geopretext.evaluate.tasks import store_task
from geopretext.modality import PRETEXT, Kind, Observed, Role
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import load_reconstructor
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.kernels import kernels_enabled
from geopretext.nn.masking import patchify, sample_visible
from geopretext.nn.response_norm import GlobalResponseNorm
from geopretext.predict.features import tile_features
from geopretext.pretext.mp_mae import MPMAE
from geopretext.train.module import split_parameters
from geopretext.train.recipe import Recipe, differing_fields, load_recipe, recipe_to_plain
from geopretext.train.run import count_steps, pretrain, training_tiles

PUBLISHED = "mp-mae-atto-56-8"
SMALL = {  # the demo's encoder on small tiles, with MMEarth's choice of hidden patches and without clipping
    "encoder.patch_size": 8,
    "encoder.image_size": 32,
    "pretext.predict_visible": False,
    "clip_norm": None,
    "accelerator": "cpu",
    "log_every_steps": 10**6,
    "checkpoint_every_steps": 10**6,
}
TILE = 32
T_975 = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}
"""quantile of Student's t by degrees of freedom"""

Array = npt.NDArray[Any]


def departures() -> dict[str, Any]:
    """Fields in which the official recipes differ from the default ones, with the official value."""
    default, official = (recipe_to_plain(load_recipe(PUBLISHED + suffix)) for suffix in ("", "-official"))
    differing = differing_fields(default, official)
    # "accumulate" makes parts of 256 tiles; all batches here are smaller than that
    return {name: value for name, (_, value) in differing.items() if name not in ("name", "accumulate")}


# ---- facts ---------------------------------------------------------------------------------------------------------


def facts(folder: Path, tiles: int, steps: int) -> None:
    """Print all that needs no ablation."""
    store = Store.open(write_synthetic_store(folder / "facts.zarr", count=tiles))
    batch = next(iter(loader_of(store, load_recipe(PUBLISHED), np.arange(len(store)), batch_size=16)))
    print(f"\nmissing targets in the hidden patches of {tiles} tiles; loss of predicting the mean by denominator")
    missing_numbers(store)
    print(
        "\nleast squares from Sentinel-2 to Sentinel-1, one sample a patch, scored on observed numbers of other tiles"
    )
    zero_filled_optimum(store)
    print("\nfirst weights:", PUBLISHED, "on 16 tiles")
    first_weights(store, batch)
    print(f"\nresponse norms after {steps} steps")
    response_norms(folder, steps)
    print("\nweight decay of", PUBLISHED, "over 200 epochs of 1.2 million tiles")
    decay()


def missing_numbers(store: Store) -> None:
    """How much of each target is missing, in what pieces, and what the loss of a network is that predicts the mean."""
    recipe = load_recipe(PUBLISHED)
    batch = next(iter(loader_of(store, recipe, np.arange(len(store)), batch_size=len(store))))
    hidden = ~sample_visible(batch.seeds, recipe.encoder.patches, recipe.pretext.mask_ratio)
    columns = ("numbers", "whole patches", "parts of patches", "valid", "ignored, nonzero", "zero, nonzero")
    print(f"{'':20}" + "".join(f"{column:>18}" for column in columns))
    for name in (n for n, field in batch.fields.items() if store.modalities[n].kind is Kind.CONTINUOUS_MAP):
        values, valid = (patchify(part.float(), recipe.encoder.patch_size)[hidden] for part in batch.fields[name])
        squares, count = values.square().sum(-1), valid.sum(-1)
        some = count[squares > 0]
        shares = (
            1 - valid.mean(),
            (count == 0).float().mean(),
            ((count > 0) & (count < valid.shape[-1])).float().mean(),
        )
        losses = (
            squares.sum() / count.sum(),
            (squares[squares > 0] / some).mean(),
            (squares / valid.shape[-1]).sum() / len(some),
        )
        row = "".join(f"{share:18.1%}" for share in shares) + "".join(f"{loss:18.3f}" for loss in losses)
        print(f"{name:20}{row}")


def zero_filled_optimum(store: Store) -> None:
    """Fit each band of Sentinel-1 on patch means, with missing targets left out and as zeros."""
    recipe = load_recipe(PUBLISHED)
    batch = next(iter(loader_of(store, recipe, np.arange(len(store)), batch_size=len(store))))
    sides = recipe.encoder.patch_size
    seen, radar = batch.fields["sentinel2"], batch.fields["sentinel1"]
    x = patch_means(seen, sides)[0]
    x = torch.cat([x, torch.ones_like(x[..., :1])], -1).double()
    y, known = patch_means(radar, sides)
    train = torch.arange(len(x)) < len(x) // 2
    print(f"{'':10}{'missing':>9}{'MSE, left out':>15}{'MSE, zeros':>12}{'slope of zeros on left out':>28}")
    for band, title in enumerate(store.modalities["sentinel1"].band_names):
        target, there = y[..., band].double(), known[..., band]
        if not there.any():
            continue
        predicted = []
        for rows in (there, torch.ones_like(there)):
            rows = rows & train[:, None]
            weights = torch.linalg.lstsq(x[rows], target[rows][:, None]).solution
            predicted.append((x @ weights)[..., 0][there & ~train[:, None]])
        truth = target[there & ~train[:, None]]
        errors = [float((p - truth).square().mean()) for p in predicted]
        left_out, zeros = (p - p.mean() for p in predicted)
        slope = float((left_out * zeros).sum() / left_out.square().sum())
        print(f"{title:10}{1 - there.float().mean():9.1%}{errors[0]:15.3f}{errors[1]:12.3f}{slope:28.2f}")


def patch_means(field: Observed[Tensor], side: int) -> tuple[Tensor, Tensor]:
    """(B, P, C): the mean over a patch's valid numbers, 0 where there is none; and where there is one."""
    cut = (patchify(part.float(), side) for part in field)
    values, valid = (part.reshape(*part.shape[:2], side * side, -1) for part in cut)
    count = valid.sum(2)
    return values.sum(2) / count.clamp(min=1), count > 0


def first_weights(store: Store, batch: Batch) -> None:
    """Losses and gradients before the first step, also of a tile without any observed pixel."""
    print(f"{'':12}{'all losses':>12}{'sentinel1':>11}{'gradient':>11}{'unobserved tile':>18}{'and first bias 0':>19}")
    one = {name: Observed(field.values[:1], field.valid[:1]) for name, field in batch.fields.items()}
    values, valid = one["sentinel2"]
    one["sentinel2"] = Observed(torch.zeros_like(values), torch.zeros_like(valid))
    for kind in ("small", "published"):
        recipe = load_recipe(PUBLISHED, {"encoder.initialisation": kind})
        torch.manual_seed(0)
        method = MPMAE(recipe.encoder, recipe.pretext, store.modalities)
        losses, gradient = step(method, batch.fields, batch.seeds)
        _, with_bias = step(method, one, batch.seeds[:1])
        method.network.encoder.get_parameter("initial_conv.0.bias").data.zero_()
        _, without_bias = step(method, one, batch.seeds[:1])
        first = f"{sum(losses.values()):12.3g}{losses['sentinel1']:11.3g}{gradient:11.3g}"
        print(f"{kind:12}{first}{with_bias:18.3g}{without_bias:19.3g}")


def step(method: MPMAE, fields: Mapping[str, Observed[Tensor]], seeds: Tensor) -> tuple[dict[str, float], float]:
    """Each task's loss and the norm of the gradient of their sum."""
    method.zero_grad()
    losses = {name: loss.total / loss.count.clamp(min=1) for name, loss in method(fields, seeds).items()}
    torch.stack(list(losses.values())).sum().backward()  # type: ignore[no-untyped-call]
    norm = torch.nn.utils.get_total_norm([p.grad for p in method.parameters() if p.grad is not None])
    return {name: loss.item() for name, loss in losses.items()}, norm.item()


def response_norms(folder: Path, steps: int) -> None:
    """How far a tile's features depend on its batch, and how strong the decoder's responses are."""
    path = write_synthetic_store(folder / "norms.zarr", count=320, tile_size=TILE)
    for scope in ("sample", "batch"):
        recipe = small_recipe({"encoder.grn_scope": scope}, steps=steps, seed=0, tiles=256)
        bundle = pretrain(recipe, data=path, out=folder / f"norms-{scope}", progress=False).bundle
        network = cast("MaskedAutoencoder", load_reconstructor(bundle))
        print(f"{scope:8}", batch_dependence(cast("ConvNeXtV2", network.encoder), Store.open(path), recipe))
    # So short a training leaves gamma near its 0; this shows what is to come.
    encoder = cast("ConvNeXtV2", copy.deepcopy(network.encoder))
    with torch.no_grad():
        for module in encoder.modules():
            if isinstance(module, GlobalResponseNorm):
                module.gamma.normal_(generator=torch.Generator().manual_seed(0))
    print(f"{scope:8}", batch_dependence(encoder, Store.open(path), recipe))
    strengths = []
    for module in network.decoders.modules():
        if isinstance(module, GlobalResponseNorm):
            module.register_forward_pre_hook(
                lambda _, inputs: strengths.append(inputs[0].flatten(1, -2).norm(dim=1).mean())
            )
    batch = next(iter(loader_of(Store.open(path), recipe, np.arange(64), batch_size=64)))
    with torch.no_grad(), kernels_enabled(False):  # hooks see layers only, and kernels pass them by
        network(batch.fields["sentinel2"].values, sample_visible(batch.seeds, 16, 0.6))
    mean = float(strengths[0])
    print(f"decoder: mean strength {mean:.3g}; epsilon 1e-4 for 1e-6 changes what its norm adds by {1e-4 / mean:.1g}")


@torch.no_grad()
def batch_dependence(encoder: ConvNeXtV2, store: Store, recipe: Recipe) -> str:
    """Relative change of 16 tiles' features when the other 48 tiles of a training batch are exchanged."""
    batches = iter(loader_of(store, recipe, np.arange(192), batch_size=64))
    images = [batch.fields["sentinel2"].values for batch in (next(batches), next(batches))]
    seeds = torch.arange(64)
    visible = sample_visible(seeds, recipe.encoder.patches, recipe.pretext.mask_ratio)
    count = int(visible[0].sum())
    other = torch.cat([images[0][:16], images[1][16:]])
    first, second = (encoder.train()(x, visible, count)[:16] for x in (images[0], other))
    alone = encoder.eval()(images[0], visible, count)[:16]
    gammas = torch.cat([m.gamma.flatten() for m in encoder.modules() if isinstance(m, GlobalResponseNorm)])
    exchanged, inference = (float((x - first).norm() / first.norm()) for x in (second, alone))
    return (
        f"with gamma of {gammas.square().mean().sqrt():.3f} (root mean square): other tiles in the batch"
        f" {exchanged:.2%}, inference instead of training {inference:.2%}"
    )


def decay() -> None:
    """By what factor a parameter without any gradient shrinks, and how many are concerned."""
    recipe = load_recipe(PUBLISHED)
    per_epoch, total = count_steps(recipe, 1_200_000)
    warmup = recipe.warmup_epochs * per_epoch
    rates = [
        recipe.learning_rate
        * (k / warmup if k < warmup else 0.5 + 0.5 * math.cos(math.pi * (k - warmup) / (total - warmup)))
        for k in range(total)
    ]
    shrunk = math.prod(1 - rate * recipe.weight_decay for rate in rates)
    with torch.device("meta"):
        method = MPMAE(recipe.encoder, recipe.pretext, {modality.name: modality for modality in PRETEXT})
    numbers = [sum(p.numel() for p in split_parameters(method, kind)[0]) for kind in ("kernels", "matrices")]
    print(f"{total:,} steps: x {shrunk:.3f} without a gradient; {numbers[0]:,} numbers decay, or {numbers[1]:,}")


# ---- ablations -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """Of one pretraining."""

    probe: float
    """mean over the tasks; NaN if training diverged"""
    loss: float
    """default loss on test tiles, summed over tasks"""
    radar: float
    """of which Sentinel-1"""


def ablations(folder: Path, *, tiles: int, steps: int, seeds: int) -> None:
    """Train, probe, print the table."""
    path = write_synthetic_store(folder / "tiles.zarr", count=tiles, tile_size=TILE, shares=(0.65, 0.1, 0.25))
    changes = departures()
    variants: dict[str, dict[str, Any]] = {"default": {}}
    variants |= {f"{name}: {value}": {name: value} for name, value in changes.items()}
    variants["official"] = changes
    jobs = [(name, seed) for seed in range(seeds) for name in variants]
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        run = partial(outcome, path, folder, steps)
        outcomes = list(pool.map(run, (variants[name] for name, _ in jobs), (seed for _, seed in jobs)))
    by_variant = {
        name: [result for (n, _), result in zip(jobs, outcomes, strict=True) if n == name] for name in variants
    }
    print(f"\n{tiles} tiles of {TILE} px, {steps} steps of 16, {seeds} seeds; [95 % interval over seeds]")
    print(f"{'':34}{'probes':>24}{'minus default':>28}{'loss':>9}{'sentinel1':>11}")
    for name, results in by_variant.items():
        probes = [result.probe for result in results]
        gains = [a - b.probe for a, b in zip(probes, by_variant["default"], strict=True)]
        versus = "" if name == "default" else with_interval(gains, "+.3f")
        loss, radar = (statistics.fmean(getattr(r, field) for r in results) for field in ("loss", "radar"))
        print(f"{name:34}{with_interval(probes, '.3f'):>24}{versus:>28}{loss:9.2f}{radar:11.3f}")


def outcome(path: Path, folder: Path, steps: int, changes: Mapping[str, Any], seed: int) -> Outcome:
    """Pretrain with ``changes``, probe, and measure with the default loss."""
    torch.set_num_threads(1)
    store = Store.open(path)
    recipe = small_recipe(changes, steps=steps, seed=seed, tiles=len(training_tiles(store)))
    with tempfile.TemporaryDirectory(dir=folder) as out:
        try:
            bundle = pretrain(recipe, data=path, out=out, progress=False).bundle
        except NonFiniteError:
            return Outcome(math.nan, math.nan, math.nan)
        losses = default_losses(bundle, store, recipe)
        features = tile_features(Encoder.from_pretrained(bundle), store)
    scores = []
    for modality in store.modalities.values():
        if modality.role is Role.LABEL and not modality.kind.is_map:
            task = store_task(store, modality.name)
            prediction = HEADS["probe"](task.labelled(features[task.samples]))
            scores.append(measure(task.metric, prediction.scores, task.labels[task.test]))
    return Outcome(statistics.fmean(scores), sum(losses.values()), losses["sentinel1"])


@torch.no_grad()
def default_losses(bundle: Path, store: Store, recipe: Recipe) -> dict[str, float]:
    """Each task's loss on test tiles: over valid numbers only, at inference, with the same masks for all."""
    plain = replace(recipe.pretext, missing_targets="ignored", denominator="valid")
    method = MPMAE(recipe.encoder, plain, store.modalities).eval()
    method.network.load_state_dict(load_reconstructor(bundle).state_dict())
    assert store.coordinates.split is not None
    tiles = np.flatnonzero(store.coordinates.split == SPLITS.index("test"))
    totals: dict[str, float] = dict.fromkeys(method.targets, 0.0)
    counts = dict(totals)
    for batch in loader_of(store, recipe, tiles, batch_size=64):
        for name, loss in method(batch.fields, batch.seeds).items():
            totals[name] += float(loss.total)
            counts[name] += float(loss.count)
    return {name: totals[name] / max(counts[name], 1.0) for name in totals}


def small_recipe(changes: Mapping[str, Any], *, steps: int, seed: int, tiles: int) -> Recipe:
    """The demo's recipe for ``tiles`` training tiles, with a warm-up of a tenth of the steps."""
    recipe = load_recipe("mp-mae-demo", {**SMALL, **changes, "max_steps": steps, "seed": seed})
    return replace(recipe, warmup_epochs=0.1 * steps / (tiles // recipe.batch_size))


def loader_of(store: Store, recipe: Recipe, tiles: Array, *, batch_size: int) -> TileLoader:
    """Tiles in order, centre crops, standardised as in training."""
    assert store.statistics is not None
    bands = {name: wanted for name, wanted in recipe.pretext.targets.items() if name in store.modalities}
    bands[recipe.encoder.modality] = recipe.encoder.bands
    return TileLoader(
        store,
        modalities=bands,
        statistics=store.statistics,
        batch_size=batch_size,
        crop=recipe.encoder.image_size,
        random_crop=False,
        shuffle=False,
        tiles=tiles,
        drop_last=False,
    )


def with_interval(values: Sequence[float], form: str) -> str:
    """The mean with its t-interval; how many runs diverged, if any did."""
    diverged = sum(math.isnan(value) for value in values)
    if diverged:
        return f"{diverged} of {len(values)} diverged"
    mean = statistics.fmean(values)
    if len(values) < 2:
        return format(mean, form)
    half = T_975[len(values) - 1] * statistics.stdev(values) / math.sqrt(len(values))
    return f"{mean:{form}} [{mean - half:{form}}, {mean + half:{form}}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--quick",
        action="store_true",
        help="everything once, in less than a minute on two free cores; scores mean nothing",
    )
    parser.add_argument("--part", choices=("facts", "ablations", "all"), default="all")
    parser.add_argument("--seeds", type=int, choices=range(1, 11), help="of each ablation; default: 4, quick 1")
    parser.add_argument("--steps", type=int, help="of each ablation; default: 200, quick 8")
    parser.add_argument("--tiles", type=int, help="of the ablations; default: 2400, quick 300")
    options = parser.parse_args()
    quick = options.quick
    torch.set_num_threads(min(2, torch.get_num_threads()))
    began = time.perf_counter()
    print(f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        if options.part != "ablations":
            facts(Path(folder), tiles=48 if quick else 240, steps=20 if quick else 150)
        if options.part != "facts":
            ablations(
                Path(folder),
                tiles=options.tiles or (300 if quick else 2400),
                steps=options.steps or (8 if quick else 200),
                seeds=options.seeds or (1 if quick else 4),
            )
    print(f"\n{time.perf_counter() - began:.0f} s")


if __name__ == "__main__":
    main()

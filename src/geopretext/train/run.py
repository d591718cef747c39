"""A pretraining run from beginning to end: data, training, bundle. The same call on the same folder resumes."""

import hashlib
import json
import logging
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.utilities.exceptions import MisconfigurationException

from geopretext import __version__
from geopretext.data.loader import TileLoader
from geopretext.data.reader import open_tiles, statistics_of
from geopretext.data.statistics import POOLED, Statistics
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import GridError, InputError, RecipeError
from geopretext.pretext.methods import method_class
from geopretext.train.callbacks import Checkpoints, Metrics, ProgressLine, last_row
from geopretext.train.folder import BUNDLE, CHECKPOINTS, LAST, PlainCheckpoints, record_config
from geopretext.train.memory import keep_freed_memory
from geopretext.train.module import PretrainModule
from geopretext.train.quiet import lightning_quiet
from geopretext.train.recipe import recipe_to_plain
from geopretext.train.settings import Recipe

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class PretrainResult:
    """What a finished run has to show."""

    bundle: Path
    """folder of the trained encoder"""
    metrics: dict[str, float]
    """the last row of ``metrics.csv``: losses, weights, learning rate, steps, tiles"""
    seconds: float
    """of training, over all parts of a run that was interrupted"""
    tiles_per_second: float
    """over the same time"""


def pretrain(recipe: Recipe, *, data: str | Path, out: str | Path, progress: bool = True) -> PretrainResult:
    """Pretrain an encoder on tiles, and write it as a bundle.

    Uses the tiles of the training split if the data have splits, else all. A run that was interrupted, in whatever way,
    goes on from its last checkpoint to the same result, bit for bit on a CPU; one that is finished is left alone.

    Args:
        recipe: what to do.
        data: a tile store, or an official MMEarth directory.
        out: folder of the run: ``config.yaml``, ``metrics.csv``, ``checkpoints/``, ``bundle/``.
        progress: show on stderr how far it is.

    Raises:
        RecipeError: the recipe does not fit the data, or not the run that is in ``out`` already.
        InputError: the data lack a modality, a band or enough tiles.
        GridError: tiles are smaller than ``encoder.image_size``.
        StoreError: the data cannot be read.
        NonFiniteError: a loss or a gradient was not finite; nothing of that step was kept.
    """
    reader = open_tiles(data)
    tiles = training_tiles(reader)
    statistics = statistics_of(reader)
    _check_data(recipe, reader, statistics)
    steps_per_epoch, total_steps = count_steps(recipe, len(tiles))
    pl.seed_everything(recipe.seed, verbose=False)
    method = method_class(recipe.method)(recipe.encoder, recipe.pretext, reader.modalities)

    if recipe.compile:
        _check_compiler(recipe)
        method.compile(fullgraph=True, dynamic=False)

    folder, plain = Path(out), recipe_to_plain(recipe)
    identity = _identify(reader, tiles, statistics)
    record_config(folder, {"geopretext": __version__, "data": identity, "recipe": plain})
    if (folder / BUNDLE / "config.json").exists():  # which is written last
        log.info("%s is finished; nothing is left to do", folder)
        return _result(folder)

    def make_loader(rank: int, world_size: int, device: torch.device) -> TileLoader:
        return TileLoader(
            reader,
            modalities=method.bands,
            statistics=statistics,
            batch_size=recipe.batch_size,
            crop=method.crop,
            random_crop=recipe.random_crop,
            dates=method.dates,
            seed=recipe.seed,
            tiles=tiles,
            rank=rank,
            world_size=world_size,
            parts=recipe.accumulate,
            device=device,
            prefetch=recipe.prefetch,
        )

    module = PretrainModule(
        recipe, method, make_loader, steps_per_epoch=steps_per_epoch, total_steps=total_steps, folder=folder
    )
    trainer = _fit(module, folder, progress=progress)
    if trainer.is_global_zero:
        method.save(
            folder / BUNDLE,
            statistics=statistics.to_dict(),
            recipe=plain,
            metrics=last_row(folder),
            ground_sampling_distance=reader.ground_sampling_distance,
        )
    trainer.strategy.barrier("bundle")
    return _result(folder)


def training_tiles(reader: TileReader) -> npt.NDArray[np.int64]:
    """Numbers of the tiles to train on: the training split if the data have splits, else all.

    Raises:
        InputError: there are splits, but no tile is in the training split.
    """
    split = reader.coordinates.split
    if split is None or not (split >= 0).any():
        return np.arange(len(reader))
    tiles = np.flatnonzero(split == SPLITS.index("train"))
    if not len(tiles):
        raise InputError("no tile is in the split 'train'", where=reader.path, hint="`geopretext split` divides anew")
    return tiles


def count_steps(recipe: Recipe, tiles: int) -> tuple[int, int]:
    """Optimiser steps of an epoch and of the whole run.

    Raises:
        InputError: the tiles do not fill one batch.
        RecipeError: the run ends before the learning rate has reached its peak.
    """
    steps = tiles // recipe.batch_size
    if not steps:
        raise InputError(
            f"{tiles} tiles do not fill a batch of {recipe.batch_size}",
            where=f"recipe {recipe.name!r}",
            hint=f"a batch_size of at most {tiles}",
        )
    total = recipe.max_steps or recipe.epochs * steps
    if recipe.warmup_epochs * steps >= total:
        raise RecipeError(
            f"warmup_epochs {recipe.warmup_epochs:g} is {recipe.warmup_epochs * steps:.0f} steps,"
            f" and the whole run is {total}",
            where=f"recipe {recipe.name!r}",
            hint=f"warmup_epochs below {total / steps:g}, for example {total / steps / 5:g}",
        )
    return steps, total


def _check_data(recipe: Recipe, reader: TileReader, statistics: Statistics) -> None:
    """What the network cannot check: sizes, and bands that were never observed."""
    size = recipe.encoder.image_size
    if size > reader.tile_size:
        raise GridError(
            f"tiles of {reader.tile_size} px are smaller than encoder.image_size {size}",
            where=reader.path,
            hint="a recipe for smaller tiles, or larger tiles",
        )
    for name, wanted in recipe.encoder.inputs.items():
        if name not in reader.modalities or name not in statistics.modalities:
            continue  # the network and the loader say what is lacking
        bands = statistics.modalities[name].bands.get(POOLED, {})
        absent = [band for band in wanted if band in bands and not bands[band].count]
        if absent:
            raise InputError(
                f"band {', '.join(absent)} of {name!r} was never observed, and the encoder is to see it",
                where=reader.path,
                hint="leave it out of encoder.bands",
            )


def _check_compiler(recipe: Recipe) -> None:
    """torch.compile would fail in the first step, with a traceback."""
    compilers = (os.environ.get("CXX", ""), "g++", "clang++", "c++")
    if not any(map(shutil.which, filter(None, compilers))):
        raise RecipeError(
            "compile is true, and there is no C++ compiler here",
            where=f"recipe {recipe.name!r}",
            hint="install g++, or set CXX, or leave compile out",
        )


def _identify(reader: TileReader, tiles: npt.NDArray[np.int64], statistics: Statistics) -> dict[str, Any]:
    """What tells these data from others, wherever they lie."""
    digest = hashlib.sha256("\n".join(reader.coordinates.tile_id[tiles].tolist()).encode())
    digest.update(json.dumps(statistics.to_dict(), sort_keys=True).encode())
    return {
        "path": reader.path,
        "tiles": len(tiles),
        "tile_size": reader.tile_size,
        "digest": digest.hexdigest()[:16],
    }


def _fit(module: PretrainModule, folder: Path, *, progress: bool) -> pl.Trainer:
    """Train from the last checkpoint, or from the beginning, to the end."""
    with lightning_quiet():
        trainer = _make_trainer(module.recipe, folder, module.total_steps, progress=progress)
        if trainer.strategy.root_device.type == "cpu":
            keep_freed_memory()
        last = folder / CHECKPOINTS / LAST
        trainer.fit(module, ckpt_path=str(last) if last.exists() else None)
    return trainer


def _make_trainer(recipe: Recipe, folder: Path, total_steps: int, *, progress: bool) -> pl.Trainer:
    try:
        return pl.Trainer(
            accelerator=recipe.accelerator,
            devices=recipe.devices,
            num_nodes=recipe.nodes,
            strategy="ddp" if recipe.world_size > 1 else "auto",
            precision="bf16-mixed" if recipe.precision == "bf16" else "32-true",
            max_steps=total_steps,
            max_epochs=-1,
            accumulate_grad_batches=recipe.accumulate,
            callbacks=[
                Metrics(folder, recipe.log_every_steps),
                Checkpoints(folder, recipe.checkpoint_every_steps, recipe.keep_every_steps),
                *([ProgressLine()] if progress else []),
            ],
            plugins=[PlainCheckpoints()],
            default_root_dir=folder,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except MisconfigurationException as error:
        raise RecipeError(
            f"accelerator {recipe.accelerator!r} with devices {recipe.devices} cannot be had here: {error}",
            where=f"recipe {recipe.name!r}",
            hint="accelerator auto or cpu, or fewer devices",
        ) from error


def _result(folder: Path) -> PretrainResult:
    metrics = last_row(folder)
    seconds = metrics["seconds"]
    return PretrainResult(folder / BUNDLE, metrics, seconds, metrics["tiles"] / max(seconds, 1e-9))

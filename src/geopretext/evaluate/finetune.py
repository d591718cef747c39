"""Fine-tuning: an encoder and a head are trained on the images of a task; what became of it on the test split."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import lightning.pytorch as pl
import numpy as np
import numpy.typing as npt
import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment

from geopretext.data.statistics import POOLED
from geopretext.errors import RecipeError
from geopretext.evaluate.augmentation import MIXABLE
from geopretext.evaluate.dense_objectives import DenseRegressionObjective, SegmentationObjective
from geopretext.evaluate.finetune_module import FinetuneModule, Progress
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.inputs import ImageFeed
from geopretext.evaluate.metrics import METRICS, TaskKind
from geopretext.evaluate.networks import backbone_of, make_network
from geopretext.evaluate.objectives import Objective, RegressionObjective, check_smoothing, objective_of
from geopretext.evaluate.outcome import Outcome, Run
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.task import Task
from geopretext.modality import Modality
from geopretext.nn.adaptation import adapt, count_parameters, merge
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import IMAGE_HEIGHT, IMAGE_WIDTH, save_head
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.settings import HeadLabels
from geopretext.train.memory import keep_freed_memory
from geopretext.train.quiet import lightning_quiet

Array = npt.NDArray[Any]
DenseObjective: TypeAlias = SegmentationObjective | DenseRegressionObjective
Maps: TypeAlias = Callable[[Array], tuple[Array, Array, Array]]
"""positions (m,) -> true map, where it is labelled, predicted map; each (m, H, W)"""
Look: TypeAlias = Callable[[Outcome, Maps], None]


def finetune(
    encoder: Encoder,
    prepared: Prepared,
    settings: FinetuneSettings,
    *,
    seed: int,
    progress: Progress | None = None,
    save: Path | None = None,
    look: Look | None = None,
) -> Run:
    """Train a copy of an encoder with a head on the training split, choose on the validation split, predict the test.

    The same seed gives the same numbers, bit for bit on a CPU.

    Args:
        encoder: stays as it is; training runs on the device where it is.
        prepared: the task, as opened for this encoder or one of the same settings and bands.
        settings: what is to be done.
        seed: of the head's first weights, the order of samples, augmentation and drop path; the global random state
            stays as it is.
        progress: told how far training is.
        save: folder for a bundle of the trained encoder and its head; None: nothing is written.
        look: of labels of pixels: called at the end with the outcome and what gives maps, while the network is there.

    Returns:
        predictions for the test split; ``chosen``: epoch, from 1; ``facts``: parameters, trainable_parameters, epochs,
        steps, seconds.

    Raises:
        RecipeError: the settings do not fit the task or the encoder.
        InputError: the headline metric is undefined on the validation split.
        NonFiniteError: a loss or a gradient is not finite.
        CorruptError, GridError, BandError, ClassError: an image or a label map cannot be read.
    """
    check_settings(settings, prepared.task.kind)
    started = time.monotonic()
    device = next(encoder.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        objective = objective_of(prepared)
        network = make_network(settings, encoder, prepared.task.kind, objective.outputs)
        adapt(
            backbone_of(network),
            settings.trained,
            rank=settings.lora_rank,
            alpha=settings.lora_alpha,
        )
        counts = count_parameters(network)
        module = FinetuneModule(network, objective, prepared, settings, seed=seed, progress=progress)
        steps = _fit(module, device)
    assert module.outcome is not None
    run = Run(
        module.outcome,
        module.values[module.kept_epoch - 1],
        {"epoch": module.kept_epoch},
        {
            "parameters": counts.total,
            "trainable_parameters": counts.trained,
            "epochs": len(module.values),
            "steps": steps,
            "seconds": time.monotonic() - started,
        },
    )
    if look is not None and isinstance(objective, SegmentationObjective | DenseRegressionObjective):
        look(module.outcome, partial(_maps, module, objective))
    if save is not None:
        _save(save, module, encoder, run)
    return run


def _maps(module: FinetuneModule, objective: DenseObjective, positions: Array) -> tuple[Array, Array, Array]:
    images, labels = module.prepared.batch(positions)
    assert labels.labelled is not None
    network = module.scored.eval()
    with torch.inference_mode():
        device = next(network.parameters()).device
        parts = torch.split(images, module.settings.at_once)
        scores = torch.cat([network(part.to(device)).float().cpu() for part in parts])
    return labels.values.numpy(), labels.labelled.numpy(), objective.maps(scores)


def check_settings(settings: FinetuneSettings, kind: TaskKind) -> None:
    """Refuse settings that do not fit a kind of task.

    Raises:
        RecipeError: says which.
    """
    check_smoothing(kind, settings.label_smoothing)
    for name, alpha in (("mixup", settings.mixup), ("cutmix", settings.cutmix)):
        if alpha and kind not in MIXABLE:
            raise RecipeError(
                f"{name} is {alpha:g}, and the task is {kind}", hint=f"0: it is for {' and '.join(MIXABLE)}"
            )


def _fit(module: FinetuneModule, device: torch.device) -> int:
    """Train, go back to the weights that are kept, predict the test split; the number of steps."""
    if device.type == "cpu":
        keep_freed_memory()
    with lightning_quiet():
        trainer = pl.Trainer(
            accelerator="gpu" if device.type == "cuda" else device.type,
            devices=[device.index or 0] if device.type == "cuda" else 1,
            precision="bf16-mixed" if module.settings.precision == "bfloat16" else "32-true",
            max_epochs=module.settings.epochs,
            reload_dataloaders_every_n_epochs=1,  # each has an order of its own
            num_sanity_val_steps=0,
            # Several fits may run at once in one job of a cluster, and none of them is part of another.
            plugins=[LightningEnvironment()],
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
        module.network.train()
        trainer.fit(module)
        steps = trainer.global_step
        module.restore_kept()
        trainer.test(module, verbose=False)
    return steps


def _save(folder: Path, module: FinetuneModule, encoder: Encoder, run: Run) -> None:
    network = module.scored.cpu().eval()
    merge(backbone_of(network))
    task, window = module.prepared.task, module.prepared.feed.window
    inputs, statistics = trained_input(module.prepared, encoder)
    save_head(
        folder,
        network,
        modality=inputs,
        statistics=statistics,
        recipe={"task": task.name, "kind": str(task.kind), "classes": list(task.classes), "seed": module.seed}
        | {IMAGE_HEIGHT: window.height, IMAGE_WIDTH: window.width}
        | asdict(module.settings),
        metrics=_metrics(run, task.kind),
        labels=_labels(module.objective, task),
        # files of images do not say how large their pixels are
        ground_sampling_distance=None
        if isinstance(module.prepared.feed, ImageFeed)
        else encoder.ground_sampling_distance,
    )


def _labels(objective: Objective, task: Task) -> HeadLabels:
    mean, std = (), ()
    if isinstance(objective, RegressionObjective | DenseRegressionObjective):
        mean, std = (tuple(np.atleast_1d(part).tolist()) for part in (objective.mean, objective.std))
    return HeadLabels(
        str(task.kind),
        task.classes,
        unit=task.unit,
        mean=mean,
        std=std,
        codes=task.codes,
        ignore=task.ignore,
    )


def trained_input(prepared: Prepared, encoder: Encoder) -> tuple[tuple[Modality, ...], Scales]:
    """The inputs that a network was fine-tuned on: bands with their unit, and what standardises them.

    They are the bundle's, unless images were standardised by the task's own training split: then they are those, in the
    images' unit.
    """
    feed = prepared.feed
    if not isinstance(feed, ImageFeed) or feed.record["statistics"] == "bundle":
        return encoder.inputs, encoder.statistics
    mean, std = feed.door.scale
    return feed.door.inputs, {POOLED: (tuple(map(float, mean)), tuple(map(float, std)))}


def _metrics(run: Run, kind: TaskKind) -> Mapping[str, Any]:
    test = {f"test_{metric}": run.outcome.measure(metric) for metric in METRICS[kind]}
    return {"validation": run.validation, **test, **run.chosen}

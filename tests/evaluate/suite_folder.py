"""A folder of a suite with made-up but plausible outcomes: three tasks, four methods, three amounts of labels."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import yaml

from geopretext.errors import InputError
from geopretext.evaluate.bootstrap import bootstrap, difference
from geopretext.evaluate.cells import Cell, CellResult, TaskFacts, write_result
from geopretext.evaluate.examples import example_maps, write_examples
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import METRICS, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, Outcome, Run, SampleOutcome
from geopretext.evaluate.tallies import tally
from geopretext.evaluate.task import Task

TRAIN, VAL, SIDE = 2700, 300, 48
AMOUNTS = {"1%": 27, "10%": 270, "100%": TRAIN}
SEEDS = (0, 1, 2)
BUNDLES = ("runs/all-modalities/bundle", "runs/sentinel2-only/bundle")
METHODS = {
    "all-modalities": (BUNDLES[0], "pretrained", 1.0),
    "sentinel2-only": (BUNDLES[1], "pretrained", 0.86),
    "random_init": (BUNDLES[0], "random_init", 0.42),
    "band_statistics": (BUNDLES[0], "band_statistics", 0.5),
}
PARAMETERS = {"finetune:mmearth": (4_100_000, 4_100_000), "finetune:lora": (4_150_000, 96_000)}
EUROSAT = (
    "AnnualCrop", "Forest", "HerbaceousVegetation", "Highway", "Industrial", "Pasture", "PermanentCrop",
    "Residential", "River", "SeaLake",
)  # fmt: skip
BIGEARTHNET = (
    "Urban fabric", "Industrial or commercial units", "Arable land", "Permanent crops", "Pastures",
    "Complex cultivation patterns", "Land principally occupied by agriculture, with natural vegetation",
    "Agro-forestry areas", "Broad-leaved forest", "Coniferous forest", "Mixed forest",
    "Natural grassland and sparsely vegetated areas", "Moors, heathland", "Transitional woodland, shrub",
    "Beaches, dunes, sands", "Inland wetlands", "Coastal wetlands", "Inland waters", "Marine waters",
)  # fmt: skip
COVER = ("cropland", "forest", "grassland", "built-up", "water", "bare")
GATE = {"suspicions": [], "undecided": [], "images": 48, "reference": "the bundle's training data", "level": "L2A"}
DOOR = {
    "matched": ["B2", "B3", "B4", "B8"],
    "unit": "reflectance",
    "unit_of_encoder": "reflectance x 10000",
    "statistics": "bundle",
    "gate": {**GATE, "verdict": "plausible"},
}
WRONG_DOOR = {
    **DOOR,
    "unit": "reflectance x 10000",
    "gate": {**GATE, "verdict": "implausible", "suspicions": ["B8 and B8A look exchanged"]},
}


@dataclass(frozen=True)
class MadeTask:
    """A task of which everything is made up."""

    name: str
    title: str
    kind: TaskKind
    classes: tuple[str, ...]
    test: int
    heads: tuple[str, ...]

    @property
    def positions(self) -> np.ndarray:
        return np.arange(TRAIN + VAL, TRAIN + VAL + self.test)

    @lru_cache  # noqa: B019 - tasks are few and live as long as the module
    def truth(self) -> np.ndarray:
        """Labels of the test samples, or their maps."""
        generator = np.random.default_rng(len(self.name))
        count = len(self.classes)
        if self.kind is TaskKind.SINGLE_LABEL:
            return generator.integers(0, count, self.test)
        if self.kind is TaskKind.MULTI_LABEL:
            labels = (generator.random((self.test, count)) < np.geomspace(0.5, 0.03, count)).astype(np.int64)
            labels[0, 0] = 1
            return labels
        if self.kind is TaskKind.REGRESSION:
            return generator.normal(size=(self.test, count)) * 40 + 100
        waves = generator.normal(size=(self.test, count, 2)) * 0.13
        phase = generator.random((self.test, count, 1, 1)) * 6
        y, x = np.mgrid[:SIDE, :SIDE]
        field = np.sin(waves[..., :1, None] * y + waves[..., 1:, None] * x + phase)
        if self.kind is TaskKind.DENSE_REGRESSION:
            return 20 * field[:, 0]
        return field.argmax(1)

    def outcome(self, skill: float, seed: int) -> tuple[Outcome, np.ndarray]:
        """What a method of some skill (0 to 1) says, and its maps."""
        truth, count = self.truth(), len(self.classes)
        hard = np.random.default_rng(7)  # the same samples are hard for every method
        noise = np.random.default_rng(1000 * seed + round(1000 * skill))
        if self.kind is TaskKind.SINGLE_LABEL:
            logits = 4.2 * skill * np.eye(count)[truth] + hard.normal(size=(self.test, count))
            logits += 0.8 * noise.normal(size=logits.shape)
            scores = np.exp(1.4 * logits) / np.exp(1.4 * logits).sum(1, keepdims=True)
            return SampleOutcome(self.kind, scores, truth), truth
        if self.kind is TaskKind.MULTI_LABEL:
            logits = 4.5 * skill * (truth - 0.6) + hard.normal(size=truth.shape) + 0.6 * noise.normal(size=truth.shape)
            return SampleOutcome(self.kind, 1 / (1 + np.exp(-1.6 * logits)), truth), truth
        if self.kind is TaskKind.REGRESSION:
            return SampleOutcome(self.kind, truth + noise.normal(size=truth.shape) * 40 * (1 - skill), truth), truth
        if self.kind is TaskKind.DENSE_REGRESSION:
            predicted = truth + noise.normal(size=truth.shape) * hard.random((self.test, 1, 1)) * 20
            parts = (np.ones_like(truth), truth, truth**2, (predicted - truth) ** 2)
            return ErrorOutcome(self.kind, np.stack([part.sum((1, 2)) for part in parts], 1), 0.0), predicted
        wrong = hard.random((self.test, 1, 1)) * noise.random(truth.shape) > 0.35 * skill + 0.12
        predicted = np.where(wrong, np.roll(truth, 5, axis=2) * 7 % count, truth)
        pairs = truth * count + predicted
        tables = [np.bincount(image.ravel(), minlength=count * count).reshape(count, count) for image in pairs]
        sure = torch.from_numpy(np.clip(0.55 + 0.5 * skill * noise.random(truth.shape) - 0.2 * wrong, 0, 1))
        images = torch.arange(self.test)[:, None, None].expand_as(sure)
        right = torch.from_numpy(predicted == truth)
        confidence = tally(images.flatten(), sure.flatten(), right.flatten(), self.test)
        return ConfusionOutcome(self.kind, np.stack(tables), confidence), predicted

    def open(self) -> Task:
        """With images, as a report opens it."""
        total = TRAIN + VAL + self.test
        truth = self.truth()
        labels: Any = np.zeros((total, 0))
        if not self.kind.is_dense:
            labels = np.resize(truth, (total, *truth.shape[1:]))
            labels[self.positions] = truth
        return Task(
            name=self.title,
            kind=self.kind,
            classes=self.classes,
            inputs=ImageInputs(MadeImages(self, truth)),
            later=ImageInputs(MadeImages(self, truth)) if self.kind is TaskKind.CHANGE_DETECTION else None,
            samples=np.arange(total),
            labels=labels,
            train=np.arange(TRAIN),
            val=np.arange(TRAIN, TRAIN + VAL),
            test=self.positions,
            left_out={},
            maps=MadeMaps() if self.kind.is_dense else None,
        )


class MadeMaps:
    """Never read by a report."""

    def read(self, samples: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        raise AssertionError("a report has the maps beside the results")


@dataclass(frozen=True)
class MadeImages:
    """Fields and hills in colours of the class."""

    task: MadeTask
    truth: np.ndarray
    where: str = "nowhere"
    bands: tuple[str, ...] = ("B2", "B3", "B4", "B8")
    unit: str = "reflectance"
    dtype: str = "float32"
    height: int = 64
    width: int = 64

    def __len__(self) -> int:
        return TRAIN + VAL + self.task.test

    def read(self, samples: np.ndarray, bands: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        values = np.zeros((len(samples), len(bands), 64, 64), np.float32)
        tints = np.random.default_rng(3).random((32, 4)) * 0.2 + 0.05
        y, x = np.mgrid[:64, :64]
        for row, sample in enumerate(samples):
            generator = np.random.default_rng(int(sample))
            truth = self.truth[int(sample) - TRAIN - VAL]
            waves = generator.normal(size=(3, 2)) * 0.25
            relief = sum(np.sin(a * y + b * x + generator.random() * 6) for a, b in waves) * 0.02
            if self.task.kind.is_dense:
                ground = np.moveaxis(tints[np.pad(truth, 8, mode="edge").astype(np.int64)], -1, 0)
            else:
                number = int(truth if truth.ndim == 0 else truth.argmax())
                ground = tints[number][:, None, None] * (1 + 0.5 * ((x // 16 + y // 21) % 3 - 1))
            noisy = ground + relief + generator.normal(0, 0.006, (4, 64, 64))
            values[row] = noisy[[self.bands.index(band) for band in bands]]
        return values, np.ones_like(values, bool)


TASKS = (
    MadeTask("m-eurosat.yaml", "m-eurosat", TaskKind.SINGLE_LABEL, EUROSAT, 240, ("knn", "probe")),
    MadeTask("ben.zarr:labels", "labels", TaskKind.MULTI_LABEL, BIGEARTHNET, 120, ("knn", "probe")),
    MadeTask("worldcereal", "worldcereal", TaskKind.SEGMENTATION, COVER, 40, tuple(PARAMETERS)),
)


def opener(tasks: Sequence[MadeTask] = TASKS) -> Callable[[str], Task]:
    """Opens those tasks by name."""

    def open_task(name: str) -> Task:
        for task in tasks:
            if task.name == name:
                return task.open()
        raise InputError(f"no task {name!r}")

    return open_task


def write_suite_folder(
    folder: Path,
    tasks: Sequence[MadeTask] = TASKS,
    *,
    methods: dict[str, tuple[str, str, float]] = METHODS,
    amounts: dict[str, int] = AMOUNTS,
    seeds: Sequence[int] = SEEDS,
    resamples: int = 200,
) -> Path:
    """Everything that a suite leaves behind but the report."""
    rows = []
    for task in tasks:
        for head in task.heads:
            for amount, size in amounts.items():
                rows += _group(folder, task, head, amount, size, methods, seeds, resamples)
    failed = Cell(tasks[0].name, BUNDLES[1], "pretrained", "sgd", "1%", 2)
    failure = {
        "cell": asdict(failed),
        "what": "the loss is not finite",
        "where": "epoch 3",
        "hint": "use a smaller learning rate",
    }
    (folder / "cells" / f"{failed.key}.error.json").write_text(json.dumps(failure))
    names = {bundle: name for name, (bundle, kind, _) in methods.items() if kind == "pretrained"}
    settings = {
        "bundles": list(names),
        "tasks": [task.name for task in tasks],
        "heads": list(dict.fromkeys(head for task in tasks for head in task.heads)),
        "representations": list(dict.fromkeys(kind for _, kind, _ in methods.values())),
        "amounts": list(amounts),
        "seeds": list(seeds),
        "pooling": "stages",
        "split_seed": 0,
        "names": names,
        "version": "0.1.0",
    }
    (folder / "suite.yaml").write_text(yaml.safe_dump(settings, sort_keys=False))
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")
    return folder


def _group(
    folder: Path,
    task: MadeTask,
    head: str,
    amount: str,
    size: int,
    methods: dict[str, Any],
    seeds: Sequence[int],
    resamples: int,
) -> list[dict[str, Any]]:
    """Results and rows of methods that are compared with each other."""
    runs = {}
    for method, (bundle, representation, worth) in methods.items():
        if head.startswith("finetune") and representation == "band_statistics":
            continue
        skill = worth * {"knn": 0.82, "finetune:lora": 0.9}.get(head, 1.0) * (0.55 + 0.15 * np.log10(size / 2.7))
        made = {seed: task.outcome(skill, seed) for seed in seeds}
        for seed, (outcome, maps) in made.items():
            cell = Cell(task.name, bundle, representation, head, amount, seed)
            counts = {"train": size, "val": VAL, "test": task.test, "no label": 12}
            facts = {"seconds": 3.5}
            if head in PARAMETERS:
                facts |= dict(zip(("parameters", "trainable_parameters"), PARAMETERS[head], strict=True))
            if task.kind.is_dense:
                _write_maps(folder / "cells", cell, task, outcome, maps)
            run = Run(outcome, outcome.measure(METRICS[task.kind][0]), {"l2": 0.1}, facts)
            record = WRONG_DOOR if bundle == BUNDLES[1] and task.kind.is_dense else DOOR
            write_result(
                folder / "cells",
                CellResult(cell, TaskFacts(task.title, task.kind, task.classes, counts), run, task.positions, record),
            )
        runs[method] = [outcome for outcome, _ in made.values()]
    rows = []
    for metric in METRICS[task.kind]:
        scores = {name: bootstrap(metric, outcomes, resamples=resamples) for name, outcomes in runs.items()}
        first = next(iter(scores.values()))
        for name, score in scores.items():
            gain = difference(first, score)
            crossing = min((gain.draws <= 0).mean(), (gain.draws >= 0).mean())
            compared = score is not first
            rows.append(
                {
                    "task": task.name,
                    "title": task.title,
                    "method": name,
                    "bundle": methods[name][0],
                    "representation": methods[name][1],
                    "head": head,
                    "amount": amount,
                    "metric": str(metric),
                    **score.to_dict(),
                    "seeds": len(seeds),
                    "n_train": size,
                    "n_test": task.test,
                    "validation": score.value,
                    "gain": gain.value if compared else None,
                    "gain_low": gain.low if compared else None,
                    "gain_high": gain.high if compared else None,
                    "p": min(1.0, 6 * float(crossing)) if compared else None,
                    "parameters": PARAMETERS.get(head, (None, None))[0],
                    "trainable_parameters": PARAMETERS.get(head, (None, None))[1],
                    "seconds": 3.5,
                }
            )
    return rows


def _write_maps(folder: Path, cell: Cell, task: MadeTask, outcome: Outcome, maps: np.ndarray) -> None:
    truth, offset = task.truth(), TRAIN + VAL
    labelled = np.ones_like(truth, bool)
    labelled[:, :9, :14] = False
    found = example_maps(
        outcome,
        task.positions,
        lambda positions: (truth[positions - offset], labelled[positions - offset], maps[positions - offset]),
    )
    write_examples(folder, cell.key, found)

"""What the processes of a suite do: open a task, compute features, compute a cell. Only small answers come back.

A process keeps what it opened last, since neighbouring pieces of work share it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import cached_property, lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from time import monotonic
from typing import Any, TypeAlias

import numpy as np

from geopretext import __version__
from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.evaluate.baselines import random_encoder
from geopretext.evaluate.cells import Cell, CellResult, TaskFacts, write_result
from geopretext.evaluate.evaluation import HEADS
from geopretext.evaluate.examples import example_maps, write_examples
from geopretext.evaluate.feature_cache import FeatureCache, Features
from geopretext.evaluate.finetune import Maps, finetune
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.labelled import LabelledFeatures, Prediction
from geopretext.evaluate.outcome import Outcome, Run, SampleOutcome
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.presets import load_preset
from geopretext.evaluate.representations import PRETRAINED, RANDOM, TIMM, make_representation
from geopretext.evaluate.sgd_probe import sgd_probe
from geopretext.evaluate.subsets import Subsets
from geopretext.evaluate.suite_settings import FINETUNE, Opened
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import load_task
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_files import CONFIG, WEIGHTS, find_bundle
from geopretext.nn.bundle_series import series_to_plain
from geopretext.nn.families import settings_to_plain
from geopretext.predict.chosen_inputs import maps_only

_MAPS_AT_ONCE = 64


@dataclass(frozen=True)
class Place:
    """What all work of one run of a suite shares."""

    run: str
    """unique to the run: what a process keeps is not carried into the next one"""
    cells: Path
    """folder of results, as all processes see it"""
    features: Path
    """folder of the cache, likewise"""
    pooling: str
    split_seed: int
    strict: bool
    """refuse inputs that are implausible for a bundle"""
    device: str


@dataclass(frozen=True)
class OpenTask:
    """Look what a task is and whether it reaches a bundle."""

    place: Place
    task: str
    bundle: str

    def run(self) -> Opened:
        """See ``Opened``."""
        return _bench(self.place).open(self.task, self.bundle)

    def __str__(self) -> str:
        return f"opening {self.task}"


@dataclass(frozen=True)
class ComputeFeatures:
    """Put the features of a task's samples into the cache."""

    place: Place
    opened: Opened
    representation: str
    seed: int

    def run(self) -> str:
        """Compute them, if they are not there.

        Returns:
            their key in the cache.
        """
        return _bench(self.place).cache_features(self.opened, self.representation, self.seed)[0]

    def __str__(self) -> str:
        return f"features of {self.opened.task}, {self.representation}"


@dataclass(frozen=True)
class ComputeCell:
    """Compute a cell and write its result."""

    place: Place
    opened: Opened
    cell: Cell
    basis: str
    """see ``basis``"""
    preset: FinetuneSettings | None = None
    """for heads that train on images"""
    features: str = ""
    """key in the cache, for heads on features"""

    def run(self) -> None:
        """Write ``KEY.json`` and ``KEY.npz``; of labels of pixels, ``KEY.examples.npz`` before."""
        write_result(self.place.cells, _bench(self.place).compute(self))

    def __str__(self) -> str:
        return f"{self.cell.head} on {self.cell.task}, {self.cell.representation}, {self.cell.amount}"


Work: TypeAlias = OpenTask | ComputeFeatures | ComputeCell


Answer: TypeAlias = Opened | str | None


def do_work(work: Work) -> Answer:
    """Run a piece of work; what processes are sent."""
    return work.run()


def basis(opened: Opened, cell: Cell, preset: FinetuneSettings | None = None) -> str:
    """Sign of all that a cell's result follows from, beside what its key names: a result with another is stale."""
    network = {PRETRAINED: opened.weights, RANDOM: opened.architecture}.get(cell.representation, opened.door)
    head = cell.head if preset is None else _sign(asdict(preset))
    library = [_version_of_timm()] if cell.representation.startswith(TIMM) else []
    return joined_fingerprint([opened.images, opened.labels, network, head, *library])


def _version_of_timm() -> str:
    """Weights and architecture of a model are those of its library; empty if that is not installed."""
    try:
        return version("timm")
    except PackageNotFoundError:
        return ""


def read_presets(heads: Iterable[str]) -> dict[str, FinetuneSettings]:
    """Settings of those heads that train on images.

    Raises:
        RecipeError: there is no such preset.
    """
    return {head: load_preset(head.removeprefix(FINETUNE)) for head in heads if head.startswith(FINETUNE)}


@lru_cache(maxsize=1)
def _bench(place: Place) -> "_Bench":
    return _Bench(place)


class _Bench:
    """What a process has at hand."""

    def __init__(self, place: Place) -> None:
        self._place = place
        self._task = lru_cache(maxsize=1)(self._load_task)
        self._loaded = lru_cache(maxsize=1)(self._load_encoder)
        self._encoder = lru_cache(maxsize=1)(self._suit_encoder)
        self._prepared = lru_cache(maxsize=1)(self._prepare)
        self._maps = lru_cache(maxsize=1)(self._prepare_maps)
        self._subsets = lru_cache(maxsize=1)(lambda name: Subsets(self._task(name)))

    @cached_property
    def _cache(self) -> FeatureCache:
        return FeatureCache(self._place.features)

    def _load_task(self, name: str) -> Task:
        return load_task(name, seed=self._place.split_seed)

    def _load_encoder(self, bundle: str) -> Encoder:
        return Encoder.from_pretrained(bundle).to(self._place.device).eval()

    def _suit_encoder(self, task: str, bundle: str) -> Encoder:
        return self._task(task).suited(self._loaded(bundle))

    def _prepare(self, task: str, bundle: str) -> Prepared:
        return Prepared.open(self._task(task), self._encoder(task, bundle))

    def _prepare_maps(self, task: str, bundle: str) -> tuple[Encoder, Prepared]:
        """For training on images, which sees no time series."""
        encoder = self._encoder(task, bundle)
        if not encoder.series:
            return encoder, self._prepared(task, bundle)
        encoder = maps_only(encoder, "fine-tuning", where=f"task {task!r}")
        return encoder, Prepared.open(self._task(task), encoder)

    def open(self, name: str, bundle: str) -> Opened:
        encoder, prepared = self._encoder(name, bundle), self._prepared(name, bundle)
        task = prepared.task
        feeds = [feed for feed in (prepared.feed, prepared.later) if feed is not None]
        if self._place.strict:
            for feed in feeds:
                feed.gate.require_plausible(where=f"task {task.name!r}")
        done = [_sign(feed.record) for feed in feeds]
        content = [feed.fingerprint(task.samples) for feed in feeds]
        door = _sign(
            {
                "modality": encoder.modality.to_dict(),
                "statistics": encoder.statistics,
                "patch_size": encoder.settings.patch_size,
                **({"series": series_to_plain(encoder.series)} if encoder.series else {}),
            }
        )
        architecture = joined_fingerprint([door, _sign(settings_to_plain(encoder.settings))])
        folder = find_bundle(bundle)
        return Opened(
            task=name,
            bundle=bundle,
            kind=task.kind,
            parameters=sum(weight.numel() for weight in encoder.parameters()),
            images=joined_fingerprint([*done, *content, _sign_of_array(task.samples[task.train])]),
            labels=_labels_sign(task),
            door=door,
            architecture=architecture,
            weights=joined_fingerprint([door, files_fingerprint([folder / CONFIG, folder / WEIGHTS])]),
            record=prepared.record,
        )

    def cache_features(self, opened: Opened, name: str, seed: int) -> tuple[str, Features]:
        """Features of all samples of a task, and their key."""
        prepared = self._prepared(opened.task, opened.bundle)
        encoder = self._encoder(opened.task, opened.bundle)
        representation = make_representation(
            name, encoder, seed=seed, pooling=self._place.pooling, suited=self._task(opened.task).suited
        )
        key = joined_fingerprint([representation.fingerprint(), self._place.pooling, opened.door, opened.images])[:20]
        samples = prepared.task.samples
        return key, self._cache.get(key, samples, lambda some: representation.features(prepared.feed, some))

    def compute(self, work: ComputeCell) -> CellResult:
        """The result of a cell, not yet written."""
        start, cell = monotonic(), work.cell
        part = self._subsets(cell.task).take(cell.amount, cell.seed)
        run = self._fit(work, part) if work.preset is None else self._finetune(cell, part, work.preset)
        run = replace(run, facts={**run.facts, "seconds": monotonic() - start})
        seen = work.opened.record if work.preset is None else self._maps(cell.task, cell.bundle)[1].record
        record = {
            **seen,
            "basis": work.basis,
            "labels": work.opened.labels,
            "written": datetime.now(UTC).isoformat(),
            "version": __version__,
        }
        facts = TaskFacts(part.name, part.kind, part.classes, part.counts)
        return CellResult(cell, facts, run, np.asarray(part.test), record)

    def _fit(self, work: ComputeCell, part: Task) -> Run:
        """A head on frozen features."""
        cell, features = work.cell, self._cache.find(work.features)
        if features is None:  # it was deleted or damaged since
            features = self.cache_features(work.opened, cell.representation, cell.seed)[1]
        prediction = _predict(cell, part.labelled(features))
        outcome = SampleOutcome(part.kind, prediction.scores, part.labels[part.test])
        trained = 0 if cell.head == "knn" else (features.shape[1] + 1) * len(part.classes)
        facts = {"features": features.shape[1], "trainable_parameters": trained}
        if cell.representation in (PRETRAINED, RANDOM):
            facts["parameters"] = work.opened.parameters + trained
        return Run(outcome, prediction.validation, prediction.chosen, facts)

    def _finetune(self, cell: Cell, part: Task, preset: FinetuneSettings) -> Run:
        """Training on images, behind the door of the whole task: its statistics need no labels."""
        encoder, prepared = self._maps(cell.task, cell.bundle)
        if cell.representation == RANDOM:
            encoder = random_encoder(encoder, cell.seed)
        # Subsets share the images that are kept in memory, and its bound.
        prepared = replace(prepared, task=part)

        def keep_examples(outcome: Outcome, maps: Maps) -> None:
            write_examples(self._place.cells, cell.key, example_maps(outcome, np.asarray(part.test), maps))

        return finetune(encoder, prepared, preset, seed=cell.seed, look=keep_examples)


def _predict(cell: Cell, data: LabelledFeatures) -> Prediction:
    if cell.head == "sgd":
        return sgd_probe(data, seed=cell.seed)
    return HEADS[cell.head](data)


def _labels_sign(task: Task) -> str:
    """Of labels, splits, and label maps."""
    arrays = (task.samples, task.labels, task.train, task.val, task.test)
    parts = [np.ascontiguousarray(array).tobytes().hex() for array in arrays]
    for start in range(0, len(task.samples) if task.maps is not None else 0, _MAPS_AT_ONCE):
        assert task.maps is not None
        codes, labelled = task.maps.read(task.samples[start : start + _MAPS_AT_ONCE])
        parts += [_sign_of_array(codes), _sign_of_array(labelled)]
    return joined_fingerprint([str(task.kind), *task.classes, *parts])


def _sign_of_array(array: Any) -> str:
    return joined_fingerprint([str(array.shape), np.ascontiguousarray(array).tobytes().hex()])


def _sign(plain: Mapping[str, Any]) -> str:
    """Of plain data."""
    return joined_fingerprint([json.dumps(plain, sort_keys=True, default=str)])

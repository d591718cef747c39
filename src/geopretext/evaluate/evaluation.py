"""A bundle and a task in, a table of scores out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.cells import TaskFacts
from geopretext.evaluate.feature_file import FEATURES_FILE, write_features
from geopretext.evaluate.inputs import Feed
from geopretext.evaluate.knn import knn
from geopretext.evaluate.labelled import LabelledFeatures, Prediction
from geopretext.evaluate.outcome import Run, SampleOutcome
from geopretext.evaluate.probe import probe
from geopretext.evaluate.representations import BASELINES, PRETRAINED, Representation, make_representation
from geopretext.evaluate.scores import Scores
from geopretext.evaluate.task import Task
from geopretext.nn.bundle import Encoder

Array = npt.NDArray[Any]
Head: TypeAlias = Literal["knn", "probe"]
Runs: TypeAlias = Array | Sequence[Array]
"""features (n, D) of one run of a method, or of several whose scores are averaged (seeds 0, 1, ...)"""
Report: TypeAlias = Callable[[str, int, int], None]
"""called with (method, inputs done, inputs in all)"""

HEADS: dict[str, Callable[[LabelledFeatures], Prediction]] = {"knn": knn, "probe": probe}

RANDOM_SEEDS = (0, 1, 2)


def evaluate(
    encoder: Encoder | str | Path,
    task: Task,
    *,
    head: Head = "probe",
    pooling: str = "stages",
    baselines: Sequence[str] = BASELINES,
    random_seeds: Sequence[int] = RANDOM_SEEDS,
    strict: bool = False,
    seed: int = 0,
    out: str | Path | None = None,
    save_features: bool = False,
    progress: Report | None = None,
    looked: Callable[[Mapping[str, Any]], None] | None = None,
) -> Scores:
    """What a pretrained encoder is worth on a task, beside baselines.

    Args:
        encoder: or a bundle's folder or hub name. It runs on the device where it is.
        task: what is to be predicted.
        head: "knn" or "probe".
        pooling: how a grid of features becomes one vector, see ``geopretext.nn.settings.POOLINGS``.
        baselines: also score these, see ``evaluate.representations.make_representation``.
        random_seeds: of what is random among the baselines; their scores are averaged.
        strict: refuse inputs that are implausible for the encoder, see ``predict.input_gate``.
        seed: of the bootstrap.
        out: folder for ``scores.json``; None: nothing is written.
        save_features: write all features into that folder, too, see ``evaluate.feature_file``.
        progress: told how far the features are.
        looked: told what is done to the inputs and how plausible they are, before anything is computed from them.

    Raises:
        BundleError: there is no such bundle.
        BandError, UnitError, GridError, InputError: the inputs do not fit the encoder, are implausible for it (with
            ``strict``), or the task has labels of pixels.
        CorruptError: an input cannot be decoded.
        MissingLibraryError: a baseline needs a library that is not installed.
    """
    if save_features and out is None:
        raise InputError("features are to be saved, but there is no folder for them", hint="give `out`")
    if not isinstance(encoder, Encoder):
        encoder = Encoder.from_pretrained(encoder)
    encoder = task.suited(encoder)
    _check_head(head)
    task.require_one_label_a_sample()
    runs = {
        method: _runs(method, encoder, task, random_seeds, pooling)
        for method in dict.fromkeys((PRETRAINED, *baselines))
    }
    feeds = {PRETRAINED: _feed(encoder, task)}
    if looked is not None:
        looked(_record(feeds[PRETRAINED]))
    for method, (first, *_) in runs.items():
        feeds[method] = feeds[PRETRAINED] if first.encoder is encoder else _feed(first.encoder, task)
        if strict:
            feeds[method].gate.require_plausible(where=f"task {task.name!r}")

    def features(method: str, run: Representation) -> Array:
        def report(done: int, count: int) -> None:
            if progress is not None:
                progress(method, done, count)

        return run.features(feeds[method], task.samples, progress=report)

    methods: dict[str, Runs] = {method: [features(method, run) for run in some] for method, some in runs.items()}
    settings = {
        "inputs": _record(feeds[PRETRAINED]),
        "encoder": encoder.settings.title,
        "pooling": pooling,
        "random_seeds": list(random_seeds) if any(first.seeded for first, *_ in runs.values()) else [],
        "methods": {method: _describe(first, feeds[method], encoder) for method, (first, *_) in runs.items()},
    }
    scores = evaluate_many(methods, task, head=head, seed=seed, settings=settings)
    if out is not None:
        scores.write(out)
        if save_features:
            write_features(Path(out) / FEATURES_FILE, task, methods)
    return scores


def _runs(method: str, encoder: Encoder, task: Task, seeds: Sequence[int], pooling: str) -> list[Representation]:
    """One representation, or one a seed if seeds matter to it."""

    def make(seed: int) -> Representation:
        return make_representation(method, encoder, seed=seed, pooling=pooling, suited=task.suited)

    first = make(seeds[0] if seeds else 0)
    return [first, *map(make, seeds[1:] if first.seeded else ())]


def _feed(encoder: Encoder, task: Task) -> Feed:
    return task.inputs.prepare(encoder, task.samples[task.train])


def _record(feed: Feed) -> dict[str, Any]:
    return {**feed.record, "gate": feed.gate.to_dict()}


def _describe(method: Representation, feed: Feed, encoder: Encoder) -> dict[str, Any]:
    """What decides the features; with what the door does, if it is not that of the encoder in question."""
    inputs = {} if method.encoder is encoder else {"inputs": _record(feed)}
    return {**method.record, "fingerprint": method.fingerprint(), **inputs}


def evaluate_many(
    features: Mapping[str, Runs],
    task: Task,
    *,
    head: Head = "probe",
    seed: int = 0,
    settings: Mapping[str, Any] | None = None,
) -> Scores:
    """Score features that are at hand, several methods in one table.

    Args:
        features: of ``task.samples`` in their order, by method; the one in question first.
        task: what is to be predicted.
        head: "knn" or "probe".
        seed: of the bootstrap; the same resamples serve all methods.
        settings: what was done to get the features, for the record.

    Raises:
        InputError: there is not one row of features a sample.
        NonFiniteError: a feature is NaN or infinite.
    """
    _check_head(head)
    labels = task.labels[task.test]

    def run(features: Array) -> Run:
        said = HEADS[head](task.labelled(features))
        return Run(SampleOutcome(task.kind, said.scores, labels), said.validation, said.chosen, {})

    runs = {
        name: {number: run(each) for number, each in enumerate([given] if isinstance(given, np.ndarray) else given)}
        for name, given in features.items()
    }
    facts = TaskFacts(task.name, task.kind, task.classes, task.counts)
    return Scores.of_runs(facts, head, runs, seed=seed, settings=settings)


def _check_head(head: str) -> None:
    if head not in HEADS:
        raise InputError(f"no head {head!r}", hint=f"one of {', '.join(HEADS)}")

"""The table of a suite: one row for each method, task, head, amount of labels and metric, from results of cells.

A method is a bundle, or a baseline behind the door of one. Its row is over its seeds: their scores are averaged.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.local_file import replace_file
from geopretext.errors import InputError
from geopretext.evaluate.bootstrap import Score, bootstrap, difference
from geopretext.evaluate.cells import CellResult, read_result
from geopretext.evaluate.comparison import Runs, holm, p_value
from geopretext.evaluate.metrics import METRICS, Metric
from geopretext.evaluate.outcome import require_same_samples
from geopretext.evaluate.representations import PRETRAINED
from geopretext.evaluate.suite_settings import SUITE_FILE, SuiteSettings, bundle_names, read_suite

SCORES_FILE = "scores.parquet"

SCHEMA = pa.schema(
    [
        pa.field("task", pa.string(), nullable=False),
        pa.field("title", pa.string(), nullable=False),
        pa.field("kind", pa.string(), nullable=False),
        pa.field("method", pa.string(), nullable=False),
        pa.field("bundle", pa.string(), nullable=False),
        pa.field("representation", pa.string(), nullable=False),
        pa.field("head", pa.string(), nullable=False),
        pa.field("amount", pa.string(), nullable=False),
        pa.field("metric", pa.string(), nullable=False),
        pa.field("headline", pa.bool_(), nullable=False),
        pa.field("value", pa.float64()),
        pa.field("low", pa.float64()),
        pa.field("high", pa.float64()),
        pa.field("seeds", pa.int32(), nullable=False),
        pa.field("n_train", pa.int64(), nullable=False),
        pa.field("n_test", pa.int64(), nullable=False),
        pa.field("validation", pa.float64()),
        pa.field("gain", pa.float64()),
        pa.field("gain_low", pa.float64()),
        pa.field("gain_high", pa.float64()),
        pa.field("p", pa.float64()),
        pa.field("parameters", pa.int64()),
        pa.field("trainable_parameters", pa.int64()),
        pa.field("seconds", pa.float64()),
    ]
)
"""Columns; docs/suite.md says what they mean."""


@dataclass(frozen=True)
class Method:
    """What a row is about, on one task with one head and one amount of labels."""

    task: str
    """as the cells name it"""
    bundle: str
    representation: str
    head: str
    amount: str


def read_cells(folder: Path) -> list[CellResult]:
    """All results of a suite's grid that did not fail since, in the order of its settings.

    Raises:
        CorruptError: a result is damaged.
        RecipeError: the folder holds no suite.
    """
    settings = read_suite(folder / SUITE_FILE)
    keys = [path.stem for path in sorted((folder / "cells").glob("*.json")) if not path.stem.endswith(".error")]
    keys = [key for key in keys if not (folder / "cells" / f"{key}.error.json").exists()]
    results = [read_result(folder / "cells", key) for key in keys]
    axes = [
        (settings.tasks, "task"),
        (settings.heads, "head"),
        (settings.amounts, "amount"),
        (settings.representations, "representation"),
        (settings.bundles, "bundle"),
        (settings.seeds, "seed"),
    ]
    order = [({entry: number for number, entry in enumerate(entries)}, name) for entries, name in axes]
    places = [tuple(numbers.get(getattr(result.cell, name), -1) for numbers, name in order) for result in results]
    inside = [(place, result) for place, result in zip(places, results, strict=True) if min(place) >= 0]
    return [result for _, result in sorted(inside, key=lambda pair: pair[0])]


def suite_scores(folder: Path) -> pa.Table:
    """The table of a suite, from the results of its cells; columns are those of ``SCHEMA``.

    Raises:
        CorruptError: a result is damaged.
        RecipeError: the folder holds no suite.
    """
    results = read_cells(folder)
    names = method_names(results, read_suite(folder / SUITE_FILE))
    tasks = task_names(results)
    rows: list[dict[str, Any]] = []
    for group in _groups(results):
        rows += _rows(group, names, tasks)
    return pa.Table.from_pylist(rows, SCHEMA)


def write_scores(folder: Path) -> Path | None:
    """Write ``scores.parquet``, whole or not at all; None, and what is there stays, if no cell has a result."""
    table = suite_scores(folder)
    if not table.num_rows:
        return None
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink)
    path = folder / SCORES_FILE
    replace_file(path, sink.getvalue().to_pybytes())
    return path


def task_names(results: Iterable[CellResult]) -> dict[str, str]:
    """For each task as cells name it, its own name; the cells' where two tasks have the same."""
    own = {result.cell.task: result.task.name for result in results}
    shared = {name for name in own.values() if list(own.values()).count(name) > 1}
    return {task: task if name in shared else name for task, name in own.items()}


def method_names(results: Iterable[CellResult], settings: SuiteSettings) -> dict[tuple[str, str], str]:
    """Names in tables of (bundle, representation): the bundle's, or the baseline's, which says behind whose door.

    It does not where the suite has only one door.
    """
    pairs = dict.fromkeys((result.cell.bundle, result.cell.representation) for result in results)
    doors = {
        representation: {bundle for bundle, other in pairs if other == representation} for _, representation in pairs
    }
    names = bundle_names(settings.bundles, settings.names)
    return {
        (bundle, representation): names[bundle]
        if representation == PRETRAINED
        else representation + (f" ({names[bundle]})" if len(doors[representation]) > 1 else "")
        for bundle, representation in pairs
    }


def _groups(results: Sequence[CellResult]) -> Iterable[dict[Method, list[CellResult]]]:
    """Methods that are compared with each other, each with its runs: same task, head and amount."""
    groups: dict[tuple[str, str, str], dict[Method, list[CellResult]]] = {}
    for result in results:
        cell = result.cell
        method = Method(cell.task, cell.bundle, cell.representation, cell.head, cell.amount)
        groups.setdefault((cell.task, cell.head, cell.amount), {}).setdefault(method, []).append(result)
    return [{method: _of_one_test(runs) for method, runs in group.items()} for group in groups.values()]


def _of_one_test(runs: Sequence[CellResult]) -> list[CellResult]:
    """Runs on the samples of the one that was written last: others are of what task or bundle were before."""
    last = max(runs, key=lambda run: str(run.record.get("written", "")))
    return [run for run in runs if _comparable(run, last)]


def _comparable(first: CellResult, second: CellResult) -> bool:
    """True of the same test samples with the same labels, of the same pixels."""
    if first.task.kind is not second.task.kind or not np.array_equal(first.test, second.test):
        return False
    try:
        require_same_samples(first.run.outcome, second.run.outcome)
    except InputError:
        return False
    return True


def _rows(
    group: dict[Method, list[CellResult]], names: dict[tuple[str, str], str], tasks: dict[str, str]
) -> Iterable[dict[str, Any]]:
    """Rows of methods that are compared, for each metric."""
    first = next(iter(group.values()))[0]
    for metric in METRICS[first.task.kind]:
        scores = {method: _score(metric, runs) for method, runs in group.items()}
        gains = _gains(metric, scores, group)
        for method, runs in group.items():
            yield {
                "task": method.task,
                "title": tasks[method.task],
                "kind": str(first.task.kind),
                "method": names[method.bundle, method.representation],
                "bundle": method.bundle,
                "representation": method.representation,
                "head": method.head,
                "amount": method.amount,
                "metric": str(metric),
                "headline": metric is METRICS[first.task.kind][0],
                **_interval(scores[method]),
                "seeds": len(runs),
                "n_train": round(float(np.mean([run.task.counts["train"] for run in runs]))),
                "n_test": len(runs[0].test),
                "validation": float(np.mean([run.run.validation for run in runs])),
                **gains.get(method, {}),
                "parameters": _fact(runs, "parameters"),
                "trainable_parameters": _fact(runs, "trainable_parameters"),
                "seconds": float(np.mean([run.run.facts["seconds"] for run in runs])),
            }


def _score(metric: Metric, runs: Sequence[CellResult]) -> Score | None:
    try:
        return bootstrap(metric, list(_outcomes(runs).values()), seeds=list(_outcomes(runs)))
    except InputError:  # undefined on this test split: the other metrics may not be
        return None


def _outcomes(runs: Sequence[CellResult]) -> Runs:
    return {run.cell.seed: run.run.outcome for run in runs}


def _gains(
    metric: Metric, scores: dict[Method, Score | None], group: dict[Method, list[CellResult]]
) -> dict[Method, dict[str, float]]:
    """What the first method gains over each other on the same test samples; p-values corrected for how many these are.

    A method is not compared if its test samples are others, since its task has changed, or if it sees another window
    of labels of pixels.
    """
    (first, best), *rest = scores.items()
    gains = {
        method: difference(best, score)
        for method, score in rest
        if best is not None and score is not None and _comparable(group[first][0], group[method][0])
    }
    runs = {method: _outcomes(results) for method, results in group.items()}
    corrected = holm({method: p_value(metric, runs[first], runs[method]) for method in gains})
    return {
        method: {"gain": gain.value, "gain_low": gain.low, "gain_high": gain.high, "p": corrected[method]}
        for method, gain in gains.items()
    }


def _interval(score: Score | None) -> dict[str, float]:
    return {} if score is None else score.to_dict()


def _fact(runs: Sequence[CellResult], name: str) -> int | None:
    facts = runs[0].run.facts
    return int(facts[name]) if name in facts else None

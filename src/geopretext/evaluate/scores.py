"""The result of an evaluation: one table of methods with intervals, as JSON and for the terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.table import Table

from geopretext.data.local_file import replace_file
from geopretext.evaluate.bootstrap import LEVEL, RESAMPLES, Score, bootstrap, difference
from geopretext.evaluate.calibration import Calibration, calibration, has_probabilities
from geopretext.evaluate.cells import TaskFacts
from geopretext.evaluate.comparison import holm, p_value
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind
from geopretext.evaluate.outcome import Run

SCORES_FILE = "scores.json"

_INTERVAL = "percentile bootstrap over test samples; Student's t over seeds, of methods with several runs"
_TEST = "exchange of methods sample by sample, two-sided; p_holm: corrected for the number of gains"


@dataclass(frozen=True)
class Scores:
    """What several representations are worth on one task under one head."""

    task: str
    kind: TaskKind
    classes: tuple[str, ...]
    """names of the classes, labels or regression targets"""
    head: str
    """"knn" or "probe" """
    metric: Metric
    """the headline metric"""
    scores: Mapping[str, Score]
    """of each method by the headline metric, the one in question first"""
    other_metrics: Mapping[Metric, Mapping[str, Score]]
    """of each method by the other metrics"""
    gains: Mapping[str, Score]
    """first method minus each other one, headline metric, on the same resamples of the test set"""
    chosen: Mapping[str, Sequence[Mapping[str, float]]]
    """of each method and run: settings of the head that were chosen on the validation split"""
    counts: Mapping[str, int]
    """samples by split, and those left out by reason"""
    settings: Mapping[str, Any]
    """what was done to the inputs, and everything else that a repetition needs"""
    p_values: Mapping[str, float] = field(default_factory=dict)
    """of each gain, before correction for their number"""
    calibration: Mapping[str, Calibration] = field(default_factory=dict)
    """of each method whose scores are probabilities"""

    @classmethod
    def of_runs(
        cls,
        task: TaskFacts,
        head: str,
        runs: Mapping[str, Mapping[int, Run]],
        *,
        seed: int = 0,
        settings: Mapping[str, Any] | None = None,
    ) -> "Scores":
        """Everything that follows from what methods said of the test samples.

        Args:
            task: what was predicted.
            head: by what, as in ``evaluate.cells.Cell``.
            runs: by seed, by method; the method in question first.
            seed: of the bootstrap and the tests; the same resamples serve all methods.
            settings: what was done to get the runs, for the record.

        Raises:
            InputError: the runs are not of the same test samples, or a metric is undefined on them.
        """
        outcomes = {name: {number: run.outcome for number, run in by_seed.items()} for name, by_seed in runs.items()}
        by_metric = {
            metric: {
                name: bootstrap(metric, [*by_seed.values()], seeds=[*by_seed], seed=seed)
                for name, by_seed in outcomes.items()
            }
            for metric in METRICS[task.kind]
        }
        metric = METRICS[task.kind][0]
        headline = by_metric.pop(metric)
        first, *rest = headline
        calibrated = {
            name: calibration([*by_seed.values()], seeds=[*by_seed], seed=seed)
            for name, by_seed in outcomes.items()
            if has_probabilities(task.kind, head)
        }
        return cls(
            task=task.name,
            kind=task.kind,
            classes=task.classes,
            head=head,
            metric=metric,
            scores=headline,
            other_metrics=by_metric,
            gains={name: difference(headline[first], headline[name]) for name in rest},
            chosen={
                name: [{**run.chosen, "validation": run.validation} for run in by_seed.values()]
                for name, by_seed in runs.items()
            },
            counts=task.counts,
            settings={**(settings or {}), "bootstrap_seed": seed},
            p_values={name: p_value(metric, outcomes[first], outcomes[name], seed=seed) for name in rest},
            calibration={name: each for name, each in calibrated.items() if each is not None},
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as ``scores.json`` holds them."""
        adjusted = holm(self.p_values)
        p_values = {name: {"p": self.p_values[name], "p_holm": adjusted[name]} for name in self.p_values}
        return {
            "task": self.task,
            "kind": str(self.kind),
            "classes": list(self.classes),
            "head": self.head,
            "metric": str(self.metric),
            "scores": _plain(self.scores),
            "other_metrics": {str(metric): _plain(scores) for metric, scores in self.other_metrics.items()},
            "gains": {name: {**gain.to_dict(), **p_values.get(name, {})} for name, gain in self.gains.items()},
            "calibration": {name: each.to_dict() for name, each in self.calibration.items()},
            "chosen": {name: [dict(run) for run in runs] for name, runs in self.chosen.items()},
            "counts": dict(self.counts),
            "settings": dict(self.settings),
            "interval": {"level": LEVEL, "method": _INTERVAL, "resamples": RESAMPLES},
            "test": _TEST,
        }

    def write(self, folder: str | Path) -> Path:
        """Write ``scores.json`` into a folder, which is made if need be; the old file stays until the new is complete.

        Returns:
            path of the file.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / SCORES_FILE
        replace_file(path, (json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n").encode())
        return path

    def table(self) -> Table:
        """All methods in one table: the headline metric with its interval, the others, and what the first method gains.

        Calibration error and p-values stand where there are any; ``scores.json`` has the other intervals.
        """
        first = next(iter(self.scores))
        adjusted = holm(self.p_values)
        table = Table(
            title=f"{self.task}: {self.head}, {self.counts['test']} test samples, [95 % interval]", title_justify="left"
        )
        table.add_column("method", no_wrap=True)
        table.add_column(str(self.metric).replace("_", " "), justify="right")
        for metric in self.other_metrics:
            table.add_column(str(metric).replace("_", " "), justify="right")
        if self.calibration:
            table.add_column("calibration error", justify="right")
        table.add_column(f"{first} minus method", justify="right")
        if adjusted:
            table.add_column("p (Holm)", justify="right")
        for name, score in self.scores.items():
            row = [name, _text(score), *(f"{scores[name].value:.3f}" for scores in self.other_metrics.values())]
            if self.calibration:
                row.append(f"{self.calibration[name].error.value:.3f}" if name in self.calibration else "")
            row.append(f"{self.gains[name].value:+.3f} {_interval(self.gains[name])}" if name in self.gains else "")
            if adjusted:
                row.append(_p_text(adjusted[name]) if name in adjusted else "")
            table.add_row(*row)
        return table


def _plain(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    return {name: score.to_dict() for name, score in scores.items()}


def _text(score: Score) -> str:
    return f"{score.value:.3f} {_interval(score)}"


def _p_text(p_value: float) -> str:
    return f"{p_value:.3f}" if p_value >= 0.0005 else "< 0.001"


def _interval(score: Score) -> str:
    # A backslash, since rich reads [..] as markup.
    return rf"\[{score.low:.3f}, {score.high:.3f}]"

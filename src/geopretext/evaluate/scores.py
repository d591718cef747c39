"""The result of an evaluation: one table of methods with intervals, as JSON and for the terminal."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from geopretext.data.local_file import replace_file
from geopretext.evaluate.bootstrap import LEVEL, RESAMPLES, Score
from geopretext.evaluate.metrics import Metric, TaskKind

SCORES_FILE = "scores.json"


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

    def to_dict(self) -> dict[str, Any]:
        """Plain types, as ``scores.json`` holds them."""
        return {
            "task": self.task,
            "kind": str(self.kind),
            "classes": list(self.classes),
            "head": self.head,
            "metric": str(self.metric),
            "scores": _plain(self.scores),
            "other_metrics": {str(metric): _plain(scores) for metric, scores in self.other_metrics.items()},
            "gains": _plain(self.gains),
            "chosen": {name: [dict(run) for run in runs] for name, runs in self.chosen.items()},
            "counts": dict(self.counts),
            "settings": dict(self.settings),
            "interval": {"level": LEVEL, "method": "percentile bootstrap over test samples", "resamples": RESAMPLES},
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
        """All methods in one table: each metric with its interval, and what the first method gains over the others."""
        first = next(iter(self.scores))
        table = Table(
            title=f"{self.task}: {self.head}, {self.counts['test']} test samples, [95 % interval]", title_justify="left"
        )
        table.add_column("method", no_wrap=True)
        for metric in (self.metric, *self.other_metrics):
            table.add_column(str(metric).replace("_", " "), justify="right")
        table.add_column(f"{first} minus method", justify="right")
        for name, score in self.scores.items():
            others = [_text(scores[name]) for scores in self.other_metrics.values()]
            gain = f"{self.gains[name].value:+.3f} {_interval(self.gains[name])}" if name in self.gains else ""
            table.add_row(name, _text(score), *others, gain)
        return table


def _plain(scores: Mapping[str, Score]) -> dict[str, dict[str, float]]:
    return {name: score.to_dict() for name, score in scores.items()}


def _text(score: Score) -> str:
    return f"{score.value:.3f} {_interval(score)}"


def _interval(score: Score) -> str:
    # A backslash, since rich reads [..] as markup.
    return rf"\[{score.low:.3f}, {score.high:.3f}]"

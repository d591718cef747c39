"""The table of real tasks: encoders of several planets as runs of one method, beside baselines."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.evaluate.bootstrap import Score, bootstrap
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind
from geopretext.evaluate.outcome import Outcome
from geopretext.evaluate.representations import PRETRAINED
from geopretext.evaluate.suite_table import read_cells

Array = npt.NDArray[Any]

_ALL = "100%"
_TITLES = {
    "mp_mae": "MP-MAE, all modalities",
    "s2_mae": "MAE, Sentinel-2 alone",
    "random_init": "random weights",
    "random_convolutions": "random convolutions",
    "band_statistics": "band statistics",
}
"""Methods in the order of the table."""


def real_table(suite: Path, bundles: Mapping[str, tuple[int, str]]) -> str:
    """Headline metric of each method with all labels, a column for each task and head, in Markdown.

    Intervals are over test samples and over planets, or over seeds of random weights.

    Args:
        suite: folder of the suite.
        bundles: planet and method of each bundle, by its path in the suite.
    """
    runs: dict[tuple[str, str], dict[str, dict[int, list[Outcome]]]] = {}
    metrics: dict[tuple[str, str], Metric] = {}
    owners: dict[tuple[str, str], str] = {}
    for result in read_cells(suite):
        cell, key = result.cell, (result.task.name, result.cell.head)
        if cell.amount != _ALL:
            continue
        if cell.representation == PRETRAINED:
            if cell.bundle not in bundles:
                continue  # of another call on this folder
            draw, method = bundles[cell.bundle]
        else:
            draw, method = cell.seed, cell.representation
            if owners.setdefault((result.task.name, method), cell.bundle) != cell.bundle:
                continue  # baselines stand behind one bundle; those behind others are the same again
        metrics[key] = METRICS[result.task.kind][0]
        runs.setdefault(key, {}).setdefault(method, {}).setdefault(draw, []).append(result.run.outcome)
    heads = [f"{task}, {_head(head)}, {str(metrics[task, head]).replace('_', ' ')}" for task, head in runs]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, title in _TITLES.items():
        cells = [_text(_score(metrics[key], group[method])) if method in group else "" for key, group in runs.items()]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class _Planet:
    """Runs of one encoder with several seeds as one outcome, whose metrics are their means."""

    runs: Sequence[Outcome]

    @property
    def kind(self) -> TaskKind:
        return self.runs[0].kind

    def __len__(self) -> int:
        return len(self.runs[0])

    def measure(self, metric: Metric) -> float:
        return float(np.mean([run.measure(metric) for run in self.runs]))

    def weighted(self, metric: Metric, counts: Array) -> Array:
        return np.asarray(np.mean([run.weighted(metric, counts) for run in self.runs], axis=0))

    def arrays(self) -> Mapping[str, Array]:
        raise NotImplementedError("a mean of outcomes is not written")


def _score(metric: Metric, draws: Mapping[int, Sequence[Outcome]]) -> Score:
    """Planets, not heads on one of them, are what a method is a draw of."""
    return bootstrap(metric, [_Planet(runs) for runs in draws.values()], seeds=[*draws])


def _head(head: str) -> str:
    """A preset in a file by its name: ``finetune:benchmarks/worth/unet.yaml`` is ``unet``."""
    return Path(head.partition(":")[2]).stem.replace("_", " ") if ":" in head else head


def _text(score: Score) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"

"""The table of real tasks: encoders of several planets as runs of one method, beside baselines."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from geopretext.evaluate.bootstrap import Score, bootstrap
from geopretext.evaluate.cells import CellResult
from geopretext.evaluate.metrics import METRICS
from geopretext.evaluate.suite_table import read_cells

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
    runs: dict[tuple[str, str], dict[str, list[CellResult]]] = {}
    for result in read_cells(suite):
        cell = result.cell
        if cell.amount == _ALL:
            method = bundles[cell.bundle][1] if cell.representation == "pretrained" else cell.representation
            runs.setdefault((result.task.name, cell.head), {}).setdefault(method, []).append(result)
    metrics = {key: METRICS[next(iter(methods.values()))[0].task.kind][0] for key, methods in runs.items()}
    heads = [f"{task}, {_head(head)}, {str(metrics[task, head]).replace('_', ' ')}" for task, head in runs]
    lines = ["| method | " + " | ".join(heads) + " |", "|---" * (len(heads) + 1) + "|"]
    for method, title in _TITLES.items():
        cells = [_text(_score(group[method], bundles)) if method in group else "" for group in runs.values()]
        if any(cells):
            lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def _score(results: Sequence[CellResult], bundles: Mapping[str, tuple[int, str]]) -> Score:
    seeds = [
        bundles[result.cell.bundle][0] if result.cell.representation == "pretrained" else result.cell.seed
        for result in results
    ]
    metric = METRICS[results[0].task.kind][0]
    return bootstrap(metric, [result.run.outcome for result in results], seeds=seeds)


def _head(head: str) -> str:
    """A preset in a file by its name: ``finetune:benchmarks/worth/unet.yaml`` is ``unet``."""
    return Path(head.partition(":")[2]).stem.replace("_", " ") if ":" in head else head


def _text(score: Score) -> str:
    return f"{score.value:.3f} [{score.low:.3f}, {score.high:.3f}]"

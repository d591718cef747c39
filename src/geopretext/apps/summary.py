"""What the demo found out, as data: for ``summary.json``, for the table on stdout and for the page."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from geopretext.apps.tables import text_table
from geopretext.evaluate.charts import Interval

Curves = Mapping[str, Sequence[tuple[float, float]]]
MEAN = "mean"
"""Key of the mean over all tasks among a method's scores."""


@dataclass(frozen=True)
class TaskFacts:
    """What a downstream task asks, for the reader."""

    title: str
    kind: str
    metric: str
    train: int
    """tiles, and likewise below"""
    val: int
    test: int


@dataclass(frozen=True)
class Summary:
    """Everything that the demo found out."""

    settings: Mapping[str, Any]
    """tiles, tile_size, steps, batch_size, seed"""
    methods: Mapping[str, str]
    """title by method; the first is the one that is demonstrated"""
    tasks: Mapping[str, TaskFacts]
    probe: Mapping[str, Mapping[str, Interval]]
    """method -> task, or ``MEAN``"""
    knn: Mapping[str, Mapping[str, Interval]]
    """method -> task, or ``MEAN``"""
    differences: Mapping[str, Interval]
    """first method minus this one, mean over the tasks, on the same test tiles"""
    curves: Mapping[str, Curves]
    """method -> pretext task -> (step, loss)"""
    seconds: Mapping[str, float]
    """wall time by part"""
    tiles_per_second: Mapping[str, float]
    """method -> pretraining rate"""
    versions: Mapping[str, str]
    machine: str = ""
    commands: Sequence[str] = field(default_factory=tuple)
    """how to go on"""

    def to_plain(self) -> dict[str, Any]:
        """Plain types for JSON; ``scores`` are the linear probe's, curves stay in the runs' ``metrics.csv``."""
        plain = asdict(self)
        del plain["curves"]
        first = next(iter(self.methods))
        return {
            "scores": plain.pop("probe"),
            "scores_knn": plain.pop("knn"),
            "seconds": round(sum(self.seconds.values()), 2),
            "seconds_by_part": plain.pop("seconds"),
            "tiles_per_second": self.tiles_per_second[first],
            "tiles_per_second_by_method": plain.pop("tiles_per_second"),
            **plain,
        }


def score_table(summary: Summary) -> str:
    """Probe scores with intervals: a row a task, a column a method."""
    rows = []
    for task in (*summary.tasks, MEAN):
        facts = summary.tasks.get(task)
        name = f"{facts.title} ({facts.metric})" if facts else "Mean over the tasks"
        rows.append([name, *(summary.probe[method][task].text for method in summary.methods)])
    header = ["linear probe", *summary.methods.values()]
    return text_table(header, rows, right=range(1, len(header)))

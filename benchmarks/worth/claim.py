"""Does predicting all modalities make better features than Sentinel-2 alone? Gaps between the two, over planets.

A planet is one repetition: other tiles, other weights, other masks. Both encoders of a planet share all of that, so the
gap is taken within it, see ``geopretext.evaluate.seed_difference``. Its interval contains what bootstrap intervals over
test samples do not: the luck of tiles and weights in pretraining. On real tasks the test samples are the same for all
planets, so there it says how the gap varies with pretraining and not with them.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.evaluate.seed_difference import SeedDifference, seed_difference
from worth.encoders import ALL_MODALITIES, OPTICAL

MEAN, MEAN_OF_CLASSES = "mean of the tasks", "mean of those of classes"
"""Names of means; the second leaves out R², which is no share of anything and varies most where labels are few."""


@dataclass(frozen=True)
class Pair:
    """What the two encoders of one planet scored on one task, with one amount of labels."""

    source: str
    """"synthetic Earth", or the name of a real data set"""
    task: str
    head: str
    amount: str
    """of the training labels, as "5%" """
    labels: float
    """training samples that this is"""
    metric: str
    planet: int
    all_modalities: float
    """score of MP-MAE, mean over subsets"""
    optical: float
    """score of the encoder that predicted Sentinel-2 alone"""

    @property
    def gap(self) -> float:
        """The first minus the second."""
        return self.all_modalities - self.optical


def read_pairs(scores: Path, source: str, bundles: Mapping[str, tuple[int, str]]) -> list[Pair]:
    """Pairs of a suite, by its headline metrics.

    Args:
        scores: ``scores.parquet`` of the suite.
        source: what its tasks are about.
        bundles: planet and method of each bundle, by its path in the suite.
    """
    found: dict[tuple[str, str, str, int], dict[str, Mapping[str, Any]]] = {}
    for row in pq.read_table(scores).to_pylist():
        if row["headline"] and row["representation"] == "pretrained" and row["bundle"] in bundles:
            planet, method = bundles[row["bundle"]]
            task = row["task"].rpartition(":")[2]  # STORE:LABEL and FILE.py:FUNCTION: a planet's store is its own
            found.setdefault((task, row["head"], row["amount"], planet), {})[method] = row
    return [
        Pair(
            source,
            task,
            head,
            amount,
            float(both[OPTICAL]["n_train"]),
            both[OPTICAL]["metric"],
            planet,
            both[ALL_MODALITIES]["value"],
            both[OPTICAL]["value"],
        )
        for (task, head, amount, planet), both in found.items()
        if len(both) == 2
    ]


def mean_over_tasks(pairs: Iterable[Pair], name: str = MEAN) -> list[Pair]:
    """One pair for each source, head, amount and planet: the mean over its tasks."""
    groups: dict[tuple[str, str, str, int], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.source, pair.head, pair.amount, pair.planet), []).append(pair)
    return [
        Pair(
            source,
            name,
            head,
            amount,
            float(np.mean([pair.labels for pair in group])),
            "mean",
            planet,
            float(np.mean([pair.all_modalities for pair in group])),
            float(np.mean([pair.optical for pair in group])),
        )
        for (source, head, amount, planet), group in groups.items()
    ]


def gap_of(pairs: Sequence[Pair]) -> SeedDifference:
    """MP-MAE minus Sentinel-2 alone, over the planets of pairs that agree in everything else.

    Raises:
        InputError: there are fewer than two planets.
    """
    return seed_difference(
        {pair.planet: pair.all_modalities for pair in pairs}, {pair.planet: pair.optical for pair in pairs}
    )


def trend_of(pairs: Sequence[Pair]) -> SeedDifference | None:
    """By how much the gap moves when there are ten times as many labels: slope within each planet, then over planets.

    Args:
        pairs: of one source, task and head, of all amounts.

    Returns:
        None if there is only one amount.
    """
    if len({pair.labels for pair in pairs}) == 1:
        return None
    planets = by(pairs, "planet")
    return seed_difference(
        {group[0].planet: _slope(group, "all_modalities") for group in planets},
        {group[0].planet: _slope(group, "optical") for group in planets},
    )


def _slope(pairs: Sequence[Pair], method: str) -> float:
    decades = np.log10([pair.labels for pair in pairs])
    return float(np.polyfit(decades, [getattr(pair, method) for pair in pairs], 1)[0])


def write_pairs(pairs: Sequence[Pair], path: Path) -> None:
    """All pairs as tidy Parquet, a row each, with their gap."""
    pq.write_table(pa.Table.from_pylist([{**asdict(pair), "gap": pair.gap} for pair in pairs]), path)


def summary(pairs: Sequence[Pair]) -> list[dict[str, Any]]:
    """Gap and trend of each source, task, head and amount, in plain types."""
    rows = []
    for of_task in by(pairs, "source", "task", "head"):
        trend = trend_of(of_task)
        for group in by(of_task, "amount"):
            first = group[0]
            rows.append(
                {
                    **{key: getattr(first, key) for key in ("source", "task", "head", "amount", "labels", "metric")},
                    "all_modalities": float(np.mean([pair.all_modalities for pair in group])),
                    "optical": float(np.mean([pair.optical for pair in group])),
                    "gap": gap_of(group).to_dict(),
                    "gap_of_ten_times_the_labels": None if trend is None else trend.to_dict(),
                }
            )
    return rows


def markdown(pairs: Sequence[Pair]) -> str:
    """Tables of gaps, one for each source and head: tasks down, amounts of labels across."""
    parts = []
    for group in by(pairs, "source", "head"):
        amounts = list(dict.fromkeys(pair.amount for pair in sorted(group, key=lambda pair: pair.labels)))
        first = group[0]
        planets = len({pair.planet for pair in group})
        lines = [
            f"**{first.source}, {first.head}**: MP-MAE minus Sentinel-2 alone, mean of {planets} planets [95 %]",
            "",
            "| task, by labels | " + " | ".join(amounts) + " | ten times the labels |",
            "|---" * (len(amounts) + 2) + "|",
        ]
        for of_task in by(group, "task"):
            cells = [
                _text(gap_of(at_amount)) if (at_amount := [pair for pair in of_task if pair.amount == amount]) else ""
                for amount in amounts
            ]
            trend = trend_of(of_task)
            lines.append(f"| {of_task[0].task} | " + " | ".join([*cells, "" if trend is None else _text(trend)]) + " |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + "\n"


def _text(difference: SeedDifference) -> str:
    return f"{difference.value:+.3f} [{difference.low:+.3f}, {difference.high:+.3f}]"


def by(pairs: Iterable[Pair], *keys: str) -> list[list[Pair]]:
    """Groups that agree in some fields, in the order of their first pair."""
    groups: dict[tuple[Any, ...], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault(tuple(getattr(pair, key) for key in keys), []).append(pair)
    return list(groups.values())

"""What a suite left in its folder, as its report reads it: settings, table of scores, results of cells, failures.

Results are read one by one when they are asked for: a suite holds many, and a report needs few at a time.
"""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from geopretext.errors import CorruptError, StoreError
from geopretext.evaluate.cells import Cell, CellResult, Failure, TaskFacts, read_result
from geopretext.evaluate.charts import Interval
from geopretext.evaluate.metrics import METRICS, Metric
from geopretext.evaluate.suite_keeping import CELLS
from geopretext.evaluate.suite_settings import SUITE_FILE, bundle_names
from geopretext.evaluate.suite_table import SCORES_FILE

_ERROR = ".error.json"
_AGAIN = "run `geopretext evaluate suite` on this folder again: what is there already is not computed twice"


@dataclass(frozen=True)
class Row:
    """One row of ``scores.parquet``; numbers that are not known are NaN."""

    task: str
    """as ``Cell.task``"""
    title: str
    """what the task is called on the page, unlike any other"""
    method: str
    """its name on the page; the first of a task and head is what the others are compared with"""
    bundle: str
    representation: str
    head: str
    amount: str
    metric: Metric
    score: Interval
    gain: Interval
    """of the first method over this one, on the same test samples"""
    p: float
    """of that difference, corrected for how many were compared"""
    n_train: float
    """training samples, mean over the seeds"""
    validation: float
    """headline metric on the validation split"""
    parameters: float
    trainable_parameters: float


@dataclass(frozen=True)
class SuiteContents:
    """A folder of a suite; made by ``SuiteContents.open``."""

    folder: Path
    settings: Mapping[str, Any]
    """``suite.yaml``"""
    settings_text: str
    """the same, as it stands there"""
    rows: Sequence[Row]
    cells: Sequence[Cell]
    """those that have a result"""
    failures: Sequence[Failure]

    @classmethod
    def open(cls, folder: Path) -> "SuiteContents":
        """Read everything but the results.

        Raises:
            StoreError: the folder is not a suite's, or a suite's that is not complete.
            CorruptError: a file is damaged.
        """
        settings_text = _text(folder, SUITE_FILE, f"no folder of a suite: it has no {SUITE_FILE}")
        try:
            settings = yaml.safe_load(settings_text)
        except yaml.YAMLError as error:
            raise CorruptError(f"is no YAML: {error}", where=str(folder / SUITE_FILE), hint=_AGAIN) from error
        if not isinstance(settings, dict):
            raise CorruptError("holds no settings", where=str(folder / SUITE_FILE), hint=_AGAIN)
        cells, failures = _read_cells(folder / CELLS)
        if not cells:
            reason = f": {failures[0].what}" if failures else ""
            raise StoreError(f"no cell has a result, {len(failures)} failed{reason}", where=str(folder), hint=_AGAIN)
        contents = cls(folder, settings, settings_text, _read_rows(folder), cells, failures)
        contents._check()
        return contents

    def _check(self) -> None:
        """Every row must have its results.

        Raises:
            CorruptError: one has none.
        """
        for row in self.rows:
            if not self._cells_of(row):
                raise CorruptError(
                    f"has a score of {row.method} on {row.title} with {row.amount}, of which there is no result",
                    where=str(self.folder / SCORES_FILE),
                    hint=_AGAIN,
                )

    @cached_property
    def tasks(self) -> dict[str, TaskFacts]:
        """Facts by title, in the order of the table; of the largest amount."""
        largest: dict[str, Row] = {}
        for row in self.rows:
            if row.title not in largest or row.n_train > largest[row.title].n_train:
                largest[row.title] = row
        return {title: self.results(row)[0].task for title, row in largest.items()}

    @cached_property
    def methods(self) -> list[str]:
        """In the order of the table."""
        return list(dict.fromkeys(row.method for row in self.rows))

    @cached_property
    def names(self) -> dict[str, str]:
        """Of bundles, as the table calls them."""
        bundles = [str(bundle) for bundle in self.settings.get("bundles") or []]
        return bundle_names(bundles, self.settings.get("names") or {})

    def heads(self, task: str | None = None) -> list[str]:
        """Of a task or of all, in the order of the table."""
        return list(dict.fromkeys(row.head for row in self.rows if task in (None, row.title)))

    def main_head(self, task: str) -> str:
        """The head with which the first method does best on the validation split."""
        firsts = [next(iter(self.at_most(task, head).values())) for head in self.heads(task)]
        return max(firsts, key=lambda row: row.validation).head

    def headline(self, task: str, head: str) -> list[Row]:
        """Rows by headline metric, at all amounts."""
        metric = METRICS[self.tasks[task].kind][0]
        return [row for row in self.rows if (row.title, row.head, row.metric) == (task, head, metric)]

    def at_most(self, task: str, head: str) -> dict[str, Row]:
        """Rows by headline metric at the largest amount, by method."""
        rows = self.headline(task, head)
        largest = max(rows, key=lambda row: row.n_train).amount
        return {row.method: row for row in rows if row.amount == largest}

    def results(self, row: Row) -> list[CellResult]:
        """What a row is about, one result a seed, read from disk.

        Raises:
            CorruptError: one is damaged.
        """
        return [read_result(self.folder / CELLS, cell.key) for cell in self._cells_of(row)]

    def _cells_of(self, row: Row) -> list[Cell]:
        wanted = (row.task, row.bundle, row.representation, row.head, row.amount)
        return [
            cell
            for cell in self.cells
            if (cell.task, cell.bundle, cell.representation, cell.head, cell.amount) == wanted
        ]


def _text(folder: Path, name: str, missing: str) -> str:
    try:
        return (folder / name).read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise StoreError(missing, where=str(folder), hint="give the --out of `geopretext evaluate suite`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise CorruptError(f"cannot be read: {error}", where=str(folder / name), hint=_AGAIN) from error


def _read_cells(folder: Path) -> tuple[list[Cell], list[Failure]]:
    """Cells with a result, by seed; and those that failed since."""
    cells, failures = [], []
    for path in sorted(folder.glob("*.json")):
        try:
            plain = json.loads(path.read_text(encoding="utf-8"))
            cell = Cell(**plain["cell"])
            if path.name.endswith(_ERROR):
                failures.append(Failure(cell, plain["what"], plain["where"], plain["hint"]))
            else:
                cells.append(cell)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CorruptError(
                f"cannot be read: {error!r}", where=str(path), hint="delete it and run the suite again"
            ) from error
    failed = {failure.cell for failure in failures}
    return sorted((cell for cell in cells if cell not in failed), key=lambda cell: cell.seed), failures


def _read_rows(folder: Path) -> list[Row]:
    path = folder / SCORES_FILE
    if not path.exists():
        raise StoreError(f"has no {SCORES_FILE} yet: the suite has not come to its end", where=str(folder), hint=_AGAIN)
    try:
        rows = [_row(plain) for plain in pq.read_table(path).to_pylist() if plain["value"] is not None]
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError) as error:
        raise CorruptError(f"is no table of scores: {error!r}", where=str(path), hint=_AGAIN) from error
    if not rows:
        raise StoreError(f"{SCORES_FILE} has no score", where=str(folder), hint=_AGAIN)
    return rows


def _row(plain: Mapping[str, Any]) -> Row:
    def interval(*names: str) -> Interval:
        return Interval(*(_number(plain[name]) for name in names))

    return Row(
        task=plain["task"],
        title=plain["title"],
        method=plain["method"],
        bundle=plain["bundle"],
        representation=plain["representation"],
        head=plain["head"],
        amount=plain["amount"],
        metric=Metric(plain["metric"]),
        score=interval("value", "low", "high"),
        gain=interval("gain", "gain_low", "gain_high"),
        p=_number(plain["p"]),
        n_train=_number(plain["n_train"]),
        validation=_number(plain["validation"]),
        parameters=_number(plain["parameters"]),
        trainable_parameters=_number(plain["trainable_parameters"]),
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)

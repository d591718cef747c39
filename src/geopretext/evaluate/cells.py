"""Cells of a suite: one method on one task with one amount of labels and one seed; and their results on disk.

A result is two files, ``KEY.json`` (what it was, how it went) and ``KEY.npz`` (what it said of each test sample), the
second written first: where the JSON is, the result is complete. ``KEY`` is a hash of everything that names the cell.
"""

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.local_file import replace_file
from geopretext.errors import CorruptError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import Run, outcome_of


@dataclass(frozen=True)
class Cell:
    """One box of the grid."""

    task: str
    """as ``--task`` takes it"""
    bundle: str
    """folder or hub name: the encoder itself, or the one behind whose door a baseline stands"""
    representation: str
    """what turns images into features, see ``evaluate.representations``: "pretrained", "random_init",
    "band_statistics", "random_convolutions", "timm:NAME" """
    head: str
    """"knn", "probe", "sgd", or "finetune:PRESET" """
    amount: str = "100%"
    """of the training labels, see ``evaluate.subsets``: "1%", "5 a class" """
    seed: int = 0
    """of the subset, of the head's training and of random weights"""

    @property
    def key(self) -> str:
        """Names the cell's files."""
        plain = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(plain.encode()).hexdigest()[:20]


@dataclass(frozen=True)
class TaskFacts:
    """What a report says of a task."""

    name: str
    kind: TaskKind
    classes: tuple[str, ...]
    counts: Mapping[str, int]
    """samples by split, and those left out by reason"""


@dataclass(frozen=True)
class CellResult:
    """What came of a cell."""

    cell: Cell
    task: TaskFacts
    run: Run
    test: npt.NDArray[np.int64]
    """(n,) positions in ``task.samples`` of the test samples, in the order of ``run.outcome``"""
    record: Mapping[str, Any]
    """what the door did to the inputs, in plain types"""


@dataclass(frozen=True)
class Failure:
    """Why a cell has no result."""

    cell: Cell
    what: str
    where: str
    hint: str


def write_result(folder: Path, result: CellResult) -> Path:
    """Write both files; a crash leaves either the result or none.

    Returns:
        path of the JSON file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    run = result.run
    plain = {
        "cell": asdict(result.cell),
        "task": {**asdict(result.task), "kind": str(result.task.kind)},
        "validation": run.validation,
        "chosen": dict(run.chosen),
        "facts": dict(run.facts),
        "record": dict(result.record),
    }
    key = result.cell.key
    arrays: dict[str, Any] = {f"outcome_{name}": values for name, values in run.outcome.arrays().items()}
    content = io.BytesIO()
    np.savez_compressed(content, test=result.test, **arrays)
    path = folder / f"{key}.json"
    path.unlink(missing_ok=True)  # of an earlier result, which would not be that of the new arrays
    replace_file(folder / f"{key}.npz", content.getvalue())
    replace_file(path, (json.dumps(plain, indent=2) + "\n").encode())
    return path


def read_result(folder: Path, key: str) -> CellResult:
    """The result that ``write_result`` wrote.

    Raises:
        CorruptError: a file is missing or damaged.
    """
    try:
        plain = json.loads((folder / f"{key}.json").read_text(encoding="utf-8"))
        with np.load(io.BytesIO((folder / f"{key}.npz").read_bytes()), allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        task = TaskFacts(
            **{**plain["task"], "kind": TaskKind(plain["task"]["kind"]), "classes": tuple(plain["task"]["classes"])}
        )
        outcome = outcome_of(
            task.kind, {name.removeprefix("outcome_"): part for name, part in arrays.items() if name != "test"}
        )
        run = Run(outcome, plain["validation"], plain["chosen"], plain["facts"])
        return CellResult(Cell(**plain["cell"]), task, run, arrays["test"], plain["record"])
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise CorruptError(
            f"the result of cell {key} cannot be read: {error}",
            where=str(folder),
            hint=f"delete {key}.json and run the suite again: only that cell is computed",
        ) from error

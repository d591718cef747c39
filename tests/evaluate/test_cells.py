"""Results of cells come back whole, and damage is named."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import CorruptError
from geopretext.evaluate.cells import Cell, CellResult, TaskFacts, read_result, write_result
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import Run, SampleOutcome


@pytest.fixture
def result() -> CellResult:
    outcome = SampleOutcome(TaskKind.SINGLE_LABEL, np.eye(3), np.array([0, 1, 1]))
    task = TaskFacts("crops", TaskKind.SINGLE_LABEL, ("wheat", "maize", "rice"), {"train": 5, "val": 2, "test": 3})
    run = Run(outcome, 0.7, {"l2": 0.1}, {"seconds": 1.5})
    cell = Cell("tiles.zarr:crop", "runs/a/bundle", "pretrained", "probe", "5 a class", 3)
    return CellResult(cell, task, run, np.array([4, 8, 9]), {"bands": ["B2"], "gate": {"verdict": "plausible"}})


def test_a_result_comes_back_whole(result: CellResult, tmp_path: Path) -> None:
    path = write_result(tmp_path / "cells", result)
    again = read_result(tmp_path / "cells", result.cell.key)
    assert path.stem == result.cell.key
    assert (again.cell, again.task, again.record) == (result.cell, result.task, result.record)
    assert (again.run.validation, again.run.chosen, again.run.facts) == (0.7, {"l2": 0.1}, {"seconds": 1.5})
    for name, values in result.run.outcome.arrays().items():
        np.testing.assert_array_equal(again.run.outcome.arrays()[name], values)
    np.testing.assert_array_equal(again.test, result.test)
    assert sorted(file.suffix for file in path.parent.iterdir()) == [".json", ".npz"]


def test_every_field_of_a_cell_is_in_its_key(result: CellResult) -> None:
    cell = result.cell
    others = [
        replace(cell, **{name: value})
        for name, value in {
            "task": "t",
            "bundle": "b",
            "representation": "r",
            "head": "knn",
            "amount": "1%",
            "seed": 4,
        }.items()
    ]
    assert len({cell.key, *(other.key for other in others)}) == 7


@pytest.mark.parametrize("suffix", [".json", ".npz"])
@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_a_damaged_result_is_named(result: CellResult, tmp_path: Path, suffix: str, damage: str) -> None:
    path = write_result(tmp_path, result).with_suffix(suffix)
    if damage == "cut":
        path.write_bytes(path.read_bytes()[:20])
    else:
        path.unlink()
    with pytest.raises(CorruptError, match=result.cell.key):
        read_result(tmp_path, result.cell.key)


def test_a_crash_between_the_files_leaves_no_result(
    result: CellResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_result(tmp_path, result)

    def crash(path: Path, content: bytes) -> None:
        if path.suffix == ".json":
            raise KeyboardInterrupt
        path.write_bytes(content)

    monkeypatch.setattr("geopretext.evaluate.cells.replace_file", crash)
    with pytest.raises(KeyboardInterrupt):
        write_result(tmp_path, result)
    assert not path.exists()

"""Tables of results that are not all of the same test."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from geopretext.evaluate.cells import CellResult, write_result
from geopretext.evaluate.outcome import ConfusionOutcome
from geopretext.evaluate.suite_table import read_cells, suite_scores

from .suite_folder import BUNDLES, TASKS, write_suite_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    task = replace(TASKS[2], heads=TASKS[2].heads[:1])
    return write_suite_folder(tmp_path, [task], amounts={"100%": 2700}, seeds=(0, 1), resamples=10)


def change(folder: Path, wanted: Callable[[CellResult], bool], how: Callable[[CellResult], CellResult]) -> None:
    for result in read_cells(folder):
        if wanted(result):
            write_result(folder / "cells", how(result))


def with_confusion(result: CellResult, confusion: object) -> CellResult:
    return replace(result, run=replace(result.run, outcome=ConfusionOutcome(result.task.kind, confusion)))


def test_of_methods_that_see_another_window_there_is_a_score_and_no_p(folder: Path) -> None:
    change(
        folder,
        lambda result: result.cell.bundle == BUNDLES[1],
        lambda result: with_confusion(result, result.run.outcome.confusion // 2),
    )
    rows = suite_scores(folder).to_pylist()
    compared = {row["method"]: row["p"] is not None for row in rows}
    assert compared == {"all-modalities": False, "sentinel2-only": False, "random_init": True}
    assert all(row["value"] is not None for row in rows)


def test_runs_on_test_samples_that_are_no_more_are_left_out(folder: Path) -> None:
    def older(result: CellResult) -> CellResult:
        shorter = with_confusion(result, result.run.outcome.confusion[1:])
        return replace(shorter, test=result.test[1:], record={**result.record, "written": "2026-01-01"})

    change(folder, lambda result: True, lambda result: replace(result, record={**result.record, "written": "2027"}))
    change(folder, lambda result: result.cell.bundle == BUNDLES[1] and result.cell.seed == 0, older)
    rows = suite_scores(folder).to_pylist()
    assert {row["method"]: row["seeds"] for row in rows} == {
        "all-modalities": 2,
        "sentinel2-only": 1,
        "random_init": 2,
    }
    assert {row["n_test"] for row in rows} == {len(TASKS[2].positions)}

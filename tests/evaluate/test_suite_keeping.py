"""Settings, results and errors that a suite's folder keeps from run to run."""

import fcntl
import json
import os
import threading
from collections.abc import Iterable
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from geopretext.evaluate.cells import Cell
from geopretext.evaluate.suite_keeping import forget_errors, held_settings, store_settings
from geopretext.evaluate.suite_settings import SuiteSettings, read_suite

GRID = SuiteSettings(bundles=("a",), tasks=("t",), heads=("knn",), seeds=(0,))


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "cells").mkdir()
    return tmp_path


def write_errors(out: Path, cells: Iterable[Cell]) -> None:
    for cell in cells:
        (out / "cells" / f"{cell.key}.error.json").write_text(json.dumps({"cell": asdict(cell), "what": "x"}))


def test_errors_go_when_their_cells_are_tried_again_or_are_in_no_grid(out: Path) -> None:
    earlier = replace(GRID, tasks=("t", "u"), heads=("knn", "probe"))
    asked = replace(GRID, heads=("probe",))
    stays = Cell("u", "a", "pretrained", "knn")
    goes = [
        Cell("t", "a", "pretrained", "probe"),  # in the grid, though the task may have no use for it
        Cell("mistyped", "a", "pretrained", "knn"),
        Cell("t", "owner", "random_init", "probe"),
    ]
    write_errors(out, [stays, *goes])
    forget_errors(out, asked, asked.joined(earlier, "here"), {goes[2]})
    assert [path.name for path in (out / "cells").iterdir()] == [f"{stays.key}.error.json"]


def test_what_could_not_be_opened_is_stored_only_with_a_result(out: Path) -> None:
    store_settings(out, GRID, [])
    assert not (out / "suite.yaml").exists()
    cell = Cell("away", "a", "pretrained", "knn")
    (out / "cells" / f"{cell.key}.json").write_text(json.dumps({"cell": asdict(cell), "record": {}}))
    asked = replace(GRID, tasks=("away", "mistyped"), bundles=("a", "typo"), names={"typo": "T"})
    store_settings(out, asked, [])
    held = read_suite(out / "suite.yaml")
    assert (held.tasks, held.bundles, held.names) == (("away",), ("a",), {})


def test_runs_at_once_wait_for_each_other_and_lose_no_entry(out: Path) -> None:
    replace(GRID, tasks=("first",)).write(out / "suite.yaml")
    handle = os.open(out, os.O_RDONLY)
    fcntl.flock(handle, fcntl.LOCK_EX)
    cell = Cell("t", "a", "pretrained", "knn")
    (out / "cells" / f"{cell.key}.json").write_text(json.dumps({"cell": asdict(cell), "record": {}}))
    other = threading.Thread(target=store_settings, args=(out, GRID, []))
    other.start()
    other.join(0.2)
    assert other.is_alive()
    replace(GRID, tasks=("first", "second")).write(out / "suite.yaml")
    os.close(handle)
    other.join()
    assert held_settings(out, GRID).tasks == read_suite(out / "suite.yaml").tasks == ("first", "second", "t")

"""Rows of a run that trains: each comes once, whole, and a resumed run starts the curves anew."""

import os
from pathlib import Path

import pytest

from geopretext.apps.viewer.handlers import RefusalError
from geopretext.apps.viewer.training_api import read_config, read_metrics
from geopretext.data.local_file import replace_file

HEADER = "step,seconds,loss,loss/era5\r\n"


@pytest.fixture
def run(tmp_path: Path) -> Path:
    (tmp_path / "metrics.csv").write_text(HEADER + "20,5,2.5,\r\n40,10,2.25,0.5\r\n", newline="")
    return tmp_path


def append(run: Path, text: str) -> None:
    with (run / "metrics.csv").open("a", newline="") as file:
        file.write(text)


def test_rows_come_once_and_whole(run: Path) -> None:
    first = read_metrics(run)
    assert first["restart"]
    assert first["columns"] == {
        "step": [20, 40], "seconds": [5, 10], "loss": [2.5, 2.25], "loss/era5": [None, 0.5],
    }  # fmt: skip
    append(run, "60,15,2.0")
    same = read_metrics(run, version=first["version"], offset=first["offset"])
    assert same["columns"]["step"] == []
    assert not same["restart"]
    append(run, "625,0.25\r\n")
    then = read_metrics(run, version=same["version"], offset=same["offset"])
    assert then["columns"] == {"step": [60], "seconds": [15], "loss": [2.0625], "loss/era5": [0.25]}
    assert not then["restart"]


def test_a_resumed_run_starts_anew(run: Path) -> None:
    first = read_metrics(run)
    replace_file(run / "metrics.csv", (HEADER + "20,5,2.5,\r\n").encode())
    then = read_metrics(run, version=first["version"], offset=first["offset"])
    assert then["restart"]
    assert then["columns"]["step"] == [20]
    assert then["version"] != first["version"]


def test_rows_that_a_crash_cut_short_are_left_out(run: Path) -> None:
    append(run, "60,15\r\n80,20,1.5,0.125\r\n")
    assert read_metrics(run)["columns"]["step"] == [20, 40, 80]


@pytest.mark.parametrize(
    ("age", "bundle", "state"),
    [(0, None, "running"), (150, None, "stopped"), (150, 50, "finished"), (0, 50, "running")],
)
def test_how_a_run_is(run: Path, age: float, bundle: float | None, state: str) -> None:
    """``age`` of the rows and ``bundle``, how long ago it was written, in seconds; rows come every 5 s."""
    moment = (run / "metrics.csv").stat().st_mtime
    if bundle is not None:
        (run / "bundle").mkdir()
        (run / "bundle/config.json").write_text("{}")
        os.utime(run / "bundle/config.json", (moment + age - bundle,) * 2)
    assert read_metrics(run, now=moment + age)["state"] == state


def test_slow_runs_are_given_time(run: Path) -> None:
    append(run, "60,1000,2,0\r\n")
    moment = (run / "metrics.csv").stat().st_mtime
    assert read_metrics(run, now=moment + 4000)["state"] == "running"
    assert read_metrics(run, now=moment + 6000)["state"] == "stopped"


def test_an_empty_file_has_no_rows(run: Path) -> None:
    (run / "metrics.csv").write_text("")
    assert read_metrics(run)["columns"] == {}
    (run / "metrics.csv").write_text(HEADER, newline="")
    assert read_metrics(run)["columns"]["step"] == []
    (run / "metrics.csv").unlink()
    with pytest.raises(RefusalError) as refused:
        read_metrics(run)
    assert refused.value.status_code == 404


def test_a_configuration_by_dotted_name(run: Path) -> None:
    (run / "config.yaml").write_text("data:\n  tiles: 5\nrecipe:\n  betas: [0.9, 0.95]\n  max_steps: null\n")
    told = read_config(run)
    assert told["fields"] == {"data.tiles": "5", "recipe.betas": "0.9, 0.95", "recipe.max_steps": "none"}
    (run / "config.yaml").write_text("a: [")
    assert read_config(run) == {"text": "a: [", "fields": {}}
    (run / "config.yaml").unlink()
    with pytest.raises(RefusalError):
        read_config(run)

"""serve-synthetic: what it writes, prints and refuses."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from geopretext.apps.cli import main
from geopretext.build.places import read_places
from geopretext.build.recipe import load_build_recipe

SMALL = ["--granules", "1", "--size", "96", "--dates", "1", "--years", "2019", "--tile-size", "32", "--workers", "1"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "archive"
    assert main(["serve-synthetic", str(folder), *SMALL]) == 0
    return folder


def test_it_prints_the_recipe_and_what_comes_next(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-synthetic", str(folder), "--places", "7"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{folder / 'recipe.yaml'}\n"
    assert "; 0 items are new" in printed.err
    assert f"next: geopretext build {folder / 'places.parquet'} --recipe {folder / 'recipe.yaml'}" in printed.err
    assert len(read_places(folder / "places.parquet")) == 7
    assert load_build_recipe(folder / "recipe.yaml").name == "synthetic-stac"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--size", "100"], 1, "size is 100"),
        (["--granules", "0"], 2, "0 is below 1"),
        (["--years", "soon"], 2, "'soon' is not years such as 2019-2020"),
        (["--center", "47"], 2, "'47' is not LAT,LON"),
        (["--center", "89,0"], 1, "center is 89,0"),
    ],
)
def test_options_that_do_not_fit_are_refused(
    words: list[str], code: int, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["serve-synthetic", str(tmp_path / "archive"), *words]) == code
    assert said in capsys.readouterr().err
    assert not (tmp_path / "archive").exists()


def test_another_archive_is_not_mixed_with_this_one(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["serve-synthetic", str(folder), "--seed", "3"]) == 1
    assert "holds an archive with seed 0, not 3" in capsys.readouterr().err


def test_it_serves_until_it_is_interrupted(folder: Path) -> None:
    command = [sys.executable, "-m", "geopretext.apps.cli", "serve-synthetic", str(folder), "--serve"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"}
    ) as process:
        lines = [process.stdout.readline() for _ in range(3)]
        process.send_signal(signal.SIGINT)
        _, complaints = process.communicate(timeout=30)
    assert lines[1].startswith("files  http://127.0.0.1:")
    assert lines[2].startswith("STAC   http://127.0.0.1:")
    assert process.returncode == 130
    assert "Traceback" not in complaints

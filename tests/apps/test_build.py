"""``geopretext build``: what it prints, its exit codes, and what a Ctrl-C leaves."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import yaml

from geopretext.apps import build_progress
from geopretext.apps.cli import main
from geopretext.build import pipeline
from geopretext.build.pipeline import Build, BuildProgress
from geopretext.build.places import Places, write_places
from geopretext.build.recipe import build_recipe_names, load_build_recipe
from geopretext.build.tiles import Made, TileMaker
from geopretext.data.store import Store

from ..data.interruption import digests

RECIPE = """\
name: tiny
tile_size: 16
archives:
  planet: {kind: synthetic, seed: 1}
modalities:
  sentinel2: {from: planet, pair: {rule: reference}, level: L2A}
  aster: {from: planet}
  lat: {derive: lat}
"""


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """Arguments of a build of 12 places, one of them near the pole, where no scene is."""
    lat = np.append(np.linspace(40, 41, 11), 86.0)
    write_places(
        tmp_path / "places.parquet",
        [Places(np.array([f"p{i:02}" for i in range(12)]), lat, np.linspace(5, 6, 12), *np.full((2, 12), 3, np.int16))],
    )
    (tmp_path / "tiny.yaml").write_text(RECIPE)
    return [
        "build",
        str(tmp_path / "places.parquet"),
        "--recipe",
        str(tmp_path / "tiny.yaml"),
        "--out",
        str(tmp_path / "tiles.zarr"),
    ]


def test_a_build_prints_what_came_of_it(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--workers", "0", "--group-size", "5"]) == 0
    printed = capsys.readouterr()
    assert "tiles.zarr: 11 of 12 places are tiles\n1 failed (1 polar)\n" in printed.out
    lines = printed.err.splitlines()
    assert lines[0] == "places: 0 of 12"
    assert lines[-4].startswith("places: 12 of 12, ")
    assert lines[-4].endswith(", 1 failed (1 polar)")
    assert lines[-3] == "split and statistics"
    assert lines[-2] == "split by place at random, 60 : 20 : 20"
    again = lines[-1].removeprefix("to try the failed ones again: geopretext ").split()
    assert again == [*words, "--workers", "0", "--group-size", "5", "--retry-failed"]
    assert main([*again, "--strict"]) == 1
    assert len(Store.open(tmp_path / "tiles.zarr")) == 11


def test_what_looks_like_a_bug_is_said_to_be_one(
    words: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plain = TileMaker.make

    def odd(self: TileMaker, places: Places) -> Made:
        if "p03" in places.place_id:
            raise IndexError("odd")
        return plain(self, places)

    monkeypatch.setattr(TileMaker, "make", odd)
    assert main([*words, "--workers", "0", "--limit", "6"]) == 0
    printed = capsys.readouterr()
    assert "1 failed (1 error)" in printed.out
    assert "1 places failed by an error that looks like a bug of geopretext" in printed.err
    assert "please report it" in printed.err


@pytest.mark.slow
def test_inspect_tells_and_draws_what_became_of_the_places(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """First of a build that was stopped after some tiles, then of the whole one."""
    monkeypatch.setattr(build_progress, "build_progress", lambda: nullcontext(stop_after(7)))
    monkeypatch.setattr(pipeline, "Build", partial(Build, shard_size=2))
    assert main([*words, "--workers", "0", "--group-size", "1"]) == 130
    stopped, look = tmp_path / "tiles.zarr", tmp_path / "look"
    tiles = len(Store.open(stopped))
    assert 0 < tiles < 11
    capsys.readouterr()
    assert main(["inspect", str(stopped), "--out", str(look)]) == 0
    assert f"built from       12 places: {tiles} done, {12 - tiles} waiting\n" in capsys.readouterr().out
    early = (look / "places_by_status.png").read_bytes()
    monkeypatch.undo()
    assert main([*words, "--workers", "0", "--group-size", "1"]) == 0
    capsys.readouterr()
    assert main(["inspect", str(stopped), "--out", str(look)]) == 0
    printed = capsys.readouterr()
    assert "built from       12 places: 11 done, 1 failed (1 polar)\n" in printed.out
    assert "places_by_status.png" in printed.err
    assert (look / "places_by_status.png").read_bytes() != early
    places = json.loads((look / "summary.json").read_text())["places"]
    assert places == {"done": 11, "failed": 1, "waiting": 0, "failures": {"polar": 1}}


def stop_after(made: int) -> Callable[[BuildProgress], None]:
    """A listener that stops a build as Ctrl-C does."""

    def listen(progress: BuildProgress) -> None:
        if progress.made >= made:
            raise KeyboardInterrupt

    return listen


def test_the_summary_as_json(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*words, "--workers", "0", "--limit", "7", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["places"], summary["done"], summary["failed"], summary["made"]) == (7, 7, {}, 7)
    assert sum(summary["splits"].values()) == 7
    assert summary["path"] == str(tmp_path / "tiles.zarr")


def test_a_dry_run_writes_nothing(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(tmp_path.iterdir())
    assert main([*words, "--dry-run", "--group-size", "5"]) == 0
    text = capsys.readouterr().out
    assert "12 to make, in 3 tasks of up to 5" in text
    assert [line.split() for line in text.splitlines()[-3:]] == [
        ["sentinel2", "planet"],
        ["aster", "planet"],
        ["lat", "derived"],
    ]
    assert main([*words, "--dry-run", "--json"]) == 0
    outlook = json.loads(capsys.readouterr().out)
    assert (outlook["exists"], outlook["to_make"], outlook["sources"]["lat"]) == (False, 12, "derived")
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("name", build_recipe_names())
def test_a_recipe_that_ships_is_shown_and_can_be_copied(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--show-recipe", name]) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    (tmp_path / "mine.yaml").write_text(printed.out)
    assert yaml.safe_load(printed.out)["name"] == name
    assert load_build_recipe(tmp_path / "mine.yaml").plain == load_build_recipe(name).plain


def test_a_recipe_that_does_not_ship_cannot_be_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--show-recipe", "tiny.yaml"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: no recipe 'tiny.yaml' ships with geopretext"
    assert hint.startswith("hint: there are ")


def test_any_key_of_the_recipe_can_be_replaced(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = ["--tile_size=8", "--archives.planet.seed", "4", "--modalities.aster", "null", "--workers", "0"]
    assert main([*words, "--limit", "2", *more]) == 0
    store = Store.open(tmp_path / "tiles.zarr")
    assert (store.tile_size, list(store.modalities)) == (8, ["sentinel2", "lat"])
    assert store.attributes["recipe"]["archives"]["planet"]["seed"] == 4
    capsys.readouterr()
    assert main([*words, "--workers", "0"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("was built by another recipe (different: archives, modalities, tile_size)")
    assert hint == "hint: give the recipe that it was built by, or another --out"


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--limits", "3"], "unrecognized arguments: --limits"),
        (["stray"], "unrecognized arguments: stray"),
        (["--seed"], "argument --seed: expected a value"),
        (["--seed", "[1"], "argument --seed: '[1' is not YAML"),
        (["--limit", "0"], "argument --limit: 0 is below 1"),
        (["--modalities.aster"], "argument --modalities.aster: expected a value"),
        (["--workers", "0", "--memory", "1GiB"], "argument --memory: it is of the processes of --workers"),
        (["--scheduler", "tcp://127.0.0.1:1", "--memory", "1GiB"], "argument --memory: it is of the processes"),
        (["--workers", "2", "--scheduler", "tcp://127.0.0.1:1"], "not allowed with argument"),
    ],
)
def test_wrong_words_are_refused(
    words: list[str], more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, *more]) == 2
    assert message in capsys.readouterr().err


def test_overrides_may_stand_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    verb, *rest = words
    assert main([verb, "--modalities.aster", "null", "--archives.planet.seed=-4", *rest, "--dry-run", "--json"]) == 0
    assert list(json.loads(capsys.readouterr().out)["sources"]) == ["sentinel2", "lat"]
    assert main([verb, "--modalities.aster", "3", *rest, "--dry-run"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("modalities.aster is 3")
    assert hint == "hint: a mapping of its keys to values"


def test_no_tile_at_all_is_a_failure(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    polar = Places(np.array(["a"]), np.array([88.0]), np.array([0.0]), *np.full((2, 1), -1, np.int16))
    write_places(tmp_path / "places.parquet", [polar])
    assert main([*words, "--workers", "0"]) == 1
    error, hint = capsys.readouterr().err.splitlines()[-2:]
    assert error == "error: no place could be made into a tile"
    assert "tiles.zarr/places.parquet" in hint


def test_ctrl_c_ends_all_processes_and_the_same_command_goes_on(words: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "geopretext.apps.cli", *words, "--workers", "2", "--group-size", "1"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stderr is not None
    seen = [process.stderr.readline(), process.stderr.readline()]
    time.sleep(0.2)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to everyone
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert (out, seen[1]) == ("", "places: 0 of 12\n")
    assert seen[0].startswith("2 workers on this machine, dashboard at http://127.0.0.1:")
    assert err.splitlines()[-2:] == ["stopped; the same command goes on with the build", "error: interrupted"]
    assert "Traceback" not in err
    deadline = time.monotonic() + 20  # one that has ended leaves the list a moment later
    while _running(process.pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert not _running(process.pid)
    assert not (tmp_path / "tiles.zarr/writer.lock").exists()
    assert main([*words, "--workers", "0"]) == 0
    assert main([*words[:-1], str(tmp_path / "clean.zarr"), "--workers", "0"]) == 0
    assert digests(tmp_path / "tiles.zarr") == digests(tmp_path / "clean.zarr")


def _running(group: int) -> list[str]:
    """Processes of a group that have not ended."""
    found = subprocess.run(["ps", "-e", "-o", "pgid=,stat=,args="], capture_output=True, text=True, check=True)
    lines = (line.split(maxsplit=2) for line in found.stdout.splitlines())
    return [line[2] for line in lines if line[0] == str(group) and not line[1].startswith("Z")]

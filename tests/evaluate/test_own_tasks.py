"""A user's own tasks: a function in a file, a YAML file, an installed plug-in; and the example that ships."""

import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.tasks import load_task

from .small_store import write_store

pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
EXAMPLES = Path(__file__).parents[2] / "examples"


def make_images(folder: Path) -> Path:
    generator = np.random.default_rng(0)
    for number in range(15):
        path = folder / ("bright" if number % 2 else "dark") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pillow.fromarray(generator.integers(40, 60, (16, 16, 3), np.uint8)).save(path)
    return folder


def test_the_example_makes_a_task(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIGHTNESS_IMAGES", str(make_images(tmp_path / "images")))
    task = load_task(f"{EXAMPLES / 'own_task.py'}:make_task")
    assert (task.name, task.kind, task.classes) == ("brightness", TaskKind.REGRESSION, ("brightness",))
    assert task.counts == {"train": 9, "val": 3, "test": 3}


def test_a_yaml_file_names_a_task_and_its_options(tmp_path: Path) -> None:
    make_images(tmp_path / "images")
    (tmp_path / "task.yaml").write_text(
        "task: images\nbands: [B4, B3, B2]\nunit: percent\nstatistics: dataset\nlevel: L2A\n"
    )
    task = load_task(str(tmp_path / "task.yaml"))
    assert (task.inputs.images.unit, task.inputs.statistics, task.inputs.level) == ("percent", "dataset", "L2A")
    store = write_store(tmp_path / "tiles.zarr")
    (tmp_path / "label.yaml").write_text("task: tiles.zarr:surface\n")
    assert load_task(str(tmp_path / "label.yaml")).counts == load_task(f"{store.path}:surface").counts
    (tmp_path / "table.csv").write_text("tile_id,crop\n" + "\n".join(f"t{n},{n % 2}" for n in range(100)))
    (tmp_path / "table.yaml").write_text("task: table.csv:crop\ndata: tiles.zarr\n")
    assert load_task(str(tmp_path / "table.yaml")).kind is TaskKind.SINGLE_LABEL


def test_the_example_in_yaml_is_complete(tmp_path: Path) -> None:
    (tmp_path / "task.yaml").write_text((EXAMPLES / "own_task.yaml").read_text())
    make_images(tmp_path / "images")
    task = load_task(str(tmp_path / "task.yaml"))
    assert task.classes == ("bright", "dark")


def test_a_plug_in_registers_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIGHTNESS_IMAGES", str(make_images(tmp_path / "images")))
    monkeypatch.syspath_prepend(str(EXAMPLES))
    entry = EntryPoint("bright", "own_task:make_task", "geopretext.tasks")
    monkeypatch.setattr("geopretext.evaluate.own_tasks.entry_points", lambda group: [entry])
    assert load_task("bright").name == "brightness"
    sys.modules.pop("own_task")


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_task(str(tmp_path / "none.py:make"))
    (tmp_path / "mine.py").write_text("def make(): return 3\n")
    with pytest.raises(InputError, match="has no function 'made'") as caught:
        load_task(f"{tmp_path / 'mine.py'}:made")
    assert caught.value.hint == "it has make"
    with pytest.raises(InputError, match="returns a int, not a task"):
        load_task(f"{tmp_path / 'mine.py'}:make")
    (tmp_path / "a.yaml").write_text("tasks: x\n")
    with pytest.raises(InputError, match="names no task"):
        load_task(str(tmp_path / "a.yaml"))
    (tmp_path / "b.yaml").write_text("task: x\ncolour: red\n")
    with pytest.raises(InputError, match="unknown option colour"):
        load_task(str(tmp_path / "b.yaml"))

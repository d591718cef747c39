"""Folders of images with masks: pairs, classes, ignore values, splits; every refusal says what and where."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import ClassError, GridError, InputError
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.tasks import load_task

pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")


def make_folder(folder: Path, count: int = 6, spec: str = "", size: int = 16, codes: int = 3) -> Path:
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for number in range(count):
        picture = np.full((size, size, 3), 50 + number, np.uint8)
        mask = (np.arange(size * size).reshape(size, size) % codes).astype(np.uint8)
        pillow.fromarray(picture).save(folder / "images" / f"{number}.png")
        pillow.fromarray(mask).save(folder / "masks" / f"{number}.png")
    if spec:
        (folder / "task.yaml").write_text(spec)
    return folder


def test_codes_that_occur_are_classes(tmp_path: Path) -> None:
    task = load_task(str(make_folder(tmp_path / "fields")))
    assert (task.name, task.kind, task.metric) == ("fields", TaskKind.SEGMENTATION, Metric.MEAN_JACCARD)
    assert task.classes == ("class 0", "class 1", "class 2")
    assert task.counts == {"train": 4, "val": 1, "test": 1, "without_mask": 0}
    values, valid = task.maps.read(task.samples[:2])
    assert values.shape == valid.shape == (2, 16, 16)
    np.testing.assert_array_equal(values[0].ravel()[:5], [0, 1, 2, 0, 1])
    assert valid.all()


def test_classes_and_the_ignore_value_are_declared(tmp_path: Path) -> None:
    spec = "classes: {1: crop, 2: forest}\nignore: 0\n"
    task = load_task(str(make_folder(tmp_path / "f", spec=spec)))
    assert task.classes == ("crop", "forest")
    values, valid = task.maps.read(np.array([0]))
    np.testing.assert_array_equal(valid[0].ravel()[:4], [False, True, True, False])
    np.testing.assert_array_equal(values[0].ravel()[:4], [0, 0, 1, 0])


def test_masks_of_quantities(tmp_path: Path) -> None:
    spec = "kind: dense regression\ntarget: canopy height\nignore: 2\n"
    task = load_task(str(make_folder(tmp_path / "f", spec=spec)))
    assert (task.kind, task.classes, task.metric) == (TaskKind.DENSE_REGRESSION, ("canopy height",), Metric.R2)
    values, valid = task.maps.read(np.array([1]))
    assert values.dtype == np.float32
    np.testing.assert_array_equal(valid[0].ravel()[:3], [True, True, False])


def test_a_split_file_holds(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f")
    (folder / "split.json").write_text(json.dumps({"train": ["0", "1"], "val": ["2"], "test": ["3.tif"]}))
    assert load_task(str(folder)).counts == {
        "train": 2, "val": 1, "test": 1, "without_mask": 0, "in_no_split": 2, "listed_but_absent": 0,
    }  # fmt: skip


def test_images_without_mask_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f")
    (folder / "masks" / "0.png").unlink()
    assert load_task(str(folder)).counts["without_mask"] == 1


def test_a_stray_code_is_named(tmp_path: Path) -> None:
    task = load_task(str(make_folder(tmp_path / "f", spec="classes: {0: crop, 1: forest}\n")))
    with pytest.raises(ClassError, match="code 2 is no class") as caught:
        task.maps.read(np.array([3]))
    assert caught.value.where.endswith("3.png")
    assert "ignore" in caught.value.hint


def test_a_mask_of_another_size_is_named(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f", spec="classes: {0: a, 1: b, 2: c}\n")
    pillow.fromarray(np.zeros((8, 8), np.uint8)).save(folder / "masks" / "4.png")
    with pytest.raises(GridError, match=r"mask has shape \(1, 8, 8\), the images are 16 x 16") as caught:
        load_task(str(folder)).maps.read(np.array([4]))
    assert caught.value.where.endswith("4.png")


@pytest.mark.parametrize(
    ("spec", "what"),
    [
        ("colour: red\n", "unknown field colour"),
        ("kind: detection\n", "kind is 'detection'"),
        ("classes: [crop]\n", "classes are no mapping"),
        ("ignore: none\n", "ignore is 'none'"),
        ("- a\n", "unknown field list"),
        ("a: [\n", "is no YAML"),
    ],
)
def test_a_wrong_spec_is_refused(tmp_path: Path, spec: str, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        load_task(str(make_folder(tmp_path / "f", spec=spec)))
    assert caught.value.where.endswith("task.yaml")


def test_no_pair_is_refused(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "f")
    for path in (folder / "masks").iterdir():
        path.rename(path.with_name(f"mask_{path.name}"))
    with pytest.raises(InputError, match="no image of 6 has a mask of the same name"):
        load_task(str(folder))

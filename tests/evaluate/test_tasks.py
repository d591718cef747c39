"""Tasks from a store's labels and from folders of images; every refusal says what, where, what next."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.data.store import Store
from geopretext.errors import InputError, StoreError
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.tasks import load_task, store_task

from .small_store import COUNT, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("tasks") / "tiles.zarr")


def test_a_categorical_vector_is_single_label_over_the_classes_that_occur(store: Store) -> None:
    task = load_task(f"{store.path}:surface")
    assert task.kind is TaskKind.SINGLE_LABEL
    assert task.classes == ("wheat", "maize", "fallow")
    assert task.metric is Metric.ACCURACY
    assert task.counts == {"train": 84, "val": 28, "test": 28, "without_label": 10, "in_no_split": 0}
    codes = store.read(["surface"], task.samples)["surface"][:, 0]
    np.testing.assert_array_equal(task.labels, codes // 10 - 1)
    np.testing.assert_array_equal(store.coordinates.split[task.samples[task.test]], 2)


def test_a_multi_label_vector_is_multi_label(store: Store) -> None:
    task = store_task(store, "traits")
    assert (task.kind, task.classes, task.metric) == (TaskKind.MULTI_LABEL, ("bright", "rough"), Metric.MICRO_F1)
    assert task.labels.shape == (COUNT - 10, 2)
    assert set(np.unique(task.labels)) == {0, 1}


def test_a_continuous_vector_is_regression(store: Store) -> None:
    task = store_task(store, "biomass")
    assert (task.kind, task.classes, task.metric) == (TaskKind.REGRESSION, ("biomass",), Metric.R2)
    assert task.labels.shape == (COUNT - 10, 1)
    assert np.isfinite(task.labels).all()


def test_tiles_in_no_split_are_counted(tmp_path: Path) -> None:
    split = np.arange(COUNT) % 4 - 1
    task = store_task(write_store(tmp_path / "t.zarr", split=split), "surface")
    assert task.counts["in_no_split"] == (split[: COUNT - 10] == -1).sum()


def test_a_map_is_no_label_of_a_tile(store: Store) -> None:
    with pytest.raises(InputError, match="is a categorical map, with values of each pixel") as caught:
        store_task(store, "fields")
    assert store.path in caught.value.where
    assert caught.value.hint == "labels of whole tiles: surface, traits, biomass"


def test_an_unknown_label_lists_what_there_is(store: Store) -> None:
    with pytest.raises(InputError, match="no modality 'crops'") as caught:
        load_task(f"{store.path}:crops")
    assert "surface" in caught.value.hint


def test_a_store_alone_is_asked_for_its_label(store: Store) -> None:
    with pytest.raises(InputError, match="is a set of tiles: which of its labels") as caught:
        load_task(store.path)
    assert f"{store.path}:LABEL" in caught.value.hint
    assert "surface, traits, biomass" in caught.value.hint


def test_a_store_without_split_names_the_command(tmp_path: Path) -> None:
    store = write_store(tmp_path / "t.zarr", split=np.full(COUNT, -1))
    with pytest.raises(InputError, match="has no split") as caught:
        store_task(store, "surface")
    assert caught.value.where == store.path
    assert f"geopretext split {store.path}" in caught.value.hint


@pytest.mark.parametrize(("absent", "name"), [(0, "train"), (1, "val"), (2, "test")])
def test_an_empty_split_names_the_command(tmp_path: Path, absent: int, name: str) -> None:
    split = np.array([number for number in range(3) if number != absent])[np.arange(COUNT) % 2]
    store = write_store(tmp_path / "t.zarr", split=split)
    with pytest.raises(InputError, match=f"split '{name}' has no labelled sample") as caught:
        load_task(f"{store.path}:surface")
    assert f"geopretext split {store.path}`" in caught.value.hint


def test_what_is_neither_store_nor_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such task") as caught:
        load_task(str(tmp_path / "nothing"))
    assert "STORE:LABEL" in caught.value.hint
    with pytest.raises(StoreError, match="there is nothing here"):
        load_task(str(tmp_path / "nothing.zarr:surface"))


def test_a_folder_of_images_is_a_task(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    for name in ("crop", "forest"):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(5):
            pillow.new("RGB", (16, 16), (number, 50, 90)).save(tmp_path / "images" / name / f"{number}.png")
    task = load_task(str(tmp_path / "images"), statistics="dataset")
    assert task.name == "images"
    assert task.classes == ("crop", "forest")
    assert task.counts == {"train": 6, "val": 2, "test": 2}
    assert isinstance(task.inputs, ImageInputs)
    assert task.inputs.statistics == "dataset"


def test_the_published_split_of_eurosat_fits_its_pictures(test_data: Path) -> None:
    folder = test_data / "eurosat_rgb"
    task = load_task(str(folder / "2750"), split_file=folder / "presto_train_test_split.json")
    assert len(task.classes) == 10
    assert task.counts["train"] + task.counts["val"] + task.counts["test"] == 3000
    assert task.counts["listed_but_absent"] == 24_000

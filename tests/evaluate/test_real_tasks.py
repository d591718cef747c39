"""The small real data sets as tasks: what is in them, where it came from, and that no place is in two splits."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import load_task
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.input_gate import GateReport, GateVerdict

h5py = pytest.importorskip("h5py", reason="reads the data sets")

FILE = Path(__file__).parents[2] / "benchmarks" / "real_tasks.py"
RGB, BGRN = ("B4", "B3", "B2"), ("B2", "B3", "B4", "B8")


def load(name: str, test_data: Path) -> Task:
    """``test_data`` makes tests skip that have no data."""
    assert test_data.is_dir()
    return load_task(f"{FILE}:{name}")


def gate_of(task: Task, bands: tuple[str, ...]) -> GateReport:
    encoder = Encoder(ConvNeXtV2(EncoderSettings(size="micro", bands=bands)), PUBLISHED["sentinel2"].select(bands))
    return task.inputs.prepare(encoder, task.samples[task.train]).gate


def images_of(task: Task) -> Any:
    assert isinstance(task.inputs, ImageInputs)
    return task.inputs.images


def haversine_km(lat: np.ndarray, lon: np.ndarray, other_lat: np.ndarray, other_lon: np.ndarray) -> np.ndarray:
    phi, psi = np.radians(lat)[:, None], np.radians(other_lat)[None]
    half = np.sin((phi - psi) / 2) ** 2
    half = half + np.cos(phi) * np.cos(psi) * np.sin(np.radians(lon[:, None] - other_lon[None]) / 2) ** 2
    return 2 * 6371 * np.arcsin(np.sqrt(half))


def test_the_folder_has_to_be_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("GEOPRETEXT_TEST_DATA", raising=False)
    with pytest.raises(InputError, match="GEOPRETEXT_TEST_DATA is not set"):
        load_task(f"{FILE}:eurosat_rgb")
    monkeypatch.setenv("GEOPRETEXT_TEST_DATA", str(tmp_path))
    with pytest.raises(InputError, match="no such folder") as caught:
        load_task(f"{FILE}:bigearthnet_labels")
    assert caught.value.where == str(tmp_path / "bigearthnet_v2_120")


def test_eurosat_is_tested_on_the_published_test_list(test_data: Path) -> None:
    task = load("eurosat_rgb", test_data)
    assert task.kind is TaskKind.SINGLE_LABEL
    assert task.counts == {"train": 1931, "val": 482, "test": 587, "in_no_split": 0}
    assert task.classes == tuple(sorted(path.name for path in (test_data / "eurosat_rgb" / "2750").iterdir()))
    paths = images_of(task).paths
    assert [task.classes[label] for label in task.labels] == [path.parent.name for path in paths]
    published = json.loads((test_data / "eurosat_rgb" / "presto_train_test_split.json").read_text())
    assert {paths[sample].stem for sample in task.test} <= {Path(name).stem for name in published["test"]}
    assert {paths[sample].stem for sample in task.train} <= {Path(name).stem for name in published["train"]}
    # In these colours alone, blue and green are not quite told apart.
    assert gate_of(task, RGB).suspicions == ()


def test_bigearthnet_has_the_labels_of_its_table(test_data: Path) -> None:
    task = load("bigearthnet_labels", test_data)
    assert task.kind is TaskKind.MULTI_LABEL
    assert task.counts == {"train": 75, "val": 17, "test": 28}
    with (test_data / "bigearthnet_v2_120" / "ben120_meta.csv").open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    for row, labels in zip(rows, task.labels, strict=True):
        assert {name for name, there in zip(task.classes, labels, strict=True) if there} == set(
            row["labels"].split("|")
        ) & set(task.classes)
    assert isinstance(task.inputs, ImageInputs)
    everything = {label for row in rows for label in row["labels"].split("|")}
    assert everything - set(task.classes) == set(task.inputs.notes["classes_left_out"])
    for positions in (task.train, task.val, task.test):
        assert task.labels[positions].any(0).all()
    places = np.array([[float(row["lat"]), float(row["lon"])] for row in rows]).T
    for one, other in ((task.train, task.val), (task.train, task.test), (task.val, task.test)):
        assert haversine_km(*places[:, one], *places[:, other]).min() > 1.7  # diagonal of a patch of 1.2 km
    assert gate_of(task, BGRN).verdict is GateVerdict.PLAUSIBLE


def test_bigearthnet_maps_are_on_the_grid_of_its_images(test_data: Path) -> None:
    task, labels = load("bigearthnet_corine", test_data), load("bigearthnet_labels", test_data)
    assert task.kind is TaskKind.SEGMENTATION
    assert task.classes == labels.classes
    np.testing.assert_array_equal(task.test, labels.test)
    assert task.maps is not None
    classes, labelled = task.maps.read(task.samples)
    with h5py.File(test_data / "bigearthnet_v2_120" / "ben120.h5") as file:
        codes, names = file["label19"][:], [str(name) for name in file["label19"].attrs["names"]]
        values, _ = images_of(task).read(np.array([7]), ["B8", "B2"])
        np.testing.assert_array_equal(values[0], file["sentinel2"][7][[3, 0]])
    kept = np.isin(codes, [names.index(name) for name in task.classes])
    np.testing.assert_array_equal(labelled, kept)
    assert labelled[codes == 255].sum() == 0
    to_code = np.array([names.index(name) for name in task.classes])
    np.testing.assert_array_equal(to_code[classes[labelled]], codes[kept])
    # A patch has a label where its map has a pixel of it.
    there = np.stack([(classes == number).__and__(labelled).any((1, 2)) for number in range(len(task.classes))], 1)
    np.testing.assert_array_equal(there, labels.labels)


def test_worldcereal_has_clear_dates_and_quarters_of_one_split(test_data: Path) -> None:
    xarray = pytest.importorskip("xarray", reason="reads the files in another way")
    task = load("worldcereal_crops", test_data)
    assert task.classes == ("temporary crops", "grassland", "no temporary crops")
    assert task.counts == {"train": 48, "val": 24, "test": 24}
    images = images_of(task)
    assert images.bands == ("B2", "B3", "B4", "B8", "B5", "B6", "B7", "B11", "B12", "B8A")
    assert (images.height, images.width) == (32, 32)
    assert task.maps is not None
    classes, labelled = task.maps.read(task.samples)
    folder = test_data / "worldcereal" / "training_samples"
    # Samples are by site, quarter (as listed in the file) and date.
    layout = {
        "00002806639B424A": [(0, 0), (1, 1), (0, 1), (1, 0)],
        "0000280849BAC91C": [(0, 0), (1, 1), (1, 0), (0, 1)],
    }
    for number, (site, quarters) in enumerate(layout.items()):
        files = {
            size: xarray.open_dataset(next(folder.glob(f"{site}_S2_L2A_{size}m*")), mask_and_scale=False)
            for size in (10, 20)
        }
        clear = files[20].SCL.isin([4, 5, 6, 7]).mean(("y", "x")).to_numpy()
        cover = xarray.open_dataset(next(folder.glob(f"{site}_OUTPUT*")), mask_and_scale=False).LC.to_numpy()
        for place, (row, column) in enumerate(quarters):
            first = (number * 4 + place) * 12
            values, valid = images.read(np.arange(first, first + 12), ["B4", "B11"])
            assert valid.mean() > 0.99
            window = {"y": slice(row * 32, row * 32 + 32), "x": slice(column * 32, column * 32 + 32)}
            red = files[10].B04.isel(window).to_numpy()
            dates = [int(np.flatnonzero((red == image).all((1, 2)))[0]) for image in values[:, 0]]
            assert dates == sorted(set(dates))
            assert clear[dates].min() >= np.sort(clear)[-12]
            small = {axis: slice(part.start // 2, part.stop // 2) for axis, part in window.items()}
            infrared = files[20].B11.isel(timestamp=dates, **small).to_numpy()
            np.testing.assert_array_equal(values[:, 1, ::2, ::2], infrared)
            np.testing.assert_array_equal(values[:, 1, 1::2, 1::2], infrared)
            truth = cover[window["y"], window["x"]]
            to_code = np.array([11, 13, 99])
            for sample in range(first, first + 12):
                np.testing.assert_array_equal(labelled[sample], np.isin(truth, to_code))
                np.testing.assert_array_equal(to_code[classes[sample]][labelled[sample]], truth[labelled[sample]])
    # Two quarters of each site train, the third chooses, the last tests: all dates of a quarter are in one split.
    for name, places in {"train": {0, 1, 4, 5}, "val": {2, 6}, "test": {3, 7}}.items():
        positions = getattr(task, name)
        assert set((positions // 12).tolist()) == places
        pixels = np.bincount(classes[positions][labelled[positions]], minlength=3) / 12
        assert pixels.min() > (100 if name == "val" else 400)
    assert gate_of(task, BGRN).verdict is GateVerdict.PLAUSIBLE


@pytest.mark.parametrize("name", ["bigearthnet_labels", "worldcereal_crops"])
def test_bands_the_wrong_way_round_are_caught(name: str, test_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    task = load(name, test_data)
    monkeypatch.setattr(images_of(task).__class__, "read", exchanging(images_of(task).__class__.read))
    assert gate_of(task, BGRN).verdict is GateVerdict.IMPLAUSIBLE
    if not task.kind.is_dense:
        encoder = Encoder(ConvNeXtV2(EncoderSettings(size="micro", bands=BGRN)), PUBLISHED["sentinel2"].select(BGRN))
        with pytest.raises(InputError, match="B2 and B4 are exchanged"):
            evaluate(encoder, task, strict=True)


def exchanging(read: Any) -> Any:
    """B2 where B4 is asked for, and the other way round."""
    other = {"B2": "B4", "B4": "B2"}
    return lambda self, samples, bands: read(self, samples, [other.get(name, name) for name in bands])

"""GEO-Bench v1 from files of its layout: bands, labels, partitions, known faults; every refusal says what and where."""

import os
import pickle
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import BandError, ClassError, CorruptError, InputError
from geopretext.evaluate.geobench import GeoBenchImages, geobench_task, read_description
from geopretext.evaluate.geobench_facts import FACTS
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.tasks import load_task

pytest.importorskip("h5py", reason="GEO-Bench is HDF5")

from .geobench_files import LANDSAT, S1, S2, sentinel2, write_partition, write_sample, write_specs

NAMES = [f"id_{n:04d}" for n in range(12)]
L2A = tuple(name for name in S2 if not name.startswith("10"))


def folder_of(
    folder: Path, write: Callable[[Path, int], object], kind: str, classes: int, names: object = None
) -> Path:
    for number, name in enumerate(NAMES):
        write(folder / f"{name}.hdf5", number)
    write_partition(folder, train=NAMES[:6], valid=NAMES[6:9], test=NAMES[9:])
    write_partition(folder, "0.01x_train", train=NAMES[:2], valid=NAMES[6:9], test=NAMES[9:])
    write_specs(folder, kind, classes, names)
    return folder


def eurosat(folder: Path) -> Path:
    """As published: the last band in the file is B8A, and the names pretend otherwise."""

    def write(path: Path, number: int) -> None:
        true = sentinel2(number)
        stored = [*list(S2)[:8], *list(S2)[9:], "08A - Vegetation Red Edge"]
        write_sample(path, {name: true[band] for name, band in zip(S2, stored, strict=True)}, label=number % 3)

    return folder_of(folder, write, "Classification", 3, ("forest", "river", "sea"))


def images_of(task: object) -> GeoBenchImages:
    inputs = task.inputs
    assert isinstance(inputs, ImageInputs)
    assert isinstance(inputs.images, GeoBenchImages)
    return inputs.images


def test_a_classification_with_its_partitions(tmp_path: Path) -> None:
    folder = eurosat(tmp_path / "m-eurosat")
    task = load_task(f"geobench:{folder}")
    assert (task.name, task.kind, task.classes) == ("m-eurosat", TaskKind.SINGLE_LABEL, ("forest", "river", "sea"))
    assert task.counts == {"train": 6, "val": 3, "test": 3}
    np.testing.assert_array_equal(task.labels, np.arange(12) % 3)
    small = load_task(f"geobench:{folder}:0.01x_train")
    assert small.counts == {"train": 2, "val": 3, "test": 3}
    assert small.name == "m-eurosat:0.01x_train"


def test_wrong_names_of_eurosat_are_put_right_unless_asked_otherwise(tmp_path: Path) -> None:
    folder = eurosat(tmp_path / "m-eurosat")
    for as_shipped in (False, True):
        task = geobench_task(str(folder), as_shipped=as_shipped)
        values, valid = images_of(task).read(np.array([3]), ["B8", "B8A", "B9", "B12"])
        hundreds = (values.mean((0, 2, 3)) // 100).tolist()
        assert hundreds == ([8, 10, 11, 9] if as_shipped else [8, 9, 10, 13])
        assert valid.all()
        assert ("corrected" in task.inputs.notes["band_names"]) == (not as_shipped)


def test_so2sat_has_sentinel1_beside_and_substitutes_for_what_it_lacks(tmp_path: Path) -> None:
    optical = [name for name in S2 if name[:2] in ("02", "03", "04", "05", "06", "07", "08", "11", "12")]

    def write(path: Path, number: int) -> None:
        bands = {name: np.zeros((16, 16)) for name in S1} | sentinel2(number, optical, scale=1e-4)
        write_sample(path, bands, kinds=dict.fromkeys(S1, "Sentinel1"), label=number % 2)

    task = load_task(f"geobench:{folder_of(tmp_path / 'm-so2sat', write, 'Classification', 2)}")
    assert images_of(task).bands == ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
    assert images_of(task).unit == "reflectance"
    assert task.classes == ("class 0", "class 1")
    assert task.inputs.substitutes == {"B1": "B2", "B9": "B8A"}
    assert task.inputs.notes["not_optical"] == list(S1)
    assert task.inputs.level == "L1C"


def test_bigearthnet_has_several_labels_a_sample(tmp_path: Path) -> None:
    def write(path: Path, number: int) -> None:
        label = np.array([number % 2, 1, 0, number % 3 == 0], np.int64)
        write_sample(path, sentinel2(number, L2A), label=label, root="ccb.io")

    names = ["urban", "crop", "water", "forest"]
    folder = folder_of(tmp_path / "m-bigearthnet", write, "MultiLabelClassification", 4, names)
    task = load_task(f"geobench:{folder}")
    assert (task.kind, task.classes, task.metric) == (TaskKind.MULTI_LABEL, tuple(names), Metric.MICRO_F1)
    np.testing.assert_array_equal(task.labels[3], [1, 1, 0, 1])
    assert images_of(task).bands[8:] == ("B8A", "B9", "B11", "B12")


@pytest.mark.parametrize("set_name", ["m-cashew-plant", "m-SA-crop-type", "m-chesapeake"])
def test_segmentation_ignores_what_means_no_data(set_name: str, tmp_path: Path) -> None:
    maps = np.arange(256).reshape(16, 16) % 4

    def write(path: Path, number: int) -> None:
        bands = sentinel2(number, L2A) | {"Cloud Probability": np.zeros((16, 16))}
        write_sample(
            path,
            bands,
            kinds={"Cloud Probability": "CloudProbability"},
            label_map=np.roll(maps, number),
            classes=4,
            date=date(2019, 11, 1 + number),
        )

    folder = folder_of(tmp_path / set_name, write, "SemanticSegmentation", 4)
    task = load_task(f"geobench:{folder}")
    ignores = bool(FACTS[set_name].ignored)
    assert task.kind is TaskKind.SEGMENTATION
    assert task.classes == (("class 1", "class 2", "class 3") if ignores else tuple(f"class {n}" for n in range(4)))
    values, valid = task.maps.read(np.array([0]))
    np.testing.assert_array_equal(valid[0], (maps > 0) | (not ignores))
    np.testing.assert_array_equal(values[0][valid[0]], maps[valid[0]] - ignores)
    shipped = load_task(f"geobench:{folder}", as_shipped=True)
    assert shipped.maps.read(np.array([0]))[1].all()
    assert images_of(task).read(np.array([5]), ["B2"])[0].shape == (1, 1, 16, 16)
    with pytest.raises(InputError, match="one label a pixel; k-NN and linear probe need one label a sample") as caught:
        task.labelled(np.zeros((12, 3)))
    assert "task.maps" in caught.value.hint


def test_other_sensors_keep_names_that_no_sentinel_2_encoder_asks_for(tmp_path: Path) -> None:
    path = write_sample(
        tmp_path / "a.hdf5",
        {name: np.ones((8, 8)) for name in LANDSAT},
        kinds=dict.fromkeys(LANDSAT, "Landsat8"),
        label=1,
    )
    assert tuple(read_description(path).bands) == ("L8_B2", "L8_B3", "L8_B4", "L8_B5")
    colours = ("Red", "Green", "Blue")
    path = write_sample(
        tmp_path / "b.hdf5",
        {name: np.ones((8, 8)) for name in colours},
        kinds=dict.fromkeys(colours, "SpectralBand"),
        label=1,
    )
    assert tuple(read_description(path).bands) == ("B4", "B3", "B2")


def test_bands_of_another_resolution_are_repeated_to_the_largest(tmp_path: Path) -> None:
    bands = {"02 - Blue": np.arange(64.0).reshape(8, 8), "11 - SWIR": np.arange(16.0).reshape(4, 4)}
    path = write_sample(tmp_path / "a.hdf5", bands, label=1)
    images = GeoBenchImages.open([path], read_description(path), "reflectance")
    values, _ = images.read(np.array([0]), ["B11", "B2"])
    np.testing.assert_array_equal(values[0, 0, :3, :3], [[0, 0, 1], [0, 0, 1], [4, 4, 5]])


def test_the_folder_of_the_benchmark_may_be_named_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    eurosat(tmp_path / "classification_v1.0" / "m-eurosat")
    monkeypatch.setenv("GEO_BENCH_DIR", str(tmp_path))
    assert load_task("geobench:m-eurosat:0.01x_train").counts["train"] == 2
    with pytest.raises(InputError, match="no such folder of GEO-Bench under") as caught:
        load_task("geobench:m-moon")
    assert "GEO_BENCH_DIR" in caught.value.hint


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch hostile_mark",)


def test_a_hostile_sample_is_refused_and_runs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    folder = eurosat(tmp_path / "m-eurosat")
    write_sample(folder / "id_0004.hdf5", sentinel2(0), label=0, extra={"meta": Hostile()})
    with pytest.raises(CorruptError, match="could run anything") as caught:
        load_task(f"geobench:{folder}")
    assert caught.value.where.endswith("id_0004.hdf5")
    write_sample(folder / "id_0004.hdf5", sentinel2(0), label=0)
    (folder / "task_specs.pkl").write_bytes(pickle.dumps(Hostile()))
    with pytest.raises(CorruptError, match="could run anything") as caught:
        load_task(f"geobench:{folder}")
    assert caught.value.where.endswith("task_specs.pkl")
    assert not (tmp_path / "hostile_mark").exists()


def test_what_is_wrong_with_a_folder_is_said(tmp_path: Path) -> None:
    folder = eurosat(tmp_path / "m-eurosat")
    with pytest.raises(InputError, match=r"has no partition '0.5x_train'") as caught:
        load_task(f"geobench:{folder}:0.5x_train")
    assert "0.01x_train, default" in caught.value.hint
    write_partition(folder, "twice", train=NAMES[:6], valid=NAMES[5:9], test=NAMES[9:])
    with pytest.raises(InputError, match="a sample is in two splits"):
        load_task(f"geobench:{folder}:twice")
    write_partition(folder, "outside", train=["../../secret"], valid=NAMES[5:9], test=NAMES[9:])
    with pytest.raises(InputError, match="names no sample"):
        load_task(f"geobench:{folder}:outside")
    write_partition(folder, "empty", train=[], valid=[])
    with pytest.raises(InputError, match="is no partition"):
        load_task(f"geobench:{folder}:empty")
    write_partition(folder, "absent", train=["id_9999"], valid=NAMES[5:9], test=NAMES[9:])
    with pytest.raises(InputError, match="no such sample"):
        load_task(f"geobench:{folder}:absent")
    (folder / "id_0000.hdf5").write_bytes(b"nothing")
    with pytest.raises(CorruptError, match="is no HDF5 file"):
        load_task(f"geobench:{folder}")


def test_labels_beyond_the_classes_are_refused(tmp_path: Path) -> None:
    folder = eurosat(tmp_path / "m-eurosat")
    write_sample(folder / "id_0004.hdf5", sentinel2(0), label=7)
    with pytest.raises(ClassError, match="label 7 is none of the 3 classes"):
        load_task(f"geobench:{folder}")


def test_a_series_of_dates_is_no_image(tmp_path: Path) -> None:
    path = write_sample(tmp_path / "a.hdf5", sentinel2(0) | {"02 - Blue_late": np.zeros((16, 16))}, label=1)
    with pytest.raises(BandError, match="has band B2 twice"):
        read_description(path)


def test_options_that_do_not_apply_are_refused(tmp_path: Path) -> None:
    folder = eurosat(tmp_path / "m-eurosat")
    with pytest.raises(InputError, match="--split-file does not apply"):
        load_task(f"geobench:{folder}", split_file="split.json")


def test_real_samples_are_read_and_their_wrong_names_are_known(test_data: Path) -> None:
    folder = test_data / "geobench_samples" / "m-brick-kiln"
    paths = sorted(folder.glob("*.hdf5"))
    described = [read_description(path, FACTS["m-brick-kiln"]) for path in paths]
    assert {one.label for one in described} <= {0, 1}
    images = GeoBenchImages.open(paths, described[0], "reflectance x 10000")
    assert images.bands == ("B1", "B2", "B3", "B4", "B5", "B7", "B8A", "B8", "B11", "B12", "TCI_R", "TCI_G", "TCI_B")
    values, valid = images.read(np.arange(5), ["B4", "TCI_R", "B8", "B8A"])
    assert valid.all()
    for red, picture, near_infrared, narrow in values:
        assert np.corrcoef(red.ravel(), picture.ravel())[0, 1] > 0.99  # "10 - SWIR - Cirrus" is rendered red
        # B8A is delivered at 20 m, so that most neighbours are equal; B8 is not.
        assert (np.diff(narrow) == 0).mean() > 0.4 > 0.2 > (np.diff(near_infrared) == 0).mean()
    with pytest.raises(InputError, match="a sample is in two splits"):  # the sample folder's partition is a stand-in
        load_task(f"geobench:{folder}")


def test_which_dataset_of_a_file_is_which_band_is_in_its_sign(tmp_path: Path) -> None:
    images = geobench_task(str(eurosat(tmp_path))).inputs.images
    (first, one), (second, other), *_ = images.datasets.items()
    exchanged = replace(images, datasets={**images.datasets, first: other, second: one})
    assert exchanged.bands == images.bands
    assert exchanged.fingerprint(np.arange(3)) != images.fingerprint(np.arange(3))

"""Datasets of torchgeo as tasks, from files of their layouts; nothing is downloaded."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import BandError, InputError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.tasks import load_task

pytest.importorskip("torchgeo.datasets", reason="torchgeo is optional")
rasterio = pytest.importorskip("rasterio", reason="writes the GeoTIFFs")
pillow = pytest.importorskip("PIL.Image", reason="writes the masks")

pytestmark = pytest.mark.filterwarnings("ignore")  # of torchgeo's own libraries

OSCD = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B10", "B11", "B12")


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    profile = {"driver": "GTiff", "count": count, "height": height, "width": width, "dtype": values.dtype}
    with rasterio.open(path, "w", **profile) as dataset:
        dataset.write(values)


def eurosat100(root: Path) -> Path:
    """The n-th band in the file is about 100 n; B8A is the thirteenth."""
    folder = root / "ds/images/remote_sensing/otherDatasets/sentinel_2/tif"
    generator = np.random.default_rng(0)
    names: dict[str, list[str]] = {"train": [], "val": [], "test": []}
    for kind in ("Forest", "River", "SeaLake"):
        for number in range(1, 6):
            values = 100 * np.arange(1, 14)[:, None, None] + generator.integers(0, 90, (13, 64, 64))
            write(folder / kind / f"{kind}_{number}.tif", values.astype(np.uint16))
            names["train" if number < 4 else "val" if number == 4 else "test"].append(f"{kind}_{number}.jpg")
    for split, listed in names.items():
        (root / f"eurosat-100-{split}.txt").write_text("\n".join(listed))
    return root


def oscd(root: Path) -> Path:
    for split, regions in (("Train", ("paris", "nantes", "rennes", "lyon", "lille")), ("Test", ("milano",))):
        for region in regions:
            images = root / "Onera Satellite Change Detection dataset - Images" / region
            for date in (1, 2):
                for number, band in enumerate(OSCD):
                    values = np.full((1, 32, 32), 100 * number + date, np.uint16)
                    write(images / f"imgs_{date}_rect" / f"S2_{band}.tif", values)
            (images / "dates.txt").write_text("date_1: 20160101\ndate_2: 20170101\n")
            mask = root / f"Onera Satellite Change Detection dataset - {split} Labels" / region / "cm" / "cm.png"
            mask.parent.mkdir(parents=True)
            changed = np.zeros((32, 32), np.uint8)
            changed[:8] = 255
            pillow.fromarray(changed).save(mask)
    return root


def test_a_classification_with_bands_named_by_the_class(tmp_path: Path) -> None:
    task = load_task("torchgeo:EuroSAT100", root=eurosat100(tmp_path))
    assert (task.kind, task.classes) == (TaskKind.SINGLE_LABEL, ("Forest", "River", "SeaLake"))
    assert task.counts == {"train": 9, "val": 3, "test": 3}
    images = task.inputs.images
    assert (images.unit, task.inputs.level) == ("reflectance x 10000", "L1C")
    values, valid = images.read(np.array([0, 14]), ["B8A", "B9", "B1"])
    np.testing.assert_array_equal(values.mean((2, 3)) // 100, [[13, 9, 1]] * 2)
    assert valid.all()
    np.testing.assert_array_equal(task.labels[task.test], [0, 1, 2])


def test_two_dates_and_a_mask_are_change_detection(tmp_path: Path) -> None:
    task = load_task("torchgeo:OSCD", root=oscd(tmp_path))
    assert (task.kind, task.classes) == (TaskKind.CHANGE_DETECTION, ("unchanged", "changed"))
    assert task.counts == {"train": 4, "val": 1, "test": 1}
    earlier, _ = task.inputs.images.read(np.array([0]), ["B2"])
    later, _ = task.later.images.read(np.array([0]), ["B2"])
    assert (earlier == 101).all()
    assert (later == 102).all()
    values, valid = task.maps.read(task.samples[:1])
    assert (values[0].sum(), valid.all()) == (8 * 32, True)
    with pytest.raises(InputError, match="is change detection, one label a pixel"):
        task.labelled(np.zeros((6, 2)))


def test_what_is_wrong_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="torchgeo has no dataset 'EuroSat'") as caught:
        load_task("torchgeo:EuroSat")
    assert "EuroSAT100" in caught.value.hint
    with pytest.raises(InputError, match="torchgeo finds no files of EuroSAT100") as caught:
        load_task("torchgeo:EuroSAT100", root=tmp_path)
    assert "--download" in caught.value.hint
    with pytest.raises(BandError, match="has 13 bands, but 2 are named"):
        load_task("torchgeo:EuroSAT100", root=eurosat100(tmp_path), bands=("B2", "B3"))
    with pytest.raises(InputError, match="--split-file does not apply"):
        load_task("torchgeo:EuroSAT100", split_file="x.json")

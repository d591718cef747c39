"""Small real data sets as tasks: ``--task benchmarks/real_tasks.py:eurosat_rgb`` and so on.

The folder that ``GEOPRETEXT_TEST_DATA`` names holds extracts of public data. What each task takes of it:

``eurosat_rgb``
    3,000 colour pictures of EuroSAT (Helber et al. 2019, arXiv 1709.00029), 300 of each of ten classes. Test: those
    in the test list of the full set that Presto published (Tseng et al. 2023, arXiv 2304.14065); a fifth of its
    training list is drawn for validation.
``bigearthnet_labels``
    120 patches of BigEarthNet v2 (Clasen et al. 2024, arXiv 2407.03653), the classes of their CORINE maps as labels.
    All are of the official test split, so the split is ours: blocks of 100 km.
``bigearthnet_corine``
    The same patches and split, the CORINE class of each pixel.
``worldcereal_crops``
    Two sites in Flanders of WorldCereal's training data (Van Tricht et al. 2023, doi:10.5194/essd-15-5491-2023), each
    on its twelve clearest dates: temporary crops, grassland, or neither, for each pixel.

Classes that a split lacks are left out, since what training never shows cannot be learned and what the test lacks
cannot be measured; ``notes`` of the inputs name them. Everything is small: expect wide intervals.

Shapes: n samples, C bands, H W pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from geopretext.data.splits import spatial_split
from geopretext.data.tiles import SPLITS
from geopretext.data.units import REFLECTANCE
from geopretext.errors import InputError
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.evaluate.tasks import load_task
from geopretext.predict.images import band_name

Array = npt.NDArray[Any]
Positions = list[npt.NDArray[np.int64]]

FOLDER_VARIABLE = "GEOPRETEXT_TEST_DATA"
TASKS = ("eurosat_rgb", "bigearthnet_labels", "bigearthnet_corine", "worldcereal_crops")
"""Functions of this file that return a task."""

SHARES = (0.6, 0.2, 0.2)
"""Of BigEarthNet's blocks: train, val, test."""

SITES = {
    "00002806639B424A": {(0, 0): "train", (1, 1): "train", (0, 1): "val", (1, 0): "test"},
    "0000280849BAC91C": {(0, 0): "train", (1, 1): "train", (1, 0): "val", (0, 1): "test"},
}
"""Of four sites the two that have bands of 10 m; the split of each quarter, by its row and column, on all dates. Set by
the labels: so that training and test have hundreds of pixels of each class."""
CROPS = {11: "temporary crops", 13: "grassland", 99: "no temporary crops"}
"""WorldCereal's land-cover codes. One site has 107 pixels of built-up (60), 11 of them in training; 0 is no label."""
DATES = 12
CLEAR = (4, 5, 6, 7)
"""Classes of Sentinel-2's scene classification: vegetation, bare, water, unclassified; not cloud, shadow or snow."""
QUARTER = 32
"""pixels; a site has 64 x 64"""


@dataclass(frozen=True)
class ArrayImages:
    """Sentinel-2 in memory, as ``geopretext.predict.images.Images``."""

    where: str
    bands: tuple[str, ...]
    values: Array
    """(n, C, H, W) reflectance x 10000, 0 where nothing was observed"""
    unit: str = REFLECTANCE

    @property
    def dtype(self) -> str:
        """Of the stored numbers."""
        return str(self.values.dtype)

    @property
    def height(self) -> int:
        """Pixels."""
        return int(self.values.shape[2])

    @property
    def width(self) -> int:
        """Pixels."""
        return int(self.values.shape[3])

    def __len__(self) -> int:
        return len(self.values)

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Numbers float32 (B, C, H, W), and which were observed."""
        chosen = self.values[samples][:, [self.bands.index(name) for name in bands]]
        return chosen.astype(np.float32), chosen > 0


@dataclass(frozen=True)
class ArrayMaps:
    """A class for each pixel, in memory."""

    classes: npt.NDArray[np.int64]
    """(n, H, W) class indices, -1 where there is none"""

    @classmethod
    def of_codes(cls, codes: Array, kept: Sequence[int]) -> "ArrayMaps":
        """Codes (n, H, W) in the order of ``kept``; all others count as unlabelled."""
        classes = np.full(codes.shape, -1, np.int64)
        for number, code in enumerate(kept):
            classes[codes == code] = number
        return cls(classes)

    def read(self, samples: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Class indices (B, H, W) and which are labelled."""
        chosen = self.classes[samples]
        return np.maximum(chosen, 0), chosen >= 0


def eurosat_rgb() -> Task:
    """Land use of a picture, ten classes."""
    folder = _folder("eurosat_rgb")
    task = load_task(
        str(folder / "2750"), split_file=folder / "presto_train_test_split.json", level="L1C", statistics="dataset"
    )
    # The published lists are of 27,000 pictures.
    return replace(task, name="eurosat_rgb", left_out={"in_no_split": task.left_out["in_no_split"]})


def bigearthnet_labels() -> Task:
    """Which CORINE classes a patch has."""
    return _bigearthnet("bigearthnet_labels", TaskKind.MULTI_LABEL)


def bigearthnet_corine() -> Task:
    """The CORINE class of each pixel of a patch."""
    return _bigearthnet("bigearthnet_corine", TaskKind.SEGMENTATION)


def _bigearthnet(name: str, kind: TaskKind) -> Task:
    path = _folder("bigearthnet_v2_120") / "ben120.h5"
    with h5py.File(path) as file:
        optical, codes, present = file["sentinel2"][:], file["label19"][:], file["multilabel19"][:]
        classes = [str(label) for label in file["label19"].attrs["names"]]
        split = spatial_split(file["lat"][:], file["lon"][:], shares=SHARES, seed=0)
    positions = [np.flatnonzero(split == number) for number in range(len(SPLITS))]
    kept = np.flatnonzero(np.logical_and.reduce([present[chosen].any(0) for chosen in positions]))
    images = ArrayImages(str(path), ("B2", "B3", "B4", "B8"), optical)
    return _task(
        name,
        images,
        positions,
        classes=[classes[number] for number in kept],
        left_out=[classes[number] for number in np.flatnonzero(present.any(0)) if number not in kept],
        labels=present[:, kept].astype(np.int64) if kind is TaskKind.MULTI_LABEL else None,
        maps=ArrayMaps.of_codes(codes, kept.tolist()) if kind is TaskKind.SEGMENTATION else None,
    )


def worldcereal_crops() -> Task:
    """Temporary crops, grassland or neither, for each pixel of a quarter of a site on one date.

    A quarter is in one split on all its dates, so no pixel of the test was ever trained on; but quarters touch, and
    there are two of them in the test. The interval over samples takes dates for independent, which they are not.
    """
    folder = _folder("worldcereal") / "training_samples"
    images, codes, split = [], [], []
    for site, quarters in SITES.items():
        fine, coarse = (_find(folder, f"{site}_S2_L2A_{size}m_*.nc") for size in (10, 20))
        labels = _find(folder, f"{site}_OUTPUT_*.nc")
        bands, dates = read_clearest(fine, coarse)
        with h5py.File(labels) as file:
            cover = file["LC"][:]
        for (row, column), name in quarters.items():
            quarter = np.s_[..., row * QUARTER : (row + 1) * QUARTER, column * QUARTER : (column + 1) * QUARTER]
            images.append(dates[quarter])
            codes.append(np.broadcast_to(cover[quarter], (len(dates), QUARTER, QUARTER)))
            split += [name] * len(dates)
    return _task(
        "worldcereal_crops",
        ArrayImages(str(folder), bands, np.concatenate(images)),
        [np.flatnonzero(np.array(split) == name) for name in SPLITS],
        classes=list(CROPS.values()),
        left_out=["built-up"],
        maps=ArrayMaps.of_codes(np.concatenate(codes), list(CROPS)),
    )


def read_clearest(fine: Path, coarse: Path) -> tuple[tuple[str, ...], Array]:
    """The clearest dates of a site: names of its bands, and (date, C, 64, 64) in time order.

    Bands of 20 m are repeated to 10 m. Numbers are read as stored: the scale in the files would make them 0 to 1.

    Args:
        fine: bands of 10 m, (date, 64, 64) each.
        coarse: bands of 20 m and the scene classification, (date, 32, 32) each, of the same dates.

    Raises:
        InputError: the two files differ in their dates.
    """
    with h5py.File(fine) as ten, h5py.File(coarse) as twenty:
        if not np.array_equal(ten["timestamp"][:], twenty["timestamp"][:]):
            raise InputError("has other dates than the bands of 10 m", where=str(coarse))
        clear = np.isin(twenty["SCL"][:], CLEAR).mean((1, 2))
        dates = np.sort(np.argsort(-clear, kind="stable")[:DATES])
        stored = {name: ten[name][:][dates] for name in sorted(ten) if name.startswith("B")}
        enlarge = np.ones((1, 2, 2), np.uint16)
        stored |= {name: np.kron(twenty[name][:][dates], enlarge) for name in sorted(twenty) if name.startswith("B")}
    return tuple(band_name(name) for name in stored), np.stack(list(stored.values()), 1)


def _task(
    name: str,
    images: ArrayImages,
    positions: Positions,
    *,
    classes: Sequence[str],
    left_out: Sequence[str],
    labels: Array | None = None,
    maps: ArrayMaps | None = None,
) -> Task:
    """Multi-label with ``labels``, segmentation with ``maps``."""
    train, val, test = positions
    return Task(
        name=name,
        kind=TaskKind.SEGMENTATION if labels is None else TaskKind.MULTI_LABEL,
        classes=tuple(classes),
        inputs=ImageInputs(images, level="L2A", notes={"classes_left_out": list(left_out)}),
        samples=np.arange(len(images)),
        labels=np.zeros((len(images), 0)) if labels is None else labels,
        train=train,
        val=val,
        test=test,
        left_out={},
        maps=maps,
    )


def _folder(name: str) -> Path:
    root = os.environ.get(FOLDER_VARIABLE)
    if not root:
        raise InputError(
            f"{FOLDER_VARIABLE} is not set", hint=f"set it to the folder of real data, the one that holds {name}/"
        )
    folder = Path(root) / name
    if not folder.is_dir():
        raise InputError("no such folder", where=str(folder), hint=f"{FOLDER_VARIABLE} names the folder that holds it")
    return folder


def _find(folder: Path, pattern: str) -> Path:
    found = sorted(folder.glob(pattern))
    if len(found) != 1:
        raise InputError(f"has {len(found)} files {pattern}, not one", where=str(folder))
    return found[0]

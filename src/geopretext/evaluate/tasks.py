"""Downstream tasks: labels, splits and where the inputs come from.

A task is named as ``STORE:LABEL`` (a vector modality of a store, ``tiles.zarr:crop_calendar``) or as a folder of images
by class (``evaluate.folders``).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.reader import open_tiles
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import InputError
from geopretext.evaluate.folders import read_folder
from geopretext.evaluate.inputs import ImageInputs, Inputs, TileInputs
from geopretext.evaluate.labelled import LabelledFeatures
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind
from geopretext.modality import Kind, Modality, Role, find_modality
from geopretext.predict.image_door import StatisticsChoice
from geopretext.predict.images import ImageFiles

Array = npt.NDArray[Any]

_KINDS = {
    Kind.CATEGORICAL_VECTOR: TaskKind.SINGLE_LABEL,
    Kind.MULTILABEL_VECTOR: TaskKind.MULTI_LABEL,
    Kind.CONTINUOUS_VECTOR: TaskKind.REGRESSION,
}


@dataclass(frozen=True)
class Task:
    """What is to be predicted from a representation; n samples, K classes, labels or targets.

    Raises:
        InputError: a split is empty, samples are in two splits, or there is nothing to tell apart.
    """

    name: str
    """for people and for ``scores.json``"""
    kind: TaskKind
    classes: tuple[str, ...]
    """names of the K classes, labels or regression targets"""
    inputs: Inputs
    """where samples are read from"""
    samples: npt.NDArray[np.int64]
    """(n,) numbers of the samples in their source: tile numbers, or positions in a list of images"""
    labels: Array
    """(n,) class indices; (n, K) int64 of 0 and 1; or (n, K) float64 values"""
    train: npt.NDArray[np.int64]
    """positions in ``samples``, likewise ``val`` and ``test``"""
    val: npt.NDArray[np.int64]
    test: npt.NDArray[np.int64]
    left_out: Mapping[str, int]
    """how many samples of the source are in no split, by reason"""

    def __post_init__(self) -> None:
        where = f"task {self.name!r}"
        for split, positions in zip(SPLITS, (self.train, self.val, self.test), strict=True):
            if not len(positions):
                raise InputError(f"split {split!r} has no labelled sample", where=where, hint=_split_hint(self.name))
        everything = np.concatenate([self.train, self.val, self.test])
        if len(np.unique(everything)) != len(everything):
            raise InputError("a sample is in two splits", where=where)
        if self.kind is TaskKind.SINGLE_LABEL and len(self.classes) < 2:
            raise InputError(
                f"has only one class ({', '.join(self.classes)}): there is nothing to tell apart",
                where=where,
                hint="give at least two classes",
            )
        test = self.labels[self.test]
        if self.kind is TaskKind.MULTI_LABEL and not test.any():
            raise InputError("no test sample has any label", where=where, hint=_split_hint(self.name))
        if self.kind is TaskKind.REGRESSION and (test == test[0]).all(0).any():
            raise InputError("all test samples have the same value", where=where, hint=_split_hint(self.name))

    @property
    def metric(self) -> Metric:
        """The headline metric."""
        return METRICS[self.kind][0]

    @property
    def counts(self) -> dict[str, int]:
        """Samples by split, and those left out by reason."""
        sizes = {"train": len(self.train), "val": len(self.val), "test": len(self.test)}
        return {**sizes, **self.left_out}

    def labelled(self, features: Array) -> LabelledFeatures:
        """Features (n, D) of ``samples`` with the labels, standardised by the training split.

        Raises:
            InputError: there is not one row a sample.
            NonFiniteError: a feature is NaN or infinite.
        """
        return LabelledFeatures.standardise(
            features,
            self.labels,
            kind=self.kind,
            outputs=len(self.classes),
            train=self.train,
            val=self.val,
            test=self.test,
        )


def load_task(
    name: str,
    *,
    split_file: str | Path | None = None,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    statistics: StatisticsChoice = "auto",
    seed: int = 0,
) -> Task:
    """The task that ``name`` names.

    Args:
        name: ``STORE:LABEL``, or a folder of images by class. The rest is for folders only.
        split_file: JSON with lists of image names under "train", "test" and perhaps "val".
        bands: of the images, in file order, where the files do not name them.
        unit: of the images, where it is known.
        level: processing level of the images, where the bundle has statistics by level.
        statistics: which means and deviations standardise the images.
        seed: of the random split, where the folder has none.

    Raises:
        InputError: there is no such store, label or folder, or it cannot make a task.
    """
    store, _, label = name.rpartition(":")
    if store and label.isidentifier() and not Path(name).exists():
        return store_task(open_tiles(store), label, name=name)
    folder = Path(name)
    if (folder / "zarr.json").exists() or (folder.is_dir() and any(folder.glob("*.h5"))):
        raise InputError(
            "is a set of tiles: which of its labels?",
            where=name,
            hint=f"--task {name}:LABEL with LABEL one of {_label_names(open_tiles(name))}",
        )
    if not folder.is_dir():
        raise InputError(
            "no such task",
            where=name,
            hint="STORE:LABEL (for example tiles.zarr:crop_calendar), or a folder with one subfolder of images a class",
        )
    listing = read_folder(folder, split_file=None if split_file is None else Path(split_file), seed=seed)
    images = ImageFiles.open(listing.paths, bands=bands, unit=unit)
    positions = [np.flatnonzero(listing.split == number) for number in range(len(SPLITS))]
    return Task(
        name=folder.name,
        kind=TaskKind.SINGLE_LABEL,
        classes=listing.classes,
        inputs=ImageInputs(images, statistics, level),
        samples=np.arange(len(listing.paths)),
        labels=listing.labels,
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out=listing.left_out,
    )


def store_task(reader: TileReader, label: str, *, name: str | None = None) -> Task:
    """Predict a vector modality of a store from its tiles, on the store's own split.

    Tiles without a label and tiles in no split are left out and counted; classes that no remaining tile has are
    dropped.

    Args:
        reader: the tiles.
        label: name of the modality.
        name: of the task; by default the label's.

    Raises:
        InputError: there is no such modality, it is a map, or a split is empty.
        ClassError: a stored code is no class.
    """
    modality = find_modality(label, reader.modalities)
    if modality.kind not in _KINDS:
        raise InputError(
            f"is a {modality.kind}, one value a pixel; a probe needs one label a tile",
            where=f"modality {label!r} of {reader.path}",
            hint=f"labels of whole tiles: {_label_names(reader)}",
        )
    split = reader.coordinates.split
    assert split is not None
    if not (split >= 0).any():
        raise InputError("has no split", where=reader.path, hint=_split_hint(reader.path))
    values, valid = modality.decode(reader.read([label], np.arange(len(reader)))[label])
    labelled = valid.reshape(len(valid), -1).all(1)
    samples = np.flatnonzero(labelled & (split >= 0))
    kind = _KINDS[modality.kind]
    labels, classes = _labels(values[samples], modality)
    positions = [np.flatnonzero(split[samples] == number) for number in range(len(SPLITS))]
    return Task(
        name=name or label,
        kind=kind,
        classes=classes,
        inputs=TileInputs(reader),
        samples=samples,
        labels=labels,
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out={
            "without_label": int((~labelled).sum()),
            "in_no_split": int((labelled & (split < 0)).sum()),
        },
    )


def _labels(values: Array, modality: Modality) -> tuple[Array, tuple[str, ...]]:
    """Labels as a task holds them, and the names of the classes that occur."""
    if modality.kind is Kind.CATEGORICAL_VECTOR:
        present, labels = np.unique(values, return_inverse=True)
        return labels.astype(np.int64), tuple(modality.classes[index].name for index in present)
    dtype = np.int64 if modality.kind is Kind.MULTILABEL_VECTOR else np.float64
    return values.astype(dtype), modality.band_names


def _label_names(reader: TileReader) -> str:
    """Modalities that can be a task, those meant as labels first."""
    vectors = [modality for modality in reader.modalities.values() if modality.kind in _KINDS]
    vectors.sort(key=lambda modality: modality.role is not Role.LABEL)
    return ", ".join(modality.name for modality in vectors) or "none: it has no vector modality"


def _split_hint(name: str) -> str:
    store = name.rpartition(":")[0] or name
    return f"`geopretext split {store}` makes a split into train, val and test"

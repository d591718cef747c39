"""A folder of images with masks: segmentation, or dense regression.

::

    FOLDER/images/NAME.tif         any image that ``predict.images`` reads
    FOLDER/masks/NAME.tif          one band, the same name and size; png likewise
    FOLDER/task.yaml               optional: classes, ignore value, kind
    FOLDER/split.json              optional: {"train": [names], "val": [names], "test": [names]}

``task.yaml``::

    kind: segmentation             # or: dense regression
    classes: {1: crop, 2: forest}  # code in the masks: name; without it, the codes that occur
    ignore: 255                    # code or number that means "not labelled"
    target: canopy height          # of a dense regression: name of the quantity
    unit: m                        # and its unit

Without ``split.json``, 60 % of the images train, 20 % choose and 20 % test, by seed.

Shapes: B samples at a time, H W pixels.
"""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from geopretext.data.tiles import SPLITS
from geopretext.errors import ClassError, GridError, InputError
from geopretext.evaluate.folders import SPLIT_FILE, split_by_file, stratified_split
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.predict.images import SUFFIXES, ImageFiles, read_values

Array = npt.NDArray[Any]

IMAGES, MASKS, SPEC = "images", "masks", "task.yaml"

_FIELDS = ("kind", "classes", "ignore", "target", "unit")
_KINDS = (TaskKind.SEGMENTATION, TaskKind.DENSE_REGRESSION)
_MOST_CLASSES = 256
_READERS = 4


@dataclass(frozen=True)
class MaskSpec:
    """What ``task.yaml`` says."""

    kind: TaskKind = TaskKind.SEGMENTATION
    classes: Mapping[int, str] | None = None
    """name by code; None: the codes that occur"""
    ignore: float | None = None
    """that means "not labelled" """
    target: str = "value"
    """of a dense regression: name of the quantity"""
    unit: str = ""
    """of a dense regression; empty: not known"""


@dataclass(frozen=True)
class MaskFiles:
    """Masks in the order of their images."""

    paths: tuple[Path, ...]
    codes: tuple[int, ...]
    """in class order; empty if masks hold quantities"""
    ignore: float | None
    height: int
    width: int

    def read(self, samples: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Class indices (int64) or quantities (float32), (B, H, W), and which are labelled.

        Raises:
            ClassError: a code is no class.
            GridError: a mask has another size than the images, or several bands.
            CorruptError: a file cannot be decoded.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            masks = np.stack(list(pool.map(lambda sample: self._read_one(self.paths[sample]), samples)))
        valid = np.isfinite(masks) if self.ignore is None else np.isfinite(masks) & (masks != self.ignore)
        if not self.codes:
            return np.where(valid, masks, 0).astype(np.float32), valid
        index = np.searchsorted(self.codes, masks).clip(max=len(self.codes) - 1)
        stray = valid & (np.asarray(self.codes)[index] != masks)
        if stray.any():
            sample = samples[int(np.nonzero(stray.any((1, 2)))[0][0])]
            raise ClassError(
                f"code {masks[stray][0]:g} is no class",
                where=str(self.paths[sample]),
                hint=f"name it under 'classes' of {SPEC}, or make it the 'ignore' value",
            )
        return np.where(valid, index, 0), valid

    def _read_one(self, path: Path) -> Array:
        values = read_values(path)
        if values.shape != (1, self.height, self.width):
            raise GridError(
                f"mask has shape {values.shape}, the images are {self.height} x {self.width} pixels",
                where=str(path),
                hint="a mask has one band, and the size of its image",
            )
        mask: Array = values[0].astype(np.float64)
        return mask


def is_mask_folder(folder: Path) -> bool:
    """True if it has ``images`` and ``masks``."""
    return (folder / IMAGES).is_dir() and (folder / MASKS).is_dir()


def mask_task(folder: Path, images_of: Mapping[str, Any], *, split_file: Path | None = None, seed: int = 0) -> Task:
    """The task of a folder of images with masks.

    Args:
        folder: see the head of this file.
        images_of: ``bands``, ``unit`` and further settings, as ``tasks.load_task`` takes them.
        split_file: JSON with lists of names; by default ``split.json`` in the folder, if it is there.
        seed: of the random split.

    Raises:
        InputError: an image has no mask, ``task.yaml`` is wrong, or the split does not fit.
        GridError, CorruptError, BandError: a file cannot be used.
    """
    spec = read_mask_spec(folder / SPEC)
    paths, masks, without = _pairs(folder)
    images = ImageFiles.open(paths, bands=images_of.get("bands"), unit=images_of.get("unit"))
    files = MaskFiles(masks, (), spec.ignore, images.height, images.width)
    classes: tuple[str, ...] = (spec.target,)
    if spec.kind is TaskKind.SEGMENTATION:
        named = dict(sorted((spec.classes or _occurring(files)).items()))
        classes = tuple(named.values())
        files = MaskFiles(masks, tuple(named), spec.ignore, images.height, images.width)
    split_file = split_file or (folder / SPLIT_FILE if (folder / SPLIT_FILE).is_file() else None)
    left_out = {"without_mask": without}
    if split_file is None:
        split = stratified_split(np.zeros(len(paths), np.int64), ["all"], seed=seed, where=str(folder))
    else:
        split, counts = split_by_file(split_file, paths, np.zeros(len(paths), np.int64), seed)
        left_out |= counts
    positions = [np.flatnonzero(split == number) for number in range(len(SPLITS))]
    return Task(
        name=folder.name,
        kind=spec.kind,
        classes=classes,
        inputs=ImageInputs(images, **{k: v for k, v in images_of.items() if k not in ("bands", "unit")}),
        samples=np.arange(len(paths)),
        labels=np.zeros((len(paths), 0)),
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out=left_out,
        maps=files,
        codes=files.codes,
        ignore=files.ignore,
        unit=spec.unit,
    )


def read_mask_spec(path: Path) -> MaskSpec:
    """Read ``task.yaml``; what it would say if it is not there.

    Raises:
        InputError: it is no YAML, or a field is unknown or wrong.
    """
    if not path.is_file():
        return MaskSpec()
    try:
        plain = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"is no YAML: {error}", where=str(path)) from error
    if not isinstance(plain, dict) or set(plain) - set(_FIELDS):
        unknown = sorted(map(str, set(plain) - set(_FIELDS))) if isinstance(plain, dict) else [type(plain).__name__]
        raise InputError(f"unknown field {', '.join(unknown)}", where=str(path), hint=f"fields: {', '.join(_FIELDS)}")
    kind, classes, ignore = plain.get("kind", "segmentation"), plain.get("classes"), plain.get("ignore")
    if kind not in _KINDS:
        raise InputError(f"kind is {kind!r}", where=str(path), hint=f"one of {', '.join(_KINDS)}")
    if classes is not None and not (
        isinstance(classes, dict) and classes and all(type(code) is int for code in classes)
    ):
        raise InputError(
            "classes are no mapping of codes to names", where=str(path), hint="classes: {1: crop, 2: forest}"
        )
    if ignore is not None and (isinstance(ignore, bool) or not isinstance(ignore, int | float)):
        raise InputError(f"ignore is {ignore!r}, no number", where=str(path))
    names = None if classes is None else {code: str(name) for code, name in classes.items() if code != ignore}
    return MaskSpec(TaskKind(kind), names, ignore, str(plain.get("target", "value")), str(plain.get("unit", "")))


def _pairs(folder: Path) -> tuple[tuple[Path, ...], tuple[Path, ...], int]:
    """Images with their masks, by stem, and how many images have none."""
    images = _by_stem(folder / IMAGES)
    masks = _by_stem(folder / MASKS)
    both = [stem for stem in images if stem in masks]
    if not both:
        raise InputError(
            f"no image of {len(images)} has a mask of the same name",
            where=str(folder),
            hint=f"{IMAGES}/NAME.tif and {MASKS}/NAME.tif",
        )
    return tuple(images[stem] for stem in both), tuple(masks[stem] for stem in both), len(images) - len(both)


def _by_stem(folder: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            if path.stem in found:
                raise InputError(f"{path.name} and {found[path.stem].name} have the same name", where=str(folder))
            found[path.stem] = path
    return found


def _occurring(files: MaskFiles) -> dict[int, str]:
    """The codes of all masks, with names made of them."""
    codes: set[float] = set()
    for sample in range(len(files.paths)):
        values, valid = files.read(np.array([sample]))
        codes |= set(np.unique(values[valid]).tolist())
        if len(codes) > _MOST_CLASSES or any(code != int(code) for code in codes):
            raise ClassError(
                "masks hold quantities, or very many classes",
                where=str(files.paths[sample]),
                hint=f"say so in {SPEC}: kind: dense regression",
            )
    return {int(code): f"class {int(code)}" for code in codes}

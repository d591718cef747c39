"""Datasets of torchgeo as tasks, by the name of their class: ``torchgeo:EuroSAT100``, ``torchgeo:OSCD``.

A dataset gives samples ``{"image", "label"}`` or ``{"image", "mask"}``. Its bands are those that the class lists
(``all_band_names`` or ``all_bands``); a dataset of three channels that lists none is red, green, blue. Units are in no
class, so they stand here for the sets that are known, and are asked for otherwise. Nothing is downloaded unless asked.

What kind of task it is follows from the first sample: an integer is a class, a row of 0 and 1 labels, a number with
decimals a quantity, a mask of integers a segmentation, one of decimals a dense regression, and an image with two dates
and a mask is change detection.

Shapes: B samples at a time, C bands, H W pixels.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import SPLITS
from geopretext.data.units import REFLECTANCE
from geopretext.errors import BandError, ClassError, CorruptError, GridError, InputError, MissingLibraryError
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.predict.images import DIGITAL_NUMBER, RGB_BANDS, UNSTATED, band_name

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class _Known:
    """What no class of torchgeo says."""

    unit: str
    level: str | None = None
    bands: tuple[str, ...] = ()
    """where the class does not list them, or not as ``all_bands``"""
    settings: Mapping[str, Any] | None = None
    """further arguments of the class"""
    substitutes: Mapping[str, str] | None = None


_S2_12 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
_SO2SAT = ("B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B11", "B12")
KNOWN: Mapping[str, _Known] = {
    "EuroSAT": _Known(REFLECTANCE, "L1C"),
    "EuroSATSpatial": _Known(REFLECTANCE, "L1C"),
    "EuroSAT100": _Known(REFLECTANCE, "L1C"),
    "BigEarthNet": _Known(REFLECTANCE, "L2A", _S2_12, {"bands": "s2"}),
    "BigEarthNetV2": _Known(REFLECTANCE, "L2A", _S2_12, {"bands": "s2"}),
    "So2Sat": _Known(
        "reflectance",
        "L1C",
        _SO2SAT,
        {"bands": tuple(f"S2_B{name[1:].zfill(2)}" if name != "B8A" else "S2_B8A" for name in _SO2SAT)},
        {"B1": "B2", "B9": "B8A"},
    ),
    "OSCD": _Known(REFLECTANCE, "L1C"),
    "UCMerced": _Known(DIGITAL_NUMBER),
    "RESISC45": _Known(DIGITAL_NUMBER),
    "LEVIRCD": _Known(DIGITAL_NUMBER),
    "LEVIRCDPlus": _Known(DIGITAL_NUMBER),
    "LoveDA": _Known(DIGITAL_NUMBER),
    "PatternNet": _Known(DIGITAL_NUMBER),
    "MillionAID": _Known(DIGITAL_NUMBER),
    "FireRisk": _Known(DIGITAL_NUMBER),
}
"""Units and levels as the papers and converters of these sets say; no class of torchgeo holds them."""

_SPLIT_NAMES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}
_VAL_SHARE = 0.2


@dataclass(frozen=True)
class TorchgeoImages:
    """The images of the splits of a dataset, one after the other, at one of their dates."""

    name: str
    parts: tuple[Any, ...]
    """the datasets, in order"""
    bands: tuple[str, ...]
    unit: str
    height: int
    width: int
    date: int | None = None
    """position of the date, where images have several"""
    dtype: str = "float32"

    @property
    def where(self) -> str:
        """Name of the class, and where its files are."""
        return f"torchgeo {self.name}"

    def __len__(self) -> int:
        return sum(len(part) for part in self.parts)

    def sample(self, number: int) -> Mapping[str, Any]:
        """One sample as the dataset gives it."""
        return _sample(self.parts, number, self.where)

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Numbers as the dataset gives them, float32 (B, C, H, W); all that are finite count as observed.

        Raises:
            BandError: an image has another number of bands.
            GridError: it has another size than the first one.
        """
        rows = [self.bands.index(name) for name in bands]
        values = np.stack([self._image(int(number))[rows] for number in samples])
        return values, np.isfinite(values)

    def _image(self, number: int) -> Array:
        image = np.asarray(self.sample(number)["image"], np.float32)
        if image.ndim == 4:
            image = image[self.date or 0]
        if len(image) != len(self.bands):
            raise BandError(f"image {number} has {len(image)} bands, not {len(self.bands)}", where=self.where)
        if image.shape[1:] != (self.height, self.width):
            raise GridError(
                f"image {number} is {image.shape[1]} x {image.shape[2]} pixels, the first {self.height} x {self.width}",
                where=self.where,
                hint="images of one task have one size: cut the dataset into patches first",
            )
        return image


@dataclass(frozen=True)
class TorchgeoMaps:
    """The masks of the same samples."""

    images: TorchgeoImages
    classes: int
    """codes are 0 to ``classes`` - 1; 0: masks hold quantities"""
    ignored: int | None = None

    def read(self, samples: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Class indices (int64) or quantities (float32), (B, H, W), and which are labelled.

        Raises:
            ClassError: a code is no class.
        """
        masks = np.stack([np.squeeze(np.asarray(self.images.sample(int(number))["mask"])) for number in samples])
        if not self.classes:
            valid = np.isfinite(masks)
            return np.where(valid, masks, 0).astype(np.float32), valid
        masks = masks.astype(np.int64)
        valid = masks != self.ignored if self.ignored is not None else np.ones(masks.shape, np.bool_)
        stray = valid & ((masks < 0) | (masks >= self.classes))
        if stray.any():
            raise ClassError(f"code {masks[stray][0]} is none of {self.classes} classes", where=self.images.where)
        return np.where(valid, masks, 0), valid


def torchgeo_task(
    name: str,
    *,
    root: Path | None = None,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    download: bool = False,
    seed: int = 0,
    inputs: Mapping[str, Any] | None = None,
) -> Task:
    """A dataset of torchgeo as a task.

    Args:
        name: of the class.
        root: folder of its files; by default ``data``, as in torchgeo.
        bands: of its images, where the class does not list them.
        unit: of its images, where it is not known.
        level: processing level of its images.
        download: let torchgeo fetch what is missing.
        seed: of the validation split, where the dataset has none.
        inputs: further settings of ``ImageInputs``.

    Raises:
        InputError: there is no such class, its files are not there, or it has no labels that make a task.
        BandError: nothing says which bands it has.
        MissingLibraryError: torchgeo is not installed.
    """
    dataset = _dataset_class(name)
    known = KNOWN.get(name, _Known(UNSTATED))
    parts = _open_splits(dataset, known, root, download=download)
    members = [part for part in (parts.get(split) for split in SPLITS) if part is not None]
    first = _sample(members, 0, f"torchgeo {name}")
    if "image" not in first:
        raise InputError(f"its samples have {', '.join(first)} and no image", where=f"torchgeo {name}")
    image = np.asarray(first["image"])
    if image.ndim not in (3, 4):
        raise GridError(f"its images have shape {image.shape}", where=f"torchgeo {name}", hint="wanted: (C, H, W)")
    named = tuple(band_name(band) for band in bands) if bands else known.bands or _bands(dataset, image.shape[-3], name)
    if len(named) != image.shape[-3]:
        raise BandError(
            f"has {image.shape[-3]} bands, but {len(named)} are named ({', '.join(named)})", where=f"torchgeo {name}"
        )
    height, width = image.shape[-2:]
    images = TorchgeoImages(name, tuple(members), named, unit or known.unit, height, width)
    kind, classes, labels, maps = _labels(images, first, dataset)
    settings = {"substitutes": dict(known.substitutes or {}), **(inputs or {}), "level": level or known.level}
    dated = kind is TaskKind.CHANGE_DETECTION
    earlier, later = (
        ImageInputs(TorchgeoImages(name, tuple(members), named, images.unit, height, width, date), **settings)
        for date in (0, 1)
    )
    positions = _positions(parts, seed)
    return Task(
        name=name,
        kind=kind,
        classes=classes,
        inputs=earlier if dated else ImageInputs(images, **settings),
        samples=np.arange(len(images)),
        labels=labels,
        train=positions["train"],
        val=positions["val"],
        test=positions["test"],
        left_out={},
        maps=maps,
        later=later if dated else None,
    )


def _dataset_class(name: str) -> Any:
    try:
        import torchgeo.datasets
    except (ImportError, RuntimeError) as error:
        raise MissingLibraryError("torchgeo", extra="torchgeo", purpose="read its datasets") from error
    names = [found for found in torchgeo.datasets.__all__ if isinstance(getattr(torchgeo.datasets, found), type)]
    if name not in names:
        near = [found for found in names if name.lower() in found.lower() or found.lower() in name.lower()]
        raise InputError(
            f"torchgeo has no dataset {name!r}",
            hint=f"did you mean {', '.join(near[:5])}?"
            if near
            else "names as in torchgeo.datasets, EuroSAT for example",
        )
    return getattr(torchgeo.datasets, name)


def _open_splits(dataset: Any, known: _Known, root: Path | None, *, download: bool) -> dict[str, Any]:
    """A dataset for each split that there is, by our name of it."""
    import inspect

    from torchgeo.datasets import DatasetNotFoundError

    accepted = inspect.signature(dataset.__init__).parameters
    settings = dict(known.settings or {})
    if root is not None:
        settings["root"] = str(root)
    if "download" in accepted:
        settings["download"] = download
    if "split" not in accepted:
        raise InputError(
            f"torchgeo {dataset.__name__} has no splits",
            hint="write a task of your own around it, with a split that you choose: docs/tasks.md",
        )
    published = [str(split) for split in getattr(dataset, "splits", ("train", "val", "test"))]
    found = {}
    for split, names in _SPLIT_NAMES.items():
        named = next((one for one in names if one in published), None)
        if named is None:
            continue
        try:
            found[split] = dataset(**settings, split=named)
        except DatasetNotFoundError as error:
            raise InputError(
                f"torchgeo finds no files of {dataset.__name__}: {str(error).splitlines()[0][:200]}",
                hint="--root FOLDER names the folder of its files; --download lets torchgeo fetch them",
            ) from error
        except (AssertionError, TypeError, ValueError, OSError) as error:
            raise InputError(
                f"torchgeo cannot open {dataset.__name__}: {error!r}", hint="write a task of your own around it"
            ) from error
    if "train" not in found or "test" not in found:
        raise InputError(f"torchgeo {dataset.__name__} has the splits {', '.join(published)}, not train and test")
    return found


def _positions(parts: Mapping[str, Any], seed: int) -> dict[str, npt.NDArray[np.int64]]:
    """Of each split among all samples; a fifth of the training samples choose where there is no validation split."""
    start, found = 0, {}
    for split in SPLITS:
        count = len(parts[split]) if split in parts else 0
        found[split] = np.arange(start, start + count)
        start += count
    if not len(found["val"]):
        order = np.random.default_rng(seed).permutation(found["train"])
        count = max(1, round(_VAL_SHARE * len(order)))
        found["val"], found["train"] = np.sort(order[:count]), np.sort(order[count:])
    return found


def _bands(dataset: Any, count: int, name: str) -> tuple[str, ...]:
    """Names that the class itself lists."""
    for attribute in ("all_band_names", "all_bands"):
        listed = getattr(dataset, attribute, None)
        if isinstance(listed, list | tuple) and len(listed) == count:
            return tuple(band_name(str(band)) for band in listed)
    if count == len(RGB_BANDS):
        return RGB_BANDS
    raise BandError(
        f"torchgeo {name} does not name its {count} bands", hint="declare them in order: --bands B2,B3,B4,..."
    )


def _labels(
    images: TorchgeoImages, first: Mapping[str, Any], dataset: Any
) -> tuple[TaskKind, tuple[str, ...], Array, TorchgeoMaps | None]:
    listed = getattr(images.parts[0], "classes", None) or getattr(dataset, "classes", None)
    named = tuple(str(one) for one in listed) if isinstance(listed, list | tuple) else ()
    count = len(images)
    if "mask" in first:
        mask = np.asarray(first["mask"])
        if np.issubdtype(mask.dtype, np.floating) and not (mask == np.round(mask)).all():
            return TaskKind.DENSE_REGRESSION, ("value",), np.zeros((count, 0)), TorchgeoMaps(images, 0)
        if np.asarray(first["image"]).ndim == 4:
            return TaskKind.CHANGE_DETECTION, ("unchanged", "changed"), np.zeros((count, 0)), TorchgeoMaps(images, 2)
        if not named:
            raise InputError(
                "does not name the classes of its masks", where=images.where, hint="write a task of your own around it"
            )
        return TaskKind.SEGMENTATION, named, np.zeros((count, 0)), TorchgeoMaps(images, len(named))
    if "label" not in first:
        raise InputError(f"its samples have {', '.join(first)}, and neither label nor mask", where=images.where)
    labels = [np.asarray(images.sample(number)["label"]) for number in range(count)]
    table = np.stack(labels)
    if table.ndim == 1 and np.issubdtype(table.dtype, np.integer):
        classes = named or tuple(f"class {code}" for code in range(int(table.max()) + 1))
        return TaskKind.SINGLE_LABEL, classes, table.astype(np.int64), None
    table = table.reshape(count, -1)
    if table.shape[1] > 1 and np.isin(table, (0, 1)).all():
        classes = named if len(named) == table.shape[1] else tuple(f"label {k}" for k in range(table.shape[1]))
        return TaskKind.MULTI_LABEL, classes, table.astype(np.int64), None
    names = ("value",) if table.shape[1] == 1 else tuple(f"value {k}" for k in range(table.shape[1]))
    return TaskKind.REGRESSION, names, table.astype(np.float64), None


def _sample(parts: Sequence[Any], number: int, where: str) -> Mapping[str, Any]:
    position = number
    for part in parts:
        if position < len(part):
            try:
                sample: Mapping[str, Any] = part[position]
            except (OSError, ValueError, RuntimeError) as error:
                raise CorruptError(f"sample {number} cannot be read: {error}", where=where) from error
            return sample
        position -= len(part)
    raise InputError(f"has no sample {number}", where=where)

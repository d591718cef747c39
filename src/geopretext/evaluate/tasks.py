"""Tasks by name: what ``--task`` may say, and who makes a task of it.

========================================= ============================================================================
``STORE:LABEL``                           a vector modality of a store, on its own split (here)
``TABLE.csv:COLUMN`` with a store         labels in a table, over a store (``evaluate.label_table``)
``geobench:PATH/m-eurosat:PARTITION``     GEO-Bench v1 on disk (``evaluate.geobench``)
``torchgeo:NAME``                         a dataset of torchgeo (``evaluate.torchgeo_tasks``)
``FOLDER``                                images by class (``evaluate.folders``), or images with masks
                                          (``evaluate.mask_folder``)
``FILE.py:FUNCTION``, ``FILE.yaml``, name a task of one's own (``evaluate.own_tasks``)
========================================= ============================================================================
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.reader import open_tiles
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import InputError
from geopretext.evaluate.folders import read_folder
from geopretext.evaluate.geobench import geobench_task
from geopretext.evaluate.inputs import ImageInputs, TileInputs
from geopretext.evaluate.label_table import FARTHEST, TABLE_SUFFIXES, table_task
from geopretext.evaluate.mask_folder import is_mask_folder, mask_task
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.own_tasks import find_entry, is_own, own_task, read_task_file
from geopretext.evaluate.task import Task, split_hint
from geopretext.evaluate.torchgeo_tasks import torchgeo_task
from geopretext.modality import Kind, Modality, Role, find_modality
from geopretext.predict.image_door import StatisticsChoice
from geopretext.predict.images import ImageFiles

__all__ = ["Task", "TaskOptions", "load_task", "store_task"]

Array = npt.NDArray[Any]

GEOBENCH, TORCHGEO = "geobench:", "torchgeo:"

_KINDS = {
    Kind.CATEGORICAL_VECTOR: TaskKind.SINGLE_LABEL,
    Kind.MULTILABEL_VECTOR: TaskKind.MULTI_LABEL,
    Kind.CONTINUOUS_VECTOR: TaskKind.REGRESSION,
}
_WAYS = (
    "STORE:LABEL (for example tiles.zarr:crop_calendar), labels.csv:COLUMN with --data STORE, geobench:PATH/m-eurosat,"
    " torchgeo:EuroSAT100, a folder of images (a subfolder a class, or images/ and masks/), or FILE.py:FUNCTION"
)


@dataclass(frozen=True)
class TaskOptions:
    """What the caller says of a task beyond its name; each source takes some of it and refuses the rest."""

    split_file: Path | None = None
    """JSON with lists of image names under "train", "test" and perhaps "val" """
    bands: tuple[str, ...] | None = None
    """of the images, in stored order, where they do not name them"""
    unit: str | None = None
    """of the images, where it is known"""
    level: str | None = None
    """processing level of the images, as ``L1C``"""
    statistics: StatisticsChoice = "auto"
    """which means and deviations standardise the images"""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """for a band that the images lack, the one to take instead"""
    fill: tuple[str, ...] = ()
    """bands that may be missing everywhere"""
    as_shipped: bool = False
    """take the names of GEO-Bench as published, even where they are known to be wrong"""
    data: Path | None = None
    """the store that a table of labels is about"""
    max_distance: float = FARTHEST
    """metres from a row of a table to the centre of its tile"""
    root: Path | None = None
    """folder of the files of a torchgeo dataset"""
    download: bool = False
    """let torchgeo fetch what is missing"""

    @property
    def given(self) -> tuple[str, ...]:
        """Names of the fields that are not at their default."""
        plain = TaskOptions()
        return tuple(f.name for f in fields(self) if getattr(self, f.name) != getattr(plain, f.name))

    @property
    def inputs(self) -> dict[str, Any]:
        """Settings of ``ImageInputs``."""
        return {"statistics": self.statistics, "substitutes": self.substitutes, "fill": self.fill}


_IMAGES = ("bands", "unit", "level", "statistics", "substitutes", "fill")


def load_task(name: str, options: TaskOptions | None = None, *, seed: int = 0, **more: Any) -> Task:
    """The task that ``name`` names, see the head of this file.

    Args:
        name: as ``--task`` takes it.
        options: what else is known of it.
        seed: of the random split, where there is none.
        more: fields of ``TaskOptions``, instead of ``options``.

    Raises:
        InputError: there is no such task, it cannot be made, or an option does not apply to it.
        BandError, UnitError, GridError, ClassError, CorruptError: its files cannot be used.
        MissingLibraryError: what reads them is not installed.
    """
    options = _options(more) if options is None else options
    if name.startswith(GEOBENCH):
        _check_applies(name, options, (*_IMAGES, "as_shipped"))
        return _geobench(name.removeprefix(GEOBENCH), options)
    if name.startswith(TORCHGEO):
        _check_applies(name, options, (*_IMAGES, "root", "download"))
        return torchgeo_task(
            name.removeprefix(TORCHGEO),
            root=options.root,
            bands=options.bands,
            unit=options.unit,
            level=options.level,
            download=options.download,
            seed=seed,
            inputs={key: value for key, value in options.inputs.items() if value},
        )
    if is_own(name):
        _check_applies(name, options, ())
        return own_task(name)
    if Path(name).suffix in (".yaml", ".yml") and Path(name).is_file():
        _check_applies(name, options, ())
        named, plain = read_task_file(Path(name))
        return load_task(named, _options(plain), seed=seed)
    return _of_files(name, options, seed)


def _of_files(name: str, options: TaskOptions, seed: int) -> Task:
    """A store's label, a table's column, or a folder."""
    source, _, label = name.rpartition(":")
    if Path(source).suffix.lower() in TABLE_SUFFIXES and label:
        _check_applies(name, options, ("data", "max_distance"))
        if options.data is None:
            raise InputError("is a table: of which store's tiles?", where=source, hint=f"--task {name} --data STORE")
        return table_task(Path(source), label, open_tiles(options.data), farthest=options.max_distance)
    if source and label.isidentifier() and not Path(name).exists():
        _check_applies(name, options, ())
        return store_task(open_tiles(source), label, name=name)
    folder = Path(name)
    if (folder / "zarr.json").exists() or (folder.is_dir() and any(folder.glob("*.h5"))):
        raise InputError(
            "is a set of tiles: which of its labels?",
            where=name,
            hint=f"--task {name}:LABEL with LABEL one of {_label_names(open_tiles(name))}",
        )
    if not folder.is_dir():
        entry = find_entry(name)
        if entry is None:
            raise InputError("no such task", where=name, hint=_WAYS)
        return entry
    _check_applies(name, options, (*_IMAGES, "split_file"))
    if is_mask_folder(folder):
        settings = {"bands": options.bands, "unit": options.unit, "level": options.level, **options.inputs}
        return mask_task(folder, settings, split_file=options.split_file, seed=seed)
    return _folder_task(folder, options, seed)


def _folder_task(folder: Path, options: TaskOptions, seed: int) -> Task:
    listing = read_folder(folder, split_file=options.split_file, seed=seed)
    images = ImageFiles.open(listing.paths, bands=options.bands, unit=options.unit)
    positions = [np.flatnonzero(listing.split == number) for number in range(len(SPLITS))]
    return Task(
        name=folder.name,
        kind=TaskKind.SINGLE_LABEL,
        classes=listing.classes,
        inputs=ImageInputs(images, level=options.level, **options.inputs),
        samples=np.arange(len(listing.paths)),
        labels=listing.labels,
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out=listing.left_out,
    )


def _geobench(name: str, options: TaskOptions) -> Task:
    return geobench_task(
        name,
        statistics=options.statistics,
        as_shipped=options.as_shipped,
        unit=options.unit,
        level=options.level,
        substitutes=options.substitutes,
        fill=options.fill,
    )


def _options(plain: Mapping[str, Any]) -> TaskOptions:
    """Of plain data, with paths and tuples in their types.

    Raises:
        InputError: a field is unknown.
    """
    known = {f.name for f in fields(TaskOptions)}
    unknown = sorted(set(plain) - known)
    if unknown:
        raise InputError(f"unknown option {', '.join(unknown)}", hint=f"options: {', '.join(sorted(known))}")
    typed = dict(plain)
    for key in ("split_file", "data", "root"):
        if typed.get(key) is not None:
            typed[key] = Path(typed[key])
    for key in ("bands", "fill"):
        if typed.get(key) is not None:
            typed[key] = tuple(typed[key])
    return TaskOptions(**typed)


def _check_applies(name: str, options: TaskOptions, accepted: Sequence[str]) -> None:
    stray = [option for option in options.given if option not in accepted]
    if stray:
        flags = ", ".join(f"--{option.replace('_', '-')}".replace("substitutes", "substitute") for option in stray)
        raise InputError(f"{flags} does not apply to this kind of task", where=name, hint="leave it out")


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
            f"is a {modality.kind}, with values of each pixel; a probe needs one label a tile",
            where=f"modality {label!r} of {reader.path}",
            hint=f"labels of whole tiles: {_label_names(reader)}",
        )
    split = reader.coordinates.split
    assert split is not None
    if not (split >= 0).any():
        raise InputError("has no split", where=reader.path, hint=split_hint(reader.path))
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

"""GEO-Bench v1 as it lies on disk: one HDF5 file a sample, partitions in JSON, metadata in a pickled attribute.

::

    m-brick-kiln/examples_0_12.hdf5             one dataset a band, "02 - Blue" or "02 - Blue_2019-11-05"
    m-brick-kiln/default_partition.json         {"train": [names], "valid": [names], "test": [names]}
    m-brick-kiln/0.01x_train_partition.json     ... and smaller training sets
    m-brick-kiln/band_stats.json                not needed: inputs are standardised by what they hold
    m-brick-kiln/task_specs.pkl                 names of the classes; may be missing

The pickles are read as data (``evaluate.inert_pickle``). A label is a number, an array of 0 and 1, or a map in a
dataset "label". Bands are named by wavelength where the file gives one, and by the number that their name begins with.

Shapes: n samples, B of them at a time, C bands, H W pixels, K classes.
"""

import ast
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.errors import BandError, ClassError, CorruptError, GridError, InputError, MissingLibraryError
from geopretext.evaluate.geobench_facts import (
    COLOURS,
    FACTS,
    SENTINEL2_PREFIXES,
    TOLERANCE,
    UNKNOWN,
    WAVELENGTHS,
    Facts,
)
from geopretext.evaluate.inert_pickle import LARGEST, Record, read_pickle
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.predict.image_door import StatisticsChoice

Array = npt.NDArray[Any]

FOLDER_VARIABLE = "GEO_BENCH_DIR"
"""Environment variable that GEO-Bench itself uses for the folder of its sets."""

_SPECS = "task_specs.pkl"
_LABEL = "label"
_PARTITION = "_partition.json"
_GEOBENCH_SPLITS = ("train", "valid", "test")
_READERS = 4


@dataclass(frozen=True)
class SampleDescription:
    """The metadata of one sample."""

    bands: Mapping[str, str]
    """name of the dataset in the file by band, in stored order"""
    other: tuple[str, ...]
    """datasets that are no optical band"""
    label: Any
    """a number or an array; None if it is a map"""
    label_map: Record | None
    """what the file says of its label map"""


def read_description(path: Path, facts: Facts = UNKNOWN, *, as_shipped: bool = False) -> SampleDescription:
    """What a sample says of itself.

    Args:
        path: the HDF5 file.
        facts: of the set that it belongs to.
        as_shipped: take the published names of bands, even where they are known to be wrong.

    Raises:
        InputError: there is no such file.
        CorruptError: it is no HDF5 file, or its metadata are missing or hold anything but plain data.
        BandError: a band comes several times, as in a series of dates.
    """
    with _open(path) as file:
        text = file.attrs.get("pickle")
        names = list(file)
    if not isinstance(text, str) or len(text) > 4 * LARGEST or text[:2] not in ("b'", 'b"'):
        raise CorruptError("has no metadata of GEO-Bench (attribute 'pickle')", where=str(path))
    try:
        content = ast.literal_eval(text)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise CorruptError(f"its metadata are no bytes: {error}", where=str(path)) from error
    plain = read_pickle(content, where=str(path))
    if not isinstance(plain, dict):
        raise CorruptError("its metadata are no dictionary", where=str(path))
    bands: dict[str, str] = {}
    other = []
    order = [name for name in plain.get("bands_order", ()) if name in names]
    for name in order or names:
        entry = plain.get(name)
        info = entry.get("band_info") if isinstance(entry, dict) else None
        if name.startswith(_LABEL):
            continue
        band = _band(name, info, facts, as_shipped=as_shipped)
        if band is None:
            other.append(name)
        elif band in bands:
            raise BandError(
                f"has band {band} twice: {bands[band]!r} and {name!r}",
                where=str(path),
                hint="a series of dates is no input of one image",
            )
        else:
            bands[band] = name
    described = plain.get(_LABEL)
    has_map = _LABEL in names
    info = described.get("band_info") if has_map and isinstance(described, dict) else None
    return SampleDescription(
        bands, tuple(other), None if has_map else described, info if isinstance(info, Record) else None
    )


def _band(name: str, info: Any, facts: Facts, *, as_shipped: bool) -> str | None:
    """Our name of a band; None if it is no optical one."""
    kind = info.kind if isinstance(info, Record) else ""
    prefix = name.split(" - ")[0].strip()
    if kind not in ("Sentinel2", "SpectralBand", "Landsat8"):
        return None
    if kind == "Landsat8":
        return f"L8_B{prefix.lstrip('0')}"
    if prefix in facts.renamed and not as_shipped:
        return facts.renamed[prefix]
    if kind == "SpectralBand":
        return COLOURS.get(name.split("_")[0], name)
    wavelength = info.get("wavelength") if isinstance(info, Record) else None
    if isinstance(wavelength, int | float):
        near = [band for band, centre in WAVELENGTHS.items() if abs(centre - wavelength) <= TOLERANCE]
        if near:
            return near[0]
    return SENTINEL2_PREFIXES.get(prefix, name)


@dataclass(frozen=True)
class GeoBenchImages:
    """The optical bands of the samples of a set."""

    paths: tuple[Path, ...]
    datasets: Mapping[str, str]
    """name in the files of the first sample, by band"""
    unit: str
    dtype: str
    height: int
    """pixels of the largest band"""
    width: int

    @property
    def where(self) -> str:
        """Folder of the set."""
        return str(self.paths[0].parent)

    @property
    def bands(self) -> tuple[str, ...]:
        """Names in stored order."""
        return tuple(self.datasets)

    def __len__(self) -> int:
        return len(self.paths)

    @classmethod
    def open(cls, paths: Sequence[Path], description: SampleDescription, unit: str) -> "GeoBenchImages":
        """Look at the first sample.

        Raises:
            BandError: it has no optical band.
        """
        if not description.bands:
            raise BandError("has no optical band", where=str(paths[0]))
        with _open(paths[0]) as file:
            shapes = [file[name].shape[:2] for name in description.bands.values()]
            dtype = str(file[next(iter(description.bands.values()))].dtype)
        height, width = max(shapes)
        return cls(tuple(paths), dict(description.bands), unit, dtype, height, width)

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Numbers as they stand in the files, float32 (B, C, H, W); all that are finite count as observed.

        Raises:
            BandError: a sample lacks a band.
            GridError: a band does not fit the size of the others by a whole factor.
            CorruptError: a file cannot be read.
        """
        with ThreadPoolExecutor(_READERS) as pool:
            values = np.stack(list(pool.map(lambda sample: self._read_one(self.paths[sample], bands), samples)))
        return values, np.isfinite(values)

    def fingerprint(self, samples: Array) -> str:
        """Sign of the content of some samples, in their order: all bytes of their files, and which is which band."""
        files = files_fingerprint([self.paths[sample] for sample in samples])
        return joined_fingerprint([files, self.unit, *self.datasets, *self.datasets.values()])

    def _read_one(self, path: Path, bands: Sequence[str]) -> Array:
        rows = []
        with _open(path) as file:
            for band in bands:
                # dates differ between samples: "02 - Blue_2019-11-05"
                stem = self.datasets[band].split("_")[0]
                names = [name for name in file if name.split("_")[0] == stem]
                if len(names) != 1:
                    raise BandError(
                        f"has {len(names)} datasets for band {band} ({stem!r}), wanted one", where=str(path)
                    )
                rows.append(_on_grid(np.asarray(file[names[0]]), self.height, self.width, f"{path}: {names[0]}"))
        return np.stack(rows).astype(np.float32)


def _on_grid(values: Array, height: int, width: int, where: str) -> Array:
    """A band at the size of the largest, by repeating pixels."""
    values = np.squeeze(values)
    if values.ndim != 2 or height % values.shape[0] or width % values.shape[1]:
        raise GridError(f"has shape {values.shape}, which does not fit {height} x {width} pixels", where=where)
    return values.repeat(height // values.shape[0], 0).repeat(width // values.shape[1], 1)


@dataclass(frozen=True)
class GeoBenchMaps:
    """Label maps of the samples of a set."""

    paths: tuple[Path, ...]
    classes: int
    """codes are 0 to ``classes`` - 1 in the files"""
    ignored: int | None
    """code that means "not labelled"; the classes after it count one less"""
    height: int
    width: int

    def read(self, samples: npt.NDArray[np.int64]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Class indices (B, H, W) and which pixels are labelled.

        Raises:
            ClassError: a code is no class.
            GridError: a map has another size than the images.
            CorruptError: a file cannot be read.
        """
        codes = np.stack([self._read_one(self.paths[sample]) for sample in samples])
        valid = codes != self.ignored if self.ignored is not None else np.ones(codes.shape, np.bool_)
        index = codes - (codes > self.ignored) if self.ignored is not None else codes
        return np.where(valid, index, 0), valid

    def _read_one(self, path: Path) -> Array:
        with _open(path) as file:
            if _LABEL not in file:
                raise CorruptError("has no label map", where=str(path))
            codes = np.squeeze(np.asarray(file[_LABEL])).astype(np.int64)
        if codes.shape != (self.height, self.width):
            raise GridError(f"label map is {codes.shape}, the image {self.height} x {self.width}", where=str(path))
        if codes.min() < 0 or codes.max() >= self.classes:
            stray = codes[(codes < 0) | (codes >= self.classes)][0]
            raise ClassError(f"label {stray} is none of the {self.classes} classes", where=str(path))
        return codes


def geobench_task(
    name: str,
    *,
    statistics: StatisticsChoice = "auto",
    as_shipped: bool = False,
    unit: str | None = None,
    level: str | None = None,
    substitutes: Mapping[str, str] | None = None,
    fill: Sequence[str] = (),
) -> Task:
    """A task of GEO-Bench v1.

    Args:
        name: ``PATH/m-brick-kiln`` or ``m-brick-kiln`` in the folder that ``GEO_BENCH_DIR`` names; then perhaps
            ``:PARTITION`` (``0.01x_train`` ... ``1.00x_train``), by default ``default``.
        statistics: which means and deviations standardise the inputs.
        as_shipped: take names of bands and classes as published, even where they are known to be wrong.
        unit: of the optical bands, where it is not the known one.
        level: processing level, likewise.
        substitutes: for bands that the set lacks; by default what MMEarth takes.
        fill: bands that may be missing everywhere.

    Raises:
        InputError: there is no such set or partition, or it cannot make a task.
        CorruptError: a file is damaged, or its metadata hold anything but plain data.
    """
    path, _, partition = name.rpartition(":") if ":" in name else (name, "", "")
    folder = _find_folder(path)
    partition = partition or "default"
    facts = FACTS.get(folder.name, UNKNOWN)
    listed = _read_partition(folder, partition)
    names = [sample for split in listed.values() for sample in split]
    paths = [folder / f"{sample}.hdf5" for sample in names]
    first = read_description(paths[0], facts, as_shipped=as_shipped)
    images = GeoBenchImages.open(paths, first, unit or facts.unit)
    specs = _read_specs(folder)
    bounds = np.cumsum([0, *(len(listed[split]) for split in _GEOBENCH_SPLITS)])
    positions = [np.arange(start, end) for start, end in pairwise(bounds)]
    if len(set(names)) < len(names):
        raise InputError("a sample is in two splits", where=str(folder / f"{partition}{_PARTITION}"))
    ignored = None if as_shipped else facts.ignored
    kind, classes, labels, maps = _labels(paths, first, facts, specs, ignored, images)
    notes: dict[str, Any] = {"source": f"GEO-Bench v1 {folder.name}, partition {partition}"}
    if facts.renamed:
        notes["band_names"] = "as published, known to be wrong" if as_shipped else f"corrected: {facts.reason}"
    if first.other:
        notes["not_optical"] = list(first.other)
    return Task(
        name=folder.name if partition == "default" else f"{folder.name}:{partition}",
        kind=kind,
        classes=classes,
        inputs=ImageInputs(
            images, statistics, level or facts.level, dict(substitutes or facts.substitutes), tuple(fill), notes
        ),
        samples=np.arange(len(names)),
        labels=labels,
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out={},
        maps=maps,
    )


def _labels(
    paths: Sequence[Path],
    first: SampleDescription,
    facts: Facts,
    specs: Record | None,
    ignored: str | None,
    images: GeoBenchImages,
) -> tuple[TaskKind, tuple[str, ...], Array, GeoBenchMaps | None]:
    """Kind, names of the classes, labels of samples, or label maps."""
    described = specs.get("label_type") if specs is not None else None
    described = described if isinstance(described, Record) else first.label_map
    names = _class_names(described) or facts.classes
    if first.label is None:
        count = described.get("n_classes") if described is not None else None
        if not isinstance(count, int) or count < 2:
            raise InputError("does not say how many classes its label maps have", where=str(paths[0].parent))
        names = names or tuple(f"class {code}" for code in range(count))
        # Its classes have names only in the converters, where the code of "not labelled" is 0.
        code = names.index(ignored) if ignored and ignored in names else (0 if ignored else None)
        kept = tuple(label for number, label in enumerate(names) if number != code)
        maps = GeoBenchMaps(tuple(paths), count, code, images.height, images.width)
        return TaskKind.SEGMENTATION, kept, np.zeros((len(paths), 0)), maps
    labels = [read_description(path, facts).label for path in paths]
    if isinstance(first.label, int):
        codes = np.array([_whole(label, path) for label, path in zip(labels, paths, strict=True)], np.int64)
        names = names or tuple(f"class {code}" for code in range(int(codes.max()) + 1))
        if codes.min() < 0 or codes.max() >= len(names):
            raise ClassError(f"label {codes.max()} is none of the {len(names)} classes", where=str(paths[0].parent))
        return TaskKind.SINGLE_LABEL, names, codes, None
    sizes = {np.size(label) for label in labels}
    table = np.stack([np.ravel(label) for label in labels]) if len(sizes) == 1 else np.zeros((0, 0))
    if not table.size or not np.isin(table, (0, 1)).all():
        raise ClassError("labels are neither numbers of classes nor rows of 0 and 1", where=str(paths[0].parent))
    names = names or tuple(f"label {number}" for number in range(table.shape[1]))
    return TaskKind.MULTI_LABEL, names, table.astype(np.int64), None


def _whole(label: Any, path: Path) -> int:
    if not isinstance(label, int) or isinstance(label, bool):
        raise ClassError(f"label {label!r} is no number of a class", where=str(path))
    return label


def _class_names(described: Record | None) -> tuple[str, ...]:
    if described is None:
        return ()
    for field in ("_class_names", "class_names", "class_name"):
        names = described.get(field)
        if isinstance(names, list | tuple) and all(isinstance(name, str) for name in names):
            return tuple(names)
    return ()


def _find_folder(name: str) -> Path:
    """A path as it is, or a name in the benchmark's own folder, which has one folder a benchmark."""
    if Path(name).is_dir():
        return Path(name).resolve()
    root = os.environ.get(FOLDER_VARIABLE)
    candidates = [] if root is None else [Path(root) / name, *sorted(Path(root).glob(f"*/{name}"))]
    for candidate in candidates:
        if candidate.is_dir():
            return candidate
    raise InputError(
        "no such folder of GEO-Bench" + (f" under {root}" if root else ""),
        where=name,
        hint=f"geobench:PATH/m-eurosat, or geobench:m-eurosat with {FOLDER_VARIABLE} set to the benchmark's folder",
    )


def _read_partition(folder: Path, partition: str) -> dict[str, list[str]]:
    path = folder / f"{partition}{_PARTITION}"
    there = sorted(found.name.removesuffix(_PARTITION) for found in folder.glob(f"*{_PARTITION}"))
    if not path.is_file() or Path(partition).name != partition:
        raise InputError(
            f"has no partition {partition!r}",
            where=str(folder),
            hint=f"it has {', '.join(there) or 'none: is it a folder of GEO-Bench?'}",
        )
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        listed = {split: [str(name) for name in content[split]] for split in _GEOBENCH_SPLITS}
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"is no partition of train, valid and test: {error!r}", where=str(path)) from error
    bad = [name for names in listed.values() for name in names if Path(name).name != name]
    if bad or not any(listed.values()):
        raise InputError(f"names no sample: {bad[0]!r}" if bad else "names no samples", where=str(path))
    return listed


def _read_specs(folder: Path) -> Record | None:
    path = folder / _SPECS
    if not path.is_file():
        return None
    if path.stat().st_size > LARGEST:
        raise CorruptError(f"is larger than {LARGEST} bytes", where=str(path))
    specs = read_pickle(path.read_bytes(), where=str(path))
    return specs if isinstance(specs, Record) else None


def _open(path: Path) -> Any:
    try:
        import h5py
    except ImportError as error:
        raise MissingLibraryError("h5py", extra="benchmarks", purpose="read GEO-Bench") from error
    if not path.is_file():
        raise InputError("no such sample", where=str(path), hint="the partition names it: fetch the set again")
    try:
        return h5py.File(path, "r")
    except OSError as error:
        raise CorruptError(f"is no HDF5 file: {error}", where=str(path)) from error

"""A folder of images by class, and its split.

::

    FOLDER/CLASS/IMAGE                 split at random, or by a JSON file
    FOLDER/{train,val,test}/CLASS/IMAGE

Images are jpg, png or tif. The random split is stratified: of each class 60 % train, 20 % val, 20 % test, the same for
the same names and seed on every machine. A split that has no ``val`` gives a fifth of its training images to it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.predict.images import SUFFIXES

Split = npt.NDArray[np.int8]
"""position in ``SPLITS`` of each image, -1 for none"""

SPLIT_FILE = "split.json"
"""Read from the folder itself if no other file is named."""

_TRAIN, _VAL, _TEST = range(3)
_VAL_SHARE = _TEST_SHARE = 0.2
_SUBFOLDERS = {"train": _TRAIN, "val": _VAL, "validation": _VAL, "valid": _VAL, "test": _TEST}


@dataclass(frozen=True)
class Listing:
    """Image files with class and split; n files."""

    paths: tuple[Path, ...]
    classes: tuple[str, ...]
    """names of the subfolders, sorted"""
    labels: npt.NDArray[np.int64]
    """(n,) position in ``classes``"""
    split: Split
    """(n,)"""
    left_out: Mapping[str, int]
    """counts of images in no split, and of names in the split file that are not there"""


def read_folder(folder: Path, *, split_file: Path | None = None, seed: int = 0) -> Listing:
    """List the images of a folder with their class and split.

    Args:
        folder: see the head of this file.
        split_file: JSON with lists of image names under "train", "test" and perhaps "val", with or without the class
            folder and the ending; by default ``split.json`` in the folder, if it is there.
        seed: of the random split.

    Raises:
        InputError: there are fewer than two classes, a class has too few images, or the split does not fit.
    """
    subfolders = {path.name.lower(): path for path in _folders_in(folder)}
    if {"train", "test"} <= subfolders.keys() <= _SUBFOLDERS.keys():
        return _split_by_subfolders(folder, subfolders, seed)
    paths, names = _by_class(folder)
    classes, labels = _classes(folder, names)
    if split_file is None and (folder / SPLIT_FILE).is_file():
        split_file = folder / SPLIT_FILE
    if split_file is None:
        split = stratified_split(labels, classes, seed=seed, where=str(folder))
        return Listing(paths, classes, labels, split, {})
    split, left_out = split_by_file(split_file, paths, labels, seed)
    _check_training(split, labels, classes, str(split_file))
    return Listing(paths, classes, labels, split, left_out)


def split_by_file(
    path: Path, images: Sequence[Path], labels: npt.NDArray[np.int64], seed: int
) -> tuple[Split, dict[str, int]]:
    """The split that a JSON file lists, and how many images and names are left out.

    Args:
        path: the file, see ``read_folder``.
        images: files that it names.
        labels: (n,) of the images, by which validation images are drawn if the file lists none.
        seed: of that draw.

    Raises:
        InputError: it is no split, or does not fit the images.
    """
    split, left_out = _split_from_file(path, images)
    return _with_validation(split, labels, seed), left_out


def stratified_split(labels: npt.NDArray[np.int64], classes: Sequence[str], *, seed: int, where: str) -> Split:
    """60 % train, 20 % val, 20 % test of each class, at least one of each.

    Raises:
        InputError: a class has fewer than three images.
    """
    split = np.full(len(labels), _TRAIN, np.int8)
    for number, name in enumerate(classes):
        members = np.flatnonzero(labels == number)
        if len(members) < len(SPLITS):
            raise InputError(
                f"class {name!r} has {len(members)} images, too few for train, val and test",
                where=where,
                hint="give each class at least 3 images, or leave the class out",
            )
        order = np.random.default_rng([seed, number]).permutation(members)
        val, test = (max(1, round(share * len(members))) for share in (_VAL_SHARE, _TEST_SHARE))
        split[order[:val]] = _VAL
        split[order[val : val + test]] = _TEST
    return split


def _folders_in(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _by_class(folder: Path) -> tuple[tuple[Path, ...], list[str]]:
    """Images of each class subfolder, sorted by name, and the name of each one's class."""
    paths: list[Path] = []
    names: list[str] = []
    for subfolder in _folders_in(folder):
        images = sorted(path for path in subfolder.iterdir() if path.suffix.lower() in SUFFIXES)
        if not images:
            raise InputError(
                f"class {subfolder.name!r} has no image",
                where=str(folder),
                hint=f"{', '.join(SUFFIXES)} are read; remove the subfolder if it is no class",
            )
        paths += images
        names += [subfolder.name] * len(images)
    return tuple(paths), names


def _classes(folder: Path, names: Sequence[str]) -> tuple[tuple[str, ...], npt.NDArray[np.int64]]:
    classes, labels = np.unique(np.array(names, np.str_), return_inverse=True)
    if len(classes) < 2:
        found = f"one class ({classes[0]})" if len(classes) else "no class"
        raise InputError(
            f"has {found}: there is nothing to tell apart",
            where=str(folder),
            hint="one subfolder of images a class, at least two",
        )
    return tuple(str(name) for name in classes), labels.astype(np.int64)


def _split_by_subfolders(folder: Path, subfolders: Mapping[str, Path], seed: int) -> Listing:
    paths: list[Path] = []
    names: list[str] = []
    numbers: list[int] = []
    for name, subfolder in subfolders.items():
        found, of_class = _by_class(subfolder)
        paths += found
        names += of_class
        numbers += [_SUBFOLDERS[name]] * len(found)
    classes, labels = _classes(folder, names)
    split = _with_validation(np.array(numbers, np.int8), labels, seed)
    _check_training(split, labels, classes, str(folder))
    return Listing(tuple(paths), classes, labels, split, {})


def _split_from_file(path: Path, images: Sequence[Path]) -> tuple[Split, dict[str, int]]:
    listed = _read_split_file(path)
    known = _positions_by_name(images)
    split = np.full(len(images), -1, np.int8)
    absent = 0
    for number, name in enumerate(SPLITS):
        for entry in listed.get(name, ()):
            positions = known.get(_key(Path(entry)), ())
            if len(positions) > 1:
                raise InputError(f"name {entry!r} is in several classes", where=str(path), hint="list it as CLASS/NAME")
            for position in positions:
                if split[position] not in (-1, number):
                    raise InputError(f"image {entry!r} is in two splits", where=str(path))
                split[position] = number
            absent += not positions
    for number in (_TRAIN, _TEST):
        if not (split == number).any():
            raise InputError(
                f"none of the {len(images)} images is listed under {SPLITS[number]!r}",
                where=str(path),
                hint=f"names as {images[0].parent.name}/{images[0].name}, or {images[0].name}",
            )
    return split, {"in_no_split": int((split < 0).sum()), "listed_but_absent": absent}


def _read_split_file(path: Path) -> dict[str, list[str]]:
    try:
        content: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path)) from error
    except ValueError as error:
        raise InputError(f"is not JSON: {error}", where=str(path)) from error
    sound = isinstance(content, dict) and all(
        isinstance(names, list) and all(isinstance(name, str) for name in names) for names in content.values()
    )
    if not sound or not {"train", "test"} <= content.keys() <= set(SPLITS):
        raise InputError(
            "is no split",
            where=str(path),
            hint='{"train": [names], "val": [names], "test": [names]}; "val" may be left out',
        )
    split: dict[str, list[str]] = content
    return split


def _key(path: Path) -> str:
    """Published splits often name another file type than the one at hand, so the ending does not count."""
    return "/".join((*path.parts[-2:-1], path.stem))


def _positions_by_name(images: Sequence[Path]) -> dict[str, list[int]]:
    """Positions of the images by ``CLASS/NAME`` and by ``NAME``, without the ending."""
    known: dict[str, list[int]] = {}
    for position, path in enumerate(images):
        known.setdefault(f"{path.parent.name}/{path.stem}", []).append(position)
        known.setdefault(path.stem, []).append(position)
    return known


def _with_validation(split: Split, labels: npt.NDArray[np.int64], seed: int) -> Split:
    """The same split; if it has no validation images, with a fifth of each class's training images."""
    if (split == _VAL).any():
        return split
    split = split.copy()
    for number in np.unique(labels):
        members = np.flatnonzero((labels == number) & (split == _TRAIN))
        order = np.random.default_rng([seed, number]).permutation(members)
        split[order[: round(_VAL_SHARE * len(members))]] = _VAL
    return split


def _check_training(split: Split, labels: npt.NDArray[np.int64], classes: Sequence[str], where: str) -> None:
    for number, name in enumerate(classes):
        if not ((labels == number) & (split == _TRAIN)).any():
            raise InputError(
                f"class {name!r} has no training image",
                where=where,
                hint="give each class at least 2 training images, or leave the class out",
            )

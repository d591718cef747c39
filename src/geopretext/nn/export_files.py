"""Where exports are put: whole or not at all, and never over something that is not an export."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from geopretext.errors import InputError
from geopretext.nn.bundle_files import CARD, CONFIG, WEIGHTS


@contextmanager
def new_folder(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to fill, which becomes ``out`` as a whole at the end, or disappears if anything goes wrong.

    Raises:
        InputError: ``out`` exists and is not to be overwritten, or holds files that no export writes.
    """
    if out.exists() and not out.is_dir():
        raise InputError("is a file; this export is a folder", where=str(out), hint="choose another --out")
    strangers = sorted({path.name for path in out.iterdir()} - {CARD, CONFIG, WEIGHTS}) if out.is_dir() else []
    if strangers:
        raise InputError(f"holds {strangers[0]}, which no export writes", where=str(out), hint="choose another --out")
    if out.is_dir() and any(out.iterdir()):
        _refuse_unless(overwrite, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".partial", dir=out.parent))
    try:
        folder = partial / "new"
        folder.mkdir()
        yield folder
        for path in folder.iterdir():
            _flush(path)
        _swap(folder, out, partial / "old")
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def new_file(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A path to write, which becomes ``out`` at the end, or disappears if anything goes wrong.

    Raises:
        InputError: ``out`` exists and is not to be overwritten, or is a folder.
    """
    if out.is_dir():
        raise InputError("is a folder; this export is a file", where=str(out), hint="choose another --out")
    if out.exists():
        _refuse_unless(overwrite, out)
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", suffix=".partial", dir=out.parent) as partial:
        path = Path(partial) / out.name
        yield path
        _flush(path)
        path.replace(out)


def _swap(new: Path, out: Path, old: Path) -> None:
    """No system replaces a folder that has files in it: for an instant there is none, and if it lasts, the old one."""
    try:
        if out.exists():
            out.replace(old)
        new.replace(out)
    finally:
        if old.exists() and not out.exists():
            old.replace(out)


def _refuse_unless(overwrite: bool, out: Path) -> None:
    if not overwrite:
        raise InputError("exists already", where=str(out), hint="choose another --out, or give --overwrite")


def _flush(path: Path) -> None:
    with path.open("rb") as file:
        os.fsync(file.fileno())

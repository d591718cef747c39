"""Finished strips of a map as files, so that a run that was killed goes on where it stopped.

A folder beside the output holds ``run.json``, which says of what the strips are, and ``strip-NUMBER.npz`` for each
strip; whatever has that name is whole. Strips of another scene, bundle or settings are never mixed with these.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal
from zipfile import BadZipFile

import numpy as np

from geopretext.data.local_file import PARTIAL, replace_file
from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.predict.scene_maps import Strip

try:
    import fcntl
except ImportError:  # not on Windows: there, nothing keeps two processes off one output
    fcntl = None  # type: ignore[assignment]

_RUN, _LOCK = "run.json", "lock"


@dataclass(frozen=True)
class StripFiles:
    """The strips of one run in a folder; made by ``claimed``."""

    folder: Path
    dtype: Literal["float32", "float16"] = "float32"
    """in which results are kept; shares of what was observed are float32"""

    def path(self, number: int) -> Path:
        """Of a strip."""
        return self.folder / f"strip-{number:05}.npz"

    def has(self, number: int) -> bool:
        """Whether a strip is finished."""
        return self.path(number).exists()

    def save(self, strip: Strip) -> None:
        """Keep a strip; the file is whole, or not there.

        Raises:
            StoreError: it cannot be written.
        """
        path = self.path(strip.number)
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{path.name}.", suffix=PARTIAL)
        temporary = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, start=strip.start, values=strip.values.astype(self.dtype), seen=strip.seen)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except OSError as error:
            raise StoreError(
                f"cannot be written: {error.strerror}",
                where=str(path),
                hint="free some space; the same command goes on from the strips that are finished",
            ) from error
        finally:
            temporary.unlink(missing_ok=True)

    def load(self, number: int) -> Strip:
        """A finished strip.

        Raises:
            CorruptError: it is damaged.
        """
        path = self.path(number)
        try:
            with np.load(path, allow_pickle=False) as content:
                values = content["values"].astype(np.float32, copy=False)
                return Strip(number, int(content["start"]), values, content["seen"])
        except (BadZipFile, EOFError, KeyError, ValueError) as error:
            raise CorruptError(
                f"is damaged: {error}", where=str(path), hint="delete it; the same command computes it again"
            ) from error

    def discard(self) -> None:
        """Delete all of them."""
        shutil.rmtree(self.folder, ignore_errors=True)


@contextmanager
def claimed(
    folder: Path, identity: Mapping[str, str], dtype: Literal["float32", "float16"] = "float32"
) -> Iterator[StripFiles]:
    """The strips of a run, which no other process may compute meanwhile; a folder without any is deleted at the end.

    Args:
        folder: where they are, or will be.
        identity: signs of all that the strips depend on, by what they are of.
        dtype: in which results are kept.

    Raises:
        InputError: the folder holds something else, or strips of another run; or another process is at work there.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError("is there already, and is a file", where=str(folder), hint="move it away")
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        _lock(lock, folder)
        _check_identity(folder, dict(identity))
        for leftover in folder.glob(f".*{PARTIAL}"):
            leftover.unlink()
        files = StripFiles(folder, dtype)
        try:
            yield files
        finally:
            if not any(folder.glob("strip-*.npz")):
                files.discard()


def _lock(lock: IO[str], folder: Path) -> None:
    if fcntl is None:
        return
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise InputError(
            "another process computes the same output", where=str(folder), hint="wait for it, or stop it"
        ) from error
    except OSError:  # some network disks know no locks
        return


def _check_identity(folder: Path, identity: dict[str, str]) -> None:
    path = folder / _RUN
    if not path.exists():
        if any(each.name != _LOCK for each in folder.iterdir()):
            raise InputError("is there already, and holds something else", where=str(folder), hint="move it away")
        replace_file(path, json.dumps(identity, indent=2).encode())
        return
    try:
        found = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise CorruptError(f"is not JSON: {error}", where=str(path), hint="delete the folder") from error
    changed = [name for name in identity if found.get(name) != identity[name]]
    if changed:
        raise InputError(
            f"holds the beginnings of another run: since then changed {' and '.join(changed)}",
            where=str(folder),
            hint="delete it to begin anew, or write to another output",
        )

"""Local files that are either whole or not there."""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import time
from typing import BinaryIO

PARTIAL = ".partial"
"""Ending of files, hidden as well, that are not whole yet."""
_LEFT_SECONDS = 86_400.0  # without a write, after which such a file counts as left by a process that is gone


def replace_file(path: Path, content: bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old content or the new, and nothing between."""
    with whole_file(path) as file:
        file.write(content)


@contextmanager
def whole_file(path: Path) -> Iterator[BinaryIO]:
    """A file to be written bit by bit, which takes the place of ``path`` once all is written without an error."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.chmod(0o644)  # mkstemp's own mode lets nobody else read
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes left half-written in a folder a day ago or longer."""
    for leftover in folder.glob(f".*{PARTIAL}"):
        try:
            if time() - leftover.stat().st_mtime > _LEFT_SECONDS:
                leftover.unlink()
        except FileNotFoundError:
            continue

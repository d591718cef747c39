"""Writers that die at a chosen moment, and a look at what they leave."""

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from geopretext.data.files import Files
from geopretext.data.store_lock import LOCK, StoreLock


def digests(path: Path) -> dict[str, str]:
    """Checksum of every file of a store, by name."""
    files = sorted(file for file in path.rglob("*") if file.is_file())
    return {str(file.relative_to(path)): sha256(file.read_bytes()).hexdigest() for file in files}


class Killed(BaseException):
    """Stands for SIGKILL: nothing catches it, and nothing is cleaned up after it."""


@contextmanager
def killed_after(
    keys: int, monkeypatch: pytest.MonkeyPatch, *, seed: int, deletes: bool = False
) -> Iterator[list[int]]:
    """Let the process "die" once so many keys are written (or deleted); such as go together go in any order."""
    left = [keys]
    plain_write, plain_delete, plain_release = Files.write, Files.delete, StoreLock.release
    is_dead = False

    def live() -> None:
        nonlocal is_dead
        is_dead = is_dead or left[0] == 0
        if is_dead:
            raise Killed
        left[0] -= 1

    def release(self: StoreLock) -> None:
        if not is_dead:
            plain_release(self)

    def write_some(self: Files, items: Mapping[str, bytes]) -> None:
        names = list(items)
        random.Random(seed).shuffle(names)
        for name in names:
            live()
            plain_write(self, {name: items[name]})

    def delete_some(self: Files, keys: Iterable[str]) -> None:
        names = sorted(keys)
        random.Random(seed).shuffle(names)
        for name in names:
            live()
            plain_delete(self, [name])

    with monkeypatch.context() as patch:
        patch.setattr(Files, "write", write_some)
        if deletes:
            patch.setattr(Files, "delete", delete_some)
        patch.setattr(StoreLock, "release", release)
        yield left


def make_lock_stale(path: Path) -> None:
    """As if the process that holds the lock had died."""
    lock = path / LOCK
    if lock.exists():
        lock.write_text(json.dumps({**json.loads(lock.read_text()), "token": "of a process that is gone"}))

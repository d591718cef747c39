"""Features on disk, computed once: plain ``.npy`` files, named by what they depend on and by what they hold.

::

    features/KEY-CHECKSUM.npy      float32 (n, D)

``KEY`` is a hash of everything that the features follow from, ``CHECKSUM`` one of the numbers themselves. The name is
given by the rename that commits the file, so that two processes that compute the same do not disturb each other, and a
file that is damaged later does not fit its name: it is deleted and computed again.

Features are appended a block at a time and mapped into memory when they are read: memory does not grow with n.
"""

import hashlib
import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.local_file import PARTIAL, remove_leftovers
from geopretext.errors import InputError
from geopretext.evaluate.inputs import Samples

Features = npt.NDArray[np.float32]
Compute = Callable[[Samples], npt.NDArray[Any]]
"""features (B, D) of some samples"""

BLOCK = 2048
"""Samples whose features are in memory at a time."""
_READ = 1 << 20  # bytes at a time


class FeatureCache:
    """Features in a folder, which several suites, processes and machines may share.

    Args:
        folder: is made if need be.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._sound: set[tuple[str, int, int]] = set()
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)

    def find(self, key: str) -> Features | None:
        """Features (n, D), mapped into memory; None if there are none. Damaged files are deleted, not trusted."""
        for path in sorted(self.folder.glob(f"{key}-*.npy")):
            try:
                seen = _seen(path)
                if seen not in self._sound and _checksum(path) != path.stem.rpartition("-")[2]:
                    path.unlink(missing_ok=True)
                    continue
                self._sound.add(seen)
                return _map(path)
            except FileNotFoundError:  # another process found it damaged
                continue
        return None

    def get(
        self, key: str, samples: Samples, compute: Compute, progress: Callable[[int, int], None] | None = None
    ) -> Features:
        """Features (n, D) of some samples, mapped into memory; computed if they are not there.

        Args:
            key: what they depend on, see ``evaluate.suite_work``.
            samples: n of them, in order.
            compute: gives features of a block of samples.
            progress: told how many samples are done.

        Raises:
            InputError: there are no samples, or ``compute`` gives something else than one row a sample.
        """
        found = self.find(key)
        if found is not None:
            return found
        handle, name = tempfile.mkstemp(dir=self.folder, prefix=f".{key}.", suffix=PARTIAL)
        partial = Path(name)
        try:
            with os.fdopen(handle, "wb") as file:
                for number, block in enumerate(_blocks(samples, compute, progress)):
                    if number == 0:
                        header = {"descr": "<f4", "fortran_order": False, "shape": (len(samples), block.shape[1])}
                        np.lib.format.write_array_header_1_0(file, header)
                    file.write(block.tobytes())
                file.flush()
                os.fsync(file.fileno())
            partial.chmod(0o644)  # mkstemp's own mode lets nobody else read
            path = self.folder / f"{key}-{_checksum(partial)}.npy"
            partial.replace(path)
        finally:
            partial.unlink(missing_ok=True)
        self._sound.add(_seen(path))
        return _map(path)


def _blocks(samples: Samples, compute: Compute, progress: Callable[[int, int], None] | None) -> Iterator[Features]:
    """Features of block after block, all of one width."""
    if not len(samples):
        raise InputError("there are no samples to compute features of")
    width = None
    for start in range(0, len(samples), BLOCK):
        some = samples[start : start + BLOCK]
        block = np.ascontiguousarray(compute(some), "<f4")
        width = block.shape[-1] if width is None else width
        if block.shape != (len(some), width):
            raise InputError(f"features of {len(some)} samples have shape {block.shape}, not {(len(some), width)}")
        yield block
        if progress is not None:
            progress(start + len(some), len(samples))


def _map(path: Path) -> Features:
    features: Features = np.load(path, mmap_mode="r", allow_pickle=False)
    return features


def _seen(path: Path) -> tuple[str, int, int]:
    stat = path.stat()
    return path.name, stat.st_size, stat.st_mtime_ns


def _checksum(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_READ):
            digest.update(block)
    return digest.hexdigest()[:20]

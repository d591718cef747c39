"""Signs of content: equal as long as what would be read is equal, and had without reading all of it.

What is computed from images is kept under such a sign (``evaluate.feature_cache``).
"""

import hashlib
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError

_READERS = 4


@runtime_checkable
class Fingerprinted(Protocol):
    """A source of samples that knows a sign of their content; of others, the numbers themselves are hashed."""

    def fingerprint(self, samples: npt.NDArray[np.int64]) -> str:
        """Differs if the numbers of these samples, or their order, do.

        Raises:
            InputError, StoreError: a file is not there.
        """


def files_fingerprint(paths: Sequence[Path]) -> str:
    """SHA-256 over the bytes of files, in their order; their names and dates do not matter.

    Raises:
        InputError: there is no such file.
    """
    with ThreadPoolExecutor(_READERS) as pool:
        return joined_fingerprint(pool.map(_digest, paths))


def joined_fingerprint(parts: Iterable[str]) -> str:
    """One sign for several, in their order."""
    joined = hashlib.sha256()
    for part in parts:
        joined.update(f"{len(part)}:{part}".encode())
    return joined.hexdigest()


def _digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path)) from error

"""A remote file as GDAL sees it: bytes are fetched ahead in few requests, kept while they are needed, and read once."""

import os
from collections.abc import Iterable, Sequence
from typing import Any

from geopretext.build.fetch import public
from geopretext.build.transfer import Transfer
from geopretext.errors import MissingLibraryError, Reason, SourceError

try:
    from rasterio.abc import MultiByteRangeResourceContainer
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_PAGE = 4096
"""bytes: what is kept is kept in whole pages"""
_HEAD = 8
"""pages fetched at once where nothing is known yet: the directories of a COG are at its start"""
_GAP = 16
"""pages: needed pages that are no farther apart are fetched by one request; a request costs about as much time"""
_LONGEST = 1024
"""pages of one request: longer runs are fetched in several, at the same time"""


class SpoiltError(SourceError):
    """Bytes came, but not those of one whole file: it must be read again from its start."""


class RemoteFile:
    """Bytes of one version of a remote file.

    The first answer says which version it is; if a later one differs, reading fails instead of mixing both.
    Not safe for threads, but for one at a time.

    Args:
        transfer: fetches.
        href: URL.
    """

    def __init__(self, transfer: Transfer, href: str) -> None:
        self._transfer = transfer
        self._href = href
        self._pages: dict[int, bytes] = {}
        self._version: tuple[int, str] | None = None
        self.failure: SourceError | None = None
        """why bytes could not be given to GDAL, which itself only knows that there were none"""

    @property
    def size(self) -> int:
        """Of the whole file, bytes.

        Raises:
            SourceError: it cannot be asked.
        """
        if self._version is None:
            self._get([(0, _HEAD)])
        assert self._version is not None
        return self._version[0]

    def prefetch(self, ranges: Iterable[tuple[int, int]]) -> None:
        """Fetch ranges of bytes (stop exclusive), near ones together.

        Raises:
            SourceError: they cannot be had.
        """
        last = (self.size + _PAGE - 1) // _PAGE
        pages: set[int] = set()
        for start, stop in ranges:
            pages.update(range(start // _PAGE, min(last, (stop + _PAGE - 1) // _PAGE)))
        runs: list[tuple[int, int]] = []
        for page in sorted(pages - self._pages.keys()):
            if runs and page - runs[-1][1] <= _GAP and page - runs[-1][0] < _LONGEST:
                runs[-1] = (runs[-1][0], page + 1)
            else:
                runs.append((page, page + 1))
        if runs:
            self._get(runs)

    def read(self, start: int, stop: int) -> bytes:
        """Bytes ``start`` to ``stop`` (exclusive), fewer where the file ends.

        Raises:
            SourceError: they cannot be had.
        """
        stop = min(stop, self.size)
        if start >= stop:
            return b""
        first, last = start // _PAGE, (stop - 1) // _PAGE
        if any(page not in self._pages for page in range(first, last + 1)):
            self.prefetch([(start, max(stop, (first + _HEAD) * _PAGE))])
        data = b"".join(self._pages[page] for page in range(first, last + 1))
        return data[start - first * _PAGE : stop - first * _PAGE]

    def forget(self) -> None:
        """Drop all bytes but those of the head."""
        self._pages = {page: data for page, data in self._pages.items() if page < _HEAD}

    def _get(self, runs: Sequence[tuple[int, int]]) -> None:
        parts = self._transfer.fetch_all(self._href, [(first * _PAGE, stop * _PAGE) for first, stop in runs])
        for (first, _), part in zip(runs, parts, strict=True):
            version = (part.size, part.tag)
            if self._version is None:
                self._version = version
            if version != self._version:
                raise SpoiltError("the file changed while it was read", reason=Reason.CORRUPT, where=public(self._href))
            for number, start in enumerate(range(0, len(part.data), _PAGE)):
                self._pages[first + number] = part.data[start : start + _PAGE]


class _Handle:
    """A position in a remote file, as GDAL opens it.

    An exception must not reach GDAL's C code: what fails is kept in ``RemoteFile.failure``.
    """

    def __init__(self, file: RemoteFile) -> None:
        self._file = file
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._bytes(self._position, size)
        self._position += len(data)
        return data

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        origin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._file.size}[whence]
        self._position = origin + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def get_byte_ranges(self, offsets: Sequence[int], sizes: Sequence[int]) -> list[bytes]:
        return [self._block(offset, size) for offset, size in zip(offsets, sizes, strict=True)]

    def close(self) -> None:
        pass

    def __enter__(self) -> "_Handle":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _block(self, start: int, size: int) -> bytes:
        data = self._bytes(start, size)
        if len(data) < size and self._file.failure is None:
            what = f"the file ends at byte {self._file.size}, within or before a block"
            self._file.failure = SpoiltError(what, reason=Reason.CORRUPT)
        # GDAL copies as many bytes as it asked for, whatever comes
        return data.ljust(size, b"\0")

    def _bytes(self, start: int, size: int) -> bytes:
        try:
            return self._file.read(start, start + size)
        except SourceError as error:
            self._file.failure = error
            return b""


class RemoteOpener(MultiByteRangeResourceContainer):  # type: ignore[misc] # rasterio has no types
    """Opens one remote file for ``rasterio.open(..., opener=)``; there is nothing beside it.

    Args:
        file: the file.
        path: by which GDAL knows it.
    """

    def __init__(self, file: RemoteFile, path: str) -> None:
        self._file = file
        self._path = path

    def open(self, path: str, mode: str = "r", **_: Any) -> Any:
        """A handle for reading."""
        if path != self._path or "w" in mode or "+" in mode:
            raise FileNotFoundError(path)
        return _Handle(self._file)

    def isfile(self, path: str) -> bool:
        """True for the file alone."""
        return path == self._path

    def isdir(self, path: str) -> bool:  # noqa: ARG002 # as rasterio asks
        """There are no folders."""
        return False

    def ls(self, path: str) -> list[str]:  # noqa: ARG002 # as rasterio asks
        """There are no folders."""
        return []

    def mtime(self, path: str) -> int:  # noqa: ARG002 # as rasterio asks
        """Not known."""
        return 0

    def size(self, path: str) -> int:
        """Of the file, bytes."""
        if path != self._path:
            raise FileNotFoundError(path)
        return self._file.size

    def rm(self, path: str) -> None:
        """Nothing is ever removed."""
        raise PermissionError(path)

"""Rasters that stay open between reads, each lent to one thread at a time.

GDAL decodes whole blocks and remembers them a dataset; rows of windows share blocks, so that a file which was opened
for each window would be decoded several times.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from geopretext.errors import CorruptError, MissingLibraryError

try:
    import rasterio
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_CACHE = 400
"""MB of decoded blocks that GDAL keeps of all open files of a process, unless the environment says otherwise: two rows
of blocks of a whole Sentinel-2 product"""
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # addresses cannot be listed, and a folder may hold a million files
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
_opening = Lock()


class OpenDatasets:
    """Datasets by path or address. Picklable: what is unpickled has none open yet."""

    def __init__(self) -> None:
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._process = os.getpid()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenDatasets, ()

    @contextmanager
    def lend(self, href: str, drivers: tuple[str, ...] = ()) -> Iterator[Any]:
        """An open dataset for the caller alone, within an environment of GDAL.

        Args:
            href: as GDAL opens it.
            drivers: of GDAL that may open it; all of them if empty.

        Raises:
            CorruptError: it cannot be opened, or read within the ``with`` block.
        """
        with rasterio.Env(**_OPTIONS):
            try:
                dataset = self._take(href) or _open(href, drivers)
                yield dataset
            except RasterioError as error:
                raise CorruptError(
                    f"cannot be decoded: {error.__cause__ or error}",
                    where=href,
                    hint="copy or download it again",
                ) from error
            with self._lock:
                self._idle[href].append(dataset)

    def _take(self, href: str) -> Any:
        with self._lock:
            if self._process != os.getpid():  # a forked child must not touch what its parent has open
                self._idle, self._process = defaultdict(list), os.getpid()
            idle = self._idle[href]
            return idle.pop() if idle else None


def _open(href: str, drivers: tuple[str, ...]) -> Any:
    # As an option of an environment, GDAL_CACHEMAX would end with the first of them that is left.
    os.environ.setdefault("GDAL_CACHEMAX", str(_CACHE))
    # Filters of warnings are of the whole process.
    with _opening, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        return rasterio.open(href, driver=list(drivers) or None)

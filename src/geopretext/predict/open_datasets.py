"""Rasters that stay open between reads, each lent to one thread at a time.

GDAL decodes whole blocks and remembers them a dataset; rows of windows share blocks, so that a file which was opened
for each window would be decoded several times.
"""

import os
import warnings
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Lock
from typing import Any

from geopretext.errors import CorruptError, InputError, MissingLibraryError, Reason, SourceError
from geopretext.predict.open_scene import is_url

try:
    import rasterio
    from rasterio.env import get_gdal_config, set_gdal_config
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_CACHE = 400 * 2**20
"""bytes of decoded blocks that GDAL keeps of all open files of a process, unless the environment says otherwise: two
rows of blocks of a whole Sentinel-2 product"""
_OPTIONS = {
    "GDAL_HTTP_MAX_RETRY": "4",
    "GDAL_HTTP_RETRY_DELAY": "1",
    "GDAL_HTTP_TIMEOUT": "60",
    "GDAL_HTTP_CONNECTTIMEOUT": "20",
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
_OF_ADDRESSES = {**_OPTIONS, "GDAL_DISABLE_READDIR_ON_OPEN": "EMPTY_DIR"}
"""files beside the one that is opened are not looked for: that would be a dozen requests each time"""
_alone = Lock()
"""held for what concerns the whole process: the start of GDAL, filters of warnings"""


class OpenDatasets:
    """Datasets by path or address. Picklable: what is unpickled has none open yet."""

    def __init__(self) -> None:
        _limit_cache()
        # The first environment of a process makes rasterio's file systems known to GDAL, which is not safe in threads.
        with _alone, rasterio.Env(**_OPTIONS):
            pass
        self._idle: dict[str, list[Any]] = defaultdict(list)
        self._process = os.getpid()
        self._lock = Lock()

    def __reduce__(self) -> tuple[Any, ...]:
        return OpenDatasets, ()

    @contextmanager
    def lend(self, href: str, *, plain: bool = False, named_by: str = "") -> Iterator[Any]:
        """An open dataset for the caller alone, within an environment of GDAL.

        Args:
            href: as GDAL opens it.
            plain: it is a GeoTIFF or JPEG 2000 by its name; others, as VRT, could make GDAL read files of their choice.
            named_by: who says that it is there, for messages.

        Raises:
            InputError: it is not there, or no raster.
            CorruptError: it cannot be opened, or read within the ``with`` block.
            SourceError: so it is, at an address.
        """
        with rasterio.Env(**(_OF_ADDRESSES if is_url(href) else _OPTIONS)):
            dataset = self._take(href) or _open(href, plain, named_by)
            try:
                yield dataset
            except RasterioError as error:
                if is_url(href):
                    raise _unreachable(href, error) from error
                raise _corrupt(href, error) from error
            with self._lock:
                self._idle[href].append(dataset)

    def _take(self, href: str) -> Any:
        with self._lock:
            if self._process != os.getpid():  # a forked child must not touch what its parent has open
                self._idle, self._process = defaultdict(list), os.getpid()
            idle = self._idle[href]
            return idle.pop() if idle else None


def _limit_cache() -> None:
    """Let GDAL keep no more than ``_CACHE``; the user's environment, which other programs inherit, stays as it is.

    As an option of a rasterio environment the limit would end with the first thread that leaves one.
    """
    if "GDAL_CACHEMAX" not in os.environ and get_gdal_config("GDAL_CACHEMAX") > _CACHE:
        set_gdal_config("GDAL_CACHEMAX", _CACHE)


def _open(href: str, plain: bool, named_by: str) -> Any:
    driver = ("JP2OpenJPEG" if href.partition("?")[0].lower().endswith(".jp2") else "GTiff") if plain else None
    with _alone, warnings.catch_warnings():
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        try:
            return rasterio.open(href, driver=driver)
        except RasterioError as error:
            if is_url(href):
                raise _unreachable(href, error) from error
            if not (href.startswith("/vsi") or Path(href).exists()):
                raise no_such_file(href, named_by) from error
            if "not recognized" in str(error):
                raise InputError(
                    "is no raster that GDAL reads",
                    where=href,
                    hint="if it should be one, its beginning is damaged: copy or download it again",
                ) from error
            raise _corrupt(href, error) from error


def no_such_file(where: str, named_by: str) -> InputError:
    """The refusal of what names a file that is not there."""
    by = f", named by {named_by}" if named_by else ""
    return InputError(f"there is no such file{by}", where=where, hint="copy or download all of it")


def _corrupt(href: str, error: RasterioError) -> CorruptError:
    return CorruptError(f"cannot be decoded: {error.__cause__ or error}", where=href, hint="copy or download it again")


def _unreachable(href: str, error: RasterioError) -> SourceError:
    said = f"{error.__cause__ or error}"
    reason = Reason.NO_FILE if "404" in said or "does not exist" in said else Reason.SERVER
    reason = Reason.FORBIDDEN if "403" in said or "401" in said else reason
    return SourceError(
        f"cannot be read: {said}",
        reason=reason,
        where=href.partition("?")[0],
        hint="look at it in a browser; archives may want signed addresses, which expire",
    )

"""One opened raster, local or remote: where it lies, and windows of its bands, with every failure named.

A local path goes to GDAL as it is. A remote file is read by GDAL through ``remote_file``, so that the network is ours:
its faults are seen and met by ``transfer``, nothing about a file that failed is remembered, and the blocks of all
windows are fetched ahead, together.
"""

import errno
import itertools
import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from contextvars import Context
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from geopretext.build.alignment import Georeference, Rectangle, Transform, epsg_of, is_geographic
from geopretext.build.block_memory import BlockMemory
from geopretext.build.fetch import REMOTE, public, scheme_of
from geopretext.build.remote_file import RemoteFile, RemoteOpener, SpoiltError
from geopretext.build.source import Asset
from geopretext.build.transfer import Transfer
from geopretext.errors import MissingLibraryError, Reason, SourceError, StoreError

try:
    import rasterio
    from rasterio.enums import Interleaving, MaskFlags
    from rasterio.env import hasenv
    from rasterio.errors import NotGeoreferencedWarning, RasterioError
    from rasterio.windows import Window as PixelWindow
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_DECODING_TRIES = 3
"""times that bytes which cannot be decoded are fetched, before the file counts as corrupt"""
_HELD = 16 * 2**20
"""bytes of a file's blocks that are fetched ahead and held at a time"""
_REMOTE_DRIVERS = {
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), "GTiff"),
    b"\0\0\0\x0cjP  ": "JP2OpenJPEG",
}
"""drivers of remote files by their first bytes; others, as VRT, could make GDAL read more than the file"""
_OPTIONS = {
    "GDAL_DISABLE_READDIR_ON_OPEN": "TRUE",  # a folder of a million tiles is not listed for each of them
    "GDAL_NUM_THREADS": "1",  # files are read beside each other already
    "GTIFF_IGNORE_READ_ERRORS": "NO",
}
_DOWN = (Reason.SERVER, Reason.THROTTLED, Reason.TIMEOUT, Reason.FORBIDDEN, Reason.NO_FILE)
"""reasons after which nothing more is asked for the same file: all attempts have been made"""
_WHOLE = -1
"""in place of the number of an overview: the file's own pixels"""
_EASTERNMOST, _NORTHERNMOST = 541.0, 91.0
"""degrees: a raster of 360 degrees may start anywhere, and a pixel may reach beyond the pole"""
_CACHE = 256
"""MB of decoded blocks that GDAL keeps of all open files of a process, unless the environment says otherwise"""
_DECODED = BlockMemory(_CACHE * 2**20 // 2)
_FETCHED_AHEAD = ("GTiff", "COG")
"""drivers that tell where blocks are, so that all are there before they are decoded"""
_numbers = itertools.count()
COMPUTING = Lock()
"""held by the thread that decodes or warps: a worker has one core, and threads that contend for it lose time"""

T = TypeVar("T")


@dataclass(frozen=True)
class Excerpt:
    """A rectangle of one band: numbers as they stand in the file, and which of them were observed."""

    numbers: npt.NDArray[Any]
    observed: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Piece:
    """What is wanted of a file: a rectangle of its pixels."""

    asset: Asset
    part: Rectangle
    overview: int = _WHOLE
    """number of the overview whose pixels these are"""


class _UndecodableError(SourceError):
    """Bytes came, but they are no raster: perhaps they were spoilt on the way."""


class RasterFile:
    """An opened raster. Not safe for threads, but for one at a time.

    Args:
        href: path or URL.
        transfer: for remote files.

    Raises:
        SourceError: the file is not there (``NO_FILE``), cannot be fetched, is no raster (``CORRUPT``), or does not
            say where it lies (``NO_GEOREFERENCE``).
        StoreError: this process may open no more files.
    """

    def __init__(self, href: str, transfer: Transfer) -> None:
        self.name = public(href)
        self._href = href
        self._transfer = transfer
        self._remote: RemoteFile | None = None
        self._datasets: dict[int, Any] = {}
        self._place: Georeference | None = None
        self._stamp: tuple[int, ...] | None = None
        self._number = _DECODED.new_file()
        # rasterio keeps what it opened through Python in a variable of the context, which differs between threads;
        # a dataset that is closed in another context than its own crashes the process
        self._context = Context()
        try:
            self._patiently(lambda: self._dataset(_WHOLE))
        except BaseException:
            self.close()
            raise

    @property
    def georeference(self) -> Georeference:
        """Where it lies."""
        assert self._place is not None
        return self._place

    @property
    def has_changed(self) -> bool:
        """Whether a local file is another one since it was opened; of a remote one its bytes will tell."""
        return not self._is_remote and self._stamp != _stamp_of(self._href)

    def close(self) -> None:
        """Close the file; it is opened again when it is read."""
        for dataset in self._datasets.values():
            self._context.run(dataset.close)
        self._datasets, self._remote = {}, None
        self._number = _DECODED.new_file()

    def read(self, pieces: Sequence[Piece]) -> Iterator[Excerpt | SourceError]:
        """Each piece, in order, or why it cannot be read. Pieces that lie together should follow each other."""
        batches = self._attempt(lambda: self._batches(pieces))
        if isinstance(batches, SourceError):
            yield from [batches] * len(pieces)
            return
        lost: SourceError | None = None
        for batch, ranges in batches:
            if ranges and lost is None:
                lost = self._attempt(partial(self._prefetch, ranges))
            for piece in batch:
                if lost is not None:
                    yield lost
                    continue
                excerpt = self._attempt(partial(self._read, piece))
                if isinstance(excerpt, SourceError) and excerpt.reason in _DOWN:
                    lost = excerpt
                yield excerpt
            if self._remote is not None:
                self._remote.forget()

    def _attempt(self, work: Callable[[], T]) -> T | SourceError:
        try:
            return self._patiently(work)
        except SourceError as error:
            return error

    def _batches(self, pieces: Sequence[Piece]) -> list[tuple[list[Piece], set[tuple[int, int]]]]:
        """Pieces in groups whose new blocks are not too many bytes to hold, and where those blocks are in the file."""
        batches: list[tuple[list[Piece], set[tuple[int, int]]]] = []
        held = _HELD
        for piece in pieces:
            ranges = set(self._new_blocks(piece)) if self._is_remote else set()
            if held >= _HELD:
                batches.append(([], set()))
                held = 0
            batches[-1][0].append(piece)
            batches[-1][1].update(ranges)
            held += sum(stop - start for start, stop in ranges)
        return batches

    def _new_blocks(self, piece: Piece) -> Iterator[tuple[int, int]]:
        """Where the blocks of a piece are in a remote GeoTIFF, without those that GDAL has; none of other formats."""
        dataset, band = self._dataset(piece.overview), piece.asset.band
        if dataset.driver not in _FETCHED_AHEAD or band not in dataset.indexes:
            return
        height, width = dataset.block_shapes[band - 1]
        bands = dataset.count if dataset.interleaving is Interleaving.pixel else 1
        size = height * width * bands * np.dtype(dataset.dtypes[band - 1]).itemsize
        for start, stop in self._decode(lambda: list(_block_ranges(dataset, band, piece.part))):
            if not _DECODED.use(self._number, start, size):
                yield start, stop

    def overviews(self, band: int) -> list[int]:
        """By how much each overview is coarser, finest first."""

        def factors() -> list[int]:
            dataset = self._dataset(_WHOLE)
            return self._decode(lambda: [int(factor) for factor in dataset.overviews(band)])

        return self._patiently(factors)

    def at_overview(self, number: int) -> Georeference:
        """Where the pixels of an overview lie."""
        dataset = self._patiently(lambda: self._dataset(number))
        return Georeference(self.georeference.crs, Transform(*dataset.transform[:6]), dataset.width, dataset.height)

    def _patiently(self, work: Callable[[], T]) -> T:
        """Do something with the file; what cannot be decoded is fetched again from the start."""
        for attempt in range(_DECODING_TRIES):
            try:
                with nullcontext() if hasenv() else gdal_environment():
                    return self._context.run(work)
            except _UndecodableError as error:
                self.close()
                if not self._is_remote or attempt == _DECODING_TRIES - 1:
                    raise SourceError(error.what, reason=Reason.CORRUPT, where=self.name, hint=error.hint) from error
            time.sleep(self._transfer.pause(attempt))
        raise AssertionError("the loop returns or raises")

    @property
    def _is_remote(self) -> bool:
        return scheme_of(self._href) in REMOTE

    def _dataset(self, overview: int) -> Any:
        if overview not in self._datasets:
            dataset = self._datasets[overview] = self._open(overview)
            if overview == _WHOLE:
                place = _locate(dataset, self.name)
                if self._place not in (None, place):
                    raise SourceError("the file changed while it was read", reason=Reason.CORRUPT, where=self.name)
                self._place = place
        return self._datasets[overview]

    def _open(self, overview: int) -> Any:
        options = {} if overview == _WHOLE else {"overview_level": overview}
        if not self._is_remote:
            if not self._href.startswith("/vsi") and not os.path.isfile(self._href):  # noqa: PTH113 # as given
                raise SourceError("there is no such file", reason=Reason.NO_FILE, where=self.name)
            self._stamp = _stamp_of(self._href)
            return self._decode(lambda: rasterio.open(self._href, **options))
        if self._remote is None:
            self._remote = RemoteFile(self._transfer, self._href)
        head = self._remote.read(0, 8)
        driver = next((name for start, name in _REMOTE_DRIVERS.items() if head.startswith(start)), None)
        if driver is None:
            raise _UndecodableError("is neither TIFF nor JPEG 2000", reason=Reason.CORRUPT, where=self.name)
        path = f"remote://{next(_numbers)}/{self.name.rsplit('/', 1)[-1]}"
        opener = RemoteOpener(self._remote, path)
        return self._decode(lambda: rasterio.open(path, opener=opener, driver=driver, **options))

    def _decode(self, work: Callable[[], T]) -> T:
        """Let GDAL work, and say what went wrong below it rather than what it made of that."""
        result, refusal = None, None
        try:
            result = work()
        except NotGeoreferencedWarning as warning:  # where warnings are errors
            raise _unlocated("has no georeference", self.name) from warning
        except RasterioError as error:
            _refuse_exhaustion(error)
            refusal = error
        lost = self._remote.failure if self._remote is not None else None
        if self._remote is not None and lost is not None:
            self._remote.failure = None
            if isinstance(result, rasterio.DatasetReader):
                result.close()
            kind = _UndecodableError if isinstance(lost, SpoiltError) else SourceError
            raise kind(lost.what, reason=lost.reason, where=self.name, hint=lost.hint) from refusal
        if refusal is not None:
            what = f"cannot be decoded: {refusal}"
            raise _UndecodableError(what, reason=Reason.CORRUPT, where=self.name) from refusal
        return cast("T", result)

    def _prefetch(self, ranges: set[tuple[int, int]]) -> None:
        self._dataset(_WHOLE)  # after a failure it is opened anew
        assert self._remote is not None
        try:
            self._remote.prefetch(ranges)
        except SpoiltError as error:
            raise _UndecodableError(error.what, reason=error.reason, where=self.name) from error

    def _read(self, piece: Piece) -> Excerpt:
        dataset, asset, part = self._dataset(piece.overview), piece.asset, piece.part
        if asset.band not in dataset.indexes:
            raise SourceError(
                f"has no band {asset.band}, only {dataset.count}", reason=Reason.NO_ASSET, where=self.name
            )
        window = PixelWindow(part.left, part.top, part.right - part.left, part.bottom - part.top)
        # other remote formats fetch while they decode: nobody should wait for that
        with COMPUTING if dataset.driver in _FETCHED_AHEAD or not self._is_remote else nullcontext():
            numbers = self._decode(lambda: dataset.read(asset.band, window=window))
        observed = np.isfinite(numbers)
        for number in {dataset.nodatavals[asset.band - 1], *asset.nodata} - {None}:
            observed &= numbers != number
        flags = dataset.mask_flag_enums[asset.band - 1]
        if MaskFlags.per_dataset in flags or MaskFlags.alpha in flags:
            observed &= self._decode(lambda: dataset.read_masks(asset.band, window=window)) != 0
        return Excerpt(numbers, observed)


def _stamp_of(path: str) -> tuple[int, ...] | None:
    """What differs if a local file is another one; None if that cannot be said."""
    try:
        found = os.stat(path)  # noqa: PTH116 # as given
    except OSError:
        return None
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _refuse_exhaustion(error: BaseException) -> None:
    """GDAL tells only in words that the system let it open no more files; that is no fault of the file.

    Raises:
        StoreError: always the same, so that a build stops instead of recording healthy places as failed.
    """
    if any(os.strerror(number) in str(error) for number in (errno.EMFILE, errno.ENFILE)):
        raise StoreError(
            "this process may open no more files",
            hint="raise the limit (ulimit -n 4096), or lower concurrency of the archive",
        ) from error


def _locate(dataset: Any, name: str) -> Georeference:
    if dataset.crs is None or dataset.transform.is_identity:
        hint = "ground control points alone do not tell where pixels are" if dataset.gcps[0] else ""
        raise _unlocated("has no georeference", name, hint)
    place = Georeference(dataset.crs.to_wkt(), Transform(*dataset.transform[:6]), dataset.width, dataset.height)
    left, bottom, right, top = place.bounds
    if is_geographic(place.crs) and not (max(-left, right) <= _EASTERNMOST and max(-bottom, top) <= _NORTHERNMOST):
        raise _unlocated(f"x {left:g} to {right:g} and y {bottom:g} to {top:g} are no degrees", name)
    return place


def _block_ranges(dataset: Any, band: int, part: Rectangle) -> Iterator[tuple[int, int]]:
    """Where the blocks that a rectangle touches are in a GeoTIFF."""
    height, width = dataset.block_shapes[band - 1]
    for row in range(part.top // height, (part.bottom - 1) // height + 1):
        for column in range(part.left // width, (part.right - 1) // width + 1):
            offset, size = (
                dataset.get_tag_item(f"BLOCK_{what}_{column}_{row}", "TIFF", bidx=band) for what in ("OFFSET", "SIZE")
            )
            if offset and size:
                yield int(offset), int(offset) + int(size)


def _unlocated(what: str, where: str, hint: str = "") -> SourceError:
    return SourceError(what, reason=Reason.NO_GEOREFERENCE, where=where, hint=hint)


_starting = Lock()


def gdal_environment() -> Any:
    """A context in which a thread works with GDAL: entered once for much work, as starting it takes long."""
    return rasterio.Env(**_OPTIONS)


def start_gdal() -> None:
    """Let GDAL start in one thread.

    The first environment of a process installs rasterio's file systems into a list of GDAL's that has no lock, so that
    threads which start at the same time could crash each other. As an option of an environment, GDAL_CACHEMAX would end
    with the first of them that is left.
    """
    os.environ.setdefault("GDAL_CACHEMAX", str(_CACHE))
    with _starting, gdal_environment():
        pass


def check_crs(where: Georeference, wanted: int, name: str) -> None:
    """Refuse a raster that lies in another projection than its item says.

    Raises:
        SourceError: names both.
    """
    if epsg_of(where.crs) != wanted:
        found = epsg_of(where.crs)
        raise _unlocated(
            f"is in {f'EPSG:{found}' if found else 'a projection without a code'}, its item says EPSG:{wanted}", name
        )

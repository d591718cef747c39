"""Windows of many rasters onto the grids of many tiles.

All windows of a call are read together: files are read beside each other, and the blocks that the windows of a file
need are fetched once, by few requests. Files stay open for a while, unless many do: windows may come back to one that
fills what others left, and the next call asks for places beside those of this one.
"""

import os
import weakref
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from functools import lru_cache
from threading import Lock
from time import monotonic
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.alignment import Canvas, Georeference, Rectangle, control_points, merge, shifts
from geopretext.build.fetch import REMOTE, scheme_of
from geopretext.build.grid import Grid
from geopretext.build.raster_file import COMPUTING, Excerpt, Piece, RasterFile, check_crs, gdal_environment, start_gdal
from geopretext.build.source import Asset, Resampling
from geopretext.build.transfer import Transfer, TransferSettings, shared_transfer
from geopretext.errors import Reason, SourceError

_IDLE_LOCAL, _IDLE_REMOTE = 32, 512
"""files that stay open although nothing is read from them just now; a process may have 256 on disk on some systems, and
a remote one takes some 100 kB"""
_IDLE_SECONDS = 600.0
"""for which they do: a file of an archive may change, and an address expire"""
_COARSER = 4.0
"""a grid whose pixels are this many times larger than a raster's is read from an overview, if there is one"""


@dataclass(frozen=True)
class WindowJob:
    """One band of one tile."""

    assets: tuple[Asset, ...]
    """the first one on top; later ones fill what is missing"""
    grid: Grid
    resampling: Resampling
    """how numbers come onto the grid, where its pixels are not the raster's own"""
    absent_is_missing: bool = False
    """a file that is not there has no pixels (a tile of the ocean), instead of failing the window"""
    crs: int | None = None
    """EPSG code that the files must have, if it is known"""


@dataclass(frozen=True)
class Window:
    """What was read."""

    values: npt.NDArray[Any]
    """(H, W), scale and offset applied: of the file's own type if there is nothing to apply and nothing was blended,
    else float64"""
    valid: npt.NDArray[np.bool_]
    """(H, W): False where nothing was observed, and beyond the files"""


@dataclass
class _State:
    """What is known of a job."""

    number: int
    job: WindowJob
    canvases: list[Canvas] = field(default_factory=list)
    next_asset: int = 0

    @property
    def is_done(self) -> bool:
        return self.next_asset == len(self.job.assets) or any(canvas.is_full for canvas in self.canvases)


@dataclass(frozen=True)
class _Want:
    """A piece of a file, and the canvas that it is for."""

    state: _State
    canvas: Canvas
    piece: Piece
    target: Rectangle
    """pixels of the canvas' lattice"""


_Results = list[tuple[_State, Window | SourceError | None]]
"""of some jobs; None: another asset is to be read"""


class _OpenFiles:
    """Files that are open; of those that nobody reads just now only the latest.

    Args:
        transfer: for remote ones.
        most: that stay open although nobody reads them.
    """

    def __init__(self, transfer: Transfer, most: int) -> None:
        self._transfer = transfer
        self._most = most
        self._idle: OrderedDict[str, tuple[RasterFile, float]] = OrderedDict()
        self._lock = Lock()

    def take(self, href: str) -> RasterFile:
        """A file, for the caller alone until it is given back.

        Raises:
            SourceError: see ``RasterFile``.
        """
        with self._lock:
            file, since = self._idle.pop(href, (None, 0.0))
        if file is not None and (file.has_changed or monotonic() - since > _IDLE_SECONDS):
            file.close()
            file = None
        return file or RasterFile(href, self._transfer)

    def give_back(self, href: str, file: RasterFile) -> None:
        """Keep a file for a while."""
        with self._lock:
            surplus = [self._idle.pop(href)] if href in self._idle else []  # two have read it at the same time
            self._idle[href] = file, monotonic()
            if len(self._idle) > self._most:
                surplus.append(self._idle.popitem(last=False)[1])
        for other, _ in surplus:
            other.close()

    def close(self) -> None:
        """Close all that were given back."""
        with self._lock:
            idle, self._idle = self._idle, OrderedDict()
        for file, _ in idle.values():
            file.close()


class RasterReader:
    """Reads windows. One a process and settings: see ``shared_reader``.

    Args:
        settings: of remote files; ``concurrency`` is also the number of files read at the same time.
    """

    def __init__(self, settings: TransferSettings) -> None:
        start_gdal()
        transfer = shared_transfer(settings)
        self._local, self._remote = _OpenFiles(transfer, _IDLE_LOCAL), _OpenFiles(transfer, _IDLE_REMOTE)
        # a dataset that Python clears away when it ends is closed outside its context, which crashes
        weakref.finalize(self, _close_all, self._local, self._remote)
        _readers.add(self)
        # kept, since each new thread would read PROJ's database anew: 5 ms for the first file that it opens
        self._pool = ThreadPoolExecutor(settings.concurrency, thread_name_prefix="rasters")

    def read(self, jobs: Sequence[WindowJob]) -> Iterator[tuple[int, Window | SourceError]]:
        """For each job its number and its window, or why there is none: in any order, each once.

        A window in which nothing was observed is no failure.

        Raises:
            StoreError: this process may open no more files, which is no fault of an archive.
        """
        states = [_State(number, job) for number, job in enumerate(jobs) if job.assets]
        yield from ((number, _finish(_State(number, job))) for number, job in enumerate(jobs) if not job.assets)
        futures: list[Future[_Results]] = []
        try:
            while states:
                waiting: dict[str, list[_State]] = {}
                for state in states:
                    waiting.setdefault(state.job.assets[state.next_asset].href, []).append(state)
                futures = [self._pool.submit(self._advance, href, group) for href, group in waiting.items()]
                states = []
                for future in as_completed(futures):
                    for state, result in future.result():
                        if result is None:
                            states.append(state)
                        else:
                            yield state.number, result
        finally:
            for future in futures:
                future.cancel()
            wait(futures)

    def close_idle_files(self) -> None:
        """Close the files that nobody reads just now."""
        _close_all(self._local, self._remote)

    def _advance(self, href: str, states: Sequence[_State]) -> _Results:
        """Read one file for all windows whose next asset is in it; for each what came of it, None if more is needed."""
        with gdal_environment():
            failures = self._read_file(href, states)
            for state in states:
                state.next_asset += 1
            return [
                (state, failures.get(state.number) or (_finish(state) if state.is_done else None)) for state in states
            ]

    def _read_file(self, href: str, states: Sequence[_State]) -> dict[int, SourceError]:
        """Read what jobs need of a file onto their canvases; why that failed, by number of the job."""
        files = self._remote if scheme_of(href) in REMOTE else self._local
        try:
            file = files.take(href)
        except SourceError as error:
            return {
                state.number: error
                for state in states
                if error.reason is not Reason.NO_FILE or not state.job.absent_is_missing
            }
        failures = None
        try:
            failures = _fill(file, states)
        finally:
            if failures == {}:
                files.give_back(href, file)
            else:
                file.close()  # nothing is remembered of a file that failed
        return failures


def _close_all(*kept: _OpenFiles) -> None:
    for files in kept:
        files.close()


def _fill(file: RasterFile, states: Sequence[_State]) -> dict[int, SourceError]:
    """Read what jobs need of a file onto their canvases; why that failed, by number of the job."""
    failures: dict[int, SourceError] = {}
    wants: list[_Want] = []
    for state in states:
        try:
            wants += list(_wants(file, state))
        except SourceError as error:
            failures[state.number] = error
    wants.sort(key=lambda want: (want.piece.part.top, want.piece.part.left))
    for want, excerpt in zip(wants, file.read([want.piece for want in wants]), strict=True):
        if isinstance(excerpt, SourceError):
            failures.setdefault(want.state.number, excerpt)
        else:
            want.canvas.fill(want.target, *_scaled(excerpt, want.piece.asset))
    return failures


def _wants(file: RasterFile, state: _State) -> Iterator[_Want]:
    """What a job needs of a file, and where that belongs."""
    job, asset = state.job, state.job.assets[state.next_asset]
    where = file.georeference
    if job.crs is not None:
        check_crs(where, job.crs, file.name)
    try:
        points = control_points(job.grid, where.crs)
    except SourceError as error:
        raise SourceError(error.what, reason=error.reason, where=file.name) from error
    overview = -1
    scale = min(points.scale(where.transform))
    if scale >= _COARSER:
        overview, where = _overview(file, asset.band, where, scale)
    for shift in shifts(where, points):
        canvas, offset = _canvas(state, where, shift)
        whole = Rectangle(0, 0, where.width, where.height)
        part = canvas.needed.moved(-offset[0], -offset[1]).within(whole)
        if not part.is_empty:
            yield _Want(state, canvas, Piece(asset, part, overview), part.moved(*offset))


def _canvas(state: _State, where: Georeference, shift: float) -> tuple[Canvas, tuple[int, int]]:
    """The canvas of a job that a raster belongs to, one whose pixels are its own or a new one; and where it lies."""
    for canvas in state.canvases:
        offset = canvas.place(where, shift)
        if offset is not None:
            return canvas, offset
    state.canvases.append(Canvas(state.job.grid, where, shift=shift, resampling=state.job.resampling))
    return state.canvases[-1], (0, 0)


def _overview(file: RasterFile, band: int, where: Georeference, scale: float) -> tuple[int, Georeference]:
    """The coarsest overview that is still at least twice as fine as the grid."""
    best = -1
    factors = file.overviews(band)
    for number, factor in enumerate(factors):
        if factor <= scale / 2:
            best = number
    return (best, file.at_overview(best)) if best >= 0 else (-1, where)


def _scaled(excerpt: Excerpt, asset: Asset) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    if asset.scale == 1.0 and asset.offset == 0.0:
        return excerpt.numbers, excerpt.observed
    return excerpt.numbers * np.float64(asset.scale) + asset.offset, excerpt.observed


def _finish(state: _State) -> Window:
    if not state.canvases:
        shape = (state.job.grid.height, state.job.grid.width)
        return Window(np.zeros(shape), np.zeros(shape, bool))
    with COMPUTING:
        return Window(*merge(canvas.onto_grid() for canvas in state.canvases))


_readers: weakref.WeakSet[RasterReader] = weakref.WeakSet()


def close_idle_files() -> None:
    """Close the files that readers of this process keep open: what is read next is read anew."""
    for reader in list(_readers):
        reader.close_idle_files()


def shared_reader(settings: TransferSettings) -> RasterReader:
    """The one of this process."""
    return _shared(settings, os.getpid())


@lru_cache(maxsize=32)
def _shared(settings: TransferSettings, _process: int) -> RasterReader:
    return RasterReader(settings)

"""Windows of many rasters onto the grids of many tiles.

All windows of a call are read together: files are read beside each other, and the blocks that the windows of a file
need are fetched once, by few requests. A file that windows come back to, because it fills what others left, stays open
meanwhile, unless many do.
"""

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.alignment import Canvas, ControlPoints, Georeference, Rectangle, control_points, merge, shifts
from geopretext.build.grid import Grid
from geopretext.build.raster_file import COMPUTING, Excerpt, Piece, RasterFile, check_crs, gdal_environment, start_gdal
from geopretext.build.source import Asset, Resampling
from geopretext.build.transfer import Transfer, TransferSettings, shared_transfer
from geopretext.errors import Reason, SourceError

_IDLE_FILES = 32
"""files that stay open although nothing is read from them just now; a process may have 256 on some systems"""
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
    """Files of a call; of those that nobody reads just now only the latest stay open."""

    def __init__(self, transfer: Transfer) -> None:
        self._transfer = transfer
        self._idle: OrderedDict[str, RasterFile] = OrderedDict()
        self._lock = Lock()

    def take(self, href: str) -> RasterFile:
        """A file, for the caller alone until it is given back.

        Raises:
            SourceError: see ``RasterFile``.
        """
        with self._lock:
            file = self._idle.pop(href, None)
        return file or RasterFile(href, self._transfer)

    def give_back(self, href: str, file: RasterFile) -> None:
        """Keep a file for a while."""
        with self._lock:
            self._idle[href] = file
            oldest = self._idle.popitem(last=False)[1] if len(self._idle) > _IDLE_FILES else None
        if oldest is not None:
            oldest.close()

    def close(self) -> None:
        """Close all that were given back."""
        while self._idle:
            self._idle.popitem()[1].close()


class RasterReader:
    """Reads windows. One a process and settings: see ``shared_reader``.

    Args:
        settings: of remote files; ``concurrency`` is also the number of files read at the same time.
    """

    def __init__(self, settings: TransferSettings) -> None:
        start_gdal()
        self._settings = settings
        self._transfer = shared_transfer(settings)

    def read(self, jobs: Sequence[WindowJob]) -> Iterator[tuple[int, Window | SourceError]]:
        """For each job its number and its window, or why there is none: in any order, each once.

        A window in which nothing was observed is no failure.

        Raises:
            StoreError: this process may open no more files, which is no fault of an archive.
        """
        states = [_State(number, job) for number, job in enumerate(jobs) if job.assets]
        yield from ((number, _finish(_State(number, job))) for number, job in enumerate(jobs) if not job.assets)
        files = _OpenFiles(self._transfer)
        futures: list[Future[_Results]] = []
        try:
            while states:
                waiting: dict[str, list[_State]] = {}
                for state in states:
                    waiting.setdefault(state.job.assets[state.next_asset].href, []).append(state)
                futures = [self._pool.submit(self._advance, href, files, group) for href, group in waiting.items()]
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
            files.close()

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        """Kept, since each new thread would read PROJ's database anew: 5 ms for the first file that it opens."""
        return ThreadPoolExecutor(self._settings.concurrency, thread_name_prefix="rasters")

    def _advance(self, href: str, files: _OpenFiles, states: Sequence[_State]) -> _Results:
        """Read one file for all windows whose next asset is in it; for each what came of it, None if more is needed."""
        with gdal_environment():
            return self._advance_within(href, files, states)

    def _advance_within(self, href: str, files: _OpenFiles, states: Sequence[_State]) -> _Results:
        try:
            file = files.take(href)
        except SourceError as error:
            failures = {
                state.number: error
                for state in states
                if error.reason is not Reason.NO_FILE or not state.job.absent_is_missing
            }
        else:
            try:
                failures = _fill(file, states)
            finally:
                files.give_back(href, file)
        for state in states:
            state.next_asset += 1
        return [(state, failures.get(state.number) or (_finish(state) if state.is_done else None)) for state in states]


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
        canvas, offset = _canvas(state, where, points, shift)
        whole = Rectangle(0, 0, where.width, where.height)
        part = canvas.needed.moved(-offset[0], -offset[1]).within(whole)
        if not part.is_empty:
            yield _Want(state, canvas, Piece(asset, part, overview), part.moved(*offset))


def _canvas(state: _State, where: Georeference, points: ControlPoints, shift: float) -> tuple[Canvas, tuple[int, int]]:
    """The canvas of a job that a raster belongs to, one whose pixels are its own or a new one; and where it lies."""
    for canvas in state.canvases:
        offset = canvas.place(where, shift)
        if offset is not None:
            return canvas, offset
    state.canvases.append(Canvas(state.job.grid, where, points, shift=shift, resampling=state.job.resampling))
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


def shared_reader(settings: TransferSettings) -> RasterReader:
    """The one of this process."""
    return _shared(settings, os.getpid())


@lru_cache(maxsize=32)
def _shared(settings: TransferSettings, _process: int) -> RasterReader:
    return RasterReader(settings)

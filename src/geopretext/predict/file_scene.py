"""A scene whose bands lie in raster files: one file or many, of one resolution or several.

The finest band gives the grid. Coarser ones are brought onto it window by window, bilinearly, as a build does it
(``data.lattice``); a scene classification is taken from the nearest pixel.

Shapes: C bands, h w pixels of a window.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.data.lattice import Division
from geopretext.errors import MissingLibraryError
from geopretext.predict.open_datasets import OpenDatasets
from geopretext.predict.scene import Array, Georeference, Mask
from geopretext.predict.scene_clouds import CLOUDED

try:
    from rasterio.enums import MaskFlags
    from rasterio.windows import Window
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_SIGNED = 16
"""windows of a file that is not on this machine, whose numbers stand for all of its content in a fingerprint"""
_SIGNED_SIDE = 64


@dataclass(frozen=True)
class BandFile:
    """Where a band is, and what its numbers mean."""

    href: str
    """as GDAL opens it"""
    index: int = 1
    """of the band in the file, from 1"""
    factor: int = 1
    """pixels of the scene along one of its own"""
    scale: float = 1.0
    """number in the scene's unit = scale x number + offset"""
    offset: float = 0.0
    """see ``scale``"""
    missing: tuple[float, ...] = ()
    """numbers of the file that mean no data, besides what it says itself"""


@dataclass(frozen=True)
class FileScene:
    """See ``scene.Scene``."""

    where: str
    files: Mapping[str, BandFile]
    """by band"""
    unit: str
    dtype: str
    height: int
    width: int
    georeference: Georeference
    level: str | None
    time: np.datetime64 | None
    record: Mapping[str, Any]
    clouds: BandFile | None = None
    """scene classification by which pixels are masked"""
    floor: float | None = None
    """what was observed is no less than this, so that no number is taken for "missing"; in the scene's unit"""
    local: tuple[Path, ...] = ()
    """files on this machine that hold all of its content; none if it is elsewhere"""
    plain: bool = False
    """its files are GeoTIFF and JPEG 2000, and nothing else is opened"""
    _datasets: OpenDatasets = field(default_factory=OpenDatasets, repr=False, compare=False)

    @property
    def bands(self) -> tuple[str, ...]:
        """See ``Scene``."""
        return tuple(self.files)

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> tuple[Array, Mask]:
        """See ``Scene``."""
        shape = (len(bands), rows.stop - rows.start, columns.stop - columns.start)
        values, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        wanted = [self.files[name] for name in bands]
        for href, factor in dict.fromkeys((file.href, file.factor) for file in wanted):
            places = [n for n, file in enumerate(wanted) if (file.href, file.factor) == (href, factor)]
            files = [wanted[place] for place in places]
            numbers, observed = self._excerpt(files, rows, columns)
            for place, file, layer, known in zip(places, files, numbers, observed, strict=True):
                if factor > 1:
                    layer, known = _finer(layer, known, factor, rows, columns)
                if (file.scale, file.offset) != (1.0, 0.0):
                    layer = layer * file.scale + file.offset
                values[place], valid[place] = layer, known
        if self.floor is not None:
            np.maximum(values, self.floor, out=values)
        if self.clouds is not None:
            valid &= ~self._clouded(self.clouds, rows, columns)
        values[~valid] = 0
        return values, valid

    def fingerprint(self) -> str:
        """See ``Scene``; content that is not on this machine is known by some windows of it."""
        # names, since the same files may lie elsewhere, and signed addresses change
        files = {name: _named(file) for name, file in self.files.items()}
        settings = [repr(files), repr(self.clouds and _named(self.clouds)), self.unit, str(self.floor)]
        content = [files_fingerprint(self.local)] if self.local else self._samples()
        return joined_fingerprint([*settings, *content])

    def _samples(self) -> list[str]:
        """Numbers of some windows along the diagonal."""
        height, width = min(_SIGNED_SIDE, self.height), min(_SIGNED_SIDE, self.width)
        samples = []
        for part in np.linspace(0, 1, _SIGNED):
            row, column = int(part * (self.height - height)), int(part * (self.width - width))
            values, valid = self.read(slice(row, row + height), slice(column, column + width), self.bands)
            samples += [values.tobytes().hex(), valid.tobytes().hex()]
        return samples

    def _excerpt(self, files: Sequence[BandFile], rows: slice, columns: slice) -> tuple[Array, Mask]:
        """What a window needs of bands of one file: numbers as they stand there, finite, and which were observed."""
        window, padding = _needed(files[0].factor, rows, columns, self.height, self.width)
        indexes = [file.index for file in files]
        with self._datasets.lend(files[0].href, plain=self.plain) as dataset:
            raw = dataset.read(indexes, window=window)
            observed = _observed(dataset, indexes, raw, window)
        for layer, known, file in zip(raw, observed, files, strict=True):
            for number in file.missing:
                known &= layer != number
        numbers = raw.astype(np.float32)
        if raw.dtype.kind == "f":
            finite = np.isfinite(numbers)
            observed &= finite
            numbers[~finite] = 0
        if any(any(sides) for sides in padding):
            numbers = np.pad(numbers, ((0, 0), *padding), mode="edge")
            observed = np.pad(observed, ((0, 0), *padding), mode="edge")
        return numbers, observed

    def _clouded(self, file: BandFile, rows: slice, columns: slice) -> Mask:
        """(h, w)."""
        (classes,), (known,) = self._excerpt([file], rows, columns)
        if file.factor > 1:
            shape = (rows.stop - rows.start, columns.stop - columns.start)
            classes, known = _division(file.factor, rows, columns).nearest(classes, known, shape)
        clouded: Mask = ~known | np.isin(classes, CLOUDED)
        return clouded


def _named(file: BandFile) -> BandFile:
    """With its name in the place of its path or address."""
    return replace(file, href=Path(file.href.partition("?")[0]).name)


def _needed(
    factor: int, rows: slice, columns: slice, height: int, width: int
) -> tuple[Window, tuple[tuple[int, int], tuple[int, int]]]:
    """The pixels of a file that a window depends on, and by how many of them its edges are to be repeated."""
    if factor == 1:
        return Window.from_slices(rows, columns), ((0, 0), (0, 0))
    spans, padding = [], []
    for pixels, size in ((rows, height), (columns, width)):
        first, last = pixels.start // factor - 1, -(-pixels.stop // factor) + 1
        inside = slice(max(first, 0), min(last, -(-size // factor)))
        spans.append(inside)
        padding.append((inside.start - first, last - inside.stop))
    return Window.from_slices(*spans), (padding[0], padding[1])


def _division(factor: int, rows: slice, columns: slice) -> Division:
    """How a window lies on what ``_needed`` gives of a coarser file, with one pixel around it."""
    return Division(factor, columns.start % factor + factor, rows.start % factor + factor)


def _finer(numbers: Array, known: Mask, factor: int, rows: slice, columns: slice) -> tuple[Array, Mask]:
    shape = (rows.stop - rows.start, columns.stop - columns.start)
    return _division(factor, rows, columns).bilinear(numbers, known, shape)


def _observed(dataset: Any, indexes: Sequence[int], raw: Array, window: Window) -> npt.NDArray[np.bool_]:
    """What a file says was observed; no-data numbers are compared here, as GDAL would read all blocks once more."""
    flags, numbers = dataset.mask_flag_enums, dataset.nodatavals  # each looks at all bands of the file
    if all(set(flags[index - 1]) <= {MaskFlags.all_valid, MaskFlags.nodata} for index in indexes):
        observed = np.ones(raw.shape, np.bool_)
        for layer, known, index in zip(raw, observed, indexes, strict=True):
            number = numbers[index - 1]
            if number is not None and np.isfinite(number):
                known &= layer != number
        return observed
    return np.asarray(dataset.read_masks(indexes, window=window) > 0)

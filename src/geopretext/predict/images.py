"""Images behind one interface, and image files (jpg, png, tif): bands by name, one unit, one size, missing as a mask.

How they get into an encoder is ``predict.image_door``.

Shapes: B images, C bands, H W pixels.
"""

import re
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.data.fingerprint import files_fingerprint, joined_fingerprint
from geopretext.errors import BandError, CorruptError, GridError, InputError, MissingLibraryError

Array = npt.NDArray[Any]

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")
GEOTIFF_SUFFIXES = (".tif", ".tiff")
SUFFIXES = (*PICTURE_SUFFIXES, *GEOTIFF_SUFFIXES)
"""File name endings that are read, in lower case."""

RGB_BANDS = ("B4", "B3", "B2")
"""Red, green and blue of a colour picture, as Sentinel-2 calls them."""
DIGITAL_NUMBER = "digital number 0..255"
"""Unit of 8-bit pictures."""
UNSTATED = "unstated"
"""Unit of files that say nothing and for which nothing was declared."""

_READERS = 4


class Images(Protocol):
    """Samples of one size with the same bands in one unit, read at random."""

    @property
    def where(self) -> str:
        """Folder or file, for messages."""

    @property
    def bands(self) -> tuple[str, ...]:
        """Names, in stored order."""

    @property
    def unit(self) -> str:
        """Of all bands."""

    @property
    def dtype(self) -> str:
        """Of the stored numbers."""

    @property
    def height(self) -> int:
        """Pixels."""

    @property
    def width(self) -> int:
        """Pixels."""

    def __len__(self) -> int: ...

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Numbers as stored, float32 (B, C, H, W), and which of them were observed, in the order asked for.

        Raises:
            BandError, GridError: a sample differs from the others.
            CorruptError: one cannot be decoded.
        """


@dataclass(frozen=True)
class _Picture:
    """One file in memory."""

    values: Array
    """(C, H, W) in the file's dtype"""
    valid: npt.NDArray[np.bool_]
    """(C, H, W) or (1, H, W)"""
    bands: tuple[str, ...]
    """names that the file itself gives; empty if it gives none"""
    unit: str


@dataclass(frozen=True)
class ImageFiles:
    """Image files of one size with the same bands; opened by ``ImageFiles.open``, read a block at a time."""

    paths: tuple[Path, ...]
    bands: tuple[str, ...]
    """names in file order"""
    unit: str
    """of all bands"""
    dtype: str
    """of the files"""
    height: int
    """pixels"""
    width: int
    """pixels"""

    @classmethod
    def open(
        cls, paths: Sequence[Path], *, bands: Sequence[str] | None = None, unit: str | None = None
    ) -> "ImageFiles":
        """Look at the first file; the others are held against it when they are read.

        Args:
            paths: the files.
            bands: names in file order. By default those that a GeoTIFF describes (``B04`` counts as ``B4``); a colour
                picture has B4, B3, B2.
            unit: of all bands. By default "digital number 0..255" for 8-bit pictures, otherwise unstated.

        Raises:
            InputError: there are no files, or one is of a type that is not read.
            BandError: a file does not name its bands, or their number differs from ``bands``.
            CorruptError: the first file cannot be decoded.
            MissingLibraryError: pillow or rasterio is not installed.
        """
        if not paths:
            raise InputError("no images", hint=f"files that end in {', '.join(SUFFIXES)} are read")
        with _without_georeference():
            first = _read(paths[0])
        named = tuple(band_name(name) for name in bands) if bands else first.bands
        where = str(paths[0])
        if not named:
            raise BandError(
                f"does not name its {len(first.values)} bands",
                where=where,
                hint="declare them in file order, for example --bands B2,B3,B4,B8",
            )
        if len(named) != len(first.values):
            raise BandError(
                f"has {len(first.values)} bands, but {len(named)} are declared ({', '.join(named)})", where=where
            )
        if len(set(named)) != len(named):
            raise BandError(f"band names repeat: {', '.join(named)}", where=where)
        _, height, width = first.values.shape
        return cls(tuple(paths), named, unit or first.unit, str(first.values.dtype), height, width)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def where(self) -> str:
        """Folder of the first file."""
        return str(self.paths[0].parent)

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, npt.NDArray[np.bool_]]:
        """Numbers as they stand in the files, float32 (B, C, H, W), and which of them were observed.

        Args:
            samples: positions in ``paths``.
            bands: which of ``self.bands``, in the order wanted.

        Raises:
            BandError: a file has another number of bands.
            GridError: a file has another size than the first one.
            CorruptError: a file cannot be decoded.
        """
        rows = [self.bands.index(name) for name in bands]

        def one(path: Path) -> tuple[Array, Array]:
            picture = _read(path)
            self._check(path, picture)
            values = picture.values[rows].astype(np.float32)
            valid = np.broadcast_to(picture.valid, picture.values.shape)[rows] & np.isfinite(values)
            return values, valid

        with _without_georeference(), ThreadPoolExecutor(_READERS) as pool:
            pictures = list(pool.map(one, [self.paths[sample] for sample in samples]))
        return np.stack([values for values, _ in pictures]), np.stack([valid for _, valid in pictures])

    def fingerprint(self, samples: Array) -> str:
        """Sign of the content of some images, in their order: all bytes of their files, unit and bands."""
        files = files_fingerprint([self.paths[sample] for sample in samples])
        return joined_fingerprint([files, self.unit, *self.bands])

    def _check(self, path: Path, picture: _Picture) -> None:
        count, height, width = picture.values.shape
        if count != len(self.bands):
            raise BandError(f"has {count} bands, but {self.paths[0]} has {len(self.bands)}", where=str(path))
        if (height, width) != (self.height, self.width):
            raise GridError(
                f"is {height} x {width} pixels, but {self.paths[0]} is {self.height} x {self.width} (height x width)",
                where=str(path),
                hint="cut or resample the images to one size first",
            )


def read_values(path: Path) -> Array:
    """The numbers of one file, (C, H, W) in its own dtype; colours of a palette stay the codes that they are.

    Raises:
        InputError: there is no such file, or it is of a type that is not read.
        CorruptError: it cannot be decoded.
        MissingLibraryError: pillow or rasterio is not installed.
    """
    with _without_georeference():
        return _read(path, palette=False).values


@contextmanager
def _without_georeference() -> Iterator[None]:
    """Pictures of a benchmark often have no georeference, and need none here.

    Filters of warnings are of the whole process, so this is entered before threads start.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Dataset has no geotransform")
        yield


def band_name(name: str) -> str:
    """The modality table's name of a band: Sentinel-2 products write B02 where it writes B2."""
    return re.sub(r"^(?:S2_)?B0?(\d+A?)$", r"B\1", name.strip())


def _read(path: Path, *, palette: bool = True) -> _Picture:
    """One file; ``palette``: codes of a palette become the colours that they stand for."""
    suffix = path.suffix.lower()
    if suffix in PICTURE_SUFFIXES:
        return _read_picture(path, palette=palette)
    if suffix in GEOTIFF_SUFFIXES:
        return _read_geotiff(path)
    raise InputError("is no image that is read here", where=str(path), hint=f"{', '.join(SUFFIXES)} are read")


def _corrupt(path: Path, reason: object) -> CorruptError:
    return CorruptError(
        f"cannot be decoded: {reason}", where=str(path), hint="fetch the file again, or take it out of the folder"
    )


def _read_picture(path: Path, *, palette: bool) -> _Picture:
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingLibraryError("PIL", extra="report", purpose="read jpg and png files") from error
    try:
        with Image.open(path) as image:
            image.load()
            wanted = "RGBA" if "transparency" in image.info else "RGB"
            colours = image.convert(wanted) if image.mode == "P" and palette else image
            mode, values = colours.mode, np.asarray(colours)
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path)) from error
    # Pillow reports broken chunks of a PNG as SyntaxError, and sizes that no image has as DecompressionBombError.
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise _corrupt(path, error) from error
    if values.ndim == 2:
        values = values[:, :, None]
    values = np.moveaxis(values, -1, 0)
    valid = np.ones((1, *values.shape[1:]), np.bool_)
    if mode in ("RGBA", "LA"):
        values, valid = values[:-1], values[-1:] > 0
    colour = mode in ("RGB", "RGBA")
    unit = DIGITAL_NUMBER if values.dtype == np.uint8 else UNSTATED
    return _Picture(values, valid, RGB_BANDS if colour else (), unit)


def _read_geotiff(path: Path) -> _Picture:
    try:
        import rasterio
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="read GeoTIFF files") from error
    if not path.is_file():
        raise InputError("no such file", where=str(path))
    try:
        with rasterio.open(path) as dataset:
            values = dataset.read()
            valid = np.stack([dataset.read_masks(band) > 0 for band in dataset.indexes])
            described = [name for name in dataset.descriptions if name]
            colours = [colour.name for colour in dataset.colorinterp]
    except rasterio.errors.RasterioError as error:
        raise _corrupt(path, error) from error
    if len(described) == len(values):
        return _Picture(values, valid, tuple(band_name(name) for name in described), UNSTATED)
    if values.dtype == np.uint8 and colours == ["red", "green", "blue"]:
        return _Picture(values, valid, RGB_BANDS, DIGITAL_NUMBER)
    return _Picture(values, valid, (), UNSTATED)

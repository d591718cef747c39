"""Rasters as cloud-optimised GeoTIFFs (COG), written row by row in constant memory.

Rows go into a plain tiled GeoTIFF beside the output; GDAL then builds overviews in it and copies both into a COG. The
temporary file is laid out band by band: GDAL builds overviews of hundreds of interleaved bands twenty times slower. The
COG has all bands of a pixel together, as one reads embeddings.
"""

import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from os import fsync
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import escape

import numpy as np

from geopretext.data.local_file import replace_file
from geopretext.errors import InputError, MissingLibraryError, StoreError
from geopretext.predict.disk_space import require_space
from geopretext.predict.scene import Array, Georeference

RASTERS = (".tif", ".tiff")
"""endings of names"""
_BLOCK_BYTES = 8_000_000
"""of one block with all its bands, at most: what a reader fetches for a pixel"""
_LARGEST, _SMALLEST = 512, 64
_CACHE_MB = 256
_FINE = 256
"""pixels on a side of the coarsest overview, at most"""


@dataclass(frozen=True)
class Bands:
    """What a raster holds; a sequence is as long as there are bands, or empty."""

    descriptions: tuple[str, ...]
    """one a band"""
    dtype: str
    """``uint8``, ``int8``, ``uint16``, ``int16``, ``float32``; ``float16``: kept with 16 bits, read as float32"""
    nodata: float | None = None
    """what stands for nothing; may be NaN"""
    scales: tuple[float, ...] = ()
    """of each band: a quantity is a number times its scale, plus its offset"""
    offsets: tuple[float, ...] = ()
    units: tuple[str, ...] = ()
    colours: Mapping[int, tuple[int, int, int, int]] | None = None
    """red, green, blue, alpha, 0 to 255, of each number of a single uint8 band"""
    categories: Mapping[int, str] | None = None
    """names of the numbers of a single band; makes its overviews show the nearest number, not the mean"""
    tags: Mapping[str, str] = field(default_factory=dict)
    """of the file"""

    @property
    def stored(self) -> str:
        """As numpy and GDAL call it."""
        return "float32" if self.dtype == "float16" else self.dtype

    @property
    def pixel_bytes(self) -> int:
        """Of all bands of a pixel, in the temporary file."""
        return len(self.descriptions) * np.dtype(self.dtype).itemsize

    @property
    def needed_bytes(self) -> float:
        """On the disk for a pixel, at most: see ``needed_bytes``."""
        return needed_bytes(len(self.descriptions), self.dtype)


def needed_bytes(bands: int, dtype: str) -> float:
    """On the disk for a pixel while a COG is written, if nothing can be compressed.

    The temporary file, a third of it for overviews, and as much again for the COG.

    Args:
        bands: how many.
        dtype: of ``Bands``.
    """
    return bands * np.dtype(dtype).itemsize * 8 / 3


def write_cog(
    path: Path,
    blocks: Iterable[Array],
    *,
    height: int,
    width: int,
    georeference: Georeference,
    bands: Bands,
    overviews: Literal["average", "nearest"] | None = None,
) -> None:
    """Write a COG, or leave what there was.

    Args:
        path: of the file; what is there is replaced.
        blocks: rows (h, ``width``, bands) from the top, any number at a time, ``height`` in all.
        height: pixels.
        width: pixels.
        georeference: of the pixels.
        bands: what they hold.
        overviews: how they are made; by default the nearest number of categories, and else the mean.

    Raises:
        InputError: the folder is not there, or GDAL does not know the georeference's CRS.
        MissingLibraryError: rasterio is not installed.
        StoreError: the disk is full, or cannot be written to.
    """
    rasterio = _rasterio()
    if not path.parent.is_dir():
        raise InputError("no such folder", where=str(path.parent), hint="make it first")
    require_space([(path.parent, int(height * width * bands.needed_bytes))], what=f"writing {path.name}")
    folder = temporary_folder(path)
    shutil.rmtree(folder, ignore_errors=True)  # of a process that was killed
    folder.mkdir()
    raw, finished = folder / "rows.tif", folder / "cog.tif"
    resampling = overviews or ("nearest" if bands.categories is not None else "average")
    side = block_side(bands)
    try:
        with rasterio.Env(GDAL_CACHEMAX=_CACHE_MB, GDAL_TIFF_OVR_BLOCKSIZE=str(side), GDAL_NUM_THREADS="1"):
            _write_rows(raw, blocks, height, width, georeference, bands, side, resampling)
            rasterio.shutil.copy(
                raw,
                finished,
                driver="COG",
                BLOCKSIZE=side,
                COMPRESS="DEFLATE",
                PREDICTOR="YES",
                OVERVIEWS="FORCE_USE_EXISTING",
                BIGTIFF="IF_SAFER",
                **_bits(bands),
            )
        _put_in_place(finished, path, bands)
    except rasterio.errors.RasterioIOError as error:
        raise StoreError(f"cannot be written: {error}", where=str(path), hint="is the disk full?") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def temporary_folder(path: Path) -> Path:
    """Where an output lies until it is whole."""
    return path.parent / f".{path.name}.partial"


def block_side(bands: Bands) -> int:
    """Pixels on a side of a block."""
    side = _LARGEST
    while side > _SMALLEST and side * side * bands.pixel_bytes > _BLOCK_BYTES:
        side //= 2
    return side


def _write_rows(
    path: Path,
    blocks: Iterable[Array],
    height: int,
    width: int,
    georeference: Georeference,
    bands: Bands,
    side: int,
    resampling: str,
) -> None:
    """The temporary file, with its overviews."""
    rasterio = _rasterio()
    try:
        crs = rasterio.crs.CRS.from_user_input(georeference.crs) if georeference.crs else None
    except rasterio.errors.CRSError as error:
        raise InputError(f"GDAL does not know the CRS {georeference.crs!r}", where=str(path)) from error
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=height,
        width=width,
        count=len(bands.descriptions),
        dtype=bands.stored,
        crs=crs,
        transform=rasterio.Affine(*georeference.transform),
        nodata=bands.nodata,
        tiled=True,
        blockxsize=side,
        blockysize=side,
        interleave="band",
        BIGTIFF="IF_SAFER",
        **_bits(bands),
    ) as file:
        _describe(file, bands)
        top = 0
        for rows in _in_steps(blocks, side):
            if bands.dtype == "float16":  # GDAL would cut digits off, not round
                rows = rows.astype(np.float16).astype(np.float32)
            file.write(rows.transpose(2, 0, 1), window=((top, top + len(rows)), (0, width)))
            top += len(rows)
        assert top == height, f"{top} rows of {height}"
    levels = [2**n for n in range(1, 16) if max(height, width) / 2 ** (n - 1) > _FINE]
    if levels:
        with rasterio.open(path, "r+") as file:
            file.build_overviews(levels, rasterio.enums.Resampling[resampling])


def _describe(file: Any, bands: Bands) -> None:
    file.descriptions = bands.descriptions
    if bands.scales:
        file.scales = bands.scales
    if bands.offsets:
        file.offsets = bands.offsets
    if bands.units:
        file.units = bands.units
    if bands.colours is not None:
        file.write_colormap(1, dict(bands.colours))
    if bands.tags:
        file.update_tags(**bands.tags)
    if bands.categories is not None:
        file.update_tags(1, **{f"CLASS_{number}": name for number, name in bands.categories.items()})


def _put_in_place(finished: Path, path: Path, bands: Bands) -> None:
    """The file and, beside it, the names of its numbers where QGIS and GDAL look for them."""
    names = path.with_name(f"{path.name}.aux.xml")
    names.unlink(missing_ok=True)
    with finished.open("rb+") as file:
        fsync(file.fileno())
    finished.replace(path)
    if bands.categories is not None:
        replace_file(names, _category_file(bands.categories).encode())


def _category_file(categories: Mapping[int, str]) -> str:
    """GDAL keeps names of a GeoTIFF's numbers in a file beside it: one name for each number from 0."""
    names = "".join(
        f"<Category>{escape(categories.get(number, ''))}</Category>" for number in range(max(categories) + 1)
    )
    return f'<PAMDataset><PAMRasterBand band="1"><CategoryNames>{names}</CategoryNames></PAMRasterBand></PAMDataset>\n'


def _in_steps(blocks: Iterable[Array], rows: int) -> Iterable[Array]:
    """The same rows, a whole number of blocks of the file at a time, so that none is written twice."""
    waiting: list[Array] = []
    count = 0
    for block in blocks:
        waiting.append(block)
        count += len(block)
        if count >= rows:
            joined = np.concatenate(waiting)
            whole = count // rows * rows
            yield joined[:whole]
            waiting, count = [joined[whole:]], count - whole
    if count:
        yield np.concatenate(waiting)


def _bits(bands: Bands) -> dict[str, int]:
    return {"NBITS": 16} if bands.dtype == "float16" else {}


def _rasterio() -> Any:
    try:
        import rasterio
        import rasterio.shutil
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="write GeoTIFFs") from error
    return rasterio

"""One GeoTIFF: its grid, its bands checked against the mapping, and its numbers as the store wants them."""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.geotiff_mapping import FolderMapping
from geopretext.data.terrain import slope_degrees
from geopretext.data.units import REFLECTANCE, to_unit
from geopretext.errors import BandError, ClassError, CorruptError, MissingLibraryError, UnitError
from geopretext.modality import Modality

try:
    import rasterio
    import rasterio.errors
    import rasterio.warp
    import rasterio.windows
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read GeoTIFFs") from error

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

_GRID_TOLERANCE = 0.01


@dataclass(frozen=True)
class Grid:
    """The pixel grid of a raster."""

    crs: Any
    """``rasterio.crs.CRS``, or None if the file has none"""
    transform: tuple[float, ...]
    """a b c d e f, as in ``Coordinates.transform``"""
    height: int
    """pixels"""
    width: int
    """pixels"""

    @property
    def epsg(self) -> int:
        """EPSG code, 0 if unknown."""
        return int(self.crs.to_epsg() or 0) if self.crs else 0

    def difference(self, other: "Grid") -> str:
        """What differs, with both values; empty if the pixels coincide (to a hundredth of a pixel)."""
        if (self.crs or None) != (other.crs or None):
            return f"CRS {self.crs or 'none'} and {other.crs or 'none'}"
        if (self.height, self.width) != (other.height, other.width):
            return f"size {self.height} x {self.width} and {other.height} x {other.width} (rows x columns)"
        pixel = self.pixel_steps[0]
        apart = np.abs(np.subtract(self.transform, other.transform))
        # a, b, d, e act over the whole extent; c and f shift it
        reach = np.array([self.width, self.height, 1, self.width, self.height, 1])
        return (
            f"transform {self.transform} and {other.transform}"
            if (apart * reach > _GRID_TOLERANCE * pixel).any()
            else ""
        )

    @property
    def pixel_steps(self) -> tuple[float, float]:
        """Width and height of a pixel, in units of the CRS."""
        a, b, _, d, e, _ = self.transform
        return float(np.hypot(a, d)), float(np.hypot(b, e))

    def shifted(self, row: int, column: int) -> tuple[float, ...]:
        """The transform of the window whose top-left pixel is (row, column)."""
        a, b, c, d, e, f = self.transform
        return (a, b, c + a * column + b * row, d, e, f + d * column + e * row)


@contextmanager
def open_geotiff(path: Path) -> Iterator[Any]:
    """The open dataset.

    Raises:
        CorruptError: GDAL cannot read it, now or inside the ``with`` block (not a TIFF, truncated, a broken block).
    """
    try:
        with warnings.catch_warnings():
            # a file without georeference is reported by the survey, not by rasterio
            warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
            with rasterio.open(path) as dataset:
                yield dataset
    except rasterio.errors.RasterioError as error:
        raise CorruptError(
            f"cannot be read as a GeoTIFF: {error.__cause__ or error}",
            where=str(path),
            hint="copy or download it again",
        ) from error


def grid_of(dataset: Any) -> Grid:
    """The grid of an open dataset."""
    return Grid(dataset.crs, tuple(dataset.transform)[:6], dataset.height, dataset.width)


def check_bands(dataset: Any, folder: FolderMapping) -> None:
    """Refuse a file whose bands are not those of the mapping.

    Raises:
        BandError: another number of bands; or the file names its bands, and otherwise than the mapping.
        UnitError: the file has scale or offset tags, and the mapping does not say what to do about them.
    """
    path = dataset.name
    if dataset.count != len(folder.bands):
        raise BandError(
            f"has {dataset.count} bands; the mapping names {len(folder.bands)}",
            where=path,
            hint=f"folders.{folder.folder}.bands names every band of the file in order; null leaves one out",
        )
    said = [_published_spelling(text or "") for text in dataset.descriptions]
    if all(name in folder.modality.band_names for name in said):
        wrong = [
            f"{name} for {there}" for name, there in zip(folder.bands, said, strict=True) if name not in (None, there)
        ]
        if wrong:
            raise BandError(
                f"calls its bands {', '.join(said)}; the mapping says {', '.join(wrong)}",
                where=path,
                hint=f"correct the order in folders.{folder.folder}.bands",
            )
    scaled = any(scale != 1 for scale in dataset.scales) or any(offset != 0 for offset in dataset.offsets)
    if scaled and not folder.gdal_scale:
        raise UnitError(
            f"has scale {dataset.scales[0]:g} and offset {dataset.offsets[0]:g} in its tags",
            where=path,
            hint=f"folders.{folder.folder}.gdal_scale: apply (unit is meant after scaling) or ignore (before)",
        )


def _published_spelling(text: str) -> str:
    """``B01`` -> ``B1``; other names as they are."""
    return re.sub(r"^B0(\d)$", r"B\1", text.strip())


def read_bands(
    dataset: Any, folder: FolderMapping, *, rows: slice | None = None, shape: tuple[int, int] | None = None
) -> dict[str, Floats]:
    """Numbers as they stand in the file, by band; NaN where nothing was observed.

    Args:
        dataset: open.
        folder: its ``nodata`` counts, beside no-data tags and masks of the file.
        rows: only these rows.
        shape: (rows, columns) to thin out to, by taking the nearest pixels.
    """
    indexes = [position for position, band in enumerate(folder.bands, start=1) if band is not None]
    window = None if rows is None else rasterio.windows.Window(0, rows.start, dataset.width, rows.stop - rows.start)
    out_shape = None if shape is None else (len(indexes), *shape)
    raw = dataset.read(indexes, window=window, out_shape=out_shape)
    observed = dataset.read_masks(indexes, window=window, out_shape=out_shape) > 0
    for number in folder.nodata:
        observed &= raw != number
    values = np.where(observed, raw.astype(np.float64), np.nan)
    if folder.gdal_scale == "apply":
        scales, offsets = (np.array([tags[i - 1] for i in indexes]) for tags in (dataset.scales, dataset.offsets))
        values = values * scales[:, None, None] + offsets[:, None, None]
    return dict(zip((band for band in folder.bands if band is not None), values, strict=True))


def read_strip(path: Path, folder: FolderMapping, grid: Grid, *, rows: slice, subtract: int) -> dict[str, Array]:
    """Some rows of a file as the modality stores them, with derived bands: (y, x) by band.

    Args:
        path: of the file.
        folder: what it holds.
        grid: its grid.
        rows: which; one more on each side is read for the slope.
        subtract: the Sentinel-2 offset to undo, or 0.
    """
    margin = 1 if folder.derive else 0
    padded = slice(max(0, rows.start - margin), min(grid.height, rows.stop + margin))
    with open_geotiff(path) as dataset:
        numbers = read_bands(dataset, folder, rows=padded)
    units = {band.name: band.unit for band in folder.modality.bands}
    if folder.modality.kind.is_categorical:
        check_codes(numbers, folder.modality, where=str(path))
    else:
        numbers = {name: to_unit(n, folder.units[name], units[name]) - subtract for name, n in numbers.items()}
    x_step, y_step = grid.pixel_steps
    for target, source in folder.derive.items():
        numbers[target] = slope_degrees(numbers[source], x_step=x_step, y_step=y_step)
    inner = slice(rows.start - padded.start, rows.stop - padded.start)
    return {
        name: _as_stored(n[inner], units[name], folder.modality, where=f"{path}, band {name!r}")
        for name, n in numbers.items()
    }


def _as_stored(values: Floats, unit: str, modality: Modality, *, where: str) -> Array:
    """Numbers in the stored dtype; not finite becomes the modality's "missing"."""
    observed = np.isfinite(values)
    if unit == REFLECTANCE:
        # 0 means missing; a dark pixel whose reflectance comes out at or below 0 was observed nevertheless
        values = np.maximum(values, 1)
    if modality.dtype == "float32":
        return np.where(observed, values, np.nan).astype(np.float32)
    limits = np.iinfo(modality.dtype)
    values = np.rint(np.where(observed, values, limits.min))
    beyond = (values < limits.min) | (values > limits.max)
    if beyond.any():
        raise UnitError(
            f"{values[beyond][0]:g} does not fit {modality.dtype}",
            where=where,
            hint="correct 'unit' or 'nodata' of this folder in the mapping",
        )
    stored = values.astype(modality.dtype)
    if not observed.all():
        stored[~observed] = modality.fill
    return stored


def check_codes(numbers: Mapping[str, Floats], modality: Modality, *, where: str) -> None:
    """Refuse numbers that are neither a class nor missing.

    Raises:
        ClassError: names the file and the codes.
    """
    found = np.unique(np.concatenate([n[np.isfinite(n)] for n in numbers.values()]))
    strange = [f"{code:g}" for code in found if code not in modality.class_index and code not in modality.missing]
    if strange:
        raise ClassError(
            f"code {', '.join(strange[:8])} is not a class of modality {modality.name!r}",
            where=where,
            hint="add it to 'classes' or 'missing' of the modality, or to 'nodata' of the folder",
        )


def to_degrees(crs: Any, x: Floats, y: Floats) -> tuple[Floats, Floats]:
    """Latitude and longitude (WGS 84) of points in ``crs``; NaN without one."""
    if not crs:
        return np.full(len(x), np.nan), np.full(len(x), np.nan)
    lon, lat = rasterio.warp.transform(crs, "EPSG:4326", list(x), list(y))
    return np.array(lat, np.float64), np.array(lon, np.float64)

"""Rasters that tests write: true COGs of arrays, and ramps whose value says where a pixel is."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import rasterio
from rasterio.shutil import copy
from rasterio.transform import Affine

from geopretext.build.grid import Grid


def write_cog(
    path: Path,
    values: npt.NDArray[Any],
    *,
    crs: int | str | None,
    transform: tuple[float, ...],
    nodata: float | None = None,
    blocksize: int = 128,
    overviews: bool = False,
    mask: npt.NDArray[np.bool_] | None = None,
    compress: str = "DEFLATE",
) -> Path:
    """Write (y, x) or (band, y, x) as a COG.

    Args:
        path: to write.
        values: numbers.
        crs: EPSG code or WKT; None for a file without georeference.
        transform: a b c d e f.
        nodata: tag of the file.
        blocksize: pixels.
        overviews: by nearest, if the raster is larger than a block.
        mask: (y, x) valid pixels, as the file's own mask.
        compress: ``DEFLATE`` (which checks sums) or ``NONE``.
    """
    values = values if values.ndim == 3 else values[None]
    options: dict[str, Any] = {"transform": Affine(*transform)}
    if crs is not None:
        options["crs"] = f"EPSG:{crs}" if isinstance(crs, int) else crs
    with rasterio.io.MemoryFile() as memory:
        with memory.open(
            driver="GTiff",
            count=values.shape[0],
            height=values.shape[1],
            width=values.shape[2],
            dtype=values.dtype,
            nodata=nodata,
            **options,
        ) as dataset:
            dataset.write(values)
            if mask is not None:
                with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
                    dataset.write_mask(mask)
        with memory.open() as dataset:
            copy(
                dataset,
                path,
                driver="COG",
                blocksize=blocksize,
                compress=compress,
                overviews="AUTO" if overviews else "NONE",
                overview_resampling="NEAREST",
            )
    return path


def ramp(shape: tuple[int, int]) -> npt.NDArray[np.float64]:
    """(2, y, x): column and row of each pixel's centre, which blending keeps: what is read says where it comes from."""
    rows, columns = np.indices(shape)
    return np.stack([columns + 0.5, rows + 0.5])


def pixel_positions(
    grid: Grid, crs: int | str, transform: tuple[float, ...]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Columns and rows of a raster at the centres of a grid's pixels, by pyproj alone."""
    x, y = np.meshgrid(
        grid.left + grid.step * (np.arange(grid.width) + 0.5), grid.top - grid.step * (np.arange(grid.height) + 0.5)
    )
    if crs != grid.crs:
        x, y = pyproj.Transformer.from_crs(grid.crs, crs, always_xy=True).transform(x, y)
    inverse = np.linalg.inv(np.array([transform[:3], transform[3:6], (0, 0, 1)]))
    columns, rows, _ = np.einsum("ij,j...->i...", inverse, np.stack([x, y, np.ones_like(x)]))
    return columns, rows

"""Grids that divide the pixels of a raster, against GDAL's own warp."""

from typing import Literal

import numpy as np
import numpy.typing as npt
import pytest
import rasterio.warp
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.transform import Affine

from geopretext.build.alignment import Canvas, Georeference, Layer, Transform
from geopretext.build.grid import Grid

CRS = rasterio.crs.CRS.from_epsg(32632)


def warped(canvas: Canvas, grid: Grid, raster: Transform, values: npt.NDArray[np.float64], method: str) -> Layer:
    """What GDAL makes of what a canvas needs of a raster, NaN where pixels are missing."""
    left, top = raster.positions(canvas.needed.left, canvas.needed.top)
    found = np.full((grid.height, grid.width), np.nan)
    rasterio.warp.reproject(
        values,
        found,
        src_transform=Affine(*raster._replace(c=left, f=top)),
        src_crs=CRS,
        src_nodata=np.nan,
        dst_transform=Affine(*grid.transform),
        dst_crs=CRS,
        dst_nodata=np.nan,
        resampling=rasterio.warp.Resampling[method],
        XSCALE=1,
        YSCALE=1,
    )
    return np.nan_to_num(found), np.isfinite(found)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    factor=st.integers(2, 7),
    column=st.integers(-70, 70),
    row=st.integers(-70, 70),
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    holes=st.sampled_from([0.0, 0.05, 0.5, 0.95, 1.0]),
    method=st.sampled_from(["nearest", "bilinear"]),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_grid_that_divides_pixels_is_filled_as_gdal_fills_it(
    factor: int,
    column: int,
    row: int,
    height: int,
    width: int,
    holes: float,
    method: Literal["nearest", "bilinear"],
    seed: int,
) -> None:
    grid = Grid(32632, 500_000.0, 5_100_000.0, height, width)
    step = 10.0 * factor
    raster = Transform(step, 0.0, grid.left + 10 * column, 0.0, -step, grid.top + 10 * row)
    where = Georeference(CRS.to_wkt(), raster, 100, 100)
    canvas = Canvas(grid, where, shift=0.0, resampling=method)
    random, needed = np.random.default_rng(seed), canvas.needed
    shape = (needed.bottom - needed.top, needed.right - needed.left)
    numbers = random.integers(0, 65536, shape).astype(np.uint16)
    observed = random.random(shape) >= holes
    canvas.fill(needed, numbers, observed)
    values, valid = canvas.onto_grid()
    wanted, known = warped(canvas, grid, raster, np.where(observed, numbers, np.nan), method)
    np.testing.assert_array_equal(valid, known)
    assert values.dtype == (np.uint16 if method == "nearest" else np.float64)
    np.testing.assert_allclose(values, wanted, rtol=1e-6, atol=1e-4)


@pytest.mark.parametrize(("across", "down"), [(20.0, 10.0), (10.0, 20.0), (20.0, 20.02), (25.0, 25.0)])
def test_other_lattices_are_left_to_gdal(across: float, down: float) -> None:
    grid = Grid(32632, 500_000.0, 5_100_000.0, 64, 64)
    raster = Transform(across, 0.0, grid.left - 10 * across, 0.0, -down, grid.top + 10 * down)
    where = Georeference(CRS.to_wkt(), raster, 200, 200)
    canvas = Canvas(grid, where, shift=0.0, resampling="bilinear")
    needed = canvas.needed
    columns, rows = np.meshgrid(np.arange(needed.left, needed.right), np.arange(needed.top, needed.bottom))
    ramp = columns * 1000.0 + rows
    canvas.fill(needed, ramp, np.ones(ramp.shape, bool))
    values, valid = canvas.onto_grid()
    x = 10 * across + 10 * (np.arange(64) + 0.5)
    y = 10 * down + 10 * (np.arange(64) + 0.5)
    assert valid.all()
    np.testing.assert_allclose(values, (x / across - 0.5) * 1000 + (y[:, None] / down - 0.5), atol=0.05)

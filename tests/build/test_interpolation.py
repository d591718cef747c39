"""Blending at given positions, written out pixel by pixel; and which grids it is left to."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.build.grid import Grid
from geopretext.build.interpolation import nearest, triangle
from geopretext.build.raster_reader import RasterReader, Window, WindowJob
from geopretext.build.source import Asset
from geopretext.build.transfer import TransferSettings

from .raster_files import pixel_positions, ramp, write_cog


@pytest.mark.parametrize("holes", [0.0, 0.3])
@pytest.mark.parametrize(("across", "down"), [(0.3, 0.3), (1.0, 1.0), (1.5, 1.08), (2.0, 2.0)])
def test_weights_fall_linearly_and_missing_pixels_have_none(across: float, down: float, holes: float) -> None:
    random = np.random.default_rng(0)
    values, valid = random.normal(size=(24, 30)), random.random((24, 30)) >= holes
    values[~valid] = np.nan
    columns, rows = random.uniform(4, 26, (7, 9)), random.uniform(4, 20, (7, 9))
    columns[0, 0], rows[0, 0] = 8.5, 9.5
    found, known = triangle(values, valid, columns, rows, across=across, down=down)
    for at in np.ndindex(columns.shape):
        x, y = columns[at], rows[at]
        assert known[at] == valid[int(y), int(x)]
        total = weights = 0.0
        for row, column in zip(*np.nonzero(valid), strict=True):
            weight = max(0, 1 - abs(column + 0.5 - x) / max(1, across)) * max(0, 1 - abs(row + 0.5 - y) / max(1, down))
            total, weights = total + weight * values[row, column], weights + weight
        if known[at]:
            assert found[at] == pytest.approx(total / weights, abs=1e-12)
        else:
            assert found[at] == 0


def test_nearest_keeps_numbers_as_they_are() -> None:
    codes = np.arange(20, dtype=np.uint8).reshape(4, 5)
    found, known = nearest(codes, codes != 7, np.array([[0.01, 2.99]]), np.array([[3.99, 1.01]]))
    assert found.dtype == np.uint8
    assert found.tolist() == [[15, 0]]
    assert known.tolist() == [[True, False]]


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_a_grid_that_bends_between_control_points_is_left_to_gdal(tmp_path: Path, resampling: str) -> None:
    grid = Grid.around(lat=80.0, lon=13.0, crs=32632, size=512, step=1000.0)
    transform = (0.05, 0.0, -60.0, 0.0, -0.05, 89.0)
    columns, rows = pixel_positions(grid, 4326, transform)
    path = write_cog(tmp_path / "ramp.tif", ramp((480, 3200)), crs=4326, transform=transform)
    for band, wanted in ((1, columns), (2, rows)):
        job = WindowJob((Asset(str(path), band),), grid, resampling)  # type: ignore[arg-type] # a literal, in a list
        ((_, window),) = RasterReader(TransferSettings()).read([job])
        assert isinstance(window, Window)
        assert window.valid.all()
        # lines between control points would be 0.4 pixels off
        assert np.abs(window.values - wanted).max() < (0.2 if resampling == "bilinear" else 0.5 + 0.2)

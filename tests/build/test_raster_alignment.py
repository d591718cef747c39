"""Where pixels land: ramps whose value says where it comes from, against positions that pyproj alone computes."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio

from geopretext.build.grid import Grid, utm_zone
from geopretext.build.raster_reader import RasterReader, Window, WindowJob
from geopretext.build.source import Asset, Resampling
from geopretext.build.transfer import TransferSettings
from geopretext.errors import Reason, SourceError

from .raster_files import pixel_positions, ramp, write_cog

READER = RasterReader(TransferSettings(concurrency=2))
PLACE = {"lat": 46.2, "lon": 8.1}
TENTH = 0.1


def read(*paths: Path, grid: Grid, resampling: Resampling = "bilinear", **options: Any) -> Window:
    assets = tuple(Asset(str(path), **options) for path in paths)
    ((_, window),) = READER.read([WindowJob(assets, grid, resampling)])
    if isinstance(window, SourceError):
        raise window
    return window


def distance(*paths: Path, grid: Grid, resampling: Resampling, columns: Any, rows: Any) -> float:
    """Pixels, at most, between where a grid's values come from, by their ramps, and where they ought to."""
    found = [read(*paths, grid=grid, resampling=resampling, band=band) for band in (1, 2)]
    assert all(window.valid.all() for window in found)
    return float(np.hypot(found[0].values - columns, found[1].values - rows).max())


def around(crs: int, grid: Grid, *, step: float, size: int, y_step: float | None = None) -> tuple[float, ...]:
    """Transform of a raster in ``crs`` whose middle is near the grid's, its origin off any lattice."""
    columns, rows = pixel_positions(grid, crs, (1, 0, 0, 0, 1, 0))
    y_step = y_step or step
    return (
        step,
        0.0,
        columns.mean() - step * (size / 2 + 0.37),
        0.0,
        -y_step,
        rows.mean() + y_step * (size / 2 + 0.21),
    )


RASTERS = {
    "neighbouring zone, 10 m": (32631, 10.0),
    "own zone, 30 m, off the lattice": (32632, 30.0),
    "degrees, 0.3 arc seconds": (4326, 1 / 12000),
    "degrees, 1 arc second": (4326, 1 / 3600),
    "equal area of Europe, 25 m": (3035, 25.0),
    "web mercator, 20 m": (3857, 20.0),
    "polar stereographic, 100 m": (3413, 100.0),
}


@pytest.mark.parametrize(("crs", "step"), RASTERS.values(), ids=RASTERS.keys())
def test_blended_values_come_from_where_the_pixel_is(tmp_path: Path, crs: int, step: float) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=64)
    transform = around(crs, grid, step=step, size=300)
    path = write_cog(tmp_path / "ramp.tif", ramp((300, 300)), crs=crs, transform=transform)
    columns, rows = pixel_positions(grid, crs, transform)
    for resampling in ("bilinear", "cubic"):
        assert distance(path, grid=grid, resampling=resampling, columns=columns, rows=rows) < TENTH


@pytest.mark.parametrize(("crs", "step"), RASTERS.values(), ids=RASTERS.keys())
def test_nearest_takes_the_pixel_that_the_centre_lies_in(tmp_path: Path, crs: int, step: float) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=64)
    transform = around(crs, grid, step=step, size=300)
    codes = np.random.default_rng(0).integers(1, 250, (300, 300)).astype(np.uint8)
    path = write_cog(tmp_path / "codes.tif", codes, crs=crs, transform=transform)
    columns, rows = pixel_positions(grid, crs, transform)
    window = read(path, grid=grid, resampling="nearest")
    assert window.values.dtype == np.uint8
    # within a hundredth of a pixel from an edge either side is right
    clear = (np.abs(columns - np.round(columns)) > 0.01) & (np.abs(rows - np.round(rows)) > 0.01)
    assert clear.mean() > 0.9
    np.testing.assert_array_equal(window.values[clear], codes[rows.astype(int), columns.astype(int)][clear])


@pytest.mark.parametrize("resampling", ["nearest", "bilinear", "cubic", "average", "mode"])
def test_pixels_of_the_grid_itself_are_copied(tmp_path: Path, resampling: Resampling) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=64)
    numbers = np.random.default_rng(0).integers(0, 65535, (200, 150)).astype(np.uint16)
    transform = (10.0, 0.0, grid.left - 330.0, 0.0, -10.0, grid.top + 70.0)
    window = read(
        write_cog(tmp_path / "a.tif", numbers, crs=32632, transform=transform), grid=grid, resampling=resampling
    )
    assert window.values.dtype == np.uint16
    np.testing.assert_array_equal(window.values, numbers[7:71, 33:97])


@pytest.mark.parametrize("factor", [2, 6])
def test_coarser_pixels_of_the_same_zone_are_not_shifted(tmp_path: Path, factor: int) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=60)
    step = 10.0 * factor
    transform = (step, 0.0, grid.left - 5 * step, 0.0, -step, grid.top + 5 * step)
    numbers = np.random.default_rng(0).integers(0, 4000, (40, 40)).astype(np.uint16)
    path = write_cog(tmp_path / "a.tif", numbers, crs=32632, transform=transform)
    nearest = read(path, grid=grid, resampling="nearest")
    inner = slice(5, 5 + 60 // factor)
    np.testing.assert_array_equal(nearest.values, np.kron(numbers[inner, inner], np.ones((factor, factor), np.uint16)))
    blended = read(path, grid=grid, resampling="bilinear")
    np.testing.assert_allclose(blended.values, _bilinear(numbers, *pixel_positions(grid, 32632, transform)), atol=1e-3)


@pytest.mark.parametrize("resampling", ["average", "mode"])
def test_finer_pixels_are_gathered(tmp_path: Path, resampling: Resampling) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=32)
    transform = (2.5, 0.0, grid.left - 20.0, 0.0, -2.5, grid.top + 20.0)
    numbers = np.random.default_rng(0).integers(1, 4, (160, 160)).astype(np.uint8)
    path = write_cog(tmp_path / "a.tif", numbers, crs=32632, transform=transform)
    blocks = numbers[8:136, 8:136].reshape(32, 4, 32, 4).swapaxes(1, 2).reshape(32, 32, 16)
    window = read(path, grid=grid, resampling=resampling)
    if resampling == "average":
        np.testing.assert_allclose(window.values, blocks.mean(axis=2), atol=1e-6)
        return
    counts = np.stack([(blocks == code).sum(axis=2) for code in (1, 2, 3)], axis=2)
    ranked = np.sort(counts, axis=2)
    clear = ranked[..., 2] > ranked[..., 1]
    np.testing.assert_array_equal(window.values[clear], 1 + counts.argmax(axis=2)[clear])


@pytest.mark.parametrize("resampling", ["bilinear", "cubic", "average"])
@pytest.mark.parametrize(("crs", "step"), [(32632, 25.0), (4326, 1 / 6000)])
def test_no_data_is_never_blended_in(tmp_path: Path, crs: int, step: float, resampling: Resampling) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=64)
    transform = around(crs, grid, step=step, size=200)
    observed = np.random.default_rng(0).random((200, 200)) > 0.4
    observed[:, 90:110] = False
    numbers = np.where(observed, 7.0, -9999.0).astype(np.float32)
    numbers[::3, ::7] = np.where(observed[::3, ::7], 7.0, np.nan)
    path = write_cog(tmp_path / "a.tif", numbers, crs=crs, transform=transform, nodata=-9999.0)
    window = read(path, grid=grid, resampling=resampling)
    assert 0.1 < window.valid.mean() < 0.9
    np.testing.assert_allclose(window.values[window.valid], 7.0, rtol=1e-6)
    if resampling != "average":
        columns, rows = pixel_positions(grid, crs, transform)
        clear = (np.abs(columns - np.round(columns)) > 0.01) & (np.abs(rows - np.round(rows)) > 0.01)
        np.testing.assert_array_equal(window.valid[clear], observed[rows.astype(int), columns.astype(int)][clear])


def test_a_number_of_the_recipe_and_the_files_own_mask_mean_missing(tmp_path: Path) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=32)
    numbers = np.arange(32 * 32, dtype=np.uint16).reshape(32, 32)
    mask = np.ones((32, 32), bool)
    mask[3, 4] = False
    path = write_cog(tmp_path / "a.tif", numbers, crs=32632, transform=grid.transform, mask=mask)
    window = read(path, grid=grid, nodata=(7.0, 65.0), scale=0.5, offset=-1.0)
    assert set(zip(*np.nonzero(~window.valid), strict=True)) == {(0, 7), (2, 1), (3, 4)}
    np.testing.assert_allclose(window.values[window.valid], (numbers * 0.5 - 1.0)[window.valid])


def test_beyond_the_raster_is_missing(tmp_path: Path) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=32)
    transform = (20.0, 0.0, grid.left + 160.0, 0.0, -20.0, grid.top)
    path = write_cog(tmp_path / "a.tif", np.full((64, 64), 5.0), crs=32632, transform=transform)
    window = read(path, grid=grid)
    assert not window.valid[:, :16].any()
    assert window.valid[:, 16:].all()
    assert (window.values[:, 16:] == 5.0).all()
    elsewhere = Grid.around(lat=-46.0, lon=100.0, crs=32747, size=32)
    assert not read(path, grid=elsewhere).valid.any()


def test_tiles_of_a_product_meet_without_a_seam(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    step = 1 / 3600
    whole = ramp((400, 400))
    paths = []
    for name, (row, column) in {"nw": (0, 0), "ne": (0, 1), "sw": (1, 0), "se": (1, 1)}.items():
        part = whole[:, row * 200 :, column * 200 :][:, :200, :200]
        transform = (step, 0.0, 8 + (column - 1) * 200 * step, 0.0, -step, 46 - (row - 1) * 200 * step)
        paths.append(write_cog(tmp_path / f"{name}.tif", part, crs=4326, transform=transform))
    columns, rows = pixel_positions(grid, 4326, (step, 0, 8 - 200 * step, 0, -step, 46 + 200 * step))
    assert columns.min() < 200 < columns.max()
    assert rows.min() < 200 < rows.max()
    for resampling in ("bilinear", "cubic"):
        assert distance(*paths, grid=grid, resampling=resampling, columns=columns, rows=rows) < TENTH


def test_later_files_fill_what_earlier_ones_lack(tmp_path: Path) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=32)
    top = np.full((32, 32), 1, np.uint16)
    top[:, :10] = 0
    below = np.full((64, 64), 2, np.uint16)
    below[:8] = 0
    first = write_cog(tmp_path / "1.tif", top, crs=32632, transform=grid.transform, nodata=0)
    other_lattice = (10.0, 0.0, grid.left - 103.0, 0.0, -10.0, grid.top + 46.0)
    own_lattice = (10.0, 0.0, grid.left - 100.0, 0.0, -10.0, grid.top + 50.0)
    for number, transform in enumerate([own_lattice, other_lattice]):
        second = write_cog(tmp_path / f"2{number}.tif", below, crs=32632, transform=transform, nodata=0)
        window = read(first, second, grid=grid, resampling="nearest")
        assert (window.values[:, 10:] == 1).all()
        assert (window.values[3:, :10] == 2).all()
        assert not window.valid[:3, :10].any()
        assert window.valid[3:].all()


@pytest.mark.parametrize("zone", [32601, 32660, 32701, 32760])
@pytest.mark.parametrize("layout", ["whole", "tiles", "0 to 360"])
def test_across_the_antimeridian(tmp_path: Path, zone: int, layout: str) -> None:
    """Rasters in degrees are met on both sides of 180 degrees."""
    lat = 51.0 if zone < 32700 else -17.0
    grid = Grid.around(lat=lat, lon=180.0, crs=zone, size=64)
    step, rows = 0.005, 40
    top = lat + rows / 2 * step
    columns, row_positions = pixel_positions(grid, 4326, (step, 0, -180.0, 0, -step, top))
    columns = np.where(columns < 36000, columns + 72000, columns) - 72000 + 40  # continuous from 179.8 degrees on
    assert columns.min() < 40 < columns.max()
    east = ramp((rows, 80))
    if layout == "whole":
        values = np.full((2, rows, 72000), np.nan, np.float32)
        values[:, :, -40:], values[:, :, :40] = east[:, :, :40], east[:, :, 40:]
        paths = [write_cog(tmp_path / "a.tif", values, crs=4326, transform=(step, 0, -180.0, 0, -step, top))]
    elif layout == "tiles":
        paths = [
            write_cog(
                tmp_path / "e.tif", east[:, :, :40], crs=4326, transform=(step, 0, 180.0 - 40 * step, 0, -step, top)
            ),
            write_cog(tmp_path / "w.tif", east[:, :, 40:], crs=4326, transform=(step, 0, -180.0, 0, -step, top)),
        ]
    else:
        paths = [write_cog(tmp_path / "a.tif", east, crs=4326, transform=(step, 0, 180.0 - 40 * step, 0, -step, top))]
    assert distance(*paths, grid=grid, resampling="bilinear", columns=columns, rows=row_positions) < TENTH


def test_polar_rasters_are_met_as_far_as_utm_goes(tmp_path: Path) -> None:
    grid = Grid.around(lat=83.9, lon=15.0, crs=utm_zone(lat=83.9, lon=15.0), size=64)
    for crs, step in ((3413, 50.0), (4326, 0.001)):
        transform = around(crs, grid, step=step, size=300)
        path = write_cog(tmp_path / f"{crs}.tif", ramp((300, 300)), crs=crs, transform=transform)
        columns, rows = pixel_positions(grid, crs, transform)
        assert distance(path, grid=grid, resampling="bilinear", columns=columns, rows=rows) < TENTH


def test_a_projection_that_is_torn_at_the_tile_is_refused(tmp_path: Path) -> None:
    grid = Grid.around(lat=10.0, lon=180.0, crs=32601, size=64)
    transform = (100.0, 0.0, 20037508.34 - 200 * 100.0, 0.0, -100.0, 1_130_000.0)
    path = write_cog(tmp_path / "mercator.tif", ramp((200, 200)), crs=3857, transform=transform)
    with pytest.raises(SourceError, match="torn at lat 10, lon") as refused:
        read(path, grid=grid)
    assert refused.value.reason is Reason.NO_GEOREFERENCE


def test_much_coarser_grids_are_read_from_overviews(tmp_path: Path) -> None:
    grid = Grid.around(**PLACE, crs=32632, size=32, step=80.0)
    values = ramp((512, 512))
    transform = (10.0, 0.0, grid.left - 1000.0, 0.0, -10.0, grid.top + 1000.0)
    path = write_cog(tmp_path / "a.tif", values, crs=32632, transform=transform, blocksize=64, overviews=True)
    with rasterio.open(path) as dataset:
        assert dataset.overviews(1) == [2, 4, 8]
    columns, rows = pixel_positions(grid, 32632, transform)
    # the file's overviews take every fourth pixel: they are half of that off, and no more
    assert 1 < distance(path, grid=grid, resampling="average", columns=columns, rows=rows) <= 4 / np.sqrt(2)


def _bilinear(numbers: npt.NDArray[Any], columns: npt.NDArray[Any], rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Written out: weights of the four nearest centres."""
    left, top = np.floor(columns - 0.5).astype(int), np.floor(rows - 0.5).astype(int)
    x, y = columns - 0.5 - left, rows - 0.5 - top
    result: npt.NDArray[Any] = (
        numbers[top, left] * (1 - x) * (1 - y)
        + numbers[top, left + 1] * x * (1 - y)
        + numbers[top + 1, left] * (1 - x) * y
        + numbers[top + 1, left + 1] * x * y
    )
    return result


def test_native_bands_of_a_real_patch(test_data: Path) -> None:
    """BigEarthNet's 20 m and 60 m bands, onto the 10 m grid of the same patch."""
    patch = sorted((test_data / "bigearthnet_v1_tiny" / "S2").iterdir())[0]
    with rasterio.open(next(patch.glob("*_B04.tif"))) as dataset:
        grid = Grid(dataset.crs.to_epsg(), dataset.transform.c, dataset.transform.f, dataset.height, dataset.width)
        reference = dataset.read(1)
    np.testing.assert_array_equal(read(next(patch.glob("*_B04.tif")), grid=grid).values, reference)
    for band in ("B11", "B01"):
        path = next(patch.glob(f"*_{band}.tif"))
        with rasterio.open(path) as dataset:
            numbers, transform = dataset.read(1), tuple(dataset.transform)[:6]
        window = read(path, grid=grid)
        padded = np.pad(numbers, 1, mode="edge")
        columns, rows = pixel_positions(grid, grid.crs, transform)
        assert window.valid.all()
        np.testing.assert_allclose(window.values, _bilinear(padded, columns + 1, rows + 1), atol=1e-2)


def test_a_real_chip_in_a_neighbouring_zone(test_data: Path) -> None:
    """A TerraMind chip read onto the next zone and measured against its own pixels."""
    path = sorted((test_data / "terramind" / "examples" / "S2L2A").glob("*.tif"))[0]
    with rasterio.open(path) as dataset:
        own, transform, numbers = dataset.crs.to_epsg(), tuple(dataset.transform)[:6], dataset.read(4)
        x, y = transform[2] + 1120.0, transform[5] - 1120.0
    (lon,), (lat,) = rasterio.warp.transform(f"EPSG:{own}", "EPSG:4326", [x], [y])
    grid = Grid.around(lat=lat, lon=lon, crs=own + 1 if own % 100 < 60 else own - 1, size=64)
    columns, rows = pixel_positions(grid, own, transform)
    window = read(path, grid=grid, band=4)
    expected = _bilinear(numbers.astype(float), columns, rows)
    assert window.valid.all()
    np.testing.assert_allclose(window.values, expected, atol=0.02 * expected.std())

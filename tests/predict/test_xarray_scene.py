"""xarray objects of the usual makers as scenes: what they say of bands, place, date and unit is found, lazily."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from geopretext.errors import BandError, CorruptError, GeopretextError, GridError, InputError, UnitError
from geopretext.predict.open_scene import open_scene
from geopretext.predict.scene import Georeference
from geopretext.predict.xarray_scene import scene_of_xarray

from .scene_files import CRS, ORIGIN, smooth

UNIT = "reflectance x 10000"
DATES = np.array(["2021-05-01T10:00:00", "2021-05-11T10:00:00", "2021-05-11T22:00:00"], "datetime64[ns]")
NUMBERS = np.stack([[smooth(40, 30, 10 * date + band) for band in range(2)] for date in range(3)])
"""(date, band, y, x)"""
PLACE = Georeference(CRS, (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]))
Y, X = ORIGIN[1] - 10 * np.arange(40) - 5, ORIGIN[0] + 10 * np.arange(30) + 5


def dataset(**attrs: Any) -> xr.Dataset:
    """As odc.stac.load gives it: a variable a band, CRS in the coordinate ``spatial_ref``."""
    import rasterio

    reference = xr.DataArray(0, attrs={"crs_wkt": rasterio.crs.CRS.from_string(CRS).to_wkt()})
    coordinates = {"time": DATES, "y": Y, "x": X, "spatial_ref": reference}
    layers = {
        name: (("time", "y", "x"), NUMBERS[:, band], {"grid_mapping": "spatial_ref", **attrs})
        for band, name in enumerate(("B02", "B8A"))
    }
    return xr.Dataset(layers, coordinates)


def stack(**changes: Any) -> xr.DataArray:
    """As stackstac gives it: labels of a band dimension, EPSG code as coordinate."""
    coordinates = {"band": ["B02", "B8A"], "y": Y, "x": X, "epsg": 32632, "time": DATES[0]} | changes
    return xr.DataArray(NUMBERS[0].astype(np.float64), dims=("band", "y", "x"), coords=coordinates)


def whole(scene: Any) -> tuple[np.ndarray, np.ndarray]:
    values, valid = scene.read(slice(0, scene.height), slice(0, scene.width), scene.bands)
    return values, valid


def test_makers_of_cubes_are_understood() -> None:
    chosen = scene_of_xarray(dataset(), date="2021-05-01", unit=UNIT, level="L2A")
    stacked = scene_of_xarray(stack(), unit=UNIT)
    rio = stack().drop_vars(["epsg", "band"]).assign_attrs(long_name=("B02", "B8A"), crs=CRS)
    for scene in (
        chosen,
        stacked,
        scene_of_xarray(rio, unit=UNIT),
        scene_of_xarray(rio, unit=UNIT, bands=("B2", "B8A")),
    ):
        assert scene.bands == ("B2", "B8A")
        assert scene.georeference == PLACE
        assert scene.time == np.datetime64("2021-05-01T10:00:00")
        np.testing.assert_array_equal(whole(scene)[0], NUMBERS[0])
    values, _ = chosen.read(slice(3, 9), slice(29, 30), ["B8A"])
    np.testing.assert_array_equal(values, NUMBERS[0, 1:, 3:9, 29:30])
    assert (chosen.level, chosen.dtype) == ("L2A", "uint16")


def test_rows_run_from_north_to_south() -> None:
    upside_down = dataset().isel(y=slice(None, None, -1)).transpose("x", "y", "time")
    scene = scene_of_xarray(upside_down, date="2021-05-01", unit=UNIT)
    assert scene.georeference == PLACE
    np.testing.assert_array_equal(whole(scene)[0], NUMBERS[0])


def test_a_date_is_chosen() -> None:
    assert (
        scene_of_xarray(dataset(), date="2021-05-11T22:00:00", unit=UNIT).read(slice(0, 1), slice(0, 1), ["B2"])[0][
            0, 0, 0
        ]
        == NUMBERS[2, 0, 0, 0]
    )
    for date, says in [
        (None, "has 3 dates, from 2021-05-01T10:00:00 to 2021-05-11T22:00:00"),
        ("2021-05-11", "has 2 images of 2021-05-11"),
        ("2021-05-02", "has 0 images of 2021-05-02.*; the nearest are of 2021-05-01T10:00:00"),
    ]:
        with pytest.raises(InputError, match=says):
            scene_of_xarray(dataset(), date=date, unit=UNIT)


def test_what_dask_has_not_computed_is_computed_by_window() -> None:
    import dask.array

    asked: list[tuple[int, ...]] = []

    def block(values: np.ndarray) -> np.ndarray:
        asked.append(values.shape)
        return values

    chunked = dask.array.from_array(NUMBERS[0].astype(np.float32), chunks=(1, 10, 10)).map_blocks(
        block, meta=np.zeros((0, 0, 0), np.float32)
    )
    lazy = xr.DataArray(
        chunked, dims=("band", "y", "x"), coords={"band": ["B2", "B8A"], "y": Y, "x": X}, attrs={"crs": CRS}
    )
    scene = scene_of_xarray(lazy, unit=UNIT)
    first = scene.fingerprint()
    assert not asked, "nothing is computed to open it"
    values, _ = scene.read(slice(10, 20), slice(5, 15), ["B8A"])
    np.testing.assert_array_equal(values[0], NUMBERS[0, 1, 10:20, 5:15])
    assert len(asked) == 2
    assert scene_of_xarray(lazy, unit=UNIT).fingerprint() == first
    assert scene_of_xarray(lazy + 1, unit=UNIT).fingerprint() != first


def test_units_are_found_in_attributes() -> None:
    def one(layer: xr.Dataset, unit: str | None = None) -> Any:
        return scene_of_xarray(layer, date="2021-05-01", unit=unit)

    assert one(dataset(units="reflectance")).unit == "reflectance"
    waiting = one(dataset(scale_factor=1e-4, add_offset=-0.1))
    assert waiting.unit == UNIT
    np.testing.assert_array_equal(whole(waiting)[0], np.maximum(NUMBERS[0] - 1000.0, 1))
    done = dataset().astype(np.float32) / 10000
    for layer in done.values():
        layer.encoding |= {"scale_factor": 1e-4, "grid_mapping": "spatial_ref"}
    assert one(done).unit == "reflectance"
    np.testing.assert_array_equal(whole(one(dataset(scale_factor=0.5), "m"))[0], NUMBERS[0] * 0.5)
    for bad, unit, says in [
        (dataset(), None, "does not say what its numbers are"),
        (dataset(scale_factor=0.5), None, "does not say the unit of what comes out"),
        (dataset(scale_factor=1e-4), "dB", "that is reflectance; declared is 'dB'"),
    ]:
        with pytest.raises(UnitError, match=says):
            one(bad, unit)


def test_missing_numbers_and_clouds_are_masked() -> None:
    plain = dataset(_FillValue=7).isel(time=0)
    plain["B02"].values[1, 2] = 7
    plain["B8A"].values[3, 4] = 0
    classes = np.full((40, 30), 4, np.uint8)
    classes[30:] = 9
    plain["SCL"] = (("y", "x"), classes)
    plain["AOT"] = (("y", "x"), classes)
    scene = scene_of_xarray(plain, unit=UNIT)
    assert scene.bands == ("B2", "B8A")
    values, valid = whole(scene)
    expected = np.ones((2, 40, 30), np.bool_)
    expected[0, 1, 2] = expected[1, 3, 4] = expected[:, 30:] = False
    np.testing.assert_array_equal(valid, expected)
    assert not values[~valid].any()
    assert whole(scene_of_xarray(plain, unit=UNIT, clouds="keep"))[1][:, 30:].all()


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_cubes_on_disk_are_opened_and_pickled(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"cube{suffix}"
    if suffix == ".nc":
        dataset().to_netcdf(path, engine="h5netcdf")
    else:
        dataset().to_zarr(path, consolidated=False)
    scene = open_scene(path, unit=UNIT, date="2021-05-01")
    again = pickle.loads(pickle.dumps(scene))
    for one in (scene, again):
        assert one.georeference == PLACE
        np.testing.assert_array_equal(whole(one)[0], NUMBERS[0])
    assert scene.fingerprint() == again.fingerprint()
    assert scene.fingerprint() != open_scene(path, unit=UNIT, date="2021-05-11T10:00:00").fingerprint()


def test_a_store_of_tiles_is_no_scene(tmp_path: Path) -> None:
    tiles = xr.Dataset({"sentinel2": (("tile", "band", "y", "x"), np.zeros((2, 3, 8, 8), np.uint16))})
    tiles.to_zarr(tmp_path / "tiles.zarr", consolidated=False)
    with pytest.raises(InputError, match="is a store of tiles, no scene"):
        open_scene(tmp_path / "tiles.zarr")


def test_a_broken_cube_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cube.nc"
    dataset().to_netcdf(path, engine="h5netcdf")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(CorruptError, match="cannot be read as a cube"):
        open_scene(path, unit=UNIT)


def uneven() -> xr.DataArray:
    x = X.copy()
    x[7] += 3
    return stack(x=x)


@pytest.mark.parametrize(
    ("data", "declared", "error", "says"),
    [
        (stack().drop_vars("epsg"), {}, GridError, "it has no CRS"),
        (stack().drop_vars(["x", "y"]), {}, GridError, "it has no coordinates"),
        (uneven(), {}, GridError, "coordinates along x are uneven"),
        (stack(x=X[::-1]), {}, GridError, "its pixels are mirrored"),
        (stack().expand_dims(run=[0, 1]), {}, GridError, "has dimensions run .2., y .40., x .30."),
        (stack().drop_vars("band"), {}, BandError, "has 2 bands and does not name them"),
        (stack(), {"bands": ["B2"]}, BandError, "has 2 bands, but 1 are declared"),
        (stack(band=["B02", "B2"]), {}, BandError, "band names repeat: B2, B2"),
        (dataset(), {"bands": ["B9"]}, BandError, "has no variable B9; there are B02, B8A"),
        (dataset().rename(B02="red", B8A="nir"), {}, BandError, "has no band of Sentinel-2"),
        (dataset().drop_vars("time"), {}, InputError, "has a dimension time and no dates along it"),
        (NUMBERS, {}, InputError, "is a ndarray"),
    ],
)
def test_bad_cubes_are_refused(data: Any, declared: dict[str, Any], error: type[GeopretextError], says: str) -> None:
    with pytest.raises(error, match=says):
        scene_of_xarray(data, **({"unit": UNIT, "date": "2021-05-01"} | declared))


def test_without_a_crs_positions_may_be_pixels() -> None:
    scene = scene_of_xarray(stack().drop_vars(["epsg", "x", "y"]), unit=UNIT, allow_no_crs=True)
    assert scene.georeference.crs == ""
    np.testing.assert_array_equal(whole(scene)[0], NUMBERS[0])


def test_bands_at_different_places_are_refused() -> None:
    cube = dataset().isel(time=0)
    for moved in (cube["B8A"].assign_coords(x=X + 50_000), cube["B8A"].assign_coords(x=X + 5)):
        apart = cube.drop_vars("B8A").assign(B8A=moved.rename(x="lon", y="lat"))
        with pytest.raises(GridError, match="B2 and B8A lie at different places"):
            scene_of_xarray(apart, unit=UNIT)
    same = cube.drop_vars("B8A").assign(B8A=cube["B8A"].rename(x="lon", y="lat"))
    assert scene_of_xarray(same, unit=UNIT).georeference == PLACE


@pytest.mark.parametrize(
    ("scale", "units", "says"),
    [
        (1e-3, {}, r"its pixels would be 0\.01 m wide"),
        (1e-3, {"units": "km"}, "coordinates along y are in 'km'"),
        (1.0, {"units": "degrees_north"}, "coordinates along y are in 'degrees_north'"),
    ],
)
def test_coordinates_are_in_the_unit_of_the_crs(scale: float, units: dict[str, str], says: str) -> None:
    cube = dataset().isel(time=0)
    placed = cube.assign_coords(x=("x", X * scale, units), y=("y", Y * scale, units))
    with pytest.raises(GridError, match=says):
        scene_of_xarray(placed, unit=UNIT)
    metres = cube.assign_coords(x=("x", X, {"units": "metre"}), y=("y", Y, {"units": "m"}))
    assert scene_of_xarray(metres, unit=UNIT).georeference == PLACE

"""Climate vectors from NetCDF, Zarr and GRIB, against fields known in closed form and against rasterio."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from geopretext.build import climate_months
from geopretext.build.source import Observation, Query
from geopretext.errors import Reason, RecipeError, SourceError

from .climate_fields import LAT, LON, climate_source, expected, hourly, monthly, read

PLACE = (51.47, -0.3)
CELL = (51.5, -0.25)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same field five times: by the month as rate and as total, by the hour in monthly files, by the day."""
    root = tmp_path_factory.mktemp("climate")
    monthly("2018-01", "2019-02").to_netcdf(root / "rate.nc", engine="h5netcdf")
    monthly("2018-01", "2019-02", "monthly_total").to_netcdf(root / "total.nc", engine="h5netcdf")
    for kind in ("hourly_total", "since_midnight"):
        whole = hourly("2018-02", "2019-02", kind)
        (root / kind).mkdir()
        for month, part in _by_month(whole):
            part.to_netcdf(root / kind / f"era5_{month}.nc", engine="h5netcdf")
    return root


def _by_month(whole: xr.Dataset) -> list[tuple[str, xr.Dataset]]:
    months = whole.valid_time.values.astype("datetime64[M]")
    return [(str(month), whole.isel(valid_time=np.flatnonzero(months == month))) for month in np.unique(months)]


def vector(seen: Observation | SourceError) -> np.ndarray:
    assert isinstance(seen, Observation), seen
    assert seen.valid.all(), seen.notes
    return seen.values


def failure(seen: Observation | SourceError) -> SourceError:
    assert isinstance(seen, SourceError)
    return seen


@pytest.mark.parametrize(
    ("path", "precipitation"),
    [
        ("rate.nc", "monthly_rate"),
        ("total.nc", "monthly_total"),
        ("hourly_total/*.nc", "hourly_total"),
        ("since_midnight/*.nc", "since_midnight"),
    ],
)
def test_every_kind_of_file_gives_the_same_vector(files: Path, path: str, precipitation: str) -> None:
    seen, other = read(files / path, "2019-02", PLACE, (52.1, 0.2), precipitation=precipitation)
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)
    assert np.allclose(vector(other), expected("2019-02", 52.0, 0.25), rtol=1e-6)
    assert isinstance(seen, Observation)
    assert seen.notes["cell"] == list(CELL)


def test_a_year_of_thirteen_months_is_that_of_the_published_code(files: Path) -> None:
    (seen,) = read(files / "rate.nc", "2019-02", PLACE, precipitation="monthly_rate", year_months=13)
    assert np.allclose(vector(seen), expected("2019-02", *CELL, year_months=13), rtol=1e-6)


def test_slabs_are_bounded_and_change_nothing(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    whole = xr.DataArray.to_numpy

    def measured(array: xr.DataArray) -> Any:
        sizes.append(array.size)
        return whole(array)

    monkeypatch.setattr(climate_months, "_SLAB", 4 * 100)
    monkeypatch.setattr(xr.DataArray, "to_numpy", measured)
    # its own name, so that no open archive of another test answers
    (seen,) = read(files / "hourly_total/*.nc", "2019-02", PLACE, precipitation="hourly_total", name="slabs")
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)
    assert len(sizes) > 50
    assert max(sizes) <= 100


def test_a_place_is_the_same_alone_and_among_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fields = hourly("2019-01", "2019-02")
    # digits enough that the order of a sum shows
    fields["t2m"] = (fields.t2m.astype(np.float64) * np.pi / 3).assign_attrs(units="K")
    fields.to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    options: dict[str, Any] = {"precipitation": "hourly_total"}
    among = read(tmp_path / "a.nc", "2019-02", PLACE, (51.0, -1.0), (52.0, 0.2), name="among", **options)[0]
    monkeypatch.setattr(climate_months, "_SLAB", 4 * 77)
    (alone,) = read(tmp_path / "a.nc", "2019-02", PLACE, name="alone", **options)
    assert isinstance(among, Observation)
    assert isinstance(alone, Observation)
    assert among.valid[:8].all()
    assert alone.values.tobytes() == among.values.tobytes()


@pytest.mark.parametrize("lat", [LAT, LAT[::-1]], ids=["north first", "south first"])
@pytest.mark.parametrize("lon", [LON, np.sort(LON % 360)], ids=["-180 to 180", "0 to 360"])
def test_axes_may_run_either_way(tmp_path: Path, lat: np.ndarray, lon: np.ndarray) -> None:
    monthly("2018-01", "2019-02", lat=lat, lon=lon).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "a.nc", "2019-02", PLACE, precipitation="monthly_rate")
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)


@pytest.mark.parametrize("lon", [np.arange(-180, 180, 0.5), np.arange(0, 360, 0.5)])
def test_the_nearest_cell_may_lie_beyond_the_antimeridian(tmp_path: Path, lon: np.ndarray) -> None:
    lat = np.array([60.0, 59.5])
    monthly("2018-01", "2019-02", lat=lat, lon=lon).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    west, east = read(tmp_path / "a.nc", "2019-02", (59.9, 179.9), (59.9, -179.9), precipitation="monthly_rate")
    for seen in (west, east):
        assert isinstance(seen, Observation)
        assert abs(seen.notes["cell"][1]) == 180
        assert seen.notes["distance_km"] == pytest.approx(12.4, abs=0.2)


def test_over_the_sea_the_nearest_land_stands_if_it_is_near(tmp_path: Path) -> None:
    land = monthly("2018-01", "2019-02")
    land = land.where((land.longitude < -0.3) | (land.latitude > 51.6))
    land.to_netcdf(tmp_path / "land.nc", engine="h5netcdf")
    near, far = read(tmp_path / "land.nc", "2019-02", PLACE, (51.0, 0.2), precipitation="monthly_rate")
    assert np.allclose(vector(near), expected("2019-02", 51.5, -0.5), rtol=1e-6)
    assert failure(far).reason is Reason.NO_DATA
    assert "no cell with data within 25 km" in failure(far).what
    (reached,) = read(tmp_path / "land.nc", "2019-02", (51.0, 0.2), precipitation="monthly_rate", max_distance=80)
    assert isinstance(reached, Observation)


def test_units_are_converted_or_refused(tmp_path: Path) -> None:
    fields = monthly("2018-01", "2019-02", "monthly_total")
    for name in ("t2m", "mn2t", "mx2t"):
        fields[name] = (fields[name] - 273.15).assign_attrs(units="degC")
    fields["tp"] = (fields.tp * 1000).assign_attrs(units="kg m**-2")
    fields.to_netcdf(tmp_path / "other.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "other.nc", "2019-02", PLACE, precipitation="monthly_total")
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-5)

    fields["tp"] = fields.tp.assign_attrs(units="kg m-2 s-1")
    fields.to_netcdf(tmp_path / "flux.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "flux.nc", "2019-02", PLACE, precipitation="monthly_total")
    assert failure(seen).reason is Reason.UNIT
    assert "'kg m-2 s-1', of which m cannot be made" in failure(seen).what

    fields["t2m"].attrs.clear()
    fields.to_netcdf(tmp_path / "none.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "none.nc", "2019-02", PLACE, precipitation="none")
    assert "does not say its unit" in failure(seen).what
    assert "units: {mean: K}" in failure(seen).hint
    (seen,) = read(tmp_path / "none.nc", "2019-02", PLACE, precipitation="none", units={"mean": "degC"})
    assert isinstance(seen, Observation)
    assert np.allclose(seen.values[:3], expected("2019-02", *CELL)[:3], rtol=1e-5)
    (seen,) = read(tmp_path / "none.nc", "2019-02", PLACE, precipitation="none", units={"mean": "K"})
    assert failure(seen).reason is Reason.UNIT
    assert "most lie outside the valid range" in failure(seen).what


def test_what_precipitation_means_is_never_guessed(files: Path, tmp_path: Path) -> None:
    (seen,) = read(files / "rate.nc", "2019-02", PLACE)
    assert failure(seen).reason is Reason.UNIT
    assert "since_midnight (ERA5-Land hourly)" in failure(seen).hint
    (seen,) = read(files / "rate.nc", "2019-02", PLACE, precipitation="hourly_total")
    assert "is monthly, which does not fit precipitation: hourly_total" in failure(seen).what
    fields = monthly("2018-01", "2019-02")
    fields["tp"].attrs["units"] = "m day**-1"
    fields.to_netcdf(tmp_path / "rate.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "rate.nc", "2019-02", PLACE)
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)
    (seen,) = read(tmp_path / "rate.nc", "2019-02", PLACE, precipitation="monthly_total")
    assert "does not fit precipitation: monthly_total" in failure(seen).what


def test_a_month_that_lacks_a_step_is_no_month(tmp_path: Path) -> None:
    whole = hourly("2019-01", "2019-03")
    keep = np.ones(len(whole.valid_time), bool)
    keep[40 * 24] = False
    whole.isel(valid_time=np.flatnonzero(keep)).to_netcdf(tmp_path / "a.nc", engine="h5netcdf")
    (february,) = read(tmp_path / "a.nc", "2019-02", PLACE, precipitation="hourly_total")
    assert failure(february).reason is Reason.NO_DATA
    assert "2019-02 is missing; there are 2019-01, 2019-03" in failure(february).what
    (march,) = read(tmp_path / "a.nc", "2019-03", PLACE, precipitation="hourly_total")
    assert isinstance(march, Observation)
    assert march.valid.tolist() == [False] * 4 + [True] * 4 + [False] * 4
    assert march.notes["lacking"][0] == "prev_month_avg_temp"
    (march,) = read(tmp_path / "a.nc", "2019-03", PLACE, precipitation="hourly_total", required=True)
    assert failure(march).reason is Reason.NO_DATA
    assert "mean of 2019-02" in failure(march).what


def test_the_extremes_of_daily_means_are_not_those_of_the_month(tmp_path: Path) -> None:
    daily = hourly("2018-02", "2019-02").t2m.isel(valid_time=slice(None, -1)).resample(valid_time="1D").mean()
    daily.assign_attrs(units="K").to_netcdf(tmp_path / "daily.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "daily.nc", "2019-02", PLACE)
    assert isinstance(seen, Observation)
    assert seen.valid.tolist() == [True, False, False, False] * 3
    assert np.allclose(seen.values[::4], expected("2019-02", *CELL)[::4], rtol=1e-6)


def test_variables_are_found_by_cf_attributes_or_named(tmp_path: Path) -> None:
    fields = monthly("2018-01", "2019-02")
    cf = fields.rename(t2m="a", mn2t="b", mx2t="c", tp="d").rename(valid_time="time", latitude="y", longitude="x")
    for name, method in (("a", "mean"), ("b", "minimum"), ("c", "maximum")):
        cf[name].attrs |= {"standard_name": "air_temperature", "cell_methods": f"time: {method}"}
    cf["d"].attrs["standard_name"] = "lwe_thickness_of_precipitation_amount"
    cf.to_netcdf(tmp_path / "cf.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "cf.nc", "2019-02", PLACE, precipitation="monthly_rate")
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)

    fields["tas"] = fields["t2m"] + 1
    fields.to_netcdf(tmp_path / "two.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "two.nc", "2019-02", PLACE, precipitation="monthly_rate")
    assert "t2m and tas may both be the mean" in failure(seen).what
    (seen,) = read(tmp_path / "two.nc", "2019-02", PLACE, precipitation="monthly_rate", variables={"mean": "t2m"})
    assert np.allclose(vector(seen), expected("2019-02", *CELL), rtol=1e-6)
    (seen,) = read(tmp_path / "two.nc", "2019-02", PLACE, variables={"mean": "t3m"})
    assert failure(seen).reason is Reason.NO_ASSET
    assert "no variable 't3m'" in failure(seen).what


def test_grids_that_are_none_are_refused(tmp_path: Path) -> None:
    fields = monthly("2018-01", "2019-02")[["t2m"]]
    fields.expand_dims(expver=["1", "5"]).to_netcdf(tmp_path / "expver.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "expver.nc", "2019-02", PLACE)
    assert failure(seen).reason is Reason.NO_GEOREFERENCE
    assert "expver of 2" in failure(seen).what
    gaussian = fields.stack(values=("latitude", "longitude")).reset_index("values").transpose("valid_time", "values")
    gaussian.drop_vars(["latitude", "longitude"]).to_netcdf(tmp_path / "gaussian.nc", engine="h5netcdf")
    (seen,) = read(tmp_path / "gaussian.nc", "2019-02", PLACE)
    assert "no axis of latitude" in failure(seen).what


def test_files_that_cannot_be_read_are_told_from_those_that_are_not_there(files: Path, tmp_path: Path) -> None:
    for path in ("nothing.nc", "no*.nc", "no.zarr", "no.grib"):
        (seen,) = read(tmp_path / path, "2019-02", PLACE)
        assert failure(seen).reason is Reason.NO_FILE, path
    whole = (files / "rate.nc").read_bytes()
    (tmp_path / "half.nc").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.nc").write_text("no climate")
    (tmp_path / "text.grib").write_text("no climate")
    for path in ("half.nc", "text.nc", "text.grib"):
        (seen,) = read(tmp_path / path, "2019-02", PLACE)
        assert failure(seen).reason is Reason.CORRUPT, path


@pytest.mark.parametrize(
    ("archive", "entry", "text"),
    [
        ({}, {}, "has no path"),
        ({"path": "a.nc", "precipitaton": "none"}, {}, "no field precipitaton"),
        ({"path": "a.nc", "precipitation": "total"}, {}, "precipitation is 'total'"),
        ({"path": "a.nc", "variables": {"average": "t2m"}}, {}, "variables names 'average'"),
        ({"path": "a.nc", "units": {"mean": "F"}}, {}, "units.mean is 'F'"),
        ({"path": "https://x/a.nc"}, {}, "path is 'https://x/a.nc'"),
        ({"path": "a.nc", "max_distance": -1}, {}, "max_distance is -1"),
        ({"path": "a.nc", "year_months": 0}, {}, "year_months is 0"),
        ({"path": "a.nc", "storage": "eu-west-1"}, {}, "storage is 'eu-west-1'"),
        ({"path": "a.nc", "storage": {"secret_access_key": "x"}}, {}, "storage is {'secret_access_key'"),
        ({"path": "a.nc"}, {"pair": {"rule": "static"}}, "pair.rule is static"),
    ],
)
def test_options_that_do_not_fit_are_named(archive: dict[str, Any], entry: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text.replace(".", r"\.")):
        climate_source(archive, **entry)


def test_candidates_tell_dataset_and_month_and_ask_no_file() -> None:
    source = pickle.loads(pickle.dumps(climate_source({"path": "/nowhere/era5-land.zarr"})))
    box = (0.0, 0.0, 0.0, 0.0)
    dated = Query("a", 0, 0, box, start=np.datetime64("2019-02-17T10:20:30"))
    (found,), nothing, (same,), other = source.search(
        [
            dated,
            Query("b", 0, 0, box),
            Query("c", 0, 0, box, start=dated.start, item="era5-land/2019-02"),
            Query("d", 0, 0, box, start=dated.start, item="era5-land/2019-03"),
        ]
    )
    assert found == same
    assert found.item == "era5-land/2019-02"
    assert found.time == np.datetime64("2019-02-01T00:00:00")
    assert nothing == other == []
    assert source.modality.name == "era5"


def test_era5_of_the_british_isles_against_rasterio(test_data: Path) -> None:
    import rasterio

    folder = test_data / "era5_uk_201903"
    (path,) = folder.glob("*.grib")
    before = sorted(folder.iterdir())
    lat, lon = 53.37, -1.46
    (seen,) = read(path, "2019-03", (lat, lon))
    assert isinstance(seen, Observation)
    with rasterio.Env(GRIB_NORMALIZE_UNITS="NO"), rasterio.open(path) as file:
        row, column = file.index(lon, lat)
        numbers = file.read(window=((row, row + 1), (column, column + 1)))[:, 0, 0]
    assert len(numbers) == 744
    wanted = [numbers.mean(), numbers.min(), numbers.max()]
    assert np.allclose(seen.values[4:7], wanted, rtol=1e-6)
    assert seen.valid.tolist() == [False] * 4 + [True] * 3 + [False] * 5
    assert "curr_month_total_precip" in seen.notes["lacking"]
    assert sorted(folder.iterdir()) == before

    (april,) = read(path, "2019-04", (lat, lon))
    assert "2019-04 is missing; there are 2019-03" in failure(april).what
    (needed,) = read(path, "2019-03", (lat, lon), required=True)
    assert failure(needed).reason is Reason.NO_DATA

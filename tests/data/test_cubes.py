"""NetCDF cubes with a time dimension -> series: made-up cubes of which every number is known, and real ones."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from geopretext.data.convert import convert
from geopretext.data.cube_mapping import is_cube_mapping, load_cube_mapping
from geopretext.data.store import Store
from geopretext.errors import BandError, CorruptError, GridError, InputError, RecipeError, StoreError, UnitError
from geopretext.modality import PUBLISHED

xr = pytest.importorskip("xarray")
pytest.importorskip("h5netcdf")

SIZE = 8
EXAMPLES = Path(__file__).parents[2] / "examples"
DAYS = np.array(["2021-12-30", "2022-01-20", "2022-01-30", "2022-03-01", "2022-05-01"], "datetime64[ns]")
LEFT, TOP = 500_000.0, 5_500_000.0


def write_cube(
    path: Path,
    variables: dict[str, np.ndarray],
    *,
    days: np.ndarray = DAYS,
    step: float = 10.0,
    shift: float = 0.0,
    attributes: dict[str, Any] | None = None,
    **encoding: dict[str, Any],
) -> None:
    """A cube of (time, y, x), or (y, x), whose upper left corner is that of all others."""
    height, width = next(iter(variables.values())).shape[-2:]
    data = {name: (("t", "y", "x")[-v.ndim :], v, encoding.get(name, {})) for name, v in variables.items()}
    xr.Dataset(
        data,
        coords={
            "t": days,
            "y": TOP - step * (np.arange(height) + 0.5),
            "x": LEFT + shift + step * (np.arange(width) + 0.5),
        },
        attrs={"epsg": 32632, "site": "here", **(attributes or {})},
    ).to_netcdf(path, engine="h5netcdf")


def numbers(size: int = SIZE, days: int = len(DAYS), dtype: str = "uint16") -> np.ndarray:
    return (1500 + np.arange(days * size * size).reshape(days, size, size)).astype(dtype)


def mapping(folder: Path, **changes: Any) -> Path:
    plain: dict[str, Any] = {
        "tile_size": SIZE,
        "place": "site",
        "max_dates": 6,
        "cubes": {
            "fine": {
                "files": "fine*.nc",
                "modality": "sentinel2_series",
                "bands": {"B2": "blue"},
                "unit": "reflectance x 10000",
                "level": "L2A",
                "offset": "none",
            },
        },
    }
    for dotted, value in changes.items():
        inner, *rest = [plain, *dotted.split("__")]
        for key in rest[:-1]:
            inner = inner.setdefault(key, {})
        inner[rest[-1]] = value
    (folder / "mapping.yaml").write_text(yaml.safe_dump(plain, sort_keys=False))
    return folder / "mapping.yaml"


def convert_to(folder: Path, **changes: Any) -> Store:
    convert(folder, folder / "out.zarr", mapping=mapping(folder, **changes))
    return Store.open(folder / "out.zarr")


def days_of(store: Store, name: str = "sentinel2_series", tile: int = 0) -> list[str]:
    days = store.coordinates.series[name][tile]
    return [str(day) for day in days[~np.isnat(days)]]


def images(store: Store, name: str = "sentinel2_series") -> np.ndarray:
    return store.read([name], np.arange(len(store)))[name]


COARSE = {
    "files": "coarse*.nc",
    "modality": "sentinel2_series",
    "bands": {"B5": "edge"},
    "unit": "reflectance x 10000",
    "level": "L2A",
    "offset": "none",
}


class TestCubes:
    def test_numbers_days_and_places_arrive(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        store = convert_to(tmp_path)
        assert images(store).shape == (1, 6, 1, SIZE, SIZE)
        assert np.array_equal(images(store)[0, :5, 0], numbers())
        assert (images(store)[0, 5] == 0).all()
        assert days_of(store) == [str(day)[:10] for day in DAYS]
        where = store.coordinates
        assert where.tile_id.tolist() == ["here_0_0"]
        assert where.transform[0].tolist() == [10, 0, LEFT, 0, -10, TOP]
        assert where.crs.tolist() == [32632]
        assert (where.lat[0], where.lon[0]) == pytest.approx((49.65, 9.0), abs=0.01)
        assert str(where.time[0])[:10] == "2022-01-30"
        assert where.levels["sentinel2_series"].tolist() == [1]
        assert json.loads(where.source_items[0])["sentinel2_series"][-1] == {"images": 5, "clear": 5}

    def test_cubes_of_other_pixels_are_repeated_where_they_lie(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        edge = numbers(size=4)
        write_cube(tmp_path / "coarse.nc", {"edge": edge[:, ::-1]}, step=20.0, shift=20.0)
        # rows of the file go down from the top in both cubes; its columns begin 20 m to the right of the tile's
        got = images(convert_to(tmp_path, cubes__coarse=COARSE))[0, :5, 1]
        wanted = edge[:, ::-1].repeat(2, axis=1).repeat(2, axis=2)
        assert (got[:, :, :2] == 0).all()
        assert np.array_equal(got[:, :, 2:], wanted[:, :, :6])

    def test_bands_that_a_place_lacks_are_missing_there(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        for site in ("here", "there"):
            write_cube(tmp_path / f"coarse_{site}.nc", {"edge": numbers(4)}, step=20.0, attributes={"site": site})
        got = images(convert_to(tmp_path, cubes__coarse=COARSE))
        assert (got[0, :5] > 0).all()
        assert (got[1, :5, 0] == 0).all()
        assert (got[1, :5, 1] > 0).all()

    def test_tiles_are_cut_and_what_is_left_over_is_told(self, tmp_path: Path) -> None:
        wide = np.concatenate([numbers(), numbers() + 1, numbers()[:, :, :3]], axis=2)
        write_cube(tmp_path / "fine.nc", {"blue": wide})
        report = convert(tmp_path, tmp_path / "out.zarr", mapping=mapping(tmp_path))
        assert report.tiles == 2
        assert report.findings.remainders == {"here": (0, 3)}
        got = images(Store.open(tmp_path / "out.zarr"))
        assert np.array_equal(got[1, :5, 0], numbers() + 1)

    def test_clouds_are_told_by_a_mask(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        mask = np.full((5, 4, 4), 4, np.uint8)
        mask[1] = 9
        mask[2, 0] = 8
        write_cube(tmp_path / "coarse.nc", {"edge": numbers(4), "SCL": mask}, step=20.0)
        clear = {"cube": "coarse", "variable": "SCL", "min_clear": 0.7}
        store = convert_to(tmp_path, cubes__coarse=COARSE, clear={"sentinel2_series": clear})
        assert days_of(store) == ["2021-12-30", "2022-01-30", "2022-03-01", "2022-05-01"]
        assert (images(store)[0, :4] > 0).all()
        (hidden := tmp_path / "hidden").mkdir()
        for name in ("fine.nc", "coarse.nc"):
            (tmp_path / name).rename(hidden / name)
        store = convert_to(hidden, cubes__coarse=COARSE, clear={"sentinel2_series": {**clear, "hide": True}})
        assert (images(store)[0, 1, :, :2] == 0).all()
        assert (images(store)[0, 1, :, 2:] > 0).all()

    def test_where_there_is_no_mask_all_images_count_and_the_store_says_so(self, tmp_path: Path) -> None:
        for site in ("here", "there"):
            write_cube(tmp_path / f"fine_{site}.nc", {"blue": numbers()}, attributes={"site": site})
        mask = np.full((5, SIZE, SIZE), 9, np.uint8)
        mask[3] = 4
        write_cube(tmp_path / "coarse.nc", {"edge": numbers(), "SCL": mask})
        clear = {"sentinel2_series": {"cube": "coarse", "variable": "SCL"}}
        store = convert_to(tmp_path, cubes__coarse=COARSE, clear=clear)
        assert days_of(store, tile=0) == ["2022-03-01"]
        assert len(days_of(store, tile=1)) == 5
        facts = [json.loads(text)["sentinel2_series"][-1] for text in store.coordinates.source_items]
        assert facts == [{"images": 5, "clear": 1}, {"images": 5, "clear": 5, "mask": "missing"}]

    def test_an_offset_that_was_left_is_suspected(self, tmp_path: Path) -> None:
        bands = {"B2": "blue", "B4": "red"}
        write_cube(tmp_path / "fine.nc", {"blue": numbers() - 480, "red": numbers() - 470})
        report = convert(tmp_path, tmp_path / "out.zarr", mapping=mapping(tmp_path, cubes__fine__bands=bands))
        assert report.findings.left == ["here, sentinel2_series"]

    def test_of_many_images_those_that_lie_evenly_are_kept(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        assert days_of(convert_to(tmp_path, max_dates=3)) == ["2021-12-30", "2022-03-01", "2022-05-01"]

    def test_a_day_has_one_image_the_first(self, tmp_path: Path) -> None:
        days = np.array(["2022-01-20T12", "2022-01-20T10", "2022-03-01T10"], "datetime64[ns]")
        write_cube(tmp_path / "fine.nc", {"blue": numbers(days=3)}, days=days)
        store = convert_to(tmp_path)
        assert days_of(store) == ["2022-01-20", "2022-03-01"]
        assert np.array_equal(images(store)[0, :2, 0], numbers(days=3)[[1, 2]])

    def test_the_offset_is_undone_from_a_day_on(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        got = images(convert_to(tmp_path, cubes__fine__offset="2022-01-25"))[0, :5, 0]
        assert np.array_equal(got[:2], numbers()[:2])
        assert np.array_equal(got[2:], numbers()[2:] - 1000)

    def test_missing_numbers_scales_and_unsigned_integers_are_understood(self, tmp_path: Path) -> None:
        stored = numbers()
        stored[0, 0, 0], stored[1, 0, 0], stored[2, 0, 0] = 0, 65535, 40000
        write_cube(
            tmp_path / "fine.nc",
            {"blue": stored.view(np.int16)},
            blue={"_Unsigned": "true", "scale_factor": 1e-4, "_FillValue": np.int16(0)},
        )
        rule = {"cubes__fine__scale": "apply", "cubes__fine__unit": "reflectance", "cubes__fine__nodata": 65535}
        got = images(convert_to(tmp_path, **rule))[0, :5, 0]
        assert got[0, 0, 0] == got[1, 0, 0] == 0
        assert got[2, 0, 0] == 40000
        assert np.array_equal(got[3:], stored[3:])

    def test_a_fill_value_of_disguised_numbers_is_disguised_too(self, tmp_path: Path) -> None:
        stored = numbers()
        stored[0, 0, 0] = 65535
        fill = {"_Unsigned": "true", "_FillValue": np.int16(-1)}
        write_cube(tmp_path / "fine.nc", {"blue": stored.view(np.int16)}, blue=fill)
        got = images(convert_to(tmp_path))[0, :5, 0]
        assert got[0, 0, 0] == 0
        assert np.array_equal(got[1:], stored[1:])

    def test_compressed_backscatter_becomes_decibels(self, tmp_path: Path) -> None:
        wanted = np.linspace(-30, 5, 5 * SIZE * SIZE).reshape(5, SIZE, SIZE)
        write_cube(tmp_path / "fine.nc", {"VV": np.rint(10 ** ((wanted + 83) / 20)).astype(np.uint16)})
        entry = {"files": "*.nc", "modality": "sentinel1_series", "bands": {"VV": "VV"}, "decibel": [20, -83]}
        got = images(convert_to(tmp_path, cubes={"S1": entry}), "sentinel1_series")
        np.testing.assert_allclose(got[0, :5, 0], wanted, atol=0.03)
        assert np.isnan(got[0, 5]).all()

    def test_maps_are_the_same_at_all_times(self, tmp_path: Path) -> None:
        height = np.broadcast_to(np.arange(64, dtype=np.int16).reshape(1, SIZE, SIZE), (5, SIZE, SIZE))
        write_cube(tmp_path / "fine.nc", {"blue": numbers(), "height": height})
        entry = {"files": "fine.nc", "modality": "aster", "bands": {"elevation": "height"}, "unit": "m"}
        store = convert_to(tmp_path, cubes__terrain=entry)
        assert np.array_equal(images(store, "aster")[0, 0], height[0])
        moving = {**entry, "bands": {"elevation": "blue"}}
        (tmp_path / "other").mkdir()
        (tmp_path / "fine.nc").rename(tmp_path / "other" / "fine.nc")
        with pytest.raises(BandError, match="'blue' changes over time"):
            convert_to(tmp_path / "other", cubes__terrain=moving)

    def test_a_map_may_be_missing_at_the_same_pixels_at_all_times(self, tmp_path: Path) -> None:
        height = np.arange(64, dtype=np.float32).reshape(SIZE, SIZE)
        height[0, 0] = np.nan
        write_cube(tmp_path / "fine.nc", {"blue": numbers(), "height": np.stack([height] * 5)})
        entry = {"files": "fine.nc", "modality": "aster", "bands": {"elevation": "height"}, "unit": "m"}
        got = images(convert_to(tmp_path, cubes__terrain=entry), "aster")[0, 0]
        assert got[0, 0] == PUBLISHED["aster"].fill
        assert np.array_equal(got.ravel()[1:], height.ravel()[1:])

    def test_a_conversion_goes_on_and_refuses_another_mapping(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        convert_to(tmp_path)
        assert convert(tmp_path, tmp_path / "out.zarr", mapping=mapping(tmp_path)).resumed_at == 1
        with pytest.raises(StoreError, match="made from another source or mapping"):
            convert_to(tmp_path, max_dates=3)


class TestRefusals:
    @pytest.mark.parametrize(
        ("changes", "error", "said"),
        [
            ({"cubes__fine__bands": {"B2": "red"}}, BandError, "has no variable 'red'"),
            ({"cubes__fine__bands": {"B99": "blue"}}, BandError, "B99"),
            ({"cubes__fine__files": "none*.nc"}, StoreError, "no file fits"),
            ({"cubes__fine__unit": ""}, RecipeError, "lacks the unit"),
            ({"cubes__fine__unit": "dB"}, UnitError, "cannot be converted"),
            ({"cubes__fine__unit": "reflectance"}, UnitError, "they look scaled"),
            ({"cubes__fine__level": "L3"}, RecipeError, "level is 'L3'"),
            ({"cubes__fine__offset": ""}, RecipeError, "offset is ''"),
            ({"cubes__fine__offset": "soon"}, RecipeError, "none, 1000, or a day"),
            ({"cubes__fine__modality": "era5"}, RecipeError, "cubes hold series and maps"),
            ({"cubes__fine__colour": "blue"}, RecipeError, "no field colour"),
            ({"clear": {"sentinel2_series": {"cube": "fog"}}}, RecipeError, "cube is 'fog'"),
            ({"tile_size": 512}, GridError, "no place is as large"),
            ({"max_dates": 0}, RecipeError, "max_dates"),
        ],
    )
    def test_mappings_that_do_not_fit(self, tmp_path: Path, changes: dict, error: type, said: str) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()})
        with pytest.raises(error, match=said) as caught:
            convert_to(tmp_path, **changes)
        assert isinstance(caught.value, (InputError, StoreError))

    def test_scales_that_nobody_decided_about(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers()}, blue={"scale_factor": 1e-4})
        with pytest.raises(UnitError, match="states scale_factor"):
            convert_to(tmp_path)

    def test_a_series_of_a_variable_without_time(self, tmp_path: Path) -> None:
        write_cube(tmp_path / "fine.nc", {"blue": numbers(), "still": numbers()[0]})
        with pytest.raises(BandError, match="'still' has the dimensions y, x"):
            convert_to(tmp_path, cubes__fine__bands={"B2": "blue", "B3": "still"})

    def test_files_that_are_none_or_lie_nowhere(self, tmp_path: Path) -> None:
        (tmp_path / "fine.nc").write_bytes(b"no cube")
        with pytest.raises(CorruptError, match="is no NetCDF cube"):
            convert_to(tmp_path)
        write_cube(tmp_path / "fine.nc", {"blue": numbers()}, attributes={"epsg": 4326})
        with pytest.raises(GridError, match="has no CRS in metres"):
            convert_to(tmp_path)

    def test_two_files_of_one_place(self, tmp_path: Path) -> None:
        for name in ("fine_a.nc", "fine_b.nc"):
            write_cube(tmp_path / name, {"blue": numbers()})
        with pytest.raises(StoreError, match="are both of one place"):
            convert_to(tmp_path)


def test_a_mapping_of_geotiffs_is_none_of_cubes() -> None:
    assert not is_cube_mapping(EXAMPLES / "terramind_mapping.yaml")
    assert not is_cube_mapping(EXAMPLES / "nowhere.yaml")
    assert is_cube_mapping(EXAMPLES / "worldcereal_mapping.yaml")
    assert load_cube_mapping(EXAMPLES / "worldcereal_mapping.yaml").modalities[0].band_names == (
        "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B11", "B12"
    )  # fmt: skip


class TestWorldCereal:
    """The cubes that ship with WorldCereal, read by h5py: nothing but what the NetCDF files hold."""

    def raw(self, folder: Path, pattern: str, variable: str) -> tuple[np.ndarray, np.ndarray]:
        """Days and their first images, which follow each other in the files."""
        h5py = pytest.importorskip("h5py")
        [path] = folder.glob(pattern)
        with h5py.File(path) as file:
            time = next(name for name in file[variable].dims[0].keys() if name)  # noqa: SIM118 # h5py's own mapping
            units = file[time].attrs["units"]
            unit, start = (units.decode() if isinstance(units, bytes) else units).split(" since ")
            step = np.timedelta64(1, {"seconds": "s", "minutes": "m", "hours": "h", "days": "D"}[unit])
            days = np.datetime64(start.replace(" ", "T"), "s") + file[time][()] * step
            unique, first = np.unique(days.astype("datetime64[D]"), return_index=True)
            return unique, file[variable][()][first]

    @pytest.mark.slow
    def test_sites_become_series(self, tmp_path: Path, test_data: Path) -> None:
        folder = test_data / "worldcereal"
        convert(folder, tmp_path / "out.zarr", mapping=EXAMPLES / "worldcereal_mapping.yaml")
        store = Store.open(tmp_path / "out.zarr")
        names = [name.removesuffix("_0_0") for name in store.coordinates.tile_id.tolist()]
        assert len(names) == 4
        bands = store.modalities["sentinel2_series"].band_names
        for tile, site in enumerate(names):
            codes = f"training_samples/{site}_S2_L2A_20m_*.nc"
            days, scene = self.raw(folder, codes, "SCL")
            clear = np.isin(scene, (2, 4, 5, 6, 7, 11)).repeat(2, axis=1).repeat(2, axis=2)
            wanted = [str(day) for day, share in zip(days, clear.mean(axis=(1, 2)), strict=True) if share >= 0.8]
            assert days_of(store, tile=tile) == wanted
            _, edge = self.raw(folder, codes, "B05")
            got = images(store)[tile, : len(wanted), bands.index("B5")]
            kept = np.isin(days.astype(str), wanted)
            native = edge[kept].repeat(2, axis=1).repeat(2, axis=2)
            assert np.array_equal(got, np.where(clear[kept], native, 0))
            blue = images(store)[tile, : len(wanted), bands.index("B2")]
            if list(folder.glob(f"training_samples/{site}_S2_L2A_10m_*.nc")):
                _, native = self.raw(folder, f"training_samples/{site}_S2_L2A_10m_*.nc", "B02")
                assert np.array_equal(blue, np.where(clear[kept], native[kept], 0))
            else:
                assert not blue.any()
            passes, decibels = self.raw(folder, f"training_samples/{site}_S1_GRD-*_20m_*.nc", "VV")
            radar = days_of(store, "sentinel1_series", tile)
            assert len(radar) == min(96, len(passes))
            first = decibels[list(passes.astype(str)).index(radar[0])] * 1e-4
            got = images(store, "sentinel1_series")[tile, 0, 0]
            np.testing.assert_allclose(got, first.repeat(2, axis=0).repeat(2, axis=1), atol=1e-4)

    def test_monthly_composites_become_series(self, tmp_path: Path, test_data: Path) -> None:
        folder = test_data / "worldcereal"
        convert(folder, tmp_path / "out.zarr", mapping=EXAMPLES / "worldcereal_composites.yaml")
        store = Store.open(tmp_path / "out.zarr")
        months = [f"{month}-01" for month in np.arange("2020-11", "2021-11", dtype="datetime64[M]")]
        assert days_of(store, "sentinel1_series") == months
        values, valid = PUBLISHED["sentinel1_series"].decode(images(store, "sentinel1_series"))
        assert valid.all()
        assert -12 < values[:, :, 0].mean() < -7
        assert -20 < values[:, :, 1].mean() < -14
        _, raw = self.raw(folder, "worldcereal_preprocessed_inputs.nc", "S2-L2A-B08")
        bands = store.modalities["sentinel2_series"].band_names
        native = raw[:, :64, :64].astype(np.uint16)
        seen = (native != 65535).any(axis=(1, 2))  # two months were clouded from their first to their last day
        assert days_of(store) == [month for month, is_seen in zip(months, seen, strict=True) if is_seen]
        assert seen.sum() == 10
        got = images(store)[0, :10, bands.index("B8")]
        assert np.array_equal(got, np.where(native[seen] == 65535, 0, native[seen]))
        assert 100 < images(store, "aster").mean() < 200

"""Folders of GeoTIFFs: tiles, units and georeference come out right."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.warp

from geopretext.data.geotiff import GeoTiffTiles, survey_geotiffs
from geopretext.data.geotiff_mapping import load_mapping
from geopretext.data.terrain import slope_degrees

from .geotiff_folder import (
    L2A,
    mapping_of,
    ramp,
    scene,
    stored,
    survey,
    whole,
    write_folder,
    write_mapping,
    write_tif,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "places", {"a": 0, "b": 1000})


def test_tiles_are_cut_on_a_grid_from_the_top_left(root: Path) -> None:
    tiles = survey(root)
    batch = whole(tiles)
    batch.check({modality.name: modality for modality in tiles.modalities}, 16)
    assert batch.coordinates.tile_id.tolist() == [
        f"{p}_{row}_{column}" for p in "ab" for row in (0, 1) for column in (0, 1)
    ]
    names = tiles.modalities[0].band_names
    order = [L2A.index(name) for name in names]
    assert "B10" not in names
    np.testing.assert_array_equal(batch.arrays["sentinel2"][3], stored(root / "S2" / "a.tif")[order, 16:32, 16:32])
    np.testing.assert_array_equal(batch.arrays["crop_map"][2, 0], stored(root / "LULC" / "a.tif")[0, 16:32, :16])
    assert tiles.findings.remainders == {"a": (8, 8), "b": (8, 8)}
    assert tiles.place_numbers().tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert len(tiles) == 8


def test_georeference_is_that_of_the_window(root: Path) -> None:
    at = whole(survey(root)).coordinates
    assert at.crs.tolist() == [32632] * 8
    assert at.transform[1].tolist() == [10, 0, 500160, 0, -10, 5200000]
    assert at.transform[2].tolist() == [10, 0, 500000, 0, -10, 5199840]
    (lon,), (lat,) = rasterio.warp.transform("EPSG:32632", "EPSG:4326", [500160 + 80], [5200000 - 80])
    assert (at.lat[1], at.lon[1]) == pytest.approx((lat, lon))
    assert survey(root).ground_sampling_distance == 10


def test_lat_lon_and_month_follow_from_place_and_date(root: Path) -> None:
    batch = whole(survey(root))
    assert str(batch.coordinates.time[0]) == "2021-07-23T13:22:41"
    np.testing.assert_allclose(
        batch.arrays["month"][0], [np.sin(2 * np.pi * 7 / 12), np.cos(2 * np.pi * 7 / 12)], atol=1e-6
    )
    latitude = np.radians(batch.coordinates.lat[0])
    np.testing.assert_allclose(batch.arrays["lat"][0], [np.sin(latitude), np.cos(latitude)], rtol=1e-6)


def test_skipping_goes_on_in_the_middle_of_a_row(root: Path) -> None:
    tiles = survey(root)
    everything, rest = whole(tiles), whole(tiles, skip=3)
    assert rest.coordinates.tile_id.tolist() == everything.coordinates.tile_id[3:].tolist()
    for name, array in rest.arrays.items():
        np.testing.assert_array_equal(array, everything.arrays[name][3:])


@pytest.mark.parametrize(
    ("dates", "month"),
    [
        ({"csv": "dates.csv"}, [3, None]),
        ({"places": {"b": "20201231"}}, [None, 12]),
        ({"pattern": "(nothing)"}, [None, None]),
    ],
)
def test_dates_may_be_missing(root: Path, dates: dict[str, Any], month: list[int | None]) -> None:
    (root / "dates.csv").write_text("place,date\na,2021-03-01\n")
    batch = whole(survey(root, dates=dates))
    for tile, number in ((0, month[0]), (4, month[1])):
        assert np.isnat(batch.coordinates.time[tile]) == (number is None)
        if number is None:
            assert np.isnan(batch.arrays["month"][tile]).all()
        else:
            np.testing.assert_allclose(batch.arrays["month"][tile, 1], np.cos(2 * np.pi * number / 12), atol=1e-6)


def test_date_in_the_name(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"T32_20200115T101031": 0})
    assert str(whole(survey(root, dates={"pattern": r"_(\d{8})T"})).coordinates.time[0])[:10] == "2020-01-15"


def test_date_with_a_time_zone_is_utc(root: Path) -> None:
    batch = whole(survey(root, dates={"places": {"a": "2020-12-31T23:30:00-02:00"}}))
    assert str(batch.coordinates.time[0]) == "2021-01-01T01:30:00"


def test_no_dates_no_month(root: Path) -> None:
    assert "month" not in {modality.name for modality in survey(root, dates=None).modalities}


# slope


def test_slope_is_that_of_the_ground_across_tile_borders(root: Path) -> None:
    y, x = np.mgrid[:40, :40]
    write_tif(root / "DEM" / "a.tif", (3000 * np.sin(x / 9) * np.cos(y / 7) + 3000).astype("int16")[None])
    elevation, slope = whole(survey(root)).arrays["aster"][:4].transpose(1, 0, 2, 3)
    heights = stored(root / "DEM" / "a.tif")[0]
    whole_slope = np.rint(slope_degrees(heights, x_step=10, y_step=10))
    for tile, window in enumerate(np.s_[row : row + 16, column : column + 16] for row in (0, 16) for column in (0, 16)):
        np.testing.assert_array_equal(elevation[tile], heights[window])
        np.testing.assert_array_equal(slope[tile], whole_slope[window])


def test_slope_by_horn() -> None:
    y, x = np.mgrid[:20, :30]
    slope = slope_degrees(3.0 * x + 4.0 * y, x_step=10, y_step=10)
    np.testing.assert_allclose(slope, np.degrees(np.arctan(0.5)))
    hole = (3.0 * x).astype(float)
    hole[5, 5] = np.nan
    assert np.isnan(slope_degrees(hole, x_step=10, y_step=10)).sum() >= 1
    assert np.isnan(slope_degrees(hole, x_step=10, y_step=10)[5, 5])


# units and missing numbers


def test_reflectance_from_0_to_1_is_converted(root: Path) -> None:
    for place in "ab":
        path = root / "S2" / f"{place}.tif"
        numbers = (scene(L2A, seed=3) / 10000).astype("float32")
        numbers[:, 0, 0] = np.nan
        numbers[:, 0, 1] = -0.002
        write_tif(path, numbers, origin=(500000.0, 5200000.0 - 150000 * (place == "b")))
    raw = whole(survey(root, folders__S2__unit="reflectance")).arrays["sentinel2"]
    order = [L2A.index(name) for name in survey(root, folders__S2__unit="reflectance").modalities[0].band_names]
    np.testing.assert_array_equal(raw[0][:, 1:], scene(L2A, seed=3)[order, 1:16, :16])
    assert (raw[0][:, 0, 0] == 0).all(), "missing"
    assert (raw[0][:, 0, 1] == 1).all(), "dark, but observed"


def test_linear_power_is_converted(root: Path) -> None:
    power = np.full((2, 40, 40), 0.01, "float32")
    power[:, 0, 0] = 0
    write_tif(root / "S1" / "a.tif", power)
    (root / "S1" / "b.tif").unlink()
    batch = next(survey(root, folders__S1__unit="linear power").batches())
    raw = batch.arrays["sentinel1"]
    assert raw[0, 0, 1, 1] == pytest.approx(-20)
    assert not np.isfinite(raw[0, :, 0, 0]).any()


def test_no_data_by_mapping_and_by_tag(root: Path) -> None:
    height = ramp()
    height[0, 0, 0], height[0, 0, 1] = -9999, -32767
    write_tif(root / "DEM" / "a.tif", height, nodata=-9999)
    raw = whole(survey(root, folders__DEM__nodata=-32767)).arrays["aster"][0]
    assert (raw[:, 0, :2] == -32768).all(), "elevation, and the slope that needs it"
    assert (raw[1, :2, :3] == -32768).all()
    assert raw[0, 0, 2] == 110


def test_band_left_out(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 0})
    tiles = survey(root, folders__S2__bands=["B1", "B2", "B3", None, *L2A[4:]])
    assert "B4" not in tiles.modalities[0].band_names
    b5 = tiles.modalities[0].band_indices(["B5"])[0]
    np.testing.assert_array_equal(whole(tiles).arrays["sentinel2"][0, b5], stored(root / "S2" / "a.tif")[4, :16, :16])


def test_bands_by_place_and_missing_file(root: Path) -> None:
    """Each place has one orbit of Sentinel-1: the bands of the other are missing there."""
    (root / "LULC" / "b.tif").unlink()
    tiles = survey(root, folders__S1__bands={"b": ["desc_VV", "desc_VH"], "others": ["asc_VV", "asc_VH"]})
    batch = whole_with_gaps(tiles)
    assert {m.name: m for m in tiles.modalities}["sentinel1"].band_names == ("asc_VV", "asc_VH", "desc_VV", "desc_VH")
    assert np.isfinite(batch["a"]["sentinel1"]).all(axis=(0, 2, 3)).tolist() == [True, True, False, False]
    assert np.isfinite(batch["b"]["sentinel1"]).all(axis=(0, 2, 3)).tolist() == [False, False, True, True]
    assert "crop_map" not in batch["b"]
    assert tiles.findings.missing == {"LULC": ["b"]}


def whole_with_gaps(tiles: GeoTiffTiles) -> dict[str, dict[str, np.ndarray]]:
    return {str(batch.coordinates.tile_id[0])[0]: dict(batch.arrays) for batch in tiles.batches()}


def test_place_without_reference_is_left_out(root: Path) -> None:
    (root / "S2" / "b.tif").unlink()
    tiles = survey(root)
    assert tiles.findings.without_reference == ["b"]
    assert [place.name for place in tiles.places] == ["a"]


def test_no_georeference(tmp_path: Path) -> None:
    write_tif(tmp_path / "p" / "S2" / "a.tif", scene(L2A), epsg=None)
    plain = mapping_of(dates=None)
    plain["folders"] = {"S2": plain["folders"]["S2"]}
    tiles = survey_geotiffs(tmp_path / "p", load_mapping(write_mapping(tmp_path / "m.yaml", plain)))
    batch = whole(tiles)
    assert [modality.name for modality in tiles.modalities] == ["sentinel2"]
    assert np.isnan(batch.coordinates.lat).all()
    assert (batch.coordinates.crs == 0).all()


# the offset of processing baseline 04.00

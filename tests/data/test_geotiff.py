"""Folders of GeoTIFFs: tiles, units, offsets and georeference come out right, and nothing wrong goes in."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.warp

from geopretext.data.geotiff import GeoTiffTiles, survey_geotiffs
from geopretext.data.geotiff_mapping import load_mapping
from geopretext.data.offset import Verdict, judge_offset
from geopretext.data.terrain import slope_degrees
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.errors import (
    BandError,
    ClassError,
    CorruptError,
    GridError,
    InputError,
    RecipeError,
    StoreError,
    UnitError,
)

from .geotiff_folder import GREEN, L1C, L2A, SAND, SNOW, mapping_of, ramp, scene, write_folder, write_mapping, write_tif


def survey(root: Path, **changes: Any) -> GeoTiffTiles:
    return survey_geotiffs(root, load_mapping(write_mapping(root / "mapping.yaml", mapping_of(**changes))))


def whole(tiles: GeoTiffTiles, skip: int = 0) -> TileBatch:
    batches = list(tiles.batches(skip))
    names = batches[0].arrays.keys()
    arrays = {name: np.concatenate([batch.arrays[name] for batch in batches]) for name in names}
    return TileBatch(Coordinates.concatenate([batch.coordinates for batch in batches]), arrays)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "places", {"a": 0, "b": 1000})


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()


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


def observed(bands: tuple[str, ...], cover: dict[str, int], offset: int = 0) -> dict[str, np.ndarray]:
    return dict(zip(bands, scene(bands, cover, offset=offset), strict=True))


@pytest.mark.parametrize(
    ("bands", "cover", "offset", "level", "verdict"),
    [
        (L1C, GREEN, 0, "L1C", Verdict.NONE),
        (L1C, GREEN, 1000, "L1C", Verdict.OFFSET),
        (L1C, SAND, 0, "L1C", Verdict.NONE),
        (L1C, SAND, 1000, "L1C", Verdict.OFFSET),
        (L1C, SNOW, 0, "L1C", Verdict.NONE),
        (L1C, SNOW, 1000, "L1C", Verdict.OFFSET),
        (L2A, GREEN, 0, "L2A", Verdict.NONE),
        (L2A, GREEN, 1000, "L2A", Verdict.OFFSET),
        (L2A, SAND, 0, "L2A", Verdict.UNDECIDED),
        (L2A, SAND, 1000, "L2A", Verdict.UNDECIDED),
        (L2A, SNOW, 0, "L2A", Verdict.NONE),
        (L2A, SNOW, 1000, "L2A", Verdict.UNDECIDED),
        (("B2", "B3", "B4", "B8"), GREEN, 1000, "L2A", Verdict.OFFSET),
        (("B2", "B3", "B4", "B8"), GREEN, 1000, "L1C", Verdict.UNDECIDED),
        (("B8", "B11"), GREEN, 1000, "L2A", Verdict.UNDECIDED),
    ],
)
def test_verdict(bands: tuple[str, ...], cover: dict[str, int], offset: int, level: str, verdict: Verdict) -> None:
    assert judge_offset(observed(bands, cover, offset), level) is verdict


def test_nothing_observed_has_no_offset() -> None:
    assert judge_offset({"B2": np.array([])}, "L2A") is Verdict.NONE


def test_offset_is_undone_and_recorded(root: Path) -> None:
    tiles = survey(root)
    assert tiles.findings.undone == {"S2/b.tif": 1000}
    assert tiles.recipe["sentinel2_offset"]["undone"] == {"S2/b.tif": 1000}
    batch = whole(tiles)
    order = [L2A.index(name) for name in tiles.modalities[0].band_names]
    np.testing.assert_array_equal(
        batch.arrays["sentinel2"][4], stored(root / "S2" / "b.tif")[order, :16, :16].astype(int) - 1000
    )
    items = [json.loads(text) for text in batch.coordinates.source_items.tolist()]
    assert items[4]["sentinel2"] == [{"file": "S2/b.tif", "offset_undone": 1000}]
    assert items[0]["sentinel2"] == [{"file": "S2/a.tif"}]


def test_no_data_stays_and_dark_stays_observed_when_the_offset_is_undone(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 1000})
    numbers = scene(L2A, offset=1000)
    numbers[:, 0, 0], numbers[:, 0, 1] = 0, 990
    write_tif(root / "S2" / "a.tif", numbers)
    raw = whole(survey(root)).arrays["sentinel2"][0]
    assert (raw[:, 0, 0] == 0).all()
    assert (raw[:, 0, 1] == 1).all()


@pytest.mark.parametrize("offset", [{"b": 1000, "others": "none"}, {"b": "auto", "others": 0}, "auto"])
def test_offset_by_place(root: Path, offset: Any) -> None:
    assert survey(root, folders__S2__offset=offset).findings.undone == {"S2/b.tif": 1000}


def test_suspects_that_the_mapping_leaves_are_named_loudly(root: Path) -> None:
    with pytest.warns(UserWarning, match=r"offset of 1000, and the mapping leaves it: S2/b\.tif; set 'offset: auto'"):
        tiles = survey(root, folders__S2__offset="none")
    assert tiles.findings.left == ["S2/b.tif"]
    assert whole(tiles).arrays["sentinel2"][4].min() > 1000


def test_offset_without_a_sign_of_it_is_doubtful(root: Path) -> None:
    tiles = survey(root, folders__S2__offset=1000)
    assert tiles.findings.doubtful == ["S2/a.tif"]
    assert any("S2/a.tif" in line and "numbers do not show one" in line for line in tiles.findings.lines())


def test_undecided_is_left_and_named(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 0})
    write_tif(root / "S2" / "a.tif", scene(L2A, SAND))
    tiles = survey(root)
    assert tiles.findings.undecided == ["S2/a.tif"]
    assert not tiles.findings.undone
    assert not survey(root, folders__S2__offset={"a": "none"}).findings.undecided


# real imagery

SUSPECTS = {"S2L1C": {"282D", "433D", "609U"}, "S2L2A": {"433D"}}


@pytest.mark.parametrize("folder", ["S2L1C", "S2L2A"])
def test_real_files_with_the_offset(test_data: Path, tmp_path: Path, folder: str) -> None:
    """Of five places three carry it in L1C and one in L2A; 609U is all snow, in both."""
    entry = {
        "modality": "sentinel2",
        "level": folder[2:],
        "bands": list(L1C if folder == "S2L1C" else L2A),
        "unit": "reflectance x 10000",
    }
    mapping = load_mapping(write_mapping(tmp_path / "m.yaml", {"tile_size": 64, "folders": {folder: entry}}))
    tiles = survey_geotiffs(test_data / "terramind" / "examples", mapping)
    assert {Path(file).stem.split("_")[0] for file in tiles.findings.undone} == SUSPECTS[folder]
    assert not tiles.findings.undecided
    snow = next(batch for batch in tiles.batches() if str(batch.coordinates.tile_id[0]).startswith("609U"))
    bands = tiles.modalities[0]
    visible = np.median(snow.arrays["sentinel2"][:, bands.band_indices(["B2", "B3", "B4"])])
    infrared = np.median(snow.arrays["sentinel2"][:, bands.band_indices(["B11", "B12"])])
    assert 4500 < visible < 8000
    assert 800 < infrared < 1600, "snow is dark in the short-wave infrared, whatever the level"


def test_no_false_alarm_on_real_images_of_four_bands(test_data: Path) -> None:
    h5py = pytest.importorskip("h5py")
    with h5py.File(test_data / "bigearthnet_v2_120" / "ben120.h5") as file:
        images = file["sentinel2"][:].astype(int)
    bands = ("B2", "B3", "B4", "B8")
    assert {judge_offset(dict(zip(bands, image, strict=True)), "L2A") for image in images} == {Verdict.NONE}
    shifted = [judge_offset(dict(zip(bands, image + 1000, strict=True)), "L2A") for image in images]
    assert Verdict.NONE not in shifted
    assert shifted.count(Verdict.OFFSET) > 0.9 * len(images)


def test_example_mapping_on_real_files(test_data: Path) -> None:
    example = Path(__file__).parents[2] / "examples" / "terramind_mapping.yaml"
    tiles = survey_geotiffs(test_data / "terramind" / "examples", load_mapping(example))
    assert len(tiles) == 45
    assert tiles.findings.undone == {"S2L2A/433D_629L_3_1.tif": 1000}
    assert [m.name for m in tiles.modalities] == [
        "sentinel2",
        "sentinel1",
        "aster",
        "esri_land_cover",
        "lat",
        "lon",
        "month",
    ]
    batch = next(tiles.batches())
    for modality in tiles.modalities:
        assert modality.decode(batch.arrays[modality.name])[1].any()


# bad input


def test_missing_subfolder(root: Path) -> None:
    (root / "LULC").rename(root / "landcover")
    with pytest.raises(StoreError, match=r"places: has no subfolder 'LULC'\nhint: there are DEM, S1, S2, landcover"):
        survey(root)


def test_empty_subfolder(root: Path) -> None:
    (root / "X").mkdir()
    plain = mapping_of(folders__LULC=None)
    plain["folders"]["X"] = {"modality": "crop_map", "bands": ["crop"]}
    with pytest.raises(StoreError, match=r"X: holds no \.tif file"):
        survey_geotiffs(root, load_mapping(write_mapping(root / "m.yaml", plain)))


def test_wrong_number_of_bands(root: Path) -> None:
    with pytest.raises(BandError, match=r"S2/a\.tif: has 12 bands; the mapping names 3\nhint: folders\.S2\.bands"):
        survey(root, folders__S2__bands=["B2", "B3", "B4"])


def test_file_that_names_its_bands_in_another_order(tmp_path: Path) -> None:
    """EuroSAT's trap: B8A is the last band."""
    root = write_folder(tmp_path / "p", {"a": 0})
    names = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B09", "B11", "B12", "B8A")
    write_tif(root / "S2" / "a.tif", scene(L2A), names=names)
    with pytest.raises(
        BandError, match=r"a\.tif: calls its bands B1, .*B12, B8A; the mapping says B8A for B9, B9 for B11"
    ):
        survey(root)


def test_grids_that_differ(root: Path) -> None:
    bad = {
        "CRS EPSG:32633 and EPSG:32632": {"epsg": 32633},
        r"transform .*500005\.0.* and .*500000\.0": {"origin": (500005.0, 5200000.0)},
        "transform": {"pixel": 10.01},
    }
    for what, options in bad.items():
        write_tif(root / "DEM" / "a.tif", ramp(), **options)
        with pytest.raises(
            GridError, match=rf"DEM/a\.tif: is not on the grid of .*S2/a\.tif: {what}(.|\n)*hint: bring"
        ):
            survey(root)
    write_tif(root / "DEM" / "a.tif", ramp(39))
    with pytest.raises(GridError, match=r"size 39 x 39 and 40 x 40 \(rows x columns\)"):
        survey(root)


def test_grids_that_agree_to_a_hundredth_of_a_pixel(root: Path) -> None:
    write_tif(root / "DEM" / "a.tif", ramp(), origin=(500000.05, 5200000.0))
    assert len(survey(root)) == 8


def test_places_of_another_resolution(root: Path) -> None:
    for folder, array in (("S2", scene(L2A)), ("S1", -np.ones((2, 40, 40))), ("DEM", ramp()), ("LULC", ramp() * 0 + 1)):
        kind = "uint8" if folder == "LULC" else array.dtype
        write_tif(root / folder / "b.tif", array.astype(kind), pixel=20.0)
    with pytest.raises(GridError, match="place 'b': pixels of 20 x 20, but 10 at place 'a'"):
        survey(root)


def test_degrees_are_refused(root: Path) -> None:
    write_tif(root / "S2" / "a.tif", scene(L2A), epsg=4326, origin=(10.0, 47.0), pixel=0.0001)
    with pytest.raises(GridError, match=r"CRS EPSG:4326 is in degrees(.|\n)*hint: reproject"):
        survey(root)


def test_place_smaller_than_a_tile(root: Path) -> None:
    with pytest.raises(GridError, match="no place is as large as a tile of 64 px"):
        survey(root, tile_size=64)


@pytest.mark.parametrize("keep", [0.02, 0.6, 0.97])
def test_truncated_file(tmp_path: Path, keep: float) -> None:
    root = write_folder(tmp_path / "p", {"a": 0})
    path = root / "S2" / "a.tif"
    path.write_bytes(path.read_bytes()[: int(keep * path.stat().st_size)])
    with pytest.raises(
        CorruptError, match=r"S2/a\.tif: cannot be read as a GeoTIFF: .*\nhint: copy or download it again"
    ):
        survey(root)


def test_something_else_with_the_ending_of_a_tiff(root: Path) -> None:
    (root / "S1" / "a.tif").write_text("<html>404</html>")
    with pytest.raises(CorruptError, match=r"S1/a\.tif: cannot be read as a GeoTIFF"):
        survey(root)


def test_unknown_class_codes(root: Path) -> None:
    strange = np.full((1, 40, 40), 2, "uint8")
    strange[0, 3, 3], strange[0, 4, 4] = 9, 17
    write_tif(root / "LULC" / "a.tif", strange)
    with pytest.raises(
        ClassError, match=r"LULC/a\.tif: code 9, 17 is not a class of modality 'crop_map'\nhint: add it"
    ):
        survey(root)


@pytest.mark.parametrize(
    ("folder", "numbers", "changes", "what"),
    [
        ("S2", (scene(L2A) / 10000).astype("float32"), {}, r"'B1' cannot be in 'reflectance x 10000': .* from 0 to 1 "),
        ("S2", (scene(L2A) // 20).astype("uint8"), {}, r"'B1' cannot be .*: 8-bit numbers are a rendered picture"),
        ("S2", scene(L2A), {"folders__S2__unit": "reflectance"}, r"'B1' cannot be in 'reflectance': .* look scaled"),
        ("S1", np.full((2, 40, 40), 0.05), {}, r"'asc_VV' cannot be in 'dB': .* look like linear power"),
        (
            "S1",
            np.full((2, 40, 40), -9.0),
            {"folders__S1__unit": "linear power"},
            r"'asc_VV' cannot be .* look like dB",
        ),
        (
            "DEM",
            ramp() + np.int16(20000),
            {},
            r"'elevation' cannot be in 'm': most lie outside the valid range -500 to 9000",
        ),
    ],
)
def test_numbers_that_contradict_the_unit(
    root: Path, folder: str, numbers: np.ndarray, changes: dict[str, Any], what: str
) -> None:
    path = root / folder / "a.tif"
    write_tif(path, numbers)
    (root / folder / "b.tif").unlink()
    with pytest.raises(UnitError, match=rf"{folder}/a\.tif: band {what}(.|\n)*values from (.|\n)*hint: correct 'unit'"):
        survey(root, reference="LULC", **changes)


def test_scale_tags_need_a_decision(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "p", {"a": 0})
    write_tif(root / "S2" / "a.tif", scene(L2A), scale=0.0001)
    with pytest.raises(
        UnitError, match=r"a\.tif: has scale 0\.0001 and offset 0 in its tags\nhint: folders\.S2\.gdal_scale"
    ):
        survey(root)
    ignored = whole(survey(root, folders__S2__gdal_scale="ignore")).arrays["sentinel2"]
    applied = whole(survey(root, folders__S2__gdal_scale="apply", folders__S2__unit="reflectance")).arrays["sentinel2"]
    np.testing.assert_array_equal(applied, ignored)


def test_number_that_does_not_fit_the_stored_dtype(root: Path) -> None:
    height = ramp().astype("float32")
    height[0, 0, 0] = 3.4e38
    write_tif(root / "DEM" / "a.tif", height)
    with pytest.raises(UnitError, match=r"DEM/a\.tif, band 'elevation': 3\.4e\+38 does not fit int16\nhint: .*nodata"):
        whole(survey(root))


def test_two_files_of_one_place(root: Path) -> None:
    write_tif(root / "S2" / "a.tiff", scene(L2A))
    with pytest.raises(StoreError, match=r"S2: a\.tiff and a\.tif are both place 'a'"):
        survey(root)


def test_bad_dates(root: Path) -> None:
    with pytest.raises(RecipeError, match=r"dates, place 'a': 'July' is not a date\nhint: YYYY-MM-DD"):
        survey(root, dates={"places": {"a": "July"}})
    with pytest.raises(InputError, match=r"dates\.csv: no such file"):
        survey(root, dates={"csv": "dates.csv"})
    (root / "dates.csv").write_text("name,when\na,2021-01-01\n")
    with pytest.raises(InputError, match=r"has columns name, when\nhint: it needs 'place' and 'date'"):
        survey(root, dates={"csv": "dates.csv"})


@pytest.mark.parametrize(
    ("changes", "kind", "where_and_what"),
    [
        ({"tilesize": 3}, RecipeError, r"m\.yaml: unknown key 'tilesize'\nhint: keys are tile_size, reference"),
        ({"tile_size": "big"}, RecipeError, r"tile_size: 'big' is not a number of pixels"),
        ({"folders": {}}, RecipeError, r"folders: lists no subfolder"),
        (
            {"reference": "S3"},
            RecipeError,
            r"reference: 'S3' is not among the folders\nhint: there are S2, S1, DEM, LULC",
        ),
        ({"folders__S2__units": "dB"}, RecipeError, r"folders\.S2: unknown key 'units'"),
        ({"folders__S2__modality": None}, RecipeError, r"folders\.S2: lacks 'modality'"),
        ({"folders__S2__modality": "sentinel3"}, InputError, r"no modality 'sentinel3'\nhint: there are sentinel2"),
        (
            {"folders__S2__modality": "era5"},
            RecipeError,
            r"folders\.S2\.modality: 'era5' is a continuous vector, not a map",
        ),
        ({"folders__S2__bands": ["B1", "B08"]}, BandError, r"folders\.S2\.bands: no band 'B08'\nhint: it has B1, B2"),
        ({"folders__S2__bands": ["B1", "B1"]}, BandError, r"folders\.S2\.bands: bands repeat"),
        ({"folders__S2__bands": 12}, RecipeError, r"folders\.S2\.bands: is not a list of band names"),
        ({"folders__S1__bands": {"a": ["asc_VV"]}}, RecipeError, r"folders\.S1\.bands: lacks 'others'"),
        ({"folders__S2__level": None}, RecipeError, r"folders\.S2\.level: None is not a level of 'sentinel2'"),
        ({"folders__S2__level": "L3"}, RecipeError, r"folders\.S2\.level: 'L3' is not a level"),
        ({"folders__DEM__level": "L1C"}, RecipeError, r"folders\.DEM\.level: modality 'aster' has no levels"),
        (
            {"folders__S2__unit": None},
            RecipeError,
            r"folders\.S2\.unit: lacks the unit .*\nhint: .*'reflectance x 10000'",
        ),
        ({"folders__S2__unit": "DN"}, UnitError, r"folders\.S2\.unit \(B1\): unit 'DN' cannot .*\n.*'reflectance'"),
        ({"folders__LULC__unit": "m"}, RecipeError, r"folders\.LULC\.unit: 'crop_map' holds classes"),
        ({"folders__S2__nodata": "zero"}, RecipeError, r"folders\.S2\.nodata: 'zero' is not a number"),
        ({"folders__S2__offset": 500}, RecipeError, r"folders\.S2\.offset: 500 is none of auto, none and 1000"),
        (
            {"folders__DEM__offset": "auto"},
            RecipeError,
            r"folders\.DEM\.offset: 'aster' is not in 'reflectance x 10000'",
        ),
        ({"folders__DEM__derive": {"slope": "height"}}, RecipeError, r"derive: cannot derive 'slope' from 'height'"),
        ({"folders__S2__gdal_scale": True}, RecipeError, r"gdal_scale: True is neither apply nor ignore"),
        ({"dates": {"tag": "x", "csv": "y"}}, RecipeError, r"dates: needs exactly one of tag, csv, pattern, places"),
        ({"dates": {"tag": "x", "folder": "S9"}}, RecipeError, r"dates\.folder: names the subfolder"),
        ({"dates": {"pattern": r"\d{8}"}}, RecipeError, r"dates\.pattern: has no group"),
        ({"dates": {"pattern": "("}}, RecipeError, r"dates\.pattern: is no regular expression"),
        ({"modalities": "mine"}, RecipeError, r"modalities: is not a list"),
    ],
)
def test_mapping_that_is_wrong(
    tmp_path: Path, changes: dict[str, Any], kind: type[Exception], where_and_what: str
) -> None:
    with pytest.raises(kind, match=where_and_what):
        load_mapping(write_mapping(tmp_path / "m.yaml", mapping_of(**changes)))


def test_two_levels_or_two_folders_of_a_band(tmp_path: Path) -> None:
    other = mapping_of()["folders"]["S2"]
    with pytest.raises(RecipeError, match=r"'S2' and 'L1C' give 'sentinel2' at two levels\nhint: .*one store a level"):
        load_mapping(write_mapping(tmp_path / "m.yaml", mapping_of(folders__L1C={**other, "level": "L1C"})))
    with pytest.raises(BandError, match="'S2' and 'S2_again' both give sentinel2 B1"):
        load_mapping(write_mapping(tmp_path / "m.yaml", mapping_of(folders__S2_again=other)))


def test_mapping_that_is_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"none\.yaml: no such file"):
        load_mapping(tmp_path / "none.yaml")
    (tmp_path / "m.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"m\.yaml: is not YAML"):
        load_mapping(tmp_path / "m.yaml")
    (tmp_path / "m.yaml").write_text("- a")
    with pytest.raises(RecipeError, match=r"m\.yaml: is not a mapping of keys"):
        load_mapping(tmp_path / "m.yaml")

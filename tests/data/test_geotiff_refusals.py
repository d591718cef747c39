"""What is wrong with a folder of GeoTIFFs, or its mapping, is said, and nothing of it goes in."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data.geotiff import survey_geotiffs
from geopretext.data.geotiff_mapping import load_mapping
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

from .geotiff_folder import (
    L2A,
    mapping_of,
    ramp,
    scene,
    survey,
    whole,
    write_folder,
    write_mapping,
    write_tif,
)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "places", {"a": 0, "b": 1000})


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

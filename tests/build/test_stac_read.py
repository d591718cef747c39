"""Reading STAC items: bands, units, offsets and orbits come out right, and what cannot be right is refused."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from rasterio.transform import Affine

from geopretext.build.archives import open_sources
from geopretext.build.grid import Grid
from geopretext.build.recipe import read_build_recipe
from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.build.stac import StacSource
from geopretext.data.terrain import slope_degrees
from geopretext.errors import Reason, SourceError

from .stac_items import item, outline, sloping, write_cog, write_items

CRS, SIZE = 32633, 48
CORNER = Affine(10, 0, 500_000, 0, -10, 5_000_000)
GRID = Grid(crs=CRS, left=500_000, top=5_000_000, height=SIZE, width=SIZE)
HERE = outline(crs=CRS, transform=CORNER, height=SIZE, width=SIZE)
LON, LAT = HERE.centroid.x, HERE.centroid.y
# rasterio silences this warning of its own in a way that is not safe in threads


def cog(folder: Path, name: str, *bands: npt.NDArray[Any], **more: Any) -> str:
    return str(write_cog(folder / f"{name}.tif", np.stack(bands), crs=CRS, transform=CORNER, block=128, **more))


def found(folder: Path, modality: str, plain: dict[str, Any], **options: Any) -> tuple[StacSource, list[Candidate]]:
    """A source over one item, and its candidates at the place."""
    items = write_items(folder / "items.json", [plain])
    entry = {"from": "a", "pair": {"rule": "reference"}, "resampling": "nearest", **options}
    recipe = {"archives": {"a": {"kind": "stac", "items": str(items)}}, "modalities": {modality: entry}}
    source = open_sources(read_build_recipe(recipe))[modality][0]
    assert isinstance(source, StacSource)
    box = (LON - 0.001, LAT - 0.001, LON + 0.001, LAT + 0.001)
    [candidates] = source.search([Query("here", LAT, LON, box)])
    return source, candidates


def seen(folder: Path, modality: str, plain: dict[str, Any], **options: Any) -> Observation | SourceError:
    source, [candidate] = found(folder, modality, plain, **options)
    [(number, observation)] = source.read([Request(candidate, GRID, LAT, LON)])
    assert number == 0
    return observation


def read(folder: Path, modality: str, plain: dict[str, Any], **options: Any) -> Observation:
    observation = seen(folder, modality, plain, **options)
    assert isinstance(observation, Observation), observation
    return observation


def refused(folder: Path, modality: str, plain: dict[str, Any], **options: Any) -> SourceError:
    observation = seen(folder, modality, plain, **options)
    assert isinstance(observation, SourceError)
    return observation


def scene(assets: Mapping[str, Any], **properties: Any) -> dict[str, Any]:
    return item("scene", collection="c", assets=assets, footprint=HERE, **{"proj__epsg": CRS, **properties})


# Sentinel-2 --------------------------------------------------------------------------------------------------------

S2 = {"level": "L2A", "bands": {"B2": "blue", "B3": {"asset": "rest", "band": 2}}}


def sentinel2(folder: Path, *, offset: int = 0, declared: Any = None, **properties: Any) -> dict[str, Any]:
    """Blue has its first row missing and is darker than 0 in its second; the rest has a band to be left alone."""
    blue, other, green = (sloping(SIZE, SIZE, base=base) for base in (200, 9, 600))
    blue[1] = -20
    stored = [
        (numbers + offset).astype(np.uint16) if offset else np.maximum(numbers, 0) for numbers in (blue, other, green)
    ]
    stored[0][0] = 0
    blue_file = cog(folder, "blue", stored[0].astype(np.uint16), nodata=0)
    rest_file = cog(folder, "rest", *(numbers.astype(np.uint16) for numbers in stored[1:]), nodata=0)
    said = {} if declared is None else {"raster:bands": [{"scale": 0.0001, "offset": declared, "nodata": 0}] * 2}
    return scene({"blue": {"href": blue_file, **said}, "rest": {"href": rest_file, **said}}, **properties)


@pytest.mark.parametrize(
    ("offset", "declared", "properties", "options"),
    [
        (1000, None, {"s2__processing_baseline": "05.09"}, {}),
        (1000, -0.1, {"s2__processing_baseline": "05.09"}, {}),
        (1000, -0.1, {}, {}),
        (1000, None, {}, {"offset": -1000}),
        (1000, 0, {"s2__processing_baseline": "02.12"}, {"offset": -1000}),
        (1000, None, {"s2__processing_baseline": "05.09"}, {"unit": "reflectance x 10000"}),
    ],
)
def test_the_offset_is_undone_by_what_the_item_says(
    offset: int, declared: Any, properties: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    plain = sentinel2(tmp_path, offset=offset, declared=declared, **properties)
    source, [candidate] = found(tmp_path, "sentinel2", plain, **S2, **options)
    assert candidate.notes["offset_undone"] == 1000
    [(_, observation)] = source.read([Request(candidate, GRID, LAT, LON)])
    assert isinstance(observation, Observation)
    expected = np.stack([sloping(SIZE, SIZE, base=base) for base in (200, 600)])
    expected[0, 1] = 1
    assert observation.valid.sum() == 2 * SIZE * SIZE - SIZE
    assert not observation.valid[0, 0].any()
    np.testing.assert_array_equal(observation.values[observation.valid], expected[observation.valid])
    assert "offset_doubtful" not in observation.notes


@pytest.mark.parametrize(
    ("declared", "properties", "options"),
    [
        (None, {"s2__processing_baseline": "02.12"}, {}),
        (-0.1, {"s2__processing_baseline": "05.09", "earthsearch__boa_offset_applied": True}, {}),
        (0, {}, {}),
        (None, {"s2__processing_baseline": "05.09"}, {"offset": "none"}),
    ],
)
def test_what_carries_no_offset_is_left_alone(
    declared: Any, properties: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    plain = sentinel2(tmp_path, declared=declared, **properties)
    source, [candidate] = found(tmp_path, "sentinel2", plain, **S2, **options)
    assert "offset_undone" not in candidate.notes
    [(_, observation)] = source.read([Request(candidate, GRID, LAT, LON)])
    assert isinstance(observation, Observation)
    np.testing.assert_array_equal(observation.values[1], sloping(SIZE, SIZE, base=600))
    assert not observation.valid[0, :2].any()
    assert observation.valid[0, 2:].all()


def test_statements_of_stac_1_1_count_too(tmp_path: Path) -> None:
    plain = sentinel2(tmp_path, offset=1000)
    plain["stac_version"] = "1.1.0"
    plain["properties"]["proj:code"] = f"EPSG:{plain['properties'].pop('proj:epsg')}"
    plain["assets"]["blue"] |= {"raster:scale": 0.0001, "raster:offset": -0.1, "nodata": 0, "data_type": "uint16"}
    plain["assets"]["rest"] |= {"raster:scale": 0.0001, "bands": [{}, {"name": "B03", "raster:offset": -0.1}]}
    _, [candidate] = found(tmp_path, "sentinel2", plain, **S2)
    assert candidate.notes["offset_undone"] == 1000
    assert candidate.crs == CRS
    assert {asset.offset for assets in candidate.assets.values() for asset in assets} == {-1000}
    plain["assets"]["rest"]["bands"][1]["raster:offset"] = 0
    assert "different offsets: -1000, 0" in refused(tmp_path, "sentinel2", plain, **S2).what


def test_an_item_that_leaves_the_offset_open_is_refused_when_read(tmp_path: Path) -> None:
    silent = {**sentinel2(tmp_path, offset=1000), "properties": {"datetime": "2023-06-01T10:00:00Z"}}
    error = refused(tmp_path, "sentinel2", silent, **S2)
    assert error.reason is Reason.UNIT
    assert "scene" in str(error)
    assert "offset: none" in error.hint


@pytest.mark.parametrize(
    ("offset", "option", "what"),
    [(0, -1000, "as if it had not been there"), (1000, "none", "as if the offset were there")],
)
def test_numbers_that_look_as_if_the_offset_were_treated_wrongly_are_noted(
    offset: int, option: Any, what: str, tmp_path: Path
) -> None:
    plain = sentinel2(tmp_path, offset=offset)
    bands = {"B2": "blue", "B3": {"asset": "rest", "band": 2}, "B4": {"asset": "rest", "band": 1}}
    observation = read(tmp_path, "sentinel2", plain, level="L2A", bands=bands, offset=option)
    assert what in observation.notes["offset_doubtful"]


def test_reflectance_from_0_to_1_is_scaled(tmp_path: Path) -> None:
    file = cog(tmp_path, "blue", (sloping(SIZE, SIZE) / 10_000).astype(np.float32))
    options = {"level": "L2A", "bands": {"B2": "blue"}, "unit": "reflectance"}
    observation = read(tmp_path, "sentinel2", scene({"blue": file}, s2__processing_baseline="02.12"), **options)
    np.testing.assert_allclose(observation.values[0], sloping(SIZE, SIZE), rtol=1e-6)
    shifted = cog(tmp_path, "new", (sloping(SIZE, SIZE) / 10_000 + 0.1).astype(np.float32))
    observation = read(tmp_path, "sentinel2", scene({"blue": shifted}, s2__processing_baseline="04.00"), **options)
    np.testing.assert_allclose(observation.values[0], sloping(SIZE, SIZE), rtol=1e-5)


@pytest.mark.parametrize(
    ("numbers", "what"),
    [
        (sloping(SIZE, SIZE) / 10_000, "from 0 to 1"),
        (sloping(SIZE, SIZE) * 30, "above 2.8"),
    ],
)
def test_numbers_that_cannot_be_reflectance_are_refused(
    numbers: npt.NDArray[np.float64], what: str, tmp_path: Path
) -> None:
    file = cog(tmp_path, "blue", numbers.astype(np.float32))
    plain = scene({"blue": file}, s2__processing_baseline="02.12")
    error = refused(tmp_path, "sentinel2", plain, level="L2A", bands={"B2": "blue"})
    assert error.reason is Reason.UNIT
    assert what in error.what
    assert "'blue'" in str(error)


def test_a_rendered_picture_is_no_reflectance(tmp_path: Path) -> None:
    visual = {"href": "TCI.tif", "raster:bands": [{"data_type": "uint8"}]}
    plain = scene({"visual": visual}, s2__processing_baseline="02.12")
    error = refused(tmp_path, "sentinel2", plain, level="L2A", bands={"B4": "visual"})
    assert error.reason is Reason.UNIT
    assert "rendered picture" in error.what


# Sentinel-1 --------------------------------------------------------------------------------------------------------

S1 = {
    "unit": "linear power",
    "bands": {"asc_VV": "vv", "asc_VH": "vh", "asc_HH": "hh", "desc_VV": "vv", "desc_VH": "vh", "desc_HH": "hh"},
}


def decibel() -> npt.NDArray[np.float64]:
    return -25 + sloping(SIZE, SIZE, base=0) / 40


def radar(folder: Path, state: str | None = "ascending", **more: Any) -> dict[str, Any]:
    power = (10 ** (decibel() / 10)).astype(np.float32)
    power[0] = -32768
    power[1] = 0
    files = {name: cog(folder, name, power * factor, nodata=-32768) for name, factor in (("vv", 1), ("vh", 1))}
    return scene(files, **({} if state is None else {"sat__orbit_state": state}), **more)


@pytest.mark.parametrize(("state", "group"), [("ascending", "asc"), ("descending", "desc")])
def test_power_becomes_decibel_in_the_bands_of_its_orbit(state: str, group: str, tmp_path: Path) -> None:
    source, [candidate] = found(tmp_path, "sentinel1", radar(tmp_path, state), **S1)
    assert candidate.group == group
    assert set(candidate.assets) == {f"{group}_VV", f"{group}_VH"}
    [(_, observation)] = source.read([Request(candidate, GRID, LAT, LON)])
    assert isinstance(observation, Observation)
    bands = source.modality.band_names
    for number, name in enumerate(bands):
        if name in candidate.assets:
            assert not observation.valid[number, :2].any(), "no data, and power of zero, are missing"
            np.testing.assert_allclose(observation.values[number, 2:], decibel()[2:], atol=1e-4)
            assert observation.valid[number, 2:].all()
        else:
            assert not observation.valid[number].any()


def test_orbits_that_the_recipe_does_not_name_are_no_candidates(tmp_path: Path) -> None:
    one = {"unit": "linear power", "bands": {"asc_VV": "vv"}}
    assert found(tmp_path, "sentinel1", radar(tmp_path, "descending"), **one)[1] == []


def test_an_image_of_unknown_orbit_is_refused(tmp_path: Path) -> None:
    error = refused(tmp_path, "sentinel1", radar(tmp_path, None), **S1)
    assert error.reason is Reason.NO_ASSET
    assert "sat:orbit_state" in error.what


def test_uncalibrated_amplitudes_are_refused(tmp_path: Path) -> None:
    file = cog(tmp_path, "vv", sloping(SIZE, SIZE, base=60).astype(np.uint16), nodata=0)
    plain = scene({"vv": file}, sat__orbit_state="ascending")
    for unit, what in (("linear power", "GRD"), ("dB", "negative over most of the Earth")):
        error = refused(tmp_path, "sentinel1", plain, unit=unit, bands={"asc_VV": "vv"})
        assert error.reason is Reason.UNIT
        assert what in error.what


# Other modalities --------------------------------------------------------------------------------------------------


def test_slope_is_that_of_the_elevation_around_the_tile(tmp_path: Path) -> None:
    heights = 3 * np.hypot(*np.mgrid[0:SIZE, 0:SIZE]) ** 1.2
    plain = scene({"data": cog(tmp_path, "dem", heights.astype(np.float32))})
    bands = {"elevation": "data", "slope": {"slope_of": "elevation"}}
    source, [candidate] = found(tmp_path, "aster", plain, bands=bands)
    inner = replace(GRID, left=GRID.left + 100, top=GRID.top - 100, height=16, width=20)
    [(_, observation)] = source.read([Request(candidate, inner, LAT, LON)])
    assert isinstance(observation, Observation)
    assert observation.valid.all()
    rows, columns = slice(10, 26), slice(10, 30)
    np.testing.assert_allclose(observation.values[0], heights[rows, columns], rtol=1e-6)
    steep = slope_degrees(heights.astype(np.float32), x_step=10, y_step=10)
    np.testing.assert_allclose(observation.values[1], steep[rows, columns], rtol=1e-4)
    assert np.ptp(observation.values[1]) > 0.1


def test_a_scale_that_items_state_is_applied_or_ignored_but_not_by_chance(tmp_path: Path) -> None:
    file = cog(tmp_path, "dem", (sloping(SIZE, SIZE) * 10).astype(np.int32))
    plain = scene({"data": {"href": file, "raster:bands": [{"scale": 0.1, "offset": 5}]}})
    bands = {"bands": {"elevation": "data"}}
    error = refused(tmp_path, "aster", plain, **bands)
    assert error.reason is Reason.UNIT
    assert "scale 0.1 and offset 5" in error.what
    np.testing.assert_allclose(
        read(tmp_path, "aster", plain, **bands, item_scale="apply").values[0], sloping(SIZE, SIZE) + 5
    )
    metres = cog(tmp_path, "metres", sloping(SIZE, SIZE).astype(np.float32))
    plain = scene({"data": {"href": metres, "raster:bands": [{"scale": 0.1}]}})
    np.testing.assert_allclose(
        read(tmp_path, "aster", plain, **bands, item_scale="ignore").values[0], sloping(SIZE, SIZE)
    )


def test_classes_and_what_is_none(tmp_path: Path) -> None:
    codes = np.full((SIZE, SIZE), 10, np.uint8)
    codes[:5], codes[5:9], codes[9] = 0, 80, 255
    plain = scene({"map": cog(tmp_path, "map", codes)})
    observation = read(tmp_path, "esa_worldcover", plain, bands={"map": "map"})
    np.testing.assert_array_equal(observation.valid[0], (codes != 0) & (codes != 255))
    np.testing.assert_array_equal(observation.values[0][observation.valid[0]], codes[observation.valid[0]])
    codes[20] = 17
    plain = scene({"map": cog(tmp_path, "another_map", codes)})
    error = refused(tmp_path, "esa_worldcover", plain, bands={"map": "map"})
    assert error.reason is Reason.UNIT
    assert "code 17" in error.what


def test_numbers_that_the_recipe_or_the_item_calls_missing_are(tmp_path: Path) -> None:
    heights = sloping(SIZE, SIZE)
    heights[0], heights[1], heights[2] = -9999, -500, -32768
    asset = {"href": cog(tmp_path, "dem", heights.astype(np.int16)), "raster:bands": [{"nodata": -9999}]}
    observation = read(tmp_path, "aster", scene({"data": asset}), bands={"elevation": "data"}, nodata=-500)
    assert not observation.valid[0, :3].any()
    assert observation.valid[0, 3:].all()


# What an item lacks ------------------------------------------------------------------------------------------------


def test_an_item_without_the_asset_names_those_that_there_are(tmp_path: Path) -> None:
    plain = scene({"blue": "B02.tif", "scl": "SCL.tif"}, s2__processing_baseline="02.12")
    error = refused(tmp_path, "sentinel2", plain, **S2)
    assert error.reason is Reason.NO_ASSET
    assert str(error).startswith("scene: has no asset 'rest'")
    assert "blue, scl" in error.hint


def test_a_file_that_is_not_there_fails_its_own_request_only(tmp_path: Path) -> None:
    plain = sentinel2(tmp_path, s2__processing_baseline="02.12")
    source, [good] = found(tmp_path, "sentinel2", plain, **S2)
    plain["assets"]["rest"]["href"] = str(tmp_path / "gone.tif")
    (tmp_path / "bad").mkdir()
    _, [bad] = found(tmp_path / "bad", "sentinel2", {**plain, "id": "bad"}, **S2)
    requests = [Request(candidate, GRID, LAT, LON) for candidate in (good, bad, good)]
    answers = dict(source.read(requests))
    assert sorted(answers) == [0, 1, 2]
    assert isinstance(answers[1], SourceError)
    assert answers[1].reason is Reason.NO_FILE
    assert isinstance(answers[0], Observation)
    assert isinstance(answers[2], Observation)
    np.testing.assert_array_equal(answers[0].values, answers[2].values)


@pytest.mark.parametrize(
    ("code", "crs"), [(32633, 32633), (4326, None), (3857, None), (3035, 3035), (999999, None), ("x", None)]
)
def test_a_grid_is_only_taken_from_images_in_metres(code: Any, crs: int | None, tmp_path: Path) -> None:
    _, [candidate] = found(tmp_path, "aster", scene({"data": "dem.tif"}, proj__epsg=code), bands={"elevation": "data"})
    assert candidate.crs == crs


# Reflectance of modalities that the user lists: no levels, other names of bands -------------------------------------

RED = {"name": "red", "unit": "reflectance x 10000"}
OTHER = {"name": "s2red", "kind": "continuous map", "bands": [RED], "dtype": "uint16", "missing": [0]}


def listed(
    folder: Path, numbers: npt.NDArray[Any], asset: dict[str, Any], properties: dict[str, Any], **more: Any
) -> Any:
    """What is read of one item of a modality that the published ones lack."""
    numbers[0] = 0
    date = {"date": properties.pop("date", "2023-06-01T10:00:00Z")}
    file = {"href": cog(folder, "red", numbers), **asset}
    plain = item("scene", collection="c", assets={"red": file}, footprint=HERE, **date, proj__epsg=CRS, **properties)
    items = write_items(folder / "items.json", [plain])
    define = {**OTHER, "bands": [{**RED, "unit": more.pop("wanted", RED["unit"])}]}
    if define["bands"][0]["unit"] == "reflectance":
        define |= {"dtype": "float32", "missing": []}
    recipe = {
        "define": [define],
        "archives": {"a": {"kind": "stac", "items": str(items)}},
        "modalities": {
            "s2red": {
                "from": "a",
                "pair": {"rule": "reference"},
                "resampling": "nearest",
                "bands": {"red": "red"},
                **more,
            }
        },
    }
    source = open_sources(read_build_recipe(recipe))["s2red"][0]
    [[candidate]] = source.search([Query("here", LAT, LON, (LON - 0.001, LAT - 0.001, LON + 0.001, LAT + 0.001))])
    [(_, seen_)] = source.read([Request(candidate, GRID, LAT, LON)])
    return seen_


@pytest.mark.parametrize(
    ("offset", "asset", "properties", "options"),
    [
        (1000, {}, {"s2__processing_baseline": "05.09"}, {}),
        (1000, {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, {"platform": "sentinel-2a"}, {}),
        (1000, {}, {"platform": "Sentinel-2B", "processing__version": "05.11"}, {}),
        (1000, {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, {}, {}),
        (1000, {}, {}, {"offset": -1000}),
        (0, {}, {"s2__processing_baseline": "02.12"}, {}),
        (0, {"raster:bands": [{"scale": 0.0001, "offset": -0.1}]}, {"earthsearch__boa_offset_applied": True}, {}),
        (0, {}, {"date": "2019-06-01T10:00:00Z"}, {}),
        (0, {}, {"date": "2019-06-01T10:00:00Z", "processing__version": "05.11"}, {}),
        (0, {}, {}, {"offset": "none"}),
        (0, {}, {"platform": "landsat-8", "processing__version": "05.11"}, {}),
    ],
)
def test_the_offset_of_a_listed_modality_is_undone_by_what_the_item_says(
    offset: int, asset: dict[str, Any], properties: dict[str, Any], options: dict[str, Any], tmp_path: Path
) -> None:
    numbers = (sloping(SIZE, SIZE) + offset).astype(np.uint16)
    observation = listed(tmp_path, numbers, asset, dict(properties), **options)
    assert isinstance(observation, Observation), observation
    np.testing.assert_array_equal(observation.values[0, 1:], sloping(SIZE, SIZE)[1:])
    assert not observation.valid[0, 0].any()
    assert observation.valid[0, 1:].all()


@pytest.mark.parametrize("properties", [{}, {"platform": "sentinel-2a"}, {"processing__version": "05.11"}])
def test_reflectance_of_a_listed_modality_that_cannot_be_decided_is_refused(
    properties: dict[str, Any], tmp_path: Path
) -> None:
    error = listed(tmp_path, sloping(SIZE, SIZE).astype(np.uint16), {}, dict(properties))
    assert isinstance(error, SourceError)
    assert error.reason is Reason.UNIT
    assert "offset: none" in error.hint


@pytest.mark.parametrize(
    ("stored", "said", "properties"),
    [
        (lambda x: x + 1000, {"scale": 0.0001, "offset": -0.1}, {"s2__processing_baseline": "05.09"}),
        (lambda x: x, {"scale": 0.0001, "offset": -0.1}, {"earthsearch__boa_offset_applied": True}),
        (lambda x: (x / 10_000 + 0.2) / 0.0000275, {"scale": 0.0000275, "offset": -0.2}, {"platform": "landsat-8"}),
        (lambda x: (x / 10_000 + 0.2) / 0.0000275, {"scale": 0.0000275, "offset": -0.2}, {}),
    ],
)
def test_reflectance_that_items_scale_comes_out_as_reflectance(
    stored: Any, said: dict[str, float], properties: dict[str, Any], tmp_path: Path
) -> None:
    numbers = stored(sloping(SIZE, SIZE)).round().astype(np.uint16)
    observation = listed(
        tmp_path, numbers, {"raster:bands": [said]}, dict(properties), wanted="reflectance", item_scale="apply"
    )
    assert isinstance(observation, Observation), observation
    np.testing.assert_allclose(observation.values[0, 1:], sloping(SIZE, SIZE)[1:] / 10_000, atol=2e-5)

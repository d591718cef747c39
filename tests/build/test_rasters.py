"""Rasters by path: names of tiles, years, units, slope, what a recipe may not say."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from geopretext.build.archives import open_sources
from geopretext.build.grid import Grid, utm_zone
from geopretext.build.rasters import RastersSource, open_source
from geopretext.build.recipe import ModalityRecipe, Pairing, read_build_recipe
from geopretext.build.source import Observation, Query, Request
from geopretext.build.transfer import TransferSettings
from geopretext.errors import BandError, InputError, Reason, SourceError
from geopretext.modality import PUBLISHED

from .range_server import RangeServer, Status
from .raster_files import pixel_positions, write_cog

WORLDCOVER = "ESA_WorldCover_10m_2020_v100_{ns}{lat:02d}{ew}{lon:03d}_Map.tif"
COPERNICUS = "Copernicus_DSM_COG_10_{ns}{lat:02d}_00_{ew}{lon:03d}_00_DEM.tif"
CANOPY = "ETH_GlobalCanopyHeight_10m_2020_{ns}{lat:02d}{ew}{lon:03d}_Map.tif"
ASTER = "ASTGTMV003_{ns}{lat:02d}{ew}{lon:03d}_dem.tif"


def source_of(
    name: str, bands: Any, archive: Mapping[str, Any] | None = None, *, rule: str = "static", **options: Any
) -> RastersSource:
    modality = PUBLISHED[name].select(tuple(bands)) if isinstance(bands, Mapping) else PUBLISHED[name]
    resampling = "nearest" if modality.kind.is_categorical else "bilinear"
    pair = Pairing(rule=rule)  # type: ignore[arg-type]
    entry = ModalityRecipe(modality, ("files",), pair, resampling, options={"bands": bands, **options})  # type: ignore[arg-type]
    return open_source(entry, {"kind": "rasters", **(archive or {})}, seed=0, where="recipe")


def query(lat: float, lon: float, *, reach: float = 0.004, start: str = "", stop: str = "") -> Query:
    across = reach / np.cos(np.radians(lat))
    west, east = ((lon + side * across + 180) % 360 - 180 for side in (-1, 1))
    times = [np.datetime64(day, "s") if day else None for day in (start, stop)]
    return Query("place", lat, lon, (west, lat - reach, east, lat + reach), *times)


def names(source: RastersSource, wanted: Query, band: str) -> list[str]:
    (candidates,) = source.search([wanted])
    return [asset.href for candidate in candidates for asset in candidate.assets[band]]


def observe(source: RastersSource, grid: Grid, **times: str) -> Observation:
    lat, lon = grid.center
    ((candidate,),) = source.search([query(lat, lon, **times)])
    ((number, seen),) = source.read([Request(candidate, grid, lat, lon)])
    assert number == 0
    if isinstance(seen, SourceError):
        raise seen
    return seen


@pytest.mark.parametrize(
    ("name", "band", "path", "degrees", "lat", "lon", "expected"),
    [
        ("esa_worldcover", "map", WORLDCOVER, 3, 1.5, 7.0, "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif"),
        ("esa_worldcover", "map", WORLDCOVER, 3, -1.5, -7.0, "ESA_WorldCover_10m_2020_v100_S03W009_Map.tif"),
        ("aster", "elevation", COPERNICUS, 1, -0.5, 6.5, "Copernicus_DSM_COG_10_S01_00_E006_00_DEM.tif"),
        ("aster", "elevation", COPERNICUS, 1, 46.5, -120.5, "Copernicus_DSM_COG_10_N46_00_W121_00_DEM.tif"),
        ("canopy_height_eth", "height", CANOPY, 3, 46.5, 8.5, "ETH_GlobalCanopyHeight_10m_2020_N45E006_Map.tif"),
        ("aster", "elevation", ASTER, 1, 0.5, 179.5, "ASTGTMV003_N00E179_dem.tif"),
    ],
)
def test_names_of_tiles(name: str, band: str, path: str, degrees: int, lat: float, lon: float, expected: str) -> None:
    source = source_of(name, {band: {"path": path}}, {"root": "s3://bucket/folder/"}, tiles={"degrees": degrees})
    assert names(source, query(lat, lon), band) == [f"s3://bucket/folder/{expected}"]


def test_tiles_at_borders_and_across_the_antimeridian() -> None:
    source = source_of("aster", {"elevation": {"path": "{ns}{lat:02d}{ew}{lon:03d}.tif"}}, tiles={"degrees": 1})
    assert names(source, query(0.001, 5.999), "elevation") == [
        "N00E005.tif",
        "S01E005.tif",
        "S01E006.tif",
        "N00E006.tif",
    ]
    assert names(source, query(10.5, 179.999), "elevation") == ["N10E179.tif", "N10W180.tif"]
    assert names(source, query(10.5, -179.999), "elevation") == ["N10W180.tif", "N10E179.tif"]
    # a tile that the place does not touch, but that blending across the border looks at
    assert names(source, query(10.5, 5.9955), "elevation") == ["N10E005.tif", "N10E006.tif"]


def test_tiles_named_after_the_upper_corner() -> None:
    tiles = {"degrees": 10, "corner": "north-west"}
    source = source_of("aster", {"elevation": {"path": "{lat:02d}{ns}_{lon:03d}{ew}.tif"}}, tiles=tiles)
    assert names(source, query(5.0, 25.0), "elevation") == ["10N_020E.tif"]
    assert names(source, query(-5.0, 25.0), "elevation") == ["00N_020E.tif"]


def test_one_file_and_its_item() -> None:
    bands = {"height": {"path": "/data/height.tif"}, "std": {"path": "https://host/std.tif?token=1"}}
    source = source_of("canopy_height_eth", bands, {"root": "ignored"})
    ((candidate,),) = source.search([query(1.0, 2.0)])
    assert candidate.item == "height+std"
    assert candidate.assets["height"][0].href == "/data/height.tif"
    assert candidate.time is None
    wanted = query(1.0, 2.0)
    assert source.search([Query(wanted.place, 1.0, 2.0, wanted.box, item="other")]) == [[]]


def test_a_file_a_year() -> None:
    source = source_of("dynamic_world", {"landcover": {"path": "dw_{year}.tif"}}, rule="year", years=[2016, 2018])
    found = source.search(
        [
            query(1.0, 2.0, start="2017-01-01", stop="2018-01-01"),
            query(1.0, 2.0, start="2015-06-01", stop="2030-01-01"),
            query(1.0, 2.0, start="2020-01-01", stop="2021-01-01"),
        ]
    )
    assert [[candidate.item for candidate in pool] for pool in found] == [
        ["dw_2017"],
        ["dw_2016", "dw_2017", "dw_2018"],
        [],
    ]
    assert found[0][0].time == np.datetime64("2017-07-01", "s")


def plane(grid: Grid, *, east: float, north: float) -> tuple[np.ndarray, tuple[float, ...]]:
    """Elevation that rises by so many metres a metre, at 30 m, off the grid's lattice."""
    transform = (30.0, 0.0, grid.left - 317.0, 0.0, -30.0, grid.top + 409.0)
    rows, columns = np.indices((80, 80))
    return (1000.0 + 30.0 * ((columns + 0.5) * east - (rows + 0.5) * north)).astype(np.float32), transform


def test_slope_has_no_border(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    values, transform = plane(grid, east=0.3, north=-0.4)
    write_cog(tmp_path / "dem.tif", values, crs=32632, transform=transform)
    bands = {"elevation": {"path": "dem.tif"}, "slope": {"slope_of": "elevation"}}
    seen = observe(source_of("aster", bands, {"root": str(tmp_path)}), grid)
    assert seen.valid.all()
    columns, rows = pixel_positions(grid, 32632, transform)
    np.testing.assert_allclose(seen.values[0], 1000.0 + 30.0 * (columns * 0.3 + rows * 0.4), atol=1e-2)
    np.testing.assert_allclose(seen.values[1], np.degrees(np.arctan(0.5)), atol=1e-2)


def test_slope_at_the_edge_of_a_tile_is_that_of_a_larger_tile(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=32)
    larger = Grid(32632, grid.left - 100.0, grid.top + 100.0, 52, 52)
    rough = np.random.default_rng(0).normal(500.0, 20.0, (80, 80)).astype(np.float32)
    rough[18, 15] = -9999.0
    _, transform = plane(grid, east=0.0, north=0.0)
    write_cog(tmp_path / "dem.tif", rough, crs=32632, transform=transform, nodata=-9999.0)
    bands = {"elevation": {"path": str(tmp_path / "dem.tif")}, "slope": {"slope_of": "elevation"}}
    source = source_of("aster", bands)
    small, large = observe(source, grid), observe(source, larger)
    np.testing.assert_array_equal(small.valid, large.valid[:, 10:42, 10:42])
    np.testing.assert_allclose(small.values, large.values[:, 10:42, 10:42], atol=1e-6)
    assert 0 < (~small.valid[0]).sum() < (~small.valid[1]).sum()


def test_units_are_converted_and_checked(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=32)
    write_cog(tmp_path / "cm.tif", np.full((64, 64), 2550, np.uint16), crs=32632, transform=grid.transform)
    path = str(tmp_path / "cm.tif")
    seen = observe(source_of("canopy_height_eth", {"height": {"path": path, "unit": "cm"}}), grid)
    np.testing.assert_allclose(seen.values, 25.5)
    seen = observe(source_of("canopy_height_eth", {"height": {"path": path, "scale": 0.02, "offset": -1.0}}), grid)
    np.testing.assert_allclose(seen.values, 50.0)
    with pytest.raises(SourceError, match="'height' cannot be in 'm': most lie outside the valid range") as raised:
        observe(source_of("canopy_height_eth", {"height": {"path": path}}), grid)
    assert raised.value.reason is Reason.UNIT
    assert "correct 'unit'" in raised.value.hint


@pytest.mark.parametrize(
    ("name", "band", "said", "numbers", "missing", "expected"),
    [
        ("sentinel2", "B2", {}, np.uint16, 0, 1500),
        ("sentinel2", "B2", {"offset": -1000}, np.uint16, 0, 500),
        ("canopy_height_eth", "height", {}, np.uint8, 255, 20),
        ("aster", "elevation", {}, np.int16, -32768, 900),
        ("esa_worldcover", "map", {}, np.uint8, 255, 40),
    ],
)
def test_what_means_missing_in_the_modality_does_in_its_files(
    name: str, band: str, said: dict[str, Any], numbers: Any, missing: int, expected: int, tmp_path: Path
) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    stored = np.full((64, 64), expected - said.get("offset", 0), numbers)
    stored[:20] = missing
    write_cog(tmp_path / "a.tif", stored, crs=32632, transform=grid.transform)
    seen = observe(source_of(name, {band: {"path": str(tmp_path / "a.tif"), **said}}), grid)
    assert not seen.valid[0, :20].any()
    assert seen.valid[0, 20:].all()
    assert (seen.values[0, 20:] == expected).all()


def test_what_means_missing_in_the_modality_is_a_number_like_others_in_another_scale(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    write_cog(tmp_path / "a.tif", np.full((64, 64), 255, np.uint8), crs=32632, transform=grid.transform)
    path = str(tmp_path / "a.tif")
    for said, expected in (({"scale": 0.1}, 25.5), ({"unit": "cm"}, 2.55), ({"offset": -250}, 5)):
        seen = observe(source_of("canopy_height_eth", {"height": {"path": path, **said}}), grid)
        assert seen.valid.all()
        np.testing.assert_allclose(seen.values, expected, rtol=1e-6)


def test_reflectance_darker_than_nothing_is_not_missing(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    stored = np.full((64, 64), 1500, np.uint16)
    stored[0] = 980
    write_cog(tmp_path / "a.tif", stored, crs=32632, transform=grid.transform)
    seen = observe(source_of("sentinel2", {"B2": {"path": str(tmp_path / "a.tif"), "offset": -1000}}), grid)
    assert seen.valid.all()
    assert (seen.values[0, 0] == 1).all()


def test_codes_that_are_no_classes_are_refused(tmp_path: Path) -> None:
    grid = Grid.around(lat=46.0, lon=8.0, crs=32632, size=64)
    write_cog(tmp_path / "a.tif", np.full((64, 64), 17, np.uint8), crs=32632, transform=grid.transform)
    with pytest.raises(SourceError, match="code 17 is not a class of 'esa_worldcover'") as raised:
        observe(source_of("esa_worldcover", {"map": {"path": str(tmp_path / "a.tif")}}), grid)
    assert raised.value.reason is Reason.UNIT


def test_missing_tiles_and_failing_servers(tmp_path: Path) -> None:
    grid = Grid.around(lat=0.5, lon=7.0, crs=32632, size=32)
    step = 1 / 1200
    write_cog(
        tmp_path / "N00E006.tif", np.full((1200, 1200), 40, np.uint8), crs=4326, transform=(step, 0, 6.0, 0, -step, 1.0)
    )
    with RangeServer(tmp_path) as server:
        archive = {"root": server.url, "retries": 1, "backoff": 0.001}
        bands, tiles = {"map": {"path": "{ns}{lat:02d}{ew}{lon:03d}.tif"}}, {"degrees": 1}
        strict = source_of("esa_worldcover", bands, archive, tiles=tiles)
        with pytest.raises(SourceError, match="E007") as raised:
            observe(strict, grid)
        assert raised.value.reason is Reason.NO_FILE
        lenient = source_of("esa_worldcover", bands, archive, tiles=tiles, absent="missing")
        seen = observe(lenient, grid)
        columns, _ = pixel_positions(grid, 4326, (step, 0, 6.0, 0, -step, 1.0))
        clear = np.abs(columns - 1200) > 0.01
        np.testing.assert_array_equal(seen.valid[0][clear], (columns < 1200)[clear])
        assert (seen.values[seen.valid] == 40).all()
        server.fault = lambda asked: Status(503) if "E007" in asked.path else None
        with pytest.raises(SourceError) as raised:
            observe(lenient, grid)
        assert raised.value.reason is Reason.SERVER


def test_many_requests_read_each_file_once(tmp_path: Path) -> None:
    grids = [Grid.around(lat=46.0, lon=8.0 + 0.001 * i, crs=32632, size=16) for i in range(20)]
    values, transform = plane(grids[0], east=0.1, north=0.1)
    write_cog(tmp_path / "dem.tif", values, crs=32632, transform=transform)
    with RangeServer(tmp_path) as server:
        bands = {"elevation": {"path": "dem.tif"}, "slope": {"slope_of": "elevation"}}
        source = source_of("aster", bands, {"root": server.url})
        found = source.search([query(*grid.center) for grid in grids])
        requests = [Request(pool[0], grid, *grid.center) for pool, grid in zip(found, grids, strict=True)]
        results = dict(source.read(requests))
        assert sorted(results) == list(range(20))
        assert server.requests() == 1


def test_real_worldcover(test_data: Path) -> None:
    folder = test_data / "esa_worldcover_cog"
    source = source_of(
        "esa_worldcover", {"map": {"path": WORLDCOVER}}, {"root": str(folder)}, tiles={"degrees": 3}, absent="missing"
    )
    with rasterio.open(folder / "ESA_WorldCover_10m_2020_v100_N00E006_Map.tif") as dataset:
        transform = tuple(dataset.transform)[:6]
        for lat, lon in ((0.3, 6.6), (1.5, 7.4), (0.02, 6.51)):
            grid = Grid.around(lat=lat, lon=lon, crs=utm_zone(lat=lat, lon=lon), size=128)
            seen = observe(source, grid)
            columns, rows = pixel_positions(grid, 4326, transform)
            top, left = int(rows.min()), int(columns.min())
            codes = dataset.read(1, window=((top, int(rows.max()) + 1), (left, int(columns.max()) + 1)))
            expected = codes[rows.astype(int) - top, columns.astype(int) - left]
            clear = (np.abs(columns - np.round(columns)) > 0.01) & (np.abs(rows - np.round(rows)) > 0.01)
            np.testing.assert_array_equal(np.where(seen.valid, seen.values, 0)[0][clear], expected[clear])


def test_from_a_recipe_and_across_processes() -> None:
    plain = {
        "name": "r",
        "archives": {"files": {"kind": "rasters", "root": "/data", "timeout": 5}},
        "modalities": {
            "sentinel2": {"from": "files", "pair": {"rule": "reference"}, "bands": {"B4": {"path": "{year}.tif"}}},
            "aster": {
                "from": "files",
                "bands": {"elevation": {"path": COPERNICUS, "nodata": -1}, "slope": {"slope_of": "elevation"}},
                "tiles": {"degrees": 1},
                "absent": "missing",
            },
        },
    }
    (source,) = open_sources(read_build_recipe(plain))["aster"]
    assert isinstance(source, RastersSource)
    assert source.settings == TransferSettings(timeout=5.0)
    assert source.files["elevation"].nodata == (-1.0,)
    assert pickle.loads(pickle.dumps(source)) == source


PATH = {"path": "a.tif"}


@pytest.mark.parametrize(
    ("name", "bands", "options", "says"),
    [
        ("aster", None, {}, "bands is None"),
        ("aster", {"elevation": "a.tif"}, {}, "a mapping of bands to files"),
        ("aster", {"elevation": {}}, {}, "path and slope_of: one of them"),
        ("aster", {"elevation": {**PATH, "slope_of": "slope"}}, {}, "path and slope_of: one of them"),
        ("aster", {"elevation": {**PATH, "bnad": 2}}, {}, "did you mean band"),
        ("aster", {"elevation": {"path": "{lat}.tif"}}, {}, "do not go together"),
        ("aster", {"elevation": PATH}, {"tiles": {"degrees": 1}}, "do not go together"),
        ("aster", {"elevation": {"path": "{x}.tif"}}, {}, "has a field 'x'"),
        ("aster", {"elevation": {"path": "{lat.tif"}}, {}, "is no template"),
        ("aster", {"elevation": {"path": "{year}.tif"}}, {}, "wants a year"),
        ("aster", {"elevation": PATH}, {"tiles": 3}, "tiles: {degrees: 3}"),
        ("aster", {"elevation": PATH}, {"tiles": {"degrees": 7}}, "degrees is 7"),
        ("aster", {"elevation": PATH}, {"absent": "fine"}, "absent is 'fine'"),
        ("aster", {"elevation": PATH}, {"years": [2020, 2016]}, "first and the last"),
        ("aster", {"elevation": PATH}, {"colection": 1}, "no field colection"),
        ("aster", {"elevation": {**PATH, "unit": "feet"}}, {}, "unit 'feet' cannot be converted to 'm'"),
        ("aster", {"elevation": {**PATH, "band": 0}}, {}, "bands count from 1"),
        ("aster", {"slope": {"slope_of": "elevation"}}, {}, "slope_of names 'elevation'"),
        ("esa_worldcover", {"map": {**PATH, "resampling": "cubic"}}, {}, "its values are classes"),
    ],
)
def test_what_a_recipe_may_not_say(name: str, bands: Any, options: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError) as raised:
        source_of(name, bands, **options)
    assert says in str(raised.value)


def test_bands_that_the_modality_has_not() -> None:
    with pytest.raises(BandError, match="no band 'aspect'"):
        source_of("aster", {"aspect": PATH})


def test_settings_of_the_archive_are_checked() -> None:
    with pytest.raises(InputError, match="no field rooot"):
        source_of("aster", {"elevation": PATH}, {"rooot": "x"})
    with pytest.raises(InputError, match="timeout is 0"):
        source_of("aster", {"elevation": PATH}, {"timeout": 0})

"""Real images behind a real STAC API and a web server, read through the sources of the recipe ``mmearth-stac``.

The five TerraMind places are written as COGs as the Planetary Computer has them (Sentinel-2 with the offset of the
processing baseline that the items state, Sentinel-1 as power), on pixel edges at multiples of 10 m, so that tiles must
equal the source pixel by pixel. WorldCover is a complete map; BigEarthNet has bands of 10, 20 and 60 m.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.vrt import WarpedVRT

from geopretext.build.archives import open_sources
from geopretext.build.grid import Grid
from geopretext.build.places import Places
from geopretext.build.raster_reader import close_idle_files
from geopretext.build.recipe import BuildRecipe, load_build_recipe
from geopretext.build.source import Observation, Query, Request
from geopretext.build.stac import StacSource
from geopretext.build.tiles import TileMaker
from geopretext.data.offset import OFFSET
from geopretext.data.terrain import slope_degrees
from geopretext.errors import Reason

from .range_server import RangeServer, Status
from .stac_items import item, outline, rustac_serve, write_cog, write_items

NAMES = ("282D_485L_3_3", "38D_378R_2_3", "433D_629L_3_1", "609U_541L_3_0", "637U_59R_1_3")
WITH_OFFSET = "433D_629L_3_1"
DAYS = dict(zip(NAMES, ("2019-07-21", "2020-06-10", "2020-04-11", "2018-01-11", "2017-10-30"), strict=True))
L2A = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")
SIZE = 128
# rasterio silences this warning of its own in a way that is not safe in threads


def pixels(data: Path, kind: str, name: str) -> tuple[npt.NDArray[Any], int, Affine]:
    """An image of a place, its projection, and its transform with edges at multiples of 10 m."""
    with rasterio.open(data / "terramind" / "examples" / kind / f"{name}.tif") as file:
        a, _, c, _, e, f = tuple(file.transform)[:6]
        return file.read(), file.crs.to_epsg(), Affine(a, 0, 10 * round(c / 10), 0, e, 10 * round(f / 10))


def land_cover(codes: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The first version's grass and scrub are one class, rangeland, in the version that the recipe names."""
    return np.where(np.isin(codes, (3, 6)), 11, codes)


def write_place(data: Path, folder: Path, url: str, name: str) -> list[dict[str, Any]]:
    """COGs of a place, and items as the Planetary Computer writes them."""
    reflectance, crs, transform = pixels(data, "S2L2A", name)
    where = {"crs": crs, "transform": transform}
    here = outline(crs=crs, transform=transform, height=reflectance.shape[1], width=reflectance.shape[2])
    put = partial(write_cog, **where, block=128)

    def href(key: str, bands: npt.NDArray[Any], nodata: float | None) -> str:
        return f"{url}/{put(folder / name / f'{key}.tif', bands, nodata=nodata).relative_to(folder)}"

    make = partial(item, footprint=here, date=f"{DAYS[name]}T10:00:00Z", proj__epsg=crs)
    stored = reflectance.astype(np.int32)
    assets = {band: href(band, stored[number : number + 1].astype(np.uint16), 0) for number, band in enumerate(L2A)}
    assets["SCL"] = href("SCL", np.full((1, *reflectance.shape[1:]), 4, np.uint8), 0)
    baseline = "05.00" if name == WITH_OFFSET else "02.12"
    items = [
        make(
            f"S2_{name}",
            collection="sentinel-2-l2a",
            assets=assets,
            eo__cloud_cover=1.5,
            s2__processing_baseline=baseline,
        )
    ]
    decibel, _, _ = pixels(data, "S1RTC", name)
    power = (10 ** (decibel / 10)).astype(np.float32)
    radar = {key: href(key, power[number : number + 1], -32768) for number, key in enumerate(("vv", "vh"))}
    state = {"sat__orbit_state": "descending" if name < "5" else "ascending"}
    items.append(make(f"S1_{name}", collection="sentinel-1-rtc", assets=radar, **state))
    heights, _, _ = pixels(data, "DEM", name)
    dem = {"data": href("dem", heights.astype(np.float32), None)}
    items.append(make(f"DEM_{name}", collection="cop-dem-glo-30", assets=dem, date="2021-04-22T00:00:00Z"))
    classes = land_cover(pixels(data, "LULC", name)[0])
    year = int(DAYS[name][:4])
    for shift in (-1, 0, 1):
        codes = classes.astype(np.uint8) if shift == 0 else np.full_like(classes, 1, np.uint8)
        interval = {
            "start_datetime": f"{year + shift}-01-01T00:00:00Z",
            "end_datetime": f"{year + shift + 1}-01-01T00:00:00Z",
        }
        cover = {"data": href(f"lulc{year + shift}", codes, 0)}
        items.append(
            make(f"{name}-{year + shift}", collection="io-lulc-annual-v02", assets=cover, **{**interval, "date": None})
        )
    return items


@pytest.fixture(scope="module")
def archive(test_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, RangeServer]]:
    """A STAC API and a web server with the five places."""
    folder = tmp_path_factory.mktemp("archive")
    with RangeServer(folder) as server:
        items = [plain for name in NAMES for plain in write_place(test_data, folder, server.url, name)]
        with rustac_serve(write_items(folder / "items.json", items)) as url:
            yield url, server


def recipe(url: str, **more: Any) -> BuildRecipe:
    """The recipe that ships, asking another catalogue, without what is not from one."""
    archive = {f"archives.planetary-computer.{key}": value for key, value in (("url", url), ("backoff", 0.01))}
    others = {"modalities.canopy_height_eth": None, "modalities.era5": None}
    return load_build_recipe(
        "mmearth-stac", {**archive, **others, "archives.planetary-computer.requests_per_second": 0, **more}
    )


def places(data: Path) -> Places:
    """The middles of the images."""
    lat, lon = [], []
    for name in NAMES:
        image, crs, transform = pixels(data, "S2L2A", name)
        _, height, width = image.shape
        x, y = transform.c + 10 * width / 2, transform.f - 10 * height / 2
        east, north = pyproj.Transformer.from_crs(crs, 4326, always_xy=True).transform(x, y)
        lat.append(north)
        lon.append(east)
    unknown = np.full(len(NAMES), -1, np.int16)
    return Places(np.array(NAMES), np.array(lat), np.array(lon), unknown, unknown)


def window(data: Path, kind: str, name: str, transform: npt.NDArray[np.float64]) -> npt.NDArray[Any]:
    """The pixels of an image that a tile with this transform covers."""
    image, _, where = pixels(data, kind, name)
    column, row = round((transform[2] - where.c) / 10), round((where.f - transform[5]) / 10)
    return image[:, row : row + SIZE, column : column + SIZE]


def test_tiles_equal_their_sources_pixel_by_pixel(archive: tuple[str, RangeServer], test_data: Path) -> None:
    made = TileMaker(recipe(archive[0])).make(places(test_data))
    assert [outcome.detail for outcome in made.outcomes] == [""] * len(NAMES)
    assert made.batch is not None
    arrays, coordinates = made.batch.arrays, made.batch.coordinates
    names = recipe(archive[0]).modalities["sentinel2"].modality.band_names
    order = [L2A.index(f"B{band[1:]:0>2}" if band != "B8A" else band) for band in names]
    for number, name in enumerate(coordinates.tile_id):
        transform = coordinates.transform[number]
        record = json.loads(coordinates.source_items[number])
        [scene] = record["sentinel2"]
        assert scene["item"] == f"S2_{name}"
        assert scene.get("offset_undone", 0) == OFFSET * (name == WITH_OFFSET)
        assert "offset_doubtful" not in scene
        reflectance = window(test_data, "S2L2A", name, transform)[order].astype(np.int64)
        expected = np.maximum(reflectance - scene.get("offset_undone", 0), 1)
        np.testing.assert_array_equal(arrays["sentinel2"][number], expected)
        assert (arrays["sentinel2_scl"][number] == 4).all()
        decibel = window(test_data, "S1RTC", name, transform)
        first = 4 if name < "5" else 0
        np.testing.assert_allclose(arrays["sentinel1"][number, first : first + 2], decibel, atol=2e-5)
        assert np.isnan(np.delete(arrays["sentinel1"][number], [first, first + 1], axis=0)).all()
        classes = land_cover(window(test_data, "LULC", name, transform))
        np.testing.assert_array_equal(arrays["io_land_cover"][number], classes)
        heights = window(test_data, "DEM", name, transform)[0]
        np.testing.assert_array_equal(arrays["aster"][number, 0], np.rint(heights))
        slope = slope_degrees(heights, x_step=10, y_step=10)[1:-1, 1:-1]
        np.testing.assert_allclose(arrays["aster"][number, 1, 1:-1, 1:-1], slope, atol=0.51)
        assert record["esa_worldcover"][0]["missing"] == Reason.NO_IMAGE
    assert "esa_worldcover" not in arrays


def test_web_servers_that_fail_at_first_change_nothing(archive: tuple[str, RangeServer], test_data: Path) -> None:
    url, server = archive
    calm = TileMaker(recipe(url)).make(places(test_data)).batch
    server.clear()
    close_idle_files()
    server.fault = lambda asked: Status(503) if asked.number == 0 else None
    try:
        stormy = TileMaker(recipe(url)).make(places(test_data)).batch
    finally:
        server.fault = lambda _: None
    assert any(answered.status == 503 for answered in server.log)
    assert calm is not None
    assert stormy is not None
    for name, array in calm.arrays.items():
        np.testing.assert_array_equal(array, stormy.arrays[name])


def test_an_offset_that_the_item_denies_is_noted(archive: tuple[str, RangeServer], test_data: Path) -> None:
    [source] = open_sources(recipe(archive[0], **{"modalities.sentinel2.offset": "none"}))["sentinel2"]
    image, crs, transform = pixels(test_data, "S2L2A", WITH_OFFSET)
    grid = Grid(crs=crs, left=transform.c, top=transform.f, height=SIZE, width=SIZE)
    lat, lon = grid.center
    [[candidate]] = source.search([Query("x", lat, lon, grid.outline().bounds)])
    [(_, observation)] = source.read([Request(candidate, grid, lat, lon)])
    assert isinstance(observation, Observation)
    assert "as if the offset were there" in observation.notes["offset_doubtful"]
    np.testing.assert_array_equal(observation.values[0], image[0, :SIZE, :SIZE])


# Other real images, read from disk -----------------------------------------------------------------------------------


@contextmanager
def local(folder: Path, items: list[dict[str, Any]], modality: str, **more: Any) -> Iterator[StacSource]:
    """A source of the recipe that ships, over a file of items."""
    file = str(write_items(folder / "items.json", items))
    archive = {"archives.planetary-computer": {"kind": "stac", "items": file}}
    [source] = open_sources(load_build_recipe("mmearth-stac", {**archive, **more}))[modality]
    assert isinstance(source, StacSource)
    yield source


def warped(path: Path, grid: Grid, resampling: rasterio.enums.Resampling, **more: Any) -> npt.NDArray[Any]:
    """What GDAL makes of a file on a grid."""
    options = {"crs": f"EPSG:{grid.crs}", "transform": Affine(*grid.transform), "resampling": resampling, **more}
    with rasterio.open(path) as file, WarpedVRT(file, height=grid.height, width=grid.width, **options) as vrt:
        return vrt.read(1)


def test_worldcover_of_the_version_asked_for(test_data: Path, tmp_path: Path) -> None:
    files = {
        version: next((test_data / "esa_worldcover_cog").glob(f"*{year}*.tif"))
        for version, year in (("1.0.0", 2020), ("2.0.0", 2021))
    }
    items = []
    for version, file in files.items():
        with rasterio.open(file) as dataset:
            here = outline(crs=4326, transform=dataset.transform, height=dataset.height, width=dataset.width)
        properties = {"esa_worldcover__product_version": version, "proj__epsg": 4326}
        items.append(
            item(file.stem, collection="esa-worldcover", assets={"map": str(file)}, footprint=here, **properties)
        )
    grid = Grid.around(lat=0.38, lon=6.705, crs=32632, size=SIZE)
    with local(tmp_path, items, "esa_worldcover") as source:
        [[candidate]] = source.search([Query("x", 0.38, 6.705, grid.outline().bounds)])
        assert candidate.item == files["1.0.0"].stem
        assert candidate.crs is None
        [(_, observation)] = source.read([Request(candidate, grid, 0.38, 6.705)])
    assert isinstance(observation, Observation)
    expected = warped(files["1.0.0"], grid, rasterio.enums.Resampling.nearest)
    assert len(np.unique(expected)) > 1
    assert np.mean(observation.values[0] == expected) > 0.999
    np.testing.assert_array_equal(observation.valid[0], observation.values[0] != 0)


@pytest.mark.parametrize("resampling", ["nearest", "bilinear"])
def test_bands_of_10_20_and_60_metres_come_onto_one_grid(resampling: str, test_data: Path, tmp_path: Path) -> None:
    folder = sorted((test_data / "bigearthnet_v1_tiny" / "S2").iterdir())[0]
    files = {path.stem.split("_")[-1]: path for path in folder.glob("*.tif")}
    with rasterio.open(files["B02"]) as dataset:
        crs, transform, size = dataset.crs.to_epsg(), dataset.transform, dataset.height
    here = outline(crs=crs, transform=transform, height=size, width=size)
    assets = {name: str(path) for name, path in files.items()}
    scene = item(folder.name, collection="sentinel-2-l2a", assets=assets, footprint=here, date="2017-06-17T11:33:21Z")
    grid = Grid(crs=crs, left=transform.c, top=transform.f, height=size, width=size)
    lat, lon = grid.center
    with local(tmp_path, [scene], "sentinel2", **{"modalities.sentinel2.resampling": resampling}) as source:
        [[candidate]] = source.search([Query("x", lat, lon, grid.outline().bounds)])
        [(_, observation)] = source.read([Request(candidate, grid, lat, lon)])
    assert isinstance(observation, Observation)
    inner = slice(6, -6)
    for number, name in enumerate(source.modality.band_names):
        path = files[f"B{name[1:]:0>2}" if name != "B8A" else name]
        with rasterio.open(path) as dataset:
            native = dataset.read(1)
        factor = size // native.shape[0]
        assert observation.valid[number].all()
        if resampling == "nearest" or factor == 1:
            np.testing.assert_array_equal(observation.values[number], native.repeat(factor, 0).repeat(factor, 1))
        else:
            expected = warped(path, grid, rasterio.enums.Resampling.bilinear, dtype="float64")
            np.testing.assert_allclose(observation.values[number][inner, inner], expected[inner, inner], rtol=0.01)

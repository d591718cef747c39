"""The Earth Engine source: the official client, for real, against a server on loopback that computes what it asks."""

import json
import pickle
import time
from collections.abc import Iterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import ee
import numpy as np
import pytest
import shapely
from google.auth.credentials import AnonymousCredentials

from geopretext.build import earthengine
from geopretext.build.archives import open_sources
from geopretext.build.earthengine import EarthEngineSource
from geopretext.build.earthengine_client import decode, pixel_grid, shared_client
from geopretext.build.grid import Grid
from geopretext.build.places import Places
from geopretext.build.recipe import load_build_recipe, read_build_recipe
from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.build.tiles import TileMaker
from geopretext.errors import Reason, RecipeError, SourceError
from geopretext.modality import MMEARTH, PRETEXT

from .earthengine_server import Service, npy, refusal, serve
from .earthengine_world import Picture, World

LAT, LON = 51.5, -0.1
GRID = Grid.around(lat=LAT, lon=LON, crs=32630, size=8)
QUERY = Query("a", LAT, LON, (-0.11, 51.49, -0.09, 51.51), np.datetime64("2019-01-01"), np.datetime64("2020-01-01"))
HERE, BESIDE = shapely.box(-1, 51, 1, 52), shapely.box(-0.105, 51, 1, 52)
MILLION = 1e6


def at(date: str) -> int:
    return int(np.datetime64(date, "ms").astype(np.int64))


def image(item: str, date: str, *bands: str, footprint: Any = HERE, crs: str = "EPSG:32630", **more: Any) -> Picture:
    """Band number n is 1000 n plus the column of the pixel (SCL just that), masked in the first row of the grid."""

    def field(number: int) -> Any:
        return lambda x, y: np.where(y > GRID.top - 10, np.nan, 1000 * number + (x - GRID.left - 5) / 10)

    fields = {name: field(number if name != "SCL" else 0) for number, name in enumerate(bands)}
    return Picture(item, fields, {"system:time_start": at(date), **more}, footprint, crs)


def flat(item: str, value: float, band: str, date: str = "2019-01-01") -> Picture:
    fields = {band: lambda x, y: np.full(x.shape, value)}
    return Picture(item, fields, {"system:time_start": at(date)})


L2A, L1C, S1, DW = (
    "COPERNICUS/S2_SR_HARMONIZED",
    "COPERNICUS/S2_HARMONIZED",
    "COPERNICUS/S1_GRD",
    "GOOGLE/DYNAMICWORLD/V1",
)
OPTICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
ETH = "users/nlang/ETH_GlobalCanopyHeight"


def climate(month: str, value: float) -> Picture:
    bands = ("temperature_2m", "temperature_2m_min", "temperature_2m_max", "total_precipitation_sum")
    numbers = (280 + value, 270 + value, 290 + value, value / 100)
    fields = {
        name: lambda x, y, number=number: np.full(x.shape, float(number))
        for name, number in zip(bands, numbers, strict=True)
    }
    return Picture(
        f"ECMWF/ERA5_LAND/MONTHLY_AGGR/{month.replace('-', '')}", fields, {"system:time_start": at(f"{month}-01")}
    )


def pictures() -> list[Picture]:
    cloud = "CLOUDY_PIXEL_PERCENTAGE"
    months = np.arange(np.datetime64("2018-02"), np.datetime64("2019-03"))
    return [
        image(f"{L2A}/clear", "2019-06-01T11:00", *OPTICAL, "SCL", "QA60", **{cloud: 3.5}, PRODUCT_ID="S2A_clear"),
        image(f"{L2A}/beside", "2019-06-02T11:00", *OPTICAL, footprint=BESIDE, **{cloud: 1.0}),
        image(f"{L2A}/before", "2018-12-31T11:00", *OPTICAL, **{cloud: 1.0}),
        image(f"{L1C}/raw", "2019-07-01T11:00", *OPTICAL[:-2], "B10", *OPTICAL[-2:], "QA60", crs="EPSG:32631"),
        image(f"{S1}/up", "2019-06-03", "VV", "VH", "angle", instrumentMode="IW", orbitProperties_pass="ASCENDING"),
        image(f"{S1}/down", "2019-06-04", "HH", instrumentMode="IW", orbitProperties_pass="DESCENDING"),
        image(f"{S1}/wide", "2019-06-05", "VV", instrumentMode="EW", orbitProperties_pass="DESCENDING"),
        flat("projects/sat-io/open-datasets/ASTER/GDEM", -20.0, "b1"),
        flat(f"{ETH}_2020_10m_v1", 0.0, "b1"),
        flat(f"{ETH}SD_2020_10m_v1", 7.25, "b1"),
        flat("ESA/WorldCover/v100/2020", 80, "Map"),
        flat(f"{DW}/a", 0, "label", "2019-02-01"),
        flat(f"{DW}/b", 0, "label", "2019-03-01"),
        flat(f"{DW}/c", 4, "label", "2019-04-01"),
        flat(f"{DW}/d", 7, "label", "2018-04-01"),
        *(climate(str(month), number) for number, month in enumerate(months)),
    ]


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    """The official client, initialised by its user, at a server on loopback."""
    monkeypatch.setattr(ee.deprecation, "_FetchDataCatalogStac", dict)
    monkeypatch.setattr("googleapiclient.http.time", SimpleNamespace(sleep=lambda _: None, time=time.time))
    with serve(World(pictures())) as service:
        ee.Reset()
        ee.Initialize(AnonymousCredentials(), project="test-project", url=service.url)
        session = ee.data._get_state().requests_session
        yield service
        session.close()
        ee.Reset()


def source(name: str) -> EarthEngineSource:
    recipe = load_build_recipe("mmearth-earthengine")
    return earthengine.open_source(
        recipe.modalities[name], recipe.archives["earthengine"], seed=0, where="mmearth-earthengine"
    )


def read(opened: EarthEngineSource, *candidates: Candidate) -> list[Observation | SourceError]:
    seen = dict(opened.read([Request(candidate, GRID, LAT, LON) for candidate in candidates]))
    return [seen[number] for number in range(len(candidates))]


def observed(seen: Observation | SourceError) -> Observation:
    assert isinstance(seen, Observation), seen
    return seen


def failure(seen: Observation | SourceError) -> SourceError:
    assert isinstance(seen, SourceError), seen
    return seen


def test_the_recipe_has_all_modalities_and_opens_every_source() -> None:
    recipe = load_build_recipe("mmearth-earthengine")
    assert sorted(recipe.modalities) == sorted(MMEARTH)
    sources = pickle.loads(pickle.dumps(open_sources(recipe)))
    assert set(sources) == set(recipe.modalities) - {"lat", "lon", "month", "biome", "ecoregion"}
    for name, (opened,) in sources.items():
        assert opened.modality == MMEARTH[name]
    assert set(recipe.modalities) >= {modality.name for modality in PRETEXT}


def test_images_that_cover_the_place_in_time_are_found_for_many_places_at_once(service: Service) -> None:
    nowhere = replace(QUERY, place="b", box=(40.0, 10.0, 40.1, 10.1))
    found, nothing = source("sentinel2").search([QUERY, nowhere])
    assert len(service.bodies) == 1
    clear, raw = sorted(found, key=lambda candidate: candidate.item, reverse=True)
    assert nothing == []
    assert (clear.item, clear.level, clear.crs, clear.cloud) == (f"{L2A}/clear", "L2A", 32630, 3.5)
    assert clear.time == np.datetime64("2019-06-01T11:00:00")
    assert clear.notes == {"PRODUCT_ID": "S2A_clear"}
    assert (raw.item, raw.level, raw.crs, raw.cloud) == (f"{L1C}/raw", "L1C", 32631, None)
    assert service.headers[0]["X-Goog-User-Project"] == "test-project"


def test_candidates_do_not_depend_on_what_else_is_asked(service: Service) -> None:
    opened = source("sentinel1")
    alone = opened.search([QUERY])
    many = replace(opened, settings=replace(opened.settings, places_per_request=2)).search([QUERY] * 5)
    assert many == alone * 5
    assert {(candidate.item, candidate.group) for candidate in alone[0]} == {
        (f"{S1}/up", "asc"),
        (f"{S1}/down", "desc"),
    }


def test_pixels_come_on_the_very_grid_and_missing_is_not_zero(service: Service) -> None:
    (seen,) = read(source("sentinel2"), Candidate(f"{L2A}/clear", level="L2A"))
    seen = observed(seen)
    names = MMEARTH["sentinel2"].band_names
    assert not seen.valid[names.index("B10")].any()
    for name in OPTICAL:
        band = names.index(name)
        assert not seen.valid[band, 0].any()
        assert seen.valid[band, 1:].all()
        assert (seen.values[band, 1:] == 1000 * OPTICAL.index(name) + np.arange(8)).all()
    # the first band at the left edge is an observed 0
    assert seen.values[names.index("B1"), 1, 0] == 0
    method, body = service.bodies[0]
    assert method == "image:computePixels"
    assert body["fileFormat"] == "NPY"
    assert body["bandIds"] == list(names)
    assert body["grid"] == pixel_grid(GRID)
    assert body["grid"]["affineTransform"]["translateY"] == GRID.top
    assert "resample bilinear" in service.world.called


def test_bands_of_another_orbit_or_polarisation_are_missing(service: Service) -> None:
    up, down = read(source("sentinel1"), Candidate(f"{S1}/up", group="asc"), Candidate(f"{S1}/down", group="desc"))
    names = MMEARTH["sentinel1"].band_names
    there = [
        [name for name, valid in zip(names, observed(seen).valid, strict=True) if valid.any()] for seen in (up, down)
    ]
    assert there == [["asc_VV", "asc_VH"], ["desc_HH"]]


def test_side_products_are_those_of_the_very_image(service: Service) -> None:
    scl, mask = source("sentinel2_scl"), source("sentinel2_cloudmask")
    raw = replace(QUERY, item=f"{L1C}/raw")
    assert scl.search([raw]) == [[]]
    ((found,),) = scl.search([replace(QUERY, item=f"{L2A}/clear")])
    assert (found.item, found.level) == (f"{L2A}/clear", "")
    (seen,) = read(scl, found)
    assert (observed(seen).values[0, 1:] == np.arange(8)).all()
    ((found,),) = mask.search([raw])
    read(mask, found)
    assert not any(called.startswith("resample") for called in service.world.called)
    (seen,) = read(source("sentinel2_cloudprod"), Candidate(f"{L2A}/clear"))
    assert not observed(seen).valid.any()


def test_static_layers_are_read_from_one_image_or_one_a_band(service: Service) -> None:
    ((found,),) = source("aster").search([QUERY])
    (terrain,) = read(source("aster"), found)
    assert (observed(terrain).values[0] == -20).all()
    assert np.allclose(observed(terrain).values[1], -0.2)
    assert "Terrain.slope" in service.world.called
    (canopy,) = read(source("canopy_height_eth"), *source("canopy_height_eth").search([QUERY])[0])
    assert observed(canopy).valid.all()
    assert observed(canopy).values[:, 0, 0].tolist() == [0, 7.25]
    (cover,) = read(source("esa_worldcover"), *source("esa_worldcover").search([QUERY])[0])
    assert (observed(cover).values == 80).all()


def test_dynamic_world_is_the_mode_of_the_year_from_class_one(service: Service) -> None:
    opened = source("dynamic_world")
    ((found,),) = opened.search([QUERY])
    assert found.item == f"{DW} mode 2019-01-01/2020-01-01"
    (seen,) = read(opened, found)
    assert (observed(seen).values == 1).all()
    empty = replace(QUERY, start=np.datetime64("2030-01-01"), stop=np.datetime64("2031-01-01"))
    (seen,) = read(opened, *opened.search([empty])[0])
    assert not observed(seen).valid.any()


def test_climate_is_read_by_the_month_for_many_places_at_once(service: Service) -> None:
    opened = source("era5")
    query = replace(QUERY, start=np.datetime64("2019-02-11T10:00"), stop=np.datetime64("2019-03-01"))
    ((found,),) = opened.search([query])
    assert found.item == "ECMWF/ERA5_LAND/MONTHLY_AGGR/201902"
    seen, other = read(opened, found, found)
    assert [method for method, _ in service.bodies] == ["value:compute"]
    # months are numbered from 0, February 2018, to 12, February 2019
    year = [280 + 6, 270, 290 + 12, 78 / 100]
    wanted = [291, 281, 301, 0.11, 292, 282, 302, 0.12, *year]
    assert np.allclose(observed(seen).values, wanted)
    assert observed(seen).valid.all()
    assert np.array_equal(observed(other).values, observed(seen).values)


def test_a_year_that_lacks_a_month_is_missing_and_says_so(service: Service) -> None:
    opened = source("era5")
    early = Candidate("x/201804", time=np.datetime64("2018-04-01T00:00:00"))
    (seen,) = read(opened, early)
    assert observed(seen).valid.tolist() == [True] * 8 + [False] * 4
    assert observed(seen).notes["lacking"][0] == "year_avg_temp"
    (seen,) = read(opened, replace(early, time=np.datetime64("2019-04-01T00:00:00")))
    assert failure(seen).reason is Reason.NO_DATA
    assert "2019-04 is missing; there are 2018-04 to 2019-02" in failure(seen).what


def test_over_the_sea_there_is_no_climate(service: Service) -> None:
    sea = [
        replace(picture, bands=dict.fromkeys(picture.bands, lambda x, y: np.full(x.shape, np.nan)))
        for picture in pictures()
        if "ERA5" in picture.id
    ]
    service.world = World(sea)
    (seen,) = read(source("era5"), Candidate("x/201902", time=np.datetime64("2019-02-01T00:00:00")))
    assert failure(seen).reason is Reason.NO_DATA


def test_climate_in_another_unit_is_refused(service: Service) -> None:
    opened = source("era5")
    celsius = replace(opened.product, variables={**opened.product.variables, "mean": "total_precipitation_sum"})
    found = Candidate("x/201902", time=np.datetime64("2019-02-01T00:00:00"))
    (seen,) = read(replace(opened, product=celsius), found)
    assert failure(seen).reason is Reason.UNIT


def test_a_tile_has_all_that_the_recipe_names(service: Service) -> None:
    later = [climate(str(month), 0) for month in np.arange(np.datetime64("2019-03"), np.datetime64("2019-08"))]
    others = (f"{L1C}/raw", f"{L2A}/before")
    service.world = World([picture for picture in pictures() if picture.id not in others] + later)
    recipe = load_build_recipe("mmearth-earthengine", {"tile_size": 8, "modalities.sentinel2.pair.min_covered": 0.5})
    biomes = np.array([3, 4], np.int16)
    places = Places(np.array(["a", "b"]), np.array([LAT, 10.0]), np.array([LON, 40.0]), biomes, biomes)
    made = TileMaker(recipe).make(places)
    assert [outcome.reason for outcome in made.outcomes] == [None, Reason.NO_IMAGE]
    assert made.batch is not None
    assert set(made.batch.arrays) == set(MMEARTH) - {"sentinel2_cloudprod"}
    assert np.isfinite(made.batch.arrays["era5"]).all()
    kept = json.loads(str(made.batch.coordinates.source_items[0]))
    assert kept["sentinel2"][0]["item"] == f"{L2A}/clear"
    assert {entry["group"] for entry in kept["sentinel1"]} == {"asc", "desc"}
    assert kept["sentinel2_cloudprod"] == [{"missing": "no data", "why": kept["sentinel2_cloudprod"][0]["why"]}]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_the_service_is_asked_again_when_it_falters(service: Service, status: int) -> None:
    service.fault = lambda _method, _body: refusal(status, "later") if len(service.bodies) < 3 else None
    (seen,) = read(source("aster"), Candidate("projects/sat-io/open-datasets/ASTER/GDEM"))
    assert observed(seen).valid.all()
    assert len(service.bodies) == 3


@pytest.mark.parametrize(
    ("status", "message", "reason"),
    [
        (429, "Too many concurrent aggregations.", Reason.THROTTLED),
        (503, "The service is currently unavailable.", Reason.SERVER),
        (403, "Caller does not have required permission to use project.", Reason.FORBIDDEN),
        (401, "", Reason.FORBIDDEN),
        (400, "Computation timed out.", Reason.TIMEOUT),
        (400, "Image.load: Image asset 'x' not found (does not exist or caller does not have access).", Reason.NO_FILE),
        (400, "Invalid JSON payload received.", Reason.SERVER),
    ],
)
def test_failures_are_told_by_their_reasons(service: Service, status: int, message: str, reason: Reason) -> None:
    service.fault = lambda _method, _body: refusal(status, message)
    ee.data.setMaxRetries(1)
    (seen,) = read(source("aster"), Candidate("x"))
    assert failure(seen).reason is reason
    assert message.rstrip(".") in failure(seen).what
    (answer,) = source("sentinel1").search([QUERY])
    assert isinstance(answer, SourceError)
    assert answer.reason is reason


def test_a_request_that_fails_costs_its_own_places_only(service: Service) -> None:
    service.fault = lambda _method, body: (
        refusal(400, "Invalid JSON payload received.") if "9.75" in str(body) else None
    )
    opened = source("sentinel1")
    opened = replace(opened, settings=replace(opened.settings, places_per_request=1))
    bad = replace(QUERY, box=(9.75, 1.0, 9.76, 1.01))
    first, failed, second = opened.search([QUERY, bad, QUERY])
    assert isinstance(failed, SourceError)
    assert first == second == opened.search([QUERY])[0]
    assert len(first) == 2


def test_an_asset_that_is_not_there_is_no_file(service: Service) -> None:
    (seen,) = read(source("sentinel2"), Candidate(f"{L2A}/gone"))
    assert failure(seen).reason is Reason.NO_FILE


def test_a_server_that_is_not_there_is_told(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    ee.data.setMaxRetries(1)
    monkeypatch.setattr(ee.data._get_state().cloud_api_resource_raw, "_baseUrl", "http://127.0.0.1:9")
    (seen,) = read(source("aster"), Candidate("x"))
    assert failure(seen).reason is Reason.SERVER


@pytest.mark.parametrize("content", [b"", b"PK", npy(np.zeros((8, 8))), npy(np.zeros((4, 4), [("elevation", "<f4")]))])
def test_pixels_that_cannot_be_decoded_are_asked_for_again(service: Service, content: bytes) -> None:
    service.fault = lambda _method, _body: (200, content) if len(service.bodies) == 1 else None
    (seen,) = read(source("aster"), Candidate("x"))
    assert observed(seen).valid.all()
    service.fault = lambda _method, _body: (200, content)
    (seen,) = read(source("aster"), Candidate("x"))
    assert failure(seen).reason is Reason.CORRUPT


def test_nothing_is_unpickled() -> None:
    with pytest.raises(ValueError, match="allow_pickle=False"):
        decode(npy(np.array([{"a": 1}], dtype=object)), GRID, ("a",))


def test_a_request_that_asks_for_too_much_is_made_in_halves(service: Service) -> None:
    def limited(_method: str, body: dict[str, Any]) -> tuple[int, bytes] | None:
        places = str(body).count("GeometryConstructors.Polygon")
        return refusal(400, "User memory limit exceeded.") if places > 2 else None

    service.fault = limited
    boxes = [(LON - 0.01, LAT - 0.01, LON + 0.01 + 0.001 * n, LAT + 0.01) for n in range(7)]
    found = source("sentinel1").search([replace(QUERY, box=box) for box in boxes])
    assert [len(part) for part in found] == [2] * 7
    assert len(service.bodies) > 4


def test_no_more_requests_at_once_than_allowed(service: Service) -> None:
    def slowly(_method: str, _body: dict[str, Any]) -> None:
        time.sleep(0.02)

    service.fault = slowly
    opened = source("esa_worldcover")
    opened = replace(opened, settings=replace(opened.settings, concurrency=3))
    assert all(isinstance(seen, Observation) for seen in read(opened, *[Candidate("x")] * 12))
    assert 1 < service.most_at_once <= 3


def test_without_credentials_the_hint_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "CLOUDSDK_CONFIG"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    for name in ("GOOGLE_APPLICATION_CREDENTIALS", "EARTHENGINE_TOKEN", "GOOGLE_CLOUD_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    shared_client.cache_clear()
    ee.Reset()
    (seen,) = read(source("aster"), Candidate("x"))
    assert failure(seen).reason is Reason.FORBIDDEN
    assert "earthengine authenticate" in failure(seen).hint


BANDS = {"elevation": "b1", "slope": {"band": "b1", "slope": True}}


@pytest.mark.parametrize(
    ("archive", "entry", "text"),
    [
        ({"projct": "x"}, {"image": "a", "bands": BANDS}, "no field projct"),
        ({"concurrency": 0}, {"image": "a", "bands": BANDS}, "concurrency is 0"),
        ({"url": "ftp://x"}, {"image": "a", "bands": BANDS}, "url is 'ftp://x'"),
        ({}, {"bands": BANDS}, "there is no asset"),
        ({}, {"image": "a", "collection": "b", "bands": BANDS}, "there is collection and image"),
        ({}, {"image": "a"}, "names no bands"),
        ({}, {"image": "a", "bands": {"elevation": {"scale": 2}}}, "names no band of an image"),
        ({}, {"image": "a", "bands": {"elevation": {"band": "b", "scal": 2}}}, r"no field bands\.elevation\.scal"),
        ({}, {"image": "a", "bands": BANDS, "resampling": "average"}, "resampling is average"),
        ({}, {"image": "a", "bands": BANDS, "pair": {"rule": "year"}}, "image has no dates"),
        ({}, {"collection": "a", "bands": BANDS, "pair": {"rule": "year"}}, "reduce is ''"),
        ({}, {"collection": "a", "bands": BANDS, "reduce": "mode"}, "reduce is 'mode' with the rule 'static'"),
        ({}, {"collection": "a", "bands": BANDS, "group_by": "x", "pair": {"rule": "nearest"}}, "go together"),
        ({}, {"collections": {"a": "b", "c": "d"}, "bands": BANDS}, "takes one collection, not 2"),
        ({}, {"collection": "COPERNICUS/S2_SR", "bands": BANDS}, "carries the .1000 offset"),
        ({}, {"image": "a", "bands": {"elevation": {"band": "b", "group": "asc"}}}, "group is 'asc'"),
        ({}, {"image": "a", "bands": BANDS, "pair": {"rule": "month"}}, "for climate vectors"),
        ({}, {"image": "a", "bandz": BANDS}, "no field bandz"),
        ({}, {"collection": "a", "bands": BANDS, "pair": {"rule": "nearest"}}, "slope are for the rule 'static'"),
    ],
)
def test_options_that_do_not_fit_are_named(archive: dict[str, Any], entry: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        _open("aster", archive, entry)


@pytest.mark.parametrize(
    ("entry", "text"),
    [
        ({"collection": "a", "variables": {"mean": "t"}}, "is read by the rule 'month'"),
        ({"collection": "a", "pair": {"rule": "month"}}, "names no variables"),
        ({"collection": "a", "pair": {"rule": "month"}, "variables": {"average": "t"}}, "variables names 'average'"),
        ({"collection": "a", "pair": {"rule": "month"}, "variables": {"mean": "t"}, "year_months": 0}, "year_months"),
    ],
)
def test_options_of_climate_that_do_not_fit_are_named(entry: dict[str, Any], text: str) -> None:
    with pytest.raises(RecipeError, match=text):
        _open("era5", {}, entry)


def _open(name: str, archive: dict[str, Any], entry: dict[str, Any]) -> EarthEngineSource:
    plain = {
        "archives": {"here": {"kind": "earthengine", **archive}},
        "modalities": {"sentinel2": {"from": "here", "pair": {"rule": "reference"}}, name: {"from": "here", **entry}},
    }
    recipe = read_build_recipe(plain)
    return earthengine.open_source(recipe.modalities[name], recipe.archives["here"], seed=0, where="recipe")

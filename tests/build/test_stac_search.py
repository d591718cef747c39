"""Searching STAC catalogues: what is found for a place depends neither on its company nor on the server's filters."""

import json
import logging
import pickle
import re
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

from geopretext.build.archives import open_sources
from geopretext.build.recipe import read_build_recipe
from geopretext.build.source import Candidate, Query
from geopretext.build.stac import StacSource
from geopretext.build.stac_items import read_item
from geopretext.errors import Reason, SourceError

from .stac_items import item, rustac_serve, square, write_items
from .stac_server import FILTER, QUERY, Fault, StacServer, stac_server

S2 = "sentinel-2-l2a"
QUICK = {"backoff": 0.01, "retries": 3, "timeout": 5}


def source(archive: dict[str, Any], *, rule: str = "nearest", max_cloud: float = 100, **options: Any) -> StacSource:
    """A source of one band of Sentinel-2."""
    entry = {"from": "a", "collection": S2, "bands": {"B2": "blue"}, "level": "L2A", **options}
    pair: dict[str, Any] = {"rule": rule}
    modalities: dict[str, Any] = {"sentinel2": {**entry, "pair": pair}}
    if rule == "reference":
        pair["max_cloud"] = max_cloud
    else:
        scl = {"from": "a", "collection": S2, "bands": {"SCL": "scl"}, "pair": {"rule": "reference"}}
        modalities["sentinel2_scl"] = scl
    plain = {"archives": {"a": {"kind": "stac", **QUICK, **archive}}, "modalities": modalities}
    made = open_sources(read_build_recipe(plain))["sentinel2"][0]
    assert isinstance(made, StacSource)
    return made


def image(name: str, lon: float, lat: float, date: str = "2019-06-01", **more: Any) -> dict[str, Any]:
    properties = {"eo__cloud_cover": 5.0, "proj__epsg": 32633, "s2__processing_baseline": "02.12", **more}
    collection = properties.pop("collection", S2)
    return item(
        name,
        collection=collection,
        assets={"blue": "./B02.tif", "scl": "SCL.tif"},
        footprint=properties.pop("footprint", square(lon, lat)),
        date=f"{date}T10:00:00Z",
        **properties,
    )


def query(lon: float, lat: float, start: str | None = None, stop: str | None = None, **more: Any) -> Query:
    box = (lon - 0.005, lat - 0.005, lon + 0.005, lat + 0.005)
    times = {"start": start and np.datetime64(start, "s"), "stop": stop and np.datetime64(stop, "s")}
    return Query(place=f"{lon}_{lat}", lat=lat, lon=lon, **{"box": box, **times, **more})


def names(found: Sequence[list[Candidate] | SourceError]) -> list[list[str]]:
    assert not any(isinstance(candidates, SourceError) for candidates in found), found
    return [[candidate.item for candidate in candidates] for candidates in found]


def failure(searcher: StacSource, one: Query) -> SourceError:
    [answer] = searcher.search([one])
    assert isinstance(answer, SourceError)
    return answer


WORLD = [
    image(f"{lon}_{lat}_{date}", lon, lat, date, eo__cloud_cover=cloud)
    for lon in (10.0, 10.8, 11.6)
    for lat in (45.0, 45.8)
    for date, cloud in (("2019-05-30", 3), ("2019-06-14", 60), ("2020-02-01", 9))
]
PLACES = [
    query(10.5, 45.5, "2019-06-01", "2019-07-01"),
    query(10.9, 45.9, "2019-05-01", "2019-06-10"),
    query(10.9, 45.9, "2019-01-01", "2021-01-01"),
    query(12.0, 46.2, "2019-06-10", "2019-06-20"),
    query(30.0, 10.0, "2019-01-01", "2021-01-01"),
    query(11.0, 45.2),
]


def expected(one: Query) -> list[str]:
    """By the definition, item by item."""
    found = []
    for plain in WORLD:
        time = np.datetime64(plain["properties"]["datetime"][:-1], "s")
        in_time = (one.start is None or one.start <= time) and (one.stop is None or time < one.stop)
        if in_time and shapely.intersects(shapely.geometry.shape(plain["geometry"]), shapely.box(*one.box)):
            found.append((time, plain["id"]))
    return [name for _, name in sorted(found)]


def test_a_real_api_answers_many_places_by_few_searches(tmp_path: Path) -> None:
    with rustac_serve(write_items(tmp_path / "items.json", WORLD)) as url:
        found = source({"url": url, "limit": 2}).search(PLACES)
    assert names(found) == [expected(one) for one in PLACES]
    assert sum(map(len, names(found))) > 10
    one = found[0][0]
    assert one.crs == 32633
    assert one.time == np.datetime64("2019-06-14T10:00:00")
    assert one.cloud == 60
    assert one.level == "L2A"
    assert one.notes["processing_baseline"] == "02.12"


@pytest.mark.parametrize(
    ("square", "methods"), [(0.05, ("GET", "POST")), (1.0, ("GET",)), (1.0, ("POST",)), (30.0, ("GET", "POST"))]
)
def test_what_is_found_does_not_depend_on_company(square: float, methods: tuple[str, ...]) -> None:
    with stac_server(StacServer(WORLD, methods=methods)) as server:
        searcher = source({"url": server.url, "limit": 5, "square": square})
        together = searcher.search(PLACES)
        assert names(together) == [expected(one) for one in PLACES]
        alone = [searcher.search([one])[0] for one in reversed(PLACES)]
    assert names(together) == names(alone[::-1])


def test_places_close_in_space_and_time_share_a_search_and_distant_times_do_not() -> None:
    near = [query(10.3 + 0.02 * k, 45.3, f"2019-06-{k + 1:02d}", f"2019-06-{k + 11:02d}") for k in range(8)]
    years = [query(10.3, 45.3, f"{year}-06-01", f"{year}-06-11") for year in (2017, 2018, 2019, 2020)]
    with stac_server(StacServer(WORLD)) as server:
        searcher = source({"url": server.url})
        searcher.search(near)
        assert len(server.searches) == 1
        server.searches.clear()
        searcher.search([query(10.3, 45.3 + 0.01 * k, "2017-01-01", "2021-01-01") for k in range(20)])
        assert len(server.searches) == 1
        searcher.search(years)
        asked = sorted(body["datetime"] for body in server.searches[1:])
    assert asked == [f"{year}-06-01T00:00:00Z/{year}-06-11T00:00:00Z" for year in (2017, 2018, 2019, 2020)]


def test_joint_windows_stay_short() -> None:
    chain = [query(10.3, 45.3, f"2019-{month:02d}-01", f"2019-{month + 2:02d}-15") for month in range(1, 10)]
    with stac_server(StacServer(WORLD)) as server:
        source({"url": server.url}).search(chain)
    windows = [[np.datetime64(end[:-1]) for end in body["datetime"].split("/")] for body in server.searches]
    assert max(stop - start for start, stop in windows) <= np.timedelta64(2 * 76, "D")
    assert len(windows) < len(chain)


@pytest.mark.parametrize("knows", [(), (QUERY,), (FILTER,)])
def test_clouds_are_filtered_by_the_server_if_it_knows_how_and_by_us_always(knows: tuple[str, ...]) -> None:
    with stac_server(StacServer(WORLD, knows)) as server:
        searcher = source({"url": server.url}, rule="reference", max_cloud=10)
        found = searcher.search([query(10.5, 45.5, "2019-01-01", "2021-01-01")])
        assert names(found) == [["10.0_45.0_2019-05-30", "10.0_45.0_2020-02-01"]]
        [body] = server.searches
        assert ("query" in body) == (knows == (QUERY,))
        assert ("filter" in body) == (knows == (FILTER,))


def test_where_all_images_are_clouded_they_are_given_all_the_same() -> None:
    with stac_server(StacServer(WORLD, (QUERY,))) as server:
        searcher = source({"url": server.url}, rule="reference", max_cloud=2)
        [found] = searcher.search([query(10.5, 45.5, "2019-06-01", "2021-01-01")])
    assert [candidate.cloud for candidate in found] == [60, 9]


@pytest.mark.parametrize("knows", [(), (QUERY,)])
def test_a_clear_image_that_only_touches_a_place_does_not_hide_the_clouded_one_that_covers_it(
    knows: tuple[str, ...],
) -> None:
    part = image("part", 0, 0, footprint=shapely.box(10, 45, 10.5, 46), eo__cloud_cover=5)
    whole = image("whole", 10, 45, "2019-06-02", eo__cloud_cover=80)
    with stac_server(StacServer([part, whole], knows)) as server:
        searcher = source({"url": server.url}, rule="reference", max_cloud=10)
        assert names(searcher.search([query(10.5, 45.5), query(10.2, 45.5)])) == [["part", "whole"], ["part"]]


@pytest.mark.parametrize("said", [None, "little", True, float("nan")])
def test_an_image_that_does_not_say_how_clouded_it_is_is_not_taken_for_a_clear_one(said: Any, tmp_path: Path) -> None:
    silent = image("silent", 10, 45, eo__cloud_cover=said)
    clear = image("clear", 10, 45, "2019-06-02")
    for items, want in (([silent, clear], [["clear"]]), ([silent], [["silent"]])):
        path = write_items(tmp_path / f"{len(items)}.json", items)
        found = source({"items": str(path)}, rule="reference", max_cloud=10).search([query(10.5, 45.5)])
        assert names(found) == want
    assert found[0][0].cloud is None


def test_only_items_with_the_properties_asked_for() -> None:
    maps = [
        image("v100", 10, 45, map__version="1.0.0"),
        image("v200", 10, 45, map__version="2.0.0"),
        image("x", 10, 45),
    ]
    with stac_server(StacServer(maps)) as server:
        for wanted, want in (("2.0.0", ["v200"]), (["1.0.0", "2.0.0"], ["v100", "v200"])):
            searcher = source({"url": server.url}, where={"map:version": wanted})
            assert names(searcher.search([query(10.5, 45.5)])) == [want]


def test_an_item_just_found_costs_no_request_and_another_one() -> None:
    with stac_server(StacServer(WORLD)) as server:
        searcher = source({"url": server.url})
        [[first, *_]] = searcher.search([PLACES[0]])
        before = len(server.searches)
        again = pickle.loads(pickle.dumps(searcher))
        assert names(again.search([replace(PLACES[0], item=first.item)])) == [[first.item]]
        assert len(server.searches) == before
        far = "11.6_45.8_2020-02-01"
        found = again.search([replace(PLACES[0], item=far), replace(PLACES[1], item="nowhere"), PLACES[4]])
        assert names(found) == [[far], [], []]


def test_a_year_s_map_that_ends_at_midnight_is_not_of_the_next_year(tmp_path: Path) -> None:
    maps = [
        item(
            f"map-{year}",
            collection=S2,
            assets={"blue": "a.tif"},
            footprint=square(10, 45),
            date=None,
            start_datetime=f"{year}-01-01T00:00:00Z",
            end_datetime=f"{year + 1}-01-01T00:00:00Z",
            s2__processing_baseline="02.12",
        )
        for year in (2018, 2019, 2020)
    ]
    searcher = source({"items": str(write_items(tmp_path / "items.json", maps))})
    [[found]] = searcher.search([query(10.5, 45.5, "2019-01-01", "2020-01-01")])
    assert found.item == "map-2019"
    assert found.time == np.datetime64("2019-07-02T12:00:00")


# The antimeridian --------------------------------------------------------------------------------------------------

CROSSING = {
    "two halves": shapely.union(shapely.box(179.5, -17, 180, -16), shapely.box(-180, -17, -179.5, -16)),
    "beyond 180": shapely.box(179.5, -17, 180.5, -16),
    "beyond -180": shapely.box(-180.5, -17, -179.5, -16),
    "the wrong way round": shapely.Polygon([(179.5, -17), (-179.5, -17), (-179.5, -16), (179.5, -16)]),
}


@pytest.mark.parametrize("kind", CROSSING)
def test_items_across_the_antimeridian_are_found_on_both_sides_and_nowhere_else(kind: str, tmp_path: Path) -> None:
    items = write_items(tmp_path / "items.json", [image("fiji", 0, 0, footprint=CROSSING[kind])])
    searcher = source({"items": str(items)})
    both = query(180.0, -16.5, box=(179.99, -16.51, -179.99, -16.49))
    found = searcher.search([query(179.7, -16.5), query(-179.7, -16.5), both, query(0.0, -16.5), query(178.0, -16.5)])
    assert names(found) == [["fiji"], ["fiji"], ["fiji"], [], []]
    footprint = found[0][0].footprint
    assert shapely.area(footprint) == pytest.approx(1.0)
    assert footprint.bounds[0] >= -180
    assert footprint.bounds[2] <= 180


def test_a_map_of_the_whole_earth_is_no_item_across_the_antimeridian(tmp_path: Path) -> None:
    items = write_items(tmp_path / "i.json", [image("earth", 0, 0, footprint=shapely.box(-180, -90, 180, 90))])
    assert names(source({"items": str(items)}).search([query(0.0, -16.5), query(179.0, 60)])) == [["earth"], ["earth"]]


def test_a_search_across_the_antimeridian_is_two_at_the_server() -> None:
    with stac_server(StacServer([image("fiji", 0, 0, footprint=CROSSING["two halves"])])) as server:
        both = query(180.0, -16.5, box=(179.99, -16.51, -179.99, -16.49))
        assert names(source({"url": server.url}).search([both])) == [["fiji"]]
        assert sorted(body["bbox"][0] for body in server.searches) == [-180.0, 179.99]


# Files of items ----------------------------------------------------------------------------------------------------


def as_json(folder: Path) -> str:
    return str(write_items(folder / "items.json", [*WORLD, image("other", 10, 45, collection="else")]))


def as_geoparquet(folder: Path) -> str:
    rustac = pytest.importorskip("rustac")
    rustac.write_sync(str(folder / "items.parquet"), [{**plain, "links": []} for plain in WORLD])
    return str(folder / "items.parquet")


def as_static_catalogue(folder: Path) -> str:
    links = []
    for plain in WORLD:
        place = folder / "items" / plain["id"]
        place.mkdir(parents=True)
        (place / "item.json").write_text(json.dumps(plain))
        links.append({"rel": "item", "href": f"./{plain['id']}/item.json"})
    collection = {"type": "Collection", "id": S2, "links": [{"rel": "root", "href": "../catalog.json"}, *links]}
    (folder / "items" / "collection.json").write_text(json.dumps(collection))
    catalogue = {"type": "Catalog", "id": "c", "links": [{"rel": "child", "href": "items/collection.json"}]}
    (folder / "catalog.json").write_text(json.dumps(catalogue))
    return str(folder / "catalog.json")


@pytest.mark.parametrize("make", [as_json, as_geoparquet, as_static_catalogue])
def test_files_of_items_answer_as_an_api_does(make: Callable[[Path], str], tmp_path: Path) -> None:
    searcher = source({"items": make(tmp_path)})
    found = searcher.search(PLACES)
    assert names(found) == [expected(one) for one in PLACES]
    [asset] = found[0][0].assets["B2"]
    folder = tmp_path / "items" / found[0][0].item if make is as_static_catalogue else tmp_path
    assert Path(asset.href) == folder / "B02.tif"
    assert names(searcher.search([replace(PLACES[0], item=WORLD[0]["id"])])) == [[WORLD[0]["id"]]]


def test_hrefs_of_an_api_start_from_the_item(tmp_path: Path) -> None:
    with rustac_serve(write_items(tmp_path / "items.json", WORLD)) as url:
        [[found, *_]] = source({"url": url}).search([PLACES[0]])
    assert found.assets["B2"][0].href == f"{url}collections/{S2}/items/B02.tif"


@pytest.mark.parametrize(
    ("text", "reason", "what"),
    [
        (None, Reason.NO_FILE, "cannot be read"),
        ("{", Reason.CORRUPT, "not JSON"),
        ('{"type": "Topology"}', Reason.CORRUPT, "'Topology'"),
        ('{"type": "FeatureCollection", "features": []}', Reason.NO_FILE, "no items of collection 'sentinel-2-l2a'"),
    ],
)
def test_a_file_that_is_none_says_so(text: str | None, reason: Reason, what: str, tmp_path: Path) -> None:
    path = tmp_path / "items.json"
    if text is not None:
        path.write_text(text)
    searcher = source({"items": str(path)})
    for one in (PLACES[0], replace(PLACES[0], item="x")):
        error = failure(searcher, one)
        assert re.search(what, error.what)
        assert error.reason is reason
        assert str(path) in str(error)


# Faults ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fault",
    [
        Fault(500, body="on fire"),
        Fault(503, {"Retry-After": "0"}),
        Fault(429, {"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Fault(200, body="<html>"),
        Fault(200, body='{"type": "Feat', promised=10_000),
        Fault(200, body="[]"),
    ],
    ids=lambda fault: f"{fault.status} {fault.body[:6]}",
)
def test_what_passes_is_waited_out(fault: Fault) -> None:
    with stac_server(StacServer(WORLD, fault=lambda number: fault if number < 3 else None)) as server:
        assert names(source({"url": server.url}).search([PLACES[0]])) == [expected(PLACES[0])]
        assert len(server.searches) == 4


def test_a_server_s_wish_to_be_left_alone_is_honoured() -> None:
    wish = Fault(429, {"Retry-After": "1"})
    with stac_server(StacServer(WORLD, fault=lambda number: wish if number == 0 else None)) as server:
        source({"url": server.url}).search([PLACES[0]])
        assert server.times[1] - server.times[0] >= 1.0


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (Fault(500, body="on fire"), Reason.SERVER, 4),
        (Fault(429), Reason.THROTTLED, 4),
        (Fault(200, body="<html>"), Reason.CORRUPT, 4),
        (Fault(200, body='{"a', promised=99), Reason.CORRUPT, 4),
        (Fault(200, body='{"type": "FeatureCollection", "features": 7}'), Reason.CORRUPT, 1),
        (Fault(401, body="who?"), Reason.FORBIDDEN, 1),
        (Fault(404, body="no such collection"), Reason.NO_FILE, 1),
        (Fault(400, body="bad box"), Reason.SERVER, 1),
        (Fault(wait=0.6, body="{}"), Reason.TIMEOUT, 4),
    ],
    ids=lambda value: str(value),
)
def test_what_stays_is_told_with_its_reason(fault: Fault, reason: Reason, attempts: int) -> None:
    with stac_server(StacServer(WORLD, fault=lambda _: fault)) as server:
        error = failure(source({"url": server.url, "timeout": 0.3 if fault.wait else 5}), PLACES[0])
        assert error.reason is reason
        assert server.url in str(error)
        assert S2 in str(error)
        assert len(server.searches) == attempts


def test_a_server_that_is_not_there_is_named() -> None:
    error = failure(source({"url": "http://127.0.0.1:9/", "retries": 1}), PLACES[0])
    assert "connection broke" in error.what
    assert error.reason is Reason.SERVER


def test_a_search_that_fails_costs_the_places_in_it_only() -> None:
    places = [PLACES[0], query(30.0, 10.0), PLACES[2], replace(PLACES[0], item="far away")]
    with stac_server(StacServer(WORLD)) as server:
        server.fault_of = lambda body: Fault(401) if body.get("bbox", [0])[0] > 29 or "ids" in body else None
        found = source({"url": server.url}).search(places)
    assert names([found[0], found[2]]) == [expected(PLACES[0]), expected(PLACES[2])]
    for answer in (found[1], found[3]):
        assert isinstance(answer, SourceError)
        assert answer.reason is Reason.FORBIDDEN


def test_a_place_across_the_antimeridian_fails_if_one_side_cannot_be_asked() -> None:
    both = query(180.0, -16.5, box=(179.99, -16.51, -179.99, -16.49))
    with stac_server(StacServer([image("fiji", 0, 0, footprint=CROSSING["two halves"])])) as server:
        server.fault_of = lambda body: Fault(401) if body["bbox"][0] < 0 else None
        assert failure(source({"url": server.url}), both).reason is Reason.FORBIDDEN


def test_a_static_catalogue_is_no_api() -> None:
    with stac_server(StacServer(WORLD, methods=())) as server:
        error = failure(source({"url": server.url}), PLACES[0])
    assert "no link to a search" in error.what
    assert "'items'" in error.hint


def test_pages_that_never_end_are_left() -> None:
    enough = Fault(404, body="asked for ever")
    with stac_server(StacServer(WORLD, endless=True, fault=lambda n: enough if n > 30 else None)) as server:
        searcher = source({"url": server.url, "limit": 2})
        assert names(searcher.search([PLACES[5]])) == [expected(PLACES[5])]
        assert len(server.searches) < 10


@pytest.mark.parametrize("again", [[], ["first"]])
def test_a_page_with_nothing_new_is_not_the_last_one(again: list[str]) -> None:
    pages = [["first"], again, again, ["last"]]
    with stac_server(StacServer([])) as server:

        def page(number: int) -> Fault:
            links = [{"rel": "next", "href": f"{server.url}search?token={number}"}] if number < 3 else []
            return Fault(body=json.dumps({"features": [image(name, 10, 45) for name in pages[number]], "links": links}))

        server.fault = page
        assert names(source({"url": server.url}).search([query(10.5, 45.5)])) == [["first", "last"]]


def test_a_server_that_names_ever_more_pages_of_nothing_is_not_believed() -> None:
    with stac_server(StacServer([])) as server:
        server.fault = lambda number: Fault(
            body=json.dumps({"features": [], "links": [{"rel": "next", "href": f"{server.url}search?token={number}"}]})
        )
        error = failure(source({"url": server.url}), query(10.5, 45.5))
        assert "nothing new" in error.what
        assert len(server.searches) < 30


def test_malformed_items_are_left_out_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    good = image("good", 10, 45)
    boxed = {**image("boxed", 10, 45), "geometry": None}
    bad = [
        {**image("placeless", 10, 45), "geometry": None, "bbox": None},
        {**image("broken", 10, 45), "geometry": {"type": "Polygon", "coordinates": [[["x", 1]]]}},
        {**image("undated", 10, 45), "properties": {"datetime": "last June"}},
        {**image("bare", 10, 45), "assets": None},
        {**image("nameless", 10, 45), "id": None},
        {**image("linked", 10, 45), "links": ["x"]},
        {**image("unlinked", 10, 45), "links": 7},
        {**image("boxless", 10, 45), "geometry": None, "bbox": 7},
        {**image("listed", 10, 45), "id": ["x"]},
        {**image("flat", 10, 45), "geometry": "here"},
        7,
        "item",
    ]
    with stac_server(StacServer([])) as server:
        server.fault = lambda _: Fault(body=json.dumps({"features": [good, boxed, *bad, None], "links": []}))
        with caplog.at_level(logging.WARNING):
            found = source({"url": server.url}).search([query(10.5, 45.5)])
    assert names(found) == [["boxed", "good"]]
    for name in ("placeless", "broken", "undated", "bare", "linked", "unlinked", "boxless", "flat"):
        assert name in caplog.text


def test_no_more_requests_at_once_than_allowed_and_no_faster() -> None:
    spread = [query(10.0 + 3 * k, 45.5) for k in range(6)]
    with stac_server(StacServer(WORLD, fault=lambda _: Fault(body='{"features": []}', wait=0.05))) as server:
        source({"url": server.url, "concurrency": 2}).search(spread)
        assert server.together == 2
    with stac_server(StacServer(WORLD)) as server:
        source({"url": server.url, "requests_per_second": 20}).search(spread)
        gaps = np.diff(sorted(server.times))
        assert len(gaps) == 5
        assert gaps.sum() >= 0.6 * 5 / 20  # the first may be noted late on a busy machine


def test_of_many_items_little_is_kept() -> None:
    own = {f"s2__share_{number}": number * 1.5 for number in range(40)}
    long = "https://storage/" + "a-long-folder/" * 20

    def large(number: int) -> dict[str, Any]:
        plain = image(f"item-{number}", 10, 45, map__version="1", **own)
        statistics = {"raster:bands": [{"nodata": 0}], "statistics": {"mean": list(range(50))}}
        plain["assets"] = {f"B{band}": {"href": f"{long}{number}/B{band}.tif", **statistics} for band in range(12)}
        return json.loads(json.dumps(plain))

    tracemalloc.start()
    try:
        items = [read_item(large(number), base="https://x/", keep={"map:version"}) for number in range(50)]
        each = tracemalloc.get_traced_memory()[0] / len(items)
    finally:
        tracemalloc.stop()
    assert each < 6000
    assert items[7].assets["B3"].href == f"{long}7/B3.tif"
    assert items[7].assets["B3"].fields == {"raster:bands": [{"nodata": 0}]}
    assert set(items[7].properties) == {"eo:cloud_cover", "proj:epsg", "s2:processing_baseline", "map:version"}


def test_places_share_what_they_are_offered(tmp_path: Path) -> None:
    searcher = source({"items": as_json(tmp_path), "square": 0.05})
    one, other = searcher.search([query(10.5, 45.5), query(10.6, 45.6)])
    assert [candidate.item for candidate in one] == [candidate.item for candidate in other]
    assert all(first is second for first, second in zip(one, other, strict=True))

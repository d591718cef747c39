import json
import pickle
from collections.abc import Mapping

import numpy as np
import pytest
import shapely

from geopretext.build import tiles
from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe, read_build_recipe
from geopretext.build.source import Asset, Candidate, Observation, Query, Request
from geopretext.build.tiles import Made, TileMaker
from geopretext.errors import Reason, SourceError
from geopretext.modality import PUBLISHED, Modality

from .scripted_source import ScriptedSource

ARCHIVE = {"from": "archive"}
REFERENCE = {"rule": "reference", "start": "2018-01-01", "stop": "2020-01-01"}


def at(day: str) -> np.datetime64:
    return np.datetime64(f"{day}T10:30:00", "s")


def image(item: str, day: str = "2018-06-15", **fields: object) -> Candidate:
    return Candidate(item, at(day), **{"crs": 32632, "level": "L2A", "cloud": 1.0, **fields})


def places(count: int = 3) -> Places:
    return Places(
        place_id=np.array([f"p{i}" for i in range(count)]),
        lat=47 + 0.1 * np.arange(count),
        lon=8 + 0.1 * np.arange(count),
        biome=np.full(count, 7, np.int16),
        ecoregion=np.full(count, 500, np.int16),
    )


def recipe(modalities: Mapping[str, object], *, define: object = (), **reference: object) -> BuildRecipe:
    plain = {
        "define": define,
        "name": "test",
        "tile_size": 16,
        "archives": {"archive": {"kind": "synthetic"}},
        "modalities": {
            "sentinel2": {**ARCHIVE, "pair": {**REFERENCE, **reference}, "bands": {"B2": "blue", "B4": "red"}},
            **modalities,
        },
    }
    return read_build_recipe(plain)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    def run(recipe: BuildRecipe, sources: Mapping[str, ScriptedSource], count: int = 3) -> Made:
        monkeypatch.setattr(tiles, "open_sources", lambda _: {name: (source,) for name, source in sources.items()})
        return TileMaker(recipe).make(places(count))

    return run


def source(name: str, candidates: list[Candidate], bands: tuple[str, ...] = (), **fields: object) -> ScriptedSource:
    modality = PUBLISHED[name].select(bands) if bands else PUBLISHED[name]
    return ScriptedSource(modality, candidates, **fields)


def optical(candidates: list[Candidate], **fields: object) -> ScriptedSource:
    return source("sentinel2", candidates, ("B2", "B4"), **fields)


def records(made: Made, tile: int = 0) -> dict:
    return json.loads(made.batch.coordinates.source_items[tile])


def test_a_tile_has_the_grid_date_level_and_numbers_of_its_reference(make):
    made = make(recipe({}), {"sentinel2": optical([image("S2_a", crs=32631)])})

    where = made.batch.coordinates
    assert [outcome.reason for outcome in made.outcomes] == [None] * 3
    assert where.tile_id.tolist() == ["p0", "p1", "p2"]
    assert where.crs.tolist() == [32631] * 3  # of the image, though the places lie in zone 32
    assert where.time.tolist() == [at("2018-06-15").item()] * 3
    assert where.levels["sentinel2"].tolist() == [1] * 3
    assert np.abs(where.lat - places().lat).max() < 1e-4
    assert (where.transform[:, [2, 5]] % 10 == 0).all()
    assert made.batch.arrays["sentinel2"].dtype == np.uint16
    assert (made.batch.arrays["sentinel2"][0, 1, 3] == 1104 + np.arange(16)).all()
    made.batch.check(TileMaker(recipe({})).modalities, 16)
    assert records(made)["sentinel2"] == [{"item": "S2_a", "date": "2018-06-15T10:30:00Z", "level": "L2A"}]


def test_the_drawn_reference_depends_on_place_and_seed_alone(make):
    images = [image(f"S2_{k}", f"2018-{k:02d}-03") for k in range(1, 13)]
    whole = make(recipe({}), {"sentinel2": optical(images)}, count=40)
    drawn = [records(whole, tile)["sentinel2"][0]["item"] for tile in range(40)]
    assert len(set(drawn)) > 6  # spread over the year

    alone = make(recipe({}), {"sentinel2": optical(images[::-1])}, count=1)
    assert records(alone)["sentinel2"][0]["item"] == drawn[0]

    fewer = make(recipe({}), {"sentinel2": optical([i for i in images if i.item in drawn[:20]])}, count=20)
    assert [records(fewer, tile)["sentinel2"][0]["item"] for tile in range(20)] == drawn[:20]


def test_images_that_do_not_cover_the_tile_are_out_of_time_or_clouded_are_passed_over(make):
    near = shapely.box(7.9, 46.9, 8.05, 47.05)  # holds p0 alone
    source = optical(
        [image("early", "2017-06-01"), image("clouded", cloud=60.0), image("partly", footprint=near)],
    )
    made = make(recipe({}, max_cloud=10), {"sentinel2": source})
    assert made.batch.coordinates.tile_id.tolist() == ["p0"]
    assert records(made)["sentinel2"][0]["item"] == "partly"
    assert [outcome.reason for outcome in made.outcomes] == [None, Reason.CLOUDY, Reason.CLOUDY]
    assert "60 %" in made.outcomes[1].detail

    nothing = make(recipe({}), {"sentinel2": optical([image("early", "2017-06-01")])})
    assert nothing.batch is None
    assert {outcome.reason for outcome in nothing.outcomes} == {Reason.NO_IMAGE}


def test_a_clouded_tile_gets_another_image_or_is_given_up(make):
    scl = {"sentinel2_scl": {**ARCHIVE, "pair": {"rule": "same", "to": "sentinel2"}}}
    wanted = recipe(scl, min_clear=0.9, clear_by="sentinel2_scl", tries=9)
    images = [image(f"S2_{k}") for k in range(6)]
    classes = source("sentinel2_scl", images, values={f"S2_{k}": 9 if k != 3 else 4 for k in range(6)})
    optics = optical(images)
    made = make(wanted, {"sentinel2": optics, "sentinel2_scl": classes})
    assert {records(made, tile)["sentinel2"][0]["item"] for tile in range(3)} == {"S2_3"}
    assert set(optics.read_items) == {"S2_3"}  # the others were not read
    assert "days" not in records(made)["sentinel2"][0]
    assert records(made)["sentinel2_scl"][0]["days"] == 0.0
    assert (made.batch.arrays["sentinel2_scl"] == 4).all()

    cloudy = source("sentinel2_scl", images, values={f"S2_{k}": 9 for k in range(6)})
    made = make(wanted, {"sentinel2": optical(images), "sentinel2_scl": cloudy})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.CLOUDY}
    assert "0% of the tile" in made.outcomes[0].detail


def test_an_image_with_a_hole_at_the_tile_is_passed_over(make):
    def hole(request: Request) -> Observation | None:
        if request.candidate.item == "S2_whole":
            return None
        shape = (2, 16, 16)
        valid = np.broadcast_to(np.arange(16) > 3, shape)
        return Observation(np.full(shape, 500.0), valid)

    images = [image("S2_whole"), *(image(f"S2_{k}") for k in range(5))]
    made = make(recipe({}), {"sentinel2": optical(images, fault=hole)})
    assert {records(made, tile)["sentinel2"][0]["item"] for tile in range(3)} == {"S2_whole"}

    made = make(recipe({}), {"sentinel2": optical(images[1:], fault=hole)})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.NO_DATA}

    half = make(recipe({}, min_covered=0.5), {"sentinel2": optical(images[1:], fault=hole)})
    assert (half.batch.arrays["sentinel2"][..., :4] == 0).all()
    assert (half.batch.arrays["sentinel2"][..., 4:] == 500).all()


def test_both_orbits_nearest_in_time_complete_each_other(make):
    radar = [
        Candidate("asc_far", at("2018-06-01"), group="asc"),
        Candidate("asc_near", at("2018-06-18"), group="asc"),
        Candidate("desc_near", at("2018-06-14"), group="desc"),
        Candidate("desc_away", at("2018-06-15"), group="desc", footprint=shapely.box(0, 0, 1, 1)),
    ]
    near = {"sentinel1": {**ARCHIVE, "pair": {"rule": "nearest", "days": 20}}}
    made = make(recipe(near), {"sentinel2": optical([image("S2")]), "sentinel1": source("sentinel1", radar)})

    kept = records(made)["sentinel1"]
    assert [(entry["item"], entry["days"], entry["group"]) for entry in kept] == [
        ("asc_near", 3.0, "asc"),
        ("desc_near", -1.0, "desc"),
    ]
    values = made.batch.arrays["sentinel1"][0]
    assert (values[0, 0] == 1008 + np.arange(16)).all()
    assert (values[4, 0] == 1409 + np.arange(16)).all()


def test_the_next_nearest_stands_in_where_the_nearest_has_nothing(make):
    radar = [Candidate("near", at("2018-06-15"), group="asc"), Candidate("later", at("2018-06-19"), group="asc")]

    def empty(request: Request) -> Observation | None:
        nothing = np.zeros((8, 16, 16))
        return Observation(nothing, nothing > 0) if request.candidate.item == "near" else None

    near = {"sentinel1": {**ARCHIVE, "pair": {"rule": "nearest"}}}
    sources = {"sentinel2": optical([image("S2")]), "sentinel1": source("sentinel1", radar, fault=empty)}
    made = make(recipe(near), sources)
    assert [entry["item"] for entry in records(made)["sentinel1"]] == ["later"]
    assert np.isfinite(made.batch.arrays["sentinel1"][:, :4]).all()
    assert np.isnan(made.batch.arrays["sentinel1"][:, 4:]).all()


def test_what_cannot_be_had_is_missing_and_recorded_unless_required(make):
    entry = {**ARCHIVE, "pair": {"rule": "nearest"}}
    sources = {"sentinel2": optical([image("S2")]), "sentinel1": source("sentinel1", [])}
    made = make(recipe({"sentinel1": entry}), sources)
    assert "sentinel1" not in made.batch.arrays
    assert records(made)["sentinel1"][0]["missing"] == "no image"

    made = make(recipe({"sentinel1": {**entry, "required": True}}), sources)
    assert made.batch is None
    assert {outcome.reason for outcome in made.outcomes} == {Reason.NO_IMAGE}
    assert "sentinel1" in made.outcomes[0].detail


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.UNIT, Reason.FORBIDDEN, Reason.NO_GEOREFERENCE])
def test_a_fault_of_one_modality_fails_its_place_and_no_other(make, reason):
    def fault(request: Request) -> SourceError | None:
        return SourceError("no luck", reason=reason, where="dem.tif") if request.lat == places().lat[1] else None

    ground = source("aster", [Candidate("dem")], fault=fault)
    made = make(recipe({"aster": ARCHIVE}), {"sentinel2": optical([image("S2")]), "aster": ground})
    assert [outcome.reason for outcome in made.outcomes] == [None, reason, None]
    assert made.outcomes[1].detail == "dem.tif: no luck"
    assert made.batch.coordinates.tile_id.tolist() == ["p0", "p2"]


def test_a_transient_fault_of_an_image_does_not_lead_to_another(make):
    """Else what a tile is would depend on the mood of the server."""
    failing = SourceError("broke", reason=Reason.SERVER)
    images = [image(f"S2_{k}") for k in range(4)]
    made = make(recipe({}), {"sentinel2": optical(images, fault=lambda _: failing)})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.SERVER}

    def without_asset(request: Request) -> SourceError | None:
        lacks = request.candidate.item != "S2_2"
        return SourceError("no red", reason=Reason.NO_ASSET, where=request.candidate.item) if lacks else None

    made = make(recipe({}), {"sentinel2": optical(images, fault=without_asset)})
    assert {records(made, tile)["sentinel2"][0]["item"] for tile in range(3)} == {"S2_2"}


@pytest.mark.parametrize("required", [False, True])
@pytest.mark.parametrize("reason", [Reason.SERVER, Reason.CORRUPT, Reason.FORBIDDEN])
def test_an_archive_that_cannot_be_asked_about_a_place_fails_that_place(make, reason, required):
    def fault(query: Query) -> SourceError | None:
        return SourceError("down", reason=reason, where="http://x") if query.place == "p1" else None

    ground = source("aster", [Candidate("dem")], search_fault=fault)
    wanted = recipe({"aster": {**ARCHIVE, "required": required}})
    made = make(wanted, {"sentinel2": optical([image("S2")]), "aster": ground})
    assert [outcome.reason for outcome in made.outcomes] == [None, reason, None]
    assert made.outcomes[1].detail == "http://x: down"

    made = make(recipe({}), {"sentinel2": optical([image("S2")], search_fault=fault)})
    assert [outcome.reason for outcome in made.outcomes] == [None, reason, None]

    scl = {"sentinel2_scl": {**ARCHIVE, "pair": {"rule": "same", "to": "sentinel2"}}}
    wanted = recipe(scl, min_clear=0.5, clear_by="sentinel2_scl")
    mask = source("sentinel2_scl", [image("S2")], values={"S2": 4}, search_fault=fault)
    made = make(wanted, {"sentinel2": optical([image("S2")]), "sentinel2_scl": mask})
    assert [outcome.reason for outcome in made.outcomes] == [None, reason, None]


def test_an_orbit_that_shows_nothing_does_not_condemn_the_other(make):
    def empty(request: Request) -> SourceError | Observation | None:
        nothing = np.zeros((8, 16, 16))
        if request.candidate.item == "asc":
            return SourceError("no such file", reason=Reason.NO_FILE, where="asc.tif")
        return Observation(nothing, nothing > 0) if request.candidate.item == "desc_first" else None

    passes = [
        Candidate("asc", at("2018-06-15"), group="asc"),
        Candidate("desc_first", at("2018-06-15"), group="desc"),
        Candidate("desc_then", at("2018-06-18"), group="desc"),
    ]
    near = {"sentinel1": {**ARCHIVE, "pair": {"rule": "nearest"}, "required": True}}
    sources = {"sentinel2": optical([image("S2")]), "sentinel1": source("sentinel1", passes, fault=empty)}
    made = make(recipe(near), sources)
    assert [outcome.reason for outcome in made.outcomes] == [None] * 3
    assert [entry["item"] for entry in records(made)["sentinel1"]] == ["desc_then"]

    nowhere = source("sentinel1", passes[:2], fault=empty)
    made = make(recipe(near), {"sentinel2": optical([image("S2")]), "sentinel1": nowhere})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.NO_DATA}  # the last that was looked at


def test_all_items_of_another_modality_are_read(make):
    passes = [
        Candidate("asc", at("2018-06-15"), group="asc"),
        Candidate("desc", at("2018-06-15"), group="desc"),
    ]
    both = {
        "sentinel1": {**ARCHIVE, "pair": {"rule": "nearest"}},
        "angle": {**ARCHIVE, "pair": {"rule": "same", "to": "sentinel1"}, "required": True},
    }
    angle = Modality.from_dict(
        {"name": "angle", "kind": "continuous map", "bands": ["asc_angle", "desc_angle"], "dtype": "float32"}
    )
    wanted = recipe(both, define=[angle.to_dict()])
    sources = {
        "sentinel2": optical([image("S2")]),
        "sentinel1": source("sentinel1", passes),
        "angle": ScriptedSource(angle, passes),
    }
    made = make(wanted, sources)
    assert [entry["item"] for entry in records(made)["angle"]] == ["asc", "desc"]
    assert np.isfinite(made.batch.arrays["angle"]).all()

    made = make(wanted, {**sources, "sentinel1": source("sentinel1", [])})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.NO_IMAGE}
    assert "angle" in made.outcomes[0].detail


def test_an_image_that_does_not_say_its_cloud_or_its_date_is_not_drawn(make):
    silent, cloudy = image("silent", cloud=None), image("cloudy", cloud=80.0)
    made = make(recipe({}, max_cloud=10), {"sentinel2": optical([silent, cloudy])})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.CLOUDY}
    made = make(recipe({}, max_cloud=10), {"sentinel2": optical([silent])})
    assert "does not say how clouded it is" in made.outcomes[0].detail
    assert make(recipe({}), {"sentinel2": optical([silent])}).batch is not None

    undated = Candidate("undated", crs=32632, cloud=1.0)
    made = make(recipe({}), {"sentinel2": optical([undated])})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.NO_IMAGE}
    assert "of 1 there, 0 have a date" in made.outcomes[0].detail


def test_static_tiles_that_meet_at_a_place_are_joined(make):
    west, east = shapely.box(7, 46, 8, 48), shapely.box(8, 46, 9, 48)

    def half(request: Request) -> Observation:
        columns = np.arange(16) < 8
        valid = np.broadcast_to(columns if request.candidate.item == "west" else ~columns, (1, 16, 16))
        return Observation(np.where(valid, 10 if request.candidate.item == "west" else 20, 0), valid)

    cover = source("esa_worldcover", [Candidate("west", footprint=west), Candidate("east", footprint=east)], fault=half)
    made = make(recipe({"esa_worldcover": ARCHIVE}), {"sentinel2": optical([image("S2")]), "esa_worldcover": cover}, 1)
    assert [entry["item"] for entry in records(made)["esa_worldcover"]] == ["east", "west"]
    assert (made.batch.arrays["esa_worldcover"][0, 0, :, :8] == 10).all()
    assert (made.batch.arrays["esa_worldcover"][0, 0, :, 8:] == 20).all()


def test_files_that_meet_at_a_place_are_read_as_one_mosaic(make):
    """Else what needs neighbours, as slope and interpolation do, would have a seam."""
    seen: list[Candidate] = []

    def note(request: Request) -> None:
        seen.append(request.candidate)

    asset = {side: {"elevation": (Asset(f"{side}.tif"),)} for side in ("west", "east")}
    halves = [
        Candidate("west", footprint=shapely.box(7, 46, 8, 48), assets=asset["west"], notes={"by": "x"}),
        Candidate("east", footprint=shapely.box(8, 46, 9, 48), assets=asset["east"], notes={"by": "x"}),
        Candidate("far", footprint=shapely.box(9, 46, 10, 48), assets=asset["east"]),
    ]
    made = make(
        recipe({"aster": ARCHIVE}), {"sentinel2": optical([image("S2")]), "aster": source("aster", halves, fault=note)}
    )
    joined = next(candidate for candidate in seen if "+" in candidate.item)
    assert [asset.href for asset in joined.assets["elevation"]] == ["east.tif", "west.tif"]
    assert records(made)["aster"] == [{"item": "east", "by": "x"}, {"item": "west", "by": "x"}]
    assert [entry["item"] for entry in records(made, 1)["aster"]] == ["east"]  # one that covers the tile is enough


def test_stray_class_codes_are_refused(make):
    cover = source("esa_worldcover", [Candidate("map")], values={"map": 37})
    made = make(recipe({"esa_worldcover": ARCHIVE}), {"sentinel2": optical([image("S2")]), "esa_worldcover": cover})
    assert {outcome.reason for outcome in made.outcomes} == {Reason.UNIT}
    assert "code 37" in made.outcomes[0].detail


def test_place_and_season_are_derived(make):
    wanted = recipe({name: {"derive": name} for name in ("lat", "lon", "month", "biome", "ecoregion")})
    arrays = make(wanted, {"sentinel2": optical([image("S2", "2018-12-15")])}).batch.arrays
    assert np.allclose(np.degrees(np.arctan2(*arrays["lat"].T)), places().lat, atol=1e-3)
    assert np.allclose(np.degrees(np.arctan2(*arrays["lon"].T)), places().lon, atol=1e-3)
    assert np.allclose(arrays["month"], [0, 1], atol=1e-6)
    assert arrays["biome"].tolist() == [[7]] * 3
    assert arrays["ecoregion"].tolist() == [[500]] * 3


def test_polar_places_are_refused_by_name(make, monkeypatch):
    far = Places(np.array(["south"]), np.array([-85.0]), np.array([0.0]), np.array([-1]), np.array([-1]))
    monkeypatch.setattr(tiles, "open_sources", lambda _: {"sentinel2": (optical([image("S2", crs=None)]),)})
    (outcome,) = TileMaker(recipe({})).make(far).outcomes
    assert outcome.reason is Reason.POLAR


def test_real_numbers_that_round_to_missing_stay_real(make):
    def dark(request: Request) -> Observation:
        values = np.full((2, 16, 16), -3.0)
        values[:, 0] = 70_000
        return Observation(values, np.ones_like(values, bool))

    raw = make(recipe({}), {"sentinel2": optical([image("S2")], fault=dark)}).batch.arrays["sentinel2"]
    assert (raw[:, :, 1:] == 1).all()
    assert (raw[:, :, 0] == 65534).all()


def test_a_maker_travels_between_processes(monkeypatch):
    monkeypatch.setattr(tiles, "open_sources", lambda _: {"sentinel2": (optical([]),)})
    maker = TileMaker(recipe({}))
    assert pickle.loads(pickle.dumps(maker)).recipe == maker.recipe

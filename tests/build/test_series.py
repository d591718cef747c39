"""Series in tiles: which images of a year become part of them, which are read, and what is said of the others."""

import json
from collections.abc import Mapping

import numpy as np
import pytest
import shapely

from geopretext.build import tiles
from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe, read_build_recipe
from geopretext.build.source import Candidate, Observation, Request
from geopretext.build.tiles import Made, TileMaker
from geopretext.errors import Reason, RecipeError, SourceError
from geopretext.modality import PUBLISHED

from .scripted_source import ScriptedSource

SIZE = 8
CLOUD, LAND = 9, 5
REFERENCE = "2019-07-15"
BANDS = ("B2", "B4")


def image(day: str, suffix: str = "", **fields: object) -> Candidate:
    time = np.datetime64(f"{day}T10:30:00", "s")
    return Candidate(f"S2_{day}{suffix}", time, **{"crs": 32632, "level": "L2A", "cloud": 1.0, **fields})


def recipe(
    *, required: bool = False, mask: Mapping[str, object] | None = None, kind: str = "synthetic", **rule: object
) -> BuildRecipe:
    entry = {"from": "archive", "bands": dict.fromkeys(BANDS)}
    plain = {
        "tile_size": SIZE,
        "archives": {"archive": {"kind": kind}},
        "modalities": {
            "sentinel2": {**entry, "pair": {"rule": "reference", "start": "2018-01-01", "stop": "2021-01-01"}},
            "sentinel2_series": {**entry, "pair": {"rule": "series", **rule}, "required": required},
            "sentinel2_scl": {"from": "archive", "pair": mask or {"rule": "same", "to": "sentinel2"}},
        },
    }
    return read_build_recipe(plain)


def source(name: str, candidates: list[Candidate], **fields: object) -> ScriptedSource:
    modality = PUBLISHED[name] if name == "sentinel2_scl" else PUBLISHED[name].select(BANDS)
    return ScriptedSource(modality, candidates, **fields)


@pytest.fixture
def make(monkeypatch: pytest.MonkeyPatch):
    def run(
        recipe: BuildRecipe,
        images: list[Candidate],
        clouds: Mapping[str, float] | None = None,
        *,
        count: int = 1,
        **fields: object,
    ) -> tuple[Made, dict[str, ScriptedSource]]:
        """Tiles of images of which a share is clouded, by item."""

        def mask(request: Request) -> Observation:
            codes = np.full((1, SIZE, SIZE), LAND)
            codes[:, : round((clouds or {}).get(request.candidate.item, 0.0) * SIZE)] = CLOUD
            return Observation(codes, np.ones_like(codes, bool))

        found = {
            "sentinel2": source("sentinel2", [one for one in images if one.item == f"S2_{REFERENCE}"]),
            "sentinel2_series": source("sentinel2_series", images, **fields),
            "sentinel2_scl": source("sentinel2_scl", images, fault=mask),
        }
        monkeypatch.setattr(tiles, "open_sources", lambda _: {name: (one,) for name, one in found.items()})
        places = Places(
            place_id=np.array([f"p{i}" for i in range(count)]),
            lat=47 + 0.1 * np.arange(count),
            lon=8 + 0.1 * np.arange(count),
            biome=np.full(count, 7, np.int16),
            ecoregion=np.full(count, 500, np.int16),
        )
        return TileMaker(recipe).make(places), found

    return run


def days(made: Made, tile: int = 0) -> list[str]:
    there = made.batch.coordinates.series["sentinel2_series"][tile]
    return [str(day) for day in there[~np.isnat(there)]]


def records(made: Made, tile: int = 0) -> list[dict]:
    return json.loads(made.batch.coordinates.source_items[tile])["sentinel2_series"]


MONTHS = [image(f"2019-{month:02d}-15") for month in range(1, 13)]
CLEAR = {"clear_by": "sentinel2_scl", "min_clear": 0.9}


def test_a_series_has_the_images_of_the_year_in_order_and_is_padded(make):
    made, _ = make(recipe(max_dates=16), MONTHS[::-1], count=2)
    batch = made.batch
    batch.check(TileMaker(recipe(max_dates=16)).modalities, SIZE)
    assert batch.arrays["sentinel2_series"].shape == (2, 16, 2, SIZE, SIZE)
    assert batch.coordinates.series["sentinel2_series"].shape == (2, 16)
    assert days(made, 1) == [f"2019-{month:02d}-15" for month in range(1, 13)]
    assert (batch.arrays["sentinel2_series"][:, 12:] == 0).all()
    assert (batch.arrays["sentinel2_series"][0, 3, 1, 2] == 1100 + len("S2_2019-04-15") + np.arange(SIZE)).all()
    assert batch.coordinates.levels["sentinel2_series"].tolist() == [1, 1]
    assert records(made)[0] == {
        "item": "S2_2019-01-15",
        "date": "2019-01-15T10:30:00Z",
        "days": -181.0,
        "level": "L2A",
    }
    assert len(records(made)) == 12


def test_the_window_lies_around_the_reference_or_is_its_calendar_year(make):
    images = [image(day) for day in ("2019-01-13", "2019-01-14", REFERENCE, "2020-01-13", "2020-01-14")]
    assert days(make(recipe(), images)[0]) == ["2019-01-14", REFERENCE, "2020-01-13"]
    assert days(make(recipe(window="year"), images)[0]) == ["2019-01-13", "2019-01-14", REFERENCE]


def test_of_many_images_those_that_lie_evenly_are_read_and_the_reference_is_one(make):
    made, found = make(recipe(max_dates=4), MONTHS)
    # from July the farthest is January, then December, then the one in the middle of the wider gap
    assert days(made) == ["2019-01-15", "2019-04-15", REFERENCE, "2019-12-15"]
    assert sorted(found["sentinel2_series"].read_items) == [f"S2_{day}" for day in days(made)]


def test_clouded_images_are_told_by_their_masks_alone(make):
    clouds = {f"S2_2019-{month:02d}-15": 0.25 for month in (1, 2, 3, 12)}
    made, found = make(recipe(max_dates=3, **CLEAR), MONTHS, clouds)
    assert days(made) == ["2019-04-15", REFERENCE, "2019-11-15"]
    assert len(found["sentinel2_series"].read_items) == 3
    assert len(found["sentinel2_scl"].read_items) == 13  # each once, and that of the reference for itself
    assert records(made)[-1] == {"dropped": {"cloudy": 4}}
    assert days(make(recipe(max_dates=3, **{**CLEAR, "min_clear": 0.7}), MONTHS, clouds)[0])[0] == "2019-01-15"


def test_pixels_below_clouds_stay_unless_they_are_to_be_hidden(make):
    clouds = {f"S2_{REFERENCE}": 0.25}
    rule = {**CLEAR, "min_clear": 0.7}
    assert (make(recipe(**rule), MONTHS[6:7], clouds)[0].batch.arrays["sentinel2_series"][0, 0] > 0).all()
    hidden = make(recipe(hide_clouds=True, **rule), MONTHS[6:7], clouds)[0].batch.arrays["sentinel2_series"]
    assert (hidden[0, 0, :, :2] == 0).all()
    assert (hidden[0, 0, :, 2:] > 0).all()


def test_one_image_a_day_the_clear_one_of_the_tile_s_own_zone_first(make):
    images = [
        image(REFERENCE),
        image("2019-07-02", "_other_zone", crs=32631),
        image("2019-07-02", "_own"),
        image("2019-08-01", "_a", cloud=3.0),
        image("2019-08-01", "_b", cloud=2.0),
        image("2019-09-01", "_elsewhere", footprint=shapely.box(20, 20, 21, 21)),
    ]
    made, _ = make(recipe(), images)
    assert [record["item"] for record in records(made)] == ["S2_2019-07-02_own", f"S2_{REFERENCE}", "S2_2019-08-01_b"]
    clouded = {"S2_2019-07-02_own": 1.0, "S2_2019-08-01_a": 1.0, "S2_2019-08-01_b": 1.0}
    made, _ = make(recipe(**CLEAR), images, clouded)
    assert [record.get("item") for record in records(made)] == ["S2_2019-07-02_other_zone", f"S2_{REFERENCE}", None]
    assert records(made)[-1] == {"dropped": {"cloudy": 1}}


def test_scenes_that_are_clouded_are_not_looked_at_but_the_reference_is_good_enough(make):
    images = [image(REFERENCE, cloud=90.0), image("2019-07-02", cloud=90.0), image("2019-08-01", cloud=40.0)]
    assert days(make(recipe(max_cloud=50), images)[0]) == [REFERENCE, "2019-08-01"]


def test_images_are_of_the_level_of_the_reference_and_of_one_orbit_if_so_wanted(make):
    images = [image(REFERENCE), *(image(f"2019-07-0{k}", level="L1C") for k in range(1, 6)), image("2019-08-01")]
    assert days(make(recipe(), images)[0]) == [REFERENCE, "2019-08-01"]
    orbits = [
        image(REFERENCE, orbit="a"),
        image("2019-07-02", orbit="b"),
        image("2019-07-02", "_again", orbit="a"),
        image("2019-08-01", orbit="b"),
        image("2019-09-01", orbit="b"),
    ]
    made, _ = make(recipe(one_orbit=True), orbits)
    assert days(made) == ["2019-07-02", "2019-08-01", "2019-09-01"]
    assert {record["orbit"] for record in records(made)} == {"b"}
    assert len(days(make(recipe(), orbits)[0])) == 4


def test_an_image_that_shows_nothing_gives_way_to_the_next(make):
    def nothing(request: Request) -> SourceError | Observation | None:
        shape = (len(BANDS), SIZE, SIZE)
        if "-04-15" in request.candidate.item:
            return Observation(np.zeros(shape), np.zeros(shape, bool))
        if "-12-15" in request.candidate.item:
            return SourceError("is gone", reason=Reason.NO_FILE, where=request.candidate.item)
        return None

    made, found = make(recipe(max_dates=4), MONTHS, fault=nothing)
    # December and April were to be next; the two that follow in order stand in for them
    assert days(made) == ["2019-01-15", "2019-02-15", REFERENCE, "2019-09-15"]
    assert records(made)[-1] == {"dropped": {"no data": 1, "no file": 1}}
    assert len(found["sentinel2_series"].read_items) == 6


def test_a_half_seen_image_counts_by_min_covered(make):
    def half(request: Request) -> Observation:
        valid = np.zeros((len(BANDS), SIZE, SIZE), bool)
        valid[:, : SIZE // 2] = True
        return Observation(np.full(valid.shape, 500.0), valid)

    assert "sentinel2_series" not in make(recipe(), MONTHS, fault=half)[0].batch.arrays
    assert len(days(make(recipe(min_covered=0.5), MONTHS, fault=half)[0])) == 12


@pytest.mark.parametrize("reason", [Reason.TIMEOUT, Reason.CORRUPT, Reason.FORBIDDEN])
def test_what_might_be_had_at_another_time_fails_the_place(make, reason: Reason):
    def late(request: Request) -> SourceError | None:
        is_late = "-03-15" in request.candidate.item and request.lat < 47.05
        return SourceError("is late", reason=reason, where="archive") if is_late else None

    made, _ = make(recipe(), MONTHS, fault=late, count=2)
    assert [outcome.reason for outcome in made.outcomes] == [reason, None]
    assert made.batch.coordinates.tile_id.tolist() == ["p1"]
    assert len(days(made)) == 12

    made, _ = make(
        recipe(), MONTHS, search_fault=lambda _: SourceError("down", reason=Reason.SERVER, where="catalogue")
    )
    assert [outcome.reason for outcome in made.outcomes] == [Reason.SERVER]


def test_too_few_images_are_none_and_cost_the_place_only_if_the_series_is_required(make):
    clouds = {one.item: 1.0 for one in MONTHS[1:] if one.item != f"S2_{REFERENCE}"}
    made, _ = make(recipe(min_dates=3, **CLEAR), MONTHS, clouds)
    assert "sentinel2_series" not in made.batch.arrays
    assert made.batch.coordinates.levels["sentinel2_series"].tolist() == [-1]
    (record,) = records(made)
    assert record["missing"] == "cloudy"
    assert "2 images can be used, 3 are wanted (others: 10 cloudy)" in record["why"]
    made, _ = make(recipe(min_dates=3, required=True, **CLEAR), MONTHS, clouds)
    assert [outcome.reason for outcome in made.outcomes] == [Reason.CLOUDY]


def test_tiles_without_a_series_are_padded_all_over(make):
    near = shapely.box(7.9, 46.9, 8.05, 47.05)  # holds p0 alone
    images = [image(REFERENCE), *(image(f"2019-0{k}-01", footprint=near) for k in (8, 9))]
    made, _ = make(recipe(min_dates=2), images, count=2)
    assert days(made, 0) == [REFERENCE, "2019-08-01", "2019-09-01"]
    assert days(made, 1) == []
    assert (made.batch.arrays["sentinel2_series"][1] == 0).all()


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"max_dates": 0}, "max_dates is 0"),
        ({"max_dates": 4, "min_dates": 5}, "min_dates is 5"),
        ({"hide_clouds": True}, "hide_clouds needs clear_by"),
        ({"kind": "earthengine"}, "archives of the kind 'earthengine' have no series"),
        ({"rule": "nearest"}, "a continuous series is not paired by the rule 'nearest'"),
        ({"clear_by": "sentinel2_scl", "mask": {"rule": "static"}}, "is not looked up by an image"),
    ],
)
def test_rules_that_do_not_fit_are_refused(rule: dict, said: str):
    with pytest.raises(RecipeError, match=said):
        recipe(**rule)

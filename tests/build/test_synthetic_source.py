"""The synthetic Earth as a source: what it finds does not depend on who else asks, what it reads is the planet."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from geopretext.build.archives import open_sources
from geopretext.build.grid import Grid
from geopretext.build.pairing import Spot
from geopretext.build.places import Places
from geopretext.build.recipe import load_build_recipe, read_build_recipe
from geopretext.build.source import Observation, Query, Request, Source
from geopretext.build.synthetic_calendar import FIRST, LAST, Scene
from geopretext.build.synthetic_truth import truth
from geopretext.build.tiles import TileMaker
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.sky import CLOUDED, sky_of
from geopretext.errors import InputError, Reason, RecipeError, SourceError
from geopretext.modality import MMEARTH, PRETEXT

SPOTS = [
    Spot("alps", 46.5, 8.2, 32, 10.0),
    Spot("nearby", 46.52, 8.25, 32, 10.0),
    Spot("south", -33.1, -70.3, 32, 10.0),
    Spot("dateline", -16.8, 179.999, 32, 10.0),
]


def when(text: str) -> np.datetime64:
    return np.datetime64(text, "s")


YEAR = {"start": when("2019-01-01"), "stop": when("2020-01-01")}


@pytest.fixture(scope="module")
def sources() -> dict[str, Source]:
    return {name: found[0] for name, found in open_sources(load_build_recipe("synthetic")).items()}


def query(spot: Spot, **fields: object) -> Query:
    return replace(spot.query(), **fields)


def source_of(name: str, **options: object) -> Source:
    plain = {
        "name": "test",
        "archives": {"planet": {"kind": "synthetic"}},
        "modalities": {
            "sentinel2": {"from": "planet", "pair": {"rule": "reference"}},
            "aster": {"from": "planet"},
        },
    }
    plain["modalities"][name] = {**plain["modalities"].get(name, {"from": "planet"}), **options}
    return open_sources(read_build_recipe(plain))[name][0]


class TestRecipe:
    def test_it_has_every_published_modality(self) -> None:
        recipe = load_build_recipe("synthetic")
        assert set(recipe.modalities) == set(MMEARTH)
        assert list(recipe.modalities)[: len(PRETEXT)] == [
            "sentinel2",
            "sentinel1",
            "aster",
            "era5",
            "dynamic_world",
            "canopy_height_eth",
            "lat",
            "lon",
            "biome",
            "ecoregion",
            "month",
            "esa_worldcover",
        ]

    def test_sources_travel_between_processes(self, sources: dict[str, Source]) -> None:
        for source in sources.values():
            assert pickle.loads(pickle.dumps(source)) == source

    @pytest.mark.parametrize(
        ("name", "options", "said"),
        [
            ("sentinel2", {"level": "L3"}, "level is 'L3'"),
            ("sentinel2", {"collection": "x"}, "no field collection"),
            ("sentinel2", {"bands": {"B2": "blue"}}, "names of the modality's"),
            ("aster", {"level": "L2A"}, "level is 'L2A'"),
        ],
    )
    def test_options_that_do_not_fit_are_refused(self, name: str, options: dict, said: str) -> None:
        with pytest.raises(RecipeError, match=said):
            source_of(name, **options)

    def test_modalities_that_the_planet_lacks_are_refused(self) -> None:
        own = {"name": "soil", "kind": "continuous map", "dtype": "float32", "bands": [{"name": "clay"}]}
        plain = {
            "archives": {"planet": {"kind": "synthetic"}},
            "define": [own],
            "modalities": {
                "sentinel2": {"from": "planet", "pair": {"rule": "reference"}},
                "soil": {"from": "planet"},
            },
        }
        with pytest.raises(RecipeError, match="no modality 'soil'"):
            open_sources(read_build_recipe(plain))


class TestSearch:
    def test_candidates_do_not_depend_on_other_queries(self, sources: dict[str, Source]) -> None:
        queries = [query(spot, **YEAR) for spot in SPOTS]
        for name, source in sources.items():
            together = source.search(queries)
            assert together[::-1] == source.search(queries[::-1]), name
            assert together == [source.search([one])[0] for one in queries], name
            assert all(together), name

    def test_they_lie_in_time_and_at_plausible_intervals(self, sources: dict[str, Source]) -> None:
        for spot in SPOTS:
            (images,) = sources["sentinel2"].search([query(spot, **YEAR)])
            times = np.array(sorted({image.time for image in images}))
            assert {image.level for image in images} == {"L1C", "L2A"}
            assert len(images) == 2 * len(times)
            assert (np.diff(times) == np.timedelta64(5 * 86400, "s")).all()
            assert YEAR["start"] <= times[0] < times[-1] < YEAR["stop"]
            (passes,) = sources["sentinel1"].search([query(spot, **YEAR)])
            for orbit in ("asc", "desc"):
                gaps = np.diff([image.time for image in passes if image.group == orbit]) / np.timedelta64(1, "D")
                assert (gaps % 6 == 0).all()
                assert (gaps > 6).any()  # some passes were not to be

    def test_half_open_windows_join(self, sources: dict[str, Source]) -> None:
        source = sources["sentinel2"]
        first, second = (
            source.search([query(SPOTS[0], start=when(start), stop=when(stop))])[0]
            for start, stop in (("2019-01-01", "2019-03-02T10:00:00"), ("2019-03-02T10:00:00", "2020-01-01"))
        )
        assert first + second == source.search([query(SPOTS[0], **YEAR)])[0]

    def test_years_and_months_are_there_once(self, sources: dict[str, Source]) -> None:
        (years,) = sources["dynamic_world"].search([query(SPOTS[0], start=when("2018-01-01"), stop=when("2019-01-01"))])
        assert [candidate.item for candidate in years] == ["dynamic_world-32632-2018"]
        (months,) = sources["era5"].search([query(SPOTS[0], start=when("2018-12-01"), stop=when("2019-01-01"))])
        assert [candidate.time for candidate in months] == [when("2018-12-01")]

    def test_without_a_window_the_whole_life_of_the_archive_is_found(self, sources: dict[str, Source]) -> None:
        (images,) = sources["sentinel2"].search([query(SPOTS[0])])
        assert len(images) == pytest.approx(2 * (LAST - FIRST).astype(int) / 5, abs=2)

    def test_an_item_is_found_again_with_its_masks(self, sources: dict[str, Source]) -> None:
        images = sources["sentinel2"].search([query(SPOTS[0], **YEAR)])[0]
        for level, masks in (("L1C", ("sentinel2_cloudmask",)), ("L2A", ("sentinel2_scl", "sentinel2_cloudprod"))):
            image = next(image for image in images if image.level == level)
            wanted = query(SPOTS[0], item=image.item)
            assert sources["sentinel2"].search([wanted]) == [[image]]
            for mask in masks:
                assert sources[mask].search([wanted]) == [[image]]
        assert sources["sentinel2_scl"].search([query(SPOTS[0], item=images[0].item)]) == [[]]  # L1C has none
        assert sources["sentinel2"].search([query(SPOTS[2], item=images[0].item)]) == [[]]  # of another scene
        assert sources["sentinel2"].search([query(SPOTS[0], item="S2-L2A-elsewhere-20191399")]) == [[]]

    def test_level_restricts(self) -> None:
        found = source_of("sentinel2", level="L1C").search([query(SPOTS[0], **YEAR)])[0]
        assert {image.level for image in found} == {"L1C"}

    def test_polar_places_have_nothing(self, sources: dict[str, Source]) -> None:
        polar = Query("pole", 88.0, 10.0, (9.0, 87.0, 11.0, 89.0), **YEAR)
        assert all(source.search([polar]) == [[]] for source in sources.values())

    def test_cloud_is_that_of_the_scene(self, sources: dict[str, Source]) -> None:
        scene = Scene.at(0, lat=SPOTS[0].lat, lon=SPOTS[0].lon)
        days = scene.days("optical", when("2017-01-01"), when("2021-01-01"))
        said = scene.cloud(days)
        assert 0 <= said.min() < said.max() <= 100
        somewhere, some = SPOTS[0].grid(None), days[::6]
        windows = Windows(
            seed=0,
            epsg=np.full(len(some), scene.crs),
            column=np.full(len(some), round(somewhere.left / 480) * 48),
            row=np.full(len(some), round(-somewhere.top / 480) * 48),
            height=192,
            width=192,
            date=some,
            level=np.ones(len(some), np.int8),
        )
        assert said.mean() == pytest.approx(100 * np.mean(sky_of(windows).cloud > CLOUDED), abs=0.5)


class TestRead:
    def test_tiles_are_the_planet(self) -> None:
        there = SyntheticEarth(0).places(4, start=30)
        places = Places(there.tile_id, there.lat, there.lon, there.biome, there.ecoregion)
        made = TileMaker(load_build_recipe("synthetic", {"tile_size": 48})).make(places)
        assert [outcome.reason for outcome in made.outcomes] == [None] * 4
        batch = made.batch
        level = MMEARTH["sentinel2"].levels
        for tile in range(4):
            at = batch.coordinates
            grid = Grid(int(at.crs[tile]), at.transform[tile, 2], at.transform[tile, 5], 48, 48)
            of = {"time": at.time[tile], "level": level[at.levels["sentinel2"][tile]]}
            for name in ("sentinel2", "sentinel2_cloudmask", "aster", "esa_worldcover", "dynamic_world"):
                assert np.array_equal(batch.arrays[name][tile], truth(name, grid, **of)), name
            np.testing.assert_allclose(batch.arrays["era5"][tile], truth("era5", grid, **of), rtol=2e-4)

    def test_each_orbit_is_of_its_own_day(self, sources: dict[str, Source]) -> None:
        source, spot = sources["sentinel1"], SPOTS[0]
        grid = spot.grid(None)
        found = source.search([query(spot, start=when("2019-06-01"), stop=when("2019-06-14"))])[0]
        requests = [Request(candidate, grid, spot.lat, spot.lon) for candidate in found]
        assert {candidate.group for candidate in found} == {"asc", "desc"}
        for number, seen in source.read(requests):
            assert isinstance(seen, Observation)
            orbit = found[number].group
            bands = np.array([band.startswith(orbit) for band in source.modality.band_names])
            true = truth("sentinel1", grid, time=found[number].time)
            assert np.array_equal(seen.valid, np.isfinite(true) & bands[:, None, None])
            assert np.array_equal(seen.values[seen.valid], true[seen.valid])

    def test_a_tile_does_not_depend_on_the_others(self, sources: dict[str, Source]) -> None:
        for name in ("sentinel2", "sentinel1", "aster", "era5"):
            source = sources[name]
            requests = [
                Request(
                    candidate, Grid.around(lat=spot.lat, lon=spot.lon, crs=candidate.crs, size=size), spot.lat, spot.lon
                )
                for spot, size in zip(SPOTS, (16, 12, 16, 16), strict=True)
                for candidate in source.search([query(spot, **YEAR)])[0][:2]
            ]
            together = dict(source.read(requests))
            assert sorted(together) == list(range(len(requests)))
            for number, request in enumerate(requests):
                ((_, alone),) = source.read([request])
                assert np.array_equal(together[number].values, alone.values), name
                assert np.array_equal(together[number].valid, alone.valid), name

    def test_other_zones_and_grids_are_refused(self, sources: dict[str, Source]) -> None:
        candidate = sources["aster"].search([query(SPOTS[0])])[0][0]
        grids = [
            Grid.around(lat=46.5, lon=8.2, crs=32631, size=8),
            Grid.around(lat=46.5, lon=8.2, crs=32632, size=8, step=20.0),
            replace(Grid.around(lat=46.5, lon=8.2, crs=32632, size=8), left=300005.0),
        ]
        for grid in grids:
            ((_, refused),) = sources["aster"].read([Request(candidate, grid, 46.5, 8.2)])
            assert isinstance(refused, SourceError)
            assert refused.reason is Reason.NO_GEOREFERENCE

    def test_fewer_bands_come_in_their_order(self) -> None:
        source = source_of("sentinel2", bands={"B8": "B8", "B2": "B2"})
        assert source.modality.band_names == ("B2", "B8")
        candidate = source.search([query(SPOTS[0], **YEAR)])[0][-1]
        grid = SPOTS[0].grid(candidate.crs)
        ((_, seen),) = source.read([Request(candidate, grid, 46.5, 8.2)])
        true = truth("sentinel2", grid, time=candidate.time, level=candidate.level)[[1, 8]]
        assert np.array_equal(seen.values, np.where(true > 0, true, 0))


def test_truth_wants_a_time_and_a_modality() -> None:
    grid = SPOTS[0].grid(None)
    with pytest.raises(InputError, match="depends on time"):
        truth("sentinel2", grid)
    with pytest.raises(InputError, match="no modality 'soil'"):
        truth("soil", grid)

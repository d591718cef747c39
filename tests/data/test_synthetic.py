"""The synthetic Earth: the same bytes always, no seams, physics that a sensor would see, labels worth learning."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.data.store import Store
from geopretext.data.synthetic import SYNTHETIC_LABELS, SyntheticEarth, write_synthetic_store
from geopretext.data.synthetic.climate import ECOREGION_START
from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.radar import passes
from geopretext.data.synthetic.sky import cloud_at, sky_of
from geopretext.data.synthetic.utm import geographic_to_utm, utm_to_geographic
from geopretext.data.tiles import Array, TileBatch
from geopretext.errors import GridError, InputError, StoreError
from geopretext.modality import BIOMES, MMEARTH, Kind, Role

EARTH = SyntheticEarth(0)
BANDS = MMEARTH["sentinel2"].band_names
WATER, TREES, SNOW = 80, 10, 70


@pytest.fixture(scope="module")
def batch() -> TileBatch:
    return EARTH.tiles(EARTH.places(360))


@pytest.fixture(scope="module")
def maps(batch: TileBatch) -> dict[str, Array]:
    return dict(batch.arrays)


def band(maps: dict[str, Array], name: str) -> Array:
    return maps["sentinel2"][:, BANDS.index(name)].astype(np.float32)


def same(one: Array, other: Array) -> bool:
    return np.array_equal(one, other, equal_nan=one.dtype.kind == "f")


def where_seen(maps: dict[str, Array]) -> Array:
    return (band(maps, "B4") > 0) & (maps["sentinel2_cloudmask"][:, 0] == 0)


class TestContents:
    def test_it_has_the_published_modalities_and_labels(self, batch: TileBatch) -> None:
        assert list(EARTH.modalities) == [*MMEARTH, *SYNTHETIC_LABELS]
        assert {modality.role for modality in SYNTHETIC_LABELS.values()} == {Role.LABEL}
        assert set(batch.arrays) == set(EARTH.modalities)
        batch.check(EARTH.modalities, 64)

    def test_every_stored_number_is_known(self, maps: dict[str, Array]) -> None:
        for name, modality in EARTH.modalities.items():
            values, valid = modality.decode(maps[name])  # raises for an unknown code
            assert valid.mean() > (0.3 if name != "sentinel1" else 0.2), name
            if modality.kind.is_categorical:
                assert values[valid].max() < len(modality.classes)
            elif not modality.missing and modality.dtype == "float32":
                assert np.isfinite(maps[name]).mean() == pytest.approx(valid.mean(), abs=1e-6), name

    def test_all_kinds_of_label_are_there(self) -> None:
        kinds = {modality.kind for modality in SYNTHETIC_LABELS.values()}
        vectors = {Kind.CATEGORICAL_VECTOR, Kind.MULTILABEL_VECTOR, Kind.CONTINUOUS_VECTOR}
        assert kinds == vectors | {Kind.CATEGORICAL_MAP}

    def test_other_tile_sizes(self) -> None:
        earth = SyntheticEarth(0, tile_size=128)
        tiles = earth.tiles(earth.places(2))
        tiles.check(earth.modalities, 128)


class TestDeterminism:
    def test_a_place_depends_on_its_number_alone(self) -> None:
        ten, three = EARTH.places(10), EARTH.places(3, start=5)
        for name in ("tile_id", "lat", "lon", "crs", "transform", "time", "biome", "ecoregion"):
            assert np.array_equal(getattr(ten, name)[5:8], getattr(three, name)), name
        assert np.array_equal(ten.levels["sentinel2"][5:8], three.levels["sentinel2"])

    def test_a_tile_does_not_depend_on_its_batch(self, batch: TileBatch) -> None:
        some = np.array([33, 7, 200])
        alone = EARTH.tiles(batch.coordinates.take(some)).arrays
        assert all(same(alone[name], batch.arrays[name][some]) for name in batch.arrays)

    def test_another_seed_is_another_planet(self, batch: TileBatch) -> None:
        coordinates = batch.coordinates.take(slice(0, 2))
        other = SyntheticEarth(1).tiles(coordinates).arrays
        assert not same(other["aster"], batch.arrays["aster"][:2])
        assert not np.array_equal(SyntheticEarth(1).places(2).lat, coordinates.lat)

    def test_a_tile_is_a_piece_of_any_grid_around_it(self, batch: TileBatch) -> None:
        for tile in (0, 51):
            level = ("L1C", "L2A")[batch.coordinates.levels["sentinel2"][tile]]
            transform = batch.coordinates.transform[tile]
            scene = EARTH.render(
                crs=int(batch.coordinates.crs[tile]),
                x0=transform[2] - 170,
                y0=transform[5] + 250,
                height=150,
                width=110,
                date=batch.coordinates.time[tile],
                level=level,
            )
            for name, whole in scene.items():
                assert whole.shape[1:] == (150, 110)
                assert same(whole[:, 25:89, 17:81], batch.arrays[name][tile]), name

    def test_tiles_off_the_lattice_fit_together(self, batch: TileBatch) -> None:
        right = batch.coordinates.take(np.array([3, 3]))
        right.transform[:, 2] += (0.0, 70.0)
        tiles = EARTH.tiles(right).arrays
        for name, modality in EARTH.modalities.items():
            if modality.kind.is_map:
                assert same(tiles[name][0, :, :, 7:], tiles[name][1, :, :, :-7]), name


class TestWithoutRendering:
    """What archives ask of the planet before they render anything."""

    DAYS = np.arange("2019-05-01", "2019-05-21", dtype="datetime64[D]")

    def test_clouds_at_points_are_those_of_the_sky(self) -> None:
        count = len(self.DAYS)
        windows = Windows(
            seed=0,
            epsg=np.full(count, 32633),
            column=np.full(count, 48000),
            row=np.full(count, -480000),
            height=480,
            width=480,
            date=self.DAYS,
            level=np.ones(count, np.int8),
        )
        across, down = np.meshgrid(np.arange(0, 480, 24), np.arange(0, 480, 24))
        points = cloud_at(0, epsg=32633, dates=self.DAYS, columns=48000 + across.ravel(), rows=-480000 + down.ravel())
        seen = sky_of(windows).cloud[:, ::24, ::24].reshape(count, -1)
        assert seen.max() > 0
        assert np.array_equal(points, seen)

    def test_passes_are_those_that_radar_shows(self) -> None:
        there = passes(0, np.full(len(self.DAYS), 32633), self.DAYS)
        for k, day in enumerate(self.DAYS):
            grid = {"crs": 32633, "x0": 480000.0, "y0": 4800000.0, "height": 6, "width": 6}
            shown = EARTH.render(**grid, date=day, names=["sentinel1"])["sentinel1"]
            assert [np.isfinite(shown[:4]).any(), np.isfinite(shown[4:]).any()] == there[:, k].tolist()

    def test_elevation_is_what_is_rounded(self) -> None:
        grid = {"crs": 32633, "x0": 480130.0, "y0": 4800070.0, "height": 101, "width": 77}
        height = EARTH.elevation(**grid)
        maps = EARTH.render(**grid, date=self.DAYS[0], names=["aster"])
        assert list(maps) == ["aster"]
        assert np.array_equal(np.rint(height), maps["aster"][0])
        assert not np.array_equal(np.rint(height), height)


class TestPlaces:
    def test_they_are_where_they_say(self) -> None:
        places = EARTH.places(300)
        size = EARTH.tile_size * 10
        x, y = places.transform[:, 2] + size / 2, places.transform[:, 5] - size / 2
        lat, lon = utm_to_geographic(places.crs.astype(np.int64), easting=x, northing=y)
        assert np.abs(lat - places.lat).max() < 1e-9
        assert np.abs(lon - places.lon).max() < 1e-9
        assert ((places.crs // 100 == 326) == (places.lat >= 0)).mean() > 0.99
        assert np.all(places.transform[:, [2, 5]] % 10 == 0)
        assert len(np.unique(places.tile_id)) == 300

    def test_they_spread_over_biomes_levels_and_years(self) -> None:
        places = EARTH.places(600)
        biomes = np.bincount(places.biome, minlength=len(BIOMES)) / 600
        assert (biomes > 0.005).sum() >= 13
        assert biomes.max() < 0.3
        assert 0.4 < places.levels["sentinel2"].mean() < 0.6
        assert places.time.min() >= np.datetime64("2017-01-01")
        assert places.time.max() < np.datetime64("2021-01-01")
        assert (places.lat > 0).mean() == pytest.approx(0.5, abs=0.2)

    def test_ecoregions_lie_in_their_biome(self) -> None:
        places = EARTH.places(600)
        start = np.array(ECOREGION_START)
        assert np.all(places.ecoregion >= start[places.biome])
        assert np.all(places.ecoregion < start[places.biome + 1])
        assert len(np.unique(places.ecoregion)) > 100

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(lat=st.floats(-79.9, 83.9), lon=st.floats(-179.99, 179.99))
    def test_utm_goes_there_and_back(self, lat: float, lon: float) -> None:
        epsg, x, y = geographic_to_utm(lat=np.array([lat]), lon=np.array([lon]))
        again = utm_to_geographic(epsg, easting=x, northing=y)
        assert again[0][0] == pytest.approx(lat, abs=1e-7)
        assert again[1][0] == pytest.approx(lon, abs=1e-7)

    def test_utm_agrees_with_proj(self) -> None:
        pyproj = pytest.importorskip("pyproj", reason="compares with PROJ; pip install 'geopretext[geo]'")
        places = EARTH.places(20)
        epsg, x, y = geographic_to_utm(lat=places.lat, lon=places.lon)
        for i, code in enumerate(epsg):
            to_utm = pyproj.Transformer.from_crs(4326, int(code), always_xy=True)
            assert to_utm.transform(places.lon[i], places.lat[i]) == pytest.approx((x[i], y[i]), abs=0.01)


class TestPhysics:
    def test_forests_are_green_in_summer_and_water_is_dark(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        part = (batch.coordinates.time.astype("datetime64[M]").astype(int) % 12 + 0.5) / 12
        summer = np.cos(2 * np.pi * (part - 0.55)) * np.sign(batch.coordinates.lat) > 0.5
        l2a = batch.coordinates.levels["sentinel2"] == 1
        red, near = band(maps, "B4"), band(maps, "B8")
        ndvi = (near - red) / np.maximum(near + red, 1)
        seen = where_seen(maps) & (summer & l2a)[:, None, None] & (np.abs(batch.coordinates.lat) > 25)[:, None, None]
        forest = seen & (maps["esa_worldcover"][:, 0] == TREES) & (maps["canopy_height_eth"][:, 0] > 8)
        forest &= maps["canopy_height_eth"][:, 0] < 255
        assert np.median(ndvi[forest]) > 0.6
        water = where_seen(maps) & l2a[:, None, None] & (maps["sentinel2_scl"][:, 0] == 6)
        water &= maps["esa_worldcover"][:, 0] == WATER
        assert np.median(near[water]) < 900
        assert np.median(maps["sentinel1"][:, 0][water & np.isfinite(maps["sentinel1"][:, 0])]) < -17

    def test_snow_is_bright_in_the_visible_and_dark_at_1600_nm(self, maps: dict[str, Array]) -> None:
        snow = (maps["sentinel2_scl"][:, 0] == 11) & where_seen(maps)
        assert np.median(band(maps, "B3")[snow]) > 4000
        assert np.median(band(maps, "B11")[snow]) < 0.4 * np.median(band(maps, "B3")[snow])

    def test_the_atmosphere_is_blue_and_corrected_at_l2a(self, batch: TileBatch) -> None:
        coordinates = batch.coordinates.take(slice(0, 40))
        scenes = {}
        for code, level in enumerate(("L1C", "L2A")):
            levels = {"sentinel2": np.full(40, code, np.int8)}
            scenes[level] = EARTH.tiles(replace(coordinates, levels=levels)).arrays["sentinel2"].astype(np.float32)
        clear = (scenes["L2A"][:, 1] > 0) & (scenes["L2A"][:, 1] < 1500)
        added = {name: (scenes["L1C"] - scenes["L2A"])[:, BANDS.index(name)][clear].mean() for name in BANDS}
        assert added["B1"] > added["B2"] > added["B3"] > added["B4"] > 0
        assert added["B9"] < -200  # water vapour
        assert np.all(scenes["L2A"][:, BANDS.index("B10")] == 0)
        assert 5 < np.median(scenes["L1C"][:, BANDS.index("B10")][clear]) < 60

    def test_coarse_detectors_see_coarse_pixels(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        aligned = np.flatnonzero((batch.coordinates.transform[:, [2, 5]] % 60 == 0).all(axis=1))
        tiles = maps["sentinel2"][aligned][:, :, :60, :60]
        tiles = tiles[(tiles[:, 0] > 0).all(axis=(1, 2))]
        for name, size in {"B1": 6, "B9": 6, "B11": 2, "B8A": 2}.items():
            blocks = tiles[:, BANDS.index(name)].reshape(len(tiles), 60 // size, size, 60 // size, size)
            assert np.ptp(blocks, axis=(2, 4)).max() == 0, name
        assert np.ptp(tiles[:, BANDS.index("B4")].reshape(-1, 30, 2, 30, 2), axis=(2, 4)).mean() > 10

    def test_slopes_away_from_the_sun_are_dark(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        steep = np.flatnonzero(maps["aster"][:, 1].mean(axis=(1, 2)) > 12)
        north = batch.coordinates.lat[steep] > 30
        correlations = []
        for tile in steep[north]:
            southward = np.gradient(maps["aster"][tile, 0].astype(np.float32), axis=0)
            seen = band(maps, "B8")[tile] > 0
            if seen.all():
                correlations.append(np.corrcoef(-southward.ravel(), band(maps, "B8")[tile].ravel())[0, 1])
        assert len(correlations) > 5
        assert np.mean(correlations) > 0.1

    def test_climate_agrees_with_itself(self, maps: dict[str, Array]) -> None:
        names = MMEARTH["era5"].band_names
        value = dict(zip(names, maps["era5"].T, strict=True))
        for period in ("prev_month", "curr_month", "year"):
            low, mean, high = (value[f"{period}_{statistic}_temp"] for statistic in ("min", "avg", "max"))
            assert np.all((low < mean) & (mean < high))
            assert np.all(value[f"{period}_total_precip"] >= 0)
        assert np.all(value["year_min_temp"] <= value["curr_month_min_temp"] + 1e-3)
        assert np.all(value["year_max_temp"] >= value["curr_month_max_temp"] - 1e-3)
        assert np.all(value["year_total_precip"] >= value["curr_month_total_precip"])
        warm = np.abs(np.arctan2(*maps["lat"].T)) < np.radians(15)
        assert value["year_avg_temp"][warm].mean() > value["year_avg_temp"][~warm].mean() + 8

    def test_circles_are_circles(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        for name in ("lat", "lon", "month"):
            assert np.allclose((maps[name] ** 2).sum(axis=1), 1, atol=1e-6)
        assert np.allclose(np.degrees(np.arctan2(*maps["lon"].T)), batch.coordinates.lon, atol=1e-4)
        month = batch.coordinates.time.astype("datetime64[M]").astype(int) % 12 + 1
        assert np.allclose(maps["month"][:, 0], np.sin(2 * np.pi * month / 12), atol=1e-6)


class TestMissing:
    def test_a_fifth_of_tiles_has_one_orbit_only(self, maps: dict[str, Array]) -> None:
        seen = np.isfinite(maps["sentinel1"]).all(axis=(2, 3))
        assert np.array_equal(seen, np.isfinite(maps["sentinel1"]).any(axis=(2, 3)))
        ascending, descending = seen[:, :4].any(axis=1), seen[:, 4:].any(axis=1)
        assert 0.1 < (ascending ^ descending).mean() < 0.33
        assert 0 < (~ascending & ~descending).mean() < 0.06

    def test_hh_replaces_vv_near_the_poles_only(self) -> None:
        places = EARTH.places(1500)
        polar = np.flatnonzero((np.abs(places.lat) > 67) & (places.crs % 2 == 0))[:12]
        other = np.flatnonzero(np.abs(places.lat) < 60)[:12]
        for tiles, here, absent in ((polar, (2, 3, 6, 7), (0, 1, 4, 5)), (other, (0, 1, 4, 5), (2, 3, 6, 7))):
            seen = np.isfinite(EARTH.tiles(places.take(tiles)).arrays["sentinel1"])
            assert len(tiles) == 12
            assert seen[:, here].any()
            assert not seen[:, absent].any()

    def test_products_are_missing_where_they_are(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        l1c = batch.coordinates.levels["sentinel2"] == 0
        assert np.array_equal((maps["sentinel2_scl"] == 255).all(axis=(1, 2, 3)), l1c)
        assert np.array_equal((maps["sentinel2_cloudprod"] == 65535).all(axis=(1, 2, 3)), l1c)
        assert np.all((maps["sentinel2"][:, BANDS.index("B10")] == 0).all(axis=(1, 2)) == ~l1c)
        water = maps["esa_worldcover"][:, 0] == WATER
        assert np.all(maps["canopy_height_eth"][:, :, :, :].transpose(0, 2, 3, 1)[water] == 255)
        assert 0.0005 < (maps["dynamic_world"] == 0).mean() < 0.05

    def test_stripes_without_data_lack_all_bands(self, maps: dict[str, Array]) -> None:
        empty = maps["sentinel2"][:, [BANDS.index(name) for name in BANDS if name != "B10"]] == 0
        assert np.array_equal(empty.all(axis=1), empty.any(axis=1))
        assert 0.005 < empty.any(axis=(1, 2, 3)).mean() < 0.12


class TestLabels:
    def test_no_class_dominates_and_none_is_absent(self, maps: dict[str, Array]) -> None:
        for name in ("field_pattern", "crop_calendar", "settlement"):
            shares = np.bincount(maps[name][:, 0], minlength=len(SYNTHETIC_LABELS[name].classes)) / len(maps[name])
            assert shares.max() < 0.45, name
            assert shares.min() > 0.03, name
        elements = maps["elements"].mean(axis=0)
        assert elements.min() > 0.02
        assert elements.max() < 0.75
        assert 0.25 < (maps["irrigated"] == 2).sum() / (maps["irrigated"] > 0).sum() < 0.75
        assert np.std(maps["biomass"]) > 10

    def test_biomes_do_not_decide_labels(self, batch: TileBatch, maps: dict[str, Array]) -> None:
        for name in ("field_pattern", "crop_calendar", "settlement"):
            label = maps[name][:, 0]
            leading = 0
            for biome in np.unique(batch.coordinates.biome):
                leading += np.bincount(label[batch.coordinates.biome == biome]).max()
            assert leading / len(label) < 0.65, name

    def test_the_same_mean_colour_has_many_labels(self, maps: dict[str, Array]) -> None:
        scores = {name: ridge_accuracy(colour_features(maps), maps[name][:, 0]) for name in ("field_pattern",)}
        structure = ridge_accuracy(edge_features(maps), maps["field_pattern"][:, 0])
        assert scores["field_pattern"] < 0.52
        assert structure > scores["field_pattern"] + 0.05

    def test_biomass_follows_height_and_cover(self, maps: dict[str, Array]) -> None:
        height = np.where(maps["canopy_height_eth"][:, 0] == 255, 0, maps["canopy_height_eth"][:, 0]).astype(np.float32)
        assert np.corrcoef(height.mean(axis=(1, 2)), maps["biomass"][:, 0])[0, 1] > 0.8

    def test_irrigated_is_told_on_cropland_only(self, maps: dict[str, Array]) -> None:
        told = maps["irrigated"][:, 0] > 0
        crops = maps["esa_worldcover"][:, 0] == 40
        assert crops[told].mean() > 0.8
        assert told[~crops].mean() < 0.15


def colour_features(maps: dict[str, Array]) -> Array:
    reflectance = maps["sentinel2"][:, [1, 2, 3, 8, 11, 12]].astype(np.float64)
    return np.concatenate([reflectance.mean(axis=(2, 3)), reflectance.std(axis=(2, 3))], axis=1)


def edge_features(maps: dict[str, Array]) -> Array:
    """How edges are distributed over strength, scale and direction."""
    features = []
    for number in (3, 8, 11):
        bright = np.log(maps["sentinel2"][:, number].astype(np.float64) + 100)
        for gap in (1, 2, 4, 8):
            across = (bright[:, :, gap:] - bright[:, :, :-gap])[:, gap:]
            down = (bright[:, gap:] - bright[:, :-gap])[:, :, gap:]
            strength, angle = np.hypot(across, down), np.arctan2(down, across) % np.pi
            features += [(strength > limit).mean(axis=(1, 2)) for limit in (0.03, 0.06, 0.12, 0.25)]
            total = strength.sum(axis=(1, 2)) + 1e-6
            turns = [(strength * (angle // (np.pi / 8) == k)).sum(axis=(1, 2)) / total for k in range(8)]
            features += list(np.sort(turns, axis=0))
    return np.stack(features, axis=1)


def ridge_accuracy(features: Array, label: Array) -> float:
    """Accuracy on the last third of a ridge classifier that was fitted on the rest."""
    features = (features - features.mean(axis=0)) / (features.std(axis=0) + 1e-9)
    features = np.concatenate([features, np.ones((len(features), 1))], axis=1)
    cut = len(label) * 2 // 3
    one_hot = np.eye(label.max() + 1)[label[:cut]]
    x = features[:cut]
    weights = np.linalg.solve(x.T @ x + 30 * np.eye(x.shape[1]), x.T @ one_hot)
    return float(((features[cut:] @ weights).argmax(axis=1) == label[cut:]).mean())


class TestBadInput:
    def test_a_tile_of_no_size(self) -> None:
        with pytest.raises(InputError, match="tile_size is 0, wanted at least 1\nhint: 64 and 128"):
            SyntheticEarth(0, tile_size=0)

    def test_no_tiles(self) -> None:
        with pytest.raises(InputError, match="no tiles to render\nhint: give at least one place"):
            EARTH.tiles(EARTH.places(0))

    def test_tiles_off_the_grid(self) -> None:
        places = EARTH.places(2)
        places.transform[1, 2] += 3
        with pytest.raises(GridError, match=r"tile synthetic-0-00000001: .*not north-up on the 10 m grid\nhint:"):
            EARTH.tiles(places)

    def test_no_utm_zone(self) -> None:
        places = replace(EARTH.places(1), crs=np.array([4326], np.int32))
        with pytest.raises(GridError, match="EPSG:4326 is no UTM zone\nhint: UTM zones are 32601"):
            EARTH.tiles(places)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"levels": {}}, "level of Sentinel-2 is unknown\nhint: give levels"),
            ({"time": np.array(["NaT"], "datetime64[s]")}, "date is unknown\nhint: give time"),
        ],
    )
    def test_unknown_level_or_date(self, change: dict[str, object], message: str) -> None:
        with pytest.raises(InputError, match=message):
            EARTH.tiles(replace(EARTH.places(1), **change))  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"level": "L3"}, "no level 'L3' of Sentinel-2\nhint: there are L1C, L2A"),
            ({"width": 0}, "the grid to render: 9 x 0 pixels"),
            ({"x0": 500005.0}, "the grid to render: transform .* not north-up on the 10 m grid"),
        ],
    )
    def test_grids_that_cannot_be_rendered(self, change: dict[str, object], message: str) -> None:
        good: dict[str, object] = {"crs": 32633, "x0": 500000.0, "y0": 5000000.0, "height": 9, "width": 9}
        good |= {"date": np.datetime64("2020-06-01")}
        assert EARTH.render(**good)["aster"].shape == (2, 9, 9)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=message):
            EARTH.render(**(good | change))  # type: ignore[arg-type]


COUNT, SIZE = 104, 24


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("synthetic") / "tiles.zarr"
    return write_synthetic_store(path, count=COUNT, tile_size=SIZE, shard_size=32, workers=1)


class TestStore:
    def test_it_holds_the_tiles_a_split_and_statistics(self, written: Path) -> None:
        store = Store.open(written)
        earth = SyntheticEarth(0, tile_size=SIZE)
        tiles = earth.tiles(earth.places(10)).arrays
        read = store.read(list(tiles), np.arange(10))
        assert all(same(read[name], tiles[name]) for name in tiles)
        assert store.verify() == []
        assert set(np.unique(store.coordinates.split)) == {0, 1, 2}
        assert store.statistics is not None
        assert store.statistics.split == "train"
        assert set(store.statistics.modalities["sentinel2"].bands) == {"all", "L1C", "L2A"}

    def test_several_processes_and_an_interruption_give_the_same_bytes(self, written: Path, tmp_path: Path) -> None:
        class StopError(Exception):
            pass

        def stop_late(done: int, count: int) -> None:
            assert count == COUNT
            if done > 40:
                raise StopError

        path = tmp_path / "tiles.zarr"
        with pytest.raises(StopError):
            write_synthetic_store(path, count=COUNT, tile_size=SIZE, shard_size=32, workers=1, progress=stop_late)
        assert 0 < len(Store.open(path)) < COUNT
        write_synthetic_store(path, count=COUNT, tile_size=SIZE, shard_size=32, workers=2)
        store, wanted = Store.open(path), Store.open(written)
        every = np.arange(COUNT)
        one, other = store.read(list(store.modalities), every), wanted.read(list(store.modalities), every)
        assert all(same(one[name], other[name]) for name in other)
        assert np.array_equal(store.coordinates.split, wanted.coordinates.split)
        assert store.statistics == wanted.statistics

    def test_another_dataset_is_not_touched(self, written: Path) -> None:
        with pytest.raises(StoreError, match=r"holds another dataset: .*\nhint: name another path"):
            write_synthetic_store(written, count=COUNT, seed=1, tile_size=SIZE)

    def test_nothing_to_write(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="count is 0, wanted at least 1"):
            write_synthetic_store(tmp_path / "tiles.zarr", count=0)

"""Sampling: the shares that the rules demand, even by area on the Earth, the same places whatever draws them."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import shapely

from geopretext.build.ecoregions import Ecoregions, read_ecoregions
from geopretext.build.equal_area import areas, to_degrees, to_plane
from geopretext.build.grid import Grid, utm_zone
from geopretext.build.region import WITHIN_UTM, box_region
from geopretext.build.sampling import Drawn, draw_places
from geopretext.build.spacing import Spacing
from geopretext.build.strata import STRATEGIES, Strata, ecoregion_strata, region_strata
from geopretext.errors import InputError

from .ecoregion_file import write_ecoregions

ELLIPSOID = pyproj.Geod(ellps="WGS84")


@pytest.fixture(scope="module")
def ecoregions(tmp_path_factory: pytest.TempPathFactory) -> Ecoregions:
    return read_ecoregions(write_ecoregions(tmp_path_factory.mktemp("ecoregions") / "ecoregions.geojson"))


def drawn(strata: Strata, count: int, *, seed: int = 0, spacing: Spacing | None = None, chunk: int = 1000) -> Drawn:
    chunks = list(draw_places(strata, count=count, seed=seed, spacing=spacing, chunk=chunk))
    columns = (np.concatenate([getattr(part, name) for part in chunks]) for name in ("number", "lat", "lon", "row"))
    return Drawn(*columns, full=chunks[-1].full)


def names(ecoregions: Ecoregions, places: Drawn) -> npt.NDArray[np.str_]:
    return np.asarray(ecoregions.name[places.row], np.str_)


def test_areas_are_those_of_the_ellipsoid() -> None:
    boxes = np.array([shapely.box(10, lat, 11, lat + 1) for lat in (-80.0, -1.0, 0.0, 45.0, 83.0)])
    geodesic = [ELLIPSOID.geometry_area_perimeter(shapely.segmentize(box, 0.01))[0] / 1e6 for box in boxes]
    np.testing.assert_allclose(areas(boxes), np.abs(geodesic), rtol=1e-6)


def test_area_counts_edges_as_straight_in_degrees() -> None:
    triangle = shapely.Polygon([(0, 0), (60, 0), (0, 60)])
    rows = shapely.box(0, np.arange(0, 60, 0.1), 60 - np.arange(0.05, 60, 0.1), np.arange(0.1, 60.1, 0.1))
    assert areas(np.array([triangle]))[0] == pytest.approx(areas(rows).sum(), rel=1e-5)


def test_plane_and_degrees_are_inverse() -> None:
    lon, lat = np.array([-179.5, 0.0, 12.3]), np.array([-79.9, 0.0, 83.9])
    np.testing.assert_allclose(np.stack(to_degrees(*to_plane(lon, lat))), [lon, lat], atol=1e-9)


def test_uniform_places_are_even_by_area_not_by_degrees() -> None:
    places = drawn(region_strata(box_region(west=-30, south=-80, east=50, north=84)), 20_000)
    edges = np.arange(-80.0, 85.0, 4.0)
    strips = areas(np.array([shapely.box(-30, low, 50, low + 4) for low in edges[:-1]]))
    expected = 20_000 * strips / strips.sum()
    counted = np.histogram(places.lat, edges)[0]
    assert np.abs((counted - expected) / np.sqrt(expected)).max() < 4
    assert ((counted - expected) ** 2 / expected).sum() < 80  # chi square of 40 degrees of freedom: 76 at 0.05 %
    assert abs(np.histogram(places.lon, 8)[0] - 2500).max() < 4 * np.sqrt(2500)


@pytest.mark.parametrize(
    ("strategy", "expected"),
    [
        ("biome-area", {"Central Congolian lowland forests": "area", "Fiji tropical moist forests": "area"}),
        ("biome-even", {"Central Congolian lowland forests": 0.25, "Fiji tropical moist forests": 0.25}),
        ("ecoregion-even", {"Central Congolian lowland forests": 1 / 3, "Fiji tropical moist forests": 1 / 3}),
    ],
)
def test_every_prefix_follows_the_rule(strategy: str, expected: dict[str, float | str], ecoregions: Ecoregions) -> None:
    strata = ecoregion_strata(ecoregions, strategy)  # type: ignore[arg-type]
    places = drawn(strata, 3000)
    found = names(ecoregions, places)
    area = {name: areas(ecoregions.geometry[ecoregions.name == name])[0] for name in expected}
    for count in (30, 500, 3000):
        for name, share in expected.items():
            wanted = 0.5 * area[name] / sum(area.values()) if share == "area" else float(share)
            assert abs((found[:count] == name).sum() - count * wanted) < 3  # closer than any independent draw
        assert "Rock and Ice" not in found


def test_places_lie_in_their_ecoregion_and_spread_over_its_parts(ecoregions: Ecoregions) -> None:
    places = drawn(ecoregion_strata(ecoregions, "ecoregion-even"), 3000)
    inside = shapely.contains_xy(ecoregions.geometry[places.row], places.lon, places.lat)
    assert inside.all()
    fiji = names(ecoregions, places) == "Fiji tropical moist forests"
    east = (places.lon[fiji] > 0).mean()  # half of it lies on either side of the antimeridian
    assert abs(east - 0.5) < 4 * 0.5 / np.sqrt(fiji.sum())


def test_parts_of_any_size_and_shape_are_even_by_area() -> None:
    half = shapely.Polygon([(0, 0), (10, 0), (0, 10)])
    thin = shapely.Polygon([(20, 0), (30, 10), (30, 11)])
    island = shapely.box(40, 60, 42, 61)
    places = drawn(region_strata(shapely.MultiPolygon([half, thin, island])), 8000)
    share = areas(np.array([half, thin, island])) / areas(np.array([half, thin, island])).sum()
    counted = np.histogram(places.lon, [0, 15, 35, 50])[0]
    assert (np.abs(counted - 8000 * share) < 4 * np.sqrt(8000 * share)).all()


def test_a_place_depends_on_seed_and_number_alone(ecoregions: Ecoregions) -> None:
    strata = ecoregion_strata(ecoregions, "biome-area")
    many, few = drawn(strata, 5000, chunk=700), drawn(strata, 1000, chunk=999)
    np.testing.assert_array_equal(many.lat[:1000], few.lat)
    np.testing.assert_array_equal(many.lon[:1000], few.lon)
    other = drawn(strata, 1000, seed=1)
    assert not np.isin(other.lon, few.lon).any()
    assert len(np.unique(few.lon)) == len(few.lon)


def test_spaced_places_are_a_prefix_too(ecoregions: Ecoregions) -> None:
    strata = ecoregion_strata(ecoregions, "biome-area")
    many = drawn(strata, 600, spacing=Spacing(metres=30_000), chunk=70)
    few = drawn(strata, 200, spacing=Spacing(metres=30_000), chunk=200)
    np.testing.assert_array_equal(many.lat[:200], few.lat)
    distances = ELLIPSOID.inv(*np.broadcast_arrays(many.lon, many.lat, many.lon[:, None], many.lat[:, None]))[2]
    assert distances[~np.eye(600, dtype=bool)].min() >= 30_000
    free = drawn(strata, 600)
    assert (free.lat != many.lat).any()  # some had to be drawn again,
    np.testing.assert_array_equal(free.row, many.row)  # and stayed in their ecoregion


@pytest.mark.parametrize(("west", "south"), [(5.9, 0.0), (5.8, 78.0), (-0.2, -62.0), (179.9, 45.0)])
def test_tiles_do_not_overlap_on_whatever_zone_they_lie(west: float, south: float) -> None:
    east = (west + 0.2 / np.cos(np.radians(south)) + 180) % 360 - 180
    region = box_region(west=west, south=south, east=east, north=south + 0.12)
    places = drawn(region_strata(region), 220, spacing=Spacing(tile_metres=640))  # nearly full
    random = np.random.default_rng(0)
    crs = pyproj.CRS.from_proj4(f"+proj=laea +lat_0={south} +lon_0={west}")
    onto_one_map = pyproj.Transformer.from_crs("OGC:CRS84", crs, always_xy=True)
    tiles = []
    for lat, lon in zip(places.lat, places.lon, strict=True):
        zone = utm_zone(lat=lat, lon=(lon + random.choice([-0.5, 0.0, 0.5]) + 180) % 360 - 180)  # a neighbour's image
        left, bottom, right, top = Grid.around(lat=lat, lon=lon, crs=zone, size=64).bounds
        x, y = [left, left, right, right], [bottom, top, top, bottom]
        degrees = pyproj.Transformer.from_crs(zone, "OGC:CRS84", always_xy=True).transform(x, y)
        tiles.append(shapely.Polygon(np.stack(onto_one_map.transform(*degrees), axis=1)))
    pairs = shapely.STRtree(tiles).query(tiles, predicate="intersects")
    assert (pairs[0] == pairs[1]).all()


def test_spacing_reaches_over_the_antimeridian() -> None:
    spacing = Spacing(metres=5000)
    assert spacing.admit(lat=-17.0, lon=179.99)
    assert not spacing.admit(lat=-17.0, lon=-179.99)
    assert spacing.admit(lat=-17.0, lon=-179.9)


def test_a_full_ecoregion_gives_its_places_to_others_of_its_biome(ecoregions: Ecoregions) -> None:
    strata = ecoregion_strata(ecoregions, "biome-even", box_region(west=-180, south=-80, east=180, north=84))
    places = drawn(strata, 400, spacing=Spacing(metres=50_000))
    found = names(ecoregions, places)
    assert places.full == ("Fiji tropical moist forests",)
    assert (found == "Fiji tropical moist forests").sum() < 90
    tropical = np.isin(found, ["Central Congolian lowland forests", "Fiji tropical moist forests"]).mean()
    assert tropical == pytest.approx(0.5, abs=0.01)


def test_no_room_says_how_many_fit() -> None:
    strata = region_strata(box_region(west=0, south=0, east=1, north=1))
    with pytest.raises(InputError, match=r"(\d+) of 500 places fit at that distance") as caught:
        drawn(strata, 500, spacing=Spacing(metres=20_000))
    fitting = int(caught.value.what.split()[0])
    assert 15 < fitting < 40  # 12,300 km² over discs of 20 km: between loosely and closely packed
    assert f"--count {fitting}" in caught.value.hint
    assert len(drawn(strata, fitting, spacing=Spacing(metres=20_000)).lat) == fitting


def test_a_sliver_is_drawn_from_and_a_line_is_refused() -> None:
    sliver = shapely.Polygon([(0, 0), (10, 10), (10, 10.01)])
    places = drawn(region_strata(sliver), 50)
    assert shapely.contains_xy(sliver, places.lon, places.lat).all()
    nothing = shapely.Polygon([(0, 0), (60, 60), (60, 60 + 1e-9)])
    with pytest.raises(InputError, match="the region is too thin"):
        drawn(region_strata(nothing), 1)


def test_strategies_stay_within_a_region_and_the_utm_zones(ecoregions: Ecoregions) -> None:
    for strategy in STRATEGIES:
        region = box_region(west=179, south=-18, east=-179, north=65)
        places = drawn(ecoregion_strata(ecoregions, strategy, region), 100)
        assert set(names(ecoregions, places)) == {"Fiji tropical moist forests"}
        assert (np.abs(places.lon) >= 179).all()
    everywhere = drawn(ecoregion_strata(ecoregions, "uniform"), 3000)
    assert shapely.contains_xy(WITHIN_UTM, everywhere.lon, everywhere.lat).all()
    assert set(names(ecoregions, everywhere)) == set(ecoregions.name.tolist()) - {"Russian Arctic desert"}
    with pytest.raises(InputError, match="no ecoregion of a known biome within the region"):
        ecoregion_strata(ecoregions, "biome-area", box_region(west=-60, south=72, east=-50, north=75))


@pytest.mark.parametrize(
    ("box", "what"),
    [
        ((0, 50, 10, 40), "south 50 is not below north 40"),
        ((20, 40, 10, 50), "west 20 lies east of 10: across the antimeridian that is 350 degrees wide"),
        ((10, 0, 10, 5), "has no width"),
        ((0, 0, 10, 95), "longitudes are -180 to 180"),
        ((float("nan"), 0, 10, 5), "longitudes are -180 to 180"),
        ((0, 85, 10, 89), "has no area between 80 S and 84 N"),
    ],
)
def test_boxes_that_are_none(box: tuple[float, float, float, float], what: str) -> None:
    with pytest.raises(InputError, match=what):
        box_region(west=box[0], south=box[1], east=box[2], north=box[3])


def test_real_rule_every_name_and_share(test_data: Path) -> None:
    _check_real(test_data, 14_000)


@pytest.mark.slow
def test_real_rule_with_as_many_places_as_mmearth(test_data: Path) -> None:
    _check_real(test_data, 1_200_000)


def _check_real(test_data: Path, count: int) -> None:
    ecoregions = read_ecoregions(test_data / "resolve_ecoregions" / "Ecoregions2017.shp")
    assert ecoregions.unknown == []
    assert sorted(ecoregions.ecoregion[ecoregions.classified].tolist()) == list(range(846))
    assert ecoregions.name[~ecoregions.classified].tolist() == ["Rock and Ice"]
    area = areas(shapely.intersection(ecoregions.geometry, WITHIN_UTM))
    for strategy in STRATEGIES[:3]:
        places = drawn(ecoregion_strata(ecoregions, strategy), count, chunk=1 << 16)
        share = np.zeros(len(ecoregions))
        for biome in range(14):
            rows = np.flatnonzero(ecoregions.biome == biome)
            weight = {"biome-area": area[rows] / area[rows].sum() / 14, "biome-even": 1 / len(rows) / 14}
            share[rows] = weight.get(strategy, 1 / 846)
        by_ecoregion = np.bincount(places.row, minlength=len(ecoregions))
        assert np.abs(by_ecoregion - count * share).max() < 6  # an independent draw is off by hundreds in 1.2 million
        by_biome = np.bincount(ecoregions.biome[places.row], minlength=14)
        wanted = np.bincount(ecoregions.biome[ecoregions.classified], share[ecoregions.classified])
        assert np.abs(by_biome - count * wanted).max() < 6

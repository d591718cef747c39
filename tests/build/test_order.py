"""The order of places: theirs alone, and neighbours together."""

import numpy as np

from geopretext.build.order import spatial_order
from geopretext.data.splits import EARTH_RADIUS_KM

from .faulty_maker import make_places


def test_the_order_follows_from_the_places_alone() -> None:
    places = make_places(500)
    ordered = places.take(spatial_order(places))
    shuffled = places.take(np.random.default_rng(0).permutation(500))
    assert shuffled.take(spatial_order(shuffled)).place_id.tolist() == ordered.place_id.tolist()
    some = places.take(np.arange(0, 500, 3))
    kept = [place for place in ordered.place_id.tolist() if place in set(some.place_id.tolist())]
    assert some.take(spatial_order(some)).place_id.tolist() == kept


def test_places_in_a_row_are_neighbours_in_one_zone() -> None:
    random = np.random.default_rng(1)
    places = make_places(20_000)
    object.__setattr__(places, "lat", random.uniform(40, 50, len(places)))
    object.__setattr__(places, "lon", random.uniform(0, 18, len(places)))
    order = spatial_order(places)
    lat, lon = places.lat[order], places.lon[order]
    zone = np.floor(lon / 6)
    assert np.count_nonzero(np.diff(zone)) == 2
    steps = np.hypot(np.diff(lat), np.diff(lon) * np.cos(np.radians(45))) * np.radians(1) * EARTH_RADIUS_KM
    assert np.median(steps) < 15  # places lie 8 km apart on average
    groups = [slice(start, start + 128) for start in range(0, len(places) - 128, 128)]
    height = [np.ptp(lat[group]) * np.radians(1) * EARTH_RADIUS_KM for group in groups if np.ptp(zone[group]) == 0]
    assert np.median(height) < 200  # 128 of them fill a square of 100 km
    assert np.max(np.abs(lat)) <= 50


def test_extreme_positions_have_a_place_in_the_order() -> None:
    places = make_places(4)
    object.__setattr__(places, "lat", np.array([90.0, -90.0, 0.0, 0.0]))
    object.__setattr__(places, "lon", np.array([180.0, -180.0, 180.0, -180.0]))
    assert sorted(spatial_order(places).tolist()) == [0, 1, 2, 3]

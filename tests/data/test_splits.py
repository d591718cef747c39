"""Splits: shares, stability, geometry, and leakage against brute force."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.data.splits import EARTH_RADIUS_KM, ecoregion_split, leakage, random_split, spatial_split
from geopretext.errors import InputError


def on_the_earth(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Positions spread evenly over the sphere."""
    random = np.random.default_rng(seed)
    return np.degrees(np.arcsin(random.uniform(-1, 1, count))), random.uniform(-180, 180, count)


def great_circle_km(lat1: np.ndarray, lon1: np.ndarray, lat2: np.ndarray, lon2: np.ndarray) -> np.ndarray:
    """The haversine formula, all pairs."""
    p1, l1, p2, l2 = (np.radians(x) for x in (lat1[:, None], lon1[:, None], lat2[None], lon2[None]))
    h = np.sin((p2 - p1) / 2) ** 2 + np.cos(p1) * np.cos(p2) * np.sin((l2 - l1) / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(h))


def test_a_random_split_has_exact_shares_and_follows_its_seed() -> None:
    split = random_split(1000, (0.7, 0.2, 0.1), seed=1)
    assert np.bincount(split).tolist() == [700, 200, 100]
    assert split.dtype == np.int8
    np.testing.assert_array_equal(split, random_split(1000, (0.7, 0.2, 0.1), seed=1))
    assert (split != random_split(1000, (0.7, 0.2, 0.1), seed=2)).any()
    assert np.bincount(random_split(10, (1.0, 0.0, 0.0), seed=0), minlength=3).tolist() == [10, 0, 0]


def test_spatial_blocks_keep_neighbours_together_and_meet_shares_on_average() -> None:
    lat, lon = on_the_earth(20_000)
    split = spatial_split(lat, lon, block_km=300, shares=(0.6, 0.2, 0.2), seed=3)
    np.testing.assert_allclose(np.bincount(split) / len(split), (0.6, 0.2, 0.2), atol=0.02)
    near = spatial_split(lat + 1e-4, lon, block_km=300, shares=(0.6, 0.2, 0.2), seed=3)
    assert (near == split).mean() > 0.999


def test_spatial_blocks_are_about_square_in_kilometres_at_any_latitude() -> None:
    for latitude in (0.0, 45.3, 70.1, 84.9):
        lon = np.linspace(-180, 180, 200_001)
        split = spatial_split(np.full(lon.shape, latitude), lon, block_km=50, shares=(0.5, 0.25, 0.25), seed=0)
        changes = np.flatnonzero(np.diff(split)) / len(lon) * 2 * np.pi * EARTH_RADIUS_KM * np.cos(np.radians(latitude))
        steps = np.diff(changes) / 50  # blocks between two changes of split: whole numbers
        assert np.abs(steps - np.rint(steps)).max() < 0.1 * np.rint(steps).max()
        assert steps.min() > 0.9


def test_adding_tiles_moves_no_other_and_the_seed_moves_many() -> None:
    lat, lon = on_the_earth(3000)
    whole = spatial_split(lat, lon, seed=5)
    np.testing.assert_array_equal(spatial_split(lat[:1000], lon[:1000], seed=5), whole[:1000])
    np.testing.assert_array_equal(spatial_split(lat, lon + 360, seed=5), whole)
    assert (spatial_split(lat, lon, seed=6) != whole).mean() > 0.2


def test_poles_and_the_antimeridian_are_positions_as_any_other() -> None:
    lat, lon = np.array([90.0, -90.0, 0.0, 0.0] * 100), np.array([0.0, 180.0, 180.0, -180.0] * 100)
    split = spatial_split(lat, lon, block_km=500, shares=(1.0, 0.0, 0.0), seed=0)
    assert (split == 0).all()
    half = spatial_split(*on_the_earth(5000), block_km=500, shares=(0.5, 0.5, 0.0), seed=0)
    assert set(half.tolist()) == {0, 1}


def test_whole_ecoregions_go_into_one_split_and_unknown_ones_into_none() -> None:
    ecoregion = np.random.default_rng(0).integers(-1, 300, 5000).astype(np.int16)
    split = ecoregion_split(ecoregion, (0.6, 0.2, 0.2), seed=0)
    assert (split[ecoregion < 0] == -1).all()
    for number in range(300):
        assert len(set(split[ecoregion == number].tolist())) == 1
    np.testing.assert_allclose(np.bincount(split[split >= 0]) / (split >= 0).sum(), (0.6, 0.2, 0.2), atol=0.08)
    np.testing.assert_array_equal(ecoregion_split(ecoregion[:50], (1, 0, 0), seed=0)[:5], np.minimum(ecoregion[:5], 0))


@settings(derandomize=True, deadline=None, max_examples=60)
@given(
    st.integers(0, 10_000),
    st.integers(2, 120),
    st.floats(1e-3, 25_000),
    st.floats(1e-4, 180),
    st.sampled_from([-90.0, -45.0, 0.0, 60.0, 89.9]),
)
def test_leakage_is_what_brute_force_finds(
    seed: int, count: int, distance: float, spread: float, latitude: float
) -> None:
    random = np.random.default_rng(seed)
    lat = np.clip(latitude + random.uniform(-spread, spread, count) / 2, -90, 90)
    lon = 179.99 + random.uniform(-spread, spread, count)
    split = random.integers(-1, 3, count).astype(np.int8)
    train, held_out = np.flatnonzero(split == 0), np.flatnonzero(split > 0)
    pairs = great_circle_km(lat[train], lon[train], lat[held_out], lon[held_out])
    if pairs.size and np.abs(pairs / distance - 1).min() < 1e-6:
        return  # a distance too near to the limit to call in floating point
    wanted = train[(pairs < distance).any(axis=1)]
    np.testing.assert_array_equal(leakage(lat, lon, split, distance_km=distance), wanted)


def test_leakage_of_many_tiles_and_none_after_taking_them_out() -> None:
    lat, lon = on_the_earth(30_000)
    split = spatial_split(lat, lon, block_km=500, seed=0)
    leaking = leakage(lat, lon, split, distance_km=30)
    assert 0 < len(leaking) < 0.2 * len(lat)
    assert len(leakage(lat, lon, random_split(len(lat), seed=0), distance_km=30)) > 2 * len(leaking)
    split[leaking] = -1
    assert len(leakage(lat, lon, split, distance_km=30)) == 0


def test_the_same_place_in_two_splits_always_leaks() -> None:
    lat, lon = np.full(5000, 12.5), np.full(5000, 7.5)
    split = random_split(5000, seed=0)
    assert len(leakage(lat, lon, split, distance_km=0.001)) == 4000


@pytest.mark.parametrize(
    ("shares", "message"),
    [((0.5, 0.5), "shares are"), ((0.8, 0.1, 0.2), "shares are"), ((1.2, -0.1, -0.1), "shares are")],
)
def test_shares_that_are_none_are_refused(shares: tuple[float, ...], message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        random_split(10, shares, seed=0)
    assert "train, val, test" in caught.value.hint


def test_an_empty_split_is_refused_with_its_name_and_a_way_out() -> None:
    with pytest.raises(InputError, match="the val and the test split would be empty") as caught:
        random_split(2, seed=0)
    assert "2 tiles are too few" in caught.value.hint
    with pytest.raises(InputError, match="split would be empty") as caught:
        spatial_split(np.full(50, 10.0), np.full(50, 10.0), seed=0)
    assert "smaller blocks" in caught.value.hint
    with pytest.raises(InputError, match="split would be empty") as caught:
        ecoregion_split(np.full(9, 4, np.int16), seed=0)
    assert "tiles of 1 ecoregions" in caught.value.hint


def test_unknown_positions_and_senseless_sizes_are_refused() -> None:
    lat, lon = on_the_earth(10)
    lat[4] = np.nan
    with pytest.raises(InputError, match="1 of 10 tiles have no position, the first is tile 4") as caught:
        spatial_split(lat, lon, seed=0)
    assert "at random" in caught.value.hint
    with pytest.raises(InputError, match="have no position"):
        leakage(lat, lon, np.zeros(10, np.int8), distance_km=1)
    lat[4] = 0
    with pytest.raises(InputError, match="block_km is 0"):
        spatial_split(lat, lon, block_km=0, seed=0)
    with pytest.raises(InputError, match="distance_km is -1"):
        leakage(lat, lon, np.zeros(10, np.int8), distance_km=-1)

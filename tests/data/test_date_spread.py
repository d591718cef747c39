"""Dates that are kept lie evenly, and the same ones always."""

from itertools import combinations

import numpy as np
import pytest

from geopretext.data.date_spread import spread_days, spread_order

RANDOM = np.random.default_rng(0)


def days(*numbers: int) -> np.ndarray:
    return np.datetime64("2019-01-01", "D") + np.array(numbers, np.int64)


def widest_gap(kept: np.ndarray, among: np.ndarray) -> int:
    """Days from the one that is farthest from any that is kept."""
    return int(np.abs(among[:, None] - kept[None]).astype(np.int64).min(axis=1).max())


def test_each_is_the_farthest_from_those_before_it() -> None:
    assert spread_order(days(0, 10, 20, 30, 40)).tolist() == [0, 4, 2, 1, 3]
    assert spread_order(days(0, 1, 2, 100)).tolist() == [0, 3, 2, 1]
    assert spread_order(days(0, 10, 20, 30), first=np.datetime64("2019-01-19")).tolist() == [2, 0, 1, 3]
    assert spread_order(days()).tolist() == []


def test_positions_are_ascending_and_all_if_there_are_few() -> None:
    assert spread_days(days(0, 10, 20, 30, 40), 3).tolist() == [0, 2, 4]
    assert spread_days(days(3, 4), 9).tolist() == [0, 1]


@pytest.mark.parametrize("count", [2, 3, 4])
def test_gaps_are_at_most_twice_the_best(count: int) -> None:
    for _ in range(5):
        at = days(*np.sort(RANDOM.choice(365, 12, replace=False)))
        best = min(widest_gap(at[list(pick)], at) for pick in combinations(range(12), count))
        assert widest_gap(at[spread_days(at, count)], at) <= 2 * best

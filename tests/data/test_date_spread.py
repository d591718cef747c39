"""Which dates are kept: compared with the best of all choices, tried one by one."""

from itertools import combinations

import numpy as np
import pytest

from geopretext.data.date_spread import spread_days, spread_order

START = np.datetime64("2020-01-01")


def farthest(days: np.ndarray, chosen: np.ndarray) -> int:
    """Days between a date and the nearest of those chosen, at most."""
    return int(np.abs(days[:, None] - chosen).min(axis=1).max())


@pytest.mark.parametrize("seed", range(20))
def test_no_date_is_farther_than_twice_what_the_best_choice_leaves(seed: int) -> None:
    random = np.random.default_rng(seed)
    days = np.sort(random.choice(80, 9, replace=False))
    for count in range(1, 6):
        first = START + random.choice(days)
        kept = days[spread_days(START + days, count, first=first)]
        assert len(kept) == count
        assert first - START in kept
        best = min(farthest(days, np.array(choice)) for choice in combinations(days, count))
        assert farthest(days, kept) <= 2 * best


def test_a_longer_choice_has_the_days_of_a_shorter_one() -> None:
    days = START + np.array([0, 3, 4, 50, 90, 91, 200])
    assert spread_order(days).tolist()[:4] == [0, 6, 5, 3]  # the ends, the middle, the middle of the first half
    assert spread_days(days, 3).tolist() == [0, 5, 6]
    assert sorted(spread_order(days, first=START + 88)) == list(range(7))
    assert spread_order(days, first=START + 88)[0] == 4
    assert spread_order(days[:0]).tolist() == []

"""Differences over trained models agree with scipy's t-tests, and say so when there are too few models."""

from itertools import product

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.seed_difference import seed_difference, t_probability, t_quantile

FIRST = {0: 0.81, 1: 0.84, 2: 0.79, 3: 0.86, 4: 0.83}
SECOND = {4: 0.80, 3: 0.82, 2: 0.78, 1: 0.80, 0: 0.79}


def test_students_t_is_scipys() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    for freedom in (1, 2, 3, 4, 7, 30, 61):
        for value in (-12.0, -0.4, 0.0, 0.7, 3.0):
            assert t_probability(value, freedom) == pytest.approx(stats.t.cdf(value, freedom), abs=1e-12)
        assert t_quantile(0.975, freedom) == pytest.approx(stats.t.ppf(0.975, freedom), rel=1e-9)


def test_the_same_seeds_are_paired() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    found = seed_difference(FIRST, SECOND)
    one, two = ([scores[seed] for seed in range(5)] for scores in (FIRST, SECOND))
    expected = stats.ttest_rel(one, two)
    interval = expected.confidence_interval()
    assert found.paired
    assert (found.first, found.second) == (tuple(one), tuple(two))
    assert found.value == pytest.approx(np.mean(one) - np.mean(two))
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.low < found.bootstrap_low < found.value < found.bootstrap_high < found.high


def test_signs_are_flipped_in_all_ways() -> None:
    each = np.array([FIRST[seed] - SECOND[seed] for seed in range(5)])
    means = [abs(np.mean(each * signs)) for signs in product((1, -1), repeat=5)]
    assert seed_difference(FIRST, SECOND).p_sign_flip == np.mean(np.array(means) >= each.mean() - 1e-12) == 2 / 32
    many = {seed: 1.0 + seed % 3 for seed in range(20)}
    none = dict.fromkeys(range(20), 0.0)
    assert seed_difference(many, none).p_sign_flip == pytest.approx(1 / 10_001)


def test_other_seeds_are_not_paired() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    others = {seed + 10: value for seed, value in SECOND.items()}
    found = seed_difference(FIRST, others)
    one, two = list(FIRST.values()), list(SECOND.values())
    expected = stats.ttest_ind(one, two, equal_var=False)
    interval = expected.confidence_interval()
    assert not found.paired
    assert found.p_sign_flip is None
    # degrees of freedom are rounded down, which makes it a little wider
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), abs=0.002)
    assert found.low <= interval.low < interval.high <= found.high
    assert found == seed_difference(FIRST, others, paired=False)
    assert seed_difference(FIRST, SECOND, paired=False).low == pytest.approx(found.low)


def test_models_that_do_not_vary_leave_no_doubt() -> None:
    same = seed_difference({0: 0.5, 1: 0.5}, {2: 0.5, 3: 0.5})
    assert (same.value, same.low, same.high, same.p_value) == (0, 0, 0, 1)
    assert seed_difference({0: 0.6, 1: 0.6}, {2: 0.5, 3: 0.5}).p_value == 0


def test_it_goes_into_json() -> None:
    plain = seed_difference(FIRST, SECOND).to_dict()
    assert plain["paired"] is True
    assert plain["first"] == [0.81, 0.84, 0.79, 0.86, 0.83]


def test_one_model_says_nothing_of_its_seed() -> None:
    with pytest.raises(InputError, match=r"has 1 and 5 seeds.*\nhint: train at least two"):
        seed_difference({0: 0.5}, FIRST)


def test_different_seeds_cannot_be_paired() -> None:
    with pytest.raises(InputError, match=r"seeds \[0, 1\] and \[1, 2\] cannot be paired"):
        seed_difference({0: 0.5, 1: 0.6}, {1: 0.5, 2: 0.6}, paired=True)


def test_intervals_cover_the_truth_and_the_plain_bootstrap_of_few_seeds_does_not() -> None:
    generator = np.random.default_rng(4)
    covered = plain = 0
    for _ in range(200):
        found = seed_difference(*(dict(enumerate(generator.normal(size=4))) for _ in range(2)))
        covered += found.low <= 0 <= found.high
        plain += found.bootstrap_low <= 0 <= found.bootstrap_high
    assert 0.91 <= covered / 200 <= 0.985
    assert plain / 200 < 0.9

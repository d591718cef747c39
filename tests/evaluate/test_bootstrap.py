"""Intervals cover what they claim, are reproducible, and pair the samples of two methods."""

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate import bootstrap as module
from geopretext.evaluate.bootstrap import Score, bootstrap, difference, mean_score, resample_counts
from geopretext.evaluate.metrics import Metric


def coin_scores(right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two classes that are right where ``right`` is true; the truth is class 0."""
    return np.stack([right, ~right], axis=1).astype(float), np.zeros(len(right), np.int64)


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    right = np.arange(500) % 5 != 0
    scores, labels = coin_scores(right)
    score = bootstrap(Metric.ACCURACY, [scores], labels)
    spread = 1.96 * np.sqrt(0.8 * 0.2 / 500)
    assert score.value == pytest.approx(0.8)
    assert (score.low, score.high) == pytest.approx((0.8 - spread, 0.8 + spread), abs=0.006)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        scores, labels = coin_scores(generator.random(200) < 0.7)
        score = bootstrap(Metric.ACCURACY, [scores], labels, resamples=300)
        covered += score.low <= 0.7 <= score.high
    assert 88 <= covered <= 100


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    scores, labels = coin_scores(np.random.default_rng(2).random(50) < 0.6)
    first = bootstrap(Metric.ACCURACY, [scores], labels, seed=4)
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 700)
    np.testing.assert_array_equal(first.draws, bootstrap(Metric.ACCURACY, [scores], labels, seed=4).draws)
    assert not np.array_equal(first.draws, bootstrap(Metric.ACCURACY, [scores], labels, seed=5).draws)


def test_every_resample_draws_as_many_samples_as_there_are() -> None:
    counts = np.concatenate(list(resample_counts(37, 11, seed=0)))
    assert counts.shape == (11, 37)
    assert (counts.sum(1) == 37).all()


def test_a_small_gain_on_the_same_samples_is_seen_where_separate_intervals_overlap() -> None:
    generator = np.random.default_rng(5)
    right = generator.random(300) < 0.6
    better = right.copy()
    better[np.flatnonzero(~right)[:12]] = True
    labels = np.zeros(300, np.int64)
    first, second = (bootstrap(Metric.ACCURACY, [coin_scores(each)[0]], labels) for each in (better, right))
    gain = difference(first, second)
    assert gain.value == pytest.approx(12 / 300)
    assert 0 < gain.low < gain.value < gain.high
    assert second.high > first.low


def test_runs_of_several_seeds_are_averaged() -> None:
    scores, labels = coin_scores(np.arange(40) % 2 == 0)
    perfect, _ = coin_scores(np.ones(40, bool))
    score = bootstrap(Metric.ACCURACY, [scores, perfect], labels)
    assert score.value == pytest.approx(0.75)
    assert 0.5 < score.low < 0.75 < score.high < 1


def test_the_mean_over_tasks_is_narrower_than_each() -> None:
    generator = np.random.default_rng(0)
    scores = [
        bootstrap(Metric.ACCURACY, [coin_scores(generator.random(200) < 0.6)[0]], np.zeros(200, int)) for _ in "abcd"
    ]
    mean = mean_score(scores)
    assert mean.value == pytest.approx(np.mean([score.value for score in scores]))
    assert mean.low < mean.value < mean.high
    assert mean.high - mean.low < 0.7 * min(score.high - score.low for score in scores)


def test_draws_that_are_undefined_are_left_out() -> None:
    score = Score.of(0.5, np.array([0.0, 1.0, np.nan, np.nan]))
    assert (score.low, score.high) == pytest.approx((0.025, 0.975))
    assert score.to_dict() == {"value": 0.5, "low": score.low, "high": score.high}


def test_a_test_set_of_one_value_is_refused_for_r2() -> None:
    labels = np.full((10, 1), 3.0)
    with pytest.raises(InputError, match=r"undefined on this test set.*\n.*more than one value"):
        bootstrap(Metric.R2, [labels + 0.1], labels)

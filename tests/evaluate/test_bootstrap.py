"""Intervals cover what they claim, are reproducible, and pair the samples of two methods."""

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate import bootstrap as module
from geopretext.evaluate.bootstrap import Score, bootstrap, difference, mean_score, resample_counts, seed_weights
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import SampleOutcome


def coin_outcome(right: np.ndarray) -> SampleOutcome:
    """Of two classes, right where ``right`` is true; the truth is class 0."""
    scores = np.stack([right, ~right], axis=1).astype(float)
    return SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.zeros(len(right), np.int64))


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    right = np.arange(500) % 5 != 0
    outcome = coin_outcome(right)
    score = bootstrap(Metric.ACCURACY, [outcome])
    spread = 1.96 * np.sqrt(0.8 * 0.2 / 500)
    assert score.value == pytest.approx(0.8)
    assert (score.low, score.high) == pytest.approx((0.8 - spread, 0.8 + spread), abs=0.006)


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for _ in range(100):
        outcome = coin_outcome(generator.random(200) < 0.7)
        score = bootstrap(Metric.ACCURACY, [outcome], resamples=300)
        covered += score.low <= 0.7 <= score.high
    assert 88 <= covered <= 100


def test_the_same_seed_gives_the_same_interval_and_blocks_do_not_matter(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = coin_outcome(np.random.default_rng(2).random(50) < 0.6)
    first = bootstrap(Metric.ACCURACY, [outcome], seed=4)
    monkeypatch.setattr(module, "_CELLS_AT_ONCE", 700)
    np.testing.assert_array_equal(first.draws, bootstrap(Metric.ACCURACY, [outcome], seed=4).draws)
    assert not np.array_equal(first.draws, bootstrap(Metric.ACCURACY, [outcome], seed=5).draws)


def test_every_resample_draws_as_many_samples_as_there_are() -> None:
    counts = np.concatenate(list(resample_counts(37, 11, seed=0)))
    assert counts.shape == (11, 37)
    assert (counts.sum(1) == 37).all()


def test_a_small_gain_on_the_same_samples_is_seen_where_separate_intervals_overlap() -> None:
    generator = np.random.default_rng(5)
    right = generator.random(300) < 0.6
    better = right.copy()
    better[np.flatnonzero(~right)[:12]] = True
    first, second = (bootstrap(Metric.ACCURACY, [coin_outcome(each)]) for each in (better, right))
    gain = difference(first, second)
    assert gain.value == pytest.approx(12 / 300)
    assert 0 < gain.low < gain.value < gain.high
    assert second.high > first.low


def test_runs_of_several_seeds_are_averaged() -> None:
    outcome = coin_outcome(np.arange(40) % 2 == 0)
    perfect = coin_outcome(np.ones(40, bool))
    score = bootstrap(Metric.ACCURACY, [outcome, perfect])
    assert score.value == pytest.approx(0.75)
    assert 0.5 < score.low < 0.75 < score.high < 1


def test_the_mean_over_tasks_is_narrower_than_each() -> None:
    generator = np.random.default_rng(0)
    scores = [bootstrap(Metric.ACCURACY, [coin_outcome(generator.random(200) < 0.6)]) for _ in "abcd"]
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
        bootstrap(Metric.R2, [SampleOutcome(TaskKind.REGRESSION, labels + 0.1, labels)])


def test_one_run_has_the_same_interval_with_its_seed_as_without() -> None:
    outcome = coin_outcome(np.random.default_rng(2).random(50) < 0.6)
    np.testing.assert_array_equal(
        bootstrap(Metric.ACCURACY, [outcome], seeds=[7]).draws, bootstrap(Metric.ACCURACY, [outcome]).draws
    )


def test_the_part_of_the_seeds_is_students_t() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    values = np.array([0.71, 0.74, 0.70, 0.77])
    drawn = seed_weights([0, 1, 2, 3], 100_000, seed=0) @ (values - values.mean())
    scale = values.std(ddof=1) / 2
    assert stats.kstest(drawn / scale, stats.t(3).cdf).pvalue > 0.01


def test_runs_with_the_same_seeds_are_paired_whatever_their_order() -> None:
    """Two methods that differ by a constant differ by it without doubt, however much seeds matter to both."""
    generator = np.random.default_rng(0)
    order = generator.permutation(400)
    right = {seed: np.isin(np.arange(400), order[:size]) for seed, size in enumerate((200, 260, 320))}
    better = {seed: np.isin(np.arange(400), order[: size + 40]) for seed, size in enumerate((200, 260, 320))}

    def score(runs: dict[int, np.ndarray], seeds: list[int]) -> Score:
        return bootstrap(Metric.ACCURACY, [coin_outcome(runs[seed]) for seed in seeds], seeds=seeds)

    paired = difference(score(better, [0, 1, 2]), score(right, [2, 0, 1]))
    assert paired.value == pytest.approx(0.1)
    assert 0.05 < paired.low < paired.high < 0.15
    alone = score(right, [0, 1, 2])
    assert alone.high - alone.low > 0.4  # t of 2 degrees of freedom times 0.15 / sqrt(3), both ways: 0.75
    apart = bootstrap(Metric.ACCURACY, [coin_outcome(better[seed]) for seed in range(3)], seeds=[5, 6, 7])
    unpaired = difference(apart, alone)
    assert unpaired.low < -0.3


@pytest.mark.slow
@pytest.mark.parametrize(("samples", "seeds"), [(400, 3), (1000, 3), (400, 10)])
def test_intervals_cover_other_samples_and_other_seeds(samples: int, seeds: int) -> None:
    """Samples of differing difficulty, seeds with a deviation of 0.03."""
    generator = np.random.default_rng(1)
    covered = narrow = 0
    for repeat in range(200):
        difficulty = generator.uniform(0.5, 0.9, samples)
        runs = [coin_outcome(generator.random(samples) < difficulty + generator.normal(0, 0.03)) for _ in range(seeds)]
        score = bootstrap(Metric.ACCURACY, runs, seeds=range(seeds), resamples=300, seed=repeat)
        covered += score.low <= 0.7 <= score.high
        score = bootstrap(Metric.ACCURACY, runs, resamples=300, seed=repeat)
        narrow += score.low <= 0.7 <= score.high
    assert 0.92 <= covered / 200 <= 0.995
    assert narrow / 200 < 0.9


def test_runs_of_one_seed_are_no_draws_of_seeds() -> None:
    outcome = coin_outcome(np.arange(40) % 2 == 0)
    with pytest.raises(InputError, match=r"2 runs have the seeds 1, 1"):
        bootstrap(Metric.ACCURACY, [outcome, outcome], seeds=[1, 1])


def test_an_interval_stays_within_what_the_metric_can_be() -> None:
    better, worse = (coin_outcome(np.arange(40) % every > 0) for every in (40, 8))
    score = bootstrap(Metric.ACCURACY, [better, worse], seeds=[0, 1])
    assert 0 < score.low < score.value < score.high == 1
    assert score.draws.max() > 1

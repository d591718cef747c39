"""Tests between methods find what is there, seldom what is not, and agree with closed forms."""

from itertools import product

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.bootstrap import Score, bootstrap
from geopretext.evaluate.comparison import binomial_p_value, compare, holm, p_value, ranks
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, SampleOutcome


def coins(right: np.ndarray) -> SampleOutcome:
    scores = np.stack([right, ~right], axis=1).astype(float)
    return SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.zeros(len(right), np.int64))


def values(error: np.ndarray, truth: np.ndarray) -> SampleOutcome:
    return SampleOutcome(TaskKind.REGRESSION, (truth + error)[:, None], truth[:, None])


def test_one_run_of_each_is_mcnemars_exact_test() -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    generator = np.random.default_rng(0)
    right = generator.random(200) < 0.7
    other = np.where(generator.random(200) < 0.2, ~right, right)
    only, switched = int((right & ~other).sum()), int((right != other).sum())
    expected = stats.binomtest(only, switched).pvalue
    assert p_value(Metric.ACCURACY, {0: coins(right)}, {3: coins(other)}) == pytest.approx(expected, rel=1e-9)
    assert 0 < expected < 1


@pytest.mark.parametrize("trials", [0, 1, 2, 9, 400, 30_000])
def test_binomial_p_values_are_scipys(trials: int) -> None:
    stats = pytest.importorskip("scipy.stats", reason="scipy is the reference here")
    for successes in {0, trials // 3, trials // 2, trials * 49 // 100, trials}:
        expected = stats.binomtest(successes, trials).pvalue if trials else 1.0
        assert binomial_p_value(successes, trials) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_exchanges_sample_by_sample_are_all_those_that_there_are() -> None:
    """Of eight samples, all 256 exchanges can be gone through."""
    generator = np.random.default_rng(1)
    truth = generator.normal(size=8)
    errors = generator.normal(0, (0.3, 0.8), (8, 2))
    runs = [values(errors[:, column], truth) for column in range(2)]

    def rmse(side: np.ndarray) -> float:
        picked = np.where(side, errors[:, 0], errors[:, 1])
        return float(np.sqrt(np.mean(picked**2)))

    sides = [np.array(side, bool) for side in product((0, 1), repeat=8)]
    null = np.array([rmse(side) - rmse(~side) for side in sides])
    observed = runs[0].measure(Metric.RMSE) - runs[1].measure(Metric.RMSE)
    exact = np.mean(np.abs(null) >= abs(observed) - 1e-12)
    assert 0.01 < exact < 0.5
    found = p_value(Metric.RMSE, {0: runs[0]}, {0: runs[1]}, exchanges=20_000)
    assert found == pytest.approx(exact, abs=0.015)


def test_a_method_does_not_differ_from_itself() -> None:
    outcome = values(np.array([0.1, 0.5, -0.3]), np.array([1.0, 2.0, 4.0]))
    assert p_value(Metric.R2, {0: outcome}, {0: outcome}) == 1


def test_images_are_exchanged_whole() -> None:
    """A thousand pixels of four images are four samples: 16 exchanges, of which 2 are as large."""
    good = np.tile(np.array([[240, 10], [10, 240]]), (4, 1, 1))
    bad = np.tile(np.array([[200, 50], [50, 200]]), (4, 1, 1))
    runs = [{0: ConfusionOutcome(TaskKind.SEGMENTATION, tables)} for tables in (good, bad)]
    assert p_value(Metric.MEAN_JACCARD, *runs, exchanges=5000) == pytest.approx(2 / 16, abs=0.02)


def test_what_seeds_explain_is_no_difference() -> None:
    """Samples tell the runs of each seed apart beyond doubt, but which of the two is better changes with the seed."""
    generator = np.random.default_rng(3)
    order = generator.permutation(2000)

    def runs(sizes: tuple[int, ...]) -> dict[int, SampleOutcome]:
        return {seed: coins(np.isin(np.arange(2000), order[:size])) for seed, size in enumerate(sizes)}

    spread = p_value(Metric.ACCURACY, runs((1500, 1100, 1600)), runs((1200, 1300, 1400)), exchanges=300)
    steady = p_value(Metric.ACCURACY, runs((1500, 1100, 1600)), runs((1400, 1000, 1500)), exchanges=300)
    assert spread > 0.3
    assert steady < 0.01


@pytest.mark.parametrize(
    ("seeds", "deviation", "gain", "least", "most"),
    [
        ((1, 1), 0.0, 0.0, 0.0, 0.09),
        ((3, 3), 0.05, 0.0, 0.0, 0.09),
        ((1, 3), 0.0, 0.0, 0.0, 0.09),
        ((1, 1), 0.0, 0.12, 0.6, 1.0),
    ],
    ids=["null", "null, seeds", "null, one against three", "effect"],
)
@pytest.mark.slow
def test_false_positives_are_as_rare_as_they_should_be_and_effects_are_found(
    seeds: tuple[int, int], deviation: float, gain: float, least: float, most: float
) -> None:
    generator = np.random.default_rng(5)
    found = 0
    for repeat in range(150):
        difficulty = generator.uniform(0.4, 0.9, 250)
        first, second = (
            {
                seed: coins(generator.random(250) < difficulty - lost + generator.normal(0, deviation))
                for seed in range(count)
            }
            for count, lost in zip(seeds, (0.0, gain), strict=True)
        )
        found += p_value(Metric.ACCURACY, first, second, exchanges=199, seed=repeat) <= 0.05
    assert least <= found / 150 <= most


def test_holm_is_the_published_procedure() -> None:
    assert holm({"a": 0.01, "b": 0.04, "c": 0.03, "d": 0.005}) == pytest.approx(
        {"a": 0.03, "b": 0.06, "c": 0.06, "d": 0.02}
    )
    assert holm({}) == {}
    assert holm({"a": 0.7, "b": 0.8}) == {"a": 1.0, "b": 1.0}


def test_a_table_of_comparisons_is_against_the_first_and_corrected() -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(size=120)
    methods = {
        name: {0: values(generator.normal(0, noise, 120), truth)}
        for name, noise in {"ours": 0.2, "close": 0.21, "far": 0.9}.items()
    }
    table = compare(Metric.R2, methods)
    assert list(table) == ["close", "far"]
    assert table["far"].gain.low > 0
    assert table["far"].adjusted == pytest.approx(2 * table["far"].p_value)
    assert table["far"].p_value < 0.002 < 0.05 < table["close"].p_value
    assert set(table["far"].to_dict()) == {"value", "low", "high", "p", "p_holm"}


def test_runs_of_other_samples_are_refused() -> None:
    truth = np.arange(5.0)
    with pytest.raises(InputError, match="not of the same test samples"):
        p_value(Metric.R2, {0: values(truth, truth)}, {0: values(truth, truth[::-1])})


def score(value: float, draws: list[float]) -> Score:
    return Score.of(value, np.asarray(draws))


def test_ranks_count_places_over_resamples_and_tasks() -> None:
    first = {"a": score(0.9, [0.9, 0.7, 0.9, 0.9]), "b": score(0.8, [0.8] * 4), "c": score(0.8, [0.1] * 4)}
    second = {"a": score(3.0, [3.0] * 4), "b": score(1.0, [1.0] * 4), "c": score(2.0, [2.0] * 4)}
    one = ranks({"one": (Metric.ACCURACY, first)})
    assert (one["a"].value, one["b"].value, one["c"].value) == (1, 2.5, 2.5)
    assert (one["a"].best, one["b"].best, one["c"].best) == (0.75, 0.25, 0)
    both = ranks({"one": (Metric.ACCURACY, first), "two": (Metric.RMSE, second)})
    assert (both["a"].value, both["b"].value, both["c"].value) == (2, 1.75, 2.25)
    assert both["b"].best == pytest.approx((0.25 + 1) / 2)
    assert both["a"].low <= both["a"].value <= both["a"].high == pytest.approx(2.5, abs=0.05)


def test_ranks_of_resampled_scores_know_how_sure_they_are() -> None:
    generator = np.random.default_rng(0)
    right = {"clear": 0.9, "even": 0.6, "odd": 0.6}
    scores = {name: bootstrap(Metric.ACCURACY, [coins(generator.random(300) < share)]) for name, share in right.items()}
    table = ranks({"task": (Metric.ACCURACY, scores)})
    assert (table["clear"].low, table["clear"].high, table["clear"].best) == (1, 1, 1)
    assert (table["even"].low, table["even"].high) == (2, 3)


def test_ranks_need_every_method_on_every_task() -> None:
    full = {"a": score(1.0, [1.0]), "b": score(0.0, [0.0])}
    with pytest.raises(InputError, match="task 'two': has no score of b"):
        ranks({"one": (Metric.ACCURACY, full), "two": (Metric.ACCURACY, {"a": full["a"]})})
    with pytest.raises(InputError, match="no task"):
        ranks({})

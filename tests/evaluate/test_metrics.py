"""Metrics agree with scikit-learn, and their resampled forms agree with the plain ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.evaluate.metrics import METRICS, Metric, TaskKind, measure, weighted

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")


def example(kind: TaskKind, samples: int = 60, outputs: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    # Rounded, so that scores tie.
    scores = generator.random((samples, outputs)).round(1)
    if kind is TaskKind.SINGLE_LABEL:
        return scores, generator.integers(outputs - 1, size=samples)  # the last class is never the truth
    if kind is TaskKind.MULTI_LABEL:
        labels = (generator.random((samples, outputs)) < 0.4).astype(np.int64)
        labels[:, -1] = 0
        return scores, labels
    return scores * 50 + 300, scores * 40 + 310 + generator.normal(size=scores.shape)


REFERENCE = {
    Metric.ACCURACY: lambda s, y, w: sklearn.accuracy_score(y, s.argmax(1), sample_weight=w),
    Metric.CLASS_MEAN_ACCURACY: lambda s, y, w: np.mean(
        [np.average(s[y == k].argmax(1) == k, weights=w[y == k]) for k in np.unique(y[w > 0])]
    ),
    Metric.MICRO_F1: lambda s, y, w: sklearn.f1_score(y, s > 0.5, average="micro", sample_weight=w),
    Metric.MACRO_F1: lambda s, y, w: sklearn.f1_score(
        y,
        s.argmax(1) if y.ndim == 1 else s > 0.5,
        labels=np.unique(y[w > 0]) if y.ndim == 1 else np.flatnonzero(y[w > 0].any(0)),
        average="macro",
        sample_weight=w,
    ),
    Metric.MEAN_AVERAGE_PRECISION: lambda s, y, w: np.mean(
        [
            sklearn.average_precision_score(y[:, k], s[:, k], sample_weight=w)
            for k in range(y.shape[1])
            if y[w > 0, k].any()
        ]
    ),
    Metric.R2: lambda s, y, w: sklearn.r2_score(y, s, sample_weight=w),
    Metric.RMSE: lambda s, y, w: sklearn.root_mean_squared_error(y, s, sample_weight=w),
}
CASES = [(kind, metric) for kind, metrics in METRICS.items() if not kind.is_dense for metric in metrics]


@pytest.mark.parametrize(("kind", "metric"), CASES, ids=str)
def test_values_are_scikit_learns(kind: TaskKind, metric: Metric) -> None:
    scores, labels = example(kind)
    expected = REFERENCE[metric](scores, labels, np.ones(len(labels)))
    assert measure(metric, scores, labels) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(("kind", "metric"), CASES, ids=str)
@settings(max_examples=20, deadline=None, derandomize=True)
@given(seed=st.integers(0, 10_000))
def test_resampled_values_are_scikit_learns_with_sample_weights(kind: TaskKind, metric: Metric, seed: int) -> None:
    scores, labels = example(kind, seed=seed)
    counts = np.random.default_rng(seed).multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=3)
    expected = [REFERENCE[metric](scores, labels, row.astype(float)) for row in counts]
    np.testing.assert_allclose(weighted(metric, scores, labels, counts), expected, atol=1e-9)


@pytest.mark.parametrize(("kind", "metric"), CASES, ids=str)
def test_a_resample_of_every_sample_once_gives_the_value(kind: TaskKind, metric: Metric) -> None:
    scores, labels = example(kind)
    once = weighted(metric, scores, labels, np.ones((1, len(labels)), np.int64))
    assert once[0] == pytest.approx(measure(metric, scores, labels), abs=1e-6)


def test_a_class_that_the_test_set_lacks_does_not_lower_the_class_mean() -> None:
    labels = np.array([0, 0, 1, 1])
    scores = np.eye(3)[[0, 0, 1, 2]]
    assert measure(Metric.CLASS_MEAN_ACCURACY, scores, labels) == pytest.approx(0.75)


def test_a_resample_without_variance_leaves_r2_undefined() -> None:
    labels = np.array([[1.0], [2.0]])
    values = weighted(Metric.R2, labels + 0.1, labels, np.array([[2, 0], [1, 1]]))
    assert np.isnan(values[0])
    assert np.isfinite(values[1])


def test_a_label_that_the_test_set_lacks_does_not_lower_macro_f1() -> None:
    labels = np.array([[1, 0], [1, 0], [0, 0]])
    scores = np.array([[0.9, 0.9], [0.1, 0.2], [0.2, 0.1]])
    assert measure(Metric.MACRO_F1, scores, labels) == pytest.approx(2 / 3)


def test_only_errors_are_better_when_lower() -> None:
    assert [metric for metric in Metric if not metric.higher_is_better] == [Metric.RMSE]

"""Numbers by class are scikit-learn's."""

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, Outcome, SampleOutcome
from geopretext.evaluate.per_class import per_class

sklearn = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the reference here")

GENERATOR = np.random.default_rng(0)
TRUTH, SAID = GENERATOR.integers(0, 3, 80), GENERATOR.integers(0, 4, 80)
SINGLE = SampleOutcome(TaskKind.SINGLE_LABEL, np.eye(5)[SAID], TRUTH)
MAPS = ConfusionOutcome(
    TaskKind.SEGMENTATION,
    np.stack(
        [sklearn.confusion_matrix(TRUTH[half], SAID[half], labels=range(5)) for half in np.split(np.arange(80), 2)]
    ),
)
LABELS = (GENERATOR.random((80, 3)) < (0.5, 0.2, 0.0)).astype(np.int64)
SCORES = GENERATOR.random((80, 3)) * (1, 1, 0.4)


@pytest.mark.parametrize("outcome", [SINGLE, MAPS], ids=["single-label", "maps"])
def test_of_exclusive_classes(outcome: Outcome) -> None:
    found = per_class(outcome)
    precision, recall, f1, support = sklearn.precision_recall_fscore_support(
        TRUTH, SAID, labels=range(5), zero_division=np.nan
    )
    jaccard = sklearn.jaccard_score(TRUTH, SAID, labels=range(5), average=None, zero_division=0)
    np.testing.assert_array_equal(found.support, support)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(found.f1[:3], f1[:3])
    np.testing.assert_allclose(found.jaccard[:3], jaccard[:3])
    assert np.isnan(found.f1[3:]).all()
    assert np.isnan(found.jaccard[3:]).all()
    np.testing.assert_array_equal(found.confusion, sklearn.confusion_matrix(TRUTH, SAID, labels=range(5)))
    assert np.nanmean(found.f1) == pytest.approx(outcome.measure(Metric.MACRO_F1), abs=1e-6)


def test_of_labels() -> None:
    outcome = SampleOutcome(TaskKind.MULTI_LABEL, SCORES, LABELS)
    found = per_class(outcome)
    precision, recall, _, support = sklearn.precision_recall_fscore_support(LABELS, SCORES > 0.5, zero_division=np.nan)
    np.testing.assert_array_equal(found.support, support)
    np.testing.assert_allclose(found.recall, recall)
    np.testing.assert_allclose(found.precision, precision)
    np.testing.assert_allclose(
        found.jaccard[:2], sklearn.jaccard_score(LABELS, SCORES > 0.5, average=None, zero_division=0)[:2]
    )
    assert found.confusion is None
    assert np.nanmean(found.f1) == pytest.approx(outcome.measure(Metric.MACRO_F1), abs=1e-6)


@pytest.mark.parametrize(
    "outcome",
    [
        SampleOutcome(TaskKind.REGRESSION, SCORES, SCORES),
        ErrorOutcome(TaskKind.DENSE_REGRESSION, np.ones((2, 4)), 0.0),
    ],
    ids=["values", "maps of quantities"],
)
def test_quantities_have_no_classes(outcome: Outcome) -> None:
    with pytest.raises(InputError, match="regression has no classes"):
        per_class(outcome)

"""Outcomes measure what torchmetrics does over all pixels together, for the whole set and for any resample."""

import numpy as np
import pytest
import torch
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import binary_f1_score, multiclass_accuracy, multiclass_jaccard_index

from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome, outcome_of

IMAGES, PIXELS = 6, 50


def class_maps(classes: int) -> tuple[np.ndarray, np.ndarray, ConfusionOutcome]:
    generator = np.random.default_rng(classes)
    truth = generator.integers(classes, size=(IMAGES, PIXELS))
    predicted = np.where(generator.random(truth.shape) < 0.6, truth, generator.integers(classes, size=truth.shape))
    tables = [np.zeros((classes, classes), np.int64) for _ in range(IMAGES)]
    for table, true_classes, predicted_classes in zip(tables, truth, predicted, strict=True):
        np.add.at(table, (true_classes, predicted_classes), 1)
    kind = TaskKind.CHANGE_DETECTION if classes == 2 else TaskKind.SEGMENTATION
    return truth, predicted, ConfusionOutcome(kind, np.stack(tables))


@pytest.mark.parametrize("counts", [np.ones(IMAGES, int), np.array([2, 0, 1, 3, 0, 0])], ids=["all", "resample"])
def test_class_maps_are_measured_over_all_pixels_together(counts: np.ndarray) -> None:
    truth, predicted, outcome = class_maps(4)
    both = [torch.from_numpy(np.repeat(maps, counts, axis=0).ravel()) for maps in (predicted, truth)]
    wanted = {
        Metric.MEAN_JACCARD: multiclass_jaccard_index(*both, num_classes=4),
        Metric.ACCURACY: multiclass_accuracy(*both, num_classes=4, average="micro"),
        Metric.CLASS_MEAN_ACCURACY: multiclass_accuracy(*both, num_classes=4),
    }
    for metric, value in wanted.items():
        assert outcome.weighted(metric, counts[None])[0] == pytest.approx(float(value), rel=1e-6)
        if (counts == 1).all():
            assert outcome.measure(metric) == pytest.approx(float(value), rel=1e-6)


def test_a_class_that_no_pixel_has_is_left_out_of_means() -> None:
    table = np.zeros((1, 3, 3), np.int64)
    table[0, :2, :2] = [[8, 2], [0, 10]]
    outcome = ConfusionOutcome(TaskKind.SEGMENTATION, table)
    assert outcome.measure(Metric.MEAN_JACCARD) == pytest.approx((8 / 10 + 10 / 12) / 2)
    assert outcome.measure(Metric.CLASS_MEAN_ACCURACY) == pytest.approx(0.9)


def test_changes_are_found_by_f1_of_changed() -> None:
    truth, predicted, outcome = class_maps(2)
    value = binary_f1_score(torch.from_numpy(predicted.ravel()), torch.from_numpy(truth.ravel()))
    assert outcome.measure(Metric.MICRO_F1) == pytest.approx(float(value), rel=1e-6)


@pytest.mark.parametrize("centre", [0.0, 5000.0])
def test_quantities_are_measured_over_all_pixels_together(centre: float) -> None:
    generator = np.random.default_rng(0)
    truth = generator.normal(5000, 3, size=(IMAGES, PIXELS))
    predicted = truth + generator.normal(0, 1, size=truth.shape)
    shifted = truth - centre
    sums = np.stack(
        [np.full(IMAGES, PIXELS), shifted.sum(1), (shifted**2).sum(1), ((predicted - truth) ** 2).sum(1)], 1
    )
    outcome = ErrorOutcome(TaskKind.DENSE_REGRESSION, sums, centre)
    both = [torch.from_numpy(maps.ravel()) for maps in (predicted, truth)]
    assert outcome.measure(Metric.R2) == pytest.approx(float(r2_score(*both)), rel=1e-6)
    assert outcome.measure(Metric.RMSE) == pytest.approx(float(mean_squared_error(*both, squared=False)), rel=1e-6)


def test_an_outcome_comes_back_from_its_arrays() -> None:
    for outcome in (class_maps(3)[2], ErrorOutcome(TaskKind.DENSE_REGRESSION, np.ones((2, 4)), 7.5)):
        again = outcome_of(outcome.kind, outcome.arrays())
        assert type(again) is type(outcome)
        for name, values in outcome.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], values)

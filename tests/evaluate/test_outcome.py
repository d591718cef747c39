"""Outcomes measure what torchmetrics does over all pixels together, for the whole set and for any resample."""

import numpy as np
import pytest
import torch
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    binary_f1_score,
    multiclass_accuracy,
    multiclass_f1_score,
    multiclass_jaccard_index,
)

from geopretext.errors import InputError
from geopretext.evaluate.metrics import METRICS, Metric, TaskKind
from geopretext.evaluate.outcome import (
    ConfusionOutcome,
    ErrorOutcome,
    Outcome,
    SampleOutcome,
    concatenate,
    outcome_of,
    require_same_samples,
)

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
        Metric.MACRO_F1: multiclass_f1_score(*both, num_classes=4),
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
    assert outcome.measure(Metric.MACRO_F1) == pytest.approx((16 / 18 + 20 / 22) / 2)


def test_a_resample_of_images_without_labelled_pixels_is_undefined() -> None:
    table = np.zeros((2, 2, 2), np.int64)
    table[0] = [[3, 1], [0, 4]]
    outcome = ConfusionOutcome(TaskKind.SEGMENTATION, table)
    for metric in METRICS[TaskKind.SEGMENTATION]:
        assert np.isnan(outcome.weighted(metric, np.array([[0, 2], [1, 1]]))).tolist() == [True, False]


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


def error_outcome(centre: float = 0.0, seed: int = 0) -> ErrorOutcome:
    generator = np.random.default_rng(seed)
    truth = np.random.default_rng(9).normal(20, 3, size=(IMAGES, PIXELS))
    error = generator.normal(0, 1, size=truth.shape)
    shifted = truth - centre
    sums = np.stack([np.full(IMAGES, PIXELS), shifted.sum(1), (shifted**2).sum(1), (error**2).sum(1)], 1)
    return ErrorOutcome(TaskKind.DENSE_REGRESSION, sums, centre)


def sample_outcome(seed: int = 0) -> SampleOutcome:
    scores = np.random.default_rng(seed).random((IMAGES, 3))
    return SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.arange(IMAGES) % 3)


def test_an_outcome_comes_back_from_its_arrays() -> None:
    confident = ConfusionOutcome(TaskKind.SEGMENTATION, class_maps(3)[2].confusion, np.ones((IMAGES, 15, 3)))
    for outcome in (class_maps(3)[2], confident, error_outcome(7.5), sample_outcome()):
        again = outcome_of(outcome.kind, outcome.arrays())
        assert type(again) is type(outcome)
        assert set(again.arrays()) == set(outcome.arrays())
        for name, values in outcome.arrays().items():
            np.testing.assert_array_equal(again.arrays()[name], values)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (class_maps(3)[2], class_maps(3)[2]),
        (error_outcome(15.0), error_outcome(25.0, seed=1)),
        (sample_outcome(), sample_outcome(1)),
    ],
    ids=["maps", "quantities", "samples"],
)
def test_outcomes_one_after_the_other_measure_like_each(first: Outcome, second: Outcome) -> None:
    together = concatenate(first, second)
    for metric in METRICS[first.kind]:
        halves = together.weighted(metric, np.repeat(np.eye(2, dtype=int), IMAGES, axis=1))
        assert halves == pytest.approx([first.measure(metric), second.measure(metric)], rel=1e-6)


def test_runs_of_other_samples_are_refused() -> None:
    require_same_samples(error_outcome(15.0), error_outcome(25.0, seed=1))
    require_same_samples(sample_outcome(), sample_outcome(1))
    require_same_samples(class_maps(3)[2], class_maps(3)[2])
    precise = np.random.default_rng(0).normal(300, 1, (IMAGES, 1))
    rounded = precise.astype(np.float32).astype(np.float64)
    require_same_samples(*(SampleOutcome(TaskKind.REGRESSION, precise, labels) for labels in (precise, rounded)))
    moved = SampleOutcome(TaskKind.SINGLE_LABEL, np.ones((IMAGES, 3)), np.arange(IMAGES)[::-1] % 3)
    other_maps = ConfusionOutcome(TaskKind.SEGMENTATION, class_maps(3)[2].confusion[::-1])
    other_values = ErrorOutcome(TaskKind.DENSE_REGRESSION, error_outcome().sums[::-1], 0.0)
    for first, second in (
        (sample_outcome(), moved),
        (class_maps(3)[2], other_maps),
        (error_outcome(), other_values),
        (error_outcome(), sample_outcome()),
    ):
        with pytest.raises(InputError, match=r"not of the same test samples.*\nhint: score both"):
            require_same_samples(first, second)

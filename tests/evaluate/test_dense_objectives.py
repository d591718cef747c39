"""Losses and tallies of labels of pixels, against loops over the pixels."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from geopretext.errors import InputError, NonFiniteError
from geopretext.evaluate.dense_objectives import (
    ChangeObjective,
    DenseRegressionObjective,
    SegmentationObjective,
    dense_objective,
)
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import ErrorOutcome
from geopretext.evaluate.prepared import Labels
from geopretext.nn.settings import TASKS

IMAGES, CLASSES, HEIGHT, WIDTH = 5, 4, 6, 7


@pytest.fixture
def generator() -> np.random.Generator:
    return np.random.default_rng(0)


def class_maps(generator: np.random.Generator, classes: int = CLASSES) -> tuple[torch.Tensor, Labels]:
    """Scores and labels, of which a third are missing, and all of image 2."""
    labelled = generator.random((IMAGES, HEIGHT, WIDTH)) < 0.67
    labelled[2] = False
    values = np.where(labelled, generator.integers(classes, size=labelled.shape), 0)
    scores = torch.from_numpy(generator.normal(size=(IMAGES, classes, HEIGHT, WIDTH))).float()
    return scores, Labels(torch.from_numpy(values), torch.from_numpy(labelled))


def quantities(generator: np.random.Generator) -> tuple[torch.Tensor, Labels]:
    labelled = generator.random((IMAGES, HEIGHT, WIDTH)) < 0.67
    labelled[2] = False
    values = np.where(labelled, generator.normal(800, 30, size=labelled.shape), 0).astype(np.float32)
    scores = torch.from_numpy(generator.normal(size=(IMAGES, 1, HEIGHT, WIDTH))).float()
    return scores, Labels(torch.from_numpy(values), torch.from_numpy(labelled))


def pixels(labels: Labels) -> list[tuple[int, int, int]]:
    assert labels.labelled is not None
    return [(image, row, column) for image, row, column in labels.labelled.nonzero().tolist()]


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_cross_entropy_is_a_mean_over_labelled_pixels(generator: np.random.Generator, smoothing: float) -> None:
    scores, labels = class_maps(generator)
    losses = []
    for image, row, column in pixels(labels):
        logits = scores[image, :, row, column].double().numpy()
        logarithms = logits - math.log(np.exp(logits).sum())
        target = np.full(CLASSES, smoothing / CLASSES)
        target[labels.values[image, row, column]] += 1 - smoothing
        losses.append(-(target * logarithms).sum())
    loss = SegmentationObjective(CLASSES).loss(scores, labels, smoothing=smoothing)
    assert float(loss) == pytest.approx(np.mean(losses), rel=1e-5)


def test_squares_are_a_mean_over_labelled_pixels_in_deviations(generator: np.random.Generator) -> None:
    scores, labels = quantities(generator)
    squares = [
        (float(scores[i, 0, y, x]) - (float(labels.values[i, y, x]) - 790) / 40) ** 2 for i, y, x in pixels(labels)
    ]
    loss = DenseRegressionObjective(790.0, 40.0).loss(scores, labels)
    assert float(loss) == pytest.approx(np.mean(squares), rel=1e-5)


@pytest.mark.parametrize("objective", [SegmentationObjective(CLASSES), DenseRegressionObjective(5.0, 2.0)])
def test_a_batch_without_labels_teaches_nothing(
    objective: SegmentationObjective, generator: np.random.Generator
) -> None:
    nothing = torch.zeros(2, 3, 3, dtype=torch.bool)
    scores = torch.from_numpy(generator.normal(size=(2, objective.outputs, 3, 3))).requires_grad_()
    values = torch.zeros(2, 3, 3, dtype=torch.long if objective.outputs > 1 else torch.float32)
    loss = objective.loss(scores, Labels(values, nothing), smoothing=0.1)
    loss.backward()
    assert loss.detach() == 0
    assert scores.grad is not None
    assert (scores.grad == 0).all()
    assert (objective.collect(scores.detach(), Labels(values, nothing)) == 0).all()


@pytest.mark.parametrize("kind", [TaskKind.SEGMENTATION, TaskKind.DENSE_REGRESSION])
def test_pixels_without_label_get_no_gradient(generator: np.random.Generator, kind: TaskKind) -> None:
    segmentation = kind is TaskKind.SEGMENTATION
    scores, labels = (class_maps if segmentation else quantities)(generator)
    objective = SegmentationObjective(CLASSES) if segmentation else DenseRegressionObjective(800.0, 30.0)
    objective.loss(scores.requires_grad_(), labels).backward()
    assert scores.grad is not None
    assert labels.labelled is not None
    assert ((scores.grad != 0).any(1) == labels.labelled).all()


@pytest.mark.parametrize("objective", [SegmentationObjective(CLASSES), ChangeObjective()], ids=["classes", "change"])
def test_tables_count_every_labelled_pixel_of_every_image(
    objective: SegmentationObjective, generator: np.random.Generator
) -> None:
    k = objective.outputs
    scores, labels = class_maps(generator, k)
    tables = np.zeros((IMAGES, k, k), np.int64)
    for image, row, column in pixels(labels):
        tables[image, labels.values[image, row, column], scores[image, :, row, column].argmax()] += 1
    parts = [
        objective.collect(scores[some], Labels(*(part[some] for part in labels))) for some in (slice(2), slice(2, 5))
    ]
    outcome = objective.outcome(parts)
    np.testing.assert_array_equal(outcome.confusion, tables)
    assert outcome.kind is objective.kind
    assert len(outcome) == IMAGES
    right = np.trace(tables.sum(0)) / tables.sum()
    assert outcome.weighted(Metric.ACCURACY, np.ones((1, IMAGES)))[0] == pytest.approx(right)

    assert outcome.confidence is not None
    decisions, confidence, correct = outcome.confidence.sum(1).T
    np.testing.assert_array_equal(decisions, tables.sum((1, 2)))
    np.testing.assert_array_equal(correct, [np.trace(table) for table in tables])
    best = scores.softmax(1).max(1).values
    wanted = [sum(float(best[at]) for at in pixels(labels) if at[0] == image) for image in range(IMAGES)]
    np.testing.assert_allclose(confidence, wanted, rtol=1e-5)


def test_errors_are_in_the_unit_of_the_quantity(generator: np.random.Generator) -> None:
    scores, labels = quantities(generator)
    objective = DenseRegressionObjective(790.0, 40.0)
    truth = np.array([float(labels.values[where]) for where in pixels(labels)])
    predicted = np.array([float(scores[i, 0, y, x]) * 40 + 790 for i, y, x in pixels(labels)])
    outcome = objective.outcome([objective.collect(scores, labels)])
    assert isinstance(outcome, ErrorOutcome)
    assert outcome.measure(Metric.RMSE) == pytest.approx(np.sqrt(np.mean((predicted - truth) ** 2)), rel=1e-9)
    r2 = 1 - ((predicted - truth) ** 2).sum() / ((truth - truth.mean()) ** 2).sum()
    assert outcome.measure(Metric.R2) == pytest.approx(r2, rel=1e-9)
    assert (outcome.sums[2] == 0).all()
    assert outcome.sums[:, 0].sum() == len(truth)


def prepared(values: np.ndarray, labelled: np.ndarray, kind: TaskKind = TaskKind.DENSE_REGRESSION) -> SimpleNamespace:
    """What ``dense_objective`` asks of a prepared task, whose training split is all but the last image."""
    task = SimpleNamespace(name="canopy", kind=kind, train=np.arange(len(values) - 1), classes=("a", "b", "c"))
    return SimpleNamespace(
        task=task, labels=lambda some: Labels(torch.from_numpy(values[some]), torch.from_numpy(labelled[some]))
    )


def test_targets_are_standardised_by_the_training_split(generator: np.random.Generator) -> None:
    values = (
        generator.normal(5000, 0.5, (150, 4, 4)).astype(np.float32) + np.arange(150, dtype=np.float32)[:, None, None]
    )
    labelled = generator.random(values.shape) < 0.5
    labelled[64:128] = False  # a whole block without any
    values[~labelled] = 0
    objective = dense_objective(prepared(values, labelled))
    assert isinstance(objective, DenseRegressionObjective)
    seen = values[:149][labelled[:149]].astype(np.float64)
    assert objective.mean == pytest.approx(seen.mean(), rel=1e-12)
    assert objective.std == pytest.approx(seen.std(), rel=1e-9)


@pytest.mark.parametrize(
    ("value", "labelled", "error", "message"),
    [
        (3.0, True, InputError, "all labelled pixels of the training split have the same value"),
        (3.0, False, InputError, "no pixel of the training split is labelled"),
        (np.nan, True, NonFiniteError, "is not finite"),
    ],
)
def test_targets_without_a_scale_are_refused(
    value: float, labelled: bool, error: type[Exception], message: str
) -> None:
    maps = np.full((3, 2, 2), value, np.float32)
    with pytest.raises(error, match=f"task 'canopy': .*{message}"):
        dense_objective(prepared(maps, np.full(maps.shape, labelled)))


@pytest.mark.parametrize(
    ("kind", "outputs"), [(TaskKind.SEGMENTATION, 3), (TaskKind.CHANGE_DETECTION, 2)], ids=["classes", "change"]
)
def test_each_kind_has_its_objective(kind: TaskKind, outputs: int) -> None:
    objective = dense_objective(prepared(np.zeros((2, 1, 1)), np.zeros((2, 1, 1)), kind))
    assert (objective.kind, objective.outputs) == (kind, outputs)


def test_a_task_of_whole_images_is_refused() -> None:
    with pytest.raises(InputError, match="task 'canopy': is multi-label, one label a sample"):
        dense_objective(prepared(np.zeros((2, 1, 1)), np.zeros((2, 1, 1)), TaskKind.MULTI_LABEL))


def test_bundles_know_every_kind_of_task() -> None:
    assert tuple(TaskKind) == TASKS

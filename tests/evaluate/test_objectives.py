"""Losses and what is kept of a batch, by kind, against formulas written out."""

import numpy as np
import pytest
import torch

from geopretext.errors import RecipeError
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.objectives import check_smoothing, sample_objective
from geopretext.evaluate.prepared import Labels

KINDS = [kind for kind in TaskKind if not kind.is_dense]


def example(kind: TaskKind) -> tuple[torch.Tensor, Labels, np.ndarray]:
    """Scores and labels of five samples, three outputs."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(5, 3, generator=generator)
    if kind is TaskKind.SINGLE_LABEL:
        values = torch.tensor([0, 2, 1, 1, 0])
    elif kind is TaskKind.MULTI_LABEL:
        values = (torch.rand(5, 3, generator=generator) > 0.5).float()
    else:
        values = torch.randn(5, 3, generator=generator) * torch.tensor([1.0, 100.0, 0.01]) + 1000
    return scores, Labels(values, None), values.double().numpy()


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_single_label_is_cross_entropy_with_labels_spread_over_the_classes(smoothing: float) -> None:
    scores, labels, values = example(TaskKind.SINGLE_LABEL)
    logs = np.log(np.exp(scores.double().numpy()) / np.exp(scores.double().numpy()).sum(1, keepdims=True))
    targets = np.eye(3)[values.astype(int)] * (1 - smoothing) + smoothing / 3
    objective = sample_objective(TaskKind.SINGLE_LABEL, 3, values)
    assert float(objective.loss(scores, labels, smoothing=smoothing)) == pytest.approx(
        -(targets * logs).sum(1).mean(), rel=1e-5
    )
    mixed = Labels(torch.from_numpy(np.eye(3)[values.astype(int)]).float(), None)
    assert float(objective.loss(scores, mixed, smoothing=smoothing)) == pytest.approx(
        float(objective.loss(scores, labels, smoothing=smoothing)), rel=1e-6
    )


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_multi_label_is_binary_cross_entropy_with_and_without_smoothing(smoothing: float) -> None:
    """Without smoothing the published code fails, since its labels are whole numbers."""
    scores, labels, values = example(TaskKind.MULTI_LABEL)
    share = 1 / (1 + np.exp(-scores.double().numpy()))
    targets = np.where(values == 1, 1 - smoothing, smoothing)
    expected = -(targets * np.log(share) + (1 - targets) * np.log(1 - share)).mean()
    objective = sample_objective(TaskKind.MULTI_LABEL, 3, values)
    assert float(objective.loss(scores, labels, smoothing=smoothing)) == pytest.approx(expected, rel=1e-5)


def test_regression_is_standardised_by_the_training_split_and_predicts_in_units() -> None:
    scores, labels, values = example(TaskKind.REGRESSION)
    training = np.concatenate([values * 2, values])
    objective = sample_objective(TaskKind.REGRESSION, 3, training)
    expected = ((scores.double().numpy() - (values - training.mean(0)) / training.std(0)) ** 2).mean()
    assert float(objective.loss(scores, labels)) == pytest.approx(expected, rel=1e-4)
    outcome = objective.outcome([objective.collect(scores, labels)])
    predicted = scores.double().numpy() * training.std(0) + training.mean(0)
    np.testing.assert_allclose(outcome.arrays()["scores"], predicted, rtol=1e-6)
    np.testing.assert_allclose(outcome.arrays()["labels"], values)


def test_a_target_that_is_constant_in_training_does_not_divide_by_zero() -> None:
    objective = sample_objective(TaskKind.REGRESSION, 1, np.full((4, 1), 7.0))
    assert float(objective.loss(torch.ones(2, 1), Labels(torch.full((2, 1), 7.0), None))) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_batches_add_up_to_the_outcome_of_all(kind: TaskKind) -> None:
    scores, labels, values = example(kind)
    objective = sample_objective(kind, 3, values)
    assert objective.outputs == 3
    parts = [objective.collect(scores[part], Labels(labels.values[part], None)) for part in (slice(3), slice(3, 5))]
    outcome = objective.outcome(parts)
    whole = objective.outcome([objective.collect(scores, labels)])
    assert len(outcome) == 5
    for name, array in outcome.arrays().items():
        np.testing.assert_array_equal(array, whole.arrays()[name])
    np.testing.assert_array_equal(outcome.arrays()["labels"], values)


def test_scores_are_probabilities() -> None:
    scores, labels, values = example(TaskKind.SINGLE_LABEL)
    objective = sample_objective(TaskKind.SINGLE_LABEL, 3, values)
    outcome = objective.outcome([objective.collect(scores, labels)])
    np.testing.assert_allclose(outcome.arrays()["scores"].sum(1), 1)
    right = (scores.argmax(1) == labels.values).double().mean()
    assert outcome.measure(Metric.ACCURACY) == pytest.approx(float(right))


@pytest.mark.parametrize(
    ("kind", "smoothing", "says"),
    [
        (TaskKind.REGRESSION, 0.1, "labels of regression are no classes"),
        (TaskKind.DENSE_REGRESSION, 0.1, "labels of dense regression are no classes"),
        (TaskKind.MULTI_LABEL, 0.5, "turn into their opposite"),
    ],
)
def test_smoothing_without_sense_is_refused(kind: TaskKind, smoothing: float, says: str) -> None:
    with pytest.raises(RecipeError, match=says):
        check_smoothing(kind, smoothing)
    check_smoothing(kind, 0.0)


class WithoutFloat64(torch.Tensor):
    """A tensor on a device that has no float64, as Apple's GPUs."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        if func is torch.Tensor.cpu:
            return args[0].as_subclass(torch.Tensor)
        assert func is not torch.Tensor.double
        assert not any(given is torch.float64 for given in (*args, *(kwargs or {}).values()))
        return super().__torch_function__(func, types, args, kwargs or {})


@pytest.mark.parametrize("kind", KINDS)
def test_devices_without_float64_will_do(kind: TaskKind) -> None:
    scores, labels, values = example(kind)
    objective = sample_objective(kind, 3, values)
    there = Labels(labels.values.as_subclass(WithoutFloat64), None)
    rows = objective.collect(scores.as_subclass(WithoutFloat64), there)
    np.testing.assert_array_equal(rows, objective.collect(scores, labels))

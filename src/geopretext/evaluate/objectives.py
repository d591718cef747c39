"""What a network is trained for and how its outputs are read, by kind of task.

Shapes: B samples of a batch, K classes, labels or targets.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import RecipeError
from geopretext.evaluate.dense_objectives import dense_objective
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import Outcome, SampleOutcome
from geopretext.evaluate.prepared import Labels, Prepared

Array = npt.NDArray[Any]


class Objective(Protocol):
    """Loss and reading of one kind of task."""

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:
        """Mean over what is labelled; 0 with a zero gradient if nothing is.

        Args:
            scores: what the network gave, float32.
            labels: on the same device.
            smoothing: share of a label that is spread over the classes.
        """

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """What is kept of a batch for ``outcome``, one row a sample."""

    def outcome(self, parts: Sequence[Array]) -> Outcome:
        """Of all batches of a split, in order."""


@dataclass(frozen=True)
class SingleLabelObjective:
    """Cross-entropy; scores are class probabilities."""

    outputs: int
    """K"""

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:
        """``labels.values``: (B,) class indices, or (B, K) shares of mixed samples."""
        return F.cross_entropy(scores, labels.values, label_smoothing=smoothing)

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """(B, K + 1): probabilities and class index."""
        return _rows(scores.cpu().double().softmax(1), labels.values[:, None])

    def outcome(self, parts: Sequence[Array]) -> Outcome:
        """Probabilities and class indices."""
        rows = np.concatenate(parts)
        return SampleOutcome(TaskKind.SINGLE_LABEL, rows[:, :-1], rows[:, -1].astype(np.int64))


@dataclass(frozen=True)
class MultiLabelObjective:
    """Binary cross-entropy of each label, averaged over labels; scores are their probabilities."""

    outputs: int
    """K"""

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:
        """``labels.values``: (B, K) from 0 to 1.

        Smoothed, a label is 1 - ``smoothing`` and its absence ``smoothing``, as in MMEarth's ``custom_loss.py``.
        """
        return F.binary_cross_entropy_with_logits(scores, labels.values * (1 - 2 * smoothing) + smoothing)

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """(B, 2 K): probabilities and labels."""
        return _rows(scores.cpu().double().sigmoid(), labels.values)

    def outcome(self, parts: Sequence[Array]) -> Outcome:
        """Probabilities and labels."""
        rows = np.concatenate(parts)
        return SampleOutcome(
            TaskKind.MULTI_LABEL, rows[:, : self.outputs], rows[:, self.outputs :].round().astype(np.int64)
        )


@dataclass(frozen=True)
class RegressionObjective:
    """Mean squared error of targets that are standardised by the training split; scores are in the targets' units."""

    mean: Array
    """(K,) of the training split"""
    std: Array
    """(K,) of the training split; 1 where a target is constant there"""

    @classmethod
    def of(cls, training: Array) -> "RegressionObjective":
        """Standardise by these targets (n, K)."""
        std = training.std(0, dtype=np.float64)
        return cls(training.mean(0, dtype=np.float64), np.where(std > 0, std, 1.0))

    @property
    def outputs(self) -> int:
        """K."""
        return len(self.mean)

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:
        """``labels.values``: (B, K) in the targets' units. There is nothing to smooth."""
        assert not smoothing, "refused by `check_settings`"
        mean, std = (torch.from_numpy(part).to(scores) for part in (self.mean, self.std))
        return F.mse_loss(scores, (labels.values - mean) / std)

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """(B, 2 K): predictions and targets, in the targets' units."""
        predicted = _rows(scores) * self.std + self.mean
        return np.concatenate([predicted, _rows(labels.values)], 1)

    def outcome(self, parts: Sequence[Array]) -> Outcome:
        """Predictions and targets."""
        rows = np.concatenate(parts)
        return SampleOutcome(TaskKind.REGRESSION, rows[:, : self.outputs], rows[:, self.outputs :])


def _rows(*columns: Tensor) -> Array:
    """Tensors (B, ...) side by side, float64 on the CPU."""
    # to the CPU first: not every device has float64
    rows: Array = torch.cat([column.detach().cpu().double() for column in columns], 1).numpy()
    return rows


def sample_objective(kind: TaskKind, outputs: int, training: Array) -> Objective:
    """Of a kind that has one label, set of labels or set of values a sample.

    Args:
        kind: not a dense one.
        outputs: K.
        training: labels of the training split.
    """
    match kind:
        case TaskKind.SINGLE_LABEL:
            return SingleLabelObjective(outputs)
        case TaskKind.MULTI_LABEL:
            return MultiLabelObjective(outputs)
        case TaskKind.REGRESSION:
            return RegressionObjective.of(training)
        case _:
            raise AssertionError(f"{kind} has a label for each pixel")


def objective_of(prepared: Prepared) -> Objective:
    """What a network for this task is trained for; quantities are standardised by the training split.

    Raises:
        InputError: of quantities of pixels: none is labelled in the training split, or all are the same.
        CorruptError, GridError, NonFiniteError: of labels of pixels: a map cannot be read.
    """
    task = prepared.task
    if task.kind.is_dense:
        return dense_objective(prepared)
    return sample_objective(task.kind, len(task.classes), task.labels[task.train])


def check_smoothing(kind: TaskKind, smoothing: float) -> None:
    """Refuse to smooth labels that are no classes, or so much that they turn into their opposite.

    Raises:
        RecipeError: says which.
    """
    if smoothing and kind in (TaskKind.REGRESSION, TaskKind.DENSE_REGRESSION):
        raise RecipeError(f"label_smoothing is {smoothing}, and labels of {kind} are no classes", hint="0")
    if kind is TaskKind.MULTI_LABEL and smoothing >= 0.5:
        raise RecipeError(f"label_smoothing is {smoothing}: labels would turn into their opposite", hint="below 0.5")

"""What is minimised and measured where every pixel has a label: classes, quantities, changes.

Each is an ``evaluate.objectives.Objective``. Pixels without a label count nowhere; a batch that has none gives a loss
of zero, and zero gradients. What is kept of an evaluated batch is a few numbers an image, whatever its size.

Letters: ``B`` images, ``H W`` pixels, ``K`` classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.errors import InputError, NonFiniteError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, ErrorOutcome
from geopretext.evaluate.prepared import Labels, Prepared
from geopretext.evaluate.tallies import BINS, confusion_and_confidence

Array = npt.NDArray[Any]

_BLOCK = 64
_NO_CLASS = -100


@dataclass(frozen=True)
class SegmentationObjective:
    """A class for each pixel: cross entropy, and tables of true and predicted classes."""

    outputs: int
    """K, at least 2"""
    kind: TaskKind = TaskKind.SEGMENTATION

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:
        """Mean cross entropy over the labelled pixels of a batch.

        Args:
            scores: (B, K, H, W), before any softmax.
            labels: classes (B, H, W), and which pixels are labelled.
            smoothing: share of a label that is spread over all classes.
        """
        labelled = _labelled(labels)
        classes = labels.values.masked_fill(~labelled, _NO_CLASS)
        total = F.cross_entropy(
            scores.float(), classes, ignore_index=_NO_CLASS, label_smoothing=smoothing, reduction="sum"
        )
        return total / labelled.sum().clamp(min=1)

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """(B, K K + 3 BINS) float64: tables of classes and of confidence, see ``evaluate.tallies``."""
        kept = confusion_and_confidence(scores, labels.values, _labelled(labels))
        return np.concatenate([table.reshape(len(scores), -1).astype(np.float64) for table in kept.values()], axis=1)

    def outcome(self, parts: Sequence[Array]) -> ConfusionOutcome:
        """Of all evaluated batches, in order."""
        rows, k = np.concatenate(parts), self.outputs
        confusion, confidence = np.split(rows, [k * k], axis=1)
        return ConfusionOutcome(
            self.kind, confusion.reshape(-1, k, k).astype(np.int64), confidence.reshape(len(rows), BINS, 3)
        )

    def maps(self, scores: Tensor) -> Array:
        """(B, H, W) int64: the class of each pixel."""
        classes: Array = scores.argmax(1).cpu().numpy()
        return classes


@dataclass(frozen=True)
class ChangeObjective(SegmentationObjective):
    """Unchanged (0) or changed (1) for each pixel."""

    outputs: int = 2
    kind: TaskKind = TaskKind.CHANGE_DETECTION


@dataclass(frozen=True)
class DenseRegressionObjective:
    """A quantity for each pixel: squared error of the standardised quantity, sums of errors in its own unit."""

    mean: float
    """of the labelled pixels of the training split"""
    std: float
    """above 0"""
    outputs: int = 1
    kind: TaskKind = TaskKind.DENSE_REGRESSION

    @classmethod
    def fit(cls, prepared: Prepared) -> "DenseRegressionObjective":
        """Mean and deviation of the labelled pixels of the training split, in one pass over its maps.

        Raises:
            InputError: no pixel is labelled, or all have the same value.
            NonFiniteError: a labelled pixel is NaN or infinite.
            GridError, CorruptError: a map cannot be read.
        """
        task, train = prepared.task, prepared.task.train
        count, mean, squares = 0, 0.0, 0.0
        for start in range(0, len(train), _BLOCK):
            labels = prepared.labels(train[start : start + _BLOCK])
            values = labels.values[_labelled(labels)].double()
            if not torch.isfinite(values).all():
                raise NonFiniteError(
                    "a labelled pixel of the training split is not finite", where=f"task {task.name!r}"
                )
            if not len(values):
                continue
            # Chan et al. 1983: sums of squares about the mean of all that was seen, which do not cancel
            total, gap = count + len(values), float(values.mean()) - mean
            squares += float((values - values.mean()).square().sum()) + gap**2 * count * len(values) / total
            mean += gap * len(values) / total
            count = total
        if squares <= 0:
            what = "all labelled pixels of the training split have the same value"
            raise InputError(
                what if count else "no pixel of the training split is labelled", where=f"task {task.name!r}"
            )
        return cls(mean, float(np.sqrt(squares / count)))

    def loss(self, scores: Tensor, labels: Labels, *, smoothing: float = 0.0) -> Tensor:  # noqa: ARG002 -- of classes only
        """Mean squared error over the labelled pixels of a batch, in deviations of the training split.

        Args:
            scores: (B, 1, H, W), standardised.
            labels: quantities (B, H, W), and which pixels are labelled.
            smoothing: quantities have none.
        """
        labelled = _labelled(labels)
        wanted = (labels.values - self.mean) / self.std
        errors = (scores[:, 0].float() - wanted).masked_fill(~labelled, 0.0)
        return errors.square().sum() / labelled.sum().clamp(min=1)

    def collect(self, scores: Tensor, labels: Labels) -> Array:
        """(B, 4) float64, as ``ErrorOutcome.sums`` holds them, about ``mean``; in the unit of the quantity."""
        labelled = _labelled(labels).cpu()
        truth = labels.values.cpu().double()
        predicted = scores[:, 0].cpu().double() * self.std + self.mean
        centred = (truth - self.mean).masked_fill(~labelled, 0.0)
        errors = (predicted - truth).masked_fill(~labelled, 0.0)
        sums = [labelled.double(), centred, centred.square(), errors.square()]
        return torch.stack([one.sum((1, 2)) for one in sums], 1).numpy()

    def outcome(self, parts: Sequence[Array]) -> ErrorOutcome:
        """Of all evaluated batches, in order."""
        return ErrorOutcome(self.kind, np.concatenate(parts), self.mean)

    def maps(self, scores: Tensor) -> Array:
        """(B, H, W) float32, in the unit of the quantity."""
        quantities: Array = (scores[:, 0] * self.std + self.mean).cpu().numpy()
        return quantities


def _labelled(labels: Labels) -> Tensor:
    assert labels.labelled is not None  # dense kinds have it
    return labels.labelled


DenseObjective: TypeAlias = SegmentationObjective | DenseRegressionObjective


def dense_objective(prepared: Prepared) -> DenseObjective:
    """What a task of labels of pixels wants.

    Raises:
        InputError: the task has one label a sample; or as ``DenseRegressionObjective.fit``.
        NonFiniteError, GridError, CorruptError: as ``DenseRegressionObjective.fit``.
    """
    task = prepared.task
    match task.kind:
        case TaskKind.SEGMENTATION:
            return SegmentationObjective(len(task.classes))
        case TaskKind.CHANGE_DETECTION:
            return ChangeObjective()
        case TaskKind.DENSE_REGRESSION:
            return DenseRegressionObjective.fit(prepared)
        case _:
            raise InputError(f"is {task.kind}, one label a sample", where=f"task {task.name!r}")

"""What one run of a method says about the test samples, kept so that metrics, intervals and comparisons need no rerun.

An outcome knows its samples one by one: a resample of the test set is a vector of counts, how often each sample was
drawn, and every metric is a function of those counts. For labels of pixels a sample is an image, since its pixels go
together: it is kept as tables of counts or sums, whose weighted sums over the images are those of the resample.

Shapes: ``n`` test samples, ``K`` classes, labels or targets, ``R`` resamples.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.metrics import Metric, TaskKind, measure, weighted

Array = npt.NDArray[Any]


class Outcome(Protocol):
    """The test split as one run of a method sees it."""

    @property
    def kind(self) -> TaskKind:
        """Of the task."""

    def __len__(self) -> int: ...

    def measure(self, metric: Metric) -> float:
        """One number for all samples."""

    def weighted(self, metric: Metric, counts: Array) -> Array:
        """The same number for each of R resamples, (R,) float64; NaN where it is undefined.

        Args:
            metric: one of those that ``metrics.METRICS`` lists for the kind of task.
            counts: (R, n), how often each resample drew each sample.
        """

    def arrays(self) -> Mapping[str, Array]:
        """Everything, by name, for a file."""


@dataclass(frozen=True)
class SampleOutcome:
    """One label, set of labels or set of values a sample."""

    kind: TaskKind
    scores: Array
    """(n, K) float64, as ``evaluate.metrics`` reads them"""
    labels: Array
    """(n,) class indices, (n, K) of 0 and 1, or (n, K) values"""

    def __len__(self) -> int:
        return len(self.labels)

    def measure(self, metric: Metric) -> float:
        """By torchmetrics."""
        return measure(metric, self.scores, self.labels)

    def weighted(self, metric: Metric, counts: Array) -> Array:
        """All resamples at once."""
        return weighted(metric, self.scores, self.labels, counts)

    def arrays(self) -> Mapping[str, Array]:
        """Scores and labels."""
        return {"scores": self.scores, "labels": self.labels}


@dataclass(frozen=True)
class ConfusionOutcome:
    """A class for each labelled pixel of an image, or changed and unchanged."""

    kind: TaskKind
    confusion: Array
    """(n, K, K) int64: labelled pixels of each image by true class (rows) and predicted class (columns)"""
    confidence: Array | None = None
    """(n, bins, 3) float64: labelled pixels of each image by the probability of their predicted class, see
    ``evaluate.tallies``; None where it was not kept"""

    def __len__(self) -> int:
        return len(self.confusion)

    def measure(self, metric: Metric) -> float:
        """Of all labelled pixels together."""
        return float(self.weighted(metric, np.ones((1, len(self))))[0])

    def weighted(self, metric: Metric, counts: Array) -> Array:
        """All resamples at once."""
        classes = self.confusion.shape[1]
        total = (counts.astype(np.float64) @ self.confusion.reshape(len(self), -1)).reshape(-1, classes, classes)
        with np.errstate(invalid="ignore", divide="ignore"):
            return _of_confusion(metric, total)

    def arrays(self) -> Mapping[str, Array]:
        """The tables."""
        if self.confidence is None:
            return {"confusion": self.confusion}
        return {"confusion": self.confusion, "confidence": self.confidence}


def _of_confusion(metric: Metric, total: Array) -> Array:
    """A metric (R,) of tables (R, K, K)."""
    hits, truth, predicted = np.diagonal(total, axis1=1, axis2=2), total.sum(2), total.sum(1)
    value: Array
    match metric:
        case Metric.ACCURACY:
            value = hits.sum(1) / total.sum((1, 2))
        case Metric.CLASS_MEAN_ACCURACY:
            value = _nanmean(np.where(truth > 0, hits / truth, np.nan))
        case Metric.MACRO_F1:
            value = _nanmean(np.where(truth > 0, 2 * hits / (truth + predicted), np.nan))
        case Metric.MEAN_JACCARD:
            value = _nanmean(np.where(truth > 0, hits / (truth + predicted - hits), np.nan))
        case Metric.MICRO_F1:
            # Of two classes, the second is what is looked for: changed.
            value = 2 * hits[:, 1] / (truth[:, 1] + predicted[:, 1])
        case _:
            raise AssertionError(f"{metric} is not a metric of class maps")
    return value


def _nanmean(classes: Array) -> Array:
    """Mean (R,) over the classes that have pixels; NaN where a resample has no labelled pixel."""
    defined = ~np.isnan(classes)
    mean: Array = np.where(defined, classes, 0).sum(1) / defined.sum(1)
    return mean


@dataclass(frozen=True)
class ErrorOutcome:
    """A quantity for each labelled pixel of an image."""

    kind: TaskKind
    sums: Array
    """(n, 4) float64, over the labelled pixels of each image: their number; targets minus ``centre``; the squares of
    those; squared errors"""
    centre: float
    """a typical target, subtracted before squaring: sums of squares far from zero would cancel badly"""

    def __len__(self) -> int:
        return len(self.sums)

    def measure(self, metric: Metric) -> float:
        """Of all labelled pixels together."""
        return float(self.weighted(metric, np.ones((1, len(self))))[0])

    def weighted(self, metric: Metric, counts: Array) -> Array:
        """All resamples at once."""
        pixels, first, second, errors = (counts.astype(np.float64) @ self.sums).T
        value: Array
        with np.errstate(invalid="ignore", divide="ignore"):
            if metric is Metric.RMSE:
                value = np.sqrt(errors / pixels)
            elif metric is Metric.R2:
                variance = second - first**2 / pixels
                value = np.where(variance > 1e-12 * second, 1 - errors / variance, np.nan)
            else:
                raise AssertionError(f"{metric} is not a metric of quantities")
        return value

    def around(self, centre: float) -> "ErrorOutcome":
        """The same outcome with another number subtracted from the targets."""
        moved, sums = self.centre - centre, self.sums.copy()
        sums[:, 1] += moved * self.sums[:, 0]
        sums[:, 2] += 2 * moved * self.sums[:, 1] + moved**2 * self.sums[:, 0]
        return ErrorOutcome(self.kind, sums, centre)

    def arrays(self) -> Mapping[str, Array]:
        """The sums, and what was subtracted."""
        return {"sums": self.sums, "centre": np.asarray(self.centre)}


def outcome_of(kind: TaskKind, arrays: Mapping[str, Array]) -> Outcome:
    """The outcome that ``arrays()`` came from."""
    if "confusion" in arrays:
        return ConfusionOutcome(kind, arrays["confusion"], arrays.get("confidence"))
    if "sums" in arrays:
        return ErrorOutcome(kind, arrays["sums"], float(arrays["centre"]))
    return SampleOutcome(kind, arrays["scores"], arrays["labels"])


def concatenate(first: Outcome, second: Outcome) -> Outcome:
    """The samples of two outcomes of one kind, one after the other."""
    match first, second:
        case SampleOutcome(), SampleOutcome():
            return SampleOutcome(
                first.kind,
                np.concatenate([first.scores, second.scores]),
                np.concatenate([first.labels, second.labels]),
            )
        case ConfusionOutcome(), ConfusionOutcome():
            return ConfusionOutcome(first.kind, np.concatenate([first.confusion, second.confusion]))
        case ErrorOutcome(), ErrorOutcome():
            sums = np.concatenate([first.sums, second.around(first.centre).sums])
            return ErrorOutcome(first.kind, sums, first.centre)
        case _:
            raise AssertionError("outcomes of two kinds of task")


def require_same_samples(first: Outcome, second: Outcome) -> None:
    """Refuse to compare sample by sample what is not of the same samples.

    Raises:
        InputError: numbers of samples, or the true labels, differ.
    """
    if not _same_truth(first, second):
        raise InputError(
            "two runs are not of the same test samples, in the same order",
            hint="score both methods on one split of one task; for labels of pixels, with encoders that see the same"
            " window of an image",
        )


def _same_truth(first: Outcome, second: Outcome) -> bool:
    match first, second:
        case SampleOutcome(), SampleOutcome():
            # Networks are trained in float32: values may differ by rounding, classes never.
            return first.labels.shape == second.labels.shape and np.allclose(first.labels, second.labels, rtol=1e-6)
        case ConfusionOutcome(), ConfusionOutcome():
            return np.array_equal(first.confusion.sum(2), second.confusion.sum(2))
        case ErrorOutcome(), ErrorOutcome():
            truth, other = first.sums[:, :3], second.around(first.centre).sums[:, :3]
            largest = np.abs(truth).max(0, initial=0)
            return truth.shape == other.shape and bool((np.abs(truth - other) <= 1e-5 * largest).all())
        case _:
            return False


@dataclass(frozen=True)
class Run:
    """One run of a method: what it said of the test split, and how it got there."""

    outcome: Outcome
    validation: float
    """the headline metric on the validation split, at what was chosen there"""
    chosen: Mapping[str, float]
    """settings that were chosen on the validation split: strength, k, epoch"""
    facts: Mapping[str, float]
    """what else is known in numbers: parameters, trainable parameters, epochs, seconds"""

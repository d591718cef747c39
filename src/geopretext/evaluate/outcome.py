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
        return {"confusion": self.confusion}


def _of_confusion(metric: Metric, total: Array) -> Array:
    """A metric (R,) of tables (R, K, K)."""
    hits, truth, predicted = np.diagonal(total, axis1=1, axis2=2), total.sum(2), total.sum(1)
    value: Array
    match metric:
        case Metric.ACCURACY:
            value = hits.sum(1) / total.sum((1, 2))
        case Metric.CLASS_MEAN_ACCURACY:
            value = np.nanmean(np.where(truth > 0, hits / truth, np.nan), axis=1)
        case Metric.MEAN_JACCARD:
            value = np.nanmean(np.where(truth > 0, hits / (truth + predicted - hits), np.nan), axis=1)
        case Metric.MICRO_F1:
            # Of two classes, the second is what is looked for: changed.
            value = 2 * hits[:, 1] / (truth[:, 1] + predicted[:, 1])
        case _:
            raise AssertionError(f"{metric} is not a metric of class maps")
    return value


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

    def arrays(self) -> Mapping[str, Array]:
        """The sums, and what was subtracted."""
        return {"sums": self.sums, "centre": np.asarray(self.centre)}


def outcome_of(kind: TaskKind, arrays: Mapping[str, Array]) -> Outcome:
    """The outcome that ``arrays()`` came from."""
    if "confusion" in arrays:
        return ConfusionOutcome(kind, arrays["confusion"])
    if "sums" in arrays:
        return ErrorOutcome(kind, arrays["sums"], float(arrays["centre"]))
    return SampleOutcome(kind, arrays["scores"], arrays["labels"])


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

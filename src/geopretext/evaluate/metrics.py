"""What is measured on a test set, and the same measures under resampling weights.

Shapes: ``n`` test samples, ``K`` classes, labels or regression targets, ``R`` resamples. Every head gives ``scores``
(n, K): class probabilities (single-label), probabilities of each label (multi-label), or predicted values in the
target's unit (regression). ``labels`` are (n,) class indices, (n, K) of 0 and 1, or (n, K) values. Labels of pixels are
measured by ``evaluate.outcome``.

Point values come from torchmetrics. A resample of the test set is a vector of counts, how often each sample was drawn,
so that ``weighted`` evaluates all resamples at once by matrix products; with all counts 1 both agree.
"""

import math
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics.functional import mean_squared_error, r2_score
from torchmetrics.functional.classification import (
    multiclass_accuracy,
    multiclass_f1_score,
    multilabel_average_precision,
    multilabel_f1_score,
)

Array = npt.NDArray[Any]

THRESHOLD = 0.5
"""A label is predicted where its probability is above this, as GEO-Bench does for m-bigearthnet."""


class TaskKind(StrEnum):
    """The kinds of downstream task; code branches on these."""

    SINGLE_LABEL = "single-label"
    """one class a sample"""
    MULTI_LABEL = "multi-label"
    """any number of labels a sample"""
    REGRESSION = "regression"
    """one or more quantities a sample"""
    SEGMENTATION = "segmentation"
    """one class a pixel"""
    DENSE_REGRESSION = "dense regression"
    """one quantity a pixel"""
    CHANGE_DETECTION = "change detection"
    """changed or not, for each pixel of two images of one place"""

    @property
    def is_dense(self) -> bool:
        """True if there is a label for each pixel."""
        return self in (TaskKind.SEGMENTATION, TaskKind.DENSE_REGRESSION, TaskKind.CHANGE_DETECTION)


class Metric(StrEnum):
    """What can be measured; each is a number over the whole test set."""

    ACCURACY = "accuracy"
    """share of samples whose class is right (overall accuracy)"""
    CLASS_MEAN_ACCURACY = "class_mean_accuracy"
    """mean over the classes of the test set of the share of their samples that are right"""
    MICRO_F1 = "micro_f1"
    """F1 over all pairs of sample and label, at probability 0.5; of change detection, F1 of the pixels that changed"""
    MACRO_F1 = "macro_f1"
    """mean over the classes or labels of the test set of their F1"""
    MEAN_AVERAGE_PRECISION = "mean_average_precision"
    """mean over the labels of the test set of the area under the precision-recall steps"""
    R2 = "r2"
    """share of the variance explained, mean over targets; 0 is a prediction of the mean"""
    RMSE = "rmse"
    """root mean square error in the target's unit, mean over targets"""
    MEAN_JACCARD = "mean_jaccard"
    """mean over the classes of the test set of intersection over union"""

    @property
    def higher_is_better(self) -> bool:
        """False of errors."""
        return self is not Metric.RMSE

    @property
    def lowest(self) -> float:
        """That it can be."""
        return -math.inf if self is Metric.R2 else 0.0

    @property
    def highest(self) -> float:
        """That it can be."""
        return math.inf if self is Metric.RMSE else 1.0


METRICS: dict[TaskKind, tuple[Metric, ...]] = {
    TaskKind.SINGLE_LABEL: (Metric.ACCURACY, Metric.CLASS_MEAN_ACCURACY, Metric.MACRO_F1),
    TaskKind.MULTI_LABEL: (Metric.MICRO_F1, Metric.MACRO_F1, Metric.MEAN_AVERAGE_PRECISION),
    TaskKind.REGRESSION: (Metric.R2, Metric.RMSE),
    TaskKind.SEGMENTATION: (Metric.MEAN_JACCARD, Metric.MACRO_F1, Metric.ACCURACY, Metric.CLASS_MEAN_ACCURACY),
    TaskKind.DENSE_REGRESSION: (Metric.R2, Metric.RMSE),
    TaskKind.CHANGE_DETECTION: (Metric.MICRO_F1, Metric.MEAN_JACCARD, Metric.ACCURACY, Metric.CLASS_MEAN_ACCURACY),
}
"""Of each kind of task; the first is its headline, by which heads choose their setting on the validation split."""


def best_epoch(values: Sequence[float]) -> int:
    """The epoch, from 1, whose weights are best by a headline metric of the validation split, one value an epoch.

    The first with the largest value; the last of those at 0, if none has come further: there, no probability of a label
    has passed 0.5 yet, which says nothing against having learnt for longer.
    """
    array = np.where(np.isnan(values), -np.inf, values)
    best = np.flatnonzero(array == array.max())
    return int(best[0 if array.max() else -1]) + 1


def measure(metric: Metric, scores: Array, labels: Array) -> float:
    """One number for all samples, by torchmetrics.

    Args:
        metric: one of those that ``METRICS`` lists for the kind of task.
        scores: (n, K), see the head of this file.
        labels: (n,) or (n, K).
    """
    predicted, truth = torch.as_tensor(scores), torch.as_tensor(labels)
    match metric:
        case Metric.ACCURACY:
            return float((predicted.argmax(1) == truth).double().mean())
        case Metric.CLASS_MEAN_ACCURACY:
            each = multiclass_accuracy(predicted, truth, num_classes=predicted.shape[1], average="none")
            return float(each[torch.bincount(truth, minlength=len(each)) > 0].mean())
        case Metric.MICRO_F1:
            decided = (predicted > THRESHOLD).long()
            return float(multilabel_f1_score(decided, truth.long(), num_labels=truth.shape[1], average="micro"))
        case Metric.MACRO_F1:
            return _measure_macro_f1(predicted, truth)
        case Metric.MEAN_AVERAGE_PRECISION:
            seen = truth.sum(0) > 0
            return float(
                multilabel_average_precision(predicted[:, seen], truth[:, seen].long(), num_labels=int(seen.sum()))
            )
        case Metric.R2:
            return float(r2_score(predicted, truth))
        case Metric.RMSE:
            squares = mean_squared_error(predicted, truth, num_outputs=truth.shape[1])
            return float(squares.sqrt().mean())
        case Metric.MEAN_JACCARD:
            raise AssertionError("of labels of pixels, which `evaluate.outcome` measures")


def _measure_macro_f1(predicted: Tensor, truth: Tensor) -> float:
    if truth.ndim == 1:
        each = multiclass_f1_score(predicted, truth, num_classes=predicted.shape[1], average="none")
        return float(each[torch.bincount(truth, minlength=len(each)) > 0].mean())
    decided = (predicted > THRESHOLD).long()
    each = multilabel_f1_score(decided, truth.long(), num_labels=truth.shape[1], average="none")
    return float(each[truth.sum(0) > 0].mean())


def weighted(metric: Metric, scores: Array, labels: Array, counts: Array) -> Array:
    """The same number for each of ``R`` resamples.

    Args:
        metric: as for ``measure``.
        scores: (n, K).
        labels: (n,) or (n, K).
        counts: (R, n), how often each resample drew each sample.

    Returns:
        (R,) float64; NaN where a resample leaves the metric undefined (no variance for R2, no label at all).
    """
    with np.errstate(invalid="ignore", divide="ignore"):
        return _WEIGHTED[metric](scores.astype(np.float64), labels, counts.astype(np.float64))


def _accuracy(scores: Array, labels: Array, counts: Array) -> Array:
    right: Array = (scores.argmax(1) == labels).astype(np.float64)
    share: Array = counts @ right / counts.sum(1)
    return share


def _class_mean_accuracy(scores: Array, labels: Array, counts: Array) -> Array:
    right = (scores.argmax(1) == labels).astype(np.float64)
    member = np.eye(scores.shape[1])[labels]
    of_class = counts @ member
    return _mean_of_defined(counts @ (member * right[:, None]) / of_class)


def _micro_f1(scores: Array, labels: Array, counts: Array) -> Array:
    predicted, truth = scores > THRESHOLD, labels > THRESHOLD
    hits = counts @ (predicted & truth).sum(1).astype(np.float64)
    wrong = counts @ (predicted ^ truth).sum(1).astype(np.float64)
    total = 2 * hits + wrong
    score: Array = np.where(total > 0, 2 * hits / total, 0.0)
    return score


def _macro_f1(scores: Array, labels: Array, counts: Array) -> Array:
    if labels.ndim == 1:
        unit = np.eye(scores.shape[1])
        predicted, truth = unit[scores.argmax(1)], unit[labels]
    else:
        predicted, truth = (scores > THRESHOLD).astype(np.float64), (labels > THRESHOLD).astype(np.float64)
    positive = counts @ truth
    return _mean_of_defined(
        np.where(positive > 0, 2 * (counts @ (predicted * truth)), np.nan) / (positive + counts @ predicted)
    )


def _mean_average_precision(scores: Array, labels: Array, counts: Array) -> Array:
    drawn = torch.from_numpy(np.ascontiguousarray(counts.T))
    columns = [_average_precision(scores[:, k], labels[:, k], drawn) for k in range(scores.shape[1])]
    return _mean_of_defined(np.stack(columns, axis=1))


def _average_precision(scores: Array, labels: Array, drawn: Tensor) -> Array:
    """Sum over thresholds of (recall step) x precision, for one label; samples of equal score share a threshold.

    Recall steps are at thresholds that are the score of a positive sample. So samples are summed up between those, and
    only the sums are accumulated: a label is rare as a rule, and this is what makes many resamples cheap.

    Args:
        scores: (n,).
        labels: (n,) of 0 and 1.
        drawn: (n, R), how often each resample drew each sample.
    """
    positive = np.flatnonzero(labels)
    if not len(positive):
        return np.full(drawn.shape[1], np.nan)
    thresholds = -np.unique(scores[positive])[::-1]
    passed = torch.from_numpy(np.searchsorted(thresholds, -scores))  # number of the first threshold that lets it in
    taken = _sums(passed, drawn, len(thresholds)).cumsum(0)
    steps = _sums(passed[positive], drawn[positive], len(thresholds))
    area = (steps * (steps.cumsum(0) / taken.clamp(min=1))).sum(0)
    return np.asarray(area / steps.sum(0))


def _sums(group: Tensor, rows: Tensor, groups: int) -> Tensor:
    """Sum of the rows of each group, (groups, R); rows of a group beyond those are left out."""
    return torch.zeros(groups + 1, rows.shape[1], dtype=rows.dtype).index_add_(0, group, rows)[:groups]


def _r2(scores: Array, labels: Array, counts: Array) -> Array:
    total = counts.sum(1, keepdims=True)
    # Centred first: the sums of squares below would cancel badly for targets far from zero.
    centred = labels - labels.mean(0)
    variance = counts @ centred**2 - (counts @ centred) ** 2 / total
    variance[variance <= 1e-12 * (counts @ centred**2)] = np.nan
    explained: Array = (1 - counts @ (scores - labels) ** 2 / variance).mean(1)
    return explained


def _rmse(scores: Array, labels: Array, counts: Array) -> Array:
    mean_squares = counts @ (scores - labels) ** 2 / counts.sum(1, keepdims=True)
    error: Array = np.sqrt(mean_squares).mean(1)
    return error


def _mean_of_defined(columns: Array) -> Array:
    """Mean over the last axis of the entries that are not NaN; NaN if none is."""
    defined = ~np.isnan(columns)
    mean: Array = np.where(defined, columns, 0.0).sum(1) / defined.sum(1)
    return mean


_WEIGHTED: dict[Metric, Callable[[Array, Array, Array], Array]] = {
    Metric.ACCURACY: _accuracy,
    Metric.CLASS_MEAN_ACCURACY: _class_mean_accuracy,
    Metric.MICRO_F1: _micro_f1,
    Metric.MACRO_F1: _macro_f1,
    Metric.MEAN_AVERAGE_PRECISION: _mean_average_precision,
    Metric.R2: _r2,
    Metric.RMSE: _rmse,
}

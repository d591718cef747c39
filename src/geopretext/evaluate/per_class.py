"""Where a method errs: support, recall, precision, F1 and Jaccard of each class, and the confusion matrix.

Shapes: n test samples, K classes or labels.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.metrics import THRESHOLD, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, Outcome, SampleOutcome

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class ClassReport:
    """One number a class, (K,) each; NaN where it is undefined."""

    support: Array
    """int64: samples, or labelled pixels, of the class"""
    recall: Array
    """share of them that was found; NaN without any"""
    precision: Array
    """share of what was said to be the class that is; NaN if nothing was"""
    f1: Array
    """harmonic mean of both; NaN without support, as means leave such classes out"""
    jaccard: Array
    """intersection over union; NaN without support"""
    confusion: Array | None
    """(K, K) int64: true class (rows) by predicted class (columns); None of multi-label tasks, where classes do not
    exclude each other"""


def per_class(outcome: Outcome) -> ClassReport:
    """Of one run, over the whole test set.

    Raises:
        InputError: the task has no classes.
    """
    table = confusion_matrix(outcome)
    if table is not None:
        hits, support, predicted = np.diagonal(table), table.sum(1), table.sum(0)
    elif isinstance(outcome, SampleOutcome) and outcome.kind is TaskKind.MULTI_LABEL:
        decided, truth = outcome.scores > THRESHOLD, outcome.labels > THRESHOLD
        hits, support, predicted = (decided & truth).sum(0), truth.sum(0), decided.sum(0)
    else:
        raise InputError(f"a task of kind {outcome.kind} has no classes")
    there = np.where(support > 0, 1.0, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ClassReport(
            support=support,
            recall=hits / support,
            precision=hits / predicted,
            f1=there * 2 * hits / (support + predicted),
            jaccard=there * hits / (support + predicted - hits),
            confusion=table,
        )


def confusion_matrix(outcome: Outcome) -> Array | None:
    """(K, K) int64, true class by predicted class; None of kinds without exclusive classes."""
    if isinstance(outcome, ConfusionOutcome):
        return np.asarray(outcome.confusion.sum(0))
    if not isinstance(outcome, SampleOutcome) or outcome.kind is not TaskKind.SINGLE_LABEL:
        return None
    classes = outcome.scores.shape[1]
    cells = outcome.labels * classes + outcome.scores.argmax(1)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)

"""Do probabilities mean what they say? Reliability diagram and expected calibration error (ECE).

Of single-label tasks and class maps, a decision is the class with the highest probability, and its confidence that
probability. Of multi-label tasks every pair of sample and label is one, and the confidence is the label's probability,
set against how often the label is there; all pairs are pooled, as for micro F1. Regressions have no probabilities, and
votes of nearest neighbours are none, see ``has_probabilities``.

The ECE is the mean over decisions of the gap between confidence and share of right ones in their bin, with 15 bins of
equal width (Guo et al. 2017, arXiv 1706.04599). Bins of equal mass have a smaller error (Nixon et al. 2019, arXiv
1904.01685), but their edges depend on the method and the sample: tables of class maps could not be kept image by image,
nor methods be shown on one axis. What they would mend, noise in sparse bins, is shown instead: the diagram has the
number of decisions and an interval for each bin.

Shapes: n test samples, R resamples.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics.functional.classification import binary_calibration_error, multiclass_calibration_error

from geopretext.evaluate.bootstrap import LEVEL, RESAMPLES, Score, resample_counts, seed_weights
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, Outcome, SampleOutcome
from geopretext.evaluate.tallies import BINS, tally

Array = npt.NDArray[Any]

_WITHOUT_PROBABILITIES = ("knn",)
_BELOW_ONE = float(np.nextafter(np.float32(1), np.float32(0)))


@dataclass(frozen=True)
class ReliabilityBin:
    """Decisions whose confidence lies between two edges."""

    lower: float
    upper: float
    share: float
    """of all decisions"""
    confidence: float
    """mean"""
    right: float
    """share of right ones; of multi-label, how often the label is there"""
    right_low: float
    """of the 95 % interval over test samples"""
    right_high: float


@dataclass(frozen=True)
class Calibration:
    """How far confidence can be believed."""

    error: Score
    """expected calibration error with its interval"""
    bins: tuple[ReliabilityBin, ...]
    """of the reliability diagram, by rising confidence; empty ones are left out"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {**self.error.to_dict(), "bins": [dict(vars(each)) for each in self.bins]}


def has_probabilities(kind: TaskKind, head: str) -> bool:
    """Whether the scores of a head on a kind of task are probabilities that were fitted as such.

    Votes of nearest neighbours are not: their temperature was published for accuracy, and shares of k neighbours come
    in steps of 1 / k.

    Args:
        kind: of the task.
        head: as in ``evaluate.cells.Cell``.
    """
    return kind not in (TaskKind.REGRESSION, TaskKind.DENSE_REGRESSION) and head not in _WITHOUT_PROBABILITIES


def calibration(
    runs: Sequence[Outcome], *, seeds: Sequence[int] | None = None, resamples: int = RESAMPLES, seed: int = 0
) -> Calibration | None:
    """Of one method; None if its outcomes hold no probabilities.

    Noise in the bins only ever adds to the ECE: of few samples it is too large, in a resample more so, and the
    percentile interval of a well calibrated model would lie above its ECE and far above the truth. So the lower end
    subtracts what noise alone amounts to: the sum over bins of how far the gaps of a resample are from those of the
    test set, which bounds the error by the triangle inequality. It is 0 where nothing speaks against perfect
    calibration. The upper end is that of the percentile interval. Together they cover the truth at least as often as
    they say.

    Args:
        runs: of the same test samples; errors are averaged, decisions are pooled in the diagram.
        seeds: see ``bootstrap``.
        resamples: R.
        seed: of the resamples.
    """
    tables = [table for run in runs if (table := confidence_table(run)) is not None]
    if len(tables) < len(runs):
        return None
    values = np.asarray([_error(run, table) for run, table in zip(runs, tables, strict=True)])
    value = float(values.mean())
    errors, noise, shares = [], [], []
    for counts in resample_counts(len(tables[0]), resamples, seed):
        totals = [(counts.astype(np.float64) @ table.reshape(len(table), -1)).reshape(-1, BINS, 3) for table in tables]
        gaps = [_gaps(total) for total in totals]
        errors.append(np.mean([np.abs(gap).sum(1) for gap in gaps], axis=0))
        moved = [gap - _gaps(table.sum(0)[None]) for gap, table in zip(gaps, tables, strict=True)]
        noise.append(np.mean([np.abs(gap).sum(1) for gap in moved], axis=0))
        shares.append(_right(np.sum(totals, axis=0)))
    of_seeds = np.zeros(resamples) if seeds is None else seed_weights(seeds, resamples, seed) @ (values - value)
    draws = np.concatenate(errors) + of_seeds
    low = value - np.quantile(np.concatenate(noise) + np.abs(of_seeds), (1 + LEVEL) / 2)
    high = np.quantile(draws, (1 + LEVEL) / 2)
    error = Score(value, max(0.0, float(low)), max(value, float(high)), draws)
    return Calibration(error, _diagram(np.sum(tables, axis=(0, 1)), np.concatenate(shares)))


def confidence_table(outcome: Outcome) -> Array | None:
    """Decisions by sample and bin of confidence, (n, BINS, 3), as ``tallies.tally`` makes it; None if none was kept."""
    match outcome:
        case ConfusionOutcome():
            return outcome.confidence
        case SampleOutcome(kind=TaskKind.SINGLE_LABEL):
            confidence, predicted = torch.as_tensor(outcome.scores).max(1)
            right = predicted == torch.as_tensor(outcome.labels)
            return tally(torch.arange(len(right)), confidence, right, len(right))
        case SampleOutcome(kind=TaskKind.MULTI_LABEL):
            scores, labels = torch.as_tensor(outcome.scores), torch.as_tensor(outcome.labels)
            sample = torch.arange(len(labels))[:, None].expand_as(labels)
            return tally(sample.flatten(), scores.flatten(), labels.flatten(), len(labels))
        case _:
            return None


def _error(outcome: Outcome, table: Array) -> float:
    """By torchmetrics, but for class maps, whose confidences are not kept one by one."""
    if not isinstance(outcome, SampleOutcome):
        return float(np.abs(_gaps(table.sum(0)[None])).sum())
    # torchmetrics gives confidences of exactly 1 a bin of their own.
    scores = torch.as_tensor(outcome.scores).float().clamp(max=_BELOW_ONE)
    labels = torch.as_tensor(outcome.labels)
    if outcome.kind is TaskKind.SINGLE_LABEL:
        return float(multiclass_calibration_error(scores, labels, num_classes=scores.shape[1], n_bins=BINS))
    return float(binary_calibration_error(scores.flatten(), labels.flatten().long(), n_bins=BINS))


def _gaps(total: Array) -> Array:
    """Confidence minus share of right decisions, times the bin's share of all, (R, BINS), of tables (R, BINS, 3)."""
    gaps: Array = (total[:, :, 1] - total[:, :, 2]) / total[:, :, 0].sum(1, keepdims=True)
    return gaps


def _right(total: Array) -> Array:
    """Share of right decisions (R, BINS); NaN in empty bins."""
    with np.errstate(invalid="ignore"):
        share: Array = total[:, :, 2] / total[:, :, 0]
    return share


def _diagram(total: Array, shares: Array) -> tuple[ReliabilityBin, ...]:
    bins = []
    for number in np.flatnonzero(total[:, 0]):
        count, confidence, right = total[number]
        drawn = shares[:, number]
        low, high = np.quantile(drawn[np.isfinite(drawn)], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        bins.append(
            ReliabilityBin(
                lower=float(number / BINS),
                upper=float((number + 1) / BINS),
                share=float(count / total[:, 0].sum()),
                confidence=float(confidence / count),
                right=float(right / count),
                right_low=float(low),
                right_high=float(high),
            )
        )
    return tuple(bins)

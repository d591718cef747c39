"""Scores with intervals: the percentile bootstrap over test samples (Efron and Tibshirani 1993, chapter 13).

The interval says how much a score would move with another test set of the same size from the same source. Of several
runs with different seeds it also says how much it would move with other seeds, if these are given: of the test samples
and of whatever the seeds settle, which are two of the sources of variance in Bouthillier et al. 2021 (arXiv
2103.03098). It does not contain the choice of the training samples, nor pretraining, unless the seeds settled those.

Samples are many and are resampled. Seeds are few, and resampling three of them gives intervals that are far too narrow
(docs/decisions/096): their part is Student's t instead, drawn so that it can be added to the part of the samples.

A ``Score`` keeps its draws. Two scores of the same test samples and seed come from the same resamples, so that their
difference, and the mean over several tasks, have intervals of their own that know of the pairing; likewise two methods
that ran with the same seeds.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.metrics import Metric
from geopretext.evaluate.outcome import Outcome

Array = npt.NDArray[Any]

RESAMPLES = 1000
LEVEL = 0.95
_CELLS_AT_ONCE = 1 << 22  # 32 MiB of float64 counts


@dataclass(frozen=True)
class Score:
    """A number about a test set, and the interval in which 95 % of its resamples lie."""

    value: float
    """on the test set itself"""
    low: float
    """2.5 % of the resamples are below"""
    high: float
    """2.5 % of the resamples are above"""
    draws: Array = field(repr=False, compare=False)
    """(R,) the value on each resample; NaN where it is undefined"""

    @classmethod
    def of(cls, value: float, draws: Array) -> "Score":
        """The value with the percentile interval of its draws.

        Raises:
            InputError: the value is undefined on all of them.
        """
        defined = draws[np.isfinite(draws)]
        if not len(defined):
            raise InputError(
                "the metric is undefined on this test set: all its labels are the same",
                hint="use a test split with more than one value",
            )
        low, high = np.quantile(defined, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return cls(value, float(low), float(high), draws)

    def to_dict(self) -> dict[str, float]:
        """Value, low and high, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def bootstrap(
    metric: Metric,
    runs: Sequence[Outcome],
    *,
    seeds: Sequence[int] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Score:
    """Value on the test set with its interval.

    Args:
        metric: what is measured.
        runs: one or more runs of the same method on the same samples; their metrics are averaged.
        seeds: what each run is a draw of: the interval then covers other seeds too. None: it is about these runs. Of
            one run there is no telling, and it makes no difference.
        resamples: how many test sets are drawn.
        seed: of the draws, which depend on it, on n and on ``seeds`` only.

    Raises:
        InputError: the metric is undefined on this test set, or two runs have one seed.
    """
    if seeds is not None and len(set(seeds)) < len(runs):
        raise InputError(
            f"{len(runs)} runs have the seeds {', '.join(map(str, seeds))}",
            hint="one seed a run: average runs that share what they are a draw of",
        )
    values = np.asarray([run.measure(metric) for run in runs])
    blocks = [
        np.mean([run.weighted(metric, counts) for run in runs], axis=0)
        for counts in resample_counts(len(runs[0]), resamples, seed)
    ]
    draws = np.concatenate(blocks)
    if seeds is not None:
        draws = draws + seed_weights(seeds, resamples, seed) @ (values - values.mean())
    score = Score.of(float(values.mean()), draws)
    # Student's t over two or three seeds reaches beyond what the metric can be.
    return replace(score, low=max(score.low, metric.lowest), high=min(score.high, metric.highest))


def seed_weights(seeds: Sequence[int], resamples: int, seed: int) -> Array:
    """Random weights (R, S) of S runs: sums of weighted deviations from the mean are errors of the mean.

    They are z / sqrt(S q) with normal z and q of chi-squared with S - 1 degrees of freedom: the sum over runs of weight
    times deviation is then s / sqrt(S) times Student's t, where s is the standard deviation of the runs. Being linear
    in the deviations, it keeps what two methods with the same seeds have in common, as the resamples do for samples.

    Args:
        seeds: of the runs, at least 0; methods with the same ones get the same weights, others independent ones.
        resamples: R.
        seed: of the weights.
    """
    count = len(seeds)
    if count == 1:
        return np.zeros((resamples, 1))
    generator = np.random.default_rng([seed, *sorted(seeds)])
    normal = generator.normal(size=(resamples, count))
    weights = normal / np.sqrt(count * generator.chisquare(count - 1, size=(resamples, 1)))
    # The same weight for the same seed, whatever the order.
    return np.asarray(weights[:, np.argsort(np.argsort(seeds))])


def difference(first: Score, second: Score) -> Score:
    """``first`` minus ``second``, of the same test samples and seed.

    Its interval is narrower than what two separate intervals suggest, since both met the same easy and hard samples.
    """
    return Score.of(first.value - second.value, first.draws - second.draws)


def mean_score(scores: Sequence[Score]) -> Score:
    """The mean of one method's scores over several tasks, with its interval.

    Tasks on the same test samples should have been drawn with the same seed: their errors go together (a cloudy tile is
    hard for all), and resamples that are drawn apart would give an interval that is too narrow.
    """
    value = float(np.mean([score.value for score in scores]))
    return Score.of(value, np.mean([score.draws for score in scores], axis=0))


def resample_counts(samples: int, resamples: int, seed: int) -> Iterator[Array]:
    """How often each sample is drawn in each resample, in blocks of bounded memory: arrays (r, samples) of int64.

    The draws depend on ``seed`` and ``samples`` only, so that two methods see the same resamples.
    """
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // samples)
    for start in range(0, resamples, block):
        rows = min(block, resamples - start)
        drawn = generator.integers(samples, size=(rows, samples)) + np.arange(rows)[:, None] * samples
        yield np.bincount(drawn.ravel(), minlength=rows * samples).reshape(rows, samples)

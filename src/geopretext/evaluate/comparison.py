"""Is one method better than another? Differences with intervals and p-values, correction for many of them, ranks.

The p-value of two methods on the same test samples comes from exchanging them sample by sample (approximate
randomisation: Noreen 1989; Yeh 2000, https://aclanthology.org/C00-2137): were they alike, then which of the two said
what of a sample would be a coin's toss. For means over samples, such as accuracy, that is the paired sign-flip
permutation test; it holds for any metric. With one run of each, single-label accuracy needs no random exchanges: the
test is McNemar's exact one.

With several runs the metrics are averaged, samples are exchanged in all runs at once, and the part of the seeds is
added as in ``evaluate.bootstrap``: p-value and interval speak of the same two sources of variance.

Shapes: n test samples, S runs, R resamples or exchanges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from geopretext.errors import InputError
from geopretext.evaluate.bootstrap import LEVEL, RESAMPLES, Score, bootstrap, difference, seed_weights
from geopretext.evaluate.metrics import Metric, TaskKind
from geopretext.evaluate.outcome import Outcome, SampleOutcome, concatenate, require_same_samples

Array = npt.NDArray[Any]
Key = TypeVar("Key")
Runs = Mapping[int, Outcome]
"""runs of one method by seed"""

_CELLS_AT_ONCE = 1 << 22  # 32 MiB of float64 counts


@dataclass(frozen=True)
class Comparison:
    """One method minus another, on one metric and task."""

    gain: Score
    """the difference of their means over seeds, with its interval"""
    p_value: float
    """of no difference, two-sided"""
    adjusted: float
    """the p-value, corrected for all comparisons of its table (Holm)"""

    def to_dict(self) -> dict[str, float]:
        """Gain, interval and both p-values, for JSON."""
        return {**self.gain.to_dict(), "p": self.p_value, "p_holm": self.adjusted}


def compare(metric: Metric, methods: Mapping[str, Runs], *, seed: int = 0) -> dict[str, Comparison]:
    """The first method against each of the others.

    Args:
        metric: what is measured.
        methods: runs by seed, by method. Methods with the same seeds are paired by them.
        seed: of resamples and exchanges.

    Raises:
        InputError: the runs are not of the same test samples, or the metric is undefined on them.
    """
    first, *rest = methods
    scores = {name: bootstrap(metric, [*runs.values()], seeds=[*runs], seed=seed) for name, runs in methods.items()}
    p_values = {name: p_value(metric, methods[first], methods[name], seed=seed) for name in rest}
    adjusted = holm(p_values)
    return {name: Comparison(difference(scores[first], scores[name]), p_values[name], adjusted[name]) for name in rest}


def p_value(metric: Metric, first: Runs, second: Runs, *, exchanges: int = RESAMPLES, seed: int = 0) -> float:
    """Probability of a difference at least as large, either way, were the two methods alike.

    Args:
        metric: what is measured.
        first: runs by seed.
        second: runs by seed; with the same seeds as ``first``, runs are paired by them.
        exchanges: R; the smallest p-value is 1 / (R + 1).
        seed: of the exchanges.

    Raises:
        InputError: the runs are not of the same test samples.
    """
    everything = [*first.values(), *second.values()]
    for run in everything[1:]:
        require_same_samples(everything[0], run)
    if len(everything) == 2 and metric is Metric.ACCURACY and everything[0].kind is TaskKind.SINGLE_LABEL:
        return _mcnemar(*everything)
    values, others = ({number: run.measure(metric) for number, run in runs.items()} for runs in (first, second))
    observed = float(np.mean([*values.values()]) - np.mean([*others.values()]))
    null = _exchanged(metric, _pairs(first, second), exchanges, seed) + _of_seeds(values, others, exchanges, seed)
    null = null[np.isfinite(null)]
    # Differences that are equal but for rounding count as equal.
    as_large = np.abs(null) >= abs(observed) - 1e-12
    return float((1 + as_large.sum()) / (1 + len(null)))


def _pairs(first: Runs, second: Runs) -> list[tuple[Outcome, Outcome]]:
    if set(first) == set(second):
        return [(first[number], second[number]) for number in first]
    return list(product(first.values(), second.values()))


def _exchanged(metric: Metric, pairs: Sequence[tuple[Outcome, Outcome]], exchanges: int, seed: int) -> Array:
    """Differences (R,), mean over the pairs, after each sample was exchanged or not."""
    together = [concatenate(*pair) for pair in pairs]
    samples = len(pairs[0][0])
    generator = np.random.default_rng(seed)
    block = max(1, _CELLS_AT_ONCE // (2 * samples))
    parts = []
    for start in range(0, exchanges, block):
        taken = generator.integers(2, size=(min(block, exchanges - start), samples))
        one, other = np.concatenate([taken, 1 - taken], 1), np.concatenate([1 - taken, taken], 1)
        parts.append(np.mean([both.weighted(metric, one) - both.weighted(metric, other) for both in together], axis=0))
    return np.concatenate(parts)


def _of_seeds(first: Mapping[int, float], second: Mapping[int, float], exchanges: int, seed: int) -> Array:
    """The part of the seeds (R,) in the error of a difference, as ``bootstrap`` has it."""
    one, other = (
        seed_weights([*values], exchanges, seed) @ (np.asarray([*values.values()]) - np.mean([*values.values()]))
        for values in (first, second)
    )
    return np.asarray(one - other)


def _mcnemar(first: Outcome, second: Outcome) -> float:
    """McNemar's exact test (1947): of the samples that one of two got right, is it half for each?"""
    assert isinstance(first, SampleOutcome)
    assert isinstance(second, SampleOutcome)
    right, other = (run.scores.argmax(1) == run.labels for run in (first, second))
    return binomial_p_value(int((right & ~other).sum()), int((right ^ other).sum()))


def binomial_p_value(successes: int, trials: int) -> float:
    """Of ``successes`` out of ``trials`` at probability 1/2, two-sided, exact."""
    fewer = torch.arange(min(successes, trials - successes) + 1, dtype=torch.float64)
    size = torch.tensor(float(trials), dtype=torch.float64)
    log_choose = torch.lgamma(size + 1) - torch.lgamma(fewer + 1) - torch.lgamma(size - fewer + 1)
    return min(1.0, 2 * float(torch.exp(torch.logsumexp(log_choose, 0) - trials * np.log(2))))


def holm(p_values: Mapping[Key, float]) -> dict[Key, float]:
    """Holm's correction (1979): the chance of any false alarm among all of them stays below the level.

    Returns:
        adjusted p-values, in the order given.
    """
    adjusted: dict[Key, float] = {}
    largest = 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[name]))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


@dataclass(frozen=True)
class Rank:
    """Where a method stands among the others, averaged over tasks; 1 is best."""

    value: float
    """on the test sets themselves; of equal scores, the mean of their ranks"""
    low: float
    """2.5 % of the resamples are below"""
    high: float
    """2.5 % of the resamples are above"""
    best: float
    """share of the resamples, and of the tasks, in which it is best (equal ones share)"""


def ranks(tasks: Mapping[str, tuple[Metric, Mapping[str, Score]]]) -> dict[str, Rank]:
    """Ranks of methods on one or several tasks.

    Args:
        tasks: metric, and scores by method that were drawn with one seed, by task.

    Raises:
        InputError: there is no task, or a task lacks a method.
    """
    if not tasks:
        raise InputError("there is no task to rank methods on")
    methods = list(dict.fromkeys(name for _, scores in tasks.values() for name in scores))
    for task, (_, scores) in tasks.items():
        missing = [name for name in methods if name not in scores]
        if missing:
            raise InputError(f"has no score of {', '.join(missing)}", where=f"task {task!r}", hint="rank the others")
    each = []
    for metric, scores in tasks.values():
        sign = -1.0 if metric.higher_is_better else 1.0
        values = [[scores[name].value, *scores[name].draws] for name in methods]
        each.append(_rank(sign * np.asarray(values, np.float64).T))
    shared = [(places == places.min(1, keepdims=True)) for places in each]
    best = np.mean([first[1:] / first[1:].sum(1, keepdims=True) for first in shared], axis=(0, 1))
    mean = np.mean(each, axis=0)
    low, high = np.quantile(mean[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return {
        name: Rank(float(mean[0, n]), float(low[n]), float(high[n]), float(best[n])) for n, name in enumerate(methods)
    }


def _rank(costs: Array) -> Array:
    """Ranks (R, M) of M costs, the smallest first; equal ones get the mean of their ranks."""
    below = (costs[:, :, None] > costs[:, None, :]).sum(2)
    equal = (costs[:, :, None] == costs[:, None, :]).sum(2)
    return np.asarray(below + (equal + 1) / 2)

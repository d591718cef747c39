"""Does a way of training give better numbers than another, over its seeds? One number a trained model goes in.

This is for claims about methods, such as "predicting all modalities gives better probes than optical bands alone":
every pretraining is a draw, so the unit is the pretrained model, and its score is averaged over everything beneath it
(subsets of labels, heads, tasks) before it comes here. Test samples are taken as given: were they few, the numbers of
all models would share their luck, which a difference mostly cancels.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError
from geopretext.evaluate.bootstrap import LEVEL

Array = npt.NDArray[Any]

_RESAMPLES = 10_000
_MOST_FLIPPED = 16
"""Differences whose signs are flipped in all ways; more are flipped at random."""


@dataclass(frozen=True)
class SeedDifference:
    """Mean of one set of trained models minus that of another."""

    value: float
    low: float
    """of the interval by Student's t, 95 %"""
    high: float
    bootstrap_low: float
    """of the percentile bootstrap over seeds, beside it: too narrow for few seeds, but assumes no distribution"""
    bootstrap_high: float
    p_value: float
    """two-sided, by Student's t"""
    p_sign_flip: float | None
    """two-sided, by flipping the signs of the differences: assumes no more than that they are symmetric if there is no
    effect; with S seeds never below 2 / 2^S. None if seeds are not paired"""
    paired: bool
    """whether models with the same seed were compared"""
    first: tuple[float, ...]
    """the numbers that went in, by rising seed"""
    second: tuple[float, ...]

    def to_dict(self) -> dict[str, Any]:
        """Plain types, for JSON."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}


def seed_difference(
    first: Mapping[int, float], second: Mapping[int, float], *, paired: bool | None = None, seed: int = 0
) -> SeedDifference:
    """``first`` minus ``second``, with intervals over seeds.

    Args:
        first: score of each trained model, by its seed.
        second: the same of the other method.
        paired: compare models with the same seed, which helps where a seed settles something that both have in common
            (order of the data, subset of labels) and costs degrees of freedom where not. None: if the seeds are the
            same.
        seed: of the bootstrap.

    Raises:
        InputError: a method has fewer than two seeds, or pairs are wanted of different seeds.
    """
    if min(len(first), len(second)) < 2:
        raise InputError(
            f"has {len(first)} and {len(second)} seeds: the spread over seeds cannot be known",
            hint="train at least two models of each method, better five",
        )
    if paired is None:
        paired = set(first) == set(second)
    elif paired and set(first) != set(second):
        raise InputError(
            f"seeds {sorted(first)} and {sorted(second)} cannot be paired", hint="leave out what only one of them has"
        )
    one, two = (np.asarray([scores[number] for number in sorted(scores)], np.float64) for scores in (first, second))
    generator = np.random.default_rng(seed)
    if paired:
        each = one - two
        error, freedom = each.std(ddof=1) / math.sqrt(len(each)), len(each) - 1
        draws = _resampled_means(each, generator)
    else:
        error, freedom = _welch(one, two)
        draws = _resampled_means(one, generator) - _resampled_means(two, generator)
    value = float(one.mean() - two.mean())
    width = t_quantile((1 + LEVEL) / 2, freedom) * float(error)
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return SeedDifference(
        value=value,
        low=value - width,
        high=value + width,
        bootstrap_low=float(low),
        bootstrap_high=float(high),
        p_value=_two_sided(value, float(error), freedom),
        p_sign_flip=_sign_flip(one - two, generator) if paired else None,
        paired=paired,
        first=tuple(one.tolist()),
        second=tuple(two.tolist()),
    )


def _welch(one: Array, two: Array) -> tuple[float, int]:
    """Standard error of a difference of means, and degrees of freedom (Welch 1947), rounded down."""
    parts = [values.var(ddof=1) / len(values) for values in (one, two)]
    if sum(parts) == 0:
        return 0.0, len(one) + len(two) - 2
    freedom = sum(parts) ** 2 / sum(part**2 / (len(values) - 1) for part, values in zip(parts, (one, two), strict=True))
    return math.sqrt(sum(parts)), int(freedom)


def _resampled_means(values: Array, generator: np.random.Generator) -> Array:
    return np.asarray(values[generator.integers(len(values), size=(_RESAMPLES, len(values)))].mean(1))


def _two_sided(value: float, error: float, freedom: int) -> float:
    if error == 0:
        return 1.0 if value == 0 else 0.0
    return 2 * (1 - t_probability(abs(value) / error, freedom))


def _sign_flip(each: Array, generator: np.random.Generator) -> float:
    """Exact for few differences."""
    observed = abs(each.mean()) * (1 - 1e-12)
    if len(each) <= _MOST_FLIPPED:
        signs = np.asarray(list(product((1.0, -1.0), repeat=len(each))))
        return float((np.abs(signs @ each) / len(each) >= observed).mean())
    signs = generator.choice((1.0, -1.0), size=(_RESAMPLES, len(each)))
    return float((1 + (np.abs(signs @ each) / len(each) >= observed).sum()) / (1 + _RESAMPLES))


def t_probability(value: float, freedom: int) -> float:
    """Probability that Student's t with a whole number of degrees of freedom is below ``value``.

    By the finite series of Abramowitz and Stegun 1964, 26.7.3 and 26.7.4.
    """
    angle = math.atan2(value, math.sqrt(freedom))
    cosine, sine = math.cos(angle), math.sin(angle)
    odd = freedom % 2 == 1
    term = cosine if odd else 1.0
    total = term if freedom > 1 else 0.0
    for power in range(3 if odd else 2, freedom - 1, 2):
        term *= cosine * cosine * (power - 1) / power
        total += term
    inside = 2 / math.pi * (angle + sine * total) if odd else sine * total
    return (1 + inside) / 2


def t_quantile(probability: float, freedom: int) -> float:
    """Below which Student's t lies with a probability between 1/2 and 1."""
    low, high = 0.0, 1.0
    while t_probability(high, freedom) < probability:
        high *= 2
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if t_probability(middle, freedom) < probability else (low, middle)
    return high

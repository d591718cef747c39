"""Ways in which numbers may have been meant, and how likely each is under what an encoder was trained on.

Shapes: N pixels, C bands.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from geopretext.predict.reference import Floats

DECLARED = "as declared"

_FREEDOM = 5.0
"""degrees of freedom of the t distribution"""
_GAINS = 2.0 ** np.arange(-2, 2.1, 0.5)
"""around the gain at which input and reference have the same contrast"""
_FACTORS = (1e4, 1e-4, 255.0, 1 / 255, 100.0, 0.01)
"""scales that are in use: reflectance, parts of 10000, 8-bit numbers, percent"""


@dataclass(frozen=True)
class Reading:
    """One way in which the numbers may have been meant."""

    name: str
    """what is wrong, if this is the right one"""
    order: tuple[int, ...]
    """row of the input that holds each band"""
    factor: float = 1.0
    """by which numbers are multiplied"""


def readings(bands: Sequence[str], *, unit_known: bool) -> tuple[Reading, ...]:
    """What is tried: first as declared, then every exchange of two bands, B8A last, reverse order, other scales.

    Args:
        bands: in the order of the input.
        unit_known: False if the numbers are in a unit of their own, so that scales mean nothing.
    """
    plain = tuple(range(len(bands)))
    found = [Reading(DECLARED, plain)]
    for first, second in combinations(plain, 2):
        order = list(plain)
        order[first], order[second] = second, first
        found.append(Reading(f"{bands[first]} and {bands[second]} are exchanged", tuple(order)))
    found += _moved_last(bands)
    if len(bands) > 3:
        found.append(Reading("the bands are in reverse order", plain[::-1]))
    if unit_known:
        found += [Reading(f"numbers have to be multiplied by {factor:g}", plain, factor) for factor in _FACTORS]
    return tuple(found)


def _moved_last(bands: Sequence[str]) -> list[Reading]:
    """EuroSAT's files, among others, have B8A after B12; named by wavelength, B8A to B12 are then all wrong."""
    if "B8A" not in bands:
        return []
    by_wavelength = sorted(range(len(bands)), key=lambda row: _number(bands[row]))
    true = [row for row in by_wavelength if bands[row] != "B8A"] + [bands.index("B8A")]
    order = list(range(len(bands)))
    for given, meant in zip(by_wavelength, true, strict=True):
        order[meant] = given
    plain = list(range(len(bands)))
    moved = sum(one != other for one, other in zip(order, plain, strict=True))
    return [Reading("B8A is last in the files, and not after B8", tuple(order))] if moved > 2 else []


def _number(name: str) -> tuple[int, str]:
    return int("".join(letter for letter in name if letter.isdigit()) or 0), name


Shape = tuple[Floats, Floats, Floats]
"""mean, covariance over all pixels, covariance within a tile"""


def likelihoods(
    images: Sequence[Floats], tried: Sequence[Reading], levels: Mapping[str, Shape], *, unit_known: bool
) -> tuple[Floats, list[str]]:
    """Log-likelihood of each image under each reading, nats a pixel, at the level that suits the reading best.

    Args:
        images: (N, C) each.
        tried: the readings.
        levels: the reference over the same bands.
        unit_known: False if the numbers are in a unit of their own.

    Returns:
        (readings, images), and the level of each reading.
    """
    rows, names = [], []
    densities = {name: (_Student(shape[1]), _Student(shape[2])) for name, shape in levels.items()}
    for reading in tried:
        by_level = {
            name: _of_reading(images, reading, shape, densities[name], unit_known) for name, shape in levels.items()
        }
        best = max(by_level, key=lambda name: float(by_level[name].mean()))
        rows.append(by_level[best])
        names.append(best)
    return np.stack(rows), names


def _of_reading(
    images: Sequence[Floats], reading: Reading, shape: Shape, densities: "tuple[_Student, _Student]", unit_known: bool
) -> Floats:
    mean, _, within = shape
    density, contrast = densities
    order = list(reading.order)
    deviations = [image[:, order] - image[:, order].mean(0) for image in images]
    if unit_known:
        scale = len(mean) * np.log(reading.factor)
        return np.array(
            [
                density(image[:, order] * reading.factor - mean) + contrast(deviation * reading.factor) + 2 * scale
                for image, deviation in zip(images, deviations, strict=True)
            ]
        )
    spread = np.median([deviation.std(0) for deviation in deviations], axis=0)
    gain = float(np.exp(np.mean(np.log(np.sqrt(np.diag(within)) / np.maximum(spread, 1e-12)))))
    each = [
        np.array([contrast(deviation * gain * step) + len(mean) * np.log(gain * step) for deviation in deviations])
        for step in _GAINS
    ]
    return max(each, key=lambda scores: float(scores.mean()))


class _Student:
    """Mean log-density of pixels, without the constant."""

    def __init__(self, covariance: Floats) -> None:
        self._precision = np.asarray(np.linalg.inv(covariance), np.float64)
        self._log_volume = float(np.linalg.slogdet(covariance)[1])

    @property
    def ordinary(self) -> float:
        """At the distance that pixels of the distribution have on average."""
        return self._density(np.array([float(len(self._precision))]))

    def __call__(self, centred: Floats) -> float:
        return self._density(((centred @ self._precision) * centred).sum(1))

    def _density(self, distance: Floats) -> float:
        power = (len(self._precision) + _FREEDOM) * np.log1p(distance / _FREEDOM)
        return float(-0.5 * (power.mean() + self._log_volume))


def ordinary(shape: Shape) -> float:
    """Log-likelihood, as ``likelihoods`` has it, of a pixel as far from the mean as those of the reference are."""
    return sum(_Student(covariance).ordinary for covariance in shape[1:])


def residuals(images: Sequence[Floats], shape: Shape) -> Floats:
    """How far each band is from what the others let expect, in deviations; (C,), median over pixels, then images."""
    mean, together, _ = shape
    precision = np.linalg.inv(together)
    each = [np.median((image - mean) @ precision / np.sqrt(np.diag(precision)), axis=0) for image in images]
    typical: Floats = np.median(each, axis=0)
    return typical

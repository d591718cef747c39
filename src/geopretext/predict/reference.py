"""What an encoder's training data look like, as far as inputs can be held against it.

A bundle knows mean and deviation of each band by level, and since statistics keep them, how the bands vary together.
Bundles from before that, and published weights, know the first only; for the modalities in ``typical_bands.json`` the
second is then taken from there, which the report says. That file holds ``compute_statistics`` of 4,096 tiles of
``SyntheticEarth(seed=0)``: relations between bands are physics more than geography, and on the real sets that this was
tried on they serve (decision 082); ``benchmarks/typical_bands.py`` makes the file.

Shapes: C bands.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.band_relations import BandRelations
from geopretext.data.statistics import POOLED
from geopretext.nn.bundle import Encoder

Floats = npt.NDArray[np.float64]

TRAINING, TYPICAL = "the bundle's training data", "typical data of the modality"
_SLACK = 0.04
"""Part of a band's size by which any input may differ without meaning anything: calibration, atmosphere, rounding. It
also keeps bands that are nearly copies of each other from deciding by their rounding errors."""
_CONTRAST_SLACK = 0.1
"""Likewise for deviations from a tile's mean, as part of their size."""


@dataclass(frozen=True)
class LevelReference:
    """The distribution at one processing level; NaN where a band was never observed."""

    mean: Floats
    """(C,)"""
    std: Floats
    """(C,)"""
    correlation: Floats
    """(C, C) over all pixels"""
    contrast: Floats
    """(C,) standard deviation within a tile"""
    contrast_correlation: Floats
    """(C, C) within a tile"""

    @property
    def known(self) -> npt.NDArray[np.bool_]:
        """(C,): bands of which everything is known."""
        return np.isfinite(self.mean) & np.isfinite(self.std) & np.isfinite(self.contrast) & (self.std > 0)

    def over(self, rows: npt.NDArray[np.int64]) -> tuple[Floats, Floats, Floats]:
        """Mean, covariance over all pixels and covariance within a tile of some known bands, with slack."""
        mean, std, contrast = self.mean[rows], self.std[rows], self.contrast[rows]
        grid = np.ix_(rows, rows)
        together = _proper(np.nan_to_num(self.correlation[grid]) * np.outer(std, std))
        within = _proper(np.nan_to_num(self.contrast_correlation[grid]) * np.outer(contrast, contrast))
        return (
            mean,
            together + np.diag((_SLACK * np.hypot(mean, std)) ** 2),
            within + np.diag((_CONTRAST_SLACK * contrast) ** 2),
        )


@dataclass(frozen=True)
class Reference:
    """What inputs of an encoder are held against."""

    bands: tuple[str, ...]
    unit: str
    """of the bands"""
    levels: Mapping[str, LevelReference]
    """without the pooled one if there are others"""
    source: str
    """``TRAINING`` or ``TYPICAL``: where the relations between bands come from"""


def reference_of(encoder: Encoder, name: str) -> Reference | None:
    """What is known of an encoder's training data; None if it is too little to judge by.

    Args:
        encoder: of one input or several.
        name: of the input in question.
    """
    modality, scales, kept = encoder.alone(name)
    relations = {level: BandRelations.from_dict(plain) for level, plain in kept.items()}
    source = TRAINING if relations else TYPICAL
    typical = _typical().get(modality.name, {}) if not relations else {}
    if typical and not set(modality.band_names) <= set(typical["bands"]):
        return None
    if typical:
        relations = {
            level: BandRelations.from_dict(plain).select(modality.band_names)
            for level, plain in typical["relations"].items()
        }
    if len(modality.bands) < 2 or len({band.unit for band in modality.bands}) > 1:
        return None
    levels = {}
    for level, related in relations.items():
        scale = scales.get(level) or _typical_scale(typical, level, modality.band_names)
        if scale is not None:
            levels[level] = _level(related, scale)
    named = {level: found for level, found in levels.items() if level != POOLED}
    usable = named or levels
    return Reference(modality.band_names, modality.bands[0].unit, usable, source) if usable else None


def _level(related: BandRelations, scale: tuple[Any, Any]) -> LevelReference:
    mean, std = (np.asarray(numbers, np.float64) for numbers in scale)
    return LevelReference(
        mean,
        std,
        np.asarray(related.correlation, np.float64),
        np.asarray(related.contrast, np.float64),
        np.asarray(related.contrast_correlation, np.float64),
    )


def _proper(matrix: Floats) -> Floats:
    """The same without negative eigenvalues, which matrices put together pair by pair may have."""
    values, vectors = np.linalg.eigh(matrix)
    proper: Floats = (vectors * np.maximum(values, 0)) @ vectors.T
    return proper


def _typical_scale(typical: Mapping[str, Any], level: str, bands: tuple[str, ...]) -> tuple[Any, Any] | None:
    scales = typical.get("scales", {}).get(level)
    if scales is None:
        return None
    rows = [typical["bands"].index(name) for name in bands]
    mean, std = (
        [math.nan if scales[key][row] is None else scales[key][row] for row in rows] for key in ("mean", "std")
    )
    return mean, std


@cache
def _typical() -> dict[str, Any]:
    content: dict[str, Any] = json.loads((files("geopretext.predict") / "typical_bands.json").read_text("utf-8"))
    return content

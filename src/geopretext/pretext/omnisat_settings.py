"""Settings of OmniSat as a pretext method: plain data, free of torch."""

from dataclasses import dataclass
from typing import Literal

from geopretext.errors import RecipeError

BYPASSES = ("shown", "all")
"""Whose switches decoders may use; see ``OmniSatPretextSettings.bypass``."""


@dataclass(frozen=True)
class OmniSatPretextSettings:
    """OmniSat's objective; the defaults are the published numbers."""

    mask_ratio: float = 0.75
    """share of the tokens of all modalities together that is hidden, from 0 to below 1"""
    temperature: float = 0.1
    """of the contrast, above 0"""
    contrast_weight: float = 1.0
    """of the contrast beside the reconstructions, at least 0"""
    date_quantile: float = 0.75
    """a series is reconstructed on dates that get at least this quantile of its attention, from 0 to 1"""
    max_dates: int = 50
    """dates of a series that a step looks at, at least 1; others are chosen each time that a tile is visited"""
    bypass: Literal["shown", "all"] = "shown"
    """whether decoders know where in a patch the largest features stood: of tokens that are "shown" only; "all": of
    hidden ones, too, as published, which tells a decoder something of what it has to predict"""

    def __post_init__(self) -> None:
        if not 0 <= self.mask_ratio < 1:
            raise RecipeError(f"pretext.mask_ratio is {self.mask_ratio}", hint="a share: at least 0, below 1")
        if not 0 <= self.date_quantile <= 1:
            raise RecipeError(f"pretext.date_quantile is {self.date_quantile}", hint="a share: 0 to 1")
        if not 0 < self.temperature < float("inf"):
            raise RecipeError(f"pretext.temperature is {self.temperature}", hint="above 0, for example 0.1")
        if not 0 <= self.contrast_weight < float("inf"):
            raise RecipeError(f"pretext.contrast_weight is {self.contrast_weight}", hint="at least 0")
        if self.max_dates < 1:
            raise RecipeError(f"pretext.max_dates is {self.max_dates}", hint="at least 1")
        if self.bypass not in BYPASSES:
            raise RecipeError(f"pretext.bypass is {self.bypass!r}", hint=f"one of {', '.join(BYPASSES)}")

"""Where and when tiles were seen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

from geopretext.modality.observed import Array, Observed


@dataclass(frozen=True)
class Acquisition(Generic[Array]):
    """Where and when each of ``B`` tiles was seen; what is not known is not valid, and 0."""

    lat: Observed[Array]
    """(B,) float32: latitude of the centre, degrees north"""
    lon: Observed[Array]
    """(B,) float32: longitude of the centre, degrees east"""
    day: Observed[Array]
    """(B,) float32: reference date, days since 1970-01-01, with its fraction"""
    ground_sampling_distance: float
    """metres a pixel"""
    series: Mapping[str, Observed[Array]] = field(default_factory=dict)
    """of each time series: (B, T) float32, days since 1970-01-01 of its images; not valid: padding"""

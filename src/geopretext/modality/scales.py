"""Mean and standard deviation of a modality's bands by processing level: which levels are known, and which one serves.

A band that was never observed has NaN for both; a level at which no band was is no known level, whoever asks.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from geopretext.errors import InputError

POOLED = "all"
"""the level that stands for all of them together"""

Scale = TypeVar("Scale", bound=tuple[Sequence[float] | Any, Sequence[float] | Any])
"""mean and standard deviation of each band"""


def known_scales(scales: Mapping[str, Scale]) -> dict[str, Scale]:
    """Those of levels at which any band was observed."""
    return {level: scale for level, scale in scales.items() if any(math.isfinite(mean) for mean in scale[0])}


def choose_scale(scales: Mapping[str, Scale], level: str | None) -> tuple[str, Scale]:
    """The level whose statistics are to be used, and these.

    Args:
        scales: by level.
        level: one of them; None takes those over all levels, or those of the only level there is.

    Raises:
        InputError: there are none, none of that level, or several to choose from.
    """
    known = known_scales(scales)
    if not known:
        raise InputError(
            "the encoder has no statistics of its input",
            hint="import it again with --statistics, or standardise images yourself"
            " (`export --no-normalise`) or by their own (`--statistics dataset`)",
        )
    if level is None and len(known) > 1 and POOLED not in known:
        raise InputError(f"there are statistics of {', '.join(known)}", hint="choose one with level (--level)")
    chosen = level or (POOLED if POOLED in known else next(iter(known)))
    if chosen not in known:
        raise InputError(
            f"there are no statistics of level {chosen!r}", hint=f"there are some of {', '.join(known)} (--level)"
        )
    return chosen, known[chosen]

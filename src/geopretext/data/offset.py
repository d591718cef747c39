"""The +1000 offset of Sentinel-2 processing baseline 04.00 and later: who carries it, and how it is undone.

Since January 2022 (and in archives that ESA reprocessed as Collection 1, whatever their date) Sentinel-2 products store
10000 x reflectance **+ 1000**. Cut-outs rarely keep the metadata that says so, so the numbers themselves must tell.

What they can tell rests on physics. Reflectance is not negative, so with the offset hardly a pixel in any band is below
1000; and nearly every scene is dark in at least one band:

* L1C has B10 (1375 nm), where water vapour swallows the ground: without cirrus it is 0.001 to 0.01, that is 10 to 100,
  or 1010 to 1100 with the offset. Snow, sand and clouds below the cirrus change nothing.
* L2A is dark somewhere in the visible or, over snow and ice, in the short-wave infrared.

The *floor* of an image is the smallest first percentile among its bands (over observed pixels). Then:

===================================== ==========================================================================
floor                                 verdict
===================================== ==========================================================================
below 800 (L1C: below 950)            ``NONE``: with the offset this would be a clearly negative reflectance
800 to 950, L2A                       ``UNDECIDED``: atmospheric correction may have overshot over dark water
950 to 1300                           ``OFFSET``, if B10 is among the bands; or, for L2A, if the reflectance that
                                      remains after subtraction has blue (B2) at least 0.35 of red (B4), as
                                      vegetation, water, soil and snow have. Bright sand and rock have a floor here
                                      without any offset, but subtraction would leave them impossibly red
otherwise, 950 and above              ``UNDECIDED``: bright in every band (desert, salt, cloud), or bands that
                                      cannot tell (L1C without B10: the blue haze of the atmosphere alone is 1000)
===================================== ==========================================================================

An undecided image is left as it is and named in the report; the mapping can decide for it.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

OFFSET = 1000
"""What baseline 04.00 and later add to 10000 x reflectance."""

LEVELS = ("L1C", "L2A")
"""Processing levels for which the rule holds."""

_DARK = 950.0
_OVERSHOT = {"L1C": _DARK, "L2A": 800.0}
_FLOOR_OF_OFFSET = 1300.0
_BLUE_TO_RED = 0.35


class Verdict(StrEnum):
    """What the distribution of an image says about the offset."""

    NONE = "none"
    OFFSET = "offset"
    UNDECIDED = "undecided"


def judge_offset(observed: Mapping[str, npt.NDArray[Any]], level: str) -> Verdict:
    """Whether an image carries the offset, by the rule of this module.

    Args:
        observed: for each band, by published name, its observed numbers (10000 x reflectance, perhaps + 1000).
        level: ``L1C`` or ``L2A``.
    """
    bands = {name: numbers for name, numbers in observed.items() if numbers.size}
    if not bands:
        return Verdict.NONE
    low = _OVERSHOT[level]
    # quicker to say than a percentile, and true of nearly every image
    if any(np.count_nonzero(numbers < low) > 0.02 * numbers.size + 2 for numbers in bands.values()):
        return Verdict.NONE
    floor = min(float(np.percentile(numbers, 1)) for numbers in bands.values())
    if floor < low:
        return Verdict.NONE
    if floor < _DARK or floor >= _FLOOR_OF_OFFSET:
        return Verdict.UNDECIDED
    if level == "L1C":
        return Verdict.OFFSET if "B10" in bands else Verdict.UNDECIDED
    if "B2" not in bands or "B4" not in bands:
        return Verdict.UNDECIDED
    blue, red = (float(np.median(bands[name])) - OFFSET for name in ("B2", "B4"))
    return Verdict.OFFSET if blue >= _BLUE_TO_RED * red else Verdict.UNDECIDED

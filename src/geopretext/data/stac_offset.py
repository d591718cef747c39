"""Whether a Sentinel-2 item's numbers carry the +1000 offset of processing baseline 04.00, by what the item says.

What archives say, and how far it can be trusted:

* ``s2:processing_baseline``: ESA adds 1000 from 04.00 on, in reprocessed old images too (Collection 1). The Planetary
  Computer and Earth Search's ``sentinel-2-c1-l2a`` hand the numbers on as they are
  (microsoft/PlanetaryComputer issue 134; Element84/earth-search issue 41).
* ``earthsearch:boa_offset_applied``: true means that Earth Search has subtracted it already, whatever the ``offset``
  of ``raster:bands`` says, which stays at -0.1 (cirrus-geo/cirrus-earth-search issue 21). False says nothing by itself:
  images before 04.00 have it too. In some images it is false although 1000 was subtracted (Element84/earth-search
  issues 66 and 71); no property tells, so that the numbers are judged after reading.
* ``raster:bands`` (STAC 1.0), or ``bands`` and ``raster:offset`` (STAC 1.1): offset -0.1 with scale 0.0001, in units of
  reflectance.

Statements that contradict each other, and an image from after the change that says nothing, are refused: the recipe
decides for them with ``offset``.
"""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np

from geopretext.data.offset import OFFSET
from geopretext.errors import Reason, SourceError

BASELINE = 4.0
"""the first that adds the offset"""
SINCE = np.datetime64("2022-01-25", "s")
"""when it came into use"""

_APPLIED = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")
_OWN_BASELINES = ("s2:processing_baseline", "sentinel:processing_baseline")
_BASELINES = (*_OWN_BASELINES, "processing:version")
"""the last one is of any product: of another satellite it means nothing here"""
PROPERTIES_READ = (*_APPLIED, *_BASELINES, "s2:product_uri", "platform", "constellation")
"""Properties that are looked at here."""
_SATELLITE = re.compile(r"sentinel[-_ ]?2")
_PRODUCT = re.compile(r"_MSIL[12][AC]_\d{8}T\d{6}_N(\d{2})(\d{2})_")


def is_sentinel2(properties: Mapping[str, Any], *, item: str) -> bool | None:
    """Whether an item is an image of Sentinel-2 by what it says; None if it says nothing about where it is from."""
    if any(properties.get(key) is not None for key in (*_APPLIED, *_OWN_BASELINES)) or _named(properties, item):
        return True
    said = [str(properties[key]).lower() for key in ("platform", "constellation") if properties.get(key)]
    return any(_SATELLITE.match(name) for name in said) if said else None


def offset_in(
    properties: Mapping[str, Any], *, item: str, time: np.datetime64 | None, declared: float | None
) -> tuple[int, str]:
    """What is to be subtracted from an item's numbers, and why.

    Args:
        properties: of the item.
        item: id.
        time: when it was taken.
        declared: offset of the assets over their scale, in digital numbers (-1000, 0); None if they state none.

    Returns:
        0 or 1000, and the statement that it follows from.

    Raises:
        SourceError: ``UNIT``: the statements contradict each other, or there are none and the date leaves it open.
    """
    said = []
    applied = next((properties[key] for key in _APPLIED if isinstance(properties.get(key), bool)), None)
    if applied is not None:
        said.append(f"boa_offset_applied {str(applied).lower()}")
    baseline = _baseline(properties, item)
    if baseline is not None:
        said.append(f"processing baseline {baseline:05.2f}")
    if declared is not None:
        said.append(f"offset {declared:g} of its assets")
    why = ", ".join(said)
    if applied:
        if baseline is not None and baseline < BASELINE:
            raise _refusal(item, f"{why}: there was none to subtract")
        return 0, why
    if declared not in (None, 0, -OFFSET):
        raise _refusal(item, f"{why}: it is 0 or -{OFFSET}")
    stored = OFFSET * (baseline >= BASELINE) if baseline is not None else None
    if stored is not None and declared is not None and stored != -declared:
        raise _refusal(item, f"{why}: they contradict each other")
    if stored is not None:
        return stored, why
    if declared is not None:
        return int(-declared), why
    if time is not None and time < SINCE:
        return 0, "taken before baseline 04.00"
    if applied is False:
        return OFFSET, f"{why}, taken since baseline 04.00"
    raise _refusal(item, "neither a processing baseline nor an offset is stated")


def _baseline(properties: Mapping[str, Any], item: str) -> float | None:
    for key in _BASELINES:
        try:
            return float(properties[key])
        except (KeyError, TypeError, ValueError):
            continue
    named = _named(properties, item)
    return float(f"{named[1]}.{named[2]}") if named else None


def _named(properties: Mapping[str, Any], item: str) -> re.Match[str] | None:
    return _PRODUCT.search(f"{properties.get('s2:product_uri', '')} {item}")


def _refusal(item: str, what: str) -> SourceError:
    return SourceError(
        f"whether its numbers carry the Sentinel-2 offset of {OFFSET} cannot be told ({what})",
        reason=Reason.UNIT,
        where=item,
        hint=f"decide for all items of the collection: offset: none, or offset: -{OFFSET}",
    )

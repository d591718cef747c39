"""Units of numbers that enter: converted where that is exact, refused where the numbers contradict the stated unit."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from geopretext.errors import UnitError
from geopretext.modality import Band

Floats = npt.NDArray[np.float64]

REFLECTANCE = "reflectance x 10000"
"""The unit that Sentinel-2 products and the store use."""


def _decibel(power: Floats) -> Floats:
    """Backscatter in dB; zero power has none and becomes not finite, that is missing."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return 10.0 * np.log10(power)


CONVERSIONS: dict[tuple[str, str], Callable[[Floats], Floats]] = {
    ("reflectance", REFLECTANCE): lambda x: x * 10000.0,
    ("reflectance x 10000 + 1000", REFLECTANCE): lambda x: x - 1000.0,
    ("linear power", "dB"): _decibel,
    ("degree Celsius", "K"): lambda x: x + 273.15,
    ("mm", "m"): lambda x: x / 1000.0,
    ("cm", "m"): lambda x: x / 100.0,
    ("digital number 0..255", "intensity 0..1"): lambda x: x / 255.0,
}
"""Exact conversions by (unit given, unit wanted)."""


def check_unit(given: str, wanted: str, *, where: str) -> None:
    """Refuse a unit that cannot be converted exactly.

    Raises:
        UnitError: there is no exact conversion; the hint lists the units that there are.
    """
    if given != wanted and (given, wanted) not in CONVERSIONS:
        accepted = [wanted, *(have for have, want in CONVERSIONS if want == wanted)]
        raise UnitError(
            f"unit {given!r} cannot be converted to {wanted!r} exactly",
            where=where,
            hint=f"units that can: {', '.join(map(repr, accepted))}",
        )


def to_unit(values: Floats, given: str, wanted: str) -> Floats:
    """Numbers in ``wanted``, from numbers in ``given`` that ``check_unit`` has accepted."""
    return values if given == wanted else CONVERSIONS[given, wanted](values)


def check_plausible(numbers: Floats, band: Band, unit: str, *, dtype: str, where: str) -> None:
    """Refuse numbers that cannot be in the unit that they are said to be in.

    Args:
        numbers: the observed ones of a file, as they stand there (any shape; none is fine).
        band: as stored.
        unit: the unit given for the file.
        dtype: of the file.
        where: names the file, for the message.

    Raises:
        UnitError: names the file, the band, the unit given and the range that was seen.
    """
    if not numbers.size:
        return
    reason = _implausible(numbers, band, unit, dtype)
    if reason:
        low, high = float(numbers.min()), float(numbers.max())
        raise UnitError(
            f"band {band.name!r} cannot be in {unit!r}: {reason} (values from {low:.6g} to {high:.6g}, {dtype})",
            where=where,
            hint="correct 'unit' (and 'nodata') of this folder in the mapping",
        )


def _nearly_all(those: npt.NDArray[np.bool_]) -> bool:
    """False if so many are not that the 99th percentile cannot be one of them: quicker to say than a percentile."""
    return bool(those.size - np.count_nonzero(those) <= 0.02 * those.size + 2)


def _implausible(numbers: Floats, band: Band, unit: str, dtype: str) -> str:
    """Why ``numbers`` cannot be in ``unit``; empty if they can."""
    if unit == REFLECTANCE:
        if dtype in ("uint8", "int8"):
            return "8-bit numbers are a rendered picture, not reflectance"
        if _nearly_all(numbers <= 5) and np.percentile(numbers, 99) <= 5:
            return "they look like reflectance from 0 to 1"
    if unit == "reflectance" and np.median(numbers) > 3:
        return "reflectance is between 0 and about 1; they look scaled"
    if unit == "dB" and numbers.min() >= 0:
        return "backscatter in dB is negative over most of the Earth; they look like linear power"
    if unit == "linear power" and np.mean(numbers < 0) > 0.01:
        return "power is never negative; they look like dB"
    if unit == "linear power" and np.median(numbers) > 10:
        return "power is below 1 over most of the Earth; they look like uncalibrated amplitudes, as Sentinel-1 GRD has"
    if unit == REFLECTANCE or unit == "reflectance":
        # a slightly negative reflectance is dark water or shadow, over-corrected: no reason to doubt the unit
        return "" if np.mean(to_unit(numbers, unit, REFLECTANCE) <= 28000) > 0.5 else "most are above 2.8"
    stored = to_unit(numbers, unit, band.unit)
    low = -np.inf if band.valid_min is None else band.valid_min
    high = np.inf if band.valid_max is None else band.valid_max
    if np.mean((stored >= low) & (stored <= high)) < 0.5:
        return f"most lie outside the valid range {low:g} to {high:g} {band.unit}"
    return ""

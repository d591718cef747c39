"""How districts farm: field patterns, crop calendars, water, hedges and orchards, chosen by the climate at their seat.

Field patterns differ by the shape, size and arrangement of parcels; crop calendars by when each parcel is green, ripe,
bare or flooded. A district has one pattern and one leading calendar.

Shapes: n windows, K districts a window.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.climate import LAPSE, Climate
from geopretext.data.synthetic.districts import Seats, choose
from geopretext.data.synthetic.noise import Float, step

PATTERNS = ("none", "small mosaic", "strips", "large rectangles", "centre pivots", "terraces")
CALENDARS = ("no crops", "single summer crop", "winter crop", "two crops a year", "flooded rice")
MOSAIC, STRIPS, RECTANGLES, PIVOTS, TERRACES = range(1, 6)
SUMMER, WINTER, DOUBLE, RICE = range(1, 5)
SHIFTS = 4
"""parcels of a calendar are early or late in this many steps"""
_LENGTH = {MOSAIC: (9, 16), STRIPS: (34, 70), RECTANGLES: (26, 52), PIVOTS: (40, 62), TERRACES: (16, 40)}
_DEPTH = {MOSAIC: (6, 12), STRIPS: (2.6, 4.6), RECTANGLES: (16, 34), PIVOTS: (40, 62), TERRACES: (3, 5)}


@dataclass(frozen=True)
class Habits:
    """How each district farms; tables (n, K)."""

    identity: npt.NDArray[np.uint32]
    """random bits"""
    pattern: npt.NDArray[np.int64]
    """position in ``PATTERNS``"""
    calendar: npt.NDArray[np.int64]
    """position in ``CALENDARS``"""
    angle: Float
    """of its parcels, radians"""
    length: Float
    """of its parcels, pixels"""
    depth: Float
    """of its parcels, pixels (of terraces: metres of height)"""
    share: Float
    """of parcels under crops"""
    irrigated: Float
    """share of crop parcels that are watered"""
    hedges: npt.NDArray[np.bool_]
    """trees along parcel edges"""
    orchards: Float
    """share of crop parcels planted with rows of trees"""
    green: Float
    """(n, K, calendars x shifts) cover by green leaves at the date"""
    dry: Float
    """(n, K, calendars x shifts) cover by ripe crop and stubble"""
    flooded: Float
    """(n, K, calendars x shifts) cover by water"""


def habits_of(seats: Seats, climate: Climate, part: npt.NDArray[np.float64]) -> Habits:
    """Decide how each district farms, from the climate at its seat; ``part`` (n, 1) is the part of the year."""
    mean = climate.warmth - np.float32(LAPSE) * climate.base
    warmest, coldest = mean + np.abs(climate.swing), mean - np.abs(climate.swing)
    humidity = climate.humidity(mean)
    flat, steep = step(0.45, 0.05, climate.relief), step(0.12, 0.5, climate.relief)
    dry, warm = step(1.1, 0.4, humidity), step(13, 21, warmest)
    farmed = climate.people * step(9, 15, warmest) * step(0.0, 0.35, humidity + 0.35 * flat)

    tropical = step(10, 20, coldest)
    weights = [
        np.clip(0.12 + 0.9 * (1 - farmed), 0.05, 4.0),
        0.30 + 0.6 * tropical * step(0.3, 1, humidity),
        0.55 * (1 - 0.6 * tropical) * step(0.3, 0.8, humidity) + 0.12,
        0.75 * flat * (1 - 0.4 * tropical) + 0.08,
        1.3 * flat * dry * step(2, 8, mean) + 0.10 * flat,
        2.2 * steep * warm + 0.02,
    ]
    pattern = choose(seats.chance("field pattern"), weights)
    watered = np.clip(dry * 0.8 + 0.15, 0, 0.85) * (0.3 + 0.9 * seats.chance("irrigation"))
    watered = np.where(pattern == PIVOTS, 0.93, watered).astype(np.float32)
    rice = warm * step(12, 20, warmest) * flat * step(0.5, 1.2, humidity + 0.5 * watered)
    calendars = [
        np.zeros_like(mean),
        0.55 + 0.3 * step(0, -12, coldest),
        0.75 * step(-16, -4, coldest) * step(22, 12, mean),
        0.85 * step(10, 17, mean) * step(0.3, 0.9, humidity + watered),
        np.where(pattern == PIVOTS, 0.0, 1.1 * np.where(pattern == TERRACES, warm * step(0.6, 1.1, humidity), rice)),
    ]
    calendar = np.where(pattern == 0, 0, choose(seats.chance("calendar"), calendars))
    # Paddies are small; strips and mosaics hold them.
    pattern = np.where((calendar == RICE) & (pattern == RECTANGLES), MOSAIC, pattern)
    green, dry_cover, flooded = _phenology(climate, part)
    return Habits(
        identity=seats.identity,
        pattern=pattern,
        calendar=calendar,
        angle=np.float32(np.pi) * seats.chance("parcel angle"),
        length=_between(pattern, _LENGTH, seats.chance("parcel length")),
        depth=_between(pattern, _DEPTH, seats.chance("parcel depth")),
        share=np.where(pattern == 0, 0, np.clip(0.5 + 0.4 * seats.chance("crop share"), 0, 0.96)).astype(np.float32),
        irrigated=np.where(calendar == RICE, 1, watered).astype(np.float32),
        hedges=(seats.chance("hedges") < 0.45) & ((pattern == MOSAIC) | (pattern == RECTANGLES)),
        orchards=np.where((seats.chance("orchards") < 0.3) & (pattern > 0) & (pattern != PIVOTS), 0.45, 0.02).astype(
            np.float32
        ),
        green=green,
        dry=dry_cover,
        flooded=flooded,
    )


def _between(pattern: npt.NDArray[Any], ranges: Mapping[int, tuple[float, float]], chance: Float) -> Float:
    low = np.array([1.0] + [ranges[k][0] for k in range(1, 6)], np.float32)[pattern]
    high = np.array([1.0] + [ranges[k][1] for k in range(1, 6)], np.float32)[pattern]
    return np.asarray(low + (high - low) * chance, np.float32)


def _phenology(climate: Climate, part: npt.NDArray[np.float64]) -> tuple[Float, Float, Float]:
    """Green, ripe and flooded cover (n, K, states) of each calendar and shift at a part of the year."""
    # Where it is never cold, the year of the farmer starts with the rains.
    by_rain = np.abs(climate.swing) < 6
    start = np.where(by_rain, 0.36, 0.30) + np.where(np.where(by_rain, climate.rain_swing, climate.swing) < 0, 0.5, 0)
    shift = (np.arange(SHIFTS) - 1.5) * 0.045
    season = part[..., None] - start[..., None] - shift
    states: list[list[Float]] = [[], [], []]
    for calendar in range(5):
        green, dry, wet = np.zeros((3, *season.shape), np.float32)
        for sown, lasts in {SUMMER: [(0.04, 0.42)], WINTER: [(0.48, 0.72)], RICE: [(0.06, 0.40)]}.get(
            calendar, [(0.0, 0.40), (0.5, 0.40)] if calendar == DOUBLE else []
        ):
            stage = ((season - sown) % 1.0) / lasts
            rise = 0.55 if calendar == WINTER else 0.34
            green = np.maximum(green, step(0.06, rise, stage) * step(0.95, 0.78, stage))
            dry = np.maximum(dry, step(0.76, 0.9, stage) * step(1.35, 1.1, stage))
            if calendar == RICE:
                wet = step(-0.01, 0.01, stage) * step(0.42, 0.22, stage)
        for cover, values in zip(states, (green, dry, wet), strict=True):
            cover.append(values)
    return tuple(np.concatenate(cover, axis=-1) for cover in states)  # type: ignore[return-value]

"""Parcels: the geometry of fields, and what the farmer did in each of them.

A parcel is a cell of a grid in the frame of its district: rows of some depth, each cut into lengths with an offset of
its own. Long thin cells are strips, wavy small ones a mosaic, square ones hold the circle of a centre pivot, and rows
that follow the contour lines are terraces.

Shapes: n windows, K districts a window, pixels (n, H, W).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.districts import Districts
from geopretext.data.synthetic.farmland import (
    MOSAIC,
    PIVOTS,
    RECTANGLES,
    RICE,
    SHIFTS,
    SUMMER,
    TERRACES,
    WINTER,
    Habits,
)
from geopretext.data.synthetic.noise import Bits, Float, mix, step, stir, uniform

_CUT_ROW, _CUT_COLUMN = np.float32(0.45), np.float32(0.55)
_WAVY = np.array([0, 1, 0.35, 0.1, 0, 0.3], np.float32)
"""how much the edges of parcels waver in each pattern"""
_TERRACE_RISE = np.float32(2.5)
"""m that a terraced row of one pixel rises: the slope of 14 degrees"""


@dataclass(frozen=True)
class Parcels:
    """What the farmer did at each pixel, (n, H, W)."""

    crop: npt.NDArray[np.bool_]
    """under crops or orchard"""
    pasture: npt.NDArray[np.bool_]
    """farmed, but grass"""
    bits: npt.NDArray[np.uint32]
    """random bits of the parcel"""
    edge: Float
    """distance to the edge of the parcel, pixels"""
    green: Float
    """cover by green leaves, 0..1"""
    dry: Float
    """cover by ripe crop and stubble, 0..1"""
    flooded: Float
    """cover by water, 0..1"""
    irrigated: npt.NDArray[np.bool_]
    """crops that are watered"""
    orchard: npt.NDArray[np.bool_]
    """rows of trees"""
    rows: Float
    """0..1, where the rows of an orchard are"""
    pattern: npt.NDArray[Any]
    """position in ``PATTERNS`` of the district"""
    calendar: npt.NDArray[Any]
    """position in ``CALENDARS`` of the parcel"""
    hedges: npt.NDArray[np.bool_]
    """the district plants hedges"""


@dataclass(frozen=True)
class _Cells:
    """Cells of the parcel grid, (n, H, W)."""

    bits: Bits
    """random bits of the cell"""
    edge: Float
    """distance to its edge, pixels"""
    rim: Float
    """distance inside the circle of a pivot, pixels; negative outside"""
    along: Float
    """pixels along the rows"""


def parcels_of(
    districts: Districts, habits: Habits, bend: tuple[Float, Float], height: Float, slope: Float, moist: Float
) -> Parcels:
    """What the farmers did.

    Args:
        districts: of each pixel.
        habits: of the districts.
        bend: by how many pixels the edges of parcels waver, east and south.
        height: m; terraces follow its contour lines.
        slope: m a m.
        moist: 0..1 of the soil.
    """
    pattern = districts.look_up(habits.pattern.astype(np.uint8))
    cells = _cells(districts, habits, pattern, bend, height, slope)
    planted = uniform(cells.bits) < districts.look_up(habits.share)
    pivot = pattern == PIVOTS
    crop = planted & (~pivot | (cells.rim > 0)) & (pattern > 0)
    leading = districts.look_up(habits.calendar.astype(np.uint8))
    # One parcel in five follows another calendar.
    other = np.where(leading == SUMMER, WINTER, SUMMER).astype(np.uint8)
    second = stir(cells.bits, "calendar")
    calendar = np.where(uniform(second, 0) < 0.82, leading, other)
    irrigated = crop & (uniform(second, 1) < districts.look_up(habits.irrigated))
    third = stir(cells.bits, "growth")
    orchard = crop & (calendar != RICE) & (uniform(third) < districts.look_up(habits.orchards))
    vigour = np.float32(0.72) + np.float32(0.28) * uniform(third, 1)
    vigour *= np.where(irrigated, np.float32(1), np.float32(0.35) + np.float32(0.65) * moist)
    state = calendar.astype(np.intp) * SHIFTS + (third & np.uint32(SHIFTS - 1))
    state += districts.index * habits.green.shape[-1]
    return Parcels(
        crop=crop,
        pasture=~crop & (pattern > 0),
        bits=third,
        edge=np.where(pivot, np.abs(cells.rim), cells.edge),
        green=np.take(habits.green, state) * vigour,
        dry=np.take(habits.dry, state),
        flooded=np.take(habits.flooded, state),
        irrigated=irrigated & ~orchard,
        orchard=orchard,
        rows=_rows(cells.along),
        pattern=pattern,
        calendar=calendar,
        hedges=districts.look_up(habits.hedges),
    )


def _rows(along: Float) -> Float:
    """0..1 where rows of trees stand, 40 m apart."""
    phase = along * np.float32(0.25)
    return step(0.34, 0.14, np.abs(phase - np.floor(phase) - np.float32(0.5)))


def _cells(
    districts: Districts,
    habits: Habits,
    pattern: npt.NDArray[Any],
    bend: tuple[Float, Float],
    height: Float,
    slope: Float,
) -> _Cells:
    along, across = districts.turned(habits.angle)
    wavy = _WAVY[pattern]
    along, across = along + wavy * bend[0], across + wavy * bend[1]
    terraced, pivot = pattern == TERRACES, pattern == PIVOTS
    length, depth = districts.look_up(habits.length), districts.look_up(habits.depth)
    lines = np.where(terraced, height * np.float32(1 / _TERRACE_RISE), across) / depth
    row = np.floor(lines)
    row_bits = mix(districts.look_up(habits.identity) + _whole(row) * np.uint32(0x85EBCA77))
    places = along / length + uniform(row_bits, 1) * ~pivot
    column = np.floor(places)
    bits = mix(row_bits + _whole(column) * np.uint32(0x9E3779B1))
    in_row, in_column = lines - row, places - column

    # Half of the parcels of a mosaic and of large rectangles are cut in two, a quarter also the other way.
    divisible = (pattern == MOSAIC) | (pattern == RECTANGLES)
    cut_row, cut_column = divisible & (bits & 1 == 1), divisible & (bits & 6 == 2)
    bits = bits + (cut_row & (in_row > _CUT_ROW)) * np.uint32(0x68E31DA4)
    bits = mix(bits + (cut_column & (in_column > _CUT_COLUMN)) * np.uint32(0xB5297A4D))
    edge_row, edge_column = np.minimum(in_row, 1 - in_row), np.minimum(in_column, 1 - in_column)
    edge_row = np.where(cut_row, np.minimum(edge_row, np.abs(in_row - _CUT_ROW)), edge_row)
    edge_column = np.where(cut_column, np.minimum(edge_column, np.abs(in_column - _CUT_COLUMN)), edge_column)
    edge_row *= np.where(terraced, np.float32(0.25) / np.maximum(slope, np.float32(0.03)), np.float32(1)) * depth

    dx, dy = in_column - np.float32(0.5), (in_row - np.float32(0.5)) * (depth / length)
    rim = (np.minimum(depth / length, 1) * np.float32(0.47) - np.sqrt(dx * dx + dy * dy)) * length
    # The arm of a pivot often waters one crop on one side and another on the other.
    side = dx * (uniform(bits, 0) - np.float32(0.5)) + dy * (uniform(bits, 1) - np.float32(0.5))
    bits = np.where(pivot & (side > 0), stir(bits, "other side"), bits)
    return _Cells(bits, np.minimum(edge_row, edge_column * length), rim, along)


def _whole(number: Float) -> Bits:
    """A whole number, negative ones too, as bits."""
    return number.astype(np.int32).view(np.uint32)

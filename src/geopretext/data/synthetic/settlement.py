"""Settlements: how houses and streets lie. The four kinds differ in geometry more than in how much is built.

Shapes: n windows, K candidate villages a window, pixels (n, H, W).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.climate import LAPSE, Climate
from geopretext.data.synthetic.districts import Districts, Seats, choose
from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.noise import Bits, Float, mix, step, stir, uniform

KINDS = ("none", "scattered", "linear along road", "compact grid", "dense urban")
SCATTERED, LINEAR, GRID, DENSE = range(1, 5)
_RADIUS = np.array([1, 52, 60, 33, 28], np.float32)
"""pixels, of the smallest settlements of each kind: so that what is built is about the same"""


@dataclass(frozen=True)
class Built:
    """What is built at each pixel, (n, H, W)."""

    roof: Float
    """cover by roofs, 0..1"""
    street: Float
    """cover by sealed ground, 0..1"""
    tint: Bits
    """random bits of the roof"""
    kind: npt.NDArray[Any]
    """position in ``KINDS``; 0 away from settlements"""
    square_on: Float
    """0..1, how squarely walls face the ascending radar: by the angle of the streets"""


def settlements_of(
    windows: Windows, seats: Seats, climate: Climate, districts: Districts, road: Float, rag: Float
) -> Built:
    """Draw settlements around the seats of ``districts``.

    Args:
        windows: where to draw.
        seats: of the districts.
        climate: at the seats.
        districts: which one each pixel belongs to.
        road: distance from the middle of the nearest main road, pixels.
        rag: noise in pixels that makes outlines ragged.
    """
    kind_of, reach_of = _plans(seats, climate)
    turn = seats.chance("street angle")
    along, across = districts.turned(np.float32(np.pi) * turn)
    inside = np.sqrt(along * along + across * across) + rag < districts.look_up(reach_of)
    kind = districts.look_up(kind_of.astype(np.uint8)) * inside
    grid = kind == GRID
    block = districts.look_up(np.float32(6) + np.float32(3) * seats.chance("block size"))
    street = (kind >= GRID) & _on_street(along, across, block, grid, rag)

    lot = windows.spread(windows.bits("lot", size=2), 2)
    chance = uniform(lot)
    houses = (kind >= GRID) & ~street & (chance < np.where(grid, np.float32(0.52), np.float32(0.86)))
    houses |= (kind == LINEAR) & (road > 1.0) & (road < 4.2) & (chance < 0.6)
    houses |= (kind == SCATTERED) & _farmsteads(windows)
    roof = houses * (np.float32(0.62) + np.float32(0.38) * uniform(windows.bits("roof")))
    # 1 where walls stand across the ascending beam, 0 where they stand across the descending one.
    square_on = districts.look_up(np.abs(1 - np.abs(2 * turn - 1) * 2))
    return Built(
        roof=roof,
        street=np.where(street, np.where(grid, np.float32(0.75), np.float32(0.55)), np.float32(0)),
        tint=stir(lot, "roof"),
        kind=kind,
        square_on=np.where(kind >= GRID, square_on, np.float32(0.5)),
    )


def _plans(seats: Seats, climate: Climate) -> tuple[npt.NDArray[np.int64], Float]:
    """Kind and radius in pixels (n, K) of the settlement of each district."""
    warmest = climate.warmth + np.abs(climate.swing) - np.float32(LAPSE) * climate.base
    people = climate.people * step(3, 9, warmest)
    flat = step(0.75, 0.2, climate.relief)
    weights = [0.20 - 0.19 * people * flat, 0.5 * people, 0.55 * people, 0.7 * people * flat, 0.7 * people * flat]
    kind = choose(seats.chance("settlement"), weights)
    return kind, _RADIUS[kind] * (np.float32(1) + np.float32(0.8) * seats.chance("settlement size"))


def _on_street(
    along: Float, across: Float, block: Float, grid: npt.NDArray[np.bool_], rag: Float
) -> npt.NDArray[np.bool_]:
    """Whether pixels lie on a street between blocks, which are half as long again as they are wide.

    In planned towns streets meet; in dense ones blocks are offset from row to row and streets waver.
    """
    wide = np.where(grid, block, block * np.float32(1.25))
    long = wide * np.float32(1.5)
    line = across / wide
    row = np.floor(line)
    shift = uniform(mix(row.astype(np.int32).view(np.uint32) + np.uint32(9))) + rag * np.float32(0.02)
    place = along / long + np.where(grid, np.float32(0), shift)
    in_row, in_place = (line - row) * wide, (place - np.floor(place)) * long
    lane = np.minimum(np.minimum(in_row, wide - in_row), np.minimum(in_place, long - in_place))
    return np.asarray(lane < np.where(grid, np.float32(1.1), np.float32(0.55)))


def _farmsteads(windows: Windows) -> npt.NDArray[np.bool_]:
    """Single houses of 2 x 2 pixels, at most one in a square of 6 pixels, somewhere inside it."""
    size = 6
    bits = windows.bits("farmstead", size=size)
    there = uniform(bits) < 0.5
    inner = np.arange(size, dtype=np.uint32)
    from_column, from_row = inner - (bits[..., None] & 3), inner - (bits[..., None] >> 2 & 3)
    # Unsigned: left of the house the difference wraps around to a huge number.
    house = (there[..., None] & (from_row < 2))[..., :, None] & (from_column < 2)[..., None, :]
    n, rows, columns = bits.shape
    house = house.transpose(0, 1, 3, 2, 4).reshape(n, rows * size, columns * size)
    return np.ascontiguousarray(house[:, : windows.height, : windows.width])

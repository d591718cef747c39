"""Districts: irregular patches of land (a jittered Voronoi mosaic) inside which people do things in one way.

A district has an identity, a seat and a frame turned by an angle of its own; its habits (field pattern, crops,
streets) are decided once, at the seat, from the climate there. Pixels only look up the habits of their district.

Shapes: n windows, K candidate districts a window, pixels (n, H, W).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.noise import Float, lattice_hash, mix, stir, uniform

BEND = 16
"""pixels: most that borders are bent by noise"""


@dataclass(frozen=True)
class Seats:
    """The districts that may reach into each window."""

    column: npt.NDArray[np.int64]
    """(n, K) of the seat, pixels"""
    row: npt.NDArray[np.int64]
    """(n, K)"""
    identity: npt.NDArray[np.uint32]
    """(n, K) random bits of the district"""

    def chance(self, purpose: str) -> Float:
        """A random number in [0, 1) of each district for some purpose, (n, K)."""
        return uniform(stir(self.identity, purpose))


@dataclass(frozen=True)
class Districts:
    """Which district each pixel is in, and where in it."""

    index: npt.NDArray[np.intp]
    """(n, H, W) position in the flattened (n, K) tables"""
    across: Float
    """(n, H, W) pixels east of the seat"""
    down: Float
    """(n, H, W) pixels south of the seat"""
    border: Float
    """(n, H, W) about the distance to the nearest border, pixels"""

    def look_up(self, table: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Habits (n, K) of the district of each pixel, (n, H, W)."""
        return np.take(table, self.index)

    def turned(self, angle: npt.NDArray[Any]) -> tuple[Float, Float]:
        """Pixel coordinates along and across the direction ``angle`` (n, K) of the district."""
        cosine = self.look_up(np.cos(angle).astype(np.float32))
        sine = self.look_up(np.sin(angle).astype(np.float32))
        return cosine * self.across + sine * self.down, cosine * self.down - sine * self.across


def seats_of(windows: Windows, size: int) -> Seats:
    """Seats of all districts that can be nearest to any pixel; ``size`` is their spacing in pixels."""
    counts = [(pixels + 2 * BEND - 1) // size + 4 for pixels in (windows.height, windows.width)]
    first_row = (windows.row - BEND) // size - 1
    first_column = (windows.column - BEND) // size - 1
    i, j = (axis.reshape(1, -1) for axis in np.mgrid[: counts[0], : counts[1]])
    cell_row, cell_column = first_row[:, None] + i, first_column[:, None] + j
    identity = lattice_hash(windows.key("district")[:, 0], cell_column, cell_row)
    jitter = mix(identity + np.uint32(0x51ED270B))
    # The middle 60 % of its cell: then the nearest seat is never more than one cell away.
    row = cell_row * size + ((0.2 + 0.6 * uniform(jitter, 0)) * size).astype(np.int64)
    column = cell_column * size + ((0.2 + 0.6 * uniform(jitter, 1)) * size).astype(np.int64)
    return Seats(column, row, identity)


def districts_of(windows: Windows, seats: Seats, bend_across: Float, bend_down: Float) -> Districts:
    """Assign pixels to the nearest seat, after bending space by (n, H, W) pixels, up to ``BEND``."""
    n, count = seats.column.shape
    # In steps of 1/64 pixel sums and differences are exact, so that nothing depends on where the window starts.
    bend_across, bend_down = (
        np.rint(np.clip(bend, -BEND, BEND) * 64) * np.float32(1 / 64) for bend in (bend_across, bend_down)
    )
    x = np.arange(windows.width, dtype=np.float32)[None, None] + bend_across
    y = np.arange(windows.height, dtype=np.float32)[None, :, None] + bend_down
    to_x = (seats.column - windows.column[:, None]).astype(np.float32)
    to_y = (seats.row - windows.row[:, None]).astype(np.float32)
    near = _within_reach(windows, to_x, to_y)
    nearest = np.full(x.shape, np.float32(np.inf))
    second, index = nearest.copy(), np.zeros(x.shape, np.intp)
    for k in range(near.shape[1]):
        choice = near[:, k]
        dx = x - np.take_along_axis(to_x, choice[:, None], 1)[:, :, None]
        dy = y - np.take_along_axis(to_y, choice[:, None], 1)[:, :, None]
        dx *= dx
        dy *= dy
        dx += dy
        np.copyto(index, (choice + np.arange(n) * count)[:, None, None], where=dx < nearest)
        np.minimum(second, np.maximum(nearest, dx), out=second)
        np.minimum(nearest, dx, out=nearest)
    border = (np.sqrt(second) - np.sqrt(nearest)) * np.float32(0.6)
    across = np.arange(windows.width, dtype=np.float32)[None, None] - np.take(to_x, index)
    down = np.arange(windows.height, dtype=np.float32)[None, :, None] - np.take(to_y, index)
    return Districts(index, across, down, border)


def _within_reach(windows: Windows, to_x: Float, to_y: Float) -> npt.NDArray[np.intp]:
    """(n, k) seats in their order, among them every one that is nearest or second nearest to any pixel."""
    low, high_x, high_y = -float(BEND), windows.width + float(BEND), windows.height + float(BEND)
    least = np.hypot(
        np.maximum(np.maximum(low - to_x, to_x - high_x), 0), np.maximum(np.maximum(low - to_y, to_y - high_y), 0)
    )
    most = np.hypot(np.maximum(to_x - low, high_x - to_x), np.maximum(to_y - low, high_y - to_y))
    candidates = (least <= np.sort(most, axis=1)[:, 1:2]).sum(axis=1).max()
    return np.sort(np.argsort(least, axis=1, kind="stable")[:, :candidates], axis=1)


def choose(chance: Float, weights: list[npt.NDArray[Any]]) -> npt.NDArray[np.int64]:
    """Pick a number 0..len(weights)-1 with the given odds from a random number in [0, 1)."""
    total = np.cumsum(np.stack([np.asarray(w, np.float32) + 0 * chance for w in weights]), axis=0)
    number: npt.NDArray[np.int64] = (chance * total[-1] >= total).sum(axis=0)
    return number.clip(max=len(weights) - 1)

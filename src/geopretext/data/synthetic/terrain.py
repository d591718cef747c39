"""Ground: elevation with ridges and valleys, rivers, slope, and how the sun falls on it.

Heights are noise whose zero lines are valley floors (``|noise|`` has a crease there), at several sizes: the first
makes the main valleys with their rivers, the next ones tributaries and gullies. Computed every 30 m, as elevation
models are, and interpolated from there.

Shapes: (n, Y, X) on the 30 m lattice unless said otherwise.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.climate import Climate
from geopretext.data.synthetic.grid import LATTICE, PIXEL, Noise, Windows
from geopretext.data.synthetic.noise import Float, gradient_noise, step

_NOISE = {
    "bend across": Noise(160, 2),
    "bend down": Noise(160, 2),
    "valley detail": Noise(130, 2),
    "detail": Noise(17, 2, 0.55),
    "lakes": Noise(210, 2),
    "coast": Noise(260, 3),
}


@dataclass(frozen=True)
class Terrain:
    """The ground under some windows."""

    elevation: Float
    """m"""
    east: Float
    """rise towards east, m a m"""
    north: Float
    """rise towards north, m a m"""
    steepness: Float
    """length of (east, north)"""
    river: Float
    """signed distance from the middle of the nearest river, about pixels"""
    brook: Float
    """the same for brooks"""
    hollow: Float
    """-1 ridge .. 1 valley floor"""
    rough: Float
    """0 plain .. 1 mountain, very smooth"""


def terrain_of(windows: Windows, macro: Climate) -> Terrain:
    """The ground under ``windows``; ``macro`` is the climate on the 30 m lattice with a margin of one node."""
    columns, rows = windows.nodes(margin=1)
    noise = windows.smooth(_NOISE, margin=1)
    bend_x, bend_y = columns + noise["bend across"] * 40.0, rows + noise["bend down"] * 40.0
    valley = gradient_noise(windows.key("valley"), bend_x / 520, bend_y / 520)
    valley += np.float32(0.12) * noise["valley detail"]
    branch = gradient_noise(windows.key("branch"), bend_x / 150, bend_y / 150)
    gully = gradient_noise(windows.key("gully"), bend_x / 46, bend_y / 46)
    detail = noise["detail"]

    rough = macro.relief
    deep, side = np.abs(valley), np.abs(branch)
    ridges = deep * 900 + np.sqrt(deep + 0.01) * side * 620 + deep * np.abs(gully) * 420 + side * detail * 90
    hills = (valley + 0.35 * branch) * 50 + gully * 7 + detail * 2.5
    lakes = step(0.30, 0.62, noise["lakes"]) * (1 - rough)
    lakes = lakes * step(0.15, 0.7, macro.wetland + 0.4 * (1 - rough))
    shore = step(0.0, 0.05, macro.land)
    coast = (macro.land * 900 + noise["coast"] * 22) * (1 - shore)
    elevation = macro.base * shore + shore * (1 - lakes) * (ridges * rough * 1.1 + hills * (0.25 + rough)) + coast
    elevation = np.asarray(elevation, np.float32)

    spacing = np.float32(2 * LATTICE * PIXEL)
    east = (elevation[:, 1:-1, 2:] - elevation[:, 1:-1, :-2]) / spacing
    north = (elevation[:, :-2, 1:-1] - elevation[:, 2:, 1:-1]) / spacing
    inner = (slice(None), slice(1, -1), slice(1, -1))
    return Terrain(
        elevation=elevation[inner],
        east=east,
        north=north,
        steepness=np.sqrt(east * east + north * north),
        river=line_distance(valley),
        brook=line_distance(branch),
        hollow=(1 - np.minimum(deep * 5, side * np.float32(3.5))).clip(-1, 1)[inner],
        rough=rough[inner],
    )


def line_distance(field: Float) -> Float:
    """Signed distance in pixels from the zero line of a smooth field with a margin of one node (first order)."""
    dx = field[:, 1:-1, 2:] - field[:, 1:-1, :-2]
    dy = field[:, 2:, 1:-1] - field[:, :-2, 1:-1]
    slope = np.sqrt(dx * dx + dy * dy) / np.float32(2 * LATTICE) + np.float32(4e-4)
    return field[:, 1:-1, 1:-1] / slope


@dataclass(frozen=True)
class Sun:
    """Direction towards the sun at the satellite's morning pass, as a unit vector."""

    east: Float
    north: Float
    up: Float
    """cosine of the zenith angle, at least 0.17"""


def sun_of(lat: npt.NDArray[Any], date: npt.NDArray[np.datetime64]) -> Sun:
    """Sun at 10:30 local solar time; ``date`` broadcasts against ``lat`` (degrees)."""
    declination = np.radians(23.44) * np.cos(2 * np.pi * (year_part(date) - 0.475))
    phi, hour = np.radians(lat), np.radians(-22.5)
    up = np.sin(phi) * np.sin(declination) + np.cos(phi) * np.cos(declination) * np.cos(hour)
    north = np.cos(phi) * np.sin(declination) - np.sin(phi) * np.cos(declination) * np.cos(hour)
    east = -np.cos(declination) * np.sin(hour) + 0 * phi
    up = np.maximum(up, 0.17)
    flat = np.sqrt((1 - up * up) / (north * north + east * east))
    return Sun(*(np.asarray(axis, np.float32) for axis in (east * flat, north * flat, up)))


def year_part(date: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float64]:
    """Part 0..1 of the year."""
    days = (date.astype("datetime64[D]") - date.astype("datetime64[Y]")).astype(np.float64)
    return np.asarray(days / 365.25)


def illumination(terrain: Terrain, sun: Sun) -> Float:
    """Light on the slope over light on level ground, direct and diffuse, 0.18..1.7."""
    scale = 1 / np.sqrt(1 + terrain.steepness * terrain.steepness)
    facing = (sun.up - terrain.east * sun.east - terrain.north * sun.north) * scale / sun.up
    return np.clip(np.float32(0.16) + np.float32(0.84) * facing, 0.18, 1.7)

"""What people made of the land: parcels, settlements, roads, felled woods.

Shapes: n windows, pixels (n, H, W).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.districts import Districts, Seats, districts_of, seats_of
from geopretext.data.synthetic.farmland import TERRACES, habits_of
from geopretext.data.synthetic.grid import Noise, Windows
from geopretext.data.synthetic.noise import Float, gradient_noise, mix, step, uniform
from geopretext.data.synthetic.parcels import Parcels, parcels_of
from geopretext.data.synthetic.settlement import Built, settlements_of
from geopretext.data.synthetic.site import Site
from geopretext.data.synthetic.terrain import line_distance, year_part

_DISTRICT, _ROADS = 130, 130
"""pixels between the seats of districts, between main roads"""

_NOISE = {"border across": Noise(60, 2), "border down": Noise(60, 2), "waver": Noise(11), "rag": Noise(14, 2)}


@dataclass(frozen=True)
class People:
    """What people did at each pixel, (n, H, W)."""

    parcels: Parcels
    built: Built
    crop: npt.NDArray[np.bool_]
    """fields, where the ground can be tilled"""
    pasture: npt.NDArray[np.bool_]
    """meadows"""
    felled: npt.NDArray[np.bool_]
    """cut if there are woods"""
    felled_since: Float
    """0 just cut .. 1 overgrown"""
    road: Float
    """cover by main roads"""
    track: Float
    """cover by farm tracks, along the borders of districts"""
    stand: Float
    """0..1 how coarse the woods of the district are"""
    age: Float
    """0..1 how old they are"""


def people_of(windows: Windows, site: Site) -> People:
    """What people made of ``windows``."""
    up, terrain = windows.to_pixels, site.terrain
    slope = site.slope
    noise = {name: up(values) for name, values in windows.smooth(_NOISE).items()}
    seats = seats_of(windows, _DISTRICT)
    districts = districts_of(windows, seats, noise["border across"] * 14, noise["border down"] * 14)
    climate = site.atlas.at(seats.column, seats.row)
    habits = habits_of(seats, climate, year_part(windows.date)[:, None])
    waver = noise["waver"] * 5, noise["rag"] * 5
    parcels = parcels_of(districts, habits, waver, site.height, slope, site.soil_moisture)

    columns, rows = windows.nodes(margin=1)
    line = np.abs(up(line_distance(gradient_noise(windows.key("roads"), columns / _ROADS, rows / _ROADS))))
    built = settlements_of(windows, seats, climate, districts, line, noise["rag"] * 6)

    gentle = step(0.30, 0.16, slope)
    on_terraces = step(0.75, 0.55, slope) * step(0.02, 0.06, slope)
    arable = np.where(parcels.pattern == TERRACES, on_terraces, gentle)
    arable = arable * up(step(9.5, 11.5, site.warmest) * step(0.0, 0.02, site.macro.land)) > 0.5
    felled, since = _felled(districts, seats)
    passable = up(step(0.12, 0.3, site.macro.people) * step(0.5, 0.3, terrain.steepness))
    return People(
        parcels=parcels,
        built=built,
        crop=parcels.crop & arable,
        pasture=parcels.pasture & arable & (uniform(parcels.bits) < 0.5),
        felled=felled,
        felled_since=since,
        road=step(1.15, 0.35, line) * passable,
        track=step(0.8, 0.1, districts.border) * arable * np.float32(0.6),
        stand=districts.look_up(seats.chance("stand")),
        age=districts.look_up(seats.chance("age")),
    )


def _felled(districts: Districts, seats: Seats) -> tuple[npt.NDArray[np.bool_], Float]:
    """Rectangles of 170 m x 110 m in the frame of the district, one in four felled where there is forestry."""
    along, across = districts.turned(np.float32(np.pi) * seats.chance("clear-cut angle"))
    column, row = np.floor(along * np.float32(1 / 17)), np.floor(across * np.float32(1 / 11))
    bits = districts.look_up(seats.identity) + np.uint32(0x9E3779B1) * column.astype(np.int32).view(np.uint32)
    bits = mix(bits + np.uint32(0x85EBCA77) * row.astype(np.int32).view(np.uint32))
    return (uniform(bits) < np.float32(0.24)) & districts.look_up(seats.chance("forestry") < 0.4), uniform(bits, 1)

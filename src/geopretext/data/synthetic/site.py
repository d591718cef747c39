"""The climate on the spot, on the 30 m lattice: what of the planet's climate arrives at a height, in a hollow, today.

Shapes: (n, Y, X) on the 30 m lattice unless said otherwise.
"""

from dataclasses import dataclass

import numpy as np

from geopretext.data.synthetic.climate import LAPSE, Atlas, Climate
from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.noise import Float, step
from geopretext.data.synthetic.terrain import Sun, Terrain, illumination, sun_of, terrain_of, year_part


@dataclass(frozen=True)
class Site:
    """Ground and climate of some windows."""

    atlas: Atlas
    """the climate of the surroundings"""
    macro: Climate
    """the planet's climate at the nodes"""
    terrain: Terrain
    sun: Sun
    light: Float
    """light on the slope over light on level ground"""
    mean: Float
    """yearly mean temperature, C"""
    warmest: Float
    """mean temperature of the warmest month, C"""
    today: Float
    """mean temperature around the date, C"""
    humidity: Float
    """rain over what plants need: below 0.4 desert, above 1.5 forest"""
    moist: Float
    """0 parched .. 1 moist soil at the date"""
    growth: Float
    """0 dormant .. 1 growing at the date"""
    height: Float
    """elevation in m at each pixel, (n, H, W)"""
    slope: Float
    """steepness in m a m at each pixel, (n, H, W)"""
    soil_moisture: Float
    """``moist`` at each pixel, (n, H, W)"""


def site_of(windows: Windows) -> Site:
    """Ground and climate of ``windows``."""
    atlas = Atlas(windows)
    wide = atlas.at(*windows.nodes(margin=1))
    macro = Climate(**{name: values[:, 1:-1, 1:-1] for name, values in vars(wide).items()})
    terrain = terrain_of(windows, wide)
    part = year_part(windows.date)[:, None, None]
    sun = sun_of(macro.lat, windows.date[:, None, None])
    mean = macro.warmth - np.float32(LAPSE) * terrain.elevation
    today = macro.temperature(terrain.elevation, part)
    moist = macro.moisture(terrain.elevation, part)
    damp = np.float32(0.25) * terrain.hollow * step(0, 0.5, macro.land)
    return Site(
        atlas=atlas,
        macro=macro,
        terrain=terrain,
        sun=sun,
        light=illumination(terrain, sun),
        mean=mean,
        warmest=mean + np.abs(macro.swing),
        today=today,
        humidity=macro.humidity(mean) + damp,
        moist=moist,
        growth=step(1, 11, today) * (np.float32(0.12) + np.float32(0.88) * moist),
        height=windows.to_pixels(terrain.elevation),
        slope=windows.to_pixels(terrain.steepness),
        soil_moisture=windows.to_pixels(moist),
    )

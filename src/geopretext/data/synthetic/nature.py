"""What grows and flows by itself: water, wetlands, woods, shrub and grass, stones and snow.

Shapes: n windows, pixels (n, H, W).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import Noise, Windows
from geopretext.data.synthetic.noise import Float, gradient_noise, step, uniform
from geopretext.data.synthetic.people import People
from geopretext.data.synthetic.site import Site

_WATER_NOISE = {"river width": Noise(400), "soaked": Noise(30, 2), "murk": Noise(90, 2)}
_PLANT_NOISE = {
    "woods": Noise(55, 3, 0.55),
    "needles": Noise(90, 2),
    "maturity": Noise(70, 2),
    "coarse": Noise(230, 2),
    "herbs": Noise(20),
}
_GROUND_NOISE = {
    "red soil": Noise(300, 2),
    "pale soil": Noise(260, 2),
    "stony": Noise(12),
    "frost": Noise(25, 2),
    "ice": Noise(60, 2),
}


@dataclass(frozen=True)
class Water:
    """Water at each pixel, (n, H, W)."""

    cover: Float
    """cover by open water"""
    river: npt.NDArray[np.bool_]
    """rivers and brooks"""
    murk: Float
    """0 clear .. 1 turbid"""
    wetland: npt.NDArray[np.bool_]
    """soaked ground"""
    coastal: Float
    """0..1 within reach of the tide"""


def water_of(windows: Windows, site: Site) -> Water:
    """Sea, lakes, rivers, brooks and wetlands."""
    up, terrain, macro = windows.to_pixels, site.terrain, site.macro
    noise, height = windows.smooth(_WATER_NOISE), site.height
    width = step(0.3, 0.8, site.humidity) * (np.float32(0.7) + np.float32(3.5) * step(0.1, 0.6, noise["river width"]))
    river = step(0.6, -0.6, np.abs(up(terrain.river)) - up(width * (1 - terrain.rough * np.float32(0.5))))
    narrow = up(np.float32(0.75) * step(0.7, 1.5, site.humidity) * step(0.02, 0.10, terrain.rough + 0.03))
    brook = step(0.5, -0.5, np.abs(up(terrain.brook)) - narrow) * (narrow > 0.3)
    sea = step(0.3, -0.3, height)
    flowing = np.maximum(river, brook)
    cover = np.maximum(flowing, sea)

    coastal = step(0.5, 2.5, height) * step(14.0, 8.0, height) * up(step(0.05, 0.0, macro.land))
    soaked = macro.wetland * (np.float32(0.9) + terrain.hollow * np.float32(0.25))
    soaked = up(soaked + noise["soaked"] * np.float32(0.5) - np.float32(0.72)) + coastal * np.float32(0.8)
    murk = np.clip(step(0.2, 0.9, macro.people) * 0.5 + noise["murk"] * 0.5 + 0.25, 0, 1)
    return Water(
        cover=cover,
        river=(flowing > 0.5) & (sea < 0.5),
        murk=up(murk) * (1 - sea * step(-3, -30, height) * np.float32(0.7)),
        wetland=(soaked > 0.05) & (site.slope < 0.06) & (cover < 0.5) & (up(site.warmest) > 7),
        coastal=coastal,
    )


@dataclass(frozen=True)
class Plants:
    """What grows at each pixel, (n, H, W)."""

    tree: Float
    """cover by tree crowns"""
    height: Float
    """of trees, m"""
    coarse: Float
    """0 even stand .. 1 coarse crowns and gaps"""
    needles: Float
    """share of conifers"""
    leaves: Float
    """0 bare .. 1 full, of broad-leaved trees"""
    shrub: Float
    """cover by shrub"""
    herbs: Float
    """cover by grass and herbs where nothing else is"""
    leaf: Float
    """0 withered .. 1 green, of grass"""
    mangrove: npt.NDArray[np.bool_]
    hedge: npt.NDArray[np.bool_]
    felled: npt.NDArray[np.bool_]
    """woods that were cut"""
    speckle: Float
    """0..1 random, 10 m"""
    clumps: Float
    """0..1 random, 20 m"""


def plants_of(windows: Windows, site: Site, people: People, water: Water) -> Plants:
    """Woods where it is humid and warm enough, less where people farm; shrub at their edges, grass between."""
    up, parcels = windows.to_pixels, people.parcels
    noise = windows.smooth(_PLANT_NOISE)
    speckle = uniform(windows.bits("speckle"))
    clumps = windows.spread(uniform(windows.bits("clumps", size=2)), 2)
    suits = step(0.35, 1.7, site.humidity) * step(8.5, 12.5, site.warmest)
    wooded = suits * np.float32(1.3) - np.float32(0.35) * site.macro.people * (1 - site.terrain.rough)
    field = up(noise["woods"] * np.float32(0.9) + wooded - np.float32(0.44))
    field += (clumps - np.float32(0.5)) * np.float32(0.30) + (speckle - np.float32(0.5)) * np.float32(0.16)
    wild = step(-0.04, 0.10, field)

    used = people.crop | people.pasture
    felled = people.felled & ~used & (wild > 0.5)
    orchard = people.crop & parcels.orchard
    hedge = parcels.hedges & used & (parcels.edge < 1.1) & (speckle < 0.9) & (up(suits) > 0.25)
    mangrove = water.wetland & ~used & (water.coastal > 0.3) & (up(site.mean) > 19.5)
    tree = np.where(used | felled, np.float32(0), np.where(water.wetland, wild * np.float32(0.25), wild))
    tree = np.where(orchard, parcels.rows * np.float32(0.85), np.where(hedge, np.float32(0.85), tree))
    tree = np.where(mangrove, np.float32(0.92), tree)

    tall = up(np.float32(7) + np.float32(30) * step(0.5, 1.9, site.humidity) * step(9, 17, site.warmest))
    maturity = np.clip(up(noise["maturity"] * np.float32(0.6)) + people.age, 0.08, 1)
    height = tall * (np.float32(0.25) + np.float32(0.75) * maturity)
    height = np.where(orchard, np.float32(4), np.where(hedge, np.float32(7), height))
    needles = step(9, 1, site.mean + noise["needles"] * 5) * np.float32(0.9)
    evergreen = np.maximum(step(14, 20, site.mean) * step(0.7, 1.6, site.humidity), step(13, 17, site.mean) * 0.6)
    stony = up(step(0.35, 0.75, site.terrain.steepness))
    fertile = up(step(0.06, 0.75, site.humidity) * step(3, 8, site.warmest))
    herbs = np.float32(0.55) + up(noise["herbs"] * np.float32(0.6))
    herbs += (speckle - np.float32(0.5)) * np.float32(0.3)
    coarse = up(noise["coarse"] * np.float32(0.55) + np.float32(0.25)) + people.stand * np.float32(0.5)
    grow = up(site.growth)
    return Plants(
        tree=tree,
        height=np.where(mangrove, np.minimum(height, np.float32(14)), height),
        coarse=np.clip(coarse, 0, 1),
        needles=up(needles),
        leaves=np.maximum(up(evergreen), np.minimum(grow * np.float32(1.4), np.float32(1))),
        shrub=step(0.12, -0.05, np.abs(field + np.float32(0.10))) * step(0.15, 0.5, fertile) * (speckle > 0.45),
        herbs=np.clip(fertile * herbs, 0, 0.95) * (1 - stony * np.float32(0.6)),
        leaf=np.minimum(grow * np.float32(1.1), np.float32(1)),
        mangrove=mangrove,
        hedge=hedge,
        felled=felled,
        speckle=speckle,
        clumps=clumps,
    )


@dataclass(frozen=True)
class Ground:
    """Bare ground and snow at each pixel, (n, H, W)."""

    red: Float
    """share of red soil"""
    pale: Float
    """share of sand and pale soil"""
    stony: Float
    """cover by rock"""
    dunes: Float
    """-0.7..0.7 shape of sand ridges, 0 where there are none"""
    snow: Float
    """cover by snow in the open"""
    ice: npt.NDArray[np.bool_]
    """snow in all seasons"""


def ground_of(windows: Windows, site: Site, water: Water) -> Ground:
    """Soils by region, rock on steep slopes, dunes in deserts, snow in the cold."""
    up, terrain = windows.to_pixels, site.terrain
    noise = windows.smooth(_GROUND_NOISE)
    red = step(0.0, 0.35, noise["red soil"]) * step(12, 20, site.mean)
    pale = step(-0.1, 0.4, noise["pale soil"] + step(0.6, 0.1, site.humidity) - np.float32(0.35))
    pale = np.maximum(pale * (1 - red), pale * np.float32(0.3))
    stony = step(0.35, 0.75, terrain.steepness + noise["stony"] * np.float32(0.35)) * np.float32(0.85)
    dunes = step(0.25, 0.08, site.humidity) * step(10, 16, site.mean) * (1 - terrain.rough)
    columns, rows = windows.nodes()
    # Ridges across the wind, some 100 m apart.
    ripples = gradient_noise(windows.key("dunes"), (columns + 0.6 * rows) / 11, (rows - 0.6 * columns) / 45)
    frost = np.float32(0.5) - site.today + noise["frost"] * np.float32(4) - terrain.steepness * np.float32(4)
    lying = up(step(0, 5, frost) * step(-40, 60, site.macro.rain) * step(0.9, 0.5, terrain.steepness))
    ice = up(step(-1.5, -4, site.warmest + noise["ice"] * 2))
    frozen = up(step(-6, -14, site.today))
    return Ground(
        red=up(red),
        pale=up(pale),
        stony=up(stony),
        dunes=up(ripples * dunes),
        snow=np.maximum(lying * (1 - water.cover * (1 - frozen)), ice * (1 - water.cover)),
        ice=(ice > 0.5) & (water.cover < 0.5),
    )

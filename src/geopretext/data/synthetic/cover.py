"""The ground as instruments and mapmakers meet it: materials, brightness, structure, kind of cover.

Shapes: n windows, pixels (n, H, W).
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import Noise, Windows
from geopretext.data.synthetic.noise import Float, uniform
from geopretext.data.synthetic.people import People
from geopretext.data.synthetic.site import Site
from geopretext.data.synthetic.surface import Surface, materials_of, surface_of

WATER, TREES, SHRUB, GRASS, CROPS, BUILT, BARE, SNOW, WETLAND, MANGROVE, MOSS = np.arange(11, dtype=np.uint8)
"""kinds of cover, of ``Cover.kind``"""

_TONE = {"tone": Noise(35, 2)}
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Cover:
    """The ground at each pixel, (n, H, W)."""

    materials: dict[str, Float]
    """share of each of ``surface.MATERIALS``, 0..1, together 1"""
    brightness: Float
    """factor on reflectance: crowns, furrows, soil moisture"""
    kind: npt.NDArray[np.uint8]
    """the leading kind of cover, without seasonal snow"""
    tree: Float
    """cover by tree crowns"""
    tree_height: Float
    """m, where there are trees"""
    coarse: Float
    """0 even stand .. 1 coarse crowns and gaps"""
    leaf: Float
    """cover by green leaves of grass and crops"""
    water: Float
    """cover by open water, that of paddies included"""
    roof: Float
    """cover by roofs"""
    wetness: Float
    """0..1 of the soil"""
    tilth: Float
    """-1..1 roughness of bare soil"""
    snow: Float
    """cover by snow in the open"""
    biomass: Float
    """t/ha above ground, woody"""
    people: People
    structures: dict[str, npt.NDArray[np.bool_]]
    """where landscape elements are, by name"""


def cover_of(windows: Windows, site: Site) -> Cover:
    """The ground of ``windows``."""
    surface = surface_of(windows, site)
    people, plants, water, crop, tree = surface.people, surface.plants, surface.water, surface.crop, surface.tree
    wetness = site.soil_moisture + np.float32(0.45) * (crop & people.parcels.irrigated)
    wetness = np.minimum(wetness, np.float32(1))
    return Cover(
        materials=materials_of(surface),
        brightness=_brightness(windows, surface, wetness),
        kind=_kind(windows, site, surface),
        tree=tree,
        tree_height=plants.height,
        coarse=plants.coarse,
        leaf=np.where(crop, surface.green, plants.herbs * plants.leaf),
        water=np.maximum(water.cover, surface.flooded),
        roof=surface.roof,
        wetness=wetness,
        tilth=np.where(crop, uniform(people.parcels.bits) * 2 - 1, surface.ground.stony),
        snow=surface.ground.snow,
        biomass=_biomass(surface),
        people=people,
        structures={
            "river": water.river,
            "road": surface.road > 0.5,
            "hedgerow": plants.hedge & (tree > 0.4),
            "orchard rows": people.parcels.orchard & crop,
            "clear-cut": plants.felled & (water.cover < 0.5),
            "wetland": water.wetland,
        },
    )


def _brightness(windows: Windows, surface: Surface, wetness: Float) -> Float:
    """Light and shade of crowns, furrows, dunes; wet soil is dark."""
    plants, tree, land = surface.plants, surface.tree, 1 - surface.water.cover
    crowns = np.where(plants.coarse > _HALF, plants.clumps, plants.speckle) - _HALF
    tall = plants.height * np.float32(1 / 40)
    bright = crowns * tree * (np.float32(0.12) + np.float32(0.75) * plants.coarse) * (np.float32(0.6) + tall)
    bright -= tree * tall * np.float32(0.22)
    bright += (plants.speckle - _HALF) * np.float32(0.08)
    bright += (uniform(surface.people.parcels.bits, 1) - _HALF) * surface.crop * np.float32(0.3)
    tone = windows.to_pixels(windows.smooth(_TONE)["tone"] * np.float32(0.22))
    bright += (tone + surface.ground.dunes * np.float32(0.45)) * land
    bright += np.float32(1)
    bright *= 1 - np.float32(0.28) * wetness * (1 - tree) * land
    return np.asarray(np.clip(bright, 0.3, 1.9))


def _biomass(surface: Surface) -> Float:
    """Grows faster than height (a common allometry has the power 1.5), and with gnarled old crowns."""
    height, coarse = surface.plants.height, surface.plants.coarse
    per_crown = height * np.sqrt(height) * np.float32(1.25)
    return np.asarray(surface.tree * per_crown * (np.float32(0.55) + np.float32(0.9) * coarse))


def _kind(windows: Windows, site: Site, surface: Surface) -> npt.NDArray[np.uint8]:
    """The leading kind of cover; later lines win."""
    plants, crop = surface.plants, surface.crop
    cold = windows.to_pixels(site.warmest) < 9.5
    kind = np.where(plants.herbs < 0.22, BARE, np.where(plants.shrub > 0.5, SHRUB, np.where(cold, MOSS, GRASS)))
    kind[surface.water.wetland] = WETLAND
    kind[surface.pasture] = GRASS
    kind[crop] = CROPS
    kind[(surface.tree > 0.4) & ~(surface.people.parcels.orchard & crop)] = TREES
    kind[plants.mangrove] = MANGROVE
    kind[(surface.sealed > 0.6) | (surface.roof > 0.3)] = BUILT
    kind[surface.ground.ice] = SNOW
    kind[surface.water.cover > 0.5] = WATER
    return kind

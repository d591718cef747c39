"""What is on the surface after all have had their say, and of which materials it consists.

Layers lie over one another: snow, water, houses, streets, trees, crops, grass, stones, soil. Each covers a share of
what shows below the ones above it, so that edges are mixed pixels.

Shapes: n windows, pixels (n, H, W).
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.farmland import RICE
from geopretext.data.synthetic.grid import Windows
from geopretext.data.synthetic.nature import Ground, Plants, Water, ground_of, plants_of, water_of
from geopretext.data.synthetic.noise import Float, uniform
from geopretext.data.synthetic.people import People, people_of
from geopretext.data.synthetic.site import Site

MATERIALS = (
    "broadleaf",
    "conifer",
    "grass",
    "straw",
    "brown_soil",
    "red_soil",
    "sand",
    "rock",
    "clear_water",
    "turbid_water",
    "snow",
    "concrete",
    "tiles",
    "asphalt",
)
"""surface materials that have a reflectance spectrum"""

_ONE = np.float32(1)
_HALF = np.float32(0.5)


@dataclass(frozen=True)
class Surface:
    """Nature and people brought together, (n, H, W): houses not in the water, no trees on roads."""

    water: Water
    people: People
    plants: Plants
    ground: Ground
    crop: npt.NDArray[np.bool_]
    """fields under crops"""
    pasture: npt.NDArray[np.bool_]
    """meadows"""
    green: Float
    """cover of fields by green leaves"""
    flooded: Float
    """cover of fields by water"""
    roof: Float
    """cover by roofs"""
    street: Float
    """cover by streets"""
    road: Float
    """cover by main roads"""
    sealed: Float
    """the largest of the three"""
    tree: Float
    """cover by tree crowns"""


def surface_of(windows: Windows, site: Site) -> Surface:
    """The surface of ``windows``."""
    water = water_of(windows, site)
    people = people_of(windows, site)
    plants = plants_of(windows, site, people, water)
    dry_land = water.cover < 0.5
    buildable = dry_land & (site.slope < 0.4)
    roof, street, road = people.built.roof * buildable, people.built.street * buildable, people.road * dry_land
    sealed = np.maximum(np.maximum(roof, street), road)
    open_land = (sealed < 0.5) & dry_land
    crop, pasture = people.crop & open_land, people.pasture & open_land
    green = np.minimum(people.parcels.green, np.float32(0.97)) * crop
    return Surface(
        water=water,
        people=people,
        plants=plants,
        ground=ground_of(windows, site, water),
        crop=crop,
        pasture=pasture,
        green=green,
        flooded=people.parcels.flooded * (people.parcels.calendar == RICE) * crop * (1 - green),
        roof=roof,
        street=street,
        road=road,
        sealed=sealed,
        tree=plants.tree * (1 - sealed) * (1 - water.cover),
    )


def materials_of(surface: Surface) -> dict[str, Float]:
    """Share of each of ``MATERIALS`` at each pixel, together 1."""
    layers = _Layers(surface.tree.shape)
    tree, roof, water, snow = surface.tree, surface.roof, surface.water, surface.ground.snow
    layers.lay(snow * (1 - np.float32(0.75) * tree) * (1 - np.float32(0.4) * roof), snow=_ONE)
    layers.lay(water.cover, turbid_water=water.murk, clear_water=1 - water.murk)
    _lay_built(layers, surface)
    _lay_trees(layers, surface)
    _lay_farmland(layers, surface)
    _lay_wild(layers, surface)
    return layers.shares


class _Layers:
    """Materials under construction, from the top down: a layer shows where those above it do not hide it."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.shares = {name: np.zeros(shape, np.float32) for name in MATERIALS}
        self._open = np.ones(shape, np.float32)

    def lay(self, cover: Any, **materials: Any) -> None:
        """Add a layer that covers the share ``cover``; its materials add up to one."""
        visible = self._open * cover
        for name, share in materials.items():
            self.shares[name] += visible * share
        self._open -= visible


def _lay_built(layers: _Layers, surface: Surface) -> None:
    tint = uniform(surface.people.built.tint)
    tiled, dark = (tint < 0.45).astype(np.float32), (tint > 0.75).astype(np.float32)
    layers.lay(surface.roof, tiles=tiled, asphalt=dark, concrete=1 - tiled - dark)
    layers.lay(surface.street, asphalt=np.float32(0.9), concrete=np.float32(0.1))
    layers.lay(surface.road, asphalt=np.float32(0.85), sand=np.float32(0.15))


def _lay_trees(layers: _Layers, surface: Surface) -> None:
    plants = surface.plants
    bare = (1 - plants.needles) * (1 - plants.leaves)
    layers.lay(
        surface.tree * (np.float32(0.97) - np.float32(0.12) * plants.coarse),
        conifer=plants.needles + bare * np.float32(0.35),
        broadleaf=(1 - plants.needles) * plants.leaves,
        brown_soil=bare * np.float32(0.65),
    )


def _lay_farmland(layers: _Layers, surface: Surface) -> None:
    """Tracks, margins, paddies, crops and meadows."""
    parcels, leaf, ground = surface.people.parcels, surface.plants.leaf, surface.ground
    used = surface.crop | surface.pasture
    layers.lay(used * surface.people.track, sand=_HALF, brown_soil=_HALF)
    margin = np.clip(np.float32(1.2) - parcels.edge, 0, 1) * used * np.float32(0.45)
    layers.lay(margin, straw=_HALF, grass=_HALF * leaf, brown_soil=_HALF * (1 - leaf))
    layers.lay(surface.flooded * np.float32(0.85), turbid_water=_ONE)
    green = surface.green
    dry = np.minimum(parcels.dry * (1 - green), np.float32(0.9))
    layers.lay(surface.crop, grass=green, straw=dry, **_soils(ground, 1 - green - dry))
    # A third of the meadows has just been mown.
    lush = leaf * np.where(uniform(parcels.bits, 1) < 0.35, np.float32(0.45), _ONE)
    layers.lay(surface.pasture * np.float32(0.92), grass=lush, straw=1 - lush)


def _lay_wild(layers: _Layers, surface: Surface) -> None:
    """Clear-cuts, wetlands, shrub, grass, stones and soil."""
    plants, leaf = surface.plants, surface.plants.leaf
    regrown = surface.people.felled_since * leaf * np.float32(0.7)
    layers.lay(
        plants.felled * np.float32(0.95),
        grass=regrown,
        straw=np.float32(0.2),
        brown_soil=np.float32(0.8) - regrown,
    )
    reeds = np.float32(0.65)
    layers.lay(
        surface.water.wetland * np.float32(0.9),
        grass=leaf * reeds,
        straw=(1 - leaf) * reeds,
        turbid_water=1 - reeds,
    )
    layers.lay(
        plants.shrub * np.float32(0.6),
        broadleaf=np.float32(0.35) + np.float32(0.3) * leaf,
        straw=np.float32(0.25),
        brown_soil=np.float32(0.4) - np.float32(0.3) * leaf,
    )
    layers.lay(plants.herbs, grass=leaf, straw=1 - leaf)
    layers.lay(surface.ground.stony, rock=_ONE)
    layers.lay(_ONE, **_soils(surface.ground, _ONE))


def _soils(ground: Ground, share: Any) -> dict[str, Float]:
    """The soils of a region, together ``share``."""
    dark = (1 - ground.pale) * share
    return {"sand": ground.pale * share, "red_soil": ground.red * dark, "brown_soil": (1 - ground.red) * dark}

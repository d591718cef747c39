"""Which share of the places falls where: MMEarth's three rules, and evenly over an area."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import shapely

from geopretext.build.ecoregions import Ecoregions
from geopretext.build.equal_area import areas, to_plane
from geopretext.build.polygon_file import polygon_parts
from geopretext.build.region import WITHIN_UTM
from geopretext.errors import InputError

Array = npt.NDArray[Any]
Strategy = Literal["biome-area", "biome-even", "ecoregion-even", "uniform"]
"""``biome-area``: as many places in each biome, within it by the area of its ecoregions; ``biome-even``: as many in
each biome, within it as many in each ecoregion; ``ecoregion-even``: as many in each ecoregion (these three are
MMEarth's); ``uniform``: by area alone."""

STRATEGIES: tuple[Strategy, ...] = ("biome-area", "biome-even", "ecoregion-even", "uniform")


@dataclass(frozen=True, eq=False)
class Strata:
    """What places are drawn from: each stratum has its share of the places and is drawn evenly by area.

    A stratum consists of single polygons, its parts; all parts are in one list, stratum by stratum.
    """

    name: Array
    """(s,) of each stratum"""
    share: npt.NDArray[np.float64]
    """(s,) of the places, summing to 1"""
    group: npt.NDArray[np.int64]
    """(s,) strata of one number stand in for each other where one is full: those of a biome"""
    part: Array
    """(p,) shapely polygons in degrees, prepared"""
    part_stratum: npt.NDArray[np.int64]
    """(p,) ascending"""
    part_row: npt.NDArray[np.int32]
    """(p,) row of the ecoregion that it belongs to, -1 if none"""
    part_box: npt.NDArray[np.float64]
    """(p, 4) left, bottom, right, top in the equal-area plane, m"""


def ecoregion_strata(ecoregions: Ecoregions, strategy: Strategy, region: Any = None) -> Strata:
    """The ecoregions as far as they lie in ``region`` (a geometry in degrees; all by default) and in the UTM zones.

    What belongs to no biome ("Rock and Ice") has no share in MMEarth's rules; ``uniform`` covers it as well. A biome or
    ecoregion that has no area here has no share either.

    Raises:
        InputError: nothing is left.
    """
    allowed = WITHIN_UTM if region is None else region
    take = np.arange(len(ecoregions)) if strategy == "uniform" else np.flatnonzero(ecoregions.classified)
    geometry = ecoregions.geometry[take]
    shapely.prepare(allowed)
    cut = ~shapely.covers(allowed, geometry)  # to cut what lies inside would cost seconds
    geometry[cut] = shapely.intersection(geometry[cut], allowed)
    parts, index = polygon_parts(geometry)
    if not len(parts):
        raise InputError(
            "has no ecoregion of a known biome within the region",
            where=ecoregions.path,
            hint="a larger region, or --strategy uniform, which needs none",
        )
    rows = take[index].astype(np.int32)
    if strategy == "uniform":
        return _one_stratum("land", parts, rows)
    present, stratum = np.unique(rows, return_inverse=True)
    area = np.bincount(stratum, areas(parts))
    _, biome = np.unique(ecoregions.stratum[present], return_inverse=True)
    group = np.zeros_like(biome) if strategy == "ecoregion-even" else biome
    return _strata(ecoregions.name[present], _shares(strategy, biome, area), group, parts, stratum, rows)


def region_strata(region: Any) -> Strata:
    """Evenly over a region, land and sea."""
    parts, _ = polygon_parts(np.array([region]))
    return _one_stratum("the region", parts, np.full(len(parts), -1, np.int32))


def _shares(strategy: Strategy, biome: Array, area: Array) -> npt.NDArray[np.float64]:
    """Share of each ecoregion, from the number of its biome (0 to b-1) and its area."""
    if strategy == "ecoregion-even":
        return np.full(len(area), 1 / len(area))
    weight = area if strategy == "biome-area" else np.ones(len(area))
    return np.asarray(weight / np.bincount(biome, weight)[biome] / (biome.max() + 1))


def _one_stratum(name: str, parts: Array, rows: Array) -> Strata:
    return _strata(np.array([name]), np.ones(1), np.zeros(1, np.int64), parts, np.zeros(len(parts), np.int64), rows)


def _strata(name: Array, share: Array, group: Array, parts: Array, stratum: Array, rows: Array) -> Strata:
    order = np.argsort(stratum, kind="stable")
    parts = parts[order]
    west, south, east, north = shapely.bounds(parts).T
    shapely.prepare(parts)
    return Strata(
        name=name,
        share=share,
        group=group,
        part=parts,
        part_stratum=stratum[order],
        part_row=rows[order],
        part_box=np.stack([*to_plane(west, south), *to_plane(east, north)], axis=1),
    )

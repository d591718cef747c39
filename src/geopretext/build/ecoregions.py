"""Ecoregions: polygons that say of each place on land its biome and its ecoregion, with MMEarth's class numbers.

Made for RESOLVE Ecoregions 2017 (Dinerstein et al., BioScience 2017, doi 10.1093/biosci/bix014; CC-BY 4.0), and usable
with any polygons that have a name. Biomes are known by their names: RESOLVE's own numbers count from 1 in another
order, and give the unclassified "Rock and Ice" the number of the tundra.
"""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geopretext.build.polygon_file import polygon_parts, read_polygons
from geopretext.errors import InputError
from geopretext.modality import BIOMES, ECOREGIONS

Array = npt.NDArray[Any]

WHERE_TO_GET = (
    "RESOLVE Ecoregions 2017 (CC-BY 4.0, https://ecoregions.appspot.com) is free: download and unpack "
    "https://storage.googleapis.com/teow2016/Ecoregions2017.zip (150 MB), and give --ecoregions Ecoregions2017.shp; "
    "or any other polygons with --name-field and --stratum-field"
)
"""What to tell a user who has no polygons."""

_UNCLASSIFIED = ("", "N/A", "None", "nan")
_KM_A_DEGREE = 111.195


@dataclass(frozen=True, eq=False)
class Ecoregions:
    """``n`` ecoregions, each with one name in one biome, sorted by biome and name."""

    path: str
    """the file that they come from"""
    geometry: Array
    """(n,) shapely polygons and multipolygons in degrees"""
    name: Array
    """(n,) of the ecoregion"""
    stratum: Array
    """(n,) name of the biome, or of whatever groups the polygons; empty if it is not classified"""
    biome: npt.NDArray[np.int16]
    """(n,) MMEarth's class number, -1 if the biome is none of its 14"""
    ecoregion: npt.NDArray[np.int16]
    """(n,) MMEarth's class number, -1 if the ecoregion is none of its 846"""

    def __len__(self) -> int:
        return len(self.name)

    @property
    def classified(self) -> npt.NDArray[np.bool_]:
        """(n,) whether it belongs to a biome; RESOLVE's "Rock and Ice" does not."""
        return np.array([stratum != "" for stratum in self.stratum], bool)

    @property
    def unknown(self) -> list[str]:
        """Names of classified polygons that MMEarth has no number for."""
        lacks = self.classified & ((self.biome < 0) | (self.ecoregion < 0))
        return [str(name) for name in self.name[lacks]]

    def locate(self, *, lat: Array, lon: Array, reach_km: float) -> npt.NDArray[np.int32]:
        """The ecoregion at each position: its row, or -1.

        Published coastlines are simplified, so that some places on land lie outside every polygon: they belong to the
        nearest polygon that is at most ``reach_km`` away (but not across the antimeridian).

        Args:
            lat: (m,) degrees north.
            lon: (m,) degrees east.
            reach_km: kilometres; 0 takes only what lies within a polygon.
        """
        parts, rows, tree = self._parts
        position, part = tree.query(shapely.points(lon, lat))
        inside = shapely.contains_xy(parts[part], lon[position], lat[position])
        found = np.full(len(lon), len(self), np.int32)
        np.minimum.at(found, position[inside], rows[part[inside]])  # the first of polygons that overlap
        found[found == len(self)] = -1
        if reach_km > 0:
            outside = np.flatnonzero(found < 0)
            found[outside] = self._nearest(lat[outside], lon[outside], reach_km)
        return found

    @cached_property
    def _parts(self) -> tuple[Array, npt.NDArray[np.int32], shapely.STRtree]:
        parts, rows = polygon_parts(self.geometry)
        shapely.prepare(parts)
        return parts, rows.astype(np.int32), shapely.STRtree(parts)

    def _nearest(self, lat: Array, lon: Array, reach_km: float) -> npt.NDArray[np.int32]:
        """Row of the nearest polygon, by rows of one degree: within one, a degree of longitude hardly changes."""
        parts, rows, tree = self._parts
        found = np.full(len(lat), -1, np.int32)
        belt = np.floor(lat)
        reach = reach_km / _KM_A_DEGREE
        for south in np.unique(belt):
            at = np.flatnonzero(belt == south)
            squeeze = np.array([np.cos(np.radians(south + 0.5)), 1.0])
            west, east = lon[at].min() - reach / squeeze[0], lon[at].max() + reach / squeeze[0]
            window = (west, south - reach, east, south + 1 + reach)
            near = tree.query(shapely.box(*window))
            pieces = shapely.clip_by_rect(parts[near], *window)
            pieces = shapely.transform(pieces, lambda points, squeeze=squeeze: points * squeeze)
            point, piece = shapely.STRtree(pieces).query_nearest(
                shapely.points(lon[at] * squeeze[0], lat[at]), max_distance=reach, all_matches=False
            )
            found[at[point]] = rows[near[piece]]
        return found


def read_ecoregions(path: str | Path, *, name_field: str = "ECO_NAME", stratum_field: str = "BIOME_NAME") -> Ecoregions:
    """Read polygons with names from a file or a URL; polygons of one name in one stratum are one ecoregion.

    Args:
        path: of a shapefile (also zipped), GeoPackage, GeoJSON or GeoParquet.
        name_field: holds the ecoregion's name.
        stratum_field: holds the biome's name, or whatever groups the polygons.

    Raises:
        InputError: it cannot be read, holds no polygons, or lacks a field.
    """
    frame = read_polygons(path)
    fields = [str(name) for name in frame.columns if name != frame.geometry.name]
    for option, wanted in (("--name-field", name_field), ("--stratum-field", stratum_field)):
        if wanted not in fields:
            raise InputError(
                f"has no field {wanted!r}, it has {', '.join(fields) or 'none'}",
                where=str(path),
                hint=f"say which field it is with {option}",
            )
    labels = np.array([_texts(frame[stratum_field]), _texts(frame[name_field])])
    (stratum, name), row = np.unique(labels, axis=1, return_inverse=True)
    parts, polygon = polygon_parts(frame.geometry.to_numpy())
    order = np.argsort(row[polygon], kind="stable")
    return Ecoregions(
        path=str(path),
        geometry=shapely.multipolygons(parts[order], indices=row[polygon][order]),
        name=name,
        stratum=stratum,
        biome=_numbers(stratum, BIOMES),
        ecoregion=_numbers(name, ECOREGIONS),
    )


def _texts(column: Any) -> list[str]:
    texts = [str(value).strip() for value in column]
    return ["" if text in _UNCLASSIFIED else text for text in texts]


def _numbers(names: Array, published: tuple[str, ...]) -> npt.NDArray[np.int16]:
    number = {name: position for position, name in enumerate(published)}
    return np.array([number.get(str(name), -1) for name in names], np.int16)

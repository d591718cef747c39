"""Which rows of a table may be found, and which row a place means."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc

from geopretext.data.tiles import SPLITS
from geopretext.errors import InputError
from geopretext.modality import BIOMES
from geopretext.predict.embedding_table import EmbeddingTable

_EARTH_KM = 6371.0


@dataclass(frozen=True)
class Box:
    """Degrees; with ``west`` > ``east`` it goes across the antimeridian."""

    west: float
    south: float
    east: float
    north: float

    def __post_init__(self) -> None:
        where = f"box {self.west:g},{self.south:g},{self.east:g},{self.north:g}"
        within = [abs(self.west) <= 180, abs(self.east) <= 180, abs(self.south) <= 90, abs(self.north) <= 90]
        if not all(within):  # nor is NaN
            raise InputError(
                "longitudes are -180 to 180 and latitudes -90 to 90", where=where, hint="the order is W,S,E,N"
            )
        if self.south >= self.north or self.west == self.east:
            raise InputError("has no area", where=where, hint="the order is W,S,E,N")


@dataclass(frozen=True)
class RowFilter:
    """Conditions that all hold; by default there is none. A row of which something is not known fails it."""

    box: Box | None = None
    """in which the centre lies, its edges included"""
    first_day: np.datetime64 | None = None
    """taken on it or later"""
    last_day: np.datetime64 | None = None
    """taken on it or earlier"""
    biomes: tuple[int, ...] = ()
    """MMEarth's class numbers, one of which it has; empty: any"""
    splits: tuple[str, ...] = ()
    """of ``data.tiles.SPLITS``, one of which it is in; empty: any"""

    def mask(self, table: EmbeddingTable) -> npt.NDArray[np.bool_] | None:
        """(n,) the rows that fulfil it; None if every row does, as nothing is asked.

        Raises:
            InputError: none does, or there is no such split.
        """
        tests = []
        if self.box is not None:
            box, lon = self.box, table.lon
            across = box.west > box.east
            east_of, west_of = lon >= box.west, lon <= box.east
            tests += [east_of | west_of if across else east_of & west_of]
            tests += [(table.lat >= box.south) & (table.lat <= box.north)]
        day = table.time.astype("datetime64[D]")
        if self.first_day is not None:
            tests.append(day >= self.first_day)
        if self.last_day is not None:
            tests.append(day <= self.last_day)
        if self.biomes:
            tests.append(np.isin(table.biome, self.biomes))
        if self.splits:
            unknown = [name for name in self.splits if name not in SPLITS]
            if unknown:
                raise InputError(f"there is no split {unknown[0]!r}", hint=f"one of {', '.join(SPLITS)}")
            tests.append(np.isin(table.split, [SPLITS.index(name) for name in self.splits]))
        if not tests:
            return None
        mask: npt.NDArray[np.bool_] = np.logical_and.reduce(tests)
        if not mask.any():
            raise InputError("no row fulfils all conditions", where=str(table.path), hint="ask for less at once")
        return mask


def biome_number(text: str) -> int:
    """The class number that a biome's number, name or a part of its name means.

    Raises:
        InputError: none has this name, or several have.
    """
    listed = "; ".join(f"{number} {name}" for number, name in enumerate(BIOMES))
    if _is_number(text):
        if int(text) >= len(BIOMES):
            raise InputError(f"there is no biome {text}", hint=listed)
        return int(text)
    exact = [number for number, name in enumerate(BIOMES) if text.lower() == name.lower()]
    found = exact or [number for number, name in enumerate(BIOMES) if text.lower() in name.lower()]
    if len(found) != 1:
        what = f"several biomes are called {text!r}" if found else f"no biome is called {text!r}"
        raise InputError(what, hint="; ".join(f"{n} {BIOMES[n]}" for n in found) if found else listed)
    return found[0]


def nearest_row(table: EmbeddingTable, *, lat: float, lon: float) -> tuple[int, float]:
    """The row whose centre is nearest to a place, and how far it is, kilometres on the sphere.

    Raises:
        InputError: there is no such place on the Earth, or no row has a position.
    """
    if not (abs(lat) <= 90 and abs(lon) <= 360):
        raise InputError(f"there is no place {lon:g},{lat:g}", hint="the order is LON,LAT, in degrees")
    here, there = np.radians([lat, lon]), np.radians([table.lat, table.lon])
    half = np.sin((there - here[:, None]) / 2) ** 2
    part = half[0] + np.cos(here[0]) * np.cos(there[0]) * half[1]  # haversine: sound for places that are close
    if np.isnan(part).all():
        raise InputError("no row has a position", where=str(table.path), hint="ask by tile instead")
    row = int(np.nanargmin(part))
    return row, float(2 * _EARTH_KM * np.arcsin(np.sqrt(min(1.0, part[row]))))


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal()


def named_row(table: EmbeddingTable, name: str) -> int:
    """The row of a tile's number, or of its name.

    Raises:
        InputError: no row has it, or several have.
    """
    rows = np.flatnonzero(table.tile == int(name)) if _is_number(name) else np.empty(0, np.int64)
    if not len(rows):
        rows = np.flatnonzero(pc.equal(table.tile_id, name).to_numpy(zero_copy_only=False))
    if len(rows) != 1:
        what = f"there is no tile {name!r}" if not len(rows) else f"{len(rows)} rows are called {name!r}"
        raise InputError(what, where=str(table.path), hint="a tile's number, its tile_id, or a place LON,LAT")
    return int(rows[0])

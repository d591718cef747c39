"""What a source of a modality is: it finds candidates for places, and reads them onto the grids of tiles.

A source serves one modality of one recipe. It is asked for many places at once, so that it can search a region by one
request and read every file once. Whatever it hands over is in the modality's bands and units, with what is missing
said by a mask.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.errors import SourceError
from geopretext.modality import Modality

Resampling = Literal["nearest", "bilinear", "cubic", "average", "mode"]
"""How numbers come onto another grid; categories are never blended (nearest or mode)."""


@dataclass(frozen=True)
class Asset:
    """One band of one raster file: ``value = number * scale + offset``, in the band's unit."""

    href: str
    """path or URL (http, https, s3, gs, az), signed if need be"""
    band: int = 1
    """of the file, from 1"""
    scale: float = 1.0
    offset: float = 0.0
    nodata: tuple[float, ...] = ()
    """numbers that mean "not observed", besides the file's own tag and anything not finite"""


@dataclass(frozen=True)
class Query:
    """What is looked for at one place."""

    place: str
    """id of the place"""
    lat: float
    """degrees north"""
    lon: float
    """degrees east"""
    box: tuple[float, float, float, float]
    """west, south, east, north of the tile, degrees; west > east across the antimeridian"""
    start: np.datetime64 | None = None
    """earliest time (UTC, inclusive); None if time does not matter"""
    stop: np.datetime64 | None = None
    """end of the time (UTC, exclusive)"""
    item: str = ""
    """if given, only this item will do"""


@dataclass(frozen=True)
class Candidate:
    """Something that a source can read at a place. Plain and picklable: it travels between processes."""

    item: str
    """id, as the archive has it: the store records it"""
    time: np.datetime64 | None = None
    """when it was observed (``datetime64[s]``, UTC); None if it has no date"""
    crs: int | None = None
    """EPSG code of its native grid, if it is known and one"""
    footprint: Any = None
    """what it covers, in degrees (shapely geometry); None: everything that was asked for"""
    assets: Mapping[str, tuple[Asset, ...]] = field(default_factory=dict)
    """files by band of the modality, the first one on top, for sources that read rasters; bands may lack"""
    group: str = ""
    """observations that complete each other differ in it (``asc`` and ``desc``): one of each group is paired"""
    cloud: float | None = None
    """of the whole scene, percent"""
    level: str = ""
    """processing level, one of ``Modality.levels``"""
    orbit: str = ""
    """images of one orbit see the ground from the same side (``ascending 88``); empty if it is not known"""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """plain facts that the store records: platform, orbit, corrections such as an undone offset"""


@dataclass(frozen=True)
class Request:
    """One candidate, wanted on one grid."""

    candidate: Candidate
    grid: Grid
    lat: float
    """of the place, degrees north"""
    lon: float
    """degrees east"""


@dataclass(frozen=True)
class Observation:
    """What was read, in the bands and units of the modality.

    ``values`` and ``valid`` are (C, H, W) for maps and (C,) for vectors; categorical values are stored codes. Bands
    that the candidate lacks are not valid.
    """

    values: npt.NDArray[Any]
    valid: npt.NDArray[np.bool_]
    notes: Mapping[str, Any] = field(default_factory=dict)
    """more facts to record, known only after reading"""


class Source(Protocol):
    """Where one modality comes from. Must be picklable; connections are opened on first use in each process."""

    @property
    def modality(self) -> Modality:
        """What it gives."""

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """For each query its candidates, in any order (none is no error), or why the archive could not be asked.

        What a query gets must not depend on what else is asked for at the same time.
        """

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """For each request its number and what was read, or why it could not be; in any order, each exactly once."""

"""What an archive of the synthetic Earth on disk holds: granules, the days on which they were observed, places in them.

Everything follows from the settings alone, so that an archive that was interrupted is finished as it was begun.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count, islice

import numpy as np
import numpy.typing as npt
import shapely

from geopretext.build.grid import Grid, utm_zone
from geopretext.build.places import Places
from geopretext.build.synthetic_calendar import FIRST, LAST, ORBITS
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.synthetic.climate import biome_of, climate_at, ecoregion_of
from geopretext.data.synthetic.noise import key_of, lattice_hash, stir, uniform
from geopretext.data.synthetic.radar import passes
from geopretext.errors import InputError

_SNAP = 60
"""metres: granules begin at multiples of it, as those of Sentinel-2 do, so that pixels of 20 and 60 m fit"""
_NORTHERNMOST = 72.0
"""degrees: granules that are chosen by themselves lie nearer to the equator"""
_RADAR_LAG = 6
"""days, at most, between an image of Sentinel-2 and those of Sentinel-1 around it"""
_MARGIN = 3
"""pixels between tiles and the edge of a granule, since a tile's grid is rounded to pixels"""
_OVERLAP = 96
"""pixels that granules beside each other share"""


@dataclass(frozen=True)
class ArchiveSettings:
    """What ``write_archive`` is asked for.

    Raises:
        InputError: a number is out of its range; the message names it.
    """

    seed: int = 0
    """which planet"""
    granules: int = 4
    """squares that are observed, at least 1"""
    size: int = 1098
    """their sides in pixels of 10 m, a multiple of 6 from 96 to 5490; a tenth of a real one by default"""
    dates: int = 4
    """images of Sentinel-2 of each granule, of both levels; about as many of Sentinel-1 of each orbit"""
    years: tuple[int, int] = (2019, 2020)
    """first and last, over which the dates are spread evenly"""
    center: tuple[float, float] | None = None
    """latitude and longitude that the granules lie around, side by side; None: each somewhere else on land"""
    places: int = 0
    """places of ``places.parquet``, evenly over the granules"""
    tile_size: int = 64
    """pixels: the tile around each place lies within its granule"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("seed", 0, 2**31),
            ("granules", 1, 1000),
            ("size", 96, 5490),
            ("dates", 1, 1000),
            ("places", 0, 10**7),
            ("tile_size", 1, self.size),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(f"{name} is {getattr(self, name)}", hint=f"it is between {low} and {high}")
        if self.size % 6:
            raise InputError(
                f"size is {self.size}", hint="a multiple of 6 pixels of 10 m, so that pixels of 60 m fit; 1098 is usual"
            )
        first, last = self.years
        if not FIRST.astype("datetime64[Y]") < np.datetime64(str(first)) <= np.datetime64(str(last)) < LAST:
            raise InputError(f"years are {first} to {last}", hint="from 2016 to 2030, the first one first")
        if self.dates > len(self.days):
            raise InputError(f"{self.dates} dates in {len(self.days)} days", hint="ask for more years, or fewer dates")
        if self.center is not None:
            lat, lon = self.center
            if not (-79 <= lat <= 83 and -180 <= lon <= 180):
                raise InputError(f"center is {lat:g},{lon:g}", hint="LAT,LON in degrees, within the UTM zones")

    @property
    def days(self) -> npt.NDArray[np.datetime64]:
        """All days of the years."""
        first, last = self.years
        return np.arange(f"{first}-01-01", f"{last + 1}-01-01", dtype="datetime64[D]")


@dataclass(frozen=True)
class Granule:
    """A square of the planet, and when it was observed."""

    name: str
    """as ``33N02``: UTM zone, hemisphere, number"""
    grid: Grid
    """pixels of 10 m"""
    days: tuple[np.datetime64, ...]
    """of Sentinel-2, ascending"""
    radar: tuple[tuple[str, np.datetime64], ...]
    """(``asc`` or ``desc``, day) of Sentinel-1"""


def granules_of(settings: ArchiveSettings) -> tuple[Granule, ...]:
    """The granules of an archive, at places on land of as many biomes as may be, or around its center.

    Raises:
        InputError: around the center they leave the UTM zones.
    """
    grids = _around(settings) if settings.center is not None else islice(_scattered(settings), settings.granules)
    return tuple(_granule(settings, number, grid) for number, grid in enumerate(grids, start=1))


def places_in(settings: ArchiveSettings, granules: tuple[Granule, ...]) -> Places:
    """Places whose tiles lie in the granules, as many in each; biome and ecoregion are those of the planet."""
    number = np.arange(settings.places)
    of = number % len(granules)
    grids = [granule.grid for granule in granules]
    margin = min(_MARGIN, (settings.size - settings.tile_size) / 2)
    free = settings.size - settings.tile_size - 2 * margin
    across, down = (
        margin + settings.tile_size / 2 + free * _chance(settings.seed, f"place {axis}", number).astype(np.float64)
        for axis in "xy"
    )
    spots = [
        Grid(grids[i].crs, grids[i].left + 10 * float(x), grids[i].top - 10 * float(y), height=0, width=0).center
        for i, x, y in zip(of, across, down, strict=True)
    ]
    lat, lon = np.array(spots, np.float64).reshape(-1, 2).T
    climate = climate_at(settings.seed, lat, lon)
    biome = biome_of(climate, climate.base)
    return Places(
        place_id=np.array([f"synthetic-{settings.seed}-{granules[i].name}-{n:07d}" for n, i in enumerate(of)], np.str_),
        lat=lat,
        lon=lon,
        biome=biome,
        ecoregion=ecoregion_of(settings.seed, biome, lat, lon),
    )


def _around(settings: ArchiveSettings) -> Iterator[Grid]:
    """A block of granules that overlap a little, in the zone of the center."""
    assert settings.center is not None
    lat, lon = settings.center
    crs = utm_zone(lat=lat, lon=lon)
    columns = int(np.ceil(np.sqrt(settings.granules)))
    rows = -(-settings.granules // columns)
    apart = 10 * (settings.size - min(_OVERLAP, settings.size // 24 * 6))
    middle = _square(crs, lat, lon, settings.size)
    for number in range(settings.granules):
        right, down = number % columns - (columns - 1) // 2, number // columns - (rows - 1) // 2
        grid = Grid(crs, middle.left + right * apart, middle.top - down * apart, settings.size, settings.size)
        if not (-80 < grid.center[0] < 84 and 100_000 < grid.left < 900_000):
            raise InputError(
                f"{settings.granules} granules of {settings.size / 100:g} km around {lat:g},{lon:g} leave UTM zone"
                f" {crs % 100}",
                hint="fewer or smaller granules, or another center",
            )
        yield grid


def _scattered(settings: ArchiveSettings) -> Iterator[Grid]:
    """Granules at places of the planet, one after the other, each wholly in its zone and away from the others."""
    earth = SyntheticEarth(settings.seed)
    taken: list[shapely.Geometry] = []
    for number in count():
        place = earth.places(1, start=number)
        lat, lon = float(place.lat[0]), float(place.lon[0])
        if abs(lat) > _NORTHERNMOST:
            continue
        grid = _square(utm_zone(lat=lat, lon=lon), lat, lon, settings.size)
        outline = grid.outline()
        if outline.geom_type != "Polygon" or any(
            utm_zone(lat=y, lon=x) != grid.crs for x, y in shapely.get_coordinates(outline)
        ):
            continue
        if not any(outline.intersects(other) for other in taken):
            taken.append(outline)
            yield grid


def _square(crs: int, lat: float, lon: float, size: int) -> Grid:
    near = Grid.around(lat=lat, lon=lon, crs=crs, size=size)
    return Grid(crs, _SNAP * round(near.left / _SNAP), _SNAP * round(near.top / _SNAP), size, size)


def _granule(settings: ArchiveSettings, number: int, grid: Grid) -> Granule:
    name = f"{grid.crs % 100:02d}{'S' if grid.crs // 100 == 327 else 'N'}{number:02d}"
    strata = np.arange(settings.dates)
    within = _chance(settings.seed, f"day {number}", strata).astype(np.float64)
    days = settings.days[((strata + within) * len(settings.days) / settings.dates).astype(np.int64)]
    radar = []
    for k, orbit in enumerate(ORBITS):
        lag = 1 + (_chance(settings.seed, f"lag {orbit} {number}", strata) * _RADAR_LAG).astype(np.int64)
        near = days + (lag if orbit == "asc" else -lag)
        near = np.unique(near[passes(settings.seed, np.full(len(near), grid.crs), near)[k]])
        radar += [(orbit, day) for day in near]
    return Granule(name, grid, tuple(np.unique(days)), tuple(radar))


def _chance(seed: int, purpose: str, number: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    """A random number in [0, 1) for each number."""
    return uniform(lattice_hash(stir(key_of(seed), f"archive {purpose}"), number))

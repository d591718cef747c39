"""Where tiles are: places spread over the land of the planet, biomes and people represented, with dates and levels.

Shapes: m places; each is a pure function of the seed and its number.
"""

import json

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.climate import Climate, biome_of, climate_at, ecoregion_of
from geopretext.data.synthetic.grid import BLOCK, PIXEL
from geopretext.data.synthetic.noise import Float, key_of, lattice_hash, stir, uniform
from geopretext.data.synthetic.utm import geographic_to_utm, utm_to_geographic
from geopretext.data.tiles import Coordinates
from geopretext.modality import BIOMES

_TRIES = 48
"""random points on the sphere among which a place is chosen"""
_SETTLED = 0.35
"""of ``Climate.people``: places above it are preferred, as they have more to show"""
_FIRST_DAY = np.datetime64("2017-01-01T10:30:00", "s")
_DAYS = 4 * 365 + 1
_PORTION = 512
"""places chosen at once, to bound memory"""


def places_of(seed: int, tile_size: int, number: npt.NDArray[np.int64]) -> Coordinates:
    """The places with these numbers, each at the grid position next to its point that renders fastest."""
    portions = [number[i : i + _PORTION] for i in range(0, max(len(number), 1), _PORTION)]
    return Coordinates.concatenate([_places(seed, tile_size, portion) for portion in portions])


def _places(seed: int, tile_size: int, number: npt.NDArray[np.int64]) -> Coordinates:
    lat, lon = _sites(seed, number)
    epsg, easting, northing = geographic_to_utm(lat=lat, lon=lon)
    column = np.rint((easting / PIXEL - tile_size / 2) / BLOCK) * BLOCK
    row = np.rint((-northing / PIXEL - tile_size / 2) / BLOCK) * BLOCK
    half = tile_size / 2
    lat, lon = utm_to_geographic(epsg, easting=(column + half) * PIXEL, northing=-(row + half) * PIXEL)
    climate = climate_at(seed, lat, lon)
    biome = biome_of(climate, climate.base)
    zero, pixel = np.zeros(len(number)), np.full(len(number), PIXEL)
    return Coordinates(
        tile_id=np.array([f"synthetic-{seed}-{i:08d}" for i in number], np.str_),
        lat=lat,
        lon=lon,
        crs=epsg.astype(np.int32),
        transform=np.stack([pixel, zero, column * PIXEL, zero, -pixel, -row * PIXEL], axis=1),
        time=_dates(seed, number, climate),
        levels={"sentinel2": (_chance(seed, "level", number) < 0.5).astype(np.int8)},
        biome=biome,
        ecoregion=ecoregion_of(seed, biome, lat, lon),
        source_items=np.array([json.dumps({"synthetic_earth": seed, "place": int(i)}) for i in number], np.str_),
    )


def _sites(seed: int, number: npt.NDArray[np.int64]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latitude and longitude: of some random points the one on land, in the biome whose turn it is, with people."""
    bits = lattice_hash(stir(key_of(seed), "site"), number[:, None], np.arange(_TRIES)[None])
    lat = np.degrees(np.arcsin(bits.astype(np.float64) / 2.0**31 - 1.0))
    lon = 360.0 * (stir(bits, "longitude").astype(np.float64) / 2.0**32) - 180.0
    there = climate_at(seed, lat, lon)
    turn = (_chance(seed, "biome", number) * len(BIOMES)).astype(np.int16)
    land = (there.land > 0.004) & (lat < 83.0) & (lat > -79.5)
    fits = biome_of(there, there.base) == turn[:, None]
    best = (land * (1 + 4 * fits + 2 * (there.people > _SETTLED))).argmax(axis=1)
    every = np.arange(len(number))
    return lat[every, best], lon[every, best]


def _dates(seed: int, number: npt.NDArray[np.int64], climate: Climate) -> npt.NDArray[np.datetime64]:
    """Of two random days of 2017 to 2020 the first, unless it freezes and the other is warmer: snow hides much."""
    days = [np.floor(_chance(seed, f"day {k}", number) * np.float64(_DAYS)) for k in range(2)]
    here, other = (climate.temperature(climate.base, day % 365.25 / 365.25) for day in days)
    day = np.where((here < 0) & (other > here), days[1], days[0]).astype(np.int64)
    return np.asarray(_FIRST_DAY + day * np.timedelta64(86400, "s"))


def _chance(seed: int, purpose: str, number: npt.NDArray[np.int64]) -> Float:
    """A random number in [0, 1) for each place."""
    return uniform(lattice_hash(stir(key_of(seed), purpose), number))

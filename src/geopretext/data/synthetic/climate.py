"""The planet at large: continents, mountains, climate and its seasons, biomes and ecoregions, people.

Everything here is a smooth function of latitude and longitude, by noise on the unit sphere. The climate follows the
rough rules of an atlas: warm equator, wet tropics and mid-latitudes, dry subtropics and interiors, winter rain on
subtropical margins; biomes follow from temperature, rain and height in the manner of Whittaker's diagram. It is a
planet of its own: its continents are not those of the Earth.

Shapes: any, as given; temperatures in degrees Celsius, heights in metres, rain in millimetres.
"""

from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic.grid import PIXEL, Windows
from geopretext.data.synthetic.noise import Float, fractals_3d, key_of, lattice_hash, step, uniform
from geopretext.data.synthetic.utm import utm_to_geographic
from geopretext.modality import BIOMES

LAPSE = 6.5e-3
"""degrees a metre"""
KELVIN = 273.15

ECOREGION_START = (0, 51, 281, 321, 423, 471, 497, 544, 627, 673, 692, 717, 775, 831, 846)
"""MMEarth numbers ecoregions by biome: biome b has numbers START[b] .. START[b + 1] - 1"""


@dataclass(frozen=True)
class Climate:
    """What the planet is like around some points, at sea level unless said otherwise."""

    lat: npt.NDArray[np.float64]
    """degrees"""
    lon: npt.NDArray[np.float64]
    """degrees"""
    land: Float
    """height above (below) the sea of the continent as such, about -1..1"""
    base: Float
    """smooth elevation, m"""
    relief: Float
    """how mountainous, 0 plain .. 1 alpine"""
    warmth: Float
    """yearly mean temperature at sea level, C"""
    swing: Float
    """summer minus yearly mean, C; negative in the south"""
    rain: Float
    """mm a year"""
    rain_swing: Float
    """-1..1, share by which rain rises in northern summer"""
    wetland: Float
    """0..1 inclination to flooded plains"""
    people: Float
    """0..1 how settled and farmed"""

    def temperature(self, elevation: npt.NDArray[Any], year_part: npt.NDArray[Any]) -> Float:
        """Monthly mean in C at a height, at a part 0..1 of the year."""
        season = np.cos(2 * np.pi * (year_part - 0.55)).astype(np.float32)
        return np.asarray(self.warmth - np.float32(LAPSE) * elevation + self.swing * season, np.float32)

    def monthly_rain(self, year_part: npt.NDArray[Any]) -> Float:
        """Mm in the month around a part 0..1 of the year."""
        season = np.cos(2 * np.pi * (year_part - 0.58)).astype(np.float32)
        return self.rain * np.float32(1 / 12) * (1 + np.float32(0.95) * self.rain_swing * season)

    def humidity(self, mean: npt.NDArray[Any]) -> Float:
        """Rain over what plants need at a yearly mean temperature: below 0.4 desert, above 1.5 forest."""
        return np.asarray(self.rain / (120 + 30 * np.maximum(mean, 0)), np.float32)

    def moisture(self, elevation: npt.NDArray[Any], year_part: npt.NDArray[Any]) -> Float:
        """0 parched .. 1 moist soil: rain of this and the past month against what the air can take up."""
        supply = np.float32(0.5) * (self.monthly_rain(year_part) + self.monthly_rain(year_part - 1 / 12))
        demand = 25 + np.float32(5.5) * np.maximum(self.temperature(elevation, year_part), 0)
        return step(0.08, 0.85, supply / demand)


_FIELDS = {
    "land": (1.4, 6),
    "ranges": (3.0, 4),
    "old ground": (2.0, 2),
    "hills": (30.0, 2),
    "warmth": (3.0, 2),
    "swing": (4.0, 2),
    "wet": (3.2, 4),
    "wetland": (45.0, 3),
    "people": (22.0, 3),
}
"""noise on the globe: bumps a radian, octaves"""


def climate_at(seed: int, lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]) -> Climate:
    """The climate of the planet ``seed`` at some points."""
    phi, lam = np.radians(lat), np.radians(lon)
    point = (np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi))
    sine = np.abs(np.sin(phi)).astype(np.float32)
    noise = fractals_3d(seed, point, _FIELDS)

    land = noise["land"] * np.float32(1.5) - np.float32(0.02)
    ranges = step(0.2, 0.85, 1 - np.abs(noise["ranges"]) * np.float32(2.2)) * step(-0.3, 0.4, noise["old ground"])
    relief = np.clip(ranges * np.float32(1.15) + np.float32(0.25) * step(0.1, 0.6, noise["hills"]), 0, 1)
    inland = step(0.0, 0.5, land)
    base = np.where(land > 0, 30 + 450 * inland, 900 * land) + 2600 * relief * relief * step(0.0, 0.15, land)
    warmth = 29 - 49 * sine**2.8 + 3 * noise["warmth"]
    swing = np.sign(lat).astype(np.float32) * sine**1.3 * (6 + 22 * inland + 4 * noise["swing"])
    belt = 1.1 * np.exp(-((sine / 0.23) ** 2)) + 0.65 * np.exp(-(((sine - 0.76) / 0.2) ** 2)) + 0.12
    wet = noise["wet"]
    rain = 2000 * belt * (1 - 0.5 * inland) * np.exp(1.7 * wet) * (1 + 0.5 * relief)
    rain = np.clip(rain, 10, 5500)
    monsoon = 1 - 1.9 * step(0.4, 0.55, sine) * step(0.75, 0.62, sine) * step(0.45, 0.0, inland + 0.5 * wet)
    steadiness = np.clip(rain / 3500, 0, 0.9)
    rain_swing = np.clip(np.sin(2.4 * phi) * monsoon * (1 - steadiness), -1, 1)
    wetland = step(0.12, 0.5, noise["wetland"]) * (1 - step(0.0, 0.12, relief))
    people = step(-0.45, 0.45, noise["people"]) * step(-6, 6, warmth) * step(60, 500, rain + 250 * step(0, 1, wet))
    fields = (land, base, relief, warmth, swing, rain, rain_swing, wetland, people)
    return Climate(lat, lon, *(np.asarray(f, np.float32) for f in fields))


def biome_of(climate: Climate, elevation: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """MMEarth's biome number at a height."""
    mean = climate.warmth - np.float32(LAPSE) * elevation
    warmest = mean + np.abs(climate.swing)
    rain, sine = climate.rain, np.abs(np.sin(np.radians(climate.lat)))
    dry_season = np.abs(climate.rain_swing)
    winter_rain = climate.rain_swing * np.sign(climate.lat) < -0.12
    humidity = climate.humidity(mean)
    rules = {
        "Flooded Grasslands & Savannas": (climate.wetland > 0.75) & (mean > 4) & (rain > 350) & (warmest > 16),
        "Mangroves": (mean > 20.5) & (elevation < 40) & (climate.land < 0.035) & (rain > 500),
        "Tundra": (warmest < 9.5) & ((sine > 0.72) | (mean < -9)),
        "Montane Grasslands & Shrublands": (warmest < 13.5) & (elevation > 1300)
        | (elevation > 2300) & (humidity < 1.3) & (humidity > 0.25),
        "Deserts & Xeric Shrublands": humidity < 0.38,
        "Boreal Forests/Taiga": (mean < 2.0) & (sine > 0.64),
        "Tropical & Subtropical Coniferous Forests": (mean > 13)
        & (elevation > 750)
        & (sine < 0.52)
        & (humidity > 0.75),
        "Tropical & Subtropical Moist Broadleaf Forests": (mean > 18.5) & (humidity > 1.75),
        "Tropical & Subtropical Dry Broadleaf Forests": (mean > 18.5) & (humidity > 1.0) & (dry_season > 0.25),
        "Mediterranean Forests, Woodlands & Scrub": (mean > 8) & (mean < 21) & winter_rain & (humidity < 2.4),
        "Tropical & Subtropical Grasslands, Savannas & Shrublands": mean > 16.5,
        "Temperate Conifer Forests": (climate.relief > 0.28) & (humidity > 0.75) | (humidity > 2.6),
        "Temperate Grasslands, Savannas & Shrublands": humidity < 0.85,
        "Temperate Broadleaf & Mixed Forests": np.full(mean.shape, True),
    }
    codes = [np.int16(BIOMES.index(name)) for name in rules]
    return np.select(list(rules.values()), codes).astype(np.int16)


def ecoregion_of(
    seed: int, biome: npt.NDArray[np.int16], lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]
) -> npt.NDArray[np.int16]:
    """MMEarth's ecoregion number: of those of the biome, the one whose seat on the globe is nearest."""
    phi, lam = np.radians(lat), np.radians(lon)
    point = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)])
    result = np.full(biome.shape, -1, np.int16)
    for b, (start, stop) in enumerate(pairwise(ECOREGION_START)):
        here = biome == b
        if not here.any():
            continue
        number = np.arange(start, stop)
        up = 2.0 * uniform(lattice_hash(key_of(seed, 90), number)) - 1.0
        turn = 2 * np.pi * uniform(lattice_hash(key_of(seed, 91), number)).astype(np.float64)
        across = np.sqrt(1 - up * up)
        p = point[:, here][:, :, None]
        closeness = p[0] * (across * np.cos(turn)) + p[1] * (across * np.sin(turn)) + p[2] * up
        result[here] = number[closeness.argmax(axis=1)]
    return result


class Atlas:
    """The climate around some windows, from a lattice of 7.68 km, to be read anywhere within 3 km of them.

    Nothing at planetary scale changes within that distance, and noise on the globe is dear.
    """

    SPACING = 768
    REACH = 320

    def __init__(self, windows: Windows) -> None:
        size = self.SPACING
        count = (max(windows.height, windows.width) + 2 * self.REACH) // size + 3
        self._column, self._row = (windows.column - self.REACH) // size, (windows.row - self.REACH) // size
        columns = (self._column[:, None, None] + np.arange(count)) * size + np.zeros((1, count, 1), np.int64)
        rows = (self._row[:, None, None] + np.arange(count)[:, None]) * size + np.zeros((1, 1, count), np.int64)
        lat, lon = utm_to_geographic(
            windows.epsg[:, None, None], easting=np.float64(PIXEL) * columns, northing=-np.float64(PIXEL) * rows
        )
        self._climate = climate_at(windows.seed, lat, lon)

    def at(self, columns: npt.NDArray[np.int64], rows: npt.NDArray[np.int64]) -> Climate:
        """Climate at pixels (n, ...) of the windows' zones, bilinear."""
        shape = np.broadcast_shapes(columns.shape, rows.shape)
        lead = (slice(None), *(None,) * (len(shape) - 1))
        x, y = columns / self.SPACING - self._column[lead], rows / self.SPACING - self._row[lead]
        i, j = np.floor(y).astype(np.intp), np.floor(x).astype(np.intp)
        v, u = (y - i).astype(np.float32), (x - j).astype(np.float32)
        n, high, wide = self._climate.land.shape
        corner = (np.arange(n) * high * wide)[lead] + i * wide + j

        def read(field: npt.NDArray[Any]) -> npt.NDArray[Any]:
            flat = field.reshape(-1)
            top, bottom = flat[corner], flat[corner + wide]
            top = top + u * (flat[corner + 1] - top)
            bottom = bottom + u * (flat[corner + wide + 1] - bottom)
            return np.asarray(top + v * (bottom - top))

        return Climate(**{f.name: read(getattr(self._climate, f.name)) for f in fields(Climate)})


def era5(climate: Climate, month: npt.NDArray[np.int64]) -> Float:
    """The twelve numbers of the ``era5`` modality, (n, 12), for points (n,) at their smooth height and months 1..12."""
    daily = 4 + 6 * step(2500, 200, climate.rain)

    def period(number: npt.NDArray[np.int64]) -> list[Float]:
        part = ((number - 1) % 12 + 0.5) / 12
        mean = climate.temperature(climate.base, part) + np.float32(KELVIN)
        return [mean, mean - daily, mean + daily, climate.monthly_rain(part) * np.float32(1e-3)]

    year = climate.warmth - np.float32(LAPSE) * climate.base + np.float32(KELVIN)
    reach = np.abs(climate.swing) + daily
    yearly: list[Float] = [year, year - reach, year + reach, climate.rain * np.float32(1e-3)]
    bands: list[Float] = [*period(month - 1), *period(month), *yearly]
    return np.stack(bands, axis=1).astype(np.float32)

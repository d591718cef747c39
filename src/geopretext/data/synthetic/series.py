"""Series of images over a year: when the satellites pass over a tile of the planet, and what they see.

The year lies around the tile's reference date, whose own image is one of the series. Sentinel-2 passes every fifth day,
Sentinel-1 every sixth on the one orbit that sees the tile, counted from that date. Of Sentinel-2 only days are there on
which the tile was seen: not those that were overcast, in the dark, or with a cloud right above the tile. What grows,
and when, is that of the planet (``site``, ``farmland``, ``nature``): a date shows what a tile of that date would.

Shapes: n tiles, T dates; images (m, C, H, W).
"""

import numpy as np
import numpy.typing as npt

from geopretext.data.date_spread import spread_days
from geopretext.data.synthetic import optics, radar
from geopretext.data.synthetic.cover import cover_of
from geopretext.data.synthetic.grid import PIXEL, Windows
from geopretext.data.synthetic.noise import key_of, lattice_hash, stir, uniform
from geopretext.data.synthetic.site import site_of
from geopretext.data.synthetic.sky import CLOUDED, cloud_at, sky_of
from geopretext.data.synthetic.weather import SCENE, hidden_days
from geopretext.data.tiles import Array, Coordinates
from geopretext.modality import PUBLISHED

OPTICAL, RADAR = "sentinel2_series", "sentinel1_series"
OPTICAL_DAYS, RADAR_DAYS = 5, 6
"""from one pass to the next"""
_REACH = 182
"""days before and after the reference date"""
_CLEAR = 0.8
"""share of a tile that no cloud may be above"""
_ORBITS = ("asc", "desc")
_BETWEEN = 24
"""pixels between the points at which clouds are counted; a multiple of the lattices' spacings"""


def series_days(
    name: str, seed: int, coordinates: Coordinates, tile_size: int, count: int
) -> npt.NDArray[np.datetime64]:
    """Dates of the images of each tile, (n, ``count``) ``datetime64[D]``, ascending, then NaT.

    If there are more, those are taken that lie evenly (``spread_days``), the reference date among them if it is there.
    """
    reference = coordinates.time.astype("datetime64[D]")
    every = OPTICAL_DAYS if name == OPTICAL else RADAR_DAYS
    steps = np.arange(-(_REACH // every), _REACH // every + 1) * every
    dates = reference[:, None] + steps.astype("timedelta64[D]")
    seen = _seen(seed, coordinates, dates, tile_size) if name == OPTICAL else _passed(seed, coordinates, dates)
    days = np.full((len(coordinates), count), "NaT", "datetime64[D]")
    for number, (row, there) in enumerate(zip(dates, seen, strict=True)):
        found = row[there]
        kept = found[spread_days(found, count, first=reference[number])]
        days[number, : len(kept)] = kept
    return days


def series_images(name: str, windows: Windows, coordinates: Coordinates) -> Array:
    """Stored numbers of the images of some windows, each of one date, at the tiles of ``coordinates``."""
    site = site_of(windows)
    cover = cover_of(windows, site)
    if name == OPTICAL:
        images: Array = optics.sentinel2(windows, site, cover, sky_of(windows))
        return images[:, list(PUBLISHED["sentinel2"].band_indices(PUBLISHED[OPTICAL].band_names))]
    both = radar.sentinel1(windows, site.terrain, cover)
    orbit = series_orbits(windows.seed, coordinates)
    return np.stack([one[orbit_bands(_ORBITS[k])] for one, k in zip(both, orbit, strict=True)])


def orbit_bands(orbit: str) -> list[int]:
    """Positions in ``sentinel1`` of the bands of ``sentinel1_series``, if they are of this orbit."""
    names = [f"{orbit}_{band}" for band in PUBLISHED[RADAR].band_names]
    return list(PUBLISHED["sentinel1"].band_indices(names))


def series_orbits(seed: int, coordinates: Coordinates) -> npt.NDArray[np.int64]:
    """(n,) 0 where ascending passes of Sentinel-1 see a tile, 1 where descending ones do: the same all over a scene."""
    epsg, column, row = _scenes(coordinates)
    return np.asarray(uniform(lattice_hash(stir(key_of(seed, epsg), "series orbit"), column, row)) < 0.5, np.int64)


def _scenes(coordinates: Coordinates) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Zone, column and row of the scene that holds the upper left corner of each tile."""
    column = np.rint(coordinates.transform[:, 2] / PIXEL).astype(np.int64)
    row = np.rint(-coordinates.transform[:, 5] / PIXEL).astype(np.int64)
    return coordinates.crs.astype(np.int64), column // SCENE, row // SCENE


def _seen(
    seed: int, coordinates: Coordinates, dates: npt.NDArray[np.datetime64], tile_size: int
) -> npt.NDArray[np.bool_]:
    """(n, D) where Sentinel-2 had the tile in view; the reference image was chosen for that it had."""
    epsg, column, row = _scenes(coordinates)
    seen = ~hidden_days(seed, epsg=epsg, column=column, row=row, dates=dates)
    for number in range(len(coordinates)):
        left, top = coordinates.transform[number, [2, 5]] / PIXEL * (1, -1)
        across, down = (np.arange(start, start + max(tile_size, _BETWEEN), _BETWEEN) for start in (left, top))
        columns, rows = np.meshgrid(
            *((np.rint(axis / _BETWEEN) * _BETWEEN).astype(np.int64) for axis in (across, down))
        )
        cover = cloud_at(seed, epsg=int(epsg[number]), dates=dates[number], columns=columns.ravel(), rows=rows.ravel())
        seen[number] &= np.mean(cover <= CLOUDED, axis=1) >= _CLEAR
    return np.asarray(seen | (dates == coordinates.time.astype("datetime64[D]")[:, None]))


def _passed(seed: int, coordinates: Coordinates, dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
    """(n, D) when Sentinel-1 passed on the orbit of the tile, with the polarisations of the series."""
    passed = radar.passes(seed, np.repeat(coordinates.crs.astype(np.int64), dates.shape[1]), dates.ravel())
    both = passed.reshape(2, *dates.shape)
    orbit = series_orbits(seed, coordinates)
    there = both[orbit, np.arange(len(orbit))]
    row = np.rint(-coordinates.transform[:, 5] / PIXEL).astype(np.int64)
    return np.asarray(there & ~radar.is_polar(coordinates.crs.astype(np.int64), row)[:, None])

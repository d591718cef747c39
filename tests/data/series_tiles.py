"""Small made-up tiles with series of ragged lengths, deterministic by tile number."""

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.modality import PUBLISHED, Modality

from .store_tiles import SIZE, make_tiles

OPTICAL = PUBLISHED["sentinel2_series"].select(["B2", "B8", "B12"])
RADAR = PUBLISHED["sentinel1_series"]
MAPS = (PUBLISHED["sentinel2"], PUBLISHED["dynamic_world"], PUBLISHED["biome"])
MODALITIES = (*MAPS, OPTICAL, RADAR)
LONGEST = {OPTICAL.name: 6, RADAR.name: 4}


def count_of(modality: Modality, number: int) -> int:
    """How many dates a tile has: none to the longest."""
    return (number * 3 + len(modality.bands)) % (LONGEST[modality.name] + 1)


def make_series(
    start: int, stop: int, series: tuple[Modality, ...] = (OPTICAL, RADAR), size: int = SIZE
) -> dict[str, tuple[npt.NDArray[np.generic], npt.NDArray[np.datetime64]]]:
    """Images and dates of tiles ``start`` to ``stop``, padded to the longest that the store may have."""
    made = {}
    for modality in series:
        longest, tiles = LONGEST[modality.name], stop - start
        images = np.full((tiles, longest, len(modality.bands), size, size), modality.fill, modality.dtype)
        dates = np.full((tiles, longest), np.datetime64("NaT", "D"))
        for row in range(tiles):
            random, count = np.random.default_rng([start + row, longest]), count_of(modality, start + row)
            dates[row, :count] = np.datetime64("2020-01-01") + np.sort(random.integers(0, 366, count))
            seen = random.normal(-12, 3, images[row, :count].shape)
            images[row, :count] = seen if modality.dtype == "float32" else 3000 + 100 * seen
        made[modality.name] = images, dates
    return made


def make_series_tiles(start: int, stop: int) -> TileBatch:
    """Tiles with maps, a vector and both series."""
    plain = make_tiles(start, stop, MAPS)
    series = make_series(start, stop)
    levels = plain.coordinates.levels
    coordinates = Coordinates(
        **{
            name: getattr(plain.coordinates, name)
            for name in ("tile_id", "lat", "lon", "crs", "transform", "time", "biome", "ecoregion", "split")
        },
        source_items=plain.coordinates.source_items,
        levels={**levels, OPTICAL.name: levels["sentinel2"]},
        series={name: dates for name, (_, dates) in series.items()},
    )
    return TileBatch(coordinates, {**plain.arrays, **{name: images for name, (images, _) in series.items()}})

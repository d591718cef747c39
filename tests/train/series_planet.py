"""A small synthetic Earth whose tiles have time series, ragged in length: its images, made brighter and darker."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.modality import PUBLISHED

LONGEST = 4
SERIES = {"sentinel2_series": "sentinel2", "sentinel1_series": "sentinel1"}
"""each from a map, whose first bands of the same name, or in the same order, it shows"""


def write_series_planet(path: Path, count: int) -> None:
    earth = SyntheticEarth(0, tile_size=64)
    series = [PUBLISHED[name] for name in SERIES]
    modalities = [*earth.modalities.values(), *series]
    dates = dict.fromkeys(SERIES, LONGEST)
    with StoreWriter.create(path, modalities, tile_size=64, shard_size=16, dates=dates) as writer:
        writer.append(with_series(earth, earth.tiles(earth.places(count))))
    store = Store.open(path)
    store.set_statistics(compute_statistics(store))


def with_series(earth: SyntheticEarth, batch: TileBatch) -> TileBatch:
    random = np.random.default_rng(0)
    images, days = {}, {}
    for name, source in SERIES.items():
        modality = PUBLISHED[name]
        bands = [band if band in earth.modalities[source].band_names else f"asc_{band}" for band in modality.band_names]
        still = batch.arrays[source][:, earth.modalities[source].band_indices(bands)]
        light = random.uniform(0.8, 1.2, (len(still), LONGEST, 1, 1, 1)).astype(np.float32)
        moving = (still[:, None] * light).astype(modality.dtype)
        padding = np.arange(LONGEST) >= random.integers(1, LONGEST + 1, len(still))[:, None]
        moving[padding] = modality.fill
        when = np.datetime64("2020-01-01") + np.sort(random.integers(0, 366, (len(still), LONGEST)), axis=1)
        images[name], days[name] = moving, np.where(padding, np.datetime64("NaT"), when)
    levels = {**batch.coordinates.levels, "sentinel2_series": batch.coordinates.levels["sentinel2"]}
    return TileBatch(replace(batch.coordinates, series=days, levels=levels), {**batch.arrays, **images})

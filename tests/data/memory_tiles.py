"""Tiles that lie in memory, for tests of what reads tiles."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.statistics import Statistics, compute_statistics
from geopretext.data.tiles import Coordinates
from geopretext.modality import PUBLISHED, Band, Kind, Modality

OPTICAL = Modality(
    name="optical",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("red", "1", 1, 28000), Band("green", "1", 1, 28000), Band("blue", "1", 1, 28000)),
    dtype="uint16",
    missing=(0,),
    levels=("L1C", "L2A"),
)


class MemoryTiles:
    """A ``TileReader`` over arrays.

    ``optical`` holds tile x 100 + row x 10 + column + 1, so that a window can be told from its numbers.
    """

    path = "memory"
    ground_sampling_distance = 10.0

    def __init__(self, count: int = 12, size: int = 8, seed: int = 0) -> None:
        random = np.random.default_rng(seed)
        self.tile_size = size
        self.modalities: Mapping[str, Modality] = {
            "optical": OPTICAL,
            **{name: PUBLISHED[name] for name in ("sentinel1", "dynamic_world", "biome", "month")},
        }
        tile, row, column = np.ogrid[:count, :size, :size]
        plane = (100 * tile + 10 * row + column + 1).astype(np.uint16)
        radar = random.normal(-12, 3, (count, 8, size, size)).astype(np.float32)
        radar[:, 2:4] = np.nan
        self.arrays: dict[str, npt.NDArray[Any]] = {
            "optical": np.stack([plane, plane + 10_000, plane + 20_000], axis=1),
            "sentinel1": radar,
            "dynamic_world": random.integers(0, 10, (count, 1, size, size)).astype(np.uint8),
            "biome": (np.arange(count) % 15 - 1).astype(np.int16)[:, None],
            "month": random.normal(0, 0.5, (count, 2)).astype(np.float32),
        }
        nothing = np.full(count, np.nan)
        self.coordinates = Coordinates(
            tile_id=np.array([f"tile-{i:03d}" for i in range(count)]),
            lat=nothing,
            lon=nothing,
            crs=np.zeros(count, np.int32),
            transform=np.zeros((count, 6)),
            time=np.full(count, "NaT", "datetime64[s]"),
            levels={"optical": (np.arange(count) % 2).astype(np.int8)},
        )
        self.reads: list[npt.NDArray[np.int64]] = []

    def __len__(self) -> int:
        return len(self.coordinates)

    @property
    def statistics(self) -> Statistics | None:
        return compute_statistics(self)

    def read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        names = list(names)
        if any(self.modalities[name].kind.is_map for name in names):
            self.reads.append(tiles)
        return {name: self.arrays[name][tiles] for name in names}

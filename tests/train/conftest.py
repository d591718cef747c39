"""A small store on disk, and a recipe that trains on it in a second."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.modality import PUBLISHED, Modality
from geopretext.train.recipe import Recipe, load_recipe

TILES, SIZE = 26, 20
FIELDS: dict[str, Any] = {
    "encoder.bands": ["B2", "B3", "B4"],
    "encoder.image_size": 16,
    "encoder.patch_size": 8,
    "pretext.targets": {"sentinel2": None, "dynamic_world": None, "month": None, "biome": None},
    "pretext.decoder_dim": 16,
    "batch_size": 8,
    "base_learning_rate": 4e-3,
    "epochs": 3,
    "warmup_epochs": 1,
    "log_every_steps": 1,
    "accelerator": "cpu",
}


def write_store(path: Path, *, seed: int = 0, without: str = "") -> Path:
    """Tiles with structure that can be learnt; a corner of each is missing, and all of the band B3 or the biome."""
    random = np.random.default_rng(seed)
    names = ("sentinel2", "dynamic_world", "month", "biome")
    modalities: dict[str, Modality] = {name: PUBLISHED[name] for name in names}
    modalities["sentinel2"] = PUBLISHED["sentinel2"].select(["B2", "B3", "B4"])
    month = random.integers(0, 12, TILES)
    plane = (
        random.integers(500, 3000, (TILES, 1, 5, 5)).repeat(4, axis=2).repeat(4, axis=3)
        + 100 * month[:, None, None, None]
    )
    optical = (plane * np.array([1.0, 1.2, 0.8])[:, None, None] + random.normal(0, 50, (TILES, 3, SIZE, SIZE))).astype(
        "u2"
    )
    optical[:, :, :2, :3] = 0
    if without == "B3":
        optical[:, 1] = 0
    arrays = {
        "sentinel2": optical,
        "dynamic_world": (plane // 500).clip(1, 9).astype(np.uint8),
        "month": np.stack([np.sin(month), np.cos(month)], axis=1).astype(np.float32),
        "biome": np.where(without == "biome", -1, month)[:, None].astype(np.int16),
    }
    coordinates = Coordinates(
        tile_id=np.array([f"tile-{i}" for i in range(TILES)]),
        lat=np.linspace(-50, 50, TILES),
        lon=np.linspace(-100, 100, TILES),
        crs=np.full(TILES, 32631, np.int32),
        transform=np.tile([10.0, 0, 5e5, 0, -10, 5e6], (TILES, 1)),
        time=np.full(TILES, "2020-06-01", "datetime64[s]"),
        levels={"sentinel2": (np.arange(TILES) % 2).astype(np.int8)},
    )
    with StoreWriter.create(path, modalities.values(), tile_size=SIZE) as writer:
        writer.append(TileBatch(coordinates, arrays))
    store = Store.open(path)
    store.set_statistics(compute_statistics(store))
    return path


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_store(tmp_path_factory.mktemp("data") / "tiles.zarr")


@pytest.fixture(scope="session")
def small_recipe() -> Callable[..., Recipe]:
    """``mp-mae-demo`` made smaller still, with further changes as keywords."""

    def make(**changes: Any) -> Recipe:
        return load_recipe("mp-mae-demo", {**FIELDS, **changes})

    return make

"""A small store, and a bundle that has hardly been trained on it: enough for every verb."""

from pathlib import Path

import pytest
import torch

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings

TILES = 120


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """120 tiles of 32 px of the synthetic Earth; not to be changed."""
    path = tmp_path_factory.mktemp("store") / "tiles.zarr"
    write_synthetic_store(path, count=TILES, seed=1, tile_size=32, workers=1)
    return path


@pytest.fixture(scope="session")
def bundle(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An untrained network that predicts a few modalities of the store."""
    reader = Store.open(store)
    assert reader.statistics is not None
    folder = tmp_path_factory.mktemp("bundle")
    encoder = EncoderSettings(size="micro", image_size=32)
    torch.manual_seed(0)
    network = MaskedAutoencoder(
        encoder,
        AutoencoderSettings(decoder_dim=16),
        inputs=[reader.modalities["sentinel2"].select(encoder.bands)],
        targets={name: reader.modalities[name] for name in ("sentinel1", "dynamic_world", "era5", "biome")},
    )
    save_bundle(folder, network, statistics=reader.statistics.to_dict(), recipe={}, metrics={})
    return folder

"""Bundles of untrained OmniSat encoders that know time series."""

from collections.abc import Mapping
from pathlib import Path

import torch

from geopretext.data.store import Store
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.omnisat_reconstructor import OmniSatDecoderSettings, OmniSatReconstructor
from geopretext.nn.omnisat_settings import OmniSatSettings

Bands = Mapping[str, tuple[str, ...]]


def save_omnisat(folder: Path, store: Store, maps: Bands, series: Bands, *, patch_size: int) -> Path:
    """Write one with the store's statistics, of the same weights at every call."""
    torch.manual_seed(0)
    settings = OmniSatSettings(
        inputs=maps, series=series, patch_size=patch_size, image_size=32, dim=16, depth=1, heads=4, series_heads=4
    )
    inputs, seen = ([PUBLISHED[name].select(bands) for name, bands in named.items()] for named in (maps, series))
    network = OmniSatReconstructor(settings, OmniSatDecoderSettings(0.75, tuple(maps)), inputs=inputs)
    assert store.statistics is not None
    save_bundle(folder, network, statistics=store.statistics.to_dict(), recipe={}, metrics={}, series=seen)
    return folder

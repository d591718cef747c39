"""Losses of a reconstruction are those that pretraining computes on the same patches."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.data.loader import TileLoader
from geopretext.data.sampling import hash_seeds
from geopretext.data.statistics import compute_statistics
from geopretext.data.synthetic import SyntheticEarth
from geopretext.evaluate.reconstruction_losses import pretext_settings, reconstruction_losses
from geopretext.modality import Modality, Observed
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.reconstruct import Pretrained, reconstruct
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings

BANDS = ("B4", "B3", "B2", "B8")
TARGETS: dict[str, tuple[str, ...] | None] = {
    "sentinel2": ("B8", "B11", "B4"),
    "sentinel1": None,
    "era5": None,
    "dynamic_world": None,
    "biome": None,
    "elements": None,
}
SEED = 3


class MemoryTiles:
    """A ``TileReader`` over a few tiles of the synthetic Earth."""

    path, tile_size, ground_sampling_distance = "memory", 32, 10.0

    def __init__(self) -> None:
        earth = SyntheticEarth(2, tile_size=32)
        batch = earth.tiles(earth.places(5))
        self.modalities: Mapping[str, Modality] = {name: earth.modalities[name] for name in TARGETS}
        self.coordinates, self.arrays = batch.coordinates, batch.arrays

    @property
    def statistics(self) -> Any:
        return compute_statistics(self)

    def __len__(self) -> int:
        return len(self.coordinates)

    def read(self, names: Iterator[str], tiles: Any) -> dict[str, Any]:
        return {name: self.arrays[name][tiles] for name in names}


@pytest.fixture(scope="module")
def tiles() -> MemoryTiles:
    return MemoryTiles()


def method(tiles: MemoryTiles, **settings: Any) -> MPMAE:
    torch.manual_seed(1)
    encoder = EncoderSettings(size="micro", bands=BANDS, image_size=32)
    chosen = MPMAESettings(targets=TARGETS, decoder_dim=16, mask_ratio=0.5, **settings)
    # "elements" is a label, which pretraining refuses: here it is not
    modalities = {name: Modality.from_dict({**m.to_dict(), "role": "pretext"}) for name, m in tiles.modalities.items()}
    return MPMAE(encoder, chosen, modalities).eval()


def trained_losses(tiles: MemoryTiles, objective: MPMAE, numbers: np.ndarray[Any, Any]) -> dict[str, float]:
    """By the training step's own way: the loader's batch, the patches that it hides by itself."""
    loader = TileLoader(
        tiles, modalities=objective.bands, statistics=tiles.statistics, batch_size=len(numbers), crop=32,
        random_crop=False, shuffle=False, tiles=numbers, drop_last=False,
    )  # fmt: skip
    fields: Mapping[str, Observed[torch.Tensor]] = next(iter(loader)).fields
    with torch.inference_mode():
        losses = objective(fields, torch.from_numpy(hash_seeds(SEED, numbers)))
    return {name: float(loss.total / loss.count) for name, loss in losses.items() if loss.count > 0}


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"predict_visible": True},
        {"missing_targets": "zero", "denominator": "nonzero", "decoder": "per-modality"},
    ],
)
def test_they_are_those_of_the_training_step(tiles: MemoryTiles, settings: dict[str, Any]) -> None:
    objective = method(tiles, **settings)
    numbers = np.array([0, 2, 3])
    pretrained = Pretrained(objective.network, tiles.statistics)
    found = reconstruction_losses(objective.network, objective.settings, reconstruct(pretrained, tiles, numbers, SEED))
    expected = trained_losses(tiles, objective, numbers)
    assert {name: loss for name, loss in found.items() if loss is not None} == pytest.approx(expected, rel=1e-5)
    assert set(expected) >= {"sentinel2", "dynamic_world", "biome"}


def test_without_hidden_patches_there_is_nothing_to_lose_on_the_input(tiles: MemoryTiles) -> None:
    objective = method(tiles)
    everything = np.ones((1, 16), np.bool_)
    result = reconstruct(Pretrained(objective.network, tiles.statistics), tiles, [0], visible=everything)
    losses = reconstruction_losses(objective.network, objective.settings, result)
    assert losses["sentinel2"] is None
    assert losses["dynamic_world"] is None
    assert losses["era5"] is not None


def test_a_recipe_says_how_it_was_pretrained() -> None:
    assert pretext_settings({"pretext": {"targets": {"era5": None}, "denominator": "nonzero"}}) == MPMAESettings(
        targets={"era5": None}, denominator="nonzero"
    )
    for unknown in ({}, {"pretext": None}, {"pretext": {"made_up": 1}}):
        assert pretext_settings(unknown) is None

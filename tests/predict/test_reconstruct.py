"""Predicting every modality from a masked input, in physical units."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from geopretext.data.statistics import Statistics, compute_statistics
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import Coordinates
from geopretext.errors import BundleError, InputError
from geopretext.modality import Kind, Modality
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings
from geopretext.predict.reconstruct import Pretrained, Reconstruction, _restore, reconstruct
from geopretext.pretext.mp_mae import standardise

TARGETS = ("sentinel2", "sentinel1", "era5", "dynamic_world", "biome", "elements")
BANDS = ("B4", "B3", "B2", "B8")


class MemoryTiles:
    """A ``TileReader`` over a few tiles of the synthetic Earth, whose arrays a test may change."""

    path = "memory"
    ground_sampling_distance = 10.0

    def __init__(self, modalities: dict[str, Modality], coordinates: Coordinates, arrays: dict[str, Any]) -> None:
        self.modalities, self.coordinates, self.arrays = modalities, coordinates, arrays
        self.tile_size = 36

    @property
    def statistics(self) -> Statistics | None:
        return compute_statistics(self)

    def __len__(self) -> int:
        return len(self.coordinates)

    def read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        return {name: self.arrays[name][tiles] for name in names}

    def without(self, name: str) -> "MemoryTiles":
        return MemoryTiles({k: m for k, m in self.modalities.items() if k != name}, self.coordinates, self.arrays)

    def changed(self, name: str, array: npt.NDArray[Any]) -> "MemoryTiles":
        return MemoryTiles(self.modalities, self.coordinates, {**self.arrays, name: array})


@pytest.fixture(scope="module")
def tiles() -> MemoryTiles:
    earth = SyntheticEarth(3, tile_size=36)
    batch = earth.tiles(earth.places(6))
    return MemoryTiles({name: earth.modalities[name] for name in TARGETS}, batch.coordinates, dict(batch.arrays))


@pytest.fixture(scope="module")
def bundle(tiles: MemoryTiles, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bundle")
    torch.manual_seed(0)
    network = MaskedAutoencoder(
        EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32),
        AutoencoderSettings(decoder_dim=16, mask_ratio=0.5, standardise_patches=("sentinel2",), predict_visible=True),
        inputs=[tiles.modalities["sentinel2"].select(BANDS)],
        targets={
            name: tiles.modalities[name].select(BANDS) if name == "sentinel2" else tiles.modalities[name]
            for name in TARGETS
        },
    )
    save_bundle(folder, network, statistics=compute_statistics(tiles).to_dict(), recipe={}, metrics={})
    return folder


def by_name(result: Reconstruction) -> dict[str, Any]:
    return {target.modality.name: target for target in result.targets}


def test_truth_is_in_stored_units_and_shapes_follow_the_kind(bundle: Path, tiles: MemoryTiles) -> None:
    result = reconstruct(bundle, tiles, [4, 1], seed=7)
    found = by_name(result)
    # 36 px are no multiple of 8: the middle 32 are used
    window = tiles.arrays["sentinel2"][[4, 1]][:, :, 2:34, 2:34]
    raw = window[:, tiles.modalities["sentinel2"].band_indices(BANDS)]
    np.testing.assert_array_equal(found["sentinel2"].truth.values[raw > 0], raw[raw > 0])
    np.testing.assert_array_equal(found["era5"].truth.values, tiles.arrays["era5"][[4, 1]])
    assert found["sentinel2"].prediction.shape == (2, 4, 32, 32)
    assert found["dynamic_world"].prediction.shape == (2, 32, 32)
    assert found["biome"].prediction.shape == (2, 14)
    np.testing.assert_allclose(found["biome"].prediction.sum(axis=1), 1, rtol=1e-5)
    assert ((found["elements"].prediction > 0) & (found["elements"].prediction < 1)).all()
    assert list(result.coordinates.tile_id) == list(tiles.coordinates.tile_id[[4, 1]])


def test_predictions_come_in_physical_units(bundle: Path, tiles: MemoryTiles) -> None:
    # An untrained head answers about 0, the mean: kelvin about 280 and precipitation far below 1 m.
    era5 = by_name(reconstruct(bundle, tiles, range(6)))["era5"]
    kelvin = np.array([band.unit == "K" for band in era5.modality.bands])
    assert (abs(era5.prediction[:, kelvin] - 285) < 60).all()
    assert (abs(era5.prediction[:, ~kelvin]) < 10).all()


def test_the_bundle_says_how_much_is_hidden_and_the_seed_what(bundle: Path, tiles: MemoryTiles) -> None:
    first, again, other = (reconstruct(bundle, tiles, range(6), seed=seed) for seed in (1, 1, 2))
    patches = first.visible.reshape(6, 4, 8, 4, 8)
    assert (patches.all(axis=(2, 4)) == patches.any(axis=(2, 4))).all()  # whole patches
    assert (patches.any(axis=(2, 4)).sum(axis=(1, 2)) == 8).all()
    np.testing.assert_array_equal(first.visible, again.visible)
    assert (first.visible != other.visible).any()
    # a tile's mask is its own, whichever tiles are asked for beside it
    np.testing.assert_array_equal(reconstruct(bundle, tiles, [3], seed=1).visible[0], first.visible[3])


def test_hidden_pixels_influence_nothing(bundle: Path, tiles: MemoryTiles) -> None:
    before = reconstruct(bundle, tiles, [0, 1], seed=5)
    array = tiles.arrays["sentinel2"].copy()
    hidden = np.zeros((6, 36, 36), bool)
    hidden[:2, 2:34, 2:34] = ~before.visible
    array[np.broadcast_to(hidden[:, None], array.shape)] = 9999
    # statistics come with the bundle, so that the changed tiles do not change them
    after = reconstruct(bundle, tiles.changed("sentinel2", array), [0, 1], seed=5)
    for name in ("sentinel1", "era5", "biome"):
        np.testing.assert_array_equal(by_name(before)[name].prediction, by_name(after)[name].prediction)
    seen = np.where(hidden[:, None], array, 1)
    differs = reconstruct(bundle, tiles.changed("sentinel2", seen.astype(np.uint16)), [0, 1], seed=5)
    assert (by_name(before)["era5"].prediction != by_name(differs)["era5"].prediction).any()


def test_restoring_undoes_what_pretraining_does_to_patches() -> None:
    generator = torch.Generator().manual_seed(0)
    truth = 40 + 7 * torch.randn(3, 5, 48, generator=generator)
    valid = torch.rand(3, 5, 48, generator=generator) > 0.3
    truth = truth * valid
    restored = _restore(standardise(truth, valid), truth, valid)
    torch.testing.assert_close(restored[valid], truth[valid], rtol=1e-4, atol=1e-3)


def test_only_the_standardised_modality_is_restored(bundle: Path, tiles: MemoryTiles) -> None:
    result = reconstruct(bundle, tiles, [2])
    assert [target.modality.name for target in result.targets if target.restored] == ["sentinel2"]
    everywhere = {target.modality.name for target in result.targets if target.everywhere}
    assert everywhere == {m.name for m in tiles.modalities.values() if m.kind.is_map} - {"sentinel2"}
    target = by_name(result)["sentinel2"]
    patch = (0, slice(None), slice(8, 16), slice(16, 24))
    if target.truth.valid[patch].all():  # the untrained prediction is near 0, so that its patch has the true mean
        spread = target.truth.values[patch].std() + 1
        assert abs(target.prediction[patch].mean() - target.truth.values[patch].mean()) < spread


def test_a_modality_that_the_tiles_lack_is_predicted_without_truth(bundle: Path, tiles: MemoryTiles) -> None:
    found = by_name(reconstruct(bundle, tiles.without("dynamic_world"), [0]))
    assert not found["dynamic_world"].truth.valid.any()
    assert found["dynamic_world"].prediction.shape == (1, 32, 32)
    whole = by_name(reconstruct(bundle, tiles, [0]))["dynamic_world"]
    np.testing.assert_array_equal(found["dynamic_world"].prediction, whole.prediction)


def test_errors_are_absolute_and_count_wrong_classes(bundle: Path, tiles: MemoryTiles) -> None:
    found = by_name(reconstruct(bundle, tiles, [0, 5]))
    era5 = found["era5"]
    np.testing.assert_allclose(era5.error().values, abs(era5.prediction - era5.truth.values), rtol=1e-6)
    cover = found["dynamic_world"]
    perfect = replace(cover, prediction=cover.truth.values)
    assert not perfect.error().values.any()
    wrong = replace(cover, prediction=cover.truth.values + 1)
    np.testing.assert_array_equal(wrong.error().values, cover.truth.valid.astype(np.float32))
    radar = found["sentinel1"]
    assert not radar.error().values[~radar.truth.valid].any()
    assert radar.modality.kind is Kind.CONTINUOUS_MAP


def test_bad_input(bundle: Path, tiles: MemoryTiles, tmp_path: Path) -> None:
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path)
    with pytest.raises(
        BundleError, match=r"holds an encoder only(.|\n)*hint: take the bundle that `geopretext pretrain`"
    ):
        reconstruct(tmp_path, tiles, [0])
    with pytest.raises(InputError, match="memory: no tile is asked for"):
        reconstruct(bundle, tiles, [])
    with pytest.raises(InputError, match="has no modality 'sentinel2'"):
        reconstruct(bundle, tiles.without("sentinel2"), [0])


def test_patches_may_be_chosen(tiles: MemoryTiles, bundle: Path) -> None:
    by_chance = reconstruct(bundle, tiles, [1, 2], seed=4)
    assert by_chance.compared is not None
    shown = by_chance.compared.visible.numpy()
    chosen = reconstruct(bundle, tiles, [1, 2], visible=shown)
    for one, other in zip(by_chance.targets, chosen.targets, strict=True):
        assert np.array_equal(one.prediction, other.prediction)
    others = shown[:, ::-1]
    assert not np.array_equal(others, shown)
    turned = reconstruct(bundle, tiles, [1, 2], visible=others)
    side = turned.visible.shape[1] // 8
    patches = turned.visible.reshape(2, side, 8, side, 8).all(axis=(2, 4)).reshape(2, -1)
    assert np.array_equal(patches, others)
    assert not np.array_equal(turned.targets[0].prediction, chosen.targets[0].prediction)


def test_a_loaded_bundle_serves_again(tiles: MemoryTiles, bundle: Path) -> None:
    loaded = Pretrained.load(bundle)
    for one, other in zip(
        reconstruct(bundle, tiles, [3]).targets, reconstruct(loaded, tiles, [3]).targets, strict=True
    ):
        assert np.array_equal(one.prediction, other.prediction)


@pytest.mark.parametrize(
    ("visible", "told"),
    [(np.zeros((1, 16), bool), "no patch is visible"), (np.ones((1, 9), bool), r"shape \(1, 9\), the tiles \(1, 16\)")],
)
def test_patches_that_do_not_fit_are_refused(
    tiles: MemoryTiles, bundle: Path, visible: npt.NDArray[np.bool_], told: str
) -> None:
    with pytest.raises(InputError, match=told):
        reconstruct(bundle, tiles, [0], visible=visible)

"""Passes over a window, and what is kept of each."""

import numpy as np
import pytest
import torch
from torch import Tensor

from geopretext.errors import BundleError, GridError
from geopretext.modality import PUBLISHED
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.masking import patchify
from geopretext.nn.settings import AutoencoderSettings, EncoderSettings
from geopretext.predict.modality_maps import ModalityMaps, ModalityMapsSource
from geopretext.predict.passes import complementary_passes
from geopretext.predict.windows import Windows
from geopretext.pretext.mp_mae import standardise

BANDS = ("B4", "B3", "B2", "B8")
PATCH = 4


def network(targets: tuple[str, ...], **settings: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    chosen = {name: PUBLISHED[name] for name in targets}
    if "sentinel2" in chosen:
        chosen["sentinel2"] = PUBLISHED["sentinel2"].select(BANDS[::-1])
    return MaskedAutoencoder(
        EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32),
        AutoencoderSettings(**{"decoder_dim": 16, "mask_ratio": 0.6, **settings}),  # type: ignore[arg-type]  # tests
        inputs=[PUBLISHED["sentinel2"].select(BANDS)],
        targets=chosen,
    ).eval()


def windows(count: int = 2, size: int = 32) -> Tensor:
    return torch.randn(count, len(BANDS), size, size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("grid", [(4, 4), (7, 7), (14, 14), (1, 5), (5, 1), (3, 7), (1, 2)])
@pytest.mark.parametrize("ratio", [0.05, 0.25, 0.5, 0.6, 0.75, 0.9, 0.99])
def test_every_patch_is_hidden_equally_often(grid: tuple[int, int], ratio: float) -> None:
    passes = complementary_passes(grid, ratio)
    visible = passes.visible.numpy()
    assert (visible.sum(0) == passes.shown).all()
    assert ((~visible).sum(0) == passes.hidden).all()
    assert passes.shown > 0
    assert passes.hidden > 0
    counts = visible.sum(1)
    assert counts.min() > 0
    assert counts.max() < grid[0] * grid[1]
    assert counts.max() - counts.min() <= 1


@pytest.mark.parametrize(
    ("ratio", "shown", "passes"), [(0.6, 2, 5), (0.75, 1, 4), (0.5, 1, 2), (0.4, 3, 5), (0.9, 1, 10)]
)
def test_as_much_is_shown_as_in_pretraining(ratio: float, shown: int, passes: int) -> None:
    found = complementary_passes((7, 7), ratio)
    assert (found.shown, len(found.visible)) == (shown, passes)
    assert abs(found.visible.float().mean() - (1 - ratio)) < 1e-6


def test_a_hidden_patch_always_has_a_shown_neighbour() -> None:
    for visible in complementary_passes((7, 7), 0.6).visible.reshape(-1, 7, 7).numpy():
        around = np.lib.stride_tricks.sliding_window_view(np.pad(visible, 1), (3, 3))
        assert around.any(axis=(2, 3)).all()


def test_a_single_patch_is_refused() -> None:
    with pytest.raises(GridError, match="a window of one patch"):
        complementary_passes((1, 1), 0.6)


def test_hidden_patches_are_predicted_without_a_look_at_them() -> None:
    maps = ModalityMaps(network(("sentinel1", "dynamic_world")))
    x = windows(1)
    with torch.inference_mode():
        before = maps(x)
        changed = x.clone()
        changed[:, :, 8:16, 16:24] = 3.0
        after = maps(changed)
    torch.testing.assert_close(after[:, :, 8:16, 16:24], before[:, :, 8:16, 16:24], rtol=0, atol=0)
    assert (after[:, :, 16:24, 16:24] - before[:, :, 16:24, 16:24]).abs().max() > 1e-5


def test_shown_patches_are_predicted_where_pretraining_did() -> None:
    maps = ModalityMaps(network(("sentinel2", "sentinel1"), predict_visible=True))
    x = windows(1)
    changed = x.clone()
    changed[:, :, 8:16, 16:24] = 3.0
    with torch.inference_mode():
        difference = (maps(changed) - maps(x)).abs()[:, :, 8:16, 16:24]
    assert difference[:, maps.channels["sentinel1"]].min() > 0
    assert difference[:, maps.channels["sentinel2"]].max() == 0  # the input itself is never predicted when shown


def test_maps_are_means_over_passes() -> None:
    model = network(("sentinel1", "dynamic_world"))
    maps = ModalityMaps(model)
    x = windows(2)
    passes = complementary_passes((4, 4), 0.6)
    expected = np.zeros((2, maps.width, 32, 32))
    times = np.zeros((32, 32))
    with torch.inference_mode():
        found = maps(x)
        for visible in passes.visible:
            predictions = model(x, visible.expand(2, -1), everywhere=True)
            for patch in np.flatnonzero(~visible.numpy()):
                row, column = patch // 4 * 8, patch % 4 * 8
                for name, place in maps.channels.items():
                    pixels = predictions[name][:, patch].reshape(2, 8, 8, -1).permute(0, 3, 1, 2)
                    if name == "dynamic_world":
                        pixels = pixels.softmax(1)
                    expected[:, place, row : row + 8, column : column + 8] += pixels.numpy()
                times[row : row + 8, column : column + 8] += 1
    assert (times == 3).all()
    np.testing.assert_allclose(found.numpy(), expected / 3, atol=1e-6)
    np.testing.assert_allclose(found[:, maps.channels["dynamic_world"]].sum(1).numpy(), 1, atol=1e-5)


class Oracle(torch.nn.Module):
    """Predicts what it was told, standardised within patches, whatever it is shown."""

    def __init__(self, model: MaskedAutoencoder, truth: Tensor, valid: Tensor) -> None:
        super().__init__()
        self.encoder, self.settings, self.modality, self.inputs, self.targets = (
            model.encoder,
            model.settings,
            model.modality,
            model.inputs,
            model.targets,
        )
        self.patches = standardise(patchify(truth, 8), patchify(valid, 8))

    def predicts_visible(self, name: str) -> bool:
        return False

    def forward(self, x: Tensor, visible: Tensor, *, everywhere: bool) -> dict[str, Tensor]:
        return {"sentinel2": self.patches}


def test_contrast_gets_the_mean_and_deviation_of_the_input_back() -> None:
    model = network(("sentinel2",), standardise_patches=("sentinel2",))
    valid = torch.rand(2, 1, 32, 32, generator=torch.Generator().manual_seed(2)) > 0.2
    x = (500 + 7 * windows()) * valid
    oracle = Oracle(model, x.flip(1), valid.expand(-1, len(BANDS), -1, -1))
    found = ModalityMaps(oracle)(x)  # type: ignore[arg-type]  # it answers like one
    seen = valid.expand_as(found)
    torch.testing.assert_close(found[seen], x.flip(1)[seen], rtol=1e-5, atol=1e-2)


def test_vectors_are_means_over_passes() -> None:
    model = network(("era5", "biome", "sentinel1"))
    maps = ModalityMaps(model)
    x = windows(3)
    with torch.inference_mode():
        found = maps.vectors(x)
        every = [model(x, visible.expand(3, -1)) for visible in complementary_passes((4, 4), 0.6).visible]
    assert set(found) == {"era5", "biome"}
    np.testing.assert_allclose(found["era5"], np.mean([p["era5"].numpy() for p in every], 0), atol=1e-6)
    probabilities = np.mean([p["biome"].softmax(1).numpy() for p in every], 0)
    np.testing.assert_allclose(found["biome"], probabilities, atol=1e-6)


def test_windows_that_end_within_a_patch_are_filled_up_with_nothing() -> None:
    maps = ModalityMaps(network(("sentinel1", "era5")))
    x = windows(1)[..., :20, :28]
    filled = torch.nn.functional.pad(x, (0, 4, 0, 4))
    with torch.inference_mode():
        torch.testing.assert_close(maps(x), maps(filled)[..., :20, :28], rtol=0, atol=0)
        torch.testing.assert_close(maps.vectors(x)["era5"], maps.vectors(filled)["era5"], rtol=0, atol=0)


@pytest.mark.parametrize(("crop", "patch", "step"), [(64, 16, 24), (112, 16, 56), (56, 8, 28), (16, 8, 4), (32, 8, 12)])
def test_windows_follow_each_other_by_an_odd_number_of_half_patches(crop: int, patch: int, step: int) -> None:
    source = ModalityMapsSource("bundle", patch // 2, crop, 1)
    windows = Windows.of(500, 300, patch=source.patch, cell=1, size=crop, margin=0, ramp=source.ramp)
    assert windows.down.step == step
    assert step % patch == patch // 2
    assert crop / 4 <= step <= crop / 2


def test_what_cannot_be_known_from_the_image_is_left_out() -> None:
    model = network(("sentinel1", "aster"), standardise_patches=("aster",))
    maps = ModalityMaps(model)
    assert list(maps.channels) == ["sentinel1"]
    assert "contrast only" in maps.left_out["aster"]
    with pytest.raises(BundleError, match="predicts no map from the image alone"):
        ModalityMaps(network(("era5",)))

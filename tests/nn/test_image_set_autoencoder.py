"""Prediction of hidden tokens, and of modalities at the resolution of the data."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.errors import BandError, RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle_pretext import load_reconstructor, save_bundle
from geopretext.nn.footprints import TokenGrid
from geopretext.nn.image_set_autoencoder import ImageSetAutoencoder
from geopretext.nn.image_set_settings import ImageSetDecoderSettings
from geopretext.nn.masking import patchify
from geopretext.nn.settings import EncoderSettings

from .image_sets import INPUTS, SETTINGS, random_image

DECODER = ImageSetDecoderSettings(
    decoder_dim=8, decoder_depth=2, decoder_heads=2, standardise_patches=("sentinel2", "aster")
)


def make() -> ImageSetAutoencoder:
    torch.manual_seed(0)
    network = ImageSetAutoencoder(SETTINGS, DECODER, inputs=INPUTS).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.2)
    return network


def some_tokens() -> torch.Tensor:
    visible = torch.zeros(2, 49, dtype=torch.bool)
    visible[0, [0, 7, 20, 36, 45]] = True
    visible[1, [3, 30, 35, 40, 48]] = True
    return visible


def test_hidden_pixels_change_no_prediction_and_visible_ones_do() -> None:
    network, x, visible = make(), random_image(), some_tokens()
    predictions = network.predict(x, visible, 5)
    assert {name: part.shape for name, part in predictions.items()} == {
        "fine": (2, 36, 8),
        "coarse": (2, 9, 4),
        "terrain": (2, 4, 8),
    }
    other = x.clone()
    other[:, :2, :2, 2:] += 1  # token 1 to 5 of the fine image: hidden but for token 3 of the second tile
    changed = network.predict(other, visible, 5)
    for name, part in predictions.items():
        torch.testing.assert_close(changed[name][0], part[0])
        assert not torch.allclose(changed[name][1], part[1])


def test_an_absent_token_is_as_good_as_a_hidden_one() -> None:
    network, x = make(), random_image()
    x[:, 3:] = 0
    visible = some_tokens()
    one = network.predict(x, visible, 5)
    visible[0, 45], visible[0, 46] = False, True  # another absent token of the terrain
    visible[1, 48], visible[1, 46] = False, True
    other = network.predict(x, visible, 5)
    for name, part in one.items():
        torch.testing.assert_close(other[name], part)


def test_perfect_predictions_become_the_coarser_truth_in_units_of_the_true_cell(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    network, x = make(), random_image()

    def know_all(*_: object) -> dict[str, torch.Tensor]:
        cells = {}
        for name, (values, _) in network.encoder.images(x).items():
            patches = patchify(values, 2)
            cells[name] = (patches - patches.mean(-1, keepdim=True)) / patches.std(-1, keepdim=True)
        return cells

    monkeypatch.setattr(network, "_decode", know_all)
    found = network(x, None)
    coarse = x[:, 2].numpy().reshape(2, 6, 2, 6, 2).mean((2, 4)).repeat(2, 1).repeat(2, 2)
    terrain = x[:, 3:].numpy().reshape(2, 2, 4, 3, 4, 3).mean((3, 5)).repeat(3, 2).repeat(3, 3)
    truth = {"sentinel2": np.stack([x[:, 0], x[:, 1], coarse], 1), "aster": terrain}
    full = {"sentinel2": x[:, :3].numpy(), "aster": x[:, 3:].numpy()}
    for name, image in truth.items():
        assert found[name].shape == (2, 36, 4 * image.shape[1])
        for row in range(6):
            for column in range(6):
                window = (..., slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2))
                cell, true = (part[window].transpose(0, 2, 3, 1).reshape(2, -1) for part in (image, full[name]))
                wanted = (cell - true.mean(1, keepdims=True)) / true.std(1, ddof=1, keepdims=True)
                np.testing.assert_allclose(found[name][:, 6 * row + column], wanted, atol=1e-3)


def test_hidden_cells_are_those_of_all_in_order() -> None:
    network, x = make(), random_image(height=14, width=10)
    visible = torch.zeros(2, 35, dtype=torch.bool)
    visible[0, :10], visible[1, 20:30] = True, True
    everywhere, hidden = network(x, visible, everywhere=True), network(x, visible)
    for name, cells in everywhere.items():
        assert cells.shape[:2] == (2, 35)
        torch.testing.assert_close(
            hidden[name], torch.stack([cells[0, 10:], torch.cat([cells[1, :20], cells[1, 30:]])])
        )
        assert cells.isfinite().all()


def test_a_bundle_keeps_it(tmp_path: Path) -> None:
    network, x = make(), random_image()
    save_bundle(tmp_path / "bundle", network, statistics=None, recipe={}, metrics={})
    loaded = load_reconstructor(tmp_path / "bundle")
    assert isinstance(loaded, ImageSetAutoencoder)
    assert loaded.settings == DECODER
    visible = torch.arange(36).expand(2, -1) < 12
    for name, cells in network(x, visible).items():
        torch.testing.assert_close(loaded(x, visible)[name], cells)


def test_grids_cover_the_images_and_no_more() -> None:
    assert make().encoder.grids(height=14, width=10) == {
        "fine": TokenGrid(7, 5, 20.0),
        "coarse": TokenGrid(4, 3, 40.0),
        "terrain": TokenGrid(3, 2, 60.0),
    }


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(RecipeError, match="family"):
        ImageSetAutoencoder(EncoderSettings(), DECODER, inputs=INPUTS)
    with pytest.raises(BandError, match="the encoder"):
        ImageSetAutoencoder(SETTINGS, DECODER, inputs=(PUBLISHED["aster"],))
    for changes, message in (
        ({"decoder_dim": 6}, "decoder_dim"),
        ({"decoder_heads": 3}, "decoder_heads"),
        ({"decoder_depth": 0}, "decoder_depth"),
        ({"mask_ratio": 1.0}, "mask_ratio"),
    ):
        with pytest.raises(RecipeError, match=message):
            ImageSetDecoderSettings(**changes)

from dataclasses import replace

import pytest
import torch

from geopretext.errors import BandError, GridError, RecipeError
from geopretext.modality import PRETEXT, PUBLISHED, Band, Kind, Modality
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.masking import sample_visible
from geopretext.nn.settings import SENTINEL2_BANDS, AutoencoderSettings, EncoderSettings
from geopretext.nn.sites import Whole

RGB = ("B4", "B3", "B2")
SPECIES = Modality("species", Kind.MULTILABEL_VECTOR, (Band("oak"), Band("beech"), Band("fir")), "uint8", (255,))
SOME = {name: PUBLISHED[name] for name in ("aster", "dynamic_world", "era5", "biome")} | {"species": SPECIES}


SMALL = EncoderSettings(size="micro", bands=RGB, image_size=32)


def make_network(targets=SOME, *, encoder=SMALL, **settings):
    torch.manual_seed(0)
    return MaskedAutoencoder(
        encoder,
        AutoencoderSettings(**{"decoder_dim": 32, **settings}),
        inputs=[PUBLISHED["sentinel2"].select(encoder.bands)],
        targets=targets,
    )


def all_targets():
    return {m.name: m.select(SENTINEL2_BANDS) if m.name == "sentinel2" else m for m in PRETEXT}


@pytest.mark.parametrize(("patch", "image", "count"), [(8, 56, 7_580_662), (16, 112, 11_914_606)])
def test_the_full_model_has_the_published_number_of_parameters(patch, image, count):
    encoder = EncoderSettings(patch_size=patch, image_size=image)
    with torch.device("meta"):
        network = make_network(all_targets(), encoder=encoder, decoder_dim=512)
    assert sum(p.numel() for p in network.parameters()) == count


def test_each_kind_has_its_shape():
    network = make_network()
    images, visible = torch.randn(2, 3, 32, 32), sample_visible(torch.arange(2), 16, 0.6)
    shapes = {name: tuple(p.shape) for name, p in network(images, visible).items()}
    masked = 16 - 6
    assert shapes == {
        "aster": (2, masked, 64 * 2),
        "dynamic_world": (2, masked, 64 * 9),
        "era5": (2, 12),
        "biome": (2, 14),
        "species": (2, 3),
    }


@pytest.mark.parametrize("decoder", ["shared", "per-modality"])
def test_predictions_on_masked_patches_are_those_of_all_patches(decoder):
    network = make_network(decoder=decoder)
    images, visible = torch.randn(2, 3, 32, 32), sample_visible(torch.arange(2), 16, 0.6)
    with torch.no_grad():
        some, everywhere = network(images, visible), network(images, visible, everywhere=True)
    assert everywhere["aster"].shape == (2, 16, 128)
    for tile in range(2):
        torch.testing.assert_close(some["aster"][tile], everywhere["aster"][tile, ~visible[tile]])
    torch.testing.assert_close(some["era5"], everywhere["era5"])


@pytest.mark.parametrize(("decoder", "calls"), [("shared", 2), ("per-modality", 2 * len(SOME))])
def test_a_shared_decoder_is_computed_once(decoder, calls):
    network = make_network(decoder=decoder, decoder_depth=2)
    counted = []
    for blocks in network.decoders.values():
        for block in blocks:
            block.register_forward_hook(lambda *_: counted.append(1))
    network(torch.randn(2, 3, 32, 32), sample_visible(torch.arange(2), 16, 0.6))
    assert len(counted) == calls


def test_the_decoder_sees_one_tile_whatever_the_response_norms_of_the_encoder_see():
    network = make_network(encoder=replace(SMALL, grn_scope="batch")).train()
    block = network.decoders["shared"][0]
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.normal_(std=0.3)
        cells = torch.randn(3, 4, 4, 32)
        torch.testing.assert_close(block(cells, Whole())[:1], block(cells[:1], Whole()), rtol=1e-5, atol=1e-4)


def test_masked_pixels_do_not_reach_any_prediction():
    network = make_network()
    images, visible = torch.randn(2, 3, 32, 32), sample_visible(torch.arange(2), 16, 0.6)
    shown = visible.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    with torch.no_grad():
        before = network(images, visible)
        after = network(torch.where(shown, images, 1e4), visible)
    for name in before:
        assert torch.equal(before[name], after[name])


def test_hidden_cells_hold_the_mask_token():
    network = make_network()
    images, visible = torch.randn(1, 3, 32, 32), sample_visible(torch.arange(1), 16, 0.6)
    seen = []
    network.decoders["shared"][0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(images, visible)
    cells = seen[0].flatten(1, 2)
    assert (cells[~visible] == network.mask_token).all()
    assert not (cells[visible] == network.mask_token).any()


def test_vectors_are_read_off_the_mean_of_the_normed_cells():
    network = make_network()
    images, visible = torch.randn(2, 3, 32, 32), sample_visible(torch.arange(2), 16, 0.6)
    seen = []
    network.decoders["shared"][0].register_forward_hook(lambda _, inputs, output: seen.append(output))
    with torch.no_grad():
        torch.nn.init.normal_(network.vector_norm.weight)
        predicted = network(images, visible)
        cells = seen[0].flatten(1, 2)
        normed = torch.nn.functional.layer_norm(
            cells, (32,), network.vector_norm.weight, network.vector_norm.bias, 1e-6
        )
        for name in ("era5", "biome", "species"):
            torch.testing.assert_close(predicted[name], network.heads[name](normed.mean(1)))


def test_a_network_without_vectors_has_no_norm_for_them():
    assert make_network({"aster": PUBLISHED["aster"]}).vector_norm is None
    assert make_network({"era5": PUBLISHED["era5"]}).vector_norm is not None


def test_bands_are_those_of_the_input_then_those_that_are_only_predicted():
    network = make_network({"sentinel2": PUBLISHED["sentinel2"].select(SENTINEL2_BANDS), "biome": PUBLISHED["biome"]})
    assert network.bands == {
        "sentinel2": ("B4", "B3", "B2", "B1", "B5", "B6", "B7", "B8A", "B8", "B9", "B11", "B12"),
        "biome": ("biome",),
    }


def test_unequal_numbers_of_visible_patches_are_refused():
    visible = torch.zeros(2, 16, dtype=torch.bool)
    visible[0, :3] = True
    visible[1, :5] = True
    with pytest.raises(GridError, match=r"(?s)between 3 and 5 patches.*hint: show the same number"):
        make_network()(torch.randn(2, 3, 32, 32), visible)


def test_impossible_networks_are_refused():
    with pytest.raises(RecipeError, match=r"(?s)nothing to predict.*hint: name at least one"):
        make_network({})
    with pytest.raises(RecipeError, match=r"(?s)cannot be called 'keys'.*hint: rename"):
        make_network({"keys": PUBLISHED["aster"]})
    with pytest.raises(RecipeError, match=r"(?s)'sentinel1_series' is a continuous series.*hint: .*maps and vectors"):
        make_network({"sentinel1_series": PUBLISHED["sentinel1_series"]})
    with pytest.raises(BandError, match=r"the input has the bands B2, the encoder B4, B3, B2"):
        MaskedAutoencoder(
            EncoderSettings(bands=RGB),
            AutoencoderSettings(),
            inputs=[PUBLISHED["sentinel2"].select(["B2"])],
            targets=SOME,
        )

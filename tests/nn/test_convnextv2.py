import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.errors import BandError, GridError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.masking import sample_visible
from geopretext.nn.settings import EncoderSettings

RGB = ("B4", "B3", "B2")


def load_reference():
    spec = importlib.util.spec_from_file_location("sparse_reference", Path(__file__).with_name("sparse_reference.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def make_encoder(**settings) -> ConvNeXtV2:
    """Every weight is random, so that no term can hide behind a zero."""
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(**{"size": "micro", "bands": RGB, **settings}))
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.normal_(std=0.3)
    return encoder


def pixels_of(visible: torch.Tensor, patch: int, grid: tuple[int, int]) -> torch.Tensor:
    return visible.reshape(-1, 1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)


@pytest.mark.parametrize("count", [None, 4], ids=["masked", "visible patches only"])
@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
@pytest.mark.parametrize(("patch", "scope"), [(8, "sample"), (16, "batch")])
def test_masked_encoding_is_the_published_sparse_convolution(patch, scope, stem, count):
    encoder = make_encoder(patch_size=patch, image_size=patch * 4, stem=stem, grn_scope=scope)
    images = torch.randn(2, 3, 3 * patch, 4 * patch)
    visible = sample_visible(torch.tensor([3, 4]), 12, 0.6)
    weights = {key: value.numpy() for key, value in encoder.state_dict().items()}
    depths = encoder.settings.depths
    expected = load_reference().encode(weights, images.numpy(), visible.numpy(), patch, depths, scope)
    with torch.no_grad():
        features = encoder(images, visible, count)
    assert features.shape == (2, 256, 3, 4)
    assert len(expected) == 8
    for (tile, row, column), value in expected.items():
        np.testing.assert_allclose(features[tile, :, row, column], value, rtol=1e-4, atol=1e-4)
    hidden = ~visible.reshape(2, 1, 3, 4).expand_as(features)
    assert (features[hidden] == 0).all()


@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
@pytest.mark.parametrize("patch", [8, 16, 32])
def test_visible_patches_alone_give_the_same_as_masking(patch, stem):
    encoder = make_encoder(patch_size=patch, image_size=patch * 4, stem=stem).double()
    images = torch.randn(3, 3, 4 * patch, 4 * patch, dtype=torch.float64)
    visible = sample_visible(torch.arange(3), 16, 0.6)
    features, gradients = [], []
    for count in (None, 6):
        encoder.zero_grad()
        result = encoder(images, visible, count)
        result.square().mean().backward()
        features.append(result.detach())
        gradients.append({name: parameter.grad.clone() for name, parameter in encoder.named_parameters()})
    torch.testing.assert_close(features[0], features[1], rtol=1e-10, atol=1e-10)
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0
        assert (gradient - gradients[1][name]).norm() < 1e-9 * gradient.norm(), name


@pytest.mark.parametrize("count", [None, 4])
@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
@pytest.mark.parametrize("filler", [0.0, 1e3, float("nan"), float("inf")])
def test_what_is_masked_influences_nothing(filler, stem, count):
    encoder = make_encoder(stem=stem)
    images = torch.randn(2, 3, 24, 32)
    visible = sample_visible(torch.tensor([1, 2]), 12, 0.6)
    changed = torch.where(pixels_of(visible, 8, (3, 4)), images, filler)
    with torch.no_grad():
        for before, after in zip(
            encoder.forward_stages(images, visible, count), encoder.forward_stages(changed, visible, count), strict=True
        ):
            assert torch.equal(before, after)


@pytest.mark.parametrize("count", [None, 4])
def test_masked_pixels_get_no_gradient_and_visible_ones_do(count):
    encoder = make_encoder()
    images = torch.randn(2, 3, 24, 32, requires_grad=True)
    visible = sample_visible(torch.tensor([1, 2]), 12, 0.6)
    encoder(images, visible, count).square().sum().backward()
    shown = pixels_of(visible, 8, (3, 4)).expand_as(images)
    assert (images.grad[~shown] == 0).all()
    assert (images.grad[shown] != 0).all()


def test_showing_all_patches_is_the_dense_encoder():
    encoder = make_encoder()
    images = torch.randn(2, 3, 24, 32)
    everything = torch.ones(2, 12, dtype=torch.bool)
    with torch.no_grad():
        dense = encoder(images)
        torch.testing.assert_close(encoder(images, everything), dense, rtol=1e-5, atol=1e-4)
        torch.testing.assert_close(encoder(images, everything, 12), dense, rtol=1e-5, atol=1e-4)


def test_a_tile_does_not_depend_on_its_batch_unless_asked():
    images = torch.randn(3, 3, 16, 16)
    with torch.no_grad():
        alone = make_encoder()(images[:1])
        together = make_encoder()(images)[:1]
        torch.testing.assert_close(alone, together, rtol=1e-5, atol=1e-4)
        assert not torch.allclose(make_encoder(grn_scope="batch")(images)[:1], alone, atol=1e-3)


def test_stages_have_the_widths_and_strides_of_the_table():
    shapes = [
        tuple(stage.shape)
        for stage in make_encoder(patch_size=16, image_size=32).forward_stages(torch.randn(1, 3, 32, 48))
    ]
    assert shapes == [(1, 32, 16, 24), (1, 64, 8, 12), (1, 128, 4, 6), (1, 256, 2, 3)]


def test_parameters_are_named_and_shaped_as_the_published_dense_encoder():
    with torch.device("meta"):
        state = ConvNeXtV2(EncoderSettings(size="atto", patch_size=16, image_size=112)).state_dict()
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    expected = {
        "initial_conv.0.weight": (40, 12, 3, 3),
        "initial_conv.1.bias": (40,),
        "stem.0.weight": (40, 1, 2, 2),
        "stem.1.weight": (40,),
        "downsample_layers.0.0.weight": (40,),
        "downsample_layers.2.1.weight": (320, 160, 2, 2),
        "stages.2.5.dwconv.weight": (160, 1, 7, 7),
        "stages.3.1.norm.bias": (320,),
        "stages.0.0.pwconv1.weight": (160, 40),
        "stages.0.0.grn.gamma": (1, 1, 1, 160),
        "stages.0.0.grn.beta": (1, 1, 1, 160),
        "stages.0.0.pwconv2.weight": (40, 160),
    }
    assert expected.items() <= shapes.items()
    assert len(shapes) == 4 + 4 + 3 * 4 + 12 * 10
    with torch.device("meta"):
        original = ConvNeXtV2(EncoderSettings(stem="convnextv2", patch_size=32, image_size=224)).state_dict()
    assert original["stem_orig.0.weight"].shape == (40, 12, 4, 4)


def test_initial_weights_are_small_and_biases_zero_but_the_first():
    torch.manual_seed(0)
    state = ConvNeXtV2(EncoderSettings(size="micro")).state_dict()
    assert state.pop("initial_conv.0.bias").std() == pytest.approx(0.02, rel=0.5)
    assert state["stages.3.0.pwconv1.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert state["stages.3.0.dwconv.weight"].std() == pytest.approx(0.02, rel=0.05)
    assert all((value == 0).all() for key, value in state.items() if key.endswith((".bias", "gamma", "beta")))


@pytest.mark.parametrize("initialisation", ["small", "published"])
@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
def test_a_tile_without_any_observed_pixel_has_gradients_like_any_other(stem, initialisation):
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(size="micro", stem=stem, initialisation=initialisation))
    observed, missing, weights = torch.randn(1, 12, 56, 56), torch.zeros(1, 12, 56, 56), torch.randn(1, 256, 7, 7)

    def gradient_norm(x):
        encoder.zero_grad()
        (encoder(x) * weights).mean().backward()
        return torch.nn.utils.get_total_norm([parameter.grad for parameter in encoder.parameters()])

    assert gradient_norm(missing) < 20 * gradient_norm(observed)


def test_drop_path_acts_in_training_only():
    encoder = make_encoder(drop_path=0.9)
    images = torch.randn(4, 3, 16, 16)
    with torch.no_grad():
        encoder.eval()
        kept = encoder(images)
        assert torch.equal(kept, encoder(images))
        encoder.train()
        assert not torch.equal(kept, encoder(images))


def test_half_precision_stays_finite_and_close():
    encoder = make_encoder(image_size=56)
    images, visible = torch.randn(2, 3, 56, 56), sample_visible(torch.arange(2), 49, 0.6)
    with torch.no_grad():
        exact = encoder(images, visible, 19)
        with torch.autocast("cpu", torch.bfloat16):
            rough = encoder(images, visible, 19)
    assert torch.isfinite(rough).all()
    assert (rough - exact).norm() / exact.norm() < 0.05


def test_wrong_number_of_bands_is_named():
    encoder = ConvNeXtV2(EncoderSettings(size="micro"))
    with pytest.raises(BandError, match=r"(?s)\(1, 3, 16, 16\).*12.*B1, B2, .*B12"):
        encoder(torch.zeros(1, 3, 16, 16))


def test_wrong_image_size_and_mask_shape_are_named():
    encoder = make_encoder()
    with pytest.raises(GridError, match=r"(?s)20 x 16 pixels.*8 x 8.*hint: crop"):
        encoder(torch.zeros(1, 3, 20, 16))
    with pytest.raises(GridError, match=r"(?s)\(1, 5\).*hint: wanted \(1, 4\)"):
        encoder(torch.zeros(1, 3, 16, 16), torch.ones(1, 5, dtype=torch.bool))

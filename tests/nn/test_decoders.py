"""Every decoder scores every pixel, of any encoder, and learns; none has batch norms."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from geopretext.errors import BandError, GridError, MissingLibraryError, RecipeError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.decoders import make_segmenter
from geopretext.nn.enlarger import Enlarger
from geopretext.nn.settings import SEGMENTERS, STEMS, EncoderSettings
from geopretext.nn.siamese import make_siamese

pytestmark = pytest.mark.filterwarnings("ignore")  # of what segmentation-models-pytorch imports

BANDS = ("B2", "B8A", "B11")


def make_network(patch=8, stem="mmearth", **settings):
    torch.manual_seed(0)
    return ConvNeXtV2(
        EncoderSettings(
            **{"size": "micro", "bands": BANDS, "patch_size": patch, "image_size": patch, "stem": stem, **settings}
        )
    )


@pytest.fixture(params=SEGMENTERS)
def kind(request, need_decoder):
    need_decoder(request.param)
    return request.param


@pytest.mark.parametrize("patch", [8, 16, 32])
@pytest.mark.parametrize("stem", STEMS)
def test_every_pixel_gets_its_scores_whatever_the_image_size(kind, patch, stem):
    network = make_segmenter(kind, make_network(patch, stem), 3).eval()
    with torch.no_grad():
        for rows, columns in ((1, 1), (3, 2), (1, 5)):
            assert network(torch.randn(2, 3, rows * patch, columns * patch)).shape == (
                2,
                3,
                rows * patch,
                columns * patch,
            )


@pytest.mark.parametrize("size", [120, 96])
def test_images_of_bigearthnet_and_worldcereal_fit(kind, size):
    network = make_segmenter(kind, make_network(), 2).eval()
    with torch.no_grad():
        assert network(torch.randn(1, 3, size, size)).shape == (1, 2, size, size)


def test_every_weight_gets_a_gradient(kind):
    network = make_segmenter(kind, make_network(), 3).train()
    network(torch.randn(2, 3, 16, 24)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_no_map_is_finer_than_the_image(kind, patch):
    """Convolutions at twice the image's resolution would cost four times as much, and show nothing more."""
    network = make_segmenter(kind, make_network(patch), 3).eval()
    cells = []
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(lambda _, __, y: cells.append(y.shape[2] * y.shape[3]))
    with torch.no_grad():
        network(torch.randn(1, 3, 2 * patch, 3 * patch))
    assert max(cells) <= 6 * patch**2


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_images_of_a_batch_do_not_see_each_other(kind, patch):
    network = make_segmenter(kind, make_network(patch), 3).train()
    for module in network.modules():
        assert not isinstance(module, nn.modules.batchnorm._NormBase)
        if isinstance(module, nn.Dropout | nn.Dropout2d):
            module.p = 0.0
    images = torch.randn(2, 3, 2 * patch, 3 * patch)
    with torch.no_grad():
        torch.testing.assert_close(network(images)[:1], network(images[:1]), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("patch", [8, pytest.param(16, marks=pytest.mark.slow)])
def test_a_fine_pattern_is_learnt(kind, patch):
    """Stripes two pixels wide, which no map coarser than two pixels holds."""
    network = make_segmenter(kind, make_network(patch), 2).train()
    torch.manual_seed(0)
    images = torch.randn(2, 3, 16, 32)
    stripes = (torch.arange(32) // 2 % 2 * torch.ones(16, 1)).long()
    truth = torch.stack([stripes, 1 - stripes])
    images[:, 0] = truth + 0.1 * images[:, 0]
    optimiser = torch.optim.AdamW(network.parameters(), lr=1e-3)
    for _ in range(40):
        optimiser.zero_grad()
        F.cross_entropy(network(images), truth).backward()
        optimiser.step()
    with torch.no_grad():
        right = (network.eval()(images).argmax(1) == truth).float().mean()
    assert right > 0.97


def test_the_linear_decoder_is_one_convolution_of_all_stages():
    network = make_segmenter("linear", make_network(16), 3).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.normal_(std=0.3)
        images = torch.randn(2, 3, 32, 48)
        stages = [
            F.interpolate(
                F.layer_norm(stage.permute(0, 2, 3, 1), stage.shape[1:2], norm.weight, norm.bias, norm.eps).permute(
                    0, 3, 1, 2
                ),
                (32, 48),
                mode="bilinear",
            )
            for stage, norm in zip(network.encoder.forward_stages(images), network.norms, strict=True)
        ]
        weight = torch.cat([convolution.weight for convolution in network.decoder.convolutions], 1)
        bias = network.decoder.convolutions[0].bias
        torch.testing.assert_close(network(images), F.conv2d(torch.cat(stages, 1), weight, bias), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("make", [make_segmenter, make_siamese])
def test_networks_that_cannot_be_made_are_refused(make):
    with pytest.raises(RecipeError, match=r"(?s)no decoder 'segformer'.*one of linear, unet"):
        make("segformer", make_network(), 3)
    for kind in ("linear", "unet"):
        with pytest.raises(RecipeError, match="of 0 "):
            make(kind, make_network(), 0)
        with pytest.raises(RecipeError, match="dense_padding is 'published-classifier'"):
            make(kind, make_network(dense_padding="published-classifier"), 3)


class Other(nn.Module):
    """An encoder of four maps of noise that follow from the image; of one resolution, or of four."""

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...]) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.widths, self.strides = widths, strides
        self.layers = nn.ModuleList(
            nn.Conv2d(3, width, kernel_size=stride, stride=stride)
            for width, stride in zip(widths, strides, strict=True)
        )

    def forward_stages(self, x):
        return tuple(layer(x) for layer in self.layers)


@pytest.mark.parametrize("strides", [(8, 8, 8, 8), (1, 2, 4, 8)], ids=["one resolution", "four resolutions"])
def test_encoders_that_are_no_convnextv2_are_decoded(kind, strides):
    widths = (32, 32, 32, 32) if strides[0] == 8 else (8, 16, 32, 64)
    network = make_segmenter(kind, Other(widths, strides), 3)
    x = torch.randn(2, 3, 24, 16)
    scores = network(x)
    assert scores.shape == (2, 3, 24, 16)
    scores.square().sum().backward()
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name


@pytest.mark.parametrize("kind", ["linear", "unet"])
def test_patches_of_any_size_are_decoded(kind):
    network = make_segmenter(kind, Other((24,) * 4, (7,) * 4), 2)
    assert network(torch.randn(1, 3, 14, 28)).shape == (1, 2, 14, 28)


def test_an_enlarged_map_has_the_values_that_lie_between():
    """Against the weights of bilinear interpolation, worked out by hand for two cells enlarged eight times."""
    enlarger = Enlarger((8, 8, 8, 8))
    maps = [torch.randn(1, 8, 1, 2, generator=torch.Generator().manual_seed(n)) for n in range(4)]
    fine, *_, coarse = enlarger(maps)
    assert [one.shape[1:] for one in enlarger(maps)] == [(1, 8, 16), (2, 4, 8), (4, 2, 4), (8, 1, 2)]
    weight, bias = enlarger.convolutions[0].weight[:, :, 0, 0], enlarger.convolutions[0].bias
    left, right = (weight @ maps[0][0, :, 0, column] + bias for column in (0, 1))
    share = ((torch.arange(16) + 0.5) / 8 - 0.5).clamp(0, 1)
    torch.testing.assert_close(fine[0, 0], (left + (right - left) * share).expand(8, 16))
    torch.testing.assert_close(coarse, enlarger.convolutions[3](maps[3]))


def test_the_unet_names_the_encoders_that_it_does_not_fit():
    with pytest.raises(RecipeError, match=r"(?s)cells of 2, 8 pixels.*take 'linear'"):
        make_segmenter("unet", Other((8, 16), (2, 8)), 3)


def test_images_that_do_not_fit_are_refused(kind):
    network = make_segmenter(kind, make_network(), 3)
    with pytest.raises(GridError, match=r"(?s)20 x 24 pixels do not divide .*crop to a multiple of 8"):
        network(torch.randn(1, 3, 20, 24))
    with pytest.raises(BandError, match="B2, B8A, B11"):
        network(torch.randn(1, 4, 16, 16))


def test_a_missing_library_is_named(forget):
    forget("segmentation_models_pytorch")
    with pytest.raises(MissingLibraryError, match=r'(?s)segmentation_models_pytorch.*"geopretext\[segmentation\]"'):
        make_segmenter("smp-unet", make_network(), 3)

"""What segmentation-models-pytorch's decoders are given are the encoder's own stages."""

import importlib

import pytest
import torch

from geopretext.errors import RecipeError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import STEMS, EncoderSettings
from geopretext.nn.smp_encoder import Pyramid, SmpEncoder

pytestmark = pytest.mark.filterwarnings("ignore")  # of what segmentation-models-pytorch imports


def make_network(patch, stem="mmearth"):
    torch.manual_seed(0)
    return ConvNeXtV2(EncoderSettings(size="micro", bands=("B2",), patch_size=patch, image_size=patch, stem=stem))


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("patch", [8, 16, 32])
def test_features_are_the_stages_at_their_strides(patch, stem):
    network = make_network(patch, stem).eval()
    encoder = SmpEncoder(network)
    assert encoder.output_stride == patch
    with torch.no_grad():
        images = torch.randn(2, 1, 2 * patch, 3 * patch)
        features = encoder(images)
        for given, stage in zip(features[2:], network.forward_stages(images), strict=True):
            assert torch.equal(given, stage)
    strides = (1, max(1, patch // 16), *network.strides)
    assert network.strides == (patch // 8, patch // 4, patch // 2, patch)
    for feature, width, stride in zip(features, encoder.out_channels, strides, strict=True):
        assert feature.shape == (2, width, 2 * patch // stride, 3 * patch // stride)


@pytest.mark.parametrize("strides", [(4, 4, 4, 4), (8, 16, 32, 64), (1, 2, 4, 16), (3, 6, 12, 24), (1, 2, 4)], ids=str)
def test_other_pyramids_are_refused(strides):
    with pytest.raises(RecipeError, match=r"(?s)cells of .*hint: these decoders want four maps"):
        Pyramid((8,) * len(strides), strides)


@pytest.mark.parametrize("patch", [8, 16, 32])
def test_other_decoders_of_the_library_take_the_encoder(patch, load_optional):
    load_optional("geopretext.nn.smp_decoders")
    library = importlib.import_module("segmentation_models_pytorch.decoders.unetplusplus.decoder")
    encoder = SmpEncoder(make_network(patch))
    depth = {8: 3, 16: 4, 32: 5}[patch]
    channels = (64, 32, 16, 16, 8)[:depth]
    # of a shallower pyramid, this decoder reads the last maps only
    maps = slice(5 - depth, None)
    decoder = library.UnetPlusPlusDecoder(encoder.out_channels[maps], channels, n_blocks=depth)
    with torch.no_grad():
        assert decoder(encoder(torch.randn(2, 1, 2 * patch, 3 * patch))[maps]).shape[-2:] == (2 * patch, 3 * patch)

import re

import pytest
import torch

from geopretext.modality import PRETEXT
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.initialisation import SPREADS
from geopretext.nn.settings import INITIALISATIONS, SENTINEL2_BANDS, AutoencoderSettings, EncoderSettings

CUT = 0.8796
"""standard deviation of a standard normal variable between -2 and 2"""

PUBLISHED = {
    r"encoder\.initial_conv\.0\.weight": 0.02,
    r"encoder\.stem\.0\.weight": CUT,
    r"encoder\.downsample_layers\.\d\.1\.weight": 0.02,
    r"encoder\.stages\.\d\.\d\.(dwconv|pwconv1|pwconv2)\.weight": CUT,
    r"projection\.weight": CUT,
    r"mask_token": 0.02,
    r"decoders\.shared\.\d\.dwconv\.weight": CUT,
    r"decoders\.shared\.\d\.(pwconv1|pwconv2)\.weight": 0.02,
    r"heads\.(sentinel2|sentinel1|aster|canopy_height_eth|dynamic_world|esa_worldcover)\.weight": CUT,
    r"heads\.(era5|lat|lon|month|biome|ecoregion)\.weight": 0.02,
}
"""Standard deviations after the published code has visited all modules, by what our parameters are called."""


def make_network(**settings) -> MaskedAutoencoder:
    torch.manual_seed(0)
    targets = {m.name: m.select(SENTINEL2_BANDS) if m.name == "sentinel2" else m for m in PRETEXT}
    encoder = EncoderSettings(**{"size": "micro", "image_size": 32, **settings})
    return MaskedAutoencoder(
        encoder,
        AutoencoderSettings(decoder_dim=64),
        inputs=[targets["sentinel2"]],
        targets=targets,
    )


def deviations(network) -> dict[str, float]:
    """Of each kernel and the mask token; what else there is must be as it always starts."""
    found = {}
    for name, parameter in network.named_parameters():
        if name == "encoder.initial_conv.0.bias":
            assert parameter.std().item() == pytest.approx(0.02, rel=0.5)
            continue
        if name.endswith((".bias", ".gamma", ".beta")):
            assert (parameter == 0).all(), name
        elif re.search(r"norm\.weight|(conv|stem)\.1\.weight|layers\.\d\.0\.weight", name):
            assert (parameter == 1).all(), name
        else:
            found[name] = parameter.std().item()
    return found


def test_every_kernel_starts_as_in_the_published_code():
    network = make_network(initialisation="published")
    for name, found in deviations(network).items():
        rules = [wanted for pattern, wanted in PUBLISHED.items() if re.fullmatch(pattern, name)]
        assert len(rules) == 1, name
        few = network.get_parameter(name).numel() < 200
        assert found == pytest.approx(rules[0], rel=0.3 if few else 0.1), name
    assert max(parameter.abs().max() for parameter in network.parameters()) <= 2


def test_the_published_start_of_the_original_stem_is_small():
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(size="micro", stem="convnextv2", initialisation="published"))
    assert encoder.stem_orig[0].weight.std().item() == pytest.approx(0.02, rel=0.15)


def test_small_is_the_same_for_all():
    for name, found in deviations(make_network()).items():
        assert found == pytest.approx(0.02, rel=0.3), name


def test_every_choice_has_its_spread():
    assert tuple(SPREADS) == INITIALISATIONS

"""Bundles as TerraTorch's backbones; skipped where TerraTorch cannot be imported."""

import importlib

import pytest
import torch

from geopretext.errors import BandError, BundleError, InputError, MissingLibraryError
from geopretext.modality import Band, Kind, Modality
from geopretext.nn.official_input import RGB
from geopretext.nn.standardise import standardiser

pytestmark = pytest.mark.filterwarnings("ignore")  # TerraTorch's


@pytest.fixture
def registry(load_optional):
    load_optional("geopretext.nn.terratorch_backbone")
    torch.set_float32_matmul_precision("highest")  # importing TerraTorch lowers it
    return importlib.import_module("terratorch.registry").BACKBONE_REGISTRY


@pytest.fixture
def bundle(make_encoder, tmp_path):
    make_encoder(patch_size=16).save_pretrained(tmp_path / "bundle")
    return str(tmp_path / "bundle")


def test_it_is_registered_and_gives_the_encoders_stages(registry, bundle, make_encoder):
    encoder = make_encoder(patch_size=16)
    backbone = registry.build("geopretext_bundle", bundle=bundle).eval()
    assert "geopretext_bundle" in registry
    assert backbone.out_channels == [32, 64, 128, 256]
    assert backbone.patch_size == 16
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        for given, stage in zip(backbone(images), encoder.network.forward_stages(images), strict=True):
            torch.testing.assert_close(given, stage, rtol=1e-4, atol=1e-4)


def test_bands_are_found_by_name_and_standardised(registry, bundle, make_encoder):
    encoder = make_encoder(patch_size=16)
    names = ["SWIR_1", "CIRRUS", "BLUE", "B8A"]  # B11, not seen, B2, B8A
    backbone = registry.build("geopretext_bundle", bundle=bundle, bands=names, level="L2A", out_indices=[1, -1]).eval()
    images = torch.randint(1, 5000, (2, 4, 32, 32)).float()
    with torch.no_grad():
        stages = encoder.network.forward_stages(standardiser(encoder, "L2A")(images[:, [2, 3, 0]]))
        given = backbone(images)
    assert backbone.out_channels == [64, 256]
    torch.testing.assert_close(given[0], stages[1], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(given[1], stages[3], rtol=1e-4, atol=1e-4)


@pytest.mark.usefixtures("registry")
def test_names_of_bands_are_those_of_the_modality():
    """A NIR of Landsat is B5, which of Sentinel-2 is a red edge."""
    channels = importlib.import_module("geopretext.nn.terratorch_backbone")._channels
    landsat = Modality("landsat", Kind.CONTINUOUS_MAP, (Band("B2"), Band("B5")), "uint16")
    assert channels(landsat, ["B5", "B2"]) == [1, 0]
    with pytest.raises(BandError, match="the bands BLUE, RED_EDGE_1 lack B2, B5"):
        channels(landsat, ["BLUE", "RED_EDGE_1"])
    assert channels(RGB, ["BLUE", "NIR_BROAD", "RED", "G"]) == [2, 3, 0]


@pytest.mark.parametrize(
    ("task", "decoder", "options"),
    [
        ("segmentation", "FCNDecoder", {}),
        ("segmentation", "UNetDecoder", {"decoder_channels": [32, 16, 8, 4]}),
        ("classification", "IdentityDecoder", {}),
    ],
)
def test_models_of_terratorch_stand_on_it(registry, bundle, task, decoder, options):
    factory = importlib.import_module("terratorch.models").EncoderDecoderFactory()
    model = factory.build_model(
        task=task,
        backbone="geopretext_bundle",
        backbone_bundle=bundle,
        backbone_level="all",
        decoder=decoder,
        num_classes=5,
        **options,
    )
    output = model(torch.full((2, 3, 40, 40), 1500.0)).output  # 40 is no multiple of 16: TerraTorch pads
    assert output.shape == ((2, 5) if task == "classification" else (2, 5, 40, 40))
    output.sum().backward()
    assert all(parameter.grad is not None for parameter in model.encoder.parameters())


def test_random_weights_are_a_baseline(registry, bundle, make_encoder):
    torch.manual_seed(1)
    weights = registry.build("geopretext_bundle", bundle=bundle, pretrained=False).network.state_dict()
    pretrained = make_encoder(patch_size=16).network.state_dict()
    assert weights.keys() == pretrained.keys()
    assert not torch.equal(weights["stages.0.0.pwconv1.weight"], pretrained["stages.0.0.pwconv1.weight"])


def test_bad_input_is_named(registry, bundle, tmp_path):
    def build(**options):
        return registry.build("geopretext_bundle", **{"bundle": bundle, **options})

    with pytest.raises(BandError, match=r"(?s)the bands BLUE, RED lack B8A, B11, which .*\nhint: it sees B2, B8A, B11"):
        build(bands=["BLUE", "RED"])
    with pytest.raises(BandError, match=r"bands B2, BLUE, B8A, B11 repeat"):
        build(bands=["B2", "BLUE", "B8A", "B11"])
    with pytest.raises(InputError, match=r"(?s)out_indices are \[4\]\nhint: some of 0, 1, 2, 3"):
        build(out_indices=[4])
    with pytest.raises(InputError, match="no statistics of level 'L3'"):
        build(level="L3")
    with pytest.raises(BundleError, match="no such folder"):
        build(bundle=tmp_path / "nowhere")


def test_without_terratorch_the_install_line_is_named(forget):
    forget("terratorch")
    message = r'terratorch is not installed.*\nhint: pip install "geopretext\[terratorch\]"'
    with pytest.raises(MissingLibraryError, match=message):
        importlib.import_module("geopretext.nn.terratorch_backbone")

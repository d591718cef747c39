"""Bundles as weights of torchgeo; skipped where torchgeo cannot be imported."""

import importlib

import pytest
import torch

from geopretext.errors import BundleError, InputError, MissingLibraryError
from geopretext.modality import Band, Kind, Modality
from geopretext.nn.bundle import Encoder
from geopretext.nn.standardise import standardiser

pytestmark = pytest.mark.filterwarnings("ignore")  # torchgeo's


@pytest.fixture
def bundle_weights(load_optional):
    return load_optional("geopretext.nn.torchgeo_weights").bundle_weights


@pytest.fixture
def bundle(make_encoder, tmp_path):
    make_encoder().save_pretrained(tmp_path / "bundle")
    return tmp_path / "bundle"


def test_they_are_weights_as_torchgeo_has_them(bundle_weights, bundle):
    weights = bundle_weights(bundle, level="L2A")
    assert isinstance(weights, importlib.import_module("torchvision.models._api").WeightsEnum)
    assert repr(weights) == "Geopretext_Weights.MICRO"
    assert weights.meta["model"] == "geopretext_convnextv2_micro_patch8"
    assert weights.meta["in_chans"] == 3
    assert weights.meta["bands"] == ["B02", "B8A", "B11"]
    assert (weights.meta["level"], weights.meta["license"]) == ("L2A", "cc-by-4.0")


def test_bands_of_another_satellite_keep_their_names(bundle_weights, make_encoder, tmp_path):
    ours = make_encoder()
    landsat = Modality("landsat", Kind.CONTINUOUS_MAP, tuple(Band(name) for name in ours.bands), "uint16")
    Encoder(ours.network, landsat, statistics=ours.statistics).save_pretrained(tmp_path)
    assert bundle_weights(tmp_path).meta["bands"] == ["B2", "B8A", "B11"]


@pytest.mark.parametrize("settings", [{}, {"stem": "convnextv2", "patch_size": 32}])
def test_a_trainer_of_torchgeo_starts_from_them(bundle_weights, make_encoder, tmp_path, settings):
    encoder = make_encoder(**settings)
    encoder.save_pretrained(tmp_path / "bundle")
    weights = bundle_weights(tmp_path / "bundle", level="L2A")
    trainers = importlib.import_module("torchgeo.trainers")
    sample = {"image": torch.randint(1, 5000, (2, 3, 64, 32)).float(), "label": torch.tensor([3, 1])}
    standardised = weights.transforms(sample)
    assert torch.equal(standardised["label"], sample["label"])
    model, channels = weights.meta["model"], weights.meta["in_chans"]
    task = trainers.ClassificationTask(
        model=model, weights=weights, in_channels=channels, num_classes=10, freeze_backbone=True
    ).eval()
    with torch.no_grad():
        assert task(standardised["image"]).shape == (2, 10)
        expected = encoder(standardiser(encoder, "L2A")(sample["image"]))
        torch.testing.assert_close(task.model.forward_features(standardised["image"]), expected, rtol=1e-4, atol=1e-4)
    assert [name for name, p in task.named_parameters() if p.requires_grad] == [
        "model.head.fc.weight",
        "model.head.fc.bias",
    ]
    regression = trainers.RegressionTask(model=model, weights=weights, in_channels=channels, num_outputs=1)
    assert regression(standardised["image"]).shape == (2, 1)


def test_what_a_name_cannot_say_is_refused(bundle_weights, make_encoder, tmp_path):
    make_encoder(dense_grn_epsilon=1e-4).save_pretrained(tmp_path / "bundle")
    with pytest.raises(
        BundleError, match=r"(?s)by name alone, and cannot say .*dense_grn_epsilon.*hint: export it to timm"
    ):
        bundle_weights(tmp_path / "bundle")


def test_bad_input_is_named(bundle_weights, bundle):
    with pytest.raises(InputError, match="no statistics of level 'L3'"):
        bundle_weights(bundle, level="L3")


def test_without_torchgeo_the_install_line_is_named(load_optional, forget):
    load_optional("geopretext.nn.timm_models")
    forget("torchgeo")
    message = r'torchgeo is not installed.*\nhint: pip install "geopretext\[torchgeo\]"'
    with pytest.raises(MissingLibraryError, match=message):
        importlib.import_module("geopretext.nn.torchgeo_weights")


def test_of_a_sample_the_image_is_standardised_wherever_it_stands(bundle_weights, bundle, make_encoder):
    transforms = bundle_weights(bundle, level="L2A").transforms
    sample = {"bounds": torch.rand(2, 6), "mask": torch.ones(3, 8, 8), "image": torch.full((3, 8, 8), 1500.0)}
    given = transforms(sample)
    assert torch.equal(given["bounds"], sample["bounds"])
    assert torch.equal(given["mask"], sample["mask"])
    assert torch.equal(given["image"], standardiser(make_encoder(), "L2A")(sample["image"]))
    with pytest.raises(InputError, match="no 'image', only mask"):
        transforms({"mask": sample["mask"]})

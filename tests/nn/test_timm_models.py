"""Our architectures within timm, and timm's own with our weights; skipped where timm cannot be imported."""

import importlib
import subprocess
import sys

import pytest
import torch

from geopretext.errors import MissingLibraryError
from geopretext.nn.export import export_timm
from geopretext.nn.settings import SIZES
from geopretext.nn.timm_weights import registered_name, timm_architecture, timm_state_dict

pytestmark = pytest.mark.filterwarnings("ignore")  # timm's


@pytest.fixture
def timm(load_optional):
    load_optional("geopretext.nn.timm_models")
    return importlib.import_module("timm")


CASES = [
    {"patch_size": 8},
    {"patch_size": 16},
    {"patch_size": 32, "grn_scope": "batch"},
    {"patch_size": 16, "dense_padding": "published-classifier", "dense_grn_epsilon": 0.1},
    {"patch_size": 32, "dense_padding": "published-classifier"},
    {"patch_size": 32, "stem": "convnextv2", "dense_grn_epsilon": 1e-4, "size": "atto"},
    {"patch_size": 16, "stem": "convnextv2"},
    {"patch_size": 32, "stem": "convnextv2", "size": "atto"},
    {"patch_size": 8, "stem": "convnextv2", "size": "atto"},
    {"patch_size": 32, "stem": "convnextv2", "size": "tiny"},
]


@pytest.mark.parametrize("settings", CASES, ids=lambda case: " ".join(map(str, case.values())))
def test_weights_load_strictly_and_give_the_same_features(timm, make_encoder, settings):
    encoder = make_encoder(**settings)
    patch = encoder.settings.patch_size
    name, arguments = timm_architecture(encoder.settings)
    model = timm.create_model(name, num_classes=0, in_chans=3, **arguments).eval()
    weights = timm_state_dict(encoder.network, name)
    model.load_state_dict(weights, strict=True)
    images = torch.randn(2, 3, 2 * patch, 3 * patch)
    with torch.no_grad():
        stages = encoder.network.forward_stages(images)
        torch.testing.assert_close(model.forward_features(images), stages[-1], rtol=1e-4, atol=1e-4)
        pooled = model(images)
        expected = torch.nn.functional.layer_norm(stages[-1].mean((2, 3)), (encoder.width,), eps=1e-6)
        torch.testing.assert_close(pooled, expected, rtol=1e-4, atol=1e-4)
        extractor = timm.create_model(name, features_only=True, in_chans=3, **arguments).eval()
        assert extractor.feature_info.reduction() == [patch // 8, patch // 4, patch // 2, patch]
        assert extractor.feature_info.channels() == list(encoder.settings.widths)
        shapes = [stage.shape for stage in extractor(images)]
    assert shapes == [stage.shape for stage in stages]


def test_a_model_of_ours_behaves_like_timms(timm):
    model = timm.create_model("geopretext_convnextv2_micro_patch8", in_chans=3, num_classes=5, drop_path_rate=0.1)
    images = torch.randn(2, 3, 16, 16)
    assert model(images).shape == (2, 5)
    assert model.get_classifier().out_features == 5
    model.reset_classifier(0)
    assert model(images).shape == (2, 256)
    model.reset_classifier(7)
    assert model(images).shape == (2, 7)
    assert model.forward_head(model.forward_features(images), pre_logits=True).shape == (2, 256)
    assert [x.shape[-1] for x in model.forward_intermediates(images, intermediates_only=True)] == [16, 8, 4, 2]
    model.set_grad_checkpointing()
    model(images).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_every_architecture_is_registered(timm):
    expected = {
        registered_name(size, p, stem) for size in SIZES for p in (8, 16, 32) for stem in ("mmearth", "convnextv2")
    }
    assert expected <= set(timm.list_models("geopretext_*"))


@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
def test_an_exported_folder_is_a_model_of_timm(timm, make_encoder, tmp_path, stem):
    encoder = make_encoder(patch_size=32, stem=stem, size="atto" if stem == "convnextv2" else "micro")
    exported = export_timm(encoder, tmp_path / "out", level="L2A")
    assert exported.difference is not None
    assert exported.difference < 1e-4
    source = f"local-dir:{tmp_path / 'out'}"
    images = torch.randn(2, 3, 64, 96)
    model = timm.create_model(source, pretrained=True, features_only=True).eval()
    with torch.no_grad():
        for given, stage in zip(model(images), encoder.network.forward_stages(images), strict=True):
            torch.testing.assert_close(given, stage, rtol=1e-4, atol=1e-4)
    config = timm.data.resolve_model_data_config(model)
    assert tuple(config["input_size"]) == (3, 64, 64)
    assert tuple(config["mean"]) == (1100.0, 1110.0, 1120.0)
    assert tuple(config["std"]) == (320.0, 321.0, 322.0)
    assert timm.create_model(source, pretrained=True)(images).shape == (2, encoder.width)
    assert timm.create_model(source, pretrained=True, num_classes=4)(images).shape == (2, 4)


def test_weights_for_bands_that_were_never_seen_are_not_invented(timm, make_encoder, tmp_path):
    export_timm(make_encoder(), tmp_path / "out")
    with pytest.raises(RuntimeError, match=r"size mismatch for stem\.0\.weight"):
        timm.create_model(f"local-dir:{tmp_path / 'out'}", pretrained=True, in_chans=4)


@pytest.mark.slow
def test_a_fresh_interpreter_needs_one_import_and_no_more(timm, make_encoder, tmp_path):
    exported = export_timm(make_encoder(), tmp_path / "out")
    code = f"{exported.use}\nprint(model.feature_info.channels())"
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[32, 64, 128, 256]\n"


def test_without_timm_the_install_line_is_named(forget):
    forget("timm")
    with pytest.raises(MissingLibraryError, match=r'timm is not installed.*\nhint: pip install "geopretext\[timm\]"'):
        importlib.import_module("geopretext.nn.timm_models")


def test_a_torchvision_of_another_build_is_named(monkeypatch, forget):
    class Mismatched:
        def find_spec(self, name, path=None, target=None):
            if name.partition(".")[0] == "timm":
                raise RuntimeError("operator torchvision::nms does not exist")

    forget("timm")
    monkeypatch.delitem(sys.modules, "timm")
    monkeypatch.setattr(sys, "meta_path", [Mismatched(), *sys.meta_path])
    with pytest.raises(MissingLibraryError) as error:
        importlib.import_module("geopretext.nn.timm_models")
    assert error.value.what == (
        "a torchvision of the same build as torch is not installed; "
        "it is needed to import timm (operator torchvision::nms does not exist)"
    )
    assert error.value.hint == "install torch and torchvision in one command, from one index"

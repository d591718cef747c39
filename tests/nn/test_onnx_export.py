"""ONNX files, run in onnxruntime as a stranger would."""

import json
import sys

import numpy as np
import pytest
import torch

import geopretext.nn.onnx_export as onnx_export
from geopretext.errors import BundleError, GridError, InputError, MissingLibraryError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.export import on_trial, trial_images
from geopretext.nn.onnx_export import OUTPUTS, export_onnx
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.standardise import standardiser


@pytest.fixture(scope="session")
def onnxruntime():
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    return pytest.importorskip("onnxruntime")


@pytest.fixture(scope="session")
def written(onnxruntime, make_encoder, tmp_path_factory):
    """The default: raw numbers in, any size."""
    path = tmp_path_factory.mktemp("onnx") / "deep" / "encoder.onnx"
    return export_onnx(make_encoder(), path, level="L2A")


def open_session(onnxruntime, path):
    return onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])


def expected(encoder, images):
    with torch.no_grad():
        return [x.numpy() for x in (encoder(images), encoder.features(images, "mean"), encoder.features(images))]


@pytest.mark.parametrize("shape", [(1, 3, 8, 8), (3, 3, 40, 16), (2, 3, 64, 64)])
def test_raw_numbers_of_any_size_give_the_encoders_features(onnxruntime, written, make_encoder, shape):
    encoder = make_encoder()
    raw = torch.randint(1, 6000, shape).float()
    raw[0, :, 0, :3] = torch.tensor([0.0, 65535.0, torch.nan])
    outputs = open_session(onnxruntime, written.path).run(list(OUTPUTS), {"image": raw.numpy()})
    for given, wanted in zip(outputs, expected(encoder, standardiser(encoder, "L2A")(raw)), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


def test_the_file_describes_itself(onnxruntime, written):
    session = open_session(onnxruntime, written.path)
    (image,) = session.get_inputs()
    assert (image.name, image.type, image.shape) == ("image", "tensor(float)", ["batch", 3, "8*rows", "8*columns"])
    shapes = {output.name: output.shape for output in session.get_outputs()}
    assert shapes == {
        "grid": ["batch", 256, "grid_rows", "grid_columns"],
        "pooled_mean": ["batch", 256],
        "pooled_stages": ["batch", 960],
    }
    described = session.get_modelmeta().custom_metadata_map
    assert json.loads(described["bands"]) == ["B2", "B8A", "B11"]
    assert json.loads(described["units"]) == ["reflectance x 10000"] * 3
    assert json.loads(described["mean"]) == [1100, 1110, 1120]
    assert json.loads(described["std"]) == [320, 321, 322]
    assert json.loads(described["statistics"])["L1C"]["mean"] == [1000, 1010, 1020]
    assert (described["standardised_by"], described["level"], described["licence"]) == ("graph", "L2A", "cc-by-4.0")
    assert json.loads(described["encoder"])["patch_size"] == 8
    assert json.loads(described["missing"]) == [0, 65535]


def test_what_was_written_is_reported(written):
    assert written.path.stat().st_size == written.bytes
    assert written.difference < 1e-4
    assert written.facts["image"] == "(batch, 3, 8 * rows, 8 * columns)"
    assert written.facts["image_holds"] == "reflectance x 10000"
    assert [path.name for path in written.path.parent.iterdir()] == ["encoder.onnx"]
    assert b"site-packages" not in written.path.read_bytes()  # the exporter's notes quote the paths of this machine
    found = {"image": np.ones((1, 3, 8, 8), np.float32)}
    exec(written.use, found)
    assert found["grid"].shape == (1, 256, 1, 1)


def test_standardised_numbers_of_one_size(onnxruntime, make_encoder, tmp_path):
    encoder = make_encoder(
        patch_size=16, dense_padding="published-classifier", dense_grn_epsilon=1e-2, grn_scope="batch"
    )
    encoder.statistics = {}
    exported = export_onnx(encoder, tmp_path / "e.onnx", normalise=False, size=32)
    session = open_session(onnxruntime, exported.path)
    assert session.get_inputs()[0].shape == ["batch", 3, 32, 32]
    assert session.get_modelmeta().custom_metadata_map["standardised_by"] == "caller"
    images = torch.randn(3, 3, 32, 32)
    for given, wanted in zip(session.run(None, {"image": images.numpy()}), expected(encoder, images), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("stem", ["mmearth", "convnextv2"])
@pytest.mark.parametrize(("size", "patch"), [("atto", 8), ("atto", 16), ("tiny", 32)])
def test_other_architectures(onnxruntime, make_encoder, tmp_path, size, patch, stem):
    encoder = make_encoder(size=size, patch_size=patch, stem=stem)
    exported = export_onnx(encoder, tmp_path / "e.onnx")
    raw = 1200 + 300 * torch.randn(1, 3, 3 * patch, patch)
    outputs = open_session(onnxruntime, exported.path).run(None, {"image": raw.numpy()})
    for given, wanted in zip(outputs, expected(encoder, standardiser(encoder)(raw)), strict=True):
        np.testing.assert_allclose(given, wanted, rtol=1e-4, atol=1e-4)


def test_a_graph_with_other_features_is_not_left_behind(onnxruntime, written, make_encoder, tmp_path, monkeypatch):
    """The graph of one encoder, checked against another."""
    model = __import__("onnx").load(written.path)
    monkeypatch.setattr(onnx_export, "_trace", lambda *_: model)
    other = make_encoder()
    with torch.no_grad():
        other.network.stages[3][0].pwconv2.bias += 0.01
    with pytest.raises(BundleError, match=r"(?s)e\.onnx: the export gives other features.*nothing is left\nhint: "):
        export_onnx(other, tmp_path / "e.onnx", level="L2A")
    assert not list(tmp_path.iterdir())


def test_a_file_is_replaced_when_asked_only(onnxruntime, written, make_encoder, tmp_path, monkeypatch):
    out = tmp_path / "e.onnx"
    out.write_text("mine")
    with pytest.raises(InputError, match=r"(?s)e\.onnx: exists already\nhint: .*--overwrite"):
        export_onnx(make_encoder(), out)
    with pytest.raises(InputError, match="is a folder; this export is a file"):
        export_onnx(make_encoder(), tmp_path, overwrite=True)
    assert out.read_text() == "mine"
    model = __import__("onnx").load(written.path)
    monkeypatch.setattr(onnx_export, "_trace", lambda *_: model)
    export_onnx(make_encoder(), out, level="L2A", overwrite=True)
    assert out.stat().st_size == written.bytes


def test_bad_input_is_named(onnxruntime, make_encoder, tmp_path):
    out = tmp_path / "e.onnx"
    with pytest.raises(GridError, match=r"size 20 is not a multiple of the patch size\nhint: a multiple of 8 pixels"):
        export_onnx(make_encoder(), out, size=20)
    with pytest.raises(InputError, match="no statistics of level 'L3'"):
        export_onnx(make_encoder(), out, level="L3")
    bare = Encoder(make_encoder().network, make_encoder().modality)
    with pytest.raises(InputError, match=r"no statistics of its input\nhint: .*--no-normalise"):
        export_onnx(bare, out)
    assert not list(tmp_path.iterdir())


def test_what_no_file_can_hold_is_refused(onnxruntime, tmp_path):
    settings = EncoderSettings(size="huge")
    with torch.device("meta"):
        encoder = Encoder(ConvNeXtV2(settings), PUBLISHED["sentinel2"].select(settings.bands))
    with pytest.raises(BundleError, match=r"(?s)weights of a ConvNeXt V2 huge are 2\.4\nhint: export to timm"):
        export_onnx(encoder, tmp_path / "e.onnx")


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_library_names_its_install_line(make_encoder, tmp_path, monkeypatch, library):
    for name in ("onnx", "onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None if name == library else sys)
    with pytest.raises(
        MissingLibraryError, match=rf'{library} is not installed.*\nhint: pip install "geopretext\[export\]"'
    ):
        export_onnx(make_encoder(), tmp_path / "e.onnx")


def test_trial_images_are_the_same_each_time(make_encoder):
    encoder = make_encoder()
    with on_trial(encoder) as images:
        assert torch.equal(images, trial_images(encoder, height=2, width=3))
        assert images.shape == (2, 3, 16, 24)

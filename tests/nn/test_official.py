"""Published files, imported, compute what the published classes compute."""

import json
from argparse import Namespace
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from geopretext.modality import PRETEXT
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import load_head
from geopretext.nn.bundle_pretext import load_reconstructor, load_statistics
from geopretext.nn.classifier import Classifier
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.official import read_official
from geopretext.nn.official_input import GEOBENCH_BANDS, Told
from geopretext.nn.official_layout import Layout
from geopretext.nn.settings import SENTINEL2_BANDS, SIZES
from geopretext.nn.unet import UNet

from . import dense_reference, minkowski_reference
from . import official_files as published

VISIBLE = torch.tensor(
    [
        [[1, 0, 0], [0, 1, 1], [0, 0, 0]],
        [[0, 1, 1], [0, 0, 0], [0, 0, 1]],
    ],
    dtype=torch.bool,
)
"""Rows and columns are not alike; in one tile a row is empty, in the other a patch stands alone."""


def images_of(bands: int, patch: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(2, bands, 3 * patch, 3 * patch, generator=torch.Generator().manual_seed(seed))


def in_numpy(weights: published.Weights) -> dict[str, np.ndarray]:
    return {key: value.double().numpy() for key, value in weights.items()}


def in_pretraining(encoder: ConvNeXtV2) -> ConvNeXtV2:
    """The same weights where response norms span the batch, as they did when these were trained."""
    other = ConvNeXtV2(replace(encoder.settings, grn_scope="batch"))
    other.load_state_dict(encoder.state_dict())
    return other.train()


def distance(ours: torch.Tensor, theirs: np.ndarray) -> float:
    return float(np.abs(ours.detach().numpy() - theirs).max())


@pytest.mark.parametrize(
    ("size", "patch", "bands", "original_stem"),
    [
        ("atto", 8, 12, False),
        ("atto", 16, 12, False),
        ("atto", 32, 3, True),
        ("atto", 8, 3, True),
        pytest.param("tiny", 8, 12, False, marks=pytest.mark.slow),
    ],
)
def test_features_are_those_of_the_sparse_network(tmp_path, size, patch, bands, original_stem):
    weights = published.mmearth_pretraining(size, patch, bands, ("sentinel2",), original_stem=original_stem)
    official = read_official(published.save(tmp_path / "x.pth", weights))
    assert official.layout is Layout.MMEARTH_PRETRAINING
    settings = official.encoder.settings
    assert (settings.size, settings.patch_size, len(settings.bands)) == (size, patch, bands)
    images = images_of(bands, patch)
    expected = minkowski_reference.encode(
        in_numpy(weights), images.double().numpy(), VISIBLE.numpy(), patch, published.DEPTHS[size]
    )
    assert np.abs(expected).max() > 1
    features = in_pretraining(official.encoder)(images, VISIBLE.flatten(1), 3)
    assert distance(features, expected) < 1e-4
    masked = in_pretraining(official.encoder)(images, VISIBLE.flatten(1))
    assert distance(masked, expected) < 1e-4


@pytest.mark.parametrize("layer", ["initial_conv.0", "stem.0", "stages.0.1.dwconv", "stages.3.0.dwconv"])
def test_a_kernel_with_rows_and_columns_exchanged_would_be_noticed(tmp_path, layer):
    weights = published.mmearth_pretraining("atto", 16, 12, ("sentinel2",))
    encoder = read_official(published.save(tmp_path / "x.pth", weights)).encoder
    kernel = encoder.get_submodule(layer).weight
    kernel.data = kernel.data.transpose(2, 3).contiguous()
    images = images_of(12, 16)
    expected = minkowski_reference.encode(
        in_numpy(weights), images.double().numpy(), VISIBLE.numpy(), 16, published.DEPTHS["atto"]
    )
    assert distance(in_pretraining(encoder)(images, VISIBLE.flatten(1), 3), expected) > 1e-2


@pytest.mark.parametrize("patch", [8, 16])
def test_predictions_of_every_head_are_those_of_the_published_decoder(tmp_path, patch):
    weights = published.mmearth_pretraining("atto", patch)
    path = published.save(tmp_path / f"pt-all_mod_atto_1M_64_uncertainty_{7 * patch}-{patch}" / "c.pth", weights)
    network = read_official(path).network
    assert list(network.targets) == [modality.name for modality in PRETEXT]
    images, visible = images_of(12, patch)[:1], VISIBLE[:1]
    w = in_numpy(weights)
    cells = minkowski_reference.encode(w, images.double().numpy(), visible.numpy(), patch, published.DEPTHS["atto"])
    decoded = minkowski_reference.decode(w, cells, visible.numpy(), "decoder_dict.aster.0", 1e-4)
    with torch.no_grad():
        predictions = network(images, visible.flatten(1), everywhere=True)
    for name in published.ALL:
        expected = minkowski_reference.predict(w, decoded, f"pred_dict.{name}")
        assert distance(predictions["ecoregion" if name == "eco_region" else name], expected) < 1e-4, name


def test_a_deeper_decoder_is_imported_whole(tmp_path):
    weights = published.mmearth_pretraining("atto", outputs=("aster", "lat"), decoder_depth=2)
    network = read_official(published.save(tmp_path / "x.pth", weights)).network
    assert network.settings.decoder_depth == 2
    for block in range(2):
        ours = network.decoders["shared"][block].pwconv1.weight
        assert torch.equal(ours, weights[f"decoder_dict.lat.{block}.pwconv1.weight"])


def test_a_pretraining_bundle_holds_everything(tmp_path):
    weights = published.mmearth_pretraining()
    assert len(weights) == 290
    assert len(published.mmearth_pretraining("tiny")) == 350
    folder = "pt-all_mod_atto_1M_64_uncertainty_56-8"
    official = read_official(published.save(tmp_path / folder / "checkpoint-199.pth", weights))
    assert official.remarks == ()
    assert official.unused == ()
    official.save(tmp_path / "bundle")
    encoder = Encoder.from_pretrained(tmp_path / "bundle")
    assert encoder.bands == SENTINEL2_BANDS
    assert encoder.settings.image_size == 56
    assert (encoder.settings.dense_padding, encoder.settings.dense_grn_epsilon) == ("same", 1e-6)
    assert encoder.statistics == {}
    assert "encoder.statistics` is empty" in (tmp_path / "bundle" / "README.md").read_text()
    assert sum(p.numel() for p in encoder.parameters()) == 3_389_320
    recipe = encoder.recipe
    assert (recipe["name"], recipe["trained_on"], recipe["epochs"]) == (folder, "1M_64", 200)
    assert recipe["weighting"] == "uncertainty"
    assert list(recipe["log_variances"]) == [modality.name for modality in PRETEXT]
    np.testing.assert_allclose(list(recipe["log_variances"].values()), weights["loss_fn.log_vars"])
    network = load_reconstructor(tmp_path / "bundle")
    assert sum(p.numel() for p in network.parameters()) == 7_580_662
    assert network.settings.standardise_patches == ("sentinel2",)
    assert network.settings.decoder_grn_epsilon == 1e-4
    for key, value in official.network.state_dict().items():
        assert torch.equal(network.state_dict()[key], value)


def test_an_rgb_model_sees_and_predicts_blue_green_red(tmp_path):
    weights = published.mmearth_pretraining(bands=3)
    folder = "pt-rgb_atto_1M_64_uncertainty_56-8"
    official = read_official(published.save(tmp_path / folder / "checkpoint-199.pth", weights))
    assert official.modality.band_names == ("B2", "B3", "B4")
    assert official.targets["sentinel2"].band_names == ("B2", "B3", "B4")


def test_an_unweighted_model_has_no_log_variances(tmp_path):
    weights = published.mmearth_pretraining("atto", 16, outputs=("sentinel2",), uncertainty=False)
    folder = "pt-S2_atto_1M_128_unweighted_112-16"
    official = read_official(published.save(tmp_path / folder / "checkpoint-199.pth", weights))
    assert official.recipe["weighting"] == "equal"
    assert official.encoder.settings.image_size == 112
    assert official.network.vector_norm is None


def test_options_that_the_training_script_left_are_read(tmp_path):
    options = Namespace(
        patch_size=8,
        input_size=48,
        mask_ratio=0.75,
        norm_pix_loss=False,
        loss_aggr="uncertainty",
        data_dir=Path("/data/x"),
        modalities={"sentinel2": ["B4", "B3", "B2"], "sentinel1": "all"},
        out_modalities={"sentinel2": ["B4", "B3", "B2"], "sentinel1": "all"},
    )
    weights = published.mmearth_pretraining(bands=3, outputs=("sentinel2", "sentinel1"))
    official = read_official(published.save(tmp_path / "x.pth", weights, options))
    assert official.remarks == ()
    assert official.modality.band_names == ("B4", "B3", "B2")
    assert official.encoder.settings.image_size == 48
    assert official.network.settings.mask_ratio == 0.75
    assert official.network.settings.standardise_patches == ()


def test_as_published_computes_as_the_published_classifier(tmp_path):
    path = published.save(tmp_path / "x.pth", published.mmearth_pretraining(outputs=("sentinel2",)))
    settings = read_official(path, Told(as_published=True)).encoder.settings
    assert (settings.dense_padding, settings.dense_grn_epsilon) == ("published-classifier", 1e-4)


def test_distributed_prefixes_and_safetensors_make_no_difference(tmp_path):
    weights = published.mmearth_pretraining(outputs=("sentinel2", "aster", "month", "esa_worldcover"))
    plain = read_official(published.save(tmp_path / "x.pth", weights))
    prefixed = read_official(published.save(tmp_path / "y.pth", {f"module.{k}": v for k, v in weights.items()}))
    safetensors.torch.save_file({k: v.clone() for k, v in weights.items()}, tmp_path / "z.safetensors")
    sorted_names = read_official(tmp_path / "z.safetensors")
    assert list(sorted_names.targets) == list(plain.targets)
    assert sorted_names.recipe["log_variances"] == plain.recipe["log_variances"]
    for other in (prefixed, sorted_names):
        for key, value in plain.network.state_dict().items():
            assert torch.equal(other.network.state_dict()[key], value)


@pytest.mark.parametrize(("patch", "original_stem"), [(8, False), (16, False), (32, False), (16, True)])
def test_a_classifier_scores_as_the_published_one(tmp_path, patch, original_stem):
    weights = published.mmearth_dense("atto", patch, original_stem=original_stem)
    official = read_official(published.save(tmp_path / "x.pth", weights))
    assert official.layout is Layout.MMEARTH_DENSE
    assert official.head == {"kind": "classifier", "classes": 10}
    assert official.modality.band_names == GEOBENCH_BANDS
    assert "B8 before B8A" in official.remarks[0]
    images = torch.randn(2, 12, 7 * patch, 7 * patch, generator=torch.Generator().manual_seed(1))
    expected = dense_reference.mmearth_classifier(weights, images, published.DEPTHS["atto"])
    official.save(tmp_path / "bundle")
    network = load_head(tmp_path / "bundle")
    assert isinstance(network, Classifier)
    with torch.no_grad():
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4)
        features = Encoder.from_pretrained(tmp_path / "bundle")(images)
        assert features.shape[-2:] == ((6, 6) if patch == 8 and not original_stem else (7, 7))
        padded = ConvNeXtV2(replace(network.encoder.settings, dense_padding="same")).eval()
        padded.load_state_dict(network.encoder.state_dict())
        assert padded(images).shape[-2:] == (7, 7)


@pytest.mark.parametrize(("patch", "original_stem"), [(8, False), (16, False), (32, True)])
def test_a_unet_scores_as_the_published_one(tmp_path, patch, original_stem):
    weights = published.mmearth_unet("atto", patch, original_stem=original_stem)
    official = read_official(published.save(tmp_path / "x.pth", weights))
    assert official.layout is Layout.MMEARTH_UNET
    assert official.unused == ("norm.weight", "norm.bias")
    settings = official.encoder.settings
    assert (settings.dense_padding, settings.dense_grn_epsilon) == ("same", 1e-4)
    official.save(tmp_path / "bundle")
    network = load_head(tmp_path / "bundle")
    assert isinstance(network, UNet)
    images = torch.randn(2, 12, 2 * patch, 3 * patch, generator=torch.Generator().manual_seed(1))
    expected = dense_reference.mmearth_unet(weights, images, published.DEPTHS["atto"], patch)
    with torch.no_grad():
        scores = network(images)
    assert scores.shape == (2, 7, 2 * patch, 3 * patch)
    torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-4)


def test_imagenet_pretraining_reconstructs_pictures(tmp_path):
    weights = published.convnextv2_pretraining()
    official = read_official(published.save(tmp_path / "convnextv2_atto_1k_224_fcmae.pt", weights))
    assert official.layout is Layout.CONVNEXTV2_PRETRAINING
    settings = official.encoder.settings
    assert (settings.stem, settings.patch_size, settings.image_size) == ("convnextv2", 32, 224)
    assert settings.bands == ("R", "G", "B")
    images, w = images_of(3, 32), in_numpy(weights)
    cells = minkowski_reference.encode(w, images.double().numpy(), VISIBLE.numpy(), 32, published.DEPTHS["atto"])
    features = in_pretraining(official.encoder)(images, VISIBLE.flatten(1), 3)
    assert distance(features, cells) < 1e-4
    one = minkowski_reference.encode(w, images[:1].double().numpy(), VISIBLE[:1].numpy(), 32, published.DEPTHS["atto"])
    decoded = minkowski_reference.decode(w, one, VISIBLE[:1].numpy(), "decoder.0", 1e-6)
    official.save(tmp_path / "bundle")
    with torch.no_grad():
        predictions = load_reconstructor(tmp_path / "bundle")(images[:1], VISIBLE[:1].flatten(1), everywhere=True)
    assert distance(predictions["rgb"], minkowski_reference.predict(w, decoded, "pred")) < 1e-4
    bundle = Encoder.from_pretrained(tmp_path / "bundle")
    assert bundle.unit == "intensity 0..1"
    assert bundle.statistics["all"] == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    assert load_statistics(tmp_path / "bundle")["modalities"]["rgb"]["bands"]["all"]["G"]["std"] == 0.224


@pytest.mark.parametrize("axes", [1, 2, 4])
def test_an_imagenet_classifier_scores_as_the_published_one(tmp_path, axes):
    weights = published.convnextv2_dense(classes=9)
    for key in [key for key in weights if ".grn." in key]:
        weights[key] = weights[key].reshape([1] * (axes - 1) + [-1])
    official = read_official(published.save(tmp_path / "convnextv2_atto_22k_384_ema.pt", weights))
    assert official.layout is Layout.CONVNEXTV2_DENSE
    assert official.encoder.settings.image_size == 384
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(1))
    expected = dense_reference.convnextv2_classifier(weights, images, published.DEPTHS["atto"])
    with torch.no_grad():
        torch.testing.assert_close(official.network(images), expected, rtol=1e-4, atol=1e-4)


def test_imagenet_weights_can_be_put_on_sentinel2(tmp_path):
    path = published.save(tmp_path / "x.pt", published.convnextv2_dense(head=False))
    official = read_official(path, Told(modality="sentinel2"))
    assert isinstance(official.network, ConvNeXtV2)
    assert official.modality.band_names == ("B4", "B3", "B2")
    assert official.statistics is None  # those of pictures say nothing about reflectance
    assert any("B4, B3, B2" in remark for remark in official.remarks)
    official.save(tmp_path / "bundle")
    assert {p.name for p in (tmp_path / "bundle").iterdir()} == {"README.md", "config.json", "model.safetensors"}


def test_an_encoder_that_lost_its_head_keeps_no_norm(tmp_path):
    weights = published.convnextv2_dense()
    weights = {key: value for key, value in weights.items() if not key.startswith("head.")}
    official = read_official(published.save(tmp_path / "x.pt", weights))
    assert isinstance(official.network, ConvNeXtV2)
    assert official.unused == ("norm.weight", "norm.bias")


@pytest.mark.parametrize("size", [size for size in SIZES if size not in ("micro", "tiny")])
def test_every_size_is_recognised(tmp_path, size, monkeypatch):
    """From the shapes of one stage's first weights on; the large ones without their bytes."""
    from geopretext.nn.official_file import OfficialFile
    from geopretext.nn.official_layout import measure

    monkeypatch.setitem(published.DEPTHS, size, SIZES[size][0])
    monkeypatch.setitem(published.WIDTHS, size, SIZES[size][1])
    shapes = published.mmearth_dense_encoder(size, 16, 12, original_stem=False)
    weights = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    file = OfficialFile(tmp_path / "x.pth", weights, True, {}, None)
    assert measure(file, Layout.MMEARTH_DENSE).size == size


def test_statistics_go_into_the_bundle(tmp_path):
    numbers = {"mean": 5.0, "std": 2.0, "min": 1.0, "max": 9.0, "percentiles": {}, "count": 1, "missing": 0}
    level = {"bands": {"L2A": dict.fromkeys(SENTINEL2_BANDS, numbers)}, "class_counts": {}, "missing": 0}
    statistics = {"tiles": 1, "split": "train", "modalities": {"sentinel2": level}}
    path = published.save(tmp_path / "x.pth", published.mmearth_pretraining(outputs=("sentinel2",)))
    read_official(path, Told(statistics=statistics)).save(tmp_path / "bundle")
    assert Encoder.from_pretrained(tmp_path / "bundle").statistics == {"L2A": ((5.0,) * 12, (2.0,) * 12)}
    assert load_statistics(tmp_path / "bundle") == json.loads(json.dumps(statistics))

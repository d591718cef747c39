"""Files that are not what they should be: what is said about them."""

import json
from argparse import Namespace

import pytest
import torch

from geopretext.errors import BandError, BundleError, InputError
from geopretext.nn.bundle_heads import load_head
from geopretext.nn.bundle_pretext import load_statistics
from geopretext.nn.official import read_official
from geopretext.nn.official_input import Told

from . import official_files as published


def refused(tmp_path, weights, message, *, folder="x", told=None, options=None, error=BundleError):
    path = published.save(tmp_path / folder / "checkpoint-199.pth", weights, options)
    with pytest.raises(error, match=f"(?s){message}") as raised:
        read_official(path, told)
    return raised.value


def pretraining(**changes):
    return published.mmearth_pretraining(outputs=("sentinel2", "era5"), **changes)


def test_missing_weights_are_named(tmp_path):
    weights = pretraining()
    del weights["encoder.stages.2.3.grn.beta"]
    error = refused(
        tmp_path,
        weights,
        "the weights are not those of the MMEarth pretraining checkpoint of size atto with patches of 8 px: "
        "encoder.stages.2.3.grn.beta is missing.*hint: download the file again",
    )
    assert error.where.endswith("checkpoint-199.pth")


def test_weights_of_another_shape_are_named(tmp_path):
    weights = pretraining()
    weights["encoder.stages.0.0.dwconv.kernel"] = torch.ones(49, 48)
    refused(tmp_path, weights, r"encoder.stages.0.0.dwconv.kernel is \(49, 48\), wanted \(49, 40\)")
    weights = pretraining()
    weights["pred_dict.era5.weight"] = torch.ones(12, 511)
    refused(tmp_path, weights, r"pred_dict.era5.weight is \(12, 511\), wanted \(12, 512\)")


def test_unknown_weights_are_named(tmp_path):
    refused(tmp_path, pretraining() | {"encoder.extra.weight": torch.ones(3)}, "encoder.extra.weight is unknown")
    refused(
        tmp_path,
        pretraining() | {"decoder_dict.aster.0.norm.weight": torch.ones(512)},
        "decoder_dict.aster.0.norm.weight is unknown",
    )


def test_a_mixture_of_layouts_is_refused(tmp_path):
    weights = pretraining()
    kernel = weights.pop("encoder.stages.0.0.dwconv.kernel")
    weights["encoder.stages.0.0.dwconv.weight"] = kernel.t().reshape(40, 1, 7, 7)
    refused(tmp_path, weights, "encoder.stages.0.0.dwconv.kernel is missing")
    refused(
        tmp_path,
        published.mmearth_dense() | {"stem_orig.0.weight": torch.ones(40, 12, 2, 2)},
        "stem_orig.1.weight is missing",
    )
    refused(tmp_path, published.mmearth_dense() | pretraining(), "is unknown; .*; and .* more")
    refused(
        tmp_path, {("module." if i else "") + k: v for i, (k, v) in enumerate(pretraining().items())}, "has no prefix"
    )


def test_dense_response_norms_do_not_pass_for_sparse_ones(tmp_path):
    weights = pretraining()
    for key in [key for key in weights if key.startswith("encoder.") and ".grn." in key]:
        weights[key] = weights[key][None, None]
    refused(tmp_path, weights, r"encoder.stages.0.0.grn.gamma is \(1, 1, 1, 160\), wanted \(1, 160\)")


def test_decoders_that_differ_are_refused(tmp_path):
    weights = pretraining()
    weights["decoder_dict.era5.0.norm.bias"] = weights["decoder_dict.era5.0.norm.bias"] + 1e-3
    refused(
        tmp_path,
        weights,
        "decoder_dict.era5.0.norm.bias differs from decoder_dict.sentinel2.0.norm.bias.*all modalities share.*hint: .*",
    )


def test_architectures_that_do_not_exist_are_refused(tmp_path):
    weights = {k: v for k, v in pretraining().items() if not k.startswith("encoder.stages.2.5")}
    refused(tmp_path, weights, r"four stages have \(2, 2, 5, 2\) blocks of \(40, 80, 160, 320\).*hint: sizes are micro")
    weights = pretraining()
    weights["encoder.stem.0.kernel"] = torch.ones(9, 40)
    refused(tmp_path, weights, "a kernel 3 cells wide.*hint: the stem of patches of 8, 16 or 32 px")
    del weights["encoder.stem.0.kernel"]
    refused(tmp_path, weights, "encoder.stem.0.kernel is missing")
    weights["encoder.stem.0.kernel"] = torch.ones(40)
    refused(tmp_path, weights, r"encoder.stem.0.kernel is \(40,\), wanted two axes or more")


def test_other_layouts_are_refused(tmp_path):
    resnet = {"conv1.weight": torch.ones(2), "layer1.0.bn1.weight": torch.ones(2)}
    refused(
        tmp_path,
        resnet,
        "is no published layout that is known; its weights are conv1.weight, layer1.*hint: known are MMEarth",
    )


def test_heads_that_cannot_be_are_refused(tmp_path):
    weights = pretraining()
    weights["pred_dict.IMNET.weight"] = torch.ones(3, 512)
    refused(tmp_path, weights, "pred_dict.IMNET.weight predicts no modality of MMEarth.*hint: known are sentinel2")
    weights = {k: v for k, v in pretraining().items() if not k.startswith("pred_dict")}
    refused(tmp_path, weights, "it has no pred_dict")
    weights = pretraining()
    weights["loss_fn.log_vars"] = torch.zeros(3)
    refused(tmp_path, weights, r"loss_fn.log_vars is \(3,\), wanted \(2,\)")


def test_heads_of_some_bands_need_their_names(tmp_path):
    weights = published.mmearth_pretraining(outputs=("sentinel2", "sentinel1"))
    weights["pred_dict.sentinel1.weight"] = torch.ones(128, 512, 1, 1)
    weights["pred_dict.sentinel1.bias"] = torch.ones(128)
    refused(
        tmp_path,
        weights,
        "pred_dict.sentinel1.weight predicts 2 bands of sentinel1, not the 8 bands asc_VV.*--targets '{sentinel1:",
    )
    told = Told(targets={"sentinel1": ("asc_VV", "asc_VH")})
    official = read_official(tmp_path / "x" / "checkpoint-199.pth", told)
    assert official.targets["sentinel1"].band_names == ("asc_VV", "asc_VH")
    refused(
        tmp_path,
        weights,
        "--targets names 'aster', which the file does not predict.*hint: it predicts sentinel2",
        told=Told(targets={"aster": None}),
    )
    refused(tmp_path, weights, "no band 'VV'", told=Told(targets={"sentinel1": ("VV", "VH")}), error=BandError)


@pytest.mark.parametrize(
    ("folder", "message"),
    [
        ("pt-all_mod_atto_1M_64_uncertainty_56-8", "stands for all_mod, but the file lacks a head for aster"),
        ("pt-S2_atto_1M_64_uncertainty_56-8", "stands for S2, but the file has a head for era5"),
        ("pt-S2_tiny_1M_64_uncertainty_56-8", "the size is atto by the weights, but tiny by the name pt-S2_tiny"),
        ("pt-S2_atto_1M_64_unweighted_56-8", "has a head for era5|weighting of tasks is uncertainty"),
        ("pt-img_mod_atto_1M_128_uncertainty_112-16", "the patch size is 8 by the weights, but 16 by the name"),
        ("pt-rgb_atto_1M_64_uncertainty_56-8", "the number of bands is 12 by the weights, but 3 by the name"),
    ],
)
def test_a_name_that_contradicts_the_file_is_an_error(tmp_path, folder, message):
    error = refused(tmp_path, pretraining(), message, folder=folder)
    assert "published name" in error.hint


def test_a_name_that_contradicts_the_weighting_is_an_error(tmp_path):
    weights = published.mmearth_pretraining(outputs=("sentinel2",))
    refused(
        tmp_path,
        weights,
        "the weighting of tasks is uncertainty by the weights, but unweighted by the name",
        folder="pt-S2_atto_1M_64_unweighted_56-8",
    )


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (Told(patch_size=16), "the patch size is 8 by the weights, but 16 by --patch-size.*hint: leave out the option"),
        (Told(bands=("B2", "B3")), "takes 12 bands, but 2 are named: B2, B3.*hint: --bands with 12 names"),
        (Told(image_size=60), "encoder.image_size 60 is not a multiple of encoder.patch_size 8"),
        (Told(modality="aster"), "takes 12 bands, and nothing says which.*hint: .*--bands"),
    ],
)
def test_options_that_contradict_the_file_are_an_error(tmp_path, told, message):
    refused(tmp_path, pretraining(), message, told=told)


def test_options_in_the_file_are_held_against_the_others(tmp_path):
    options = Namespace(patch_size=16)
    refused(tmp_path, pretraining(), "is 8 by the weights, but 16 by the options in the file", options=options)
    options = Namespace(input_size=112)
    refused(
        tmp_path,
        pretraining(),
        "the image size is 56 by --image-size, but 112 by the options in the file",
        options=options,
        told=Told(image_size=56),
    )


def test_names_that_do_not_exist_are_refused(tmp_path):
    refused(tmp_path, pretraining(), "no modality 'sentinel3'", told=Told(modality="sentinel3"), error=InputError)
    bands = tuple(f"B{number}" for number in range(20, 32))
    refused(tmp_path, pretraining(), "no band 'B20'", told=Told(bands=bands), error=BandError)


def test_three_bands_of_a_fine_tuned_model_must_be_named(tmp_path):
    weights = published.mmearth_dense(bands=3)
    refused(tmp_path, weights, "initial_conv.0.weight takes 3 bands, and nothing says which.*hint: .*B2,B3,B4")
    for options, bands in (
        (Namespace(geobench_bands_type="bgr", data_set="m-eurosat"), ("B2", "B3", "B4")),
        (Namespace(geobench_bands_type="rgb", data_set="m-eurosat"), ("B4", "B3", "B2")),
        (Namespace(geobench_bands_type="bgr", data_set="m-brick-kiln"), ("B4", "B3", "B2")),
    ):
        path = published.save(tmp_path / "y.pth", weights, options)
        assert read_official(path).modality.band_names == bands


def test_substitutes_of_so2sat_are_told(tmp_path):
    options = Namespace(geobench_bands_type="full", data_set="m-so2sat")
    path = published.save(tmp_path / "x.pth", published.mmearth_dense(), options)
    assert "B2 in the place of B1" in read_official(path).remarks[0]


def test_a_unet_without_a_head_is_refused(tmp_path):
    weights = published.mmearth_unet()
    del weights["head.weight"]
    refused(tmp_path, weights, "head.weight is missing")
    refused(tmp_path, weights | {"head.weight": torch.tensor(1.0)}, r"head.weight is \(\), wanted two axes or more")
    weights = pretraining() | {"encoder.stages.0.0.norm.ln.weight": torch.tensor(1.0)}
    refused(tmp_path, weights, r"four stages have \(2, 2, 6, 2\) blocks of \(1, 80, 160, 320\)")


def test_statistics_must_cover_the_input(tmp_path):
    statistics = {"tiles": 1, "split": "train", "modalities": {}}
    refused(tmp_path, pretraining(), "the statistics lack 'sentinel2' of the input", told=Told(statistics=statistics))


def test_only_bundles_are_replaced(tmp_path):
    official = read_official(published.save(tmp_path / "x.pt", published.convnextv2_dense(head=False)))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("precious")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "config.json").write_text(json.dumps({"model_type": "bert"}))
    (tmp_path / "file").touch()
    for name in ("mine", "other", "file"):
        with pytest.raises(BundleError, match=r"(?s)is there already, and is no bundle.*hint: write to another folder"):
            official.save(tmp_path / name)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["notes.txt"]
    (tmp_path / "empty").mkdir()
    official.save(tmp_path / "empty")
    official.save(tmp_path / "empty")


def test_bundles_without_what_is_asked_for_say_so(tmp_path):
    read_official(published.save(tmp_path / "x.pth", pretraining())).save(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"(?s)holds no statistics: it was imported.*hint: .*--statistics"):
        load_statistics(tmp_path / "bundle")
    with pytest.raises(BundleError, match=r"(?s)holds no classifier and no decoder.*hint: .*Encoder"):
        load_head(tmp_path / "bundle")


def test_a_bundle_of_another_kind_leaves_no_head_behind(tmp_path):
    read_official(published.save(tmp_path / "x.pt", published.convnextv2_dense(classes=3))).save(tmp_path / "bundle")
    assert (tmp_path / "bundle" / "head.safetensors").exists()
    read_official(published.save(tmp_path / "x.pth", pretraining())).save(tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "head.safetensors").exists()

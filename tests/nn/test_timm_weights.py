"""Names and shapes as timm has them; that its models load them is tested where timm is installed."""

import pytest
import torch

from geopretext.nn.settings import SIZES, EncoderSettings
from geopretext.nn.timm_weights import registered_name, timm_architecture, timm_state_dict

BLOCK = {
    "conv_dw.weight": (32, 1, 7, 7),
    "conv_dw.bias": (32,),
    "norm.weight": (32,),
    "norm.bias": (32,),
    "mlp.fc1.weight": (128, 32),
    "mlp.fc1.bias": (128,),
    "mlp.grn.weight": (128,),
    "mlp.grn.bias": (128,),
    "mlp.fc2.weight": (32, 128),
    "mlp.fc2.bias": (32,),
}
"""First block of ``micro``."""


def shapes(weights, prefix):
    return {name.removeprefix(prefix): tuple(value.shape) for name, value in weights.items() if name.startswith(prefix)}


def test_weights_are_named_and_shaped_as_in_timm(make_encoder):
    encoder = make_encoder(patch_size=16)
    weights = timm_state_dict(encoder.network, "geopretext_convnextv2_micro_patch16")
    assert shapes(weights, "stages.0.blocks.0.") == BLOCK
    assert shapes(weights, "stem.") == {
        "0.weight": (32, 3, 3, 3),
        "0.bias": (32,),
        "1.weight": (32,),
        "1.bias": (32,),
        "3.weight": (32, 1, 2, 2),
        "3.bias": (32,),
        "4.weight": (32,),
        "4.bias": (32,),
    }
    assert shapes(weights, "stages.3.downsample.") == {
        "0.weight": (128,),
        "0.bias": (128,),
        "1.weight": (256, 128, 2, 2),
        "1.bias": (256,),
    }
    assert shapes(weights, "head.") == {"norm.weight": (256,), "norm.bias": (256,)}
    state = encoder.network.state_dict()
    assert len(weights) == len(state) + 2
    assert torch.equal(weights["stem.3.weight"], state["stem.0.weight"])
    assert torch.equal(weights["stem.4.bias"], state["stem.1.bias"])
    assert torch.equal(weights["stages.2.blocks.1.mlp.grn.weight"], state["stages.2.1.grn.gamma"].flatten())
    assert torch.equal(weights["stages.1.downsample.1.weight"], state["downsample_layers.0.1.weight"])


@pytest.mark.parametrize(("size", "shape"), [("atto", (160, 40, 1, 1)), ("tiny", (384, 96))])
def test_small_sizes_of_timm_itself_have_convolutions_for_linear_layers(make_encoder, size, shape):
    encoder = make_encoder(size=size, stem="convnextv2", patch_size=32)
    name, _ = timm_architecture(encoder.settings)
    weights = timm_state_dict(encoder.network, name)
    assert weights["stages.0.blocks.0.mlp.fc1.weight"].shape == shape
    ours = timm_state_dict(encoder.network, registered_name(size, 32, "convnextv2"))
    assert ours["stages.0.blocks.0.mlp.fc1.weight"].shape == shape[:2]


@pytest.mark.parametrize(
    ("settings", "name", "arguments"),
    [
        ({"stem": "convnextv2", "patch_size": 32}, "convnextv2_atto", {"patch_size": 4}),
        ({"stem": "convnextv2", "patch_size": 8}, "convnextv2_atto", {"patch_size": 1}),
        ({"stem": "convnextv2", "patch_size": 16}, "geopretext_convnextv2_atto_patch16_origstem", {}),
        (
            {"stem": "convnextv2", "patch_size": 32, "size": "micro"},
            "geopretext_convnextv2_micro_patch32_origstem",
            {},
        ),
        (
            {"stem": "convnextv2", "patch_size": 32, "dense_grn_epsilon": 1e-4},
            "geopretext_convnextv2_atto_patch32_origstem",
            {"dense_grn_epsilon": 1e-4},
        ),
        (
            {"patch_size": 16, "dense_padding": "published-classifier"},
            "geopretext_convnextv2_atto_patch16",
            {"dense_padding": "published-classifier"},
        ),
        ({"stem": "mmearth", "patch_size": 32}, "geopretext_convnextv2_atto_patch32", {}),
    ],
)
def test_timms_own_architecture_is_taken_where_it_is_the_same(settings, name, arguments):
    assert timm_architecture(EncoderSettings(**{"image_size": 64, **settings})) == (name, arguments)


def test_names_differ():
    names = {
        registered_name(size, p, stem) for size in SIZES for p in (8, 16, 32) for stem in ("mmearth", "convnextv2")
    }
    assert len(names) == 9 * 3 * 2

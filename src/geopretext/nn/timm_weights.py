"""An encoder under the names of timm (PyTorch image models): which of its architectures it is, and its weights.

timm's ``convnextv2_*`` are the same network with the original stem, and take such an encoder's weights as they are.
What timm does not have (MMEarth's stem, patches of 16 with the original one, ``micro``) is registered with it by
``geopretext.nn.timm_models``. This module does not need timm.
"""

import re
from typing import Any

import torch
from torch import Tensor

from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings

PREFIX = "geopretext_convnextv2"

_TIMM_STEMS = {8: 1, 32: 4}
"""timm's ``patch_size``, the stride of the stem, by ours. Its networks with a stem of 2 have one more downsampling."""

_CONV_MLP = ("atto", "femto", "pico", "nano")
"""Sizes whose linear layers are 1 x 1 convolutions in timm."""

_NAMES = (
    (r"initial_conv\.(\d)\.", r"stem.\1."),
    (r"stem_orig\.(\d)\.", r"stem.\1."),
    (r"downsample_layers\.(\d)\.", lambda match: f"stages.{int(match[1]) + 1}.downsample."),
    (r"stages\.(\d)\.(\d+)\.", r"stages.\1.blocks.\2."),
)
_PARTS = {
    "dwconv.": "conv_dw.",
    "pwconv1.": "mlp.fc1.",
    "pwconv2.": "mlp.fc2.",
    "grn.gamma": "mlp.grn.weight",
    "grn.beta": "mlp.grn.bias",
}


def registered_name(size: str, patch_size: int, stem: str) -> str:
    """The name under which ``geopretext.nn.timm_models`` registers an architecture, whatever timm has itself."""
    return f"{PREFIX}_{size}_patch{patch_size}" + ("_origstem" if stem == "convnextv2" else "")


def timm_architecture(settings: EncoderSettings) -> tuple[str, dict[str, Any]]:
    """Name and arguments for ``timm.create_model``: one of timm's own where there is one, or else one of ours."""
    original, default = settings.stem == "convnextv2", EncoderSettings()
    arguments: dict[str, Any] = {}
    if settings.dense_grn_epsilon != default.dense_grn_epsilon:
        arguments["dense_grn_epsilon"] = settings.dense_grn_epsilon
    if settings.dense_padding != default.dense_padding and not original:
        arguments["dense_padding"] = settings.dense_padding
    if original and not arguments and settings.patch_size in _TIMM_STEMS and settings.size != "micro":
        return f"convnextv2_{settings.size}", {"patch_size": _TIMM_STEMS[settings.patch_size]}
    return registered_name(settings.size, settings.patch_size, settings.stem), arguments


def timm_state_dict(network: ConvNeXtV2, architecture: str) -> dict[str, Tensor]:
    """Weights by timm's names, for ``load_state_dict(..., strict=True)`` into a model without classes.

    An encoder ends before the final norm that timm's models have after pooling; that norm is given as it starts
    (weight 1, bias 0), which is also how published fine-tuning starts.

    Args:
        network: the encoder.
        architecture: what ``timm_architecture`` or ``registered_name`` says of it.
    """
    settings = network.settings
    conv_mlp = not architecture.startswith(PREFIX) and settings.size in _CONV_MLP
    weights = {}
    for key, value in network.state_dict().items():
        name = _timm_name(key, mmearth=settings.stem == "mmearth")
        if "grn." in name:
            value = value.flatten()
        elif conv_mlp and re.search(r"mlp\.fc[12]\.weight", name):
            value = value[:, :, None, None]
        weights[name] = value
    weights["head.norm.weight"] = torch.ones(settings.widths[-1])
    weights["head.norm.bias"] = torch.zeros(settings.widths[-1])
    return weights


def _timm_name(key: str, *, mmearth: bool) -> str:
    if mmearth and key.startswith("stem."):
        # timm has one sequence of layers in the stem: convolution, norm, activation, then these two
        return re.sub(r"^stem\.(\d)", lambda match: f"stem.{int(match[1]) + 3}", key)
    for pattern, replacement in _NAMES:
        key = re.sub(f"^{pattern}", replacement, key)
    for ours, theirs in _PARTS.items():
        key = key.replace(ours, theirs)
    return key

"""The encoder's dense forward pass in standard operations only, on the encoder's own weights.

``ConvNeXtV2`` computes with whatever is fastest: layouts for visible patches, gradients and kernels of its own. Tracers
and other frameworks know standard operations only; they get this. It is for inference: no mask, no dropped path, and
each image normalised by itself.

Letters: ``B`` images, ``C`` bands, ``D`` features, ``H W`` pixels, ``h w`` cells.
"""

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.convnextv2 import Block, ConvNeXtV2
from geopretext.nn.pooling import pool_mean, pool_stages
from geopretext.nn.response_norm import GlobalResponseNorm


class PlainEncoder(nn.Module):
    """The last stage's grid, and its two pooled forms.

    Args:
        network: whose weights are used, not copied.
        standardise: applied first; None: images come standardised.
    """

    def __init__(self, network: ConvNeXtV2, standardise: nn.Module | None = None) -> None:
        super().__init__()
        self.network = network
        self.standardise = standardise or nn.Identity()

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images (B, C, H, W) -> grid (B, D, h, w), its mean (B, D), and mean and deviation of all stages.

        Height and width are multiples of the patch size; this is not checked.
        """
        stages = plain_stages(self.network, self.standardise(x))
        return stages[-1], pool_mean(stages), pool_stages(stages)


def plain_stages(network: ConvNeXtV2, x: Tensor) -> list[Tensor]:
    """What ``ConvNeXtV2.forward_stages`` gives for whole images: four grids (B, D, h, w)."""
    settings = network.settings
    if settings.stem == "mmearth":
        for layer in network.initial_conv:
            x = _layer(layer, x)
        if settings.dense_padding == "published-classifier":
            x = F.pad(x[:, :, 1:-1, 1:-1], (settings.patch_size // 16,) * 4)
    for layer in network.stem if settings.stem == "mmearth" else network.stem_orig:
        x = _layer(layer, x)
    outputs = []
    for number, stage in enumerate(network.stages):
        if number:
            for layer in cast("nn.Sequential", network.downsample_layers[number - 1]):
                x = _layer(layer, x)
        for block in cast("nn.Sequential", stage):
            x = _block(cast("Block", block), x, settings.dense_grn_epsilon)
        outputs.append(x)
    return outputs


def _layer(layer: nn.Module, x: Tensor) -> Tensor:
    """A norm works on the last axis, any other layer on (B, D, h, w)."""
    y: Tensor = layer(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2) if isinstance(layer, nn.LayerNorm) else layer(x)
    return y


def _block(block: Block, x: Tensor, epsilon: float) -> Tensor:
    y = block.norm(block.dwconv(x).permute(0, 2, 3, 1))
    y = _response_norm(block.grn, F.gelu(block.pwconv1(y)), epsilon)
    y = block.pwconv2(y).permute(0, 3, 1, 2)
    return x + cast("Tensor", y)


def _response_norm(grn: GlobalResponseNorm, x: Tensor, epsilon: float) -> Tensor:
    """(B, h, w, D) -> (B, h, w, D)."""
    strength = (x * x).sum((1, 2), keepdim=True).sqrt()
    share = strength / (strength.mean(-1, keepdim=True) + epsilon)
    return torch.addcmul(grn.beta, x, 1 + grn.gamma * share)

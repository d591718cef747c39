"""MP-MAE as the published code computes it, in plain torch on the weights of ours: what ours is compared with.

On a CPU the published code (github.com/vishalned/MMEarth-train) has a dense grid for its encoder, evaluates the decoder
block once for every modality although all share it, applies the heads to all patches, and compares all patches before
it leaves out those that were shown. None of that changes the losses, so that they must equal ours. Only
convolutions, norms and linear layers of torch are called, and the published formulas are written out, so that no
speed-up of ours can leak in.

Letters: ``B`` tiles, ``C`` bands, ``H W`` cells, ``D`` features, ``P = h w`` patches.
"""

from collections.abc import Mapping
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.modality import Kind, Observed
from geopretext.nn.masking import patchify, sample_visible
from geopretext.pretext.method import TaskLoss, input_image
from geopretext.pretext.mp_mae import MPMAE

_EPSILON = 1e-6


class PublishedStep(nn.Module):
    """Losses of a batch, as ``MPMAE`` gives them, the published way.

    Args:
        method: whose weights are used; it has a shared decoder, predicts masked patches only, and sees just the bands
            that it predicts.
    """

    def __init__(self, method: MPMAE) -> None:
        super().__init__()
        self.method = method

    def forward(self, fields: Mapping[str, Observed[Tensor]], seeds: Tensor) -> dict[str, TaskLoss]:
        """As ``MPMAE.forward``."""
        network, settings = self.method.network, self.method.network.encoder.settings
        image = input_image(fields, settings.inputs)
        grid = image.shape[2] // settings.patch_size, image.shape[3] // settings.patch_size
        visible = sample_visible(seeds, grid[0] * grid[1], self.method.settings.mask_ratio)
        cells = network.projection(encode(network.encoder, image, visible.reshape(-1, *grid, 1)))
        cells = torch.where(visible.reshape(-1, *grid, 1), cells, network.mask_token)
        losses = {}
        for name, target in network.targets.items():
            decoded = cells
            for each in cast("nn.Sequential", network.decoders["shared"]):
                decoded = block(each, decoded)
            tokens = decoded.flatten(1, 2)
            if not target.kind.is_map:
                assert network.vector_norm is not None
                tokens = network.vector_norm(tokens).mean(1)
            losses[name] = self._compare(name, network.heads[name](tokens), fields[name], ~visible)
        return losses

    def combine(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> Tensor:
        """As ``MPMAE.combine``."""
        return self.method.combine(losses, active)

    def _compare(self, name: str, prediction: Tensor, field: Observed[Tensor], removed: Tensor) -> TaskLoss:
        kind, (values, valid) = self.method.targets[name].kind, field
        if kind.is_map:
            size = self.method.network.encoder.settings.patch_size
            values, valid = (patchify(x if x.ndim == 4 else x[:, None], size) for x in (values, valid))
            if name in self.method.settings.standardise_patches:
                values = _standardise(values, valid)
            valid = valid & removed[..., None]
        if kind.is_categorical:
            logits = prediction.float().reshape(values.numel(), -1)
            error = F.cross_entropy(logits, values.flatten(), reduction="none").reshape(values.shape)
        else:
            assert kind in (Kind.CONTINUOUS_MAP, Kind.CONTINUOUS_VECTOR)
            error = (prediction.float() - values).square()
        return TaskLoss((error * valid).sum(), valid.sum().float())


def encode(encoder: nn.Module, image: Tensor, visible: Tensor) -> Tensor:
    """Every cell of the dense grid, masked before each convolution.

    Args:
        encoder: a ``ConvNeXtV2`` with the stem of MMEarth.
        image: (B, C, H, W).
        visible: (B, h, w, 1) bool.

    Returns:
        (B, h, w, D).
    """
    layers: Any = encoder
    x = image.permute(0, 2, 3, 1)
    x = F.gelu(layers.initial_conv[1](_convolve(layers.initial_conv[0], x * _enlarge(visible, x))))
    x = layers.stem[1](_convolve(layers.stem[0], x))
    for number, stage in enumerate(layers.stages):
        if number:
            norm, conv = layers.downsample_layers[number - 1]
            x = _convolve(conv, norm(x))
        mask = _enlarge(visible, x)
        for each in stage:
            x = block(each, x, mask)
    return x


def block(layers: nn.Module, x: Tensor, mask: Tensor | None = None) -> Tensor:
    """One block of ConvNeXt V2 on (B, H, W, D); ``mask`` is (B, H, W, 1), 1 at sites."""
    each: Any = layers
    y = each.pwconv1(each.norm(_convolve(each.dwconv, x if mask is None else x * mask)))
    y = F.gelu(y)
    strength = torch.linalg.vector_norm(y if mask is None else y * mask, dim=(1, 2), keepdim=True)
    share = strength / (strength.mean(-1, keepdim=True) + _EPSILON)
    total: Tensor = x + each.pwconv2(each.grn.gamma * (y * share) + each.grn.beta + y)
    return total


def _convolve(conv: nn.Module, x: Tensor) -> Tensor:
    """(B, H, W, C) -> (B, H', W', D)."""
    y: Tensor = conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return y


def _enlarge(visible: Tensor, x: Tensor) -> Tensor:
    """(B, h, w, 1) bool -> (B, H, W, 1) with the cells and the dtype of ``x``, 1 where visible."""
    side = x.shape[1] // visible.shape[1]
    return visible.repeat_interleave(side, 1).repeat_interleave(side, 2).to(x.dtype)


def _standardise(values: Tensor, valid: Tensor) -> Tensor:
    """(B, P, N): the valid numbers of a patch to mean 0 and variance 1."""
    count = valid.sum(-1, keepdim=True)
    mean = values.sum(-1, keepdim=True) / count.clamp(min=1)
    difference = (values - mean) * valid
    variance = difference.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return difference / (variance + 1e-6).sqrt()

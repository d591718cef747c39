"""What the published dense models compute, written with plain functions over the file's weights."""

import torch
import torch.nn.functional as F
from torch import Tensor

Weights = dict[str, Tensor]


def mmearth_classifier(w: Weights, x: Tensor, depths) -> Tensor:
    """The first convolution is not padded; the depthwise one is, by half its size. GRN adds 1e-4."""
    return head(w, encoder(w, x, depths, padding=0, stem_padding=None, epsilon=1e-4)[-1])


def convnextv2_classifier(w: Weights, x: Tensor, depths) -> Tensor:
    return head(w, stages(w, convnextv2_stem(w, x), depths, 1, 1e-6)[-1])


def convnextv2_stem(w: Weights, x: Tensor) -> Tensor:
    x = F.conv2d(x, w["downsample_layers.0.0.weight"], w["downsample_layers.0.0.bias"], stride=4)
    return norm(x, w, "downsample_layers.0.1")


def mmearth_unet(w: Weights, x: Tensor, depths, patch: int) -> Tensor:
    """The first convolution is padded, the depthwise one is not."""
    maps = encoder(w, x, depths, padding=1, stem_padding=0, epsilon=1e-4)
    *skips, second, third, y = maps
    order = [third, second, *reversed(skips)]
    for number in range(4):
        y = F.interpolate(y, scale_factor=2 if number < 3 else patch // 8, mode="nearest")
        name = f"upsample_layers.{number}"
        y = F.conv2d(y, w[f"{name}.conv.weight"], w[f"{name}.conv.bias"], padding=1)
        y = F.gelu(norm(y, w, f"{name}.norm"))
        if order:
            y = torch.cat([y, order.pop(0)], 1)
    y = F.conv2d(y, w["initial_conv_upsample.0.weight"], w["initial_conv_upsample.0.bias"], padding=1)
    y = F.gelu(norm(y, w, "initial_conv_upsample.1"))
    return F.conv2d(y, w["head.weight"], w["head.bias"])


def encoder(w: Weights, x: Tensor, depths, *, padding: int, stem_padding: int | None, epsilon: float) -> list[Tensor]:
    """[first convolution,] stem, and the outputs of stages two to four."""
    maps = []
    if "stem_orig.0.weight" in w:
        kernel = w["stem_orig.0.weight"]
        x = norm(F.conv2d(x, kernel, w["stem_orig.0.bias"], stride=kernel.shape[-1]), w, "stem_orig.1")
    else:
        x = F.conv2d(x, w["initial_conv.0.weight"], w["initial_conv.0.bias"], padding=padding)
        x = F.gelu(norm(x, w, "initial_conv.1"))
        maps.append(x)
        kernel = w["stem.0.weight"]
        side = kernel.shape[-1]
        around = side // 2 if stem_padding is None else stem_padding
        x = F.conv2d(x, kernel, w["stem.0.bias"], stride=side, padding=around, groups=len(kernel))
        x = norm(x, w, "stem.1")
    return [*maps, x, *stages(w, x, depths, 0, epsilon)[1:]]


def stages(w: Weights, x: Tensor, depths, first_downsampling: int, epsilon: float) -> list[Tensor]:
    outputs = []
    for stage, depth in enumerate(depths):
        if stage:
            name = f"downsample_layers.{stage - 1 + first_downsampling}"
            x = norm(x, w, f"{name}.0")
            x = F.conv2d(x, w[f"{name}.1.weight"], w[f"{name}.1.bias"], stride=2)
        for number in range(depth):
            name = f"stages.{stage}.{number}"
            y = F.conv2d(x, w[f"{name}.dwconv.weight"], w[f"{name}.dwconv.bias"], padding=3, groups=x.shape[1])
            y = norm(y, w, f"{name}.norm").permute(0, 2, 3, 1)
            y = F.gelu(F.linear(y, w[f"{name}.pwconv1.weight"], w[f"{name}.pwconv1.bias"]))
            strength = y.norm(dim=(1, 2), keepdim=True)
            share = strength / (strength.mean(-1, keepdim=True) + epsilon)
            y = w[f"{name}.grn.gamma"] * (y * share) + w[f"{name}.grn.beta"] + y
            y = F.linear(y, w[f"{name}.pwconv2.weight"], w[f"{name}.pwconv2.bias"])
            x = x + y.permute(0, 3, 1, 2)
        outputs.append(x)
    return outputs


def head(w: Weights, x: Tensor) -> Tensor:
    x = F.layer_norm(x.mean((2, 3)), (x.shape[1],), w["norm.weight"], w["norm.bias"], 1e-6)
    return F.linear(x, w["head.weight"], w["head.bias"])


def norm(x: Tensor, w: Weights, name: str) -> Tensor:
    mean = x.mean(1, keepdim=True)
    scale = ((x - mean).square().mean(1, keepdim=True) + 1e-6).sqrt()
    return w[f"{name}.weight"][:, None, None] * ((x - mean) / scale) + w[f"{name}.bias"][:, None, None]

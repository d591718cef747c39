"""Files of exactly the published layouts, with random weights.

Names and shapes are written down from the published classes (MMEarth-train ``models/fcmae``, ``convnextv2`` and
``convnextv2_unet``, ConvNeXt-V2 ``models/fcmae`` and ``convnextv2``, layers of MinkowskiEngine); nothing here comes
from the package. No kernel is symmetric, and no weight is zero or one.
"""

from argparse import Namespace
from pathlib import Path

import torch

Shapes = dict[str, tuple[int, ...]]
Weights = dict[str, torch.Tensor]

DEPTHS = {"atto": (2, 2, 6, 2), "tiny": (3, 3, 9, 3)}
WIDTHS = {"atto": (40, 80, 160, 320), "tiny": (96, 192, 384, 768)}
MAPS = {
    "sentinel2": 12,
    "sentinel1": 8,
    "aster": 2,
    "dynamic_world": 9,
    "canopy_height_eth": 2,
    "esa_worldcover": 11,
}
VECTORS = {"era5": 12, "lat": 2, "lon": 2, "biome": 14, "eco_region": 846, "month": 2}
ALL = (
    "sentinel2",
    "sentinel1",
    "aster",
    "era5",
    "dynamic_world",
    "canopy_height_eth",
    "lat",
    "lon",
    "biome",
    "eco_region",
    "month",
    "esa_worldcover",
)
"""In the order of the published configuration."""


def mmearth_pretraining(
    size="atto", patch=8, bands=12, outputs=ALL, *, uncertainty=True, original_stem=False, decoder_depth=1, seed=0
) -> Weights:
    """``checkpoint["model"]`` of MMEarth pretraining: sparse encoder, decoders that are one module, heads."""
    d, k = WIDTHS[size], patch // 8
    shapes: Shapes = {"mask_token": (1, 512, 1, 1)}
    if uncertainty:
        shapes["loss_fn.log_vars"] = (len(outputs),)
    if original_stem:
        kernel = (k * k, bands, d[0]) if k > 1 else (bands, d[0])
        shapes |= {"encoder.stem_orig.0.kernel": kernel, "encoder.stem_orig.0.bias": (1, d[0])}
        shapes |= pair("encoder.stem_orig.1.ln", d[0])
    else:
        shapes |= {"encoder.initial_conv.0.kernel": (9, bands, d[0]), "encoder.initial_conv.0.bias": (1, d[0])}
        shapes |= pair("encoder.initial_conv.1.ln", d[0])
        shapes |= {"encoder.stem.0.kernel": (k * k, d[0]), "encoder.stem.0.bias": (1, d[0])}
        shapes |= pair("encoder.stem.1.ln", d[0])
    shapes |= sparse_stages(size, first_downsampling=0)
    shapes |= {"proj.weight": (512, d[3], 1, 1), "proj.bias": (512,)}
    if set(outputs) & set(VECTORS):
        shapes |= pair("layer_norm_tmp", 512)
    for name in outputs:
        channels = MAPS.get(name) or VECTORS[name]
        if name == "sentinel2":
            channels = bands
        if name in MAPS:
            shapes[f"pred_dict.{name}.weight"] = (patch * patch * channels, 512, 1, 1)
            shapes[f"pred_dict.{name}.bias"] = (patch * patch * channels,)
        else:
            shapes[f"pred_dict.{name}.weight"] = (channels, 512)
            shapes[f"pred_dict.{name}.bias"] = (channels,)
    weights = fill(shapes, seed)
    blocks = fill({k: v for b in range(decoder_depth) for k, v in dense_block(str(b), 512).items()}, seed + 1)
    for name in outputs:  # one module, registered many times: the very same tensors
        weights |= {f"decoder_dict.{name}.{key}": value for key, value in blocks.items()}
    return weights


def mmearth_dense(size="atto", patch=8, bands=12, classes=10, *, original_stem=False, head=True, seed=0) -> Weights:
    """MMEarth's classifier."""
    d = WIDTHS[size]
    shapes = mmearth_dense_encoder(size, patch, bands, original_stem=original_stem)
    if head:
        shapes |= pair("norm", d[3])
        shapes |= {"head.weight": (classes, d[3]), "head.bias": (classes,)}
    return fill(shapes, seed)


def mmearth_unet(size="atto", patch=8, bands=12, classes=7, *, original_stem=False, seed=0) -> Weights:
    """MMEarth's U-Net, with the norm that it never uses."""
    d = WIDTHS[size]
    shapes = mmearth_dense_encoder(size, patch, bands, original_stem=original_stem)
    shapes |= pair("norm", d[3])
    shapes |= {"head.weight": (classes, d[0] // 2, 1, 1), "head.bias": (classes,)}
    steps = ((d[3], d[3] // 2), (2 * d[2], d[2] // 2), (2 * d[1], d[1] // 2), (2 * d[0], d[0]))
    for number, (before, after) in enumerate(steps):
        shapes |= {f"upsample_layers.{number}.conv.weight": (after, before, 3, 3)}
        shapes |= {f"upsample_layers.{number}.conv.bias": (after,)}
        shapes |= pair(f"upsample_layers.{number}.norm", after)
    joined = d[0] if original_stem else 2 * d[0]
    shapes |= {
        "initial_conv_upsample.0.weight": (d[0] // 2, joined, 3, 3),
        "initial_conv_upsample.0.bias": (d[0] // 2,),
    }
    shapes |= pair("initial_conv_upsample.1", d[0] // 2)
    return fill(shapes, seed)


def convnextv2_pretraining(size="atto", *, seed=0) -> Weights:
    """What the training code of ConvNeXt V2 saves: dense stem, sparse blocks, one decoder."""
    d = WIDTHS[size]
    shapes: Shapes = {"mask_token": (1, 512, 1, 1)}
    shapes |= {"encoder.downsample_layers.0.0.weight": (d[0], 3, 4, 4), "encoder.downsample_layers.0.0.bias": (d[0],)}
    shapes |= pair("encoder.downsample_layers.0.1", d[0])
    shapes |= sparse_stages(size, first_downsampling=1)
    shapes |= {"proj.weight": (512, d[3], 1, 1), "proj.bias": (512,)}
    shapes |= dense_block("decoder.0", 512)
    shapes |= {"pred.weight": (32 * 32 * 3, 512, 1, 1), "pred.bias": (32 * 32 * 3,)}
    return fill(shapes, seed)


def convnextv2_dense(size="atto", classes=1000, *, head=True, seed=0) -> Weights:
    """ConvNeXt V2's classifier, or its encoder alone."""
    d = WIDTHS[size]
    shapes: Shapes = {"downsample_layers.0.0.weight": (d[0], 3, 4, 4), "downsample_layers.0.0.bias": (d[0],)}
    shapes |= pair("downsample_layers.0.1", d[0])
    shapes |= dense_stages(size, first_downsampling=1)
    if head:
        shapes |= pair("norm", d[3])
        shapes |= {"head.weight": (classes, d[3]), "head.bias": (classes,)}
    return fill(shapes, seed)


def save(path: Path, weights: Weights, options: Namespace | None = None) -> Path:
    """A checkpoint as the published training scripts write it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    optimizer = {"state": {0: {"step": torch.tensor(3.0), "exp_avg": torch.zeros(2)}}, "param_groups": [{"lr": 1e-3}]}
    scaler = {"scale": 65536.0, "growth_factor": 2.0, "_growth_tracker": 0}
    content = {"model": weights, "optimizer": optimizer, "epoch": 199, "scaler": scaler}
    torch.save(content if options is None else {**content, "args": options}, path)
    return path


def mmearth_dense_encoder(size: str, patch: int, bands: int, *, original_stem: bool) -> Shapes:
    d, k = WIDTHS[size], patch // 8
    if original_stem:
        shapes = {"stem_orig.0.weight": (d[0], bands, k, k), "stem_orig.0.bias": (d[0],), **pair("stem_orig.1", d[0])}
    else:
        shapes = {"initial_conv.0.weight": (d[0], bands, 3, 3), "initial_conv.0.bias": (d[0],)}
        shapes |= pair("initial_conv.1", d[0])
        shapes |= {"stem.0.weight": (d[0], 1, k, k), "stem.0.bias": (d[0],), **pair("stem.1", d[0])}
    return shapes | dense_stages(size, first_downsampling=0)


def dense_stages(size: str, *, first_downsampling: int) -> Shapes:
    d, shapes = WIDTHS[size], {}
    for i in range(3):
        name = f"downsample_layers.{i + first_downsampling}"
        shapes |= pair(f"{name}.0", d[i])
        shapes |= {f"{name}.1.weight": (d[i + 1], d[i], 2, 2), f"{name}.1.bias": (d[i + 1],)}
    for stage, depth in enumerate(DEPTHS[size]):
        for block in range(depth):
            shapes |= dense_block(f"stages.{stage}.{block}", d[stage])
    return shapes


def dense_block(name: str, width: int) -> Shapes:
    return {
        f"{name}.dwconv.weight": (width, 1, 7, 7),
        f"{name}.dwconv.bias": (width,),
        **pair(f"{name}.norm", width),
        f"{name}.pwconv1.weight": (4 * width, width),
        f"{name}.pwconv1.bias": (4 * width,),
        f"{name}.grn.gamma": (1, 1, 1, 4 * width),
        f"{name}.grn.beta": (1, 1, 1, 4 * width),
        f"{name}.pwconv2.weight": (width, 4 * width),
        f"{name}.pwconv2.bias": (width,),
    }


def sparse_stages(size: str, *, first_downsampling: int) -> Shapes:
    d, shapes = WIDTHS[size], {}
    for i in range(3):
        name = f"encoder.downsample_layers.{i + first_downsampling}"
        shapes |= pair(f"{name}.0.ln", d[i])
        shapes |= {f"{name}.1.kernel": (4, d[i], d[i + 1]), f"{name}.1.bias": (1, d[i + 1])}
    for stage, depth in enumerate(DEPTHS[size]):
        for block in range(depth):
            name, width = f"encoder.stages.{stage}.{block}", d[stage]
            shapes |= {f"{name}.dwconv.kernel": (49, width), f"{name}.dwconv.bias": (1, width)}
            shapes |= pair(f"{name}.norm.ln", width)
            shapes |= {f"{name}.pwconv1.linear.weight": (4 * width, width), f"{name}.pwconv1.linear.bias": (4 * width,)}
            shapes |= {f"{name}.pwconv2.linear.weight": (width, 4 * width), f"{name}.pwconv2.linear.bias": (width,)}
            shapes |= {f"{name}.grn.gamma": (1, 4 * width), f"{name}.grn.beta": (1, 4 * width)}
    return shapes


def pair(name: str, width: int) -> Shapes:
    return {f"{name}.weight": (width,), f"{name}.bias": (width,)}


def fill(shapes: Shapes, seed: int) -> Weights:
    """Random weights of a size that keeps activations near 1."""
    generator = torch.Generator().manual_seed(seed)
    weights = {}
    for key, shape in shapes.items():
        numbers = torch.randn(shape, generator=generator)
        last = key.rsplit(".", 1)[-1]
        if last == "kernel":
            weights[key] = numbers / (shape[0] * (shape[1] if len(shape) == 3 else 1)) ** 0.5
        elif last == "weight" and len(shape) > 1:
            weights[key] = numbers / (numbers[0].numel()) ** 0.5
        elif last == "weight":
            weights[key] = 1 + 0.2 * numbers
        else:
            weights[key] = 0.2 * numbers
    return weights

"""Weights of another training to begin with: all but the input layer, which is new where the bands are.

``D`` features, ``G`` and ``g`` cells on a side of the grid of patches there and here.
"""

import math
from collections.abc import Mapping
from pathlib import Path

import safetensors.torch
import torch
import torch.nn.functional as F
from safetensors import SafetensorError
from torch import Tensor, nn

from geopretext.errors import BundleError
from geopretext.nn.bundle_files import WEIGHTS, find_bundle, read_config
from geopretext.nn.families import settings_from_plain
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.official_file import read_official_file

_TIMM = "body.model."
_POSITIONS = "pos_embed"
_MASK = "mask_token"
_LEFT = (_MASK, "head.", "head_dist.", "fc.", "fc_norm.")
"""what a file may hold that no encoder here has: heads, and DINOv2's token of masked training"""


def start_from(network: EncoderNetwork, path: str | Path) -> None:
    """Give a network the weights of another one of the same architecture.

    The input layer stays as it is, random; of a bundle with the very same inputs it is copied, too. Position embeddings
    for another number of patches are interpolated (bicubic), as DINOv2 and timm do.

    Args:
        network: an encoder.
        path: a bundle's folder or name on the hub; or a ``.safetensors``, ``.pth`` or ``.pt`` file of a state dict
            whose weights are named as ours, timm's, torchvision's or DINOv2's. Nothing in it is run.

    Raises:
        BundleError: it cannot be read, or a weight is missing, unknown or of another shape; the message names it.
    """
    wanted = network.state_dict()
    weights, same_inputs = _read(network, path)
    fresh = set() if same_inputs else set(_input_layer(network))
    # a Swin's own, which timm's has not
    fresh |= {key for key in wanted if key.endswith(_MASK) and key not in weights}
    positions = [key for key in wanted if key.rpartition(".")[2] == _POSITIONS]
    for key in positions:
        if key in weights:
            weights[key] = resized_positions(weights[key], wanted[key].shape[1], network.settings.patches)
    counters = {key for key in wanted if not wanted[key].is_floating_point()}
    problems = [f"{key} is missing" for key in wanted if key not in weights and key not in fresh | counters]
    problems += [f"{key} is unknown" for key in weights if key not in wanted and not _is_left(key)]
    problems += [
        f"{key} is {tuple(weights[key].shape)}, wanted {tuple(wanted[key].shape)}"
        for key in wanted
        if key in weights and key not in fresh and weights[key].shape != wanted[key].shape
    ]
    if problems:
        more = f"; and {len(problems) - 3} more" if len(problems) > 3 else ""
        raise BundleError(
            f"the weights are not those of {network.settings.title}: {'; '.join(problems[:3])}{more}",
            where=str(path),
            hint="choose the encoder's architecture that the weights were made for",
        )
    network.load_state_dict({key: weights[key] for key in wanted if key in weights and key not in fresh}, strict=False)


def resized_positions(positions: Tensor, length: int, patches: int) -> Tensor:
    """Position embeddings for another square grid of patches; those of no place stay.

    Args:
        positions: (1, K + G G, D), first those of class and register tokens.
        length: K + g g.
        patches: g g.

    Returns:
        (1, K + g g, D); ``positions`` if they fit, or are for no square grid.
    """
    extra = length - patches
    before, after = math.isqrt(max(positions.shape[1] - extra, 0)), math.isqrt(patches)
    if positions.shape[1] == length or before**2 != positions.shape[1] - extra or not before:
        return positions
    kept, places = positions[:, :extra], positions[:, extra:]
    grid = places.reshape(1, before, before, -1).permute(0, 3, 1, 2).float()
    grid = F.interpolate(grid, (after, after), mode="bicubic", antialias=True)
    return torch.cat([kept, grid.permute(0, 2, 3, 1).reshape(1, patches, -1)], 1)


def _read(network: EncoderNetwork, path: str | Path) -> tuple[dict[str, Tensor], bool]:
    """Weights by our names, and whether their input is ours."""
    if Path(path).is_file():
        weights = read_official_file(path).weights
        return _named_as_ours(weights, network), False
    folder = find_bundle(str(path))
    settings = settings_from_plain(read_config(folder)["encoder"])
    try:
        stored = safetensors.torch.load_file(folder / WEIGHTS)
    except (SafetensorError, OSError) as error:
        raise BundleError(f"has no {WEIGHTS} that can be read: {error}", where=str(folder)) from error
    return stored, list(settings.inputs.items()) == list(network.settings.inputs.items())


def _named_as_ours(weights: Mapping[str, Tensor], network: EncoderNetwork) -> dict[str, Tensor]:
    named = _registers_as_timms(weights)
    is_timm = any(key.startswith(_TIMM) for key in network.state_dict())
    if not is_timm or any(key.startswith(_TIMM) for key in named):
        return named
    return {key if _is_left(key) else _TIMM + key: value for key, value in named.items()}


def _registers_as_timms(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights of DINOv2 with registers as timm has them: without a position of the class token, which has it added."""
    named = dict(weights)
    if {"register_tokens", "cls_token", _POSITIONS} <= named.keys():
        named["reg_token"] = named.pop("register_tokens")
        named["cls_token"] = named["cls_token"] + named[_POSITIONS][:, :1]
        named[_POSITIONS] = named[_POSITIONS][:, 1:]
    return named


def _input_layer(network: EncoderNetwork) -> tuple[str, ...]:
    """Weights of the layer that the bands go into: the first convolution."""
    layers = [(name, layer) for name, layer in network.named_modules() if isinstance(layer, nn.Conv2d)]
    if not layers or len(network.settings.inputs) != 1:
        raise BundleError(
            f"{network.settings.title} has no single input layer that could be new",
            hint="start from a bundle with the same inputs",
        )
    name, layer = layers[0]
    return tuple(f"{name}.{key}" for key, _ in layer.named_parameters())


def _is_left(key: str) -> bool:
    return key.startswith(_LEFT)

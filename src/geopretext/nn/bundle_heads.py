"""Bundles of an encoder with a head: a classifier or a U-Net.

The encoder's weights are where every bundle has them, so that ``Encoder.from_pretrained`` reads the encoder of such a
bundle; ``head.safetensors`` holds the rest, and section ``head`` of ``config.json`` says what it is.
"""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from geopretext.errors import BundleError, InputError
from geopretext.modality import Modality
from geopretext.nn.bundle import Encoder, Scales
from geopretext.nn.bundle_files import (
    CONFIG,
    HEAD_WEIGHTS,
    find_bundle,
    load_weights,
    read_config,
    tensors_to_bytes,
    write_bundle,
)
from geopretext.nn.classifier import Classifier
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import HeadSettings
from geopretext.nn.unet import UNet

Head: TypeAlias = Classifier | UNet
"""An encoder with what stands on it."""


def make_head(settings: HeadSettings, encoder: ConvNeXtV2) -> Head:
    """The network that settings describe, on an encoder.

    Raises:
        RecipeError: it does not fit the encoder.
    """
    return (Classifier if settings.kind == "classifier" else UNet)(encoder, settings.classes)


def head_settings(network: Head) -> HeadSettings:
    """What ``make_head`` made the network of."""
    return HeadSettings("classifier" if isinstance(network, Classifier) else "unet", network.classes)


def save_head(
    folder: str | Path,
    network: Head,
    *,
    modality: Modality,
    statistics: Scales | None,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
) -> None:
    """Write a bundle of an encoder and its head.

    Args:
        folder: where; what a bundle there already has is replaced.
        network: as trained.
        modality: the input, with just the encoder's bands.
        statistics: mean and standard deviation of each band by level; None if they are not known.
        recipe: what it was trained with, plain data.
        metrics: what it scored, plain data.

    Raises:
        BundleError: the modality or the statistics do not fit the encoder's bands.
    """
    encoder = Encoder(network.encoder, modality, statistics=statistics, recipe=recipe, metrics=metrics)
    weights = {key: value for key, value in network.state_dict().items() if not key.startswith("encoder.")}
    files = {HEAD_WEIGHTS: tensors_to_bytes(weights), **encoder.files(head=asdict(head_settings(network)))}
    write_bundle(Path(folder), files)


def load_head(folder: str | Path) -> Head:
    """The encoder and the head of a bundle, on the CPU and in evaluation mode.

    Raises:
        BundleError: as for ``Encoder.from_pretrained``; also if the bundle has no head.
    """
    folder = find_bundle(folder)
    plain = read_config(folder).get("head")
    if not plain:
        raise BundleError(
            "holds no classifier or U-Net", where=str(folder), hint="`Encoder.from_pretrained` reads its encoder"
        )
    try:
        settings = HeadSettings(**plain)
        network = make_head(settings, Encoder.from_pretrained(folder).network)
    except (InputError, TypeError) as error:
        raise BundleError(f"section head: {error}", where=str(folder / CONFIG)) from error
    rest = nn.Module()
    for name, child in network.named_children():
        if child is not network.encoder:
            rest.add_module(name, child)
    load_weights(rest, folder / HEAD_WEIGHTS, f"a {settings.kind} of {settings.classes} classes")
    return network.eval()

"""Bundles of an encoder with a head: a classifier, or a decoder of labels of pixels.

The encoder's weights are where every bundle has them, so that ``Encoder.from_pretrained`` reads the encoder of such a
bundle; ``head.safetensors`` holds the rest, and section ``head`` of ``config.json`` says what it is and, under
``labels``, what its scores mean.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeAlias

from torch import nn

from geopretext.errors import BundleError, InputError
from geopretext.modality import Modality
from geopretext.nn.bundle import Encoder, load_settings
from geopretext.nn.bundle_files import (
    CONFIG,
    HEAD_WEIGHTS,
    find_bundle,
    load_weights,
    read_config,
    tensors_to_bytes,
    write_bundle,
)
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.classifier import Classifier
from geopretext.nn.decoders import Segmenter, make_segmenter
from geopretext.nn.initialisation import weights_follow
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.settings import HeadLabels, HeadSettings
from geopretext.nn.siamese import Siamese, make_siamese
from geopretext.nn.unet import UNet

IMAGE_HEIGHT, IMAGE_WIDTH = "image_height", "image_width"
"""In the recipe of a head: pixels of the images that it was trained on."""

Head: TypeAlias = Classifier | UNet | Segmenter | Siamese
"""An encoder with what stands on it."""


def make_head(settings: HeadSettings, encoder: EncoderNetwork) -> Head:
    """The network that settings describe, on an encoder.

    Raises:
        RecipeError: it does not fit the encoder.
        MissingLibraryError: it needs segmentation-models-pytorch.
    """
    if settings.pair is not None:
        return make_siamese(settings.kind, encoder, settings.classes, pair=settings.pair)
    if settings.kind == "classifier":
        return Classifier(encoder, settings.classes)
    return make_segmenter(settings.kind, encoder, settings.classes)


def head_settings(network: Head) -> HeadSettings:
    """What ``make_head`` made the network of."""
    if isinstance(network, Classifier):
        return HeadSettings("classifier", network.classes)
    if isinstance(network, UNet):
        return HeadSettings("unet", network.classes)
    return HeadSettings(network.kind, network.outputs, network.pair if isinstance(network, Siamese) else None)


def save_head(
    folder: str | Path,
    network: Head,
    *,
    modality: Modality | Sequence[Modality],
    statistics: Scales | None,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    labels: HeadLabels | None = None,
    ground_sampling_distance: float | None = None,
) -> None:
    """Write a bundle of an encoder and its head.

    Args:
        folder: where; what a bundle there already has is replaced.
        network: as trained.
        modality: the input, or all of several, each with just the encoder's bands.
        statistics: mean and standard deviation of each band by level; None if they are not known.
        recipe: what it was trained with, plain data; ``IMAGE_HEIGHT`` and ``IMAGE_WIDTH`` are for ``trained_extent``.
        metrics: what it scored, plain data.
        labels: what the scores mean; None if that is not known.
        ground_sampling_distance: of the images, metres a pixel; None if that is not known.

    Raises:
        BundleError: the modality or the statistics do not fit the encoder's bands, the labels do not fit the head, or
            the encoder is of no family.
    """
    settings = head_settings(network)
    if not isinstance(network.encoder, EncoderNetwork):
        raise BundleError(f"the encoder is a {type(network.encoder).__name__}; bundles hold an EncoderNetwork")
    if labels is not None:
        _check_labels(labels, settings)
    encoder = Encoder(
        network.encoder,
        modality,
        statistics=statistics,
        recipe=recipe,
        metrics=metrics,
        ground_sampling_distance=ground_sampling_distance,
    )
    weights = {key: value for key, value in network.state_dict().items() if not key.startswith("encoder.")}
    section = {**asdict(settings), "labels": None if labels is None else asdict(labels)}
    write_bundle(Path(folder), {HEAD_WEIGHTS: tensors_to_bytes(weights), **encoder.files(head=section)})


def load_head(folder: str | Path) -> Head:
    """The encoder and the head of a bundle, on the CPU and in evaluation mode.

    Raises:
        BundleError: as for ``Encoder.from_pretrained``; also if the bundle has no head.
        MissingLibraryError: the head needs segmentation-models-pytorch.
    """
    folder = find_bundle(folder)
    settings, _ = _read_section(folder)
    try:
        encoder = Encoder.from_pretrained(folder)
        with weights_follow():
            network = make_head(settings, encoder.network)
    except InputError as error:
        raise _unreadable(folder, error) from error
    rest = nn.Module()
    for name, child in network.named_children():
        if name != "encoder":
            rest.add_module(name, child)
    load_weights(rest, folder / HEAD_WEIGHTS, f"a {settings.kind} of {settings.classes} classes")
    return network.eval()


def load_head_settings(folder: str | Path) -> HeadSettings:
    """What a bundle's head is, without its weights.

    Raises:
        BundleError: the bundle has no head, or is damaged.
    """
    return _read_section(find_bundle(folder))[0]


def load_head_labels(folder: str | Path) -> HeadLabels:
    """What the scores of a bundle's head mean.

    Raises:
        BundleError: the bundle has no head, does not say what its scores mean, or is damaged.
    """
    folder = find_bundle(folder)
    _, labels = _read_section(folder)
    if labels is None:
        raise BundleError(
            "does not say what its scores mean: it was imported, or written by an older geopretext",
            where=str(folder / CONFIG),
            hint="`load_head` reads the network",
        )
    return labels


def trained_extent(folder: str | Path) -> int:
    """Pixels on a side of the images that a bundle was trained on, for ``nn.local_norm``: a multiple of its patch size.

    Of a head, those of fine-tuning, and the smaller side if they differ; of anything else, and where a bundle does not
    say it, ``EncoderSettings.image_size``.

    Raises:
        BundleError: there is no bundle, or it is damaged.
    """
    folder = find_bundle(folder)
    settings, config = load_settings(folder), read_config(folder)
    recipe = config.get("recipe") or {}
    sides = [recipe[name] for name in (IMAGE_HEIGHT, IMAGE_WIDTH) if name in recipe] if config.get("head") else []
    if not all(isinstance(side, int) and side >= settings.patch_size for side in sides):
        raise _unreadable(folder, InputError(f"recipe: images of {' x '.join(map(str, sides))} pixels"))
    return min(sides, default=settings.image_size) // settings.patch_size * settings.patch_size


def _read_section(folder: Path) -> tuple[HeadSettings, HeadLabels | None]:
    plain = read_config(folder).get("head")
    if not plain:
        raise BundleError(
            "holds no classifier and no decoder of labels",
            where=str(folder),
            hint="`Encoder.from_pretrained` reads its encoder",
        )
    try:
        settings = HeadSettings(**{key: value for key, value in plain.items() if key != "labels"})
        meaning: dict[str, Any] | None = plain.get("labels")
        if meaning is None:
            return settings, None
        fields: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value for key, value in meaning.items()
        }
        labels = HeadLabels(**fields)
        _check_labels(labels, settings)
    except (AttributeError, BundleError, InputError, TypeError) as error:
        raise _unreadable(folder, error) from error
    return settings, labels


def _check_labels(labels: HeadLabels, settings: HeadSettings) -> None:
    """Refuse labels of another head."""
    if len(labels.names) != settings.classes:
        raise BundleError(f"the head has {settings.classes} scores, and names for {len(labels.names)}")
    if (labels.task == "change detection") != (settings.pair is not None):
        raise BundleError(f"the labels are of {labels.task}, and head.pair is {settings.pair!r}")


def _unreadable(folder: Path, error: Exception) -> BundleError:
    return BundleError(f"section head: {error}", where=str(folder / CONFIG))

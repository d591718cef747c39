"""What pretraining writes into a bundle beside its encoder, and reads again.

``save_bundle`` is for methods that predict modalities: it keeps the whole network, so that ``load_reconstructor`` gives
it back and ``geopretext reconstruct`` works. ``save_encoder`` is for methods that predict none, as contrasts do: it
keeps the encoder and the statistics of the data. One encoder by hand, from no pretraining, is
``Encoder.save_pretrained``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from geopretext.errors import BundleError, InputError
from geopretext.modality import Modality
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder, read_architecture
from geopretext.nn.bundle_files import (
    PRETEXT_WEIGHTS,
    STATISTICS,
    WEIGHTS,
    find_bundle,
    json_to_bytes,
    load_weights,
    read_config,
    read_json,
    tensors_to_bytes,
    unreadable,
    write_bundle,
)
from geopretext.nn.bundle_series import describe_series
from geopretext.nn.bundle_statistics import input_relations, input_scales
from geopretext.nn.initialisation import weights_follow
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.reconstructor import Reconstructor, reconstructor_class


def save_encoder(
    folder: str | Path,
    network: EncoderNetwork,
    *,
    inputs: Sequence[Modality],
    targets: Iterable[str],
    statistics: Mapping[str, Any] | None,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    ground_sampling_distance: float | None = None,
) -> None:
    """Write a bundle of the encoder alone, for a method that predicts no modalities (else ``save_bundle``).

    Nothing can be reconstructed with it; ``load_reconstructor`` refuses it.

    Args:
        folder: where; what a bundle there already has is replaced.
        network: as trained.
        inputs: what it sees, each modality with just its bands.
        targets: names of what it was trained to predict or to match.
        statistics: as for ``save_bundle``, likewise the following.
        recipe: what it was trained with, plain data.
        metrics: what it scored, plain data.
        ground_sampling_distance: of the tiles, metres a pixel; None if that is not known.

    Raises:
        BundleError: the statistics lack a band of an input.
    """
    encoder = _described(
        network, inputs, targets, statistics, recipe, metrics, ground_sampling_distance=ground_sampling_distance
    )
    extra = {} if statistics is None else {STATISTICS: json_to_bytes(statistics)}
    write_bundle(Path(folder), {**extra, **encoder.files({"targets": dict.fromkeys(encoder.targets)})})


def save_bundle(
    folder: str | Path,
    network: Reconstructor,
    *,
    statistics: Mapping[str, Any] | None,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    ground_sampling_distance: float | None = None,
    series: Sequence[Modality] = (),
) -> None:
    """Write a bundle of the whole network, for a method that predicts modalities (else ``save_encoder``).

    It also holds decoder, heads and statistics of every modality: what reconstruction needs.

    Args:
        folder: where; what a bundle there already has is replaced.
        network: as trained.
        statistics: of every modality, as ``data.statistics.Statistics.to_dict`` gives them; None if they are not known,
            which leaves a bundle that cannot reconstruct.
        recipe: what it was trained with, plain data.
        metrics: what it scored, plain data.
        ground_sampling_distance: of the tiles, metres a pixel; None if that is not known.
        series: time series that the encoder sees besides, each with just its bands.

    Raises:
        BundleError: the statistics lack a band of the input.
    """
    encoder = _described(
        network.encoder,
        network.inputs,
        network.targets,
        statistics,
        recipe,
        metrics,
        ground_sampling_distance=ground_sampling_distance,
        series=series,
    )
    pretext = {
        "kind": network.kind,
        "network": network.to_plain(),
        "targets": {name: target.to_dict() for name, target in network.targets.items()},
    }
    rest = {key: value for key, value in network.state_dict().items() if not key.startswith("encoder.")}
    extra = {PRETEXT_WEIGHTS: tensors_to_bytes(rest)}
    if statistics is not None:
        extra[STATISTICS] = json_to_bytes(statistics)
    write_bundle(Path(folder), {**extra, **encoder.files(pretext)})


def load_reconstructor(folder: str | Path) -> Reconstructor:
    """The whole network that pretraining saved, on the CPU and in evaluation mode.

    Raises:
        BundleError: as for ``Encoder.from_pretrained``; also if the bundle holds an encoder only.
    """
    folder = find_bundle(folder)
    config = read_config(folder)
    pretext = config.get("pretext")
    if not pretext or "network" not in pretext:
        raise BundleError(
            "holds an encoder only",
            where=str(folder),
            hint="take the bundle that `geopretext pretrain` wrote, of a method that predicts modalities",
        )
    encoder, inputs = read_architecture(folder, config)
    try:
        targets = {name: Modality.from_dict(plain) for name, plain in pretext["targets"].items()}
        kind = reconstructor_class(pretext.get("kind", MaskedAutoencoder.kind))
        with weights_follow():
            network = kind.from_plain(pretext["network"], encoder, inputs=inputs, targets=targets)
    except (InputError, KeyError, TypeError) as error:
        raise unreadable(folder, "pretext", error) from error
    load_weights(network.encoder, folder / WEIGHTS, f"a {encoder.title} of {len(encoder.bands)} bands")
    rest = nn.Module()
    for name, child in network.named_children():
        if child is not network.encoder:
            rest.add_module(name, child)
    for name, parameter in network.named_parameters(recurse=False):
        rest.register_parameter(name, parameter)
    load_weights(rest, folder / PRETEXT_WEIGHTS, f"a {network.kind} for {', '.join(targets)}")
    return network.eval()


def load_statistics(folder: str | Path) -> dict[str, Any]:
    """The statistics of every modality that a pretrained bundle holds, as ``Statistics.from_dict`` reads them.

    Raises:
        BundleError: there is no such file, or it is not JSON.
    """
    folder = find_bundle(folder)
    if not (folder / STATISTICS).exists() and not read_config(folder).get("statistics"):
        raise BundleError(
            "holds no statistics: it was imported without any",
            where=str(folder),
            hint="`geopretext import-official FILE --statistics FILE` adds those of the data that it was trained on",
        )
    return read_json(folder / STATISTICS)


def _described(
    network: EncoderNetwork,
    inputs: Sequence[Modality],
    targets: Iterable[str],
    statistics: Mapping[str, Any] | None,
    recipe: Mapping[str, Any],
    metrics: Mapping[str, Any],
    *,
    ground_sampling_distance: float | None,
    series: Sequence[Modality] = (),
) -> Encoder:
    """An encoder with what is said of it."""
    return Encoder(
        network,
        inputs,
        statistics=None if statistics is None else input_scales(statistics, inputs),
        recipe=recipe,
        metrics=metrics,
        targets=targets,
        relations=None if statistics is None else input_relations(statistics, inputs),
        ground_sampling_distance=ground_sampling_distance,
        series=describe_series(series, statistics),
    )

"""What pretraining would have lost on tiles that were reconstructed: the same comparison, by the same code."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geopretext.data.fields import read_settings
from geopretext.errors import InputError
from geopretext.modality import Modality, Observed
from geopretext.nn.autoencoder import MaskedAutoencoder, take_patches
from geopretext.nn.sites import shown_patches
from geopretext.predict.reconstruct import Reconstruction
from geopretext.pretext.mp_mae import MPMAE
from geopretext.pretext.settings import MPMAESettings


def pretext_settings(recipe: Mapping[str, Any]) -> MPMAESettings | None:
    """How a bundle was pretrained by MP-MAE, from the recipe that it records; None if it was not, or that is not known.

    Weights that were imported record no recipe of ours, so that nobody can say what their loss would be.
    """
    pretext = recipe.get("pretext")
    if not isinstance(pretext, Mapping) or recipe.get("method", "mp_mae") != "mp_mae":
        return None
    try:
        return read_settings(MPMAESettings, pretext, where="recipe of the bundle")
    except InputError:
        return None


def reconstruction_losses(
    network: MaskedAutoencoder, settings: MPMAESettings, reconstruction: Reconstruction
) -> dict[str, float | None]:
    """The loss of each task over the tiles of a reconstruction, before weighting, as pretraining computes it.

    Maps that are predicted where patches are hidden count hidden patches only.

    Args:
        network: that the reconstruction is of.
        settings: that it was pretrained with.
        reconstruction: of some tiles, by ``reconstruct``.

    Returns:
        By target; None where nothing was hidden, or nothing observed to compare with.
    """
    modalities = {**{modality.name: modality for modality in network.inputs}, **network.targets}
    method = MPMAE(network.encoder.settings, settings, modalities, network=network)
    compared = reconstruction.compared
    assert compared is not None
    masked = shown_patches(~compared.visible, int((~compared.visible[0]).sum()))
    outputs, fields = {}, {}
    # An input that the network was not given counts on all patches, as in training.
    hidden = {name: torch.ones_like(compared.visible) for name in reconstruction.absent}
    for name, target in network.targets.items():
        output = compared.outputs[name]
        if target.kind.is_map and not network.predicts_visible(name) and name not in hidden:
            if not masked.shape[1]:
                continue
            output = take_patches(output, masked)
        outputs[name] = output
        fields[name] = _as_batched(target, compared.fields[name], method.bands[name])
    with torch.inference_mode():
        found = method.compare(outputs, fields, masked, hidden)
    losses: dict[str, float | None] = dict.fromkeys(network.targets)
    for name, loss in found.items():
        if loss.count > 0:
            losses[name] = float(loss.total / loss.count)
    return losses


def _as_batched(target: Modality, field: Observed[Tensor], bands: tuple[str, ...]) -> Observed[Tensor]:
    """The standardised truth with the bands that a batch of training has; those that are not compared are 0."""
    if target.kind.is_categorical or bands == target.band_names:
        return field
    rows = [bands.index(name) for name in target.band_names]
    values, valid = (part.new_zeros((len(part), len(bands), *part.shape[2:])) for part in field)
    values[:, rows], valid[:, rows] = field
    return Observed(values, valid)

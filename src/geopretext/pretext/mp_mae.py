"""MP-MAE, the multi-pretext masked autoencoder of MMEarth (Nedungadi et al., ECCV 2024, arXiv 2405.02771).

A step: choose patches to hide in each tile; encode the visible patches of the optical image; predict every modality
from them; compare maps on the hidden patches and vectors as a whole, wherever there is something to compare with;
weigh the tasks and sum. With ``predict_visible``, which is ours, maps other than the input are compared on all patches.
Also ours: with an encoder of several inputs (``nn.fused``), ``input_dropout`` hides some of them wholly in each tile; a
target that is hidden so is compared on all patches.

What differs from the published code, in each case because that code does otherwise than it says:

- missing numbers are left out of the loss, where the published code turns those of continuous maps into 0 and learns to
  predict that (``missing_targets: zero`` does the same);
- a loss is the mean over the valid numbers, where the published code takes the mean over each patch, and of these over
  those that are not exactly 0 (``denominator: nonzero``); without missing numbers the two agree;
- standardising a patch looks at valid numbers only, unless missing ones are targets;
- a task without a valid target in the batch is skipped, where the published code stops with an undefined loss.

``docs/fidelity.md`` has every difference; the recipes called ``-official`` do as the published code does.

Letters: ``B`` tiles, ``C`` bands, ``P`` patches, ``M`` masked patches, ``p`` pixels on a side of a patch.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, GridError, InputError, RecipeError
from geopretext.modality import Acquisition, Kind, Modality, Observed
from geopretext.nn.autoencoder import MaskedAutoencoder, take_patches
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.kernels import can_run, cross_entropy, squared_error
from geopretext.nn.masking import patch_grid, patchify, sample_dropped, sample_visible, visible_count
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.sites import shown_patches
from geopretext.nn.weighting import make_weighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image, lacking, refuse_label
from geopretext.pretext.settings import MPMAESettings


class MPMAE(Method):
    """The network of MP-MAE and its objective.

    Losses are over the valid numbers (squared error), places (cross-entropy), or, with ``denominator: nonzero``,
    patches of a continuous map.

    Args:
        encoder: the encoder and its input bands.
        settings: the tasks and the decoder.
        modalities: what the data hold, by name.
        network: that was trained with these settings; None: a new one.

    Raises:
        InputError: the data lack the input modality or a target.
        BandError: they lack a band of it.
        RecipeError: a modality cannot be used as it is meant to, or no patch would be shown.
    """

    def __init__(
        self,
        encoder: NetworkSettings,
        settings: MPMAESettings,
        modalities: Mapping[str, Modality],
        network: MaskedAutoencoder | None = None,
    ) -> None:
        super().__init__()
        inputs = find_inputs(encoder, modalities) if network is None else network.inputs
        _check(encoder, settings, modalities)
        targets = {
            name: modalities[name] if bands is None else modalities[name].select(bands)
            for name, bands in settings.targets.items()
        }
        self.settings = settings
        self.network: MaskedAutoencoder = network or MaskedAutoencoder(
            encoder, settings.autoencoder, inputs=inputs, targets=targets
        )
        self.weighting = make_weighting(settings.weighting, targets)
        self.select = nn.ModuleDict(
            {name: _Select(self.bands[name], target.band_names) for name, target in targets.items()}
        )

    @property
    def encoder(self) -> EncoderNetwork:  # type: ignore[override]  # part of the network, which owns it
        """What the bundle keeps."""
        return self.network.encoder

    @property
    def tasks(self) -> tuple[str, ...]:
        """The targets."""
        return tuple(self.network.targets)

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self.network.inputs

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Bands that a batch must bring, by modality: those of the input first, then those that are only predicted."""
        return self.network.bands

    @property
    def targets(self) -> Mapping[str, Modality]:  # names, and more than names
        """What is predicted, by name, each with just the predicted bands."""
        return self.network.targets

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,  # noqa: ARG002 -- places and dates are targets here
    ) -> dict[str, TaskLoss]:
        """Hide patches, predict, compare.

        Args:
            fields: normalised crops by modality, with the bands of ``self.bands`` in that order, laid out as
                ``Observed`` says; a missing number of the input is seen as 0, the mean.
            seeds: (B,) int64: each tile's own, from which follow the patches to hide.
            acquisition: not looked at.

        Returns:
            The loss of each task.

        Raises:
            InputError: a modality is missing from ``fields``.
            BandError: a modality has another number of bands.
            GridError: maps differ in size, or do not divide into patches.
        """
        height, width = self._check_fields(fields)
        encoder = self.encoder.settings
        h, w = patch_grid(height=height, width=width, patch_size=encoder.patch_size)
        image = input_image(fields, encoder.inputs)
        visible = sample_visible(seeds, h * w, self.settings.mask_ratio)
        count = visible_count(h * w, self.settings.mask_ratio)
        masked = shown_patches(~visible, h * w - count)
        if not (self.training and self.settings.input_dropout > 0):
            return self.compare(self.network(image, visible, count=count), fields, masked)
        dropped = self._drop_inputs(fields, seeds)
        predictions = self.network(self._without(image, dropped), visible, count=count, everywhere=True)
        return self.compare(predictions, fields, masked, self._hidden(visible, dropped))

    def compare(
        self,
        predictions: Mapping[str, Tensor],
        fields: Mapping[str, Observed[Tensor]],
        masked: Tensor,
        hidden: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> dict[str, TaskLoss]:
        """The loss of each task that was predicted.

        Args:
            predictions: of the network, by target.
            fields: as ``forward`` takes them; those of the targets are enough.
            masked: (B, M) int64: which patches were hidden.
            hidden: (B, P) bool: the patches to compare, of those maps whose predictions are on all patches and of which
                not all are to be compared.
        """
        return {
            name: self._compare(name, prediction, fields[name], masked, hidden.get(name))
            for name, prediction in predictions.items()
        }

    def save(self, folder: Any, **facts: Any) -> None:
        """Write a bundle that also reconstructs; see ``Method``."""
        save_bundle(folder, self.network, **facts)

    def _drop_inputs(self, fields: Mapping[str, Observed[Tensor]], seeds: Tensor) -> Tensor:
        """(B, N) bool: which of the N inputs to hide in each tile."""
        bands = self.encoder.settings.inputs
        present = [fields[name].valid[:, : len(bands[name])].flatten(1).any(1) for name in bands]
        return sample_dropped(seeds, torch.stack(present, 1), self.settings.input_dropout)

    def _without(self, image: Tensor, dropped: Tensor) -> Tensor:
        """The image (B, C, H, W) with 0 in all bands of the inputs that are hidden."""
        parts = torch.split(image, [len(bands) for bands in self.encoder.settings.inputs.values()], 1)
        return torch.cat([part.masked_fill(dropped[:, n, None, None, None], 0) for n, part in enumerate(parts)], 1)

    def _hidden(self, visible: Tensor, dropped: Tensor) -> dict[str, Tensor]:
        """Which patches (B, P) of each map are hidden: those of the mask, and all of an input that is hidden wholly."""
        position = {name: n for n, name in enumerate(self.encoder.settings.inputs)}
        return {
            name: ~visible | dropped[:, position[name], None] if name in position else ~visible
            for name, target in self.targets.items()
            if target.kind.is_map and not self.network.predicts_visible(name)
        }

    def _compare(
        self, name: str, prediction: Tensor, field: Observed[Tensor], masked: Tensor, hidden: Tensor | None
    ) -> TaskLoss:
        target = self.targets[name]
        values, valid = field
        if not target.kind.is_categorical:
            select = self.select[name]
            values, valid = select(values), select(valid)
        if target.kind is Kind.CONTINUOUS_MAP and self.settings.missing_targets == "zero":
            valid = torch.ones_like(valid)  # where they were not, ``Observed`` holds 0
        if hidden is not None:
            valid = valid & self._pixels(hidden, valid)
        everywhere = hidden is not None or self.network.predicts_visible(name)
        by_patch = target.kind is Kind.CONTINUOUS_MAP and self.settings.denominator == "nonzero"
        if target.kind.is_map and not by_patch and can_run(prediction):
            return self._compare_maps(name, prediction, Observed(values, valid), None if everywhere else masked)
        if target.kind.is_map:
            values, valid = self._patches(values), self._patches(valid)
            if not everywhere:
                values, valid = take_patches(values, masked), take_patches(valid, masked)
            if name in self.settings.standardise_patches:
                values = standardise(values, valid)
        if by_patch:
            return _squared_error_of_patches(prediction.float(), values, valid)
        return _LOSSES[target.kind](prediction.float(), values, valid)

    def _compare_maps(self, name: str, prediction: Tensor, field: Observed[Tensor], masked: Tensor | None) -> TaskLoss:
        """The same by kernels, which read the patches of a map where they lie; None: all patches."""
        side, chosen = self.encoder.settings.patch_size, masked
        if chosen is None:
            chosen = torch.arange(prediction.shape[1], device=prediction.device).expand(len(prediction), -1)
        if self.targets[name].kind.is_categorical:
            return TaskLoss(*cross_entropy(prediction, *field, chosen, side))
        scaled = name in self.settings.standardise_patches
        return TaskLoss(*squared_error(prediction, *field, chosen, side, standardise=scaled))

    def _patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) or (B, H, W) -> (B, P, p p C)."""
        return patchify(x if x.ndim == 4 else x[:, None], self.encoder.settings.patch_size)

    def _pixels(self, patches: Tensor, like: Tensor) -> Tensor:
        """(B, P) -> (B, 1, H, W), or (B, H, W), for a map (B, C, H, W) or (B, H, W)."""
        side = self.encoder.settings.patch_size
        grid = patches.reshape(len(patches), like.shape[-2] // side, like.shape[-1] // side)
        pixels = grid.repeat_interleave(side, 1).repeat_interleave(side, 2)
        return pixels[:, None] if like.ndim == 4 else pixels

    def _check_fields(self, fields: Mapping[str, Observed[Tensor]]) -> tuple[int, int]:
        """The height and width that all maps share."""
        absent = [name for name in self.bands if name not in fields]
        if absent:
            raise InputError(f"the batch lacks {', '.join(absent)}", hint=f"it must bring {', '.join(self.bands)}")
        sizes = {}
        for name, bands in self.bands.items():
            shape = fields[name].values.shape
            target = self.targets.get(name) or next(modality for modality in self.inputs if modality.name == name)
            if not target.kind.is_categorical and shape[1] != len(bands):
                raise BandError(f"the batch has {shape[1]} bands of {name!r}", hint=f"it must bring {', '.join(bands)}")
            if target.kind.is_map:
                sizes[name] = (shape[-2], shape[-1])
        if len(set(sizes.values())) > 1:
            raise GridError(
                "maps of one batch differ in size: " + ", ".join(f"{n} {s[0]} x {s[1]}" for n, s in sizes.items()),
                hint="crop all modalities to the same window",
            )
        return next(iter(sizes.values()))


def standardise(values: Tensor, valid: Tensor) -> Tensor:
    """Give the valid numbers of each patch mean 0 and variance 1, over pixels and bands together.

    The variance is the unbiased one, plus 1e-6.

    Args:
        values: (B, M, N), 0 where not valid.
        valid: (B, M, N) bool.
    """
    values = values.float()
    count = valid.sum(-1, keepdim=True)
    mean = values.sum(-1, keepdim=True) / count.clamp(min=1)
    difference = torch.where(valid, values - mean, 0.0)
    variance = difference.square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return difference / (variance + 1e-6).sqrt()


def _squared_error(prediction: Tensor, values: Tensor, valid: Tensor) -> TaskLoss:
    total = torch.where(valid, prediction - values, 0.0).square().sum()
    return TaskLoss(total, valid.sum().float())


def _squared_error_of_patches(prediction: Tensor, values: Tensor, valid: Tensor) -> TaskLoss:
    """All (B, M, N): the mean over each patch's valid numbers, summed over patches; counts those that are not 0."""
    squares = torch.where(valid, prediction - values, 0.0).square().sum(-1)
    means = squares / valid.sum(-1).clamp(min=1)
    return TaskLoss(means.sum(), means.detach().count_nonzero().float())


def _cross_entropy(prediction: Tensor, values: Tensor, valid: Tensor) -> TaskLoss:
    """Prediction (..., N K) with the K classes of a place side by side, values and valid (..., N)."""
    logits = prediction.reshape(values.numel(), -1)
    each = F.cross_entropy(logits, values.flatten(), reduction="none")
    return TaskLoss(torch.where(valid.flatten(), each, 0.0).sum(), valid.sum().float())


def _binary_cross_entropy(prediction: Tensor, values: Tensor, valid: Tensor) -> TaskLoss:
    each = F.binary_cross_entropy_with_logits(prediction, values.float(), reduction="none")
    return TaskLoss(torch.where(valid, each, 0.0).sum(), valid.sum().float())


_LOSSES: dict[Kind, Callable[[Tensor, Tensor, Tensor], TaskLoss]] = {
    Kind.CONTINUOUS_MAP: _squared_error,
    Kind.CONTINUOUS_VECTOR: _squared_error,
    Kind.CATEGORICAL_MAP: _cross_entropy,
    Kind.CATEGORICAL_VECTOR: _cross_entropy,
    Kind.MULTILABEL_VECTOR: _binary_cross_entropy,
}


def _check(encoder: NetworkSettings, settings: MPMAESettings, modalities: Mapping[str, Modality]) -> None:
    for name in (*encoder.inputs, *settings.targets):
        if name not in modalities:
            raise lacking(name, modalities, f"pretext.targets.{name}")
        refuse_label(modalities[name])
    for name in settings.standardise_patches:
        if name in settings.targets and modalities[name].kind is not Kind.CONTINUOUS_MAP:
            raise RecipeError(
                f"pretext.standardise_patches names {name!r}, a {modalities[name].kind}",
                hint="only continuous maps have patches to standardise",
            )
    if settings.input_dropout > 0 and len(encoder.inputs) == 1:
        raise RecipeError(
            f"pretext.input_dropout is {settings.input_dropout}, and the encoder has one input",
            hint="at 0 nothing is hidden but patches; encoder.family fused has several inputs",
        )
    count = visible_count(encoder.patches, settings.mask_ratio)
    if not 0 < count < encoder.patches:
        raise RecipeError(
            f"pretext.mask_ratio {settings.mask_ratio} shows {count} of {encoder.patches} patches",
            hint="show at least one patch and hide at least one: change mask_ratio or encoder.image_size",
        )


class _Select(nn.Module):
    """Some of the bands that a batch brings: (B, C, ...) -> (B, C', ...). Holds no weights.

    Args:
        bands: what the batch brings, in order.
        wanted: what is asked for, in order.
    """

    def __init__(self, bands: tuple[str, ...], wanted: tuple[str, ...]) -> None:
        super().__init__()
        self.all_in_order = bands == wanted
        self.index: Tensor
        index = torch.tensor([bands.index(name) for name in wanted])
        self.register_buffer("index", index, persistent=False)  # moves to the device once, not at every step

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x if self.all_in_order else x.index_select(1, self.index)

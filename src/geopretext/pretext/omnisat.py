"""OmniSat, self-supervised modality fusion (Astruc et al., ECCV 2024, arXiv 2404.08351).

A step: turn each ground patch of each modality into a token; contrast tokens of the same patch between modalities; hide
three quarters of the tokens of all modalities together; fuse the rest into one token a patch; reconstruct every
modality from it, maps on all patches, series where they were hidden and on the dates that say most.

Differs from the published code: tokens of what was not observed take part nowhere, and padded dates neither; losses are
over valid numbers, standardised over valid numbers; hidden tokens keep their position; negatives come from all
processes; the dates to reconstruct follow from attention before dropout, the last of a tile's dates among them; a
decoder knows the switches of a patch only if it was shown (``bypass``). ``docs/methods/omnisat.md`` has the whole list.

Letters: ``B`` tiles, ``M`` modalities, ``P`` patches, ``T`` dates, ``p`` pixels on a side of a patch.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geopretext.errors import InputError, RecipeError
from geopretext.modality import Acquisition, Kind, Modality, Observed
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.masking import patchify, sample_visible
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.omnisat import Projection
from geopretext.nn.omnisat_reconstructor import OmniSatDecoderSettings, OmniSatReconstructor
from geopretext.nn.omnisat_settings import OmniSatSettings
from geopretext.nn.temporal_attention import Series, day_of_year, telling_dates
from geopretext.nn.weighting import EqualWeighting
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image, lacking, refuse_label
from geopretext.pretext.mp_mae import standardise
from geopretext.pretext.omnisat_settings import OmniSatPretextSettings
from geopretext.pretext.patch_contrast import patch_contrast

CONTRAST = "contrast"
"""name of the task that is no modality"""


class OmniSatMethod(Method):
    """OmniSat's network and objective.

    Args:
        encoder: of the family "omnisat".
        settings: the objective.
        modalities: what the data hold, by name.

    Raises:
        InputError: the data lack a modality.
        BandError: they lack a band of it.
        RecipeError: a modality is a label or of another kind than is meant, or there is but one.
    """

    settings: OmniSatPretextSettings

    def __init__(
        self, encoder: NetworkSettings, settings: OmniSatPretextSettings, modalities: Mapping[str, Modality]
    ) -> None:
        super().__init__()
        inputs = find_inputs(encoder, modalities)
        names = tuple(modality.name for modality in inputs)
        decoder = OmniSatDecoderSettings(settings.mask_ratio, names, settings.bypass)
        self.settings = settings
        self.network = OmniSatReconstructor(encoder, decoder, inputs=inputs)
        self.series = _find_series(self.architecture, modalities)
        if len(names) + len(self.architecture.series) < 2:
            raise RecipeError(
                f"OmniSat of {names[0]!r} alone has nothing to fuse",
                hint="name another map in encoder.inputs, or a time series in encoder.series",
            )
        self.weighting = _ContrastWeighting(self.tasks, settings.contrast_weight)

    @property
    def encoder(self) -> EncoderNetwork:  # type: ignore[override]  # part of the network, which owns it
        """What the bundle keeps."""
        return self.network.encoder

    @property
    def architecture(self) -> OmniSatSettings:
        """Of the encoder."""
        return self.network.encoder.settings

    @property
    def tasks(self) -> tuple[str, ...]:
        """The contrast, then the reconstruction of each modality."""
        return (CONTRAST, *self.targets)

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self.network.inputs

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Bands that a batch must bring, by modality: maps, then series."""
        return {**self.architecture.inputs, **self.architecture.series}

    @property
    def dates(self) -> int:
        """Of each series, as published: others each time that a tile is visited."""
        return self.settings.max_dates

    @property
    def targets(self) -> tuple[str, ...]:
        """All modalities, which are all reconstructed."""
        return tuple(self.bands)

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,
    ) -> dict[str, TaskLoss]:
        """Project, contrast, hide, fuse, reconstruct, compare.

        Args:
            fields: standardised crops by modality, see ``Method``.
            seeds: (B,) int64: of the tokens to hide.
            acquisition: dates of the series; not looked at if there are none.

        Returns:
            The loss of each task.

        Raises:
            InputError: a modality, or the dates of a series, is missing.
            BandError, GridError: a modality has other bands, or another size.
        """
        if absent := [name for name in self.bands if name not in fields]:
            raise InputError(f"the batch lacks {', '.join(absent)}", hint=f"it must bring {', '.join(self.bands)}")
        image = input_image(fields, self.architecture.inputs)
        series = {name: Series(fields[name], _days(name, acquisition)) for name in self.architecture.series}
        projection = self.network.encoder.project(image, series)
        batch, modalities, patches = projection.present.shape
        shown = sample_visible(seeds, modalities * patches, self.settings.mask_ratio)
        hidden = ~shown.reshape(batch, modalities, patches)
        cells = self.network.fuse(projection, hidden)

        losses = {CONTRAST: patch_contrast(projection.tokens, projection.present, self.settings.temperature)}
        for name, prediction in self.network.decode_maps(cells, projection, hidden).items():
            values, valid = (patchify(part, self.architecture.patch_size) for part in fields[name])
            losses[name] = _squared_error(prediction, standardise(values, valid), valid)
        first = len(self.architecture.inputs)
        for number, (name, one) in enumerate(series.items(), start=first):
            losses[name] = self._compare_series(name, one, cells, projection, hidden[:, number])
        return losses

    def save(self, folder: Any, **facts: Any) -> None:
        """Write a bundle that also reconstructs; see ``Method``."""
        save_bundle(folder, self.network, series=self.series, **facts)

    def _compare_series(
        self, name: str, series: Series, cells: Tensor, projection: Projection, hidden: Tensor
    ) -> TaskLoss:
        """On hidden patches and telling dates; each date of a tile is standardised as a whole."""
        (values, valid), days = series
        batch, dates = days.valid.shape
        side = self.architecture.patch_size
        shape = (batch, dates, cells.shape[1], -1)
        values, valid = (patchify(part.flatten(0, 1), side).reshape(shape) for part in (values, valid))
        valid = valid & days.valid[..., None, None]
        values = standardise(values.flatten(2), valid.flatten(2)).reshape(valid.shape)
        chosen = telling_dates(projection.attention[name], days.valid, self.settings.date_quantile)
        tile, date, patch = (chosen[..., None] & hidden[:, None]).nonzero(as_tuple=True)
        day = day_of_year(days.values)[tile, date]
        prediction = self.network.decode_series(name, cells[tile, patch], day)
        return _squared_error(prediction, values[tile, date, patch], valid[tile, date, patch])


class _ContrastWeighting(EqualWeighting):
    """A sum in which the contrast has a weight of its own."""

    def __init__(self, names: tuple[str, ...], weight: float) -> None:
        super().__init__(names)
        self.weight = weight

    def forward(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """See ``EqualWeighting``."""
        total, weights = super().forward({**losses, CONTRAST: losses[CONTRAST] * self.weight}, active)
        return total, {**weights, CONTRAST: weights[CONTRAST] * self.weight}


def _squared_error(prediction: Tensor, values: Tensor, valid: Tensor) -> TaskLoss:
    total = torch.where(valid, prediction.float() - values, 0.0).square().sum()
    return TaskLoss(total, valid.sum().float())


def _days(name: str, acquisition: Acquisition[Tensor] | None) -> Observed[Tensor]:
    if acquisition is None or name not in acquisition.series:
        raise InputError(f"the batch lacks the dates of {name!r}", hint="acquisition.series must have them")
    return acquisition.series[name]


def _find_series(settings: OmniSatSettings, modalities: Mapping[str, Modality]) -> tuple[Modality, ...]:
    """The series of an encoder among what data hold, each with just its bands."""
    for name in settings.series:
        if name not in modalities:
            raise lacking(name, modalities, f"encoder.series.{name}")
        if modalities[name].kind is not Kind.CONTINUOUS_SERIES:
            raise RecipeError(f"encoder.series: {name!r} is a {modalities[name].kind}", hint="a continuous series")
        refuse_label(modalities[name])
    return tuple(modalities[name].select(bands) for name, bands in settings.series.items())

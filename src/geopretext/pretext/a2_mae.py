"""A2-MAE-style: images of one place from several sensors and resolutions, masked by what an anchor image hides.

After A2-MAE (Zhang et al., arXiv 2406.08079). No code of it was published, and only its abstract and a description
could be read. From there come: sets of images of one place in one encoder, masks that follow from one image, the
anchor, by its meta-information, an encoding of latitude, longitude and ground sampling distance, and reconstruction of
hidden patches from the other images. Everything else, every number among it, is ours; ``docs/methods/a2-mae-style.md``
says which is which.

A step: draw the images of other dates, if there are to be any (``pretext.other_dates``); choose an anchor and, by it,
the tokens to hide in each image (``nn.anchor_masking``); forget some places and dates; encode the visible tokens of all
images together; predict the hidden ones; compare each hidden patch, standardised over its valid numbers, wherever
something was observed. The loss of an image is the mean over its hidden valid numbers, that of a task the mean over the
images of that name, and the objective the mean over tasks.

An image of another date goes through the weights of the encoder's image that it is named after, and only its date tells
them apart: that date is never forgotten, while the tile's own may be.

Letters: ``B`` tiles, ``K`` images of a set, ``C`` bands, ``N`` tokens.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from geopretext.errors import GridError, InputError, RecipeError
from geopretext.modality import Acquisition, Modality, Observed
from geopretext.nn.anchor_masking import TokenMasks, choose_anchors
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.footprints import area_means, fill_up
from geopretext.nn.geographic_encoding import forget
from geopretext.nn.image_set_autoencoder import ImageSetAutoencoder
from geopretext.nn.image_set_encoder import ImageSetEncoder, Shot
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.masking import patchify, visible_count
from geopretext.nn.network import NetworkSettings
from geopretext.nn.seeded import derived, uniform
from geopretext.nn.weighting import EqualWeighting
from geopretext.pretext.a2_mae_settings import A2MAESettings
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image
from geopretext.pretext.mp_mae import standardise
from geopretext.pretext.other_dates import OtherDate, draw_dates, other_images

_PLACES, _DATES, _OTHERS = 2, 3, 4  # streams of the seeds; ``nn.anchor_masking`` has 1, and those from 16 on


class A2MAE(Method):
    """The network and its objective; a task for each image of a set, a loss over tiles.

    Args:
        encoder: the images and the encoder.
        settings: masks and the decoder.
        modalities: what the data hold, by name.

    Raises:
        InputError: the data lack an input.
        BandError: they lack a band of it.
        RecipeError: the encoder is of another family, an input is a label, or an image has too few tokens to hide some
            and show some; or other dates are asked for that cannot be had.
    """

    settings: A2MAESettings

    def __init__(self, encoder: NetworkSettings, settings: A2MAESettings, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        if not isinstance(encoder, ImageSetSettings):
            raise RecipeError(f"encoder.family is {encoder.family!r}, of method a2_mae", hint=ImageSetSettings.family)
        inputs = find_inputs(encoder, modalities)
        self.settings = settings
        self.others = other_images(encoder, settings, modalities)
        self.shown = {name: name for name in encoder.sources}
        for other in self.others:
            self.shown |= other.images
        if settings.anchor is not None and settings.anchor not in self.shown:
            raise RecipeError(f"pretext.anchor is {settings.anchor!r}", hint=f"one of {', '.join(self.shown)}, or null")
        self.network = ImageSetAutoencoder(encoder, settings.decoder(tuple(encoder.inputs)), inputs=inputs)
        self.weighting = MeanOverImages(self.tasks)
        grids = self.encoder.grids(height=encoder.image_size, width=encoder.image_size)
        self.grids = {name: grids[image] for name, image in self.shown.items()}
        self.counts = {
            name: max(1, visible_count(grid.tokens, settings.mask_ratio)) for name, grid in self.grids.items()
        }
        for name, count in self.counts.items():
            if count >= self.grids[name].tokens:
                raise RecipeError(
                    f"the image {name!r} has {self.grids[name].tokens} tokens, and {count} would be shown",
                    hint="a larger encoder.image_size, a smaller encoder.patch_size, or a higher pretext.mask_ratio",
                )
        self.masks = TokenMasks(
            list(self.grids.values()),
            list(self.counts.values()),
            keep_share=settings.keep_share,
            ground=encoder.image_size * encoder.ground_sampling_distance,
        )

    @property
    def encoder(self) -> ImageSetEncoder:  # type: ignore[override]  # part of the network, which owns it
        """What the bundle keeps."""
        return self.network.encoder

    @property
    def tasks(self) -> tuple[str, ...]:
        """The images of a set, those of other dates last."""
        return tuple(self.shown)

    @property
    def targets(self) -> tuple[str, ...]:
        """The modalities that images are of."""
        return tuple(self.network.targets)

    @property
    def inputs(self) -> tuple[Modality, ...]:
        """See ``Method``."""
        return self.network.inputs

    @property
    def bands(self) -> dict[str, tuple[str, ...]]:
        """Bands that a batch must bring, by modality: those of the inputs, then of time series."""
        return {**self.encoder.settings.inputs, **{other.series: other.bands for other in self.others}}

    @property
    def dates(self) -> int:
        """Of each series, from which one is drawn."""
        return self.settings.max_dates

    def forward(
        self,
        fields: Mapping[str, Observed[Tensor]],
        seeds: Tensor,
        acquisition: Acquisition[Tensor] | None = None,
    ) -> dict[str, TaskLoss]:
        """Hide tokens, predict, compare.

        Args:
            fields: normalised crops of ``encoder.settings.image_size`` pixels by modality, with ``self.bands``.
            seeds: (B,) int64: each tile's own, from which follow anchor, masks, and what is forgotten.
            acquisition: where and when the tiles were seen; None: not known. With images of other dates it must be
                known.

        Returns:
            Of each image of the set: the sum over tiles of the mean error, and over how many tiles.

        Raises:
            GridError: the crops have another size, or the data another ground sampling distance.
            InputError: the dates of a series are lacking.
        """
        x = input_image(fields, self.encoder.settings.inputs)
        self._check_ground(x, acquisition)
        told = None if acquisition is None else self._forget(acquisition, seeds)
        truth = self._truth(fields)
        shots = []
        for number, other in enumerate(self.others, start=1):
            drawn = _draw(other.series, fields, acquisition, derived(derived(seeds, _OTHERS), number))
            shots.append(
                Shot(other.image(drawn.image.values, self.encoder.settings.bands), _on(told, drawn), other.images)
            )
            for name, image in other.images.items():
                truth[name] = self._patches(drawn.image, other.rows[name], image)
        visible = self.visible(seeds, torch.stack([valid.any((1, 2)) for _, valid in truth.values()], 1))
        masks, count = torch.cat(list(visible.values()), 1), sum(self.counts.values())
        predictions = self.network.predict(x, masks, count, told, shots)
        return {name: _error(predictions[name], *truth[name], ~visible[name]) for name in self.tasks}

    def visible(self, seeds: Tensor, present: Tensor) -> dict[str, Tensor]:
        """Tokens that are shown of each image, (B, N) bool, ``self.counts`` in each row.

        Args:
            seeds: (B,) int64.
            present: (B, K) bool: images that have any valid number.
        """
        if self.settings.masking == "independent":
            return dict(zip(self.tasks, self.masks.independent(seeds), strict=True))
        if self.settings.anchor is None:
            anchors = choose_anchors(seeds, present)
        else:
            anchors = torch.full_like(seeds, self.tasks.index(self.settings.anchor))
        return dict(zip(self.tasks, self.masks(seeds, anchors), strict=True))

    def save(self, folder: Any, **facts: Any) -> None:
        """Write a bundle that also reconstructs; see ``Method``."""
        save_bundle(folder, self.network, **facts)

    def _truth(self, fields: Mapping[str, Observed[Tensor]]) -> dict[str, tuple[Tensor, Tensor]]:
        """Numbers and which are valid, (B, N, p p C), of the patches of each of the tiles' own images."""
        settings, truth = self.encoder.settings, {}
        for name, source in settings.sources.items():
            rows = [settings.inputs[source].index(band) for band in settings.image_bands[name]]
            truth[name] = self._patches(fields[source], rows, name)
        return truth

    def _patches(self, field: Observed[Tensor], rows: Sequence[int], name: str) -> tuple[Tensor, Tensor]:
        """The same of some bands of a field (B, C, H, W), by the image's name in the encoder."""
        settings = self.encoder.settings
        values, valid = (fill_up(part[:, rows], settings.footprint(name)) for part in field)
        image = area_means(values, valid, settings.factor(name))
        return patchify(image[0], settings.patch_size), patchify(image[1], settings.patch_size)

    def _forget(self, acquisition: Acquisition[Tensor], seeds: Tensor) -> Acquisition[Tensor]:
        places, dates = (
            uniform(derived(seeds, stream), 1)[:, 0] < self.settings.unknown_share for stream in (_PLACES, _DATES)
        )
        return forget(acquisition, places=places, dates=dates)

    def _check_ground(self, x: Tensor, acquisition: Acquisition[Tensor] | None) -> None:
        settings = self.encoder.settings
        if x.shape[2:] != (settings.image_size, settings.image_size):
            raise GridError(
                f"a batch has crops of {x.shape[2]} x {x.shape[3]} px", hint=f"{settings.image_size} px on each side"
            )
        told = settings.ground_sampling_distance
        if acquisition is not None and acquisition.ground_sampling_distance != told:
            raise GridError(
                f"the data have {acquisition.ground_sampling_distance:g} m a pixel, the encoder expects {told:g}",
                hint="set encoder.ground_sampling_distance",
            )


def _draw(
    series: str, fields: Mapping[str, Observed[Tensor]], acquisition: Acquisition[Tensor] | None, seeds: Tensor
) -> OtherDate:
    if series not in fields or acquisition is None or series not in acquisition.series:
        raise InputError(
            f"the batch lacks {series!r} or its dates", hint="fields must have the one, acquisition.series the other"
        )
    return draw_dates(fields[series], acquisition.series[series], seeds, but=acquisition.day)


def _on(told: Acquisition[Tensor] | None, drawn: OtherDate) -> Acquisition[Tensor] | None:
    """The same place on the day that was drawn."""
    return None if told is None else replace(told, day=drawn.day)


class MeanOverImages(EqualWeighting):
    """Mean over active tasks."""

    def forward(self, losses: Mapping[str, Tensor], active: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Weigh the losses; as ``UncertaintyWeighting``, with every weight one over the number of active tasks."""
        total, weights = super().forward(losses, active)
        count = torch.stack([active[name] for name in self.names]).sum().clamp(min=1)
        return total / count, {name: weight / count for name, weight in weights.items()}


def _error(prediction: Tensor, values: Tensor, valid: Tensor, hidden: Tensor) -> TaskLoss:
    """Of patches (B, N, n): each tile's mean over hidden valid numbers, summed over tiles that have any."""
    compared = valid & hidden[..., None]
    squares = torch.where(compared, prediction.float() - standardise(values, valid), 0.0).square().sum((1, 2))
    counts = compared.sum((1, 2))
    return TaskLoss((squares / counts.clamp(min=1)).sum(), (counts > 0).sum().float())

"""A2-MAE-style: images of one place from several sensors and resolutions, masked by what an anchor image hides.

After A2-MAE (Zhang et al., arXiv 2406.08079). No code of it was published, and only its abstract and a description
could be read. From there come: sets of images of one place in one encoder, masks that follow from one image, the
anchor, by its meta-information, an encoding of latitude, longitude and ground sampling distance, and reconstruction of
hidden patches from the other images. Everything else, every number among it, is ours; ``docs/methods/a2-mae-style.md``
says which is which.

A step: choose an anchor and, by it, the tokens to hide in each image (``nn.anchor_masking``); forget some places and
dates; encode the visible tokens of all images together; predict the hidden ones; compare each hidden patch,
standardised over its valid numbers, wherever something was observed. The loss of an image is the mean over its hidden
valid numbers, that of a task the mean over the images of that name, and the objective the mean over tasks.

Letters: ``B`` tiles, ``K`` images of a set, ``C`` bands, ``N`` tokens.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from geopretext.errors import GridError, RecipeError
from geopretext.modality import Acquisition, Modality, Observed
from geopretext.nn.anchor_masking import TokenMasks, choose_anchors
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.footprints import area_means
from geopretext.nn.geographic_encoding import forget
from geopretext.nn.image_set_autoencoder import ImageSetAutoencoder
from geopretext.nn.image_set_encoder import ImageSetEncoder
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.masking import patchify, visible_count
from geopretext.nn.network import NetworkSettings
from geopretext.nn.seeded import derived, uniform
from geopretext.nn.weighting import EqualWeighting
from geopretext.pretext.a2_mae_settings import A2MAESettings
from geopretext.pretext.method import Method, TaskLoss, find_inputs, input_image
from geopretext.pretext.mp_mae import standardise

_PLACES, _DATES = 2, 3  # streams of the seeds; ``nn.anchor_masking`` has 1, and those from 16 on


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
            and show some.
    """

    def __init__(self, encoder: NetworkSettings, settings: A2MAESettings, modalities: Mapping[str, Modality]) -> None:
        super().__init__()
        if not isinstance(encoder, ImageSetSettings):
            raise RecipeError(f"encoder.family is {encoder.family!r}, of method a2_mae", hint=ImageSetSettings.family)
        inputs = find_inputs(encoder, modalities)
        if settings.anchor is not None and settings.anchor not in encoder.sources:
            raise RecipeError(
                f"pretext.anchor is {settings.anchor!r}", hint=f"one of {', '.join(encoder.sources)}, or null"
            )
        self.settings = settings
        self.network = ImageSetAutoencoder(encoder, settings.decoder(tuple(encoder.inputs)), inputs=inputs)
        self.weighting = MeanOverImages(encoder.sources)
        self.grids = self.encoder.grids(height=encoder.image_size, width=encoder.image_size)
        self.counts = {
            name: max(1, visible_count(grid.tokens, settings.mask_ratio)) for name, grid in self.grids.items()
        }
        for name, count in self.counts.items():
            if count >= self.grids[name].tokens:
                raise RecipeError(
                    f"the image {name!r} has {self.grids[name].tokens} tokens, and {count} would be shown",
                    hint="a larger encoder.image_size, a smaller encoder.patch_size, or a higher pretext.mask_ratio",
                )
        self.masks = TokenMasks(list(self.grids.values()), list(self.counts.values()), keep_share=settings.keep_share)

    @property
    def encoder(self) -> ImageSetEncoder:  # type: ignore[override]  # part of the network, which owns it
        """What the bundle keeps."""
        return self.network.encoder

    @property
    def tasks(self) -> tuple[str, ...]:
        """The images of a set."""
        return tuple(self.encoder.settings.sources)

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
        """Bands that a batch must bring, by modality."""
        return self.encoder.settings.inputs

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
            acquisition: where and when the tiles were seen; None: not known.

        Returns:
            Of each image of the set: the sum over tiles of the mean error, and over how many tiles.

        Raises:
            GridError: the crops have another size, or the data another ground sampling distance.
        """
        x = input_image(fields, self.bands)
        self._check_ground(x, acquisition)
        truth = self._truth(fields)
        visible = self.visible(seeds, torch.stack([valid.any((1, 2)) for _, valid in truth.values()], 1))
        told = None if acquisition is None else self._forget(acquisition, seeds)
        predictions = self.network.predict(x, torch.cat(list(visible.values()), 1), sum(self.counts.values()), told)
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
        """Numbers and which are valid, (B, N, p p C), of the patches of each image."""
        settings, truth = self.encoder.settings, {}
        for name, source in settings.sources.items():
            rows = [self.bands[source].index(band) for band in settings.image_bands[name]]
            values, valid = fields[source]
            image = area_means(values[:, rows], valid[:, rows], settings.factor(name))
            truth[name] = (patchify(image[0], settings.patch_size), patchify(image[1], settings.patch_size))
        return truth

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

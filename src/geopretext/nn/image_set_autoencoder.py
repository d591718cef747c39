"""A masked autoencoder of sets of images: a transformer over the tokens of all images predicts those that are hidden.

Tokens that the encoder saw are projected; a learned vector stands for all others, hidden or absent; all are told
position, place, date, distance and image anew, go through the decoder's blocks, and a linear layer of each image turns
its tokens into the pixels of their patches, by row, column, then band.

As a ``Reconstructor`` it predicts modalities at the resolution of the data. In training a patch is predicted without
its own mean and standard deviation. Here those of the true patch are put back, each pixel of a coarser image is
repeated over the pixels that it covers, and the mean and deviation of the true cell over all bands of the modality are
taken away, as ``standardise_patches`` promises. What is shown of a hidden cell therefore has, beside the true cell's
brightness, that of its true patches relative to each other (``docs/decisions/147-restored-by-image.md``).

Letters: ``B`` tiles, ``C`` bands, ``N`` tokens of all images one after the other, ``V`` of them visible, ``M`` masked
cells, ``P`` cells, ``p`` pixels on a side of a patch, ``D`` features.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from geopretext.errors import BandError, RecipeError
from geopretext.modality import Acquisition, Modality, join_modalities
from geopretext.nn.autoencoder import take_patches
from geopretext.nn.image_set_encoder import ImageSetEncoder, Shot, TokenEncodings
from geopretext.nn.image_set_settings import ImageSetDecoderSettings, ImageSetSettings
from geopretext.nn.initialisation import initialise
from geopretext.nn.masking import patch_grid, patchify, unpatchify
from geopretext.nn.network import NetworkSettings
from geopretext.nn.products import Linear
from geopretext.nn.reconstructor import Reconstructor
from geopretext.nn.sites import count_visible, shown_patches
from geopretext.nn.transformer import TransformerBlock, make_norm

_EPSILON = 1e-6  # that is added to variances


class ImageSetAutoencoder(Reconstructor):
    """Predict the hidden tokens of a set of images from the visible ones.

    Args:
        encoder: the encoder, and with it the images.
        settings: the decoder.
        inputs: what it sees, each modality with just the encoder's bands of it; the same is predicted.

    Raises:
        BandError: the bands of ``inputs`` are not those of ``encoder``.
        RecipeError: the encoder is of another family.
    """

    kind = "image-set-autoencoder"
    settings_class = ImageSetDecoderSettings

    def __init__(
        self, encoder: NetworkSettings, settings: ImageSetDecoderSettings, *, inputs: Sequence[Modality]
    ) -> None:
        super().__init__()
        if not isinstance(encoder, ImageSetSettings):
            raise RecipeError(f"encoder.family is {encoder.family!r}", hint=ImageSetSettings.family)
        bands = join_modalities(inputs).band_names
        if bands != encoder.bands:
            raise BandError(f"the inputs have the bands {', '.join(bands)}, the encoder {', '.join(encoder.bands)}")
        self.settings: ImageSetDecoderSettings = settings
        self.inputs = tuple(inputs)
        self.targets = {modality.name: modality for modality in inputs}
        dim, pixels = settings.decoder_dim, encoder.patch_size**2
        self.encoder: ImageSetEncoder = ImageSetEncoder(encoder)
        self.projection = Linear(encoder.dim, dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        self.encodings = TokenEncodings(encoder, dim)
        self.blocks = nn.ModuleList(
            TransformerBlock(dim, settings.decoder_heads) for _ in range(settings.decoder_depth)
        )
        self.norm = make_norm(dim)
        self.heads = nn.ModuleDict(
            {name: Linear(dim, pixels * len(names)) for name, names in encoder.image_bands.items()}
        )
        nn.init.normal_(self.mask_token, std=0.02)
        for part in (self.projection, self.encodings, self.blocks, self.heads):
            initialise(part)

    def predict(
        self,
        x: Tensor,
        visible: Tensor,
        count: int,
        acquisition: Acquisition[Tensor] | None = None,
        others: Sequence[Shot] = (),
    ) -> dict[str, Tensor]:
        """Predict all tokens of every image from the visible ones.

        Args:
            x: (B, C, H, W): the inputs' bands, normalised, 0 where missing.
            visible: (B, N) bool, tokens of all images one after the other.
            count: V, the number of visible ones, the same in every tile: only these are encoded.
            acquisition: where and when; None: not known.
            others: images of other dates, whose tokens follow.

        Returns:
            By image (B, N', p p C').
        """
        shots = (self._own(x, acquisition), *others)
        parts = [self.encoder.embed(shot.x, shot.acquisition, shot.images.values()) for shot in shots]
        tokens, there = (torch.cat(part, 1) for part in zip(*parts, strict=True))
        chosen = shown_patches(visible, count)
        usable = there.gather(1, chosen)
        (encoded,) = self.encoder.transform(take_patches(tokens, chosen), usable)
        return self._decode(encoded, chosen, usable, shots)

    def forward(
        self, x: Tensor, visible: Tensor | None, *, count: int | None = None, everywhere: bool = False
    ) -> dict[str, Tensor]:
        """Predict every modality at the resolution of the data, see ``Reconstructor``.

        Args:
            x: (B, C, H, W): the inputs' bands, normalised, 0 where missing.
            visible: (B, P) bool, cells row by row, the same number in every tile; None: nothing is hidden. A token is
                seen if every cell that it covers is.
            count: that number, if it is known.
            everywhere: predict all cells.

        Returns:
            By modality (B, M, p p C) on the hidden cells, or (B, P, p p C), without the true cell's mean and deviation.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """
        height, width = x.shape[-2:]
        grid = patch_grid(height=height, width=width, patch_size=self.encoder.settings.patch_size)
        tokens, usable = self.encoder.embed(x)
        if visible is not None:
            usable = usable & self.encoder.seen_tokens(visible, height=height, width=width)
        (encoded,) = self.encoder.transform(tokens, usable)
        every = torch.arange(tokens.shape[1], device=x.device).expand(len(x), -1)
        predictions = self._as_modalities(self._decode(encoded, every, usable, (self._own(x, None),)), x)
        if visible is None or everywhere:
            return predictions
        count = count_visible(visible) if count is None else count
        hidden = shown_patches(~visible, grid[0] * grid[1] - count)
        return {name: take_patches(cells, hidden) for name, cells in predictions.items()}

    def predicts_visible(self, name: str) -> bool:  # noqa: ARG002 -- none is
        """No: as inputs are, modalities are learned where they are hidden."""
        return False

    @classmethod
    def from_plain(
        cls,
        plain: Mapping[str, Any],
        encoder: NetworkSettings,
        *,
        inputs: Sequence[Modality],
        targets: Mapping[str, Modality],  # noqa: ARG003 -- they are the inputs
    ) -> Self:
        """See ``Reconstructor``."""
        return cls(encoder, cls.read_settings(plain), inputs=inputs)

    def _own(self, x: Tensor, acquisition: Acquisition[Tensor] | None) -> Shot:
        """A tile's own images, all of them."""
        return Shot(x, acquisition, {name: name for name in self.encoder.settings.sources})

    def _decode(self, encoded: Tensor, chosen: Tensor, usable: Tensor, shots: Sequence[Shot]) -> dict[str, Tensor]:
        """Encoded tokens (B, V, D), their numbers and whether they count -> the patches of each image."""
        sizes: dict[str, int] = {}
        told = []
        for x, acquisition, images in shots:
            grids = self.encoder.grids(height=x.shape[2], width=x.shape[3], names=images.values())
            told.append(self.encodings(grids, acquisition, len(x)))
            sizes |= {name: grids[image].tokens for name, image in images.items()}
        encodings = torch.cat(told, 1)
        shown = torch.where(usable[..., None], self.projection(encoded), self.mask_token)
        tokens = self.mask_token.to(shown.dtype).expand_as(encodings)
        tokens = tokens.scatter(1, chosen[..., None].expand_as(shown), shown) + encodings
        for block in self.blocks:
            tokens = block(tokens)
        parts = torch.split(self.norm(tokens), list(sizes.values()), 1)
        heads = [self.heads[image] for shot in shots for image in shot.images.values()]
        return {name: head(part) for name, head, part in zip(sizes, heads, parts, strict=True)}

    def _as_modalities(self, predictions: Mapping[str, Tensor], x: Tensor) -> dict[str, Tensor]:
        """Patches of the images (B, N', p p C') -> cells of each modality (B, P, p p C)."""
        settings, (height, width) = self.encoder.settings, x.shape[2:]
        grids = self.encoder.grids(height=height, width=width)
        maps: dict[str, Tensor] = {}
        for name, (values, valid) in self.encoder.images(x).items():
            mean, deviation = _moments(*(patchify(part, settings.patch_size) for part in (values, valid)))
            grid, factor = grids[name], settings.factor(name)
            image = unpatchify(predictions[name] * deviation + mean, settings.patch_size, grid=grid[:2])
            enlarged = image.repeat_interleave(factor, 2).repeat_interleave(factor, 3)[:, :, :height, :width]
            maps |= dict(zip(settings.image_bands[name], enlarged.unbind(1), strict=True))
        cells = {}
        for name, bands in settings.inputs.items():
            found = patchify(torch.stack([maps[band] for band in bands], 1), settings.patch_size)
            true = patchify(x[:, [settings.bands.index(band) for band in bands]], settings.patch_size)
            mean, deviation = _moments(true, true != 0)
            cells[name] = (found - mean) / deviation
        return cells


def _moments(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (B, N, 1) over the valid numbers of each patch (B, N, n), values 0 elsewhere."""
    count = valid.sum(-1, keepdim=True)
    mean = values.sum(-1, keepdim=True) / count.clamp(min=1)
    variance = torch.where(valid, values - mean, 0.0).square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return mean, (variance + _EPSILON).sqrt()

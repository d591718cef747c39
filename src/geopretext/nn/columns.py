"""The Earth-observation form of NS-MAE's renderer: columns over the ground, seen from above or aslant.

An encoder's features become, for each cell of the ground, a column of height bins: a density and a standardised
reflectance a band in each. What a ray sees that comes down through the columns is a reflectance and the height at which
it ends, the surface. So one volume has to explain the image and the heights.

Where patches of the image are hidden: with one input, the encoder leaves them out, and a learned token stands for them;
with several, the image is 0 there, which says "missing", and the other inputs are still seen.

Letters: ``B`` tiles, ``P`` patches, ``p`` pixels on a side of a patch, ``K`` height bins, ``C`` bands, ``h w`` cells.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, RecipeError
from geopretext.modality import Modality, join_modalities
from geopretext.nn.autoencoder import take_patches
from geopretext.nn.column_settings import ColumnSettings
from geopretext.nn.convnextv2 import Block
from geopretext.nn.families import make_encoder
from geopretext.nn.initialisation import SPREADS, initialise
from geopretext.nn.local_norm import squares_of
from geopretext.nn.masking import patchify, unpatchify
from geopretext.nn.network import NetworkSettings
from geopretext.nn.products import Linear
from geopretext.nn.rays import shear
from geopretext.nn.reconstructor import Reconstructor
from geopretext.nn.rendering import render_rays
from geopretext.nn.sites import Whole, count_visible, shown_patches


class Columns(NamedTuple):
    """What stands over each cell; the highest bin first."""

    density: Tensor
    """(B, K, h, w), per metre, at least 0"""
    reflectance: Tensor
    """(B, K, C, h, w), standardised"""


class View(NamedTuple):
    """What rays see that come down through columns, one for each cell."""

    reflectance: Tensor
    """(B, C, h, w), standardised"""
    height: Tensor
    """(B, h, w), metres above the bottom of the columns: where the rays end"""


class ColumnRenderer(Reconstructor):
    """Predict an image by rendering columns of height bins from above.

    Args:
        encoder: the encoder, and with it the inputs and the patch size.
        settings: of columns and decoder.
        inputs: what it sees, each modality with just the encoder's bands of it.
        targets: the modality ``settings.image``, with the bands that are rendered.

    Raises:
        BandError: the bands of ``inputs`` are not those of ``encoder``.
        RecipeError: the image is no input, something else is to be predicted, or cells do not divide patches.
    """

    kind = "column-renderer"
    settings_class = ColumnSettings

    def __init__(
        self,
        encoder: NetworkSettings,
        settings: ColumnSettings,
        *,
        inputs: Sequence[Modality],
        targets: Mapping[str, Modality],
    ) -> None:
        super().__init__()
        bands = join_modalities(inputs).band_names
        if bands != encoder.bands:
            raise BandError(f"the input has the bands {', '.join(bands)}, the encoder {', '.join(encoder.bands)}")
        if settings.image not in encoder.inputs:
            raise RecipeError(
                f"pretext.image is {settings.image!r}, which the encoder does not see",
                hint=f"one of {', '.join(encoder.inputs)}",
            )
        if set(targets) != {settings.image}:
            raise RecipeError(f"{', '.join(targets) or 'nothing'} is to be rendered", hint=f"only {settings.image}")
        if encoder.patch_size % settings.cell:
            raise RecipeError(
                f"pretext.cell {settings.cell} does not divide encoder.patch_size {encoder.patch_size}",
                hint="for example 2",
            )
        self.settings: ColumnSettings = settings
        self.inputs, self.targets = tuple(inputs), dict(targets)
        self.encoder = make_encoder(encoder)
        self.projection = Linear(encoder.widths[-1], settings.decoder_dim)
        self.mask_token = nn.Parameter(torch.empty(settings.decoder_dim)) if len(self.inputs) == 1 else None
        self.blocks = nn.Sequential(*[Block(settings.decoder_dim) for _ in range(settings.decoder_depth)])
        self._cells = encoder.patch_size // settings.cell
        channels = targets[settings.image].channels + 1
        self.head = Linear(settings.decoder_dim, self._cells**2 * settings.height_bins * channels)
        edges = torch.tensor(settings.height_edges).flip(0)
        self.edges: Tensor
        self.register_buffer("edges", settings.height_range - edges, persistent=False)  # distances from the top
        self.middles: Tensor
        self.register_buffer("middles", (edges[1:] + edges[:-1]) / 2, persistent=False)  # heights
        self._initialise()

    def _initialise(self) -> None:
        """Small weights; a column starts half transparent, so that light and gradients reach all of it."""
        spread = SPREADS[self.encoder.settings.initialisation]
        initialise(self.projection, linear=spread.projection)
        initialise(self.blocks, linear=spread.decoder_pointwise, depthwise=spread.decoder_depthwise)
        initialise(self.head, linear=spread.map_head)
        bins = self.settings.height_bins
        with torch.no_grad():
            self.head.bias.view(self._cells**2, bins, -1)[..., -1] = math.log(math.expm1(1 / bins))
        if self.mask_token is not None:
            nn.init.normal_(self.mask_token, std=0.02)

    def columns(self, x: Tensor, visible: Tensor | None, count: int | None = None) -> Columns:
        """The columns over an image.

        Args:
            x: (B, bands, H, W): the inputs, normalised, 0 where missing.
            visible: (B, P) bool: the patches of the image that are shown; None: all.
            count: number of patches that are shown, if it is known.
        """
        features = self.projection(self._encode(x, visible, count).permute(0, 2, 3, 1))
        if visible is not None and self.mask_token is not None:
            hidden = ~visible.reshape(-1, *features.shape[1:3], 1)
            features = torch.where(hidden, self.mask_token.to(features.dtype), features)
        squares = squares_of(self, patch_size=self.encoder.settings.patch_size, block=1)
        for block in self.blocks:
            features = cast("Tensor", block(features, Whole(squares=squares)))
        grid = (features.shape[1], features.shape[2])
        raw = unpatchify(self.head(features).flatten(1, 2), self._cells, grid=grid).float()
        # Within a bin its bands, then its density: (B, K, C + 1, h, w).
        raw = raw.reshape(len(raw), self.settings.height_bins, -1, *raw.shape[2:])
        reflectance, density = torch.split(raw, [raw.shape[2] - 1, 1], 2)
        thickness = F.softplus(density[:, :, 0])  # of a bin that is looked at from above
        return Columns(thickness / self.edges.diff()[:, None, None], reflectance)

    def render(self, columns: Columns, slope: Tensor | None = None, pixel: float = 1.0) -> View:
        """What is seen from above, or aslant.

        The last bin is closed: there is ground below.

        Args:
            columns: of ``columns``.
            slope: (B, 2): metres that a ray moves along x and along y for a metre that it rises: the tangent of the
                view's angle from the vertical, times the direction to the sensor; None: straight down.
            pixel: metres on a side of a pixel.
        """
        density, reflectance = columns
        stretch = None
        if slope is not None:
            both = torch.cat([density[:, :, None], reflectance], 2)
            both, over = shear(both, self.middles, slope / (pixel * self.settings.cell))
            density, reflectance = torch.split(both, [1, both.shape[2] - 1], 2)
            density = density[:, :, 0] * over
            stretch = (1 + slope.square().sum(1)).sqrt()[:, None, None]
        seen = render_rays(
            density.permute(0, 2, 3, 1),
            self.edges,
            reflectance.permute(0, 3, 4, 1, 2),
            stretch=stretch,
            closed=True,
        )
        assert seen.features is not None
        return View(seen.features.permute(0, 3, 1, 2), self.settings.height_range - seen.depth)

    def surface(self, x: Tensor, visible: Tensor | None = None) -> Tensor:
        """Height of the surface over the lowest ground of an image, metres, (B, H / cell, W / cell).

        Args:
            x: as ``forward`` takes it.
            visible: likewise.
        """
        return self.render(self.columns(x, visible)).height

    def forward(
        self, x: Tensor, visible: Tensor | None, *, count: int | None = None, everywhere: bool = False
    ) -> dict[str, Tensor]:
        """The image as rendered from above, see ``Reconstructor``; all pixels of a cell are the same."""
        if visible is not None and count is None:
            count = count_visible(visible)
        image = self.render(self.columns(x, visible, count)).reflectance
        image = image.repeat_interleave(self.settings.cell, 2).repeat_interleave(self.settings.cell, 3)
        patches = patchify(image, self.encoder.settings.patch_size)
        if visible is not None and count is not None and not everywhere:
            patches = take_patches(patches, shown_patches(~visible, visible.shape[1] - count))
        return {self.settings.image: patches}

    def predicts_visible(self, name: str) -> bool:  # noqa: ARG002 -- there is one target
        """The image is compared where it was hidden."""
        return False

    def _encode(self, x: Tensor, visible: Tensor | None, count: int | None) -> Tensor:
        """(B, D, H / p, W / p)."""
        if visible is None or self.mask_token is not None:
            return cast("Tensor", self.encoder(x, visible, count))
        bands = torch.tensor(
            [modality.name == self.settings.image for modality in self.inputs for _ in modality.bands], device=x.device
        )
        patch = self.encoder.settings.patch_size
        grid = (x.shape[2] // patch, x.shape[3] // patch)
        shown = visible.reshape(-1, 1, *grid).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
        return cast("Tensor", self.encoder(torch.where(shown | ~bands[:, None, None], x, 0.0)))

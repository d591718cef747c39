"""A masked autoencoder that predicts many modalities from the visible patches of one.

Encoder, 1 x 1 projection, a learned token where a patch was hidden, ConvNeXt V2 blocks over the whole grid, and one
head a modality, which follows from the modality's kind:

- maps: a linear layer from a cell to the pixels of its patch, by row, column, then channel (a band, or a class);
- vectors: a norm that all vectors share, the mean over all cells, and a linear layer.

Published MMEarth weights hold one decoder that all modalities share ("shared"); its output is the same for every
modality, and is computed once.

Letters: ``B`` tiles, ``P`` patches, ``M`` masked patches, ``p`` pixels on a side of a patch, ``D`` decoder features.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from geopretext.errors import BandError, RecipeError
from geopretext.modality import Modality, join_modalities
from geopretext.nn.convnextv2 import EPSILON, Block
from geopretext.nn.families import make_encoder
from geopretext.nn.initialisation import SPREADS, initialise
from geopretext.nn.local_norm import squares_of
from geopretext.nn.network import NetworkSettings
from geopretext.nn.products import Linear
from geopretext.nn.reconstructor import Reconstructor
from geopretext.nn.settings import AutoencoderSettings
from geopretext.nn.sites import Whole, count_visible, shown_patches

_SHARED = "shared"


class MaskedAutoencoder(Reconstructor):
    """Predict modalities from the visible patches of an image.

    Args:
        encoder: the encoder, and with it the input bands and the patch size.
        settings: the decoder, and what its predictions mean.
        inputs: what it sees, each modality with just the encoder's bands of it.
        targets: what to predict, by name; each modality with just the bands to predict.

    Raises:
        BandError: the bands of ``inputs`` are not those of ``encoder``.
        RecipeError: there is no target, one is a series, or its name is one that torch keeps for itself.
    """

    kind = "masked-autoencoder"
    settings_class = AutoencoderSettings

    def __init__(
        self,
        encoder: NetworkSettings,
        settings: AutoencoderSettings,
        *,
        inputs: Sequence[Modality],
        targets: Mapping[str, Modality],
    ) -> None:
        super().__init__()
        bands = join_modalities(inputs).band_names
        if bands != encoder.bands:
            raise BandError(f"the input has the bands {', '.join(bands)}, the encoder {', '.join(encoder.bands)}")
        if not targets:
            raise RecipeError("there is nothing to predict", hint="name at least one modality under 'targets'")
        for name, target in targets.items():
            if name in dir(nn.ModuleDict):
                raise RecipeError(f"a target cannot be called {name!r}", hint="rename the modality")
            if target.kind.is_series:
                raise RecipeError(
                    f"the target {name!r} is a {target.kind}", hint="it predicts maps and vectors; leave the series out"
                )
        self.settings: AutoencoderSettings = settings
        self.inputs = tuple(inputs)
        self.targets = dict(targets)
        dim, pixels = settings.decoder_dim, encoder.patch_size**2
        self.encoder = make_encoder(encoder)
        self.projection = Linear(encoder.widths[-1], dim)
        self.mask_token = nn.Parameter(torch.empty(dim))
        decoders: Iterable[str] = (_SHARED,) if settings.decoder == "shared" else targets
        self.decoders = nn.ModuleDict(
            {
                # In MMEarth, too, a dense block, whose response norm sees one tile whatever the encoder's sees.
                name: nn.Sequential(*[Block(dim, grn_scope="sample") for _ in range(settings.decoder_depth)])
                for name in decoders
            }
        )
        has_vectors = any(not target.kind.is_map for target in targets.values())
        self.vector_norm = nn.LayerNorm(dim, eps=EPSILON) if has_vectors else None
        self.heads = nn.ModuleDict(
            {
                name: Linear(dim, target.channels * (pixels if target.kind.is_map else 1))
                for name, target in targets.items()
            }
        )
        spread = SPREADS[encoder.initialisation]
        initialise(self.projection, linear=spread.projection)
        initialise(self.decoders, linear=spread.decoder_pointwise, depthwise=spread.decoder_depthwise)
        for name, target in targets.items():
            initialise(self.heads[name], linear=spread.map_head if target.kind.is_map else spread.vector_head)
        nn.init.normal_(self.mask_token, std=0.02)

    def forward(
        self, x: Tensor, visible: Tensor | None, *, count: int | None = None, everywhere: bool = False
    ) -> dict[str, Tensor]:
        """Predict every target.

        Args:
            x: (B, C, H, W): the input bands, normalised, 0 where missing.
            visible: (B, P) bool, patches row by row; the same number in every tile. None: nothing is hidden, and the
                encoder is dense; maps are then predicted everywhere.
            count: that number, if it is known; otherwise it is read from ``visible``, for which a GPU must be waited.
            everywhere: predict all maps on all patches.

        Returns:
            By target: maps (B, M, p p channels) on the masked patches in order, or (B, P, p p channels) if
            ``everywhere`` or ``predicts_visible``; vectors (B, channels).

        Raises:
            BandError: the number of bands differs from the encoder's.
            GridError: the image does not divide into patches, or tiles differ in their number of visible patches.
        """
        if visible is not None and count is None:
            count = count_visible(visible)
        cells = self.projection(self.encoder(x, visible, count).permute(0, 2, 3, 1))
        if visible is not None:
            hidden = ~visible.reshape(-1, *cells.shape[1:3], 1)
            cells = torch.where(hidden, self.mask_token.to(cells.dtype), cells)
        decoded = {name: self._decode(cells, decoder) for name, decoder in self.decoders.items()}
        masked = decoded
        if visible is not None and count is not None:
            chosen = shown_patches(~visible, visible.shape[1] - count)
            masked = {name: take_patches(tokens, chosen) for name, tokens in decoded.items()}
        summaries = {} if self.vector_norm is None else {k: self.vector_norm(v).mean(1) for k, v in decoded.items()}
        predictions = {}
        for name, target in self.targets.items():
            source = summaries
            if target.kind.is_map:
                source = decoded if everywhere or self.predicts_visible(name) else masked
            tokens = source[_SHARED if self.settings.decoder == "shared" else name]
            predictions[name] = self.heads[name](tokens)
        return predictions

    def predicts_visible(self, name: str) -> bool:
        """Whether a target is a map that is predicted on the patches that are shown, too."""
        is_map = self.targets[name].kind.is_map
        return is_map and self.settings.predict_visible and name not in {modality.name for modality in self.inputs}

    def _decode(self, cells: Tensor, decoder: nn.Module) -> Tensor:
        """(B, h, w, D) -> (B, P, D)."""
        squares = squares_of(self, patch_size=self.encoder.settings.patch_size, block=1)
        for block in cast("nn.Sequential", decoder):
            cells = block(cells, Whole(self.settings.decoder_grn_epsilon, squares))
        return cells.flatten(1, 2)


def take_patches(patches: Tensor, chosen: Tensor) -> Tensor:
    """Some patches of each tile: (B, P, N), (B, M) int64 -> (B, M, N)."""
    return patches.gather(1, chosen[..., None].expand(-1, -1, patches.shape[-1]))

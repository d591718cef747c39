"""What OmniSat predicts from fused tokens: every map and every time series that it was given.

Maps come from a decoder that unpools with the switches of the projector, series from a linear layer of token and date.

Switches tell where in a patch the largest numbers stood. With ``bypass: all``, as published, they are used for hidden
tokens too, so that a decoder knows something of a patch that the transformer was not shown. With ``bypass: shown``, the
default, nothing of a hidden patch reaches its prediction.

Letters: ``B`` tiles, ``M`` modalities, ``P`` patches, ``D`` features, ``p`` pixels on a side of a patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor, nn

from geopretext.errors import BandError, RecipeError
from geopretext.modality import Modality, join_modalities
from geopretext.nn.network import NetworkSettings
from geopretext.nn.omnisat import OmniSat, Projection, check_mask
from geopretext.nn.omnisat_settings import OmniSatSettings
from geopretext.nn.patch_projector import PatchDecoder
from geopretext.nn.reconstructor import Reconstructor
from geopretext.nn.temporal_attention import SeriesDecoder


@dataclass(frozen=True)
class OmniSatDecoderSettings:
    """What predictions mean."""

    mask_ratio: float
    """share of the tokens that was hidden in training"""
    standardise_patches: tuple[str, ...]
    """all maps"""
    bypass: str = "shown"
    """whose switches decoders may use: of tokens that are "shown", or of "all\""""


class OmniSatReconstructor(Reconstructor):
    """Predict all modalities of the input.

    Args:
        encoder: the encoder.
        settings: what predictions mean.
        inputs: its maps, each with just its bands.

    Raises:
        BandError: the bands of ``inputs`` are not those of ``encoder``.
        RecipeError: the encoder is of another family.
    """

    kind = "omnisat"
    settings_class = OmniSatDecoderSettings

    def __init__(
        self, encoder: NetworkSettings, settings: OmniSatDecoderSettings, *, inputs: Sequence[Modality]
    ) -> None:
        super().__init__()
        if not isinstance(encoder, OmniSatSettings):
            raise RecipeError(
                f"encoder.family is {encoder.family!r}", hint="OmniSat trains encoders of its own: omnisat"
            )
        bands = join_modalities(inputs).band_names
        if bands != encoder.bands:
            raise BandError(f"the input has the bands {', '.join(bands)}, the encoder {', '.join(encoder.bands)}")
        self.settings: OmniSatDecoderSettings = settings
        self.inputs = tuple(inputs)
        self.targets = {modality.name: modality for modality in inputs}
        self.encoder: OmniSat = OmniSat(encoder)
        self.mask_token = nn.Parameter(torch.zeros(encoder.dim))
        side = encoder.patch_size
        self.maps = nn.ModuleDict(
            {name: PatchDecoder(len(bands), encoder.dim, side) for name, bands in encoder.inputs.items()}
        )
        self.series = nn.ModuleDict(
            {
                name: SeriesDecoder(len(bands) * side**2, encoder.dim, encoder.date_base)
                for name, bands in encoder.series.items()
            }
        )

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None,
        *,
        count: int | None = None,  # noqa: ARG002 -- hidden patches are mask tokens, whatever their number
        everywhere: bool = False,  # noqa: ARG002 -- maps are always predicted everywhere
    ) -> dict[str, Tensor]:
        """Predict every map; where a patch is hidden, the tokens of all its modalities are.

        Args:
            x: (B, C, H, W), see ``Reconstructor``.
            visible: (B, P) bool; None: nothing is hidden.
            count: not needed.
            everywhere: they are.

        Returns:
            By target: (B, P, p p channels), by row, column, then channel.
        """
        projection = self.encoder.project(x, {})
        hidden = torch.zeros_like(projection.present)
        if visible is not None:
            check_mask(visible, projection)
            hidden |= ~visible[:, None]
        return self.decode_maps(self.fuse(projection, hidden), projection, hidden)

    def fuse(self, projection: Projection, hidden: Tensor) -> Tensor:
        """Fused tokens (B, P, D), with the mask token in the place of hidden ones (B, M, P)."""
        return self.encoder.fuse(projection, hidden, self.mask_token)

    def decode_maps(self, cells: Tensor, projection: Projection, hidden: Tensor) -> dict[str, Tensor]:
        """Patches of each map.

        Args:
            cells: (B, P, D), fused.
            projection: of the input.
            hidden: (B, M, P) bool: tokens that were hidden.

        Returns:
            By map: (B, P, p p channels), by row, column, then channel.
        """
        shown = projection.present & ~hidden if self.settings.bypass == "shown" else projection.present
        predictions = {}
        for number, (name, decoder) in enumerate(self.maps.items()):
            patches = decoder(cells.flatten(0, 1), projection.switches[name], shown[:, number].flatten())
            predictions[name] = patches.permute(0, 2, 3, 1).flatten(1).reshape(*cells.shape[:2], -1)
        return predictions

    def decode_series(self, name: str, cells: Tensor, days: Tensor) -> Tensor:
        """Patches of a series: fused tokens (N, D) on days of the year (N,) -> (N, p p bands), laid out likewise."""
        patches: Tensor = self.series[name](cells, days)
        return patches

    def predicts_visible(self, name: str) -> bool:
        """Maps are predicted on all patches."""
        return name in self.targets

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

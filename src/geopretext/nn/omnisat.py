"""OmniSat's encoder (Astruc et al., ECCV 2024, arXiv 2404.08351): modalities in, one fused token a ground patch out.

Each modality has a projector of its own kind that turns a ground patch into a token: ``patch_projector`` for maps,
``temporal_attention`` for time series. A learned position, the same for all modalities, is added; ``token_fusion``
relates the tokens and fuses them. A modality that was not observed in a patch has no token there, so that one network
works with any of its inputs, or all of them.

Differs from the published code: relative positions are tiled for each pair of modalities; what was not observed is left
out of every attention; positions are interpolated to other sizes; all norms look at one tile only; there is no query
for the class token, whose answer nothing is trained on in pretraining. ``docs/methods/omnisat.md`` has the whole list.

Letters: ``B`` tiles, ``M`` modalities, ``C`` bands, ``T`` dates, ``H W`` pixels, ``h w`` patches along y and x,
``P = h w``, ``D`` features, ``p`` pixels on a side of a patch.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import ClassVar, NamedTuple, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, GridError, InputError, RecipeError
from geopretext.nn.masking import patch_grid
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.omnisat_settings import OmniSatSettings
from geopretext.nn.patch_projector import PatchProjector
from geopretext.nn.relative_position import tiled_buckets
from geopretext.nn.temporal_attention import Series, SeriesProjector, day_of_year
from geopretext.nn.token_fusion import CombinerBlock, FusionBlock


class Projection(NamedTuple):
    """Tokens of each modality before they know of each other: maps first, then the series that were given."""

    tokens: Tensor
    """(B, M, P, D)"""
    present: Tensor
    """(B, M, P) bool: where the modality was observed; other tokens mean nothing"""
    grid: tuple[int, int]
    """h, w"""
    switches: dict[str, tuple[Tensor, ...]]
    """of each map, see ``patch_projector.Projected``, patches of all tiles after each other"""
    levels: dict[str, tuple[Tensor, ...]]
    """likewise"""
    attention: dict[str, Tensor]
    """of each series: (B, T), mean over the patches that were observed, before dropout"""


class OmniSat(EncoderNetwork):
    """The network.

    Args:
        settings: its architecture.

    Raises:
        RecipeError: a modality's name is one that torch keeps for itself.
    """

    any_input: ClassVar[bool] = True
    """inputs may be absent"""
    settings: OmniSatSettings

    def __init__(self, settings: OmniSatSettings) -> None:
        super().__init__()
        for name in (*settings.inputs, *settings.series):
            if name in dir(nn.ModuleDict):
                raise RecipeError(f"an input cannot be called {name!r}", hint="rename the modality")
        self.settings = settings
        dim, side = settings.dim, settings.image_size // settings.patch_size
        buckets = settings.buckets + 1  # that of the class token
        self.maps = nn.ModuleDict(
            {name: PatchProjector(len(bands), dim, settings.patch_size) for name, bands in settings.inputs.items()}
        )
        self.series = nn.ModuleDict(
            {
                name: SeriesProjector(
                    len(bands) * settings.patch_size**2,
                    dim,
                    widths=settings.series_widths,
                    heads=settings.series_heads,
                    key_dim=settings.series_key_dim,
                    dropout=settings.dropout,
                    date_base=settings.date_base,
                )
                for name, bands in settings.series.items()
            }
        )
        self.class_token = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.positions = nn.Parameter(torch.empty(dim, side, side).normal_(std=0.02))
        self.query = nn.Parameter(torch.empty(dim).normal_(std=0.02))
        self.query_positions = nn.Parameter(torch.zeros(dim, side, side))
        last = max(settings.depth - 1, 1)
        self.combiner = nn.ModuleList(
            CombinerBlock(
                dim,
                settings.heads,
                buckets,
                dropout=settings.dropout,
                drop_path=settings.drop_path * number / last,
            )
            for number in range(settings.depth)
        )
        self.fusion = FusionBlock(dim, settings.heads, buckets, dropout=settings.dropout)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map."""
        return self.settings.strides

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None = None,
        count: int | None = None,  # noqa: ARG002 -- hidden patches are left out of attention, whatever their number
        *,
        series: Mapping[str, Series] | None = None,
    ) -> Tensor:
        """Encode images, and time series if there are any.

        Args:
            x: (B, C, H, W), all maps one after the other; 0 where not observed. See ``EncoderNetwork``.
            visible: (B, P) bool; None shows all.
            count: not needed.
            series: of those in ``settings.series``, by name; any number of them.

        Returns:
            (B, D, h, w), zero where masked.

        Raises:
            BandError, GridError: the images have other bands, or another size; or ``visible`` another shape.
            InputError: a series is not one of the network's, or has other days than images.
        """
        projection = self.project(x, series or {})
        if visible is not None:
            check_mask(visible, projection)
            projection = projection._replace(present=projection.present & visible[:, None])
        cells = self.fuse(projection)
        if visible is not None:
            cells = cells * visible[..., None]
        return _on_grid(cells, projection.grid)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of images: of the projectors (mean over the inputs observed in a patch), then the fused tokens."""
        return self.forward_series(x, {})

    def forward_series(self, x: Tensor, series: Mapping[str, Series]) -> tuple[Tensor, ...]:
        """The same of images and series; series are in the fused tokens only, since they have no finer cells."""
        projection = self.project(x, series)
        fused = _on_grid(self.fuse(projection), projection.grid)
        maps = len(self.settings.inputs)
        weights = projection.present[:, :maps].float()
        weights = weights / weights.sum(1, keepdim=True).clamp(min=1)
        stages = []
        for level in range(len(self.strides) - 1):
            each = [_by_tile(projection.levels[name][level], len(x)) for name in self.settings.inputs]
            mean = sum(part * weights[:, i, :, None, None, None] for i, part in enumerate(each))
            stages.append(_joined(cast("Tensor", mean), projection.grid))
        return (*stages, fused)

    def given(self, names: Collection[str]) -> "OmniSat":
        """See ``EncoderNetwork``."""
        settings = self.settings
        maps = {name: bands for name, bands in settings.inputs.items() if name in names}
        series = {name: bands for name, bands in settings.series.items() if name in names}
        with torch.random.fork_rng(devices=()):  # its weights are not drawn, but given
            network = OmniSat(replace(settings, inputs=maps, series=series))
        wanted = network.state_dict().keys()
        network.load_state_dict({key: value for key, value in self.state_dict().items() if key in wanted})
        return network.to(self.class_token.device).train(self.training)

    def project(self, x: Tensor, series: Mapping[str, Series]) -> Projection:
        """Tokens of each modality.

        Args:
            x: as ``forward`` takes it.
            series: likewise.

        Raises:
            BandError, GridError, InputError: see ``forward``.
        """
        if x.shape[1] != len(self.settings.bands):
            raise BandError(
                f"the images have {x.shape[1]} bands, the encoder {len(self.settings.bands)}",
                hint=f"it sees {', '.join(self.settings.bands)}",
            )
        grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=self.settings.patch_size)
        tokens, present, attention = [], [], {}
        switches, levels = {}, {}
        if not self.maps and not series:
            names = ", ".join(self.settings.series)
            raise InputError(f"the encoder sees time series only, and is given none of {names}")
        widths = [len(bands) for bands in self.settings.inputs.values()]
        parts = torch.split(x, widths, 1) if widths else ()
        for (name, projector), part in zip(self.maps.items(), parts, strict=True):
            patches = self._patches(part)  # (B, P, C, p, p)
            projected = projector(patches.flatten(0, 1))
            tokens.append(_by_tile(projected.tokens, len(x)))
            present.append((patches != 0).flatten(2).any(2))
            switches[name], levels[name] = projected.switches, projected.levels
        for name, one in series.items():
            if one.images.values.shape[-2:] != x.shape[-2:]:
                height, width = one.images.values.shape[-2:]
                raise GridError(
                    f"images of the series {name!r} are {height} x {width} pixels, those of maps"
                    f" {x.shape[2]} x {x.shape[3]}"
                )
            token, seen, attention[name] = self._project_series(name, one)
            tokens.append(token)
            present.append(seen)
        return Projection(torch.stack(tokens, 1), torch.stack(present, 1), grid, switches, levels, attention)

    def fuse(self, projection: Projection, hidden: Tensor | None = None, mask_token: Tensor | None = None) -> Tensor:
        """One token a patch.

        Args:
            projection: of ``project``.
            hidden: (B, M, P) bool: tokens in whose place ``mask_token`` stands, at their position.
            mask_token: (D,), with ``hidden``.

        Returns:
            (B, P, D).
        """
        tokens, (h, w) = projection.tokens, projection.grid
        if hidden is not None and mask_token is not None:
            tokens = torch.where(hidden[..., None], mask_token.to(tokens.dtype), tokens)
        tokens = tokens + _resized(self.positions, (h, w))
        batch, modalities = tokens.shape[:2]
        first = self.class_token.to(tokens.dtype).expand(batch, 1, -1)
        tokens = torch.cat([first, tokens.flatten(1, 2)], 1)
        present = F.pad(projection.present.flatten(1), (1, 0), value=True)
        count = self.settings.buckets
        buckets = tiled_buckets(h, w, count, queries=modalities, keys=modalities, device=tokens.device)
        for block in self.combiner:
            tokens = block(tokens, buckets, present)
        asking = (self.query + _resized(self.query_positions, (h, w))).expand(batch, -1, -1)
        fused: Tensor = self.fusion(asking, tokens, buckets[1 : 1 + h * w], present)
        return fused

    def _project_series(self, name: str, series: Series) -> tuple[Tensor, Tensor, Tensor]:
        """Tokens (B, P, D), where there are any (B, P), and the attention of dates (B, T)."""
        if name not in self.series:
            names = ", ".join(self.series) or "none"
            raise InputError(f"the encoder knows no series {name!r}", hint=f"it knows {names}")
        (values, valid), days = series.images, series.days
        batch, dates, bands = values.shape[:3]
        if bands != len(self.settings.series[name]):
            raise BandError(
                f"the series {name!r} has {bands} bands", hint=f"it has {', '.join(self.settings.series[name])}"
            )
        if days.values.shape != (batch, dates):
            raise InputError(
                f"days of {name!r} have the shape {tuple(days.values.shape)}", hint=f"wanted {(batch, dates)}"
            )
        shape = (batch, dates, -1, bands * self.settings.patch_size**2)
        patches, known = (self._patches(x.flatten(0, 1)).reshape(shape).transpose(1, 2) for x in (values, valid))
        seen = known.any(3) & days.valid[:, None]  # (B, P, T)
        day = day_of_year(days.values)[:, None].expand_as(seen)
        tokens, attention = self.series[name](patches.flatten(0, 1), seen.flatten(0, 1), day.flatten(0, 1))
        present = seen.any(2)
        attention = _by_tile(attention, batch).sum(1) / present.sum(1, keepdim=True).clamp(min=1)
        return _by_tile(tokens, batch), present, attention

    def _patches(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, P, C, p, p)."""
        batch, bands, height, width = x.shape
        p = self.settings.patch_size
        h, w = patch_grid(height=height, width=width, patch_size=p)
        return x.reshape(batch, bands, h, p, w, p).permute(0, 2, 4, 1, 3, 5).flatten(1, 2)


def check_mask(visible: Tensor, projection: Projection) -> None:
    """That a mask (B, P) has as many patches as there are.

    Raises:
        GridError: it has not.
    """
    tiles, _, patches = projection.present.shape
    if visible.shape != (tiles, patches):
        raise GridError(f"the mask has shape {tuple(visible.shape)}", hint=f"wanted {(tiles, patches)}")


def _by_tile(x: Tensor, batch: int) -> Tensor:
    """(B P, ...) -> (B, P, ...)."""
    return x.reshape(batch, -1, *x.shape[1:])


def _on_grid(cells: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, P, D) -> (B, D, h, w)."""
    return cells.transpose(1, 2).reshape(len(cells), -1, *grid)


def _resized(positions: Tensor, grid: tuple[int, int]) -> Tensor:
    """(D, side, side) -> (P, D), interpolated to another grid (bicubic)."""
    if positions.shape[1:] != grid:
        positions = F.interpolate(positions[None], grid, mode="bicubic", align_corners=False)[0]
    return positions.flatten(1).T


def _joined(patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, P, D, s, s) -> (B, D, h s, w s)."""
    batch, _, dim, side, _ = patches.shape
    cells = patches.reshape(batch, *grid, dim, side, side).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(batch, dim, grid[0] * side, grid[1] * side)

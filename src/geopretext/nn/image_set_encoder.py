"""One vision transformer over all images of a place: sensors, bands and resolutions of their own, one sequence.

An image of a set is some bands of a modality at a resolution of its own: the mean over the pixels of the data that are
not missing. Each image has a patch projection. Its tokens are told where they lie on the ground and, if that is known,
place and date (``nn.geographic_encoding``); the tokens of all images go through the blocks together.

- A pixel of an image is absent where all bands of the image are 0, and a token of which all pixels are absent is left
  out: nothing looks at it. So a sensor that is not there is as if it had never been.
- Where the patches of an image do not tile the data, the last ones reach beyond: absent pixels fill them up.
- A cell of the output, ``patch_size`` pixels of the data on a side, is the mean over the tokens of all images that
  cover it and are not left out; 0 if there is none.
- With a mask of cells, a token is seen if every cell that it covers is visible.

Letters: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``N`` tokens of all images one after the other, ``P`` output cells,
``D`` features.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from math import ceil
from typing import ClassVar, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, GridError
from geopretext.modality import Acquisition
from geopretext.nn.footprints import TokenGrid, area_means, fill_up
from geopretext.nn.geographic_encoding import GeographicEncoding, encode_positions
from geopretext.nn.image_set_settings import ImageSetSettings
from geopretext.nn.initialisation import initialise
from geopretext.nn.masking import patch_grid, patchify
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.products import Linear
from geopretext.nn.transformer import TransformerBlock, make_norm


class Shot(NamedTuple):
    """Images of a place of one date that join a set beside those of the tile's own."""

    x: Tensor
    """(B, C, H, W): as ``ImageSetEncoder.forward`` takes it, 0 where missing; other bands than its images' do not
    matter"""
    acquisition: Acquisition[Tensor] | None
    """where and when; None: not known"""
    images: Mapping[str, str]
    """of the encoder's images those that it has, by their name in the set"""


class TokenEncodings(nn.Module):
    """What is added to tokens: position, place, date and distance, and a learned vector of each image.

    Args:
        settings: the images.
        dim: D.
    """

    def __init__(self, settings: ImageSetSettings, dim: int) -> None:
        super().__init__()
        self.settings, self.dim = settings, dim
        self.images = nn.ParameterDict({name: nn.Parameter(torch.zeros(dim)) for name in settings.sources})
        self.geography = GeographicEncoding(dim) if settings.geographic_encoding else None
        for vector in self.images.values():
            nn.init.normal_(vector, std=0.02)

    def forward(self, grids: Mapping[str, TokenGrid], acquisition: Acquisition[Tensor] | None, batch: int) -> Tensor:
        """(B, N, D).

        Args:
            grids: of each image.
            acquisition: where and when; None: not known.
            batch: B.
        """
        settings, parts = self.settings, []
        for name, grid in grids.items():
            vector = self.images[name]
            positions = encode_positions(
                grid,
                self.dim,
                pixels=settings.patch_size,
                scaled=settings.geographic_encoding,
                device=vector.device,
            )
            part = (positions + vector).expand(batch, -1, -1)
            if self.geography is not None:
                distance = settings.ground_sampling_distance * settings.factor(name)
                part = part + self.geography(distance, acquisition, batch)[:, None]
            parts.append(part)
        return torch.cat(parts, 1)


class ImageSetEncoder(EncoderNetwork):
    """An encoder of images of several modalities and resolutions into a grid of features.

    Args:
        settings: images and architecture; any image size works that is a multiple of the patch size.
    """

    any_input: ClassVar[bool] = True
    """inputs may be absent"""

    def __init__(self, settings: ImageSetSettings) -> None:
        super().__init__()
        self.settings: ImageSetSettings = settings
        pixels = settings.patch_size**2
        self.projections = nn.ModuleDict(
            {name: Linear(pixels * len(bands), settings.dim) for name, bands in settings.image_bands.items()}
        )
        self.encodings = TokenEncodings(settings, settings.dim)
        self.blocks = nn.ModuleList(TransformerBlock(settings.dim, settings.heads) for _ in range(settings.depth))
        self.norm = make_norm(settings.dim)
        initialise(self)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels of the data on a side of a cell of each map."""
        return self.settings.strides

    @property
    def layers(self) -> int:
        """Blocks, for layer-wise learning rates."""
        return self.settings.depth

    def layer_of(self, name: str) -> int:
        """Number of the block that a parameter belongs to, from 1; what is before the first goes with it.

        Args:
            name: of the parameter.
        """
        first, _, rest = name.partition(".")
        if first == "norm":
            return self.layers
        return int(rest.partition(".")[0]) + 1 if first == "blocks" else 1

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """Those of the blocks."""
        return tuple(layer for layer in self.blocks.modules() if isinstance(layer, nn.Linear))

    def forward(
        self,
        x: Tensor,
        visible: Tensor | None = None,
        count: int | None = None,  # noqa: ARG002 -- cells do not say how many tokens there are: all are computed
        acquisition: Acquisition[Tensor] | None = None,
    ) -> Tensor:
        """Encode images.

        Args:
            x: (B, C, H, W), normalised, bands as in ``settings.bands``, 0 where missing.
            visible: (B, P) bool, cells row by row; None shows all.
            count: the number of visible cells; not looked at.
            acquisition: where and when the tiles were seen; None: not known.

        Returns:
            (B, D, H / patch_size, W / patch_size), zero where masked and where nothing is there.

        Raises:
            BandError: the number of bands differs from ``settings.bands``.
            GridError: the size is not a multiple of the patch size, or ``visible`` has another shape.
        """
        return self._maps(x, visible, acquisition, depths=(self.settings.depth,))[0]

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The cells after each quarter of the blocks, each behind the last norm; see ``EncoderNetwork``."""
        return self._maps(
            x, None, None, depths=tuple(ceil(self.settings.depth * quarter / 4) for quarter in (1, 2, 3, 4))
        )

    def images(self, x: Tensor, names: Collection[str] | None = None) -> dict[str, tuple[Tensor, Tensor]]:
        """The images of sets.

        Args:
            x: as ``forward`` takes it.
            names: of the images that are wanted; None: all.

        Returns:
            By name: values (B, C', H', W'), and which are there (B, C', H', W') bool.

        Raises:
            BandError: the number of bands differs from ``settings.bands``.
        """
        settings = self.settings
        if x.ndim != 4 or x.shape[1] != len(settings.bands):
            raise BandError(
                f"the encoder got an array of shape {tuple(x.shape)}",
                hint=f"it wants (tiles, {len(settings.bands)}, height, width) with the bands "
                f"{', '.join(settings.bands)}",
            )
        images = {}
        for name in settings.sources if names is None else names:
            bands = settings.image_bands[name]
            values = fill_up(x[:, [settings.bands.index(band) for band in bands]], settings.footprint(name))
            there = (values != 0).any(1, keepdim=True).expand_as(values)
            images[name] = area_means(values, there, settings.factor(name))
        return images

    def grids(self, *, height: int, width: int, names: Collection[str] | None = None) -> dict[str, TokenGrid]:
        """The tokens of each image.

        Args:
            height: pixels of the data; where patches do not tile them, the last ones reach beyond.
            width: likewise.
            names: of the images; None: all.
        """
        settings, grids = self.settings, {}
        for name in settings.sources if names is None else names:
            pixels = settings.footprint(name)
            rows, columns = (ceil(size / pixels) for size in (height, width))
            grids[name] = TokenGrid(rows, columns, pixels * settings.ground_sampling_distance)
        return grids

    def embed(
        self, x: Tensor, acquisition: Acquisition[Tensor] | None = None, names: Collection[str] | None = None
    ) -> tuple[Tensor, Tensor]:
        """Tokens before the first block.

        Args:
            x: as ``forward`` takes it.
            acquisition: likewise.
            names: of the images that are looked at; None: all.

        Returns:
            Tokens (B, N, D), and which are there (B, N) bool.
        """
        tokens, there = [], []
        for name, (values, valid) in self.images(x, names).items():
            tokens.append(self.projections[name](patchify(values, self.settings.patch_size)))
            there.append(patchify(valid[:, :1], self.settings.patch_size).any(-1))
        grids = self.grids(height=x.shape[2], width=x.shape[3], names=names)
        return torch.cat(tokens, 1) + self.encodings(grids, acquisition, len(x)), torch.cat(there, 1)

    def transform(self, tokens: Tensor, usable: Tensor, depths: tuple[int, ...] | None = None) -> list[Tensor]:
        """Tokens behind blocks and the last norm.

        Args:
            tokens: (B, N, D), all or some.
            usable: (B, N) bool: those that others may look at; of a tile without any, all.
            depths: after how many blocks, ascending; None: after the last.

        Returns:
            (B, N, D) of each.
        """
        usable = usable | ~usable.any(1, keepdim=True)
        found = []
        depths = depths or (self.settings.depth,)
        for number, block in enumerate(self.blocks, start=1):
            tokens = block(tokens, usable)
            found += [self.norm(tokens)] * depths.count(number)
        return found

    def seen_tokens(self, visible: Tensor, *, height: int, width: int) -> Tensor:
        """Tokens that a mask of cells shows: (B, P) bool -> (B, N) bool.

        Args:
            visible: cells row by row.
            height: of the images, pixels of the data.
            width: likewise.

        Raises:
            GridError: it has another number of cells.
        """
        rows, columns = patch_grid(height=height, width=width, patch_size=self.settings.patch_size)
        if visible.ndim != 2 or visible.shape[1] != rows * columns:
            raise GridError(f"the mask has shape {tuple(visible.shape)}", hint=f"wanted (tiles, {rows * columns})")
        hidden = (~visible).reshape(-1, 1, rows, columns).float()
        factors = [self.settings.factor(name) for name in self.settings.sources]
        return torch.cat([F.max_pool2d(hidden, factor, ceil_mode=True).flatten(1) == 0 for factor in factors], 1)

    def given(self, names: Collection[str]) -> "ImageSetEncoder":
        """A network of its own, with the same weights, that sees some of the inputs only.

        It computes what this one does where the others are absent.

        Args:
            names: of the inputs to keep, at least one.
        """
        old = self.settings
        kept = {name: source for name, source in old.sources.items() if source in names}
        factors = {name: old.factor(name) for name in kept}
        bands = {name: old.image_bands[name] for name in kept}
        settings = replace(old, sources=kept, image_bands=bands, factors=factors)
        with torch.random.fork_rng(devices=()):  # its weights are not drawn, but given
            network = ImageSetEncoder(settings).to(self.norm.weight.device)
        wanted = network.state_dict().keys()
        network.load_state_dict({key: value for key, value in self.state_dict().items() if key in wanted})
        return network.train(self.training)

    def _maps(
        self, x: Tensor, visible: Tensor | None, acquisition: Acquisition[Tensor] | None, depths: tuple[int, ...]
    ) -> tuple[Tensor, ...]:
        height, width = x.shape[-2:]
        rows, columns = patch_grid(height=height, width=width, patch_size=self.settings.patch_size)
        tokens, usable = self.embed(x, acquisition)
        if visible is not None:
            usable = usable & self.seen_tokens(visible, height=height, width=width)
        grids = self.grids(height=height, width=width)
        encoded = self.transform(tokens, usable, depths)
        return tuple(self._cells(found, usable, grids, rows, columns) for found in encoded)

    def _cells(self, tokens: Tensor, usable: Tensor, grids: Mapping[str, TokenGrid], rows: int, columns: int) -> Tensor:
        """(B, N, D) -> (B, D, rows, columns): the mean over the usable tokens that cover each cell."""
        numbered = torch.cat([tokens * usable[..., None], usable[..., None].to(tokens.dtype)], 2).transpose(1, 2)
        total = torch.zeros((), device=tokens.device)
        parts = torch.split(numbered, [grid.tokens for grid in grids.values()], 2)
        for (name, grid), part in zip(grids.items(), parts, strict=True):
            factor = self.settings.factor(name)
            image = part.reshape(*part.shape[:2], grid.rows, grid.columns)
            total = total + image.repeat_interleave(factor, 2).repeat_interleave(factor, 3)[:, :, :rows, :columns]
        return total[:, :-1] / total[:, -1:].clamp(min=1)

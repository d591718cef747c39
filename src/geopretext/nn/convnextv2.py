"""ConvNeXt V2 (Woo et al., CVPR 2023, arXiv 2301.00808) with the stem of MMEarth or its own, dense or masked.

Features are channels-last inside, so that norms and linear layers work on the last axis without copies. Parameters are
named and shaped as in the dense encoders that MMEarth published, so that their weights load by name:
``initial_conv.{0,1}``, ``stem.{0,1}``, ``downsample_layers.{0,1,2}.{0,1}`` and
``stages.S.B.{dwconv,norm,pwconv1,grn,pwconv2}``. The original stem is ``stem_orig.{0,1}``.

What differs from the published code, unless settings ask for it: convolutions are padded everywhere and the response
norm's epsilon is 1e-6 in every path (``dense_padding``, ``dense_grn_epsilon``), that norm spans one tile
(``grn_scope``), and kernels start at standard deviation 0.02 (``initialisation``). The first bias does in either case.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, BundleError, GridError
from geopretext.nn.initialisation import SPREADS, initialise
from geopretext.nn.kernels import LANES, can_run, mlp, mlp_fits
from geopretext.nn.local_norm import Squares, squares_of
from geopretext.nn.masking import patch_grid
from geopretext.nn.network import EncoderNetwork, NetworkSettings
from geopretext.nn.products import Linear, linear
from geopretext.nn.response_norm import GlobalResponseNorm
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.sites import Masked, Sites, Visible, Whole, convolve_blocks, halve, plain_stem, shown_patches

EPSILON = 1e-6
_FIRST_SIDE = 8  # cells on a side of a patch in the first stage; each later stage has half


def as_convnextv2(network: EncoderNetwork, purpose: str) -> "ConvNeXtV2":
    """The network, if it is a ConvNeXt V2.

    Args:
        network: any encoder.
        purpose: what only a ConvNeXt V2 can be used for, for the message.

    Raises:
        BundleError: it is something else.
    """
    if not isinstance(network, ConvNeXtV2):
        raise BundleError(
            f"the encoder is a {network.settings.title}, and {purpose} holds a ConvNeXt V2",
            hint="`geopretext export --to hub` keeps any encoder",
        )
    return network


class Block(nn.Module):
    """Depthwise 7 x 7 convolution, norm, and a two-layer network with global response norm, around a residual.

    Args:
        width: number of features.
        grn_scope: see ``GlobalResponseNorm``.
        drop_path: probability that training skips the block for a tile.
    """

    def __init__(self, width: int, *, grn_scope: str = "sample", drop_path: float = 0.0) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.dwconv = nn.Conv2d(width, width, kernel_size=7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.pwconv1 = Linear(width, 4 * width)
        self.grn = GlobalResponseNorm(4 * width, grn_scope)
        self.pwconv2 = Linear(4 * width, width)

    def forward(self, x: Tensor, sites: Sites) -> Tensor:
        """(..., width) -> (..., width) in the layout of ``sites``."""
        y = sites.convolve_norm(x, self.dwconv, self.norm)
        if self._is_one(x, y, sites):
            gamma, beta = self.grn.gamma.flatten(), self.grn.beta.flatten()
            return mlp(y, x, self.pwconv1, gamma, beta, self.pwconv2, sites.epsilon)
        y = self.pwconv2(self._respond(y, sites))
        if self.training and self.drop_path > 0:
            kept = torch.rand(len(y), *[1] * (y.ndim - 1), device=y.device) >= self.drop_path
            y = y * kept / (1 - self.drop_path)
        total: Tensor = x + y
        return total

    def _is_one(self, x: Tensor, y: Tensor, sites: Sites) -> bool:
        """Whether all that follows the convolution is one kernel."""
        # Of a module around a layer, or of another forward, the weight says not all; a parametrised weight does.
        plain = all(type(layer).forward is Linear.forward for layer in (self.pwconv1, self.pwconv2))
        by_tile = sites.mask is None and (sites.squares is None or sites.squares.cover(y))
        by_tile &= not (self.training and (self.grn.over_batch or self.drop_path > 0))
        return plain and by_tile and x.dtype == y.dtype and mlp_fits(y)

    def _respond(self, y: Tensor, sites: Sites) -> Tensor:
        """The wide half of the network in the block: (..., width) -> (..., 4 width)."""
        # A module around the layer (an adapter of another library) computes more than the weight says.
        plain = isinstance(self.pwconv1, nn.Linear)
        learns = torch.is_grad_enabled() and sites.squares is not None  # for which there is no kernel
        if plain and not learns and sites.mask is None and can_run(y) and y.shape[-1] * 4 % LANES == 0:
            h = linear(y, self.pwconv1.weight)
            return self.grn.of_gelu(h, self.pwconv1.bias, sites.epsilon, sites.squares)
        return self.grn(F.gelu(self.pwconv1(y)), sites.mask, sites.epsilon, sites.squares)  # type: ignore[no-any-return]


def stem_layers(settings: EncoderSettings) -> tuple[nn.Sequential, ...]:
    """The layers from pixels to the first stage: two of stem "mmearth", one of stem "convnextv2"."""
    bands, width, stride = len(settings.bands), settings.widths[0], settings.patch_size // _FIRST_SIDE
    if settings.stem == "convnextv2":
        return (
            nn.Sequential(nn.Conv2d(bands, width, kernel_size=stride, stride=stride), nn.LayerNorm(width, eps=EPSILON)),
        )
    first = nn.Sequential(
        nn.Conv2d(bands, width, kernel_size=3, padding=1), nn.LayerNorm(width, eps=EPSILON), nn.GELU()
    )
    second = nn.Sequential(
        nn.Conv2d(width, width, kernel_size=stride, stride=stride, groups=width), nn.LayerNorm(width, eps=EPSILON)
    )
    return first, second


def stage_layers(settings: EncoderSettings) -> tuple[nn.ModuleList, nn.ModuleList]:
    """What lies between the four stages, and the stages."""
    downsample_layers = nn.ModuleList(
        nn.Sequential(nn.LayerNorm(before, eps=EPSILON), nn.Conv2d(before, after, kernel_size=2, stride=2))
        for before, after in pairwise(settings.widths)
    )
    drop = iter(torch.linspace(0, settings.drop_path, sum(settings.depths), device="cpu").tolist())
    stages = nn.ModuleList(
        nn.Sequential(*[Block(width, grn_scope=settings.grn_scope, drop_path=next(drop)) for _ in range(depth)])
        for width, depth in zip(settings.widths, settings.depths, strict=True)
    )
    return downsample_layers, stages


def initialise_layers(network: nn.Module, settings: EncoderSettings, first: Iterable[nn.Module]) -> None:
    """Draw all weights of a network.

    Args:
        network: of ``stem_layers`` and ``stage_layers``.
        settings: how.
        first: the convolutions that see pixels.
    """
    spread = SPREADS[settings.initialisation]
    initialise(network, linear=spread.pointwise, convolution=spread.convolution, depthwise=spread.depthwise)
    # Where every band is missing the input is 0. With a zero bias so would be the features, and each norm would
    # multiply their gradients by up to 1 / sqrt(epsilon).
    for layer in first:
        nn.init.trunc_normal_(cast("Tensor", layer.bias), std=0.02)


def stage_strides(patch_size: int) -> tuple[int, ...]:
    """Pixels on a side of a cell of each of the four stages."""
    return tuple(patch_size // _FIRST_SIDE << level for level in range(4))


def run_stages(
    y: Tensor, levels: Sequence[Sites], downsample_layers: nn.ModuleList, stages: nn.ModuleList
) -> list[Tensor]:
    """What each of the four stages gives, in the layout of its level.

    Args:
        y: features of the stem, in the layout of the first level.
        levels: sites of the four stages.
        downsample_layers: of ``stage_layers``.
        stages: likewise.
    """
    outputs = []
    for number, (stage, sites) in enumerate(zip(stages, levels, strict=True)):
        if number:
            norm, conv = cast("nn.Sequential", downsample_layers[number - 1])
            y = halve(y, cast("nn.LayerNorm", norm), cast("nn.Conv2d", conv))
        for block in cast("nn.Sequential", stage):
            y = block(y, sites)
        outputs.append(y)
    return outputs


def sites_of(
    settings: NetworkSettings,
    x: Tensor,
    visible: Tensor | None,
    count: int | None,
    *,
    dense: Callable[[int], Sites],
) -> list[Sites]:
    """Where a network of four stages computes: the sites of the image, and those of the stages.

    Args:
        settings: with the bands and the patch size.
        x: (B, C, H, W).
        visible: (B, P) bool; None: everywhere.
        count: of visible patches, if it is the same for every tile.
        dense: the sites of a layer without a mask, by the cells on a side of its patches.

    Raises:
        BandError: the image has other bands.
        GridError: its size is not a multiple of the patch size, or ``visible`` has another shape.
    """
    bands = settings.bands
    if x.ndim != 4 or x.shape[1] != len(bands):
        raise BandError(
            f"the encoder got an array of shape {tuple(x.shape)}",
            hint=f"it wants (tiles, {len(bands)}, height, width) with the bands {', '.join(bands)}",
        )
    grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=settings.patch_size)
    sides = (settings.patch_size, *(_FIRST_SIDE >> level for level in range(4)))
    if visible is None:
        return [dense(side) for side in sides]
    if visible.shape != (len(x), grid[0] * grid[1]):
        raise GridError(
            f"the mask has shape {tuple(visible.shape)}",
            hint=f"wanted {(len(x), grid[0] * grid[1])}: (tiles, patches)",
        )
    if count is None:
        return [Masked(visible, grid=grid, side=side) for side in sides]
    shown = shown_patches(visible, count)
    return [Visible(shown, grid=grid, side=side) for side in sides]


class ConvNeXtV2(EncoderNetwork):
    """An encoder of images into a grid of features, one cell a patch.

    Args:
        settings: architecture and input bands; any image size works that is a multiple of the patch size.
    """

    def __init__(self, settings: EncoderSettings) -> None:
        super().__init__()
        self.settings: EncoderSettings = settings
        layers = stem_layers(settings)
        if settings.stem == "mmearth":
            self.initial_conv, self.stem = layers
        else:
            (self.stem_orig,) = layers
        self.downsample_layers, self.stages = stage_layers(settings)
        initialise_layers(self, settings, (layers[0][0],))

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each of the four stages; of the dense padding "same"."""
        return stage_strides(self.settings.patch_size)

    @property
    def layers(self) -> int:
        """See ``EncoderNetwork``."""
        return sum(self.settings.depths)

    def layer_of(self, name: str) -> int:
        """See ``EncoderNetwork``: each downsampling layer goes with the block after it."""
        part, *rest = name.split(".")
        if part == "stages":
            return sum(self.settings.depths[: int(rest[0])]) + int(rest[1]) + 1
        if part == "downsample_layers":
            return sum(self.settings.depths[: int(rest[0]) + 1]) + 1
        return 1

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """See ``EncoderNetwork``."""
        blocks = [module for module in self.modules() if isinstance(module, Block)]
        return tuple(layer for block in blocks for layer in (block.pwconv1, block.pwconv2))

    def forward(self, x: Tensor, visible: Tensor | None = None, count: int | None = None) -> Tensor:
        """Encode images.

        Args:
            x: (B, C, H, W), normalised, bands as in ``settings.bands``, 0 where missing.
            visible: (B, P) bool, patches row by row; None shows all. What is masked influences nothing that is
                visible, and gets no gradient.
            count: the number of visible patches, if it is the same for every tile: only these are then computed.

        Returns:
            (B, D, H / patch_size, W / patch_size), zero where masked; without a mask and with the dense padding
            "published-classifier", patches of 8 px give one row and one column fewer.

        Raises:
            BandError: the number of bands differs from ``settings.bands``.
            GridError: the size is not a multiple of the patch size, or ``visible`` has another shape.
        """
        pixels, *levels = self._sites(x, visible, count)
        *_, y = self._stages(self._stem(x, pixels, dense=visible is None), levels)
        return levels[-1].leave(y)

    def forward_stages(
        self, x: Tensor, visible: Tensor | None = None, count: int | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """As ``forward``, but the output of each of the four stages: 8, 4, 2 and 1 cells on a side of a patch."""
        pixels, *levels = self._sites(x, visible, count)
        stages = self._stages(self._stem(x, pixels, dense=visible is None), levels)
        one, two, three, four = (sites.leave(y) for sites, y in zip(levels, stages, strict=True))
        return one, two, three, four

    def forward_maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """Every map of an image from fine to coarse, for a decoder with skip connections.

        Args:
            x: as ``forward`` takes it.

        Returns:
            (B, D, rows, columns): the first convolution's (of stem "mmearth"), the stem's, those of the four stages.

        Raises:
            BandError, GridError: as ``forward``.
        """
        pixels, *levels = self._sites(x, None, None)
        if self.settings.stem == "mmearth":
            stem: tuple[Tensor, ...] = plain_stem(pixels, x, self.initial_conv, self.stem, self._margin)
        else:
            stem = (self._stem(x, pixels, dense=True),)
        return tuple(pixels.leave(y) for y in (*stem, *self._stages(stem[-1], levels)))

    def _stages(self, y: Tensor, levels: list[Sites]) -> list[Tensor]:
        """What each of the four stages gives, in the layout of its level."""
        return run_stages(y, levels, self.downsample_layers, self.stages)

    def _stem(self, image: Tensor, pixels: Sites, *, dense: bool) -> Tensor:
        """(B, C, H, W) -> features of the first stage."""
        if self.settings.stem == "convnextv2":
            conv, norm = self.stem_orig
            return norm(convolve_blocks(pixels.enter(image), cast("nn.Conv2d", conv)))  # type: ignore[no-any-return]
        if dense and self._margin is not None:
            return plain_stem(pixels, image, self.initial_conv, self.stem, self._margin)[1]
        return pixels.stem(image, self.initial_conv, self.stem)

    @property
    def _margin(self) -> int | None:
        """Cells of padding of the stem's second convolution in dense use, where the first has none; None: the same."""
        published = self.settings.dense_padding == "published-classifier"
        return self.settings.patch_size // _FIRST_SIDE // 2 if published else None

    def _sites(self, x: Tensor, visible: Tensor | None, count: int | None) -> list[Sites]:
        """Those of the image, and those of the four stages."""
        return sites_of(self.settings, x, visible, count, dense=self._dense)

    def _dense(self, side: int) -> Whole:
        """The sites of a layer without a mask, whose patches have so many cells on a side."""
        return Whole(self.settings.dense_grn_epsilon, self._squares(side))

    def _squares(self, side: int) -> Squares | None:
        """Of local norms in a layer whose patches have so many cells on a side."""
        size = self.settings.patch_size
        if self._margin == 0:  # a cell is lost at each edge: maps no longer divide into patches, but into cells
            size, side = size // side, 1
        return squares_of(self, patch_size=size, block=side)

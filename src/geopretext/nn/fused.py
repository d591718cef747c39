"""ConvNeXt V2 with a stem for each of several inputs, any of which may be absent.

Each input goes through a stem of its own, whose last layer is a norm. Where the stems end, at the cells of the first
stage, an encoding of each input is added, the mean is taken over the inputs that are present at the cell, and
normalised; the four stages are shared. The mean has the same scale whatever is present, and the mean of the encodings
says what it was. An input is absent at a pixel where all its bands are 0 (missing numbers are, once standardised), and
at a cell where it is absent at each of its pixels. So an input that is nowhere has exactly no influence on the
features; where nothing is present, the features are those of the norm's bias.

So a network can be had of some of the inputs only (``given``), which computes what the whole one does where the others
are absent. With one input it is a plain ConvNeXt V2 but for the encoding and the second norm behind its stem, and for
cells of which nothing was observed.

The design is ours. A stem or patch embedding for each sensor before shared layers, and modalities hidden at random in
training, are common: Presto (arXiv 2304.14065), DOFA (arXiv 2403.15356), Galileo (arXiv 2502.09356).

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import ClassVar, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.nn.convnextv2 import (
    EPSILON,
    initialise_layers,
    run_stages,
    sites_of,
    stage_layers,
    stage_strides,
    stem_layers,
)
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.local_norm import squares_of
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.sites import Sites, Whole, convolve_blocks


class FusedConvNeXtV2(EncoderNetwork):
    """An encoder of images of several modalities into a grid of features, one cell a patch.

    Args:
        settings: architecture and inputs; any image size works that is a multiple of the patch size.

    Raises:
        RecipeError: an input has a name that torch keeps for itself.
    """

    any_input: ClassVar[bool] = True

    def __init__(self, settings: FusedSettings) -> None:
        super().__init__()
        for name in settings.inputs:
            if name in dir(nn.ModuleDict) or "." in name:
                raise RecipeError(f"an input cannot be called {name!r}", hint="rename the modality")
        self.settings: FusedSettings = settings
        self.stems = nn.ModuleDict({name: nn.ModuleList(stem_layers(settings.alone(name))) for name in settings.inputs})
        width = settings.widths[0]
        self.encodings = nn.Parameter(torch.empty(len(settings.inputs), width))
        """(inputs, D) what is added to the features of each"""
        self.norm = nn.LayerNorm(width, eps=EPSILON)
        self.downsample_layers, self.stages = stage_layers(settings.trunk)
        initialise_layers(self, settings.trunk, [stem[0][0] for stem in self._stems()])
        nn.init.trunc_normal_(self.encodings, std=0.02)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each of the four stages."""
        return stage_strides(self.settings.patch_size)

    def forward(self, x: Tensor, visible: Tensor | None = None, count: int | None = None) -> Tensor:
        """Encode images; see ``EncoderNetwork``.

        Args:
            x: (B, C, H, W), normalised, bands as in ``settings.bands``, 0 where missing; all bands of an input are 0
                where it is absent.
            visible: (B, P) bool, patches row by row; None shows all. What is masked influences nothing that is
                visible, and gets no gradient.
            count: the number of visible patches, if it is the same for every tile: only these are then computed.

        Returns:
            (B, D, H / patch_size, W / patch_size), zero where masked.

        Raises:
            BandError: the number of bands differs from ``settings.bands``.
            GridError: the size is not a multiple of the patch size, or ``visible`` has another shape.
        """
        pixels, *levels = sites_of(self.settings, x, visible, count, dense=self._dense)
        *_, y = run_stages(self._fuse(x, pixels, levels[0]), levels, self.downsample_layers, self.stages)
        return levels[-1].leave(y)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of each of the four stages: 8, 4, 2 and 1 cells on a side of a patch; see ``EncoderNetwork``."""
        pixels, *levels = sites_of(self.settings, x, None, None, dense=self._dense)
        stages = run_stages(self._fuse(x, pixels, levels[0]), levels, self.downsample_layers, self.stages)
        return tuple(sites.leave(y) for y, sites in zip(stages, levels, strict=True))

    def given(self, names: Collection[str]) -> "FusedConvNeXtV2":
        """See ``EncoderNetwork``."""
        kept = [name for name in self.settings.inputs if name in names]
        settings = replace(self.settings, inputs={name: self.settings.inputs[name] for name in kept})
        with torch.random.fork_rng(devices=()):  # its weights are not drawn, but given
            network = FusedConvNeXtV2(settings)
        rows = [list(self.settings.inputs).index(name) for name in kept]
        network.load_state_dict(
            {
                key: value[rows] if key == "encodings" else value
                for key, value in self.state_dict().items()
                if not key.startswith("stems.") or key.split(".")[1] in kept
            }
        )
        return network.to(self.encodings.device).train(self.training)

    def _fuse(self, x: Tensor, pixels: Sites, cells: Sites) -> Tensor:
        """(B, C, H, W) -> features of the first stage, in the layout of ``cells``."""
        images = torch.split(x, [len(bands) for bands in self.settings.inputs.values()], 1)
        features = [self._stem(image, stem, pixels) for image, stem in zip(images, self._stems(), strict=True)]
        present = [cells.enter(self._present(image)) for image in images]
        total = sum((y + encoding) * here for y, encoding, here in zip(features, self.encodings, present, strict=True))
        count = sum(present[1:], present[0]).clamp(min=1)
        fused: Tensor = self.norm(total / count)
        return fused

    def _stem(self, image: Tensor, layers: Sequence[nn.Sequential], pixels: Sites) -> Tensor:
        """(B, C, H, W) of one input -> features of the first stage."""
        if self.settings.stem == "convnextv2":
            conv, norm = layers[0]
            return norm(convolve_blocks(pixels.enter(image), cast("nn.Conv2d", conv)))  # type: ignore[no-any-return]
        return pixels.stem(image.contiguous(), layers[0], layers[1])

    def _present(self, image: Tensor) -> Tensor:
        """(B, C, H, W) of one input -> (B, 1, h, w): 1 at cells of the first stage that have it, else 0."""
        present = (image != 0).any(1, keepdim=True).to(image.dtype)
        return F.max_pool2d(present, self.strides[0])

    def _stems(self) -> Iterator[Sequence[nn.Sequential]]:
        """The layers of each input's stem."""
        for name in self.settings.inputs:
            yield cast("Sequence[nn.Sequential]", self.stems[name])

    def _dense(self, side: int) -> Whole:
        """The sites of a layer without a mask, whose patches have so many cells on a side."""
        return Whole(EPSILON, squares_of(self, patch_size=self.settings.patch_size, block=side))

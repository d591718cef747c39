"""ViT, Swin (v1 and v2) and ResNet of timm as encoders; importing this module needs timm.

========= ============================================ ================================================================
kind      what is masked                               maps of ``forward_stages``
========= ============================================ ================================================================
ViT       tokens are left out                          after each quarter of the blocks, all of one cell a patch
Swin      a learned token after the patch embedding    four stages: 8, 4, 2 and 1 cells on a side of a patch
ResNet    zeros around and after every convolution     four stages, likewise
========= ============================================ ================================================================

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``P`` patches, ``D`` features.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from geopretext.errors import BandError, GridError
from geopretext.nn.masking import patch_grid
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.timm_body import TimmBody
from geopretext.nn.timm_resnet import ResNetBody
from geopretext.nn.timm_settings import TimmSettings
from geopretext.nn.timm_swin import SwinBody
from geopretext.nn.timm_vit import ViTBody

_BODIES: dict[str, Callable[[TimmSettings], TimmBody]] = {"vit": ViTBody, "swin": SwinBody, "resnet": ResNetBody}


class TimmEncoder(EncoderNetwork):
    """An encoder of images into a grid of features, one cell a patch.

    timm's network is ``body.model``, with timm's names of weights.

    Args:
        settings: architecture and input bands; any image size works that is a multiple of the patch size.
    """

    def __init__(self, settings: TimmSettings) -> None:
        super().__init__()
        # Where weights come from is no part of what the network is: who loads a bundle must not fetch timm's first.
        self.settings: TimmSettings = replace(settings, pretrained=False)
        self.body: TimmBody = _BODIES[settings.facts.kind](settings)

    @property
    def strides(self) -> tuple[int, ...]:
        """Pixels on a side of a cell of each map."""
        return self.settings.strides

    def forward(self, x: Tensor, visible: Tensor | None = None, count: int | None = None) -> Tensor:
        """Encode images.

        Args:
            x: (B, C, H, W), normalised, bands as in ``settings.bands``, 0 where missing.
            visible: (B, P) bool, patches row by row; None shows all.
            count: the number of visible patches, if it is the same for every tile: a ViT then computes these only.

        Returns:
            (B, D, H / patch_size, W / patch_size), zero where masked.

        Raises:
            BandError: the number of bands differs from ``settings.bands``.
            GridError: the size is not a multiple of the patch size, or ``visible`` has another shape.
        """
        grid = self._check(x)
        if visible is None:
            return self.body.encode(x, None, None)
        if visible.shape != (len(x), grid[0] * grid[1]):
            raise GridError(
                f"the mask has shape {tuple(visible.shape)}",
                hint=f"wanted {(len(x), grid[0] * grid[1])}: (tiles, patches)",
            )
        shown = visible.reshape(-1, *grid)
        return torch.where(shown[:, None], self.body.encode(x, shown, count), 0.0)

    def forward_stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """See ``EncoderNetwork``; the last map is that of ``forward``."""
        self._check(x)
        return self.body.stages(x)

    @property
    def layers(self) -> int:
        """See ``EncoderNetwork``."""
        return sum(self.settings.facts.depths)

    def layer_of(self, name: str) -> int:
        """See ``EncoderNetwork``."""
        return self.body.layer_of(name.removeprefix("body.").removeprefix("model."))

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """See ``EncoderNetwork``: those of attention and of what follows it; a ResNet has none."""
        return self.body.linear_layers()

    def _check(self, x: Tensor) -> tuple[int, int]:
        """Patches along y and along x."""
        bands = self.settings.bands
        if x.ndim != 4 or x.shape[1] != len(bands):
            raise BandError(
                f"the encoder got an array of shape {tuple(x.shape)}",
                hint=f"it wants (tiles, {len(bands)}, height, width) with the bands {', '.join(bands)}",
            )
        return patch_grid(height=x.shape[2], width=x.shape[3], patch_size=self.settings.patch_size)

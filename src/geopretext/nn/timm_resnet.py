"""timm's ResNet (He et al., CVPR 2016, arXiv 1512.03385), dense or masked.

Masked as in SparK (Tian et al., ICLR 2023, arXiv 2301.03580, section 3.1): whatever a convolution or a pooling sees and
gives is zero at masked places, and batch norms are over visible places only. A mask is whole patches, so that at each
resolution a cell is visible or masked.

Cells of the last map are ``patch_size`` pixels. timm's are 32; for 16 its first pooling, for 8 its first convolution,
too, goes on in steps of one pixel, as is usual for small images. Weights are the same in each case.

Letters: ``B`` tiles, ``D`` features, ``H W`` cells, ``h w`` patches.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.site_norm import SiteNorm
from geopretext.nn.timm_body import TimmBody, create, first_convolution
from geopretext.nn.timm_settings import TimmSettings


class ResNetBody(TimmBody):
    """timm's ``ResNet`` as ``nn.timm_encoder`` uses it.

    Args:
        settings: of a ResNet.
    """

    def __init__(self, settings: TimmSettings) -> None:
        super().__init__()
        self.model = create(settings, norm_layer=SiteNorm)
        if settings.patch_size < 32:
            self.model.maxpool.stride = 1
        if settings.patch_size < 16:
            first_convolution(self.model).stride = (1, 1)
        self.depths = settings.facts.depths

    def encode(self, x: Tensor, visible: Tensor | None, count: int | None) -> Tensor:  # noqa: ARG002 -- all is computed
        """See ``TimmBody``."""
        return self._stages(x, Shown(visible))[-1]

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """See ``TimmBody``."""
        return tuple(self._stages(x, Shown(None)))

    def layer_of(self, name: str) -> int:
        """See ``TimmBody``."""
        part, *rest = name.split(".")
        if not part.startswith("layer"):
            return 1
        return sum(self.depths[: int(part.removeprefix("layer")) - 1]) + int(rest[0]) + 1

    def _stages(self, x: Tensor, shown: "Shown") -> list[Tensor]:
        model, outputs = self.model, []
        x = _run(model.conv1, shown.only(x), shown)
        x = shown.only(model.maxpool(model.act1(model.bn1(x, shown.at(x)))))
        for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
            for block in stage:
                x = _block(block, x, shown)
            outputs.append(x)
        return outputs


class Shown:
    """Which cells of maps are visible, at any resolution.

    Args:
        visible: (B, h, w) bool; None: all.
    """

    def __init__(self, visible: Tensor | None) -> None:
        self._visible = visible
        self._at: dict[int, Tensor] = {}

    def at(self, x: Tensor) -> Tensor | None:
        """(B, 1, H, W) bool for a map (B, D, H, W)."""
        if self._visible is None:
            return None
        side = x.shape[2] // self._visible.shape[1]
        if side not in self._at:
            self._at[side] = self._visible[:, None].repeat_interleave(side, 2).repeat_interleave(side, 3)
        return self._at[side]

    def only(self, x: Tensor) -> Tensor:
        """The map, zero where masked."""
        mask = self.at(x)
        return x if mask is None else torch.where(mask, x, 0.0)


def _block(block: Any, x: Tensor, shown: Shown) -> Tensor:
    """A ``BasicBlock`` or ``Bottleneck`` of timm: what its ``forward`` does, with a mask for its norms."""
    y = block.conv1(x)
    y = block.act1(block.bn1(y, shown.at(y)))
    y = block.conv2(y)
    y = block.bn2(y, shown.at(y))
    if hasattr(block, "conv3"):
        y = block.conv3(block.act2(y))
        y = block.bn3(y, shown.at(y))
    if block.drop_path is not None:
        y = block.drop_path(y)
    shortcut = x if block.downsample is None else _run(block.downsample, x, shown)
    return F.relu(y + shortcut)


def _run(layers: nn.Module, x: Tensor, shown: Shown) -> Tensor:
    """One layer, or several in order, norms with the mask."""
    for layer in layers if isinstance(layers, nn.Sequential) else (layers,):
        x = layer(x, shown.at(x)) if isinstance(layer, SiteNorm) else layer(x)
    return x

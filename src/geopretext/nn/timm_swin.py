"""timm's Swin Transformer (v1: Liu et al., ICCV 2021, arXiv 2103.14030; v2: CVPR 2022, arXiv 2111.09883), masked.

Masked as in SimMIM (Xie et al., CVPR 2022, arXiv 2111.09886, section 3.2): after the patch embedding, a learned token
stands in the place of each masked cell, and all cells are computed, since windows of attention want whole grids. The
embedding sees each cell's pixels alone, so that what is masked is gone before anything mixes.

Cells of the last map are ``patch_size`` pixels; those of the embedding an eighth of that (timm's: 32 and 4).

Letters: ``B`` tiles, ``D`` features, ``h w`` patches.
"""

import torch
from torch import Tensor, nn

from geopretext.nn.timm_body import TimmBody, create
from geopretext.nn.timm_settings import TimmSettings

_CELLS = 8
"""of the embedding on a side of a patch"""


class SwinBody(TimmBody):
    """timm's ``SwinTransformer`` or ``SwinTransformerV2`` as ``nn.timm_encoder`` uses it.

    Args:
        settings: of a Swin.
    """

    def __init__(self, settings: TimmSettings) -> None:
        super().__init__()
        self.model = create(
            settings,
            img_size=settings.image_size,
            patch_size=settings.patch_size // _CELLS,
            strict_img_size=False,
        )
        self.mask_token = nn.Parameter(torch.empty(settings.widths[0]))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.depths = settings.facts.depths

    def encode(self, x: Tensor, visible: Tensor | None, count: int | None) -> Tensor:  # noqa: ARG002 -- all is computed
        """See ``TimmBody``."""
        return self._stages(x, visible)[-1]

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """See ``TimmBody``; the last one is normalised."""
        return tuple(self._stages(x, None))

    def layer_of(self, name: str) -> int:
        """See ``TimmBody``."""
        part, *rest = name.split(".")
        if part == "norm":
            return sum(self.depths)
        if part != "layers":
            return 1
        before = sum(self.depths[: int(rest[0])]) + 1
        return before + int(rest[2]) if rest[1] == "blocks" else before

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """See ``TimmBody``: without the small networks of v2's positions."""
        return tuple(
            layer
            for stage in self.model.layers
            for block in stage.blocks
            for layer in (block.attn.qkv, block.attn.proj, block.mlp.fc1, block.mlp.fc2)
        )

    def _stages(self, x: Tensor, visible: Tensor | None) -> list[Tensor]:
        y = self.model.patch_embed(x)
        if visible is None:
            masked = y.new_zeros((), dtype=torch.bool)  # so that the token has a gradient, if only zero, in each step
        else:
            masked = ~visible.repeat_interleave(_CELLS, 1).repeat_interleave(_CELLS, 2)[..., None]
        y = torch.where(masked, self.mask_token.to(y.dtype), y)
        outputs = []
        for layer in self.model.layers:
            y = layer(y)
            outputs.append(y)
        outputs[-1] = self.model.norm(y)
        return [y.permute(0, 3, 1, 2) for y in outputs]

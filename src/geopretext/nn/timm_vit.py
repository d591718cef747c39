"""timm's ViT (Dosovitskiy et al., ICLR 2021, arXiv 2010.11929) on visible patches.

As in masked autoencoders (He et al., CVPR 2022, arXiv 2111.06377, section 3), only visible patches are tokens; each
keeps its place's position embedding. Attention sees any set of tokens, so that dropping one is the same as letting none
attend to it, which is what is done where tiles differ in their number of visible patches.

Letters: ``B`` tiles, ``P = h w`` patches, ``V`` visible patches, ``N`` tokens with those of no place (class,
registers), ``D`` features.
"""

from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.sites import shown_patches
from geopretext.nn.timm_body import TimmBody, create
from geopretext.nn.timm_settings import TimmSettings

_MAPS = 4


class ViTBody(TimmBody):
    """timm's ``VisionTransformer`` as ``nn.timm_encoder`` uses it.

    Args:
        settings: of a ViT.
    """

    def __init__(self, settings: TimmSettings) -> None:
        super().__init__()
        self.model = create(
            settings, img_size=settings.image_size, patch_size=settings.patch_size, dynamic_img_size=True
        )
        # Pooling by attention has weights, of which a grid of features makes no use. They go once all are loaded.
        self.model.reset_classifier(0, "")
        if isinstance(self.model.norm, nn.Identity):  # of those that pool first and then normalise
            self.model.norm, self.model.fc_norm = self.model.fc_norm, nn.Identity()

    def encode(self, x: Tensor, visible: Tensor | None, count: int | None) -> Tensor:
        """See ``TimmBody``."""
        tokens, grid = self._tokens(x)
        if visible is None:
            return self._grid(self._last(self._blocks(tokens, None)), grid)
        visible = visible.flatten(1)
        if count is None:
            return self._grid(self._last(self._blocks(tokens, _attend(visible, tokens))), grid)
        prefix, places = self._split(tokens)
        index = shown_patches(visible, count)[..., None].expand(-1, -1, tokens.shape[-1])
        tokens = torch.cat([prefix, places.gather(1, index)], 1)
        _, shown = self._split(self._last(self._blocks(tokens, None)))
        return _as_grid(shown.new_zeros(places.shape).scatter(1, index, shown), grid)

    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """See ``TimmBody``: what comes after each quarter of the blocks; the last one is normalised."""
        tokens, grid = self._tokens(x)
        depth = len(self.model.blocks)
        taps = [depth * number // _MAPS for number in range(1, _MAPS + 1)]
        outputs = list(self._blocks(tokens, None))
        *inner, last = (outputs[tap - 1] for tap in taps)
        return tuple(_as_grid(self._split(y)[1], grid) for y in (*inner, self.model.norm(last)))

    def layer_of(self, name: str) -> int:
        """See ``TimmBody``."""
        part, *rest = name.split(".")
        if part == "blocks":
            return int(rest[0]) + 1
        return len(self.model.blocks) if part == "norm" else 1

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """See ``TimmBody``."""
        return tuple(module for module in self.model.blocks.modules() if isinstance(module, nn.Linear))

    def _tokens(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """(B, C, H, W) -> (B, N, D) with positions, and h, w."""
        y = self.model.patch_embed(x)
        # timm's own, since it knows all the ways in which its ViTs have positions, and enlarges them for other sizes
        return self.model.norm_pre(self.model._pos_embed(y)), (y.shape[1], y.shape[2])

    def _blocks(self, y: Tensor, mask: Tensor | None) -> Iterator[Tensor]:
        for block in self.model.blocks:
            y = block(y, attn_mask=mask)
            yield y

    def _last(self, outputs: Iterator[Tensor]) -> Tensor:
        for y in outputs:
            last = y
        return cast("Tensor", self.model.norm(last))

    def _split(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of no place, tokens of places."""
        prefix = self.model.num_prefix_tokens
        return tokens[:, :prefix], tokens[:, prefix:]

    def _grid(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        return _as_grid(self._split(tokens)[1], grid)


def _as_grid(tokens: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, P, D) -> (B, D, h, w)."""
    return tokens.transpose(1, 2).reshape(len(tokens), -1, *grid)


def _attend(visible: Tensor, tokens: Tensor) -> Tensor:
    """(B, P) bool -> what is added to scores of attention, (B, 1, N, N)."""
    length = tokens.shape[1]
    masked = F.pad(~visible, (length - visible.shape[1], 0))
    scores = tokens.new_zeros(masked.shape).masked_fill(masked, torch.finfo(tokens.dtype).min)
    return scores[:, None, None].expand(-1, 1, length, -1)

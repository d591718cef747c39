"""The plain transformer block: pre-norm attention over all tokens, then two linear layers.

Dosovitskiy et al., "An Image is Worth 16x16 Words" (ICLR 2021, arXiv 2010.11929), section 3.1.

Letters: ``B`` tiles, ``N`` tokens, ``D`` features.
"""

import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.products import Linear

_HIDDEN = 4  # times as many features between the two linear layers, as in the paper
_EPSILON = 1e-6


class TransformerBlock(nn.Module):
    """(B, N, D) -> (B, N, D).

    Args:
        dim: D.
        heads: of the attention; divides D.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.attention_norm = nn.LayerNorm(dim, eps=_EPSILON)
        self.queries_keys_values = Linear(dim, 3 * dim)
        self.attended = Linear(dim, dim)
        self.mlp = nn.Sequential(
            nn.LayerNorm(dim, eps=_EPSILON), Linear(dim, _HIDDEN * dim), nn.GELU(), Linear(_HIDDEN * dim, dim)
        )

    def forward(self, x: Tensor, usable: Tensor | None = None) -> Tensor:
        """Let tokens look at each other.

        Args:
            x: (B, N, D).
            usable: (B, N) bool: tokens that may be looked at, at least one of each tile; None: all.
        """
        batch, count, dim = x.shape
        packed = self.queries_keys_values(self.attention_norm(x)).view(batch, count, 3, self.heads, -1)
        queries, keys, values = packed.permute(2, 0, 3, 1, 4)
        mask = None if usable is None else usable[:, None, None]
        seen = F.scaled_dot_product_attention(queries, keys, values, attn_mask=mask)
        x = x + self.attended(seen.transpose(1, 2).reshape(batch, count, dim))
        y: Tensor = x + self.mlp(x)
        return y


def make_norm(dim: int) -> nn.LayerNorm:
    """The norm behind the last block."""
    return nn.LayerNorm(dim, eps=_EPSILON)

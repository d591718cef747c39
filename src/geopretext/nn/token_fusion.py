"""The transformer of OmniSat: blocks over the tokens of all modalities, and a block that fuses them into one a patch.

The fusion block starts out looking near: what it adds to the logarithm of attention falls with distance. Without that,
every patch starts with the mean of all tokens, and has to learn first which are its own.

Letters: ``B`` tiles, ``Q`` tokens that ask, ``N`` tokens that are asked, ``D`` features, ``G`` heads, ``K`` buckets.
"""

import torch
from torch import Tensor, nn

from geopretext.nn.convnextv2 import EPSILON
from geopretext.nn.products import Linear

_SLOPE = 2.0
"""of the fusion block: a patch's own tokens start with about 40 % of its attention, whatever the size of the tile"""


class RelativeAttention(nn.Module):
    """Attention that knows how far apart patches are, see ``relative_position``.

    Args:
        dim: D, a multiple of ``heads``.
        heads: G.
        buckets: K.
        dropout: share of attentions and of outputs dropped in training.
        slope: by how much the logarithm of attention starts to fall from one bucket of distance to the next.
    """

    def __init__(self, dim: int, heads: int, buckets: int, dropout: float, slope: float = 0.0) -> None:
        super().__init__()
        self.heads = heads
        distance = torch.arange(float(buckets))
        distance[-1] = 0  # the class token is as near as a patch to itself
        self.nearness = nn.Parameter(-slope * distance)
        self.query = Linear(dim, dim)
        self.key_value = Linear(dim, 2 * dim)
        self.table = nn.Parameter(torch.empty(buckets, dim // heads).normal_(std=0.02))
        self.out = Linear(dim, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, asking: Tensor, asked: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        """Attend.

        Args:
            asking: (B, Q, D).
            asked: (B, N, D).
            buckets: (Q, N) int64.
            present: (B, N) bool: what else there is in ``asked`` has no influence; at least one of each tile.

        Returns:
            (B, Q, D).
        """
        batch = len(asking)
        query = self.query(asking).reshape(batch, asking.shape[1], self.heads, -1).transpose(1, 2)  # (B, G, Q, D / G)
        both = self.key_value(asked).reshape(batch, asked.shape[1], 2, self.heads, -1)
        key, value = both.permute(2, 0, 3, 1, 4)
        query = query * query.shape[-1] ** -0.5
        told = query @ self.table.to(query.dtype).T + self.nearness.to(query.dtype)  # (B, G, Q, K)
        told = told.gather(-1, buckets.expand(*query.shape[:2], -1, -1))
        logits = (query @ key.transpose(2, 3) + told).masked_fill(~present[:, None, None], -torch.inf)
        mixed = self.dropout(logits.softmax(-1)).to(value.dtype) @ value
        attended: Tensor = self.dropout(self.out(mixed.transpose(1, 2).flatten(2)))
        return attended


class CombinerBlock(nn.Module):
    """A block of a vision transformer, norms first.

    Args:
        dim: D.
        heads: G.
        buckets: K.
        dropout: share of features and attentions dropped in training.
        drop_path: probability of skipping each of its two halves in training, tile by tile.
    """

    def __init__(self, dim: int, heads: int, buckets: int, *, dropout: float, drop_path: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(dim, eps=EPSILON)
        self.attention = RelativeAttention(dim, heads, buckets, dropout)
        self.mlp = _perceptron(dim, dropout)
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        """(B, N, D), (N, N) and (B, N) -> (B, N, D)."""
        normed = self.norm(tokens)
        tokens = tokens + self._kept(self.attention(normed, normed, buckets, present))
        return tokens + self._kept(self.mlp(tokens))

    def _kept(self, x: Tensor) -> Tensor:
        """Zero for some tiles in training, and larger for the others, so that the mean stays."""
        if not self.training or self.drop_path == 0:
            return x
        kept = torch.rand(len(x), 1, 1, device=x.device) >= self.drop_path
        return x * kept / (1 - self.drop_path)


class FusionBlock(nn.Module):
    """One token a patch from the tokens of all modalities.

    What the attention gathers stands alone: there is no residual beside it, and so no drop path, which would turn all
    tokens of a tile into zeros.

    Args:
        dim: D.
        heads: G.
        buckets: K.
        dropout: share of features and attentions dropped in training.
    """

    def __init__(self, dim: int, heads: int, buckets: int, *, dropout: float) -> None:
        super().__init__()
        self.norm_asking = nn.LayerNorm(dim, eps=EPSILON)
        self.norm_asked = nn.LayerNorm(dim, eps=EPSILON)
        self.attention = RelativeAttention(dim, heads, buckets, dropout, slope=_SLOPE)
        self.mlp = _perceptron(dim, dropout)

    def forward(self, asking: Tensor, tokens: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        """(B, Q, D), (B, N, D), (Q, N) and (B, N) -> (B, Q, D)."""
        fused = self.attention(self.norm_asking(asking), self.norm_asked(tokens), buckets, present)
        refined: Tensor = fused + self.mlp(fused)
        return refined


def _perceptron(dim: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.LayerNorm(dim, eps=EPSILON),
        Linear(dim, 4 * dim),
        nn.GELU(),
        nn.Dropout(dropout),
        Linear(4 * dim, dim),
        nn.Dropout(dropout),
    )

"""Layer norm of maps: each cell by itself, over its features."""

from torch import Tensor, nn


class FeatureNorm(nn.LayerNorm):
    """(B, D, H, W) -> (B, D, H, W); what a cell becomes does not depend on the size of the map."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)

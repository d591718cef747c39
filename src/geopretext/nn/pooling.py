"""One vector from the grids of an encoder's stages."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pool_stages(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation over the cells of each stage: four (B, D, h, w) -> (B, 2 (D1 + D2 + D3 + D4))."""
    # without Bessel's correction: the last stage of a small image may be a single cell
    parts = [torch.var_mean(stage, (2, 3), correction=0) for stage in stages]
    return torch.cat([part for variance, mean in parts for part in (mean, variance.sqrt())], 1)


def pool_mean(stages: Sequence[Tensor]) -> Tensor:
    """Mean over the cells of the last stage: (B, D)."""
    return stages[-1].mean((2, 3))

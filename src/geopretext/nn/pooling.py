"""One vector from the grids of an encoder's stages."""

from collections.abc import Sequence

import torch
from torch import Tensor


def pool_stages(stages: Sequence[Tensor]) -> Tensor:
    """Mean and standard deviation over the cells of each stage: four (B, D, h, w) -> (B, 2 (D1 + D2 + D3 + D4))."""
    parts = []
    for stage in stages:
        # In two passes: on a CPU `torch.var_mean` takes more than twice as long over features that lie last.
        mean = stage.mean((2, 3), keepdim=True)
        # without Bessel's correction: the last stage of a small image may be a single cell
        parts += [mean.flatten(1), (stage - mean).square().mean((2, 3)).sqrt()]
    return torch.cat(parts, 1)


def pool_mean(stages: Sequence[Tensor]) -> Tensor:
    """Mean over the cells of the last stage: (B, D)."""
    return stages[-1].mean((2, 3))

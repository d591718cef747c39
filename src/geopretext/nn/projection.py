"""Networks of linear layers between an encoder and a contrastive loss, as MoCo v3 has them (arXiv 2104.02057).

``B`` rows of this process, ``D`` features.
"""

import torch
from torch import Tensor, nn

from geopretext.nn.processes import process_count, sum_over_processes
from geopretext.nn.products import Linear

_EPSILON = 1e-5


class BatchStandardise(nn.Module):
    """Give each feature mean 0 and variance 1 over the rows of all processes.

    It is batch normalisation as in training, without averages for later use: what stands here is thrown away when
    training ends. Two processes compute what one computes.

    Args:
        width: D.
        scaled: whether a learned factor and offset follow.
    """

    def __init__(self, width: int, *, scaled: bool = True) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width)) if scaled else None
        self.bias = nn.Parameter(torch.zeros(width)) if scaled else None

    def forward(self, x: Tensor) -> Tensor:
        """(B, D) -> (B, D), float32."""
        x = x.float()
        count = len(x) * process_count()
        difference = x - sum_over_processes(x.sum(0)) / count
        variance = sum_over_processes(difference.square().sum(0)) / count
        y = difference * torch.rsqrt(variance + _EPSILON)
        return y if self.weight is None or self.bias is None else y * self.weight + self.bias


def make_mlp(depth: int, width: int, hidden: int, out: int) -> nn.Sequential:
    """Linear layers, each standardised; rectifiers between them. The last is standardised without factor and offset.

    Args:
        depth: linear layers, at least 1.
        width: features that come in.
        hidden: features between layers.
        out: features that go out.
    """
    layers: list[nn.Module] = []
    for level in range(depth):
        last = level == depth - 1
        after = out if last else hidden
        linear = Linear(width, after, bias=False)
        # What is standardised next has the same value at any scale, and gradients that shrink with the scale.
        nn.init.normal_(linear.weight, std=width**-0.5)
        layers += [linear, BatchStandardise(after, scaled=not last)]
        layers += [] if last else [nn.ReLU()]
        width = after
    return nn.Sequential(*layers)

"""Numbers of all processes that train together; alone, a process has those of its own.

Backends want every process to call these at the same place with the same shapes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


def process_count() -> int:
    """How many processes train together."""
    return dist.get_world_size() if _together() else 1


def process_rank() -> int:
    """Number of this one, from 0."""
    return dist.get_rank() if _together() else 0


def gather_rows(x: Tensor) -> Tensor:
    """The rows of all processes, in the order of their ranks; no gradient flows through it.

    Args:
        x: (B, ...), the same shape in every process.

    Returns:
        (processes * B, ...).
    """
    x = x.detach()
    if not _together():
        return x
    parts = [torch.empty_like(x) for _ in range(process_count())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)


def sum_over_processes(x: Tensor) -> Tensor:
    """The sum, through which gradients flow.

    A process's gradient is that of the losses of all processes together, as it is if one process computes them all.
    """
    if not _together():
        return x
    total: Tensor = _Sum.apply(x)  # type: ignore[no-untyped-call]  # torch has no types for it
    return total


class _Sum(torch.autograd.Function):
    """torch's own is deprecated, and what is to replace it promises nothing yet."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:  # noqa: ARG004 -- what torch calls it with
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:  # noqa: ARG004 -- what torch calls it with
        total = gradients[0].clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total)
        return total


def _together() -> bool:
    return dist.is_available() and dist.is_initialized()

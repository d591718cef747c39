"""Linear layers that multiply on a CPU with the library, and in the order, that is fastest there.

In float32 torch multiplies with MKL, which on processors of other makers than Intel leaves half of their speed: it
does not use their AVX-512. oneDNN does, which torch comes with, too (docs/decisions/169-products-by-onednn.md).
"""

from functools import cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from geopretext.nn import kernels
from geopretext.nn.kernels.compiler import processor_says

_NARROW = 256  # features below which the order of a product pays with MKL
_FEW = 2**22  # multiply-adds, below which calling costs more than the library saves


class Linear(nn.Linear):
    """``nn.Linear`` by ``linear``."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., K) -> (..., N)."""
        return linear(x, self.weight, self.bias)


def adopt(network: nn.Module) -> None:
    """Make every ``nn.Linear`` in a network of another library a ``Linear``, in place."""
    for module in network.modules():
        if type(module) is nn.Linear:
            module.__class__ = Linear


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear(x, weight, bias)``, in float32 on a CPU faster than torch does it.

    The weight's gradient sums an outer product for every site. It takes less time if the result has the few features
    first, as ``x.T @ gradient`` has where a layer widens, and not ``gradient.T @ x`` (docs/log.md, "products of few
    features").

    Args:
        x: (..., K).
        weight: (N, K).
        bias: (N,).

    Returns:
        (..., N).
    """
    wide, few = weight.shape
    float32 = kernels.compute_dtype(x) == torch.float32 and x.dtype == weight.dtype
    ours = x.device.type == "cpu" and float32 and kernels.are_enabled() and not torch.compiler.is_exporting()
    widens = bias is None and few < min(wide, _NARROW)
    better = x.numel() * wide >= _FEW if onednn_is_faster() else widens
    if not (ours and better and x.ndim > 1 and x.numel()):
        return F.linear(x, weight, bias)
    y: Tensor = _Linear.apply(x.flatten(0, -2), weight, bias)  # type: ignore[no-untyped-call]
    return y.view(*x.shape[:-1], wide)


def multiply(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """``F.linear`` of matrices of float32 on a CPU, by the faster library; without gradient.

    Args:
        x: (S, K), in any order of memory.
        weight: (N, K), likewise.
        bias: (N,).

    Returns:
        (S, N).
    """
    if not onednn_is_faster():
        return F.linear(x, weight, bias)
    y: Tensor = torch.ops.geopretext.multiply.default(x, weight, bias)
    return y


def onednn_is_faster() -> bool:
    """Whether this is a processor for which MKL, but not oneDNN, does without AVX-512."""
    return _onednn_is_faster()


# As in ``nn.kernels``: torch.compile takes it for a constant.
onednn_is_faster._dynamo_marked_constant = True  # type: ignore[attr-defined]


@cache
def _onednn_is_faster() -> bool:
    there = torch.backends.mkl.is_available() and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not (there and torch.backends.cpu.get_cpu_capability() == "AVX512"):
        return False
    return hasattr(torch.ops.mkldnn, "_linear_pointwise") and processor_says("vendor_id") not in ("", "GenuineIntel")


class _Linear(torch.autograd.Function):
    @staticmethod
    def forward(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return multiply(x, weight, bias)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Tensor) -> None:  # noqa: ARG004 -- torch calls it so
        ctx.save_for_backward(*inputs[:2])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = multiply(gradient, weight.t()) if ctx.needs_input_grad[0] else None
        by_bias = gradient.sum(0) if ctx.needs_input_grad[2] else None
        if not ctx.needs_input_grad[1]:
            return by_x, None, by_bias
        if len(weight) > weight.shape[1]:
            by_weight = multiply(x.t(), gradient.t()).t().clone(memory_format=torch.contiguous_format)
        else:
            by_weight = multiply(gradient.t(), x.t())
        return by_x, by_weight, by_bias

"""Global response normalisation (ConvNeXt V2, arXiv 2301.00808, section 3.3).

Written as one operation with its own gradient, since it touches the widest tensors of the network: the gradient of the
chain of single operations passes over them twice as often.

Letters: ``B`` tiles, ``S`` sites of a tile, ``C`` features.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from geopretext.nn.kernels import gelu_response, local_gelu_response_
from geopretext.nn.local_norm import Squares, local_response

EPSILON = 1e-6


class GlobalResponseNorm(nn.Module):
    """Each feature in proportion to its strength over the tile: ``x + gamma x N + beta`` with ``N = |x| / mean |x|``.

    ``|x|`` is the root of a feature's sum of squares over sites, and the mean is over features.

    Args:
        width: C.
        scope: "sample" takes the strength over one tile's sites; "batch" over those of the whole batch in training, and
            over one tile's in inference, so that the features of a tile never depend on its neighbours in a batch.
    """

    def __init__(self, width: int, scope: str) -> None:
        super().__init__()
        self.over_batch = scope == "batch"
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(
        self, x: Tensor, mask: Tensor | None = None, epsilon: float = EPSILON, squares: Squares | None = None
    ) -> Tensor:
        """Normalise.

        Args:
            x: (B, ..., C).
            mask: (B, ..., 1) bool, True at sites; None: all are.
            epsilon: what is added to ``mean |x|``.
            squares: of a map (B, H, W, C) without a mask: take strengths over these; None: over all sites.

        Returns:
            (B, ..., C); strengths are those of sites only, but every place is scaled by them.
        """
        if squares is not None and not squares.cover(x):
            return local_response(x, self.gamma.flatten(), self.beta.flatten(), squares, epsilon)
        flat = x.flatten(1, -2)
        sites = None if mask is None else mask.flatten(1, -2)
        with torch.no_grad():
            strength = _strength(flat, sites, over_batch=self.over_batch and self.training)
        y: Tensor = _ResponseNorm.apply(  # type: ignore[no-untyped-call]
            flat, self.gamma.flatten(), self.beta.flatten(), strength, sites, epsilon
        )
        return y.view_as(x)

    def of_gelu(self, h: Tensor, bias: Tensor, epsilon: float = EPSILON, squares: Squares | None = None) -> Tensor:
        """``forward(gelu(h + bias))`` by a compiled kernel (see ``kernels.can_run``): (B, ..., C) -> (B, ..., C).

        With ``squares`` of which none covers the map, ``h`` is overwritten, and there is no gradient.
        """
        gamma, beta = self.gamma.flatten(), self.beta.flatten()
        if squares is not None and not squares.cover(h):
            return local_gelu_response_(h, bias, gamma, beta, epsilon, block=squares.block, span=squares.span)
        over_batch = self.over_batch and self.training
        return gelu_response(h, bias, gamma, beta, epsilon, over_batch=over_batch)


class _ResponseNorm(torch.autograd.Function):
    """x (B, S, C), gamma (C), beta (C), strength of x (B or 1, C), mask (B, S, 1) or None, epsilon -> (B, S, C)."""

    @staticmethod
    def forward(
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        strength: Tensor,
        mask: Tensor | None,  # noqa: ARG004 -- for the gradient
        epsilon: float,
    ) -> Tensor:
        factor = 1 + gamma * (strength / _mean(strength, epsilon))
        return torch.addcmul(beta.to(x.dtype), x, factor.to(x.dtype)[:, None])

    @staticmethod
    def setup_context(
        ctx: Any,
        inputs: tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None, float],
        output: Tensor,  # noqa: ARG004 -- torch calls it so
    ) -> None:
        x, gamma, _, strength, mask, ctx.epsilon = inputs
        ctx.save_for_backward(x, gamma, strength, mask)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, gamma, strength, mask = ctx.saved_tensors
        mean = _mean(strength, ctx.epsilon)
        share = strength / mean
        by_factor = (gradient * x).sum(1, dtype=strength.dtype)
        by_gamma = (by_factor * share).sum(0)
        by_share = gamma * by_factor
        if len(strength) == 1:
            by_share = by_share.sum(0, keepdim=True)
        by_strength = by_share / mean - (by_share * share).mean(-1, keepdim=True) / mean
        per_x = torch.where(strength > 0, by_strength / strength, 0.0).to(x.dtype)[:, None]
        by_x = gradient * (1 + gamma * share).to(x.dtype)[:, None]
        by_x = by_x.addcmul_(_at_sites(x, mask), per_x)
        by_beta = gradient.sum((0, 1), dtype=strength.dtype)
        return by_x, by_gamma.to(gamma.dtype), by_beta.to(gamma.dtype), None, None, None


def _strength(x: Tensor, mask: Tensor | None, *, over_batch: bool) -> Tensor:
    """Root of the sum of squares over sites, in float32 at least: (B, C), or (1, C) over the batch."""
    at_sites = _at_sites(x, mask).to(torch.promote_types(x.dtype, torch.float32))
    squares = (at_sites * at_sites).sum(1)
    return (squares.sum(0, keepdim=True) if over_batch else squares).sqrt()


def _mean(strength: Tensor, epsilon: float) -> Tensor:
    return strength.mean(-1, keepdim=True) + epsilon


def _at_sites(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x.masked_fill(~mask, 0.0)

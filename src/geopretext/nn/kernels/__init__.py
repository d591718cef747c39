"""What lies between the large products of a ConvNeXt V2 on a CPU, compiled on first use; plain torch serves elsewhere.

On a CPU most of a training step of plain torch goes into passes over memory and into the weight gradient of the
depthwise convolution. The C files of this folder do such work tile by tile, in the cache of a core. They need a C
compiler with OpenMP on the machine (gcc, or clang). ``GEOPRETEXT_KERNELS=0`` switches them off.

Letters: ``B`` tiles, ``R`` rows of ``L`` adjacent sites each of a tile, ``S = R L`` sites, ``D`` features.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geopretext.nn.kernels.compiler import has_mlp, library
from geopretext.nn.kernels.operators import LANES

__all__ = [
    "LANES",
    "LARGEST_MAP",
    "Rows",
    "are_enabled",
    "can_run",
    "compute_dtype",
    "conv_norm",
    "cross_entropy",
    "fits",
    "gelu_response",
    "kernels_enabled",
    "local_gelu_response_",
    "mlp",
    "mlp_fits",
    "norm_fold",
    "squared_error",
    "stem",
]

_DTYPES = (torch.float32, torch.bfloat16)
LARGEST_MAP = 512 * 512
"""cells"""
_MLP_WIDTH = {torch.float32: 128, torch.bfloat16: 48}  # features beyond which a library multiplies as fast
_MLP_SITES = 48, 2**18  # of a tile: from so many on weights are read often enough; times features, for the cache
_enabled = os.environ.get("GEOPRETEXT_KERNELS", "1") != "0"


class Rows(NamedTuple):
    """Where the sites of tiles lie on their maps."""

    place: Tensor
    """(B, R) or (1, R) int64: the cell of a tile's map, counted row by row, at which each row of sites begins"""
    length: int
    """L"""
    height: int
    """cells of the map along y"""
    width: int
    """cells of the map along x"""


@contextmanager
def kernels_enabled(enabled: bool) -> Iterator[None]:
    """Within it, compiled kernels are used or not, by all threads; for comparison."""
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before


def are_enabled() -> bool:
    """Whether anything but plain torch may be used."""
    return _enabled


def can_run(x: Tensor) -> bool:
    """Whether there are kernels for these features: on a CPU, in float32 or bfloat16."""
    return x.device.type == "cpu" and x.dtype in _DTYPES and _enabled and _compiled()


def _compiled() -> bool:
    return library() is not None


# All that ``torch.compiler.assume_constant_result`` does, but for importing torch's compiler: a second of each start.
_compiled._dynamo_marked_constant = True  # type: ignore[attr-defined]


def fits(rows: Rows) -> bool:
    """Whether maps are small enough for a core's cache to be of use."""
    return rows.height * rows.width <= LARGEST_MAP


def compute_dtype(x: Tensor) -> torch.dtype:
    """What matrix products compute in: that of autocast, where it is on and supported, else that of ``x``."""
    if torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") in _DTYPES:
        return torch.get_autocast_dtype("cpu")
    return x.dtype


def conv_norm(
    x: Tensor, rows: Rows, weight: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float
) -> Tensor:
    """Depthwise 7 x 7 convolution at sites, where what is no site counts as zero, and layer norm over features.

    Args:
        x: (B, ..., D) with S sites a tile, float32 or bfloat16.
        rows: where the sites are.
        weight: (D, 1, 7, 7) of the convolution.
        bias: (D,) of the convolution.
        gamma: (D,) of the norm.
        beta: (D,) of the norm.
        epsilon: of the norm.

    Returns:
        As ``x``, in the dtype in which autocast computes.
    """
    y: Tensor = torch.ops.geopretext.conv_norm(
        x, rows.place, rows.length, rows.height, rows.width, weight, bias, gamma, beta, epsilon, compute_dtype(x)
    )
    return y


def gelu_response(h: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, *, over_batch: bool) -> Tensor:
    """Global response norm of ``gelu(h + bias)``.

    Args:
        h: (B, ..., C), float32 or bfloat16; C is a multiple of ``LANES``.
        bias: (C,), added first.
        gamma: (C,) of the norm.
        beta: (C,) of the norm.
        epsilon: of the norm.
        over_batch: strengths are over the sites of all tiles, instead of each tile's own.
    """
    z: Tensor = torch.ops.geopretext.gelu_response(h, bias, gamma, beta, epsilon, over_batch)[0]
    return z


def local_gelu_response_(
    h: Tensor, bias: Tensor, gamma: Tensor, beta: Tensor, epsilon: float, *, block: int, span: int
) -> Tensor:
    """Response norm of ``gelu(h + bias)`` with strengths over squares (``nn.local_norm``), in place; without gradient.

    Args:
        h: (B, H, W, C), contiguous, float32 or bfloat16; H and W are multiples of ``block``, C of ``LANES``.
        bias: (C,), added first.
        gamma: (C,) of the norm.
        beta: (C,) of the norm.
        epsilon: of the norm.
        block: cells on a side of a block.
        span: blocks on a side of a square.
    """
    torch.ops.geopretext.local_gelu_response(h, bias, gamma, beta, block, span, epsilon)
    return h


def mlp_fits(y: Tensor) -> bool:
    """Whether ``mlp`` takes these features, (B, ..., D), and is faster with them than one operation after the other."""
    width, sites = y.shape[-1], y.shape[1:-1].numel()
    if not (can_run(y) and compute_dtype(y) == y.dtype):
        return False
    return width <= _MLP_WIDTH[y.dtype] and _MLP_SITES[0] <= sites <= _MLP_SITES[1] // width and has_mlp(width)


def mlp(
    y: Tensor,
    residual: Tensor | None,
    first: nn.Linear,
    gamma: Tensor,
    beta: Tensor,
    second: nn.Linear,
    epsilon: float,
) -> Tensor:
    """Linear, GELU, global response norm over each tile, linear: what ``mlp_fits``.

    Args:
        y: (B, ..., D), float32 or bfloat16; within, all is float32.
        residual: as y; is added, if given.
        first: from D to 4 D features, with bias.
        gamma: (4 D,) of the norm.
        beta: (4 D,) of the norm.
        second: from 4 D to D features, with bias.
        epsilon: of the norm.

    Returns:
        As ``y``. The wide features are not kept for the gradient, but computed again.
    """
    parameters = first.weight, first.bias, gamma, beta, second.weight, second.bias
    out: Tensor = torch.ops.geopretext.mlp(y, residual, *parameters, epsilon)[0]
    return out


def stem(
    image: Tensor, rows: Rows, first: nn.Conv2d, first_norm: nn.LayerNorm, second: nn.Conv2d, second_norm: nn.LayerNorm
) -> Tensor:
    """MMEarth's stem at visible pixels: 3 x 3 convolution, norm, GELU, depthwise convolution of stride k, norm.

    Args:
        image: (B, C, H, W) float32; gets no gradient. What is not visible counts as zero.
        rows: where visible pixels are; k rows that follow each other lie above each other.
        first: of C bands, 3 x 3.
        first_norm: its norm.
        second: depthwise, k x k of stride k.
        second_norm: its norm.

    Returns:
        (B, S / k^2, D) in the dtype in which autocast computes.
    """
    assert first.bias is not None
    assert second.bias is not None
    parameters = [first.weight, first.bias, first_norm.weight, first_norm.bias]
    parameters += [second.weight, second.bias, second_norm.weight, second_norm.bias]
    shape = rows.length, rows.height, rows.width
    y: Tensor = torch.ops.geopretext.stem(image, rows.place, *shape, *parameters, first_norm.eps, compute_dtype(image))
    return y


def norm_fold(x: Tensor, norm: nn.LayerNorm) -> Tensor:
    """Layer norm, then each 2 x 2 sites side by side, as a convolution of stride 2 multiplies them.

    Args:
        x: (..., H, W, D), with H and W even.
        norm: over D.

    Returns:
        (..., H / 2, W / 2, 4 D), by row, then column, then feature, in the dtype in which autocast computes.
    """
    y: Tensor = torch.ops.geopretext.norm_fold(x, norm.weight, norm.bias, norm.eps, compute_dtype(x))
    return y


def squared_error(
    prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int, *, standardise: bool
) -> tuple[Tensor, Tensor]:
    """Sum of squared errors over the known numbers of some patches, and how many there are.

    Args:
        prediction: (B, M, p p C), by row, column, channel; float32 or bfloat16.
        values: (B, C, H, W) float32.
        valid: (B, C, H, W) bool.
        chosen: (B, M) int64: the patches, counted row by row.
        side: p; p p C is a multiple of ``LANES``.
        standardise: give the known numbers of each patch mean 0 and variance 1 first (unbiased, plus 1e-6).

    Returns:
        Two float32 scalars.
    """
    total, count = torch.ops.geopretext.squared_error(prediction, values, valid, chosen, side, standardise)
    return total, count


def cross_entropy(
    prediction: Tensor, values: Tensor, valid: Tensor, chosen: Tensor, side: int
) -> tuple[Tensor, Tensor]:
    """Sum of the cross-entropies of the known pixels of some patches, and how many there are.

    Args:
        prediction: (B, M, p p K), by row, column, class; float32 or bfloat16.
        values: (B, H, W) int64: a class wherever valid.
        valid: (B, H, W) bool.
        chosen: (B, M) int64: the patches, counted row by row.
        side: p.

    Returns:
        Two float32 scalars.
    """
    total, count = torch.ops.geopretext.cross_entropy(prediction, values, valid, chosen, side)
    return total, count

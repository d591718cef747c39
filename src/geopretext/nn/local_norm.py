"""Response norms over a square around each place, so that a large image has the features of the crops it is made of.

A response norm compares the strength of each feature over the whole image (``nn.response_norm``). In an image larger
than those of training, that strength is of another kind than the network knows, and features at a place depend on all
that the image happens to hold: two windows of one scene disagree where they overlap. Chu et al., "Improving Image
Restoration by Revisiting Global Information Aggregation" (ECCV 2022, arXiv 2112.04491, section 3), mend both at test
time, without training: what was gathered over the image is gathered over a square of the training crop's size around
each place, moved into the image at its edges.

Here squares begin at blocks of cells (patches of the image): squared features are summed in each block, and blocks in
each square. A norm's factor at a cell lies, bilinearly, between those of the squares whose middles are next to it, so
that it has no steps at blocks. An image that is one square has exactly its ordinary features.

Letters: ``B`` images, ``H W`` cells, ``h w`` blocks, ``r s`` squares along y and along x, ``C`` features.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from threading import Lock
from typing import NamedTuple

import torch
from torch import Tensor, nn

from geopretext.errors import GridError, InputError
from geopretext.nn.network import NetworkSettings
from geopretext.nn.settings import EncoderSettings

_REACH = 3
"""cells of a layer that its convolutions see on either side"""
_CELLS = (8, 4, 2, 1)
"""on a side of a patch, in each stage"""
_PER_STEP, _PER_SQUARE = 1.5, 0.75
"""measured, see ``needed_margin``"""

_NOT_COMPILED = "compute dense features with the network as it was before torch.compile"

_extents: ContextVar[dict[int, int]] = ContextVar("extents of local norms, by identity of a module")
_local_anywhere: dict[int, int] = {}
"""identity of each module with local norms in any thread, and how often; compiled code, which cannot look at a context
variable, is guarded on this"""
_counting = Lock()


class Squares(NamedTuple):
    """Over what a norm takes its strengths, in the cells of its layer."""

    block: int
    """cells on a side of a block; squares begin at blocks"""
    span: int
    """blocks on a side of a square"""

    def along(self, cells: int) -> int:
        """How many squares there are along one side of a map; 1: it is no larger than a square."""
        return max(1, cells // self.block - self.span + 1)

    def cover(self, x: Tensor) -> bool:
        """Whether one square holds all of a map (B, H, W, C), whose norm then is the ordinary one."""
        return self.along(x.shape[1]) == self.along(x.shape[2]) == 1


@contextmanager
def local_norms(network: nn.Module, extent: int) -> Iterator[None]:
    """Within it, this thread computes the dense features of a network with local response norms.

    Dense means without a mask; what is computed of visible patches stays as it is. Other threads, and other networks,
    stay as they are.

    Args:
        network: a ``ConvNeXtV2``, or what holds one (``Encoder``, any head).
        extent: pixels on a side of the squares: the size of the images that the network was trained on.

    Raises:
        GridError: ``extent`` is not above 0, or (from the network) not a multiple of its patch size.
        InputError: the network, or a part of it, is compiled by ``torch.compile``. A compiled function that calls the
            network raises when it is called within this, in whatever thread (with ``fullgraph=True`` it is torch's
            ``Unsupported``).
    """
    for module in network.modules():
        # what torch.compile wraps a module in, and what module.compile() leaves
        if "_orig_mod" in module._modules or module._compiled_call_impl is not None:
            raise InputError("a compiled network cannot compute local response norms", hint=_NOT_COMPILED)
    if extent < 1:
        raise GridError(f"response norms over squares of {extent} pixels", hint="the size of the training images")
    mine = {id(module): extent for module in network.modules()}
    token = _extents.set({**_extents.get({}), **mine})
    with _counting:
        for module_id in mine:
            _local_anywhere[module_id] = _local_anywhere.get(module_id, 0) + 1
    try:
        yield
    finally:
        with _counting:
            for module_id in mine:
                _local_anywhere[module_id] -= 1
                if not _local_anywhere[module_id]:
                    del _local_anywhere[module_id]
        _extents.reset(token)


def needed_margin(settings: NetworkSettings, extent: int) -> int | None:
    """Pixels from an inner edge of a window at which features are those of one pass, within a thousandth.

    That is of each feature's standard deviation, at worst. The influence of an edge spreads inwards like a random walk,
    each 7 x 7 convolution a step of up to three cells, and through the squares that touch what it has reached; the two
    factors are such that no encoder that was measured wants more (``docs/decisions/111-margins-of-windows.md``).
    Encoders other than ConvNeXt V2 have no local norms, or see all of a window by attention.

    Args:
        settings: of the encoder.
        extent: of its local norms, pixels.

    Returns:
        A multiple of the patch size; None: features depend on all of a window, however large it is.
    """
    if not isinstance(settings, EncoderSettings):
        return None
    steps = sum(depth * (_REACH / cells) ** 2 for depth, cells in zip(settings.depths, _CELLS, strict=True))
    patches = _PER_STEP * math.sqrt(steps) + _PER_SQUARE * extent / settings.patch_size
    return math.ceil(patches) * settings.patch_size


def squares_of(module: nn.Module, *, patch_size: int, block: int) -> Squares | None:
    """The squares of a module's norms; None if they are over whole images.

    Args:
        module: the network, or a part of it.
        patch_size: pixels on a side of a block.
        block: cells on a side of a block in the layer.

    Raises:
        GridError: the extent is not a multiple of the patch size.
        InputError: compiled code asks, within ``local_norms``.
    """
    if torch.compiler.is_compiling():
        if id(module) not in _local_anywhere:
            return None
        raise InputError("compiled code cannot compute local response norms", hint=_NOT_COMPILED)
    extent = _extents.get({}).get(id(module))
    if extent is None:
        return None
    if extent % patch_size:
        raise GridError(
            f"response norms over squares of {extent} pixels, for patches of {patch_size}",
            hint=f"a multiple of {patch_size}",
        )
    return Squares(block, extent // patch_size)


def local_response(x: Tensor, gamma: Tensor, beta: Tensor, squares: Squares, epsilon: float) -> Tensor:
    """``x + gamma x N + beta``, with strengths over squares.

    Args:
        x: (B, H, W, C); H and W are multiples of a block.
        gamma: (C,).
        beta: (C,).
        squares: over what strengths are taken.
        epsilon: what is added to their mean over features.

    Returns:
        (B, H, W, C).
    """
    block, (height, width) = squares.block, x.shape[1:3]
    exact = x.to(torch.promote_types(x.dtype, torch.float32))
    blocks = (exact * exact).reshape(len(x), height // block, block, width // block, block, -1).sum((2, 4))
    for axis in (1, 2):
        blocks = blocks.unfold(axis, min(squares.span, blocks.shape[axis]), 1).sum(-1)
    strength = blocks.sqrt()
    factor = 1 + gamma * (strength / (strength.mean(-1, keepdim=True) + epsilon))
    factor = _between(_between(factor, 1, height, squares), 2, width, squares)
    return torch.addcmul(beta.to(x.dtype), x, factor.to(x.dtype))


def _between(factor: Tensor, axis: int, cells: int, squares: Squares) -> Tensor:
    """From squares to cells along one axis."""
    first, share = places(cells, squares)
    low, share = first.to(factor.device), share.to(factor)
    high = (low + 1).clamp(max=factor.shape[axis] - 1)
    weight = share.view(-1, *[1] * (factor.ndim - 1 - axis))
    return torch.lerp(factor.index_select(axis, low), factor.index_select(axis, high), weight)


def places(cells: int, squares: Squares) -> tuple[Tensor, Tensor]:
    """Between which squares cells lie: numbers of the first (cells,) int64, shares of the next (cells,) float32.

    A square whose middle is at the middle of a cell begins so many blocks after the map does; at the edges of the map
    the square is moved into it.
    """
    last = squares.along(cells) - 1
    begin = ((torch.arange(cells) + 0.5) / squares.block - squares.span / 2).clamp(0, last)
    first = begin.floor().clamp(max=max(0, last - 1))
    return first.long(), begin - first

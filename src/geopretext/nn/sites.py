"""Where a network computes: at every cell of a map, or only at those of visible patches.

A layer of ConvNeXt V2 either works at each site alone (norms, linear layers), within one patch (strided convolutions),
or across sites (the depthwise convolutions and the response norm). Only the last needs to know which sites there are,
and asks one of the three classes here:

============ ===================== ==================================================================================
class        layout of features    sites
============ ===================== ==================================================================================
``Whole``    (B, H, W, D)          all
``Masked``   (B, H, W, D)          those of visible patches; others are computed too, and ignored
``Visible``  (B, V, p, p, D)       those of visible patches; nothing else is computed
============ ===================== ==================================================================================

``Masked`` and ``Visible`` agree, and both are the sparse convolutions of the published pretraining (submanifold
convolutions of MinkowskiEngine): output sites are input sites, neighbours that are no site count as zero, the bias is
added at sites. One difference: there a visible pixel whose bands are all exactly zero is no site, here it is.

Letters: ``B`` tiles, ``H W`` cells at this resolution, ``D`` features, ``P = h w`` patches, ``V`` visible patches,
``p`` cells on a side of a patch at this resolution.
"""

from collections.abc import Callable
from typing import Any, Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import GridError
from geopretext.nn.kernels import LARGEST_MAP, Rows, can_run, conv_norm, fits, norm_fold, stem
from geopretext.nn.local_norm import Squares
from geopretext.nn.products import linear
from geopretext.nn.response_norm import EPSILON


class Sites(Protocol):
    """The sites of a map at one resolution."""

    def enter(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> features in this layout, (..., C)."""

    def leave(self, x: Tensor) -> Tensor:
        """Features in this layout -> (B, D, H, W), zero where there is no site."""

    def convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """Apply a convolution of stride 1 that keeps the size; defined at sites only."""

    def convolve_norm(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
        """Apply a depthwise 7 x 7 convolution of that sort, then the norm, in one operation where there is one."""

    def stem(self, image: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
        """MMEarth's stem: (B, C, H, W) -> features in this layout at the resolution of the first stage.

        Args:
            image: 0 where nothing was observed.
            first: 3 x 3 convolution, norm, GELU.
            second: depthwise convolution whose kernel is its stride, norm.
        """

    @property
    def mask(self) -> Tensor | None:
        """True at sites, in this layout with one feature; None if all cells of the layout are sites."""

    @property
    def epsilon(self) -> float:
        """What response norms add to the mean strength."""

    @property
    def squares(self) -> Squares | None:
        """Over what response norms take their strengths; None: over all sites."""


class Whole:
    """Every cell is a site; features are (B, H, W, D).

    Args:
        epsilon: of response norms.
        squares: over which they take their strengths; None: over the map.
    """

    mask: Tensor | None = None

    def __init__(self, epsilon: float = EPSILON, squares: Squares | None = None) -> None:
        self.epsilon = epsilon
        self.squares = squares

    def enter(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return x.permute(0, 2, 3, 1).contiguous()

    def leave(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return x.permute(0, 3, 1, 2)

    def convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """See ``Sites``."""
        return convolve_map(x, conv)

    def convolve_norm(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
        """See ``Sites``."""
        halo = conv.kernel_size[0] // 2
        return _by_bands(x, 1, halo, 1, lambda y: _convolve_norm(self, y, _rows_of_map(y, *y.shape[1:3]), conv, norm))

    def stem(self, image: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
        """See ``Sites``."""
        stride = _stride(second)

        def compute(band: Tensor) -> Tensor:
            height, width = band.shape[2:]
            y = _stem(self, band, _rows_of_map(band, height, width), first, second)
            return y.reshape(len(band), height // stride, width // stride, -1)

        return _by_bands(image, 2, stride, stride, compute)


class Masked:
    """Any set of patches is visible; features are (B, H, W, D), computed everywhere and ignored where masked.

    Args:
        visible: (B, P) bool.
        grid: patches along y and along x.
        side: p.
    """

    epsilon: float = EPSILON
    squares: Squares | None = None

    def __init__(self, visible: Tensor, *, grid: tuple[int, int], side: int) -> None:
        mask = visible.reshape(-1, *grid, 1)
        self.mask: Tensor | None = mask.repeat_interleave(side, 1).repeat_interleave(side, 2)
        """(B, H, W, 1) bool, True at sites"""

    def enter(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return x.permute(0, 2, 3, 1).contiguous()

    def leave(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return self._only_sites(x).permute(0, 3, 1, 2)

    def convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """See ``Sites``."""
        return convolve_map(self._only_sites(x), conv)

    def convolve_norm(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
        """See ``Sites``."""
        return norm(self.convolve(x, conv))  # type: ignore[no-any-return]

    def stem(self, image: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
        """See ``Sites``."""
        return plain_stem(self, image, first, second)[1]

    def _only_sites(self, x: Tensor) -> Tensor:
        # not a product with 0, which would let an infinite or undefined number through
        assert self.mask is not None
        return x.masked_fill(~self.mask, 0.0)


class Visible:
    """Just as many patches are visible in every tile; features are (B, V, p, p, D), computed there only.

    A patch's row of cells is ``p D`` adjacent numbers both in this layout and in a (B, H, W, D) map, so that going from
    one to the other moves whole rows.

    Args:
        shown: (B, V) int64: numbers of the visible patches, row by row.
        grid: patches along y and along x.
        side: p.
    """

    mask: Tensor | None = None
    epsilon: float = EPSILON
    squares: Squares | None = None

    def __init__(self, shown: Tensor, *, grid: tuple[int, int], side: int) -> None:
        self.batch, self.count = shown.shape
        self.grid = grid
        self.side = side
        h, w = grid
        row = (shown // w)[..., None] * side + torch.arange(side, device=shown.device)
        within = (row * w + (shown % w)[..., None]).flatten(1)
        tile = torch.arange(self.batch, device=shown.device)[:, None]
        self.rows = (tile * h * side * w + within).flatten()
        """(B V p,): where each row of cells of a visible patch lies among the B (h p) w rows of a map"""
        self.on_map = Rows(within * side, side, h * side, w * side)
        """the same, as kernels want it"""

    def enter(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return self._from_map(x.permute(0, 2, 3, 1))

    def leave(self, x: Tensor) -> Tensor:
        """See ``Sites``."""
        return self._to_map(x).permute(0, 3, 1, 2)

    def convolve(self, x: Tensor, conv: nn.Conv2d) -> Tensor:
        """See ``Sites``."""
        return self._from_map(convolve_map(self._to_map(x), conv))

    def convolve_norm(self, x: Tensor, conv: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
        """See ``Sites``."""
        return _convolve_norm(self, x, self.on_map, conv, norm)

    def stem(self, image: Tensor, first: nn.Sequential, second: nn.Sequential) -> Tensor:
        """See ``Sites``."""
        y = _stem(self, image, self.on_map, first, second)
        side = self.side // _stride(second)
        return y.reshape(self.batch, self.count, side, side, -1)

    def _to_map(self, x: Tensor) -> Tensor:
        h, w = self.grid
        rows = x.reshape(len(self.rows), -1)
        everywhere: Tensor = _Scatter.apply(rows, self.rows, self.batch * h * self.side * w)  # type: ignore[no-untyped-call]
        return everywhere.reshape(self.batch, h * self.side, w * self.side, -1)

    def _from_map(self, x: Tensor) -> Tensor:
        h, w = self.grid
        everywhere = x.reshape(self.batch * h * self.side * w, -1)
        rows: Tensor = _Gather.apply(everywhere, self.rows)  # type: ignore[no-untyped-call]
        return rows.reshape(self.batch, self.count, self.side, self.side, -1)


def _rows_of_map(x: Tensor, height: int, width: int) -> Rows:
    return Rows(torch.arange(height, device=x.device)[None] * width, width, height, width)


def _by_bands(x: Tensor, axis: int, halo: int, stride: int, compute: Callable[[Tensor], Tensor]) -> Tensor:
    """Compute what is local of a map, in bands of rows if it is larger than kernels have room for.

    Args:
        x: (..., H, W, ...), with H at ``axis``.
        axis: of the rows.
        halo: rows above and below that a result depends on; a multiple of ``stride``.
        stride: rows of the map for a row of results.
        compute: a map, or a band -> (B, H / stride, W', D).
    """
    height, width = x.shape[axis : axis + 2]
    if not can_run(x) or height * width <= LARGEST_MAP:
        return compute(x)
    step = max(1, (LARGEST_MAP // width - 2 * halo) // stride) * stride
    outputs = []
    for start in range(0, height, step):
        stop, top = min(start + step, height), max(0, start - halo)
        y = compute(x.narrow(axis, top, min(stop + halo, height) - top))
        outputs.append(y[:, (start - top) // stride : (stop - top) // stride])
    return torch.cat(outputs, 1)


def _convolve_norm(sites: Sites, x: Tensor, rows: Rows, conv: nn.Conv2d, norm: nn.LayerNorm) -> Tensor:
    if not (_plain(conv) and can_run(x) and fits(rows)):
        return norm(sites.convolve(x, conv))  # type: ignore[no-any-return]
    assert conv.bias is not None
    return conv_norm(x, rows, conv.weight, conv.bias, norm.weight, norm.bias, norm.eps)


def _plain(conv: nn.Module) -> bool:
    """False for a module around a convolution (another library's adapter), which computes more than its weight says."""
    return isinstance(conv, nn.Conv2d)


def _stem(sites: Sites, image: Tensor, rows: Rows, first: nn.Sequential, second: nn.Sequential) -> Tensor:
    """Features in the order of this layout, in some shape."""
    runs = _plain(first[0]) and _plain(second[0]) and can_run(image) and fits(rows)
    if image.requires_grad or image.dtype != torch.float32 or not runs:
        return plain_stem(sites, image, first, second)[1]
    conv, norm, _ = cast("tuple[nn.Conv2d, nn.LayerNorm, nn.GELU]", first)
    deep, deep_norm = cast("tuple[nn.Conv2d, nn.LayerNorm]", second)
    return stem(image, rows, conv, norm, deep, deep_norm)


def plain_stem(
    sites: Sites, image: Tensor, first: nn.Sequential, second: nn.Sequential, margin: int | None = None
) -> tuple[Tensor, Tensor]:
    """MMEarth's stem in single operations.

    Args:
        sites: where to compute.
        image: (B, C, H, W).
        first: 3 x 3 convolution, norm, GELU.
        second: depthwise convolution whose kernel is its stride, norm.
        margin: for ``Whole``: let the first convolution be without padding, and the second with so many cells of it.

    Returns:
        Features at the image's resolution, and at that of the first stage.
    """
    conv, norm, activation = first
    x = activation(norm(sites.convolve(sites.enter(image), cast("nn.Conv2d", conv))))
    if margin is not None:
        x = F.pad(x[:, 1:-1, 1:-1], (0, 0, margin, margin, margin, margin))
    conv, norm = second
    return x, norm(convolve_blocks(x, cast("nn.Conv2d", conv)))


def _stride(second: nn.Sequential) -> int:
    return cast("nn.Conv2d", second[0]).stride[0]


def shown_patches(visible: Tensor, count: int) -> Tensor:
    """Numbers of the first ``count`` visible patches of each tile: (B, P) bool -> (B, count) int64, ascending."""
    return visible.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :count]


def count_visible(visible: Tensor) -> int:
    """The number of visible patches that all tiles share; it waits for the device.

    Raises:
        GridError: tiles differ in it.
    """
    counts = visible.sum(1)
    low, high = int(counts.min()), int(counts.max())
    if low != high:
        raise GridError(
            f"the tiles of a batch show between {low} and {high} patches",
            hint="show the same number in every tile, as sample_visible does",
        )
    return low


def convolve_map(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a convolution to features (B, H, W, C) -> (B, H', W', D)."""
    return conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)  # type: ignore[no-any-return]


def convolve_blocks(x: Tensor, conv: nn.Conv2d) -> Tensor:
    """Apply a convolution whose kernel is its stride to features (..., H, W, C) -> (..., H / k, W / k, D).

    Such a convolution never looks across a patch, and is the same in every layout.
    """
    if conv.kernel_size == (1, 1) and conv.groups == x.shape[-1]:
        assert conv.bias is not None
        return x * conv.weight.flatten() + conv.bias
    y = convolve_map(x.reshape(-1, *x.shape[-3:]), conv)
    return y.reshape(*x.shape[:-3], *y.shape[1:])


def halve(x: Tensor, norm: nn.LayerNorm, conv: nn.Conv2d) -> Tensor:
    """Norm, then a 2 x 2 convolution of stride 2, of features (..., H, W, C) -> (..., H // 2, W // 2, D)."""
    if not (_plain(conv) and can_run(x)) or x.shape[-3] % 2 or x.shape[-2] % 2:
        return convolve_blocks(norm(x), conv)
    weight = conv.weight.permute(0, 2, 3, 1).flatten(1)
    return linear(norm_fold(x, norm), weight, conv.bias)


class _Gather(torch.autograd.Function):
    """Rows of a table; no row is asked for twice, which makes the gradient a plain copy."""

    @staticmethod
    def forward(table: Tensor, rows: Tensor) -> Tensor:
        return table.index_select(0, rows)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor], output: Tensor) -> None:  # noqa: ARG004 -- torch calls it so
        table, rows = inputs
        ctx.length = table.shape[0]
        ctx.save_for_backward(rows)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (rows,) = ctx.saved_tensors
        return _scatter(gradient, rows, ctx.length), None


class _Scatter(torch.autograd.Function):
    """A table of ``length`` rows that holds the given rows at their places, and zeros elsewhere."""

    @staticmethod
    def forward(x: Tensor, rows: Tensor, length: int) -> Tensor:
        return _scatter(x, rows, length)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # noqa: ARG004 -- torch calls it so
        ctx.save_for_backward(inputs[1])

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (rows,) = ctx.saved_tensors
        return gradient.index_select(0, rows), None, None


def _scatter(x: Tensor, rows: Tensor, length: int) -> Tensor:
    return x.new_zeros(length, x.shape[1]).index_copy(0, rows, x)

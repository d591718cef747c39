"""Multiply-adds of a step of MP-MAE, counted from the shapes of its layers, and how fast a machine multiplies matrices.

Together they give the floor: no step can take less time than its matrix products at the best rate of the machine.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from geopretext.nn.convnextv2 import as_convnextv2
from geopretext.nn.masking import visible_count
from geopretext.nn.products import multiply
from geopretext.nn.settings import EncoderSettings
from geopretext.pretext.mp_mae import MPMAE


@dataclass(frozen=True)
class Product:
    """A matrix product that a step evaluates for each tile: (rows, inner) times (inner, columns)."""

    name: str
    rows: int
    """a tile"""
    inner: int
    columns: int
    times: int = 1
    """how often it is evaluated"""
    is_first: bool = False
    """nothing before it learns, so that its input needs no gradient"""
    is_depthwise: bool = False
    """a depthwise convolution: a sum of ``inner`` products for each of ``rows``, which no matrix product computes"""

    @property
    def forward(self) -> int:
        """Multiply-adds of the product itself, a tile."""
        return self.rows * self.inner * self.columns * self.times

    @property
    def total(self) -> int:
        """With those of its gradients, a tile."""
        return self.forward * (2 if self.is_first else 3)


def least_products(method: MPMAE) -> list[Product]:
    """What a step cannot do without: visible patches, one evaluation of a shared decoder, heads on masked patches."""
    patches = method.network.encoder.settings.patches
    visible = visible_count(patches, method.settings.mask_ratio)
    return list(_products(method, encoded=visible, decoded=1, predicted=patches - visible))


def published_products(method: MPMAE) -> list[Product]:
    """What the published way does: all patches, and the decoder once for every modality."""
    patches = method.network.encoder.settings.patches
    return list(_products(method, encoded=patches, decoded=len(method.targets), predicted=patches))


def multiply_adds(products: Iterable[Product], *, depthwise: bool = False) -> int:
    """Of the matrix products, or of the depthwise convolutions, of a step on one tile."""
    return sum(product.total for product in products if product.is_depthwise == depthwise)


def _products(method: MPMAE, *, encoded: int, decoded: int, predicted: int) -> Iterator[Product]:
    """On ``encoded`` patches, with ``decoded`` evaluations of the decoder, predicting ``predicted`` patches."""
    network, settings = method.network, as_convnextv2(method.encoder, "this count").settings
    widths, pixels = settings.widths, settings.patch_size**2
    yield from encoder_products(settings, encoded)
    dim = method.settings.decoder_dim
    yield Product("projection", encoded, widths[-1], dim)
    yield from _block("decoder", settings.patches, dim, method.settings.decoder_depth * decoded)
    for name, target in network.targets.items():
        if target.kind.is_map:
            yield Product(f"head {name}", predicted, dim, target.channels * pixels)
        else:
            yield Product(f"head {name}", 1, dim, target.channels)


def encoder_products(settings: EncoderSettings, encoded: int) -> Iterator[Product]:
    """Those of an encoder on so many patches."""
    widths, stride, pixels = settings.widths, settings.patch_size // 8, settings.patch_size**2
    sites = [encoded * (8 >> stage) ** 2 for stage in range(4)]
    if settings.stem == "mmearth":
        yield Product("initial_conv", encoded * pixels, 9 * len(settings.bands), widths[0], is_first=True)
        yield Product("stem", sites[0] * widths[0], stride**2, 1, is_depthwise=True)
    else:
        yield Product("stem", sites[0], stride**2 * len(settings.bands), widths[0], is_first=True)
    for number, (before, after) in enumerate(pairwise(widths), start=1):
        yield Product(f"downsample {number}", sites[number], 4 * before, after)
    for number, (width, depth) in enumerate(zip(widths, settings.depths, strict=True)):
        yield from _block(f"stage {number}", sites[number], width, depth)


def _block(name: str, sites: int, width: int, times: int) -> Iterator[Product]:
    yield Product(f"{name} depthwise", sites * width, 49, 1, times, is_depthwise=True)
    yield Product(f"{name} expand", sites, width, 4 * width, times)
    yield Product(f"{name} contract", sites, 4 * width, width, times)


def _product(left: Tensor, right: Tensor) -> Tensor:
    """Two matrices, by the library that is the fastest here."""
    if left.device.type == "cpu" and left.dtype == torch.float32:
        return multiply(left, right.T)
    return torch.mm(left, right)


class SquareProduct:
    """One product of large square matrices, what a machine is fastest at.

    Args:
        size: rows and columns.
        dtype: of the matrices.
        device: where they lie.
    """

    def __init__(self, size: int, dtype: torch.dtype, device: torch.device) -> None:
        self._matrices = [torch.rand(size, size, device=device).to(dtype) for _ in range(2)]
        self.multiply_adds = size**3

    def __call__(self) -> None:
        """Multiply."""
        _product(*self._matrices)


class OwnProducts:
    """All matrix products of a step, forward and (if it learns) backward, one after the other and nothing else.

    Args:
        products: of one tile.
        tiles: in a batch.
        dtype: of the matrices.
        device: where they lie.
        gradients: False: those of inference only.
    """

    def __init__(
        self,
        products: Iterable[Product],
        tiles: int,
        dtype: torch.dtype,
        device: torch.device,
        *,
        gradients: bool = True,
    ) -> None:
        self._products = [product for product in products if not product.is_depthwise]
        self._tiles, self._gradients = tiles, gradients
        longest = max(product.rows * tiles * max(product.inner, product.columns) for product in self._products)
        self._x, self._gradient = (torch.rand(longest, device=device).to(dtype) for _ in range(2))
        widest = max(product.inner * product.columns for product in self._products)
        self._weight = torch.rand(widest, device=device).to(dtype)
        self.multiply_adds = tiles * sum(each.total if gradients else each.forward for each in self._products)

    def __call__(self) -> None:
        """Multiply: the product, and, if it learns, the gradient of its weight and that of its input."""
        for product in self._products:
            rows, inner, columns = product.rows * self._tiles, product.inner, product.columns
            x = self._x[: rows * inner].view(rows, inner)
            gradient = self._gradient[: rows * columns].view(rows, columns)
            weight = self._weight[: inner * columns].view(columns, inner)
            for _ in range(product.times):
                _product(x, weight.T)
                if not self._gradients:
                    continue
                _product(gradient.T, x)
                if not product.is_first:
                    _product(gradient, weight)

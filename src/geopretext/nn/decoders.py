"""From an encoder to a score, or a quantity, for each pixel.

=============== =======================================================================================================
kind            decoder
=============== =======================================================================================================
``linear``      a 1 x 1 convolution of all stages, enlarged and concatenated: what a linear probe is for pixels
``unet``        MMEarth's U-Net, ``nn.unet``; of other encoders than its own, one like it
``smp-unet``    the U-Net, UPerNet, FPN or DPT of segmentation-models-pytorch, ``nn.smp_decoders``
``smp-upernet``
``smp-fpn``
``smp-dpt``
=============== =======================================================================================================

All but ``unet`` normalise the features of each cell of each stage first, since ConvNeXt does not (its own segmentation
code does the same: Liu et al., CVPR 2022, arXiv 2201.03545). None has batch norms.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features, ``K`` outputs.
"""

from collections.abc import Sequence
from typing import Protocol, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.nn.backbone import Backbone
from geopretext.nn.convnextv2 import EPSILON, ConvNeXtV2
from geopretext.nn.feature_norm import FeatureNorm
from geopretext.nn.initialisation import initialise
from geopretext.nn.settings import SEGMENTERS
from geopretext.nn.unet import StagesUNet, UNet, UNetDecoder


class Decoder(Protocol):
    """Maps of an image -> (B, K, H, W); an ``nn.Module``."""

    widths: tuple[int, ...]
    """features of the maps, from fine to coarse"""

    def maps_of(self, encoder: Backbone, x: Tensor) -> tuple[Tensor, ...]:
        """The maps of images (B, C, H, W) that are decoded, (B, D, rows, columns)."""

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """Maps, or others of the same sizes -> (B, K, H, W), before any softmax."""


class LinearDecoder(nn.Module):
    """One 1 x 1 convolution of all stages, enlarged bilinearly to the image's resolution.

    Enlarging and a 1 x 1 convolution may change places: each stage is convolved first, which takes a fraction of the
    memory and gives the same numbers.

    Args:
        widths: features of the stages.
        strides: pixels on a side of their cells.
        outputs: K.
    """

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.widths = widths
        self.strides = strides
        self.convolutions = nn.ModuleList(
            nn.Conv2d(width, outputs, kernel_size=1, bias=number == 0) for number, width in enumerate(widths)
        )
        initialise(self.convolutions)

    def maps_of(self, encoder: Backbone, x: Tensor) -> tuple[Tensor, ...]:
        """See ``Decoder``."""
        return encoder.forward_stages(x)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """See ``Decoder``."""
        size = [side * self.strides[0] for side in maps[0].shape[2:]]
        parts = [
            F.interpolate(convolution(stage), size=size, mode="bilinear")
            for convolution, stage in zip(self.convolutions, maps, strict=True)
        ]
        return torch.stack(parts).sum(0)


class Segmenter(nn.Module):
    """An encoder and a decoder of its stages: (B, C, H, W) -> (B, K, H, W).

    Args:
        kind: name of the decoder.
        encoder: what sees the image.
        decoder: of the encoder's stages.
        outputs: K.
    """

    def __init__(self, kind: str, encoder: Backbone, decoder: Decoder, outputs: int) -> None:
        super().__init__()
        self.kind = kind
        self.outputs = outputs
        self.encoder = encoder
        self.norms = make_norms(decoder)
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel.

        Args:
            x: (B, C, H, W), as the encoder takes it; H and W are multiples of the patch size.

        Returns:
            (B, K, H, W), before any softmax.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """
        maps = self.decoder.maps_of(self.encoder, x)
        return self.decoder.decode([norm(one) for norm, one in zip(self.norms, maps, strict=True)])


def make_norms(decoder: Decoder) -> nn.ModuleList:
    """A layer norm for each map of a decoder."""
    return nn.ModuleList(FeatureNorm(width, eps=EPSILON) for width in decoder.widths)


def make_decoder(kind: str, encoder: Backbone, outputs: int) -> Decoder:
    """A decoder of an encoder's maps.

    Args:
        kind: one of ``geopretext.nn.settings.SEGMENTERS``.
        encoder: whose widths and strides it fits; it is not kept.
        outputs: K, at least 1.

    Raises:
        RecipeError: there is no such decoder, or it does not fit the encoder.
        MissingLibraryError: it needs segmentation-models-pytorch.
    """
    if kind not in SEGMENTERS:
        raise RecipeError(f"there is no decoder {kind!r}", hint=f"one of {', '.join(SEGMENTERS)}")
    if outputs < 1:
        raise RecipeError(f"a decoder of {outputs} outputs", hint="at least 1")
    if isinstance(encoder, ConvNeXtV2) and encoder.settings.dense_padding != "same":
        raise RecipeError(f"encoder.dense_padding is {encoder.settings.dense_padding!r}", hint="decoders want 'same'")
    if kind == "linear":
        return LinearDecoder(encoder.widths, encoder.strides, outputs)
    if kind != "unet":
        from geopretext.nn.smp_decoders import SmpDecoder  # here, since it imports an optional library

        return SmpDecoder(kind, encoder.widths, encoder.strides, outputs)
    if not isinstance(encoder, ConvNeXtV2):
        return StagesUNet(encoder.widths, encoder.strides, outputs)
    return cast("Decoder", UNetDecoder(encoder.settings, outputs))  # it wants a ConvNeXt V2, which this is


def make_segmenter(kind: str, encoder: Backbone, outputs: int) -> UNet | Segmenter:
    """An encoder with a decoder: (B, C, H, W) -> (B, K, H, W).

    Args:
        kind: one of ``geopretext.nn.settings.SEGMENTERS``.
        encoder: what sees the image; it becomes part of the network.
        outputs: K, at least 1.

    Raises:
        RecipeError: there is no such decoder, or it does not fit the encoder.
        MissingLibraryError: it needs segmentation-models-pytorch.
    """
    if kind == "unet" and isinstance(encoder, ConvNeXtV2):
        return UNet(encoder, outputs)
    return Segmenter(kind, encoder, make_decoder(kind, encoder, outputs), outputs)

"""Decoders of segmentation-models-pytorch: U-Net, UPerNet, FPN and DPT; importing this module needs the library.

Taken from it are the decoders and their heads, as they are but for four things: batch norms are layer norms of each
cell's features, the decoder is as wide as the encoder's first stage (in steps of 32 features, for group norms), UPerNet
does not normalise its input once more (``nn.decoders`` has done so), and DPT enlarges to the image's resolution and
never beyond it. See ``docs/decisions/092``.

Letters: ``B`` images, ``K`` outputs, ``D`` features, ``H W`` pixels.
"""

from collections.abc import Sequence
from math import ceil, log2

import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.backbone import Backbone
from geopretext.nn.enlarger import Enlarger, is_single_scale
from geopretext.nn.feature_norm import FeatureNorm
from geopretext.nn.optional import missing
from geopretext.nn.smp_encoder import Pyramid

try:
    from segmentation_models_pytorch.base import SegmentationHead
    from segmentation_models_pytorch.base.initialization import initialize_decoder, initialize_head
    from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder, DPTSegmentationHead, FusionBlock
    from segmentation_models_pytorch.decoders.fpn.decoder import FPNDecoder
    from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
    from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
except (ImportError, RuntimeError) as error:
    raise missing(
        error, "segmentation_models_pytorch", extra="segmentation", purpose="decode with its decoders"
    ) from error

_GROUPS = 32  # of the group norms in the library's FPN


class SmpDecoder(nn.Module):
    """Four stages, or four maps of one resolution, whose patches are then of 8, 16 or 32 px -> (B, K, H, W).

    Args:
        kind: "smp-unet", "smp-upernet", "smp-fpn" or "smp-dpt".
        widths: features of the stages.
        strides: pixels on a side of their cells.
        outputs: K.

    Raises:
        RecipeError: the stages are not those of ``Pyramid``.
    """

    def __init__(self, kind: str, widths: tuple[int, ...], strides: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        self.widths = widths
        self.enlarger = Enlarger(widths) if is_single_scale(strides) else None
        if self.enlarger is not None:
            widths, strides = self.enlarger.widths, tuple(strides[-1] // times for times in (8, 4, 2, 1))
        self.pyramid = Pyramid(widths, strides)
        self.decoder, self.head = _MAKERS[kind](self.pyramid, outputs)
        _normalise_features(self.decoder)
        _normalise_features(self.head)
        initialize_decoder(self.decoder)
        initialize_head(self.head)

    def maps_of(self, encoder: Backbone, x: Tensor) -> tuple[Tensor, ...]:
        """What it decodes: the stages."""
        return encoder.forward_stages(x)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """The stages of an image -> (B, K, H, W), before any softmax."""
        features = self.pyramid.features(maps if self.enlarger is None else self.enlarger(maps))
        scores = self.head(self.decoder(features))
        # The library's own enlargement aligns the corners of both grids, which shifts pixels off their places.
        return F.interpolate(scores, size=features[0].shape[2:], mode="bilinear")


def _unet(pyramid: Pyramid, outputs: int) -> tuple[nn.Module, nn.Module]:
    first, *_ = pyramid.widths
    doublings = int(log2(pyramid.strides[0]))
    channels = [*reversed(pyramid.widths[:-1]), *(first >> (step + 1) for step in range(doublings))]
    return (
        UnetDecoder(pyramid.out_channels, channels, n_blocks=len(channels)),
        SegmentationHead(channels[-1], outputs),
    )


def _upernet(pyramid: Pyramid, outputs: int) -> tuple[nn.Module, nn.Module]:
    width = _width(pyramid)
    decoder = UPerNetDecoder(pyramid.out_channels, decoder_channels=width)
    decoder.feature_norms = nn.ModuleList(nn.Identity() for _ in pyramid.widths)
    return decoder, SegmentationHead(width, outputs, kernel_size=1)


def _fpn(pyramid: Pyramid, outputs: int) -> tuple[nn.Module, nn.Module]:
    width = _width(pyramid)
    decoder = FPNDecoder(list(pyramid.out_channels), pyramid_channels=2 * width, segmentation_channels=width)
    return decoder, SegmentationHead(width, outputs, kernel_size=1)


class _Dpt(DPTDecoder):  # type: ignore[misc]  # the library is untyped
    """DPT of stages, which have no tokens beside the maps, and resolutions of their own."""

    def __init__(self, pyramid: Pyramid, width: int) -> None:
        super().__init__(
            pyramid.widths,
            encoder_output_strides=(4, 8, 16, 32),  # those that it brings a ViT's maps to: ours stay as they are
            encoder_has_prefix_tokens=False,
            readout="ignore",
            intermediate_channels=pyramid.widths,
            fusion_channels=width,
        )
        if pyramid.strides[0] == 1:
            self.fusion_blocks[-1] = _FusionInPlace(width)

    def forward(self, features: list[Tensor]) -> Tensor:
        stages = features[2:]
        fused: Tensor = super().forward(stages, [None] * len(stages))
        return fused


class _FusionInPlace(FusionBlock):  # type: ignore[misc]  # the library is untyped
    """DPT's last fusion without the doubling of resolution, for a first stage that already has the image's."""

    def forward(self, feature: Tensor, previous_feature: Tensor) -> Tensor:
        y = self.residual_conv_block1(feature) + previous_feature
        fused: Tensor = self.project(self.residual_conv_block2(y))
        return fused


def _dpt(pyramid: Pyramid, outputs: int) -> tuple[nn.Module, nn.Module]:
    width = _width(pyramid)
    return _Dpt(pyramid, width), DPTSegmentationHead(width, outputs, upsampling=1)


_MAKERS = {"smp-unet": _unet, "smp-upernet": _upernet, "smp-fpn": _fpn, "smp-dpt": _dpt}


def _width(pyramid: Pyramid) -> int:
    return _GROUPS * ceil(pyramid.widths[0] / _GROUPS)


def _normalise_features(network: nn.Module) -> None:
    """Put a layer norm of each cell's features in the place of every batch norm."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                setattr(parent, name, FeatureNorm(child.num_features, eps=child.eps))

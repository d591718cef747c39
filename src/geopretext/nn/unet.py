"""The U-Net that MMEarth segments with: its encoder, and four upsampling steps with skip connections.

A step enlarges by nearest neighbour, then convolves 3 x 3, normalises and applies GELU. After each of the first three
the map of that resolution is appended: stage three, stage two, the stem. The fourth reaches the image's resolution,
where the first convolution's map is appended (the original stem has none), and one more convolution leads to the
classes.

Parameters beside the encoder's are named and shaped as published: ``upsample_layers.{0..3}.{conv,norm}``,
``initial_conv_upsample.{0,1}`` and ``head``.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features, ``K`` classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.nn.backbone import Backbone
from geopretext.nn.convnextv2 import EPSILON, ConvNeXtV2
from geopretext.nn.enlarger import Enlarger, is_single_scale
from geopretext.nn.feature_norm import FeatureNorm
from geopretext.nn.initialisation import initialise
from geopretext.nn.settings import EncoderSettings


class UNetDecoder(nn.Module):
    """The half of the U-Net that stands on the encoder.

    Args:
        settings: of the encoder, which is padded as in pretraining, so that its maps fit.
        classes: K, at least 1.

    Raises:
        RecipeError: there is no class, or the encoder is padded in another way.
    """

    def __init__(self, settings: EncoderSettings, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise RecipeError(f"a U-Net of {classes} classes", hint="at least 1")
        if settings.dense_padding != "same":
            raise RecipeError(f"encoder.dense_padding is {settings.dense_padding!r}", hint="a U-Net wants 'same'")
        first, second, third, last = settings.widths
        skips = (first,) if settings.stem == "mmearth" else ()
        self.classes = classes
        self.widths = (*skips, first, second, third, last)
        """features of the maps that it decodes"""
        self.upsample_layers = nn.ModuleList(
            [
                _Upsample(last, last // 2, factor=2),
                _Upsample(2 * third, third // 2, factor=2),
                _Upsample(2 * second, second // 2, factor=2),
                _Upsample(2 * first, first, factor=settings.patch_size // 8),
            ]
        )
        self.initial_conv_upsample = nn.Sequential(
            nn.Conv2d(first + sum(skips), first // 2, kernel_size=3, padding=1),
            FeatureNorm(first // 2, eps=EPSILON),
            nn.GELU(),
        )
        self.head = nn.Conv2d(first // 2, classes, kernel_size=1)
        for module in (self.upsample_layers, self.initial_conv_upsample, self.head):
            initialise(module)

    def maps_of(self, encoder: ConvNeXtV2, x: Tensor) -> tuple[Tensor, ...]:
        """What it decodes, from fine to coarse: maps of the first convolution (if any), the stem, and stages 2 to 4.

        Args:
            encoder: of the settings that this was made for.
            x: (B, C, H, W), as the encoder takes it; H and W are multiples of the patch size.
        """
        *finer, stage_1, stage_2, stage_3, stage_4 = encoder.forward_maps(x)
        del stage_1  # the published network appends what enters the first stage, and not what leaves it
        return (*finer, stage_2, stage_3, stage_4)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """``maps_of`` an image -> (B, K, H, W), before any softmax."""
        *skips, y = maps
        for upsample, skip in zip(self.upsample_layers, (*reversed(skips), None), strict=False):
            y = upsample(y)
            if skip is not None:
                y = torch.cat([y, skip], 1)
        scores: Tensor = self.head(self.initial_conv_upsample(y))
        return scores


class UNet(UNetDecoder):
    """A score for each class of each pixel: (B, C, H, W) -> (B, K, H, W).

    Args:
        encoder: what sees the image; padded as in pretraining.
        classes: K, at least 1.

    Raises:
        RecipeError: there is no class, or the encoder is padded in another way.
    """

    def __init__(self, encoder: ConvNeXtV2, classes: int) -> None:
        super().__init__(encoder.settings, classes)
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel.

        Args:
            x: (B, C, H, W), as the encoder takes it; H and W are multiples of the patch size.

        Returns:
            (B, K, H, W), before any softmax.

        Raises:
            BandError, GridError: the images have other bands, or another size.
        """
        return self.decode(self.maps_of(self.encoder, x))


class StagesUNet(nn.Module):
    """A U-Net on the four maps of any encoder, in the manner of the one above.

    The published one is for its own encoder: it begins with maps of the stem, which others do not have. This one
    appends the stages themselves, and reaches the image's resolution bilinearly.

    Args:
        widths: features of the maps, from fine to coarse.
        strides: pixels on a side of their cells: each twice the one before, or all alike.
        outputs: K, at least 1.

    Raises:
        RecipeError: the maps are others.
    """

    def __init__(self, widths: tuple[int, ...], strides: tuple[int, ...], outputs: int) -> None:
        super().__init__()
        if not fits_unet(strides):
            raise RecipeError(
                f"the encoder's maps have cells of {', '.join(map(str, strides))} pixels",
                hint="a U-Net wants four maps, each with cells twice as large, or all alike; take 'linear'",
            )
        self.widths = widths
        self.patch_size = strides[-1]
        self.enlarger = Enlarger(widths) if is_single_scale(strides) else None
        first, second, third, last = widths if self.enlarger is None else self.enlarger.widths
        self.upsample_layers = nn.ModuleList(
            [
                _Upsample(last, last // 2, factor=2),
                _Upsample(last // 2 + third, third // 2, factor=2),
                _Upsample(third // 2 + second, second // 2, factor=2),
                _Upsample(second // 2 + first, first, factor=1),
            ]
        )
        half = max(1, first // 2)
        self.refine = nn.Sequential(
            nn.Conv2d(first, half, kernel_size=3, padding=1), FeatureNorm(half, eps=EPSILON), nn.GELU()
        )
        self.head = nn.Conv2d(half, outputs, kernel_size=1)
        for module in (self.upsample_layers, self.refine, self.head):
            initialise(module)

    def maps_of(self, encoder: Backbone, x: Tensor) -> tuple[Tensor, ...]:
        """What it decodes: the stages."""
        return encoder.forward_stages(x)

    def decode(self, maps: Sequence[Tensor]) -> Tensor:
        """``maps_of`` an image -> (B, K, H, W), before any softmax."""
        size = [side * self.patch_size for side in maps[-1].shape[2:]]
        *skips, y = maps if self.enlarger is None else self.enlarger(maps)
        for upsample, skip in zip(self.upsample_layers, (*reversed(skips), None), strict=True):
            y = upsample(y)
            if skip is not None:
                y = torch.cat([y, skip], 1)
        scores: Tensor = self.head(self.refine(F.interpolate(y, size=size, mode="bilinear")))
        return scores


def fits_unet(strides: Sequence[int]) -> bool:
    """Whether a ``StagesUNet`` can be made of maps with cells of so many pixels."""
    return is_single_scale(strides) or tuple(strides) == tuple(strides[0] * times for times in (1, 2, 4, 8))


class _Upsample(nn.Module):
    """(B, D, H, W) -> (B, D', factor H, factor W)."""

    def __init__(self, before: int, after: int, *, factor: int) -> None:
        super().__init__()
        self.factor = factor
        self.conv = nn.Conv2d(before, after, kernel_size=3, padding=1)
        self.norm = FeatureNorm(after, eps=EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        if self.factor > 1:
            x = F.interpolate(x, scale_factor=float(self.factor), mode="nearest")
        return F.gelu(self.norm(self.conv(x)))

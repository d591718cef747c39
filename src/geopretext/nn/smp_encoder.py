"""Encoders as the decoders of segmentation-models-pytorch want them; without that library.

Its decoders were written for maps at strides of 2, 4, 8, 16 and 32 pixels, and read what they need from a list that
begins with the image. Ours lie at 1, 2, 4 and 8 pixels (patches of 8 px) to 4, 8, 16 and 32 (of 32 px). They are handed
over as the library hands over ConvNeXt: the image, a map without features between it and the first stage, four stages.
The decoders ask for sizes, widths and order of the maps, and never for strides, so that the finest stage is used at
whatever resolution it has; only what they do after the finest map depends on the stride (``nn.smp_decoders``).

Letters: ``B`` images, ``D`` features, ``H W`` pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.nn.backbone import Backbone

_FIRST_STRIDES = (1, 2, 4)


@dataclass(frozen=True)
class Pyramid:
    """Four stages, each half as fine as the one before it, and what is put in front of them.

    Raises:
        RecipeError: the stages are others.
    """

    widths: tuple[int, ...]
    """features of each stage"""
    strides: tuple[int, ...]
    """pixels on a side of a cell of each stage"""

    def __post_init__(self) -> None:
        finest = self.strides[0]
        if finest not in _FIRST_STRIDES or self.strides != (finest, 2 * finest, 4 * finest, 8 * finest):
            raise RecipeError(
                f"the encoder's maps have cells of {', '.join(map(str, self.strides))} pixels",
                hint="these decoders want four maps, each with cells twice as large, the first of 1, 2 or 4 pixels",
            )

    @property
    def out_channels(self) -> tuple[int, ...]:
        """Features of each map of ``features``, as the library's encoders say it; nothing reads the image's."""
        return (0, 0, *self.widths)

    @property
    def between(self) -> int:
        """Stride of the map without features."""
        return max(1, self.strides[0] // 2)

    def features(self, stages: Sequence[Tensor]) -> list[Tensor]:
        """The list that decoders take.

        Args:
            stages: (B, D, H / stride, W / stride), four of them.

        Returns:
            (B, 0, H, W) in the place of the image, (B, 0, H / between, W / between), then the stages.
        """
        finest, stride = stages[0], self.strides[0]
        height, width = (side * stride for side in finest.shape[2:])
        empty = [finest.new_empty(len(finest), 0, height // step, width // step) for step in (1, self.between)]
        return [*empty, *stages]


class SmpEncoder(nn.Module):
    """An encoder with the members that segmentation-models-pytorch asks of its own.

    It is for models of the library that ``nn.decoders`` does not make: give its ``out_channels`` to their decoder.

    Args:
        encoder: any image size works that its last stride divides.

    Raises:
        RecipeError: its stages are not those of ``Pyramid``.
    """

    def __init__(self, encoder: Backbone) -> None:
        super().__init__()
        self.pyramid = Pyramid(encoder.widths, encoder.strides)
        self.encoder = encoder

    @property
    def out_channels(self) -> list[int]:
        """Features of each map."""
        return list(self.pyramid.out_channels)

    @property
    def output_stride(self) -> int:
        """Pixels on a side of a cell of the last map; images are multiples of it."""
        return self.pyramid.strides[-1]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images (B, C, H, W), as the encoder takes them -> six maps, see ``Pyramid.features``."""
        return self.pyramid.features(self.encoder.forward_stages(x))

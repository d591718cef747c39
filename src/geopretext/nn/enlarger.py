"""Maps of one resolution as a pyramid, for decoders that want one.

A plain ViT has one resolution; Li et al., "Exploring Plain Vision Transformer Backbones for Object Detection" (ECCV
2022, arXiv 2203.16527, section 3), give decoders a pyramid of it by a few layers for each resolution. Here each map is
narrowed by a 1 x 1 convolution and then enlarged bilinearly, which is as much as can be done without inventing detail.
The convolutions are new in each decoder, and part of it.

Letters: ``B`` images, ``D`` features, ``h w`` cells.
"""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.nn.initialisation import initialise

_TIMES = (8, 4, 2, 1)


def is_single_scale(strides: Sequence[int]) -> bool:
    """Whether four maps are of one resolution."""
    return len(strides) == len(_TIMES) and len(set(strides)) == 1


class Enlarger(nn.Module):
    """Four maps (B, D, h, w) -> (B, D / 8, 8 h, 8 w), (B, D / 4, 4 h, 4 w), (B, D / 2, 2 h, 2 w), (B, D, h, w).

    Args:
        widths: features of each map.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.widths = tuple(max(1, width // times) for width, times in zip(widths, _TIMES, strict=True))
        self.convolutions = nn.ModuleList(
            nn.Conv2d(before, after, kernel_size=1) for before, after in zip(widths, self.widths, strict=True)
        )
        initialise(self.convolutions)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Narrow and enlarge."""
        narrow = [convolution(one) for convolution, one in zip(self.convolutions, maps, strict=True)]
        return [
            F.interpolate(one, scale_factor=float(times), mode="bilinear") if times > 1 else one
            for one, times in zip(narrow, _TIMES, strict=True)
        ]

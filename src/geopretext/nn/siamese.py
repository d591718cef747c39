"""Change between two images of a place: one encoder sees both, and a decoder sees how its maps differ.

As in Daudt et al. (ICIP 2018, arXiv 1810.08462), the encoder is shared, and maps of every resolution are compared
before they are decoded. Each map is normalised cell by cell, so that stages and images are alike in scale, compared,
and mixed by a 1 x 1 convolution, whose bias keeps the size of a difference visible to a decoder that begins with a
norm.

Letters: ``B`` pairs, ``C`` bands, ``H W`` pixels, ``D`` features, ``K`` outputs.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from geopretext.errors import BandError, RecipeError
from geopretext.nn.backbone import Backbone
from geopretext.nn.decoders import Decoder, make_decoder, make_norms
from geopretext.nn.settings import PAIRS


class Siamese(nn.Module):
    """Two images, earlier and later -> a score for each class of each pixel: (B, 2, C, H, W) -> (B, K, H, W).

    Args:
        kind: name of the decoder.
        encoder: sees each image.
        decoder: of the encoder's maps.
        outputs: K.
        pair: how maps are compared: "difference", without its sign, so that the order of the images is of no matter; or
            "concatenation", which can learn what became what.

    Raises:
        RecipeError: there is no such comparison.
    """

    def __init__(
        self, kind: str, encoder: Backbone, decoder: Decoder, outputs: int, *, pair: str = "difference"
    ) -> None:
        super().__init__()
        if pair not in PAIRS:
            raise RecipeError(f"images are compared by {pair!r}", hint=f"one of {', '.join(PAIRS)}")
        self.kind = kind
        self.outputs = outputs
        self.pair = pair
        self.encoder = encoder
        self.norms = make_norms(decoder)
        times = 1 if pair == "difference" else 2
        self.mixers = nn.ModuleList(nn.Conv2d(times * width, width, kernel_size=1) for width in decoder.widths)
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        """Score every pixel.

        Args:
            x: (B, 2, C, H, W), the earlier image first; each as the encoder takes it.

        Returns:
            (B, K, H, W), before any softmax.

        Raises:
            BandError: there are not two images, or they have other bands.
            GridError: their size is not a multiple of the patch size.
        """
        if x.ndim != 5 or x.shape[1] != 2:
            raise BandError(
                f"the network got an array of shape {tuple(x.shape)}",
                hint="it wants pairs of images, (pairs, 2, bands, height, width)",
            )
        maps = self.decoder.maps_of(self.encoder, x.flatten(0, 1))
        return self.decoder.decode(self._compare(maps))

    def _compare(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Maps of both images, (2 B, D, rows, columns) -> (B, D, rows, columns)."""
        compared = []
        for norm, mixer, both in zip(self.norms, self.mixers, maps, strict=True):
            pairs = norm(both).unflatten(0, (-1, 2))
            earlier, later = pairs[:, 0], pairs[:, 1]
            difference = self.pair == "difference"
            compared.append(mixer((earlier - later).abs() if difference else torch.cat([earlier, later], 1)))
        return compared


def make_siamese(kind: str, encoder: Backbone, outputs: int, *, pair: str = "difference") -> Siamese:
    """A network for change detection.

    Args:
        kind: of the decoder, one of ``geopretext.nn.settings.SEGMENTERS``.
        encoder: sees each image; it becomes part of the network.
        outputs: K, at least 1.
        pair: "difference" or "concatenation", see ``Siamese``.

    Raises:
        RecipeError: there is no such decoder or comparison, or the decoder does not fit the encoder.
        MissingLibraryError: it needs segmentation-models-pytorch.
    """
    return Siamese(kind, encoder, make_decoder(kind, encoder, outputs), outputs, pair=pair)

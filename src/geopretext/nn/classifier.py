"""A classifier on an encoder, as MMEarth and ConvNeXt V2 fine-tune: mean over the cells, norm, linear layer.

Parameters beside the encoder's are named and shaped as published: ``norm.*`` and ``head.*``.

Letters: ``B`` images, ``C`` bands, ``H W`` pixels, ``D`` features, ``K`` classes.
"""

from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.nn.convnextv2 import EPSILON
from geopretext.nn.initialisation import initialise
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.products import Linear


class Classifier(nn.Module):
    """One score for each class of an image: (B, C, H, W) -> (B, K).

    Args:
        encoder: what sees the image.
        classes: K, at least 1.

    Raises:
        RecipeError: there is no class.
    """

    def __init__(self, encoder: EncoderNetwork, classes: int) -> None:
        super().__init__()
        if classes < 1:
            raise RecipeError(f"a classifier of {classes} classes", hint="at least 1")
        self.classes = classes
        self.encoder = encoder
        self.norm = nn.LayerNorm(encoder.settings.widths[-1], eps=EPSILON)
        self.head = Linear(encoder.settings.widths[-1], classes)
        initialise(self.head)

    def forward(self, x: Tensor) -> Tensor:
        """Score images.

        Args:
            x: (B, C, H, W), as the encoder takes it.

        Returns:
            (B, K), before any softmax or sigmoid.
        """
        scores: Tensor = self.head(self.norm(self.encoder(x).mean((2, 3))))
        return scores

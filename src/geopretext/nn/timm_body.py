"""What ``nn.timm_encoder`` asks of one of timm's networks, and how they are made; importing this module needs timm.

Letters: ``B`` tiles, ``C`` bands, ``D`` features, ``H W`` pixels, ``h w`` patches.
"""

from abc import abstractmethod
from typing import Any, cast

from torch import Tensor, nn

from geopretext.nn.optional import missing
from geopretext.nn.products import adopt
from geopretext.nn.timm_settings import TimmSettings

try:
    import timm
except (ImportError, RuntimeError) as error:
    raise missing(error, "timm", extra="timm", purpose="encode with its networks") from error


class TimmBody(nn.Module):
    """One of timm's networks, computed with or without a mask."""

    model: Any
    """timm's network; Any, since timm is untyped"""

    @abstractmethod
    def encode(self, x: Tensor, visible: Tensor | None, count: int | None) -> Tensor:
        """The last map.

        Args:
            x: (B, C, H, W).
            visible: (B, h, w) bool; None: all.
            count: of visible patches, if it is the same for every tile.

        Returns:
            (B, D, h, w), anything where masked.
        """

    @abstractmethod
    def stages(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, C, H, W) -> four maps, from fine to coarse."""

    @abstractmethod
    def layer_of(self, name: str) -> int:
        """Number of the block that a parameter of ``model`` belongs to, from 1.

        The embedding goes with the first block, what halves the resolution with the block after it, and what comes
        after the last block with that.
        """

    def linear_layers(self) -> tuple[nn.Linear, ...]:
        """Those of the blocks."""
        return ()


def create(settings: TimmSettings, **arguments: Any) -> nn.Module:
    """A network of timm without its classifier; its first weights are timm's, from torch's global random state.

    With ``settings.pretrained`` they are those that timm has under the name, all but the first layer: timm would make
    weights for other bands from those of red, green and blue, which they have nothing to do with.

    Args:
        settings: architecture, bands, drop path.
        arguments: further ones, as timm's constructor takes them.
    """
    network = timm.create_model(
        settings.facts.base,
        pretrained=settings.pretrained,
        in_chans=len(settings.bands),
        num_classes=0,
        drop_path_rate=settings.drop_path,
        **settings.facts.arguments,
        **arguments,
    )
    if settings.pretrained:
        first_convolution(network).reset_parameters()
    adopt(network)
    return cast("nn.Module", network)


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The layer that sees the bands."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))

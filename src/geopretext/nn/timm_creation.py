"""timm's own networks, as the settings of an encoder want them; importing this module needs timm."""

from typing import Any, cast

from torch import nn

from geopretext.nn.optional import missing
from geopretext.nn.timm_settings import TimmSettings

try:
    import timm
except (ImportError, RuntimeError) as error:
    raise missing(error, "timm", extra="timm", purpose="encode with its networks") from error


def create(settings: TimmSettings, **arguments: Any) -> nn.Module:
    """timm's network without its classifier; its weights are timm's first ones, from torch's global random state.

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
    return cast("nn.Module", network)


def first_convolution(network: nn.Module) -> nn.Conv2d:
    """The layer that sees the bands."""
    return next(module for module in network.modules() if isinstance(module, nn.Conv2d))

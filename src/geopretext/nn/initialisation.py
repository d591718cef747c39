"""How weights start: small everywhere, or as the published pretraining code starts them.

The published network (FCMAE of ConvNeXt V2, and MMEarth's after it) sets the kernels of its encoder to a standard
deviation of 0.02, and then visits every module once more with a rule that names one for sparse convolutions and, in
MMEarth, for dense linear layers only. Sparse depthwise and linear layers and dense convolutions fall back to the
default of the function it calls, which is 1. What a layer is *there* decides: the projection and the heads of maps are
1 x 1 convolutions in the published network and linear layers here. Biases are zero in both, but for the first one
here (``ConvNeXtV2``): a pixel without any observed band is a site here and none there.

Source: ``FCMAE.__init__`` and ``_init_weights`` in ``models/fcmae.py`` of vishalned/MMEarth-train (commit 1157900).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from torch import nn


@dataclass(frozen=True)
class Spread:
    """Standard deviation of the normal distribution, cut at -2 and 2, that kernels are drawn from."""

    convolution: float = 0.02
    """ordinary convolutions of the encoder: 3 x 3 or patch stem, downsampling"""
    depthwise: float = 0.02
    """depthwise convolutions of the encoder: stem, 7 x 7"""
    pointwise: float = 0.02
    """linear layers of the encoder's blocks"""
    projection: float = 0.02
    """from the encoder to the decoder"""
    decoder_depthwise: float = 0.02
    """7 x 7 convolutions of the decoder"""
    decoder_pointwise: float = 0.02
    """linear layers of the decoder's blocks"""
    map_head: float = 0.02
    """heads that predict maps"""
    vector_head: float = 0.02
    """heads that predict vectors"""


SPREADS = {
    "small": Spread(),
    "published": Spread(depthwise=1.0, pointwise=1.0, projection=1.0, decoder_depthwise=1.0, map_head=1.0),
}
"""By ``EncoderSettings.initialisation``."""


_weights_follow = ContextVar("_weights_follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Within it ``initialise`` draws nothing: for networks whose weights are read from a file, all of them."""
    before = _weights_follow.set(True)
    try:
        yield
    finally:
        _weights_follow.reset(before)


def initialise(network: nn.Module, *, linear: float = 0.02, convolution: float = 0.02, depthwise: float = 0.02) -> None:
    """Draw the kernels of all layers of a network, and set their biases to zero; other modules are left alone.

    Args:
        network: or a single layer.
        linear: standard deviation of linear layers.
        convolution: of convolutions that mix channels.
        depthwise: of convolutions in groups.
    """
    if _weights_follow.get():
        return
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            std = linear
        elif isinstance(layer, nn.Conv2d):
            std = convolution if layer.groups == 1 else depthwise
        else:
            continue
        nn.init.trunc_normal_(layer.weight, std=std)
        if layer.bias is not None:
            nn.init.zeros_(layer.bias)

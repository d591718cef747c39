"""Networks that are fine-tuned: a copy of an encoder with a head for the kind of task."""

from torch import nn

from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.metrics import TaskKind
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import Head
from geopretext.nn.classifier import Classifier
from geopretext.nn.decoders import LinearDecoder, make_segmenter
from geopretext.nn.families import make_encoder, replaced
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.settings import SEGMENTERS
from geopretext.nn.siamese import make_siamese
from geopretext.nn.unet import fits_unet


def make_network(settings: FinetuneSettings, encoder: Encoder, kind: TaskKind, outputs: int) -> Head:
    """A network for one kind of task; the head starts at random, from torch's global random state.

    Args:
        settings: network, drop path, padding, and scale of the head's first weights.
        encoder: is copied, and stays as it is.
        kind: of the task.
        outputs: channels of the network's output.

    Returns:
        (B, C, H, W) -> (B, K), or (B, K, H, W) for labels of pixels; of change detection (B, 2, C, H, W) ->
        (B, K, H, W). On the encoder's device.

    Raises:
        RecipeError: the network does not fit the kind of task or the encoder.
        MissingLibraryError: segmentation-models-pytorch is not installed, and asked for.
    """
    name = _choose(settings, kind, encoder.network.strides)
    backbone = _copy(settings, encoder)
    network: Head
    if name == "classifier":
        network = Classifier(backbone, outputs)
    else:
        make = make_siamese if kind is TaskKind.CHANGE_DETECTION else make_segmenter
        network = make(name, backbone, outputs)
    if settings.head_scale is not None:
        _scale_head(network, settings.head_scale)
    return network.to(next(encoder.parameters()).device)


def backbone_of(network: nn.Module) -> EncoderNetwork:
    """The encoder within a network of ``make_network``."""
    return next(module for module in network.modules() if isinstance(module, EncoderNetwork))


def _choose(settings: FinetuneSettings, kind: TaskKind, strides: tuple[int, ...]) -> str:
    choices = SEGMENTERS if kind.is_dense else ("classifier",)
    if settings.network == "auto":
        if not kind.is_dense:
            return "classifier"
        return "unet" if fits_unet(strides) else "linear"
    if settings.network not in choices:
        raise RecipeError(
            f"network {settings.network!r} does not fit {kind}", hint=f"one of {', '.join(choices)}, or auto"
        )
    return settings.network


def _copy(settings: FinetuneSettings, encoder: Encoder) -> EncoderNetwork:
    # Features of a tile must not depend on its neighbours in a batch, in training as in use.
    changed = replaced(
        encoder.settings, drop_path=settings.drop_path, dense_padding=settings.padding, grn_scope="sample"
    )
    backbone = make_encoder(changed)
    backbone.load_state_dict(encoder.network.state_dict())
    return backbone


def _scale_head(network: nn.Module, std: float) -> None:
    """Draw the weights of the last layer anew; in a linear decoder, it is a convolution for each stage."""
    inner = set(backbone_of(network).modules())
    layers = [module for module in network.modules() if isinstance(module, nn.Linear | nn.Conv2d)]
    linear = [set(module.convolutions) for module in network.modules() if isinstance(module, LinearDecoder)]
    last = linear[0] if linear else {[layer for layer in layers if layer not in inner][-1]}
    for layer in layers:
        if layer in last:
            nn.init.trunc_normal_(layer.weight, std=std)

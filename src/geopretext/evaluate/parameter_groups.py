"""Which parameters are trained at which share of the learning rate, and which decay.

With layer-wise decay, what lies further from the head learns more slowly: a group's rate is ``layer_decay`` to the
power of its distance to the head, in blocks. Groups are numbered as ConvNeXt V2 fine-tunes ("single" in its
``optim_factory.py``, commit 2553895 of facebookresearch/ConvNeXt-V2): 1 to N are the blocks, each downsampling layer
goes with the block after it, the stem with the first; N + 1 is the head (``EncoderNetwork.layer_of``).

MMEarth took the numbering over, but its stem is no downsampling layer any more. In its code, therefore, the stem falls
to the head's group and has the full rate, and each downsampling layer goes one stage too low; and the encoder of a
U-Net, when it is unfrozen, joins with neither weight decay nor layer-wise decay (``optim_factory.py`` and
``main_finetune.py`` of vishalned/MMEarth-train, commits 71b368e and 1157900). ``published=True`` does as it does.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.networks import backbone_of
from geopretext.nn.adaptation import LowRank
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.train.module import split_parameters


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters that are treated alike."""

    parameters: tuple[Tensor, ...]
    scale: float
    """of the learning rate"""
    decays: bool
    """whether weight decay is for them"""


def published_layer_of(network: ConvNeXtV2, name: str) -> int:
    """Number of the group that a parameter of the encoder belongs to in MMEarth's code.

    Args:
        network: the encoder.
        name: within it, as ``stages.2.5.pwconv1.weight``.
    """
    part, *rest = name.split(".")
    if part == "stages":
        return network.layer_of(name)
    if part == "downsample_layers":
        return sum(network.settings.depths[: int(rest[0])]) + 1
    return network.layers + 1


def parameter_groups(network: nn.Module, settings: FinetuneSettings) -> list[ParameterGroup]:
    """All parameters that are to be trained, now or once the encoder is unfrozen, each in one group.

    Args:
        network: of ``make_network``; what of it needs a gradient is trained.
        settings: layer decay, and whether groups are as published.

    Raises:
        RecipeError: groups are to be as published, and the encoder is no ConvNeXt V2.
    """
    backbone = backbone_of(network)
    layer_of = backbone.layer_of
    if settings.published_groups:
        if not isinstance(backbone, ConvNeXtV2):
            raise RecipeError(
                f"published_groups is true, and the encoder is a {backbone.settings.title}",
                hint="false: MMEarth's code numbers the blocks of a ConvNeXt V2; take another preset",
            )
        layer_of = partial(published_layer_of, backbone)
    head = backbone.layers + 1
    inner = {id(parameter): name for name, parameter in backbone.named_parameters()}
    decayed = {id(parameter) for parameter in split_parameters(network)[0]}
    additions = [module for module in network.modules() if isinstance(module, LowRank)]
    decayed |= {id(matrix) for addition in additions for matrix in addition.parameters()}
    joins_bare = settings.published_groups and settings.frozen_epochs > 0
    groups: dict[tuple[float, bool], list[Tensor]] = {}
    for parameter in network.parameters():
        if not parameter.requires_grad:
            continue
        layer, decays = head, id(parameter) in decayed
        if id(parameter) in inner:
            if joins_bare:
                decays = False
            else:
                layer = layer_of(inner[id(parameter)])
        groups.setdefault((settings.layer_decay ** (head - layer), decays), []).append(parameter)
    return [ParameterGroup(tuple(members), scale, decays) for (scale, decays), members in groups.items()]

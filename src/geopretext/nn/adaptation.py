"""Which parameters of an encoder are trained: all, none, norms and biases, or low-rank additions (LoRA).

LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1) adds ``alpha / rank * up @ down`` to a weight that stays as it is:
``down`` (rank, in) starts as random numbers and ``up`` (out, rank) as zeros, so that nothing changes at first. Here the
linear layers of each block have such additions: two of a ConvNeXt V2's, four of a transformer's.

They are parametrisations of the weight (``torch.nn.utils.parametrize``): who reads ``layer.weight``, as the compiled
kernels do, reads the sum. A module around the layer, as peft makes, is passed over by them
(docs/decisions/094-additions-to-weights.md).
"""

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from geopretext.errors import RecipeError
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.products import Linear
from geopretext.nn.response_norm import GlobalResponseNorm

Trained: TypeAlias = Literal["all", "head", "lora", "norms"]


@dataclass(frozen=True)
class ParameterCounts:
    """How many numbers a network has."""

    total: int
    """with additions"""
    trained: int
    """that get a gradient"""


class LowRank(nn.Module):
    """``weight + alpha / rank * up @ down``, equal to ``weight`` at first.

    Args:
        weight: (out, in), of which shape, dtype and device are taken.
        rank: of the addition.
        alpha: see above.
    """

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        super().__init__()
        outputs, inputs = weight.shape
        self.scale = alpha / rank
        self.down = nn.Parameter(weight.new_empty(rank, inputs))
        self.up = nn.Parameter(weight.new_zeros(outputs, rank))
        # as the authors' code draws it (microsoft/LoRA, loralib/layers.py): uniform, variance 1 / (3 in)
        nn.init.kaiming_uniform_(self.down, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        """(out, in) -> (out, in)."""
        return torch.addmm(weight, self.up, self.down, alpha=self.scale)


def adapt(network: EncoderNetwork, trained: Trained, *, rank: int = 8, alpha: float = 16.0) -> ParameterCounts:
    """Set in place which parameters of an encoder get a gradient; what it computes stays the same.

    Additions of an earlier call become part of the weights.

    Args:
        network: the encoder.
        trained: "all"; "head": none of the encoder's; "norms": weights and biases of norms, response norms, and biases
            of all layers; "lora": low-rank additions to the linear layers of the blocks, and nothing else.
        rank: of the additions, at least 1 and at most the width of the narrowest of these layers.
        alpha: the additions are scaled by this over the rank, above 0.

    Returns:
        what there is, and what is trained.

    Raises:
        RecipeError: ``trained`` is none of these, a number is out of its range, or the encoder has no linear layers.
    """
    if trained not in get_args(Trained):
        raise RecipeError(f"trained is {trained!r}", hint=f"one of {', '.join(get_args(Trained))}")
    merge(network)
    layers = network.linear_layers()
    if trained == "lora" and not layers:
        raise RecipeError(
            f"trained is 'lora', and a {network.settings.title} has no linear layers", hint="all, norms or head"
        )
    narrowest = min((min(layer.weight.shape) for layer in layers), default=0)
    if trained == "lora" and not 1 <= rank <= narrowest:
        raise RecipeError(f"lora_rank is {rank}", hint=f"from 1 to {narrowest}, the width of the narrowest layer")
    if trained == "lora" and not 0 < alpha < math.inf:
        raise RecipeError(f"lora_alpha is {alpha}", hint="above 0")
    network.requires_grad_(trained == "all")
    if trained == "norms":
        for parameter in _norms_and_biases(network):
            parameter.requires_grad_(True)
    if trained == "lora":
        for layer in layers:
            parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, rank, alpha))
    return count_parameters(network)


def merge(network: EncoderNetwork) -> None:
    """Add low-rank additions to their weights for good, in place: an ordinary encoder of the same outputs remains.

    An encoder has to be merged before it is saved as a bundle; one without additions is left as it is. The weights
    then get no gradient until they are told to (``adapt``).
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, nn.Linear) and parametrize.is_parametrized(layer, "weight"):
                setattr(parent, name, _merged(layer))


def count_parameters(network: nn.Module) -> ParameterCounts:
    """Of any network."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in network.parameters()]
    return ParameterCounts(sum(size for size, _ in sizes), sum(size for size, trained in sizes if trained))


def _merged(layer: nn.Linear) -> nn.Linear:
    """An ordinary layer of the sum.

    Another one, since ``parametrize.remove_parametrizations`` would take the weight from copies of the network, too:
    they share the class of the layer, of which it deletes the property.
    """
    plain = Linear(layer.in_features, layer.out_features, device="meta")
    plain.weight = nn.Parameter(layer.weight.detach(), requires_grad=False)
    plain.bias = layer.bias
    return plain


def _norms_and_biases(network: EncoderNetwork) -> list[Tensor]:
    found: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.LayerNorm | nn.BatchNorm2d | GlobalResponseNorm):
            found += list(module.parameters(recurse=False))
        elif isinstance(module, nn.Linear | nn.Conv2d) and module.bias is not None:
            found.append(module.bias)
    return found

"""Which parameters are trained, and low-rank additions to weights."""

from copy import deepcopy
from pathlib import Path

import pytest
import torch
from torch import nn

from geopretext.errors import RecipeError
from geopretext.nn.adaptation import LowRank, adapt, count_parameters, merge
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import Block, ConvNeXtV2
from geopretext.nn.kernels import kernels_enabled
from geopretext.nn.masking import sample_visible
from geopretext.nn.response_norm import GlobalResponseNorm


@pytest.fixture
def network(make_encoder) -> ConvNeXtV2:
    return make_encoder().network


IMAGES = torch.randn(2, 3, 16, 24, generator=torch.Generator().manual_seed(1))


def disturb(network: ConvNeXtV2) -> list[LowRank]:
    """Additions that change what comes out."""
    additions = [module for module in network.modules() if isinstance(module, LowRank)]
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for addition in additions:
            addition.up.normal_(std=0.1, generator=generator)
    return additions


@torch.no_grad()
def by_hand(network: ConvNeXtV2, rank: int, alpha: float) -> ConvNeXtV2:
    """An ordinary encoder whose weights are W + alpha / rank * up @ down."""
    state, plain = network.state_dict(), {}
    for key, value in state.items():
        if key.endswith("parametrizations.weight.original"):
            stem = key.removesuffix("original")
            addition = state[f"{stem}0.up"] @ state[f"{stem}0.down"]
            plain[stem.replace("parametrizations.weight.", "weight")] = value + alpha / rank * addition
        elif "parametrizations" not in key:
            plain[key] = value
    ordinary = ConvNeXtV2(network.settings).eval()
    ordinary.load_state_dict(plain)
    return ordinary


def trained_names(network: nn.Module) -> set[str]:
    return {name for name, parameter in network.named_parameters() if parameter.requires_grad}


@torch.no_grad()
def test_additions_change_nothing_at_first(network: ConvNeXtV2) -> None:
    before = network(IMAGES)
    adapt(network, "lora", rank=4)
    assert torch.equal(network(IMAGES), before)


@torch.no_grad()
@pytest.mark.parametrize("kernels", [True, False])
@pytest.mark.parametrize("masked", [False, True])
def test_additions_count_with_and_without_kernels(network: ConvNeXtV2, kernels: bool, masked: bool) -> None:
    before = network(IMAGES)
    adapt(network, "lora", rank=4, alpha=6.0)
    assert len(disturb(network)) == 2 * sum(network.settings.depths)
    visible = sample_visible(torch.tensor([3, 4]), 6, 0.5) if masked else None
    expected = by_hand(network, 4, 6.0)(IMAGES, visible)
    with kernels_enabled(kernels):
        torch.testing.assert_close(network(IMAGES, visible), expected, rtol=1e-4, atol=1e-4)
    assert (network(IMAGES) - before).abs().max() > 0.1


@pytest.mark.parametrize("kernels", [True, False])
def test_only_additions_get_a_gradient_and_it_is_that_of_the_product(network: ConvNeXtV2, kernels: bool) -> None:
    frozen = {name: value.clone() for name, value in network.state_dict().items()}
    adapt(network, "lora", rank=4, alpha=6.0)
    disturb(network)
    ordinary = by_hand(network, 4, 6.0)
    with kernels_enabled(kernels):
        network(IMAGES).square().sum().backward()
    ordinary(IMAGES).square().sum().backward()
    for name, parameter in network.named_parameters():
        assert (parameter.grad is not None) == name.endswith((".up", ".down")), name
    mine, theirs = network.stages[2][1].pwconv1, ordinary.stages[2][1].pwconv1
    addition = mine.parametrizations.weight[0]
    torch.testing.assert_close(addition.up.grad, 1.5 * theirs.weight.grad @ addition.down.T, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(addition.down.grad, 1.5 * addition.up.T @ theirs.weight.grad, rtol=1e-3, atol=1e-3)
    torch.optim.SGD(network.parameters(), lr=0.1).step()
    for name, value in network.state_dict().items():
        if not name.endswith((".up", ".down")):
            assert torch.equal(value, frozen[name.replace("parametrizations.weight.original", "weight")]), name


@torch.no_grad()
def test_a_merged_encoder_is_ordinary_and_computes_the_same(make_encoder, tmp_path: Path) -> None:
    encoder: Encoder = make_encoder()
    keys = set(encoder.state_dict())
    adapt(encoder.network, "lora", rank=4)
    disturb(encoder.network)
    adapted = deepcopy(encoder.network)
    merge(encoder.network)
    assert set(encoder.state_dict()) == keys
    assert all(type(module) is not LowRank for module in encoder.modules())
    encoder.save_pretrained(tmp_path / "bundle")
    read = Encoder.from_pretrained(tmp_path / "bundle")
    torch.testing.assert_close(read.network(IMAGES), adapted(IMAGES), rtol=1e-6, atol=1e-6)
    state = {name: value.clone() for name, value in encoder.state_dict().items()}
    merge(encoder.network)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


@torch.no_grad()
def test_adapting_again_keeps_what_was_learned(network: ConvNeXtV2) -> None:
    adapt(network, "lora", rank=4)
    disturb(network)
    learned = network(IMAGES)
    for trained in ("lora", "head", "all"):
        adapt(network, trained)
        torch.testing.assert_close(network(IMAGES), learned, rtol=1e-5, atol=1e-5)
    assert trained_names(network) == set(dict(network.named_parameters()))


def test_norms_are_norms_response_norms_and_biases(network: ConvNeXtV2) -> None:
    counts = adapt(network, "norms")
    assert "stages.0.0.grn.gamma" in trained_names(network)
    assert trained_names(network) == {
        name
        for name, parameter in network.named_parameters()
        # Kernels and matrices are what is left: they have two axes longer than one, or are depthwise kernels.
        if name.endswith((".bias", ".beta", ".gamma")) or parameter.ndim == 1
    }
    norms = [module for module in network.modules() if isinstance(module, nn.LayerNorm | GlobalResponseNorm)]
    assert all(parameter.requires_grad for norm in norms for parameter in norm.parameters())
    assert counts.trained == sum(p.numel() for p in network.parameters() if p.requires_grad)


def test_counts_are_those_of_the_shapes(network: ConvNeXtV2) -> None:
    total = count_parameters(network).total
    assert adapt(network, "all").trained == total
    assert adapt(network, "head").trained == 0
    lora = adapt(network, "lora", rank=4)
    blocks = [module for module in network.modules() if isinstance(module, Block)]
    assert lora.trained == sum(2 * 4 * (4 + 1) * block.norm.weight.numel() for block in blocks)
    assert lora.total == total + lora.trained


def test_an_encoder_in_training_learns_by_its_additions(network: ConvNeXtV2) -> None:
    adapt(network, "lora", rank=2)
    optimiser = torch.optim.Adam([p for p in network.parameters() if p.requires_grad], lr=1e-2)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = (network(IMAGES) - 1).square().mean()
        loss.backward()
        optimiser.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.9 * losses[0]


@pytest.mark.parametrize(
    ("trained", "options", "message"),
    [
        ("some", {}, "trained is 'some'"),
        ("lora", {"rank": 0}, "lora_rank is 0"),
        ("lora", {"rank": 33}, "lora_rank is 33"),
        ("lora", {"alpha": 0.0}, "lora_alpha is 0.0"),
    ],
)
def test_what_cannot_be_is_refused_and_nothing_is_changed(network: ConvNeXtV2, trained, options, message) -> None:
    with pytest.raises(RecipeError, match=message):
        adapt(network, trained, **options)
    assert trained_names(network) == set(dict(network.named_parameters()))


class Around(nn.Module):
    """A module around a layer, as adapters of other libraries are: it shows the layer's own weight."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def __getattr__(self, name: str):
        return super().__getattr__(name) if name == "layer" else getattr(super().__getattr__("layer"), name)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(x).sin()


@torch.no_grad()
@pytest.mark.parametrize(
    "layer", ["stages.0.0.pwconv1", "stages.1.0.dwconv", "downsample_layers.0.1", "initial_conv.0", "stem.0"]
)
def test_modules_around_layers_are_not_passed_over_by_kernels(make_encoder, layer: str) -> None:
    network = make_encoder(patch_size=16).network
    images = torch.randn(2, 3, 32, 48, generator=torch.Generator().manual_seed(1))
    before = network(images)
    network.set_submodule(layer, Around(network.get_submodule(layer)))
    after = network(images)
    with kernels_enabled(False):
        torch.testing.assert_close(after, network(images), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(after, before, rtol=1e-3)

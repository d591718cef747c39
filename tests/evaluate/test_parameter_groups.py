"""Rates and decays of parameters, against numbers worked out by hand."""

import pytest
import torch
from torch import nn

from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.parameter_groups import parameter_groups, published_layer_of
from geopretext.nn.adaptation import adapt
from geopretext.nn.classifier import Classifier
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import SIZES, STEMS, EncoderSettings
from geopretext.nn.unet import UNet


def classifier(size: str = "atto", stem: str = "mmearth") -> Classifier:
    with torch.device("meta"):
        return Classifier(ConvNeXtV2(EncoderSettings(size=size, stem=stem)), 3)


def found(network: nn.Module, settings: FinetuneSettings) -> dict[str, tuple[float, bool]]:
    """Scale and decay of each trained parameter; each is in one group only."""
    names = {id(parameter): name for name, parameter in network.named_parameters()}
    table: dict[str, tuple[float, bool]] = {}
    for group in parameter_groups(network, settings):
        for parameter in group.parameters:
            assert names[id(parameter)] not in table
            table[names[id(parameter)]] = (group.scale, group.decays)
    return table


@pytest.mark.parametrize("stem", STEMS)
@pytest.mark.parametrize("size", SIZES)
def test_rates_rise_block_by_block_from_the_stem_to_the_head(size: str, stem: str) -> None:
    network = classifier(size, stem)
    depths = SIZES[size][0]
    distance = {"stem": sum(depths), "initial_conv": sum(depths), "stem_orig": sum(depths)}
    block = 0
    for stage, depth in enumerate(depths):
        if stage:
            distance[f"downsample_layers.{stage - 1}"] = sum(depths) - block
        for number in range(depth):
            distance[f"stages.{stage}.{number}"] = sum(depths) - block
            block += 1
    table = found(network, FinetuneSettings(layer_decay=0.8))
    assert set(table) == {name for name, _ in network.named_parameters()}
    for name, (scale, _) in table.items():
        inner = name.removeprefix("encoder.")
        if inner == name:
            assert scale == 1, name
        else:
            part = next(part for part in distance if inner.startswith(f"{part}."))
            assert scale == pytest.approx(0.8 ** distance[part]), name


def test_the_rates_of_the_smallest_published_encoder() -> None:
    table = found(classifier("atto"), FinetuneSettings(layer_decay=0.9))
    assert table["encoder.initial_conv.0.weight"][0] == pytest.approx(0.9**12)
    assert table["encoder.stages.0.0.dwconv.weight"][0] == pytest.approx(0.9**12)
    assert table["encoder.downsample_layers.0.1.weight"][0] == pytest.approx(0.9**10)
    assert table["encoder.stages.2.5.pwconv1.weight"][0] == pytest.approx(0.9**3)
    assert table["encoder.downsample_layers.2.1.weight"][0] == pytest.approx(0.9**2)
    assert table["encoder.stages.3.1.pwconv2.bias"][0] == pytest.approx(0.9)
    assert table["head.weight"][0] == table["norm.weight"][0] == 1


def test_published_groups_have_the_published_faults() -> None:
    """The stem at the full rate; downsampling layers one stage too low."""
    network = classifier("atto").encoder
    assert isinstance(network, ConvNeXtV2)
    halving = [f"downsample_layers.{stage}.1.weight" for stage in range(3)]
    assert [published_layer_of(network, name) for name in halving] == [1, 3, 5]
    assert [network.layer_of(name) for name in halving] == [3, 5, 11]
    for name in ("initial_conv.0.weight", "stem.0.weight", "stem_orig.0.weight"):
        assert published_layer_of(network, name) == 13
        assert network.layer_of(name) == 1
    for name, layer in (("stages.0.1.norm.bias", 2), ("stages.2.3.grn.gamma", 8), ("stages.3.0.dwconv.weight", 11)):
        assert published_layer_of(network, name) == network.layer_of(name) == layer
    table = found(classifier("atto"), FinetuneSettings(layer_decay=0.9, published_groups=True))
    assert table["encoder.stem.0.weight"] == (1, True)


def test_only_kernels_decay() -> None:
    table = found(classifier("atto"), FinetuneSettings())
    for name, (_, decays) in table.items():
        kernel = name.endswith("weight") and any(
            part in name
            for part in ("conv.weight", "conv1.weight", "conv2.weight", "conv.0.", "stem.0.", ".1.weight", "head.")
        )
        assert decays is (kernel and "initial_conv.1" not in name and "stem.1" not in name), name


def test_an_encoder_that_joins_later_has_rates_and_decay_of_its_own_unless_published() -> None:
    with torch.device("meta"):
        network = UNet(ConvNeXtV2(EncoderSettings(size="atto")), 2)
    table = found(network, FinetuneSettings(frozen_epochs=3, layer_decay=0.9))
    assert table["encoder.stages.0.0.pwconv1.weight"] == (pytest.approx(0.9**12), True)
    assert table["upsample_layers.0.conv.weight"] == (1, True)
    published = found(network, FinetuneSettings(frozen_epochs=3, layer_decay=0.9, published_groups=True))
    assert {published[name] for name in published if name.startswith("encoder.")} == {(1, False)}
    assert published["upsample_layers.0.conv.weight"] == (1, True)


def test_what_is_not_trained_is_in_no_group() -> None:
    network = classifier("micro")
    adapt(network.encoder, "head")
    assert set(found(network, FinetuneSettings())) == {"norm.weight", "norm.bias", "head.weight", "head.bias"}


def test_low_rank_additions_decay_and_have_the_rate_of_their_block() -> None:
    network = Classifier(ConvNeXtV2(EncoderSettings(size="micro")), 2)
    adapt(network.encoder, "lora", rank=2)
    table = found(network, FinetuneSettings(layer_decay=0.5))
    scales = {name.split("parametrizations")[0]: scale for name, (scale, _) in table.items() if "encoder" in name}
    assert scales["encoder.stages.0.0.pwconv1."] == 0.5**5
    assert scales["encoder.stages.3.0.pwconv2."] == 0.5
    assert len(scales) == 10
    assert {decays for name, (_, decays) in table.items() if name.endswith((".up", ".down"))} == {True}
    assert not table["head.bias"][1]

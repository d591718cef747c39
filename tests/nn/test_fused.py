"""A fused encoder against one written site by site, and against never having had what is absent."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from geopretext.errors import RecipeError
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.families import make_encoder, settings_from_plain, settings_to_plain
from geopretext.nn.fused import FusedConvNeXtV2
from geopretext.nn.fused_settings import FusedSettings
from geopretext.nn.local_norm import local_norms
from geopretext.nn.settings import STEMS


def _reference() -> ModuleType:
    spec = importlib.util.spec_from_file_location("sparse_reference", Path(__file__).with_name("sparse_reference.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


sparse = _reference()
INPUTS = {"sentinel2": ("B2", "B3", "B4"), "sentinel1": ("asc_VV", "desc_VV"), "aster": ("elevation",)}
OPTICAL, RADAR, TERRAIN = slice(0, 3), slice(3, 5), slice(5, 6)


def make(inputs: dict[str, tuple[str, ...]] = INPUTS, **changes: object) -> FusedConvNeXtV2:
    settings = FusedSettings(**{"size": "micro", "inputs": inputs, "patch_size": 8, "image_size": 32, **changes})
    torch.manual_seed(0)
    network = make_encoder(settings).eval()
    assert isinstance(network, FusedConvNeXtV2)
    with torch.no_grad():  # weights that tell parts from each other, norms and responses included
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.2)
    return network


def pictures(bands: int, side: int = 32, count: int = 2) -> torch.Tensor:
    return torch.randn(count, bands, side, side, generator=torch.Generator().manual_seed(1))


def some_visible(count: int = 2, patches: int = 16, shown: int = 5) -> torch.Tensor:
    order = torch.rand(count, patches, generator=torch.Generator().manual_seed(2)).argsort(1)
    return order < shown


def by_sites(network: FusedConvNeXtV2, x: np.ndarray, visible: np.ndarray) -> dict[tuple[int, int, int], np.ndarray]:
    """Fused features of the first stage, then the stages, over sets of sites."""
    patch = network.settings.patch_size
    columns, stride = x.shape[-1] // patch, patch // 8
    w = {key: value.numpy().astype(np.float64) for key, value in network.state_dict().items()}
    sums: dict[tuple[int, int, int], np.ndarray] = {}
    counts: dict[tuple[int, int, int], int] = {}
    start = 0
    for number, (name, bands) in enumerate(network.settings.inputs.items()):
        image = x[:, start : start + len(bands)]
        start += len(bands)
        sites = {
            (tile, row, column): image[tile, :, row, column].astype(np.float64)
            for tile, row, column in np.ndindex(len(x), *x.shape[2:])
            if visible[tile, row // patch * columns + column // patch]
        }
        present = {(t, r // stride, c // stride) for (t, r, c), values in sites.items() if values.any()}
        stem = f"stems.{name}"
        if network.settings.stem == "mmearth":
            sites = sparse.neighbours(sites, w[f"{stem}.0.0.weight"], w[f"{stem}.0.0.bias"])
            sites = {site: sparse.gelu(v) for site, v in sparse.layer_norm(sites, w, f"{stem}.0.1").items()}
            sites = sparse.strided_depthwise(sites, w[f"{stem}.1.0.weight"], w[f"{stem}.1.0.bias"])
            sites = sparse.layer_norm(sites, w, f"{stem}.1.1")
        else:
            sites = sparse.strided(sites, w[f"{stem}.0.0.weight"], w[f"{stem}.0.0.bias"])
            sites = sparse.layer_norm(sites, w, f"{stem}.0.1")
        for site, values in sites.items():
            here = site in present
            sums[site] = sums.get(site, 0) + here * (values + w["encodings"][number])
            counts[site] = counts.get(site, 0) + here
    fused = sparse.layer_norm({site: total / max(counts[site], 1) for site, total in sums.items()}, w, "norm")
    return sparse.encode_stages(fused, w, network.settings.depths, network.settings.grn_scope)


@pytest.mark.parametrize(("stem", "patch"), [("mmearth", 8), ("mmearth", 16), ("convnextv2", 16)])
def test_features_are_those_of_a_network_written_site_by_site(stem: str, patch: int) -> None:
    network = make(stem=stem, patch_size=patch)
    x = pictures(6)
    x[0, OPTICAL] = 0
    x[1, RADAR, :20, :13] = 0
    x[1, :, 4:13, 16:] = 0  # nothing at all
    patches = (32 // patch) ** 2
    visible = some_visible(patches=patches, shown=max(1, patches // 3))
    visible[:, 1] = True
    expected = by_sites(network, x.numpy(), visible.numpy())
    with torch.inference_mode():
        features = network(x, visible).permute(0, 2, 3, 1).numpy()
    for site, values in expected.items():
        np.testing.assert_allclose(features[site], values, rtol=1e-3, atol=1e-4)
    assert len(expected) == int(visible.sum())


@pytest.mark.parametrize("stem", STEMS)
def test_computing_visible_patches_only_changes_nothing(stem: str) -> None:
    network, x, visible = make(stem=stem), pictures(6), some_visible()
    x[0, RADAR] = 0
    with torch.inference_mode():
        torch.testing.assert_close(network(x, visible, 5), network(x, visible), rtol=1e-4, atol=1e-4)
        everything = torch.ones_like(visible)
        torch.testing.assert_close(network(x, everything), network(x), rtol=1e-4, atol=1e-4)


def test_an_absent_input_is_as_if_it_had_never_been() -> None:
    network = make()
    before = torch.random.get_rng_state()
    fewer = network.given(("aster", "sentinel2"))
    assert torch.equal(torch.random.get_rng_state(), before)
    assert list(fewer.settings.inputs) == ["sentinel2", "aster"]
    assert not any(key.startswith("stems.sentinel1") for key in fewer.state_dict())
    x = pictures(6)
    x[:, RADAR] = 0
    without = torch.cat([x[:, OPTICAL], x[:, TERRAIN]], 1)
    visible = some_visible()
    with torch.inference_mode():
        assert torch.equal(network(x), fewer(without))
        assert torch.equal(network(x, visible, 5), fewer(without, visible, 5))
        for one, other in zip(network.forward_stages(x), fewer.forward_stages(without), strict=True):
            assert torch.equal(one, other)
        with local_norms(network, 16), local_norms(fewer, 16):
            assert torch.equal(network(x), fewer(without))
        x[:, TERRAIN] = 0
        assert torch.equal(network(x), network.given(["sentinel2"])(x[:, OPTICAL]))


def test_no_gradient_reaches_what_is_absent_or_hidden() -> None:
    network, visible = make(), some_visible()
    x = pictures(6)
    x[:, RADAR] = 0
    x.requires_grad_()
    network(x, visible).square().sum().backward()
    assert x.grad is not None
    pixels = visible.reshape(2, 1, 4, 4).repeat_interleave(8, 2).repeat_interleave(8, 3)
    assert not x.grad[(~pixels).expand_as(x)].any()
    assert not x.grad[:, RADAR].any()
    assert all(not parameter.grad.any() for parameter in network.stems["sentinel1"].parameters())
    assert all(parameter.grad.any() for parameter in network.stems["sentinel2"].parameters())


def test_what_is_present_is_known_though_values_are_alike() -> None:
    """The same picture as radar and as terrain, through the same stem, gives other features."""
    network = make({"sentinel1": ("asc_VV",), "aster": ("elevation",)})
    network.stems["aster"].load_state_dict(network.stems["sentinel1"].state_dict())
    picture, nothing = pictures(1), torch.zeros(2, 1, 32, 32)
    radar, terrain = torch.cat([picture, nothing], 1), torch.cat([nothing, picture], 1)
    with torch.inference_mode():
        assert not torch.allclose(network(radar), network(terrain), atol=1e-3)


@pytest.mark.parametrize("stem", STEMS)
def test_one_input_is_a_plain_convnextv2_with_a_second_norm(stem: str) -> None:
    """Which changes nothing while both norms are as they start, and no encoding is added."""
    network = make({"sentinel2": INPUTS["sentinel2"]}, stem=stem)
    norms = (network.norm, network.stems["sentinel2"][-1][-1])
    with torch.no_grad():
        network.encodings.zero_()
        for norm in norms:
            norm.weight.fill_(1)
            norm.bias.zero_()
    plain = ConvNeXtV2(network.settings.alone("sentinel2")).eval()
    first = ("initial_conv", "stem") if stem == "mmearth" else ("stem_orig",)
    state = {key: value for key, value in network.state_dict().items() if key in plain.state_dict()}
    for number, name in enumerate(first):
        layers = network.stems["sentinel2"][number].state_dict()
        state |= {f"{name}.{key}": value for key, value in layers.items()}
    plain.load_state_dict(state)
    x, visible = pictures(3), some_visible()
    with torch.inference_mode():
        torch.testing.assert_close(network(x), plain(x), rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(network(x, visible, 5), plain(x, visible, 5), rtol=1e-3, atol=1e-3)
        with local_norms(network, 16), local_norms(plain, 16):
            torch.testing.assert_close(network(x), plain(x), rtol=1e-3, atol=1e-3)


def test_settings_survive_json() -> None:
    settings = FusedSettings(inputs=INPUTS)
    assert settings_from_plain(json.loads(json.dumps(settings_to_plain(settings)))) == settings
    assert settings.bands == ("B2", "B3", "B4", "asc_VV", "desc_VV", "elevation")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"inputs": {}}, "encoder.inputs is"),
        ({"inputs": ("sentinel2",)}, "encoder.inputs is"),
        ({"inputs": {"sentinel2": "B2"}}, "encoder.inputs.sentinel2 is 'B2'"),
        ({"inputs": {"sentinel2": ()}}, "encoder.inputs.sentinel2"),
        ({"inputs": {"mine": ("B2",), "sentinel2": ("B2",)}}, "B2 twice"),
        ({"size": "giant"}, "encoder.size"),
        ({"patch_size": 12}, "encoder.patch_size"),
        ({"family": "convnextv2"}, "encoder.family"),
    ],
)
def test_settings_that_cannot_be_are_refused(changes: dict[str, object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        FusedSettings(**{"inputs": INPUTS, **changes})


def test_an_input_with_a_name_of_torch_is_refused() -> None:
    with pytest.raises(RecipeError, match="'values'"):
        FusedConvNeXtV2(FusedSettings(size="micro", inputs={"values": ("a",)}))

"""Starting from other weights: what is copied, what is resized, what stays new."""

from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from geopretext.errors import BundleError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.continual import resized_positions, start_from
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.families import make_encoder
from geopretext.nn.settings import EncoderSettings
from geopretext.nn.timm_settings import TimmSettings

needs_timm = pytest.mark.skipif(find_spec("timm") is None, reason="needs timm, whose networks these are")
OPTICAL = EncoderSettings(size="micro", bands=("B2", "B3", "B4"), image_size=64)
RADAR = replace(OPTICAL, modality="sentinel1", bands=("asc_VV", "asc_VH"))
VIT = TimmSettings(architecture="vit_micro", patch_size=16, image_size=64, bands=("B2", "B3", "B4"))


def network(settings, seed=0):
    torch.manual_seed(seed)
    return make_encoder(settings)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    Encoder(network(OPTICAL, 1), PUBLISHED["sentinel2"].select(OPTICAL.bands)).save_pretrained(tmp_path / "bundle")
    return tmp_path / "bundle"


def equal(one, other, but=()):
    one, other = one.state_dict(), other.state_dict()
    return all(torch.equal(one[key], other[key]) for key in one if not key.startswith(but))


def test_all_but_the_input_layer_is_copied(bundle: Path) -> None:
    ours, before = network(RADAR), network(RADAR)
    start_from(ours, bundle)
    assert equal(ours, network(OPTICAL, 1), but=("initial_conv.0",))
    assert torch.equal(ours.initial_conv[0].weight, before.initial_conv[0].weight)
    assert torch.equal(ours.initial_conv[0].bias, before.initial_conv[0].bias)


def test_the_same_inputs_keep_their_layer(bundle: Path) -> None:
    ours = network(OPTICAL)
    start_from(ours, bundle)
    assert equal(ours, network(OPTICAL, 1))
    reordered = network(replace(OPTICAL, bands=("B4", "B3", "B2")))
    start_from(reordered, bundle)
    assert torch.equal(reordered.initial_conv[0].weight, network(OPTICAL).initial_conv[0].weight)


def test_a_file_of_our_names_is_read_too(tmp_path: Path) -> None:
    save_file(network(OPTICAL, 1).state_dict(), tmp_path / "x.safetensors")
    ours = network(RADAR)
    start_from(ours, tmp_path / "x.safetensors")
    assert equal(ours, network(OPTICAL, 1), but=("initial_conv.0",))


def test_another_architecture_is_refused(bundle: Path) -> None:
    other = network(replace(OPTICAL, size="atto"))
    with pytest.raises(BundleError, match=r"(?s)not those of ConvNeXt V2 atto.*hint: choose the"):
        start_from(other, bundle)
    deeper = ConvNeXtV2(replace(OPTICAL, stem="convnextv2"))
    with pytest.raises(BundleError, match=r"stem_orig\.1\.weight is missing"):
        start_from(deeper, bundle)


def cubic(x, a=-0.5):
    x = abs(x)
    return (a + 2) * x**3 - (a + 3) * x**2 + 1 if x < 1 else a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0


def weights_of(before, after):
    """Bicubic weights with the kernel widened where the grid shrinks, each row with sum 1."""
    scale = max(before / after, 1)
    rows = np.array(
        [[cubic(((i + 0.5) * before / after - 0.5 - j) / scale) for j in range(before)] for i in range(after)]
    )
    return rows / rows.sum(1, keepdims=True)


@pytest.mark.parametrize(("before", "after"), [(4, 6), (7, 4)])
def test_positions_are_resized_bicubically_and_those_of_no_place_stay(before, after):
    positions = torch.randn(1, 2 + before**2, 3)
    resized = resized_positions(positions, 2 + after**2, after**2)
    assert torch.equal(resized[:, :2], positions[:, :2])
    w, grid = weights_of(before, after), positions[0, 2:].reshape(before, before, 3).numpy()
    expected = np.einsum("iy,jx,yxd->ijd", w, w, grid).reshape(-1, 3)
    np.testing.assert_allclose(resized[0, 2:].numpy(), expected, atol=1e-5)
    assert resized_positions(positions, 2 + before**2, before**2) is positions


@needs_timm
@pytest.mark.parametrize("layout", ["timm", "dinov2"])
def test_a_vit_starts_from_a_file_of_another_size(tmp_path: Path, layout: str) -> None:
    large = network(replace(VIT, image_size=112, patch_size=14), 1).body.model
    weights = {**large.state_dict(), "head.weight": torch.zeros(2, 128), "head.bias": torch.zeros(2)}
    if layout == "dinov2":
        weights = {key: value for key, value in weights.items() if not key.startswith("head")}
        weights["mask_token"] = torch.zeros(1, 128)
    torch.save(weights, tmp_path / "x.pth")
    ours, before = network(VIT), network(VIT)
    start_from(ours, tmp_path / "x.pth")
    model = ours.body.model
    assert equal(model, large, but=("patch_embed.proj", "pos_embed"))
    assert torch.equal(model.patch_embed.proj.weight, before.body.model.patch_embed.proj.weight)
    torch.testing.assert_close(model.pos_embed, resized_positions(large.pos_embed, 17, 16))


@needs_timm
def test_a_file_of_dinov2_with_registers_has_a_place_for_the_class_token(tmp_path: Path) -> None:
    settings = TimmSettings(architecture="vit_small_patch14_reg4_dinov2", patch_size=14, image_size=56, bands=("B2",))
    ours, donor = network(settings), network(settings, 1).body.model
    weights = dict(donor.state_dict())
    registers, places, token = weights.pop("reg_token"), weights.pop("pos_embed"), weights.pop("cls_token")
    offset = torch.randn_like(token)
    weights |= {
        "register_tokens": registers,
        "pos_embed": torch.cat([offset, places], 1),
        "cls_token": token - offset,
        "mask_token": torch.zeros(1, 384),
    }
    torch.save(weights, tmp_path / "x.pth")
    start_from(ours, tmp_path / "x.pth")
    model = ours.body.model
    torch.testing.assert_close(model.cls_token, donor.cls_token)
    assert equal(model, donor, but=("patch_embed.proj", "cls_token"))


@needs_timm
def test_a_swin_keeps_its_own_token_of_what_is_masked(tmp_path: Path) -> None:
    settings = TimmSettings(architecture="swin_micro", patch_size=16, image_size=64, bands=("B2", "B3", "B4"))
    ours, donor = network(settings), network(settings, 1)
    before = ours.body.mask_token.clone()
    torch.save(donor.body.model.state_dict(), tmp_path / "x.pth")
    start_from(ours, tmp_path / "x.pth")
    assert equal(ours.body.model, donor.body.model, but=("patch_embed.proj",))
    assert torch.equal(ours.body.mask_token, before)


@needs_timm
def test_a_resnet_starts_from_a_file(tmp_path: Path) -> None:
    settings = TimmSettings(architecture="resnet_micro", patch_size=32, image_size=64, bands=("B2", "B3", "B4"))
    donor = network(settings, 1)
    with torch.no_grad():
        donor.train()(torch.randn(4, 3, 64, 64))  # moves the averages of batch norms
    torch.save({**donor.body.model.state_dict(), "fc.weight": torch.zeros(5, 256)}, tmp_path / "x.pth")
    ours = network(replace(settings, bands=("B2", "B3", "B4", "B8")))
    start_from(ours, tmp_path / "x.pth")
    counters = tuple(key for key in ours.state_dict() if key.endswith("num_batches_tracked"))
    assert equal(ours, donor, but=("body.model.conv1", *counters))


def test_files_with_code_are_refused(tmp_path: Path) -> None:
    torch.save({"x": Path("y"), "z": network}, tmp_path / "x.pth")
    with pytest.raises(BundleError, match="nothing of it was run"):
        start_from(network(OPTICAL), tmp_path / "x.pth")

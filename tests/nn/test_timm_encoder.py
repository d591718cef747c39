"""Encoders of timm: dense they are timm's own; masked they are what a slow computation of visible places gives."""

import math
from copy import deepcopy

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from geopretext.errors import BandError, GridError, MissingLibraryError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.families import make_encoder
from geopretext.nn.network import EncoderNetwork
from geopretext.nn.timm_settings import TimmSettings

pytestmark = pytest.mark.filterwarnings("ignore")  # timm's

BANDS = ("B2", "B8A", "B11")
PATCH, SIDE = 16, 64
KINDS = ("vit_micro", "swin_micro", "swinv2_micro", "resnet_micro")


@pytest.fixture(autouse=True, scope="module")
def timm(request):
    return pytest.importorskip("timm", exc_type=ImportError)


def make(architecture: str, patch: int = PATCH, side: int = SIDE, **settings) -> EncoderNetwork:
    """With weights such that no term hides behind a zero."""
    torch.manual_seed(0)
    network = make_encoder(
        TimmSettings(architecture=architecture, bands=BANDS, patch_size=patch, image_size=side, **settings)
    )
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return network.eval()


def images(count: int = 2, height: int = SIDE, width: int = SIDE) -> Tensor:
    return torch.randn(count, 3, height, width, generator=torch.Generator().manual_seed(1))


def mask(*counts: int, patches: int = 16) -> Tensor:
    order = torch.rand(len(counts), patches, generator=torch.Generator().manual_seed(2)).argsort(1)
    return order < torch.tensor(counts)[:, None]


@pytest.mark.parametrize(
    ("name", "patch", "side"),
    [
        ("vit_micro", 16, 64),
        ("swin_micro", 32, 64),
        ("swinv2_micro", 32, 64),
        ("resnet_micro", 32, 64),
        ("resnet18d", 32, 32),
        ("vit_wee_patch16_reg1_gap_256", 16, 32),
        ("vit_pwee_patch16_reg1_gap_256", 16, 32),
    ],
)
def test_without_a_mask_it_is_timms(name: str, patch: int, side: int) -> None:
    network = make(name, patch, side)
    x = images(1, side, side)
    with torch.no_grad():
        ours, theirs = network(x), network.body.model.forward_features(x)
    if network.settings.is_vit:
        theirs = theirs[:, network.body.model.num_prefix_tokens :].transpose(1, 2).reshape(ours.shape)
    elif theirs.shape[-1] == ours.shape[1] and "swin" in name:
        theirs = theirs.permute(0, 3, 1, 2)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)


def slow_vit(network: EncoderNetwork, image: Tensor, visible: Tensor) -> Tensor:
    """(C, H, W), (P,) -> (V, D): token by token and head by head, from the weights alone."""
    weights = {name.removeprefix("body.model."): value for name, value in network.state_dict().items()}

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().mean(-1, keepdim=True) + 1e-6).sqrt()
        return centred / deviation * weights[f"{name}.weight"] + weights[f"{name}.bias"]

    kernel, across = weights["patch_embed.proj.weight"], image.shape[2] // PATCH
    tokens = [weights["cls_token"][0, 0] + weights["pos_embed"][0, 0]]
    for place in visible.nonzero().flatten().tolist():
        top, left = (PATCH * number for number in divmod(place, across))
        pixels = image[:, top : top + PATCH, left : left + PATCH]
        token = (kernel * pixels).sum((1, 2, 3)) + weights["patch_embed.proj.bias"]
        tokens.append(token + weights["pos_embed"][0, 1 + place])
    x, heads = torch.stack(tokens), 4
    for block in range(4):
        queries, keys, values = linear(f"blocks.{block}.attn.qkv", norm(f"blocks.{block}.norm1", x)).chunk(3, -1)
        mixed = []
        for q, k, v in zip(queries.chunk(heads, -1), keys.chunk(heads, -1), values.chunk(heads, -1), strict=True):
            mixed.append((q @ k.T / math.sqrt(q.shape[-1])).softmax(-1) @ v)
        x = x + linear(f"blocks.{block}.attn.proj", torch.cat(mixed, -1))
        y = F.gelu(linear(f"blocks.{block}.mlp.fc1", norm(f"blocks.{block}.norm2", x)))
        x = x + linear(f"blocks.{block}.mlp.fc2", y)
    return norm("norm", x)[1:]


def test_a_vit_computes_attention_among_visible_tokens() -> None:
    network, x = make("vit_micro"), images()
    visible = mask(5, 9)
    with torch.no_grad():
        y = network(x, visible).permute(0, 2, 3, 1).flatten(1, 2)
        for image, shown, got in zip(x, visible, y, strict=True):
            torch.testing.assert_close(got[shown], slow_vit(network, image, shown), atol=1e-4, rtol=1e-4)


def spark(network: EncoderNetwork, x: Tensor, visible: Tensor) -> Tensor:
    """Timm's own forward pass with the outputs of every convolution, norm and pooling multiplied by the mask."""
    model, shown = deepcopy(network.body.model), visible.reshape(-1, 1, 4, 4).float()

    def multiply(module: nn.Module, inputs: object, y: Tensor) -> Tensor:
        return y * F.interpolate(shown, size=y.shape[2:], mode="nearest")

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d | nn.MaxPool2d | nn.AvgPool2d):
            module.register_forward_hook(multiply)
    y: Tensor = model.forward_features(x * F.interpolate(shown, size=x.shape[2:], mode="nearest"))
    return y


@pytest.mark.parametrize("name", ["resnet_micro", "resnet18d", "resnet14t"])
@pytest.mark.parametrize("patch", [16, 8])
def test_a_resnet_is_zero_at_masked_places_in_every_layer(name: str, patch: int) -> None:
    network, x = make(name, patch, 4 * patch), images(2, 4 * patch, 4 * patch)
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_var, 0.5, 2.0)
            nn.init.normal_(module.running_mean, std=0.1)
    visible = mask(5, 9)
    with torch.no_grad():
        torch.testing.assert_close(network(x, visible), spark(network, x, visible), atol=1e-4, rtol=1e-4)


def test_a_swin_sees_its_token_in_the_place_of_what_is_masked() -> None:
    """Images whose masked cells are embedded as the token give the same as masked images."""
    network, x, visible = make("swin_micro"), images(), mask(6, 6)
    body = network.body
    cells = visible.reshape(2, 4, 4).repeat_interleave(8, 1).repeat_interleave(8, 2)
    with torch.no_grad():
        y = body.model.patch_embed(x)
        y[~cells] = body.mask_token
        wanted = body.model.norm(body.model.layers(y)).permute(0, 3, 1, 2)
        got = network(x, visible, 6)
    shown = visible.reshape(2, 1, 4, 4).expand_as(got)
    torch.testing.assert_close(got[shown], wanted[shown])
    assert not got[~shown].any()


@pytest.mark.parametrize("name", KINDS)
def test_masked_pixels_get_no_gradient_and_visible_ones_do(name: str) -> None:
    network, x, visible = make(name).train(), images().requires_grad_(), mask(5, 5)
    network(x, visible, 5).square().sum().backward()
    assert x.grad is not None
    pixels = visible.reshape(2, 1, 4, 4).repeat_interleave(PATCH, 2).repeat_interleave(PATCH, 3).expand_as(x)
    assert not x.grad[~pixels].any()
    assert x.grad[pixels].count_nonzero() > 0.9 * pixels.sum()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_every_parameter_gets_a_gradient_without_a_mask(name: str) -> None:
    """As training in several processes wants it."""
    network = make(name).train()
    network(images()).square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())


@pytest.mark.parametrize("name", KINDS)
def test_other_sizes_than_those_of_training(name: str) -> None:
    network = make(name)
    with torch.no_grad():
        for height, width in ((64, 96), (32, 32), (16, 80)):
            stages = network.forward_stages(images(1, height, width))
            for stage, features, stride in zip(stages, network.widths, network.strides, strict=True):
                assert stage.shape == (1, features, height // stride, width // stride)
            torch.testing.assert_close(stages[-1], network(images(1, height, width)))


def test_positions_are_enlarged_with_the_image() -> None:
    """Four times the places, so that an image of each pixel twice has nearly the positions of the small one."""
    network = make("vit_micro")
    with torch.no_grad():
        network.body.model.pos_embed[:, 1:].normal_()
        small = network.body.model._pos_embed(torch.zeros(1, 4, 4, 128))[0, 1:].reshape(4, 4, 128)
        large = network.body.model._pos_embed(torch.zeros(1, 8, 8, 128))[0, 1:].reshape(8, 8, 128)
    pooled = large.reshape(4, 2, 4, 2, 128).mean((1, 3))
    assert torch.corrcoef(torch.stack([pooled.flatten(), small.flatten()]))[0, 1] > 0.95


@pytest.mark.parametrize("name", KINDS)
def test_what_does_not_fit_is_refused(name: str) -> None:
    network = make(name)
    with pytest.raises(BandError, match="B2, B8A, B11"):
        network(torch.zeros(1, 4, 64, 64))
    with pytest.raises(GridError, match="60 x 64 pixels do not divide"):
        network.forward_stages(torch.zeros(1, 3, 60, 64))
    with pytest.raises(GridError, match=r"mask has shape \(1, 9\)"):
        network(torch.zeros(1, 3, 64, 64), torch.ones(1, 9, dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "layers", "some"),
    [
        ("vit_micro", 4, {"model.patch_embed.proj.weight": 1, "model.blocks.2.attn.qkv.bias": 3, "model.norm.bias": 4}),
        (
            "swin_micro",
            5,
            {
                "mask_token": 1,
                "model.layers.0.blocks.0.norm1.bias": 1,
                "model.layers.2.downsample.norm.bias": 3,
                "model.layers.2.blocks.1.mlp.fc1.bias": 4,
                "model.layers.3.blocks.0.attn.qkv.bias": 5,
                "model.norm.weight": 5,
            },
        ),
        ("resnet_micro", 4, {"model.conv1.weight": 1, "model.layer3.0.conv2.weight": 3, "model.layer4.0.bn1.bias": 4}),
    ],
)
def test_parameters_belong_to_blocks(name: str, layers: int, some: dict[str, int]) -> None:
    network = make(name)
    assert network.layers == layers
    numbers = {key: network.layer_of(key) for key, _ in network.named_parameters()}
    assert set(numbers.values()) == set(range(1, layers + 1))
    assert {key: numbers[f"body.{key}"] for key in some} == some


def pretrained(timm, monkeypatch, path, name: str, image: int) -> tuple[EncoderNetwork, dict[str, Tensor]]:
    """An encoder that starts from weights in a file in the place of the hub; and these."""
    torch.manual_seed(5)
    theirs = {key: x + torch.ones_like(x) for key, x in timm.create_model(name).state_dict().items()}
    torch.save(theirs, path / "weights.pth")
    create = timm.create_model

    def from_file(*arguments, pretrained=False, **named):
        overlay = {"file": str(path / "weights.pth")} if pretrained else None
        return create(*arguments, pretrained=pretrained, pretrained_cfg_overlay=overlay, **named)

    monkeypatch.setattr(timm, "create_model", from_file)
    torch.manual_seed(0)
    return make_encoder(TimmSettings(name, bands=BANDS, patch_size=8, image_size=image, pretrained=True)), theirs


def test_pretrained_weights_are_kept_but_for_the_first_layer(timm, monkeypatch, tmp_path) -> None:
    network, theirs = pretrained(timm, monkeypatch, tmp_path, "resnet18", 16)
    for key, value in network.body.model.state_dict().items():
        assert torch.equal(value, theirs[key]) == (key != "conv1.weight"), key
    assert not network.settings.pretrained  # a bundle of it is made anew without fetching anything


def test_a_norm_that_came_after_pooling_is_kept_too(timm, monkeypatch, tmp_path) -> None:
    """Of ViTs that pool by means, whose last norm timm calls fc_norm; here it is one of cells."""
    network, theirs = pretrained(timm, monkeypatch, tmp_path, "vit_wee_patch16_reg1_gap_256", 128)
    ours = network.body.model.state_dict()
    for part in ("weight", "bias"):
        assert torch.equal(ours[f"norm.{part}"], theirs[f"fc_norm.{part}"])
    assert torch.equal(ours["blocks.13.mlp.fc2.weight"], theirs["blocks.13.mlp.fc2.weight"])
    assert ours.keys() - theirs.keys() == {"norm.weight", "norm.bias"}


@pytest.mark.parametrize("name", KINDS)
def test_a_bundle_brings_it_back(name: str, tmp_path) -> None:
    network, x = make(name), images()
    encoder = Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics={"all": ((0.0,) * 3, (1.0,) * 3)})
    encoder.save_pretrained(tmp_path)
    again = Encoder.from_pretrained(tmp_path)
    assert again.settings == network.settings
    assert f"{name} of timm" in (tmp_path / "README.md").read_text()
    with torch.no_grad():
        assert torch.equal(again.eval()(x), network(x))


def test_without_timm_the_line_that_installs_it(forget) -> None:
    forget("timm")
    with pytest.raises(MissingLibraryError, match=r"(?s)timm.*geopretext\[timm\]"):
        make_encoder(TimmSettings())

"""Files of exactly the layout of SoftCon's published backbones compute what the published classes compute."""

import json
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from geopretext.apps.cli import main
from geopretext.errors import BundleError
from geopretext.nn.bundle import Encoder
from geopretext.nn.official import read_official
from geopretext.nn.official_input import Told
from geopretext.nn.official_layout import Layout

pytest.importorskip("timm", reason="needs timm, whose networks these are")

Weights = dict[str, torch.Tensor]
OPTICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")


def fill(shapes: dict[str, tuple[int, ...]], seed: int = 0) -> Weights:
    """Weights that keep activations near 1; none is 0 or 1."""
    generator, weights = torch.Generator().manual_seed(seed), {}
    for key, shape in shapes.items():
        numbers = torch.randn(shape, generator=generator)
        if key.endswith("running_var"):
            weights[key] = 1 + numbers.abs()
        elif key.endswith("weight") and len(shape) > 1:
            weights[key] = numbers / numbers[0].numel() ** 0.5
        elif key.endswith(("weight", "gamma")):
            weights[key] = 1 + 0.2 * numbers
        else:
            weights[key] = 0.2 * numbers
    return weights


def dinov2(width=384, bands=13, cells=16, patch=14) -> Weights:
    """As ``vision_transformer.vit_small(block_chunks=0, num_register_tokens=0)`` of DINOv2 names its weights."""
    shapes: dict[str, tuple[int, ...]] = {
        "cls_token": (1, 1, width),
        "pos_embed": (1, cells**2 + 1, width),
        "mask_token": (1, width),
        "patch_embed.proj.weight": (width, bands, patch, patch),
        "patch_embed.proj.bias": (width,),
    }
    for i in range(12):
        block = f"blocks.{i}."
        for norm in ("norm1", "norm2"):
            shapes |= {f"{block}{norm}.weight": (width,), f"{block}{norm}.bias": (width,)}
        for layer, rows, columns in (
            ("attn.qkv", 3 * width, width),
            ("attn.proj", width, width),
            ("mlp.fc1", 4 * width, width),
            ("mlp.fc2", width, 4 * width),
        ):
            shapes |= {f"{block}{layer}.weight": (rows, columns), f"{block}{layer}.bias": (rows,)}
        shapes |= {f"{block}ls1.gamma": (width,), f"{block}ls2.gamma": (width,)}
    return fill(shapes | {"norm.weight": (width,), "norm.bias": (width,)})


def resnet50(bands=13) -> Weights:
    """As torchvision's ``resnet50`` without ``fc`` names its weights, counters of batch norms included."""
    shapes: dict[str, tuple[int, ...]] = {"conv1.weight": (64, bands, 7, 7)}
    norms = [("bn1", 64)]
    before = 64
    for stage, (depth, width) in enumerate(zip((3, 4, 6, 3), (64, 128, 256, 512), strict=True), start=1):
        for block in range(depth):
            name = f"layer{stage}.{block}"
            shapes |= {f"{name}.conv1.weight": (width, before, 1, 1), f"{name}.conv2.weight": (width, width, 3, 3)}
            shapes |= {f"{name}.conv3.weight": (4 * width, width, 1, 1)}
            norms += [(f"{name}.bn1", width), (f"{name}.bn2", width), (f"{name}.bn3", 4 * width)]
            if block == 0:
                shapes |= {f"{name}.downsample.0.weight": (4 * width, before, 1, 1)}
                norms += [(f"{name}.downsample.1", 4 * width)]
            before = 4 * width
    for name, width in norms:
        shapes |= {f"{name}.{key}": (width,) for key in ("weight", "bias", "running_mean", "running_var")}
    counters = {f"{name}.num_batches_tracked": torch.tensor(7) for name, _ in norms}
    return {**fill(shapes), **counters}


def vit_forward(w: Weights, x: torch.Tensor) -> torch.Tensor:
    """Patch tokens after the last norm, written out; float64."""
    w = {key: value.double() for key, value in w.items()}
    width = w["cls_token"].shape[-1]
    heads = width // 64
    y = F.conv2d(x, w["patch_embed.proj.weight"], w["patch_embed.proj.bias"], stride=14)
    grid = y.shape[2:]
    y = torch.cat([w["cls_token"].expand(len(x), -1, -1), y.flatten(2).transpose(1, 2)], 1) + w["pos_embed"]
    for i in range(12):
        p = {key.removeprefix(f"blocks.{i}."): value for key, value in w.items() if key.startswith(f"blocks.{i}.")}
        z = F.layer_norm(y, (width,), p["norm1.weight"], p["norm1.bias"], 1e-6)
        qkv = (z @ p["attn.qkv.weight"].T + p["attn.qkv.bias"]).reshape(*z.shape[:2], 3, heads, 64)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)
        z = ((q @ k.mT / 8).softmax(-1) @ v).transpose(1, 2).flatten(2)
        y = y + p["ls1.gamma"] * (z @ p["attn.proj.weight"].T + p["attn.proj.bias"])
        z = F.layer_norm(y, (width,), p["norm2.weight"], p["norm2.bias"], 1e-6)
        z = F.gelu(z @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"])
        y = y + p["ls2.gamma"] * (z @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"])
    y = F.layer_norm(y, (width,), w["norm.weight"], w["norm.bias"], 1e-6)
    return y[:, 1:].transpose(1, 2).reshape(len(x), width, *grid)


def resnet_forward(w: Weights, x: torch.Tensor) -> torch.Tensor:
    """The map before pooling, written out; float64."""
    w = {key: value.double() for key, value in w.items()}

    def norm(y: torch.Tensor, name: str) -> torch.Tensor:
        scale = w[f"{name}.weight"] / (w[f"{name}.running_var"] + 1e-5).sqrt()
        return (y - w[f"{name}.running_mean"][:, None, None]) * scale[:, None, None] + w[f"{name}.bias"][:, None, None]

    y = norm(F.conv2d(x, w["conv1.weight"], stride=2, padding=3), "bn1").relu()
    y = F.max_pool2d(y, 3, 2, 1)
    for stage, depth in enumerate((3, 4, 6, 3), start=1):
        for block in range(depth):
            name, stride = f"layer{stage}.{block}", 2 if block == 0 and stage > 1 else 1
            z = norm(F.conv2d(y, w[f"{name}.conv1.weight"]), f"{name}.bn1").relu()
            z = norm(F.conv2d(z, w[f"{name}.conv2.weight"], stride=stride, padding=1), f"{name}.bn2").relu()
            z = norm(F.conv2d(z, w[f"{name}.conv3.weight"]), f"{name}.bn3")
            if block == 0:
                y = norm(F.conv2d(y, w[f"{name}.downsample.0.weight"], stride=stride), f"{name}.downsample.1")
            y = (y + z).relu()
    return y


def save(path: Path, weights: Weights) -> Path:
    torch.save(weights, path)  # a bare state dict, as published
    return path


@pytest.mark.parametrize(
    ("bands", "modality"),
    [(13, "sentinel2"), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, "sentinel1"), (3, "rgb")))],
)
def test_a_vit_computes_what_dinov2_computes(tmp_path: Path, bands: int, modality: str) -> None:
    weights = dinov2(bands=bands)
    official = read_official(save(tmp_path / "x.pth", weights))
    assert official.layout is Layout.DINOV2_VIT
    assert official.modality.name == modality
    assert official.unused == ("mask_token",)
    x = torch.randn(1, bands, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = official.encoder(x)
    assert float((features - vit_forward(weights, x.double())).abs().max()) < 1e-3


def test_a_resnet_computes_what_torchvision_computes(tmp_path: Path) -> None:
    weights = resnet50()
    official = read_official(save(tmp_path / "B13_rn50_softcon.pth", weights))
    assert official.layout is Layout.TORCHVISION_RESNET
    x = torch.randn(1, 13, 64, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        features = official.encoder(x)
    expected = resnet_forward(weights, x.double())
    assert features.shape == (1, 2048, 2, 3)
    assert float((features - expected).abs().max()) < 1e-3 * float(expected.abs().max())


@pytest.mark.slow
def test_statistics_scale_as_the_authors_do_without_cutting(tmp_path: Path) -> None:
    save(tmp_path / "B13_vits14_softcon.pth", dinov2())
    read_official(tmp_path / "B13_vits14_softcon.pth").save(tmp_path / "bundle")
    encoder = Encoder.from_pretrained(tmp_path / "bundle")
    assert encoder.bands == OPTICAL
    assert set(encoder.statistics) == {"all", "L1C"}  # a tile of L2A is refused
    mean, std = (torch.tensor(numbers) for numbers in encoder.statistics["L1C"])
    mu, sigma = 1390.78157673, 850.34818441  # of B2 over SSL4EO-S12
    for number in (mu, mu - 2 * sigma, mu + 2 * sigma, mu + sigma, 1200.0):
        published = int((number - (mu - 2 * sigma)) / (4 * sigma) * 255) / 255  # a byte, then ToTensor
        ours = (number - float(mean[1])) / float(std[1])
        assert published - 1e-5 <= ours <= published + 1 / 255 + 1e-5
    with torch.inference_mode():
        again = read_official(tmp_path / "B13_vits14_softcon.pth").encoder
        x = torch.randn(1, 13, 224, 224)
        assert torch.equal(encoder(x), again(x))


def test_the_command_says_what_it_read_and_assumed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path / "B2_vits14_softcon.pth", dinov2(bands=2))
    main(["import-official", str(path), "--out", str(tmp_path / "bundle"), "--json"])
    out, err = capsys.readouterr()
    report = json.loads(out)
    assert report["architecture"] == "vit_small_patch14_dinov2"
    assert (report["modality"], report["bands"], report["unit"]) == ("sentinel1", ["asc_VV", "asc_VH"], "dB")
    assert (report["patch_size"], report["image_size"], report["statistics"]) == (14, 224, ["all"])
    assert "cut, too, at two standard deviations" in err
    assert "desc_VV,desc_VH" in err
    assert "class token" in err
    other = read_official(path, Told(bands=("desc_VV", "desc_VH")))
    assert other.modality.band_names == ("desc_VV", "desc_VH")
    assert other.statistics is not None


def without(weights: Weights, key: str) -> Weights:
    return {name: value for name, value in weights.items() if name != key}


@pytest.mark.parametrize(
    ("name", "weights", "told", "message"),
    [
        ("x", dinov2(bands=5), Told(), "takes 5 bands, and nothing says which.*--bands with 5 names"),
        ("x", dinov2(bands=5), Told(bands=("B2", "B3")), "takes 5 bands, and 2 are named"),
        ("x", without(dinov2(), "blocks.3.ls1.gamma"), Told(), "blocks.3.ls1.gamma is missing"),
        ("x", {**dinov2(), "register_tokens": torch.zeros(1, 4, 384)}, Told(), "register_tokens is unknown"),
        ("x", without(dinov2(), "blocks.11.norm1.weight"), Told(), "its 11 blocks have 384 features.*12 blocks"),
        ("B2_vits14_softcon", dinov2(), Told(), "number of bands is 13 by the weights, but 2 by the name"),
        ("B13_rn50_softcon", dinov2(), Told(), "architecture is vit_small.* by the weights, but resnet50 by the name"),
        ("x", dinov2(), Told(image_size=112), "image size is 224 by the weights, but 112 by --image-size"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, name: str, weights: Weights, told: Told, message: str) -> None:
    with pytest.raises(BundleError, match=f"(?s){message}"):
        read_official(save(tmp_path / f"{name}.pth", weights), told)

"""What is known of timm's architectures without it: the table agrees with timm, and mistakes are named."""

import subprocess
import sys
import warnings

import pytest
import torch

from geopretext.errors import BandError, RecipeError
from geopretext.nn.families import settings_class, settings_from_plain, settings_to_plain
from geopretext.nn.timm_settings import TimmSettings, architectures

SOME = (
    "vit_small_patch16_224",
    "vit_small_patch14_reg4_dinov2",
    "swin_tiny_patch4_window7_224",
    "swinv2_tiny_window8_256",
    "resnet50d",
    "vit_micro",
    "swin_micro",
    "swinv2_micro",
    "resnet_micro",
)


def check(name: str) -> None:
    timm = pytest.importorskip("timm", exc_type=ImportError)
    facts = architectures()[name]
    with warnings.catch_warnings(), torch.device("meta"):
        warnings.simplefilter("ignore")
        model = timm.create_model(facts.base, num_classes=0, **facts.arguments)
    if facts.kind == "vit":
        depths, widths = [len(model.blocks)], [model.embed_dim]
    elif facts.kind == "swin":
        depths, widths = [len(stage.blocks) for stage in model.layers], [info["num_chs"] for info in model.feature_info]
    else:
        stages = [model.layer1, model.layer2, model.layer3, model.layer4]
        depths, widths = [len(stage) for stage in stages], [info["num_chs"] for info in model.feature_info[1:]]
    assert (list(facts.depths), list(facts.widths)) == (depths, widths), name


@pytest.mark.parametrize("name", SOME)
def test_the_table_is_what_timm_makes(name: str) -> None:
    check(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in architectures() if name not in SOME])
def test_all_of_the_table_is_what_timm_makes(name: str) -> None:
    check(name)


def test_widths_and_strides_are_known() -> None:
    vit = TimmSettings()
    assert (vit.widths, vit.strides) == ((384,) * 4, (16,) * 4)
    assert (vit.pooled_width("mean"), vit.pooled_width("stages"), vit.patches) == (384, 3072, 49)
    swin = TimmSettings("swin_tiny_patch4_window7_224", patch_size=8, image_size=56)
    assert (swin.widths, swin.strides) == ((96, 192, 384, 768), (1, 2, 4, 8))
    assert swin.pooled_width("stages") == 2 * 1440
    assert swin.title == "swin_tiny_patch4_window7_224 of timm"


def test_settings_are_plain_data() -> None:
    settings = TimmSettings("resnet18", bands=("B2", "B3"), patch_size=32, image_size=64, drop_path=0.1)
    assert settings_from_plain(settings_to_plain(settings)) == settings
    assert settings_class("timm") is TimmSettings


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"architecture": "vit_small_patch16_dinov3"},
            "encoder.architecture is 'vit_small_patch16_dinov3'.*did you mean vit_small_patch1",
        ),
        ({"architecture": "resnext50"}, "'resnext50'.*did you mean resnet50"),
        ({"architecture": "efficientnet_b0"}, "'efficientnet_b0'.*hint: vit_.*docs/backbones.md"),
        ({"architecture": "swin_micro", "pretrained": True}, "timm has no weights of swin_micro"),
        ({"architecture": "resnet18", "patch_size": 4}, "encoder.patch_size is 4, of resnet18.*one of 8, 16, 32"),
        ({"patch_size": 1}, "encoder.patch_size is 1.*at least 2"),
        ({"image_size": 100}, "100 is not a multiple of encoder.patch_size 16"),
        ({"drop_path": 1.0}, "encoder.drop_path is 1"),
        ({"bands": ()}, "encoder.bands is empty"),
        ({"family": "vit"}, "encoder.family is 'vit'"),
    ],
)
def test_mistakes_are_named(changes, message) -> None:
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        TimmSettings(**changes)


def test_bands_are_those_of_the_modality() -> None:
    with pytest.raises(BandError, match="B99"):
        TimmSettings(bands=("B2", "B99"))


def test_settings_need_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from geopretext.nn.timm_settings import TimmSettings; TimmSettings();"
        "assert not {'torch', 'timm'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

import json

import pytest
import torch

from geopretext.errors import BundleError, RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import load_head, make_head, save_head
from geopretext.nn.classifier import Classifier
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings, HeadSettings
from geopretext.nn.unet import UNet

BANDS = ("B2", "B8A", "B11")
SETTINGS = EncoderSettings(size="micro", bands=BANDS, image_size=16)


def make(kind, **settings):
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(**{**vars(SETTINGS), **settings}))
    return make_head(HeadSettings(kind, 5), encoder).eval()


def save(folder, network, **scales):
    modality = PUBLISHED["sentinel2"].select(BANDS)
    save_head(
        folder, network, modality=modality, statistics=scales or None, recipe={"name": "tuned"}, metrics={"f1": 1}
    )


@pytest.mark.parametrize(("kind", "shape"), [("classifier", (2, 5)), ("unet", (2, 5, 16, 24))])
def test_a_head_comes_back_with_its_encoder(tmp_path, kind, shape):
    network, images = make(kind), torch.randn(2, 3, 16, 24)
    save(tmp_path / "bundle", network, all=((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)))
    again = load_head(tmp_path / "bundle")
    assert type(again) is type(network)
    assert not again.training
    with torch.no_grad():
        assert again(images).shape == shape
        assert torch.equal(again(images), network(images))
        encoder = Encoder.from_pretrained(tmp_path / "bundle")
        assert torch.equal(encoder(images), network.encoder(images))
    assert encoder.recipe == {"name": "tuned"}
    assert encoder.statistics["all"][0] == (1.0, 2.0, 3.0)
    encoder.save_pretrained(tmp_path / "bundle")
    assert not (tmp_path / "bundle" / "head.safetensors").exists()


def test_every_weight_gets_a_gradient():
    for kind in ("classifier", "unet"):
        network = make(kind).train()
        network(torch.randn(2, 3, 16, 16)).square().mean().backward()
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None, name


def test_a_unet_follows_the_image_pixel_by_pixel():
    """Far from the border, a shift of the image by a patch shifts the scores; response norms see the whole image."""
    network = make("unet", image_size=64)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if ".grn." in name:
                parameter.zero_()
        image = torch.randn(1, 3, 256, 256)
        scores, shifted = network(image), network(image.roll((8, 8), (2, 3)))
    torch.testing.assert_close(shifted[..., 136:144, 136:144], scores[..., 128:136, 128:136], rtol=1e-3, atol=1e-5)


def edit(folder, change):
    config = json.loads((folder / "config.json").read_text())
    change(config)
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["head"].update(kind="svm"), "section head: head.kind is 'svm'.*hint: one of classifier, unet"),
        (lambda c: c["head"].update(classes=0), "section head: head.classes is 0"),
        (lambda c: c["head"].update(depth=3), "section head: .*depth"),
        (lambda c: c["head"].update(classes=6), r"a classifier of 6 classes.*head.bias is \(5,\), wanted \(6,\)"),
        (lambda c: c.pop("head"), "holds no classifier or U-Net"),
        (lambda c: c["head"].update(kind="unet"), "a unet of 5 classes.*is missing"),
    ],
)
def test_heads_that_cannot_be_read_are_named(tmp_path, change, message):
    save(tmp_path / "bundle", make("classifier"))
    edit(tmp_path / "bundle", change)
    with pytest.raises(BundleError, match=f"(?s){message}"):
        load_head(tmp_path / "bundle")


def test_a_lost_head_is_named(tmp_path):
    save(tmp_path / "bundle", make("classifier"))
    (tmp_path / "bundle" / "head.safetensors").unlink()
    with pytest.raises(BundleError, match=r"has no head.safetensors"):
        load_head(tmp_path / "bundle")


def test_heads_that_cannot_be_made_are_refused():
    with pytest.raises(RecipeError, match="a classifier of 0 classes"):
        Classifier(ConvNeXtV2(SETTINGS), 0)
    with pytest.raises(RecipeError, match="a U-Net of 0 classes"):
        UNet(ConvNeXtV2(SETTINGS), 0)
    with pytest.raises(RecipeError, match=r"(?s)dense_padding is 'published-classifier'.*hint: a U-Net wants 'same'"):
        make("unet", dense_padding="published-classifier")


@pytest.mark.parametrize("patch", [8, 16])
def test_dense_settings_leave_masked_use_alone(patch):
    torch.manual_seed(0)
    plain = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, patch_size=patch, image_size=4 * patch)).eval()
    changed = EncoderSettings(
        size="micro",
        bands=BANDS,
        patch_size=patch,
        image_size=4 * patch,
        dense_padding="published-classifier",
        dense_grn_epsilon=0.5,
    )
    other = ConvNeXtV2(changed).eval()
    with torch.no_grad():
        for name, parameter in plain.named_parameters():
            if ".grn." in name:
                parameter.normal_()
    other.load_state_dict(plain.state_dict())
    images, visible = torch.randn(1, 3, 4 * patch, 4 * patch), torch.rand(1, 16) > 0.6
    visible[0, 0] = True
    with torch.no_grad():
        assert torch.equal(plain(images, visible), other(images, visible))
        assert plain(images).shape != other(images).shape or not torch.allclose(plain(images), other(images), rtol=0.01)

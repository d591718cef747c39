import json

import pytest
import torch

from geopretext.errors import BundleError, MissingLibraryError, RecipeError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import head_settings, load_head, load_head_labels, make_head, save_head, trained_extent
from geopretext.nn.classifier import Classifier
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import HEADS, SEGMENTERS, EncoderSettings, HeadLabels, HeadSettings
from geopretext.nn.unet import UNet

BANDS = ("B2", "B8A", "B11")
SETTINGS = EncoderSettings(size="micro", bands=BANDS, image_size=16)


def make(kind, pair=None, classes=5, **settings):
    torch.manual_seed(0)
    encoder = ConvNeXtV2(EncoderSettings(**{**vars(SETTINGS), **settings}))
    return make_head(HeadSettings(kind, classes, pair), encoder).eval()


def save(folder, network, labels=None, recipe=None, **scales):
    save_head(
        folder,
        network,
        modality=PUBLISHED["sentinel2"].select(BANDS),
        statistics=scales or None,
        recipe=recipe or {"name": "tuned"},
        metrics={"f1": 1},
        labels=labels,
    )


@pytest.mark.filterwarnings("ignore")  # of what segmentation-models-pytorch imports
@pytest.mark.parametrize("kind", HEADS)
def test_a_head_comes_back_with_its_encoder(tmp_path, kind, need_decoder):
    need_decoder(kind)
    network, images = make(kind), torch.randn(2, 3, 16, 24)
    shape = (2, 5) if kind == "classifier" else (2, 5, 16, 24)
    save(tmp_path / "bundle", network, all=((1.0, 2.0, 3.0), (1.0, 1.0, 1.0)))
    again = load_head(tmp_path / "bundle")
    assert head_settings(again) == HeadSettings(kind, 5)
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


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", SEGMENTERS)
@pytest.mark.parametrize("pair", ["difference", "concatenation"])
def test_a_head_of_pairs_comes_back(tmp_path, kind, pair, need_decoder):
    need_decoder(kind)
    network, images = make(kind, pair), torch.randn(2, 2, 3, 16, 24)
    save(tmp_path / "bundle", network)
    again = load_head(tmp_path / "bundle")
    assert head_settings(again) == HeadSettings(kind, 5, pair)
    with torch.no_grad():
        assert torch.equal(again(images), network(images))
        encoder = Encoder.from_pretrained(tmp_path / "bundle")
        assert torch.equal(encoder(images[:, 0]), network.encoder(images[:, 0]))


def test_the_classifier_trains_every_weight():
    network = make("classifier").train()
    network(torch.randn(2, 3, 16, 16)).square().mean().backward()
    assert [name for name, parameter in network.named_parameters() if parameter.grad is None] == []


LABELS = {
    "linear": HeadLabels("segmentation", ("crop", "forest"), codes=(10, 20), ignore=0),
    "classifier": HeadLabels("regression", ("height", "age"), "m, years", mean=(12.5, 40.0), std=(3.0, 9.0)),
    "unet": HeadLabels("change detection", ("unchanged", "changed"), ignore=255),
}


@pytest.mark.parametrize("kind", LABELS)
def test_a_bundle_says_what_its_scores_mean(tmp_path, kind):
    pair = "difference" if kind == "unet" else None
    save(tmp_path / "bundle", make(kind, pair, classes=2), LABELS[kind])
    assert load_head_labels(tmp_path / "bundle") == LABELS[kind]


def test_bundles_of_older_versions_still_load(tmp_path):
    network, images = make("unet"), torch.randn(1, 3, 16, 16)
    save(tmp_path / "bundle", network)
    edit(tmp_path / "bundle", lambda config: config.update(head={"kind": "unet", "classes": 5}))
    with torch.no_grad():
        assert torch.equal(load_head(tmp_path / "bundle")(images), network(images))
    with pytest.raises(BundleError, match="does not say what its scores mean"):
        load_head_labels(tmp_path / "bundle")


@pytest.mark.filterwarnings("ignore")
def test_a_decoder_whose_library_is_missing_says_how_to_get_it(tmp_path, need_decoder, forget):
    need_decoder("smp-fpn")
    save(tmp_path / "bundle", make("smp-fpn"))
    forget("segmentation_models_pytorch")
    with pytest.raises(MissingLibraryError, match=r'(?s)segmentation_models_pytorch.*pip install "geopretext\[segment'):
        load_head(tmp_path / "bundle")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"task": "painting"}, r"labels.task is 'painting'"),
        ({"names": ()}, r"labels.names is \(\)"),
        ({"names": ("a", 2)}, r"labels.names is \('a', 2\)"),
        ({"mean": (1.0, 2.0)}, r"labels.mean is .*hint: 0 numbers for a task of segmentation"),
        ({"task": "dense regression", "mean": (1.0, 2.0), "std": (1.0, 0.0)}, r"labels.std is .*above 0"),
        ({"task": "dense regression", "mean": (1.0, float("nan")), "std": (1.0, 1.0)}, r"labels.mean"),
        ({"task": "regression", "mean": (1.0,), "std": (1.0,)}, r"labels.mean is .*2 numbers"),
        ({"codes": (1, 1)}, r"labels.codes is \(1, 1\)"),
        ({"codes": (1.5, 2)}, r"labels.codes"),
        ({"codes": (1, 2, 3)}, r"labels.codes"),
        ({"codes": (1, 2), "ignore": 2}, r"labels.ignore is 2, which is a class"),
        ({"ignore": 1}, r"labels.ignore is 1, which is a class"),
        ({"ignore": float("inf")}, r"labels.ignore is inf"),
    ],
)
def test_labels_that_mean_nothing_are_refused(wrong, message):
    with pytest.raises(RecipeError, match=f"(?s){message}"):
        HeadLabels(**{"task": "segmentation", "names": ("a", "b"), **wrong})


def test_labels_of_another_head_are_refused(tmp_path):
    with pytest.raises(BundleError, match="has 5 scores, and names for 2"):
        save(tmp_path / "bundle", make("linear"), LABELS["linear"])
    with pytest.raises(BundleError, match=r"of change detection, and head\.pair is None"):
        save(tmp_path / "bundle", make("unet", classes=2), LABELS["unet"])
    assert not (tmp_path / "bundle").exists()


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
        (
            lambda c: c["head"].update(kind="svm"),
            "section head: head.kind is 'svm'.*hint: one of classifier, linear, unet",
        ),
        (lambda c: c["head"].update(classes=0), "section head: head.classes is 0"),
        (lambda c: c["head"].update(depth=3), "section head: .*depth"),
        (lambda c: c["head"].update(classes=6), r"a classifier of 6 classes.*head.bias is \(5,\), wanted \(6,\)"),
        (lambda c: c["head"].update(pair="difference"), "section head: head.pair is 'difference', of a classifier"),
        (lambda c: c["head"].update(labels={"task": "segmentation"}), "section head: .*names"),
        (lambda c: c["head"].update(labels=["segmentation"]), "section head: "),
        (lambda c: c["head"].update(labels={"task": "segmentation", "names": ["a"]}), "has 5 scores, and names for 1"),
        (lambda c: c.pop("head"), "holds no classifier and no decoder of labels"),
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


@pytest.mark.parametrize(
    ("recipe", "extent"),
    [({"image_height": 40, "image_width": 61}, 40), ({"image_height": 61, "image_width": 61}, 56), ({"epochs": 3}, 16)],
)
def test_a_head_knows_the_size_of_the_images_that_it_was_trained_on(tmp_path, recipe, extent):
    save(tmp_path, make("classifier"), recipe=recipe)
    assert trained_extent(tmp_path) == extent


def test_an_encoder_knows_the_size_of_its_crops(tmp_path):
    save(tmp_path, make("classifier"), recipe={"image_height": 40, "image_width": 40})
    Encoder.from_pretrained(tmp_path).save_pretrained(tmp_path / "encoder")
    assert trained_extent(tmp_path / "encoder") == 16


@pytest.mark.parametrize("side", [3, "64", None])
def test_images_of_no_size_are_refused(tmp_path, side):
    save(tmp_path, make("classifier"), recipe={"image_height": side, "image_width": 64})
    with pytest.raises(BundleError, match=r"images of .* x 64 pixels"):
        trained_extent(tmp_path)

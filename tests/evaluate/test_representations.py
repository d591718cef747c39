"""What stands beside an encoder in a table: baselines by name, their features, what decides them."""

import builtins
import importlib
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from torch import Tensor

from geopretext.data.store import Store
from geopretext.errors import BundleError, InputError, MissingLibraryError
from geopretext.evaluate import representations, timm_features
from geopretext.evaluate.baselines import random_encoder
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.inputs import Feed, TileInputs
from geopretext.evaluate.random_convolutions import draw_filters, filters_of
from geopretext.evaluate.representations import make_representation
from geopretext.evaluate.tasks import store_task
from geopretext.evaluate.timm_features import TimmSettings
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings

from .small_store import MODALITIES, make_encoder, write_store

SAMPLES = np.array([40, 3, 7, 100, 8])


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("representations") / "tiles.zarr")


@pytest.fixture(scope="module")
def feed(store: Store) -> Feed:
    return TileInputs(store).prepare(make_encoder(), np.arange(0, 90))


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what timm warns about is its own
        try:
            return importlib.import_module("timm")
        except (ImportError, RuntimeError) as error:
            pytest.skip(f"timm cannot be imported: {error}")


def images_of(feed: Feed, samples: np.ndarray) -> Tensor:
    return torch.cat(list(feed.standardised(samples)))


@pytest.mark.parametrize("spec", ["pretrained", "random_init", "band_statistics", "random_convolutions"])
def test_features_are_those_of_the_samples_in_their_order(feed: Feed, spec: str) -> None:
    representation = make_representation(spec, make_encoder(), seed=3)
    told: list[tuple[int, int]] = []
    features = representation.features(feed, SAMPLES, progress=lambda *done: told.append(done))
    assert representation.name == spec
    assert (features.dtype, features.shape[0]) == (np.float32, len(SAMPLES))
    assert told[-1] == (5, 5)
    backwards = representation.features(feed, SAMPLES[::-1].copy())
    np.testing.assert_allclose(backwards[::-1], features, rtol=1e-4, atol=1e-5)
    assert len(np.unique(features.round(3), axis=0)) == len(SAMPLES)


def test_encoders_give_what_they_give_by_hand(feed: Feed) -> None:
    encoder = make_encoder()
    images = images_of(feed, SAMPLES)
    with torch.no_grad():
        for spec, network, pooling in (
            ("pretrained", encoder, "stages"),
            ("random_init", random_encoder(encoder, 3), "mean"),
        ):
            features = make_representation(spec, encoder, seed=3, pooling=pooling).features(feed, SAMPLES)
            np.testing.assert_allclose(features, network.features(images, pooling), rtol=1e-4, atol=1e-5)


def test_names_say_whether_a_seed_matters() -> None:
    encoder = make_encoder()
    seeded = {
        spec: make_representation(spec, encoder).seeded
        for spec in ("pretrained", "random_init", "band_statistics", "random_convolutions")
    }
    assert seeded == {
        "pretrained": False,
        "random_init": True,
        "band_statistics": False,
        "random_convolutions": True,
    }


def variants(encoder: Encoder) -> Iterator[tuple[str, str]]:
    other_statistics = Encoder(
        encoder.network, encoder.modality, statistics={"all": ((1.0, 2.0, 3.0), (1.0, 1.0, 1.0))}
    )
    for spec in ("pretrained", "random_init", "band_statistics", "random_convolutions"):
        yield spec, make_representation(spec, encoder).fingerprint()
    yield "random_init, seed 1", make_representation("random_init", encoder, seed=1).fingerprint()
    yield "random_convolutions, seed 1", make_representation("random_convolutions", encoder, seed=1).fingerprint()
    yield "mean", make_representation("pretrained", encoder, pooling="mean").fingerprint()
    yield "weights", make_representation("pretrained", make_encoder(seed=10)).fingerprint()
    yield "statistics", make_representation("pretrained", other_statistics).fingerprint()


def test_fingerprints_tell_apart_what_gives_other_features_and_nothing_else() -> None:
    first, again = dict(variants(make_encoder())), dict(variants(make_encoder()))
    assert first == again
    assert len(set(first.values())) == len(first)
    encoder = make_encoder()
    before = make_representation("pretrained", encoder).fingerprint()
    with torch.no_grad():
        encoder.network.stages[0][0].grn.gamma[0, 0, 0, 5] = 1e-3
    assert make_representation("pretrained", encoder).fingerprint() != before


def test_the_global_random_state_stays_as_it_is(feed: Feed) -> None:
    state = torch.random.get_rng_state()
    for spec in ("random_init", "random_convolutions"):
        make_representation(spec, make_encoder_quietly(), seed=1).features(feed, SAMPLES)
    assert torch.equal(state, torch.random.get_rng_state())


def make_encoder_quietly() -> Encoder:
    with torch.random.fork_rng(devices=[]):
        return make_encoder()


def test_convolutions_answer_as_a_plain_sum_over_each_patch_does(feed: Feed) -> None:
    filters = draw_filters(feed, seed=0, count=6, side=3)
    images = images_of(feed, SAMPLES[:2])
    weight, bias = filters.weight.double().numpy(), filters.bias.double().numpy()
    expected = np.zeros((2, 12))
    for sample, image in enumerate(images.double().numpy()):
        answers = [
            [(weight * image[:, y : y + 3, x : x + 3]).sum((1, 2, 3)) + bias for x in range(14)] for y in range(14)
        ]
        flat = np.reshape(answers, (-1, 6))
        expected[sample] = np.concatenate([np.maximum(flat, 0).mean(0), np.maximum(-flat, 0).mean(0)])
    np.testing.assert_allclose(filters.features(images), expected, rtol=1e-3, atol=1e-4)


def test_filters_are_whitened_patches_whose_answers_have_variance_one() -> None:
    generator = torch.Generator().manual_seed(0)
    patches = torch.randn(4000, 2, 2, 2, generator=generator) @ torch.tensor([[1.0, 0.9], [0.0, 0.3]]) + 5
    filters = filters_of(patches)
    flat = patches.flatten(1).double()
    answers = flat @ filters.weight.flatten(1).double().T + filters.bias.double()
    np.testing.assert_allclose(answers.std(0), 1, rtol=1e-2)
    np.testing.assert_allclose(answers.mean(0), -1, atol=1e-3)
    # By hand: the inverse of the covariance, up to what is added to it, and up to a factor.
    centred = flat - flat.mean(0)
    covariance = centred.T @ centred / len(flat)
    by_hand = centred @ torch.linalg.inv(covariance + 1e-3 * covariance.diagonal().mean() * torch.eye(8).double())
    cosine = torch.nn.functional.cosine_similarity(by_hand, filters.weight.flatten(1).double())
    assert cosine.min() > 0.9999


def test_images_without_any_contrast_give_features_that_are_finite() -> None:
    filters = filters_of(torch.zeros(5, 3, 3, 3))
    assert torch.isfinite(filters.features(torch.randn(2, 3, 8, 8))).all()


def test_patches_come_from_training_images_alone(store: Store) -> None:
    encoder = make_encoder()
    inputs = TileInputs(store)
    narrow, again = (inputs.prepare(encoder, np.array([5])) for _ in range(2))
    drawn, same = (draw_filters(feed, seed=0, count=4, side=3) for feed in (narrow, again))
    assert torch.equal(drawn.weight, same.weight)
    assert not torch.equal(drawn.weight, draw_filters(narrow, seed=1, count=4, side=3).weight)
    other = draw_filters(inputs.prepare(encoder, np.array([6])), seed=0, count=4, side=3)
    assert not torch.equal(drawn.weight, other.weight)


def test_filters_are_drawn_once_for_a_feed(store: Store, feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[Feed] = []
    draw = representations.draw_filters
    monkeypatch.setattr(representations, "draw_filters", lambda feed, seed: drawn.append(feed) or draw(feed, seed=seed))
    convolutions = make_representation("random_convolutions", make_encoder())
    parts = [convolutions.features(feed, SAMPLES[:2]), convolutions.features(feed, SAMPLES[2:])]
    other = TileInputs(store).prepare(make_encoder(), np.arange(3))
    assert not np.allclose(convolutions.features(other, SAMPLES), np.concatenate(parts))
    np.testing.assert_allclose(convolutions.features(feed, SAMPLES), np.concatenate(parts), rtol=1e-4, atol=1e-5)
    assert drawn == [feed, other, feed]


def test_a_large_batch_gives_what_single_images_give(feed: Feed, monkeypatch: pytest.MonkeyPatch) -> None:
    filters = draw_filters(feed, seed=0, count=8)
    images = images_of(feed, np.arange(30))
    whole = filters.features(images)
    monkeypatch.setattr("geopretext.evaluate.random_convolutions._ANSWERS_AT_ONCE", 1)
    torch.testing.assert_close(filters.features(images), whole, rtol=1e-4, atol=1e-5)


def test_another_bundle_stands_behind_its_own_door(store: Store, tmp_path: Path) -> None:
    bands = ("B4", "B3")
    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=bands))
    statistics = {"all": ((800.0, 900.0), (100.0, 500.0))}
    other = Encoder(network, MODALITIES[0].select(bands), statistics=statistics).eval()
    other.save_pretrained(tmp_path / "other")
    spec = f"bundle:{tmp_path / 'other'}"
    task = store_task(store, "surface")
    scores = evaluate(make_encoder(), task, baselines=[spec])
    assert list(scores.scores) == ["pretrained", spec]
    assert scores.settings["methods"][spec]["inputs"]["bands"] == ["B4", "B3"]
    alone = evaluate(other, task, baselines=())
    assert scores.scores[spec].value == alone.scores["pretrained"].value
    with pytest.raises(BundleError):
        make_representation(f"bundle:{tmp_path / 'nowhere'}", other)


def test_baselines_are_those_that_were_asked_for(store: Store) -> None:
    task = store_task(store, "surface")
    scores = evaluate(make_encoder(), task, head="knn", baselines=["random_convolutions"], random_seeds=(4, 5))
    assert list(scores.scores) == ["pretrained", "random_convolutions"]
    assert len(scores.chosen["random_convolutions"]) == 2
    assert scores.scores["random_convolutions"].value > 0.9  # surfaces differ in brightness and roughness
    assert scores.settings["random_seeds"] == [4, 5]
    assert scores.settings["methods"]["random_convolutions"]["filters"] == 512


def test_an_unknown_name_is_refused_with_those_there_are(store: Store) -> None:
    with pytest.raises(InputError, match="no representation 'imagenet'") as caught:
        evaluate(make_encoder(), store_task(store, "surface"), baselines=["imagenet"])
    assert caught.value.hint == (
        "one of pretrained, random_init, band_statistics, random_convolutions, timm:NAME, bundle:PATH"
    )


def test_without_timm_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest, **named):
        if name == "timm":
            raise ModuleNotFoundError("No module named 'timm'", name="timm")
        return real(name, *rest, **named)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(MissingLibraryError, match="timm is not installed") as caught:
        make_representation("timm:resnet18", make_encoder())
    assert caught.value.hint == 'pip install "geopretext[timm]"'


def test_options_of_timm_are_read() -> None:
    assert TimmSettings.parse("resnet18") == TimmSettings("resnet18")
    parsed = TimmSettings.parse("hf-hub:timm/resnet18.a1_in1k?pretrained=false&size=96")
    assert parsed == TimmSettings("hf-hub:timm/resnet18.a1_in1k", pretrained=False, size=96)


@pytest.mark.parametrize("text", ["", "?size=3", "resnet18?pretrained=no", "resnet18?size=0", "resnet18?depth=3"])
def test_other_options_of_timm_are_refused(text: str) -> None:
    with pytest.raises(InputError, match=r"option|names no model"):
        TimmSettings.parse(text)


@pytest.fixture(scope="module")
def photographs(timm: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A model of photographs with weights, as a folder, since nothing is fetched in tests."""
    folder = tmp_path_factory.mktemp("photographs")
    torch.manual_seed(1)
    timm.models.save_for_hf(timm.create_model("test_convnext"), folder, safe_serialization=True)
    return f"timm:local-dir:{folder}"


def test_kernels_of_photographs_are_taken_by_the_names_of_bands(timm: ModuleType, photographs: str) -> None:
    bands = ("B2", "B8", "B4", "B3")
    encoder = replace_bands(bands)
    published = timm.create_model(photographs.removeprefix("timm:"), pretrained=True, num_classes=0).eval()
    images = torch.randn(3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    # What each kernel sees is summed over the bands, so the other bands add their mean to each colour.
    colours = torch.stack([images[:, 2], images[:, 3], images[:, 0]], 1) + images[:, 1:2] / 3
    with torch.no_grad():
        expected = published(colours * 3 / 4)
        representation = make_representation(photographs, encoder)
        torch.testing.assert_close(representation.model.features(images), expected, rtol=1e-4, atol=1e-5)


def test_weights_whose_first_convolution_is_unknown_are_refused() -> None:
    with pytest.raises(InputError, match="timm:nameless: timm does not say which is its first convolution"):
        timm_features._for_bands({}, None, ("B4",), "timm:nameless")


def replace_bands(bands: tuple[str, ...]) -> Encoder:
    modality = replace(MODALITIES[0], bands=tuple(replace(MODALITIES[0].bands[0], name=name) for name in bands))
    return Encoder(ConvNeXtV2(EncoderSettings(size="micro", bands=bands)), modality).eval()


def test_red_green_and_blue_get_what_photographs_got(timm: ModuleType, photographs: str) -> None:
    published = timm.create_model(photographs.removeprefix("timm:"), pretrained=True, num_classes=0).eval()
    images = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        features = make_representation(photographs, make_encoder()).model.features(images)
        torch.testing.assert_close(features, published(images.flip(1)))


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
def test_a_model_of_timm_gives_features_and_a_score(timm: ModuleType, store: Store, feed: Feed, name: str) -> None:
    spec = f"timm:{name}?pretrained=false"
    state = torch.random.get_rng_state()
    first, again, other = (make_representation(spec, make_encoder_quietly(), seed=seed) for seed in (0, 0, 1))
    assert torch.equal(state, torch.random.get_rng_state())
    assert first.fingerprint() == again.fingerprint() != other.fingerprint()
    features = first.features(feed, SAMPLES)
    assert features.dtype == np.float32
    np.testing.assert_array_equal(features, again.features(feed, SAMPLES))
    assert (features != other.features(feed, SAMPLES)).any()
    scores = evaluate(make_encoder(), store_task(store, "surface"), baselines=[spec], random_seeds=(0,))
    assert scores.scores[spec].value > 0.5
    assert scores.settings["methods"][spec]["timm"] == timm.__version__


def test_images_are_scaled_to_the_size_that_is_asked_for_or_needed(timm: ModuleType) -> None:
    encoder = make_encoder()
    vit = timm.create_model("test_vit").pretrained_cfg["input_size"][-1]
    assert make_representation("timm:test_vit?pretrained=false", encoder).record["size"] == vit
    assert make_representation("timm:test_resnet?pretrained=false", encoder).record["size"] is None
    model = make_representation("timm:test_resnet?pretrained=false&size=32", encoder).model
    image = torch.rand(1, 3, 8, 8)
    enlarged = torch.nn.functional.interpolate(image, (32, 32), mode="bilinear", antialias=True)
    with torch.no_grad():
        torch.testing.assert_close(model.features(image), model.model(enlarged))


def test_models_that_cannot_be_had_are_refused(timm: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no model of timm"):
        make_representation("timm:resnet1", make_encoder())

    def offline(name: str, *, pretrained: bool, **named: object) -> None:
        raise OSError("cannot find the requested files in the local cache")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(InputError, match="its weights cannot be had: cannot find") as caught:
        make_representation("timm:test_resnet", make_encoder())
    assert "timm:test_resnet?pretrained=false" in caught.value.hint


def test_weights_of_other_bands_are_refused(timm: ModuleType, tmp_path: Path) -> None:
    timm.models.save_for_hf(timm.create_model("test_convnext", in_chans=5), tmp_path, safe_serialization=True)
    with pytest.raises(InputError, match="no convolution of three colours"):
        make_representation(f"timm:local-dir:{tmp_path}", make_encoder())

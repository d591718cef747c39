"""Encoders of timm go through k-NN, probe and fine-tuning as others do; skipped where timm is missing."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from geopretext.data.store import Store
from geopretext.errors import RecipeError
from geopretext.evaluate.evaluation import Head, evaluate
from geopretext.evaluate.finetune import finetune
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.networks import make_network
from geopretext.evaluate.parameter_groups import parameter_groups
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.tasks import store_task
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import load_head
from geopretext.nn.decoders import Segmenter
from geopretext.nn.families import make_encoder
from geopretext.nn.siamese import Siamese
from geopretext.nn.timm_settings import TimmSettings
from geopretext.nn.unet import StagesUNet

from .small_store import BANDS, MODALITIES, write_store

pytest.importorskip("timm", exc_type=ImportError)
pytestmark = pytest.mark.filterwarnings("ignore")  # timm's

NAMES = ("vit_micro", pytest.param("swin_micro", marks=pytest.mark.slow), "resnet_micro")
FAST = FinetuneSettings(epochs=4, batch_size=16, base_learning_rate=3e-2, warmup_epochs=0, drop_path=0.1)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("timm") / "tiles.zarr")


def make(name: str) -> Encoder:
    torch.manual_seed(9)
    network = make_encoder(TimmSettings(name, bands=BANDS, patch_size=8, image_size=16))
    scales = {"all": ((800.0, 900.0, 800.0), (100.0, 500.0, 100.0))}
    return Encoder(network, MODALITIES[0], statistics=scales).eval()


@pytest.mark.parametrize("head", ["knn", "probe"])
@pytest.mark.parametrize("name", NAMES)
def test_its_features_are_scored_beside_its_own_random_weights(store: Store, name: str, head: Head) -> None:
    scores = evaluate(make(name), store_task(store, "surface"), head=head, random_seeds=(0,)).to_dict()
    assert list(scores["scores"]) == ["pretrained", "random_init", "band_statistics", "random_convolutions"]
    assert scores["scores"]["pretrained"]["value"] > 0.5


@pytest.mark.parametrize("name", NAMES)
def test_it_is_finetuned_and_saved_with_its_head(store: Store, name: str, tmp_path: Path) -> None:
    task = store_task(store, "surface")
    encoder = make(name)
    prepared = Prepared.open(replace(task, train=task.train[:48], val=task.val[:16], test=task.test[:16]), encoder)
    run = finetune(encoder, prepared, FAST, seed=0, save=tmp_path)
    assert run.validation > 0.6
    head = load_head(tmp_path).eval()
    images, _ = prepared.batch(prepared.task.test)
    with torch.inference_mode():
        guesses = head(images).argmax(1).numpy()
    assert (guesses == run.outcome.scores.argmax(1)).all()


@pytest.mark.parametrize("name", NAMES)
def test_blocks_learn_more_slowly_the_further_they_are_from_the_head(name: str) -> None:
    network = make_network(FinetuneSettings(), make(name), TaskKind.SINGLE_LABEL, 4)
    layers = network.encoder.layers
    groups = parameter_groups(network, FinetuneSettings(layer_decay=0.5))
    scales = {group.scale for group in groups}
    assert scales == {0.5**distance for distance in range(layers + 1)}
    assert sum(len(group.parameters) for group in groups) == len(list(network.parameters()))


@pytest.mark.parametrize("name", ["vit_micro", "swin_micro"])
def test_low_rank_additions_are_merged_into_the_weights(store: Store, name: str, tmp_path: Path) -> None:
    encoder = make(name)
    prepared = Prepared.open(store_task(store, "surface"), encoder)
    prepared = Prepared.open(replace(prepared.task, train=prepared.task.train[:16]), encoder)
    run = finetune(encoder, prepared, replace(FAST, epochs=1, trained="lora", lora_rank=2), seed=0, save=tmp_path)
    assert run.facts["trainable_parameters"] < run.facts["parameters"] / 20
    merged = Encoder.from_pretrained(tmp_path).network.state_dict()
    changed = {key for key, value in encoder.network.state_dict().items() if not torch.equal(value, merged[key])}
    assert changed
    assert all(key.endswith((".qkv.weight", ".proj.weight", ".fc1.weight", ".fc2.weight")) for key in changed)


def test_what_does_not_fit_is_named(store: Store) -> None:
    encoder = make("resnet_micro")
    prepared = Prepared.open(store_task(store, "surface"), encoder)
    with pytest.raises(RecipeError, match=r"(?s)'lora', and a resnet_micro of timm has no linear layers.*norms"):
        finetune(encoder, prepared, replace(FAST, trained="lora"), seed=0)
    with pytest.raises(RecipeError, match=r"(?s)published_groups is true.*resnet_micro of timm.*another preset"):
        finetune(encoder, prepared, replace(FAST, published_groups=True), seed=0)


def test_a_frozen_resnet_keeps_its_running_statistics(store: Store, tmp_path: Path) -> None:
    encoder = make("resnet_micro")
    task = store_task(store, "surface")
    prepared = Prepared.open(replace(task, train=task.train[:16]), encoder)
    finetune(encoder, prepared, replace(FAST, epochs=1, trained="head"), seed=0, save=tmp_path)
    again = Encoder.from_pretrained(tmp_path).network.state_dict()
    for key, value in encoder.network.state_dict().items():
        assert torch.equal(value, again[key]), key


@pytest.mark.parametrize("kind", [TaskKind.SEGMENTATION, TaskKind.DENSE_REGRESSION, TaskKind.CHANGE_DETECTION])
@pytest.mark.parametrize("name", NAMES)
def test_labels_of_pixels_get_a_decoder_that_fits(name: str, kind: TaskKind) -> None:
    network = make_network(FinetuneSettings(), make(name), kind, 3)
    assert isinstance(network, Segmenter | Siamese)
    assert isinstance(network.decoder, StagesUNet)
    shape = (2, 2, 3, 16, 24) if kind is TaskKind.CHANGE_DETECTION else (2, 3, 16, 24)
    assert network(torch.randn(shape)).shape == (2, 3, 16, 24)

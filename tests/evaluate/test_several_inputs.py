"""A bundle of several inputs is scored on optical images, on radar, or on both, and the scores say on which."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from geopretext.data.splits import random_split
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.errors import BandError
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.finetune import trained_input
from geopretext.evaluate.inputs import ImageInputs
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.tasks import store_task
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import input_relations, input_scales
from geopretext.nn.families import make_encoder
from geopretext.nn.fused_settings import FusedSettings

BANDS = {"sentinel2": ("B2", "B8A", "B11"), "sentinel1": ("asc_VV", "asc_VH")}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("several") / "tiles.zarr"
    write_synthetic_store(path, count=40, workers=1)
    store = Store.open(path)
    store.set_split(random_split(40, (0.5, 0.25, 0.25), seed=0))
    return store


@pytest.fixture(scope="module")
def encoder(store: Store) -> Encoder:
    torch.manual_seed(0)
    inputs = [PUBLISHED[name].select(bands) for name, bands in BANDS.items()]
    assert store.statistics is not None
    statistics = store.statistics.to_dict()
    network = make_encoder(FusedSettings(size="micro", inputs=BANDS, image_size=32, patch_size=16))
    return Encoder(
        network,
        inputs,
        statistics=input_scales(statistics, inputs),
        relations=input_relations(statistics, inputs),
    ).eval()


@pytest.mark.parametrize("used", [("sentinel2",), ("sentinel1",), ("sentinel2", "sentinel1")])
def test_tiles_are_scored_by_the_inputs_that_are_used(store: Store, encoder: Encoder, used: tuple[str, ...]) -> None:
    scores = evaluate(encoder.given(used), store_task(store, "biomass"), random_seeds=(0,), baselines=("random_init",))
    record = scores.to_dict()["settings"]["inputs"]
    assert record["inputs"] == {"used": list(used), "absent": [name for name in BANDS if name not in used]}
    assert record["bands"] == [band for name in used for band in BANDS[name]]
    assert record["gate"]["verdict"] != "not checked"
    wanted = list(used) if len(used) > 1 else []
    assert all(name in record["gate"]["reference"] for name in wanted)
    assert np.isfinite(scores.scores["pretrained"].value)


@dataclass(frozen=True)
class Pictures:
    """Images in memory."""

    values: np.ndarray
    bands: tuple[str, ...]
    unit: str
    where: str = "memory"
    dtype: str = "float32"

    @property
    def height(self) -> int:
        return int(self.values.shape[2])

    @property
    def width(self) -> int:
        return int(self.values.shape[3])

    def __len__(self) -> int:
        return len(self.values)

    def read(self, samples: Any, bands: Any) -> tuple[np.ndarray, np.ndarray]:
        values = self.values[samples][:, [self.bands.index(name) for name in bands]].astype(np.float32)
        return values, np.ones(values.shape, np.bool_)


def pictures(*names: str, unit: str) -> Pictures:
    bands = tuple(band for name in names for band in BANDS[name])
    centre = np.concatenate([np.full(len(BANDS[name]), {"sentinel2": 1500, "sentinel1": -12}[name]) for name in names])
    noise = np.random.default_rng(0).normal(1, 0.2, (6, len(bands), 32, 32))
    return Pictures((centre[:, None, None] * noise).astype(np.float32), bands, unit)


def test_images_of_one_input_stand_in_its_unit(encoder: Encoder) -> None:
    inputs = ImageInputs(pictures("sentinel1", unit="dB"))
    suited = inputs.suited(encoder)
    assert suited.bands == BANDS["sentinel1"]
    feed = inputs.prepare(suited, np.arange(6))
    assert feed.record["inputs"] == {"used": ["sentinel1"], "absent": ["sentinel2"]}
    assert (feed.record["unit"], feed.record["statistics"]) == ("dB", "bundle")
    assert feed.features(suited, np.arange(6)).shape == (6, suited.settings.pooled_width("stages"))


def test_images_of_both_are_standardised_each_by_itself(encoder: Encoder) -> None:
    """One unit is said of them; of the other input it cannot be converted, and its own statistics stand in."""
    images = pictures("sentinel2", "sentinel1", unit="reflectance x 10000")
    inputs = ImageInputs(images)
    feed = inputs.prepare(inputs.suited(encoder), np.arange(6))
    how = {name: one["statistics"] for name, one in feed.record["by_input"].items()}
    assert how == {"sentinel2": "bundle", "sentinel1": "dataset"}
    x = torch.cat(list(feed.standardised(np.arange(6)))).double().numpy()
    radar = images.values[:, 3:].astype(np.float64)
    own = (radar - radar.mean((0, 2, 3), keepdims=True)) / radar.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(x[:, 3:], own, rtol=1e-3, atol=1e-3)
    mean, std = (np.asarray(part)[:, None, None] for part in encoder.alone("sentinel2").statistics["all"])
    np.testing.assert_allclose(x[:, :3], (images.values[:, :3] - mean) / std, rtol=1e-3, atol=1e-3)


def test_images_of_neither_are_refused(encoder: Encoder) -> None:
    with pytest.raises(BandError, match="no band of sentinel2, sentinel1"):
        ImageInputs(Pictures(np.zeros((2, 1, 32, 32)), ("HH",), "dB")).suited(encoder)


def test_a_network_trained_further_keeps_the_inputs_that_it_was_given(store: Store, encoder: Encoder) -> None:
    task = store_task(store, "biomass")
    for used in (("sentinel1",), tuple(BANDS)):
        given = encoder.given(used)
        inputs, statistics = trained_input(Prepared.open(task, given), given)
        assert tuple(modality.name for modality in inputs) == used
        again = Encoder(given.network, inputs, statistics=statistics)
        assert again.bands == given.bands

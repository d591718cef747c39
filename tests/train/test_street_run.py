"""Pretraining on streets: what holds for each method, of one that brings its own data."""

import csv
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geopretext.data.sources import BatchSettings
from geopretext.data.streets import open_streets
from geopretext.data.synthetic_streets import write_synthetic_streets
from geopretext.errors import InputError, RecipeError, StoreError
from geopretext.nn.bundle import Encoder
from geopretext.pretext.methods import method_class, open_own_data
from geopretext.train.recipe import Recipe, load_recipe
from geopretext.train.run import pretrain

SMALL: dict[str, Any] = {
    "batch_size": 2,
    "epochs": 2,
    "warmup_epochs": 0,
    "base_learning_rate": 0.12,
    "checkpoint_every_steps": 2,
    "keep_every_steps": 2,
    "log_every_steps": 1,
    "accelerator": "cpu",
    "pretext.reach": 10.0,
    "pretext.depth_bins": 10,
}
TIMES = {"seconds", "tiles_per_second"}


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("streets") / "data"
    write_synthetic_streets(path, scenes=2, samples=2, height=32, width=48)
    return path


def small(**changes: Any) -> Recipe:
    return load_recipe("ns-mae-street-demo", {**SMALL, **changes})


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def test_resumes_to_the_same_bits_and_leaves_a_bundle(streets: Path, tmp_path: Path) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    result = pretrain(small(), data=streets, out=whole, progress=False)
    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "step-2.ckpt", resumed / "checkpoints" / "last.ckpt")
    shutil.copy(whole / "config.yaml", resumed)
    pretrain(small(), data=streets, out=resumed, progress=False)
    assert len(rows(whole)) == 4
    assert rows(resumed) == rows(whole)[2:]
    one, other = (load_file(run / "bundle" / "model.safetensors") for run in (whole, resumed))
    assert all(torch.equal(one[key], other[key]) for key in one)
    encoder = Encoder.from_pretrained(result.bundle)
    assert encoder.bands == ("R", "G", "B")
    assert set(encoder.statistics) == {"all"}
    assert encoder.features(torch.randn(2, 3, 32, 48)).isfinite().all()
    assert encoder.targets == ("colour", "depth", "depth_from_above")


def test_learns_one_batch_by_heart(streets: Path) -> None:
    recipe, source = small(), open_streets(streets)
    torch.manual_seed(0)
    method = method_class(recipe.method)(recipe.encoder, recipe.pretext, source.modalities)
    method.learn_scales(source.statistics.to_dict())
    settings = BatchSettings(
        bands=method.bands, crop=method.crop, random_crop=True, dates=None, batch_size=2, parts=1, seed=0, prefetch=1
    )
    batch = next(iter(source.make_loader(settings, rank=0, world_size=1, device=torch.device("cpu"))))
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    found = []
    for _ in range(12):
        losses = {task: part.total / part.count for task, part in method(batch.fields, batch.seeds).items()}
        optimiser.zero_grad()
        sum(losses.values(), torch.zeros(())).backward()
        optimiser.step()
        found.append([float(loss.detach()) for loss in losses.values()])
    first, last = np.mean(found[:2], 0), np.mean(found[-2:], 0)
    assert (last < first).all(), (first, last)
    assert last[1] < 0.7 * first[1]


def test_tiles_are_no_streets_and_streets_no_tiles(streets: Path, tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there are 0 folders of tables"):
        pretrain(small(), data=tmp_path, out=tmp_path / "run", progress=False)
    with pytest.raises(StoreError, match="neither a tile store"):
        pretrain(load_recipe("ns-mae-demo"), data=streets, out=tmp_path / "run", progress=False)
    with pytest.raises(InputError, match="4 tiles do not fill a batch of 8"):
        pretrain(small(batch_size=8), data=streets, out=tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match="method is 'nothing'"):
        open_own_data("nothing", streets)
    assert open_own_data("mp_mae", streets) is None


@pytest.mark.slow
def test_two_processes_train_as_one(streets: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    pretrain(small(), data=streets, out=one, progress=False)
    script = tmp_path / "train.py"
    script.write_text(
        "from geopretext.train.recipe import load_recipe\n"
        "from geopretext.train.run import pretrain\n"
        f"recipe = load_recipe('ns-mae-street-demo', {SMALL | {'devices': 2}!r})\n"
        f"pretrain(recipe, data={str(streets)!r}, out={str(two)!r}, progress=False)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, timeout=300)
    for here, there in zip(rows(one), rows(two), strict=True):
        for key, text in here.items():
            assert float(there[key]) == pytest.approx(float(text), rel=2e-3, abs=1e-4), key

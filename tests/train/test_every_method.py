"""What holds for each pretext method and family of encoders: the recipes for a laptop, made smaller still."""

import csv
import os
import shutil
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from geopretext.data.loader import Batch, TileLoader
from geopretext.data.reader import open_tiles, statistics_of
from geopretext.data.synthetic import write_synthetic_store
from geopretext.nn.bundle import Encoder
from geopretext.nn.families import make_encoder
from geopretext.pretext.method import Method
from geopretext.pretext.methods import find_method, method_class
from geopretext.train.recipe import Recipe, load_recipe, recipe_names
from geopretext.train.run import pretrain

from .series_planet import write_series_planet

NEEDS_SERIES: set[str] = {"omnisat-series-demo", "a2-mae-series-demo"}
"""recipes that want a store with time series"""
LIBRARIES = {"timm": "timm"}
"""what families of encoders need that may be missing"""


def needed(name: str) -> Any:
    """The name of a recipe, skipped where a library is missing without which its encoder cannot be made."""
    library = LIBRARIES.get(load_recipe(name).encoder.family)
    absent = library is not None and find_spec(library) is None
    return pytest.param(name, marks=pytest.mark.skipif(absent, reason=f"{library} is not installed"))


DEMOS = [name for name in recipe_names() if name.endswith("-demo")]
# A method that brings its own data has these tests beside them (test_street_run.py).
RECIPES = [needed(name) for name in DEMOS if find_method(load_recipe(name).method).data is None]
SMALL: dict[str, Any] = {
    "batch_size": 4,
    "epochs": 2,
    "max_steps": 2,
    "warmup_epochs": 0,
    "base_learning_rate": 0.064,
    "checkpoint_every_steps": 1,
    "keep_every_steps": 1,
    "log_every_steps": 1,
    "accelerator": "cpu",
}
CONTRASTIVE = {"batch_size": 8, "encoder.image_size": 32, "base_learning_rate": 0.0032}
"""Norms over a batch of few rows amplify rounding errors a hundredfold from one step to the next at a higher rate."""
HALF = {"encoder.image_size": 32}
CHANGES: dict[str, dict[str, Any]] = {
    "softcon-demo": CONTRASTIVE,
    "softcon-s1-demo": CONTRASTIVE,
    "mp-mae-swin-demo": HALF,
    "mp-mae-resnet-demo": HALF,
    "a2-mae-demo": {"encoder": {"dim": 32, "depth": 2}, "pretext": {"decoder_dim": 32}},
    "a2-mae-series-demo": {"encoder": {"dim": 32, "depth": 2}, "pretext": {"decoder_dim": 32}},
    "omnisat-demo": {"encoder": {"image_size": 32, "dim": 32}},
    "omnisat-series-demo": {"encoder": {"image_size": 32, "dim": 32}},
}
"""what else makes them small: views, maps or tokens that these compute whole"""
STEPS = 12
"""on one batch, to learn it"""
TIMES = {"seconds", "tiles_per_second"}


def rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "metrics.csv").open(newline="") as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


@pytest.fixture(scope="session")
def plain_planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("planet") / "tiles.zarr"
    write_synthetic_store(path, count=16, workers=1)
    return path


@pytest.fixture(scope="session")
def series_planet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("series_planet") / "tiles.zarr"
    write_series_planet(path, count=16)
    return path


@pytest.fixture
def planet(name: str, request: pytest.FixtureRequest) -> Path:
    """What the recipe ``name`` of a test can be trained on."""
    path: Path = request.getfixturevalue("series_planet" if name in NEEDS_SERIES else "plain_planet")
    return path


def small(name: str, **changes: Any) -> Recipe:
    return load_recipe(name, {**SMALL, **CHANGES.get(name, {}), **changes})


def made(recipe: Recipe, store: Path) -> tuple[Method, Batch]:
    reader = open_tiles(store)
    torch.manual_seed(recipe.seed)
    method = method_class(recipe.method)(recipe.encoder, recipe.pretext, reader.modalities)
    method.learn_scales(statistics_of(reader).to_dict())
    loader = TileLoader(
        reader,
        modalities=method.bands,
        statistics=statistics_of(reader),
        batch_size=recipe.batch_size,
        crop=method.crop,
    )
    return method, next(iter(loader))


@pytest.mark.parametrize("name", RECIPES)
def test_resumes_to_the_same_bits_and_leaves_a_bundle(planet: Path, tmp_path: Path, name: str) -> None:
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    recipe = small(name)
    result = pretrain(recipe, data=planet, out=whole, progress=False)
    (resumed / "checkpoints").mkdir(parents=True)
    shutil.copy(whole / "checkpoints" / "step-1.ckpt", resumed / "checkpoints" / "last.ckpt")
    shutil.copy(whole / "config.yaml", resumed)
    pretrain(recipe, data=planet, out=resumed, progress=False)
    assert rows(resumed) == rows(whole)[1:]
    for file in result.bundle.glob("*.safetensors"):
        one, other = load_file(file), load_file(resumed / "bundle" / file.name)
        assert one.keys() == other.keys()
        assert all(torch.equal(one[key], other[key]) for key in one)
    encoder = Encoder.from_pretrained(result.bundle)
    side = encoder.settings.image_size
    x = torch.randn(2, len(encoder.bands), side, side, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features, grid = encoder.features(x), encoder(x)
        stages = encoder.network.forward_stages(x)
    assert features.shape == (2, encoder.settings.pooled_width("stages"))
    assert features.isfinite().all()
    assert not torch.allclose(features[0], features[1])
    cells = side // encoder.settings.patch_size
    assert grid.shape == (2, encoder.width, cells, cells)
    assert [stage.shape[1] for stage in stages] == list(encoder.network.widths)
    assert [side // stage.shape[2] for stage in stages] == list(encoder.network.strides)


@pytest.mark.parametrize("name", RECIPES)
def test_learns_one_batch_by_heart(planet: Path, name: str) -> None:
    recipe = small(name)
    method, batch = made(recipe, planet)
    optimiser = torch.optim.AdamW(method.parameters(), lr=2e-3)
    active = {task: torch.tensor(True) for task in method.tasks}
    losses = []
    for step in range(STEPS):
        torch.manual_seed(step)
        parts = method(batch.fields, batch.seeds, batch.acquisition)
        assert tuple(parts) == method.tasks
        loss = method.combine({task: part.total / part.count.clamp(min=1) for task, part in parts.items()}, active)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        method.after_step((step + 1) / STEPS)
        losses.append(float(loss.detach()))
    assert np.isfinite(losses).all()
    assert np.mean(losses[-3:]) < np.mean(losses[:3])


@pytest.mark.parametrize("name", RECIPES)
def test_what_is_hidden_changes_nothing_that_is_visible(planet: Path, name: str) -> None:
    recipe = small(name)
    torch.manual_seed(0)
    network = make_encoder(recipe.encoder).eval()
    side, patch = recipe.encoder.image_size, recipe.encoder.patch_size
    x = torch.randn(2, len(recipe.encoder.bands), side, side)
    visible = torch.zeros(2, recipe.encoder.patches, dtype=torch.bool)
    visible[:, : recipe.encoder.patches // 3] = True
    pixels = visible.reshape(2, 1, side // patch, side // patch).repeat_interleave(patch, 2).repeat_interleave(patch, 3)
    changed = torch.where(pixels, x, torch.randn_like(x))
    with torch.inference_mode():
        one, other = network(x, visible), network(changed, visible)
        counted = network(x, visible, recipe.encoder.patches // 3)
    assert torch.allclose(one, other, atol=1e-5)
    assert torch.allclose(one, counted, atol=1e-4)
    hidden = ~visible.reshape(2, 1, side // patch, side // patch).expand_as(one)
    assert not one[hidden].any()
    assert one[~hidden].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_two_processes_train_as_one(planet: Path, tmp_path: Path, name: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    recipe = small(name, max_steps=4)
    pretrain(recipe, data=planet, out=one, progress=False)
    script = tmp_path / "train.py"
    script.write_text(
        "from geopretext.train.recipe import load_recipe\n"
        "from geopretext.train.run import pretrain\n"
        f"recipe = load_recipe({name!r}, {SMALL | CHANGES.get(name, {}) | {'max_steps': 4, 'devices': 2}!r})\n"
        f"pretrain(recipe, data={str(planet)!r}, out={str(two)!r}, progress=False)\n"
    )
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, script], env=environment, check=True, capture_output=True, timeout=300)
    for here, there in zip(rows(one), rows(two), strict=True):
        for key, text in here.items():
            assert float(there[key]) == pytest.approx(float(text), rel=2e-3, abs=1e-4), key

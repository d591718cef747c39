"""The official preset trains on the synthetic Earth, and its losses are those of the published formula."""

import csv
from itertools import islice
from pathlib import Path

import lightning.pytorch as pl
import numpy as np
import pytest

from geopretext.data.loader import TileLoader
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.modality import PRETEXT
from geopretext.nn.masking import sample_visible
from geopretext.pretext.mp_mae import MPMAE
from geopretext.train.recipe import Recipe, load_recipe
from geopretext.train.run import pretrain

from ..pretext.published_loss import published_losses, published_targets, uncertainty


@pytest.fixture(scope="module")
def earth(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("earth") / "tiles.zarr"
    return write_synthetic_store(path, count=24, tile_size=32, workers=1)


def official() -> Recipe:
    """The preset with a small network on small crops, in two parts of eight tiles."""
    changes = {
        "encoder.size": "micro",
        "encoder.image_size": 24,
        "pretext.decoder_dim": 32,
        "batch_size": 16,
        "accumulate": 2,
        "warmup_epochs": 1,
        "max_steps": 3,
        "log_every_steps": 1,
        "accelerator": "cpu",
    }
    return load_recipe("mp-mae-atto-56-8-official", changes)


def test_losses_of_the_preset_are_those_of_the_published_formula(earth: Path, tmp_path: Path) -> None:
    recipe = official()
    pretrain(recipe, data=earth, out=tmp_path / "run", progress=False)
    with (tmp_path / "run" / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items()} for row in csv.DictReader(file)]
    assert len(rows) == 3
    assert all(np.isfinite(value) for row in rows for value in row.values())

    parts = losses_of_first_step(recipe, Store.open(earth))
    assert len(parts) == 2
    for task in (modality.name for modality in PRETEXT):
        assert rows[0][f"loss/{task}"] == pytest.approx(np.mean([part[task] for part in parts]), rel=1e-4)
    total = np.mean([uncertainty(part, np.zeros(12)) for part in parts])
    assert rows[0]["loss"] == pytest.approx(total, rel=1e-4)


def losses_of_first_step(recipe: Recipe, reader: Store) -> list[dict[str, float]]:
    """Of each part of the first batch, from the predictions of the first weights."""
    pl.seed_everything(recipe.seed, verbose=False)
    method = MPMAE(recipe.encoder, recipe.pretext, reader.modalities).train()
    assert reader.statistics is not None
    loader = TileLoader(
        reader,
        modalities=method.bands,
        statistics=reader.statistics,
        batch_size=recipe.batch_size,
        crop=recipe.encoder.image_size,
        seed=recipe.seed,
        parts=recipe.accumulate,
    )
    losses = []
    for batch in islice(loader, recipe.accumulate):
        visible = sample_visible(batch.seeds, recipe.encoder.patches, recipe.pretext.mask_ratio)
        predictions = method.network(batch.fields["sentinel2"].values, visible, everywhere=True)
        targets = published_targets(batch.fields)
        assert np.isnan(targets["sentinel1"]).any()
        losses.append(
            published_losses(
                {name: prediction.detach().double().numpy() for name, prediction in predictions.items()},
                targets,
                (~visible).numpy().astype(int),
                recipe.encoder.patch_size,
            )
        )
    return losses

"""The encoders that are scored: pretrained on small synthetic Earths, a planet a seed, for several sets of bands.

Of each planet and set of bands there are two, which differ in their targets only: MP-MAE predicts all modalities of a
tile (of Sentinel-2 the bands that it sees), the other one those bands alone. Tiles and recipes are the demo's, so that
the folder of a demo will do for a planet.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from geopretext.apps.demo import Settings
from geopretext.apps.progress import ProgressLine
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import SPLITS
from geopretext.train.recipe import load_recipe
from geopretext.train.run import pretrain
from geopretext.train.settings import Recipe

ALL_MODALITIES, OPTICAL = "mp_mae", "s2_mae"
RECIPES = {ALL_MODALITIES: "mp-mae-demo", OPTICAL: "s2-mae-demo"}

ALL_BANDS = "all"
BANDS: Mapping[str, tuple[str, ...]] = {"rgb": ("B4", "B3", "B2"), "bgrn": ("B2", "B3", "B4", "B8")}
"""Sets of bands beside all twelve: those of EuroSAT's pictures, and those of BigEarthNet's extract."""

_SHARES = (0.65, 0.1, 0.25)  # the demo's: many test tiles make short intervals


@dataclass(frozen=True)
class Earth:
    """One planet with what was pretrained on it; everything in one folder."""

    folder: Path
    """``tiles.zarr``; runs ``mp_mae`` and ``s2_mae`` with all bands, ``rgb_mp_mae`` and so on with fewer"""
    settings: Settings

    @property
    def tiles(self) -> Path:
        """The store."""
        return self.folder / "tiles.zarr"

    def bundle(self, method: str, bands: str = ALL_BANDS) -> Path:
        """Folder of an encoder.

        Args:
            method: a key of ``RECIPES``.
            bands: "all", or a key of ``BANDS``.
        """
        return self.folder / (method if bands == ALL_BANDS else f"{bands}_{method}") / "bundle"


def make_earth(folder: Path, settings: Settings, *, bands: tuple[str, ...] = (ALL_BANDS,)) -> Earth:
    """Tiles and encoders of one planet, as far as they are missing.

    Args:
        folder: for all of it.
        settings: how many tiles and steps, and the seed of planet, split, weights and masks.
        bands: "all", keys of ``BANDS``.
    """
    earth = Earth(folder, settings)
    folder.mkdir(parents=True, exist_ok=True)
    write_synthetic_store(
        earth.tiles, count=settings.tiles, seed=settings.seed, shares=_SHARES, progress=ProgressLine("tiles")
    )
    tiles = int(np.count_nonzero(Store.open(earth.tiles).coordinates.split == SPLITS.index("train")))
    for name in bands:
        for method in RECIPES:
            recipe = recipe_of(settings, method, name, train_tiles=tiles)
            pretrain(recipe, data=earth.tiles, out=earth.bundle(method, name).parent)
    return earth


def recipe_of(settings: Settings, method: str, bands: str, *, train_tiles: int) -> Recipe:
    """The demo's recipe, seeing and predicting a set of bands of Sentinel-2."""
    changes: dict[str, object] = {"max_steps": settings.steps, "seed": settings.seed}
    if bands != ALL_BANDS:
        seen = list(BANDS[bands])
        targets = load_recipe(RECIPES[method]).pretext.targets
        changes |= {"encoder.bands": seen, "pretext.targets": {**targets, "sentinel2": seen}}
    recipe = load_recipe(RECIPES[method], changes)
    batch_size = min(recipe.batch_size, train_tiles)
    warmup = min(recipe.warmup_epochs, 0.1 * settings.steps / (train_tiles // batch_size))
    return replace(recipe, batch_size=batch_size, warmup_epochs=warmup)

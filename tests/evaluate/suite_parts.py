"""Two small bundles, two tasks and their settings, for tests of suites."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from geopretext.evaluate.suite_settings import SuiteSettings
from geopretext.evaluate.suite_table import SCORES_FILE

from .small_store import make_encoder, write_store

COLOURS = {"crop": (90, 70, 70), "forest": (90, 110, 70)}
IMAGES = 14


def write_parts(folder: Path) -> SuiteSettings:
    """Bundles A and B, a folder of pictures of two classes, a store with labels; the grid over them."""
    pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    for number, name in enumerate("AB"):
        # not the seeds of the grid, whose random weights these would be
        make_encoder(seed=50 + number).save_pretrained(folder / name / "bundle")
    generator = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "pictures" / name).mkdir(parents=True)
        for number in range(IMAGES):
            values = generator.normal(colour, 30, (16, 16, 3)).clip(0, 255).astype(np.uint8)
            pillow.fromarray(values).save(folder / "pictures" / name / f"{number}.png")
    write_store(folder / "tiles.zarr")
    return SuiteSettings(
        bundles=tuple(str(folder / name / "bundle") for name in "AB"),
        tasks=(str(folder / "pictures"), str(folder / "tiles.zarr:surface")),
        heads=("knn", "probe"),
        representations=("pretrained", "random_init", "band_statistics"),
        amounts=("50%", "100%"),
        seeds=(0, 1),
        pooling="mean",
    )


def small(settings: SuiteSettings) -> SuiteSettings:
    """One bundle, one task, knn: three cells and two sets of features."""
    return replace(
        settings,
        bundles=settings.bundles[:1],
        names={},
        tasks=settings.tasks[:1],
        heads=("knn",),
        representations=("pretrained", "band_statistics"),
        amounts=("100%",),
    )


def table(folder: Path) -> list[dict[str, object]]:
    """The rows of a suite's table, but for what a clock says."""
    return pq.read_table(folder / SCORES_FILE).drop_columns(["seconds"]).to_pylist()


def results(folder: Path) -> dict[str, int]:
    """Inode of each result by the cell's key: another one if it was computed again."""
    return {path.stem: path.stat().st_ino for path in folder.joinpath("cells").glob("*.npz")}

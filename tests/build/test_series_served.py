"""Series built from files behind a STAC API, and from the planet itself: every image of them is the planet's own."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.build.crew import SingleProcess
from geopretext.build.grid import Grid
from geopretext.build.pipeline import Build
from geopretext.build.places import Places, read_places
from geopretext.build.plan import plan_build
from geopretext.build.recipe import BuildRecipe, load_build_recipe
from geopretext.build.synthetic_archive import write_archive
from geopretext.build.synthetic_granules import ArchiveSettings
from geopretext.build.synthetic_server import Served, serve_archive
from geopretext.build.synthetic_truth import truth
from geopretext.build.tiles import TileMaker
from geopretext.data.store import Store
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import TileBatch

SIZE, PLACES = 16, 4
SERIES = ("sentinel2_series", "sentinel1_series")
OPTICAL = {f"B{k}": f"B{k:02d}" for k in (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 12)} | {"B8A": "B8A"}
KEPT = ("sentinel2", "sentinel2_scl", "sentinel2_cloudmask", *SERIES)

# rasterio silences this warning by `warnings.catch_warnings`, which is lost when several threads do so at once.
pytestmark = pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")


def with_series(recipe: str | Path, **pair: Any) -> BuildRecipe:
    """A recipe of the archive with series, read by nearest neighbours, so that all pixels are native ones."""
    from_l2a = {"from": "l2a", "resampling": "nearest"}
    overrides = {
        "tile_size": SIZE,
        "modalities.sentinel2.from": "l2a",
        "modalities.sentinel2_series": {
            **from_l2a,
            "pair": {"rule": "series", "max_dates": 4, "clear_by": "sentinel2_scl", "min_clear": 0.5, **pair},
            "collection": "sentinel-2-l2a",
            "level": "L2A",
            "bands": OPTICAL,
        },
        "modalities.sentinel1_series": {
            **from_l2a,
            "pair": {"rule": "series", "max_dates": 4, "one_orbit": True},
            "collection": "sentinel-1-rtc",
            "unit": "linear power",
            "bands": {"VV": "vv", "VH": "vh"},
        },
    }
    names = load_build_recipe(recipe).modalities
    return load_build_recipe(recipe, {**overrides, **{f"modalities.{n}": None for n in names if n not in KEPT}})


def check_images(batch: TileBatch) -> int:
    """Compare each image of each series with the planet; returns how many there were."""
    where, images = batch.coordinates, 0
    for tile in range(len(where)):
        grid = Grid(int(where.crs[tile]), where.transform[tile, 2], where.transform[tile, 5], SIZE, SIZE)
        records = json.loads(where.source_items[tile])
        for name in SERIES:
            days = where.series[name][tile]
            seen = [record for record in records[name] if "item" in record]
            assert [record["date"][:10] for record in seen] == [str(day) for day in days[~np.isnat(days)]]
            for number, record in enumerate(seen):
                true = truth(
                    name,
                    grid,
                    time=np.datetime64(record["date"].rstrip("Z"), "s"),
                    level=record.get("level", "L2A"),
                    orbit=record.get("orbit", "asc").split()[0].removesuffix("ending"),
                )
                stored = batch.arrays[name][tile, number]
                if name == "sentinel1_series":  # through linear power and back
                    np.testing.assert_allclose(stored, true, atol=1e-3)
                else:
                    np.testing.assert_array_equal(stored, true)
                images += 1
    return images


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("archive") / "planet"
    settings = ArchiveSettings(granules=1, size=96, dates=6, years=(2019, 2019), places=PLACES, tile_size=SIZE)
    write_archive(root, settings, workers=1)
    return root


@pytest.fixture(scope="module")
def served(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Served, Path]]:
    log = tmp_path_factory.mktemp("log") / "log"
    with serve_archive(archive, log=log) as server:
        yield server, log


@pytest.fixture(scope="module")
def made(archive: Path, served: tuple[Served, Path]) -> tuple[TileBatch, list[str]]:
    """Tiles, and the files of images that were asked for."""
    made = TileMaker(with_series(served[0].recipe)).make(read_places(archive / "places.parquet"))
    assert [outcome.reason for outcome in made.outcomes] == [None] * PLACES
    assert made.batch is not None
    lines = [line.split("\t") for line in served[1].read_text().splitlines()]
    return made.batch, [line[3] for line in lines if line[3].endswith(".tif")]


@pytest.mark.slow
def test_every_image_from_the_server_is_of_native_pixels(made: tuple[TileBatch, list[str]]) -> None:
    assert check_images(made[0]) >= PLACES * 6
    items = [json.loads(text)["sentinel2_series"] for text in made[0].coordinates.source_items]
    undone = {"offset_undone" in record for tile in items for record in tile if "item" in record}
    assert undone == {True, False}  # images of old and of new processing baselines are in one series


@pytest.mark.slow
def test_images_are_read_once_for_all_tiles(archive: Path, made: tuple[TileBatch, list[str]]) -> None:
    batch, asked = made
    masks = {path for path in asked if path.endswith("SCL.tif")}
    assert len(masks) == len(list(archive.glob("sentinel-2-l2a/*/SCL.tif")))
    # files this small take one request, whatever number of tiles needs them; the reference is read before the series
    references = [json.loads(text)["sentinel2"][0]["item"] for text in batch.coordinates.source_items]
    for path in {path for path in asked if "sentinel-2-l2a" in path}:
        assert asked.count(path) <= (2 if any(item in path for item in references) else 1), path


@pytest.mark.slow
def test_a_plan_counts_what_series_take(archive: Path, served: tuple[Served, Path]) -> None:
    places = read_places(archive / "places.parquet")
    plans = []
    for most in (1, 4):
        recipe = with_series(served[0].recipe, max_dates=most)
        plans.append(plan_build(recipe, TileMaker(recipe), places, group_size=PLACES))
    assert [plan.tiles for plan in plans] == [PLACES, PLACES]
    assert plans[1].store_bytes > 1.1 * plans[0].store_bytes


def places(count: int) -> Places:
    there = SyntheticEarth(0).places(count)
    return Places(there.tile_id, there.lat, there.lon, np.asarray(there.biome), np.asarray(there.ecoregion))


def planet_recipe() -> BuildRecipe:
    overrides = {"tile_size": SIZE, **{f"modalities.{name}.pair.max_dates": 4 for name in SERIES}}
    names = load_build_recipe("synthetic-series").modalities
    left_out = {f"modalities.{name}": None for name in names if name not in ("sentinel2", "sentinel2_scl", *SERIES)}
    return load_build_recipe("synthetic-series", {**overrides, **left_out})


def test_every_image_of_the_planet_is_its_own_and_the_reference_is_one() -> None:
    recipe = planet_recipe()
    batch = TileMaker(recipe).make(places(2)).batch
    assert check_images(batch) == 2 * 4 * 2
    where = batch.coordinates
    bands = list(recipe.modalities["sentinel2"].modality.band_indices(recipe.modalities[SERIES[0]].modality.band_names))
    for tile in range(2):
        (number,) = np.flatnonzero(where.series[SERIES[0]][tile] == where.time[tile].astype("datetime64[D]"))
        assert np.array_equal(batch.arrays[SERIES[0]][tile, number], batch.arrays["sentinel2"][tile, bands])


def test_a_build_of_series_has_the_same_bytes_in_whatever_groups_and_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("geopretext.data.writer.default_shard_size", lambda *_: 2)  # as if series were very long
    recipe, four = planet_recipe(), places(4)
    maker = TileMaker(recipe)
    Build(recipe, maker, four, tmp_path / "one.zarr", group_size=4).run(SingleProcess())
    Build(recipe, maker, four, tmp_path / "two.zarr", group_size=2, limit=3).run(SingleProcess())
    Build(recipe, maker, four, tmp_path / "two.zarr", group_size=2).run(SingleProcess())
    one, two = (
        {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
        for root in (tmp_path / "one.zarr", tmp_path / "two.zarr")
    )
    assert one.keys() == two.keys()
    different = [name for name in one if one[name] != two[name]]
    assert not different
    store = Store.open(tmp_path / "two.zarr")
    assert store.shard_size == 2
    assert store.coordinates.series[SERIES[0]].shape == (4, 4)
    assert store.statistics is not None

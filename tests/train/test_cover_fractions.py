"""Land cover as an input: not its codes, but a map of one's own with a band of cover fractions a class."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import RecipeError
from geopretext.modality import PUBLISHED, Band, Kind, Modality
from geopretext.nn.bundle import Encoder
from geopretext.predict.features import tile_features
from geopretext.train.recipe import Recipe, load_recipe
from geopretext.train.run import pretrain

CODES = PUBLISHED["dynamic_world"]
NAMES = tuple(each.name for each in CODES.classes)
COVER = Modality("cover", Kind.CONTINUOUS_MAP, tuple(Band(name, "fraction") for name in NAMES), "float32")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tiles of the synthetic Earth with their land cover as codes and as fractions."""
    folder = tmp_path_factory.mktemp("cover")
    write_synthetic_store(folder / "codes.zarr", count=24, tile_size=32, workers=1)
    source = Store.open(folder / "codes.zarr")
    modalities = [source.modalities["sentinel2"], source.modalities["dynamic_world"]]
    arrays = source.read([m.name for m in modalities], np.arange(24))
    codes, valid = CODES.decode(arrays["dynamic_world"])
    fractions = np.where(valid[:, None], codes[:, None] == np.arange(len(NAMES))[:, None, None], np.nan)
    with StoreWriter.create(folder / "cover.zarr", [*modalities, COVER], tile_size=32) as writer:
        writer.append(TileBatch(source.coordinates, {**arrays, "cover": fractions.astype(np.float32)}))
    written = Store.open(folder / "cover.zarr")
    written.set_statistics(compute_statistics(written))
    return folder / "cover.zarr"


def recipe(**inputs: tuple[str, ...]) -> Recipe:
    changes = {
        "encoder.inputs": inputs,
        "encoder.image_size": 32,
        "encoder.patch_size": 16,
        "pretext.targets": {"sentinel2": ["B4"], "cover": None},
        "batch_size": 8,
        "max_steps": 2,
        "warmup_epochs": 0,
    }
    return load_recipe("mp-mae-fused-demo", changes)


def test_fractions_are_an_input_like_any_other(store: Path, tmp_path: Path) -> None:
    result = pretrain(recipe(sentinel2=("B2", "B8"), cover=NAMES), data=store, out=tmp_path, progress=False)
    encoder, reader = Encoder.from_pretrained(result.bundle), Store.open(store)
    both, cover = (tile_features(each, reader) for each in (encoder, encoder.given(["cover"])))
    assert np.isfinite(both).all()
    assert np.isfinite(cover).all()
    assert not np.allclose(both, cover)
    assert np.linalg.matrix_rank(cover) > 1  # it tells tiles apart


def test_codes_are_refused_with_what_to_do(store: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"(?s)input 'dynamic_world' is a categorical map.*cover fractions"):
        pretrain(recipe(sentinel2=("B2",), dynamic_world=CODES.band_names), data=store, out=tmp_path, progress=False)

"""Embeddings of scenes as files: the right numbers at the right place, what was lost, and what was not seen."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import GridError, InputError, UnitError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import Scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.array_scene import ArrayScene
from geopretext.predict.embedding_file import EMBEDDING
from geopretext.predict.embedding_map import EmbeddingOptions, embed_scene
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.quantisation import NOTHING, STORED_TYPES, Quantisation
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_run import RunOptions, run_scene
from geopretext.predict.scene_table import embed_scene_tiles

rasterio = pytest.importorskip("rasterio")

UTM = Georeference("EPSG:32632", (10.0, 0.0, 500_000.0, 0.0, -10.0, 5_000_000.0))
BANDS = ("B2", "B3", "B4")
SMALL = RunOptions(window=96, margin=16)


@pytest.fixture(scope="module")
def encoder() -> Encoder:
    import torch

    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS, patch_size=8, image_size=32))
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    return Encoder(network, PUBLISHED["sentinel2"].select(BANDS), statistics=statistics).eval()


@pytest.fixture
def scene() -> ArrayScene:
    """With a hole of 32 x 48 pixels, and a strip of which three quarters of each cell were seen."""
    values = np.random.default_rng(0).integers(200, 3000, (3, 130, 164)).astype(np.float32)
    values[:, 40:72, 80:128] = np.nan
    values[:, 0:2, 0:64] = np.nan
    time = np.datetime64("2024-08-30T10:05:59")
    return ArrayScene(values, BANDS, "reflectance x 10000", UTM, level="L2A", time=time, where="scene.tif")


def features(scene, encoder):
    with run_scene(scene, EmbeddingSource(encoder), None, SMALL) as run:
        rows = list(run.rows())
    return np.concatenate([r.values for r in rows]), np.concatenate([r.seen for r in rows])


@pytest.mark.parametrize("dtype", STORED_TYPES)
def test_a_reader_gets_the_features_back(scene, encoder, tmp_path, dtype):
    expected, seen = features(scene, encoder)
    record = embed_scene(scene, encoder, tmp_path / "out.tif", EmbeddingOptions(dtype), SMALL)
    with rasterio.open(tmp_path / "out.tif") as file:
        read, there = file.read(masked=True), file.read_masks(1) > 0
        read = read * np.array(file.scales)[:, None, None] + np.array(file.offsets)[:, None, None]
        assert json.loads(file.tags()["GEOPRETEXT"]) == json.loads(json.dumps(record))
        assert file.tags()["TIFFTAG_DATETIME"] == "2024:08:30 10:05:59"
        assert file.descriptions[3] == "feature 3"
        assert file.transform.to_gdal() == (500_000.0, 80.0, 0.0, 5_000_000.0, 0.0, -80.0)
        assert (file.height, file.width) == (17, 21)
    np.testing.assert_array_equal(there, seen >= 0.5)
    lost = (read.filled(0).transpose(1, 2, 0) - expected)[there] / expected[there].std(0)
    assert {"int8": 0.03, "float16": 1e-3, "float32": 1e-6}[dtype] > np.sqrt((lost**2).mean())
    assert record["rms_error"] == pytest.approx(np.sqrt((lost**2).mean()), rel=0.05, abs=1e-9)
    assert record["cells_without_vector"] == 24 + np.count_nonzero(seen[:, 20] < 0.5) + np.count_nonzero(
        seen[16, :20] < 0.5
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.tif"]


def test_how_much_must_be_seen_is_a_choice(scene, encoder, tmp_path):
    _, seen = features(scene, encoder)
    assert seen[0, 0] == 0.75
    for least in (0.5, 0.8):
        embed_scene(scene, encoder, tmp_path / "out.tif", EmbeddingOptions(least_seen=least), SMALL)
        with rasterio.open(tmp_path / "out.tif") as file:
            np.testing.assert_array_equal(file.read(7) != NOTHING, seen >= least)


def test_a_bright_field_is_found_where_it_is(encoder, tmp_path):
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(9.0101, 45.1488)
    row, column = int((5_000_000 - y) // 80), int((x - 500_000) // 80)
    values = np.full((3, 160, 160), 600.0, np.float32)
    values[:, 8 * row : 8 * row + 8, 8 * column : 8 * column + 8] = 9000
    embed_scene(ArrayScene(values, BANDS, "reflectance x 10000", UTM), encoder, tmp_path / "out.tif", run=SMALL)
    with rasterio.open(tmp_path / "out.tif") as file:
        numbers = file.read().astype(np.float64)
        there = next(file.sample([(x, y)]))
    strange = np.abs(numbers - np.median(numbers, (1, 2), keepdims=True)).sum(0)
    assert np.unravel_index(strange.argmax(), strange.shape) == (row, column)
    np.testing.assert_array_equal(there, numbers[:, row, column])


def test_steps_are_chosen_that_lose_least():
    rng = np.random.default_rng(0)
    sample = rng.normal(5, 2, (5000, 3)).astype(np.float32)
    sample[0] = 500  # one cell of glint
    chosen = Quantisation.of(sample, sample.min(0), sample.max(0), "int8")
    every = [
        Quantisation("int8", np.float32([(high - low) / 254] * 3), np.float32([(high + low) / 2] * 3))
        for low, high in [(-3.0, 500.0), (-2.0, 12.0), (0.0, 10.0), (3.0, 7.0)]
    ]
    usual = sample[1:]
    assert np.abs(chosen.decode(chosen.encode(usual)) - usual).mean() < 0.05
    errors = [np.abs(each.decode(each.encode(sample)) - sample).mean() for each in (chosen, *every)]
    assert errors[0] < 1.02 * min(errors)
    constant = np.full((10, 1), 3.5, np.float32)
    same = Quantisation.of(constant, constant.min(0), constant.max(0), "int8")
    np.testing.assert_allclose(same.decode(same.encode(constant)), constant, rtol=1e-5)


def test_what_16_bits_do_not_hold_is_refused():
    sample = np.full((2, 1), 1e6, np.float32)
    with pytest.raises(InputError, match="1e\\+06, more than 16 bits hold\nhint: --dtype float32"):
        Quantisation.of(sample, sample[0], sample[0], "float16").encode(sample)


def test_tiles_of_a_scene_are_rows_with_their_places(scene, encoder, tmp_path):
    import pyarrow.parquet as pq
    from pyproj import Transformer
    from shapely import from_wkb

    record = embed_scene_tiles(scene, encoder, tmp_path / "out.parquet", tile=32, run=RunOptions(batch=3))
    table = pq.read_table(tmp_path / "out.parquet")
    names = table["tile_id"].to_pylist()
    # 5 x 6 tiles, of which the lowest row and the last column lie outside, and one was hardly seen
    expected = [f"scene.tif:{row}:{column}" for row in range(4) for column in range(5)]
    expected.remove("scene.tif:1:3")
    assert names == expected
    assert record["rows"] == 19
    assert record["tiles_without_vector"] == 11
    number = names.index("scene.tif:2:1")
    values, valid = scene.read(slice(64, 96), slice(32, 64), BANDS)
    import torch

    tile = torch.from_numpy(np.where(valid, (values - 1000) / 500, 0).astype(np.float32))[None]
    with torch.inference_mode():
        vector = encoder.features(tile)[0].numpy()
    np.testing.assert_allclose(table[EMBEDDING][number].as_py(), vector, rtol=1e-4, atol=1e-5)
    box = from_wkb(table["geometry"][number].as_py())
    to_utm = Transformer.from_crs("OGC:CRS84", "EPSG:32632", always_xy=True)
    corners = np.stack(to_utm.transform(*np.array(box.exterior.coords).T), -1)
    assert corners[:, 0].min() == pytest.approx(500_320, abs=0.01)
    assert corners[:, 1].max() == pytest.approx(4_999_360, abs=0.01)
    assert box.exterior.is_ccw
    assert str(table["time"][number].as_py().date()) == "2024-08-30"


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"values": np.full((3, 80, 80), np.nan, np.float32)}, InputError, "nothing was observed"),
        ({"unit": "K"}, UnitError, "no exact conversion"),
        ({"values": np.full((3, 80, 80), 0.2, np.float32)}, UnitError, "reflectance from 0 to 1"),
        ({"values": np.full((3, 5, 80), 500.0, np.float32)}, GridError, "smaller than a patch"),
    ],
)
def test_scenes_that_are_not_for_the_encoder_are_refused(scene, encoder, tmp_path, change, error, words):
    options = RunOptions(door=replace(SMALL.door, statistics="bundle"))
    with pytest.raises(error, match=words):
        embed_scene(replace(scene, **change), encoder, tmp_path / "out.tif", run=options)
    assert not list(tmp_path.iterdir())


def test_options_that_make_no_sense_are_refused(scene, encoder, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        embed_scene(scene, encoder, tmp_path / "none" / "out.tif")
    with pytest.raises(InputError, match="squares of 20 pixels\nhint: --context wants a multiple of the patch size, 8"):
        EmbeddingSource(encoder, context=20)
    with pytest.raises(InputError, match="tiles of 30 pixels\nhint: --tile"):
        EmbeddingSource(encoder, tile=30)
    with pytest.raises(InputError, match="least_seen is 0"):
        EmbeddingOptions(least_seen=0)
    values = scene.values.copy()
    values[:, ::2] = np.nan
    values[:, :, ::2] = np.nan
    with pytest.raises(InputError, match="no cell has 90% of its pixels observed"):
        embed_scene(replace(scene, values=values), encoder, tmp_path / "o.tif", EmbeddingOptions(least_seen=0.9), SMALL)


def test_a_published_classifier_has_a_cell_for_each_patch(scene):
    settings = EncoderSettings(
        size="micro", bands=BANDS, patch_size=8, image_size=32, dense_padding="published-classifier"
    )
    statistics: Scales = {"L2A": ((1000.0,) * 3, (500.0,) * 3)}
    encoder = Encoder(ConvNeXtV2(settings), PUBLISHED["sentinel2"].select(BANDS), statistics=statistics)
    values, _ = features(scene, encoder)
    assert values.shape[:2] == (17, 21)


def test_real_scenes_are_embedded(test_data: Path, tmp_path):
    """TerraMind's L2A examples: twelve bands that their files do not name."""
    from geopretext.predict.open_scene import SceneSource

    path = sorted((test_data / "terramind/examples/S2L2A").glob("*.tif"))[0]
    bands = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
    settings = EncoderSettings(size="micro", patch_size=16, image_size=64)
    statistics: Scales = {"L2A": ((2000.0,) * 12, (1500.0,) * 12)}
    encoder = Encoder(ConvNeXtV2(settings), PUBLISHED["sentinel2"].select(settings.bands), statistics=statistics)
    source = SceneSource(str(path), bands=bands, unit="reflectance x 10000", level="L2A")
    embed_scene(source, encoder, tmp_path / "out.tif", run=RunOptions(window=160, margin=48))
    with rasterio.open(path) as scene, rasterio.open(tmp_path / "out.tif") as file:
        assert file.crs == scene.crs
        assert file.bounds == scene.bounds
        assert file.res == (160.0, 160.0)
        assert np.isfinite(file.read()).all()

"""Scenes for encoders that see all of a window: windows as in training, blended; skipped where timm is missing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.data.statistics import StatisticsAccumulator
from geopretext.data.synthetic import SyntheticEarth
from geopretext.modality import PUBLISHED
from geopretext.nn.autoencoder import MaskedAutoencoder
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import IMAGE_HEIGHT, IMAGE_WIDTH, make_head, save_head
from geopretext.nn.bundle_pretext import save_bundle
from geopretext.nn.families import make_encoder
from geopretext.nn.settings import AutoencoderSettings, HeadSettings
from geopretext.nn.timm_settings import TimmSettings
from geopretext.predict.embedding_map import embed_scene
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.scene_reconstruction import reconstruct_scene
from geopretext.predict.scene_run import RunOptions, run_scene
from geopretext.predict.scene_table import embed_scene_tiles
from geopretext.predict.segment import segment
from geopretext.predict.windows import Axis, blended

from .small_heads import BANDS, CLASSES, MEANS, STDS, make_scene

rasterio = pytest.importorskip("rasterio")
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # timm's

NAMES = ("vit_micro", "swin_micro", "resnet_micro")
MODALITY = PUBLISHED["sentinel2"].select(BANDS)
SCALES = {"all": (MEANS, STDS)}


@pytest.mark.parametrize(
    ("extent", "patch", "wanted"), [(64, 16, (0, 32)), (112, 16, (0, 48)), (224, 16, (16, 96)), (8, 8, (0, 0))]
)
def test_most_of_a_window_counts_and_half_of_it_is_blended(extent: int, patch: int, wanted: tuple[int, int]) -> None:
    assert blended(extent, patch) == wanted
    axis = Axis(1000, patch, patch, extent, *wanted)  # which refuses windows that leave nothing
    assert axis.step >= extent // 2 - patch


def encoder_of(name: str) -> Encoder:
    pytest.importorskip("timm", exc_type=ImportError)
    torch.manual_seed(0)
    network = make_encoder(TimmSettings(name, bands=BANDS, patch_size=8, image_size=32))
    return Encoder(network, MODALITY, statistics=SCALES).eval()


@pytest.mark.parametrize("name", NAMES)
def test_features_are_those_of_windows_blended(name: str) -> None:
    """Against a loop over windows of 32 px, 16 apart, whose weights rise to their middle."""
    encoder, scene = encoder_of(name), make_scene(64, 48, hole=False)
    with run_scene(scene, EmbeddingSource(encoder), None, RunOptions()) as run:
        assert run.record["windows"] == {"size": 32, "margin": 0, "ramp": 16, "cell": 8, "count": 6}
        found = np.concatenate([rows.values for rows in run.rows()])
    column = np.array([MEANS, STDS])[:, :, None, None]
    image = torch.from_numpy(((scene.values - column[0]) / column[1]).astype(np.float32))
    total, weights = np.zeros((8, 6, encoder.width)), np.zeros((8, 6, 1))
    for top in (0, 16, 32):
        for left in (0, 16):
            with torch.inference_mode():
                features = encoder(image[None, :, top : top + 32, left : left + 32])[0].permute(1, 2, 0).numpy()
            rows, columns = (
                np.array([*((0.25, 0.75) if start else (1, 1)), *((0.75, 0.25) if start < last else (1, 1))])
                for start, last in ((top, 32), (left, 16))
            )
            weight = (rows[:, None] * columns)[..., None]
            place = slice(top // 8, top // 8 + 4), slice(left // 8, left // 8 + 4)
            total[place] += features * weight
            weights[place] += weight
    np.testing.assert_allclose(weights, 1)
    np.testing.assert_allclose(found, total, atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_scenes_are_embedded_by_patch_and_by_tile(name: str, tmp_path: Path) -> None:
    encoder, scene = encoder_of(name), make_scene(100, 90)
    record = embed_scene(scene, encoder, tmp_path / "patches.tif")
    assert record["extent"] == 32
    with rasterio.open(tmp_path / "patches.tif") as file:
        assert (file.count, file.height, file.width) == (encoder.width, 13, 12)
    table = embed_scene_tiles(scene, encoder, tmp_path / "tiles.parquet")
    assert len(table) > 4


@pytest.mark.parametrize("name", NAMES)
def test_a_finetuned_head_makes_a_map(name: str, tmp_path: Path) -> None:
    head = make_head(HeadSettings("unet", 3), encoder_of(name).network).eval()
    save_head(
        tmp_path / "bundle",
        head,
        modality=MODALITY,
        statistics=SCALES,
        recipe={IMAGE_HEIGHT: 32, IMAGE_WIDTH: 32},
        metrics={},
        labels=CLASSES,
    )
    result = segment(tmp_path / "bundle", make_scene(60, 70), tmp_path / "map.tif")
    assert result.record["windows"] == {"size": 32, "margin": 0, "ramp": 16, "cell": 1, "count": 12}
    with rasterio.open(tmp_path / "map.tif") as file:
        assert set(np.unique(file.read(1))) <= {0, *CLASSES.codes}


@pytest.mark.parametrize("name", NAMES)
def test_a_network_that_reconstructs_makes_maps_of_a_scene(name: str, tmp_path: Path) -> None:
    pytest.importorskip("timm", exc_type=ImportError)
    earth = SyntheticEarth(3, tile_size=32)
    batch = earth.tiles(earth.places(12))
    modalities = {key: earth.modalities[key] for key in ("sentinel2", "dynamic_world")}
    modalities["sentinel2"] = modalities["sentinel2"].select(BANDS)
    rows = list(earth.modalities["sentinel2"].band_indices(BANDS))
    total = StatisticsAccumulator()
    total.update(modalities["sentinel2"], batch.arrays["sentinel2"][:, rows], batch.coordinates.levels["sentinel2"])
    total.update(modalities["dynamic_world"], batch.arrays["dynamic_world"], None)
    torch.manual_seed(0)
    network = MaskedAutoencoder(
        TimmSettings(name, bands=BANDS, patch_size=8, image_size=32),
        AutoencoderSettings(decoder_dim=16),
        inputs=[modalities["sentinel2"]],
        targets=modalities,
    ).eval()
    statistics = total.finish(tiles=12, split="all").to_dict()
    save_bundle(tmp_path / "bundle", network, statistics=statistics, recipe={}, metrics={})
    found = reconstruct_scene(tmp_path / "bundle", make_scene(60, 50, hole=False), tmp_path / "maps")
    assert list(found.maps) == ["sentinel2", "dynamic_world"]
    with rasterio.open(found.maps["sentinel2"].path) as file:
        assert file.shape == (60, 50)
        assert np.isfinite(file.read()).all()

"""Features of tiles and images are what the encoder says about standardised pixels, whatever the batch."""

from pathlib import Path

import numpy as np
import pytest
import torch

from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import BandError, GridError, InputError, UnitError
from geopretext.modality import PUBLISHED, Modality
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict.features import image_features, tile_features
from geopretext.predict.image_door import ImageDoor
from geopretext.predict.images import ImageFiles

BANDS = ("B2", "B3", "B4")
STORED = PUBLISHED["sentinel2"].select(("B4", "B8", "B3", "B2"))
SCALES = {
    "all": ((500.0, 600.0, 700.0), (100.0, 200.0, 300.0)),
    "L1C": ((900.0, 900.0, 900.0), (100.0, 100.0, 100.0)),
    "L2A": ((100.0, 200.0, 300.0), (10.0, 20.0, 30.0)),
}
COUNT, SIZE = 7, 20


def make_encoder(modality: Modality = PUBLISHED["sentinel2"], bands: tuple[str, ...] = BANDS) -> Encoder:
    torch.manual_seed(0)
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=bands, modality=modality.name, drop_path=0.5))
    scales = {level: (mean[: len(bands)], std[: len(bands)]) for level, (mean, std) in SCALES.items()}
    return Encoder(network, modality.select(bands), statistics=scales)


def raw_tiles() -> np.ndarray:
    raw = np.random.default_rng(0).integers(1, 3000, (COUNT, 4, SIZE, SIZE), dtype=np.uint16)
    raw[3, :, 5:9] = 0
    return raw


LEVELS = np.array([0, 1, -1, 1, 0, -1, 1], np.int8)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("features") / "tiles.zarr"
    coordinates = Coordinates(
        tile_id=np.array([f"t{n}" for n in range(COUNT)]),
        lat=np.zeros(COUNT),
        lon=np.zeros(COUNT),
        crs=np.zeros(COUNT, np.int32),
        transform=np.zeros((COUNT, 6)),
        time=np.full(COUNT, "NaT", "datetime64[s]"),
        levels={"sentinel2": LEVELS},
    )
    with StoreWriter.create(path, [STORED], tile_size=SIZE, shard_size=4) as writer:
        writer.append(TileBatch(coordinates, {"sentinel2": raw_tiles()}))
    return Store.open(path)


def expected_features(encoder: Encoder, pooling: str = "stages") -> np.ndarray:
    """By hand: bands by name, 16 px around the centre, z-scores of each tile's level, 0 where missing."""
    raw = raw_tiles()[:, [3, 2, 0], 2:18, 2:18].astype(np.float32)
    features = []
    for tile, level in zip(raw, LEVELS, strict=True):
        mean, std = (np.array(numbers).reshape(3, 1, 1) for numbers in SCALES[("L1C", "L2A", "all")[level]])
        standardised = np.where(tile == 0, 0, (tile - mean) / std).astype(np.float32)
        with torch.no_grad():
            features.append(encoder.eval().features(torch.from_numpy(standardised)[None], pooling).numpy()[0])
    return np.stack(features)


@pytest.mark.parametrize("batch_size", [2, 256])
def test_features_of_tiles_are_those_computed_by_hand(store: Store, batch_size: int) -> None:
    encoder = make_encoder()
    seen: list[tuple[int, int]] = []
    for pooling, width in (("mean", 256), ("stages", 960)):
        features = tile_features(
            encoder, store, pooling=pooling, batch_size=batch_size, progress=lambda *count: seen.append(count)
        )
        assert features.dtype == np.float32
        assert features.shape == (COUNT, width)
        np.testing.assert_allclose(features, expected_features(encoder, pooling), rtol=1e-4, atol=1e-5)
    assert seen[-1] == (COUNT, COUNT)


def test_tiles_come_in_the_order_asked_for(store: Store) -> None:
    encoder = make_encoder()
    everything = tile_features(encoder, store)
    some = tile_features(encoder, store, np.array([5, 0, 3]))
    np.testing.assert_allclose(some, everything[[5, 0, 3]], rtol=1e-4, atol=1e-6)
    assert tile_features(encoder, store, np.array([], np.int64)).shape == (0, 960)


def test_the_encoder_drops_no_path_and_stays_in_its_mode(store: Store) -> None:
    encoder = make_encoder().train()
    first = tile_features(encoder, store)
    np.testing.assert_array_equal(first, tile_features(encoder, store))
    assert encoder.training


def test_a_band_that_the_tiles_lack_is_named(store: Store) -> None:
    with pytest.raises(BandError, match="'B11'"):
        tile_features(make_encoder(bands=("B2", "B11")), store)


def test_a_modality_that_the_tiles_lack_is_named(store: Store) -> None:
    encoder = make_encoder(PUBLISHED["aster"], ("elevation",))
    encoder.statistics = {"all": ((0.0,), (1.0,))}
    with pytest.raises(
        InputError, match="has no modality 'aster', which the encoder reads; it has sentinel2"
    ) as caught:
        tile_features(encoder, store)
    assert caught.value.where == store.path


def test_another_unit_is_refused(store: Store) -> None:
    plain = PUBLISHED["sentinel2"].to_dict()
    plain["bands"] = [{**band, "unit": "reflectance"} for band in plain["bands"]]
    with pytest.raises(UnitError, match="'B2' of 'sentinel2' is in 'reflectance x 10000', the encoder wants") as caught:
        tile_features(make_encoder(Modality.from_dict(plain)), store)
    assert caught.value.where == store.path
    assert "mapping" in caught.value.hint


def test_a_level_without_statistics_is_refused(store: Store) -> None:
    encoder = make_encoder()
    del encoder.statistics["L1C"]
    with pytest.raises(InputError, match="no statistics for level 'L1C', which 2 of the tiles have"):
        tile_features(encoder, store)
    assert len(tile_features(encoder, store, np.flatnonzero(LEVELS != 0))) == 5


def test_statistics_without_any_observed_band_are_none(store: Store) -> None:
    encoder = make_encoder()
    encoder.statistics = {level: ((np.nan,) * len(BANDS),) * 2 for level in ("L1C", "all")}
    with pytest.raises(InputError, match=r"(?s)statistics of modality 'sentinel2': are empty.*--statistics"):
        tile_features(encoder, store)


def test_levels_are_matched_by_name(store: Store) -> None:
    plain = PUBLISHED["sentinel2"].to_dict()
    plain["levels"] = ["L2A", "L1C"]
    encoder = make_encoder(Modality.from_dict(plain))
    np.testing.assert_allclose(tile_features(encoder, store), expected_features(encoder), rtol=1e-4, atol=1e-5)
    plain["levels"] = ["L2A"]
    encoder = make_encoder(Modality.from_dict(plain))
    with pytest.raises(InputError, match="level L1C of modality 'sentinel2' is unknown to the encoder") as caught:
        tile_features(encoder, store)
    assert caught.value.where == store.path


def test_tiles_smaller_than_a_patch_are_refused(store: Store) -> None:
    torch.manual_seed(0)
    settings = EncoderSettings(size="micro", bands=BANDS, patch_size=32, image_size=64)
    encoder = Encoder(ConvNeXtV2(settings), PUBLISHED["sentinel2"].select(BANDS), statistics=SCALES)
    with pytest.raises(GridError, match="tiles of 20 pixels are smaller than a patch of 32"):
        tile_features(encoder, store)


def test_features_of_images_are_those_computed_by_hand(tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    stack = np.random.default_rng(0).integers(0, 255, (5, 16, 16, 3), dtype=np.uint8)
    paths = [tmp_path / f"{n}.png" for n in range(5)]
    for path, values in zip(paths, stack, strict=True):
        pillow.fromarray(values).save(path)
    encoder = make_encoder()
    door = ImageDoor.open(ImageFiles.open(paths), encoder.modality, encoder.statistics, patch_size=8)
    features = image_features(encoder, door, np.array([4, 1]), batch_size=1)
    mean, std = stack.mean((0, 1, 2)), stack.std((0, 1, 2))
    standardised = torch.from_numpy(((stack[[4, 1]] - mean) / std).transpose(0, 3, 1, 2)[:, ::-1].copy()).float()
    with torch.no_grad():
        expected = encoder.eval().features(standardised).numpy()
    np.testing.assert_allclose(features, expected, rtol=1e-4, atol=1e-5)

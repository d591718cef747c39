"""A small store whose labels can be read off its images, and an encoder that fits it."""

from pathlib import Path

import numpy as np
import torch

from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.modality import PUBLISHED, Band, ClassLabel, Kind, Modality, Role
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings

COUNT, SIZE = 150, 16
BANDS = ("B2", "B3", "B4")
SURFACES = tuple(ClassLabel(code, name) for code, name in ((10, "wheat"), (20, "maize"), (30, "fallow"), (40, "rice")))
MODALITIES = (
    PUBLISHED["sentinel2"].select(BANDS),
    Modality("surface", Kind.CATEGORICAL_VECTOR, (Band("class"),), "int16", (-1,), SURFACES, Role.LABEL),
    Modality("traits", Kind.MULTILABEL_VECTOR, (Band("bright"), Band("rough")), "uint8", (255,), role=Role.LABEL),
    Modality("biomass", Kind.CONTINUOUS_VECTOR, (Band("biomass", "t/ha"),), "float32", role=Role.LABEL),
    Modality("fields", Kind.CATEGORICAL_MAP, (Band("class"),), "uint8", (0,), (ClassLabel(1, "field"),)),
)


def write_store(path: Path, *, split: np.ndarray | None = None) -> Store:
    """Three surfaces of different brightness in B3 (no tile has rice); the last ten tiles have no labels."""
    generator = np.random.default_rng(0)
    surface = generator.integers(0, 3, COUNT)
    rough = generator.random(COUNT) < 0.5
    level = 400 + 500 * surface[:, None, None] + generator.normal(0, 60, (COUNT, 1, 1))
    noise = generator.normal(0, 1, (COUNT, SIZE, SIZE)) * np.where(rough, 150, 30)[:, None, None]
    green = np.clip(level + noise, 1, 10_000)
    others = generator.normal(800, 50, (2, COUNT, SIZE, SIZE))
    labelled = np.arange(COUNT) < COUNT - 10
    arrays = {
        "sentinel2": np.stack([others[0], green, others[1]], axis=1).astype(np.uint16),
        "surface": np.where(labelled, 10 + 10 * surface, -1).astype(np.int16)[:, None],
        "traits": np.where(labelled[:, None], np.stack([surface == 2, rough], axis=1), 255).astype(np.uint8),
        "biomass": np.where(labelled, level[:, 0, 0] / 10, np.nan).astype(np.float32)[:, None],
        "fields": np.ones((COUNT, 1, SIZE, SIZE), np.uint8),
    }
    coordinates = Coordinates(
        tile_id=np.array([f"t{n}" for n in range(COUNT)]),
        lat=np.zeros(COUNT),
        lon=np.zeros(COUNT),
        crs=np.zeros(COUNT, np.int32),
        transform=np.zeros((COUNT, 6)),
        time=np.full(COUNT, "NaT", "datetime64[s]"),
        levels={"sentinel2": np.ones(COUNT, np.int8)},
        split=(np.arange(COUNT) % 5 - 2).clip(0).astype(np.int8) if split is None else split.astype(np.int8),
    )
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE) as writer:
        writer.append(TileBatch(coordinates, arrays))
    return Store.open(path)


def make_encoder(seed: int = 9) -> Encoder:
    torch.manual_seed(seed)
    scales = {"all": ((800.0, 900.0, 800.0), (100.0, 500.0, 100.0))}
    network = ConvNeXtV2(EncoderSettings(size="micro", bands=BANDS))
    return Encoder(network, MODALITIES[0], statistics=scales).eval()

"""Small made-up tiles for the tests of the store: every kind of modality, deterministic by tile number."""

import numpy as np

from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.modality import PUBLISHED, Band, Kind, Modality, Role

SIZE = 8
MODALITIES = (
    PUBLISHED["sentinel2"],
    PUBLISHED["sentinel1"],
    PUBLISHED["dynamic_world"],
    PUBLISHED["lat"],
    PUBLISHED["biome"],
    Modality("crops", Kind.MULTILABEL_VECTOR, (Band("maize"), Band("wheat")), "uint8", (255,), role=Role.LABEL),
)


def make_tiles(start: int, stop: int, modalities: tuple[Modality, ...] = MODALITIES) -> TileBatch:
    """Tiles ``start`` to ``stop``; the same tile is the same in every batch."""
    return TileBatch(
        Coordinates.concatenate([_coordinates(number) for number in range(start, stop)]),
        {m.name: np.stack([_array(m, number) for number in range(start, stop)]) for m in modalities},
    )


def _coordinates(number: int) -> Coordinates:
    random = np.random.default_rng(number)
    lon = random.uniform(6.1, 11.9)
    return Coordinates(
        tile_id=np.array([f"tile-{number}"]),
        lat=np.array([random.uniform(40, 50)]),
        lon=np.array([lon]),
        crs=np.array([32632], np.int32),
        transform=np.array([[10.0, 0, 500_000 + number * 80, 0, -10, 4_900_000]]),
        time=np.array(["NaT" if number == 3 else f"20{10 + number % 10}-06-01T12:00:00"], "datetime64[s]"),
        levels={"sentinel2": np.array([number % 2], np.int8)},
        biome=np.array([number % 14], np.int16),
        ecoregion=np.array([number], np.int16),
        split=np.array([number % 3], np.int8),
        source_items=np.array([f'{{"sentinel2": "S2A {number} ü"}}']),
    )


def _array(modality: Modality, number: int) -> np.ndarray:
    random = np.random.default_rng([number, len(modality.bands)])
    shape = (len(modality.bands), SIZE, SIZE) if modality.kind.is_map else (len(modality.bands),)
    if modality.kind.is_categorical:
        return random.choice([label.code for label in modality.classes], shape).astype(modality.dtype)
    if modality.kind is Kind.MULTILABEL_VECTOR:
        return random.integers(0, 2, shape).astype(modality.dtype)
    if modality.dtype == "float32":
        values = random.normal(0, 0.3, shape).astype(np.float32)
        return np.where(random.random(shape) < 0.2, np.float32(np.nan), values)
    return random.integers(0, 5000, shape).astype(modality.dtype)

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from geopretext.data.dataset import TileDataset
from geopretext.data.loader import TileLoader
from geopretext.errors import ClassError, GridError, InputError
from geopretext.modality import Observed

from .memory_tiles import MemoryTiles


def test_samples_agree_with_the_loader() -> None:
    reader = MemoryTiles()
    wanted = {"optical": ("green", "red"), "dynamic_world": None, "biome": None, "month": None}
    dataset = TileDataset(reader, wanted, statistics=reader.statistics, crop=5)
    (batch,) = TileLoader(
        reader,
        modalities=wanted,
        statistics=reader.statistics,
        batch_size=12,
        crop=5,
        random_crop=False,
        shuffle=False,
    )
    assert len(dataset) == 12
    for index, sample in enumerate(dataset):
        assert sample["tile"] == index
        for name in wanted:
            assert isinstance(sample[name], Observed)
            assert torch.equal(sample[name].values, batch.fields[name].values[index])
            assert torch.equal(sample[name].valid, batch.fields[name].valid[index])


def test_it_feeds_a_data_loader() -> None:
    dataset = TileDataset(MemoryTiles(), {"optical": None, "month": None}, tiles=np.array([7, 3]))
    (batch,) = DataLoader(dataset, batch_size=2)
    assert batch["tile"].tolist() == [7, 3]
    assert isinstance(batch["optical"], Observed)
    assert batch["optical"].values.shape == (2, 3, 8, 8)
    assert batch["month"].valid.dtype == torch.bool


def test_random_crops_follow_from_seed_and_tile() -> None:
    def corners(seed: int) -> list[float]:
        dataset = TileDataset(MemoryTiles(size=8), {"optical": None}, crop=3, random_crop=True, seed=seed)
        return [float(sample["optical"].values[0, 0, 0]) % 100 for sample in dataset]

    assert corners(0) == corners(0)
    assert corners(0) != corners(1)
    assert len(set(corners(0))) > 4


def test_torchgeo_keys() -> None:
    dataset = TileDataset(MemoryTiles(), {"optical": ("red",), "dynamic_world": None, "biome": None}, keys="torchgeo")
    sample = dataset[0]
    assert set(sample) == {"image", "image_valid", "mask", "mask_valid", "label", "label_valid", "tile"}
    assert sample["image"].shape == (1, 8, 8)
    assert sample["mask"].shape == (8, 8)
    assert sample["mask"].dtype == torch.int64
    assert sample["label"].shape == ()
    assert not sample["label_valid"]  # the first tile's biome is unknown


def test_two_modalities_cannot_be_the_same_torchgeo_key() -> None:
    with pytest.raises(InputError, match=r"'sentinel1' and another modality would both be 'image'") as error:
        TileDataset(MemoryTiles(), {"optical": None, "sentinel1": None}, keys="torchgeo")
    assert 'keys="modality"' in error.value.hint


def test_bad_crops_indices_and_codes() -> None:
    reader = MemoryTiles()
    with pytest.raises(GridError, match="a crop of 9 px does not fit tiles of 8 px"):
        TileDataset(reader, {"optical": None}, crop=9)
    with pytest.raises(IndexError, match="sample 12 of 12"):
        TileDataset(reader, {"optical": None})[12]
    reader.arrays["dynamic_world"][5] = 77
    with pytest.raises(ClassError, match="tile tile-005: code 77"):
        TileDataset(reader, {"dynamic_world": None})[5]

"""Tiles as the published MMEarth files hold them, and a data set that reads them one by one as the published code does.

Layout and dtypes from github.com/vishalned/MMEarth-data: one HDF5 of gzip-compressed datasets, a chunk a tile.
The reading of ``MMEarthDataset`` in github.com/vishalned/MMEarth-train, step by step: the tile's row of ``metadata``
gives its name, and with it the level; of each modality the bands are selected by a list of numbers; statistics are
float64, and so is all that follows; classes are renumbered one by one; missing numbers become NaN (here before numbers
are standardised; the published order compares standardised numbers with the no-data number, and finds none); the
result is float32 or int64. A ``DataLoader`` stacks tiles.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.normalise import scales_of
from geopretext.data.tiles import TileReader
from geopretext.modality import Kind, Modality

Array = npt.NDArray[Any]

_DTYPES = {"canopy_height_eth": "int8", "biome": "uint8", "ecoregion": "uint16"}
_MISSING = {"canopy_height_eth": (127,)}  # 255, saturated


def write_official(path: Path, reader: TileReader, modalities: Mapping[str, Modality], tiles: int) -> None:
    """Write the first tiles of a store as the published HDF5 holds them."""
    numbers = np.arange(tiles)
    with h5py.File(path, "w") as file:
        for name in modalities:
            stored = reader.modalities[name]
            data = _as_published(stored, reader.read([name], numbers)[name])
            file.create_dataset(
                stored.official_name or name, data=data, chunks=(1, *data.shape[1:]), compression="gzip"
            )
        rows = [(str(number), _level(reader, number)) for number in range(tiles)]
        metadata = np.array(rows, [("tile_id", "S100"), ("S2_type", "S10")])
        file.create_dataset("metadata", data=metadata, chunks=(1,), compression="gzip")


def _as_published(modality: Modality, data: Array) -> Array:
    if modality.kind is Kind.CATEGORICAL_VECTOR:
        data = np.eye(len(modality.classes))[data[:, 0].clip(min=0)] * (data >= 0)
    if modality.dtype == "float32":
        data = np.where(np.isfinite(data), data, -np.inf)
    dtype = _DTYPES.get(modality.name, modality.dtype)
    limits = np.iinfo(dtype) if np.dtype(dtype).kind in "iu" else np.finfo(dtype)
    return data.clip(float(limits.min) if dtype != "float32" else None, float(limits.max)).astype(dtype)


class OfficialTiles(torch.utils.data.Dataset[dict[str, Tensor]]):
    """One tile at a time from the published HDF5: standardised numbers with NaN where missing, class numbers or -1.

    Args:
        path: of the HDF5.
        modalities: what to read, with the bands wanted.
        reader: the store that it was written from, for statistics.
        tiles: in the HDF5.
    """

    def __init__(self, path: Path, modalities: Mapping[str, Modality], reader: TileReader, tiles: int) -> None:
        assert reader.statistics is not None
        self._path, self._modalities, self._tiles = path, dict(modalities), tiles
        self._bands = {n: list(reader.modalities[n].band_indices(m.band_names)) for n, m in modalities.items()}
        self._scales = {
            name: {
                level.lower(): (np.array(mean, np.float64), np.array(std, np.float64))
                for level, (mean, std) in scales_of(modality, reader.statistics).items()
            }
            for name, modality in modalities.items()
            if modality.kind.is_continuous
        }
        self._info = {f"{n}": {"S2_type": _level(reader, n)} for n in range(tiles)}
        self._file: Any = None

    def __len__(self) -> int:
        return self._tiles

    def __getitem__(self, tile: int) -> dict[str, Tensor]:
        if self._file is None:  # once a process: an open HDF5 cannot be shared
            self._file = h5py.File(self._path, "r")
        name = self._file["metadata"][tile][0].decode("utf-8")
        level = self._info[name]["S2_type"]
        return {
            name: torch.from_numpy(np.asarray(self._read(modality, tile, level)))
            for name, modality in self._modalities.items()
        }

    def _read(self, modality: Modality, tile: int, level: str) -> Array:
        dataset = self._file[modality.official_name or modality.name]
        if modality.kind is Kind.CATEGORICAL_VECTOR:
            one_hot = np.array(dataset[tile, ...])
            return np.asarray(one_hot.argmax() if one_hot.any() else -1)
        data = np.array(dataset[tile, self._bands[modality.name], ...])
        missing = _MISSING.get(modality.name, modality.missing)
        if modality.kind is Kind.CATEGORICAL_MAP:
            indices = np.full(data.shape, np.nan)
            for code, index in modality.class_index.items():
                indices = np.where(data == code, float(index), indices)
            found: Array = np.where(np.isnan(indices), -1, indices).astype(np.int64)[0]
            return found
        for number in missing or (-np.inf,):
            data = np.where(data == number, np.nan, data)
        scales = self._scales[modality.name]
        mean, std = scales.get(level, scales["all"])
        shape = (-1, *(1,) * (data.ndim - 1))
        standardised: Array = ((data - mean.reshape(shape)) / std.reshape(shape)).astype(np.float32)
        return standardised


def _level(reader: TileReader, tile: int) -> str:
    levels = reader.coordinates.levels["sentinel2"]
    return reader.modalities["sentinel2"].levels[levels[tile]].lower() if levels[tile] >= 0 else "unknown"

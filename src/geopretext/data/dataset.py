"""A plain map-style view of tiles, for users who bring their own loop."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.loader import Bands, TileSource
from geopretext.data.normalise import AnyStatistics, check_codes
from geopretext.data.sampling import crop_windows, hash_seeds
from geopretext.data.tiles import TileReader
from geopretext.errors import GridError, InputError
from geopretext.modality import Kind, Observed

_TORCHGEO_KEYS = {
    Kind.CONTINUOUS_MAP: "image",
    Kind.CATEGORICAL_MAP: "mask",
    Kind.CATEGORICAL_VECTOR: "label",
    Kind.MULTILABEL_VECTOR: "label",
    Kind.CONTINUOUS_VECTOR: "label",
}


class TileDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Tiles one by one, decoded and standardised, for ``torch.utils.data.DataLoader`` or a loop of your own.

    A sample holds, without the batch axis:

    - ``keys="modality"``: an ``Observed`` by modality name (maps (C, H, W), classes (H, W), vectors (C,));
    - ``keys="torchgeo"``: ``image`` (C, H, W) for the continuous map, ``mask`` (H, W) for the categorical map and
      ``label`` for the vector, each with its validity beside it (``image_valid`` and so on);
    - ``tile``, its number, in either case.

    Reading tile by tile is slower than ``TileLoader``, which reads ahead in batches.

    Args:
        reader: where tiles come from.
        modalities: which ones, with their bands by name (None: all of them).
        statistics: means and deviations to standardise with; None leaves values in their units.
        crop: pixels on a side of the crop, the same window for all maps of a tile; None keeps whole tiles.
        random_crop: crop at a place that follows from ``seed`` and the tile, else at the centre.
        seed: of the crops.
        tiles: numbers of the tiles to show; None: all.
        keys: how a sample names its parts.

    Raises:
        InputError: a modality is lacking, or two would have the same torchgeo key.
        BandError: a modality lacks a band.
        GridError: the crop is larger than the tiles.
        ClassError: a stored code is neither a class nor missing (when the tile is read).
    """

    def __init__(
        self,
        reader: TileReader,
        modalities: Mapping[str, Bands],
        *,
        statistics: AnyStatistics | None = None,
        crop: int | None = None,
        random_crop: bool = False,
        seed: int = 0,
        tiles: npt.NDArray[np.int64] | None = None,
        keys: Literal["modality", "torchgeo"] = "modality",
    ) -> None:
        if crop is not None and not 1 <= crop <= reader.tile_size:
            raise GridError(
                f"a crop of {crop} px does not fit tiles of {reader.tile_size} px",
                where=f"tiles of {reader.path}",
                hint=f"a crop of at most {reader.tile_size} px, or larger tiles",
            )
        self._reader = reader
        self._tiles = np.arange(len(reader)) if tiles is None else np.asarray(tiles, np.int64)
        self._crop, self._random_crop, self._seed = crop, random_crop, seed
        self._sources = {n: TileSource(reader, n, bands, statistics, "cpu") for n, bands in modalities.items()}
        for source in self._sources.values():
            source.check_levels(self._tiles)
        self._keys = self._torchgeo_keys() if keys == "torchgeo" else None

    def _torchgeo_keys(self) -> dict[str, str]:
        keys: dict[str, str] = {}
        for name, source in self._sources.items():
            key = _TORCHGEO_KEYS[source.modality.kind]
            if key in keys.values():
                raise InputError(
                    f"{name!r} and another modality would both be {key!r}",
                    where='keys="torchgeo"',
                    hint='choose one of them, or keys="modality"',
                )
            keys[name] = key
        return keys

    def __len__(self) -> int:
        return len(self._tiles)

    def __getitem__(self, index: int) -> dict[str, Any]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"sample {index} of {len(self)}")  # ends a plain `for` over the dataset
        tiles = self._tiles[[index]]
        stored = self._reader.read(list(self._sources), tiles)
        fields: dict[str, Observed[Tensor]] = {}
        for name, source in self._sources.items():
            check_codes(stored[name], source.modality, lambda _: str(self._reader.coordinates.tile_id[tiles[0]]))
            values, valid = source.finish(torch.from_numpy(stored[name]), tiles, self._window(tiles), self._crop)
            fields[name] = Observed(values[0], valid[0])
        sample: dict[str, Any] = {"tile": int(tiles[0])}
        if self._keys is None:
            return fields | sample
        for name, key in self._keys.items():
            sample[key], sample[f"{key}_valid"] = fields[name]
        return sample

    def _window(self, tiles: npt.NDArray[np.int64]) -> Tensor | None:
        if self._crop is None:
            return None
        size = self._reader.tile_size
        if self._random_crop:
            return torch.from_numpy(crop_windows(hash_seeds(self._seed, 0, tiles), tile_size=size, crop=self._crop))
        return torch.full((1, 2), (size - self._crop) // 2)

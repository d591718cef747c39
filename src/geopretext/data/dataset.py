"""A plain map-style view of tiles, for users who bring their own loop."""

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.loader import Bands, TileSource, observed_numbers
from geopretext.data.memory import Recycler
from geopretext.data.normalise import AnyStatistics, check_codes
from geopretext.data.sampling import crop_windows, hash_seeds
from geopretext.data.series import days_of, thin_series
from geopretext.data.tiles import TileReader
from geopretext.errors import GridError, InputError
from geopretext.modality import Kind, Observed

_TORCHGEO_KEYS = {
    Kind.CONTINUOUS_MAP: "image",
    Kind.CONTINUOUS_SERIES: "image",
    Kind.CATEGORICAL_MAP: "mask",
    Kind.CATEGORICAL_VECTOR: "label",
    Kind.MULTILABEL_VECTOR: "label",
    Kind.CONTINUOUS_VECTOR: "label",
}


class TileDataset(torch.utils.data.Dataset[dict[str, Any]]):
    """Tiles one by one, decoded and standardised, for ``torch.utils.data.DataLoader`` or a loop of your own.

    A sample holds, without the batch axis:

    - ``keys="modality"``: an ``Observed`` by modality name (maps (C, H, W), classes (H, W), vectors (C,), series
      (T, C, H, W)), and for each series NAME an ``Observed`` (T,) ``NAME_days``: days since 1970-01-01 of its images;
    - ``keys="torchgeo"``: ``image`` (C, H, W) for the continuous map or (T, C, H, W) for the series, then with
      ``image_days``, ``mask`` (H, W) for the categorical map and ``label`` for the vector, each with its validity
      beside it (``image_valid`` and so on);
    - ``tile``, its number, in either case.

    Reading tile by tile is slower than ``TileLoader``, which reads ahead in batches.

    Args:
        reader: where tiles come from.
        modalities: which ones, with their bands by name (None: all of them).
        statistics: means and deviations to standardise with; None leaves values in their units.
        crop: pixels on a side of the crop, the same window for all maps of a tile; None keeps whole tiles.
        random_crop: crop at a place that follows from ``seed`` and the tile, else at the centre.
        dates: of a series at most so many, which follow from ``seed`` and the tile; None: all.
        seed: of crops and dates.
        tiles: numbers of the tiles to show; None: all.
        keys: how a sample names its parts.

    Raises:
        InputError: a modality is lacking, two would have the same torchgeo key, or ``dates`` is less than 1.
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
        dates: int | None = None,
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
        if dates is not None and dates < 1:
            raise InputError(f"dates is {dates}", hint="at least 1")
        self._reader = reader
        self._tiles = np.arange(len(reader)) if tiles is None else np.asarray(tiles, np.int64)
        self._crop, self._random_crop, self._dates, self._seed = crop, random_crop, dates, seed
        self._memory = Recycler()
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
        seeds = hash_seeds(self._seed, 0, tiles)
        fields: dict[str, Observed[Tensor]] = {}
        for name, source in self._sources.items():
            check_codes(stored[name], source.modality, lambda _: str(self._reader.coordinates.tile_id[tiles[0]]))
            raw = stored[name]
            if source.modality.kind.is_series:
                dates = self._reader.coordinates.series[name][tiles]
                raw, dates = thin_series(raw, dates, seeds, self._dates, self._memory)
                fields[f"{name}_days"] = Observed(*(part[0] for part in observed_numbers(days_of(dates))))
            values, valid = source.finish(torch.from_numpy(raw), tiles, self._window(seeds), self._crop)
            fields[name] = Observed(values[0], valid[0])
        sample: dict[str, Any] = {"tile": int(tiles[0])}
        if self._keys is None:
            return fields | sample
        for name, key in self._keys.items():
            sample[key], sample[f"{key}_valid"] = fields[name]
            if f"{name}_days" in fields:
                sample[f"{key}_days"], sample[f"{key}_days_valid"] = fields[f"{name}_days"]
        return sample

    def _window(self, seeds: npt.NDArray[np.int64]) -> Tensor | None:
        if self._crop is None:
            return None
        size = self._reader.tile_size
        if self._random_crop:
            return torch.from_numpy(crop_windows(seeds, tile_size=size, crop=self._crop))
        return torch.full((1, 2), (size - self._crop) // 2)

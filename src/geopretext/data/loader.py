"""Batches of tiles for training and inference: read ahead in threads, decoded and standardised on the device.

The threads read stored numbers in their own dtype, which is little to move. Cropping, decoding and standardising happen
on the device. All randomness is a hash of (seed, epoch, tile): see ``data.sampling``.

Shapes: B tiles of one process, C bands, T dates of a series, H W pixels of the crop.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.blockwise import Blockwise
from geopretext.data.memory import Recycler
from geopretext.data.normalise import AnyStatistics, Decoder, Normaliser, check_codes
from geopretext.data.sampling import crop_windows, epoch_order, hash_seeds
from geopretext.data.series import days_of, thin_series
from geopretext.data.tiles import Dates, TileReader
from geopretext.errors import GridError, InputError
from geopretext.modality import Acquisition, Modality, Observed, find_modality

Bands: TypeAlias = tuple[str, ...] | None
"""bands by name, in the order wanted; None: all, in stored order"""


@dataclass(frozen=True)
class Batch:
    """Some tiles as a network sees them."""

    fields: dict[str, Observed[Tensor]]
    """by modality: standardised values, class indices or labels, and which of them were observed"""
    tiles: Tensor
    """(B,) int64: number of each tile in its reader"""
    seeds: Tensor
    """(B,) int64, not negative: from (seed, epoch, tile number). The only source of randomness for a tile, so that
    results do not depend on rank or batch layout"""
    acquisition: Acquisition[Tensor]
    """where and when each tile was seen"""

    def __len__(self) -> int:
        return len(self.tiles)


class TileSource:
    """One modality on its way from a reader to a device: select bands, crop, decode, standardise.

    Args:
        reader: where tiles come from.
        name: of the modality.
        bands: by name; None: all.
        statistics: to standardise with; None leaves values in their unit.
        device: where it happens.

    Raises:
        InputError: the reader or the statistics lack the modality.
        BandError: the modality lacks a band.
    """

    def __init__(
        self, reader: TileReader, name: str, bands: Bands, statistics: AnyStatistics | None, device: torch.device | str
    ) -> None:
        stored = find_modality(name, reader.modalities)
        self.modality: Modality = stored if bands is None else stored.select(bands)
        self.levels = np.asarray(reader.coordinates.levels.get(name, np.full(len(reader), -1)), np.int64)
        indices = stored.band_indices(self.modality.band_names)
        self._indices = None if self.modality == stored else torch.tensor(indices, device=device)
        seen = self.modality.image
        self._decode = Decoder(seen, device)
        self._normalise = None if statistics is None else Normaliser.of(seen, statistics, device)
        self._device = torch.device(device)
        on_cpu = self._device.type == "cpu" and seen.kind.is_map
        self._blockwise = Blockwise(seen, indices, self._normalise) if on_cpu else None

    def check_levels(self, tiles: npt.NDArray[np.int64]) -> None:
        """Refuse tiles of a level that the statistics do not cover (``InputError``)."""
        if self._normalise is not None:
            self._normalise.check_levels(self.levels[tiles])

    def finish(
        self, stored: Tensor, tiles: npt.NDArray[np.int64], windows: Tensor | None = None, crop: int | None = None
    ) -> Observed[Tensor]:
        """Stored numbers of all bands -> what a network sees.

        Args:
            stored: (B, C, H, W), (B, C) or (B, T, C, H, W) in the stored dtype, on the device; class codes have been
                checked.
            tiles: (B,) their numbers.
            windows: (B, 2): upper row and left column of the crop of each map; None keeps whole maps.
            crop: pixels on a side of the crop.
        """
        if not self.modality.kind.is_series:
            return self._finish(stored, tiles, windows, crop)
        count = stored.shape[1]
        windows = None if windows is None else windows.repeat_interleave(count, dim=0)
        images = self._finish(stored.flatten(0, 1), tiles.repeat(count), windows, crop)
        return Observed(*(part.view(-1, count, *part.shape[1:]) for part in images))

    def _finish(
        self, stored: Tensor, tiles: npt.NDArray[np.int64], windows: Tensor | None, crop: int | None
    ) -> Observed[Tensor]:
        """The same of maps or vectors."""
        if self._blockwise is not None:
            corners = None if windows is None else windows.numpy()
            return self._blockwise(stored.numpy(), self.levels[tiles], corners, crop)
        observed = self._decode.unfilled(self._cut(stored, windows, crop))
        if self._normalise is None:
            observed.values.masked_fill_(~observed.valid, 0)
            return observed
        return self._normalise.standardise_(observed, torch.from_numpy(self.levels[tiles]).to(self._device))

    def _cut(self, stored: Tensor, windows: Tensor | None, crop: int | None) -> Tensor:
        """A copy: bands and window in one gather."""
        if windows is None or crop is None or self.modality.kind.is_vector:
            return stored.clone() if self._indices is None else _as_signed(stored)[:, self._indices].view(stored.dtype)
        indices = torch.arange(stored.shape[1], device=stored.device) if self._indices is None else self._indices
        tile = torch.arange(len(stored), device=stored.device)[:, None]
        every_window = _as_signed(stored).unfold(2, crop, 1).unfold(3, crop, 1)  # a view: (B, C, y, x, crop, crop)
        return every_window[tile, indices, windows[:, :1], windows[:, 1:]].view(stored.dtype)


def _as_signed(stored: Tensor) -> Tensor:
    """The same bits in a dtype that every device can gather: torch has few kernels for wide unsigned numbers."""
    signed = {torch.uint16: torch.int16, torch.uint32: torch.int32}.get(stored.dtype)
    return stored if signed is None else stored.view(signed)


class TileLoader:
    """Iterates over batches of tiles, an epoch at a time.

    A global batch holds ``batch_size`` tiles. It is handed out in ``parts`` consecutive batches (for accumulating
    gradients), each shared out over ``world_size`` processes: global batch ``k`` of an epoch is made of the same tiles
    whatever ``parts`` and ``world_size`` are. An epoch that is iterated to its end is followed by the next one, in
    another order.

    At most ``prefetch + 1`` batches of stored numbers wait or are being read, beside the one that is being finished.
    The threads that read end with their iterator.

    Series come with all dates of the reader, (B, T, C, H, W), or thinned by ``dates`` to fewer while they are read, so
    that what waits and what is handed out is bounded by it; each thread holds all dates of the batch that it reads.
    The dates are in ``Batch.acquisition.series``.

    Args:
        reader: where tiles come from.
        modalities: which ones, with their bands by name (None: all of them).
        statistics: means and deviations to standardise with; None leaves values in their units.
        batch_size: tiles in a global batch.
        crop: pixels on a side of the crop, the same window for all maps and images of a tile; None keeps whole tiles.
        random_crop: crop at a random place, another one each epoch; else at the centre.
        dates: of a series at most so many a tile: others each epoch, in their order; None: all.
        shuffle: visit tiles in an order of (seed, epoch); else in the order of ``tiles``.
        seed: of order, crops and the tiles' seeds.
        tiles: numbers of the tiles to visit; None: all.
        rank: number of this process.
        world_size: number of processes.
        parts: batches that a global batch is handed out in.
        drop_last: leave out the last tiles of an epoch if they do not fill a global batch.
        device: where batches come to lie.
        prefetch: batches read ahead, at least 1.

    Raises:
        InputError: sizes do not fit each other, tiles do not fill a batch, or statistics are lacking.
        BandError: a modality lacks a band.
        GridError: the crop is larger than the tiles.
        ClassError: a stored code is neither a class nor missing (for maps, while iterating).
    """

    def __init__(
        self,
        reader: TileReader,
        *,
        modalities: Mapping[str, Bands],
        statistics: AnyStatistics | None,
        batch_size: int,
        crop: int | None = None,
        random_crop: bool = True,
        dates: int | None = None,
        shuffle: bool = True,
        seed: int = 0,
        tiles: npt.NDArray[np.int64] | None = None,
        rank: int = 0,
        world_size: int = 1,
        parts: int = 1,
        drop_last: bool = True,
        device: torch.device | str = "cpu",
        prefetch: int = 2,
    ) -> None:
        self._reader = reader
        self._tiles = np.arange(len(reader)) if tiles is None else np.asarray(tiles, np.int64)
        self._batch_size, self._parts, self._rank, self._world_size = batch_size, parts, rank, world_size
        self._crop, self._random_crop, self._dates = crop, random_crop, dates
        self._shuffle, self._seed, self._drop_last = shuffle, seed, drop_last
        self._device, self._prefetch = torch.device(device), prefetch
        self._check()
        self._sources = {n: TileSource(reader, n, bands, statistics, device) for n, bands in modalities.items()}
        for source in self._sources.values():
            source.check_levels(self._tiles)
        # A vector is a few bytes a tile, but would cost a chunk a tile if it were read batch by batch.
        vectors = [name for name, source in self._sources.items() if source.modality.kind.is_vector]
        self._vectors = self._read(vectors, self._tiles)
        self._maps = [name for name in self._sources if name not in vectors]
        self._series = [name for name in self._maps if self._sources[name].modality.kind.is_series]
        self._memory = Recycler()
        self._epoch, self._done, self._resumed = 0, 0, False

    def _check(self) -> None:
        where, count, shares = f"tiles of {self._reader.path}", len(self._tiles), self._parts * self._world_size
        sizes = {"batch_size": self._batch_size, "parts": self._parts, "prefetch": self._prefetch, "dates": self._dates}
        for name, number in sizes.items():
            if number is not None and number < 1:
                raise InputError(f"{name} is {number}", hint="at least 1")
        if not 0 <= self._rank < self._world_size:
            raise InputError(f"rank is {self._rank} of {self._world_size} processes", hint="count from 0")
        if self._batch_size % shares:
            raise InputError(
                f"batch_size {self._batch_size} cannot be shared evenly by {self._parts} parts"
                f" of {self._world_size} processes",
                hint=f"a multiple of {shares}",
            )
        if not self._drop_last and shares > 1:
            raise InputError("the last batch of an epoch cannot be shared evenly", hint="drop_last=True")
        if count and (self._tiles.min() < 0 or self._tiles.max() >= len(self._reader)):
            raise InputError(f"a tile number is out of range 0 to {len(self._reader) - 1}", where=where)
        if count < (self._batch_size if self._drop_last else 1):
            raise InputError(
                f"{count} tiles do not fill a batch of {self._batch_size}",
                where=where,
                hint=f"a batch_size of at most {count}" if count else "choose a split that has tiles",
            )
        if self._crop is not None and not 1 <= self._crop <= self._reader.tile_size:
            raise GridError(
                f"a crop of {self._crop} px does not fit tiles of {self._reader.tile_size} px",
                where=where,
                hint=f"a crop of at most {self._reader.tile_size} px, or larger tiles",
            )

    def __len__(self) -> int:
        """Batches of an epoch: global batches times ``parts``."""
        whole, rest = divmod(len(self._tiles), self._batch_size)
        return (whole + (not self._drop_last and rest > 0)) * self._parts

    def set_epoch(self, epoch: int) -> None:
        """Let the next iteration be this epoch, from its beginning."""
        self._epoch, self._done, self._resumed = epoch, 0, False

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands: whole numbers only. Batches that were read ahead do not count."""
        return {"epoch": self._epoch, "batch": self._done, "batches": len(self), "seed": self._seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where ``state_dict`` was taken.

        Raises:
            InputError: the state belongs to another number of batches or another seed.
        """
        for name, mine in (("batches", len(self)), ("seed", self._seed)):
            if state[name] != mine:
                raise InputError(
                    f"{name} was {state[name]} and is now {mine}",
                    where="state of the loader",
                    hint="resume with the same tiles, batch size and seed",
                )
        self._epoch, self._done, self._resumed = state["epoch"], state["batch"], True

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self._epoch, self._done if self._resumed else 0
        self._resumed = False
        jobs = self._jobs(epoch, first)
        with _read_ahead(lambda positions: self._load(epoch, positions), jobs, self._prefetch) as ready:
            for done, raw in enumerate(ready, start=first + 1):
                # An epoch is over with its last batch: whoever knows the length never asks for one more.
                self._epoch, self._done = (epoch, done) if done < len(self) else (epoch + 1, 0)
                yield self._finish(raw)

    def _jobs(self, epoch: int, first: int) -> Iterator[npt.NDArray[np.int64]]:
        """This process's share of each batch from ``first`` on, as positions in ``tiles``."""
        order = np.arange(len(self._tiles))
        if self._shuffle:
            order = epoch_order(self._tiles, seed=self._seed, epoch=epoch)
        size = self._batch_size // self._parts
        share = size // self._world_size
        for number in range(first, len(self)):
            yield order[number * size : (number + 1) * size][self._rank * share : (self._rank + 1) * share]

    def _read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[Any]]:
        """Stored numbers with sound class codes, which are checked on the host so that no device is waited for."""
        arrays = self._reader.read(names, tiles)
        tile_ids = self._reader.coordinates.tile_id
        for name, array in arrays.items():
            check_codes(array, self._sources[name].modality, lambda row: str(tile_ids[tiles[row]]))
        return arrays

    def _load(self, epoch: int, positions: npt.NDArray[np.int64]) -> "_Raw":
        tiles = self._tiles[positions]
        arrays = self._read(self._maps, tiles) | {name: array[positions] for name, array in self._vectors.items()}
        seeds = hash_seeds(self._seed, epoch, tiles)
        dates = {name: self._reader.coordinates.series[name][tiles] for name in self._series}
        for name in self._series:
            arrays[name], dates[name] = thin_series(arrays[name], dates[name], seeds, self._dates, self._memory)
        tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
        if self._device.type == "cuda":
            tensors = {name: tensor.pin_memory() for name, tensor in tensors.items()}
        windows = None
        if self._crop is not None and self._random_crop:
            windows = torch.from_numpy(crop_windows(seeds, tile_size=self._reader.tile_size, crop=self._crop))
        elif self._crop is not None:
            windows = torch.full((len(tiles), 2), (self._reader.tile_size - self._crop) // 2)
        return _Raw(tensors, tiles, torch.from_numpy(seeds), windows, dates)

    def _finish(self, raw: "_Raw") -> Batch:
        device = self._device
        windows = None if raw.windows is None else raw.windows.to(device)
        fields = {
            name: source.finish(raw.tensors[name].to(device, non_blocking=True), raw.tiles, windows, self._crop)
            for name, source in self._sources.items()
        }
        return Batch(fields, torch.from_numpy(raw.tiles).to(device), raw.seeds.to(device), self._acquisition(raw))

    def _acquisition(self, raw: "_Raw") -> Acquisition[Tensor]:
        at, tiles = self._reader.coordinates, raw.tiles
        known = ~np.isnat(at.time[tiles])
        days = np.where(known, at.time[tiles], np.datetime64(0, "s")).astype(np.float64) / _SECONDS_A_DAY
        return Acquisition(
            self._observed(at.lat[tiles]),
            self._observed(at.lon[tiles]),
            self._observed(np.where(known, days, np.nan)),
            self._reader.ground_sampling_distance,
            {name: self._observed(days_of(dates)) for name, dates in raw.dates.items()},
        )

    def _observed(self, numbers: npt.NDArray[np.float64]) -> Observed[Tensor]:
        return Observed(*(part.to(self._device) for part in observed_numbers(numbers)))


def observed_numbers(numbers: npt.NDArray[np.float64]) -> Observed[Tensor]:
    """Numbers of which NaN is missing, as float32."""
    valid = np.isfinite(numbers)
    return Observed(torch.from_numpy(np.where(valid, numbers, 0).astype(np.float32)), torch.from_numpy(valid))


class _Raw(NamedTuple):
    """A batch as a thread hands it over: stored numbers, on the host."""

    tensors: dict[str, Tensor]
    tiles: npt.NDArray[np.int64]
    seeds: Tensor
    windows: Tensor | None
    dates: dict[str, Dates]
    """of each series, (B, T)"""


_SECONDS_A_DAY = 86_400

_READERS = 4
"""threads that read ahead; decompression has threads of its own, one a core"""

Job = TypeVar("Job")
Item = TypeVar("Item")


@contextmanager
def _read_ahead(read: Callable[[Job], Item], jobs: Iterable[Job], depth: int) -> Iterator[Iterator[Item]]:
    """Do ``read`` on each of ``jobs`` in threads, ``depth`` ahead of whoever iterates; leaving ends the threads.

    While one batch is decompressed, another can be checked, and copied to where a GPU fetches it. Results come in the
    order of ``jobs``; an exception in a thread is raised where the result would have come.
    """
    pool = ThreadPoolExecutor(min(_READERS, depth + 1), thread_name_prefix="geopretext-reader")
    coming = (pool.submit(read, job) for job in jobs)

    def iterate() -> Iterator[Item]:
        waiting = deque(islice(coming, depth + 1))
        while waiting:
            result = waiting.popleft().result()
            waiting.extend(islice(coming, 1))
            yield result

    try:
        yield iterate()
    finally:
        pool.shutdown(cancel_futures=True)

"""The tile store on disk or in a bucket: open, read at random, verify. ``data.writer`` writes it.

The layout is described in ``data.zarr_format``. A store is opened at its last commit; what a writer adds later is
seen by opening it again, and what was there keeps its bytes.
"""

import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import tensorstore as ts

from geopretext.data.files import TENSORSTORE_ERRORS, Files, reading_context
from geopretext.data.fingerprint import joined_fingerprint
from geopretext.data.memory import Recycler
from geopretext.data.statistics import Statistics
from geopretext.data.store_lock import StoreLock
from geopretext.data.store_root import StoreRoot, read_root
from geopretext.data.tiles import SPLITS, Array, Coordinates
from geopretext.data.zarr_format import (
    LEDGERS,
    PARQUET,
    PLACES,
    STATISTICS,
    ArrayFormat,
    checksum,
    dates_array,
    decode_strings,
    encode_files,
    level_array,
    open_array,
    to_json,
)
from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.modality import Modality, find_modality

if TYPE_CHECKING:  # pyarrow takes a while to import
    from geopretext.data.place_log import PlaceLog

_COPY_AGAIN = "copy the file again from its source, or rebuild the store; `Store.verify` lists all bad files"


class Store:
    """A tile store, open for reading; a ``TileReader``. ``Store.open`` makes one.

    Reads may come from any thread. It can be pickled (it reopens by path), but not shared over ``fork``: start workers
    with ``spawn`` or ``forkserver``.
    """

    def __init__(self, files: Files, root: StoreRoot) -> None:
        self._files = files
        self._root = root
        self._lock = threading.Lock()
        self._arrays: dict[str, Any] = {}
        self._vectors: dict[str, Array] = {}
        self._memory = Recycler()

    @classmethod
    def open(cls, path: str | Path) -> "Store":
        """Open the store at a folder, ``s3://`` or ``gs://`` URL, at its last commit.

        Raises:
            StoreError: there is no store, or it cannot be reached.
            CorruptError: its root is damaged.
        """
        files = Files(path)
        return cls(files, read_root(files))

    def __reduce__(self) -> tuple[Any, ...]:
        return (Store.open, (self.path,))

    @property
    def path(self) -> str:
        """The folder or URL that it was opened at."""
        return self._files.path

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What it holds, by name, in order."""
        return self._root.modalities

    @property
    def tile_size(self) -> int:
        """Height and width of a tile in pixels."""
        return self._root.tile_size

    @property
    def ground_sampling_distance(self) -> float:
        """Metres a pixel."""
        return float(self.attributes["ground_sampling_distance"])

    @property
    def shard_size(self) -> int:
        """Tiles in one file of a map modality: reading in such steps reads each file once."""
        return self._root.shard_size

    @property
    def attributes(self) -> Mapping[str, Any]:
        """Attributes of the group: format, tile size, ground sampling distance, recipe and its hash."""
        return self._root.attributes

    def __len__(self) -> int:
        return self._root.tiles

    @cached_property
    def coordinates(self) -> Coordinates:
        """Of all tiles; read on first use, then held in memory."""
        columns = {name: self._whole(fmt) for name, fmt in self._root.coordinates.items() if name != "present"}
        levels = {name: level_array(modality) for name, modality in self.modalities.items() if modality.levels}
        dates = {name: dates_array(self.modalities[name]) for name in self._root.dates}
        return Coordinates(
            tile_id=np.array(columns["tile_id"].tolist(), np.str_),
            lat=columns["lat"],
            lon=columns["lon"],
            crs=columns["crs"],
            transform=columns["transform"],
            time=columns["time"].view("datetime64[s]"),
            levels={name: columns[array] for name, array in levels.items()},
            biome=columns["biome"],
            ecoregion=columns["ecoregion"],
            split=columns["split"],
            source_items=columns["source_items"],
            series={name: columns[array].view("datetime64[D]") for name, array in dates.items()},
        )

    @cached_property
    def present(self) -> npt.NDArray[np.uint32]:
        """(tiles,) bit set: bit i is on if the i-th modality has any valid value at the tile."""
        return self._whole(self._root.coordinates["present"])

    @property
    def statistics(self) -> Statistics | None:
        """What ``set_statistics`` stored; None if there is nothing yet.

        Raises:
            CorruptError: the file is damaged.
        """
        data = self._files.read(STATISTICS)
        if data is None:
            return None
        try:
            return Statistics.from_dict(json.loads(data))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorruptError(
                f"cannot be read: {error!r}",
                where=self._files.where(STATISTICS),
                hint=f"delete it, then `geopretext stats {self.path}`",
            ) from error

    @property
    def place_log(self) -> "PlaceLog | None":
        """What has become of every place that the store was built from; None if it was made otherwise.

        Raises:
            CorruptError: the file is damaged.
        """
        data = self._files.read(PLACES)
        if data is None:
            return None
        from geopretext.data.place_log import PlaceLog

        return PlaceLog.from_bytes(data, where=self._files.where(PLACES))

    def read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Stored numbers of some modalities at some tiles, in the order asked for; all files are read at once.

        Raises:
            InputError: no such modality, or a tile number out of range.
            CorruptError: bytes on disk do not match their checksum, or a file is missing (the message names it).
            StoreError: the storage cannot be reached.
        """
        tiles = np.asarray(tiles)
        if tiles.ndim != 1 or tiles.dtype.kind not in "iu":
            raise InputError(f"tiles are a row of whole numbers, not {tiles.dtype} of shape {tiles.shape}")
        if len(tiles) and not (tiles.min() >= 0 and tiles.max() < len(self)):
            bad = tiles[(tiles < 0) | (tiles >= len(self))][0]
            raise InputError(f"no tile {bad}; there are 0 to {len(self) - 1}", where=self.path)
        tiles = tiles.astype(np.int64, copy=False)
        names = list(names)
        for name in names:
            find_modality(name, self.modalities)
        formats = self._root.modality_formats
        if not len(tiles):
            return {name: formats[name].empty()[:0] for name in names}
        result: dict[str, Array] = {}
        reading = {}
        for name in names:
            if self.modalities[name].kind.is_vector:
                result[name] = self._vector(name)[tiles]
                continue
            fmt = formats[name]
            result[name] = self._memory.empty((len(tiles), *fmt.inner_shape), fmt.dtype)
            reading[name] = ts.array(result[name]).write(self._array(fmt)[tiles])
        for name, read in reading.items():
            try:
                read.result()
            except TENSORSTORE_ERRORS as error:
                raise self._diagnose(formats[name], np.unique(tiles // self.shard_size), error) from error
        return result

    def fingerprint(self, samples: npt.NDArray[np.int64]) -> str:
        """Sign of the content of some tiles, in their order: the checksums under which their shards were committed.

        It covers every committed file but ``split``, and costs no reading. Bytes that changed behind the back of the
        writer do not show in it: they show as ``CorruptError`` when they are read.
        """
        shards = np.unique(np.asarray(samples) // self.shard_size)
        formats = {name: modality.to_dict() for name, modality in self.modalities.items()}
        parts = [json.dumps(formats, sort_keys=True), str(self.tile_size), np.asarray(samples, "<i8").tobytes().hex()]
        return joined_fingerprint([*parts, *(f"{shard} {self._root.shards[shard]}" for shard in shards)])

    def _array(self, fmt: ArrayFormat) -> Any:
        with self._lock:
            if fmt.name not in self._arrays:
                place = {**self._files.spec, "path": f"{self._files.spec['path']}{fmt.name}/"}
                self._arrays[fmt.name] = open_array(fmt.metadata(len(self)), place, reading_context(place["driver"]))
            return self._arrays[fmt.name]

    def _vector(self, name: str) -> Array:
        if name not in self._vectors:
            self._vectors[name] = self._whole(self._root.modality_formats[name])
        return self._vectors[name]

    def _whole(self, fmt: ArrayFormat) -> Array:
        """All entries of an array that is small enough to be held in memory."""
        file_count = -(-len(self) // fmt.tiles_per_file)
        if fmt.is_string:
            with ThreadPoolExecutor(16) as pool:
                parts = list(pool.map(lambda file: self._strings(fmt, file), range(file_count)))
            return np.concatenate([*parts, np.empty(0, np.dtypes.StringDType())])[: len(self)]
        try:
            return np.asarray(self._array(fmt).read().result())
        except TENSORSTORE_ERRORS as error:
            raise self._diagnose(fmt, np.arange(file_count), error) from error

    def _strings(self, fmt: ArrayFormat, file: int) -> Array:
        key = fmt.key(file)
        data = self._files.read(key)
        if data is None:
            raise CorruptError("is missing", where=self._files.where(key), hint=_COPY_AGAIN)
        return decode_strings(data, where=self._files.where(key)).astype(np.dtypes.StringDType())

    def _diagnose(self, fmt: ArrayFormat, numbers: npt.NDArray[np.int64], error: Exception) -> StoreError:
        """Which of some files of an array is damaged, after a read of them has failed."""
        ledger = self._ledger()
        for number in numbers:
            key = fmt.key(int(number))
            problem = self._check(key, ledger.get(key, []))
            if problem:
                return CorruptError(problem, where=self._files.where(key), hint=_COPY_AGAIN)
        return StoreError(f"cannot be read: {error}", where=self._files.where(fmt.name))

    def verify(self) -> list[str]:
        """Check size and checksum of every file; one line for each bad one, empty if the store is sound.

        A commit that was interrupted, and that the next writer will repair, is sound.
        """
        problems = [f"{key}: {problem}" for key, problem in self._bad_ledgers()]
        ledger = self._ledger()
        with ThreadPoolExecutor(4) as pool:
            found = pool.map(lambda key: self._check(key, ledger[key]), sorted(ledger))
            problems += [f"{key}: {problem}" for key, problem in zip(sorted(ledger), found, strict=True) if problem]
        for fmt in (self._root.coordinates["split"], *self._root.band_formats):
            problems += self._undecodable(fmt)
        for key, read in ((STATISTICS, lambda: self.statistics), (PLACES, lambda: self.place_log)):
            try:
                read()
            except CorruptError as error:
                problems.append(f"{key}: {error.what}")
        return problems

    def _bad_ledgers(self) -> Iterator[tuple[str, str]]:
        for key, wanted in zip(self._root.ledgers, self._root.shards, strict=True):
            data = self._files.read(key)
            if data is None:
                yield key, "is missing, so the files of its shard cannot be checked"
            elif checksum(data) != wanted:
                yield key, f"is corrupt (checksum {checksum(data)}, not {wanted})"

    def _ledger(self) -> dict[str, list[tuple[int, str]]]:
        """For each file the (size, checksum) that it may have: as committed, or as an interrupted commit wrote it.

        There is none for a file whose ledger is lost.
        """
        committed: dict[str, list[tuple[int, str]]] = {}
        pending = [key for key in self._files.list() if key.startswith(f"{LEDGERS}/") and key not in self._root.ledgers]
        formats = [*self._root.modality_formats.values(), *self._root.coordinates.values()]
        for shard, key in enumerate(self._root.ledgers):
            entries = self._read_ledger(key)
            files = [fmt.key(shard * self.shard_size // fmt.tiles_per_file) for fmt in formats if fmt.name != "split"]
            committed |= {file: [entries[file]] if file in entries else [] for file in files}
        for key in pending:
            for file, entry in self._read_ledger(key).items():
                if file in committed:
                    committed[file].append(entry)
        return committed

    def _read_ledger(self, key: str) -> dict[str, tuple[int, str]]:
        try:
            content = json.loads(self._files.read(key) or b"{}")
            return {file: (int(size), str(digest)) for file, (size, digest) in content.items()}
        except (ValueError, TypeError, AttributeError):
            return {}

    def _check(self, key: str, allowed: list[tuple[int, str]]) -> str:
        """What is wrong with a file; empty if nothing."""
        data = self._files.read(key)
        if data is None:
            return "is missing"
        if not allowed or (len(data), checksum(data)) in allowed:
            return ""
        size, digest = allowed[0]
        if len(data) < size:
            return f"is truncated: {len(data)} of {size} bytes"
        return f"is corrupt: {len(data)} bytes of checksum {checksum(data)}, not {size} of {digest}"

    def _undecodable(self, fmt: ArrayFormat) -> list[str]:
        try:
            if fmt.dimensions[0] != "tile":
                self._strings(fmt, 0)
            else:
                self._array(fmt).read().result()
        except CorruptError as error:
            return [f"{fmt.name}: {error.what}"]
        except TENSORSTORE_ERRORS as error:
            return [f"{fmt.name}: {error}"]
        return []

    def set_split(self, split: npt.NDArray[np.int8]) -> None:
        """Store which split each tile is in (position in ``SPLITS``, -1 for none), in place of what was there.

        Raises:
            InputError: not one number from -1 to 2 for each tile.
            StoreError: another process is writing to the store.
        """
        split = np.asarray(split)
        if split.shape != (len(self),) or split.dtype.kind not in "iu":
            raise InputError(f"a split is {len(self)} whole numbers, not {split.dtype} of shape {split.shape}")
        if len(split) and not (split.min() >= -1 and split.max() < len(SPLITS)):
            raise InputError(f"a split is -1 (none) or 0 to {len(SPLITS) - 1} ({', '.join(SPLITS)})")
        lock = StoreLock(self._files)
        try:
            self._refuse_if_outdated()
            fmt, contents = self._root.coordinates["split"], split.astype(np.int8)
            for file, start in enumerate(range(0, len(self), fmt.tiles_per_file)):
                data = encode_files({fmt: contents[start : start + fmt.tiles_per_file]})[fmt]
                self._files.write({fmt.key(file): data})
            self.__dict__.pop("coordinates", None)
            self.write_parquet()
        finally:
            lock.release()

    def set_statistics(self, statistics: Statistics) -> None:
        """Store statistics in place of what was there."""
        self._files.write({STATISTICS: to_json(statistics.to_dict())})

    def set_place_log(self, log: "PlaceLog") -> None:
        """Store what has become of the places that the store is built from, in place of what was there."""
        self._files.write({PLACES: log.to_bytes()})

    def write_parquet(self) -> None:
        """Write ``tiles.parquet``: GeoParquet of the coordinates with footprints, for DuckDB, geopandas and QGIS."""
        from geopretext.data.geoparquet import tiles_to_parquet  # pyarrow takes a while to import

        size = self.tile_size, self.ground_sampling_distance
        self._files.write({PARQUET: tiles_to_parquet(self.coordinates, self.modalities, self.present, *size)})

    def _refuse_if_outdated(self) -> None:
        if read_root(self._files).tiles != len(self):
            raise StoreError("tiles were added since this store was opened", where=self.path, hint="open it again")

"""Writing a tile store, shard by shard; each shard is committed whole or not at all.

A commit writes, each step durable before the next: the ledger of the files to come (size and checksum), the files of
all modalities and coordinates, the metadata of the arrays, and last the root, which counts the tiles. Files that hold
committed tiles are only ever replaced by ones that hold the same tiles and more, so a writer that is killed anywhere
leaves the last commit readable. ``StoreWriter.resume`` removes what a killed writer left behind, and the finished
store is bit for bit that of a writer never killed.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from geopretext.data.files import Files
from geopretext.data.store import Store
from geopretext.data.store_lock import LOCK, StoreLock
from geopretext.data.store_root import StoreRoot, default_shard_size, read_root
from geopretext.data.tiles import SPLITS, Array, Coordinates, TileBatch, pad_dates
from geopretext.data.zarr_format import (
    LEDGERS,
    PARQUET,
    PLACES,
    ROOT,
    STATISTICS,
    ArrayFormat,
    checksum,
    dates_array,
    encode_files,
    ledger_key,
    level_array,
    to_json,
)
from geopretext.errors import InputError, StoreError
from geopretext.modality import Modality


class StoreWriter:
    """Appends tiles to a store; a context manager that ``StoreWriter.create`` or ``StoreWriter.resume`` makes.

    ::

        with StoreWriter.create("tiles.zarr", modalities, tile_size=64) as writer:
            for batch in batches:
                writer.append(batch)

    Leaving the block commits the short last shard; leaving it by an exception commits nothing more. Not thread-safe.
    """

    def __init__(self, files: Files, root: StoreRoot, lock: StoreLock) -> None:
        self._files = files
        self._root = root
        self._lock = lock
        self._open = True
        self._total = root.tiles
        self._ids: set[str] = set()
        self._buffers = _empty_buffers(root)

    @classmethod
    def create(
        cls,
        path: str | Path,
        modalities: Iterable[Modality],
        *,
        tile_size: int,
        shard_size: int | None = None,
        recipe: Mapping[str, Any] | None = None,
        ground_sampling_distance: float = 10.0,
        dates: Mapping[str, int] | None = None,
        before: Callable[[], None] | None = None,
    ) -> "StoreWriter":
        """Start an empty store.

        Args:
            path: a folder (by habit ``NAME.zarr``) or a URL that holds nothing yet.
            modalities: what each tile may have; bands may be a subset of the published ones.
            tile_size: height and width in pixels.
            shard_size: tiles in a file of a map modality, and so in a commit; the writer holds one shard in memory. By
                default 256, or fewer if there are series (see ``default_shard_size``).
            recipe: how the tiles were made; plain types.
            ground_sampling_distance: metres a pixel.
            dates: of each series, how many dates a tile may have at most.
            before: called when nobody else can write there any more and nothing has been written yet.

        Raises:
            StoreError: something is there already, someone else is writing, or it cannot be written to.
            InputError: sizes, modalities or recipe cannot be used.
        """
        by_name, dates = _by_name(modalities), dates or {}
        root = StoreRoot(
            modalities=by_name,
            tile_size=tile_size,
            shard_size=default_shard_size(by_name, tile_size, dates) if shard_size is None else shard_size,
            ground_sampling_distance=ground_sampling_distance,
            recipe=recipe or {},
            dates=dates,
        )
        root.to_bytes()  # an unusable recipe is refused before anything is written
        files = Files(path)
        existing = files.list()
        if existing and not {ROOT, LOCK} & set(existing):
            raise StoreError("the folder is not empty, and is no store", where=files.path, hint="name another folder")
        _refuse_existing(files)
        lock = StoreLock(files)
        try:
            _refuse_existing(files)  # someone may have made one, and left, in between
            if before is not None:
                before()
            writer = cls(files, root, lock)
            bands = {fmt: np.array(fmt_bands, object) for fmt, fmt_bands in writer._band_names()}
            files.write({fmt.key(0): data for fmt, data in encode_files(bands).items()})
            writer._publish()
        except BaseException:
            lock.release()
            raise
        return writer

    @classmethod
    def resume(cls, path: str | Path) -> "StoreWriter":
        """Go on where the last commit ended, whether the writer before was closed or killed.

        Raises:
            StoreError: there is no store, or another process is writing to it.
            CorruptError: the files that would be extended are damaged.
        """
        files = Files(path)
        read_root(files)
        lock = StoreLock(files)
        try:
            writer = cls(files, read_root(files), lock)
            writer._load_tail()
            writer._repair()
        except BaseException:
            lock.release()
            raise
        return writer

    @property
    def committed(self) -> int:
        """How many tiles are durable: a resumed build goes on with the tile of this number."""
        return self._root.tiles

    def append(self, batch: TileBatch) -> None:
        """Add tiles; whole shards are committed as they fill. A modality that the batch lacks is missing at its tiles.

        A series of the batch may be shorter than those of the store: it is padded.

        Raises:
            InputError: arrays, levels, positions or class codes do not fit, or a tile id is in the store already.
            StoreError: the disk is full or cannot be written; resume after mending it.
        """
        self._refuse_if_closed()
        self._check(batch)
        columns = self._columns(batch)
        self._ids.update(batch.coordinates.tile_id.tolist())
        start = 0
        while start < len(batch):
            stop = min(len(batch), start + self._root.shard_size - self._total % self._root.shard_size)
            for fmt, buffer in self._buffers.items():
                at = self._total % fmt.tiles_per_file
                if at == 0:
                    buffer[:] = fmt.fill
                if fmt.name in columns:
                    buffer[at : at + stop - start] = columns[fmt.name][start:stop]
            self._total += stop - start
            start = stop
            if self._total % self._root.shard_size == 0:
                self._commit()

    def truncate(self, tiles: int) -> None:
        """Take away the last tiles, so that others can stand in their place; what was not committed is dropped.

        The store is readable at every moment: with all its tiles, then with those that are left. A process that has it
        open may find files missing until it opens it again. Statistics and ``tiles.parquet`` go first.

        Args:
            tiles: how many to keep: whole shards, at most as many tiles as are committed.

        Raises:
            InputError: there are not so many, or the number is not one of whole shards.
            StoreError: the storage refuses; ``StoreWriter.resume`` mends what is left.
        """
        self._refuse_if_closed()
        if tiles % self._root.shard_size or not 0 <= tiles <= self._root.tiles:
            raise InputError(
                f"cannot keep {tiles} of {self._root.tiles} tiles",
                where=self._files.path,
                hint=f"give a multiple of the shard size, {self._root.shard_size}",
            )
        try:
            self._lock.refuse_if_lost()
            self._files.delete([STATISTICS, PARQUET])
            self._root = replace(self._root, tiles=tiles, shards=self._root.shards[: tiles // self._root.shard_size])
            # The root goes first: ledgers that it does not name make a writer that resumes repair all the rest.
            self._files.write({ROOT: self._root.to_bytes()})
            self._total = tiles
            self._load_tail()
            self._repair()
        except BaseException:
            self._abandon()
            raise

    def close(self) -> None:
        """Commit the short last shard, write ``tiles.parquet`` and let others write; may be called twice."""
        if not self._open:
            return
        try:
            if self._total > self._root.tiles:
                self._commit()
            Store.open(self._files.path).write_parquet()
        finally:
            self._abandon()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if error is None:
            self.close()
        else:
            self._abandon()

    def _refuse_if_closed(self) -> None:
        if not self._open:
            raise StoreError("this writer is closed or has failed", where=self._files.path, hint="StoreWriter.resume")

    def _abandon(self) -> None:
        self._open = False
        self._lock.release()

    def _commit(self) -> None:
        """Make everything appended so far durable."""
        first = self._root.tiles - self._root.tiles % self._root.shard_size
        shard = first // self._root.shard_size
        try:
            self._lock.refuse_if_lost()
            files = self._encoded(self._total)
            ledger = to_json(
                {key: [len(data), checksum(data)] for key, data in files.items() if not key.startswith("split/")}
            )
            key, superseded = ledger_key(shard, self._total - first), set(self._root.ledgers)
            self._files.write({key: ledger})
            self._files.write(files)
            shards = (*self._root.shards[:shard], checksum(ledger))
            self._root = replace(self._root, tiles=self._total, shards=shards)
            self._publish()
            self._files.delete(superseded - set(self._root.ledgers))
        except BaseException:
            self._abandon()
            raise

    def _encoded(self, total: int) -> dict[str, bytes]:
        """The last file of each array, by key, for ``total`` tiles (at least one)."""
        last = {fmt: (total - 1) // fmt.tiles_per_file for fmt in self._buffers}
        contents = {fmt: buffer[: total - last[fmt] * fmt.tiles_per_file] for fmt, buffer in self._buffers.items()}
        return {fmt.key(last[fmt]): data for fmt, data in encode_files(contents).items()}

    def _publish(self) -> None:
        """Write the arrays' metadata, then the root, which is the commit."""
        self._files.write({f"{name}/{ROOT}": to_json(meta) for name, meta in self._root.array_metadata().items()})
        self._files.write({ROOT: self._root.to_bytes()})

    def _load_tail(self) -> None:
        """Read the committed tiles of all files that are not full yet."""
        store = Store(self._files, self._root)
        self._ids = set(store.coordinates.tile_id.tolist())
        columns: dict[str, Array] = dict(_coordinate_columns(store.coordinates, self._root))
        columns["present"] = store.present
        self._buffers = _empty_buffers(self._root)
        for name, fmt in self._root.modality_formats.items():
            tail = self._tail(fmt)
            self._buffers[fmt][: len(tail)] = store.read([name], tail)[name]
        for name, fmt in self._root.coordinates.items():
            tail = self._tail(fmt)
            self._buffers[fmt][: len(tail)] = columns[name][tail]

    def _tail(self, fmt: ArrayFormat) -> npt.NDArray[np.int64]:
        return np.arange(self._total - self._total % fmt.tiles_per_file, self._total)

    def _repair(self) -> None:
        """Undo what a commit that did not end has written."""
        root, files = self._root, self._files
        if any(key.startswith(f"{LEDGERS}/") and key not in root.ledgers for key in files.list()):
            unfull = [fmt for fmt in self._buffers if root.tiles % fmt.tiles_per_file]
            if unfull:
                keep = {fmt.key(root.tiles // fmt.tiles_per_file) for fmt in unfull}
                files.write({key: data for key, data in self._encoded(root.tiles).items() if key in keep})
            self._publish()
        files.delete(set(files.list()) - self._own_keys() - {LOCK})
        files.sweep_temporary()

    def _own_keys(self) -> set[str]:
        """All keys that a store of so many committed tiles has."""
        keys = {ROOT, STATISTICS, PARQUET, PLACES, *self._root.ledgers}
        keys |= {f"{name}/{ROOT}" for name in self._root.array_metadata()}
        keys |= {fmt.key(0) for fmt in self._root.band_formats}
        for fmt in self._buffers:
            keys |= {fmt.key(file) for file in range(-(-self._root.tiles // fmt.tiles_per_file))}
        return keys

    def _band_names(self) -> list[tuple[ArrayFormat, tuple[str, ...]]]:
        names = [modality.band_names for modality in self._root.modalities.values()]
        return list(zip(self._root.band_formats, names, strict=True))

    def _check(self, batch: TileBatch) -> None:
        batch.check(self._root.modalities, self._root.tile_size)
        coordinates = batch.coordinates
        for name, dates in coordinates.series.items():
            most = self._root.dates.get(name, 0)
            if dates.shape[1] > most:
                raise InputError(
                    f"series {name!r} has {dates.shape[1]} dates, and here it has {most} at most",
                    where=self._files.path,
                    hint="create the store with more dates, or give fewer",
                )
        ids = coordinates.tile_id.tolist()
        twice = [name for name in ids if name in self._ids]
        if not twice and len(set(ids)) < len(ids):
            twice = [name for name in ids if ids.count(name) > 1]
        if twice:
            raise InputError(
                f"tile id {twice[0]!r} is doubled", where=self._files.path, hint="each tile has its own id"
            )
        for name, values, limit in (("lat", coordinates.lat, 90.0), ("lon", coordinates.lon, 360.0)):
            if np.any(np.abs(values) > limit):
                bad = values[np.abs(values) > limit][0]
                raise InputError(f"{name} {bad} is no position on the Earth", hint="degrees; are lat and lon swapped?")
        for name, modality in self._root.modalities.items():
            if name not in batch.arrays and modality.dtype != "float32" and not modality.missing:
                raise InputError(
                    f"modality {name!r} is absent, and has no number that says 'missing'",
                    hint="give it for all tiles, or list a number in its 'missing'",
                )
        _check_codes("split", coordinates.split, len(SPLITS))
        for name, codes in coordinates.levels.items():
            if name not in self._root.modalities or not self._root.modalities[name].levels:
                raise InputError(f"levels are given for {name!r}, which has none here")
            _check_codes(f"level of {name!r}", codes, len(self._root.modalities[name].levels))

    def _columns(self, batch: TileBatch) -> dict[str, Array]:
        """What each array gets from a batch, by array name."""
        formats = self._root.modality_formats
        columns = {
            formats[name].name: pad_dates(array, self._root.dates[name], formats[name].fill)
            if name in self._root.dates
            else array
            for name, array in batch.arrays.items()
        }
        columns |= _coordinate_columns(batch.coordinates, self._root)
        columns["present"] = _present(batch, self._root.modalities)
        return columns


def _refuse_existing(files: Files) -> None:
    if files.read(ROOT) is not None:
        raise StoreError("exists already", where=files.path, hint="use StoreWriter.resume to add to it, or delete it")


def _empty_buffers(root: StoreRoot) -> dict[ArrayFormat, Array]:
    """The last file of each array, still without tiles."""
    return {fmt: fmt.empty() for fmt in (*root.modality_formats.values(), *root.coordinates.values())}


def _by_name(modalities: Iterable[Modality]) -> dict[str, Modality]:
    modalities = list(modalities)
    by_name = {modality.name: modality for modality in modalities}
    if len(by_name) < len(modalities):
        raise InputError(f"a modality is given twice: {', '.join(modality.name for modality in modalities)}")
    return by_name


def _check_codes(what: str, codes: Array | None, limit: int) -> None:
    if codes is not None and len(codes) and not (codes.min() >= -1 and codes.max() < limit):
        raise InputError(f"{what} must be -1 to {limit - 1}, not {codes.min()} to {codes.max()}")


def _coordinate_columns(coordinates: Coordinates, root: StoreRoot) -> dict[str, Array]:
    """Stored columns of coordinates, but for ``present``, by array name."""
    names = ("tile_id", "lat", "lon", "crs", "transform", "biome", "ecoregion", "split", "source_items")
    columns: dict[str, Array] = {name: getattr(coordinates, name) for name in names}
    columns["time"] = coordinates.time.astype("datetime64[s]").view(np.int64)
    for name, modality in root.modalities.items():
        if modality.levels:
            unknown = np.full(len(coordinates), -1, np.int8)
            columns[level_array(modality)] = coordinates.levels.get(name, unknown)
        if name in coordinates.series:
            dates = pad_dates(coordinates.series[name], root.dates[name], np.datetime64("NaT", "D"))
            columns[dates_array(modality)] = dates.view(np.int64)
    return columns


def _present(batch: TileBatch, modalities: Mapping[str, Modality]) -> npt.NDArray[np.uint32]:
    """Bit set of the modalities that have any valid value at each tile.

    Raises:
        ClassError: a stored code is neither a class nor missing.
    """
    bits = np.zeros(len(batch), np.uint32)
    for bit, (name, modality) in enumerate(modalities.items()):
        if name in batch.arrays:
            bits |= np.where(_any_valid(modality, batch.arrays[name]), np.uint32(1 << bit), np.uint32(0))
    return bits


def _any_valid(modality: Modality, raw: Array) -> npt.NDArray[np.bool_]:
    """For each tile whether any value is valid; most tiles are decided by a few of their pixels."""
    if modality.kind.is_categorical or modality.kind.is_vector:
        return _any_of_each(modality.decode(raw)[1])
    found = _any_of_each(modality.decode(raw[..., ::8, ::8])[1])
    rest = np.flatnonzero(~found)
    if len(rest):
        found[rest] = _any_of_each(modality.decode(raw[rest])[1])
    return found


def _any_of_each(valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    return np.asarray(valid.any(axis=tuple(range(1, valid.ndim))))

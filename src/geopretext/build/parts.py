"""Parts: what the tasks of a build leave in its staging folder, until their tiles are in the store.

::

    tiles.zarr.build/
      origin                            a random number, drawn when the store was created
      tiles/CHECKSUM                    the tiles of one task, named by what is in them
      records/BUILD/RUN-CHECKSUM.json   what became of each place of one task, and which file holds its tiles

A record is written after its tiles, so a part is whole or not there; a task that ran twice has left it twice. The
folder lies beside the store, on the same kind of storage, and workers write to it directly.

A worker of a cluster may go on with a task long after the store that it was for is gone. BUILD therefore follows from
the origin and from all that tiles depend on: only records of the very build that asks are read, and tiles count only
through a record.
"""

import json
import uuid
from collections.abc import Mapping, Set
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import blake2b
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy
from numcodecs.zstd import Zstd

from geopretext.build.tiles import Made, Outcome
from geopretext.data.files import Files, is_url
from geopretext.data.tiles import COLUMNS, Array, Coordinates, TileBatch
from geopretext.data.zarr_format import checksum, to_json
from geopretext.errors import CorruptError, Reason, StoreError

_ORIGIN, _RECORDS, _TILES = "origin", "records", "tiles"
_REMOVALS = 3  # tries to delete a folder into which someone still writes
_ZSTD_LEVEL = 1
_ARRAY, _LEVEL, _DATES, _COORDINATE = "array/", "level/", "dates/", "coordinate/"
_STRINGS = ("tile_id", "source_items")


@dataclass(frozen=True)
class Record:
    """What became of the places of one task."""

    run: int
    """number of the run of the build that made it: later ones know better"""
    outcomes: tuple[Outcome, ...]
    tiles: str = ""
    """key of the file with the tiles that were made; empty if there are none"""
    counts: Mapping[str, int] = field(default_factory=dict)
    """what it took, as ``Made.counts``"""

    @property
    def name(self) -> str:
        """Its own among the records of a build."""
        return f"{self.run:06d}-{_digest(self.to_bytes())}.json"

    def to_bytes(self) -> bytes:
        """Plain JSON."""
        rows = [[o.place_id, str(o.reason) if o.reason else None, o.detail] for o in self.outcomes]
        return to_json({"run": self.run, "outcomes": rows, "tiles": self.tiles, "counts": dict(self.counts)})

    @classmethod
    def from_bytes(cls, data: bytes) -> "Record | None":
        """Read what ``to_bytes`` wrote; None if it is something else."""
        try:
            plain = json.loads(data)
            outcomes = tuple(
                Outcome(str(place), Reason(reason) if reason else None, str(detail))
                for place, reason, detail in plain["outcomes"]
            )
            return cls(int(plain["run"]), outcomes, str(plain["tiles"]), dict(plain["counts"]))
        except (ValueError, KeyError, TypeError):
            return None


class Staging:
    """The staging folder of a build.

    Args:
        path: a folder or URL, as ``staging_path`` names it.
        build: whose records it keeps and reads, as ``of_build`` says.

    Raises:
        StoreError: from any method, if the storage refuses.
    """

    def __init__(self, path: str, build: str = "any") -> None:
        self.path = path
        self.build = build
        self.files = Files(path)

    def of_build(self, contents: bytes, *, start: bool = False) -> "Staging":
        """The same folder for one build of a store.

        Args:
            contents: all that the store's tiles depend on.
            start: keep an origin if there is none; without one, there is no record that counts.
        """
        origin = self.files.read(_ORIGIN)
        if origin is None:
            origin = uuid.uuid4().hex.encode()
            if start:
                self.files.write({_ORIGIN: origin})
        return Staging(self.path, _digest(origin + contents))

    def put(self, run: int, made: Made) -> Record:
        """Keep what was made; on return it is durable."""
        tiles = ""
        if made.batch is not None:
            data = _to_bytes(made.batch)
            tiles = f"{_TILES}/{checksum(data)}"
            self.files.write({tiles: data})
        record = Record(run, made.outcomes, tiles, made.counts)
        self.files.write({self._records + record.name: record.to_bytes()})
        return record

    def records(self) -> tuple[list[Record], set[str]]:
        """The records, of early runs first, and the keys of the tiles that are there; damaged records are left out."""
        keys = self.files.list()
        names = [key for key in keys if key.startswith(self._records)]
        with ThreadPoolExecutor(16) as pool:
            read = list(pool.map(lambda key: Record.from_bytes(self.files.read(key) or b""), names))
        records = sorted((record for record in read if record), key=lambda record: record.run)
        return records, {key for key in keys if key.startswith(f"{_TILES}/")}

    def read_tiles(self, key: str) -> TileBatch:
        """The tiles of a record.

        Raises:
            CorruptError: the file is damaged or gone.
        """
        data = self.files.read(key)
        if data is None or f"{_TILES}/{checksum(data)}" != key:
            raise CorruptError("is missing" if data is None else "is damaged", where=self.files.where(key))
        return _from_bytes(data)

    def drop_tiles(self, key: str) -> None:
        """Forget tiles that are in the store; their record stays."""
        self.files.delete([key])

    def keep_tiles(self, keys: Set[str]) -> None:
        """Forget all tiles but these, and all records of other builds."""
        self.files.delete(
            key for key in self.files.list() if key not in keys and key != _ORIGIN and not key.startswith(self._records)
        )
        self.files.sweep_temporary()

    def remove(self) -> None:
        """Delete everything."""
        for left in reversed(range(_REMOVALS)):
            try:
                self.files.delete_all()
            except StoreError:
                if not left:
                    raise
            else:
                return

    @property
    def _records(self) -> str:
        return f"{_RECORDS}/{self.build}/"


def staging_path(store: str | Path) -> str:
    """Where the parts of a store lie: beside it."""
    return f"{str(store).rstrip('/')}.build" if is_url(store) else f"{Path(store).absolute()}.build"


def _digest(data: bytes) -> str:
    return blake2b(data, digest_size=12).hexdigest()


def _to_bytes(batch: TileBatch) -> bytes:
    """Arrays as safetensors, in which strings and their like are JSON; compressed as a whole."""
    where = batch.coordinates
    arrays: dict[str, Array] = {f"{_ARRAY}{name}": array for name, array in batch.arrays.items()}
    arrays |= {f"{_LEVEL}{name}": codes for name, codes in where.levels.items()}
    arrays |= {f"{_DATES}{name}": dates.view(np.int64) for name, dates in where.series.items()}
    for name in COLUMNS:
        if name not in _STRINGS:
            arrays[f"{_COORDINATE}{name}"] = getattr(where, name)
    arrays[f"{_COORDINATE}time"] = where.time.astype("datetime64[s]").view(np.int64)
    strings = {name: getattr(where, name).tolist() for name in _STRINGS}
    arrays["strings"] = np.frombuffer(json.dumps(strings).encode(), np.uint8)
    plain = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    return bytes(Zstd(level=_ZSTD_LEVEL).encode(safetensors.numpy.save(plain)))


def _from_bytes(data: bytes) -> TileBatch:
    """The batch that ``_to_bytes`` was given."""
    arrays = safetensors.numpy.load(bytes(Zstd().decode(data)))
    strings = json.loads(arrays["strings"].tobytes())
    columns: dict[str, Any] = _below(_COORDINATE, arrays)
    columns |= {name: np.array(values, np.str_) for name, values in strings.items()}
    columns["time"] = columns["time"].view("datetime64[s]")
    series = {name: days.view("datetime64[D]") for name, days in _below(_DATES, arrays).items()}
    where = Coordinates(**columns, levels=_below(_LEVEL, arrays), series=series)
    return TileBatch(where, _below(_ARRAY, arrays))


def _below(prefix: str, arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}

"""From places and a recipe to a finished store: tasks, parts, assembly, split, statistics, and the log of places.

Whatever stops a build (a kill, a full disk, a scheduler that is gone), the same call goes on with it, and the finished
store has the same bytes as one whose build nothing has stopped.
"""

import json
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.assembly import Assembly
from geopretext.build.crew import DIED, Broken, Crew, Ended, Maker, Task
from geopretext.build.order import spatial_order
from geopretext.build.parts import Staging, staging_path
from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe
from geopretext.build.states import FAILED, PlaceStates
from geopretext.build.tiles import Made, Outcome
from geopretext.build.transfer import TransferSettings
from geopretext.data.splits import split_places
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_root import is_store
from geopretext.data.tiles import SPLITS
from geopretext.data.writer import StoreWriter
from geopretext.errors import GeopretextError, InputError, Reason, StoreError

GROUP_SIZE = 128
"""places of one task by default: as many as lie in a scene of Sentinel-2 at MMEarth's density"""

_TICK_SECONDS = 0.5
_SPLIT_INTO = 8  # tasks, of one that broke or killed its workers: a place that does so is found in three steps
_BUGS = 256  # places that fail by an error nobody expected, before there is any tile: then it is not the places
_TRANSFER = {f.name for f in fields(TransferSettings)}
"""keys of archives that change how a build runs, and nothing about its tiles"""


@dataclass(frozen=True)
class BuildProgress:
    """How far a build is."""

    places: int
    """in all"""
    done: int
    failed: Mapping[str, int]
    """by reason"""
    made: int
    """settled by this run, done or failed"""
    committed: int
    """tiles that are in the store"""
    is_finishing: bool = False
    """all tiles are there; split and statistics are being made"""


@dataclass(frozen=True)
class BuildReport:
    """What a build has come to."""

    path: str
    places: int
    """that were wanted"""
    done: int
    failed: Mapping[str, int]
    """by reason"""
    made: int
    """settled by this run, done or failed"""
    seconds: float
    """of this run"""
    splits: Mapping[str, int]
    """tiles by split; empty if there are too few for one"""
    counts: Mapping[str, int] = field(default_factory=dict)
    """what this run took: ``requests`` and ``bytes`` read from archives"""
    notes: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class BuildOutlook:
    """What a build would do."""

    path: str
    exists: bool
    """whether there is a store to go on with"""
    places: int
    done: int
    failed: Mapping[str, int]
    """by reason; they are not made again unless asked to"""
    to_make: int
    tasks: int

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return asdict(self)


Progress = Callable[[BuildProgress], None]


@dataclass(frozen=True)
class Build:
    """A build: what is wanted, and where.

    Args:
        recipe: how tiles are made.
        maker: what makes them by that recipe.
        places: where they are to be.
        out: the store, a folder or URL; it is gone on with if it exists.

    Raises:
        InputError: there are no places, or a number is not positive.
    """

    recipe: BuildRecipe
    maker: Maker
    places: Places
    out: str | Path
    limit: int | None = None
    """only so many places, the first of ``places``"""
    group_size: int = GROUP_SIZE
    """places of one task; tiles do not depend on it"""
    shard_size: int | None = None
    """tiles in a file of the store; by default as ``StoreWriter.create`` has it, fewer if there are series"""
    retry_failed: bool = False
    """make places again that have failed in an earlier run"""

    def __post_init__(self) -> None:
        if not len(self.places):
            raise InputError("there are no places", hint="`geopretext places` samples some")
        for name in ("limit", "group_size", "shard_size"):
            if getattr(self, name) is not None and getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}", hint="it is at least 1")

    @property
    def staging(self) -> Staging:
        """Where the tasks leave their parts."""
        return Staging(staging_path(self.out))

    @property
    def _contents(self) -> bytes:
        """All that tiles depend on but their places."""
        modalities = {name: modality.to_dict() for name, modality in self.maker.modalities.items()}
        return json.dumps([_tile_recipe(_plain(self.recipe)), modalities], sort_keys=True).encode()

    def outlook(self) -> BuildOutlook:
        """What ``run`` would do; nothing is written.

        Raises:
            StoreError: the store was built by another recipe, or from other places.
        """
        states, _ = self._survey()
        failed = states.reasons
        if self.retry_failed:
            states.wait(np.flatnonzero(states.status == FAILED))
        to_make = len(states.waiting)
        exists = _open_store(self.out) is not None
        tasks = -(-to_make // self.group_size)
        return BuildOutlook(str(self.out), exists, len(states), states.done, failed, to_make, tasks)

    def run(self, crew: Crew, *, progress: Progress | None = None) -> BuildReport:
        """Make what is missing, finish the store, report.

        Args:
            crew: who makes the tiles.
            progress: called about twice a second.

        Raises:
            StoreError: the store was built by another recipe or from other places, is being written to, or the storage
                refuses (a full disk). What is committed stays; the same call goes on.
            ClusterError: the crew is gone; likewise.
            GeopretextError: many places failed by an error that looks like a bug, and none could be made.
        """
        start = time.monotonic()
        with self._open_writer() as writer:
            states, was_finished = self._survey()
            if self.retry_failed:
                states.wait(np.flatnonzero(states.status == FAILED))
            staging = self.staging.of_build(self._contents, start=True)
            run = _Run(self, writer, staging, states, crew, progress)
            if not was_finished or len(states.waiting):
                Store.open(self.out).set_place_log(states.log())
                run.to_the_end()
        store = Store.open(self.out)
        notes: list[str] = []
        if len(store) and (run.has_changed or not was_finished):
            run.tell(is_finishing=True)
            notes = _finish(store, self.recipe.seed)
        store.set_place_log(states.log())
        self.staging.remove()
        return BuildReport(
            path=store.path,
            places=len(states),
            done=states.done,
            failed=states.reasons,
            made=run.made,
            seconds=time.monotonic() - start,
            splits=_split_counts(store),
            counts=run.counts,
            notes=tuple(notes),
        )

    def _open_writer(self) -> StoreWriter:
        store = _open_store(self.out)
        if store is None:
            return StoreWriter.create(
                self.out,
                self.maker.modalities.values(),
                tile_size=self.recipe.tile_size,
                shard_size=self.shard_size,
                recipe=_plain(self.recipe),
                ground_sampling_distance=self.recipe.ground_sampling_distance,
                dates=self.recipe.dates,
                before=self.staging.remove,  # parts of a store that someone has deleted
            )
        self._refuse_other(store)
        return StoreWriter.resume(self.out)

    def _survey(self) -> tuple[PlaceStates, bool]:
        """What has become of each place, and whether an earlier run came to its end."""
        wanted = self.places.take(slice(self.limit))
        states = PlaceStates(wanted.take(spatial_order(wanted)), where=str(self.out))
        store = _open_store(self.out)
        if store is None:
            return states, False
        self._refuse_other(store)
        log = store.place_log
        if log is not None:
            states.add_log(log)
        states.add_tiles(store.coordinates.tile_id)
        records, tiles = self.staging.of_build(self._contents).records()
        for record in records:
            states.add_record(record, has_tiles=record.tiles in tiles)
        return states, log is not None and log.is_settled and not records

    def _refuse_other(self, store: Store) -> None:
        """An existing store is gone on with only if it was built in the same way."""
        there, wanted = _tile_recipe(store.attributes["recipe"]), _tile_recipe(_plain(self.recipe))
        changed = sorted(key for key in {*there, *wanted} if there.get(key) != wanted.get(key))
        if not changed and dict(store.modalities) != dict(self.maker.modalities):
            changed = ["modalities"]
        if changed:
            raise StoreError(
                f"was built by another recipe (different: {', '.join(changed)})",
                where=store.path,
                hint="give the recipe that it was built by, or another --out",
            )


class _Run:
    """One run of a build, from its first task to the last."""

    def __init__(
        self,
        build: Build,
        writer: StoreWriter,
        staging: Staging,
        states: PlaceStates,
        crew: Crew,
        progress: Progress | None,
    ) -> None:
        self._build = build
        self._writer = writer
        self._states = states
        self._crew = crew
        self._progress = progress
        self._staging = staging
        self._number = states.latest_run + 1
        self._name = uuid.uuid4().hex
        self._assembly = Assembly(writer, str(build.out), self._staging, states, run=self._number)
        self._todo = deque(_groups(states.waiting, build.group_size))
        self._bugs = 0
        self.made = 0
        self.counts: dict[str, int] = {}

    @property
    def has_changed(self) -> bool:
        """Whether the store has."""
        return self._assembly.has_changed

    def to_the_end(self) -> None:
        """Make everything that is waiting, and append it to the store."""
        self._staging.keep_tiles(self._states.live_parts)
        self.tell()
        self._advance()
        while not self._assembly.is_finished:
            while self._todo and self._crew.has_room:
                self._submit(self._states.places.take(self._todo.popleft()))
            for ended in self._crew.ended(_TICK_SECONDS):
                self._take(ended)
            self.tell()

    def tell(self, *, is_finishing: bool = False) -> None:
        """Say how far the build is."""
        if self._progress:
            states, committed = self._states, self._writer.committed
            self._progress(BuildProgress(len(states), states.done, states.reasons, self.made, committed, is_finishing))

    def _submit(self, places: Places) -> None:
        task = Task(self._build.maker, self._name, self._number, places, self._staging.path, self._staging.build)
        self._crew.submit(task)

    def _take(self, ended: Ended) -> None:
        places, record = ended.task.places, ended.record or DIED
        if isinstance(record, Broken) and len(places) > 1:
            for numbers in _groups(np.arange(len(places)), -(-len(places) // _SPLIT_INTO)):
                self._submit(places.take(numbers))
            return
        if isinstance(record, Broken):
            self._refuse_if_all_are_bugs(record)
            lost = Outcome(str(places.place_id[0]), record.reason, record.detail)
            record = self._staging.put(self._number, Made(None, (lost,)))
        self._states.add_record(record)
        self.made += len(places)
        for what, count in record.counts.items():
            self.counts[what] = self.counts.get(what, 0) + count
        self._advance()

    def _refuse_if_all_are_bugs(self, broken: Broken) -> None:
        self._bugs += broken.reason is Reason.BUG
        if self._bugs >= _BUGS and not self._states.done:
            raise GeopretextError(
                f"none of {self._bugs} places could be made; the last met {broken.detail}",
                hint="this looks like a bug of geopretext: please report it; then go on with --retry-failed",
            )

    def _advance(self) -> None:
        again = self._assembly.advance()
        self._assembly.drop_parts()
        self.made -= len(again)
        self._todo.extend(_groups(again, self._build.group_size))


def _groups(numbers: npt.NDArray[np.int64], size: int) -> Iterator[npt.NDArray[np.int64]]:
    return (numbers[start : start + size] for start in range(0, len(numbers), size))


def _open_store(path: str | Path) -> Store | None:
    return Store.open(path) if is_store(path) else None


def _plain(recipe: BuildRecipe) -> dict[str, Any]:
    return dict(json.loads(json.dumps(recipe.plain)))


def _tile_recipe(plain: Mapping[str, Any]) -> dict[str, Any]:
    """What of a recipe tiles depend on."""
    archives = {
        name: {key: value for key, value in archive.items() if key not in _TRANSFER}
        for name, archive in plain.get("archives", {}).items()
    }
    return {**{key: value for key, value in plain.items() if key != "notes"}, "archives": archives}


def _finish(store: Store, seed: int) -> list[str]:
    """Store the split and the statistics; returns what there is to tell."""
    split, notes = split_places(store.coordinates, np.arange(len(store)), seed=seed)
    if split is not None:
        store.set_split(split)
    store.set_statistics(compute_statistics(store))
    return notes


def _split_counts(store: Store) -> dict[str, int]:
    split = np.asarray(store.coordinates.split)
    counts = {name: int(np.sum(split == code)) for code, name in enumerate(SPLITS)}
    return counts if any(counts.values()) else {}

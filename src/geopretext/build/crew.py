"""Who makes the tiles: processes of a Dask cluster, or this process itself.

A crew takes tasks and tells which have ended. Everything that a task makes goes to the staging folder; only its record
comes back.
"""

import traceback
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Protocol

from geopretext.build.memory import return_memory
from geopretext.build.parts import Record, Staging
from geopretext.build.places import Places
from geopretext.build.raster_reader import close_idle_files
from geopretext.build.tiles import Made
from geopretext.data.tiles import TileBatch
from geopretext.errors import (
    ClusterError,
    CorruptError,
    MissingLibraryError,
    Reason,
    RecipeError,
    SourceError,
    StoreError,
)
from geopretext.modality import Modality

_OF_ALL = (StoreError, RecipeError, ClusterError, MissingLibraryError, MemoryError)
"""errors that all places would meet as well: they stop a build"""
_DETAIL = 300  # characters of a message that are kept


class Maker(Protocol):
    """Makes tiles of places, as ``TileMaker`` does; picklable."""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """Of the tiles, by name, in the order of the store."""

    def make(self, places: Places) -> Made:
        """The tiles of some places; what fails is told in the outcomes, not raised."""


@dataclass(frozen=True)
class Task:
    """Some places whose tiles are to be made."""

    maker: Maker
    build: str
    """unique to this run of this build"""
    run: int
    places: Places
    staging: str
    """where to put the part, as all processes see it"""
    owner: str
    """whose part it is, as ``Staging.build``"""


@dataclass(frozen=True)
class Broken:
    """What came of a task instead of a record: some place of it cannot even be failed in order."""

    reason: Reason
    detail: str


DIED = Broken(Reason.WORKER, "the process that made the tile died each time")


@dataclass(frozen=True)
class Ended:
    """A task that has ended."""

    task: Task
    record: Record | Broken | None
    """None, like ``DIED``, if the process that ran it died of it, each time that it was tried"""


class Crew(Protocol):
    """Runs tasks."""

    @property
    def has_room(self) -> bool:
        """True if another task should be handed over."""

    def submit(self, task: Task) -> None:
        """Take a task."""

    def ended(self, timeout: float) -> list[Ended]:
        """Tasks that have ended since the last call; waits for one at most so many seconds.

        Raises:
            ClusterError: the cluster is gone.
            GeopretextError: whatever a task refused to go on with: a full disk, a recipe that does not fit.
        """


_makers: dict[str, Maker] = {}  # of this process, by build: the first one that arrives keeps its connections
_makers_lock = Lock()


def run_task(task: Task) -> Record | Broken:
    """Make the tiles of a task and put them into its staging folder; what one odd place may raise is told, not raised.

    Raises:
        GeopretextError: all other tasks would meet it as well: a full disk, a recipe that does not fit.
        MemoryError: likewise.
    """
    with _makers_lock:
        if task.build not in _makers:
            _makers.clear()
            close_idle_files()  # an archive may have changed since another build
            _makers[task.build] = task.maker
        maker = _makers[task.build]
    try:
        made = maker.make(task.places)
        if [outcome.place_id for outcome in made.outcomes] != task.places.place_id.tolist():
            raise RuntimeError("outcomes are not those of the places that were asked for")
        if made.batch is not None:
            _check(made.batch, maker.modalities)
    except Exception as error:
        if isinstance(error, _OF_ALL) and not isinstance(error, CorruptError):
            raise
        return Broken(error.reason if isinstance(error, SourceError) else Reason.BUG, _sentence(error))
    record = Staging(task.staging, task.owner).put(task.run, made)
    del made
    return_memory()
    return record


def _check(batch: TileBatch, modalities: Mapping[str, Modality]) -> None:
    """Raise here, of a few places, what the store would raise when it is to take their tiles."""
    for name, array in batch.arrays.items():
        if modalities[name].kind.is_categorical:
            modalities[name].decode(array)


def _sentence(error: Exception) -> str:
    """Type, message and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({'/'.join(Path(frames[-1].filename).parts[-2:])}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {str(error)[:_DETAIL]}{where}"


class SingleProcess:
    """A crew of this process alone: one task at a time, for debugging and for small builds."""

    def __init__(self) -> None:
        self._tasks: deque[Task] = deque()

    @property
    def has_room(self) -> bool:
        """One task waits at a time."""
        return not self._tasks

    def submit(self, task: Task) -> None:
        """Keep the task for ``ended``."""
        self._tasks.append(task)

    def ended(self, timeout: float) -> list[Ended]:  # noqa: ARG002 # it runs as long as it runs
        """Run the task that waits."""
        if not self._tasks:
            return []
        task = self._tasks.popleft()
        return [Ended(task, run_task(task))]

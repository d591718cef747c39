"""Who makes the tiles: processes of a Dask cluster, or this process itself.

A crew takes tasks and tells which have ended. Everything that a task makes goes to the staging folder; only its record
comes back.
"""

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from geopretext.build.parts import Record, Staging
from geopretext.build.places import Places
from geopretext.build.tiles import Made
from geopretext.modality import Modality


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
class Ended:
    """A task that has ended."""

    task: Task
    record: Record | None
    """None if the process that ran it died of it, each time that it was tried"""


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


def run_task(task: Task) -> Record:
    """Make the tiles of a task and put them into its staging folder."""
    if task.build not in _makers:
        _makers.clear()
        _makers[task.build] = task.maker
    made = _makers[task.build].make(task.places)
    assert [outcome.place_id for outcome in made.outcomes] == task.places.place_id.tolist()
    return Staging(task.staging, task.owner).put(task.run, made)


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

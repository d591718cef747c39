"""Strips of a map by several processes, each with the scene and the network opened anew, on its own device.

Processes end when this one does, however that comes about: each watches a pipe of which this one holds the other end.
"""

import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_EXCEPTION, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.queues import SimpleQueue
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import torch

from geopretext.errors import ClusterError
from geopretext.nn.bundle import Encoder
from geopretext.predict.scene import Scene
from geopretext.predict.scene_door import SceneDoor
from geopretext.predict.scene_maps import SceneNetwork, Strip, compute_strips
from geopretext.predict.scene_parts import StripFiles
from geopretext.predict.windows import Windows

if TYPE_CHECKING:
    from multiprocessing.sharedctypes import Synchronized

Counter: TypeAlias = "Synchronized[int]"

_LOOK_SECONDS = 0.5
"""between looks at what the processes have finished"""


class SceneOpener(Protocol):
    """Says where a scene is, and opens it; small enough to be sent to other processes."""

    def open(self) -> Scene:
        """The scene.

        Raises:
            InputError: it cannot be opened, see ``predict.open_scene``.
        """


class NetworkSource(Protocol):
    """Says what is to be computed of windows, and loads it; small enough to be sent to other processes."""

    @property
    def patch(self) -> int:
        """Pixels; windows start at its multiples and have a multiple of it on a side."""

    @property
    def cell(self) -> int:
        """Pixels on a side of what one result is for: a divisor of ``patch``, or it."""

    @property
    def width(self) -> int:
        """Numbers of a result."""

    @property
    def extent(self) -> int:
        """Pixels on a side of the squares of its response norms, see ``nn.local_norm``."""

    @property
    def margin(self) -> int:
        """Pixels of surroundings that a result needs to be that of one pass over the whole scene."""

    @property
    def window(self) -> int | None:
        """Pixels on a side of windows that suit it; None: as the margin wants."""

    @property
    def ramp(self) -> int | None:
        """Pixels over which windows are to be blended; None: two patches, or nothing without a margin."""

    def encoder(self) -> Encoder:
        """Says which input is wanted; on the CPU."""

    def load(self, device: str) -> SceneNetwork:
        """The network, in evaluation mode."""

    def fingerprint(self) -> str:
        """Sign of its weights and of all that results depend on."""


@dataclass(frozen=True)
class StripJob:
    """All that a process needs to compute strips."""

    source: SceneOpener
    network: NetworkSource
    door: Callable[[Scene], SceneDoor]
    """as ``SceneDoor.closed`` gives it"""
    windows: Windows
    batch: int

    def strips(self, numbers: Iterator[int], device: str) -> Iterator[Strip]:
        """See ``scene_maps.compute_strips``."""
        return compute_strips(
            self.door(self.source.open()),
            self.network.load(device),
            self.windows,
            numbers,
            batch=self.batch,
        )


def compute_in_processes(
    job: StripJob,
    files: StripFiles,
    numbers: Sequence[int],
    devices: Sequence[str],
    finished: Callable[[int], None],
) -> None:
    """Compute strips and keep them, in whatever order.

    Args:
        job: what is computed.
        files: where strips are kept.
        numbers: which ones.
        devices: one a process.
        finished: told the number of each strip that is kept.

    Raises:
        ClusterError: a process died.
        CorruptError, StoreError: as raised in a process; the others are stopped, and what they have begun is lost.
    """
    context = get_context("spawn")
    taken: Counter = context.Value("q", 0)
    done: SimpleQueue[int] = context.SimpleQueue()
    far, tether = context.Pipe(duplex=False)
    threads = max(1, (os.cpu_count() or 1) // len(devices))
    pool = ProcessPoolExecutor(len(devices), context, _begin, (far, threads, taken, done))
    try:
        busy: set[Future[None]] = {pool.submit(_work, job, files, numbers, device) for device in devices}
        while busy:
            ended, busy = wait(busy, _LOOK_SECONDS, FIRST_EXCEPTION)
            while not done.empty():
                finished(done.get())
            for future in ended:
                _raise_from(future)
    finally:
        tether.close()
        far.close()
        pool.shutdown(wait=True, cancel_futures=True)


def _raise_from(future: "Future[None]") -> None:
    try:
        future.result()
    except BrokenExecutor as error:
        raise ClusterError(
            "a process was killed over its work, mostly for want of memory",
            hint="the same command goes on from the strips that are finished; take fewer --workers",
        ) from error


_shared: dict[str, Any] = {}
"""by the processes of a crew, in each of them: how many strips are taken, and a queue of those that are kept"""


def _begin(tether: Connection, threads: int, taken: Counter, done: "SimpleQueue[int]") -> None:
    """First thing in a process: Ctrl-C is for its parent, which lets go of the tether."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(tether,), daemon=True).start()
    torch.set_num_threads(min(threads, torch.get_num_threads()))
    _shared.update(taken=taken, done=done)


def _end_with(tether: Connection) -> None:
    try:
        tether.recv()
    except (EOFError, OSError):
        os._exit(1)


def _work(job: StripJob, files: StripFiles, numbers: Sequence[int], device: str) -> None:
    for strip in job.strips(_not_taken(numbers), device):
        files.save(strip)
        _shared["done"].put(strip.number)


def _not_taken(numbers: Sequence[int]) -> Iterator[int]:
    """The next strip that no process has taken; no queue, which would have to be filled before anybody reads it."""
    taken: Counter = _shared["taken"]
    while True:
        with taken.get_lock():
            place = taken.value
            taken.value = place + 1
        if place >= len(numbers):
            return
        yield numbers[place]

"""Who does the work of a suite: this process, other processes of this machine, or the workers of a Dask cluster.

Whoever dies over a piece of work loses that piece only: each local process has a pool of its own, so that it is known
which piece it was.
"""

import os
import signal
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    CancelledError,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from geopretext import __version__
from geopretext.errors import ClusterError, MissingLibraryError
from geopretext.evaluate.suite_work import Answer, Work, do_work

_CONNECT_SECONDS = 20.0


@dataclass(frozen=True)
class Ended:
    """What became of a piece of work."""

    work: Work
    answer: Answer = None
    error: Exception | None = None
    """what it raised"""
    died: bool = False
    """the process that did it is gone"""


class Crew(Protocol):
    """Does work, some pieces at a time."""

    @property
    def has_room(self) -> bool:
        """True if another piece can be taken."""

    def submit(self, work: Work) -> None:
        """Take a piece of work."""

    def ended(self) -> list[Ended]:
        """Wait until a piece has ended; all that have since the last call.

        Raises:
            ClusterError: the cluster is gone.
        """


class OneProcess:
    """This process, a piece at a time."""

    def __init__(self) -> None:
        self._work: list[Work] = []

    @property
    def has_room(self) -> bool:
        """One piece waits."""
        return not self._work

    def submit(self, work: Work) -> None:
        """Keep it for ``ended``."""
        self._work.append(work)

    def ended(self) -> list[Ended]:
        """Do what waits."""
        work = self._work.pop()
        try:
            return [Ended(work, do_work(work))]
        except Exception as error:  # as an executor does: what a piece of work raises is its result
            return [Ended(work, error=error)]


class _Process:
    """One process with a pool of its own. It ends when its tether does: on ``close``, or with this process."""

    def __init__(self, threads: int) -> None:
        context = get_context("spawn")
        far, self._tether = context.Pipe(duplex=False)
        self._pool: Executor = ProcessPoolExecutor(1, context, _begin, (far, threads))
        self._far = far  # must live until the process has started

    def submit(self, work: Work) -> "Future[Answer]":
        return self._pool.submit(do_work, work)

    def close(self) -> None:
        self._tether.close()
        self._far.close()
        self._pool.shutdown(wait=True, cancel_futures=True)


def _begin(tether: Connection, threads: int) -> None:
    """First thing in a process: Ctrl-C is for its parent, which lets go of the tether."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(tether,), daemon=True).start()
    import torch

    torch.set_num_threads(min(threads, torch.get_num_threads()))


def _end_with(tether: Connection) -> None:
    try:
        tether.recv()
    except (EOFError, OSError):
        os._exit(1)


class ProcessCrew:
    """Processes of this machine, each with its share of the cores."""

    def __init__(self, workers: int) -> None:
        self._threads = max(1, (os.cpu_count() or 1) // workers)
        self._idle = [_Process(self._threads) for _ in range(workers)]
        self._busy: dict[Future[Answer], tuple[_Process, Work]] = {}

    @property
    def has_room(self) -> bool:
        """A process is idle."""
        return bool(self._idle)

    def submit(self, work: Work) -> None:
        """Hand it to an idle process; one that was killed meanwhile is replaced."""
        process = self._idle.pop()
        try:
            future = process.submit(work)
        except BrokenExecutor:
            process.close()
            process = _Process(self._threads)
            future = process.submit(work)
        self._busy[future] = process, work

    def ended(self) -> list[Ended]:
        """A process that died is replaced."""
        done = wait(self._busy, return_when=FIRST_COMPLETED).done
        answers = []
        for future in done:
            process, work = self._busy.pop(future)
            answer = _ended(work, future)
            if answer.died:
                process.close()
                process = _Process(self._threads)
            self._idle.append(process)
            answers.append(answer)
        return answers

    def close(self) -> None:
        """End all processes at once."""
        for process in [*self._idle, *(process for process, _ in self._busy.values())]:
            process.close()


def _ended(work: Work, future: "Future[Answer]") -> Ended:
    error = future.exception()
    if error is None:
        return Ended(work, future.result())
    if isinstance(error, BrokenExecutor):
        return Ended(work, died=True)
    if not isinstance(error, Exception):
        raise error
    return Ended(work, error=error)


@contextmanager
def local_crew(workers: int) -> Iterator[Crew]:
    """This process, or ``workers`` others until the block is left."""
    if workers == 1:
        yield OneProcess()
        return
    crew = ProcessCrew(workers)
    try:
        yield crew
    finally:
        crew.close()


class DaskCrew:
    """The workers of a Dask client, which runs a piece again by itself when a worker dies over it."""

    def __init__(self, client: Any) -> None:
        self._client = client
        self._executor = client.get_executor(pure=False)
        self._busy: dict[Future[Answer], Work] = {}

    @property
    def has_room(self) -> bool:
        """Twice as many pieces as workers are with the scheduler."""
        return len(self._busy) < 2 * max(1, len(self._client.nthreads()))

    def submit(self, work: Work) -> None:
        """Hand it to the scheduler."""
        self._busy[self._executor.submit(do_work, work)] = work

    def ended(self) -> list[Ended]:
        """See ``Crew``."""
        from distributed import KilledWorker

        answers = []
        for future in wait(self._busy, return_when=FIRST_COMPLETED).done:
            work = self._busy.pop(future)
            try:
                answer = _ended(work, future)
            except CancelledError as error:
                raise ClusterError(
                    "the Dask scheduler is gone", hint="the same command goes on: finished cells are kept"
                ) from error
            answers.append(Ended(work, died=True) if isinstance(answer.error, KilledWorker) else answer)
        return answers

    def probe(self, folder: Path) -> None:
        """Check that every worker does one piece at a time, sees the folder, and runs the same geopretext.

        Raises:
            ClusterError: one of them does not.
        """
        for worker, count in self._client.nthreads().items():
            if count > 1:
                raise ClusterError(
                    f"worker {worker} has {count} threads; a cell takes a process",
                    hint="start workers with one thread each: --nthreads 1, of which --nworkers may be many",
                )
        token = folder / f".probe-{uuid.uuid4().hex}"
        token.touch()
        try:
            answers = self._client.run(_look, token, on_error="return")
        finally:
            token.unlink()
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                raise ClusterError(
                    f"worker {worker} cannot take part: {type(answer).__name__}: {answer}",
                    hint="install the same geopretext where the workers run",
                )
            sees, version = answer
            if not sees:
                raise ClusterError(
                    f"worker {worker} does not see {folder}", hint="give --out on a disk that all workers share"
                )
            if version != __version__:
                raise ClusterError(
                    f"worker {worker} runs geopretext {version}, this process {__version__}",
                    hint="install the same version where the workers run",
                )

    def close(self) -> None:
        """Take back what has not begun."""
        self._executor.shutdown(wait=False)


def _look(token: Path) -> tuple[bool, str]:
    return token.exists(), __version__


@contextmanager
def cluster_crew(scheduler: str, folder: Path) -> Iterator[Crew]:
    """The workers of a scheduler that runs already, until the block is left.

    Args:
        scheduler: its address, as ``tcp://10.0.0.1:8786``.
        folder: that all workers must see.

    Raises:
        ClusterError: no scheduler answers there, or a worker cannot take part.
        MissingLibraryError: Dask is not installed.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingLibraryError("distributed", extra="geo", purpose="compute on a Dask cluster") from error
    try:
        client = Client(scheduler, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call] # Dask's own
    except (OSError, ValueError) as error:
        raise ClusterError(
            f"no Dask scheduler answers at {scheduler}: {error}",
            hint="give its address as `dask scheduler` prints it, for example tcp://10.0.0.1:8786",
        ) from error
    with client:
        crew = DaskCrew(client)
        try:
            crew.probe(folder)
            yield crew
        finally:
            crew.close()

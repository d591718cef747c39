"""A crew of Dask workers: processes of this machine, or of a cluster that is there already.

Dask runs a task again when its worker dies. What kills its worker each time is told as such.
"""

import logging
import signal
import sys
import threading
import uuid
import warnings
from collections.abc import Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager
from importlib.util import find_spec
from multiprocessing import resource_tracker
from queue import Empty, SimpleQueue
from time import monotonic, process_time
from typing import Any

from geopretext import __version__
from geopretext.build.crew import Ended, Task, run_task
from geopretext.data.files import Files
from geopretext.errors import ClusterError, InputError, MissingLibraryError

_IN_FLIGHT = 128  # tasks that the scheduler knows of, at least; it is twice the threads if these are many
_COUNT_SECONDS = 10.0  # between looks at how many these are: clusters grow and shrink
_CONNECT_SECONDS = 20.0
_PROBE = "probe"
_DEATHS = 1  # of workers that a task may survive, before it is taken to be the cause


class DaskCrew:
    """Runs tasks on the workers of a Dask client; ``local_crew`` and ``cluster_crew`` make one."""

    def __init__(self, client: Any, *, dashboard: str = "") -> None:
        self.dashboard = dashboard
        """address of Dask's dashboard; empty if there is none"""
        self._client = client
        self._running: dict[str, tuple[Any, Task]] = {}
        self._ended: SimpleQueue[str] = SimpleQueue()
        self._room = _IN_FLIGHT
        self._counted = monotonic()

    @property
    def has_room(self) -> bool:
        """A bounded number of tasks is with the scheduler."""
        if monotonic() - self._counted > _COUNT_SECONDS:
            with self._connected():
                self._room = max(_IN_FLIGHT, 2 * sum(self._client.nthreads().values()))
            self._counted = monotonic()
        return len(self._running) < self._room

    @property
    def workers(self) -> int:
        """How many there are now."""
        return len(self._client.nthreads())

    @property
    def processor_seconds(self) -> float:
        """Processor time that the workers there are now have taken since they started."""
        with self._connected():
            return float(sum(self._client.run(process_time).values()))

    def submit(self, task: Task) -> None:
        """Hand a task to the scheduler."""
        key = f"make_tiles-{uuid.uuid4().hex}"
        with self._connected():
            future = self._client.submit(run_task, task, key=key, pure=False)
        self._running[key] = future, task
        future.add_done_callback(lambda done: self._ended.put(done.key))

    def ended(self, timeout: float) -> list[Ended]:
        """See ``Crew``."""
        from distributed import KilledWorker

        try:
            key = self._ended.get(timeout=timeout)
        except Empty:
            if self._client.status != "running":
                raise self._gone() from None
            return []
        future, task = self._running.pop(key)
        if future.status == "error":
            error = future.exception()
            if isinstance(error, KilledWorker):
                return [Ended(task, None)]
            raise error
        with self._connected():
            return [Ended(task, future.result())]

    def probe(self, staging: str) -> None:
        """Check that every worker there is sees the staging folder, runs one task at a time, and the same geopretext.

        Raises:
            ClusterError: one of them does not.
        """
        with self._connected():
            threads = self._client.nthreads()
        for worker, count in threads.items():
            if count > 1:
                raise ClusterError(
                    f"worker {worker} has {count} threads; a task takes a process",
                    hint="start workers with one thread each: --nthreads 1, of which --nworkers may be many",
                )
        files, written = Files(staging), uuid.uuid4().hex
        files.write({_PROBE: written.encode()})
        try:
            with self._connected():
                answers = self._client.run(_read_probe, staging, on_error="return")
        finally:
            files.delete([_PROBE])
        for worker, answer in answers.items():
            if isinstance(answer, BaseException):
                raise ClusterError(
                    f"worker {worker} cannot take part: {type(answer).__name__}: {answer}",
                    hint='install the same geopretext with its extra "geo" where the workers run',
                )
            seen, version = answer
            if seen != written:
                raise ClusterError(
                    f"worker {worker} does not see what is written to {staging}",
                    hint="give --out on storage that this process and all workers share: a network disk, or s3://",
                )
            if version != __version__:
                raise ClusterError(
                    f"worker {worker} runs geopretext {version}, this process {__version__}",
                    hint="install the same version where the workers run",
                )

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Tell the loss of the scheduler from errors of tasks."""
        from distributed.comm.core import CommClosedError

        try:
            yield
        except (CancelledError, CommClosedError, TimeoutError) as error:
            raise self._gone() from error

    def _gone(self) -> ClusterError:
        return ClusterError(
            "the Dask scheduler is gone",
            hint="the same command goes on with the build; what was committed is safe",
        )


def _read_probe(staging: str) -> tuple[str, str]:
    return (Files(staging).read(_PROBE) or b"").decode(), __version__


@contextmanager
def local_crew(
    workers: int | None = None, *, at_most: int | None = None, memory_limit: str | None = None
) -> Iterator[DaskCrew]:
    """Processes of this machine, until the block is left; they end with this process, however it ends.

    Args:
        workers: how many; each runs one task at a time. By default one a core.
        at_most: no more than these, as there are not more tasks.
        memory_limit: of each, as Dask takes it (``2GiB``); a process that needs more is ended, and its task tried
            again. By default an equal share of the machine's.

    Raises:
        InputError: the memory limit is no amount of memory.
        MissingLibraryError: Dask is not installed.
    """
    _require_dask()
    import dask
    from dask.system import CPU_COUNT
    from distributed import Client, LocalCluster

    count = workers or CPU_COUNT
    dashboard = "127.0.0.1:0" if find_spec("bokeh") else None
    settings: dict[str, Any] = {
        "distributed.scheduler.allowed-failures": _DEATHS,
        "distributed.scheduler.worker-saturation": 1.0,
        # Workers hold no results, so there is nothing to spill; one that pauses for want of memory may never go on.
        **{f"distributed.worker.memory.{threshold}": False for threshold in ("target", "spill", "pause")},
        # Workers would wake up 150 times a second to look at themselves, which takes 5 % of their time.
        "distributed.worker.profile.enabled": False,
        "distributed.admin.tick.interval": "500ms",
    }
    limits = {} if memory_limit is None else {"memory_limit": _bytes(memory_limit)}
    cluster: Any = None
    with _quiet(), dask.config.set(settings):
        try:
            with _interrupts_deferred():
                cluster = LocalCluster(  # type: ignore[no-untyped-call]
                    n_workers=min(count, at_most or count),
                    threads_per_worker=1,
                    host="127.0.0.1",
                    dashboard_address=dashboard,
                    silence_logs=logging.CRITICAL,
                    **limits,
                )
            with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call] # Dask's own
                yield DaskCrew(client, dashboard=cluster.dashboard_link if dashboard else "")
        finally:
            if cluster is not None:
                with _interrupts_deferred():
                    cluster.close()


@contextmanager
def cluster_crew(address: str) -> Iterator[DaskCrew]:
    """The workers of a scheduler that runs already.

    Args:
        address: of the scheduler, as ``tcp://10.0.0.1:8786``.

    Raises:
        ClusterError: no scheduler answers there.
        MissingLibraryError: Dask is not installed.
    """
    _require_dask()
    from distributed import Client

    with _quiet():
        try:
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False)  # type: ignore[no-untyped-call] # Dask's own
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"no Dask scheduler answers at {address}: {error}",
                hint="give its address as `dask scheduler` prints it, for example tcp://10.0.0.1:8786",
            ) from error
        with client:
            yield DaskCrew(client, dashboard=client.dashboard_link or "")


def _require_dask() -> None:
    try:
        import distributed  # noqa: F401 # only whether it is there
    except ImportError as error:
        raise MissingLibraryError("distributed", extra="geo", purpose="build on several processes") from error


def _bytes(memory: str) -> int:
    from dask.utils import parse_bytes

    try:
        return int(parse_bytes(memory))
    except ValueError:
        raise InputError(f"{memory!r} is no amount of memory", hint="a number with a unit, as 4GiB") from None


@contextmanager
def _interrupts_deferred() -> Iterator[None]:
    """Let a Ctrl-C wait until the block is left; processes that are started in it, now or later, never hear of one.

    A terminal sends it to them as well, but it is for us to end them.
    """
    if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
        yield
        return
    resource_tracker.ensure_running()  # it unblocks the signal for the thread that first needs it
    came: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})  # what starts here inherits it
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGINT, handler)
    if came and callable(handler):
        handler(signal.SIGINT, None)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep Dask's own log and warnings off the terminal: what matters of them comes as errors."""
    from distributed.utils import silence_logging_cmgr

    with silence_logging_cmgr(logging.CRITICAL), warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="distributed")
        yield

"""Work that takes longer than a page waits: whoever asks first begins it, and every asker is told how far it is."""

from collections.abc import Callable
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from queue import SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Any, Generic, ParamSpec, TypeVar

from geopretext.errors import GeopretextError

Given = ParamSpec("Given")
Result = TypeVar("Result")
Progress = Callable[[int, int], None]


class DaemonPool(Executor):
    """Threads that the end of the process does not wait for, as it does for those of a ``ThreadPoolExecutor``.

    Nothing that the viewer computes outlives it, so Ctrl-C need not wait until it is done.

    Args:
        threads: how many.
        name: that they are listed under.
    """

    def __init__(self, threads: int, name: str) -> None:
        self._waiting: SimpleQueue[Callable[[], None]] = SimpleQueue()
        for number in range(threads):
            Thread(target=self._work, name=f"{name}-{number}", daemon=True).start()

    def submit(self, work: Callable[Given, Result], /, *args: Given.args, **kwargs: Given.kwargs) -> "Future[Result]":
        """Do it as soon as a thread is free."""
        future: Future[Result] = Future()

        def fulfil() -> None:
            if not future.set_running_or_notify_cancel():
                return
            try:
                future.set_result(work(*args, **kwargs))
            except BaseException as error:  # it belongs to whoever asks for the result
                future.set_exception(error)

        self._waiting.put(fulfil)
        return future

    def _work(self) -> None:
        while True:
            self._waiting.get()()


@dataclass
class _Job(Generic[Result]):
    what: str
    version: object = None
    begun: float = field(default_factory=monotonic)
    done: int = 0
    total: int = 0
    future: "Future[Result] | None" = None


class Jobs(Generic[Result]):
    """Jobs by key, one at a time, so that two do not share the cores; the newest result of each is kept."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job[Result]] = {}
        self._lock = Lock()
        self._pool = DaemonPool(1, "viewer-job")
        self._stopped = False

    def ask(self, key: str, what: str, work: Callable[[Progress], Result], *, version: object = None) -> dict[str, Any]:
        """The state of a job as pages read it; begins it if nobody has asked before, or if it failed.

        Args:
            key: of the job.
            what: is being done, as ``embedding tiles``.
            work: does it, and tells how far it is.
            version: of what it works on; another than before begins it anew.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None or job.version != version:
                job = self._jobs[key] = _Job(what, version)
                job.future = self._pool.submit(work, self._progress(job))
            assert job.future is not None
            if not job.future.done():
                seconds = round(monotonic() - job.begun, 1)
                return {"state": "running", "what": what, "done": job.done, "total": job.total, "seconds": seconds}
            error = job.future.exception()
            if error is None:
                return {"state": "done"}
            del self._jobs[key]
        if not isinstance(error, GeopretextError):
            raise error
        return {"state": "failed", "error": {"what": error.what, "where": error.where, "hint": error.hint}}

    def result(self, key: str, *, version: object = None) -> Result | None:
        """Of a job that is done; None before, and of another version."""
        job = self._jobs.get(key)
        if (
            job is None
            or job.version != version
            or job.future is None
            or not job.future.done()
            or job.future.exception() is not None
        ):
            return None
        return job.future.result()

    def stop(self) -> None:
        """Begin nothing any more, and let what runs end at its next report of progress."""
        self._stopped = True

    def _progress(self, job: _Job[Result]) -> Progress:
        def tell(done: int, total: int) -> None:
            if self._stopped:
                raise InterruptedError("the viewer stops")
            job.done, job.total = done, total

        return tell

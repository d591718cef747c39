"""Work that takes longer than a page waits: whoever asks first begins it, and every asker is told how far it is."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Lock
from time import monotonic
from typing import Any, Generic, TypeVar

from geopretext.errors import GeopretextError

Result = TypeVar("Result")
Progress = Callable[[int, int], None]


@dataclass
class _Job(Generic[Result]):
    what: str
    begun: float = field(default_factory=monotonic)
    done: int = 0
    total: int = 0
    future: "Future[Result] | None" = None


class Jobs(Generic[Result]):
    """Jobs by key, one at a time, so that two do not share the cores; results are kept."""

    def __init__(self) -> None:
        self._jobs: dict[str, _Job[Result]] = {}
        self._lock = Lock()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="viewer-job")
        self._stopped = False

    def ask(self, key: str, what: str, work: Callable[[Progress], Result]) -> dict[str, Any]:
        """The state of a job as pages read it; begins it if nobody has asked before, or if it failed.

        Args:
            key: of the job.
            what: is being done, as ``embedding tiles``.
            work: does it, and tells how far it is.
        """
        with self._lock:
            job = self._jobs.get(key)
            if job is None:
                job = self._jobs[key] = _Job(what)
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

    def result(self, key: str) -> Result | None:
        """Of a job that is done; None before."""
        job = self._jobs.get(key)
        if job is None or job.future is None or not job.future.done() or job.future.exception() is not None:
            return None
        return job.future.result()

    def stop(self) -> None:
        """Begin nothing any more, and let what runs end at its next report of progress."""
        self._stopped = True
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _progress(self, job: _Job[Result]) -> Progress:
        def tell(done: int, total: int) -> None:
            if self._stopped:
                raise InterruptedError("the viewer stops")
            job.done, job.total = done, total

        return tell

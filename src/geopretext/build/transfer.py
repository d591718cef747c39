"""Bytes from anywhere: ranges of remote files, fetched again when that may help, within limits, and counted.

What goes wrong on the way is met here, once, for every raster that a build reads: an attempt that fails for a reason
that may pass is repeated after a wait that doubles and is jittered, or that the server asked for; no host is asked
more often, or by more connections, than the settings allow. What remains is a ``SourceError`` with its reason.
"""

import os
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import TypeVar
from urllib.parse import urlsplit

from geopretext.build.fetch import STORES, Fetcher, FetchError, Part, StoreFetcher, WebFetcher, scheme_of
from geopretext.errors import RecipeError, SourceError

Answer = TypeVar("Answer")

_LONGEST_BACKOFF = 30.0
"""seconds"""


@dataclass(frozen=True)
class TransferSettings:
    """How remote files are read. An archive's YAML may hold these keys."""

    timeout: float = 30.0
    """seconds without an answer, or without another byte, after which an attempt is given up"""
    retries: int = 6
    """attempts after the first one that failed for a reason that may pass"""
    backoff: float = 0.5
    """seconds before the second attempt; doubles with each, is jittered, and is at most 30"""
    concurrency: int = 16
    """requests to one host at the same time, per process"""
    requests_per_second: float = 0.0
    """to one host, per process; 0: no limit"""
    anonymous: bool = False
    """ask object stores without credentials, as open buckets allow"""
    region: str = ""
    """of S3 buckets; empty: as the environment says, else us-east-1"""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("timeout", 1e-3, 3600),
            ("retries", 0, 100),
            ("backoff", 0, 30),
            ("concurrency", 1, 256),
        ):
            if not low <= getattr(self, name) <= high:
                raise RecipeError(f"{name} is {getattr(self, name):g}", hint=f"it is between {low:g} and {high:g}")
        if not self.requests_per_second >= 0:
            raise RecipeError(f"requests_per_second is {self.requests_per_second:g}", hint="0 for no limit, or more")


@dataclass(frozen=True)
class TransferCounts:
    """What this process has asked of remote archives."""

    requests: int = 0
    """all attempts, failed ones too"""
    bytes: int = 0
    """that came and were used"""
    repeats: int = 0
    """requests that repeated a failed one"""

    def __sub__(self, other: "TransferCounts") -> "TransferCounts":
        return TransferCounts(self.requests - other.requests, self.bytes - other.bytes, self.repeats - other.repeats)


_counting = threading.Lock()
_counts = TransferCounts()


def transfer_counts() -> TransferCounts:
    """Counts of this process so far: take the difference of two for what happened between them."""
    return _counts


def _count(*, requests: int = 0, received: int = 0, repeats: int = 0) -> None:
    global _counts
    with _counting:
        _counts = TransferCounts(_counts.requests + requests, _counts.bytes + received, _counts.repeats + repeats)


def reset_transfer_counts() -> None:
    """Start counting at zero."""
    global _counts
    with _counting:
        _counts = TransferCounts()


class _Gate:
    """Lets requests to one host pass: so many at the same time, so many a second, none while it wants a rest."""

    def __init__(self, settings: TransferSettings) -> None:
        self._slots = threading.BoundedSemaphore(settings.concurrency)
        self._interval = 1.0 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._lock = threading.Lock()
        self._next = 0.0

    @contextmanager
    def turn(self) -> Iterator[None]:
        with self._slots:
            with self._lock:
                start = max(self._next, time.monotonic())
                if self._interval:
                    self._next = start + self._interval
            time.sleep(max(0.0, start - time.monotonic()))
            yield

    def rest(self, seconds: float) -> None:
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)


class Transfer:
    """Fetches ranges of remote files. One a process and settings: see ``shared_transfer``.

    Args:
        settings: limits and patience.
    """

    def __init__(self, settings: TransferSettings) -> None:
        self.settings = settings
        self._gates: dict[str, _Gate] = {}
        self._lock = threading.Lock()
        self._random = random.Random()  # noqa: S311 # jitter

    @cached_property
    def _web(self) -> Fetcher:
        return WebFetcher(timeout=self.settings.timeout, connections=self.settings.concurrency)

    @cached_property
    def _store(self) -> Fetcher:
        return StoreFetcher(
            timeout=self.settings.timeout, anonymous=self.settings.anonymous, region=self.settings.region
        )

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self.settings.concurrency, thread_name_prefix="transfer")

    def fetch(self, href: str, start: int, stop: int) -> Part:
        """Bytes ``start`` to ``stop`` (exclusive) of a remote file, fewer only where the file ends.

        Raises:
            SourceError: they cannot be had, after all attempts that the settings allow.
        """
        fetcher = self._store if scheme_of(href) in STORES else self._web

        def attempt() -> tuple[Part, int]:
            part = fetcher.fetch(href, start, stop)
            return part, len(part.data)

        return self.patiently(href, attempt)

    def patiently(self, href: str, attempt: Callable[[], tuple[Answer, int]]) -> Answer:
        """What one of several attempts gives, none of which is made before its turn.

        Args:
            href: URL, whose host is not to be asked too often.
            attempt: gives an answer and the number of bytes that came; raises ``FetchError`` if it failed.

        Raises:
            SourceError: all attempts that the settings allow failed, or one for a reason that will not pass.
        """
        gate = self._gate(href)
        for number in range(self.settings.retries + 1):
            try:
                with gate.turn():
                    _count(requests=1, repeats=number > 0)
                    answer, received = attempt()
            except FetchError as error:
                if not error.reason.is_transient or number == self.settings.retries:
                    tried = f" ({number + 1} attempts)" if number else ""
                    raise SourceError(
                        error.what + tried, reason=error.reason, where=error.where, hint=error.hint
                    ) from error
                if error.wait:
                    gate.rest(error.wait)
                time.sleep(max(error.wait, self.pause(number)))
            else:
                _count(received=received)
                return answer
        raise AssertionError("the loop returns or raises")

    def fetch_all(self, href: str, ranges: Sequence[tuple[int, int]]) -> list[Part]:
        """Several ranges of one file at the same time, in order.

        Raises:
            SourceError: one of them cannot be had.
        """
        if len(ranges) == 1:
            return [self.fetch(href, *ranges[0])]
        return list(self._pool.map(lambda span: self.fetch(href, *span), ranges))

    def pause(self, attempt: int) -> float:
        """Seconds to wait after a failed attempt (0 for the first)."""
        longest = min(_LONGEST_BACKOFF, self.settings.backoff * 2.0**attempt)
        return longest * self._random.uniform(0.5, 1.0)

    def _gate(self, href: str) -> _Gate:
        parts = urlsplit(href)
        host = f"{parts.scheme}://{parts.netloc}"
        with self._lock:
            if host not in self._gates:
                self._gates[host] = _Gate(self.settings)
            return self._gates[host]


def shared_transfer(settings: TransferSettings) -> Transfer:
    """The one of this process: its connections and limits are shared by all that read with the same settings."""
    return _shared(settings, os.getpid())


@lru_cache(maxsize=32)
def _shared(settings: TransferSettings, _process: int) -> Transfer:
    return Transfer(settings)

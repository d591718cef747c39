"""JSON from a server that is busy, slow or broken at times: asked again, later each time, and never too often."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from random import SystemRandom
from threading import BoundedSemaphore, Lock
from typing import Any
from urllib.parse import urlsplit

import requests
from pystac_client.stac_api_io import StacApiIO
from requests.adapters import HTTPAdapter
from urllib3.exceptions import ReadTimeoutError

from geopretext.build.transfer import TransferSettings
from geopretext.errors import Reason, SourceError

_LONGEST_PAUSE = 30.0
"""seconds between two attempts, if the server does not ask for more"""
_LONGEST_WISH = 300.0
"""seconds: a server that wants to be left alone for longer is not waited for"""
_BUSY = 429
_PASSING = (408, 425, _BUSY)
"""HTTP states, besides 500 and above, after which the same request may succeed"""
_FINAL = {401: Reason.FORBIDDEN, 403: Reason.FORBIDDEN, 404: Reason.NO_FILE, 410: Reason.NO_FILE}
_HINTS = {
    Reason.FORBIDDEN: "the catalogue wants credentials",
    Reason.NO_FILE: "check the archive's url and the collection",
    Reason.THROTTLED: "lower requests_per_second or concurrency of this archive",
    Reason.TIMEOUT: "raise timeout of this archive, or lower limit",
}


class _PassingError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: Reason, what: str, wish: float = 0.0) -> None:
        super().__init__(what)
        self.reason, self.what = reason, what
        self.wish = wish
        """seconds that the server asks to be left alone"""


class Gate:
    """At most so many requests at once to one host, and no more than so many a second."""

    def __init__(self, settings: TransferSettings) -> None:
        self._slots = BoundedSemaphore(settings.concurrency)
        self._gap = 1.0 / settings.requests_per_second if settings.requests_per_second else 0.0
        self._lock = Lock()
        self._next = 0.0

    def __enter__(self) -> None:
        self._slots.acquire()
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next)
            self._next = turn + self._gap
        time.sleep(turn - now)

    def __exit__(self, *_: object) -> None:
        self._slots.release()


@lru_cache(maxsize=64)
def gate_of(host: str, settings: TransferSettings) -> Gate:  # noqa: ARG001 # the cache tells hosts apart
    """The gate of a host; one a process."""
    return Gate(settings)


class PatientIO(StacApiIO):
    """What pystac-client reads through.

    ``read_json`` tries again after errors that may pass (429, 5xx, time-outs, broken connections, truncated answers),
    with a pause that doubles and is jittered, or as long as ``Retry-After`` says.
    """

    def __init__(self, settings: TransferSettings) -> None:
        super().__init__(max_retries=None, timeout=settings.timeout)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, HTTPAdapter(pool_maxsize=settings.concurrency))
        self._settings = settings
        self._random = SystemRandom()

    def read_json(self, source: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """The answer as JSON.

        Raises:
            SourceError: the server refused, or failed as often as ``retries`` allows.
        """
        failure: _PassingError | None = None
        for attempt in range(self._settings.retries + 1):
            if failure is not None:
                time.sleep(self._pause(attempt, failure))
            try:
                plain = super().read_json(source, *args, **kwargs)
            except _PassingError as error:
                failure = error
            except ValueError:
                failure = _PassingError(Reason.CORRUPT, "answered with something that is no JSON")
            else:
                if isinstance(plain, dict):
                    return plain
                failure = _PassingError(Reason.CORRUPT, "answered with JSON that is no object")
            if failure.wish > _LONGEST_WISH:
                break
        assert failure is not None
        raise SourceError(
            f"{failure.what} ({attempt + 1} attempts)",
            reason=failure.reason,
            where=str(getattr(source, "href", source)),
            hint=_HINTS.get(failure.reason, ""),
        )

    def _pause(self, attempt: int, failure: _PassingError) -> float:
        pause = min(_LONGEST_PAUSE, self._settings.backoff * 2 ** (attempt - 1))
        return max(failure.wish, pause * self._random.uniform(0.5, 1.5))

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """One attempt; see ``read_json``."""
        method = method or "GET"
        payload = {"json": parameters} if method == "POST" else {"params": parameters}
        try:
            with gate_of(urlsplit(href).netloc, self._settings):
                response = self.session.request(method, href, headers=headers, timeout=self.timeout, **payload)
        except requests.Timeout:
            raise _PassingError(Reason.TIMEOUT, f"gave no answer within {self._settings.timeout:g} s") from None
        except requests.ConnectionError as error:
            if error.args and isinstance(error.args[0], ReadTimeoutError):
                raise _PassingError(Reason.TIMEOUT, "stopped in the middle of an answer") from None
            raise _PassingError(Reason.SERVER, f"cannot be reached: {error}") from None
        except (requests.exceptions.ChunkedEncodingError, requests.exceptions.ContentDecodingError):
            raise _PassingError(Reason.CORRUPT, "closed in the middle of an answer") from None
        except requests.RequestException as error:
            raise SourceError(f"cannot be asked: {error}", reason=Reason.SERVER, where=href) from None
        return _text(response, href)


def _text(response: requests.Response, href: str) -> str:
    status = response.status_code
    if status < 400:
        return response.content.decode("utf-8", errors="replace")
    what = f"answered {status} {response.reason}: {response.text[:200].strip()}".rstrip(": ")
    if status in _PASSING or status >= 500:
        reason = Reason.THROTTLED if status == _BUSY else Reason.SERVER
        raise _PassingError(reason, what, _wish(response.headers.get("Retry-After", "")))
    reason = _FINAL.get(status, Reason.SERVER)
    raise SourceError(what, reason=reason, where=href, hint=_HINTS.get(reason, ""))


def _wish(text: str) -> float:
    """Seconds from ``Retry-After``: a number, or a date."""
    with suppress(ValueError):
        return max(0.0, float(text))
    with suppress(ValueError, TypeError):
        return max(0.0, (parsedate_to_datetime(text) - datetime.now(UTC)).total_seconds())
    return 0.0

"""One attempt to get a range of bytes, from a web server or an object store; every failure has its reason.

Web servers are asked by urllib3, since statuses, ``Retry-After`` and ``Content-Range`` decide what happens next;
object stores (s3, gs, az) by obstore, which knows their credentials and signatures. Trying again is the business of
``transfer``.
"""

import os
import re
import time
import urllib.request
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol
from urllib.parse import urlsplit

from geopretext.errors import MissingLibraryError, Reason, SourceError

try:
    import obstore
    import urllib3
    from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError
    from obstore.store import from_url
except ImportError as missing:
    raise MissingLibraryError(missing.name or "obstore", extra="geo", purpose="read remote files") from missing

STORES = ("s3", "gs", "az")
"""schemes of object stores"""
REMOTE = ("http", "https", *STORES)
"""schemes of everything that is fetched over a network"""

_SLOWEST = 16_384.0
"""bytes a second: a body may take the time-out and what it needs at this rate, so that no trickle holds a thread"""
_PIECE = 262_144
"""bytes that are awaited at once"""
_REDIRECTS = 5
_LONGEST_WAIT = 120
"""seconds: a server that asks for more is asked again after this"""


@dataclass(frozen=True)
class Part:
    """Bytes of a file, and what the answer said of the whole."""

    data: bytes
    size: int
    """of the whole file, bytes"""
    tag: str
    """of this version of the file (ETag), empty if the server gives none"""


class FetchError(SourceError):
    """An attempt that failed, and how long the server wants to be left alone."""

    def __init__(self, what: str, *, reason: Reason, where: str, hint: str = "", wait: float = 0.0) -> None:
        super().__init__(what, reason=reason, where=where, hint=hint)
        self.wait = wait
        """seconds"""


class Fetcher(Protocol):
    """Gets ranges of bytes; safe to call from many threads."""

    def fetch(self, href: str, start: int, stop: int) -> Part:
        """Bytes ``start`` to ``stop`` (exclusive) of a file, fewer only where the file ends.

        Raises:
            FetchError: with the reason.
        """


def scheme_of(href: str) -> str:
    """Scheme of a URL in lower case; empty for a local path, and for GDAL's own ``/vsi`` paths."""
    found = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", href)
    return found[1].lower() if found else ""


def public(href: str) -> str:
    """A URL as messages may show it: without the query, which may hold a signature."""
    return href.split("?")[0] if scheme_of(href) else href


class WebFetcher:
    """Fetches from web servers, through the proxy that the environment names, if any.

    Args:
        timeout: seconds without an answer, or without another byte, after which an attempt is given up.
        connections: kept open for each host.
    """

    def __init__(self, *, timeout: float, connections: int) -> None:
        self._timeout = timeout
        options: dict[str, Any] = {
            "maxsize": connections,
            "num_pools": 64,
            "timeout": urllib3.Timeout(connect=timeout, read=timeout),
            # it follows redirections; failures are the business of `transfer`
            "retries": urllib3.Retry(
                total=None, connect=False, read=False, status=False, other=False, redirect=_REDIRECTS
            ),
            "headers": {"Accept-Encoding": "identity", "User-Agent": "geopretext"},
        }
        self._direct = urllib3.PoolManager(**options)
        self._proxies = {
            scheme: urllib3.ProxyManager(url, **options)
            for scheme, url in urllib.request.getproxies().items()
            if scheme in ("http", "https") and url.startswith("http")
        }

    def fetch(self, href: str, start: int, stop: int) -> Part:
        """See ``Fetcher``."""
        parts = urlsplit(href)
        manager = self._proxies.get(parts.scheme, self._direct)
        if manager is not self._direct and urllib.request.proxy_bypass(parts.hostname or ""):
            manager = self._direct
        where = public(href)
        headers = {**manager.headers, "Range": f"bytes={start}-{stop - 1}"}
        try:
            response = manager.request("GET", href, headers=headers, preload_content=False)
            try:
                part = self._receive(response, start, stop, where)
            except BaseException:
                response.close()  # what is left of the body must not be read as the next answer
                raise
            response.release_conn()
        except urllib3.exceptions.NewConnectionError as error:  # a kind of time-out to urllib3
            raise FetchError(f"cannot be reached: {error}", reason=Reason.SERVER, where=where) from error
        except urllib3.exceptions.TimeoutError as error:
            raise FetchError(f"no answer within {self._timeout:g} s", reason=Reason.TIMEOUT, where=where) from error
        except urllib3.exceptions.MaxRetryError as error:
            raise FetchError(f"redirected more than {_REDIRECTS} times", reason=Reason.SERVER, where=where) from error
        except urllib3.exceptions.HTTPError as error:
            raise FetchError(f"the connection broke: {error}", reason=Reason.SERVER, where=where) from error
        return part

    def _receive(self, response: Any, start: int, stop: int, where: str) -> Part:
        tag = response.headers.get("ETag", "")
        if response.status == 206:
            found = re.fullmatch(r"bytes (\d+)-\d+/(\d+)", response.headers.get("Content-Range", "").strip())
            if not found or int(found[1]) != start:
                said = response.headers.get("Content-Range")
                raise FetchError(f"another range came: {said!r}, not from {start}", reason=Reason.SERVER, where=where)
            size = int(found[2])
        elif response.status == 200:
            size = int(response.headers.get("Content-Length") or -1)
            if start > 0 or not 0 <= size <= stop:
                raise FetchError(
                    f"the whole file came ({size} bytes) instead of bytes {start} to {stop}",
                    reason=Reason.SERVER,
                    where=where,
                    hint="the server must understand Range requests, as nginx and object stores do",
                )
        else:
            raise _refusal(response, where)
        wanted = min(stop, size) - start
        data = self._body(response, wanted, where)
        if len(data) != wanted:
            raise FetchError(f"{len(data)} bytes came instead of {wanted}", reason=Reason.CORRUPT, where=where)
        return Part(data, size, tag)

    def _body(self, response: Any, wanted: int, where: str) -> bytes:
        last = time.monotonic() + self._timeout + wanted / _SLOWEST
        pieces = []
        while piece := response.read(_PIECE):
            pieces.append(piece)
            if time.monotonic() > last:
                raise FetchError(
                    f"{wanted} bytes were not there after {self._timeout + wanted / _SLOWEST:.3g} s",
                    reason=Reason.TIMEOUT,
                    where=where,
                )
        return b"".join(pieces)


_REFUSALS = {
    401: (Reason.FORBIDDEN, "credentials are wanted"),
    403: (Reason.FORBIDDEN, "access is refused"),
    404: (Reason.NO_FILE, "there is no such file"),
    408: (Reason.TIMEOUT, "the server gave up waiting"),
    410: (Reason.NO_FILE, "the file is gone"),
    416: (Reason.CORRUPT, "the file is shorter than it must be"),
    429: (Reason.THROTTLED, "the server asks to be asked less often"),
    504: (Reason.TIMEOUT, "a gateway gave up waiting"),
}
"""by HTTP status; all others are failures of the server"""


def _refusal(response: Any, where: str) -> FetchError:
    reason, what = _REFUSALS.get(response.status, (Reason.SERVER, "the server failed"))
    try:
        wait = urllib3.Retry(retry_after_max=_LONGEST_WAIT).get_retry_after(response)
    except urllib3.exceptions.InvalidHeader:
        wait = None
    hint = "sign the address, or give credentials" if reason is Reason.FORBIDDEN else ""
    return FetchError(f"{what} (HTTP {response.status})", reason=reason, where=where, hint=hint, wait=wait or 0.0)


class StoreFetcher:
    """Fetches from object stores, with credentials as their own tools find them in the environment.

    Args:
        timeout: seconds that an attempt may take.
        anonymous: ask without credentials, as open buckets allow.
        region: of S3 buckets; empty: as the environment says.
    """

    def __init__(self, *, timeout: float, anonymous: bool, region: str) -> None:
        self._timeout = timeout
        self._anonymous = anonymous
        self._region = region
        self._store = lru_cache(maxsize=64)(self._open)

    def _open(self, root: str) -> Any:
        endpoint = os.environ.get("AWS_ENDPOINT_URL", "")
        options: dict[str, Any] = {
            "client_options": {"timeout": f"{self._timeout:g}s", "allow_http": endpoint.startswith("http://")},
            "retry_config": {"max_retries": 0},
        }
        if self._anonymous:
            options["skip_signature"] = True
        if self._region and root.startswith("s3:"):
            options["region"] = self._region
        return from_url(root, **options)

    def fetch(self, href: str, start: int, stop: int) -> Part:
        """See ``Fetcher``."""
        parts = urlsplit(href)
        try:
            store = self._store(f"{parts.scheme}://{parts.netloc}")
            result = obstore.get(store, parts.path.lstrip("/"), options={"range": (start, stop)})
            data, meta = bytes(result.bytes()), result.meta
        except FileNotFoundError as error:
            raise FetchError("there is no such file", reason=Reason.NO_FILE, where=href) from error
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise FetchError(
                f"access is refused ({type(error).__name__})",
                reason=Reason.FORBIDDEN,
                where=href,
                hint="credentials of the environment do not fit; 'anonymous: true' for open buckets",
            ) from error
        except (BaseError, ValueError) as error:
            raise FetchError(f"the store failed: {_gist(error)}", reason=_store_reason(error), where=href) from error
        if len(data) != min(stop, meta["size"]) - start:
            raise FetchError(f"{len(data)} bytes came of {start} to {stop}", reason=Reason.CORRUPT, where=href)
        return Part(data, meta["size"], meta["e_tag"] or "")


def _store_reason(error: Exception) -> Reason:
    """From the text of the message: obstore has no kinds of errors for these."""
    status = re.search(r"status code: (\d{3})", str(error))
    if status:
        slow = status[1] == "503" and "SlowDown" in str(error)  # as S3 says 429
        return Reason.THROTTLED if slow else _REFUSALS.get(int(status[1]), (Reason.SERVER, ""))[0]
    if re.search(r"TimedOut|timed out", str(error)):
        return Reason.TIMEOUT
    return Reason.CORRUPT if "Wanted range starting at" in str(error) else Reason.SERVER


def _gist(error: Exception) -> str:
    """The first line of obstore's message: what follows is a trace of Rust."""
    return str(error).strip().split("\n")[0][:200]

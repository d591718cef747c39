"""A web server on loopback that serves ranges of files, logs every request, and fails as it is told to.

::

    with RangeServer(folder) as server:
        server.fault = lambda asked: Status(503) if asked.number == 0 else None   # the first request for each file
        ...  # read f"{server.url}/image.tif"
        assert server.requests("/image.tif") == 2

``fault`` is called for every request, in the thread that serves it, and returns what goes wrong, or None.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from urllib.parse import unquote, urlsplit


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    """without host and query, unquoted, as ``/folder/file.tif``"""
    query: str
    start: int | None
    """first byte asked for; None if the request has no range"""
    stop: int | None
    """exclusive"""
    number: int
    """of this request among those for the same path, from 0"""
    headers: Mapping[str, str] = field(repr=False, default_factory=dict)


@dataclass(frozen=True)
class Answered:
    """What became of a request."""

    asked: Asked
    status: int
    """0 if there was no answer"""
    sent: int
    """bytes of the body"""


@dataclass(frozen=True)
class Status:
    """An answer with another status: 429, 500, 503, 403."""

    code: int
    headers: Mapping[str, str] = field(default_factory=dict)
    """``Retry-After``, for example"""


@dataclass(frozen=True)
class Hang:
    """No answer at all, until the client gives up, the time has passed or the server is closed."""

    seconds: float = 60.0


@dataclass(frozen=True)
class CloseInMiddle:
    """The headers of a good answer, a share of its body, and the end of the connection."""

    share: float = 0.5


@dataclass(frozen=True)
class Trickle:
    """A good answer that comes in ten pieces, slowly."""

    seconds: float
    """before each piece"""


@dataclass(frozen=True)
class ShortBody:
    """A complete answer whose body has fewer bytes than were asked for."""

    share: float = 0.5


@dataclass(frozen=True)
class Corrupt:
    """The right number of wrong bytes: each one turned over from ``first`` on."""

    first: int = 0
    """byte of the body"""


@dataclass(frozen=True)
class Truncated:
    """The file as if only its first bytes were there."""

    size: int


@dataclass(frozen=True)
class IgnoreRange:
    """The whole file with status 200, whatever was asked."""


@dataclass(frozen=True)
class Replaced:
    """Another version of the file: other bytes and another ETag."""

    data: bytes


Fault = Status | Hang | Trickle | CloseInMiddle | ShortBody | Corrupt | Truncated | IgnoreRange | Replaced


class RangeServer:
    """Serves a folder, and files given as bytes, on a free port of 127.0.0.1 while it is entered.

    Args:
        folder: of files; None to serve only what is put into ``files``.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.files: dict[str, bytes] = {}
        """by path (``/file.tif``), before those of the folder"""
        self.fault: Callable[[Asked], Fault | None] = lambda asked: None
        """decides for each request"""
        self.log: list[Answered] = []
        """every request, in the order in which they were answered"""
        self.busiest = 0
        """most requests that were served at the same time"""
        self._folder = folder
        self._numbers: Counter[str] = Counter()
        self._busy = 0
        self._lock = threading.Lock()
        self._closing = threading.Event()

    def __enter__(self) -> "RangeServer":
        self._server = _Server(("127.0.0.1", 0), partial(_Handler, self))
        self._thread = threading.Thread(target=partial(self._server.serve_forever, poll_interval=0.02))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def url(self) -> str:
        """Of the root, without a slash at the end."""
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def requests(self, path: str = "") -> int:
        """How many came, for one path or for all."""
        with self._lock:
            return self._numbers[path] if path else self._numbers.total()

    def sent(self, path: str = "") -> int:
        """Bytes of bodies that left, for one path or for all."""
        with self._lock:
            return sum(answered.sent for answered in self.log if path in ("", answered.asked.path))

    def clear(self) -> None:
        """Forget what was asked so far."""
        with self._lock:
            self.log.clear()
            self._numbers.clear()
            self.busiest = 0

    def _find(self, path: str) -> bytes | Path | None:
        if path in self.files:
            return self.files[path]
        if self._folder is None:
            return None
        file = (self._folder / path.lstrip("/")).resolve()
        return file if file.is_relative_to(self._folder.resolve()) and file.is_file() else None


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are part of the tests."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    """headers and body in one packet: else each answer waits 40 ms for an acknowledgement"""
    disable_nagle_algorithm = True

    def __init__(self, owner: RangeServer, *arguments: object) -> None:
        self._owner = owner
        super().__init__(*arguments)  # type: ignore[arg-type]

    def log_message(self, *_: object) -> None:
        """The log is for tests."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        owner, parts = self._owner, urlsplit(self.path)
        path = unquote(parts.path)
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        with owner._lock:
            number = owner._numbers[path]
            owner._numbers[path] += 1
            owner._busy += 1
            owner.busiest = max(owner.busiest, owner._busy)
        asked = Asked(
            path=path,
            query=parts.query,
            start=int(found[1]) if found else None,
            stop=int(found[2]) + 1 if found and found[2] else None,
            number=number,
            headers=dict(self.headers),
        )
        try:
            answer = self._answer(asked, owner.fault(asked))
            # what is sent is logged before it leaves: a client that has it may look at the log at once
            with owner._lock:
                owner.log.append(Answered(asked, answer.status, len(answer.body)))
            if answer.status:
                self._send(answer)
            else:
                owner._closing.wait(answer.seconds)
                self.close_connection = True
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            with owner._lock:
                owner._busy -= 1

    def _send(self, answer: "_Answer") -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            step = len(answer.body) if not answer.trickle else -(-len(answer.body) // 10)
            for start in range(0, len(answer.body), max(1, step)):
                self._owner._closing.wait(answer.trickle)
                self.wfile.write(answer.body[start : start + step])
                self.wfile.flush()
        self.wfile.flush()
        if answer.closes:
            self.close_connection = True

    def _answer(self, asked: Asked, fault: Fault | None) -> "_Answer":
        if isinstance(fault, Hang):
            return _Answer(0, seconds=fault.seconds)
        if isinstance(fault, Status):
            return _Answer(fault.code, {**fault.headers, "Content-Length": "0"})
        file = fault.data if isinstance(fault, Replaced) else self._owner._find(asked.path)
        if file is None:
            return _Answer(404, {"Content-Length": "0"})
        if isinstance(file, Path):
            size, tag = file.stat().st_size, f"{file.stat().st_mtime_ns:x}"
        else:
            size, tag = len(file), sha256(file).hexdigest()[:16]
        if isinstance(fault, Truncated):
            size = min(size, fault.size)
        if asked.start is None or isinstance(fault, IgnoreRange):
            status, start, stop = 200, 0, size
        else:
            status, start, stop = 206, asked.start, min(size, asked.stop or size)
        if status == 206 and start >= size:
            return _Answer(416, {"Content-Range": f"bytes */{size}", "Content-Length": "0"})
        body = _spoilt(_read(file, start, stop), fault)
        headers = {"ETag": f'"{tag}"', "Accept-Ranges": "bytes", "Content-Length": str(len(body))}
        if status == 206:
            headers["Content-Range"] = f"bytes {start}-{stop - 1}/{size}"
        if isinstance(fault, CloseInMiddle):
            return _Answer(status, headers, body[: int(len(body) * fault.share)], closes=True)
        return _Answer(status, headers, body, trickle=fault.seconds if isinstance(fault, Trickle) else 0.0)


@dataclass(frozen=True)
class _Answer:
    status: int
    """0: none"""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    closes: bool = False
    seconds: float = 0.0
    """of silence, if there is no answer"""
    trickle: float = 0.0
    """seconds before each piece of the body"""


def _spoilt(body: bytes, fault: Fault | None) -> bytes:
    if isinstance(fault, ShortBody):
        return body[: int(len(body) * fault.share)]
    if isinstance(fault, Corrupt):
        return body[: fault.first] + bytes(255 - byte for byte in body[fault.first :])
    return body


def _read(file: bytes | Path, start: int, stop: int) -> bytes:
    if isinstance(file, bytes):
        return file[start:stop]
    with file.open("rb") as opened:
        opened.seek(start)
        return opened.read(stop - start)

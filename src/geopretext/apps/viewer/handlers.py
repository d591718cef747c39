"""What every answer of the viewer has in common: who may ask, how answers and errors look, where work is done.

The server listens on the loopback, yet any page in the same browser can send requests there. So a request must name
this host (a name that was made to point here, "DNS rebinding", does not), must not come from another site, and only
reads; no answer may be framed, sniffed or shared.
"""

import json
import traceback
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, NoReturn, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, RequestHandler

from geopretext.apps.viewer.opened import Opened
from geopretext.errors import GeopretextError

HOST = "127.0.0.1"
POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; object-src 'none'; base-uri 'none'; form-action 'none';"
    " frame-ancestors 'self'"
)
_SITES = ("same-origin", "none", "")
"""what ``Sec-Fetch-Site`` may say: our own page, the address bar, or a program that is no browser"""

Entry = TypeVar("Entry")
Given = ParamSpec("Given")
Result = TypeVar("Result")


class RefusalError(HTTPError):
    """An answer other than 200 that says what is wrong, where, and what to do next."""

    def __init__(self, status: int, what: str, *, where: str = "", hint: str = "") -> None:
        super().__init__(status)
        self.what, self.where, self.hint = what, where, hint


class ViewerHandler(RequestHandler):
    """Answers GET only; ``self.opened`` is what may be reached."""

    SUPPORTED_METHODS = ("GET",)

    opened: Opened

    def initialize(self, opened: Opened) -> None:
        """Called by Tornado with the last part of a route."""
        self.opened = opened

    def set_default_headers(self) -> None:
        """Headers of every answer, also of errors."""
        self.clear_header("Server")
        for name, value in (
            ("Content-Security-Policy", POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            ("Cache-Control", "no-cache"),
        ):
            self.set_header(name, value)

    def prepare(self) -> None:
        """Refuse who should not ask."""
        port = self.application.settings["port"]
        if self.request.headers.get("Host", "") not in (f"{HOST}:{port}", f"localhost:{port}"):
            raise RefusalError(403, "this server answers to its own address only", hint=f"open http://{HOST}:{port}/")
        if self.request.headers.get("Sec-Fetch-Site", "") not in _SITES and self.request.path != "/":
            raise RefusalError(403, "this server answers to its own pages only")

    def entry(self, entries: Mapping[str, Entry], name: str, kind: str) -> Entry:
        """The entry with an id.

        Raises:
            RefusalError: 404, there is none.
        """
        if name not in entries:
            hint = f"open are {', '.join(entries)}" if entries else f"this viewer was opened on no {kind}"
            raise RefusalError(404, f"no {kind} {name!r} is open", where=self.opened.name, hint=hint)
        return entries[name]

    async def compute(self, work: Callable[Given, Result], *arguments: Given.args, **named: Given.kwargs) -> Result:
        """Run something that takes a while in a thread, so that other requests are answered meanwhile."""
        pool: Executor = self.application.settings["pool"]
        return await IOLoop.current().run_in_executor(pool, lambda: work(*arguments, **named))

    def send_json(self, content: Any) -> None:
        """Answer with JSON; numbers that are not finite become null."""
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.finish(json.dumps(_plain(content), allow_nan=False))

    def send_array(self, array: npt.NDArray[Any]) -> None:
        """Answer with the numbers of an array, little endian, without a header."""
        self.send_bytes(
            np.ascontiguousarray(array, array.dtype.newbyteorder("<")).tobytes(), "application/octet-stream"
        )

    def send_bytes(self, content: bytes, kind: str) -> None:
        """Answer with a file of some media type."""
        self.set_header("Content-Type", kind)
        self.finish(content)

    def write_error(self, status_code: int, **details: Any) -> None:
        """What is wrong, as JSON that the pages show."""
        error = details.get("exc_info", (None, None, None))[1]
        if isinstance(error, RefusalError | GeopretextError):
            told = {"what": error.what, "where": error.where, "hint": error.hint}
        elif isinstance(error, HTTPError):
            told = {"what": f"{status_code}: {self._reason}", "where": self.request.path, "hint": ""}
        else:
            told = {
                "what": f"an unexpected error: {error!r}",
                "where": self.request.path,
                "hint": "this is a bug; the terminal that runs the viewer shows where it happened",
            }
        self.send_json(told)

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Only bugs are worth a line in the terminal: the page tells of everything else."""
        if not isinstance(value, HTTPError | GeopretextError):
            traceback.print_exception(typ, value, tb)

    def send_error(self, status_code: int = 500, **details: Any) -> None:
        """What geopretext refuses is not the server's fault, and has a status of its own."""
        error = details.get("exc_info", (None, None, None))[1]
        super().send_error(422 if isinstance(error, GeopretextError) else status_code, **details)


class NotFound(ViewerHandler):
    """Every address that nothing else answers."""

    def prepare(self) -> NoReturn:
        """Refuse."""
        super().prepare()
        raise RefusalError(404, "there is no such page", where=self.request.path, hint="the viewer begins at /")


def _plain(content: Any) -> Any:
    """Plain types that JSON knows."""
    if isinstance(content, Mapping):
        return {str(key): _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    if isinstance(content, np.ndarray):
        return _plain(content.tolist())
    if isinstance(content, np.generic):
        return _plain(content.item())
    if isinstance(content, float) and not np.isfinite(content):
        return None
    return content

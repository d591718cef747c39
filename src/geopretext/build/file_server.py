"""A folder by HTTP with ranges, on 127.0.0.1, by Tornado, which comes with Dask.

``serve_files`` runs this module as a process of its own (``python -m geopretext.build.file_server FOLDER PORT LOG
DELAY``), since GDAL holds Python's lock while it opens a file: a server in the reader's process could never answer it.
It prints its URL, and stops when its input ends, so that it does not outlive who started it.
"""

import asyncio
import logging
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from geopretext.errors import InputError, MissingLibraryError

try:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler, StaticFileHandler
except ImportError as error:
    raise MissingLibraryError("tornado", extra="geo", purpose="serve files") from error

HOST = "127.0.0.1"


@contextmanager
def serve_files(
    folder: str | Path, *, port: int = 0, log: str | Path | None = None, delay: float = 0.0
) -> Iterator[str]:
    """Serve a folder; yields its URL.

    Args:
        folder: what is served.
        port: 0: a free one.
        log: file that gets a line for each answer: status, seconds, bytes sent, path, separated by tabs.
        delay: seconds before each answer, as a network has.

    Raises:
        InputError: there is no such folder, or the port cannot be had.
    """
    folder = Path(folder).absolute()
    if not folder.is_dir():
        raise InputError("is no folder", where=str(folder))
    command = [sys.executable, "-m", __spec__.name, str(folder), str(port), str(log or ""), str(delay)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)  # noqa: S603 # our own
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        if not url:
            raise InputError(f"port {port} of {HOST} cannot be had", hint="another program has it: name another")
        yield url
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()


class _Files(StaticFileHandler):
    def initialize(self, path: str, delay: float) -> None:  # type: ignore[override] # as Tornado hands over what a route names
        super().initialize(path)
        self._delay = delay

    async def prepare(self) -> None:
        if self._delay:
            await asyncio.sleep(self._delay)

    def compute_etag(self) -> str | None:
        """From size and date: Tornado's own reads each file through to hash it."""
        found = Path(self.absolute_path or "").stat()
        return f'"{found.st_size:x}-{found.st_mtime_ns:x}"'


async def _serve(folder: str, port: int, log: str, delay: float) -> None:
    logging.getLogger("tornado").setLevel(logging.ERROR)  # a client that asks for what is not there is no news
    lines = Path(log).open("a", buffering=1, encoding="utf-8") if log else None  # noqa: SIM115 # until the process ends

    def note(answer: RequestHandler) -> None:
        if lines:
            sent = answer._headers.get("Content-Length", "0")
            request = answer.request
            lines.write(f"{answer.get_status()}\t{request.request_time():.6f}\t{sent}\t{request.path}\n")

    routes = [(r"/(.*)", _Files, {"path": folder, "delay": delay})]
    application = Application(routes, log_function=note)
    server = HTTPServer(application)
    bound = bind_sockets(port, HOST)
    server.add_sockets(bound)
    sys.stdout.write(f"http://{HOST}:{bound[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


def main(arguments: Sequence[str]) -> int:
    """Serve FOLDER at PORT, with a LOG or "", after a DELAY, until the input ends; 1 if the port is taken."""
    folder, port, log, delay = arguments
    try:
        asyncio.run(_serve(folder, int(port), log, float(delay)))
    except OSError:
        return 1
    except KeyboardInterrupt:
        pass
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

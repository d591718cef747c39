"""The viewer's server: every area's routes in one Tornado application on the loopback."""

import asyncio
import logging
import signal
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress

from geopretext.apps.viewer import earth_api, embedding_api, reconstruct_api, shell_api, tile_api, training_api
from geopretext.apps.viewer.embeddings import Embeddings
from geopretext.apps.viewer.handlers import HOST, NotFound
from geopretext.apps.viewer.jobs import DaemonPool
from geopretext.apps.viewer.opened import Opened
from geopretext.errors import InputError, MissingLibraryError

try:
    from tornado.httpserver import HTTPServer
    from tornado.netutil import bind_sockets
    from tornado.web import Application, RequestHandler
except ImportError as error:
    raise MissingLibraryError("tornado", extra="viewer", purpose="serve the viewer") from error

_AREAS = (shell_api, earth_api, tile_api, reconstruct_api, training_api)
_THREADS = 4
"""that compute answers; a long job holds one, and the others go on"""


def make_application(opened: Opened, *, port: int, pool: Executor, embeddings: Embeddings) -> Application:
    """Everything that the viewer answers.

    Args:
        opened: what may be reached.
        port: that it will be asked at.
        pool: where answers that take a while are computed.
        embeddings: that it computes and keeps.
    """
    routes = [route for area in _AREAS for route in area.routes(opened)]
    routes += embedding_api.routes(opened, embeddings)
    return Application(
        routes,
        default_handler_class=NotFound,
        default_handler_args={"opened": opened},
        port=port,
        pool=pool,
        log_function=_say_nothing,
    )


def serve(opened: Opened, *, port: int = 0, ready: Callable[[str], None]) -> None:
    """Serve until the process is interrupted.

    Args:
        opened: what may be reached.
        port: 0: a free one.
        ready: called with the address once it answers.

    Raises:
        InputError: the port cannot be had.
    """
    asyncio.run(_serve(opened, port, ready))


async def _serve(opened: Opened, port: int, ready: Callable[[str], None]) -> None:
    # Clients that go away in the middle of an answer are no news.
    logging.getLogger("tornado").setLevel(logging.ERROR)
    try:
        sockets = bind_sockets(port, HOST)
    except OSError as error:
        raise InputError(f"port {port} of {HOST} cannot be had: {error.strerror}", hint="name another") from error
    bound: int = sockets[0].getsockname()[1]
    pool = DaemonPool(_THREADS, "viewer")
    embeddings = Embeddings(opened)
    try:
        server = HTTPServer(make_application(opened, port=bound, pool=pool, embeddings=embeddings))
        server.add_sockets(sockets)
        ready(f"http://{HOST}:{bound}/")
        ended = asyncio.Event()
        with suppress(NotImplementedError):  # Windows knows no such signal
            asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
        await ended.wait()
    finally:
        embeddings.stop()


def _say_nothing(_: RequestHandler) -> None:
    """Tornado would log every request that is refused; the page says it."""

"""A server on loopback that speaks the REST paths of Earth Engine, over the world of ``earthengine_world``.

What the client downloads when it starts (the discovery document and the list of algorithms) are the files that the
client's own package ships for its tests.
"""

import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import ee
import numpy as np

from .earthengine_world import Unknown, World

_SHIPPED = Path(ee.__file__).parent / "tests"
Fault = Callable[[str, dict[str, Any]], tuple[int, bytes] | None]


class Service:
    """What is served, and what was asked."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.url = ""
        self.bodies: list[tuple[str, dict[str, Any]]] = []
        """(method, body) of each request to compute something"""
        self.headers: list[dict[str, str]] = []
        self.fault: Fault = lambda _method, _body: None
        """may answer in place of the world: status and content"""
        self.at_once = 0
        self.most_at_once = 0
        self.lock = threading.Lock()

    def answer(self, path: str, body: dict[str, Any]) -> tuple[int, bytes]:
        """Status and content."""
        if path.startswith("/$discovery/rest"):
            return 200, (_SHIPPED / "cloud_api_discovery_document.json").read_bytes()
        if path.partition("?")[0].endswith("/algorithms"):
            return 200, (_SHIPPED / "algorithms.json").read_bytes()
        method = path.partition("?")[0].rpartition("/")[2]
        self.bodies.append((method, body))
        answered = self.fault(method, body)
        if answered is not None:
            return answered
        try:
            if method == "value:compute":
                return 200, json.dumps({"result": self.world.value(body["expression"])}).encode()
            assert method == "image:computePixels", path
            return 200, npy(self.world.pixels(body))
        except Unknown as error:
            return refusal(400, str(error))


def npy(records: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, records)
    return buffer.getvalue()


def refusal(status: int, message: str) -> tuple[int, bytes]:
    """As Google's services refuse."""
    return status, json.dumps({"error": {"code": status, "message": message, "status": "FAILED"}}).encode()


@contextmanager
def serve(world: World) -> Iterator[Service]:
    """The service on a free port."""
    service = Service(world)

    class Handler(BaseHTTPRequestHandler):
        wbufsize = -1

        def do_GET(self) -> None:
            self._reply({})

        def do_POST(self) -> None:
            with service.lock:
                service.at_once += 1
                service.most_at_once = max(service.most_at_once, service.at_once)
                service.headers.append(dict(self.headers))
            self._reply(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            with service.lock:
                service.at_once -= 1

        def _reply(self, body: dict[str, Any]) -> None:
            status, content = service.answer(self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", "application/json" if content[:1] == b"{" else "application/octet-stream")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Quiet."""

    class Listener(ThreadingHTTPServer):
        request_queue_size = 64

    with Listener(("127.0.0.1", 0), Handler) as server:
        service.url = f"http://127.0.0.1:{server.server_address[1]}"
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield service
        server.shutdown()

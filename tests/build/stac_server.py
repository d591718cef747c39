"""A STAC API whose knowledge and faults a test writes down."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import shapely
import shapely.geometry

QUERY = "https://api.stacspec.org/v1.0.0-rc.2/item-search#query"
FILTER = "https://api.stacspec.org/v1.0.0-rc.2/item-search#filter"


@dataclass
class Fault:
    """What is answered instead."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    promised: int | None = None
    """bytes that the header promises, if not those of the body"""
    wait: float = 0.0
    """seconds before the answer"""


@dataclass
class StacServer:
    """Items behind ``/search``; answers by box, ids and, if it says so, by clouds."""

    items: Sequence[Mapping[str, Any]]
    conforms_to: Sequence[str] = ()
    methods: Sequence[str] = ("GET", "POST")
    endless: bool = False
    """whether the last page names itself as the next one"""
    fault: Callable[[int], Fault | None] = lambda _: None
    """by the number of the search, from 0"""
    fault_of: Callable[[Mapping[str, Any]], Fault | None] = lambda _: None
    """by the body of the search"""
    searches: list[dict[str, Any]] = field(default_factory=list)
    """bodies that were asked"""
    times: list[float] = field(default_factory=list)
    """when"""
    together: int = 0
    """most requests at once"""
    port: int = 0
    """0: a free one"""
    url: str = ""
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def landing_page(self) -> dict[str, Any]:
        links = [{"rel": "search", "href": f"{self.url}search", "method": method} for method in self.methods]
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "test",
            "description": "test",
            "conformsTo": ["https://api.stacspec.org/v1.0.0/item-search", *self.conforms_to],
            "links": [{"rel": "self", "href": self.url}, *links],
        }

    def page(self, body: Mapping[str, Any]) -> dict[str, Any]:
        found = [plain for plain in self.items if self._fits(plain, body)]
        first, limit = int(body.get("token", 0)), int(body["limit"])
        links = []
        if first + limit < len(found) or self.endless:
            token = min(first + limit, max(len(found) - 1, 0))
            if "POST" in self.methods:
                after = {"href": f"{self.url}search", "method": "POST", "body": {**body, "token": token}}
            else:
                after = {"href": f"{self.url}search?{urlencode({**body, 'token': token}, doseq=True)}", "method": "GET"}
            links.append({"rel": "next", **after})
        return {"type": "FeatureCollection", "features": found[first : first + limit], "links": links}

    def _fits(self, plain: Mapping[str, Any], body: Mapping[str, Any]) -> bool:
        if "ids" in body:
            return plain["id"] in body["ids"]
        query = body.get("query", {}) if QUERY in self.conforms_to else {}
        most = query.get("eo:cloud_cover", {}).get("lte", 100)
        if plain["properties"].get("eo:cloud_cover", 0) > most or plain["collection"] not in body["collections"]:
            return False
        if not plain.get("geometry"):
            return True
        return bool(
            shapely.intersects(shapely.geometry.shape(plain["geometry"]), shapely.box(*map(float, body["bbox"])))
        )


class _Server(ThreadingHTTPServer):
    def handle_error(self, request: object, client_address: object) -> None:
        """Clients that leave are part of the tests."""


@contextmanager
def stac_server(server: StacServer) -> Iterator[StacServer]:
    """The server, running."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            if parts.path != "/search":
                self._send(Fault(body=json.dumps(server.landing_page())))
                return
            body: dict[str, Any] = {key: ",".join(values) for key, values in parse_qs(parts.query).items()}
            for key in ("collections", "ids", "bbox"):
                if key in body:
                    body[key] = body[key].split(",")
            self._search(body)

        def do_POST(self) -> None:
            self._search(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))

        def _search(self, body: dict[str, Any]) -> None:
            with server._lock:
                number = len(server.searches)
                server.searches.append(body)
                server.times.append(time.monotonic())
                server._open += 1
                server.together = max(server.together, server._open)
            try:
                self._send(server.fault(number) or server.fault_of(body) or Fault(body=json.dumps(server.page(body))))
            finally:
                with server._lock:
                    server._open -= 1

        def _send(self, answer: Fault) -> None:
            time.sleep(answer.wait)
            data = answer.body.encode()
            self.send_response(answer.status)
            for key, value in answer.headers.items():
                self.send_header(key, value)
            self.send_header("Content-Length", str(len(data) if answer.promised is None else answer.promised))
            self.end_headers()
            self.wfile.write(data)
            if answer.promised is not None:
                self.close_connection = True

        def log_message(self, *_: Any) -> None:
            pass

    with _Server(("127.0.0.1", server.port), Handler) as http:
        server.url = f"http://127.0.0.1:{http.server_address[1]}/"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            http.shutdown()
            thread.join()

"""A real S3 server on loopback for tests, and a proxy before it that fails now and then."""

import http.client
import os
import random
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

BUCKET = "bucket"
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_REGION": "us-east-1"}


@contextmanager
def s3_server() -> Iterator[str]:
    """Run moto's server, with one empty bucket; gives its endpoint."""
    with subprocess.Popen(
        [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", "0"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        text=True,
    ) as process:
        try:
            endpoint = _endpoint(process)
            # The log of requests would fill the pipe.
            threading.Thread(target=lambda: [None for _ in process.stderr or ()], daemon=True).start()
            urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{BUCKET}", method="PUT")).close()
            yield endpoint
        finally:
            process.kill()


def _endpoint(process: "subprocess.Popen[str]") -> str:
    assert process.stderr is not None
    for line in process.stderr:
        if "Running on " in line:
            return line.partition("Running on ")[2].split()[0]
    raise AssertionError("moto_server did not start")


@contextmanager
def flaky_proxy(endpoint: str, *, share: float, seed: int = 0) -> Iterator[tuple[str, Counter[str]]]:
    """A server that passes requests on, but does not answer a share of them as it should.

    These get 503, 500, a closed connection, or are done and then not answered ("lost"). Gives its address and a count
    of what it did; ``counts["conditional"]`` are writes with a condition.
    """
    target, draw, counts, lock = urlsplit(endpoint), random.Random(seed), Counter[str](), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            with lock:
                fate = draw.choice(("503", "500", "closed", "lost")) if draw.random() < share else "passed"
                counts[fate] += 1
                if self.command == "PUT" and ("if-match" in self.headers or "if-none-match" in self.headers):
                    counts["conditional"] += 1
            if fate == "closed":
                self.close_connection = True
                return
            if fate in ("503", "500"):
                self._answer(int(fate), {}, b"<Error><Code>SlowDown</Code></Error>")
                return
            connection = http.client.HTTPConnection(str(target.hostname), int(target.port or 80), timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            content = answer.read()
            connection.close()
            if fate == "lost":
                self.close_connection = True
            else:
                self._answer(answer.status, dict(answer.getheaders()), content)

        def _answer(self, status: int, headers: dict[str, str], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in ("connection", "content-length", "transfer-encoding"):
                    self.send_header(name, value)
            size = headers.get("Content-Length", str(len(content))) if self.command == "HEAD" else str(len(content))
            self.send_header("Content-Length", size)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_DELETE = do_POST = _pass_on

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", counts
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

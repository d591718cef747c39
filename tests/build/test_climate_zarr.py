"""Climate from Zarr: a folder, an HTTP server and an S3 server."""

import http.server
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import obstore.exceptions
import pytest
import xarray as xr

from geopretext.build.climate_files import Attempts, _zarr_store
from geopretext.build.source import Observation
from geopretext.errors import Reason, SourceError

from .climate_fields import expected, hourly, monthly, read

PLACE = (51.47, -0.3)
CELL = (51.5, -0.25)


class _Listener(http.server.ThreadingHTTPServer):
    request_queue_size = 64


class _Server(http.server.SimpleHTTPRequestHandler):
    wbufsize = -1  # one packet an answer
    faults: ClassVar[list[int]] = []
    """statuses that the next requests are answered with"""
    asked: ClassVar[list[str]] = []
    """paths of all requests"""

    def do_GET(self) -> None:
        self.asked.append(self.path)
        if self.faults:
            self.send_error(self.faults.pop())
        else:
            super().do_GET()

    def log_message(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A month of rates a chunk, and hours in chunks of ten days and a part of the map."""
    root = tmp_path_factory.mktemp("zarr")
    _write(monthly("2018-01", "2019-02"), root / "monthly.zarr", (1, 5, 6))
    _write(hourly("2018-02", "2019-02"), root / "hourly.zarr", (240, 2, 3))
    return root


def _write(fields: xr.Dataset, path: Path, chunks: tuple[int, int, int]) -> None:
    encoding = {name: {"chunks": chunks} for name in fields.data_vars}
    fields.to_zarr(path, encoding=encoding, consolidated=True, zarr_format=2)


@pytest.fixture
def server(folder: Path) -> Iterator[str]:
    _Server.faults.clear()
    _Server.asked.clear()
    with _Listener(("127.0.0.1", 0), partial(_Server, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def _check(seen: Observation | SourceError) -> None:
    assert isinstance(seen, Observation), seen
    assert seen.valid.all()
    assert np.allclose(seen.values, expected("2019-02", *CELL), rtol=1e-6)


@pytest.mark.parametrize(("name", "kind"), [("monthly", "monthly_rate"), ("hourly", "hourly_total")])
def test_a_folder(folder: Path, name: str, kind: str) -> None:
    (seen,) = read(folder / f"{name}.zarr", "2019-02", PLACE, precipitation=kind)
    _check(seen)


def test_an_http_server_that_falters(server: str) -> None:
    _Server.faults.extend([503, 500])
    (seen,) = read(f"{server}/monthly.zarr", "2019-02", PLACE, precipitation="monthly_rate")
    _check(seen)
    assert not _Server.faults


@pytest.mark.parametrize("retries", [0, 2])
def test_an_http_server_is_asked_as_often_as_the_archive_says(server: str, retries: int) -> None:
    _Server.faults.extend([503] * 40)
    store = _zarr_store(f"{server}/monthly.zarr", {}, Attempts(timeout=10, retries=retries, backoff=0.001))
    # one file: reading a whole dataset asks for several at once, and what zarr asks for twice is its own affair
    with pytest.raises(obstore.exceptions.BaseError):
        store.store.get("zarr.json")
    assert len(_Server.asked) == 1 + retries


def test_options_reach_the_requests(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Attempts] = []

    def spy(path: str, options: Any, attempts: Attempts) -> Any:
        seen.append(attempts)
        return _zarr_store(path, options, attempts)

    monkeypatch.setattr("geopretext.build.climate_files._zarr_store", spy)
    options = {"timeout": 7.0, "retries": 3, "backoff": 0.01, "name": "options"}
    _check(read(f"{server}/monthly.zarr", "2019-02", PLACE, precipitation="monthly_rate", **options)[0])
    assert seen == [Attempts(timeout=7.0, retries=3, backoff=0.01)]


def test_an_http_server_that_is_silent_is_given_up(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    over = threading.Event()
    monkeypatch.setattr(_Server, "do_GET", lambda _: over.wait(60))
    (seen,) = read(f"{server}/monthly.zarr", "2019-02", PLACE, precipitation="monthly_rate", timeout=0.2, retries=0)
    over.set()
    assert isinstance(seen, SourceError)
    assert seen.reason in (Reason.TIMEOUT, Reason.SERVER)


def test_an_http_server_that_has_nothing(server: str) -> None:
    (seen,) = read(f"{server}/yearly.zarr", "2019-02", PLACE, precipitation="monthly_rate")
    assert isinstance(seen, SourceError)
    assert seen.reason is Reason.NO_FILE


def test_an_http_server_that_is_forbidden(server: str) -> None:
    _Server.faults.extend([403] * 20)
    (seen,) = read(f"{server}/monthly.zarr", "2019-02", PLACE, precipitation="monthly_rate", name="forbidden")
    assert isinstance(seen, SourceError)
    assert seen.reason is Reason.FORBIDDEN


def test_an_s3_server(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from moto.server import ThreadedMotoServer
    from obstore import put
    from obstore.store import S3Store

    moto = ThreadedMotoServer("127.0.0.1", port=0)
    moto.start()
    try:
        endpoint = "http://{}:{}".format(*moto.get_host_and_port())
        keys = {"access_key_id": "test", "secret_access_key": "test", "region": "us-east-1"}
        _create_bucket(f"{endpoint}/climate")
        store = S3Store("climate", endpoint=endpoint, client_options={"allow_http": True}, **keys)
        for file in (folder / "monthly.zarr").rglob("*"):
            if file.is_file():
                put(store, str(file.relative_to(folder)), file.read_bytes())
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test")
        storage = {"endpoint": endpoint, "region": "us-east-1"}
        path = "s3://climate/monthly.zarr"
        (seen,) = read(path, "2019-02", PLACE, precipitation="monthly_rate", storage=storage)
        _check(seen)
    finally:
        moto.stop()


def _create_bucket(url: str) -> None:
    from urllib.request import Request, urlopen

    headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=test/20200101/us-east-1/s3/aws4_request"}
    with urlopen(Request(url, method="PUT", headers=headers)):
        pass

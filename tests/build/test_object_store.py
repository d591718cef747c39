"""Rasters in an object store: a real server of the S3 protocol on loopback."""

from collections.abc import Iterator
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from geopretext.build.grid import Grid
from geopretext.build.raster_reader import RasterReader, Window, WindowJob
from geopretext.build.source import Asset
from geopretext.build.transfer import Transfer, TransferSettings, reset_transfer_counts, transfer_counts
from geopretext.errors import Reason, SourceError

from .range_server import Hang, RangeServer, Status
from .raster_files import write_cog

QUICK = TransferSettings(timeout=2.0, retries=2, backoff=0.001)
GRID = Grid(crs=32632, left=500_000.0, top=5_000_000.0, height=64, width=64)
NUMBERS = np.random.default_rng(0).integers(1, 60_000, (512, 512)).astype(np.uint16)


@pytest.fixture
def endpoint(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
        "AWS_DEFAULT_REGION": "us-east-1",
    }.items():
        monkeypatch.setenv(name, value)
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.slow
def test_windows_from_an_object_store(endpoint: str, tmp_path: Path) -> None:
    path = write_cog(tmp_path / "a.tif", NUMBERS, crs=32632, transform=GRID.transform)
    client = boto3.client("s3", endpoint_url=endpoint)
    client.create_bucket(Bucket="rasters")
    client.put_object(Bucket="rasters", Key="folder/a b.tif", Body=path.read_bytes())
    reset_transfer_counts()
    jobs = [
        WindowJob((Asset(f"s3://rasters/folder/{name}.tif"),), GRID, "nearest", absent_is_missing=True)
        for name in ("a b", "absent")
    ]
    results = dict(RasterReader(QUICK).read(jobs))
    there, absent = results[0], results[1]
    assert isinstance(there, Window)
    np.testing.assert_array_equal(there.values, NUMBERS[:64, :64])
    assert isinstance(absent, Window)
    assert not absent.valid.any()
    assert transfer_counts().requests == 3
    with pytest.raises(SourceError) as raised:
        Transfer(QUICK).fetch("s3://no-such-bucket/a.tif", 0, 10)
    assert raised.value.reason is Reason.NO_FILE


@pytest.mark.parametrize(
    ("fault", "reason", "attempts"),
    [
        (Status(503), Reason.SERVER, 3),
        (Status(429), Reason.THROTTLED, 3),
        (Status(403), Reason.FORBIDDEN, 1),
        (Status(404), Reason.NO_FILE, 1),
        (Status(416), Reason.CORRUPT, 3),
        (Hang(), Reason.TIMEOUT, 3),
    ],
    ids=repr,
)
def test_faults_of_a_store_have_their_reasons(
    monkeypatch: pytest.MonkeyPatch, fault: Status | Hang, reason: Reason, attempts: int
) -> None:
    with RangeServer() as server:
        server.fault = lambda asked: fault
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        settings = TransferSettings(timeout=0.3, retries=2, backoff=0.001, anonymous=True)
        with pytest.raises(SourceError) as raised:
            Transfer(settings).fetch("s3://bucket/a.tif", 0, 10)
        assert raised.value.reason is reason
        assert raised.value.where == "s3://bucket/a.tif"
        assert server.requests() == attempts


def test_a_store_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer() as server:
        server.files["/bucket/a.tif"] = bytes(range(100))
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        part = Transfer(TransferSettings(anonymous=True)).fetch("s3://bucket/a.tif", 10, 200)
    assert (part.data, part.size) == (bytes(range(10, 100)), 100)


def test_the_region_of_a_bucket_is_part_of_its_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    with RangeServer() as server:
        server.files["/bucket/a.tif"] = bytes(range(100))
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "key")
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        Transfer(TransferSettings(region="eu-central-1")).fetch("s3://bucket/a.tif", 0, 10)
        assert (
            "/eu-central-1/s3/"
            in {key.lower(): value for key, value in server.log[0].asked.headers.items()}["authorization"]
        )

"""Stores in a bucket, against a real S3 server on loopback: the same bytes and the same promises as on a disk."""

import json
import os
import pickle
import random
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator, Mapping
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.data import files as files_module
from geopretext.data.files import Files, is_url
from geopretext.data.loader import TileLoader
from geopretext.data.reader import open_tiles
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_lock import LOCK, StoreLock
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.writer import StoreWriter
from geopretext.errors import CorruptError, StoreError

from .s3_server import BUCKET, KEYS, flaky_proxy, s3_server
from .store_tiles import MODALITIES, SIZE, make_tiles

COUNT, SHARD = 13, 5


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as endpoint:
        yield endpoint


@pytest.fixture
def bucket(server: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """A place of its own for each test, with the environment that reaches it."""
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST", raising=False)
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As many retries as always, but without the long waits."""
    quick = {**files_module._RETRIES, "initial_delay": "1ms", "max_delay": "10ms"}
    monkeypatch.setattr(files_module, "_RETRIES", quick)
    for cached in (files_module.shared_context, files_module.reading_context):
        cached.cache_clear()
    yield
    for cached in (files_module.shared_context, files_module.reading_context):
        cached.cache_clear()


def write(place: str | Path, *, resume: bool = False, count: int = COUNT) -> None:
    if resume:
        writer = StoreWriter.resume(place)
    else:
        writer = StoreWriter.create(place, MODALITIES, tile_size=SIZE, shard_size=SHARD)
    with writer:
        for start in range(writer.committed, count, 4):
            writer.append(make_tiles(start, min(start + 4, count)))


def digests(place: str | Path) -> dict[str, str]:
    files = Files(place)
    return {key: sha256(files.read(key) or b"").hexdigest() for key in files.list()}


@pytest.fixture(scope="module")
def on_disk(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    path = tmp_path_factory.mktemp("disk") / "tiles.zarr"
    write(path)
    return digests(path)


def test_a_store_in_a_bucket_has_the_bytes_of_one_on_a_disk(bucket: str, on_disk: Mapping[str, str]) -> None:
    write(bucket, count=7)
    assert len(Store.open(bucket)) == 7
    write(bucket, resume=True)
    assert digests(bucket) == on_disk
    store = Store.open(f"{bucket}/")
    wanted = make_tiles(0, COUNT)
    order = np.random.default_rng(0).permutation(COUNT)
    for name, array in store.read(store.modalities, order).items():
        np.testing.assert_array_equal(array, wanted.arrays[name][order])
    np.testing.assert_array_equal(store.coordinates.lat, wanted.coordinates.lat)
    assert store.verify() == []
    again = pickle.loads(pickle.dumps(store))
    assert again.path == store.path
    assert len(open_tiles(bucket)) == COUNT


def test_split_statistics_and_parquet(bucket: str) -> None:
    write(bucket)
    store = Store.open(bucket)
    split = (np.arange(COUNT) % 3 - 1).astype(np.int8)
    store.set_split(split)
    store.set_statistics(compute_statistics(store))
    again = Store.open(bucket)
    np.testing.assert_array_equal(np.asarray(again.coordinates.split), split)
    assert again.statistics is not None
    assert again.statistics.tiles == int((split == 0).sum())
    assert again.verify() == []
    assert LOCK not in Files(bucket).list()


def test_damage_is_found(bucket: str) -> None:
    write(bucket)
    files, key = Files(bucket), "sentinel2/c/1/0/0/0"
    files.write({key: (files.read(key) or b"")[:-9]})
    with pytest.raises(CorruptError, match="is truncated") as caught:
        Store.open(bucket).read(["sentinel2"], np.arange(COUNT))
    assert caught.value.where == f"{bucket}/{key}"
    assert [problem.partition(":")[0] for problem in Store.open(bucket).verify()] == [key]


def test_xarray_opens_it(bucket: str, server: str) -> None:
    xarray = pytest.importorskip("xarray")
    obstore = pytest.importorskip("obstore.store")
    from zarr.storage import ObjectStore

    write(bucket)
    prefix = bucket.removeprefix(f"s3://{BUCKET}/")
    place = obstore.S3Store(
        BUCKET, prefix=prefix, endpoint=server, region="us-east-1", client_options={"allow_http": True},
        access_key_id="test", secret_access_key="test",
    )  # fmt: skip
    wanted = make_tiles(0, COUNT)
    with xarray.open_zarr(ObjectStore(place, read_only=True), chunks=None) as dataset:
        np.testing.assert_array_equal(dataset.sentinel2.values, wanted.arrays["sentinel2"])
        np.testing.assert_array_equal(dataset.lat.values, wanted.coordinates.lat)


def test_a_loader_reads_from_a_bucket_as_from_a_disk(bucket: str, tmp_path: Path) -> None:
    settings = {"count": 24, "tile_size": 32, "shard_size": 8, "workers": 1}
    assert write_synthetic_store(bucket, **settings) == bucket
    write_synthetic_store(tmp_path / "tiles.zarr", **settings)
    assert digests(bucket) == digests(tmp_path / "tiles.zarr")
    bands = {"sentinel2": ("B2", "B3"), "era5": None}
    batches = []
    for place in (bucket, tmp_path / "tiles.zarr"):
        store = Store.open(place)
        loader = TileLoader(store, modalities=bands, statistics=store.statistics, batch_size=8, seed=3)
        batches.append([batch.fields for batch in loader])
    assert len(batches[0]) == len(batches[1]) == 3
    for ours, theirs in zip(*batches, strict=True):
        for name in bands:
            np.testing.assert_array_equal(ours[name].values.numpy(), theirs[name].values.numpy())


def test_replacing_is_conditional_on_the_server(bucket: str, server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The condition travels with the write, so that there is no moment between looking and writing."""
    with flaky_proxy(server, share=0) as (endpoint, counts):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        files = Files(bucket)
        assert files.replace("key", b"1", expected=None)
        assert not files.replace("key", b"2", expected=None)
        assert not files.replace("key", b"2", expected=b"0")
        assert files.replace("key", b"2", expected=b"1")
        assert counts["conditional"] == 2
    stale = files_module.ts.KvStore.open(Files(bucket).spec, context=files_module.shared_context()).result()
    seen = stale.read("key").result().stamp.generation
    Files(bucket).write({"key": b"3"})
    assert stale.write("key", b"4", if_equal=seen).result().generation == b""
    assert Files(bucket).read("key") == b"3"


def test_one_writer_at_a_time(bucket: str) -> None:
    with StoreWriter.create(bucket, MODALITIES, tile_size=SIZE) as writer:
        writer.append(make_tiles(0, 3))
        with pytest.raises(StoreError, match="is writing to this store") as caught:
            StoreWriter.resume(bucket)
        assert f"{bucket}/{LOCK}" in caught.value.hint
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    held = {"host": socket.gethostname(), "pid": dead.pid, "token": "x"}
    Files(bucket).write({LOCK: json.dumps(held).encode()})
    StoreWriter.resume(bucket).close()
    Files(bucket).write({LOCK: json.dumps({"host": "elsewhere", "pid": 1, "token": "x"}).encode()})
    with pytest.raises(StoreError, match="on elsewhere is writing"):
        StoreWriter.resume(bucket)


def test_of_many_who_ask_at_once_one_gets_the_lock(bucket: str) -> None:
    script = textwrap.dedent(
        f"""
        import sys
        from geopretext.data.files import Files
        from geopretext.data.store_lock import StoreLock
        from geopretext.errors import StoreError
        files = Files({bucket!r})
        print("ready", flush=True)
        sys.stdin.readline()
        try:
            StoreLock(files)
            print("got it", flush=True)
        except StoreError:
            print("refused", flush=True)
        sys.stdin.readline()  # who holds it must be alive while the others ask
        """
    )
    command = [sys.executable, "-c", script]
    many = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        for _ in range(4)
    ]
    try:
        assert [process.stdout.readline() for process in many] == ["ready\n"] * 4
        for process in many:
            process.stdin.write("\n")
            process.stdin.flush()
        answers = sorted(process.stdout.readline() for process in many)
    finally:
        for process in many:
            process.communicate("\n")
    assert answers == ["got it\n", "refused\n", "refused\n", "refused\n"]


_SCRIPT = """
    import sys
    sys.path.insert(0, {root!r})
    import importlib
    test = importlib.import_module("tests.data.test_store_s3")
    test.write({place!r}, resume={resume})
"""


def _kill_and_resume(place: str, server: str, whole: Mapping[str, str], *, kills: int, seed: int) -> int:
    """Kill a real writer again and again in the middle of its work; how often it was really at work.

    The writer goes through a proxy, which counts its requests, so that it dies between two of them.
    """
    draw, caught = random.Random(seed), 0
    for _ in range(kills):
        resume = "zarr.json" in Files(place).list()
        script = textwrap.dedent(_SCRIPT).format(root=str(Path(__file__).parents[2]), place=place, resume=resume)
        with flaky_proxy(server, share=0) as (endpoint, counts):
            environment = {**os.environ, "AWS_ENDPOINT_URL": endpoint}
            process = subprocess.Popen([sys.executable, "-c", script], env=environment)
            wanted = draw.randint(20, 120)
            while process.poll() is None and counts["passed"] < wanted:
                time.sleep(0.001)
            caught += process.poll() is None
            process.send_signal(signal.SIGKILL)
            process.communicate()
        if "zarr.json" in Files(place).list():
            store = Store.open(place)
            assert store.verify() == []
            if len(store):
                wanted_radar = make_tiles(0, len(store)).arrays["sentinel1"]
                np.testing.assert_array_equal(
                    store.read(["sentinel1"], np.arange(len(store)))["sentinel1"], wanted_radar
                )
    write(place, resume="zarr.json" in Files(place).list())
    assert digests(place) == whole
    return caught


@pytest.mark.slow
def test_killed_in_the_middle_and_resumed_gives_the_same_objects(
    bucket: str, server: str, on_disk: Mapping[str, str]
) -> None:
    assert _kill_and_resume(bucket, server, on_disk, kills=2, seed=1) == 2


@pytest.mark.slow
def test_killed_many_times_and_resumed_gives_the_same_objects(
    bucket: str, server: str, on_disk: Mapping[str, str]
) -> None:
    caught = sum(_kill_and_resume(f"{bucket}/{n}", server, on_disk, kills=3, seed=n) for n in range(8))
    assert caught >= 20


@pytest.mark.slow
def test_server_errors_are_tried_again(
    bucket: str, server: str, on_disk: Mapping[str, str], impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with flaky_proxy(server, share=0.2) as (endpoint, counts):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        write(bucket)
        assert Store.open(bucket).verify() == []
        assert min(counts[fate] for fate in ("503", "500", "closed", "lost")) > 5
    monkeypatch.setenv("AWS_ENDPOINT_URL", server)
    assert digests(bucket) == on_disk


def test_a_lock_whose_answer_was_lost_is_held_all_the_same(
    bucket: str, server: str, impatient: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A write that arrived, but whose answer did not, is tried again and refused: the lock is ours nevertheless."""
    with flaky_proxy(server, share=0.4, seed=5) as (endpoint, _):
        monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
        for number in range(8):
            files = Files(f"{bucket}/{number}")
            lock = StoreLock(files)
            with pytest.raises(StoreError, match="is writing"):
                StoreLock(files)
            lock.release()
            assert files.list() == []


def _refusal(place: str) -> StoreError:
    with pytest.raises(StoreError) as caught:
        Store.open(place)
    assert len(caught.value.what.splitlines()) == 1
    assert len(caught.value.what) < 250
    return caught.value


def test_no_such_bucket(bucket: str) -> None:
    error = _refusal("s3://no-such-bucket/tiles.zarr")
    assert "there is no such bucket" in error.hint
    with pytest.raises(StoreError) as caught:
        write("s3://no-such-bucket/tiles.zarr")
    assert "there is no such bucket" in caught.value.hint
    with pytest.raises(StoreError, match="there is no tile store here"):
        Store.open(f"{bucket}/nothing")
    with pytest.raises(StoreError, match="names no bucket"):
        Store.open("s3://")


def test_no_credentials(bucket: str, impatient: None, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bucket)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    error = _refusal(bucket)
    assert "PERMISSION_DENIED" in error.what
    assert "AWS_ACCESS_KEY_ID" in error.hint
    monkeypatch.delenv("AWS_NO_SIGN_REQUEST")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    files_module.shared_context.cache_clear()  # credentials are kept as long as the process lives
    assert "AWS_ACCESS_KEY_ID" in _refusal(bucket).hint


def test_a_public_bucket_needs_none(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import boto3

    for name, value in {**KEYS, "AWS_ENDPOINT_URL": server}.items():
        monkeypatch.setenv(name, value)
    client = boto3.client("s3", endpoint_url=server)
    client.create_bucket(Bucket="public")
    write("s3://public/tiles.zarr", count=3)
    for key in Files("s3://public/tiles.zarr").list():
        client.put_object_acl(Bucket="public", Key=f"tiles.zarr/{key}", ACL="public-read")
    client.close()
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_NO_SIGN_REQUEST", "YES")
    store = Store.open("s3://public/tiles.zarr")
    assert store.read(["sentinel2"], np.arange(3))["sentinel2"].any()


def test_a_server_that_is_down(impatient: None, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    error = _refusal(bucket)
    assert "Could not connect to server" in error.what
    assert "AWS_ENDPOINT_URL" in error.hint
    assert main(["inspect", bucket]) == 1


def test_a_url_that_has_been_a_path_is_refused_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for attempt in (Store.open, open_tiles, StoreWriter.resume):
        with pytest.raises(StoreError, match=r"s3:/bucket/x.zarr: a URL cannot be a pathlib.Path"):
            attempt(Path("s3://bucket/x.zarr"))
    assert not is_url("tiles.zarr")
    assert is_url("s3://bucket/x")
    assert list(tmp_path.iterdir()) == []

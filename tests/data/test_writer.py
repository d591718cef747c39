"""Writing a store: shard by shard, through kills, full disks and rivals."""

import json
import os
import random
import resource
import shutil
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.data.files import Files
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_lock import LOCK, StoreLock
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import ClassError, CorruptError, GridError, InputError, StoreError
from geopretext.modality import Band, Kind, Modality

from .interruption import Killed, digests, killed_after, make_lock_stale
from .store_tiles import MODALITIES, SIZE, make_tiles

COUNT = 13
SHARD = 5


def write(path: Path, *, resume: bool = False, count: int = COUNT) -> None:
    """Write tiles 0 to ``count``, in batches that do not fit the shards, from where the store ends."""
    if resume:
        writer = StoreWriter.resume(path)
    else:
        writer = StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=SHARD)
    with writer:
        for start in range(writer.committed, count, 4):
            writer.append(make_tiles(start, min(start + 4, count)))


def check_readable(path: Path, committed: int) -> None:
    store = Store.open(path)
    assert len(store) == committed
    assert store.verify() == []
    if committed:
        wanted = make_tiles(0, committed)
        for name, array in store.read(store.modalities, np.arange(committed)).items():
            np.testing.assert_array_equal(array, wanted.arrays[name], err_msg=name)
        assert store.coordinates.tile_id.tolist() == wanted.coordinates.tile_id.tolist()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    path = tmp_path_factory.mktemp("writer") / "tiles.zarr"
    write(path)
    return digests(path)


def test_batches_of_any_size_fill_whole_shards(tmp_path: Path) -> None:
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer:
        seen = []
        for start, stop in ((0, 1), (1, 4), (4, 4), (4, 12), (12, 13)):
            if stop > start:
                writer.append(make_tiles(start, stop))
            seen.append((writer.committed, len(Store.open(tmp_path / "s"))))
    assert seen == [(0, 0), (0, 0), (0, 0), (10, 10), (10, 10)]
    check_readable(tmp_path / "s", COUNT)


def test_the_layout_of_batches_leaves_no_trace(tmp_path: Path, uninterrupted: Mapping[str, str]) -> None:
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer:
        writer.append(make_tiles(0, COUNT))
    assert digests(tmp_path / "s") == uninterrupted


@pytest.mark.parametrize("first", [0, 3, 5, 7, 12])
def test_adding_to_a_closed_store_is_as_writing_it_in_one_go(
    tmp_path: Path, uninterrupted: Mapping[str, str], first: int
) -> None:
    write(tmp_path / "s", count=first)
    check_readable(tmp_path / "s", first)
    early = Store.open(tmp_path / "s")
    write(tmp_path / "s", resume=True)
    assert digests(tmp_path / "s") == uninterrupted
    np.testing.assert_array_equal(
        early.read(["sentinel2"], np.arange(first))["sentinel2"], make_tiles(0, COUNT).arrays["sentinel2"][:first]
    )


def _kill_everywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, whole: Mapping[str, str], step: int) -> int:
    """Kill a writer after 1, 1 + step, ... keys, check what is left, resume, and compare; the number of kills."""
    for kills, keys in enumerate(range(1, 10_000, step)):
        path, survived = tmp_path / f"{keys}.zarr", False
        with killed_after(keys, monkeypatch, seed=keys):
            try:
                write(path)
                survived = True
            except Killed:
                pass
        if survived:
            return kills
        make_lock_stale(path)
        try:
            check_readable(path, len(Store.open(path)))
        except StoreError:
            assert not (path / "zarr.json").exists()
            write(path)
        else:
            write(path, resume=True)
        assert digests(path) == whole, f"killed after {keys} keys"
    raise AssertionError


def test_killed_at_any_write_and_resumed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Mapping[str, str]
) -> None:
    assert _kill_everywhere(tmp_path, monkeypatch, uninterrupted, step=17) > 7


@pytest.mark.slow
def test_killed_at_every_write_and_resumed_gives_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Mapping[str, str]
) -> None:
    assert _kill_everywhere(tmp_path, monkeypatch, uninterrupted, step=1) > 150


@pytest.mark.parametrize("keys", [60, 90, 115, 150])
def test_xarray_sees_the_last_commit_of_a_killed_writer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keys: int
) -> None:
    xarray = pytest.importorskip("xarray")
    with killed_after(keys, monkeypatch, seed=1), pytest.raises(Killed):
        write(tmp_path / "s")
    committed = len(Store.open(tmp_path / "s"))
    with xarray.open_zarr(tmp_path / "s", chunks=None) as dataset:
        assert dataset.sizes["tile"] == committed
        wanted = make_tiles(0, COUNT)
        np.testing.assert_array_equal(dataset.sentinel2.values, wanted.arrays["sentinel2"][:committed])
        np.testing.assert_array_equal(dataset.lat.values, wanted.coordinates.lat[:committed])


def test_killed_again_while_repairing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uninterrupted: Mapping[str, str]
) -> None:
    path = tmp_path / "s"
    write(path, count=7)
    for seed, keys in enumerate((3, 12, 25, 30, 44)):
        with killed_after(keys, monkeypatch, seed=seed), pytest.raises(Killed):
            write(path, resume=True)
        make_lock_stale(path)
        check_readable(path, 7)
    write(path, resume=True)
    assert digests(path) == uninterrupted


@pytest.mark.parametrize(("first", "keys"), [(5, 12), (5, 35), (7, 8), (7, 20), (7, 38)])
def test_resuming_alone_removes_all_that_a_killed_writer_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, first: int, keys: int
) -> None:
    write(tmp_path / "s", count=first)
    before = digests(tmp_path / "s")
    with killed_after(keys, monkeypatch, seed=keys), pytest.raises(Killed):
        write(tmp_path / "s", resume=True)
    make_lock_stale(tmp_path / "s")
    assert len(Store.open(tmp_path / "s")) == first
    assert len(digests(tmp_path / "s")) > len(before)
    (tmp_path / "s/sentinel2/c/9.__lock").write_bytes(b"half a file")
    StoreWriter.resume(tmp_path / "s").close()
    assert digests(tmp_path / "s") == before


_SCRIPT = """
    import sys
    sys.path.insert(0, {root!r})
    import importlib
    test_writer = importlib.import_module("tests.data.test_writer")
    from pathlib import Path
    print("ready", flush=True)
    test_writer.write(Path({path!r}), resume={resume})
"""


def _start(path: Path, *, resume: bool) -> "subprocess.Popen[str]":
    script = textwrap.dedent(_SCRIPT).format(root=str(Path(__file__).parents[2]), path=str(path), resume=resume)
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def test_sigkill_of_a_real_process(tmp_path: Path, uninterrupted: Mapping[str, str]) -> None:
    path, draw, kills = tmp_path / "tiles.zarr", random.Random(0), 0
    for _ in range(4):
        process = _start(path, resume=(path / "zarr.json").exists())
        time.sleep(draw.uniform(0.02, 0.3))
        kills += process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        if (path / "zarr.json").exists():
            check_readable(path, len(Store.open(path)))
    write(path, resume=(path / "zarr.json").exists())
    assert digests(path) == uninterrupted
    assert kills


def test_a_full_disk_leaves_the_last_commit_and_says_what_to_do(
    tmp_path: Path, uninterrupted: Mapping[str, str]
) -> None:
    path = tmp_path / "s"
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer:
        writer.append(make_tiles(0, 6))
        before = writer.committed
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (6_000, hard))
            with pytest.raises(StoreError, match="the disk is full") as caught:
                writer.append(make_tiles(6, 11))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        with pytest.raises(StoreError, match="closed or has failed"):
            writer.append(make_tiles(11, 12))
    assert str(path) in caught.value.where
    assert "resume" in caught.value.hint
    assert before == 5
    check_readable(path, 5)
    write(path, resume=True)
    assert digests(path) == uninterrupted


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount a small file system")
def test_a_really_full_file_system(tmp_path: Path) -> None:
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=400k", "tmpfs", str(tmp_path)], capture_output=True)
    if mount.returncode:
        pytest.skip("mounting is not allowed here")
    try:
        path = tmp_path / "s"
        with pytest.raises(StoreError, match="the disk is full"):
            write(path, count=60)
        check_readable(path, len(Store.open(path)))
        assert 0 < len(Store.open(path)) < 60
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_leaving_by_an_exception_commits_nothing_more(tmp_path: Path, uninterrupted: Mapping[str, str]) -> None:
    path = tmp_path / "s"
    with (  # noqa: PT012
        pytest.raises(ZeroDivisionError),
        StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer,
    ):
        writer.append(make_tiles(0, 8))
        raise ZeroDivisionError
    check_readable(path, 5)
    write(path, resume=True)
    assert digests(path) == uninterrupted


@pytest.mark.parametrize("keep", [0, 5, 10])
def test_a_truncated_store_is_as_one_that_never_had_more(tmp_path: Path, keep: int) -> None:
    write(tmp_path / "s")
    write(tmp_path / "short", count=keep)
    store = Store.open(tmp_path / "s")
    store.set_statistics(compute_statistics(store))
    with StoreWriter.resume(tmp_path / "s") as writer:
        writer.truncate(keep)
        assert writer.committed == keep
        check_readable(tmp_path / "s", keep)
        assert Store.open(tmp_path / "s").statistics is None
    assert digests(tmp_path / "s") == digests(tmp_path / "short")


def test_other_tiles_may_follow_a_truncation(tmp_path: Path, uninterrupted: Mapping[str, str]) -> None:
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer:
        writer.append(make_tiles(0, 5))
        writer.append(make_tiles(20, 28))
    batch = make_tiles(5, COUNT)
    vectorless = {name: array for name, array in batch.arrays.items() if name != "lat"}
    with StoreWriter.resume(tmp_path / "s") as writer:
        writer.append(make_tiles(30, 32))
        writer.truncate(5)
        writer.append(TileBatch(batch.coordinates, vectorless))
        writer.close()
        assert np.isnan(Store.open(tmp_path / "s").read(["lat"], np.arange(5, COUNT))["lat"]).all()
    with StoreWriter.resume(tmp_path / "s") as writer:
        writer.truncate(5)
        writer.append(batch)
    assert digests(tmp_path / "s") == uninterrupted


def test_only_whole_shards_can_be_kept(tmp_path: Path) -> None:
    write(tmp_path / "s")
    before = digests(tmp_path / "s")
    with StoreWriter.resume(tmp_path / "s") as writer:
        for keep in (3, 15, -5):
            with pytest.raises(InputError, match=f"cannot keep {keep} of 13 tiles"):
                writer.truncate(keep)
    assert digests(tmp_path / "s") == before


@pytest.mark.parametrize("step", [11, pytest.param(1, marks=pytest.mark.slow)])
def test_killed_anywhere_in_a_truncation(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    write(tmp_path / "short", count=SHARD)
    write(tmp_path / "whole")
    lengths = []
    for keys in range(0, 200, step):
        path = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"{keys}.zarr"))
        with killed_after(keys, monkeypatch, seed=keys, deletes=True) as left:
            with suppress(Killed), StoreWriter.resume(path) as writer:
                writer.truncate(SHARD)
            if left[0]:
                break
        make_lock_stale(path)
        lengths.append(len(Store.open(path)))
        check_readable(path, lengths[-1])
        with StoreWriter.resume(path) as writer:
            check_readable(path, lengths[-1])
            writer.truncate(SHARD)
        assert digests(path) == digests(tmp_path / "short"), f"killed after {keys} keys"
    assert lengths[0] == COUNT
    assert sorted(lengths, reverse=True) == lengths
    assert len(lengths) > 30 / step


def test_a_second_writer_is_refused_and_told_who_holds_the_store(tmp_path: Path) -> None:
    path = tmp_path / "s"
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE) as writer:
        writer.append(make_tiles(0, 3))
        for attempt in (lambda: StoreWriter.resume(path), lambda: Store.open(path).set_split(np.empty(0, np.int8))):
            with pytest.raises(
                StoreError, match=f"process {os.getpid()} on {socket.gethostname()} is writing"
            ) as caught:
                attempt()
            assert LOCK in caught.value.hint
    assert not (path / LOCK).exists()
    StoreWriter.resume(path).close()


def test_the_lock_of_a_dead_process_is_taken_over_but_not_one_of_another_machine(tmp_path: Path) -> None:
    path = tmp_path / "s"
    write(path, count=3)
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    lock = {"host": socket.gethostname(), "pid": dead.pid, "token": "x"}
    (path / LOCK).write_text(json.dumps(lock))
    StoreWriter.resume(path).close()
    for content in (json.dumps({**lock, "host": "elsewhere"}), json.dumps({**lock, "pid": 1}), "damaged"):
        (path / LOCK).write_text(content)
        with pytest.raises(StoreError, match="is writing to this store"):
            StoreWriter.resume(path)
        assert (path / LOCK).read_text() == content


def test_an_existing_folder_is_not_written_over(tmp_path: Path) -> None:
    write(tmp_path / "s", count=3)
    before = digests(tmp_path / "s")
    with pytest.raises(StoreError, match="exists already") as caught:
        StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE)
    assert "resume" in caught.value.hint
    assert digests(tmp_path / "s") == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(StoreError, match="not empty"):
        StoreWriter.create(tmp_path, MODALITIES, tile_size=SIZE)
    with pytest.raises(StoreError, match="no tile store"):
        StoreWriter.resume(tmp_path / "nothing")


def test_a_store_that_someone_made_just_before_the_lock_is_kept(
    tmp_path: Path, uninterrupted: Mapping[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def late(files: Files) -> StoreLock:
        monkeypatch.undo()
        write(tmp_path / "s")
        return StoreLock(files)

    monkeypatch.setattr("geopretext.data.writer.StoreLock", late)
    with pytest.raises(StoreError, match="exists already"):
        write(tmp_path / "s")
    assert digests(tmp_path / "s") == uninterrupted


def test_resuming_on_a_damaged_tail_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "s", count=8)
    shard = tmp_path / "s/sentinel2/c/1/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(CorruptError, match="sentinel2/c/1/0/0/0: is truncated"):
        StoreWriter.resume(tmp_path / "s")
    assert not (tmp_path / "s" / LOCK).exists()


def _arrays(**changes: np.ndarray) -> TileBatch:
    batch = make_tiles(0, 2)
    return TileBatch(batch.coordinates, {**batch.arrays, **changes})


def _coordinates(**changes: object) -> TileBatch:
    batch = make_tiles(0, 2)
    return TileBatch(replace(batch.coordinates, **changes), batch.arrays)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (_arrays(sentinel2=np.zeros((2, 12, SIZE, SIZE), np.uint16)), GridError, "'sentinel2' has shape"),
        (_arrays(sentinel2=np.zeros((2, 13, SIZE, SIZE), np.float32)), InputError, "'sentinel2' has dtype float32"),
        (_arrays(extra=np.zeros((2, 1))), InputError, "no modality 'extra'"),
        (_arrays(dynamic_world=np.full((2, 1, SIZE, SIZE), 77, np.uint8)), ClassError, "code 77 is not a class"),
        (_coordinates(tile_id=np.array(["a", "a"])), InputError, "tile id 'a' is doubled"),
        (_coordinates(lat=np.array([91.0, 0])), InputError, "lat 91.0 is no position"),
        (_coordinates(split=np.array([0, 3], np.int8)), InputError, "split must be -1 to 2"),
        (
            _coordinates(levels={"sentinel2": np.array([0, 2], np.int8)}),
            InputError,
            "level of 'sentinel2' must be -1 to 1",
        ),
        (_coordinates(levels={"sentinel1": np.array([0, 0], np.int8)}), InputError, "levels are given for 'sentinel1'"),
    ],
)
def test_bad_tiles_are_refused_and_the_writer_goes_on(
    tmp_path: Path, batch: TileBatch, error: type[Exception], message: str
) -> None:
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE, shard_size=SHARD) as writer:
        with pytest.raises(error, match=message):
            writer.append(batch)
        writer.append(make_tiles(0, 6))
        with pytest.raises(InputError, match="tile id 'tile-2' is doubled"):
            writer.append(make_tiles(2, 3))
    check_readable(tmp_path / "s", 6)


def test_bad_settings_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    path = tmp_path / "s"
    solid = Modality("solid", Kind.CONTINUOUS_VECTOR, (Band("a"),), "uint8")
    for modalities, options, message in (
        ((), {}, "1 to 32 modalities, not 0"),
        ((*MODALITIES, MODALITIES[0]), {}, "given twice"),
        (MODALITIES, {"tile_size": 0}, "must be positive"),
        (MODALITIES, {"recipe": {"path": Path()}}, "cannot be written as JSON"),
        ((replace(solid, name="lat_vector"), MODALITIES[3]), {}, "array names clash: lat_vector"),
    ):
        with pytest.raises(InputError, match=message):
            StoreWriter.create(path, modalities, **{"tile_size": SIZE, **options})
        assert not path.exists()
    with (
        StoreWriter.create(path, [solid], tile_size=SIZE) as writer,
        pytest.raises(InputError, match="'solid' is absent"),
    ):
        writer.append(TileBatch(make_tiles(0, 1).coordinates, {}))


def test_an_empty_store_is_a_store(tmp_path: Path) -> None:
    StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE).close()
    check_readable(tmp_path / "s", 0)
    assert len(Store.open(tmp_path / "s").coordinates) == 0
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(tmp_path / "s") as dataset:
        assert dataset.sizes["tile"] == 0

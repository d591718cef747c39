"""The writer's lock: taken over from the dead only, wherever they ran."""

import json
import os
import time
from pathlib import Path

import pytest

from geopretext.data import store_lock
from geopretext.data.files import Files
from geopretext.data.store_lock import LOCK, StoreLock
from geopretext.data.writer import StoreWriter
from geopretext.errors import StoreError

from .store_tiles import MODALITIES, SIZE, make_tiles


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path / "s")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases of two seconds, which give the holder forty chances to renew its own."""
    monkeypatch.setattr(store_lock, "RENEWAL_SECONDS", 0.05)
    monkeypatch.setattr(store_lock, "LEASE_SECONDS", 2.0)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_lock, "LEASE_SECONDS", 0.1)


def holder(files: Files) -> dict[str, object]:
    return dict(json.loads(files.read(LOCK) or b"{}"))


def leave(files: Files, **changes: object) -> None:
    """A lock as a process leaves it that is killed, and that is told apart from this one by some changes."""
    lock = StoreLock(files)
    left = {**holder(files), "token": "x", **changes}
    lock.release()
    files.write({LOCK: json.dumps(left).encode()})


def test_a_process_that_was_killed_on_another_machine_is_followed_after_a_lease(files: Files, short: None) -> None:
    for changes in ({"host": "old-pod"}, {"machine": "as before it was started anew"}):
        leave(files, **changes)
        lock = StoreLock(files)
        assert holder(files)["pid"] == os.getpid()
        lock.release()
        assert files.list() == []


def test_one_that_lives_on_another_machine_is_left_alone(
    files: Files, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(StoreLock, "_content", _content_of_another_machine)
    lock = StoreLock(files)
    with pytest.raises(StoreError, match=f"process {os.getpid()} on far-away is writing"):
        StoreLock(files)
    lock.refuse_if_lost()
    lock.release()
    assert files.list() == []


def _content_of_another_machine(self: StoreLock) -> bytes:
    content = {"host": "far-away", "machine": "far", "pid": os.getpid(), "token": self._token, "beats": self._beats}
    return json.dumps(content).encode()


def test_a_number_that_another_process_has_now_means_nothing(files: Files) -> None:
    leave(files, pid=os.getppid(), start="1")
    StoreLock(files).release()
    leave(files, pid=os.getppid(), start=store_lock._start_of(os.getppid()))
    with pytest.raises(StoreError, match=f"process {os.getppid()} on "):
        StoreLock(files)


def test_a_writer_that_was_taken_for_dead_commits_nothing_more(tmp_path: Path, quick: None) -> None:
    path = tmp_path / "s"
    writer = StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=5)
    writer.append(make_tiles(0, 3))
    other = json.dumps({"host": "far-away", "pid": 7, "token": "x", "beats": 3})
    (path / LOCK).write_text(other)
    heart = writer._lock._heart
    heart.join(5)
    assert not heart.is_alive()
    with pytest.raises(StoreError, match="was taken for dead"):
        writer.close()
    assert (path / LOCK).read_text() == other


def test_a_lock_is_renewed_through_troubles_of_the_storage(
    files: Files, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, plain, calls = StoreLock(files), Files.replace, [0]

    def troubled(self: Files, key: str, data: bytes, *, expected: bytes | None) -> bool:
        calls[0] += 1
        if calls[0] % 3 == 0:
            raise StoreError("no answer")
        return plain(self, key, data, expected=expected) and calls[0] % 3 == 1  # at times the answer is lost

    monkeypatch.setattr(Files, "replace", troubled)
    until = time.monotonic() + 10
    while holder(files)["beats"] < 9 and time.monotonic() < until:  # type: ignore[operator]
        time.sleep(0.01)
    assert holder(files)["beats"] >= 9  # type: ignore[operator]
    lock.refuse_if_lost()
    lock.release()
    assert files.list() == []

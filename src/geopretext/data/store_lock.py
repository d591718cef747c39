"""One writer at a time: a lock object beside the arrays that says who holds it, and shows that its holder lives.

The holder renews the lock while it lives. Whoever finds it and cannot tell otherwise watches it: one that is renewed
is held, one that stays the same for a lease was left by a process that is gone. No clocks are compared.
"""

import json
import logging
import os
import socket
import threading
import time
import uuid
from pathlib import Path
from typing import Any

from geopretext.data.files import Files
from geopretext.errors import StoreError

LOCK = "writer.lock"

RENEWAL_SECONDS = 20.0
"""between two signs of life of a holder"""
LEASE_SECONDS = 120.0
"""without a sign of life, after which a lock counts as left"""
_LOOKS = 60  # at a lock, in a lease
_JOIN_SECONDS = 5.0

_held: set[str] = set()  # tokens of the locks of this process, to tell them from those of a dead one with the same pid


class StoreLock:
    """Holds the writer's lock of a store until ``release``; works between machines that share the storage.

    A lock that a dead process left is taken over: at once if it ran on this machine, else when a lease has passed.

    Raises:
        StoreError: someone else writes to the store (the message names host and process).
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._token = uuid.uuid4().hex
        self._beats = 0
        self._mine = self._content()
        while not files.replace(LOCK, self._mine, expected=None):
            left = files.read(LOCK)
            if left is not None:
                self._refuse_unless_left(left)
                if files.replace(LOCK, self._mine, expected=left):
                    break
        _held.add(self._token)
        self._released = threading.Event()
        self._heart = threading.Thread(target=self._beat, name="store lock", daemon=True)
        self._heart.start()

    def refuse_if_lost(self) -> None:
        """Check that the lock is still ours.

        Raises:
            StoreError: this process gave no sign of life for so long (asleep, cut off) that another one took it over.
        """
        if _read(self._files.read(LOCK)).get("token") != self._token:
            raise StoreError(
                f"this process was taken for dead, since its lock was not renewed for {LEASE_SECONDS:.0f} s",
                where=self._files.path,
                hint="another process may write to the store now; nothing that was committed is lost",
            )

    def release(self) -> None:
        """Let others write; may be called twice."""
        if self._token in _held:
            _held.discard(self._token)
            self._released.set()
            self._heart.join(_JOIN_SECONDS)
            if _read(self._files.read(LOCK)).get("token") == self._token:
                self._files.delete([LOCK])

    def _content(self) -> bytes:
        pid = os.getpid()
        who = {"host": socket.gethostname(), "machine": _machine(), "pid": pid, "start": _start_of(pid)}
        return json.dumps({**who, "token": self._token, "beats": self._beats}).encode()

    def _beat(self) -> None:
        """Renew the lock until it is released or lost."""
        while not self._released.wait(RENEWAL_SECONDS):
            self._beats += 1
            renewed = self._content()
            try:
                if not self._files.replace(LOCK, renewed, expected=self._mine):
                    # Of a write whose answer was lost, the second try is refused; then it is ours all the same.
                    found = self._files.read(LOCK)
                    if _read(found).get("token") != self._token or found is None:
                        return
                    renewed = found
            except StoreError:
                continue  # the next sign of life may arrive
            self._mine = renewed

    def _refuse_unless_left(self, data: bytes) -> None:
        holder = _read(data)
        lives = _lives(holder)
        if lives is None:
            lives = "beats" not in holder or self._is_renewed(data, holder)
        if lives:
            raise StoreError(
                f"process {holder.get('pid', -1)} on {holder.get('host', 'an unknown host')} is writing to this store",
                where=self._files.path,
                hint=f"wait for it; if it no longer runs, delete {self._files.where(LOCK)}",
            )

    def _is_renewed(self, data: bytes, holder: dict[str, Any]) -> bool:
        """Watch a lock for a lease, or until it changes."""
        logging.getLogger(__name__).warning(
            "%s: locked by process %s on %s; taken over if it gives no sign of life for %.0f s",
            *(self._files.path, holder.get("pid"), holder.get("host"), LEASE_SECONDS),
        )
        end = time.monotonic() + LEASE_SECONDS
        while time.monotonic() < end:
            time.sleep(LEASE_SECONDS / _LOOKS)
            now = self._files.read(LOCK)
            if now != data:
                return now is not None
        return False


def _read(data: bytes | None) -> dict[str, Any]:
    """What a lock says; empty if there is none, or something else."""
    try:
        holder = json.loads(data or b"")
        return {**holder, "host": str(holder["host"]), "pid": int(holder["pid"]), "token": str(holder["token"])}
    except (ValueError, KeyError, TypeError):
        return {}


def _lives(holder: dict[str, Any]) -> bool | None:
    """Whether the process that wrote a lock runs; None if that cannot be seen from here."""
    pid = holder.get("pid", -1)
    if pid <= 0 or holder["host"] != socket.gethostname() or holder.get("machine", _machine()) != _machine():
        return None
    if pid == os.getpid():
        return holder["token"] in _held
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    start = _start_of(pid)
    if not start or "start" not in holder:
        return None
    return bool(holder["start"] == start)


def _machine() -> str:
    """Where a process number means one process: this start of the machine, and the container, where Linux says so."""
    try:
        return f"{Path('/proc/sys/kernel/random/boot_id').read_text().strip()} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:
        return ""


def _start_of(pid: int) -> str:
    """When a process started, where Linux says so; one that has its number later has started later."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return ""

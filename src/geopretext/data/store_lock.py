"""One writer at a time: a lock object beside the arrays that says who holds it."""

import json
import os
import socket
import uuid

from geopretext.data.files import Files
from geopretext.errors import StoreError

LOCK = "writer.lock"

_held: set[str] = set()  # tokens of the locks of this process, to tell them from those of a dead one with the same pid


class StoreLock:
    """Holds the writer's lock of a store until ``release``; works between machines that share the storage.

    A lock that a dead process of this machine left is taken over.

    Raises:
        StoreError: someone else writes to the store (the message names host and process).
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._token = uuid.uuid4().hex
        content = {"host": socket.gethostname(), "pid": os.getpid(), "token": self._token}
        mine = json.dumps(content).encode()
        while not files.replace(LOCK, mine, expected=None):
            left = files.read(LOCK)
            if left is not None:
                self._refuse_unless_stale(left)
                if files.replace(LOCK, mine, expected=left):
                    break
        _held.add(self._token)

    def _refuse_unless_stale(self, data: bytes) -> None:
        try:
            holder = json.loads(data)
            host, pid, token = str(holder["host"]), int(holder["pid"]), str(holder["token"])
        except (ValueError, KeyError, TypeError):
            host, pid, token = "an unknown host", -1, ""
        if host == socket.gethostname() and pid > 0 and not _is_alive(pid, token):
            return
        raise StoreError(
            f"process {pid} on {host} is writing to this store",
            where=self._files.path,
            hint=f"wait for it; if it no longer runs, delete {self._files.where(LOCK)}",
        )

    def release(self) -> None:
        """Let others write; may be called twice."""
        if self._token in _held:
            _held.discard(self._token)
            self._files.delete([LOCK])


def _is_alive(pid: int, token: str) -> bool:
    if pid == os.getpid():
        return token in _held
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True

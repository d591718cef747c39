"""Bytes by key below one path: a local folder, ``s3://``, ``gs://`` or ``memory://``, all through TensorStore.

Every write is atomic and durable for its key (on a local disk: temporary file, fsync, rename). Nothing else in the
store opens a file, so that a store in a bucket and one on a disk are the same code.
"""

import functools
import os
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorstore as ts

from geopretext.errors import StoreError

# TensorStore has no exception class of its own: it raises one of these, by status code.
TENSORSTORE_ERRORS = (ValueError, RuntimeError, OSError, KeyError, NotImplementedError)

_FULL_DISK = ("no space left", "file too large", "disk quota", "resource_exhausted", "not enough space")
_TEMPORARY = ".__lock"
_CACHE_BYTES = 256_000_000


@functools.cache
def shared_context() -> ts.Context:
    """One TensorStore context for the process; what lies at ``memory://`` lives in it."""
    return ts.Context({})


@functools.cache
def reading_context(driver: str) -> ts.Context:
    """The context to read arrays with.

    From a bucket, a cache saves the requests for the index of each shard. From a disk it costs more than it saves,
    since tiles read at random pass through it and are not asked for again (measured: 455 against 290 microseconds of
    CPU a tile).
    """
    limit = 0 if driver in ("file", "memory") else _CACHE_BYTES
    return ts.Context({"cache_pool": {"total_bytes_limit": limit}}, shared_context())


def location_spec(path: str | Path) -> dict[str, Any]:
    """TensorStore's description of a folder or URL.

    For S3-compatible servers the usual ``AWS_ENDPOINT_URL`` and ``AWS_REGION`` are honoured.
    """
    text = str(path)
    if "://" not in text:
        return {"driver": "file", "path": f"{Path(text).absolute()}/"}
    scheme, _, rest = text.partition("://")
    rest = f"{rest.rstrip('/')}/"
    if scheme == "file":
        return {"driver": "file", "path": rest}
    if scheme == "memory":
        return {"driver": "memory", "path": rest}
    bucket, _, prefix = rest.partition("/")
    if scheme == "gs":
        return {"driver": "gcs", "bucket": bucket, "path": prefix}
    if scheme != "s3":
        raise StoreError(f"cannot reach {scheme}://", where=text, hint="give a folder, or an s3:// or gs:// URL")
    spec: dict[str, Any] = {"driver": "s3", "bucket": bucket, "path": prefix}
    if endpoint := os.environ.get("AWS_ENDPOINT_URL_S3", os.environ.get("AWS_ENDPOINT_URL")):
        spec["endpoint"] = endpoint
    if region := os.environ.get("AWS_REGION", os.environ.get("AWS_DEFAULT_REGION")):
        spec["aws_region"] = region
    return spec


class Files:
    """Read, write, list and delete keys below ``path``.

    Raises:
        StoreError: from any method, if the storage refuses; a full disk is called by its name.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = str(path)
        self.spec = location_spec(path)
        try:
            self._keys = ts.KvStore.open(self.spec, context=shared_context()).result()
        except TENSORSTORE_ERRORS as error:
            raise StoreError(str(error), where=self.path) from error

    def where(self, key: str) -> str:
        """The full name of a key, for messages."""
        return f"{self.path.rstrip('/')}/{key}"

    def read(self, key: str) -> bytes | None:
        """The bytes at ``key``; None if there are none."""
        try:
            result = self._keys.read(key).result()
        except TENSORSTORE_ERRORS as error:
            raise StoreError(f"cannot be read: {error}", where=self.where(key)) from error
        return bytes(result.value) if result.state == "value" else None

    def write(self, items: Mapping[str, bytes]) -> None:
        """Write all items at the same time; on return all are durable, on an error any of them may be."""
        futures = {key: self._keys.write(key, data) for key, data in items.items()}
        failures: list[tuple[str, Exception]] = []
        for key, future in futures.items():
            try:
                future.result()
            except TENSORSTORE_ERRORS as error:
                failures.append((key, error))
        if failures:
            raise self._write_error(*failures[0])

    def replace(self, key: str, data: bytes, *, expected: bytes | None) -> bool:
        """Write ``key`` only if it still holds ``expected`` (None: nothing); atomic, also between machines."""
        try:
            existing = self._keys.read(key).result()
            if (bytes(existing.value) if existing.state == "value" else None) != expected:
                return False
            stamp = self._keys.write(key, data, if_equal=existing.stamp.generation).result()
        except TENSORSTORE_ERRORS as error:
            raise self._write_error(key, error) from error
        return stamp.generation != b""

    def delete(self, keys: Iterable[str]) -> None:
        """Delete keys; those that do not exist are passed over."""
        futures = [(key, self._keys.write(key, None)) for key in keys]
        for key, future in futures:
            try:
                future.result()
            except TENSORSTORE_ERRORS as error:
                raise StoreError(f"cannot be deleted: {error}", where=self.where(key)) from error

    def delete_all(self) -> None:
        """Delete everything, on a local disk the folder as well."""
        if self.spec["driver"] == "file":
            folder = Path(self.spec["path"])
            try:
                shutil.rmtree(folder)
            except FileNotFoundError:
                pass
            except OSError as error:
                raise StoreError(f"cannot be deleted: {error}", where=self.path) from error
        else:
            self.delete(self.list())

    def list(self) -> list[str]:
        """All keys, sorted."""
        try:
            return sorted(key.decode() for key in self._keys.list().result())
        except TENSORSTORE_ERRORS as error:
            raise StoreError(f"cannot be listed: {error}", where=self.path) from error

    def sweep_temporary(self) -> None:
        """Remove the temporary files that a killed process left on a local disk; they are no keys, so unseen above."""
        if self.spec["driver"] == "file":
            for leftover in Path(self.spec["path"]).rglob(f"*{_TEMPORARY}"):
                leftover.unlink(missing_ok=True)

    def _write_error(self, key: str, error: Exception) -> StoreError:
        if any(sign in str(error).lower() for sign in _FULL_DISK):
            return StoreError(
                f"the disk is full (or a file-size limit is reached): {error}",
                where=self.where(key),
                hint="free some space, then resume; all tiles committed before are safe",
            )
        return StoreError(f"cannot be written: {error}", where=self.where(key), hint="check that it is writable")

"""Bytes by key below one path: a local folder, ``s3://``, ``gs://`` or ``memory://``, all through TensorStore.

Every write is atomic and durable for its key (on a local disk: temporary file, fsync, rename). Nothing else in the
store opens a file, so that a store in a bucket and one on a disk are the same code.
"""

import functools
import os
import re
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import tensorstore as ts

from geopretext.errors import StoreError

# TensorStore has no exception class of its own: it raises one of these, by status code.
TENSORSTORE_ERRORS = (ValueError, RuntimeError, OSError, KeyError, NotImplementedError)

_RETRIES = {"max_retries": 7, "initial_delay": "500ms", "max_delay": "8s"}
"""for requests to a bucket that fail for no reason of ours: half a minute in all"""

_FULL_DISK = ("no space left", "file too large", "disk quota", "resource_exhausted", "not enough space")
_TEMPORARY = ".__lock"
_CACHE_BYTES = 256_000_000


@functools.cache
def shared_context() -> ts.Context:
    """One TensorStore context for the process; what lies at ``memory://`` lives in it."""
    return ts.Context({"s3_request_retries": _RETRIES, "gcs_request_retries": _RETRIES})


@functools.cache
def reading_context(driver: str) -> ts.Context:
    """The context to read arrays with.

    From a bucket, a cache saves the requests for the index of each shard. From a disk it costs more than it saves,
    since tiles read at random pass through it and are not asked for again (measured: 455 against 290 microseconds of
    CPU a tile).
    """
    limit = 0 if driver in ("file", "memory") else _CACHE_BYTES
    return ts.Context({"cache_pool": {"total_bytes_limit": limit}}, shared_context())


def is_url(path: str | Path) -> bool:
    """Whether a store's place is a URL and not a folder.

    Raises:
        StoreError: it is a URL that has been through ``pathlib``, which makes ``s3:/`` of ``s3://``.
    """
    text = str(path)
    if isinstance(path, Path) and re.match(r"(s3|gs|memory|file):/(?!/)", text):
        raise StoreError("a URL cannot be a pathlib.Path", where=text, hint="give it as a string: s3://bucket/...")
    return "://" in text


def location_spec(path: str | Path) -> dict[str, Any]:
    """TensorStore's description of a folder or URL.

    For S3 the usual variables of the environment are honoured: ``AWS_ENDPOINT_URL`` (any server that speaks S3),
    ``AWS_REGION``, ``AWS_ACCESS_KEY_ID`` and ``AWS_SECRET_ACCESS_KEY`` (or ``AWS_PROFILE``, or the role of the
    machine), and ``AWS_NO_SIGN_REQUEST=YES`` for public buckets.

    Raises:
        StoreError: it is no place that can be reached.
    """
    text = str(path)
    if not is_url(path):
        return {"driver": "file", "path": f"{Path(text).absolute()}/"}
    scheme, _, rest = text.partition("://")
    rest = f"{rest.rstrip('/')}/"
    if scheme == "file":
        return {"driver": "file", "path": rest}
    if scheme == "memory":
        return {"driver": "memory", "path": rest}
    if scheme not in ("s3", "gs"):
        raise StoreError(f"cannot reach {scheme}://", where=text, hint="give a folder, or an s3:// or gs:// URL")
    bucket, _, prefix = rest.partition("/")
    if not bucket:
        raise StoreError("names no bucket", where=text, hint=f"{scheme}://BUCKET/NAME.zarr")
    if scheme == "gs":
        return {"driver": "gcs", "bucket": bucket, "path": prefix}
    return {"driver": "s3", "bucket": bucket, "path": prefix, **_s3_settings(os.environ)}


def _s3_settings(environment: Mapping[str, str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    if endpoint := environment.get("AWS_ENDPOINT_URL_S3", environment.get("AWS_ENDPOINT_URL")):
        settings["endpoint"] = endpoint
    if region := environment.get("AWS_REGION", environment.get("AWS_DEFAULT_REGION")):
        settings["aws_region"] = region
    if environment.get("AWS_NO_SIGN_REQUEST", "").upper() in ("YES", "TRUE", "1"):
        settings["aws_credentials"] = {"type": "anonymous"}
    elif "AWS_ACCESS_KEY_ID" in environment:
        # The chain of all providers would complain on stderr about files in ~/.aws that nobody needs.
        settings["aws_credentials"] = {"type": "environment"}
    return settings


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
            raise _refused("cannot be opened", error, where=self.path) from error

    def where(self, key: str) -> str:
        """The full name of a key, for messages."""
        return f"{self.path.rstrip('/')}/{key}"

    def read(self, key: str) -> bytes | None:
        """The bytes at ``key``; None if there are none."""
        try:
            result = self._keys.read(key).result()
        except TENSORSTORE_ERRORS as error:
            raise _refused("cannot be read", error, where=self.where(key)) from error
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
                raise _refused("cannot be deleted", error, where=self.where(key)) from error

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
            raise _refused("cannot be listed", error, where=self.path) from error

    def refuse_missing_bucket(self) -> None:
        """Tell a bucket that does not exist from one that lacks a key, which reading alone does not.

        Raises:
            StoreError: there is no such bucket.
        """
        if self.spec["driver"] in ("s3", "gcs"):
            one_key = ts.KvStore.KeyRange("zarr.json", "zarr.json\0")
            try:
                self._keys.list(one_key).result()
            except TENSORSTORE_ERRORS as error:
                if "PERMISSION_DENIED" not in str(error):  # whoever may read need not be allowed to list
                    raise _refused("cannot be listed", error, where=self.path) from error

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
        return _refused("cannot be written", error, where=self.where(key), hint="check that it is writable")


_HINTS = {
    "NoSuchBucket": "there is no such bucket: make it first, or check its name, AWS_REGION and AWS_ENDPOINT_URL",
    "AWS_AUTH": "no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE;"
    " for a public bucket AWS_NO_SIGN_REQUEST=YES",
    "PERMISSION_DENIED": "check the credentials (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE) and what"
    " they allow; for a public bucket set AWS_NO_SIGN_REQUEST=YES",
    "UNAUTHENTICATED": "check the credentials",
    "retry attempts failed": "the storage does not answer or refuses again and again: check the network and, for S3,"
    " AWS_ENDPOINT_URL; then do the same again, which goes on where it stopped",
}


def _refused(what: str, error: Exception, *, where: str, hint: str = "") -> StoreError:
    """What the storage said, without the trail of its sources, and what to do about it."""
    text = str(error)
    hint = next((words for sign, words in _HINTS.items() if sign in text), hint)
    return StoreError(f"{what}: {text.partition(' [')[0]}", where=where, hint=hint)

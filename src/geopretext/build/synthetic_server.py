"""An archive of the synthetic Earth on the loopback: its files by HTTP with ranges, its items by a STAC API.

The STAC API is ``rustac serve``, where rustac is installed. Both are processes of their own, on 127.0.0.1 only.
"""

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.error import URLError
from urllib.request import urlopen

from geopretext.build.file_server import HOST, serve_files
from geopretext.build.synthetic_archive import recipe_text
from geopretext.build.synthetic_items import CATALOGUE, collections, item_collection, write_text
from geopretext.errors import InputError, StoreError

SERVED_RECIPE, _SERVED_ITEMS = "recipe-served.yaml", "items-served.json"
_PATIENCE = 60.0
"""seconds that a server may take to answer for the first time"""


@dataclass(frozen=True)
class Served:
    """Where an archive is served."""

    files: str
    """URL of its folder"""
    stac: str
    """URL of the STAC API; empty if rustac is not installed"""
    recipe: Path
    """that reads from there"""


@contextmanager
def serve_archive(
    root: str | Path, *, port: int = 0, log: str | Path | None = None, delay: float = 0.0
) -> Iterator[Served]:
    """Serve an archive that ``write_archive`` finished, and write its ``recipe-served.yaml``.

    Args:
        root: of the archive.
        port: of the STAC API, or of the files if rustac is not installed; 0: free ones.
        log: file that gets a line for each answer of the file server, see ``serve_files``.
        delay: seconds before each answer of the file server.

    Raises:
        InputError: the port is taken.
        StoreError: there is no archive, or the STAC API does not start.
    """
    root = Path(root)
    if not (root / CATALOGUE).exists():
        raise StoreError(
            "holds no finished archive", where=str(root), hint="write it first: geopretext serve-synthetic"
        )
    program = _rustac()
    with serve_files(root, port=0 if program else port, log=log, delay=delay) as files:
        if program is None:
            write_text(root / _SERVED_ITEMS, json.dumps(item_collection(root, files)))
            write_text(root / SERVED_RECIPE, recipe_text(base=files, items=f"{files}/{_SERVED_ITEMS}"))
            yield Served(files, "", root / SERVED_RECIPE)
            return
        with _serve_stac(program, root, files, port) as stac:
            write_text(root / SERVED_RECIPE, recipe_text(base=files, url=stac))
            yield Served(files, stac, root / SERVED_RECIPE)


@contextmanager
def _serve_stac(program: str, root: Path, files: str, port: int) -> Iterator[str]:
    """Run ``rustac serve`` on the items of an archive, their hrefs below the URL ``files``."""
    with TemporaryDirectory() as folder:
        inputs = [Path(folder, "items.json")]
        inputs[0].write_text(json.dumps(item_collection(root, files)), encoding="utf-8")
        for collection in collections(root):
            inputs.append(Path(folder, f"{collection['id']}.json"))
            inputs[-1].write_text(json.dumps(collection), encoding="utf-8")
        address = f"{HOST}:{_free(port)}"
        log = Path(folder, "log")
        with log.open("wb") as output:
            process = subprocess.Popen(  # noqa: S603 # our own arguments
                [program, "serve", "--addr", address, *map(str, inputs)], stdout=output, stderr=subprocess.STDOUT
            )
        try:
            _await_answer(f"http://{address}", process, log)
            yield f"http://{address}"
        finally:
            process.terminate()
            process.wait()


def _await_answer(url: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
    patience = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < patience:
        try:
            with urlopen(url, timeout=1):  # noqa: S310 # always http://127.0.0.1
                return
        except (URLError, OSError):
            time.sleep(0.05)
    lines = log.read_text(errors="replace").strip().splitlines()
    raise StoreError("the STAC API did not start", where="rustac serve", hint=lines[-1] if lines else "")


def _free(port: int) -> int:
    """The port, or a free one for 0."""
    with socket.socket() as found:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            found.bind((HOST, port))
        except OSError as error:
            raise InputError(f"port {port} of {HOST} cannot be had: {error.strerror}", hint="name another") from error
        return int(found.getsockname()[1])


def _rustac() -> str | None:
    """Path of the program, beside this Python or on the search path."""
    beside = Path(sys.executable).with_name("rustac")
    return str(beside) if beside.exists() else shutil.which("rustac")

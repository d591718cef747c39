"""Curves of a run while it trains: the rows of its ``metrics.csv`` that are new, its configuration, and its state."""

import csv
import io
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from geopretext.apps.viewer.handlers import RefusalError, ViewerHandler
from geopretext.apps.viewer.opened import Opened, RunEntry
from geopretext.apps.viewer.queries import whole_number

_CONFIG, _METRICS, _BUNDLE = "config.yaml", "metrics.csv", "bundle/config.json"
_PATIENCE = 5
"""intervals between rows that a run may be silent before it is called stopped"""
_LEAST_PATIENCE = 120.0
"""seconds, at least: a checkpoint or a busy machine delays a row"""


def routes(opened: Opened) -> list[Any]:
    """What this area answers."""
    given = {"opened": opened}
    return [
        (r"/api/runs/([a-z0-9-]+)/metrics", _Metrics, given),
        (r"/api/runs/([a-z0-9-]+)/config", _Config, given),
    ]


def read_metrics(folder: Path, *, version: str = "", offset: int = 0, now: float | None = None) -> dict[str, Any]:
    """The rows of a run's metrics, by column, from a place in the file on; and how the run is.

    A resumed run replaces the file (rows after its checkpoint come again); then all rows are given, with a new version.

    Args:
        folder: of the run.
        version: of the file that ``offset`` is a place in; empty: from the start.
        offset: bytes that the reader has.
        now: seconds since the epoch; None: the clock's.

    Returns:
        ``version``, ``offset`` (both for the next call), ``restart`` (True if these rows replace all earlier ones),
        ``columns`` (numbers by name, None for empty cells), ``state`` (``running``, ``finished`` or ``stopped``) and
        ``age`` (seconds since the file was written).

    Raises:
        RefusalError: 404, the file is gone.
    """
    path = folder / _METRICS
    try:
        with path.open("rb") as file:
            header = file.readline()
            content = file.read()
            status = path.stat()
    except OSError as error:
        raise RefusalError(404, f"cannot be read: {error.strerror}", where=str(path)) from error
    whole = content[: content.rfind(b"\n") + 1]  # the last row may be half-written
    here = f"{status.st_ino}-{len(header)}"
    start = offset - len(header) if version == here and len(header) <= offset <= len(header) + len(whole) else 0
    names = next(csv.reader(io.StringIO(header.decode("utf-8", "replace"))), [])
    rows = _rows(whole[start:], len(names))
    age = max(0.0, (time.time() if now is None else now) - status.st_mtime)
    return {
        "version": here,
        "offset": len(header) + len(whole),
        "restart": start == 0,
        "columns": {name: [row[place] for row in rows] for place, name in enumerate(names)},
        "state": run_state(folder, age, _interval(whole, names)),
        "age": age,
    }


def _rows(content: bytes, width: int) -> list[list[float | None]]:
    """Rows of numbers; a row of another width, which a crash cut short, is left out."""
    reader = csv.reader(io.StringIO(content.decode("utf-8", "replace")))
    return [[_number(text) for text in row] for row in reader if len(row) == width]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


def _interval(whole: bytes, names: list[str]) -> float:
    """Seconds between the last two rows; 0 if that cannot be told."""
    if "seconds" not in names:
        return 0.0
    last = _rows(b"\n".join(whole.splitlines()[-2:]), len(names))
    times = [row[names.index("seconds")] for row in last]
    known = [moment for moment in times if moment is not None]
    return max(0.0, known[-1] - known[0]) if len(known) > 1 else 0.0


def run_state(folder: Path, age: float, interval: float) -> str:
    """``finished``, ``running`` or ``stopped``, by what lies in a run's folder.

    Args:
        folder: of the run.
        age: seconds since its last row.
        interval: seconds between its rows.
    """
    bundle = folder / _BUNDLE
    metrics = folder / _METRICS
    if bundle.exists() and bundle.stat().st_mtime >= metrics.stat().st_mtime:
        return "finished"
    return "running" if age < max(_LEAST_PATIENCE, _PATIENCE * interval) else "stopped"


def read_config(folder: Path) -> dict[str, Any]:
    """A run's configuration: its text, and its fields by dotted name.

    Raises:
        RefusalError: 404, there is none.
    """
    path = folder / _CONFIG
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise RefusalError(404, f"cannot be read: {error.strerror}", where=str(path)) from error
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError:
        plain = None
    return {"text": text, "fields": dict(_flat(plain)) if isinstance(plain, Mapping) else {}}


def _flat(plain: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    fields: list[tuple[str, str]] = []
    for name, value in plain.items():
        if isinstance(value, Mapping):
            fields += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            fields.append((f"{prefix}{name}", ", ".join(map(str, value))))
        else:
            fields.append((f"{prefix}{name}", "none" if value is None else str(value)))
    return fields


class _RunHandler(ViewerHandler):
    def run_entry(self, run: str) -> RunEntry:
        """A run that is open."""
        return self.entry(self.opened.runs, run, "run")


class _Metrics(_RunHandler):
    async def get(self, run: str) -> None:
        folder = self.run_entry(run).folder
        version = self.get_query_argument("version", "")
        offset = whole_number("offset", self.get_query_argument("offset", ""))
        self.send_json(await self.compute(lambda: read_metrics(folder, version=version, offset=offset)))


class _Config(_RunHandler):
    async def get(self, run: str) -> None:
        folder = self.run_entry(run).folder
        self.send_json(await self.compute(lambda: read_config(folder)))

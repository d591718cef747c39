"""What a suite's folder keeps from run to run: its settings, results, and errors; no torch."""

import json
import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from geopretext.evaluate.cells import Cell
from geopretext.evaluate.suite_settings import SUITE_FILE, Opened, SuiteSettings, read_suite

try:
    import fcntl
except ImportError:  # not on Windows: there, two runs at once on one folder may lose entries of its settings
    fcntl = None  # type: ignore[assignment]

CELLS = "cells"
STALE = "stale"
_ERROR = ".error.json"


def held_settings(out: Path, settings: SuiteSettings) -> SuiteSettings:
    """The grid of a folder with a new one in it.

    Raises:
        RecipeError: the folder holds cells of other settings.
    """
    if not (out / SUITE_FILE).exists():
        return settings
    return settings.joined(read_suite(out / SUITE_FILE), where=str(out))


def store_settings(out: Path, settings: SuiteSettings, opened: Iterable[Opened]) -> None:
    """Add a grid to the folder's, but for tasks and bundles that could not be opened and have no result.

    A mistyped one would otherwise fail whenever the folder's own settings are run again.

    Raises:
        RecipeError: the folder holds cells of other settings.
    """
    with _alone(out):
        held = held_settings(out, settings)
        there = [(one.task, one.bundle) for one in opened]
        there += [(plain["cell"]["task"], plain["cell"]["bundle"]) for _, plain in _results(out / CELLS)]
        tasks, bundles = ({pair[place] for pair in there} for place in (0, 1))
        tasks |= set(held.tasks) - set(settings.tasks)
        bundles |= set(held.bundles) - set(settings.bundles)
        kept_tasks = tuple(task for task in held.tasks if task in tasks)
        kept_bundles = tuple(bundle for bundle in held.bundles if bundle in bundles)
        if kept_tasks and kept_bundles:
            names = {bundle: name for bundle, name in held.names.items() if bundle in bundles}
            replace(held, tasks=kept_tasks, bundles=kept_bundles, names=names).write(out / SUITE_FILE)


def forget_errors(out: Path, settings: SuiteSettings, held: SuiteSettings, planned: Collection[Cell]) -> None:
    """Delete errors of cells that are tried again now, or that are in no grid any more."""
    for path in (out / CELLS).glob(f"*{_ERROR}"):
        plain = _read(path)
        cell = None if plain is None else Cell(**plain["cell"])
        if cell is None or cell in planned or _within(cell, settings) or not _within(cell, held):
            path.unlink(missing_ok=True)


def set_stale_aside(out: Path, opened: Iterable[Opened], planned: Collection[Cell]) -> int:
    """Move results of labels or splits that a task had before into a folder beside: they cannot stand with new ones.

    Returns:
        how many, but for those that are computed again.
    """
    labels = {one.task: one.labels for one in opened}
    keys = {cell.key for cell in planned}
    count = 0
    for path, plain in _results(out / CELLS):
        written, now = plain["record"].get("labels"), labels.get(plain["cell"]["task"])
        if path.stem in keys or None in (written, now) or written == now:
            continue
        count += 1
        (out / CELLS / STALE).mkdir(exist_ok=True)
        for file in (path, path.with_suffix(".npz"), path.with_suffix(".examples.npz")):
            with suppress(FileNotFoundError):
                file.replace(path.parent / STALE / file.name)
    return count


def _within(cell: Cell, grid: SuiteSettings) -> bool:
    return (
        cell.task in grid.tasks
        and cell.bundle in grid.bundles
        and cell.representation in grid.representations
        and cell.head in grid.heads
        and cell.amount in grid.amounts
        and cell.seed in grid.seeds
    )


def _results(cells: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """JSON files of results; damaged ones are named where they are needed."""
    for path in sorted(cells.glob("*.json")):
        plain = None if path.name.endswith(_ERROR) else _read(path)
        if plain is not None:
            yield path, plain


def _read(path: Path) -> dict[str, Any] | None:
    """None if it is damaged or gone."""
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
        Cell(**plain["cell"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return dict(plain)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # some network disks know no locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)

"""What a build will take before it runs: a few of its tasks are done for a trial, measured, and multiplied.

Whole tasks are done, not single places, since places of a task share searches, headers and blocks of files. Each comes
after the task before it, which is not measured: a worker goes on with files that are open from there.
"""

import tempfile
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.build.crew import Maker
from geopretext.build.order import spatial_order
from geopretext.build.parts import Staging
from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe
from geopretext.build.tiles import Made
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.writer import StoreWriter
from geopretext.errors import InputError, Reason, SourceError

Progress = Callable[[int, int], None]
"""Called with the trial tasks done, and all of them."""


@dataclass(frozen=True)
class BuildPlan:
    """What a build will take, as far as trial tasks tell."""

    recipe: str
    """its name"""
    places: int
    tasks: int
    """in which the build makes them"""
    tried_tasks: int
    tried_places: int
    tiles: int
    """that will come of the places"""
    failed: Mapping[str, int]
    """places that will not become tiles, by reason"""
    requests: int
    bytes_read: int
    """over the network"""
    bytes_read_range: tuple[int, int]
    """if all tasks were as the trial task that read least, or most"""
    store_bytes: int
    task_seconds: float
    """of one task in one process: searching, reading, aligning"""
    write_seconds: float
    """of putting all tiles into the store, which one process does while others read"""
    finish_seconds: float
    """of the statistics at the end"""

    def hours(self, workers: int) -> float:
        """From start to end with so many processes, if they do not slow each other down."""
        reading = self.tasks * self.task_seconds
        return (max(self.write_seconds, (reading + self.write_seconds) / workers) + self.finish_seconds) / 3600

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return asdict(self)


@dataclass(frozen=True)
class _Trial:
    places: int
    made: Made
    seconds: float


def plan_build(
    recipe: BuildRecipe,
    maker: Maker,
    places: Places,
    *,
    group_size: int,
    trials: int = 2,
    progress: Progress | None = None,
) -> BuildPlan:
    """Do some tasks of a build for a trial, in this process, and multiply.

    Args:
        recipe: how tiles are made.
        maker: what makes them by that recipe.
        places: all of the build.
        group_size: places of one task.
        trials: tasks to do, spread over all of them.
        progress: called after each.

    Raises:
        InputError: there are no places, or a number is not positive.
        SourceError: no place of the trial became a tile, so there is nothing to multiply.
    """
    for name, value in (("places", len(places)), ("group_size", group_size), ("trials", trials)):
        if value < 1:
            raise InputError(f"{name} is {value}, wanted at least 1")
    ordered = places.take(spatial_order(places))
    tasks = -(-len(places) // group_size)
    full = max(1, len(places) // group_size)
    chosen = np.unique(((np.arange(min(trials, full)) + 0.5) / min(trials, full) * full).astype(np.int64))

    def group(number: int) -> Places:
        return ordered.take(slice(number * group_size, (number + 1) * group_size))

    with tempfile.TemporaryDirectory(prefix="geopretext-plan-") as folder:
        done: list[_Trial] = []
        for number in chosen:
            if number and number - 1 not in chosen:
                maker.make(group(number - 1))
            done.append(_try(maker, group(number), folder))
            if progress:
                progress(len(done), len(chosen))
        outcomes = [outcome for trial in done for outcome in trial.made.outcomes]
        if not any(trial.made.batch for trial in done):
            raise _nothing(outcomes[0].reason, outcomes[0].detail)
        return _multiply(recipe, maker, len(places), tasks, done, Path(folder))


def _try(maker: Maker, places: Places, folder: str) -> _Trial:
    start = time.perf_counter()
    made = maker.make(places)
    Staging(f"{folder}/parts").put(1, made)
    return _Trial(len(places), made, time.perf_counter() - start)


def _multiply(
    recipe: BuildRecipe, maker: Maker, places: int, tasks: int, done: list[_Trial], folder: Path
) -> BuildPlan:
    batches = [trial.made.batch for trial in done if trial.made.batch is not None]
    start = time.perf_counter()
    with StoreWriter.create(
        folder / "trial.zarr",
        maker.modalities.values(),
        tile_size=recipe.tile_size,
        recipe=dict(recipe.plain),
        dates=recipe.dates,
    ) as writer:
        for batch in batches:
            writer.append(batch)
    written = time.perf_counter()
    compute_statistics(Store.open(folder / "trial.zarr"))
    finished = time.perf_counter()
    tried = sum(trial.places for trial in done)
    tiles = sum(map(len, batches))
    reasons = Counter(str(o.reason) for trial in done for o in trial.made.outcomes if o.reason is not None)
    share = places / tried
    size = sum(file.stat().st_size for file in (folder / "trial.zarr").rglob("*") if file.is_file())
    read = [trial.made.counts.get("bytes", 0) / trial.places for trial in done]
    return BuildPlan(
        recipe=recipe.name,
        places=places,
        tasks=tasks,
        tried_tasks=len(done),
        tried_places=tried,
        tiles=round(tiles * share),
        failed={reason: round(count * share) for reason, count in reasons.most_common()},
        requests=round(share * sum(trial.made.counts.get("requests", 0) for trial in done)),
        bytes_read=round(share * sum(trial.made.counts.get("bytes", 0) for trial in done)),
        bytes_read_range=(round(min(read) * places), round(max(read) * places)),
        store_bytes=round(share * size),
        task_seconds=sum(trial.seconds for trial in done) * share / tasks,
        write_seconds=(written - start) * share,
        finish_seconds=(finished - written) * share,
    )


def _nothing(reason: Reason | None, detail: str) -> SourceError:
    return SourceError(
        f"no place of the trial became a tile; the first: {detail}",
        reason=reason or Reason.NO_DATA,
        hint="`geopretext build --limit 10` says more; loosen the recipe, or look at the places",
    )

"""A suite: bundles and baselines on many tasks, with several heads, amounts of labels and seeds, in one folder.

::

    OUT/suite.yaml           settings, complete
    OUT/cells/KEY.json .npz  results, one cell each, see ``evaluate.cells``
    OUT/cells/stale/         results of labels or splits that a task had before
    OUT/cells/KEY.error.json why a cell has no result
    OUT/features/            features, see ``evaluate.feature_cache``
    OUT/scores.parquet       one row for each method, task, head, amount and metric, see ``evaluate.suite_table``
    OUT/report.html          all of it, to be looked at

The same settings on the same folder go on where the last run ended; a larger grid adds its cells. A result is taken
over only if everything that it follows from is as it was: images, labels, weights, preset.
"""

import json
import shutil
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TypeAlias

from geopretext.data.local_file import remove_leftovers, replace_file
from geopretext.errors import CorruptError, GeopretextError
from geopretext.evaluate.cells import Cell, Failure, read_result
from geopretext.evaluate.representations import PRETRAINED
from geopretext.evaluate.subsets import parse_amount
from geopretext.evaluate.suite_crew import Crew, Ended, cluster_crew, local_crew
from geopretext.evaluate.suite_keeping import (
    CELLS,
    STALE,
    forget_errors,
    held_settings,
    set_stale_aside,
    store_settings,
)
from geopretext.evaluate.suite_report import write_suite_report
from geopretext.evaluate.suite_settings import (
    FINETUNE,
    SUITE_FILE,
    Opened,
    SuiteSettings,
    is_seeded,
    lost_cells,
    plan_cells,
)
from geopretext.evaluate.suite_table import write_scores
from geopretext.evaluate.suite_work import (
    ComputeCell,
    ComputeFeatures,
    OpenTask,
    Place,
    Work,
    basis,
    read_presets,
)

FEATURES = "features"
_TRIES = 2  # of work whose process died


@dataclass(frozen=True)
class SuiteProgress:
    """How far a suite is."""

    done: int
    """cells that have a result"""
    cells: int
    """in all; 0 as long as the tasks are being opened"""
    reused: int
    """of those done, how many had one before"""
    failed: int
    doing: str
    """what was begun or ended last"""


Progress: TypeAlias = Callable[[SuiteProgress], None]


@dataclass(frozen=True)
class SuiteOutcome:
    """What a run of a suite came to."""

    folder: Path
    cells: int
    """in the grid"""
    computed: int
    reused: int
    """cells whose results were there already"""
    failures: tuple[Failure, ...]
    left_out: Mapping[str, int]
    """cells for which the grid has no sense, by reason"""
    scores: Path | None
    """the table; None if no cell has a result"""
    report: Path | None


def run_suite(
    settings: SuiteSettings,
    out: str | Path,
    *,
    workers: int = 1,
    scheduler: str | None = None,
    cache: str | Path | None = None,
    keep_features: bool = True,
    strict: bool = False,
    device: str = "cpu",
    progress: Progress | None = None,
) -> SuiteOutcome:
    """Compute what is missing of a grid, then its table and report.

    Args:
        settings: the grid.
        out: folder of the suite.
        workers: processes that compute at a time; 1: this one.
        scheduler: address of a Dask scheduler whose workers compute instead. They must see ``out``, tasks and bundles
            under the same paths.
        cache: folder of features that several suites share; by default one within ``out``.
        keep_features: False: neither use features that were computed before, nor keep them.
        strict: inputs that are implausible for a bundle fail its cells.
        device: that encodes and trains.
        progress: told how far it is.

    Raises:
        RecipeError: a preset or an amount does not exist, or the folder holds cells of other settings.
        ClusterError: the cluster cannot be used.
    """
    out = Path(out).absolute()
    settings = _checked(settings)
    held = held_settings(out, settings)
    (out / CELLS).mkdir(parents=True, exist_ok=True)
    remove_leftovers(out / CELLS)
    run = uuid.uuid4().hex
    features = Path(cache or out / FEATURES).absolute() if keep_features else out / f".{FEATURES}-{run}"
    place = Place(run, out / CELLS, features, settings.pooling, settings.split_seed, strict, device)
    crew: AbstractContextManager[Crew]
    crew = local_crew(workers) if scheduler is None else cluster_crew(scheduler, out)
    try:
        with crew as members:
            suite = _Run(settings, held, place, members, progress)
            suite.open_tasks()
            store_settings(out, settings, suite.opened)
            suite.plan(out)
            suite.compute()
    finally:
        if not keep_features:
            shutil.rmtree(features, ignore_errors=True)
    return _finish(suite, out)


def _checked(settings: SuiteSettings) -> SuiteSettings:
    """With amounts as they are written everywhere; what would fail every cell is refused."""
    read_presets(settings.heads)
    return replace(settings, amounts=tuple(str(parse_amount(amount)) for amount in settings.amounts))


def _finish(suite: "_Run", out: Path) -> SuiteOutcome:
    """Table and report, if any cell has a result."""
    scores = write_scores(out) if (out / SUITE_FILE).exists() else None
    report = write_suite_report(out) if scores is not None else None
    return SuiteOutcome(
        folder=out,
        cells=suite.cells,
        computed=suite.done - suite.reused,
        reused=suite.reused,
        failures=tuple(suite.failures),
        left_out=suite.left_out,
        scores=scores,
        report=report,
    )


class _Run:
    """The work of one run, from the grid to the last cell."""

    def __init__(
        self, settings: SuiteSettings, held: SuiteSettings, place: Place, crew: Crew, progress: Progress | None
    ) -> None:
        self._settings, self._held, self._place, self._crew, self._progress = settings, held, place, crew, progress
        self._presets = read_presets(settings.heads)
        self.opened: list[Opened] = []
        self._planned: dict[Cell, Opened] = {}
        self._unopened: list[tuple[str, str, Ended]] = []
        self._waiting: dict[tuple[str, str, str, int], list[ComputeCell]] = {}
        self.cells = self.done = self.reused = 0
        self.failures: list[Failure] = []
        self.left_out: dict[str, int] = {}

    def open_tasks(self) -> None:
        """Open every task behind the door of every bundle, and of earlier ones that may have the same baselines."""
        bundles = self._settings.bundles
        if set(self._settings.representations) - {PRETRAINED}:
            bundles = self._held.bundles
        pairs = [(task, bundle) for task in self._settings.tasks for bundle in bundles]
        self._work_off([OpenTask(self._place, *pair) for pair in pairs])
        # in the order of the grid, not in the order in which processes answered: the first bundle keeps the baselines
        self.opened.sort(key=lambda opened: pairs.index((opened.task, opened.bundle)))
        self._unopened.sort(key=lambda entry: pairs.index(entry[:2]))

    def plan(self, out: Path) -> None:
        """Lay out the cells, and put aside what the folder has of another state of the tasks."""
        self._planned, self.left_out = plan_cells(self._settings, self.opened, self._held)
        forget_errors(out, self._settings, self._held, self._planned)
        stale = set_stale_aside(out, self.opened, self._planned)
        if stale:
            self.left_out[f"of labels or splits that a task had before, moved to {CELLS}/{STALE}"] = stale
        known = {opened.task for opened in self.opened if opened.bundle in self._settings.bundles}
        lost: dict[Cell, Ended] = {}
        for task, bundle, ended in self._unopened:
            if bundle not in self._settings.bundles:
                continue
            cells = lost_cells(self._settings, self._held, task, bundle, baselines=task not in known)
            lost |= dict.fromkeys(cells, ended)
            known.add(task)
        self.cells = len(self._planned) + len(lost)
        for cell, ended in lost.items():
            self._fail(cell, ended)

    def compute(self) -> None:
        """Compute the cells that have no result yet."""
        work: list[Work] = []
        for cell, opened in self._planned.items():
            preset = self._presets.get(cell.head)
            one = ComputeCell(self._place, opened, cell, basis(opened, cell, preset), preset)
            if self._has_result(one):
                self.done += 1
                self.reused += 1
                continue
            if cell.head.startswith(FINETUNE):
                work.append(one)
                continue
            features = ComputeFeatures(self._place, opened, cell.representation, self._feature_seed(cell))
            if _shared(features) not in self._waiting:
                # before the training on images, which takes longest and depends on nothing
                work.insert(len(self._waiting), features)
            self._waiting.setdefault(_shared(features), []).append(one)
        self._tell("cells that are there already" if self.reused else "")
        self._work_off(work)

    def _feature_seed(self, cell: Cell) -> int:
        return cell.seed if is_seeded(cell.representation) else self._held.seeds[0]

    def _has_result(self, work: ComputeCell) -> bool:
        key = work.cell.key
        if not (self._place.cells / f"{key}.json").exists():
            return False
        try:
            return read_result(self._place.cells, key).record.get("basis") == work.basis
        except CorruptError:
            return False

    def _work_off(self, work: Iterable[Work]) -> None:
        """Have work done, and what follows from it first."""
        waiting, running, tries = deque((one, 1) for one in work), 0, list[tuple[Work, int]]()
        while waiting or running:
            while waiting and self._crew.has_room:
                one, count = waiting.popleft()
                tries.append((one, count))
                self._crew.submit(one)
                running += 1
            for ended in self._crew.ended():
                running -= 1
                place = next(number for number, (one, _) in enumerate(tries) if one is ended.work)
                one, count = tries.pop(place)
                if ended.died and count < _TRIES:
                    waiting.append((one, count + 1))
                else:
                    waiting.extendleft((follower, 1) for follower in self._settle(ended))

    def _settle(self, ended: Ended) -> Iterator[Work]:
        """Note what became of a piece of work; what can be done now."""
        work, failed = ended.work, ended.died or ended.error is not None
        match work:
            case OpenTask():
                if failed:
                    self._unopened.append((work.task, work.bundle, ended))
                else:
                    assert isinstance(ended.answer, Opened)
                    self.opened.append(ended.answer)
            case ComputeFeatures():
                followers = self._waiting.pop(_shared(work))
                if isinstance(ended.answer, str):
                    yield from (replace(one, features=ended.answer) for one in reversed(followers))
                for follower in followers if failed else ():
                    self._fail(follower.cell, ended)
            case ComputeCell():
                if failed:
                    self._fail(work.cell, ended)
                else:
                    self.done += 1
        self._tell(str(work))

    def _fail(self, cell: Cell, ended: Ended) -> None:
        failure = _failure(cell, ended)
        self.failures.append(failure)
        plain = json.dumps(asdict(failure), indent=2) + "\n"
        replace_file(_error_file(self._place.cells, cell), plain.encode())

    def _tell(self, doing: str) -> None:
        if self._progress is not None:
            self._progress(SuiteProgress(self.done, self.cells, self.reused, len(self.failures), doing))


def _shared(features: ComputeFeatures) -> tuple[str, str, str, int]:
    opened = features.opened
    return opened.task, opened.bundle, features.representation, features.seed


def _error_file(folder: Path, cell: Cell) -> Path:
    return folder / f"{cell.key}.error.json"


def _failure(cell: Cell, ended: Ended) -> Failure:
    if isinstance(ended.error, GeopretextError):
        return Failure(cell, ended.error.what, ended.error.where, ended.error.hint)
    if ended.error is not None:
        return Failure(cell, f"{type(ended.error).__name__}: {ended.error}", str(ended.work), "")
    return Failure(
        cell,
        f"the process that computed it died, {_TRIES} times",
        str(ended.work),
        "often for want of memory: use fewer --workers, or a smaller batch; then run the suite again",
    )

"""Progress of a suite on stderr: a bar with failures and time left on a terminal, lines in a log."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from time import monotonic

from geopretext.apps.progress import say
from geopretext.evaluate.suite import Progress, SuiteProgress

_LOG_SECONDS = 10.0
_WIDEST = 48


@contextmanager
def suite_progress() -> Iterator[Progress]:
    """What a suite calls with its progress, until the block is left."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("cells"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[failed]}", style="yellow"),
        TextColumn("{task.fields[doing]}", style="dim", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True), speed_estimate_period=600) as bar:
        task = bar.add_task("cells", total=None, failed="", doing="")

        def show(progress: SuiteProgress) -> None:
            doing = progress.doing if len(progress.doing) <= _WIDEST else f"...{progress.doing[3 - _WIDEST :]}"
            bar.update(
                task,
                total=progress.cells or None,
                completed=progress.done + progress.failed,
                failed=_failed(progress),
                doing=doing,
            )

        yield show


class _Lines:
    """A line at the start, at the end, and every ten seconds between."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._last = float("-inf")

    def __call__(self, progress: SuiteProgress) -> None:
        """Say how far it is, if it is time to."""
        now, settled = monotonic(), progress.done + progress.failed
        if (settled < progress.cells or not progress.cells) and now - self._last < _LOG_SECONDS:
            return
        self._last = now
        parts = [f"cells: {settled:,} of {progress.cells:,}" if progress.cells else ""]
        made = settled - progress.reused
        if made > 0 and settled < progress.cells:
            parts.append(f"{_duration((now - self._start) * (progress.cells - settled) / made)} left")
        parts += [_failed(progress), progress.doing]
        say(", ".join(part for part in parts if part))


def _failed(progress: SuiteProgress) -> str:
    return f"{progress.failed:,} failed" if progress.failed else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

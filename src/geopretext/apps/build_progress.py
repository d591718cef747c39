"""Progress of a build on stderr: a bar with rate, failures and time left on a terminal, lines in a log."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from geopretext.apps.progress import say
from geopretext.build.pipeline import BuildProgress, Progress

_LOG_SECONDS = 10.0
_FINISHING = "split and statistics"


@contextmanager
def build_progress() -> Iterator[Progress]:
    """What a build calls with its progress, until the block is left."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("places"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(elapsed_when_finished=True),
        TextColumn("{task.fields[failures]}", style="yellow"),
    )
    with Bar(*columns, console=Console(stderr=True), speed_estimate_period=120) as bar:
        task = bar.add_task("places", total=None, rate="", failures="")
        rate = _Rate()

        def show(progress: BuildProgress) -> None:
            bar.update(
                task,
                total=progress.places,
                completed=_settled(progress),
                rate=_FINISHING if progress.is_finishing else rate.text(progress),
                failures=failures(progress.failed),
            )

        yield show


class _Lines:
    """A line at the start, at the end, and every ten seconds between."""

    def __init__(self) -> None:
        self._rate = _Rate()
        self._last = float("-inf")
        self._told = -1

    def __call__(self, progress: BuildProgress) -> None:
        """Say how far it is, if it is time to."""
        now, settled = monotonic(), _settled(progress)
        if progress.is_finishing:
            say(_FINISHING)
        if settled == self._told or (settled < progress.places and now - self._last < _LOG_SECONDS):
            return
        self._last, self._told = now, settled
        parts = [f"places: {settled:,} of {progress.places:,}", self._rate.text(progress), self._rate.left(progress)]
        say(", ".join(part for part in (*parts, failures(progress.failed)) if part))


class _Rate:
    """How fast a build is, since this was made."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._done: int | None = None

    def text(self, progress: BuildProgress) -> str:
        """Tiles a second; empty as long as none was made."""
        self._done = progress.done if self._done is None else self._done
        made, seconds = progress.done - self._done, monotonic() - self._start
        return f"{made / seconds:,.1f} tiles/s" if made > 0 and seconds > 0 else ""

    def left(self, progress: BuildProgress) -> str:
        """The time left; empty if nothing is known of it."""
        waiting = progress.places - _settled(progress)
        if not waiting or not progress.made:
            return ""
        return f"{_duration(waiting * (monotonic() - self._start) / progress.made)} left"


def failures(failed: Mapping[str, int]) -> str:
    """``12 failed (7 no image, 5 timeout)``; empty if none has."""
    if not failed:
        return ""
    return f"{sum(failed.values()):,} failed ({', '.join(f'{count:,} {reason}' for reason, count in failed.items())})"


def _settled(progress: BuildProgress) -> int:
    return progress.done + sum(progress.failed.values())


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

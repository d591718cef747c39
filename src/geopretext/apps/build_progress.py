"""Progress of a build on stderr: a bar with rate, failures and time left on a terminal, lines in a log."""

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from time import monotonic

from geopretext.apps.progress import say
from geopretext.build.pipeline import BuildProgress, Progress

_LOG_SECONDS = 10.0


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
        start = monotonic()

        def show(progress: BuildProgress) -> None:
            settled = progress.done + sum(progress.failed.values())
            bar.update(
                task,
                total=progress.places,
                completed=settled,
                rate=_rate(progress.made, monotonic() - start),
                failures=failures(progress.failed),
            )

        yield show


class _Lines:
    """A line at the start, at the end, and every ten seconds between."""

    def __init__(self) -> None:
        self._start = monotonic()
        self._last = float("-inf")
        self._told = -1

    def __call__(self, progress: BuildProgress) -> None:
        """Say how far it is, if it is time to."""
        now = monotonic()
        settled = progress.done + sum(progress.failed.values())
        if settled == self._told or (settled < progress.places and now - self._last < _LOG_SECONDS):
            return
        self._last, self._told = now, settled
        passed = now - self._start
        parts = [f"places: {settled:,} of {progress.places:,}"]
        if progress.made:
            left = (progress.places - settled) * passed / progress.made
            parts.append(_rate(progress.made, passed))
            parts += [f"{_duration(left)} left"] if settled < progress.places else []
        if progress.failed:
            parts.append(failures(progress.failed))
        say(", ".join(parts))


def failures(failed: Mapping[str, int]) -> str:
    """``12 failed (7 no image, 5 timeout)``; empty if none has."""
    if not failed:
        return ""
    return f"{sum(failed.values()):,} failed ({', '.join(f'{count:,} {reason}' for reason, count in failed.items())})"


def _rate(made: int, seconds: float) -> str:
    return f"{made / seconds:,.1f} tiles/s" if made and seconds > 0 else ""


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"

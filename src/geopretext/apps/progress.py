"""Progress on stderr: one line that rewrites itself on a terminal, a line every ten seconds in a log."""

import sys
from time import monotonic

_TERMINAL_SECONDS, _LOG_SECONDS = 0.1, 10.0


class ProgressLine:
    """Call it with (done, in all); it writes now and then, and always at the end.

    Args:
        what: is being done, as ``tiles written``.
    """

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = monotonic()
        self._last = float("-inf")

    def __call__(self, done: int, total: int) -> None:
        """Say how far it is."""
        now = monotonic()
        terminal = sys.stderr.isatty()
        if done < total and now - self._last < (_TERMINAL_SECONDS if terminal else _LOG_SECONDS):
            return
        self._last = now
        text = f"{self._what}: {done:,} of {total:,}"
        if done and now - self._start > _TERMINAL_SECONDS:
            rate = done / (now - self._start)
            left = f", {(total - done) / rate:.0f} s left" if done < total else ""
            text += f" ({rate:,.0f}/s{left})"
        if terminal:
            print(f"\r\x1b[K{text}", end="\n" if done >= total else "", file=sys.stderr, flush=True)
        else:
            say(text)


def say(text: str) -> None:
    """One line of log."""
    print(text, file=sys.stderr, flush=True)

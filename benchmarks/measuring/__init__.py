"""What the benchmarks share: repeats that take turns, medians, ratios within a round, and a line about the machine.

These machines are noisy. So variants are timed in turn, round after round; a ratio is taken within each round, where
both saw the same noise, and the median of the ratios is what counts.
"""

import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Timing:
    """Seconds that one variant took in each round."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The middle round."""
        return statistics.median(self.seconds)

    def rate(self, amount: float) -> float:
        """Amount a second in the middle round."""
        return amount / self.median

    def spread(self, amount: float) -> tuple[float, float]:
        """Amount a second in the slowest and in the fastest round."""
        return amount / max(self.seconds), amount / min(self.seconds)

    def times_faster_than(self, other: "Timing", amounts: tuple[float, float] = (1.0, 1.0)) -> float:
        """Median over rounds of this rate over the other's; ``amounts`` are those of (this, other) in a round."""
        mine, others = amounts
        ratios = [(mine / a) / (others / b) for a, b in zip(self.seconds, other.seconds, strict=True)]
        return statistics.median(ratios)


def take_turns(
    variants: Mapping[str, Callable[[], object]], *, rounds: int, settle: Callable[[], None] | None = None
) -> dict[str, Timing]:
    """Time each variant once a round, after one round that is not counted.

    Args:
        variants: what to time, by name.
        rounds: that are counted, at least 1.
        settle: waits until what was started has ended, as a GPU needs.
    """
    seconds: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(rounds + 1):
        for name, run in variants.items():
            if settle is not None:
                settle()
            began = time.perf_counter()
            run()
            if settle is not None:
                settle()
            seconds[name].append(time.perf_counter() - began)
    return {name: Timing(tuple(each[1:])) for name, each in seconds.items()}


def machine() -> str:
    """Processor, cores and load, in one line."""
    load = ", ".join(f"{number:.2f}" for number in os.getloadavg())
    return f"{_processor()}, {os.cpu_count()} cores, load {load}, Python {platform.python_version()}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def resident_bytes() -> int | None:
    """Memory that this process holds now; None where the system does not tell."""
    return _status("VmRSS")


def peak_bytes() -> int | None:
    """The most that it has held since it began; None where the system does not tell.

    ``getrusage`` would not do: a process inherits its parent's peak there.
    """
    return _status("VmHWM")


def _status(field: str) -> int | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    for line in status.read_text(encoding="utf-8").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    return None


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Rows under a header as a Markdown table, aligned: first column to the left, others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(header))]
    rule = ["-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:])]
    lines.insert(1, rule)
    return "\n".join(
        "| "
        + " | ".join(
            text.ljust(width) if column == 0 else text.rjust(width)
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        + " |"
        for line in lines
    )


def verdict(name: str, reached: float, wanted: float, unit: str) -> str:
    """One line that says whether a target is met."""
    return f"{'met    ' if reached >= wanted else 'NOT met'}  {name}: {reached:.3g} {unit}, wanted {wanted:g}"

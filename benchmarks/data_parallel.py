"""What it costs to train in two processes instead of one, by ``geopretext pretrain`` itself.

Scaled work: a process has one thread and the same number of tiles a step, whether it is alone or one of two, so that
two processes would do twice the work in the same time if nothing were lost. The cost is 1 - rate of two / (2 x rate of
one). Part of it is the machine's: two processes share caches, memory bandwidth and perhaps a core. ``--apart`` measures
that part by two separate runs at the same time, which know nothing of each other; the rest is gloo's averaging of
gradients and losses, and waiting for the slower of the two.

Each run starts anew; the first steps do not count. Variants take turns, ratios are within a round, medians over rounds.

Caveats: gloo on one machine has no network to wait for, and two cores have to serve two processes and everything else
that the machine does. One GPU a process and NCCL are another matter.

Run: python benchmarks/data_parallel.py [--rounds 3] [--steps 10] [--tiles-a-process 32] [--precision fp32]
[--apart]
"""

import argparse
import csv
import json
import os
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from geopretext.data.synthetic import write_synthetic_store
from measuring import machine, table, verdict

KEPT = 0.9
_UNCOUNTED = 4


@dataclass(frozen=True)
class Options:
    """What is measured."""

    recipe: str = "mp-mae-atto-56-8"
    """a name or a file"""
    rounds: int = 3
    """in which every variant takes its turn"""
    steps: int = 10
    """of a run; the first four do not count"""
    tiles_a_process: int = 32
    """in each step"""
    precision: str = "fp32"
    """or bf16"""
    size: str | None = None
    """of the encoder"""
    apart: bool = False
    """measure two separate runs, too"""


def start(options: Options, store: Path, out: Path, processes: int) -> "subprocess.Popen[bytes]":
    """Start a run of some processes with one thread each."""
    fields: dict[str, object] = {
        "batch_size": options.tiles_a_process * processes,
        "devices": processes,
        "max_steps": options.steps,
        "warmup_epochs": 0,
        "log_every_steps": 1,
        "checkpoint_every_steps": 10 * options.steps,
        "precision": options.precision,
        "accelerator": "cpu",
    }
    if options.size is not None:
        fields["encoder.size"] = options.size
    overrides = [text for name, value in fields.items() for text in (f"--{name}", str(value))]
    command = [sys.executable, "-m", "geopretext.apps.cli", "pretrain", options.recipe, "--quiet"]
    out.parent.mkdir(exist_ok=True)
    with out.with_suffix(".log").open("wb") as log:
        return subprocess.Popen(
            [*command, "--data", str(store), "--out", str(out), *overrides],
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            stdout=log,
            stderr=log,
        )


def rate(folder: Path, process: "subprocess.Popen[bytes]") -> float:
    """Tiles a second in the middle step of a run, once it has ended.

    Raises:
        SystemExit: it failed.
    """
    if process.wait():
        log = folder.with_suffix(".log").read_text(encoding="utf-8", errors="replace")
        raise SystemExit(f"pretraining failed with code {process.returncode}:\n{log[-2000:]}")
    with (folder / "metrics.csv").open(encoding="utf-8", newline="") as file:
        rows = [float(row["tiles_per_second"]) for row in csv.DictReader(file)]
    return statistics.median(rows[_UNCOUNTED:])


def measure(options: Options, folder: Path) -> dict[str, Any]:
    """All rounds, as plain data."""
    store = write_synthetic_store(folder / "tiles.zarr", count=max(128, 4 * options.tiles_a_process))
    rates: dict[str, list[float]] = {"alone": [], "together": []}
    if options.apart:
        rates["apart"] = []
    for number in range(options.rounds):
        out = folder / str(number)
        rates["alone"].append(rate(out / "alone", start(options, store, out / "alone", 1)))
        rates["together"].append(rate(out / "together", start(options, store, out / "together", 2)))
        if options.apart:
            both = [(out / name, start(options, store, out / name, 1)) for name in ("left", "right")]
            rates["apart"].append(sum(rate(*run) for run in both))
    kept = {
        name: statistics.median(two / (2 * one) for one, two in zip(rates["alone"], found, strict=True))
        for name, found in rates.items()
        if name != "alone"
    }
    return {"machine": machine(), "options": asdict(options), "tiles_a_second": rates, "kept": kept}


def report(result: dict[str, Any]) -> str:
    """A table and the target, for people."""
    titles = {"alone": "one process", "together": "two that train together", "apart": "two separate runs"}
    rows = [
        (
            titles[name],
            f"{statistics.median(rates):.1f}",
            f"{min(rates):.1f}..{max(rates):.1f}",
            f"{result['kept'][name]:.1%}" if name in result["kept"] else "",
        )
        for name, rates in result["tiles_a_second"].items()
    ]
    header = ("processes of one thread", "tiles/s", "slowest..fastest", "of twice one process")
    return "\n".join(
        [
            result["machine"],
            str(result["options"]),
            "",
            table(header, rows),
            "",
            verdict("two that train together", result["kept"]["together"], KEPT, "of twice the rate of one"),
        ]
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default=Options.recipe)
    parser.add_argument("--rounds", type=int, default=Options.rounds)
    parser.add_argument("--steps", type=int, default=Options.steps)
    parser.add_argument("--tiles-a-process", type=int, default=Options.tiles_a_process)
    parser.add_argument("--precision", choices=("fp32", "bf16"), default=Options.precision)
    parser.add_argument("--apart", action="store_true", help="measure two separate runs, too")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    options = Options(args.recipe, args.rounds, args.steps, args.tiles_a_process, args.precision, apart=args.apart)
    if options.steps <= _UNCOUNTED:
        parser.error(f"--steps must be above {_UNCOUNTED}")
    with tempfile.TemporaryDirectory() as folder:
        result = measure(options, Path(folder))
    print(json.dumps(result) if args.json else report(result))


if __name__ == "__main__":
    main()

"""What ``evaluate suite`` and ``evaluate curve`` share: options of how to run, the run itself, and what is printed."""

import argparse
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geopretext.apps.arguments import VerbParser, whole
from geopretext.apps.progress import say

if TYPE_CHECKING:  # torch loads with them, after everything that can be wrong on the command line
    from rich.table import Table

    from geopretext.evaluate.suite import SuiteOutcome
    from geopretext.evaluate.suite_settings import SuiteSettings


def add_run_options(parser: VerbParser) -> None:
    """Options that say how a suite runs, not what it computes."""
    add = parser.add_argument_group("how it runs").add_argument
    add("--workers", type=whole(1), default=1, metavar="N", help="processes that compute at a time; default: 1")
    add("--scheduler", metavar="tcp://...", help="of a Dask cluster, whose workers compute instead")
    add("--cache", type=Path, metavar="DIR", help="folder of features that several suites share; default: DIR/features")
    add("--no-cache", action="store_true", help="compute features anew, and do not keep them")
    add("--strict", action="store_true", help="inputs that are implausible for a bundle fail its cells")
    add("--device", default="cpu", help="that encodes and trains: cpu, cuda, mps; default: %(default)s")
    add("--json", action="store_true", help="print the rows of the table as JSON")


def names(text: str) -> tuple[str, ...]:
    """An argument type: names separated by commas."""
    found = tuple(name.strip() for name in text.split(",") if name.strip())
    if not found:
        raise argparse.ArgumentTypeError("names nothing")
    return found


def numbers(text: str) -> tuple[int, ...]:
    """An argument type: whole numbers from 0 separated by commas."""
    parse = whole(0)
    return tuple(parse(word) for word in text.split(","))


def baselines(text: str) -> tuple[str, ...]:
    """An argument type: representations beside the bundle's own; ``none`` for no other."""
    return ("pretrained",) if text.strip() == "none" else ("pretrained", *names(text))


def run_and_print(settings: "SuiteSettings", options: argparse.Namespace) -> int:
    """Run a suite, print its table; the exit code: 0 if every cell has a result, 1 if one failed."""
    from geopretext.apps.suite_progress import suite_progress
    from geopretext.evaluate.suite import run_suite

    with suite_progress() as progress:
        outcome = run_suite(
            settings,
            options.out,
            workers=options.workers,
            scheduler=options.scheduler,
            cache=options.cache,
            keep_features=not options.no_cache,
            strict=options.strict,
            device=options.device,
            progress=progress,
        )
    _print(outcome, as_json=options.json)
    for line in _lines(outcome):
        say(line)
    return 1 if outcome.failures else 0


def _print(outcome: "SuiteOutcome", *, as_json: bool) -> None:
    import pyarrow.parquet as pq

    rows = pq.read_table(outcome.scores).to_pylist() if outcome.scores else []
    if as_json:
        failures = [asdict(failure) for failure in outcome.failures]
        print(json.dumps({"scores": rows, "failures": failures, "report": str(outcome.report or "")}, indent=2))
        return
    from rich.console import Console

    console = Console(width=None if Console().is_terminal else 160)
    for title, table in score_tables([row for row in rows if row["headline"]]):
        console.print(title, soft_wrap=True)  # a table would break a long name in the middle
        console.print(table)


def score_tables(rows: list[dict[str, Any]]) -> "Iterator[tuple[str, Table]]":
    """Titles and tables: methods by tasks, one for each amount of labels; of one task, methods by amounts.

    Args:
        rows: of ``scores.parquet``, by the headline metric.
    """
    from rich.markup import escape
    from rich.table import Table

    tasks = list(dict.fromkeys(row["task"] for row in rows))
    amounts = list(dict.fromkeys(row["amount"] for row in rows))
    column = "amount" if len(tasks) == 1 else "task"
    for shared in tasks if column == "amount" else amounts:
        these = [row for row in rows if shared in (row["task"], row["amount"])]
        title = f"{these[0]['title']}: {_words(these[0])}" if column == "amount" else f"{shared} of the labels"
        table = Table()
        table.add_column("head")
        table.add_column("method", no_wrap=True)
        columns = list(dict.fromkeys(row[column] for row in these))
        for name in columns:
            first = next(row for row in these if row[column] == name)
            head = (
                f"{name}\n{first['n_train']:,} samples" if column == "amount" else f"{first['title']}\n{_words(first)}"
            )
            table.add_column(escape(head), justify="right")
        cells = {(row["head"], row["method"], row[column]): _text(row) for row in these}
        for head, method in dict.fromkeys((row["head"], row["method"]) for row in these):
            table.add_row(head, escape(method), *(cells.get((head, method, name), "") for name in columns))
        yield rf"{escape(title)}, \[95 % interval]", table


def _words(row: dict[str, Any]) -> str:
    return str(row["metric"]).replace("_", " ")


def _text(row: dict[str, Any]) -> str:
    if row["value"] is None:
        return "undefined"
    return rf"{row['value']:.3f} \[{row['low']:.3f}, {row['high']:.3f}]"


def _lines(outcome: "SuiteOutcome") -> Iterator[str]:
    """What happened, a line each; failures by reason."""
    for reason, count in outcome.left_out.items():
        yield f"left out: {count:,} cells, {reason}"
    reasons = Counter((failure.what, failure.where, failure.hint) for failure in outcome.failures)
    for (what, where, hint), count in reasons.items():
        yield f"error: {count:,} cells failed: {f'{where}: ' if where else ''}{what}"
        if hint:
            yield f"hint: {hint}"
    yield f"{outcome.computed:,} cells computed, {outcome.reused:,} were there, {len(outcome.failures):,} failed"
    for path in (outcome.scores, outcome.report):
        if path is not None:
            yield f"wrote {path}"

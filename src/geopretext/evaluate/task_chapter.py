"""What a report says of one task beyond its scores: confusion, calibration, examples, what the door did."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from html import escape
from typing import Any

from geopretext.errors import GeopretextError
from geopretext.evaluate.calibration import calibration, has_probabilities
from geopretext.evaluate.cells import CellResult
from geopretext.evaluate.curve_charts import HUES
from geopretext.evaluate.example_cards import example_cards
from geopretext.evaluate.examples import read_examples
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import SampleOutcome, concatenate
from geopretext.evaluate.outcome_charts import (
    MOST_CLASSES,
    confusion_html,
    label_table,
    reliability_chart,
    scatter_chart,
)
from geopretext.evaluate.per_class import confusion_matrix, per_class
from geopretext.evaluate.report_names import head_name, metric_name
from geopretext.evaluate.suite_contents import Row, SuiteContents
from geopretext.evaluate.suite_keeping import CELLS
from geopretext.evaluate.task import Task
from geopretext.predict.door_report import door_lines, gate_lines
from geopretext.predict.input_gate import GateVerdict

_WARN = "warn"
_VERDICTS = {
    GateVerdict.PLAUSIBLE: "",
    GateVerdict.UNDECIDED: "doubt",
    GateVerdict.NOT_CHECKED: "doubt",
    GateVerdict.IMPLAUSIBLE: _WARN,
}

OpenTask = Callable[[str], Task]
_COMPARED = 6
_NARROW = 12  # classes of which two matrices stand side by side
_SCATTERS = 4
_SPLITS = {"train": "training", "val": "validation", "test": "test"}
_NOTES = {
    "What is taken for what": "Per cent of each true class; right is the diagonal, a dot less than half a per cent.",
    "Label by label": "A label is predicted where its probability is above one half.",
    "Predicted over true values": "A point is a test sample; on the line both are equal.",
}


def task_chapter(contents: SuiteContents, task: str, anchor: str, open_task: OpenTask) -> str:
    """A section of the page.

    Args:
        contents: of the suite.
        task: its title.
        anchor: id of the section.
        open_task: opens a task by its name, for pictures of its samples.

    Raises:
        CorruptError: a result is damaged.
    """
    head = contents.main_head(task)
    rows = contents.at_most(task, head)
    first, *others = rows
    best = sorted(others, key=lambda method: -rows[method].score.value)[:1]
    compared = {method: contents.results(rows[method]) for method in dict.fromkeys([*list(rows)[:_COMPARED], *best])}
    parts = [
        _opening(contents, task, rows[first], anchor),
        _errors([first, *best], compared),
        _calibration(contents, head, compared),
        _examples(contents, compared[first][0], first, open_task),
        _door(contents, list(rows.values())),
        "</section>",
    ]
    return "".join(parts)


def _opening(contents: SuiteContents, task: str, row: Row, anchor: str) -> str:
    facts = contents.tasks[task]
    counts = dict(facts.counts)
    sizes = ", ".join(f"{counts.pop(split):,} {name}" for split, name in _SPLITS.items() if split in counts)
    left_out = (
        "; left out: " + ", ".join(f"{n:,} ({why})" for why, n in counts.items() if n) if any(counts.values()) else ""
    )
    names = escape(", ".join(facts.classes))
    classes = f"<p>{names}.</p>"
    if len(facts.classes) > _NARROW:
        classes = f"<details><summary>{len(facts.classes)} classes</summary>{names}</details>"
    return (
        f'<section id="{anchor}"><p class="eyebrow">{escape(str(facts.kind))}, {metric_name(row.metric)}</p>'
        f'<h2>{escape(task)}</h2><div class="quiet">{classes}<p>{sizes} samples{escape(left_out)}. What follows: '
        f"{escape(head_name(row.head))}, {escape(row.amount)} of the labels.</p></div>"
    )


def _errors(shown: Sequence[str], compared: Mapping[str, list[CellResult]]) -> str:
    """Where the first method and the best of the others are wrong, over all their runs."""
    cards, title, wide = [], "", ""
    for method in shown:
        results = compared[method]
        classes = results[0].task.classes
        together = reduce(concatenate, [result.run.outcome for result in results])
        counts = confusion_matrix(together)
        if counts is not None:
            title = "What is taken for what"
            body = confusion_html(counts, classes)
            wide = " wide" if _NARROW < len(classes) <= MOST_CLASSES else ""
        elif together.kind is TaskKind.MULTI_LABEL:
            title = "Label by label"
            body = label_table(per_class(together), classes, len(results))
        elif isinstance(together, SampleOutcome):
            title = "Predicted over true values"
            charts = "".join(scatter_chart(together, number, name) for number, name in enumerate(classes[:_SCATTERS]))
            body = f'<div class="small-multiples">{charts}</div>'
        else:
            continue
        cards.append(f'<div class="card{wide}"><h4>{escape(method)}</h4>{body}</div>')
    if not cards:
        return ""
    return f'<h3>{title}</h3><p class="quiet">{_NOTES[title]}</p><div class="pair">{"".join(cards)}</div>'


def _calibration(contents: SuiteContents, head: str, compared: Mapping[str, list[CellResult]]) -> str:
    charts = []
    for method, results in compared.items():
        if not has_probabilities(results[0].task.kind, head):
            return ""
        measured = calibration(
            [result.run.outcome for result in results], seeds=[result.cell.seed for result in results]
        )
        if measured is not None:
            hue = f"hue-{contents.methods.index(method) % HUES + 1}"
            charts.append(reliability_chart(method, hue, measured))
    if not charts:
        return ""
    return (
        "<h3>Are the probabilities right?</h3>"
        '<p class="quiet">Across: the probability that was given. Up: how often it came true. On the diagonal a method '
        "says what it knows; below it, it is too sure. Bars: how often which probability was given. ECE is the mean "
        f'distance from the diagonal.</p><div class="small-multiples">{"".join(charts)}</div>'
    )


def _examples(contents: SuiteContents, result: CellResult, method: str, open_task: OpenTask) -> str:
    opened, note = None, ""
    try:
        opened = open_task(result.cell.task)
    except Exception as error:  # a FILE.py of the user's may raise anything
        note = f"the task cannot be opened: {error.what if isinstance(error, GeopretextError) else error}"
    maps = read_examples(contents.folder / CELLS, result.cell.key) if result.task.kind.is_dense else None
    return (
        f'<h3>Examples</h3><p class="quiet">Test samples that {escape(method)} does best and worst, seed '
        f"{result.cell.seed}, {escape(result.cell.amount)} of the training labels.</p>"
        + example_cards(result, maps, opened, note)
    )


def _door(contents: SuiteContents, rows: Sequence[Row]) -> str:
    """What was done to the inputs for each bundle; what is the same for several stands once."""
    by_lines: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for bundle, row in {row.bundle: row for row in reversed(rows)}.items():
        lines = tuple(_lines(contents.results(row)[0].record))
        by_lines.setdefault(lines, []).append(contents.names.get(bundle, bundle))
    parts = []
    for lines, bundles in by_lines.items():
        entries = "".join(f'<li class="{kind}">{escape(text)}</li>' for text, kind in lines)
        parts.append(f'<div class="card door"><h4>{escape(", ".join(bundles))}</h4><ul>{entries}</ul></div>')
    return f'<h3>What was done to the inputs</h3><div class="pair">{"".join(parts)}</div>'


def implausible(contents: SuiteContents, task: str) -> list[str]:
    """Bundles for which the inputs of a task are not what they are said to be."""
    rows = contents.at_most(task, contents.main_head(task)).values()
    loud = [row.bundle for row in rows if any(kind == _WARN for _, kind in _lines(contents.results(row)[0].record))]
    return [contents.names.get(bundle, bundle) for bundle in dict.fromkeys(loud)]


def _lines(record: Mapping[str, Any], which: str = "") -> Iterator[tuple[str, str]]:
    """Lines of a door, each with its class on the page; of change detection those of the later image too."""
    gate = gate_lines(record["gate"])
    for line in door_lines(record)[: -len(gate) or None]:
        yield which + line, ""
    for line in gate:
        yield which + line, _VERDICTS[GateVerdict(record["gate"]["verdict"])]
    if "later" in record:
        yield from _lines(record["later"], "later image: ")

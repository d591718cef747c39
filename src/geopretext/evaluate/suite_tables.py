"""The answers of a suite in words and in tables: methods by tasks, with intervals, ranks and what holds."""

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape

from geopretext.evaluate.charts import Interval
from geopretext.evaluate.metrics import METRICS
from geopretext.evaluate.report_names import head_name, metric_name
from geopretext.evaluate.suite_contents import Row, SuiteContents

HOLDS = 0.05
"""A difference holds if its corrected p is below this."""
_NAMES = 4

SORT_SCRIPT = """\
for (const button of document.querySelectorAll("th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), body = head.closest("table").tBodies[0];
  const sign = head.getAttribute("aria-sort") === head.dataset.first ? -1 : 1;
  const first = head.dataset.first === "descending" ? -1 : 1;
  for (const other of head.parentNode.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", sign * first < 0 ? "descending" : "ascending");
  const key = (row) => parseFloat(row.cells[head.cellIndex].dataset.sort);
  const after = (a, b) => isNaN(a) ? 1 : isNaN(b) ? -1 : sign * first * (a - b);
  body.append(...[...body.rows].sort((a, b) => after(key(a), key(b))));
});
"""
"""Sorts a table by the column whose head is pressed; rows without a number stay below."""


def answer(contents: SuiteContents, task: str) -> str:
    """A few sentences on a task, HTML: what the first method reaches, and what that shows against the others."""
    head = contents.main_head(task)
    rows = contents.at_most(task, head)
    (method, ours), *others = rows.items()
    above = [name for name, row in others if row.p < HOLDS and row.score.value < ours.score.value]
    below = [name for name, row in others if row.p < HOLDS and row.score.value > ours.score.value]
    unsettled = [name for name, row in others if row.p >= HOLDS]
    untested = [name for name, row in others if math.isnan(row.p)]
    reached = f"<b>{escape(method)}</b> reaches {metric_name(ours.metric)} {ours.score.text}."
    parts = [f"{escape(head_name(head).capitalize())}, {_labels(ours)}: {reached}"]
    settled = [f"{word} {_names(names)}" for word, names in (("above", above), ("below", below)) if names]
    if settled:
        parts.append(f"It is {', and '.join(settled)}.")
    if unsettled:
        parts.append(f"Against {_names(unsettled)} these test samples do not settle it.")
    if untested:
        parts.append(f"It was not tested against {_names(untested)}.")
    return " ".join(parts)


def _labels(row: Row) -> str:
    if row.amount == "100%":
        return f"all {row.n_train:,.0f} training samples"
    return f"{row.n_train:,.0f} training samples ({escape(row.amount)})"


def _names(methods: Sequence[str]) -> str:
    names = [escape(method) for method in methods[:_NAMES]]
    if len(methods) > _NAMES:
        names = [*names[: _NAMES - 1], f"{len(methods) - _NAMES + 1} others"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def score_tables(contents: SuiteContents) -> str:
    """For each head a table of the largest amount, and folded away those of the others."""
    parts = []
    for head in contents.heads():
        tasks = [task for task in contents.tasks if head in contents.heads(task)]
        most = {task: contents.at_most(task, head) for task in tasks}
        parts.append(f"<h3>{escape(head_name(head))}</h3>{_table(contents, most)}")
        parts.extend(_smaller(contents, head, most))
    return "".join(parts)


def _smaller(contents: SuiteContents, head: str, most: Mapping[str, Mapping[str, Row]]) -> Iterator[str]:
    """A table for each other amount, folded away, of the tasks of which it is not the largest."""
    largest = {task: next(iter(shown.values())).amount for task, shown in most.items()}
    rows = [row for task in most for row in contents.headline(task, head) if row.amount != largest[task]]
    for amount in dict.fromkeys(row.amount for row in rows):
        by_task: dict[str, dict[str, Row]] = {}
        for row in rows:
            if row.amount == amount:
                by_task.setdefault(row.title, {})[row.method] = row
        yield f"<details><summary>{escape(amount)} of the labels</summary>{_table(contents, by_task)}</details>"


def _table(contents: SuiteContents, by_task: Mapping[str, Mapping[str, Row]]) -> str:
    methods = [method for method in contents.methods if any(method in rows for rows in by_task.values())]
    ranks = {task: _ranks(rows) for task, rows in by_task.items()}
    heads = [_head("Method", "", "ascending")]
    heads += [_head(task, metric_name(METRICS[contents.tasks[task].kind][0]), "descending") for task in by_task]
    several = len(by_task) > 1
    if several:
        heads.append(_head("Mean rank", "", "ascending"))
    lines = []
    for number, method in enumerate(methods):
        cells = [_cell(rows, ranks[task], method) for task, rows in by_task.items()]
        mine = [ranks[task][method] for task in by_task if method in ranks[task]]
        mean = f"{sum(mine) / len(mine):.1f}" if len(mine) == len(by_task) else ""
        name = f'<td data-sort="{number}">{escape(method)}</td>'
        last = f'<td data-sort="{mean}">{mean or "–"}</td>' if several else ""
        lines.append(f"<tr>{name}{''.join(cells)}{last}</tr>")
    return (
        '<div class="table scores" tabindex="0"><table>'
        f"<thead><tr>{''.join(heads)}</tr></thead><tbody>{''.join(lines)}</tbody></table></div>"
    )


def _head(title: str, metric: str, first: str) -> str:
    small = f"<small>{escape(metric)}</small>" if metric else ""
    return f'<th scope="col" data-first="{first}"><button type="button">{escape(title)}{small}</button></th>'


def _ranks(rows: Mapping[str, Row]) -> dict[str, float]:
    """1 for the highest score; equal scores share the mean of their ranks."""
    values = [row.score.value for row in rows.values()]
    return {
        method: 1 + sum(v > row.score.value for v in values) + (values.count(row.score.value) - 1) / 2
        for method, row in rows.items()
    }


def _cell(rows: Mapping[str, Row], ranks: Mapping[str, float], method: str) -> str:
    row = rows.get(method)
    if row is None:
        return '<td data-sort="">–</td>'
    value, ends = row.score.text.split(" ", 1)
    best = ' class="best"' if ranks[method] == min(ranks.values()) else ""
    first = method == next(iter(rows))
    return (
        f'<td{best} data-sort="{row.score.value:.6f}">{value}<span class="rank">{ranks[method]:g}</span>'
        f"<small>{ends}</small>{'' if first else _difference(row)}</td>"
    )


def _difference(row: Row) -> str:
    """The distance to the first method, and whether it holds."""
    if math.isnan(row.p):
        return '<small class="gap">not tested</small>'
    gap = Interval(-row.gain.value, -row.gain.high, -row.gain.low)
    number = f"{gap.value:+.3f}".replace("-", "\N{MINUS SIGN}")
    chance = "p &lt; 0.001" if row.p < 0.001 else f"p {row.p:.3f}"
    kind, mark = ("up", "▲") if gap.value > 0 else ("down", "▼")
    if row.p >= HOLDS:
        kind, mark = "", "≈"
    return f'<small class="gap {kind}" title="minus the first method: {gap.text}">{mark} {number}, {chance}</small>'

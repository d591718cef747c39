"""The report of a suite: one HTML file with everything in it, for a browser without a network, and curves as SVG."""

import re
from collections.abc import Mapping, Sequence
from html import escape
from itertools import chain, count
from pathlib import Path

from geopretext.data.local_file import replace_file
from geopretext.evaluate.cells import Cell
from geopretext.evaluate.charts import html_page
from geopretext.evaluate.curve_charts import Chart, Series, sample
from geopretext.evaluate.report_names import head_name, metric_name
from geopretext.evaluate.suite_contents import SuiteContents
from geopretext.evaluate.suite_settings import SUITE_FILE
from geopretext.evaluate.suite_tables import SORT_SCRIPT, answer, score_tables
from geopretext.evaluate.task import Task
from geopretext.evaluate.task_chapter import OpenTask, implausible, task_chapter
from geopretext.evaluate.tasks import load_task

REPORT_FILE = "report.html"


def write_suite_report(folder: Path, *, open_task: OpenTask | None = None) -> Path:
    """Write ``report.html``, and ``curves-TASK.svg`` for each task with more than one amount of labels.

    Args:
        folder: of a suite: ``suite.yaml``, ``scores.parquet``, ``cells``.
        open_task: opens a task by its name in the suite, for pictures of its samples; by default ``load_task`` with the
            suite's seed of random splits. A task that cannot be opened any more is reported without pictures.

    Returns:
        path of the page.

    Raises:
        StoreError: the folder is not a suite's, or not complete.
        CorruptError: a file in it is damaged.
    """
    contents = SuiteContents.open(folder)

    def load(name: str) -> Task:
        return load_task(name, seed=int(contents.settings.get("split_seed", 0)))

    anchors = {task: f"task-{number}" for number, task in enumerate(contents.tasks, 1)}
    chapters = [task_chapter(contents, task, anchor, open_task or load) for task, anchor in anchors.items()]
    curves = _label_curves(contents)
    body = "\n".join(
        (
            _header(contents, anchors),
            "<main>",
            _scores(contents),
            _curves(contents, curves),
            _parameters(contents),
            *chapters,
            _again(contents),
            "</main>",
            f"<footer><div>geopretext {escape(str(contents.settings.get('version', '')))}</div></footer>",
        )
    )
    drawn = dict(zip(_file_names([chart.title for chart in curves]), curves, strict=True))
    for name, chart in drawn.items():
        replace_file(folder / f"curves-{name}.svg", chart.standalone.encode())
    for earlier in folder.glob("curves-*.svg"):
        if earlier.stem.removeprefix("curves-") not in drawn:
            earlier.unlink(missing_ok=True)
    path = folder / REPORT_FILE
    styles = ("curve_charts.css", "suite_report.css")
    replace_file(path, html_page("geopretext suite", body, *styles, script=SORT_SCRIPT).encode())
    return path


def _header(contents: SuiteContents, anchors: Mapping[str, str]) -> str:
    rows = contents.rows
    facts = {
        "methods": len(contents.methods),
        "tasks": len(contents.tasks),
        "heads": len(contents.heads()),
        "amounts of labels": len({row.amount for row in rows}),
        "seeds": len({cell.seed for cell in contents.cells}),
        "results": len(contents.cells),
    }
    if contents.failures:
        facts["failed"] = len(contents.failures)
    items = "".join(f"<div><dt>{name}</dt><dd>{number:,}</dd></div>" for name, number in facts.items())
    answers = "".join(
        f'<li><a href="#{anchor}">{escape(task)}</a><p>{answer(contents, task)}</p>{_doubt(contents, task)}</li>'
        for task, anchor in anchors.items()
    )
    return (
        '<header><div><p class="eyebrow">geopretext evaluate suite</p>'
        f"<h1>What {escape(contents.methods[0])} is worth</h1>"
        f'<ul class="answers">{answers}</ul><dl class="facts">{items}</dl></div></header>'
    )


def _doubt(contents: SuiteContents, task: str) -> str:
    bundles = implausible(contents, task)
    if not bundles:
        return ""
    return (
        f'<p class="warn">Caution: the inputs of {escape(", ".join(bundles))} do not look like what they are said to '
        "be, see below.</p>"
    )


def _scores(contents: SuiteContents) -> str:
    return (
        "<section><h2>Scores</h2>"
        "<p>With the largest amount of labels. In brackets: 95 % intervals by bootstrap over test samples, and over "
        "seeds where a method has several; they know nothing of another pretraining. The number in a ring is the rank. "
        "Under it: the distance to the first method of the table, and the p of a paired test on the same samples, "
        "corrected for the number of comparisons (Holm).</p>"
        '<ul class="key marks"><li class="up">▲ above the first method</li><li class="down">▼ below it</li>'
        "<li>≈ these test samples do not settle it</li><li><b>bold</b>: highest number</li></ul>"
        f"{score_tables(contents)}</section>"
    )


def _key(names: Sequence[str], charts: Sequence[Chart]) -> str:
    """What the lines of some charts mean, once for all of them; a name's place is its look."""
    drawn = {line.name for chart in charts for line in chart.series}
    entries = "".join(
        f'<li><svg viewBox="-2 -8 36 16" width="36" height="16" aria-hidden="true">{sample(look)}</svg>'
        f"{escape(name)}</li>"
        for look, name in enumerate(names)
        if name in drawn
    )
    return f'<ul class="key looks">{entries}</ul>'


def _label_curves(contents: SuiteContents) -> list[Chart]:
    """Scores over numbers of labels for each task and head that has more than one amount."""
    charts = []
    for task in contents.tasks:
        heads = contents.heads(task)
        for head in heads:
            rows = [row for row in contents.headline(task, head) if row.n_train > 0]
            if len({row.n_train for row in rows}) < 2:
                continue
            series = [
                Series(method, look, [(row.n_train, row.score) for row in rows if row.method == method])
                for look, method in enumerate(contents.methods)
                if any(row.method == method for row in rows)
            ]
            title = f"{task}, {head_name(head)}" if len(heads) > 1 else task
            charts.append(Chart(title, "training samples with labels", metric_name(rows[0].metric), series))
    return charts


def _curves(contents: SuiteContents, curves: Sequence[Chart]) -> str:
    if not curves:
        return ""
    return (
        "<section><h2>How many labels it takes</h2>"
        "<p>Score over the number of training samples, on a logarithmic axis. Bands and fine bars are 95 % "
        "intervals.</p>"
        f'{_key(contents.methods, curves)}<div class="charts">{"".join(map(_card, curves))}</div></section>'
    )


def _parameters(contents: SuiteContents) -> str:
    """Scores of all heads over parameters, and over the share of them that was trained, where these differ."""
    rows = [
        row
        for task in contents.tasks
        for head in contents.heads(task)
        for row in contents.at_most(task, head).values()
        if row.parameters > 0
    ]
    several = len({row.head for row in rows}) > 1
    named = [(f"{row.method}, {head_name(row.head)}" if several else row.method, row) for row in rows]
    names = list(dict.fromkeys(name for name, _ in named))
    charts = []
    for task in contents.tasks:
        mine = [(name, row) for name, row in named if row.title == task]
        sizes = [(name, row, row.parameters) for name, row in mine]
        shares = [(name, row, row.trainable_parameters / row.parameters) for name, row in mine]
        shares = [entry for entry in shares if entry[2] > 0]
        for title, points in (("parameters", sizes), ("share that is trained", shares)):
            if len({f"{x:.3g}" for *_, x in points}) > 1:
                series = [Series(name, names.index(name), [(x, row.score)]) for name, row, x in points]
                metric = metric_name(points[0][1].metric)
                percent = title != "parameters"
                charts.append(Chart(task, title, metric, series, joined=False, percent=percent))
    if not charts:
        return ""
    return (
        "<section><h2>How many parameters it takes</h2>"
        "<p>Score at the largest amount of labels over the parameters of encoder and head together, and over the share "
        "of them that was trained. Bars are 95 % intervals.</p>"
        f'{_key(names, charts)}<div class="charts">{"".join(map(_card, charts))}</div></section>'
    )


def _card(chart: Chart) -> str:
    return f'<figure class="chart"><h3>{escape(chart.title)}</h3>{chart.drawing}</figure>'


def _again(contents: SuiteContents) -> str:
    settings = contents.folder / SUITE_FILE
    command = f"geopretext evaluate suite {_quoted(str(settings))} --out {_quoted(str(contents.folder))}"
    failed = ""
    if contents.failures:
        rows = "".join(
            f"<tr><td>{escape(_cell_text(failure.cell))}</td><td class='text'>"
            f"{escape(failure.what)}<small>{escape(failure.where)}</small><small>{escape(failure.hint)}</small></td></tr>"
            for failure in contents.failures
        )
        failed = (
            f"<h3>Cells without a result: {len(contents.failures)}</h3>"
            "<p>They are tried again when the suite is run again.</p>"
            f'<div class="table" tabindex="0"><table class="failures"><tbody>{rows}</tbody></table></div>'
        )
    return (
        '<section id="again"><h2>How to repeat it</h2>'
        "<p>The same command on the same folder computes only what is missing. Every result is in <code>cells</code>, "
        f"every score in <code>scores.parquet</code>.</p><pre>{escape(command)}</pre>"
        f"<h3>Settings, {SUITE_FILE}</h3><pre>{escape(contents.settings_text)}</pre>"
        f"{failed}</section>"
    )


def _cell_text(cell: Cell) -> str:
    return f"{cell.task}: {cell.representation}, {cell.head}, {cell.amount}, seed {cell.seed}, {cell.bundle}"


def _quoted(text: str) -> str:
    return text if re.fullmatch(r"[\w@%+=:,./-]+", text) else "'" + text.replace("'", "'\\''") + "'"


def _file_names(titles: Sequence[str]) -> list[str]:
    """A part of a file name for each title, safe everywhere and unlike the others."""
    names: list[str] = []
    for title in titles:
        plain = re.sub(r"[^A-Za-z0-9]+", "-", title).strip("-").lower()[:60] or "task"
        numbered = (f"{plain}-{number}" for number in count(2))
        names.append(next(name for name in chain([plain], numbered) if name not in names))
    return names

"""The page that the demo writes: one HTML file with everything in it, for a browser without a network."""

import base64
from collections.abc import Sequence
from html import escape
from pathlib import Path

from geopretext.apps.summary import MEAN, Summary
from geopretext.evaluate.charts import Interval, Line, html_page, interval_chart, line_chart, smooth


def write_report(path: Path, summary: Summary, *, contact_sheet: Path, reconstruction: Path) -> None:
    """Write the page with both pictures inside."""
    body = "\n".join(
        (
            _header(summary),
            "<main>",
            _tiles(summary, contact_sheet),
            _scores(summary),
            _picture(reconstruction),
            _curves(summary),
            _how(summary),
            "</main>",
            _footer(summary),
        )
    )
    path.write_text(html_page("geopretext demo", body), encoding="utf-8")


def _header(summary: Summary) -> str:
    first, *others = summary.methods
    ours = summary.probe[first][MEAN]
    settings = summary.settings
    facts = {
        "mean probe score": f"{ours.value:.3f}",
        "downstream tasks": f"{len(summary.tasks)}",
        "synthetic tiles": f"{settings['tiles']:,}",
        "steps of pretraining": f"{settings['steps']:,}",
        "tiles a second": f"{summary.tiles_per_second[first]:,.0f}",
        "all of it took": _duration(sum(summary.seconds.values())),
    }
    items = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(text)}</dd></div>" for name, text in facts.items())
    return (
        '<header><div><p class="eyebrow">geopretext demo</p>'
        "<h1>What does an encoder learn when it predicts twelve modalities from two fifths of one image?</h1>"
        f'<p class="lead">{_verdict(summary, first, others)}</p>'
        f'<dl class="facts">{items}</dl></div></header>'
    )


def _verdict(summary: Summary, first: str, others: Sequence[str]) -> str:
    ours = summary.probe[first][MEAN]
    rest = ", ".join(f"{escape(summary.methods[name])} {summary.probe[name][MEAN].value:.3f}" for name in others)
    gains = {summary.methods[name]: summary.differences[name] for name in others}
    above = [title for title, gain in gains.items() if gain.low > 0]
    below = [title for title, gain in gains.items() if gain.high < 0]
    open_ = [title for title in gains if title not in above + below]
    text = (
        f"A linear probe on the features of {escape(summary.methods[first])} scores {ours.value:.3f} on the mean of "
        f"{len(summary.tasks)} tasks that it was never shown. Beside it: {rest}. "
    )
    if above:
        text += f"It is above {escape(_join(above))} beyond what the choice of test tiles explains. "
    if below:
        text += f"It is below {escape(_join(below))}. "
    if open_:
        text += f"Against {escape(_join(open_))} this small run does not settle it. "
    return (
        text + "The planet is synthetic: the ranking shows the idea at work, the numbers say nothing about the Earth. "
        "To learn in minutes, the demo departs from MMEarth's recipe: a small encoder, small steps at a high rate, and "
        "modalities other than Sentinel-2 compared on shown patches too."
    )


def _tiles(summary: Summary, picture: Path) -> str:
    size = summary.settings["tile_size"]
    return (
        "<section><h2>The tiles</h2>"
        f"<p>{summary.settings['tiles']:,} places on a procedural planet, {size} x {size} pixels of 10 m each. At "
        "every place all modalities lie on one grid: Sentinel-2 in 13 bands, Sentinel-1, elevation, canopy height, two "
        "land covers, climate, position, month, biome and ecoregion. Data are missing the way they are in archives.</p>"
        f"{_figure(picture, 'contact sheet of some tiles', 'Some tiles. Each picture has its own stretch.')}</section>"
    )


def _scores(summary: Summary) -> str:
    hues = {name: position for position, name in enumerate(summary.methods, start=1)}
    cards = []
    for task in (MEAN, *summary.tasks):
        rows = {summary.methods[name]: (hues[name], summary.probe[name][task]) for name in summary.methods}
        if task == MEAN:
            cards.append(interval_chart("Mean over the tasks", "linear probe", rows, emphasised=True))
        else:
            facts = summary.tasks[task]
            note = f"{facts.metric}, {facts.train:,} train and {facts.test:,} test tiles"
            cards.append(interval_chart(facts.title, note, rows))
    return (
        "<section><h2>What the features are worth</h2>"
        "<p>The encoder is frozen. For each task a linear model is fitted on its features; the labels were never shown "
        "to pretraining, and none of them can be read from a single pixel. Dots are scores on test tiles, which lie in "
        "100 km blocks of their own; bars are 95 % bootstrap intervals. All methods see the same tiles.</p>"
        f'<div class="forest">{"".join(cards)}</div>{_table(summary)}</section>'
    )


def _table(summary: Summary) -> str:
    heads = "".join(f"<th>{escape(title)}</th>" for title in summary.methods.values())
    rows = []
    for title, scores in (("linear probe", summary.probe), ("k nearest neighbours", summary.knn)):
        for task in (*summary.tasks, MEAN):
            name = "Mean" if task == MEAN else summary.tasks[task].title
            best = max(scores[method][task].value for method in summary.methods)
            cells = "".join(_cell(scores[method][task], best) for method in summary.methods)
            rows.append(f"<tr><td>{escape(name)}<small class='quiet'> {title}</small></td>{cells}</tr>")
    head = f"<thead><tr><th>Task</th>{heads}</tr></thead>"
    return f'<div class="table"><table>{head}<tbody>{"".join(rows)}</tbody></table></div>'


def _cell(score: Interval, best: float) -> str:
    kind = ' class="best"' if score.value == best else ""
    value, ends = score.text.split(" ", 1)
    return f"<td{kind}>{value}<small>{ends}</small></td>"


def _picture(picture: Path) -> str:
    return (
        "<section><h2>What it predicts</h2>"
        "<p>Test tiles that pretraining never saw. The encoder gets the visible patches of Sentinel-2 and nothing "
        "else; from them it predicts the hidden patches of Sentinel-2 and the whole of every other modality.</p>"
        + _figure(
            picture,
            "truth, prediction and error of every modality for some tiles",
            "Sentinel-2 is predicted patch by patch without its mean brightness and contrast, as in MMEarth; both are "
            "put back from the truth, so that its picture shows predicted texture and colour differences only. Every "
            "other modality is predicted in full.",
        )
        + "</section>"
    )


def _curves(summary: Summary) -> str:
    pretrained = [name for name in summary.methods if name in summary.curves]
    hues = {name: position for position, name in enumerate(summary.methods, start=1)}
    tasks = list(dict.fromkeys(task for name in pretrained for task in summary.curves[name]))
    charts = "".join(
        line_chart(
            task, [Line(hues[n], smooth(summary.curves[n][task])) for n in pretrained if task in summary.curves[n]]
        )
        for task in tasks
    )
    key = "".join(f'<li class="hue-{hues[name]}"><i></i>{escape(summary.methods[name])}</li>' for name in pretrained)
    return (
        "<section><h2>How it learned</h2>"
        "<p>The loss of every pretext task over the steps: squared error of standardised values, or cross-entropy of "
        "classes; on observed values only, and for Sentinel-2 on hidden patches only.</p>"
        f'<ul class="key">{key}</ul><div class="curves">{charts}</div></section>'
    )


def _how(summary: Summary) -> str:
    times = "".join(f"<tr><td>{escape(n)}</td><td>{_duration(s)}</td></tr>" for n, s in summary.seconds.items())
    rates = "".join(
        f"<tr><td>Pretraining, {escape(summary.methods[n])}</td><td>{rate:,.0f} tiles/s</td></tr>"
        for n, rate in summary.tiles_per_second.items()
    )
    settings = "".join(
        f"<tr><td>{escape(name.replace('_', ' '))}</td><td>{escape(str(value))}</td></tr>"
        for name, value in summary.settings.items()
    )
    commands = escape("\n".join(summary.commands))
    return (
        "<section><h2>Time and settings</h2>"
        f'<div class="two"><div class="table"><table><tbody>{times}{rates}</tbody></table></div>'
        f'<div class="table"><table><tbody>{settings}</tbody></table></div></div></section>'
        f"<section><h2>How to go on</h2><p>The same commands work on your own tiles.</p><pre>{commands}</pre></section>"
    )


def _footer(summary: Summary) -> str:
    versions = ", ".join(f"{escape(name)} {escape(version)}" for name, version in summary.versions.items())
    return f"<footer><div>{versions}. {escape(summary.machine)}</div></footer>"


def _figure(picture: Path, alternative: str, caption: str) -> str:
    data = base64.b64encode(picture.read_bytes()).decode("ascii")
    return (
        f'<figure><div class="scroll"><img alt="{escape(alternative)}" src="data:image/png;base64,{data}"></div>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _duration(seconds: float) -> str:
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{int(seconds // 60)} min {int(seconds % 60)} s"


def _join(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

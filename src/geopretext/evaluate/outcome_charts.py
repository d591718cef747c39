"""What lies behind a score: confusion, scores of single labels, calibration, values against the truth; as HTML."""

from collections.abc import Sequence
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.evaluate.calibration import Calibration
from geopretext.evaluate.charts import Interval
from geopretext.evaluate.outcome import SampleOutcome
from geopretext.evaluate.per_class import ClassReport

Array = npt.NDArray[Any]

MOST_CLASSES = 20
"""Of which a confusion matrix is drawn; of more, the pairs that are confused most are listed."""
_ROOMY = 8  # classes whose cells are wide
_PAIRS = 15
_SIDE = 150
_POINTS = 400


def confusion_html(counts: Array, classes: Sequence[str]) -> str:
    """A heat map of shares of each true class with numbers in per cent; with many classes, a list of pairs."""
    truth = counts.sum(1)
    shares = counts / np.maximum(truth, 1)[:, None]
    if len(classes) > MOST_CLASSES:
        return _pairs_html(counts, shares, classes)
    heads = "".join(f'<th scope="col" title="{escape(name)}">{number}</th>' for number, name in enumerate(classes, 1))
    rows = []
    for number, name in enumerate(classes):
        cells = "".join(
            _share_cell(shares[number, other], int(counts[number, other]), name, classes[other], other == number)
            for other in range(len(classes))
        )
        if not truth[number]:
            cells = f'<td colspan="{len(classes)}" class="none">not in the test set</td>'
        rows.append(f'<tr><th scope="row"><i>{number + 1}</i>{escape(name)}</th>{cells}</tr>')
    kind = " many" if len(classes) > _ROOMY else ""
    return (
        f'<div class="table" tabindex="0"><table class="confusion{kind}"><thead><tr><th>true class, predicted as</th>'
        f"{heads}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _share_cell(share: float, count: int, truth: str, predicted: str, right: bool) -> str:
    text = f"{100 * share:.0f}" if share >= 0.005 else ("·" if count else "")
    kind = " ".join(word for word, true in (("deep", share >= 0.5), ("right", right)) if true)
    title = f"{truth} as {predicted}: {count:,}"
    return f'<td class="{kind}" style="--share:{100 * share:.0f}%" title="{escape(title)}">{text}</td>'


def _pairs_html(counts: Array, shares: Array, classes: Sequence[str]) -> str:
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    rows = []
    for truth, predicted in zip(*np.unravel_index(order, wrong.shape), strict=True):
        if wrong[truth, predicted]:
            rows.append(
                f"<tr><td>{escape(classes[truth])}</td><td class='text'>{escape(classes[predicted])}</td>"
                f"<td>{wrong[truth, predicted]:,}</td><td>{100 * shares[truth, predicted]:.0f} %</td></tr>"
            )
    if not rows:
        return "<p>Nothing is confused.</p>"
    return (
        f'<p class="quiet">{len(classes)} classes; the pairs that are confused most often.</p>'
        '<div class="table" tabindex="0"><table class="narrow"><thead><tr><th>true</th><th class="text">predicted</th>'
        f"<th>count</th><th>of the true class</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def label_table(report: ClassReport, names: Sequence[str], runs: int) -> str:
    """Precision, recall and F1 of each label of a multi-label task, the most frequent label first.

    Args:
        report: over all runs together.
        names: of the labels.
        runs: how many.
    """
    rows = []
    for number in np.argsort(-report.support, kind="stable"):
        bars = "".join(
            "<td>–</td>" if np.isnan(value) else f'<td class="bar" style="--share:{100 * value:.0f}%">{value:.2f}</td>'
            for value in (report.precision[number], report.recall[number], report.f1[number])
        )
        support = report.support[number] // runs
        rows.append(f"<tr><td>{escape(names[number])}</td><td>{support:,}</td>{bars}</tr>")
    heads = "".join(f"<th>{name}</th>" for name in ("label", "samples", "precision", "recall", "F1"))
    return (
        f'<div class="table" tabindex="0"><table class="labels"><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def reliability_chart(name: str, hue: str, measured: Calibration) -> str:
    """A small square: the diagonal is perfect; below it, how often which probability was given.

    Args:
        name: of the method.
        hue: class of its colour.
        measured: what is drawn.
    """
    side, foot = _SIDE, 26
    points = [f"{side * each.confidence:.1f} {side * (1 - each.right):.1f}" for each in measured.bins]
    most = max(each.share for each in measured.bins)
    dots, bars = [], []
    for each in measured.bins:
        x, y = side * each.confidence, side * (1 - each.right)
        ends = f"{side * (1 - each.right_low):.1f}V{side * (1 - each.right_high):.1f}"
        dots.append(
            f'<path class="whisker" d="M{x:.1f} {ends}"/><circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'
        )
        bars.append(f'<path class="bar" d="M{x:.1f} {side + 4 + foot}v{-max(0.6, foot * each.share / most):.1f}"/>')
    error = Interval(measured.error.value, measured.error.low, measured.error.high)
    value, ends = error.text.split(" ", 1)
    return (
        f'<figure class="reliability {hue}"><svg viewBox="-3 -3 {side + 6} {side + foot + 8}" role="img" '
        f'aria-label="reliability of {escape(name)}, calibration error {error.text}">'
        f'<rect class="frame" width="{side}" height="{side}"/><path class="diagonal" d="M0 {side}L{side} 0"/>'
        f'<path class="line" d="M{"L".join(points)}"/>{"".join(dots)}{"".join(bars)}</svg>'
        f"<figcaption>{escape(name)}<b>ECE {value}</b>{ends}</figcaption></figure>"
    )


def scatter_chart(outcome: SampleOutcome, target: int, name: str) -> str:
    """Predicted over true values of one target, with the line where they are equal; at most some hundred points."""
    some = np.unique(np.linspace(0, len(outcome) - 1, min(len(outcome), _POINTS)).astype(np.int64))
    truth, predicted = outcome.labels[some, target], outcome.scores[some, target]
    low, high = min(truth.min(), predicted.min()), max(truth.max(), predicted.max())
    x, y = (_SIDE * (part - low) / max(high - low, 1e-12) for part in (truth, predicted))
    dots = "".join(f'<circle cx="{a:.1f}" cy="{_SIDE - b:.1f}" r="2"/>' for a, b in zip(x, y, strict=True))
    ends = f"{low:.4g} to {high:.4g}".replace("-", "\N{MINUS SIGN}")
    return (
        f'<figure class="reliability hue-1"><svg viewBox="-3 -3 {_SIDE + 6} {_SIDE + 6}" role="img" '
        f'aria-label="predicted over true values of {escape(name)}">'
        f'<rect class="frame" width="{_SIDE}" height="{_SIDE}"/>'
        f'<path class="diagonal" d="M0 {_SIDE}L{_SIDE} 0"/><g class="cloud">{dots}</g></svg>'
        f"<figcaption>{escape(name)}<b>{ends}</b></figcaption></figure>"
    )

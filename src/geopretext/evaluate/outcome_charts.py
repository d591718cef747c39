"""What lies behind a score: confusion, scores of single labels, calibration, values against the truth; as HTML."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.evaluate.metrics import THRESHOLD, TaskKind
from geopretext.evaluate.outcome import ConfusionOutcome, Outcome, SampleOutcome

Array = npt.NDArray[Any]

MOST_CLASSES = 20
"""Of which a confusion matrix is drawn; of more, the pairs that are confused most are listed."""
_ROOMY = 8  # classes whose cells are wide
_PAIRS = 15
_BINS = 15
_SIDE = 150
_POINTS = 400


def confusion_of(outcomes: Sequence[Outcome]) -> Array | None:
    """Counts (K, K) by true class (rows) and predicted class (columns) over all runs; None of kinds without classes."""
    tables = []
    for outcome in outcomes:
        if isinstance(outcome, ConfusionOutcome):
            tables.append(outcome.confusion.sum(0))
        elif isinstance(outcome, SampleOutcome) and outcome.kind is TaskKind.SINGLE_LABEL:
            count = outcome.scores.shape[1]
            pairs = outcome.labels * count + outcome.scores.argmax(1)
            tables.append(np.bincount(pairs, minlength=count * count).reshape(count, count))
    return np.sum(tables, axis=0) if tables else None


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


def label_table(outcomes: Sequence[SampleOutcome], names: Sequence[str]) -> str:
    """Precision, recall and F1 of each label of a multi-label task over all runs, the most frequent label first."""
    decided = np.concatenate([outcome.scores > THRESHOLD for outcome in outcomes])
    truth = np.concatenate([outcome.labels > THRESHOLD for outcome in outcomes])
    hits, found, there = (decided & truth).sum(0), decided.sum(0), truth.sum(0)
    rows = []
    for number in np.argsort(-there, kind="stable"):
        precision, recall = _ratio(hits[number], found[number]), _ratio(hits[number], there[number])
        f1 = _ratio(2 * hits[number], found[number] + there[number])
        bars = "".join(
            "<td>–</td>" if np.isnan(value) else f'<td class="bar" style="--share:{100 * value:.0f}%">{value:.2f}</td>'
            for value in (precision, recall, f1)
        )
        rows.append(f"<tr><td>{escape(names[number])}</td><td>{there[number] // len(outcomes):,}</td>{bars}</tr>")
    return (
        '<div class="table" tabindex="0"><table class="labels"><thead><tr><th>label</th><th>samples</th><th>precision</th>'
        f"<th>recall</th><th>F1</th></tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("nan")


@dataclass(frozen=True)
class Reliability:
    """How often what was said with some confidence is so (Guo et al. 2017, arXiv 1706.04599)."""

    confidence: Array
    """(b,) mean probability in each bin that is not empty"""
    frequency: Array
    """(b,) how often it was so"""
    share: Array
    """(b,) of all statements"""

    @property
    def error(self) -> float:
        """Expected calibration error: the mean distance of the two over all statements."""
        return float((self.share * np.abs(self.confidence - self.frequency)).sum())


def reliability_of(outcomes: Sequence[Outcome]) -> Reliability | None:
    """Over all runs: of the predicted class, or of each label. None of kinds that give no probabilities."""
    said, so = [], []
    for outcome in outcomes:
        if not isinstance(outcome, SampleOutcome) or outcome.kind is TaskKind.REGRESSION:
            return None
        if outcome.kind is TaskKind.SINGLE_LABEL:
            said.append(outcome.scores.max(1))
            so.append(outcome.scores.argmax(1) == outcome.labels)
        else:
            said.append(outcome.scores.ravel())
            so.append(outcome.labels.ravel() > THRESHOLD)
    confidence, right = np.concatenate(said), np.concatenate(so).astype(np.float64)
    bins = np.clip(np.ceil(confidence * _BINS).astype(np.int64) - 1, 0, _BINS - 1)
    counts = np.bincount(bins, minlength=_BINS)
    filled = counts > 0
    said_mean, right_mean = (np.bincount(bins, part, _BINS)[filled] / counts[filled] for part in (confidence, right))
    return Reliability(said_mean, right_mean, counts[filled] / len(confidence))


def reliability_chart(name: str, look_class: str, reliability: Reliability) -> str:
    """A small square: the diagonal is perfect; below it, how often which probability was given."""
    side, foot = _SIDE, 26
    points = [
        f"{side * x:.1f} {side * (1 - y):.1f}"
        for x, y in zip(reliability.confidence, reliability.frequency, strict=True)
    ]
    most = reliability.share.max()
    dots, bars = [], []
    for x, y, share in zip(reliability.confidence, reliability.frequency, reliability.share, strict=True):
        dots.append(f'<circle class="mark" cx="{side * x:.1f}" cy="{side * (1 - y):.1f}" r="3.2"/>')
        height = max(0.6, foot * share / most)
        bars.append(f'<path class="bar" d="M{side * x:.1f} {side + 4 + foot:.1f}v{-height:.1f}"/>')
    return (
        f'<figure class="reliability {look_class}"><svg viewBox="-3 -3 {side + 6} {side + foot + 8}" role="img" '
        f'aria-label="reliability of {escape(name)}, calibration error {reliability.error:.3f}">'
        f'<rect class="frame" width="{side}" height="{side}"/><path class="diagonal" d="M0 {side}L{side} 0"/>'
        f'<path class="line" d="M{"L".join(points)}"/>{"".join(dots)}{"".join(bars)}</svg>'
        f"<figcaption>{escape(name)}<b>ECE {reliability.error:.3f}</b></figcaption></figure>"
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
        f'aria-label="predicted over true values of {escape(name)}"><rect class="frame" width="{_SIDE}" height="{_SIDE}"/>'
        f'<path class="diagonal" d="M0 {_SIDE}L{_SIDE} 0"/><g class="cloud">{dots}</g></svg>'
        f"<figcaption>{escape(name)}<b>{ends}</b></figcaption></figure>"
    )

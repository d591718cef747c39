"""Charts as HTML and SVG without scripts: intervals on a common axis, and small line charts.

Text stays text of the page, so that it is readable on a telephone and follows the reader's light or dark mode; SVG
draws lines only.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files


@dataclass(frozen=True)
class Interval:
    """A score and its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def text(self) -> str:
        """``0.71 [0.68, 0.74]``."""
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}]".replace("-", "\N{MINUS SIGN}")


@dataclass(frozen=True)
class Line:
    """One curve."""

    hue: int
    """1 to 4: a colour of the page"""
    points: Sequence[tuple[float, float]]
    """(step, value)"""


def html_page(title: str, body: str, *styles: str, script: str = "") -> str:
    """A page with everything in it.

    Args:
        title: plain text.
        body: HTML.
        styles: names of style sheets of this package, beside those of every page.
        script: JavaScript that runs once the page is there.
    """
    style = style_sheets("colours.css", "page.css", *styles)
    end = f"<script>\n{script}</script>\n" if script else ""
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n{body}\n{end}</body>\n</html>\n"
    )


def style_sheets(*names: str) -> str:
    """Style sheets of this package, one after the other."""
    return "".join(files(__package__).joinpath(name).read_text(encoding="utf-8") for name in names)


def interval_chart(title: str, note: str, rows: Mapping[str, tuple[int, Interval]], *, emphasised: bool = False) -> str:
    """A card with one row for each method: name, dot with its interval, number.

    Args:
        title: of the card.
        note: beside it: metric and sizes.
        rows: hue and score by the method's title.
        emphasised: draw attention to the card.
    """
    low, high = _axis([interval for _, interval in rows.values()])
    lines = []
    best = max(interval.value for _, interval in rows.values())
    for name, (hue, interval) in rows.items():
        left, right, dot = (
            100 * min(1.0, max(0.0, (number - low) / (high - low)))
            for number in (interval.low, interval.high, interval.value)
        )
        label = f"<b>{escape(name)}</b>" if interval.value == best else escape(name)
        lines.append(
            f'<div class="row hue-{hue}"><span>{label}</span><div class="track">'
            f'<span class="span" style="left:{left:.2f}%;width:{right - left:.2f}%"></span>'
            f'<span class="dot" style="left:{dot:.2f}%"></span></div>'
            f'<span class="number">{interval.text}</span></div>'
        )
    ends = f'<span class="ends"><span>{low:.2f}</span><span>{high:.2f}</span></span>'.replace("-", "\N{MINUS SIGN}")
    lines.append(f'<div class="row axis"><span></span>{ends}<span></span></div>')
    kind = ' class="mean"' if emphasised else ""
    head = f'<header><h3>{escape(title)}</h3><span class="quiet">{escape(note)}</span></header>'
    return f"<article{kind}>{head}{''.join(lines)}</article>"


def _axis(intervals: Sequence[Interval]) -> tuple[float, float]:
    """Ends of an axis that holds all intervals, at multiples of 0.05 with some air."""
    low = min(interval.low for interval in intervals)
    high = max(interval.high for interval in intervals)
    air = max(0.02, 0.06 * (high - low))
    return math.floor((low - air) * 20) / 20, math.ceil((high + air) * 20) / 20


def line_chart(title: str, lines: Sequence[Line]) -> str:
    """A small card with curves over steps; the vertical axis spans the values shown."""
    points = [point for line in lines for point in line.points if math.isfinite(point[1])]
    if not points:
        return ""
    last = max(step for step, _ in points)
    low, high = min(value for _, value in points), max(value for _, value in points)
    spread = (high - low) or 1.0
    paths = []
    for line in lines:
        spots = [
            f"{100 * step / max(last, 1):.2f} {100 - 100 * (value - low) / spread:.2f}"
            for step, value in line.points
            if math.isfinite(value)
        ]
        paths.append(f'<path class="hue-{line.hue}" d="M{"L".join(spots)}"/>')
    return (
        f'<div class="curve"><h3>{escape(title)}</h3><div class="plot">'
        f'<div class="scale"><span>{_short(high)}</span><span>{_short(low)}</span></div>'
        f'<svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img" aria-label="loss of {escape(title)}">'
        f"{''.join(paths)}</svg>"
        f'<div class="steps"><span>0</span><span>{last:.0f} steps</span></div></div></div>'
    )


def smooth(points: Sequence[tuple[float, float]], most: int = 120) -> list[tuple[float, float]]:
    """At most about ``most`` points, each the mean over a run of neighbours; NaN is left out."""
    known = [(step, value) for step, value in points if math.isfinite(value)]
    run = max(1, len(known) // most)
    groups = [known[start : start + run] for start in range(0, len(known), run)]
    return [(sum(s for s, _ in g) / len(g), sum(v for _, v in g) / len(g)) for g in groups]


def _short(value: float) -> str:
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")

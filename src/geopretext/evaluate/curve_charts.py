"""Scores against the number of labels or of parameters, as SVG: one look a method, told apart without colour.

In a page the charts take its colours; ``standalone`` makes a file of its own of one, which follows light and dark too.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from geopretext.evaluate.charts import Interval, style_sheets

HUES = 8
"""Colours of the page; from the ninth method on they come again with another marker."""
_WIDTH, _HEIGHT = 380, 250
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 16, 10, 40
_SIZE = 4.6
_DASHES = ("", "7 3", "2 2.5", "9 3 2 3", "5 2", "1.5 3", "12 3", "4 2 1.5 2")
_LEGEND_LINE = 19
_ASIDE = 11  # between points of one number
_BANDS = 5  # lines whose bands can be told apart
_FEW = 4  # numbers, each of which has its tick


@dataclass(frozen=True)
class Series:
    """One method in a chart."""

    name: str
    look: int
    """from 0: colour, marker and dashes"""
    points: Sequence[tuple[float, Interval]]
    """(labels or parameters, above 0; score)"""


@dataclass(frozen=True)
class Chart:
    """Scores over a logarithmic axis."""

    title: str
    x_title: str
    y_title: str
    series: Sequence[Series]
    joined: bool = True
    """lines with bands of intervals, or fine bars if they are many; False: points with bars, which are no sequence"""
    percent: bool = False
    """x is a share"""

    @property
    def drawing(self) -> str:
        """An ``<svg>`` for a page that has ``suite_report.css``."""
        return (
            f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{escape(self._summary)}">{self._inner}</svg>'
        )

    @property
    def standalone(self) -> str:
        """A file of its own, with title and legend."""
        style = style_sheets("colours.css", "curve_charts.css")
        top = _HEIGHT + 40
        rows = "".join(
            f'<g transform="translate(16 {top + number * _LEGEND_LINE})">{sample(line.look)}'
            f'<text x="40" y="4">{escape(line.name)}</text></g>'
            for number, line in enumerate(self.series)
        )
        height = top + len(self.series) * _LEGEND_LINE + 4
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{2 * _WIDTH}" '
            f'height="{2 * height}" role="img" aria-label="{escape(self._summary)}">\n<style>\n{style}</style>\n'
            f'<rect class="paper" width="{_WIDTH}" height="{height}"/>'
            f'<text class="title" x="12" y="20">{escape(self.title)}</text>'
            f'<g transform="translate(0 26)">{self._inner}</g>{rows}</svg>\n'
        )

    @property
    def _summary(self) -> str:
        lines = "; ".join(
            f"{line.name}: " + ", ".join(f"{score.value:.3f} at {_compact(x)}" for x, score in line.points)
            for line in self.series
        )
        return f"{self.title}, {self.y_title} against {self.x_title}. {lines}"

    @property
    def _inner(self) -> str:
        scores = [score for line in self.series for _, score in line.points]
        numbers = sorted({x for line in self.series for x, _ in line.points})
        low, high, step = _range(min(score.low for score in scores), max(score.high for score in scores))
        first, last = math.log10(numbers[0]), math.log10(numbers[-1])
        air = (0.06 if self.joined else 0.14) * (last - first) or 0.3

        def across(x: float) -> float:
            return _LEFT + (math.log10(x) - first + air) / (last - first + 2 * air) * (_WIDTH - _LEFT - _RIGHT)

        def down(y: float) -> float:
            return _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM)

        ticks = numbers if self.joined or len(numbers) <= _FEW else _decades(numbers)
        grid = _grid(low, high, step, down) + _ticks(ticks, across, _share if self.percent else _compact)
        titles = (
            f'<text class="axis-title" x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 5}" text-anchor="end">'
            f"{escape(self.x_title)}</text>"
            f'<text class="axis-title" x="12" y="{_TOP}" text-anchor="end" transform="rotate(-90 12 {_TOP})">'
            f"{escape(self.y_title)}</text>"
        )
        if not self.joined:
            return grid + titles + "".join(self._clouds(across, down))
        # The first method is drawn last, on top of the others; and all lines on top of all intervals.
        drawn = list(reversed(self.series))
        banded = drawn if len(drawn) <= _BANDS else drawn[-1:]
        intervals = [(_band if line in banded else _whiskers)(line, across, down) for line in drawn]
        return grid + titles + "".join(intervals) + "".join(_curve(line, across, down) for line in drawn)

    def _clouds(self, across: "Scale", down: "Scale") -> list[str]:
        """Points with bars; those of one number stand beside each other."""
        numbers = [f"{x:.3g}" for line in self.series for x, _ in line.points]
        seen: dict[str, int] = {}
        clouds = []
        for line in self.series:
            parts = []
            for x, score in line.points:
                name = f"{x:.3g}"
                place = seen[name] = seen.get(name, -1) + 1
                at = across(x) + _ASIDE * (place - (numbers.count(name) - 1) / 2)
                bar = f'<path class="bar" d="M{at:.1f} {down(score.low):.1f}V{down(score.high):.1f}"/>'
                parts.append(bar + _mark(line, x, score, at, down(score.value)))
            clouds.append(f'<g class="{_hue(line.look)}">{"".join(parts)}</g>')
        return clouds


def sample(look: int) -> str:
    """A piece of line with its marker, 32 units wide around y = 0, for legends."""
    line = f'<path class="line" d="M0 0H32"{_dash(look)}/>'
    return f'<g class="{_hue(look)}">{line}{marker(look, 16, 0)}</g>'


def marker(look: int, x: float, y: float) -> str:
    """The mark of a method around a point."""
    s = _SIZE
    place = f"translate({x:.1f} {y:.1f})"
    shapes = (
        f'<circle r="{s}"/>',
        f'<rect x="{-s}" y="{-s}" width="{2 * s}" height="{2 * s}"/>',
        f'<path d="M0 {-1.25 * s}L{1.2 * s} {0.85 * s}H{-1.2 * s}Z"/>',
        f'<path d="M0 {-1.35 * s}L{1.35 * s} 0L0 {1.35 * s}L{-1.35 * s} 0Z"/>',
        f'<path d="M0 {1.25 * s}L{1.2 * s} {-0.85 * s}H{-1.2 * s}Z"/>',
        f'<path class="open" d="M{-s} {-s}L{s} {s}M{s} {-s}L{-s} {s}"/>',
        f'<path class="open" d="M{-1.2 * s} 0H{1.2 * s}M0 {-1.2 * s}V{1.2 * s}"/>',
        f'<circle class="ring" r="{s}"/>',
    )
    kind = (look + look // HUES) % len(shapes)
    return f'<g class="mark" transform="{place}">{shapes[kind]}</g>'


def _hue(look: int) -> str:
    return f"hue-{look % HUES + 1}"


def _dash(look: int) -> str:
    dash = _DASHES[look % len(_DASHES)]
    return f' stroke-dasharray="{dash}"' if dash else ""


Scale = Callable[[float], float]


def _number(point: tuple[float, Interval]) -> float:
    return point[0]


def _curve(line: Series, across: Scale, down: Scale) -> str:
    points = sorted(line.points, key=_number)
    middle = [f"{across(x):.1f} {down(score.value):.1f}" for x, score in points]
    marks = "".join(_mark(line, x, score, across(x), down(score.value)) for x, score in points)
    path = f'<path class="line" d="M{"L".join(middle)}"{_dash(line.look)}/>'
    return f'<g class="{_hue(line.look)}">{path}{marks}</g>'


def _band(line: Series, across: Scale, down: Scale) -> str:
    points = sorted(line.points, key=_number)
    upper = [f"{across(x):.1f} {down(score.high):.1f}" for x, score in points]
    lower = [f"{across(x):.1f} {down(score.low):.1f}" for x, score in reversed(points)]
    return f'<path class="band {_hue(line.look)}" d="M{"L".join(upper + lower)}Z"/>'


def _whiskers(line: Series, across: Scale, down: Scale) -> str:
    """Intervals as fine bars, where bands of many methods would cover each other."""
    bars = (f"M{across(x):.1f} {down(score.low):.1f}V{down(score.high):.1f}" for x, score in line.points)
    return f'<path class="whisker {_hue(line.look)}" d="{"".join(bars)}"/>'


def _mark(line: Series, x: float, score: Interval, across: float, down: float) -> str:
    """A marker that says its numbers when it is pointed at."""
    return f"<g><title>{escape(line.name)}: {score.text} at {_compact(x)}</title>{marker(line.look, across, down)}</g>"


def _grid(low: float, high: float, step: float, down: Scale) -> str:
    count = round((high - low) / step)
    digits = max(0, -math.floor(math.log10(step) + 1e-9)) + (1 if f"{step:.1e}".startswith("2.5") else 0)
    lines = []
    for number in range(count + 1):
        value = low + number * step
        y = down(value)
        text = f"{value:.{digits}f}".replace("-", "\N{MINUS SIGN}")
        lines.append(
            f'<path class="grid" d="M{_LEFT} {y:.1f}H{_WIDTH - _RIGHT}"/>'
            f'<text x="{_LEFT - 6}" y="{y + 3.5:.1f}" text-anchor="end">{text}</text>'
        )
    return "".join(lines)


def _ticks(numbers: Sequence[float], across: Scale, text: Callable[[float], str]) -> str:
    """Ticks at the numbers, named as far as there is room: the last one always."""
    parts, taken = [], math.inf
    for number in reversed(numbers):
        x = across(number)
        parts.append(f'<path class="grid" d="M{x:.1f} {_HEIGHT - _BOTTOM}v4"/>')
        half = 3.4 * len(text(number)) + 3
        if x + half <= taken:
            parts.append(f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="middle">{text(number)}</text>')
            taken = x - half
    return "".join(parts)


def _range(low: float, high: float) -> tuple[float, float, float]:
    """Ends and step of an axis: about five steps of 1, 2, 2.5 or 5 times a power of ten."""
    spread = max(high - low, 0.01)
    rough = spread / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough * 0.999)
    return math.floor(low / step + 1e-9) * step, math.ceil(high / step - 1e-9) * step, step


def _decades(numbers: Sequence[float]) -> list[float]:
    """1, 2 and 5 times powers of ten around the numbers, as many as are needed."""
    first, last = math.floor(math.log10(numbers[0])), math.ceil(math.log10(numbers[-1]))
    factors = (1,) if last - first > 3 else (1, 2, 5)
    every = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
    inside = [number for number in every if numbers[0] * 0.999 <= number <= numbers[-1] * 1.001]
    return inside or [numbers[0], numbers[-1]]


def _compact(number: float) -> str:
    """``2,700``, ``54k``, ``3.7M``."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e4, "k")):
        if number >= size:
            scaled = number / (1e3 if unit == "k" else size)
            return f"{scaled:.3g}{unit}"
    return f"{number:,.0f}"


def _share(number: float) -> str:
    return f"{100 * number:.2g} %" if number < 0.1 else f"{100 * number:.0f} %"

"""A sheet of histograms: every band of every modality, beside what is known of it from MMEarth or the catalogue."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.histograms import PUBLISHED_BANDS, Histogram, PublishedBand
from geopretext.data.survey import Coverage, Survey
from geopretext.modality import Band, Modality
from geopretext.predict.page import INK, QUIET, Page
from geopretext.predict.panels import class_colors
from geopretext.predict.quantities import axis_end

# Lengths are in inches.
_EDGE, _GAP, _WIDE, _HIGH = 0.25, 0.16, 1.42, 0.55
_HEAD, _TITLE, _FOOT, _COLUMNS, _LINE = 0.72, 0.34, 0.36, 6, 0.135
_MOST_CLASSES = 8
_LEVEL_COLORS = ("#0b5a8a", "#d55e00", "#555555")
_KEY = (
    "Lines under a histogram: MMEarth's mean (dot) and one standard deviation to each side, where they are known."
    " Below: the range drawn, without 0.5 % of the values at each end."
)


def draw_histograms(survey: Survey, modalities: Mapping[str, Modality], path: str | Path, *, dpi: int = 130) -> None:
    """Write the histograms of all bands, and the classes of all categorical modalities.

    Args:
        survey: of the tiles.
        modalities: by name.
        path: of the picture.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    shown = {name: m for name, m in modalities.items() if name in survey.coverage}
    heights = {name: _height(m, len(survey.classes.get(name, {}))) for name, m in shown.items()}
    width = 2 * _EDGE + _COLUMNS * (_WIDE + _GAP) - _GAP
    page = Page(width, 2 * _EDGE + _HEAD + sum(heights.values()))
    page.text(_EDGE, _EDGE, f"Values of {len(survey.tiles):,} tiles", size=11, weight="bold")
    page.text(_EDGE, _EDGE + 0.21, _KEY, size=6.5, color=QUIET)
    _draw_levels(page, sorted({level for name in shown for level in survey.histograms.get(name, {}) if level}))
    top = _EDGE + _HEAD
    for name, modality in shown.items():
        coverage = survey.coverage[name]
        page.text(_EDGE, top, modality.title or name, size=8.5, weight="bold")
        missing = f"{coverage.share:.1%} missing, {coverage.absent:.1%} of the tiles have none"
        page.text(page.width - _EDGE, top + 0.02, missing, size=6.5, color=QUIET, ha="right")
        if modality.kind.is_categorical:
            _draw_classes(page, modality, survey.classes.get(name, {}), top + _TITLE - 0.12)
        else:
            _draw_bands(page, modality, survey.histograms.get(name, {}), coverage, top + _TITLE - 0.1)
        top += heights[name]
    page.save(Path(path), dpi)


def _height(modality: Modality, classes: int) -> float:
    if modality.kind.is_categorical:
        lines = min(classes, _MOST_CLASSES) + (classes > _MOST_CLASSES)
        return _TITLE + -(-lines // 2) * _LINE + 0.1
    return _TITLE + -(-len(modality.bands) // _COLUMNS) * (0.14 + _HIGH + _FOOT)


def _draw_levels(page: Page, levels: list[str]) -> None:
    left = _EDGE
    for level, color in zip(levels, _LEVEL_COLORS, strict=False):
        page.swatch(left, _EDGE + 0.41, color)
        page.text(left + 0.13, _EDGE + 0.4, level, size=7)
        left += 0.6


def _draw_bands(
    page: Page,
    modality: Modality,
    histograms: Mapping[str, Mapping[str, Histogram]],
    coverage: Coverage,
    top: float,
) -> None:
    for number, band in enumerate(modality.bands):
        left = _EDGE + number % _COLUMNS * (_WIDE + _GAP)
        line = top + number // _COLUMNS * (0.14 + _HIGH + _FOOT)
        unit = f" ({band.unit})" if band.unit != "1" else ""
        words = f"{band.name}{unit}"
        page.text(left, line, words, size=6.5 * min(1.0, 27 / len(words)))
        found = {level: bands[band.name] for level, bands in histograms.items() if band.name in bands}
        missing = coverage.missing[band.name]
        _draw_band(page, modality, band, found, missing, left, line + 0.13)


def _draw_band(
    page: Page, modality: Modality, band: Band, found: Mapping[str, Histogram], missing: float, left: float, top: float
) -> None:
    axes = page.axes(left, top, _WIDE, _HIGH)
    axes.set_yticks([])
    axes.set_xticks([])
    for side, spine in axes.spines.items():
        spine.set(linewidth=0.5, color=QUIET)
        spine.set_visible(side == "bottom")
    note = "nothing observed" if not found else _valid_text(band)
    if not found:
        page.text(left, top + _HIGH + 0.04, note, size=5.6, color=QUIET)
        return
    known = {level: PUBLISHED_BANDS.get((modality.name, level), {}).get(band.name) for level in found}
    spans = {level: _span(p, band) for level, p in known.items() if p}
    low = min([h.low for h in found.values()] + [span[0] for span in spans.values()])
    high = max([h.high for h in found.values()] + [span[1] for span in spans.values()])
    peak = 0.0
    for level, histogram in found.items():
        color = _color(modality, level)
        edges = np.linspace(histogram.low, histogram.high, len(histogram.counts) + 1)
        density = histogram.counts / max(1, histogram.counts.sum()) / (edges[1] - edges[0])
        axes.stairs(density, edges, fill=True, color=color, alpha=0.35, linewidth=0)
        axes.stairs(density, edges, color=color, linewidth=0.7)
        peak = max(peak, float(density.max()))
    axes.set_xlim(low, high)
    axes.set_ylim(0, peak * 1.06 or 1)
    for row, (level, span) in enumerate(spans.items()):
        published = known[level]
        assert published is not None
        at = -0.1 - 0.08 * row
        style: dict[str, Any] = {
            "color": _color(modality, level),
            "transform": axes.get_xaxis_transform(),
            "clip_on": False,
        }
        axes.plot(span, [at, at], linewidth=1.1, solid_capstyle="butt", **style)
        axes.plot([published.mean], [at], "o", markersize=2.6, **style)
    at = top + _HIGH + 0.135
    page.text(left, at, _end(low, 0.5), size=5.6)
    page.text(left + _WIDE, at, _end(high, -0.5), size=5.6, ha="right")
    page.text(left + _WIDE / 2, at, f"{missing:.1%} missing" if missing else "", size=5.6, ha="center", color=QUIET)
    if not any(known.values()):
        page.text(left + _WIDE / 2, at + 0.09, note, size=5.2, ha="center", color=QUIET)


def _color(modality: Modality, level: str) -> str:
    return _LEVEL_COLORS[modality.levels.index(level) % len(_LEVEL_COLORS)] if level else _LEVEL_COLORS[0]


def _end(edge: float, inward: float) -> str:
    """An end of the axis; bins of whole numbers end half way between two of them."""
    return f"{edge + inward:.0f}" if edge % 1 == 0.5 else axis_end(edge)


def _span(published: PublishedBand, band: Band) -> tuple[float, float]:
    """One standard deviation to each side of the mean, as far as values are valid."""
    low = published.mean - published.std
    return low if band.valid_min is None else max(low, band.valid_min), published.mean + published.std


def _valid_text(band: Band) -> str:
    if band.valid_min is None or band.valid_max is None:
        return ""
    return f"valid {band.valid_min:g} to {band.valid_max:g}"


def _draw_classes(page: Page, modality: Modality, counts: Mapping[int, int], top: float) -> None:
    total = sum(counts.values())
    if not total:
        page.text(_EDGE, top, "nothing observed", size=6.5, color=QUIET)
        return
    names, colors = {label.code: label.name for label in modality.classes}, class_colors(modality)
    listed = list(counts.items())[:_MOST_CLASSES]
    most = listed[0][1]
    half = (page.width - 2 * _EDGE + _GAP) / 2
    rows = -(-(len(listed) + (len(counts) > len(listed))) // 2)
    for number, (code, count) in enumerate(listed):
        left, line = _EDGE + number // rows * half, top + number % rows * _LINE
        name = names[code] if len(names[code]) <= 36 else f"{names[code][:35]}…"
        page.text(left, line, name, size=6.2)
        page.bar(left + 1.95, line + 0.01, (half - 2.65) * count / most, 0.085, colors[modality.class_index[code]])
        page.text(left + 2.0 + (half - 2.65) * count / most, line, f"{count / total:.1%}", size=6.2, color=INK)
    if len(counts) > len(listed):
        rest = 1 - sum(count for _, count in listed) / total
        line = top + len(listed) % rows * _LINE if len(listed) < 2 * rows else top + rows * _LINE
        page.text(_EDGE + half, line, f"{len(counts) - len(listed)} more, together {rest:.1%}", size=6.2, color=QUIET)

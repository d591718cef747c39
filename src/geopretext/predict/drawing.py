"""The picture of a reconstruction: one block a tile, one column a map, lines of text for the vectors.

All colour maps are safe for colour-blind readers; what was not observed is hatched, what was not predicted is plain
grey, and both stand in the key of the page.
"""

import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.modality import Observed
from geopretext.predict.legends import draw_legend, draw_title
from geopretext.predict.page import INK, QUIET, Page
from geopretext.predict.panels import (
    ERROR_MAP,
    NOT_PREDICTED,
    RIGHT,
    VALUES_MAP,
    WRONG,
    View,
    choose_views,
    classes_present,
    draw_color_bar,
    draw_missing_swatch,
    paint_error,
    paint_values,
)
from geopretext.predict.quantities import Row, place_text, vector_rows
from geopretext.predict.reconstruct import Reconstruction, Target

Array = npt.NDArray[Any]

# Lengths are in inches, from the upper left corner of the page.
_LEFT, _RIGHT, _TOP = 0.34, 0.15, 0.62
_SIDE, _GAP = 1.42, 0.10
_HEAD, _TITLES = 0.32, 0.34
_BARS, _TEXT_LINE = 0.74, 0.158
_COLUMNS, _NARROWEST = 7, 7.0
_LEGEND_LINES = 7
_NOTE_WIDTH = 26
"""characters that fit beside the first map"""


def draw(
    reconstruction: Reconstruction, path: str | Path, *, title: str = "", bands_per_modality: int = 1, dpi: int = 150
) -> None:
    """Write a picture: for each tile the masked input, then truth, prediction and error of every modality.

    Args:
        reconstruction: what to draw; one block a tile.
        path: of the picture; ``.png``, ``.pdf`` or ``.svg``.
        title: first line of the page.
        bands_per_modality: bands of a continuous map that are shown, the best observed first.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    blocks = [_Block(reconstruction, index, bands_per_modality) for index in range(len(reconstruction.coordinates))]
    columns = min(_COLUMNS, 1 + max(len(block.columns) for block in blocks))
    width = max(_NARROWEST, _LEFT + columns * (_SIDE + _GAP) - _GAP + _RIGHT)
    page = Page(width, _TOP + sum(block.height for block in blocks) + 0.1)
    _draw_key(page, title)
    top = _TOP
    for block in blocks:
        block.draw(page, top)
        top += block.height
    page.save(Path(path), dpi)


def _draw_key(page: Page, title: str) -> None:
    page.text(_LEFT, 0.1, title or "Reconstruction from a masked input", size=11, weight="bold")
    left, top = _LEFT, 0.36
    for color, words in (
        (NOT_PREDICTED, "hidden from the encoder (input), or shown to it and not predicted"),
        ("", "not observed"),
        (WRONG, "wrong class"),
        (RIGHT, "right class"),
    ):
        if color:
            page.swatch(left, top + 0.005, color)
        else:
            draw_missing_swatch(page.axes(left, top + 0.005, 0.16, 0.085))
            left += 0.08
        page.text(left + 0.13, top, words, size=7, color=QUIET)
        left += 0.13 + 0.0535 * len(words) + 0.18


def _note(reconstruction: Reconstruction) -> str:
    """What is seen, in lines as wide as a map."""
    seen = "the input" if len(reconstruction.used) < 2 else ", ".join(reconstruction.used)
    without = f", without {', '.join(reconstruction.absent)}" if reconstruction.absent else ""
    sentences = (
        f"Every modality is predicted from the visible patches of {seen} alone{without}.",
        "Errors count what was predicted; colours are those of the truth.",
    )
    return "\n\n".join(textwrap.fill(sentence, _NOTE_WIDTH) for sentence in sentences)


class _Block:
    """The part of the page that shows one tile."""

    def __init__(self, reconstruction: Reconstruction, index: int, bands_per_modality: int) -> None:
        self.reconstruction = reconstruction
        self.index = index
        self.columns: list[tuple[Target, View]] = []
        self.rows: list[Row] = []
        self.class_rows: list[Row] = []
        for target in reconstruction.targets:
            truth = Observed(target.truth.values[index], target.truth.valid[index])
            if target.modality.kind.is_map:
                views = choose_views(target.modality, *truth, bands_per_modality)
                self.columns.extend((target, view) for view in views)
            else:
                rows = vector_rows(target.modality, truth, target.prediction[index])
                (self.class_rows if target.modality.kind.is_categorical else self.rows).extend(rows)
        lines = -(-(1 + len(self.columns)) // _COLUMNS)
        self.maps_height = _TITLES + 3 * (_SIDE + 0.06) + _BARS
        self.text_columns = 2 if min(_COLUMNS, 1 + len(self.columns)) == _COLUMNS else 1
        text_lines = -(-len(self.rows) // self.text_columns) + len(self.class_rows)
        self.text_height = (text_lines + 1) * _TEXT_LINE + 0.12 if text_lines else 0.0
        self.height = _HEAD + lines * self.maps_height + self.text_height + 0.3

    def draw(self, page: Page, top: float) -> None:
        rule = page.axes(_LEFT, top, page.width - _LEFT - _RIGHT, 0.004)
        rule.set_facecolor(QUIET)
        rule.set_axis_off()
        page.text(_LEFT, top + 0.08, place_text(self.reconstruction.coordinates, self.index), size=9, weight="bold")
        top += _HEAD
        for start in range(0, 1 + len(self.columns), _COLUMNS):
            self._draw_line(page, top, start)
            top += self.maps_height
        self._draw_text(page, top)

    def _draw_line(self, page: Page, top: float, start: int) -> None:
        """Up to ``_COLUMNS`` columns; column 0 of the block is the input."""
        for row, word in enumerate(("truth", "prediction", "error")):
            middle = top + _TITLES + row * (_SIDE + 0.06) + _SIDE / 2
            page.text(0.12, middle, word, size=8, rotation=90, ha="center", va="center", color=QUIET)
        for place, column in enumerate(range(start, min(start + _COLUMNS, 1 + len(self.columns)))):
            left = _LEFT + place * (_SIDE + _GAP)
            if column == 0:
                self._draw_input(page, left, top)
            else:
                self._draw_column(page, left, top, *self.columns[column - 1])

    def _draw_input(self, page: Page, left: float, top: float) -> None:
        shown = Observed(self.reconstruction.shown.values[self.index], self.reconstruction.shown.valid[self.index])
        view = choose_views(self.reconstruction.input, *shown, 1)[0]
        seen = self.reconstruction.visible[self.index].mean()
        draw_title(page, left, top, f"Input ({seen:.0%} visible)", view.detail)
        axes = page.axes(left, top + _TITLES, _SIDE, _SIDE)
        paint_values(axes, view, *shown, self.reconstruction.visible[self.index])
        note = _note(self.reconstruction)
        page.text(left, top + _TITLES + _SIDE + 0.06, note, size=6.8, color=QUIET, linespacing=1.35)

    def _draw_column(self, page: Page, left: float, top: float, target: Target, view: View) -> None:
        index = self.index
        truth = Observed(target.truth.values[index], target.truth.valid[index])
        hidden = ~self.reconstruction.visible[index]
        if target.everywhere:
            hidden = np.ones_like(hidden)
        error = target.error()
        prediction, everywhere = target.prediction[index], np.ones_like(truth.valid)
        is_input = self.reconstruction.is_input(target.modality.name)
        shown = hidden
        if is_input and not target.everywhere:  # beside its own visible patches the prediction is easier to judge
            prediction, everywhere = np.where(hidden, prediction, truth.values), hidden | truth.valid
            shown = None
        draw_title(page, left, top, view.label, view.detail)
        tops = [top + _TITLES + row * (_SIDE + 0.06) for row in range(3)]
        paint_values(page.axes(left, tops[0], _SIDE, _SIDE), view, *truth)
        paint_values(page.axes(left, tops[1], _SIDE, _SIDE), view, prediction, everywhere, shown)
        worst = paint_error(
            page.axes(left, tops[2], _SIDE, _SIDE), view, error.values[index], error.valid[index], hidden
        )
        foot = tops[2] + _SIDE + 0.06
        counted = truth.valid & hidden
        mean = float(error.values[index][counted].mean()) if counted.any() else float("nan")
        if view.bands:
            self._draw_bars(page, left, foot, view, worst, target)
        else:
            maps = [(truth.values, truth.valid), (prediction, everywhere & hidden)]
            self._draw_legend(page, left, foot, view, maps, right=1 - mean)

    def _draw_bars(self, page: Page, left: float, top: float, view: View, worst: float, target: Target) -> None:
        unit = view.modality.bands[view.bands[0]].unit
        unit = "" if unit == "1" else f", {unit}"
        if len(view.bands) == 1:
            draw_color_bar(page.axes(left, top, _SIDE, 0.06), VALUES_MAP, view.low, view.high)
            page.text(left + _SIDE / 2, top + 0.085, f"value{unit}", size=6, ha="center", color=QUIET)
        else:
            text = (
                "brightness from the truth,\ncontrast predicted"
                if target.restored
                else "stretch: 2 to 98 % of the truth"
            )
            page.text(left, top, text, size=6.2, color=QUIET, linespacing=1.1)
        draw_color_bar(page.axes(left, top + 0.27, _SIDE, 0.06), ERROR_MAP, 0.0, worst)
        words = f"error{unit}"
        page.text(left + _SIDE / 2, top + 0.355, words, size=min(6.0, 130 / len(words)), ha="center", color=QUIET)

    def _draw_legend(self, page: Page, left: float, top: float, view: View, maps: Any, right: float) -> None:
        present, more = classes_present(maps, _LEGEND_LINES - 2)
        y = draw_legend(page, left, top, view.modality, present, more)
        if np.isfinite(right):
            page.text(left + _SIDE, y, f"{right:.0%} right", size=6.2, ha="right", color=QUIET)

    def _draw_text(self, page: Page, top: float) -> None:
        wide = (page.width - _LEFT - _RIGHT) / self.text_columns
        lines = -(-len(self.rows) // self.text_columns)
        for column in range(self.text_columns if self.rows else 0):
            left = _LEFT + column * wide
            _draw_row(page, left, top, wide, Row("", "truth", "prediction", "error"), color=QUIET)
            for line, row in enumerate(self.rows[column * lines : (column + 1) * lines], start=1):
                _draw_row(page, left, top + line * _TEXT_LINE, wide, row)
        top += (lines + 1 if lines else 0) * _TEXT_LINE
        for line, row in enumerate(self.class_rows):
            words = f"{row.truth}   →   {row.prediction}" + (f",  {row.error}" if row.error else "")
            page.text(_LEFT, top + line * _TEXT_LINE, row.quantity, color=QUIET)
            page.text(_LEFT + 1.15, top + line * _TEXT_LINE, words)


def _draw_row(page: Page, left: float, top: float, wide: float, row: Row, color: str = INK) -> None:
    page.text(left, top, row.quantity, color=QUIET)
    for right, words in ((0.61, row.truth), (0.82, row.prediction), (0.95, row.error)):
        page.text(left + right * wide, top, words, ha="right", color=color)

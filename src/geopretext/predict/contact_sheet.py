"""A contact sheet: some tiles of a store, one row each, one column a map modality."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from geopretext.data.tiles import TileReader
from geopretext.errors import InputError
from geopretext.modality import Modality, Role
from geopretext.predict.legends import LINE, draw_legend
from geopretext.predict.page import QUIET, Page
from geopretext.predict.panels import (
    VALUES_MAP,
    choose_views,
    classes_present,
    draw_color_bar,
    draw_missing_swatch,
    paint_values,
)
from geopretext.predict.quantities import place_text

# Lengths are in inches.
_EDGE, _SIDE, _GAP, _HEAD, _FOOT, _CAPTION = 0.2, 1.3, 0.1, 0.62, 0.34, 0.2
_MOST_COLUMNS, _MOST_CLASSES = 12, 12


def draw_contact_sheet(
    reader: TileReader, tiles: Sequence[int], path: str | Path, *, side_products: bool = False, dpi: int = 130
) -> None:
    """Write a picture of some tiles with all their map modalities, each in its own stretch.

    Args:
        reader: of the tiles.
        tiles: their numbers.
        path: of the picture.
        side_products: also show modalities that only describe others (cloud masks).
        dpi: resolution of a PNG, dots an inch.

    Raises:
        InputError: there is no map modality, or no such tile.
        MissingLibraryError: matplotlib is not installed.
    """
    maps = [
        modality
        for modality in reader.modalities.values()
        if modality.kind.is_map and (side_products or modality.role is not Role.SIDE)
    ][:_MOST_COLUMNS]
    if not maps:
        raise InputError("has no map to show", where=reader.path)
    numbers = np.asarray(tiles, np.int64)
    raw = reader.read([modality.name for modality in maps], numbers)
    decoded = {modality.name: modality.decode(raw[modality.name]) for modality in maps}
    legends = {
        modality.name: classes_present([decoded[modality.name]], _MOST_CLASSES)
        for modality in maps
        if modality.kind.is_categorical
    }
    foot = 0.1 + LINE * max((len(present) + bool(more) for present, more in legends.values()), default=0)
    row_height = _CAPTION + _SIDE + _FOOT
    page = Page(2 * _EDGE + len(maps) * (_SIDE + _GAP) - _GAP, _EDGE + _HEAD + len(numbers) * row_height + foot + _EDGE)
    coordinates = reader.coordinates.take(numbers)
    _draw_heads(page, maps)
    for row in range(len(numbers)):
        top = _EDGE + _HEAD + row * row_height
        page.text(_EDGE, top, place_text(coordinates, row), size=7.5, color=QUIET)
        for column, modality in enumerate(maps):
            values, valid = decoded[modality.name]
            left = _EDGE + column * (_SIDE + _GAP)
            view = choose_views(modality, values[row], valid[row], 1)[0]
            paint_values(page.axes(left, top + _CAPTION, _SIDE, _SIDE), view, values[row], valid[row])
            below = top + _CAPTION + _SIDE + 0.04
            if len(view.bands) == 1:
                draw_color_bar(page.axes(left, below, _SIDE, 0.05), VALUES_MAP, view.low, view.high)
                page.text(left + _SIDE / 2, below + 0.07, view.detail, size=5.8, ha="center", color=QUIET)
            elif view.bands:
                page.text(left + _SIDE / 2, below, view.detail, size=5.8, ha="center", color=QUIET)
    _draw_legends(page, maps, legends, _EDGE + _HEAD + len(numbers) * row_height + 0.02)
    page.save(Path(path), dpi)


def _draw_heads(page: Page, maps: Sequence[Modality]) -> None:
    draw_missing_swatch(page.axes(_EDGE, _EDGE + 0.015, 0.16, 0.09))
    page.text(_EDGE + 0.22, _EDGE, "not observed", size=7, color=QUIET)
    titles = [modality.title or modality.name for modality in maps]
    size = 7.5 * min(1.0, 19 / max(len(title) for title in titles))
    for column, title in enumerate(titles):
        page.text(_EDGE + column * (_SIDE + _GAP), _EDGE + _HEAD - 0.2, title, size=max(5.2, size), weight="bold")


def _draw_legends(page: Page, maps: Sequence[Modality], legends: dict[str, tuple[list[int], int]], top: float) -> None:
    for column, modality in enumerate(maps):
        if modality.name not in legends:
            continue
        draw_legend(page, _EDGE + column * (_SIDE + _GAP), top, modality, *legends[modality.name])

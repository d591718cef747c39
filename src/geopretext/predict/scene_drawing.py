"""The picture of a reconstructed scene: the image, what was predicted of it, and the answers for the whole place.

However large the scene, the picture reads no more than it shows: overviews of the predicted maps, every so many pixels
of the scene itself.

Shapes: C bands, H W pixels of a panel.
"""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import MissingLibraryError
from geopretext.modality import Band, Observed
from geopretext.predict.legends import LINE, draw_legend, draw_title
from geopretext.predict.page import INK, QUIET, Page
from geopretext.predict.panels import (
    TRUE_COLOUR,
    VALUES_MAP,
    View,
    choose_views,
    classes_present,
    draw_color_bar,
    draw_missing_swatch,
    paint_values,
    stretch,
)
from geopretext.predict.predicted_map import PredictedMap
from geopretext.predict.quantities import NOT_OBSERVED, Row, compact, place_text, vector_rows
from geopretext.predict.scene import Scene
from geopretext.predict.scene_reconstruction import SceneReconstruction
from geopretext.predict.scene_truth import Comparison

Array = npt.NDArray[Any]

# Lengths are in inches, from the upper left corner of the page.
_EDGE, _GAP, _SIDE = 0.3, 0.16, 2.05
_TOP, _TITLES, _FOOT = 0.72, 0.34, 0.12
_BAR, _TEXT_LINE = 0.36, 0.165
_COLUMNS = 5
_CLASSES = 6
_PIXELS = 640
"""of a panel, on its longer side, at most"""
_READ_ROWS = 512
"""of the scene at a time"""
_NONE = "–"
_LEAST_SHARE = 0.005
"""that is written as a percentage"""


@dataclass(frozen=True)
class _Panel:
    title: str
    detail: str
    view: View
    values: Array
    valid: Array
    note: str = ""
    """in place of a colour bar"""


def draw_scene(
    reconstruction: SceneReconstruction, path: str | Path, *, bands_per_modality: int = 2, dpi: int = 150
) -> None:
    """Write a picture of the scene and of all that was predicted of it.

    Args:
        reconstruction: what to draw; its maps are read from their files.
        path: of the picture; ``.png``, ``.pdf`` or ``.svg``.
        bands_per_modality: bands of a continuous map that are shown, the first ones; colours are shown as one picture.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        MissingLibraryError: matplotlib or rasterio is not installed.
    """
    scene = reconstruction.scene
    image = _input_panel(reconstruction)
    groups = [[image]]
    for name, found in reconstruction.maps.items():
        compared = reconstruction.compared.get(name)
        predicted = _map_panels(found, image, reconstruction.input.name, bands_per_modality)
        groups += [[panel, *_real_panel(panel, compared)] for panel in predicted]
    scale = _SIDE / max(scene.height, scene.width)
    height = scene.height * scale
    lines = _lines(groups)
    columns = max(map(len, lines))
    feet = [max(map(_foot, line)) for line in lines]
    rows, classes = _vector_rows(reconstruction)
    text_columns = 2 if columns >= 4 else 1
    table = -(-len(rows) // text_columns) + bool(rows) + len(classes)
    width = 2 * _EDGE + columns * (_SIDE + _GAP) - _GAP
    tall = _TOP + sum(_TITLES + height + foot + _FOOT for foot in feet) + (table * _TEXT_LINE + 0.25) * bool(table)
    page = Page(width, tall + 0.15)
    _draw_head(page, reconstruction)
    top = _TOP
    for line, foot in zip(lines, feet, strict=True):
        for place, panel in enumerate(line):
            _draw_panel(page, _EDGE + place * (_SIDE + _GAP), top, panel, scene.width * scale, height)
        top += _TITLES + height + foot + _FOOT
    if table:
        _draw_vectors(page, top + 0.1, rows, classes, text_columns)
    page.save(Path(path), dpi)


def _lines(groups: list[list[_Panel]]) -> list[list[_Panel]]:
    """Panels line by line; what is to be compared stays side by side."""
    lines: list[list[_Panel]] = [[]]
    for group in groups:
        if len(lines[-1]) + len(group) > _COLUMNS:
            lines.append([])
        lines[-1] += group
    return lines


def _draw_head(page: Page, reconstruction: SceneReconstruction) -> None:
    scene = reconstruction.scene
    page.text(_EDGE, 0.12, "What other sensors would see here, predicted from the image alone", size=11, weight="bold")
    place = place_text(reconstruction.coordinates, 0)
    page.text(_EDGE, 0.35, f"{place}  ·  {scene.width:,} x {scene.height:,} pixels", size=7.5, color=QUIET)
    draw_missing_swatch(page.axes(_EDGE, 0.545, 0.16, 0.085))
    page.text(_EDGE + 0.22, 0.54, "not observed in the image, and therefore not predicted", size=7, color=QUIET)


def _draw_panel(page: Page, left: float, top: float, panel: _Panel, width: float, height: float) -> None:
    draw_title(page, left, top, panel.title, panel.detail, width=_SIDE)
    paint_values(page.axes(left, top + _TITLES, width, height), panel.view, panel.values, panel.valid)
    below = top + _TITLES + height + 0.07
    view = panel.view
    if not view.bands:
        present, more = classes_present([(panel.values, panel.valid)], _CLASSES)
        shares = [float((panel.values[panel.valid] == number).mean()) for number in present]
        draw_legend(page, left, below, view.modality, present, more, [_share(share) for share in shares])
    elif len(view.bands) == 1:
        unit = view.modality.bands[view.bands[0]].unit
        draw_color_bar(page.axes(left, below, width, 0.06), VALUES_MAP, view.low, view.high)
        page.text(left + width / 2, below + 0.085, "" if unit == "1" else unit, size=6.2, ha="center", color=QUIET)
    else:
        page.text(left, below, panel.note, size=6.2, color=QUIET, linespacing=1.15)


def _foot(panel: _Panel) -> float:
    """Height of what stands below a panel."""
    if panel.view.bands:
        return _BAR
    present, more = classes_present([(panel.values, panel.valid)], _CLASSES)
    return 0.1 + LINE * (len(present) + bool(more))


def _input_panel(reconstruction: SceneReconstruction) -> _Panel:
    scene = reconstruction.scene
    bands = TRUE_COLOUR if set(TRUE_COLOUR) <= set(scene.bands) else scene.bands[:1]
    modality = replace(
        reconstruction.input,
        bands=tuple(Band(name, scene.unit) for name in bands),
        dtype="float32",
        missing=(),
        title="The image",
    )
    values, valid = _read_scene(scene, bands)
    (view,) = choose_views(modality, values, valid, 1)
    level = f"{scene.level}, " if scene.level else ""
    note = "stretched from its 2nd to its 98th percentile"
    return _Panel("The image", level + view.detail, view, values, valid, note)


def _map_panels(found: PredictedMap, image: _Panel, input_name: str, most: int) -> list[_Panel]:
    """One for classes or colours, one a band for quantities."""
    observed = _read_map(found)
    is_input = found.modality.name == input_name
    panels = []
    for view in choose_views(found.modality, *observed, most):
        notes = []
        if is_input and len(view.bands) == len(image.view.bands) == 3:
            view = replace(view, low=image.view.low, high=image.view.high)
            notes.append("stretched as the image")
        if found.restored:
            notes.append("brightness and contrast from the image")
        detail = f"{view.detail}, from the surroundings" if is_input else view.detail
        panels.append(_Panel(view.label, detail, view, *observed, "\n".join(notes)))
    return panels


def _real_panel(predicted: _Panel, compared: Comparison | None) -> list[_Panel]:
    """The real product beside a predicted one, in its own colours; none if it lacks the band, or any common pixel."""
    names = [predicted.view.modality.band_names[band] for band in predicted.view.bands]
    if compared is None or not set(names) <= set(compared.modality.band_names):
        return []
    modality = compared.modality
    rows = modality.band_indices(names)
    if not all(compared.pixels[row] for row in rows or (0,)):
        return []
    shape = (predicted.valid.shape[-2], predicted.valid.shape[-1])
    values, valid = compared.truth.read(modality, shape)
    if compared.accuracy is not None:
        agreement = f"{compared.accuracy:.0%} predicted right"
        return [_Panel(f"{predicted.title}: real", agreement, View(modality, ()), values, valid)]
    view = View(modality, rows, *stretch(values[list(rows)], valid[list(rows)]))
    agreement = ", ".join(f"r {compared.correlation[row]:.2f}" for row in rows)
    detail = f"{view.detail}, {agreement}, RMSE {compact(compared.rmse[rows[0]])}"
    return [_Panel(f"{predicted.title}: real", detail, view, values, valid, "in its own stretch")]


def _share(share: float) -> str:
    return f"{share:4.0%}" if share >= _LEAST_SHARE else " <1%"


def _read_scene(scene: Scene, bands: tuple[str, ...]) -> Observed[Array]:
    step = -(-max(scene.height, scene.width) // _PIXELS)
    rows = max(step, _READ_ROWS // step * step)
    blocks = [
        scene.read(slice(start, min(start + rows, scene.height)), slice(0, scene.width), bands)
        for start in range(0, scene.height, rows)
    ]
    values, valid = (np.concatenate([block[part][:, ::step, ::step] for block in blocks], axis=1) for part in (0, 1))
    return Observed(values, valid)


def _read_map(found: PredictedMap) -> Observed[Array]:
    try:
        import rasterio
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="read GeoTIFFs") from error
    with rasterio.open(found.path) as file:
        factor = max(1.0, max(file.height, file.width) / _PIXELS)
        shape = (file.count, max(1, round(file.height / factor)), max(1, round(file.width / factor)))
        raw, seen = file.read(out_shape=shape), file.read_masks(out_shape=shape) > 0
    if not found.modality.kind.is_categorical:
        return Observed(raw, seen)
    values, _ = found.modality.decode(np.where(seen, raw, found.modality.classes[0].code)[None])
    return Observed(values[0], seen[0])


def _vector_rows(reconstruction: SceneReconstruction) -> tuple[list[Row], list[Row]]:
    """Lines for quantities, and for classes."""
    rows: list[Row] = []
    classes: list[Row] = []
    for found in reconstruction.vectors.values():
        into = classes if found.modality.kind.is_categorical else rows
        into += [
            replace(row, truth=_NONE) if row.truth == NOT_OBSERVED else row
            for row in vector_rows(found.modality, found.truth, found.values)
        ]
    return rows, classes


def _draw_vectors(page: Page, top: float, rows: list[Row], classes: list[Row], columns: int) -> None:
    rule = page.axes(_EDGE, top - 0.1, page.width - 2 * _EDGE, 0.004)
    rule.set_facecolor(QUIET)
    rule.set_axis_off()
    wide = (page.width - 2 * _EDGE + 0.3) / columns
    lines = -(-len(rows) // columns)
    for column in range(columns if rows else 0):
        left = _EDGE + column * wide
        _draw_row(page, left, top, wide - 0.3, Row("The place as a whole", "known", "predicted", "apart"), color=QUIET)
        for line, row in enumerate(rows[column * lines : (column + 1) * lines], start=1):
            _draw_row(page, left, top + line * _TEXT_LINE, wide - 0.3, row)
    top += (lines + 1 if lines else 0) * _TEXT_LINE
    for line, row in enumerate(classes):
        page.text(_EDGE, top + line * _TEXT_LINE, row.quantity, color=QUIET)
        page.text(_EDGE + 1.15, top + line * _TEXT_LINE, row.prediction)


def _draw_row(page: Page, left: float, top: float, wide: float, row: Row, color: str = INK) -> None:
    page.text(left, top, row.quantity, color=QUIET)
    for right, words in ((0.68, row.prediction), (0.86, row.truth), (1.0, row.error)):
        page.text(left + right * wide, top, words, ha="right", color=color)

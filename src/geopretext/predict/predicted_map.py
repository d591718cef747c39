"""Predicted maps as files: the numbers, no-data, classes and colours of the modality itself.

Shapes: C bands, K classes, D numbers a pixel as ``predict.modality_maps`` gives them, h w pixels.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.normalise import valid_range
from geopretext.modality import Modality
from geopretext.predict.cog import Bands, write_cog
from geopretext.predict.panels import class_colors
from geopretext.predict.scene_maps import Rows
from geopretext.predict.scene_run import SceneRun

Array = npt.NDArray[Any]

_SEEN = 0.5
"""share of a pixel that must have been observed: all of it or nothing, but for rounding"""
_PERCENT_NODATA = 255


@dataclass(frozen=True)
class MapLayout:
    """Where a modality is among the numbers of a pixel, and what they mean."""

    modality: Modality
    """with only the bands that are written"""
    channels: tuple[int, ...]
    """of its bands or classes, among D"""
    mean: Array
    """(C,), by which standardised bands become quantities; empty for classes"""
    std: Array
    """(C,)"""


@dataclass(frozen=True)
class PredictedMap:
    """One modality of a scene."""

    modality: Modality
    """with only the bands that are predicted"""
    path: Path
    """of the COG"""
    confidence: Path | None
    """COG of the probability of each pixel's class, percent; only of classes, if it was asked for"""
    from_shown: bool
    """True: each patch was predicted from itself and others; False: from others alone, as it was trained"""
    restored: bool
    """True: the network predicts contrast; mean and deviation of each patch are those of the input"""


def write_map(path: Path, run: SceneRun, layout: MapLayout, tags: Mapping[str, str]) -> None:
    """Write a modality as a COG.

    Quantities are float32 in the unit of their band, within its valid range, whatever type the modality is stored in:
    rounded to whole metres, low vegetation or a gentle slope would be gone. Classes are codes in their stored type.

    Args:
        path: of the file.
        run: whose rows hold the modality.
        layout: where.
        tags: of the file.

    Raises:
        StoreError: it cannot be written.
    """
    modality = layout.modality
    categorical = modality.kind.is_categorical
    nodata = _unused_code(modality) if categorical else np.nan
    dtype = modality.dtype if categorical else "float32"
    bands = Bands(
        descriptions=modality.band_names,
        dtype=dtype,
        nodata=nodata,
        units=() if categorical else tuple(band.unit for band in modality.bands),
        colours=_colours(modality) if categorical and dtype == "uint8" else None,
        categories={label.code: label.name for label in modality.classes} if categorical else None,
        tags=tags,
    )
    numbers = _codes if categorical else _quantities
    _write(path, run, bands, (np.where(_seen(rows), numbers(rows, layout), nodata) for rows in run.rows()))


def write_confidence(path: Path, run: SceneRun, layout: MapLayout, tags: Mapping[str, str]) -> None:
    """Write the probability of each pixel's class as a COG, in percent.

    Raises:
        StoreError: it cannot be written.
    """
    bands = Bands(("probability of the class",), "uint8", nodata=_PERCENT_NODATA, units=("percent",), tags=tags)
    likeliest = (
        np.where(_seen(rows), _probabilities(rows, layout).max(2, keepdims=True) * 100, _PERCENT_NODATA)
        for rows in run.rows()
    )
    _write(path, run, bands, (np.rint(block) for block in likeliest))


def _write(path: Path, run: SceneRun, bands: Bands, blocks: Iterator[Array]) -> None:
    write_cog(
        path,
        (block.astype(bands.dtype) for block in blocks),
        height=run.height,
        width=run.columns,
        georeference=run.georeference,
        bands=bands,
    )


def _seen(rows: Rows) -> Array:
    return np.asarray(rows.seen > _SEEN)[..., None]


def _quantities(rows: Rows, layout: MapLayout) -> Array:
    """Quantities of pixels, (h, w, C)."""
    low, high, _ = valid_range(layout.modality)
    quantities: Array = (rows.values[..., list(layout.channels)] * layout.std + layout.mean).clip(low, high)
    return quantities


def _codes(rows: Rows, layout: MapLayout) -> Array:
    """Codes of the likeliest classes, (h, w, 1)."""
    codes = np.array([label.code for label in layout.modality.classes])
    found: Array = codes[_probabilities(rows, layout).argmax(2)][..., None]
    return found


def _probabilities(rows: Rows, layout: MapLayout) -> Array:
    """Of each class, (h, w, K)."""
    return rows.values[..., list(layout.channels)]


def _unused_code(modality: Modality) -> float:
    """The number that means "missing" where the modality has one, and else one that is no class."""
    if modality.missing:
        return modality.fill
    codes = {label.code for label in modality.classes}
    return next(number for number in range(len(codes) + 1) if number not in codes)


def _colours(modality: Modality) -> dict[int, tuple[int, int, int, int]]:
    colours = {}
    for label, color in zip(modality.classes, class_colors(modality), strict=True):
        red, green, blue = (int(color[place : place + 2], 16) for place in (1, 3, 5))
        colours[label.code] = (red, green, blue, 255)
    return colours

"""One map as one picture: continuous with a colour bar, true colour, or classes with a legend.

A panel is drawn in three steps, so that truth and prediction look alike: choose what of the map is shown
(``choose_view``), fix its colours from the truth, then paint truth, prediction and error with the same view.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geopretext.modality import Modality
from geopretext.predict.page import INK, QUIET
from geopretext.predict.quantities import axis_end

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]
Mask = npt.NDArray[np.bool_]

NOT_PREDICTED = "#dce3e8"
MISSING_FACE, MISSING_HATCH = "#cfd4d8", "#8d979e"
VALUES_MAP, ERROR_MAP = "viridis", "magma_r"
RIGHT, WRONG = "#86b6cd", "#b8330f"
SPARE_COLORS = (
    "#4477aa", "#ee6677", "#228833", "#ccbb44", "#66ccee", "#aa3377", "#bbbbbb", "#ee7733", "#009988", "#33bbee",
    "#882255", "#999933",
)  # fmt: skip
TRUE_COLOUR = ("B4", "B3", "B2")


@dataclass(frozen=True)
class View:
    """What of a map modality is shown at one tile, and in which colours."""

    modality: Modality
    bands: tuple[int, ...]
    """three for a colour picture, one for a quantity, none for classes"""
    low: float = 0.0
    """value of the first colour"""
    high: float = 1.0
    """value of the last colour"""

    @property
    def label(self) -> str:
        """Title of the panel."""
        return self.modality.title or self.modality.name

    @property
    def detail(self) -> str:
        """Which bands are shown, and their unit."""
        if not self.bands:
            return f"{len(self.modality.classes)} classes"
        if len(self.bands) == 3:
            return "true colour " + " ".join(self.modality.band_names[band] for band in self.bands)
        band = self.modality.bands[self.bands[0]]
        return f"{band.name} ({band.unit})" if band.unit != "1" else band.name


def choose_views(modality: Modality, values: Array, valid: Mask, most: int) -> list[View]:
    """What to show of a map at one tile: true colour, the classes, or the ``most`` best observed bands.

    Args:
        modality: of a map kind.
        values: (C, H, W), or (H, W) class indices.
        valid: the same shape.
        most: bands of a continuous map to show at most.
    """
    if modality.kind.is_categorical:
        return [View(modality, ())]
    if set(TRUE_COLOUR) <= set(modality.band_names):
        bands = modality.band_indices(TRUE_COLOUR)
        return [View(modality, bands, *stretch(values[list(bands)], valid[list(bands)]))]
    share = valid.mean(axis=(1, 2))
    best = sorted(np.argsort(-share, kind="stable")[:most])
    return [View(modality, (int(band),), *stretch(values[band], valid[band])) for band in best]


def stretch(values: Array, valid: Mask) -> tuple[float, float]:
    """2nd and 98th percentile of what was observed, kept apart."""
    if not valid.any():
        return 0.0, 1.0
    low, high = (float(number) for number in np.percentile(values[valid], (2, 98)))
    if high - low > 1e-6 * max(abs(low), abs(high)):
        return low, high
    return (low, low + 1) if low == 0 else (low - abs(low) / 2, low + abs(low) / 2)  # constant


def paint_values(axes: "Axes", view: View, values: Array, valid: Mask, shown: Mask | None = None) -> None:
    """Paint one tile's map.

    Args:
        axes: to paint on.
        view: what and how.
        values: (C, H, W), or (H, W) class indices.
        valid: the same shape; where False the hatched ground shows.
        shown: (H, W); where False the picture is plain grey. None shows all.
    """
    _prepare(axes)
    image: Array
    alpha: Array
    if not view.bands:
        image = np.stack([_rgb(color) for color in class_colors(view.modality)])[values]
        alpha = valid.astype(np.float32)
    elif len(view.bands) == 3:
        image = np.moveaxis((values[list(view.bands)] - view.low) / (view.high - view.low), 0, -1).clip(0, 1)
        alpha = np.asarray(valid[list(view.bands)].all(axis=0), np.float32)
    else:
        band = view.bands[0]
        _paint_quantity(axes, values[band], valid[band], view.low, view.high, VALUES_MAP)
        _cover(axes, shown)
        return
    axes.imshow(np.dstack([image, alpha]), interpolation="nearest")
    _cover(axes, shown)


def paint_error(axes: "Axes", view: View, error: Array, valid: Mask, shown: Mask | None) -> float:
    """Paint one tile's absolute error, or its wrong pixels; returns the value of the last colour.

    A colour picture shows the mean over its three bands. Arguments as for ``paint_values``.
    """
    _prepare(axes)
    if not view.bands:
        image = np.where(error[..., None] > 0, _rgb(WRONG), _rgb(RIGHT))
        axes.imshow(np.dstack([image, valid.astype(np.float32)]), interpolation="nearest")
        _cover(axes, shown)
        return 1.0
    bands = list(view.bands)
    mean: Array = np.asarray(error[bands].mean(axis=0))
    exists: Mask = np.asarray(valid[bands].all(axis=0))
    counted = exists if shown is None else exists & shown
    top = float(np.percentile(mean[counted], 98)) if counted.any() else 1.0
    top = max(top, 1e-6)
    _paint_quantity(axes, mean, exists, 0.0, top, ERROR_MAP)
    _cover(axes, shown)
    return top


def class_colors(modality: Modality) -> list[str]:
    """A colour ``#rrggbb`` for each class, published or else from a palette for colour-blind readers."""
    return [label.color or SPARE_COLORS[index % len(SPARE_COLORS)] for index, label in enumerate(modality.classes)]


def classes_present(arrays: list[tuple[Array, Mask]], most: int) -> tuple[list[int], int]:
    """Class indices in the maps, most frequent first, ``most`` of them; and how many more there are."""
    everything = np.concatenate([values[valid] for values, valid in arrays])
    classes, counts = np.unique(everything, return_counts=True)
    order = [int(index) for index in classes[np.argsort(-counts, kind="stable")]]
    return order[:most], max(0, len(order) - most)


def draw_color_bar(axes: "Axes", colors: str, low: float, high: float) -> None:
    """A horizontal colour bar with its two ends written under it."""
    axes.imshow(np.linspace(0, 1, 256)[None], aspect="auto", cmap=colors, extent=(0, 1, 0, 1))
    axes.set_yticks([])
    axes.set_xticks([])
    for spine in axes.spines.values():
        spine.set(linewidth=0.4, color=QUIET)
    for x, value, side in ((0.0, low, "left"), (1.0, high, "right")):
        axes.text(x, -0.35, axis_end(value), ha=side, va="top", fontsize=6.5, color=INK, transform=axes.transAxes)


def draw_missing_swatch(axes: "Axes") -> None:
    """A small field of the hatched ground that means "not observed"."""
    _prepare(axes)


def _prepare(axes: "Axes") -> None:
    """An empty frame over the hatched ground that shows through wherever nothing is painted."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.patch.set(facecolor=MISSING_FACE, edgecolor=MISSING_HATCH, hatch="//////", linewidth=0)
    for spine in axes.spines.values():
        spine.set(linewidth=0.5, color=QUIET)


def _paint_quantity(axes: "Axes", values: Array, valid: Mask, low: float, high: float, colors: str) -> None:
    shown = np.ma.masked_array(values, ~valid)
    axes.imshow(shown, cmap=colors, vmin=low, vmax=high, interpolation="nearest")


def _cover(axes: "Axes", shown: Mask | None) -> None:
    if shown is None:
        return
    cover = np.empty((*shown.shape, 4), np.float32)
    cover[..., :3] = _rgb(NOT_PREDICTED)
    cover[..., 3] = ~shown
    axes.imshow(cover, interpolation="nearest")


def _rgb(color: str) -> Array:
    return np.array([int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)], np.float32)

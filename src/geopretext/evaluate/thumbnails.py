"""Small pictures of a task's samples and of label maps, as PNG inside a page.

Shapes: m samples, C bands, H W pixels.
"""

import base64
import io
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.errors import MissingLibraryError
from geopretext.evaluate.inputs import ImageInputs, Inputs, TileInputs
from geopretext.predict.panels import SPARE_COLORS

Array = npt.NDArray[Any]

_TRUE_COLOUR = ("B4", "B3", "B2")
_CUT = 2.0  # percent of the pixels of one picture that are allowed to saturate at either end
_UNSEEN = 0.5
# Ten equidistant colours of viridis, the colour map of matplotlib (van der Walt and Smith 2015), readable by everyone.
_VIRIDIS = (
    "#440154",
    "#482878",
    "#3e4989",
    "#31688e",
    "#26828e",
    "#1f9e89",
    "#35b779",
    "#6ece58",
    "#b5de2b",
    "#fde725",
)


def pictures(inputs: Inputs, samples: npt.NDArray[np.int64]) -> Array | None:
    """Samples as they look, (m, H, W, 3) from 0 to 1: true colour where the bands allow, else the first three or one.

    The three bands are stretched together, each picture by itself from its 2nd to its 98th percentile.

    Args:
        inputs: of a task.
        samples: as in ``Task.samples``.

    Returns:
        None if the inputs are of a kind that nothing is known about.

    Raises:
        CorruptError: a sample cannot be decoded.
    """
    match inputs:
        case ImageInputs(images=images):
            values, valid = images.read(samples, _shown(images.bands))
        case TileInputs(reader=reader):
            maps = [m for m in reader.modalities.values() if m.kind.is_map and not m.kind.is_categorical]
            coloured = [m for m in maps if set(_TRUE_COLOUR) <= set(m.band_names)]
            if not maps:
                return None
            modality = (coloured or maps)[0]
            rows = list(modality.band_indices(_shown(modality.band_names)))
            values, valid = modality.decode(reader.read([modality.name], samples)[modality.name])
            values, valid = values[:, rows], valid[:, rows]
        case _:
            return None
    return np.stack([_stretched(*sample) for sample in zip(values, valid, strict=True)])


def _shown(bands: tuple[str, ...]) -> tuple[str, ...]:
    if set(_TRUE_COLOUR) <= set(bands):
        return _TRUE_COLOUR
    return bands[:3] if len(bands) >= 3 else bands[:1]


def _stretched(values: Array, valid: npt.NDArray[np.bool_]) -> Array:
    """(1 or 3, H, W) -> (H, W, 3)."""
    known = values[valid]
    low, high = np.percentile(known, (_CUT, 100 - _CUT)) if len(known) else (0.0, 1.0)
    shown = np.clip((values - low) / max(high - low, 1e-9), 0, 1)
    shown = np.where(valid, shown, _UNSEEN)
    return np.moveaxis(np.broadcast_to(shown, (3, *shown.shape[1:])), 0, -1)


def centre(picture: Array, height: int, width: int) -> Array:
    """The middle of a picture (H, W, 3), as encoders see it."""
    top, left = max(0, (picture.shape[0] - height) // 2), max(0, (picture.shape[1] - width) // 2)
    return picture[top : top + height, left : left + width]


def class_color(index: int) -> str:
    """A colour ``#rrggbb`` for a class; those after the twelfth are darker, then lighter, shades of the first ones."""
    rounds, place = divmod(index, len(SPARE_COLORS))
    rgb = _rgb(SPARE_COLORS[place])
    shade = (rgb, rgb * 0.55, rgb + (255 - rgb) * 0.5)[rounds % 3]
    return "#" + "".join(f"{round(part):02x}" for part in shade)


def class_picture(classes: Array, known: npt.NDArray[np.bool_], count: int) -> Array:
    """Class indices (H, W) below ``count`` -> colours (H, W, 4) from 0 to 1, transparent where not ``known``."""
    palette = np.stack([_rgb(class_color(index)) for index in range(count)]) / 255
    return np.dstack([palette[np.clip(classes, 0, count - 1)], known.astype(np.float64)])


def quantity_picture(values: Array, known: npt.NDArray[np.bool_], low: float, high: float) -> Array:
    """Quantities (H, W) -> colours (H, W, 4) from 0 to 1 in viridis, transparent where not ``known``."""
    stops = np.stack([_rgb(color) for color in _VIRIDIS]) / 255
    place = np.clip((values - low) / max(high - low, 1e-12), 0, 1)
    steps = np.linspace(0, 1, len(stops))
    return np.dstack([*(np.interp(place, steps, stops[:, part]) for part in range(3)), known.astype(np.float64)])


def quantity_gradient() -> str:
    """The same colours from left to right, as CSS."""
    return f"linear-gradient(90deg, {', '.join(_VIRIDIS)})"


def png(picture: Array, most: int, *, smooth: bool = True) -> str:
    """A ``data:`` address of a picture, (H, W, 3 or 4) from 0 to 1.

    Args:
        picture: to encode.
        most: pixels of the longer side; larger pictures are made smaller.
        smooth: average pixels that fall together; classes are not to be averaged.

    Raises:
        MissingLibraryError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingLibraryError("PIL", extra="report", purpose="put pictures into a page") from error
    image = Image.fromarray(np.round(255 * np.clip(picture, 0, 1)).astype(np.uint8))
    scale = most / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS if smooth else Image.Resampling.NEAREST)
    content = io.BytesIO()
    image.save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _rgb(color: str) -> Array:
    return np.array([int(color[start : start + 2], 16) for start in (1, 3, 5)], np.float64)

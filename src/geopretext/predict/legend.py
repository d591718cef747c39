"""What the numbers of a class map stand for: codes, names and colours."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import cycle, islice
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from geopretext.errors import ClassError, InputError
from geopretext.modality import PUBLISHED
from geopretext.nn.settings import HeadLabels
from geopretext.predict.panels import SPARE_COLORS

Codes = npt.NDArray[np.integer[Any]]
_TYPES = (("uint8", 256), ("uint16", 65_536))
_SHADES = ((0.0, 0.0), (1.0, 0.45), (0.0, 0.4))
"""towards white (1) or black (0), and by what share: of the palette's first round, its second, its third"""


@dataclass(frozen=True)
class Legend:
    """Of a class map; K classes."""

    names: tuple[str, ...]
    codes: tuple[int, ...]
    """in the order of the network's scores"""
    colors: tuple[str, ...]
    """``#rrggbb``"""
    dtype: str
    """uint8 or uint16"""
    nodata: int
    """code of pixels that have no class"""

    @property
    def by_code(self) -> dict[int, str]:
        """Names."""
        return dict(sorted(zip(self.codes, self.names, strict=True)))

    @property
    def color_table(self) -> dict[int, tuple[int, int, int, int]]:
        """Red, green, blue and alpha of each code, as GDAL wants them; missing pixels are transparent."""
        table = {code: (*_rgb(color), 255) for code, color in zip(self.codes, self.colors, strict=True)}
        return dict(sorted({**table, self.nodata: (0, 0, 0, 0)}.items()))

    def encode(self, scores: npt.NDArray[np.float32], seen: npt.NDArray[np.bool_]) -> Codes:
        """Scores (..., K) -> codes (...) of the largest, ``nodata`` where nothing was seen."""
        codes = np.array(self.codes, self.dtype)[scores.argmax(-1)]
        return np.where(seen, codes, np.array(self.nodata, self.dtype))


def legend_of(labels: HeadLabels, colors: Mapping[str, str] | None = None) -> Legend:
    """The legend of what a head was taught.

    Codes are those of the maps that it was trained on, or 0 to K - 1. Classes that are all of one published modality
    (ESA WorldCover, Dynamic World) have its colours; others get a palette for colour-blind readers, whose 12 colours
    come back lighter and then darker: no more than about 12 can be told apart.

    Args:
        labels: of a segmentation.
        colors: of some classes by name, ``#rrggbb``, instead.

    Raises:
        ClassError: codes do not fit into 16 bits; or ``colors`` names no class of it.
        InputError: a colour is none.
    """
    codes = labels.codes or tuple(range(len(labels.names)))
    dtype, nodata = _storage(codes, labels.ignore)
    chosen = dict(zip(labels.names, _colors(labels.names), strict=True))
    for name, color in (colors or {}).items():
        if name not in chosen:
            raise ClassError(f"a colour for {name!r}, which is no class", hint=f"classes: {', '.join(labels.names)}")
        if not _is_color(color):
            raise InputError(f"colour of {name!r} is {color!r}", hint="#rrggbb, as #e49635")
        chosen[name] = color.lower()
    return Legend(labels.names, codes, tuple(chosen[name] for name in labels.names), dtype, nodata)


def read_colors(text: str, *, where: str) -> dict[str, str]:
    """Colours by class name, from YAML: ``crop: "#e49635"``.

    Raises:
        InputError: it is something else.
    """
    try:
        plain = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"is no YAML: {error}", where=where) from error
    hint = 'one line a class: `crop: "#e49635"`, with the quotes'
    if not isinstance(plain, dict):
        raise InputError("is no mapping of class names to colours", where=where, hint=hint)
    for name, color in plain.items():
        if not _is_color(color):
            raise InputError(f"colour of {name!r} is {color!r}", where=where, hint=hint)
    return {str(name): color.lower() for name, color in plain.items()}


def _storage(codes: tuple[int, ...], ignore: float | None) -> tuple[str, int]:
    """The smallest type that has room for one number beside the codes, and that number."""
    for dtype, count in _TYPES:
        if min(codes) < 0 or max(codes) >= count:
            continue
        # What the labels said for "not labelled" first, so that the map can stand beside them; then the largest.
        wanted = [int(ignore)] if ignore is not None and float(ignore).is_integer() and 0 <= ignore < count else []
        free = next((number for number in (*wanted, *range(count - 1, -1, -1)) if number not in codes), None)
        if free is not None:
            return dtype, free
    raise ClassError(
        f"codes {min(codes)} to {max(codes)} do not fit into a map of 16 bits",
        hint="train on masks with codes from 0 to 65535",
    )


def _colors(names: tuple[str, ...]) -> tuple[str, ...]:
    for modality in PUBLISHED.values():
        published = {label.name.lower(): label.color for label in modality.classes if label.color}
        if published and all(name.lower() in published for name in names):
            return tuple(published[name.lower()] for name in names)
    rounds = cycle((color, shade) for shade in _SHADES for color in SPARE_COLORS)
    return tuple(_shaded(color, *shade) for color, shade in islice(rounds, len(names)))


def _shaded(color: str, towards: float, share: float) -> str:
    return "#" + "".join(f"{round(part + (255 * towards - part) * share):02x}" for part in _rgb(color))


def _rgb(color: str) -> tuple[int, int, int]:
    red, green, blue = bytes.fromhex(color[1:])
    return red, green, blue


def _is_color(color: object) -> bool:
    return isinstance(color, str) and re.fullmatch("#[0-9a-fA-F]{6}", color) is not None

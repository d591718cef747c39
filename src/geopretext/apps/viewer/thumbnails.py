"""Small pictures of tiles for the pages of the viewer: true colour where there is one, as PNG, kept once drawn."""

import io
from collections import OrderedDict
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.apps.viewer.describe import maps_of, series_of
from geopretext.data.tiles import TileReader
from geopretext.errors import InputError, MissingLibraryError
from geopretext.modality import Modality
from geopretext.predict.panels import choose_views, class_colors

Array = npt.NDArray[Any]

LARGEST = 512
"""pixels on a side that may be asked for"""
_KEPT = 2000
_UNSEEN = (207, 212, 216)
"""colour of what was not observed, as in ``predict.panels``"""


class Thumbnails:
    """Pictures of one reader's tiles; the last 2,000 that were asked for are kept. Safe to call from any thread.

    Args:
        reader: of the tiles.
    """

    def __init__(self, reader: TileReader) -> None:
        self._reader = reader
        self._kept: OrderedDict[tuple[int, int], bytes] = OrderedDict()
        self._lock = Lock()

    def png(self, tile: int, size: int) -> bytes:
        """One tile as a PNG of ``size`` by ``size`` pixels.

        Args:
            tile: its number.
            size: pixels on a side, 8 to 512.

        Raises:
            InputError: there is no such tile, no such size, or no map to show.
            MissingLibraryError: pillow is not installed.
        """
        if not 8 <= size <= LARGEST:
            raise InputError(f"size is {size}", hint=f"8 to {LARGEST} pixels")
        with self._lock:
            if (tile, size) in self._kept:
                self._kept.move_to_end((tile, size))
                return self._kept[tile, size]
        content = encode_png(picture(self._reader, tile), size)
        with self._lock:
            self._kept[tile, size] = content
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return content


def picture(reader: TileReader, tile: int) -> npt.NDArray[np.uint8]:
    """A tile as it looks, (H, W, 3): true colour, else the first map that is there, in grey or in its class colours.

    Of a series it is the image of which most was observed.

    Raises:
        InputError: there is no such tile, or the reader holds no map and no series.
    """
    modality = shown_modality(reader)
    values, valid = modality.decode(reader.read([modality.name], np.array([tile]))[modality.name])
    if modality.kind.is_series:
        best = int(valid[0].sum(axis=(1, 2, 3)).argmax())
        values, valid = values[:, best], valid[:, best]
    view = choose_views(modality, values[0], valid[0], 1)[0]
    if not view.bands:
        table = np.array([_rgb(color) for color in class_colors(modality)], np.uint8)
        drawn, known = table[values[0]], valid[0]
    else:
        shown = (values[0][list(view.bands)] - view.low) / (view.high - view.low)
        drawn = np.moveaxis(np.round(255 * np.clip(shown, 0, 1)), 0, -1).astype(np.uint8)
        known = valid[0][list(view.bands)].all(axis=0)
    return np.where(known[..., None], drawn, np.array(_UNSEEN, np.uint8))


def shown_modality(reader: TileReader) -> Modality:
    """What a picture of a tile is drawn from: the first map with true colour, else the first map of any kind.

    A series serves where there is no map.

    Raises:
        InputError: the reader holds neither.
    """
    images = [*maps_of(reader).values()] or [*series_of(reader).values()]
    if not images:
        raise InputError("holds no map, so that there is nothing to draw", where=reader.path)
    coloured = [m for m in images if m.kind.is_continuous and {"B2", "B3", "B4"} <= set(m.band_names)]
    return (coloured or images)[0]


def encode_png(rgb: npt.NDArray[np.uint8], size: int) -> bytes:
    """Colours (H, W, 3) as a PNG of ``size`` by ``size`` pixels; enlarged pixels stay squares.

    Raises:
        MissingLibraryError: pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise MissingLibraryError("PIL", extra="viewer", purpose="draw thumbnails") from error
    image = Image.fromarray(rgb)
    if image.size != (size, size):
        how = Image.Resampling.BOX if size < max(image.size) else Image.Resampling.NEAREST
        image = image.resize((size, size), how)
    content = io.BytesIO()
    image.save(content, "PNG", compress_level=1)
    return content.getvalue()


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)

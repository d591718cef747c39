"""A picture of a search: the examples and what was found, as thumbnails of the tiles."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import TileReader
from geopretext.errors import InputError
from geopretext.modality import Modality
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbours import Neighbours
from geopretext.predict.page import QUIET, Page
from geopretext.predict.panels import choose_views, paint_values
from geopretext.predict.quantities import place_text

# Lengths are in inches.
_EDGE, _SIDE, _GAP, _CAPTION, _HEAD = 0.2, 1.35, 0.12, 0.36, 0.26
_COLUMNS = 5


def draw_hits(
    table: EmbeddingTable,
    reader: TileReader,
    found: Neighbours,
    path: str | Path,
    *,
    like: Sequence[int],
    unlike: Sequence[int] = (),
    dpi: int = 130,
) -> None:
    """Write a picture of the examples, the counter-examples and the rows found.

    Args:
        table: that was searched.
        reader: of the tiles that it was made of.
        found: best first.
        path: of the picture.
        like: rows of the examples; those that are no rows, as images, are not drawn.
        unlike: rows of the counter-examples.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        InputError: the tiles are others than those of the table, or there is no map modality among them.
        MissingLibraryError: matplotlib is not installed.
    """
    groups = [("like", list(like)), ("unlike", list(unlike)), ("found", found.rows.tolist())]
    groups = [(title, rows) for title, rows in groups if rows]
    modality = _shown(reader, str(table.facts.get("network", {}).get("modality", "")))
    _check_tiles(table, reader, np.array([row for _, rows in groups for row in rows], np.int64))
    lines = sum(-(-len(rows) // _COLUMNS) for _, rows in groups)
    height = 2 * _EDGE + len(groups) * _HEAD + lines * (_SIDE + _CAPTION)
    page = Page(2 * _EDGE + _COLUMNS * (_SIDE + _GAP) - _GAP, height)
    top = _EDGE
    for title, rows in groups:
        captions = [f"{s:.3f}  " for s in found.similarity] if title == "found" else [""] * len(rows)
        page.text(_EDGE, top, title, size=9, weight="bold")
        top += _HEAD
        for start in range(0, len(rows), _COLUMNS):
            part = slice(start, start + _COLUMNS)
            _draw_line(page, top, table, reader, modality, rows[part], captions[part])
            top += _SIDE + _CAPTION
    page.save(Path(path), dpi)


def _draw_line(
    page: Page,
    top: float,
    table: EmbeddingTable,
    reader: TileReader,
    modality: Modality,
    rows: Sequence[int],
    captions: Sequence[str],
) -> None:
    tiles = table.tile[np.asarray(rows, np.int64)]
    values, valid = modality.decode(reader.read([modality.name], tiles)[modality.name])
    coordinates = reader.coordinates.take(tiles)
    for column, caption in enumerate(captions):
        left = _EDGE + column * (_SIDE + _GAP)
        view = choose_views(modality, values[column], valid[column], 1)[0]
        paint_values(page.axes(left, top, _SIDE, _SIDE), view, values[column], valid[column])
        _, *where = place_text(coordinates, column).split("  ·  ")
        page.text(left, top + _SIDE + 0.03, f"{caption}tile {tiles[column]}", size=6.5)
        page.text(left, top + _SIDE + 0.15, "  ".join(where), size=5.6, color=QUIET)


def _shown(reader: TileReader, wanted: str) -> Modality:
    """What the encoder saw, or else the first map."""
    maps = {name: modality for name, modality in reader.modalities.items() if modality.kind.is_map}
    if not maps:
        raise InputError("has no map to show", where=reader.path)
    return maps.get(wanted) or next(iter(maps.values()))


def _check_tiles(table: EmbeddingTable, reader: TileReader, rows: npt.NDArray[np.int64]) -> None:
    tiles, names = table.tile[rows], table.names(rows)
    beyond = tiles.max() >= len(reader)
    if beyond or reader.coordinates.tile_id[tiles].tolist() != names:
        raise InputError(
            f"holds other tiles than {table.path} was made of",
            where=reader.path,
            hint=f"take {table.facts.get('source', 'the store that was embedded')}",
        )

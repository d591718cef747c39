"""From a map of classes to polygons, strip by strip: each connected region of one class becomes one polygon.

A strip is turned into polygons by GDAL (``rasterio.features.shapes``). A polygon that reaches the lower edge of its
strip waits until all that belongs to it has come; every other one is done. So what is in memory is one strip, and the
regions that are still open, never the map.

Regions are connected through the sides of pixels, not their corners. Coordinates are columns and rows of pixel corners.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from geopretext.errors import MissingLibraryError

try:
    import shapely
    from rasterio.features import shapes
except ImportError as error:
    raise MissingLibraryError(error.name or "shapely", extra="geo", purpose="make polygons of a map") from error

Codes: TypeAlias = npt.NDArray[np.integer[Any]]
_NOBODY = -1


class Region(NamedTuple):
    """A connected region of one class."""

    polygon: Any
    """shapely polygon, columns and rows of pixel corners"""
    code: int
    """of its class"""


def polygonise(blocks: Iterable[Codes], *, nodata: int) -> Iterator[Region]:
    """Regions of a map, each as soon as it is complete.

    Args:
        blocks: rows of the map from its top, (rows, W) class codes; the heights may differ.
        nodata: code of what belongs to no region.
    """
    open_regions = _OpenRegions()
    top = 0
    for block in blocks:
        pieces = _pieces(block, top, nodata)
        yield from open_regions.add(pieces, top=top, bottom=top + len(block), width=block.shape[1])
        top += len(block)
    yield from open_regions.close()


class _Pieces(NamedTuple):
    """Polygons of a strip."""

    polygons: npt.NDArray[Any]
    codes: npt.NDArray[np.int64]


def _pieces(block: Codes, top: int, nodata: int) -> _Pieces:
    found = list(shapes(block.astype(np.int32), mask=block != nodata, transform=(1, 0, 0, 0, 1, top)))
    rings = [ring for plain, _ in found for ring in plain["coordinates"]]
    if not rings:
        return _Pieces(np.empty(0, object), np.empty(0, np.int64))
    # All at once: making them one by one takes most of the time.
    of_ring = np.repeat(np.arange(len(rings)), [len(ring) for ring in rings])
    of_polygon = np.repeat(np.arange(len(found)), [len(plain["coordinates"]) for plain, _ in found])
    closed = shapely.linearrings(np.concatenate(rings), indices=of_ring)
    return _Pieces(shapely.polygons(closed, indices=of_polygon), np.array([int(code) for _, code in found]))


@dataclass
class _OpenRegions:
    """What has reached the lower edge of the last strip, as groups of pieces that hang together."""

    pieces: dict[int, list[Any]] = field(default_factory=dict)
    """by number of the group"""
    codes: dict[int, int] = field(default_factory=dict)
    below: npt.NDArray[np.int64] | None = None
    """(W,) group of each column at the edge"""
    numbers: int = 0
    """groups so far"""

    def add(self, found: _Pieces, *, top: int, bottom: int, width: int) -> list[Region]:
        """Join the pieces of the next strip to what is open; what that completes."""
        first, last = (np.full(width, _NOBODY, np.int64) for _ in range(2))
        lowest, highest = shapely.bounds(found.polygons).reshape(-1, 4).T[[1, 3]]
        upper = (lowest == top) & (self.below is not None)
        lower = highest == bottom
        whole = ~(upper | lower)
        done = [
            Region(polygon, code)
            for polygon, code in zip(found.polygons[whole], found.codes[whole].tolist(), strict=True)
        ]
        for place in np.flatnonzero(~whole).tolist():
            group = self.numbers
            self.numbers += 1
            self.pieces[group], self.codes[group] = [found.polygons[place]], int(found.codes[place])
            coordinates = shapely.get_coordinates(shapely.get_exterior_ring(found.polygons[place]))
            if upper[place]:
                _mark(first, coordinates, top, group)
            if lower[place]:
                _mark(last, coordinates, bottom, group)
        joined = self._join(first)
        self.below = _renamed(last, joined)
        still = set(self.below.tolist())
        return done + [self._complete(group) for group in list(self.pieces) if group not in still]

    def close(self) -> list[Region]:
        """The rest, after the last strip."""
        return [self._complete(group) for group in list(self.pieces)]

    def _complete(self, group: int) -> Region:
        return _region(self.pieces.pop(group), self.codes.pop(group))

    def _join(self, first: npt.NDArray[np.int64]) -> dict[int, int]:
        """Make one of the groups that touch across the edge; the new number of each that has lost its own."""
        renamed: dict[int, int] = {}
        if self.below is None:
            return renamed

        def now(group: int) -> int:
            while group in renamed:
                group = renamed[group]
            return group

        touching = np.unique(np.stack([self.below, first]), axis=1)
        for above, under in touching[:, (touching != _NOBODY).all(0)].T.tolist():
            kept, lost = now(above), now(under)
            if kept == lost or self.codes[kept] != self.codes[lost]:
                continue
            if len(self.pieces[kept]) < len(self.pieces[lost]):
                kept, lost = lost, kept
            self.pieces[kept] += self.pieces.pop(lost)
            del self.codes[lost]
            renamed[lost] = kept
        return {lost: now(lost) for lost in renamed}


def _mark(row: npt.NDArray[np.int64], coordinates: npt.NDArray[np.float64], edge: int, group: int) -> None:
    """Write a group into the columns where a ring runs along an edge."""
    on_edge = coordinates[:, 1] == edge
    for start in np.flatnonzero(on_edge[:-1] & on_edge[1:]):
        left, right = sorted(coordinates[start : start + 2, 0].astype(int))
        row[left:right] = group


def _renamed(row: npt.NDArray[np.int64], renamed: dict[int, int]) -> npt.NDArray[np.int64]:
    groups, inverse = np.unique(row, return_inverse=True)
    return np.array([renamed.get(group, group) for group in groups.tolist()], np.int64)[inverse]


def _region(pieces: list[Any], code: int) -> Region:
    # Where an edge of strips crosses a side, the union has a corner in the middle of a straight line.
    return Region(pieces[0] if len(pieces) == 1 else shapely.simplify(shapely.union_all(pieces), 0), code)

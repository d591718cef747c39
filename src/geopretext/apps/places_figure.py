"""The picture of a sample of places: a map of all, bars of each biome beside what the rule demands, a map a biome.

Nothing is told by colour alone: biomes have a bar and a map of their own, with their names.
"""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyproj
import shapely

from geopretext.build.ecoregions import Ecoregions
from geopretext.build.places import Places, read_places
from geopretext.predict.page import INK, QUIET, Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Array = npt.NDArray[Any]

_DOT, _LAND, _LINE = "#0b5d7a", "#e4e2da", "#d9dde0"
_UNKNOWN = "no biome"
_MOST_DOTS = 50_000
_MOST_BARS, _COLUMNS, _ROWS = 20, 7, 2

_WORLD = (-1.73e7, 1.73e7, -8.65e6, 8.65e6)  # Equal Earth: left, right, bottom, top, metres
_FARTHEST = 1.2e7  # metres from the centre of a map of a part of the world

# Lengths are in inches.
_EDGE, _HEAD = 0.3, 0.62
_MAP_WIDTH, _MAP_HEIGHT = 6.7, 3.36
_LABEL, _BAR, _NUMBER = 3.0, 1.75, 0.62
_CAPTION, _GAP = 0.34, 0.1


def draw_places_figure(
    places: str | Path | Places,
    path: str | Path,
    *,
    rule: Mapping[str, float] | None = None,
    ecoregions: Ecoregions | None = None,
    dpi: int = 150,
) -> None:
    """Write a picture of a sample.

    Args:
        places: a file of places, or places.
        path: of the picture; ``.png``, ``.pdf`` or ``.svg``.
        rule: share that each biome should have, by its name; empty or None if there is no rule.
        ecoregions: drawn as the land.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    if not isinstance(places, Places):
        places = read_places(places)
    biomes = np.array([name or _UNKNOWN for name in places.biome_names.tolist()], object)
    counts = Counter(dict.fromkeys(rule or {}, 0))
    counts.update(biomes.tolist())
    order = [name for name, _ in sorted(counts.items(), key=lambda item: (item[0] == _UNKNOWN, -item[1], item[0]))]
    cell = (_EDGE + _MAP_WIDTH + _EDGE + _LABEL + _BAR + _NUMBER + _GAP) / _COLUMNS - _GAP
    rows = -(-min(len(order), _COLUMNS * _ROWS) // _COLUMNS)
    height = _HEAD + _MAP_HEIGHT + 0.3 + rows * (_CAPTION + cell / 2 + _GAP) + 0.15
    page = Page(_EDGE + _COLUMNS * (cell + _GAP) - _GAP + _EDGE, height)
    view = _View(places, ecoregions)
    page.text(_EDGE, 0.2, f"{len(places):,} places", size=13, weight="bold")
    page.text(_EDGE, 0.45, _subtitle(places), size=8, color=QUIET)
    view.draw(page.axes(_EDGE, _HEAD + 0.1, _MAP_WIDTH, _MAP_HEIGHT), np.ones(len(places), bool), size=1.0)
    _draw_bars(page, order, counts, len(places), rule or {})
    top = _HEAD + _MAP_HEIGHT + 0.3
    for number, name in enumerate(order[: _COLUMNS * _ROWS]):
        left = _EDGE + number % _COLUMNS * (cell + _GAP)
        upper = top + number // _COLUMNS * (_CAPTION + cell / 2 + _GAP)
        page.text(left, upper + _CAPTION - 0.03, _two_lines(name), size=6.2, va="bottom", linespacing=1.05)
        view.draw(page.axes(left, upper + _CAPTION, cell, cell / 2), biomes == name, size=0.6)
    page.save(Path(path), dpi)


def _subtitle(places: Places) -> str:
    kinds = len(set(places.ecoregion_names.tolist()) - {""})
    dots = f"; dots: the first {_MOST_DOTS:,} of each map" if len(places) > _MOST_DOTS else ""
    return f"in {kinds} ecoregions{dots}" if kinds else f"of no known ecoregion{dots}"


def _two_lines(name: str) -> str:
    """A long name broken where its halves are most alike."""
    if len(name) <= 30:
        return name
    gaps = [position for position, letter in enumerate(name) if letter == " "]
    middle = min(gaps, key=lambda position: abs(position - len(name) / 2), default=None)
    return name if middle is None else f"{name[:middle]}\n{name[middle + 1 :]}"


def _draw_bars(page: Page, order: list[str], counts: Counter[str], total: int, rule: Mapping[str, float]) -> None:
    """One row a biome: name, a bar of its share with a mark where the rule wants it to end, the share in figures."""
    left, top = _EDGE + _MAP_WIDTH + _EDGE, _HEAD + 0.1
    shown = order[:_MOST_BARS]
    step = min(0.24, (_MAP_HEIGHT - 0.1) / len(shown))
    longest = max([counts[name] / max(1, total) for name in shown] + [rule.get(name, 0.0) for name in shown] + [1e-9])
    axes = page.axes(left + _LABEL, top, _BAR, step * len(shown))
    axes.set(xlim=(0, longest * 1.02), ylim=(len(shown) - 0.5, -0.5))
    axes.axis("off")
    for row, name in enumerate(shown):
        share = counts[name] / max(1, total)
        axes.barh(row, share, height=0.62, color=_DOT)
        if name in rule:
            axes.plot([rule[name]] * 2, [row - 0.46, row + 0.46], color="white", linewidth=3.2, solid_capstyle="butt")
            axes.plot([rule[name]] * 2, [row - 0.46, row + 0.46], color=INK, linewidth=1.3, solid_capstyle="butt")
        middle = top + (row + 0.5) * step
        page.text(left + _LABEL - 0.08, middle, name, size=6.8, ha="right", va="center")
        page.text(left + _LABEL + _BAR + 0.08, middle, f"{share:.2%}", size=6.8, va="center")
    note = "bar: share of the places" + ("; mark: share that the rule demands" if rule else "")
    more = f"; and {len(order) - len(shown)} more" if len(order) > len(shown) else ""
    page.text(left + _LABEL, 0.45, note + more, size=7, color=QUIET, ha="center")


class _View:
    """One projection for all maps of a page: the world, or the part of it that holds the places."""

    def __init__(self, places: Places, ecoregions: Ecoregions | None) -> None:
        turn = np.exp(1j * np.radians(places.lon)).mean()
        middle = float(np.degrees(np.angle(turn)))
        along = (places.lon - middle + 180) % 360 - 180
        world = bool(np.ptp(along) > 100 or np.ptp(places.lat) > 70)
        if world:
            middle, projection = 0.0, "+proj=eqearth"
        else:
            projection = f"+proj=laea +lon_0={middle} +lat_0={(places.lat.min() + places.lat.max()) / 2}"
        self._project = pyproj.Transformer.from_crs("OGC:CRS84", f"{projection} +datum=WGS84", always_xy=True).transform
        self._x, self._y = self._project(places.lon, places.lat)
        if world:
            self._frame = _WORLD
        else:
            half = 0.55 * max(np.ptp(self._x), 2 * np.ptp(self._y), 2e4)
            x, y = (self._x.min() + self._x.max()) / 2, (self._y.min() + self._y.max()) / 2
            self._frame = (x - half, x + half, y - half / 2, y + half / 2)
        self._lines = self._graticule(middle)
        self._land = [] if ecoregions is None else self._outlines(ecoregions, world)

    def draw(self, axes: "Axes", mask: npt.NDArray[np.bool_], *, size: float) -> None:
        """Land, and dots for the places of ``mask``."""
        from matplotlib.collections import LineCollection, PolyCollection

        axes.add_collection(LineCollection(self._lines, colors=_LINE, linewidths=0.35))
        axes.add_collection(PolyCollection(self._land, facecolors=_LAND, edgecolors=_LAND, linewidths=0.2))
        at = np.flatnonzero(mask)[:_MOST_DOTS]
        side = size * float(np.clip(30 / np.sqrt(len(at) + 1), 0.35, 3.0))
        axes.plot(self._x[at], self._y[at], "o", color=_DOT, markersize=side, markeredgewidth=0, alpha=0.7)
        axes.set(xlim=self._frame[:2], ylim=self._frame[2:], aspect="equal")
        axes.axis("off")

    def _outlines(self, ecoregions: Ecoregions, world: bool) -> list[Array]:
        """Outer rings of the polygons on the map."""
        parts = shapely.get_parts(ecoregions.geometry)
        rings = shapely.get_exterior_ring(shapely.simplify(parts, 0.1) if world else parts)
        left, right, bottom, top = self._frame
        outlines = []
        for points in map(shapely.get_coordinates, rings):
            x, y = self._project(points[:, 0], points[:, 1])
            seen = x.max() > left and x.min() < right and y.max() > bottom and y.min() < top
            # Far behind the centre a ring would be turned inside out.
            if seen and (world or np.hypot(x, y).max() < _FARTHEST):
                outlines.append(np.stack([x, y], axis=1))
        return outlines

    def _graticule(self, middle: float) -> list[Array]:
        """Meridians and parallels every 30 degrees; for a part of the world, every 5."""
        world = self._frame[0] == _WORLD[0]
        step, reach = (30, 180) if world else (5, 85)
        across, up = np.linspace(middle - reach, middle + reach, 181), np.linspace(-90, 90, 91)
        start = step * np.ceil((middle - reach) / step)
        meridians = [(np.full_like(up, lon), up) for lon in np.arange(start, middle + reach + 1, step)]
        parallels = [(across, np.full_like(across, lat)) for lat in np.arange(-90, 91, step)]
        return [np.stack(self._project(lon, lat), axis=1) for lon, lat in (*meridians, *parallels)]

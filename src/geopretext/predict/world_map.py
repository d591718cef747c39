"""Maps of places, drawn without any map service: the globe with its graticule, or the region around the places.

The globe is drawn in the Equal Earth projection (Savric, Patterson and Jenny 2018), in which equal areas have equal
sizes, so that crowded is crowded on the ground as well. Nothing here is told by colour alone.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.modality import BIOMES
from geopretext.predict.page import INK, QUIET, Page

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Float = npt.NDArray[np.float64]

_A = (1.340264, -0.081106, 0.000893, 0.003796)
_SEA, _GRID, _FAINT, _STRONG = "#f4f7f9", "#ccd6dc", "#c3ccd2", "#0b5a8a"
_EDGE, _GAP, _HEAD = 0.25, 0.22, 0.5
_MOST_POINTS = 40_000  # more are not seen apart
_REGION = 50.0  # degrees: places that span less are drawn as a region
_DONE, _WAITING = ".", "o"
_MARKS = (
    ("#d55e00", "X"), ("#0072b2", "s"), ("#000000", "^"), ("#cc79a7", "D"), ("#009e73", "v"), ("#e69f00", "P"),
    ("#56b4e9", "p"), ("#7f3c00", "*"),
)  # fmt: skip
"""Colours of Okabe and Ito, each with a shape of its own."""


class PlaceTable(Protocol):
    """What has become of places: columns of equal length, such as ``Store.place_log``."""

    @property
    def lat(self) -> npt.NDArray[Any]:
        """Degrees north."""

    @property
    def lon(self) -> npt.NDArray[Any]:
        """Degrees east."""

    @property
    def status(self) -> npt.NDArray[Any]:
        """``done``, ``failed`` or ``waiting``."""

    @property
    def reason(self) -> npt.NDArray[Any]:
        """Of a failure."""


@dataclass(frozen=True)
class _View:
    """A piece of the Earth on paper."""

    west: float
    south: float
    east: float
    north: float
    is_globe: bool

    @classmethod
    def of(cls, lat: Float, lon: Float) -> "_View":
        """That shows all places."""
        if not len(lat) or np.ptp(lon) > _REGION or np.ptp(lat) > _REGION or abs(lat).max() > 80:
            return cls(-180, -90, 180, 90, is_globe=True)
        stretch = float(np.cos(np.radians(lat.mean())))
        half = max(np.ptp(lat), np.ptp(lon) * stretch, 0.05) * 0.56
        y, x = (lat.min() + lat.max()) / 2, (lon.min() + lon.max()) / 2
        return cls(x - half / stretch * 1.6, y - half, x + half / stretch * 1.6, y + half, is_globe=False)

    def project(self, lat: Float, lon: Float) -> tuple[Float, Float]:
        """Degrees to positions on paper."""
        if not self.is_globe:
            return lon * np.cos(np.radians((self.south + self.north) / 2)), lat
        theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(lat)))
        square = theta * theta
        slope = _A[0] + 3 * _A[1] * square + square**3 * (7 * _A[2] + 9 * _A[3] * square)
        x = 2 * np.radians((lon + 180) % 360 - 180) * np.cos(theta) / (np.sqrt(3) * slope)
        return x, theta * (_A[0] + _A[1] * square + square**3 * (_A[2] + _A[3] * square))

    @property
    def aspect(self) -> float:
        """Height over width."""
        if self.is_globe:
            return 0.4869
        x, y = self.project(np.array([self.south, self.north]), np.array([self.west, self.east]))
        return float((y[1] - y[0]) / (x[1] - x[0]))

    def prepare(self, axes: "Axes", *, labels: bool) -> None:
        """Paper with the graticule."""
        axes.set_axis_off()
        axes.set_aspect("equal")
        line = np.linspace(0, 1, 121)
        step = 30.0 if self.is_globe else _round_step((self.north - self.south) / 3)
        lats = np.arange(np.ceil(self.south / step) * step, self.north + 1e-9, step)
        lons = np.arange(np.ceil(self.west / step) * step, self.east + 1e-9, step)
        along_lon = self.west + line * (self.east - self.west - 1e-6)
        along_lat = self.south + line * (self.north - self.south)
        rim_lon = np.concatenate([along_lon, np.full(121, self.east - 1e-6), along_lon[::-1], np.full(121, self.west)])
        rim_lat = np.concatenate([np.full(121, self.south), along_lat, np.full(121, self.north), along_lat[::-1]])
        axes.fill(*self.project(rim_lat, rim_lon), facecolor=_SEA, edgecolor=QUIET, linewidth=0.5, zorder=0)
        for lat in lats:
            axes.plot(*self.project(np.full(121, lat), along_lon), color=_GRID, linewidth=0.4, zorder=1)
        for lon in lons[lons < 180]:
            axes.plot(*self.project(along_lat, np.full(121, lon)), color=_GRID, linewidth=0.4, zorder=1)
        if labels:
            self._label(axes, lats, lons)
        x, y = self.project(rim_lat, rim_lon)
        air = 0.004 * np.ptp(x)  # for the line of the rim
        axes.set_xlim(x.min() - air, x.max() + air)
        axes.set_ylim(y.min() - air, y.max() + air)

    def _label(self, axes: "Axes", lats: Float, lons: Float) -> None:
        digits = 0 if self.is_globe or (self.north - self.south) > 6 else 2
        for lat in lats[(lats > self.south) & (lats < self.north)]:
            x, y = self.project(np.array([lat]), np.array([self.west]))
            text = f"{abs(lat):.{digits}f}°{' N' if lat > 0 else ' S' if lat < 0 else ''}"
            axes.text(x[0], y[0], f"{text} ", ha="right", va="center", fontsize=6, color=QUIET)
        if self.is_globe:
            return
        for lon in lons[(lons > self.west) & (lons < self.east)]:
            x, y = self.project(np.array([self.south]), np.array([lon]))
            text = f"{abs(lon):.{digits}f}°{' E' if lon > 0 else ' W' if lon < 0 else ''}"
            axes.text(x[0], y[0], f"\n{text}", ha="center", va="top", fontsize=6, color=QUIET, linespacing=0.6)


def _round_step(wanted: float) -> float:
    """1, 2 or 5 times a power of ten, about ``wanted``."""
    power = 10.0 ** np.floor(np.log10(wanted))
    return float(power * min((1, 2, 5, 10), key=lambda factor: abs(np.log(factor * power / wanted))))


def draw_biome_map(
    lat: npt.NDArray[Any], lon: npt.NDArray[Any], biome: npt.NDArray[Any], path: str | Path, *, dpi: int = 130
) -> None:
    """Write one small map a biome, its places dark on those of all others, the most frequent biome first.

    Args:
        lat: degrees north; places without a position are left out.
        lon: degrees east.
        biome: MMEarth's class number, -1 if unknown.
        path: of the picture.
        dpi: resolution of a PNG, dots an inch.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    known = np.isfinite(lat) & np.isfinite(lon)
    lat, lon, biome = lat[known], lon[known], biome[known]
    codes, counts = np.unique(biome, return_counts=True)
    order = sorted(zip(codes.tolist(), counts.tolist(), strict=True), key=lambda pair: (pair[0] < 0, -pair[1]))
    view = _View.of(lat, lon)
    columns = min(3, max(1, len(order)))
    width = 2.75 if columns > 1 else 5.5
    height = width * view.aspect
    rows = -(-len(order) // columns)
    page = Page(2 * _EDGE + columns * (width + _GAP) - _GAP, 2 * _EDGE + _HEAD + rows * (height + 0.42))
    page.text(_EDGE, _EDGE, f"{len(lat):,} places by biome", size=11, weight="bold")
    page.text(_EDGE, _EDGE + 0.22, "dark: this biome; pale: all others", size=7, color=QUIET)
    everyone = _thin(np.arange(len(lat)))
    for number, (code, count) in enumerate(order):
        left = _EDGE + number % columns * (width + _GAP)
        top = _EDGE + _HEAD + number // columns * (height + 0.42)
        name = BIOMES[code] if 0 <= code < len(BIOMES) else "unknown biome"
        page.text(left, top, name, size=7.5 * min(1.0, 16 * width / len(name)), weight="bold")
        page.text(left, top + 0.13, f"{count:,}  ({count / len(lat):.1%})", size=6.5, color=QUIET)
        axes = page.axes(left, top + 0.27, width, height)
        view.prepare(axes, labels=False)
        _dots(axes, view, lat[everyone], lon[everyone], _FAINT, len(everyone))
        mine = _thin(np.flatnonzero(biome == code))
        _dots(axes, view, lat[mine], lon[mine], _STRONG, len(mine))
    page.save(Path(path), dpi)


def draw_status_map(places: PlaceTable, path: str | Path, *, dpi: int = 130) -> None:
    """Write a map of what has become of places: done, waiting, or failed with a mark of its own for each reason.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """
    lat, lon = np.asarray(places.lat, np.float64), np.asarray(places.lon, np.float64)
    status, reason = (np.array([str(word) for word in column]) for column in (places.status, places.reason))
    view = _View.of(lat, lon)
    width = 8.0
    height = width * view.aspect
    kinds = _kinds(status, reason)
    lines = -(-len(kinds) // 3)
    page = Page(2 * _EDGE + 0.4 + width, 2 * _EDGE + _HEAD + height + 0.3 + lines * 0.2)
    failed = int(np.sum(status == "failed"))
    share = f" ({failed / len(status):.1%})" if failed else ""
    page.text(_EDGE, _EDGE, f"{len(status):,} places, {failed:,} failed{share}", size=11, weight="bold")
    axes = page.axes(_EDGE + 0.4, _EDGE + _HEAD - 0.1, width, height)
    view.prepare(axes, labels=True)
    top = _EDGE + _HEAD + height + 0.18
    for number, (label, at, color, marker) in enumerate(kinds):
        some = _thin(np.flatnonzero(at))
        x, y = view.project(lat[some], lon[some])
        size, style = _style(marker, color, len(some))
        axes.scatter(x, y, s=size, marker=marker, **style)
        left, line = _EDGE + 0.4 + number % 3 * width / 3, top + number // 3 * 0.2
        swatch = page.axes(left, line, 0.14, 0.14)
        swatch.set_axis_off()
        swatch.scatter([0], [0], s=100 if marker == _DONE else 30, marker=marker, **style)
        page.text(left + 0.2, line + 0.015, f"{label}  {int(at.sum()):,}", size=8)
    page.save(Path(path), dpi)


def _style(marker: str, color: str, count: int) -> tuple[float, dict[str, Any]]:
    """Size and look of a mark: dots, rings around where dots will be, and on top of them the shapes of failures."""
    if marker == _DONE:
        return _dot_size(count), {"facecolors": color, "linewidths": 0, "zorder": 3}
    if marker == _WAITING:
        return _dot_size(count) / 2, {"facecolors": "none", "edgecolors": color, "linewidths": 0.7, "zorder": 2}
    size = max(9.0, min(30.0, 4e3 / max(1, count)))
    return size, {"facecolors": color, "edgecolors": "white", "linewidths": 0.3, "zorder": 4}


def _kinds(
    status: npt.NDArray[np.str_], reason: npt.NDArray[np.str_]
) -> list[tuple[str, npt.NDArray[np.bool_], str, str]]:
    """Label, which places, colour and mark: done, waiting, then failures, the most frequent first."""
    kinds = [("done", status == "done", "#6ba6c4", _DONE), ("waiting", status == "waiting", "#6f7b83", _WAITING)]
    failed = status == "failed"
    reasons, counts = np.unique(reason[failed], return_counts=True)
    order = reasons[np.lexsort((reasons, -counts))]
    named, rest = order[: len(_MARKS)], order[len(_MARKS) :]
    for each, (color, marker) in zip(named.tolist(), _MARKS, strict=False):
        kinds.append((f"failed: {each or 'no reason given'}", failed & (reason == each), color, marker))
    if len(rest):
        kinds.append(("failed: other reasons", failed & np.isin(reason, rest), INK, "+"))
    return [kind for kind in kinds if kind[1].any()]


def _thin(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """At most ``_MOST_POINTS`` of them, evenly."""
    return numbers[:: -(-len(numbers) // _MOST_POINTS)] if len(numbers) else numbers


def _dots(axes: "Axes", view: _View, lat: Float, lon: Float, color: str, count: int) -> None:
    x, y = view.project(lat, lon)
    axes.scatter(x, y, s=_dot_size(count), c=color, marker=".", linewidths=0, zorder=2)


def _dot_size(count: int) -> float:
    return float(np.clip(4e4 / max(1, count), 1.2, 100.0))

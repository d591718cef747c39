"""From the pixels of rasters to the pixels of a tile's grid.

A raster's pixels are put on a *canvas*: the part of the raster's own lattice of pixels that the grid needs. Rasters
that share a lattice, as the tiles of one product do, share a canvas, so that nothing shows where they meet. If the
lattice is the grid's own, the canvas is the result; otherwise it is resampled: by ``lattice`` if the grid divides its
pixels, by ``interpolation`` where that takes less time, and by GDAL. Always each pixel of the grid

* is missing if the pixel of the raster that its centre lies in is missing (``average``, ``mode``: if all that it
  covers are),
* and is otherwise made of the valid pixels alone, their weights made to sum to one.

Longitudes are continued across the antimeridian: a raster in degrees is met wherever it lies, 360 degrees east or west.
"""

import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyproj

from geopretext.build.grid import Grid
from geopretext.build.interpolation import MOST, nearest, triangle
from geopretext.build.source import Resampling
from geopretext.data.lattice import Division
from geopretext.errors import MissingLibraryError, Reason, SourceError

try:
    import rasterio.crs
    import rasterio.warp
    from rasterio.transform import Affine
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

# rasterio.warp hides this warning about its own arrays in memory, but not from other threads at the same time
warnings.filterwarnings("ignore", message="Dataset has no geotransform")

_CONTROL = 9
"""points along each side of a grid whose positions in the raster tell which part of it is needed"""
_MARGIN = {"nearest": 1, "bilinear": 2, "cubic": 3, "average": 1, "mode": 1}
"""pixels of the raster (or of the grid, where those are larger) beyond the grid's edges that its pixels depend on"""
_SAME = 1e-3
"""pixels: two lattices whose pixels lie no farther apart than this are one"""
_TOLERANCE = 0.01
"""pixels: how exactly positions may be interpolated"""
_TORN = 20.0
"""times the usual distance between two control points that means that the projection is torn between them"""

Layer = tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]
"""values and what of them is valid, (H, W)"""


class Transform(NamedTuple):
    """x = a column + b row + c, y = d column + e row + f (pixel corners)."""

    a: float
    b: float
    c: float
    d: float
    e: float
    f: float

    def pixels(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Columns and rows of positions."""
        size = self.a * self.e - self.b * self.d
        x, y = x - self.c, y - self.f
        return (self.e * x - self.b * y) / size, (self.a * y - self.d * x) / size

    def positions(self, columns: Any, rows: Any) -> tuple[Any, Any]:
        """Positions (x, y) of pixels."""
        return self.a * columns + self.b * rows + self.c, self.d * columns + self.e * rows + self.f

    def east(self, shift: float) -> "Transform":
        """The same pixels, moved along x."""
        return self._replace(c=self.c + shift)

    def offset(self, other: "Transform", width: int, height: int) -> tuple[int, int] | None:
        """Columns and rows from this origin to that of a raster of that size; None if it has other pixels."""
        columns, rows = self.pixels(*other.positions(np.array([0, width, 0]), np.array([0, 0, height])))
        column, row = round(columns[0]), round(rows[0])
        off = np.abs(columns - column - (0, width, 0)) + np.abs(rows - row - (0, 0, height))
        return (column, row) if off.max() < _SAME else None


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies."""

    crs: str
    """WKT"""
    transform: Transform
    """of its pixels"""
    width: int
    """pixels"""
    height: int
    """pixels"""

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """Smallest x and y, largest x and y."""
        x, y = self.transform.positions(
            np.array([0, self.width, 0, self.width]), np.array([0, 0, self.height, self.height])
        )
        return float(x.min()), float(y.min()), float(x.max()), float(y.max())

    @property
    def period(self) -> float:
        """After which x is the same meridian again; 0 if it is none (projected)."""
        return 360.0 if is_geographic(self.crs) else 0.0


class Rectangle(NamedTuple):
    """Pixels of a lattice; ``right`` and ``bottom`` exclusive."""

    left: int
    top: int
    right: int
    bottom: int

    @property
    def is_empty(self) -> bool:
        """No pixel lies within."""
        return self.left >= self.right or self.top >= self.bottom

    def within(self, other: "Rectangle") -> "Rectangle":
        """What both share."""
        return Rectangle(
            max(self.left, other.left),
            max(self.top, other.top),
            min(self.right, other.right),
            min(self.bottom, other.bottom),
        )

    def moved(self, columns: int, rows: int) -> "Rectangle":
        """The same size elsewhere."""
        return Rectangle(self.left + columns, self.top + rows, self.right + columns, self.bottom + rows)


@lru_cache(maxsize=256)
def is_geographic(crs: str) -> bool:
    """True if coordinates are degrees."""
    return bool(pyproj.CRS.from_wkt(crs).is_geographic)


@lru_cache(maxsize=256)
def epsg_of(crs: str) -> int | None:
    """EPSG code of a projection in WKT, if it has one."""
    code: int | None = _crs_of(crs).to_epsg()
    return code


@lru_cache(maxsize=256)
def _crs_of(text: str) -> Any:
    return rasterio.crs.CRS.from_string(text)


@lru_cache(maxsize=256)
def _transformer(grid_crs: int, crs: str) -> Any:
    return pyproj.Transformer.from_crs(f"EPSG:{grid_crs}", pyproj.CRS.from_wkt(crs), always_xy=True)


@dataclass(frozen=True)
class ControlPoints:
    """Where a grid lies in another projection: its control points, (rows, columns) each."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    width: int
    """of the grid, pixels"""
    height: int
    """pixels"""

    def scale(self, transform: Transform) -> tuple[float, float]:
        """Width and height of the grid's pixels in pixels of a lattice."""
        middle = _CONTROL // 2
        columns, rows = transform.pixels(
            np.array([self.x[middle, 0], self.x[middle, -1], self.x[0, middle], self.x[-1, middle]]),
            np.array([self.y[middle, 0], self.y[middle, -1], self.y[0, middle], self.y[-1, middle]]),
        )
        across, down = (float(np.hypot(columns[i + 1] - columns[i], rows[i + 1] - rows[i])) for i in (0, 2))
        return across / self.width, down / self.height

    def bend(self, transform: Transform) -> float:
        """By how many pixels of a lattice what lies between two control points is off the line between them, about."""
        return max(
            float(np.abs(np.diff(numbers, 2, axis=axis)).max()) / 8
            for numbers in transform.pixels(self.x, self.y)
            for axis in (0, 1)
        )

    def positions(self, transform: Transform) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        """Columns and rows of a lattice that the centres of the grid's pixels lie at, linear between control points."""
        down, across = _between_points(self.height), _between_points(self.width)
        columns, rows = (down @ numbers @ across.T for numbers in transform.pixels(self.x, self.y))
        return columns, rows

    def rectangle(self, transform: Transform, margin: int) -> Rectangle:
        """The pixels of a lattice that the grid needs, with as many more on all sides, or of its own if larger."""
        columns, rows = transform.pixels(self.x, self.y)
        beyond = margin * max(1.0, *self.scale(transform))
        return Rectangle(
            int(np.floor(columns.min() - beyond)),
            int(np.floor(rows.min() - beyond)),
            int(np.ceil(columns.max() + beyond)),
            int(np.ceil(rows.max() + beyond)),
        )


@lru_cache(maxsize=64)
def _between_points(count: int) -> npt.NDArray[np.float64]:
    """Weights of control points at the centres of pixels along one axis, (pixels, control points)."""
    at = (np.arange(count) + 0.5) * (_CONTROL - 1) / count
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - np.arange(_CONTROL)))


@lru_cache(maxsize=4096)
def control_points(grid: Grid, crs: str) -> ControlPoints:
    """Transform a grid's control points. The bands of a tile share them.

    Raises:
        SourceError: the grid lies where the projection is not defined, or is torn there.
    """
    left, bottom, right, top = grid.bounds
    x, y = np.meshgrid(np.linspace(left, right, _CONTROL), np.linspace(top, bottom, _CONTROL))
    if epsg_of(crs) != grid.crs:
        x, y = _transformer(grid.crs, crs).transform(x, y)
    if is_geographic(crs):
        middle = x[_CONTROL // 2, _CONTROL // 2]
        x = middle + np.mod(x - middle + 180.0, 360.0) - 180.0
    steps = [np.hypot(np.diff(x, axis=axis), np.diff(y, axis=axis)) for axis in (0, 1)]
    if not all(np.isfinite(step).all() and step.max() <= _TORN * np.median(step) for step in steps):
        lat, lon = grid.center
        raise SourceError(
            f"the projection is not defined or is torn at lat {lat:.5g}, lon {lon:.5g}", reason=Reason.NO_GEOREFERENCE
        )
    return ControlPoints(x, y, grid.width, grid.height)


class _Fit(NamedTuple):
    """How a grid lies on a lattice."""

    needed: Rectangle
    """pixels of the lattice that the grid depends on"""
    is_exact: bool
    """the lattice's pixels are the grid's"""
    division: Division | None
    """how the grid divides the lattice's pixels, if it does"""
    is_straight: bool
    """between two control points the grid's pixels lie on a line, to a hundredth of a pixel"""


@lru_cache(maxsize=4096)
def _fit(grid: Grid, crs: str, lattice: Transform, margin: int) -> _Fit:
    """How a grid lies on a lattice. Bands of a resolution share it."""
    own = Transform(*grid.transform)
    same = epsg_of(crs) == grid.crs
    exact = lattice.offset(own, grid.width, grid.height) if same else None
    if exact is not None:
        return _Fit(Rectangle(0, 0, grid.width, grid.height).moved(*exact), True, None, True)
    points = control_points(grid, crs)
    needed = points.rectangle(lattice, margin)
    return _Fit(needed, False, _division(own, lattice, needed) if same else None, points.bend(lattice) < _TOLERANCE)


def _division(grid: Transform, lattice: Transform, needed: Rectangle) -> Division | None:
    """How a grid divides the pixels of a rectangle of a lattice; None if it does not."""
    left, top, right, bottom = needed
    width, height = right - left, bottom - top
    columns, rows = grid.pixels(*lattice.positions(np.array([left, right, left]), np.array([top, top, bottom])))
    column, row, factor = round(columns[0]), round(rows[0]), round((columns[1] - columns[0]) / width)
    off = np.abs(columns - column - (0, factor * width, 0)) + np.abs(rows - row - (0, 0, factor * height))
    return Division(factor, -column, -row) if factor > 1 and off.max() < _SAME else None


class Canvas:
    """What a grid needs of one lattice, filled by rasters that share it; the first one that has a pixel gives it.

    Args:
        grid: the target.
        base: the raster whose lattice this is.
        shift: added to the raster's x: multiples of 360 degrees.
        resampling: to come.
    """

    def __init__(self, grid: Grid, base: Georeference, *, shift: float, resampling: Resampling) -> None:
        self._grid = grid
        self._resampling = resampling
        self._crs = base.crs
        self._transform = base.transform.east(shift)
        self._fit = _fit(grid, self._crs, self._transform, _MARGIN[resampling])
        self.needed = self._fit.needed
        shape = (self.needed.bottom - self.needed.top, self.needed.right - self.needed.left)
        self._values: npt.NDArray[Any] = np.zeros(shape)
        self._valid = np.zeros(shape, bool)

    def place(self, raster: Georeference, shift: float) -> tuple[int, int] | None:
        """Columns and rows from the lattice's origin to the raster's; None if its pixels are not the lattice's."""
        if raster.crs != self._crs:
            return None
        return self._transform.offset(raster.transform.east(shift), raster.width, raster.height)

    @property
    def is_full(self) -> bool:
        """Nothing is missing any more."""
        return bool(self._valid.all())

    def fill(self, part: Rectangle, values: npt.NDArray[Any], valid: npt.NDArray[np.bool_]) -> None:
        """Take a raster's pixels where there are none yet; ``part`` in pixels of the lattice."""
        if not self._valid.any():
            self._values = self._values.astype(values.dtype)
        at = (
            slice(part.top - self.needed.top, part.bottom - self.needed.top),
            slice(part.left - self.needed.left, part.right - self.needed.left),
        )
        new = valid & ~self._valid[at]
        self._values = self._values.astype(np.result_type(self._values, values), copy=False)
        self._values[at][new] = values[new]
        self._valid[at] |= new

    def onto_grid(self) -> Layer:
        """Values and what of them is valid, (H, W) of the grid."""
        fit, values, valid = self._fit, self._values, self._valid
        if fit.is_exact:
            return values, valid
        if fit.division is not None and self._resampling in ("nearest", "bilinear"):
            divide = fit.division.nearest if self._resampling == "nearest" else fit.division.bilinear
            return divide(values, valid, (self._grid.height, self._grid.width))
        points = control_points(self._grid, self._crs)
        across, down = points.scale(self._transform)
        if fit.is_straight and self._resampling in ("nearest", "bilinear"):
            columns, rows = points.positions(self._transform)
            columns, rows = columns - self.needed.left, rows - self.needed.top
            if self._resampling == "nearest":
                return nearest(values, valid, columns, rows)
            if max(across, down) <= MOST:
                return triangle(values, valid, columns, rows, across=across, down=down)
        return self._warped(across, down)

    def _warped(self, across: float, down: float) -> Layer:
        """As GDAL does it; width and height of the grid's pixels in pixels of the lattice."""
        shape, dtype = (self._grid.height, self._grid.width), self._values.dtype
        blends = self._resampling not in ("nearest", "mode")
        work = np.float64 if blends or dtype.itemsize > 2 else np.float32
        if not self._valid.any():
            return np.zeros(shape, work if blends else dtype), np.zeros(shape, bool)
        x, y = self._transform.positions(self.needed.left, self.needed.top)
        warped = np.full(shape, np.nan, work)
        rasterio.warp.reproject(
            np.where(self._valid, self._values, np.nan).astype(work),
            warped,
            src_transform=Affine(*self._transform._replace(c=x, f=y)),
            src_crs=_crs_of(self._crs),
            src_nodata=np.nan,
            dst_transform=Affine(*self._grid.transform),
            dst_crs=_crs_of(f"EPSG:{self._grid.crs}"),
            dst_nodata=np.nan,
            resampling=rasterio.warp.Resampling[self._resampling],
            tolerance=_TOLERANCE,
            # GDAL would guess from the sizes of both arrays, and blur where the canvas is larger by its margin
            XSCALE=min(1.0, 1.0 / across),
            YSCALE=min(1.0, 1.0 / down),
        )
        valid = np.isfinite(warped)
        return np.where(valid, warped, 0).astype(work if blends else dtype), valid


def shifts(where: Georeference, points: ControlPoints) -> list[float]:
    """What to add to a raster's x, so that it meets a grid: 0, or multiples of 360 degrees; none if it does not."""
    low, south, high, north = where.bounds
    if points.y.max() <= south or points.y.min() >= north:
        return []
    turns = (0, -1, 1) if where.period else (0,)
    return [
        turn * where.period
        for turn in turns
        if points.x.max() > low + turn * where.period and points.x.min() < high + turn * where.period
    ]


def merge(layers: Iterable[Layer]) -> Layer:
    """Layers in order, later ones where earlier ones have nothing."""
    (values, valid), *others = layers
    for more, known in others:
        values, valid = np.where(valid, values, more), valid | known
    return values, valid

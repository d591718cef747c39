"""From the pixels of rasters to the pixels of a tile's grid.

A raster's pixels are put on a *canvas*: the part of the raster's own lattice of pixels that the grid needs. Rasters
that share a lattice, as the tiles of one product do, share a canvas, so that nothing shows where they meet. If the
lattice is the grid's own, the canvas is the result; otherwise GDAL warps it, and each pixel of the grid

* is missing if the pixel of the raster that its centre lies in is missing (``average``, ``mode``: if all that it
  covers are),
* and is otherwise made of the valid pixels alone, their weights made to sum to one.

Longitudes are continued across the antimeridian: a raster in degrees is met wherever it lies, 360 degrees east or west.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyproj

from geopretext.build.grid import Grid
from geopretext.build.source import Resampling
from geopretext.errors import MissingLibraryError, Reason, SourceError

try:
    import rasterio.crs
    import rasterio.warp
    from rasterio.transform import Affine
except ImportError as error:
    raise MissingLibraryError("rasterio", extra="geo", purpose="read rasters") from error

_CONTROL = 9
"""points along each side of a grid whose positions in the raster tell which part of it is needed"""
_MARGIN = {"nearest": 1, "bilinear": 2, "cubic": 3, "average": 1, "mode": 1}
"""pixels of the raster (or of the grid, where those are larger) beyond the grid's edges that its pixels depend on"""
_SAME = 1e-3
"""pixels: two lattices whose pixels lie no farther apart than this are one"""
_TORN = 20.0
"""times the usual distance between two control points that means that the projection is torn between them"""


@dataclass(frozen=True)
class Georeference:
    """Where a raster lies."""

    crs: str
    """WKT"""
    transform: Any
    """``Affine``: from column and row (pixel corners) to x and y"""
    width: int
    """pixels"""
    height: int
    """pixels"""

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
    code: int | None = rasterio.crs.CRS.from_wkt(crs).to_epsg()
    return code


@lru_cache(maxsize=256)
def _transformer(grid_crs: int, crs: str) -> Any:
    return pyproj.Transformer.from_crs(f"EPSG:{grid_crs}", pyproj.CRS.from_wkt(crs), always_xy=True)


@dataclass(frozen=True)
class Footing:
    """Where a grid lies in the coordinates of a raster: its control points, (rows, columns) each."""

    x: npt.NDArray[np.float64]
    y: npt.NDArray[np.float64]
    scale: float
    """side of the grid's pixels in units of the raster's"""

    @classmethod
    def of(cls, grid: Grid, where: Georeference, *, name: str) -> "Footing":
        """Transform a grid's control points.

        Raises:
            SourceError: the grid lies where the raster's projection is not defined, or is torn there.
        """
        left, bottom, right, top = grid.bounds
        x, y = np.meshgrid(np.linspace(left, right, _CONTROL), np.linspace(top, bottom, _CONTROL))
        if epsg_of(where.crs) != grid.crs:
            x, y = _transformer(grid.crs, where.crs).transform(x, y)
        if where.period:
            x = x[_CONTROL // 2, _CONTROL // 2] + np.mod(x - x[_CONTROL // 2, _CONTROL // 2] + 180.0, 360.0) - 180.0
        if not (np.isfinite(x).all() and np.isfinite(y).all()):
            raise _beyond(grid, name)
        columns, rows = ~where.transform * (x, y)
        steps = [np.hypot(np.diff(columns, axis=axis), np.diff(rows, axis=axis)) for axis in (0, 1)]
        if any(step.max() > _TORN * np.median(step) for step in steps):
            raise _beyond(grid, name)
        across = [
            np.median(step) * (_CONTROL - 1) / pixels
            for step, pixels in zip(steps, (grid.height, grid.width), strict=True)
        ]
        return cls(x, y, float(max(across)))

    def rectangle(self, transform: Any, margin: int) -> Rectangle:
        """The pixels of a lattice that the grid needs."""
        columns, rows = ~transform * (self.x, self.y)
        beyond = margin * max(1.0, self.scale)
        return Rectangle(
            int(np.floor(columns.min() - beyond)),
            int(np.floor(rows.min() - beyond)),
            int(np.ceil(columns.max() + beyond)),
            int(np.ceil(rows.max() + beyond)),
        )


def _beyond(grid: Grid, name: str) -> SourceError:
    lat, lon = grid.center
    return SourceError(
        f"its projection is not defined or is torn at lat {lat:.5g}, lon {lon:.5g}",
        reason=Reason.NO_GEOREFERENCE,
        where=name,
    )


@dataclass(frozen=True)
class Placement:
    """A raster on a lattice: its pixel (column, row) is (column + columns, row + rows) there."""

    columns: int
    rows: int


class Canvas:
    """What a grid needs of one lattice, filled by rasters that share it; the first one that has a pixel gives it.

    Args:
        grid: the target.
        base: the raster whose lattice this is.
        footing: of the grid in the raster's coordinates.
        shift: added to the raster's x: multiples of 360 degrees.
        resampling: to come.
    """

    def __init__(
        self, grid: Grid, base: Georeference, footing: Footing, *, shift: float, resampling: Resampling
    ) -> None:
        self._grid = grid
        self._resampling = resampling
        self._crs = base.crs
        self._transform = Affine.translation(shift, 0.0) * base.transform
        same = epsg_of(base.crs) == grid.crs
        exact = _offset(self._transform, Affine(*grid.transform), grid.width, grid.height) if same else None
        self._is_exact = exact is not None
        if exact is None:
            self.needed = footing.rectangle(self._transform, _MARGIN[resampling])
        else:
            self.needed = Rectangle(0, 0, grid.width, grid.height).moved(exact.columns, exact.rows)
        shape = (self.needed.bottom - self.needed.top, self.needed.right - self.needed.left)
        self._values: npt.NDArray[Any] = np.zeros(shape)
        self._valid = np.zeros(shape, bool)

    def place(self, raster: Georeference, shift: float) -> Placement | None:
        """Where a raster lies on this lattice; None if its pixels are not those of the lattice."""
        if raster.crs != self._crs:
            return None
        return _offset(self._transform, Affine.translation(shift, 0.0) * raster.transform, raster.width, raster.height)

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

    def onto_grid(self) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """Values and what of them is valid, (H, W) of the grid."""
        if self._is_exact or not self._valid.any():
            shape = (self._grid.height, self._grid.width)
            if not self._is_exact:
                return np.zeros(shape, self._values.dtype), np.zeros(shape, bool)
            return self._values, self._valid
        dtype = self._values.dtype
        blends = self._resampling not in ("nearest", "mode")
        work = np.float64 if blends or dtype.itemsize > 2 else np.float32
        warped = np.full((self._grid.height, self._grid.width), np.nan, work)
        rasterio.warp.reproject(
            np.where(self._valid, self._values, np.nan).astype(work),
            warped,
            src_transform=self._transform * Affine.translation(self.needed.left, self.needed.top),
            src_crs=self._crs,
            src_nodata=np.nan,
            dst_transform=Affine(*self._grid.transform),
            dst_crs=f"EPSG:{self._grid.crs}",
            dst_nodata=np.nan,
            resampling=rasterio.warp.Resampling[self._resampling],
            tolerance=0.0,
        )
        valid = np.isfinite(warped)
        return np.where(valid, warped, 0).astype(work if blends else dtype), valid


def _offset(lattice: Any, other: Any, width: int, height: int) -> Placement | None:
    """How many pixels ``other``, of that size, lies from the origin of ``lattice``, if they are the same pixels."""
    between = ~lattice * other
    skew = max(abs(between.a - 1), abs(between.d)) * width + max(abs(between.e - 1), abs(between.b)) * height
    columns, rows = round(between.c), round(between.f)
    if skew + abs(between.c - columns) + abs(between.f - rows) > _SAME:
        return None
    return Placement(columns, rows)


def shifts(where: Georeference, footing: Footing) -> list[float]:
    """What to add to a raster's x, so that it meets a grid: 0, or multiples of 360 degrees; none if it does not."""
    corners = [
        where.transform * corner
        for corner in ((0, 0), (where.width, 0), (0, where.height), (where.width, where.height))
    ]
    low, high = min(x for x, _ in corners), max(x for x, _ in corners)
    south, north = min(y for _, y in corners), max(y for _, y in corners)
    if footing.y.max() <= south or footing.y.min() >= north:
        return []
    turns = (0, -1, 1) if where.period else (0,)
    return [
        turn * where.period
        for turn in turns
        if footing.x.max() > low + turn * where.period and footing.x.min() < high + turn * where.period
    ]


def merge(
    layers: Iterable[tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]],
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """Layers in order, later ones where earlier ones have nothing."""
    result, known = None, None
    for values, valid in layers:
        if result is None or known is None:
            result, known = values, valid
        else:
            result, known = np.where(known, result, values), known | valid
    assert result is not None
    assert known is not None
    return result, known

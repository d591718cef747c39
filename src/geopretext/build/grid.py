"""The pixel grid of a tile: a square of a UTM zone, its pixels those of the reference image."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import pyproj
import shapely

from geopretext.errors import Reason, SourceError

SOUTHERNMOST, NORTHERNMOST = -80.0, 84.0
"""degrees: latitudes that UTM is defined for"""
_EDGE_POINTS = 9
"""points along each edge of a tile that its outline in degrees goes through"""


@dataclass(frozen=True)
class Grid:
    """``height`` x ``width`` pixels of ``step`` metres, north up."""

    crs: int
    """EPSG code of a projection in metres"""
    left: float
    """easting of the left edge of the first column, m"""
    top: float
    """northing of the upper edge of the first row, m"""
    height: int
    """pixels"""
    width: int
    """pixels"""
    step: float = 10.0
    """side of a pixel, m"""

    @classmethod
    def around(cls, *, lat: float, lon: float, crs: int, size: int, step: float = 10.0) -> "Grid":
        """The square of ``size`` pixels whose centre is nearest to a place, on multiples of ``step``.

        Args:
            lat: degrees north (WGS 84).
            lon: degrees east.
            crs: EPSG code of the reference image's zone, which may be a neighbour of the place's own.
            size: pixels a side.
            step: metres; edges lie on multiples of it, as those of Sentinel-2's granules do.

        Raises:
            SourceError: the place has no position in that projection.
        """
        x, y = _from_degrees(crs).transform(lon, lat)
        if not (np.isfinite(x) and np.isfinite(y)):
            raise SourceError(
                f"lat {lat:g}, lon {lon:g} has no position in EPSG:{crs}",
                reason=Reason.POLAR,
                hint=f"UTM is defined from {SOUTHERNMOST:g} to {NORTHERNMOST:g} degrees",
            )
        left = step * round(x / step - size / 2)
        top = step * round(y / step + size / 2)
        return cls(crs=crs, left=left, top=top, height=size, width=size, step=step)

    @property
    def transform(self) -> tuple[float, float, float, float, float, float]:
        """Numbers a b c d e f of x = a col + b row + c, y = d col + e row + f (pixel corners)."""
        return (self.step, 0.0, self.left, 0.0, -self.step, self.top)

    @property
    def bounds(self) -> tuple[float, float, float, float]:
        """left, bottom, right, top in metres of ``crs``."""
        return (
            self.left,
            self.top - self.height * self.step,
            self.left + self.width * self.step,
            self.top,
        )

    @property
    def center(self) -> tuple[float, float]:
        """(lat, lon) of the centre, degrees."""
        left, bottom, right, top = self.bounds
        lon, lat = _to_degrees(self.crs).transform((left + right) / 2, (bottom + top) / 2)
        return float(lat), float(lon)

    def outline(self) -> Any:
        """The square in degrees (WGS 84), a shapely geometry; two halves if it crosses the antimeridian."""
        left, bottom, right, top = self.bounds
        along, across = np.linspace(left, right, _EDGE_POINTS), np.linspace(bottom, top, _EDGE_POINTS)
        x = np.concatenate([along, np.full(_EDGE_POINTS, right), along[::-1], np.full(_EDGE_POINTS, left)])
        y = np.concatenate([np.full(_EDGE_POINTS, bottom), across, np.full(_EDGE_POINTS, top), across[::-1]])
        lon, lat = _to_degrees(self.crs).transform(x, y)
        if lon.max() - lon.min() < 180:
            return shapely.Polygon(np.stack([lon, lat], axis=1))
        eastern = shapely.Polygon(np.stack([np.where(lon < 0, lon + 360, lon), lat], axis=1))
        beyond = shapely.transform(
            eastern.intersection(shapely.box(180, -90, 540, 90)), lambda points: points - np.array([360.0, 0.0])
        )
        return shapely.union(eastern.intersection(shapely.box(-180, -90, 180, 90)), beyond)


def utm_zone(*, lat: float, lon: float) -> int:
    """EPSG code of the UTM zone of a place, with the exceptions of Norway and Svalbard, as Sentinel-2's tiling has.

    Raises:
        SourceError: the place is polar.
    """
    if not SOUTHERNMOST <= lat <= NORTHERNMOST:
        raise SourceError(
            f"latitude {lat:g} lies outside the UTM zones",
            reason=Reason.POLAR,
            hint=f"they reach from {SOUTHERNMOST:g} to {NORTHERNMOST:g} degrees",
        )
    lon = (lon + 180.0) % 360.0 - 180.0
    zone = int((lon + 180.0) // 6.0) + 1
    if 56.0 <= lat < 64.0 and 3.0 <= lon < 12.0:
        zone = 32
    elif lat >= 72.0 and 0.0 <= lon < 42.0:
        zone = int((lon + 3.0) // 12.0) * 2 + 31
    return (32600 if lat >= 0 else 32700) + zone


@lru_cache(maxsize=256)
def _from_degrees(crs: int) -> Any:
    return pyproj.Transformer.from_crs("EPSG:4326", f"EPSG:{crs}", always_xy=True)


@lru_cache(maxsize=256)
def _to_degrees(crs: int) -> Any:
    return pyproj.Transformer.from_crs(f"EPSG:{crs}", "EPSG:4326", always_xy=True)

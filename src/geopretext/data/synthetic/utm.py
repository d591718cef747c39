"""Universal Transverse Mercator by Krueger's series (Karney 2011, arXiv 1002.1417), without a projection library."""

from typing import Any

import numpy as np
import numpy.typing as npt

_A, _F, _K0 = 6378137.0, 1 / 298.257223563, 0.9996
_N = _F / (2 - _F)
_RADIUS = _A / (1 + _N) * (1 + _N**2 / 4 + _N**4 / 64)
_ALPHA = (_N / 2 - 2 * _N**2 / 3 + 5 * _N**3 / 16, 13 * _N**2 / 48 - 3 * _N**3 / 5, 61 * _N**3 / 240)
_BETA = (_N / 2 - 2 * _N**2 / 3 + 37 * _N**3 / 96, _N**2 / 48 + _N**3 / 15, 17 * _N**3 / 480)
_DELTA = (2 * _N - 2 * _N**2 / 3 - 2 * _N**3, 7 * _N**2 / 3 - 8 * _N**3 / 5, 56 * _N**3 / 15)


def utm_to_geographic(
    epsg: npt.NDArray[Any], *, easting: npt.NDArray[Any], northing: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Latitude and longitude in degrees (Krueger series to third order: better than a centimetre in a zone)."""
    zone, south = epsg % 100, epsg // 100 == 327
    xi = (northing - np.where(south, 1e7, 0.0)) / (_K0 * _RADIUS)
    eta = (easting - 5e5) / (_K0 * _RADIUS)
    xi_, eta_ = xi.copy(), eta.copy()
    for j, beta in enumerate(_BETA, start=1):
        xi_ = xi_ - beta * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        eta_ = eta_ - beta * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    chi = np.arcsin(np.sin(xi_) / np.cosh(eta_))
    latitude = chi + sum(delta * np.sin(2 * j * chi) for j, delta in enumerate(_DELTA, start=1))
    longitude = np.degrees(np.arctan2(np.sinh(eta_), np.cos(xi_))) + 6.0 * zone - 183.0
    return np.degrees(latitude), (longitude + 180.0) % 360.0 - 180.0


def geographic_to_utm(
    *, lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """EPSG code, easting and northing in metres of places between 80 S and 84 N."""
    zone = np.clip(np.floor((lon + 180) / 6).astype(np.int64) + 1, 1, 60)
    across = np.radians(lon - (6.0 * zone - 183.0))
    sine = np.sin(np.radians(lat))
    e = 2 * np.sqrt(_N) / (1 + _N)
    t = np.sinh(np.arctanh(sine) - e * np.arctanh(e * sine))
    xi, eta = np.arctan2(t, np.cos(across)), np.arctanh(np.sin(across) / np.sqrt(1 + t * t))
    xi_, eta_ = xi.copy(), eta.copy()
    for j, alpha in enumerate(_ALPHA, start=1):
        xi_ = xi_ + alpha * np.sin(2 * j * xi) * np.cosh(2 * j * eta)
        eta_ = eta_ + alpha * np.cos(2 * j * xi) * np.sinh(2 * j * eta)
    south = lat < 0
    northing = _K0 * _RADIUS * xi_ + np.where(south, 1e7, 0.0)
    return np.where(south, 32700, 32600) + zone, 5e5 + _K0 * _RADIUS * eta_, northing

"""How a tile that was built compares with the synthetic Earth it was built of: the error of resampling, and no more.

What remains where a build is right, from an archive on disk with the recipe ``synthetic-stac``:

============================ ===============================================================================
bands of 10 m, masks         none: the files hold the planet's own pixels on the grid of the tiles
bands of 20 and 60 m         rounding to whole numbers, compared with ``bilinear_sentinel2``
``sentinel1``                0.0001 dB: float32 through linear power and back
other maps                   they are resampled twice, ``EXPECTED`` has the bounds
``era5``                     the climate of the nearest cell of 0.1 degrees
============================ ===============================================================================

Tiles of the kind ``synthetic`` have no error at all.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.build.synthetic_truth import truth
from geopretext.data.synthetic.optics import BANDS, RESOLUTION
from geopretext.data.tiles import Array
from geopretext.modality import PUBLISHED

Record = Mapping[str, Any]
"""what a store keeps of one observation: ``item``, ``date``, ``group``, ``level``"""

_MARGIN = 12
"""pixels around a tile that bilinear resampling of 60 m pixels may reach, and some"""


@dataclass(frozen=True)
class Difference:
    """Of one modality of one or several tiles; all numbers are means over pixels (and bands)."""

    equal: float
    """share of observed numbers that are the true ones, to half a unit of integers, to 0.0005 of others"""
    error: float
    """absolute difference, in the unit stored; of classes it means nothing"""
    worst: float
    """greatest absolute difference"""
    missing: float
    """share that is observed in only one of the two"""


EXPECTED = {
    "sentinel2": Difference(equal=1, error=0.25, worst=0.501, missing=1e-3),  # beside the edge of a swath
    "sentinel1": Difference(equal=1, error=1e-4, worst=1e-3, missing=0),
    "sentinel2_scl": Difference(equal=1, error=0, worst=0, missing=0),
    "sentinel2_cloudmask": Difference(equal=1, error=0, worst=0, missing=0),
    "sentinel2_cloudprod": Difference(equal=1, error=0, worst=0, missing=0),
    "dynamic_world": Difference(equal=1, error=0, worst=0, missing=0),
    "esa_worldcover": Difference(equal=0.99, error=np.inf, worst=np.inf, missing=0),
    "canopy_height_eth": Difference(equal=0.6, error=0.8, worst=np.inf, missing=0.01),
    "aster": Difference(equal=0.85, error=0.15, worst=12, missing=0),  # slope, where ground is steep
    "era5": Difference(equal=0, error=0.5, worst=3, missing=0),
}
"""bounds over a hundred tiles or more: ``equal`` from below, the others from above"""


def is_expected(name: str, found: Difference) -> bool:
    """Whether a modality differs by no more than resampling explains."""
    bound = EXPECTED[name]
    return (
        found.equal >= bound.equal
        and found.error <= bound.error
        and found.worst <= bound.worst
        and found.missing <= bound.missing
    )


def compare(name: str, tiles: Sequence[tuple[Array, Grid, Sequence[Record]]], *, seed: int = 0) -> Difference:
    """Differences of one modality of some tiles from the planet.

    Args:
        name: of the modality, a key of ``EXPECTED``.
        tiles: for each what is stored, (C, H, W) or (C,), its grid, and what the store records of the modality.
        seed: which planet.
    """
    differences, missing = [], []
    for stored, grid, records in tiles:
        true, known = _true(name, grid, records, seed)
        seen = np.isfinite(stored)
        for number in PUBLISHED[name].missing:
            seen &= stored != number
        both = seen & known
        differences.append(np.abs(stored[both].astype(np.float64) - true[both]))
        missing.append(seen != known)
    error, odd = np.concatenate(differences), np.concatenate([part.ravel() for part in missing])
    close = 0.5e-3 if PUBLISHED[name].dtype == "float32" else 0.5 + 1e-6
    if not error.size:
        return Difference(1.0, 0.0, 0.0, float(odd.mean()))
    return Difference(float(np.mean(error < close)), float(error.mean()), float(error.max()), float(odd.mean()))


def bilinear_sentinel2(
    grid: Grid, *, time: np.datetime64, level: str, seed: int = 0
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
    """What a bilinear reader makes of the native pixels of 10, 20 and 60 m: values and validity, (13, H, W).

    Pixels near ones that were not observed are not valid: readers differ in what they make of these.
    """
    left = 60 * math.floor((grid.left - 10 * _MARGIN) / 60)
    top = 60 * math.ceil((grid.top + 10 * _MARGIN) / 60)
    right, down = round((grid.left - left) / 10), round((top - grid.top) / 10)
    size = 6 * -(-(max(grid.height, grid.width) + max(right, down) + _MARGIN) // 6)
    wide = truth("sentinel2", Grid(grid.crs, left, top, size, size), time=time, level=level, seed=seed)
    values = np.zeros((len(BANDS), grid.height, grid.width))
    valid = np.zeros(values.shape, bool)
    for metres, bands in RESOLUTION.items():
        step = metres // 10
        for band in map(BANDS.index, bands):
            native = wide[band, ::step, ::step].astype(np.float64)
            seen = wide[band].reshape(size // step, step, size // step, step).min(axis=(1, 3)) > 0
            for source, target in ((native, values), (seen.astype(np.float64), valid)):
                fine = _between(_between(source, step, down, grid.height).T, step, right, grid.width).T
                target[band] = fine if target is values else fine > 1 - 1e-9
    return values, valid


def _between(values: npt.NDArray[np.float64], step: int, skip: int, count: int) -> npt.NDArray[np.float64]:
    """Linear between the centres of rows ``step`` pixels high, at ``count`` pixels from pixel ``skip``."""
    at = (np.arange(skip, skip + count) + 0.5) / step - 0.5
    low = np.floor(at).astype(np.intp)
    share = (at - low)[:, None]
    return (1 - share) * values[low] + share * values[np.minimum(low + 1, len(values) - 1)]


def _true(
    name: str, grid: Grid, records: Sequence[Record], seed: int
) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
    """What a tile should be, and where it is known."""
    dates = [np.datetime64(str(record["date"]).rstrip("Z"), "s") if "date" in record else None for record in records]
    if name == "sentinel2":
        assert dates[0] is not None
        return bilinear_sentinel2(grid, time=dates[0], level=str(records[0]["level"]), seed=seed)
    modality = PUBLISHED[name]
    if name == "sentinel1":
        true = _both_orbits(grid, {str(r["group"]): date for r, date in zip(records, dates, strict=True)}, seed)
    else:
        level = next((str(record["level"]) for record in records if "level" in record), "L2A")
        true = truth(name, grid, time=dates[0], level=level, seed=seed)
    known = np.isfinite(true)
    for number in modality.missing:
        known &= true != number
    return true, known


def _both_orbits(grid: Grid, days: Mapping[str, np.datetime64 | None], seed: int) -> npt.NDArray[np.float32]:
    """Sentinel-1 of each orbit at its own time, NaN for an orbit that was not observed."""
    names = PUBLISHED["sentinel1"].band_names
    true = np.full((len(names), grid.height, grid.width), np.nan, np.float32)
    for orbit, time in days.items():
        bands = [band.startswith(orbit) for band in names]
        true[bands] = truth("sentinel1", grid, time=time, seed=seed)[bands]
    return true

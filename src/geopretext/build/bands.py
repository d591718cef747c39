"""From what was read of files to the bands of a modality: what is missing, units, slope, and the margin that it needs.

Kinds of archives that read rasters differ in how they find files; what numbers mean is settled here, the same for all.
"""

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.build.raster_reader import Window
from geopretext.build.source import Observation
from geopretext.data.terrain import slope_degrees
from geopretext.data.units import REFLECTANCE, check_plausible, to_unit
from geopretext.errors import Reason, SourceError, UnitError
from geopretext.modality import Band, Modality

ENOUGH_PIXELS = 1000
"""observed ones of a band, below which its numbers are not judged: a lake alone may look like anything"""
_MARGIN = 1
"""pixels beyond the tile that slope needs of elevation"""


def missing_numbers(modality: Modality, band: Band, *, unit: str, scale: float, offset: float) -> frozenset[float]:
    """Numbers of a file that mean "missing" because the modality's do, if the file's numbers are the band's own.

    Args:
        modality: as stored.
        band: one of it.
        unit: of the file's numbers, after scale and offset.
        scale: of the file.
        offset: of the file, besides one that archives add to the band's own numbers and that is undone.
    """
    if (unit, scale, offset) != (band.unit, 1.0, 0.0):
        return frozenset()
    return frozenset(float(number) for number in modality.missing)


def read_grid(grid: Grid, name: str, slopes: Mapping[str, str]) -> Grid:
    """The grid to read a band on: a pixel more on each side if a slope is made of it.

    Args:
        grid: of the tile.
        name: of the band.
        slopes: bands that are slopes, and of which others.
    """
    if name not in slopes.values():
        return grid
    return replace(
        grid,
        left=grid.left - _MARGIN * grid.step,
        top=grid.top + _MARGIN * grid.step,
        height=grid.height + 2 * _MARGIN,
        width=grid.width + 2 * _MARGIN,
    )


def in_unit(
    modality: Modality, band: Band, window: Window, *, unit: str, undone: float = 0.0, where: str
) -> npt.NDArray[np.float64]:
    """Numbers of a window in the band's unit, NaN where nothing was observed.

    Args:
        modality: as stored.
        band: one of it.
        window: as read.
        unit: of the window's numbers; of no account for classes.
        undone: what was added to the file's numbers to undo an offset; they are judged without it.
        where: names the file, for errors.

    Raises:
        SourceError: ``UNIT``: they cannot be in this unit, or are no classes of the modality.
    """
    numbers = np.where(window.valid, window.values.astype(np.float64), np.nan)
    observed = numbers[np.isfinite(numbers)]
    if modality.kind.is_categorical:
        strange = sorted(set(np.unique(observed)) - set(modality.class_index) - set(modality.missing))
        if strange:
            codes = ", ".join(f"{code:g}" for code in strange[:8])
            raise _unit_error(f"code {codes} is not a class of {modality.name!r}", where)
        return np.where(np.isin(numbers, modality.missing), np.nan, numbers)
    if observed.size >= ENOUGH_PIXELS:
        try:
            check_plausible(observed - undone, band, unit, dtype=window.values.dtype.name, where=where)
        except UnitError as error:
            raise _unit_error(error.what, where) from error
    return to_unit(numbers, unit, band.unit)


def observation_of(
    modality: Modality,
    grid: Grid,
    numbers: Mapping[str, npt.NDArray[np.float64]],
    slopes: Mapping[str, str],
    notes: Mapping[str, str],
) -> Observation:
    """All bands of a tile.

    Args:
        modality: as stored.
        grid: of the tile.
        numbers: by band, in its unit, NaN where nothing was observed, on the grids of ``read_grid``; bands may lack.
        slopes: bands that are slopes, and of which others.
        notes: facts to record.
    """
    shape = (len(modality.bands), grid.height, grid.width)
    values, valid = np.zeros(shape, np.result_type(modality.dtype, np.float32)), np.zeros(shape, np.bool_)
    for number, band in enumerate(modality.bands):
        source = slopes.get(band.name, band.name)
        if source not in numbers:
            continue
        found = numbers[source]
        if band.name in slopes:
            found = slope_degrees(found, x_step=grid.step, y_step=grid.step)
        if found.shape != shape[1:]:
            found = found[_MARGIN:-_MARGIN, _MARGIN:-_MARGIN]
        valid[number] = np.isfinite(found)
        if band.unit == REFLECTANCE:
            # 0 means missing; a dark pixel whose reflectance comes out at or below 0 was observed nevertheless
            found = np.maximum(found, 1)
        values[number] = np.where(valid[number], found, 0)
    return Observation(values, valid, notes)


def _unit_error(what: str, where: str) -> SourceError:
    return SourceError(
        what,
        reason=Reason.UNIT,
        where=where,
        hint="correct 'unit', 'scale', 'offset', 'nodata' or the file of the band in the recipe",
    )

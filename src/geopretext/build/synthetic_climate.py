"""Monthly climate of the synthetic Earth as a Zarr, on the grid of ERA5-Land: 0.1 degrees, all of the globe.

Variables and units are those of Earth Engine's ``ECMWF/ERA5_LAND/MONTHLY_AGGR``. Only chunks near granules are written;
the others are missing, as the sea is in ERA5-Land.
"""

import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import zarr

from geopretext.build.synthetic_granules import Granule
from geopretext.build.synthetic_items import UNFINISHED
from geopretext.build.synthetic_truth import climate

_DIMENSIONS = "_ARRAY_DIMENSIONS"
"""where xarray finds the names of dimensions in Zarr of version 2, which alone can say what it holds in one file"""
NAME = "era5-land-monthly.zarr"
_CHUNK = 50
"""cells a side, 5 degrees"""
_REACH = 0.5
"""degrees around granules that are filled at least"""
_LATITUDES, _LONGITUDES = np.arange(900, -901, -1) / 10, np.arange(-1800, 1800) / 10
_VARIABLES = {
    "temperature_2m": ("K", "mean 2 m temperature"),
    "temperature_2m_min": ("K", "minimum 2 m temperature"),
    "temperature_2m_max": ("K", "maximum 2 m temperature"),
    "total_precipitation_sum": ("m", "total precipitation of the month"),
}
_BANDS = slice(4, 8)
"""of ``era5``, those of the month itself, in the order of the variables"""


def write_climate(root: Path, seed: int, granules: Iterable[Granule], years: tuple[int, int]) -> None:
    """Write ``DIR/era5-land-monthly.zarr``, whole or not at all.

    Args:
        root: of the archive.
        seed: which planet.
        granules: around which there is data.
        years: first and last; the year before is added, since the months of a year may begin in it.

    Raises:
        OSError: it cannot be written.
    """
    months = np.arange(f"{years[0] - 1}-01", f"{years[1] + 1}-01", dtype="datetime64[M]")
    unfinished = root / f"{UNFINISHED}{NAME}"
    shutil.rmtree(unfinished, ignore_errors=True)
    group = zarr.create_group(unfinished, zarr_format=2, attributes={"title": "Monthly climate of the synthetic Earth"})
    _add_axis(group, "time", months.astype("datetime64[D]").astype(np.int64), {"units": "days since 1970-01-01"})
    _add_axis(group, "latitude", _LATITUDES, {"units": "degrees_north", "standard_name": "latitude"})
    _add_axis(group, "longitude", _LONGITUDES, {"units": "degrees_east", "standard_name": "longitude"})
    arrays = [
        group.create_array(
            name,
            shape=(len(months), len(_LATITUDES), len(_LONGITUDES)),
            chunks=(12, _CHUNK, _CHUNK),
            dtype="float32",
            fill_value=np.nan,
            attributes={"units": unit, "long_name": title, _DIMENSIONS: ["time", "latitude", "longitude"]},
        )
        for name, (unit, title) in _VARIABLES.items()
    ]
    for rows, columns in _chunks_near(granules):
        for array, values in zip(arrays, _monthly(seed, months, rows, columns), strict=True):
            array[:, rows, columns] = values
    zarr.consolidate_metadata(unfinished.as_posix(), zarr_format=2)
    shutil.rmtree(root / NAME, ignore_errors=True)
    unfinished.rename(root / NAME)


def _add_axis(group: zarr.Group, name: str, values: npt.NDArray[Any], attributes: dict[str, Any]) -> None:
    array = group.create_array(
        name,
        shape=values.shape,
        chunks=values.shape,
        dtype=values.dtype,
        fill_value=None,  # else xarray takes the equator for missing
        attributes={**attributes, _DIMENSIONS: [name]},
    )
    array[:] = values


def _chunks_near(granules: Iterable[Granule]) -> list[tuple[slice, slice]]:
    """Rows and columns of the chunks that granules and their surroundings lie in."""
    near = set()
    for granule in granules:
        west, south, east, north = granule.grid.outline().bounds
        rows = [round((90 - lat) * 10) // _CHUNK for lat in (north + _REACH, south - _REACH)]
        columns = [round((lon + 180) * 10) // _CHUNK for lon in (west - _REACH, east + _REACH)]
        near |= {(r, c) for r in range(rows[0], rows[1] + 1) for c in range(columns[0], columns[1] + 1)}
    return [(slice(r * _CHUNK, (r + 1) * _CHUNK), slice(c * _CHUNK, (c + 1) * _CHUNK)) for r, c in sorted(near)]


def _monthly(seed: int, months: npt.NDArray[np.datetime64], rows: slice, columns: slice) -> npt.NDArray[np.float32]:
    """(variables, months, rows, columns)."""
    lat, lon = np.meshgrid(_LATITUDES[rows], _LONGITUDES[columns], indexing="ij")
    of_the_year = [
        climate(seed, lat=lat.ravel(), lon=lon.ravel(), times=np.full(lat.size, month))[:, _BANDS].T
        for month in np.arange("2020-01", "2021-01", dtype="datetime64[M]")
    ]
    numbers = np.stack(of_the_year, axis=1).reshape(len(_VARIABLES), 12, *lat.shape)
    return numbers[:, months.astype(np.int64) % 12]

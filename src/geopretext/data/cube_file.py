"""One NetCDF cube: its grid, its days, and the numbers of a variable at the pixels of a tile.

Values are read as they are in the file: xarray's own masking would turn integers into floats whose scale was applied
whether one wanted that or not.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.cube_mapping import CubeLayer
from geopretext.data.projections import settle_projections
from geopretext.errors import BandError, CorruptError, GridError, MissingLibraryError, UnitError

try:
    settle_projections()  # while there is time: whoever imports this is about to open cubes
    import pyproj
    import xarray as xr
except ImportError as error:
    raise MissingLibraryError(error.name or "xarray", extra="geo", purpose="read NetCDF cubes") from error

_CRS_ATTRIBUTES = ("crs_wkt", "spatial_ref", "epsg", "crs")


@dataclass(frozen=True)
class CubeGrid:
    """Where a cube lies, in metres of its CRS; edges of the outermost pixels."""

    crs: int
    """EPSG code"""
    left: float
    bottom: float
    right: float
    top: float
    step: float
    """metres a pixel"""


class Cube:
    """An open cube with dimensions y, x, and perhaps one of time. Final; ``open_cube`` makes it.

    Args:
        dataset: not decoded but for its times.
        where: names the file, for messages.
    """

    def __init__(self, dataset: xr.Dataset, where: str) -> None:
        self._dataset = dataset
        self.where = where

    def close(self) -> None:
        """Close the file."""
        self._dataset.close()

    def place(self, attribute: str) -> str:
        """Name of the place: an attribute of the file; its own name without the ending if it has none such."""
        named = self._dataset.attrs.get(attribute) if attribute else None
        return Path(self.where).stem if named is None else str(named)

    def check(self, variables: Iterable[str]) -> None:
        """Refuse a file that lacks a variable.

        Raises:
            BandError: names it.
        """
        lacking = [name for name in variables if name not in self._dataset.data_vars]
        if lacking:
            raise BandError(
                f"has no variable {', '.join(map(repr, lacking))}",
                where=self.where,
                hint=f"there are {', '.join(map(str, self._dataset.data_vars))}",
            )

    @cached_property
    def grid(self) -> CubeGrid:
        """Where it lies.

        Raises:
            GridError: it has no CRS in metres with a code, or its coordinates are not evenly spaced.
        """
        edges = {}
        for axis in ("x", "y"):
            at = self._centres(axis)
            step = abs(float(at[1] - at[0])) if len(at) > 1 else float(self._dataset.attrs.get("resolution", 0))
            if step <= 0 or (len(at) > 1 and np.abs(np.abs(np.diff(at)) - step).max() > 1e-3 * step):
                raise GridError(f"coordinates {axis!r} are not evenly spaced", where=self.where)
            edges[axis] = (float(at.min()) - step / 2, float(at.max()) + step / 2, step)
        (left, right, step), (bottom, top, other) = edges["x"], edges["y"]
        if abs(step - other) > 1e-3 * step:
            raise GridError(f"pixels are {step:g} x {other:g}, not square", where=self.where)
        return CubeGrid(self._crs(), left, bottom, right, top, step)

    def _centres(self, axis: str) -> npt.NDArray[np.float64]:
        if axis not in self._dataset.coords:
            raise GridError(f"has no coordinates {axis!r}", where=self.where, hint="cubes have dimensions y and x")
        return np.asarray(self._dataset.coords[axis].values, np.float64)

    def _crs(self) -> int:
        said = [self._dataset.attrs]
        said += [self._dataset[name].attrs for name in ("crs", "spatial_ref") if name in self._dataset]
        for attributes in said:
            for key in _CRS_ATTRIBUTES:
                value = attributes.get(key)
                if value is None:
                    continue
                try:
                    crs = pyproj.CRS.from_user_input(int(value) if key == "epsg" else str(value))
                except (pyproj.exceptions.CRSError, ValueError):
                    continue
                code = crs.to_epsg()
                if code is not None and crs.is_projected:
                    return int(code)
        raise GridError(
            "has no CRS in metres that has an EPSG code", where=self.where, hint="an attribute epsg or crs_wkt says it"
        )

    def to_degrees(self, *, x: float, y: float) -> tuple[float, float]:
        """Latitude and longitude of a point."""
        lon, lat = pyproj.Transformer.from_crs(self.grid.crs, 4326, always_xy=True).transform(x, y)
        return float(lat), float(lon)

    @property
    def days(self) -> npt.NDArray[np.datetime64]:
        """Days of its images, ascending, each once; none if it has no time."""
        return np.unique(self._times.astype("datetime64[D]"))

    @property
    def _time(self) -> str | None:
        """The dimension of time, if there is one."""
        names = [str(name) for name in self._dataset.dims if name in self._dataset.coords]
        return next((name for name in names if self._dataset.coords[name].dtype.kind == "M"), None)

    @property
    def _times(self) -> npt.NDArray[np.datetime64]:
        if self._time is None:
            return np.empty(0, "datetime64[ns]")
        return np.asarray(self._dataset.coords[self._time].values)

    def read(
        self, variable: str, days: npt.NDArray[np.datetime64] | None, layer: CubeLayer, *, x: Any, y: Any
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        """Numbers of a variable and whether they were observed, (D, H, W); (H, W) without days.

        Args:
            variable: of the file.
            days: (D,); a day that the file has not was not observed. None: of a variable that is the same at all times.
            layer: no-data numbers, scale and compression.
            x: (W,) centres of the pixels wanted.
            y: (H,) likewise.

        Raises:
            BandError: no such variable, one that changes over time although no days are asked for, one without time
                although some are, or one with other dimensions.
            UnitError: the file states a scale, and the layer does not say what to do about it.
            CorruptError: it cannot be read to its end.
        """
        self.check([variable])
        array = self._dataset[variable]
        columns, has_column = self._positions("x", np.asarray(x))
        rows, has_row = self._positions("y", np.asarray(y))
        first = array.isel(y=slice(rows.min(), rows.max() + 1), x=slice(columns.min(), columns.max() + 1))
        time = [str(name) for name in array.dims if name not in ("y", "x")]
        if len(time) > 1 or (days is not None and time != [self._time]):
            raise BandError(
                f"{variable!r} has the dimensions {', '.join(map(str, array.dims))}",
                where=self.where,
                hint="a map has y and x, a series time besides, and neither any other",
            )
        try:
            raw = first.transpose(*time, "y", "x").values
        except (OSError, RuntimeError, ValueError) as error:
            raise CorruptError(f"variable {variable!r} cannot be read: {error}", where=self.where) from error
        if _is_unsigned(array):
            raw = raw.view(f"u{raw.dtype.itemsize}")
        if days is None and time:
            if not np.array_equal(raw, np.broadcast_to(raw[:1], raw.shape), equal_nan=raw.dtype.kind == "f"):
                raise BandError(f"{variable!r} changes over time, and a map does not", where=self.where)
            raw = raw[0]
        raw = raw[..., rows - rows.min(), :][..., columns - columns.min()]
        valid = np.broadcast_to(has_row[:, None] & has_column, raw.shape).copy()
        if days is not None:
            raw, valid = self._at_days(raw, valid, days)
        return self._decode(array, raw, valid, layer)

    def _positions(
        self, axis: str, wanted: npt.NDArray[np.float64]
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        """The pixels of the cube that hold points, and whether there are such."""
        at = self._centres(axis)
        step = self.grid.step
        nearest = np.abs(at[None] - wanted[:, None]).argmin(axis=1)
        return nearest, np.abs(at[nearest] - wanted) <= step / 2 * (1 + 1e-6)

    def _at_days(
        self, raw: npt.NDArray[Any], valid: npt.NDArray[np.bool_], days: npt.NDArray[np.datetime64]
    ) -> tuple[npt.NDArray[Any], npt.NDArray[np.bool_]]:
        """The first image of each day; nothing is valid on days without one."""
        own = self._times.astype("datetime64[D]")
        order = np.argsort(self._times, kind="stable")
        position = np.minimum(np.searchsorted(own[order], days), len(own) - 1)
        has_day = own[order][position] == days
        return raw[order][position], valid[order][position] & has_day[:, None, None]

    def _decode(
        self, array: xr.DataArray, raw: npt.NDArray[Any], valid: npt.NDArray[np.bool_], layer: CubeLayer
    ) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.bool_]]:
        said = [np.asarray(array.attrs[key]) for key in ("_FillValue", "missing_value") if key in array.attrs]
        if _is_unsigned(array):  # they are of the variable's own signed type
            said = [numbers.astype(array.dtype).view(raw.dtype) for numbers in said]
        for number in (*layer.nodata, *(number for numbers in said for number in numbers.ravel())):
            valid = valid & (raw != number)
        numbers = raw.astype(np.float64)
        valid = valid & np.isfinite(numbers)
        factor, added = (
            float(array.attrs.get(key, none)) for key, none in (("scale_factor", 1.0), ("add_offset", 0.0))
        )
        if (factor, added) != (1.0, 0.0):
            if not layer.scale:
                raise UnitError(
                    f"{array.name!r} states scale_factor {factor:g} and add_offset {added:g}",
                    where=self.where,
                    hint="scale: apply (unit is meant after scaling) or ignore (before)",
                )
            if layer.scale == "apply":
                numbers = numbers * factor + added
        if layer.decibel is not None:
            slope, level = layer.decibel
            valid = valid & (numbers > 0)
            numbers = slope * np.log10(np.where(valid, numbers, 1.0)) + level
        return np.where(valid, numbers, 0.0), valid


def _is_unsigned(array: xr.DataArray) -> bool:
    """Whether signed integers stand for unsigned ones, as NetCDF 3 has none."""
    return str(array.attrs.get("_Unsigned", "")).lower() == "true"


def open_cube(path: Path) -> Cube:
    """Open a file.

    Raises:
        CorruptError: it is no NetCDF file with coordinates.
    """
    try:
        return Cube(xr.open_dataset(path, mask_and_scale=False, engine="h5netcdf"), str(path))
    except (OSError, ValueError, KeyError) as error:
        raise CorruptError(f"is no NetCDF cube: {error}", where=str(path)) from error

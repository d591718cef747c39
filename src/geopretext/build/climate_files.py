"""Climate variables in files: found by name, in order of time, however many files they are spread over.

Zarr (a path, or a URL of http, https, s3, gs or az), NetCDF and GRIB (paths, ``*`` and ``?`` match several), all
through xarray without dask: only coordinates are read when a file is opened.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from glob import has_magic
from importlib import import_module
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geopretext.build.climate_bands import STATISTICS
from geopretext.data.projections import settle_projections
from geopretext.errors import MissingLibraryError, Reason, SourceError

try:
    import obstore.exceptions
    import obstore.store
    import xarray as xr
except ImportError as error:
    raise MissingLibraryError(error.name or "xarray", extra="geo", purpose="read climate data") from error

_from_url: Any = obstore.store.from_url
"""its overloads are by scheme, which a recipe says in text"""

Format = Literal["", "zarr", "netcdf", "grib"]

DAY = 86_400
"""seconds"""

NAMES: dict[str, tuple[str, ...]] = {
    "mean": ("t2m", "2t", "2m_temperature", "temperature_2m", "mean_2m_air_temperature", "tas", "t2m_mean"),
    "minimum": ("mn2t", "temperature_2m_min", "2m_temperature_min", "minimum_2m_air_temperature", "tasmin", "t2m_min"),
    "maximum": ("mx2t", "temperature_2m_max", "2m_temperature_max", "maximum_2m_air_temperature", "tasmax", "t2m_max"),
    "precipitation": ("tp", "total_precipitation", "total_precipitation_sum", "tp_sum"),
}
"""Names by which a variable is known: ECMWF's short names, those of the CDS, of Earth Engine and of CMIP"""

STORAGE = ("endpoint", "region", "skip_signature", "virtual_hosted_style_request", "request_payer", "account_name")
"""Options of an object store that a recipe may hold; keys and secrets come from the environment"""

_LONGEST_BACKOFF = 30.0
"""seconds"""

_STANDARD_NAMES = ("air_temperature", "lwe_thickness_of_precipitation_amount", "precipitation_amount")
_FORMATS: dict[str, Format] = {
    ".zarr": "zarr",
    ".nc": "netcdf",
    ".nc4": "netcdf",
    ".cdf": "netcdf",
    ".grib": "grib",
    ".grib2": "grib",
    ".grb": "grib",
    ".grb2": "grib",
}


@dataclass(frozen=True)
class Attempts:
    """How often and how patiently a URL is asked."""

    timeout: float
    """seconds after which a request is given up"""
    retries: int
    """attempts after the first one that failed for a reason that may pass"""
    backoff: float
    """seconds before the second attempt; doubles with each, and is at most 30"""

    @property
    def config(self) -> dict[str, Any]:
        """``retry_config`` of obstore."""
        waits = sum(min(_LONGEST_BACKOFF, self.backoff * 2**number) for number in range(self.retries))
        return {
            "max_retries": self.retries,
            "backoff": {
                "init_backoff": timedelta(seconds=self.backoff),
                "max_backoff": timedelta(seconds=_LONGEST_BACKOFF),
                "base": 2,
            },
            # No further attempt starts after this; the number of attempts is to decide.
            "retry_timeout": timedelta(seconds=(self.retries + 1) * self.timeout + waits),
        }


@dataclass(frozen=True, eq=False)
class Series:
    """One variable over time and a grid of latitudes and longitudes."""

    name: str
    unit: str
    """as its files have it; empty if they do not say"""
    parts: tuple[xr.DataArray, ...]
    """each (time, lat, lon), not loaded"""
    times: npt.NDArray[np.datetime64]
    """(n,) ``datetime64[s]``, ascending, each once"""
    part: npt.NDArray[np.intp]
    """(n,): which part holds a time"""
    index: npt.NDArray[np.intp]
    """(n,): where in that part"""
    lat: npt.NDArray[np.float64]
    """degrees north, in the order of the files"""
    lon: npt.NDArray[np.float64]
    """degrees east, in the order of the files, 0 to 360 or -180 to 180"""
    where: str
    """for messages"""

    @property
    def chunks(self) -> tuple[int, int, int]:
        """Steps, rows and columns that are decoded together; 0 where anything goes."""
        first = self.parts[0]
        if "GRIB_gridType" in first.attrs:
            return 1, self.lat.size, self.lon.size
        kept = first.encoding.get("preferred_chunks") or {}
        time, lat, lon = (int(kept.get(name, 0)) for name in first.dims)
        return time, lat, lon

    @property
    def step(self) -> int:
        """Seconds between two times; 0 for months.

        Raises:
            SourceError: there is one time only, or steps are neither parts of a day, days nor months.
        """
        if len(self.times) < 2:
            raise SourceError("has a single time", reason=Reason.NO_DATA, where=self.where)
        step = int(np.diff(self.times).min().astype(np.int64))
        if step >= 28 * DAY:
            return 0
        if step > DAY or DAY % step:
            raise SourceError(
                f"has steps of {step / 3600:g} hours",
                reason=Reason.NO_DATA,
                where=self.where,
                hint="steps are parts of a day, days or months",
            )
        return step


def open_series(
    path: str,
    format_: Format,
    options: Mapping[str, Any],
    names: Mapping[str, str],
    wanted: Iterable[str],
    attempts: Attempts,
) -> dict[str, Series]:
    """The variables behind statistics, those that there are.

    Args:
        path: a path or URL; ``*`` and ``?`` match several files.
        format_: empty: told from the end of the path.
        options: of the object store (``obstore``), for URLs.
        names: of variables by statistic, where they are not to be found by their usual names.
        wanted: of ``STATISTICS``.
        attempts: at a URL.

    Raises:
        SourceError: there is no file, it cannot be read, a variable that was named is not there, there are several for
            one statistic, or its grid is not one of latitudes and longitudes.
    """
    found: dict[str, list[xr.DataArray]] = {}
    for dataset in _datasets(path, format_ or format_of(path), options, attempts):
        for statistic in wanted:
            array = _find(dataset, statistic, names.get(statistic, ""), where=path)
            if array is not None:
                found.setdefault(statistic, []).append(array)
    for statistic, name in names.items():
        if statistic in wanted and statistic not in found:
            raise SourceError(f"has no variable {name!r}", reason=Reason.NO_ASSET, where=path)
    with reading(path):
        return {name: _in_order(found[name], where=path) for name in STATISTICS if name in found}


@contextmanager
def reading(where: str) -> Iterator[None]:
    """Turn what libraries raise while they read into errors of an archive."""
    try:
        yield
    except SourceError:
        raise
    except (FileNotFoundError, obstore.exceptions.NotFoundError) as error:
        raise SourceError(f"is not there ({_line(error)})", reason=Reason.NO_FILE, where=where) from error
    except (
        PermissionError,
        obstore.exceptions.PermissionDeniedError,
        obstore.exceptions.UnauthenticatedError,
    ) as error:
        raise SourceError(f"may not be read ({_line(error)})", reason=Reason.FORBIDDEN, where=where) from error
    except TimeoutError as error:
        raise SourceError(f"does not answer ({_line(error)})", reason=Reason.TIMEOUT, where=where) from error
    except obstore.exceptions.BaseError as error:
        raise SourceError(f"does not answer ({_line(error)})", reason=Reason.SERVER, where=where) from error
    except _damaged() as error:
        raise SourceError(f"cannot be read ({_line(error)})", reason=Reason.CORRUPT, where=where) from error


def _datasets(path: str, format_: Format, options: Mapping[str, Any], attempts: Attempts) -> Iterator[xr.Dataset]:
    settle_projections()
    if format_ == "zarr":
        with reading(path):
            yield xr.open_zarr(_zarr_store(path, options, attempts), chunks=None, decode_timedelta=False)
        return
    files = _matching(path)
    if not files or not all(Path(file).is_file() for file in files):
        raise SourceError("there is no such file", reason=Reason.NO_FILE, where=path)
    for file in files:
        with reading(file):
            if format_ == "grib":
                yield from _grib(file)
            else:
                yield xr.open_dataset(file, chunks=None, cache=False, decode_timedelta=False)


def _matching(path: str) -> list[str]:
    """Files of a pattern, in order of their names; a path without one as it is."""
    if not has_magic(path):
        return [path]
    root = Path(path).anchor or "."
    return sorted(str(file) for file in Path(root).glob(str(Path(path).relative_to(root) if root != "." else path)))


def _grib(file: str) -> list[xr.Dataset]:
    try:
        from cfgrib.xarray_store import open_variable_datasets
    except (ImportError, RuntimeError) as error:
        raise MissingLibraryError("cfgrib", extra="geo", purpose="read GRIB files") from error
    # an empty indexpath: cfgrib would leave an index beside the user's file
    how = {"indexpath": "", "time_dims": ("valid_time",), "errors": "raise"}
    datasets: list[xr.Dataset] = open_variable_datasets(file, backend_kwargs=how, cache=False, decode_timedelta=False)
    return datasets


@cache
def _damaged() -> tuple[type[Exception], ...]:
    """What readers raise when bytes cannot be decoded; that of GRIB only where its library is installed."""
    usual = (OSError, EOFError, ValueError, RuntimeError, KeyError)
    try:
        return (*usual, import_module("eccodes").CodesInternalError)
    except (ImportError, RuntimeError):
        return usual


def _zarr_store(path: str, options: Mapping[str, Any], attempts: Attempts) -> Any:
    if "://" not in path:
        if not Path(path).is_dir():
            raise FileNotFoundError(path)
        return path
    from zarr.storage import ObjectStore

    plain = any(url.startswith("http://") for url in (path, str(options.get("endpoint", ""))))
    client = {"timeout": timedelta(seconds=attempts.timeout), "allow_http": plain}
    return ObjectStore(_from_url(path, client_options=client, retry_config=attempts.config, **options), read_only=True)


def format_of(path: str) -> Format:
    """What the end of a path says; URLs are Zarr unless it says otherwise."""
    suffix = Path(path.rstrip("/")).suffix.lower()
    return _FORMATS.get(suffix, "zarr" if "://" in path else "netcdf")


def _find(dataset: xr.Dataset, statistic: str, name: str, *, where: str) -> xr.DataArray | None:
    """The variable of a statistic in a dataset, if it has it."""
    if name:
        return dataset[name] if name in dataset.data_vars else None
    known = [str(key) for key in dataset.data_vars if key in NAMES[statistic]]
    known = known or [str(key) for key in dataset.data_vars if _statistic_of(dataset[key]) == statistic]
    if len(known) > 1:
        raise SourceError(
            f"{' and '.join(known)} may both be the {statistic}",
            reason=Reason.NO_ASSET,
            where=where,
            hint=f"say which: variables: {{{statistic}: {known[0]}}}",
        )
    return dataset[known[0]] if known else None


def _statistic_of(array: xr.DataArray) -> str:
    """What a variable is by its CF attributes, if its name is none that is known."""
    if any(array.name in names for names in NAMES.values()):
        return ""
    standard = array.attrs.get("standard_name")
    if standard not in _STANDARD_NAMES:
        return ""
    if standard != "air_temperature":
        return "precipitation"
    methods = str(array.attrs.get("cell_methods", ""))
    return next((name for name in STATISTICS[1:3] if f"time: {name}" in methods), "mean")


def _in_order(arrays: Sequence[xr.DataArray], *, where: str) -> Series:
    parts = tuple(_as_time_lat_lon(array, where=where) for array in arrays)
    first = parts[0]
    axes = [np.asarray(first[name].values, np.float64) for name in first.dims[1:]]
    for other in parts[1:]:
        for axis, name in zip(axes, other.dims[1:], strict=True):
            if not np.array_equal(axis, other[name].values):
                raise SourceError(f"files of {first.name} differ in their grids", reason=Reason.CORRUPT, where=where)
    times = np.concatenate([part[part.dims[0]].values for part in parts]).astype("datetime64[s]")
    part = np.repeat(np.arange(len(parts)), [len(entry) for entry in parts])
    index = np.concatenate([np.arange(len(entry)) for entry in parts])
    unique, order = np.unique(times, return_index=True)
    units = {str(entry.attrs.get("units", "")) for entry in parts}
    if len(units) > 1:
        raise SourceError(
            f"files of {first.name} differ in their units: {', '.join(sorted(units))}",
            reason=Reason.UNIT,
            where=where,
        )
    where = f"{where}: {first.name}"
    return Series(str(first.name), units.pop(), parts, unique, part[order], index[order], axes[0], axes[1], where)


def _as_time_lat_lon(array: xr.DataArray, *, where: str) -> xr.DataArray:
    where = f"{where}: {array.name}"
    time = _coordinate(array, lambda entry: bool(np.issubdtype(entry.dtype, np.datetime64)))
    lat = _coordinate(array, lambda entry: _is_axis(entry, "latitude", "degrees_north", ("lat", "latitude")))
    lon = _coordinate(array, lambda entry: _is_axis(entry, "longitude", "degrees_east", ("lon", "longitude")))
    for name, what in ((time, "time"), (lat, "latitude"), (lon, "longitude")):
        if name is None or array.coords[name].ndim > 1:
            raise SourceError(
                f"is no grid of latitudes and longitudes over time: it has no axis of {what}"
                f" (dimensions {', '.join(map(str, array.dims))})",
                reason=Reason.NO_GEOREFERENCE,
                where=where,
                hint="interpolate it to a regular grid of latitudes and longitudes, in UTC",
            )
    array = array.expand_dims([name for name in (time, lat, lon) if array.coords[name].ndim == 0])
    dims = tuple(array.coords[name].dims[0] for name in (time, lat, lon))
    others = {str(name): size for name, size in array.sizes.items() if name not in dims}
    if any(size > 1 for size in others.values()):
        raise SourceError(
            f"has more dimensions: {', '.join(f'{name} of {size}' for name, size in others.items())}",
            reason=Reason.NO_GEOREFERENCE,
            where=where,
            hint="write a file with one entry of it; of 'expver' the first is final, the second preliminary",
        )
    array = array.squeeze(list(others), drop=True).transpose(*dims)
    names = {dim: name for dim, name in zip(dims, (time, lat, lon), strict=True) if dim != name}
    return array.swap_dims(names) if names else array


def _coordinate(array: xr.DataArray, fits: Any) -> Any:
    """Name of the coordinate that fits, one along a dimension of its own first."""
    names = [name for name, entry in array.coords.items() if fits(entry)]
    return min(names, key=lambda name: (name not in array.dims, name != "valid_time"), default=None)


def _is_axis(entry: xr.DataArray, standard_name: str, unit: str, names: tuple[str, str]) -> bool:
    attributes = entry.attrs
    return attributes.get("standard_name") == standard_name or attributes.get("units") == unit or entry.name in names


def _line(error: BaseException) -> str:
    """The first line of an error, not too long."""
    return (str(error) or type(error).__name__).strip().splitlines()[0][:200]

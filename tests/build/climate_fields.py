"""Climate files of a field that is known in closed form, and what a vector of it must be."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from geopretext.build.climate import ClimateSource, open_source
from geopretext.build.grid import Grid, utm_zone
from geopretext.build.recipe import read_build_recipe
from geopretext.build.source import Observation, Query, Request
from geopretext.errors import SourceError

LAT = np.array([52.0, 51.75, 51.5, 51.25, 51.0])
LON = np.array([-1.0, -0.75, -0.5, -0.25, 0.0, 0.25])
HOUR = np.timedelta64(1, "h")


def hours(first: str, last: str) -> np.ndarray:
    """Every hour of some months, both included."""
    return np.arange(np.datetime64(first, "M"), np.datetime64(last, "M") + 1, dtype="datetime64[h]")


def temperature(times: np.ndarray, lat: Any, lon: Any) -> np.ndarray:
    """K at instants: warmer to the south, a day's course, a drift from month to month."""
    hour = times.astype("datetime64[h]").astype(np.int64)[:, None, None]
    month = times.astype("datetime64[M]").astype(np.int64)[:, None, None]
    place = -0.6 * np.asarray(lat)[None, :, None] + 0.3 * np.asarray(lon)[None, None, :]
    return 300 + place + 5 * np.sin(2 * np.pi * hour / 24) + month % 12


def rain(times: np.ndarray, lat: Any, lon: Any) -> np.ndarray:
    """M that fall in the hour up to a time."""
    hour = times.astype("datetime64[h]").astype(np.int64)[:, None, None]
    place = 1 + 0.01 * np.asarray(lat)[None, :, None] + 0 * np.asarray(lon)[None, None, :]
    return 1e-4 * (1 + hour % 7) * place


def month_of(month: np.datetime64, lat: Any, lon: Any) -> np.ndarray:
    """(4, rows, columns): mean, minimum, maximum and total of a month."""
    steps = hours(str(month), str(month))
    air = temperature(steps, lat, lon)
    return np.stack([air.mean(axis=0), air.min(axis=0), air.max(axis=0), rain(steps + HOUR, lat, lon).sum(axis=0)])


def expected(month: str, lat: float, lon: float, year_months: int = 12) -> np.ndarray:
    """The vector of the field at a cell, straight from its definition."""
    last = np.datetime64(month, "M")
    year = np.array([month_of(last - back, [lat], [lon])[:, 0, 0] for back in range(year_months)])
    whole = [year[:, 0].mean(), year[:, 1].min(), year[:, 2].max(), year[:, 3].sum()]
    before = month_of(last - 1, [lat], [lon])[:, 0, 0]
    return np.array([*before, *year[0], *whole])


def variable(values: np.ndarray, times: np.ndarray, unit: str, lat: np.ndarray, lon: np.ndarray) -> xr.DataArray:
    """With the axes of the CDS."""
    return xr.DataArray(
        values.astype(np.float32),
        dims=("valid_time", "latitude", "longitude"),
        coords={
            "valid_time": times.astype("datetime64[ns]"),
            "latitude": ("latitude", lat, {"units": "degrees_north"}),
            "longitude": ("longitude", lon, {"units": "degrees_east"}),
        },
        attrs={"units": unit},
    )


def hourly(first: str, last: str, precipitation: str = "hourly_total") -> xr.Dataset:
    """Some months by the hour, and 00 UTC of the first day after, which ends the last hour of rain."""
    times = hours(first, last)
    times = np.append(times, times[-1] + HOUR)
    water = rain(times, LAT, LON)
    if precipitation == "since_midnight":
        by_day = water[1:].reshape(-1, 24, *water.shape[1:]).cumsum(axis=1)
        water = np.concatenate([water[:1] * 0 + 0.5, by_day.reshape(-1, *water.shape[1:])])
    fields = {"t2m": (temperature(times, LAT, LON), "K"), "tp": (water, "m")}
    return xr.Dataset({name: variable(values, times, unit, LAT, LON) for name, (values, unit) in fields.items()})


def monthly(
    first: str, last: str, precipitation: str = "monthly_rate", *, lat: np.ndarray = LAT, lon: np.ndarray = LON
) -> xr.Dataset:
    """The very field of ``hourly`` by the month; ``lon`` may run from 0 to 360."""
    months = np.arange(np.datetime64(first, "M"), np.datetime64(last, "M") + 1)
    east = np.where(lon > 180, lon - 360, lon)
    fields = np.stack([month_of(month, lat, east) for month in months])
    if precipitation == "monthly_rate":
        fields[:, 3] /= np.array([len(hours(str(month), str(month))) / 24 for month in months])[:, None, None]
    names = {"t2m": "K", "mn2t": "K", "mx2t": "K", "tp": "m"}
    return xr.Dataset(
        {name: variable(fields[:, number], months, unit, lat, lon) for number, (name, unit) in enumerate(names.items())}
    )


def climate_source(archive: Mapping[str, Any], **entry: Any) -> ClimateSource:
    """The source that a recipe with this archive opens."""
    modalities = {
        "sentinel2": {"from": "here", "pair": {"rule": "reference"}},
        "era5": {"from": "here", "pair": {"rule": "month"}, **entry},
    }
    recipe = read_build_recipe({"archives": {"here": {"kind": "climate", **archive}}, "modalities": modalities})
    return open_source(recipe.modalities["era5"], recipe.archives["here"], seed=0, where="recipe")


def read(
    path: Path | str, month: str, *places: tuple[float, float], required: bool = False, **options: Any
) -> list[Observation | SourceError]:
    """Vectors of some places (lat, lon)."""
    source = climate_source({"path": str(path), **options}, required=required)
    start = np.datetime64(month, "s")
    queries = [Query("p", lat, lon, (lon, lat, lon, lat), start=start) for lat, lon in places]
    requests = [
        Request(found[0], Grid.around(lat=lat, lon=lon, crs=utm_zone(lat=lat, lon=lon), size=8), lat, lon)
        for found, (lat, lon) in zip(source.search(queries), places, strict=True)
    ]
    seen = dict(source.read(requests))
    return [seen[number] for number in range(len(places))]

"""An xarray Dataset or DataArray, or a NetCDF or Zarr cube on disk, as a scene.

    scene = scene_of_xarray(odc.stac.load(items, bands=[...]), date="2024-08-30", unit="reflectance x 10000")

Bands are variables, or labels of a dimension ``band``. The CRS is looked for where CF conventions, rioxarray, odc-geo
and stackstac keep it. What Dask has not computed is computed window by window.

Shapes: C bands, h w pixels of a window.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.data.projections import settle_projections
from geopretext.data.units import REFLECTANCE
from geopretext.errors import BandError, CorruptError, GridError, InputError, MissingLibraryError
from geopretext.predict.open_scene import Clouds, SceneSource
from geopretext.predict.raster_facts import Numbers, check_unit_name, missing_numbers, read_date
from geopretext.predict.scene import Array, Georeference, Mask
from geopretext.predict.scene_clouds import CLOUDED, SCENE_CLASSES, cloud_record
from geopretext.predict.xarray_facts import (
    check_one_place,
    dtype_of,
    georeference_of_layer,
    layers_of,
    missing_of,
    numbers_of_layers,
    one_date,
    upright,
)

try:
    import xarray as xr
except ImportError as error:
    raise MissingLibraryError("xarray", extra="geo", purpose="read cubes") from error

_HASHED_ROWS = 512


@dataclass(frozen=True)
class XarrayScene:
    """See ``scene.Scene``; made by ``scene_of_xarray``."""

    where: str
    layers: Mapping[str, Any]
    """DataArray (y, x) of each band, rows from north to south"""
    numbers: Numbers
    missing: Mapping[str, tuple[float, ...]]
    """numbers of each band that mean no data"""
    georeference: Georeference
    level: str | None
    time: np.datetime64 | None
    record: Mapping[str, Any]
    clouds: Any = None
    """DataArray (y, x) of scene classes by which pixels are masked"""
    floor: float | None = None
    """what was observed is no less than this, so that no number is taken for "missing" """

    def open(self) -> Self:
        """As ``scene_run.SceneOpener``: it is open already."""
        return self

    @property
    def bands(self) -> tuple[str, ...]:
        """See ``Scene``."""
        return tuple(self.layers)

    @property
    def unit(self) -> str:
        """See ``Scene``."""
        return self.numbers.unit

    @property
    def dtype(self) -> str:
        """See ``Scene``."""
        dtypes = {str(dtype_of(layer)) for layer in self.layers.values()}
        return dtypes.pop() if len(dtypes) == 1 else "float32"

    @property
    def height(self) -> int:
        """See ``Scene``."""
        return int(next(iter(self.layers.values())).shape[0])

    @property
    def width(self) -> int:
        """See ``Scene``."""
        return int(next(iter(self.layers.values())).shape[1])

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> tuple[Array, Mask]:
        """See ``Scene``."""
        excerpts = {name: self.layers[name][rows, columns] for name in bands}
        if self.clouds is not None:
            excerpts[SCENE_CLASSES] = self.clouds[rows, columns]
        # together, so that Dask shares what they have in common
        read = xr.Dataset({name: excerpt.variable for name, excerpt in excerpts.items()}).compute()
        values, valid = [], []
        for name in bands:
            raw = read[name].to_numpy().astype(dtype_of(self.layers[name]), copy=False)
            known = np.isfinite(raw)
            for number in self.missing[name]:
                known &= raw != number
            values.append(np.where(known, raw, 0) * self.numbers.scale + self.numbers.offset)
            valid.append(known)
        numbers, observed = np.stack(values).astype(np.float32), np.stack(valid)
        if self.floor is not None:
            np.maximum(numbers, self.floor, out=numbers)
        if self.clouds is not None:
            classes = read[SCENE_CLASSES].to_numpy()
            observed &= np.isfinite(classes) & ~np.isin(classes, CLOUDED)
        numbers[~observed] = 0
        return numbers, observed

    def fingerprint(self) -> str:
        """See ``Scene``; what Dask has not computed is known by its graph, and all else is read."""
        parts = [*self.bands, repr(self.numbers), repr(self.missing), repr(self.georeference)]
        layers = [*self.layers.values(), *([] if self.clouds is None else [self.clouds])]
        if any(layer.chunks is not None for layer in layers):
            from dask.base import tokenize

            return joined_fingerprint([*parts, *(tokenize(layer.variable) for layer in layers)])
        content = hashlib.sha256()
        for layer in layers:
            for row in range(0, self.height, _HASHED_ROWS):
                content.update(layer[row : row + _HASHED_ROWS].to_numpy().tobytes())
        return joined_fingerprint([*parts, content.hexdigest()])


def open_source(source: SceneSource) -> XarrayScene:
    """See ``open_scene.SceneSource.open``."""
    path = Path(source.path)
    settle_projections()
    try:
        # scale and missing numbers are seen to here; xarray fails on whole numbers whose _FillValue is NaN
        zarr: dict[str, Any] = {"engine": "zarr", "consolidated": False} if path.suffix.lower() == ".zarr" else {}
        data = xr.open_dataset(path, mask_and_scale=False, **zarr)
    except ImportError as error:
        raise MissingLibraryError("h5netcdf", extra="geo", purpose="read NetCDF") from error
    except (OSError, ValueError, KeyError) as error:
        raise CorruptError(
            f"cannot be read as a cube: {error}", where=source.path, hint="a NetCDF file, or Zarr with named dimensions"
        ) from error
    if "tile" in data.dims:
        raise InputError("is a store of tiles, no scene", where=source.path, hint="its tiles are images already")
    return scene_of_xarray(
        data,
        bands=source.bands,
        unit=source.unit,
        level=source.level,
        date=source.date,
        clouds=source.clouds,
        allow_no_crs=source.allow_no_crs,
        where=source.path,
    )


def scene_of_xarray(
    data: Any,
    *,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    date: str | None = None,
    clouds: Clouds = "mask",
    allow_no_crs: bool = False,
    where: str = "the cube",
) -> XarrayScene:
    """What is in memory, or would be computed by Dask, as a scene.

    Args:
        data: Dataset whose variables (y, x) are bands, or a DataArray (band, y, x) or (y, x); with a dimension of time
            if it has one date, or ``date`` is given. Variables that are no bands of Sentinel-2 are left alone, unless
            ``bands`` names them.
        bands: names of a DataArray's bands in order, or which variables of a Dataset to take.
        unit: of the numbers, where attributes do not say it.
        level: L1C or L2A.
        date: which one of a cube's, as ``2024-08-30``; UTC.
        clouds: pixels that ``SCL`` calls clouded are missing, or kept.
        allow_no_crs: take arrays that do not say where they lie.
        where: what messages call it.

    Raises:
        BandError: there are no bands, or not those.
        GridError: it has no CRS, its coordinates are uneven, mirrored or in another unit, or bands lie apart.
        UnitError: nothing says what the numbers are, or attributes contradict what is declared.
        InputError: the date is not there, or one must be chosen.
        MissingLibraryError: see ``data.projections.settle_projections``.
    """
    settle_projections()
    check_unit_name(unit, where=where)
    layers, classes, time = _chosen(data, bands, read_date(date, where=where), where=where)
    numbers = numbers_of_layers(layers, unit, where=where)
    stated = {name: missing_of(layer) for name, layer in layers.items()}
    implied = missing_numbers(numbers.unit, [str(dtype_of(layer)) for layer in layers.values()])
    georeference = georeference_of_layer(data, next(iter(layers.values())), where=where, allow_no_crs=allow_no_crs)
    return XarrayScene(
        where=where,
        layers=layers,
        numbers=numbers,
        missing={name: tuple(sorted({*own, *implied})) for name, own in stated.items()},
        georeference=georeference,
        level=level,
        time=time,
        record={
            "kind": "cube",
            "path": where,
            "bands": list(layers),
            "pixel": georeference.transform[0],
            "unit": numbers.unit,
            "unit_known_from": numbers.known_from,
            "scale": numbers.scale,
            "offset": numbers.offset,
            "date": None if time is None else str(time),
            "clouds": cloud_record(clouds, found=classes is not None),
        },
        clouds=classes if clouds == "mask" else None,
        floor=1.0 if numbers.unit == REFLECTANCE and implied else None,
    )


def _chosen(
    data: Any, bands: Sequence[str] | None, day: np.datetime64 | None, *, where: str
) -> tuple[dict[str, Any], Any, np.datetime64 | None]:
    """Bands and scene classification of one date, (y, x) on one grid, and that date."""
    times, layers = [], {}
    for name, layer in layers_of(data, bands, where=where).items():
        chosen, time = one_date(layer, day, where=where)
        layers[name] = upright(chosen, where=where)
        times.append(time)
    first = next((layer for name, layer in layers.items() if name != SCENE_CLASSES), None)
    if first is None:
        raise BandError("has no band of Sentinel-2", where=where, hint="name its bands like B2, B3, B4, or with bands")
    for name, layer in layers.items():
        if layer.shape != first.shape:
            raise GridError(f"{name} is {layer.shape}, other bands are {first.shape}", where=where)
    check_one_place(data, layers, where=where)
    classes = layers.pop(SCENE_CLASSES, None)
    return layers, classes, next((time for time in times if time is not None), day)

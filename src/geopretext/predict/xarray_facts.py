"""What an xarray object says of itself: which of its parts are bands, when, where, and in which unit.

A unit is taken from ``units`` if it is one of ours. ``scale_factor`` and ``add_offset`` of CF conventions stand in the
attributes while they have not been applied, and in the encoding once they have (``xarray.open_dataset`` does).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from geopretext.errors import BandError, GridError, InputError, MissingLibraryError, UnitError
from geopretext.predict.band_files import RESOLUTIONS, band_in
from geopretext.predict.images import band_name
from geopretext.predict.raster_facts import (
    LEFT_OUT,
    UNITS,
    Numbers,
    check_north_up,
    scaled_numbers,
    unit_missing,
)
from geopretext.predict.scene import Georeference

try:
    import xarray as xr
    from rasterio.crs import CRS
    from rasterio.errors import CRSError
except ImportError as error:
    raise MissingLibraryError("xarray", extra="geo", purpose="read cubes") from error

_Y = ("y", "lat", "latitude", "northing")
_X = ("x", "lon", "longitude", "easting")
TIMES = ("time", "t", "timestamp")
"""names of a dimension of time"""
_DEGREE = 111_320.0
"""metres, at the equator (2 pi 6,378,137 m / 360)"""
_UNITS = (
    (re.compile("m|met(er|re)s?"), 1.0),
    (re.compile("km|kilomet(er|re)s?"), 1000.0),
    (re.compile("deg|degrees?(_?(north|east|n|e))?"), _DEGREE),
)
"""of coordinates as CF conventions (1.11, section 4) spell them, metres"""
_SMALLEST = 0.05
"""metres of a pixel: no image of the Earth from above has finer ones"""
_EVEN = 0.01
"""of a pixel: how far coordinates may be off an even spacing"""


def layers_of(data: Any, bands: Sequence[str] | None, *, where: str) -> dict[str, Any]:
    """The bands of a Dataset or DataArray, each with dimensions of place and perhaps of time.

    Args:
        data: the object.
        bands: see ``scene_of_xarray``.
        where: for messages.

    Raises:
        BandError: they cannot be told, are not there, or repeat.
        InputError: it is neither.
    """
    if isinstance(data, xr.DataArray):
        pairs = _labelled(data, bands, where=where)
    elif isinstance(data, xr.Dataset):
        maps = {str(name): layer for name, layer in data.data_vars.items() if _is_map(layer)}
        lacking = [name for name in bands or () if name not in maps]
        if lacking:
            raise BandError(f"has no variable {', '.join(lacking)}; there are {', '.join(maps)}", where=where)
        order = list(RESOLUTIONS)  # a Zarr group on disk lists its arrays in any
        own = sorted((name for name in maps if band_in(name)), key=lambda name: order.index(_name(name)))
        chosen = list(bands) if bands else own
        pairs = [(_name(name), maps[name]) for name in chosen]
    else:
        raise InputError(f"is a {type(data).__name__}", where=where, hint="give an xarray Dataset or DataArray")
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise BandError(f"band names repeat: {', '.join(names)}", where=where)
    return dict(pairs)


def _labelled(data: Any, bands: Sequence[str] | None, *, where: str) -> list[tuple[str, Any]]:
    """Bands of a DataArray: labels of its dimension ``band``, or as declared."""
    dimension = next((name for name in ("band", "bands", "variable") if name in data.dims), None)
    if dimension is None:
        dimension, data = "band", data.expand_dims(band=[data.name or ""])
    count = data.sizes[dimension]
    labels = data.coords[dimension].to_numpy() if dimension in data.coords else np.arange(count)
    texts = data.attrs.get("long_name") if labels.dtype.kind not in "UOS" else list(labels)
    named = list(bands) if bands is not None else [texts] if isinstance(texts, str) else list(texts or ())
    if len(named) != count or not all(named):
        raise BandError(
            f"has {count} bands" + (f", but {len(bands)} are declared" if bands else " and does not name them"),
            where=where,
            hint="name them in order, for example bands=['B2', 'B3', 'B4', 'B8'] (--bands)",
        )
    return [(_name(str(n)), data.isel({dimension: at})) for at, n in enumerate(named) if n != LEFT_OUT]


def _name(text: str) -> str:
    found = band_in(text)
    return found[0] if found else band_name(text)


def _is_map(layer: Any) -> bool:
    return _axis(layer, _Y) is not None and _axis(layer, _X) is not None


def _axis(layer: Any, names: Sequence[str]) -> str | None:
    return next((str(name) for name in layer.dims if str(name).lower() in names), None)


def _coordinate(layer: Any, *names: str) -> Any:
    """The first of these that is there; xarray would count pixels for a dimension that has none."""
    return next((layer.coords[name] for name in names if name in layer.coords), None)


def one_date(layer: Any, day: np.datetime64 | None, *, where: str) -> tuple[Any, np.datetime64 | None]:
    """A band at one date, (y, x), and which date that is.

    Raises:
        InputError: there are several and none is chosen, or not that one.
        GridError: it has other dimensions.
    """
    name = _axis(layer, TIMES)
    coordinate = _coordinate(layer, *([name] if name else TIMES))
    if name is None:
        return layer, _moment(coordinate)
    if coordinate is None:
        raise InputError(f"has a dimension {name} and no dates along it", where=where, hint="choose one with isel")
    dates = coordinate.to_numpy().astype("datetime64[s]")
    at = 0
    if len(dates) != 1:
        if day is None:
            raise InputError(
                f"has {len(dates)} dates, from {dates[0]} to {dates[-1]}",
                where=where,
                hint="choose one with date (--date)",
            )
        unit = "D" if day == day.astype("datetime64[D]") else "s"
        (matches,) = np.nonzero(dates.astype(f"datetime64[{unit}]") == day.astype(f"datetime64[{unit}]"))
        if len(matches) != 1:
            near = dates[np.argsort(np.abs(dates - day))[:3]]
            raise InputError(
                f"has {len(matches)} images of {day}; the nearest are of {', '.join(map(str, sorted(near)))}",
                where=where,
                hint="choose one with date (--date)",
            )
        at = int(matches[0])
    return layer.isel({name: at}), dates[at]


def _moment(coordinate: Any) -> np.datetime64 | None:
    if coordinate is None or coordinate.ndim or coordinate.dtype.kind != "M":
        return None
    moment: np.datetime64 = coordinate.to_numpy().astype("datetime64[s]")[()]
    return moment


def upright(layer: Any, *, where: str) -> Any:
    """A band as (y, x) with rows from north to south.

    Raises:
        GridError: it has other dimensions.
    """
    y, x = _axis(layer, _Y), _axis(layer, _X)
    if y is None or x is None or layer.ndim != 2:
        raise GridError(
            f"has dimensions {', '.join(f'{name} ({size})' for name, size in layer.sizes.items())}",
            where=where,
            hint="wanted are y and x, and band or time",
        )
    layer = layer.transpose(y, x)
    if y in layer.coords and layer.sizes[y] > 1 and layer.coords[y][0] < layer.coords[y][-1]:
        layer = layer.isel({y: slice(None, None, -1)})
    return layer


def dtype_of(layer: Any) -> np.dtype[Any]:
    """Of a band's numbers: NetCDF 3 has no unsigned ones, and says by ``_Unsigned`` that signed ones stand for them."""
    if layer.dtype.kind == "i" and str(layer.attrs.get("_Unsigned", "")).lower() == "true":
        return np.dtype(f"u{layer.dtype.itemsize}")
    dtype: np.dtype[Any] = layer.dtype
    return dtype


def numbers_of_layers(layers: Mapping[str, Any], declared: str | None, *, where: str) -> Numbers:
    """What the numbers of all bands mean.

    Raises:
        UnitError: nothing says it, bands differ, or attributes contradict what is declared.
    """
    waiting = {_scaling(layer.attrs) for layer in layers.values()}
    if waiting != {(1.0, 0.0)}:
        return scaled_numbers(waiting, declared, where=where, stated_in="scale_factor and add_offset of its attributes")
    if declared is not None:
        return Numbers(declared, "declared")
    stated = {layer.attrs.get("units", layer.attrs.get("unit")) for layer in layers.values()}
    if len(stated) == 1 and (unit := stated.pop()) in UNITS:
        return Numbers(unit, "the unit that its attributes state")
    done = {_scaling(layer.encoding) for layer in layers.values()}
    if len(done) == 1 and (scaling := done.pop()) in ((1e-4, 0.0), (1e-4, -0.1)):
        return Numbers("reflectance", f"scale_factor {scaling[0]:g} and add_offset {scaling[1]:g} that were applied")
    raise unit_missing(where)


def _scaling(said: Mapping[Any, Any]) -> tuple[float, float]:
    try:
        scale, offset = float(said.get("scale_factor", 1.0)), float(said.get("add_offset", 0.0))
    except (TypeError, ValueError) as error:
        raise UnitError(f"scale_factor or add_offset is no number: {error}") from error
    return (1e-4 if np.isclose(scale, 1e-4) else scale), (-0.1 if np.isclose(offset, -0.1) else offset)


def missing_of(layer: Any) -> tuple[float, ...]:
    """Numbers of a band that mean no data, by its attributes."""
    said = [layer.attrs.get(name) for name in ("_FillValue", "missing_value", "nodata", "nodatavals")]
    numbers = np.concatenate([np.ravel(one).astype(np.float64) for one in said if one is not None] or [np.zeros(0)])
    return tuple(sorted({float(number) for number in numbers if np.isfinite(number)}))


def georeference_of_layer(data: Any, layer: Any, *, where: str, allow_no_crs: bool) -> Georeference:
    """Where a band lies.

    Args:
        data: the object that it is of.
        layer: (y, x), rows from north to south.
        where: for messages.
        allow_no_crs: positions may be pixels.

    Raises:
        GridError: nothing says where, pixels are uneven, turned or mirrored, or coordinates are in another unit than
            the CRS.
    """
    crs = _crs(data, layer)
    transform = _transform(data, layer, where=where)
    if crs is not None and transform is not None:
        check_north_up(transform, where=where)
        _check_size(layer, crs, transform[0], where=where)
    if (crs is None or transform is None) and not allow_no_crs:
        lacks = "no CRS" if crs is None else "no coordinates"
        raise GridError(
            f"does not say where on the Earth it lies: it has {lacks}",
            where=where,
            hint="write it (rioxarray: data.rio.write_crs), or allow that positions are pixels (allow_no_crs=True)",
        )
    if crs is None or transform is None:
        return Georeference("", transform or (1.0, 0.0, 0.0, 0.0, -1.0, 0.0))
    return Georeference(crs, transform)


def check_one_place(data: Any, layers: Mapping[str, Any], *, where: str) -> None:
    """Refuse bands of one shape that lie at different places.

    Raises:
        GridError: names two of them.
    """
    names = list(layers)
    first = georeference_of_layer(data, layers[names[0]], where=where, allow_no_crs=True)
    for name in names[1:]:
        other = georeference_of_layer(data, layers[name], where=where, allow_no_crs=True)
        apart = np.abs(np.subtract(other.transform, first.transform)).max()
        if (other.crs and first.crs and other.crs != first.crs) or apart > _EVEN * abs(first.transform[0]):
            raise GridError(
                f"{names[0]} and {name} lie at different places: {first} and {other}",
                where=where,
                hint="bring all bands onto one grid first",
            )


def _check_size(layer: Any, crs: str, side: float, *, where: str) -> None:
    """Refuse coordinates that are not in the unit of the CRS: in another, by their attributes or by a tiny pixel."""
    known = CRS.from_user_input(crs)
    metres = known.linear_units_factor[1] if known.is_projected else _DEGREE
    for name in layer.dims:
        said = str(layer.coords[name].attrs.get("units", "")).lower() if name in layer.coords else ""
        stated = next((factor for pattern, factor in _UNITS if pattern.fullmatch(said)), None)
        if stated is not None and not np.isclose(stated, metres, rtol=_EVEN):
            raise GridError(
                f"coordinates along {name} are in {said!r}, its CRS is not: {crs[:60]}",
                where=where,
                hint="give coordinates in the unit of the CRS",
            )
    if side * metres < _SMALLEST:
        raise GridError(
            f"its pixels would be {side * metres:.3g} m wide: coordinates are in another unit than its CRS, {crs[:60]}",
            where=where,
            hint="give coordinates in the unit of the CRS, as metres instead of kilometres",
        )


def _crs(data: Any, layer: Any) -> str | None:
    """By the variable that CF's ``grid_mapping`` names, or as rioxarray, odc-geo and stackstac write it."""
    for said in _statements(data, layer):
        try:
            crs = CRS.from_user_input(said)
        except (CRSError, TypeError, ValueError):
            continue
        if crs:
            return str(crs.to_string())
    return None


def _statements(data: Any, layer: Any) -> Iterator[Any]:
    for place in _grid_mappings(data, layer):
        yield from (place.attrs[name] for name in ("crs_wkt", "spatial_ref") if place.attrs.get(name))
    for holder in (layer, data):
        for name in ("proj:code", "proj:epsg", "epsg"):
            said = holder.coords[name].to_numpy()[()] if name in holder.coords else holder.attrs.get(name)
            if said is not None and np.ndim(said) == 0:
                yield said if str(said).upper().startswith("EPSG") else f"EPSG:{said}"
        yield from (holder.attrs[name] for name in ("crs_wkt", "crs") if holder.attrs.get(name))


def _grid_mappings(data: Any, layer: Any) -> Iterator[Any]:
    named = layer.attrs.get("grid_mapping") or layer.encoding.get("grid_mapping")
    for name in (named, "spatial_ref", "crs"):
        if name in layer.coords:
            yield layer.coords[name]
        elif name in getattr(data, "variables", {}):
            yield data[name]


def _transform(data: Any, layer: Any, *, where: str) -> tuple[float, float, float, float, float, float] | None:
    """By coordinates of pixels' centres, or GDAL's ``GeoTransform`` of the grid mapping where there are none."""
    y, x = (_coordinate(layer, name) for name in layer.dims)
    if y is not None and x is not None and min(layer.shape) > 1:
        columns, rows = (axis.to_numpy().astype(np.float64) for axis in (x, y))
        for name, axis in (("x", columns), ("y", rows)):
            even = np.linspace(axis[0], axis[-1], len(axis))
            if not np.abs(axis - even).max() <= _EVEN * abs(axis[-1] - axis[0]) / (len(axis) - 1):
                raise GridError(f"coordinates along {name} are uneven", where=where, hint="resample it onto a grid")
        a, e = ((axis[-1] - axis[0]) / (len(axis) - 1) for axis in (columns, rows))
        return float(a), 0.0, float(columns[0] - a / 2), 0.0, float(e), float(rows[0] - e / 2)
    for place in _grid_mappings(data, layer):
        text = str(place.attrs.get("GeoTransform", "")).split()
        if len(text) == 6:
            c, a, b, f, d, e = (float(number) for number in text)
            return a, b, c, d, e, f
    return None

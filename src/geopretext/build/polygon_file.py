"""Polygons from a file or a URL, in degrees between -180 and 180, whatever the file's own projection."""

import io
import urllib.request
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import numpy.typing as npt
import pyproj
import shapely
from pyogrio.errors import DataSourceError

from geopretext.data.files import Files
from geopretext.errors import InputError

Geometries = npt.NDArray[Any]

_DEGREES = "EPSG:4326"
_TIMEOUT = 60.0  # seconds that a server may be silent
_FORMATS = "a shapefile (also zipped), GeoPackage, GeoJSON or GeoParquet"


def read_polygons(path: str | Path) -> Any:
    """A GeoDataFrame of valid polygons in degrees, with the file's own columns.

    Args:
        path: file or URL (http, https, s3, gs) of anything that GDAL or GeoParquet knows.

    Raises:
        InputError: there is no such file, it is no file of polygons, or it does not say where they lie.
    """
    frame = read_vector(path)
    frame = frame[~(frame.geometry.isna() | frame.geometry.is_empty)]
    other = sorted(set(frame.geom_type) - {"Polygon", "MultiPolygon"})
    if other or not len(frame):
        holds = ", ".join(f"{kind}s" for kind in other) if other else "no shape at all"
        raise InputError(f"holds {holds}, polygons are needed", where=str(path), hint=f"give {_FORMATS} of polygons")
    polygons = shapely.force_2d(np.asarray(frame.geometry.array, object))
    broken = ~shapely.is_valid(polygons)
    polygons[broken] = shapely.make_valid(polygons[broken], method="structure", keep_collapsed=False)
    return frame.set_geometry(wrap_longitudes(polygons), crs=_DEGREES)


def read_vector(path: str | Path) -> Any:
    """A GeoDataFrame of any shapes, in degrees.

    Raises:
        InputError: there is no such file, it is no file of shapes, or it does not say where they lie.
    """
    text = str(path)
    if "://" not in text and not Path(text).exists():
        raise InputError("no such file", where=text, hint=f"give the path or URL of {_FORMATS}")
    try:
        source = _download(text) if "://" in text else text
        if text.lower().endswith((".parquet", ".geoparquet")):
            frame = geopandas.read_parquet(source)
        else:
            frame = geopandas.read_file(source)
    except (DataSourceError, OSError, ValueError) as error:
        why = str(error).splitlines()[0]
        raise InputError(f"cannot be read as shapes: {why}", where=text, hint=f"give {_FORMATS}") from error
    if not isinstance(frame, geopandas.GeoDataFrame):
        raise InputError("is a table without shapes", where=text, hint=f"give {_FORMATS}")
    if frame.crs is None:
        west, south, east, north = frame.total_bounds
        if not (-180 <= west <= east <= 360 and -90 <= south <= north <= 90):
            raise InputError(
                "does not say its projection, and its numbers are no degrees",
                where=text,
                hint="a shapefile needs its .prj beside it",
            )
        return frame.set_crs(_DEGREES)
    try:
        return frame.to_crs(_DEGREES)
    except pyproj.exceptions.ProjError as error:
        raise InputError(f"its projection has no way to degrees: {error}", where=text) from error


def _download(url: str) -> io.BytesIO:
    if url.lower().startswith(("http://", "https://")):
        with urllib.request.urlopen(url, timeout=_TIMEOUT) as answer:  # noqa: S310 # checked to be http(s)
            return io.BytesIO(answer.read())
    folder, _, name = url.rpartition("/")
    content = Files(folder).read(name)
    if content is None:
        raise FileNotFoundError("no such file")
    return io.BytesIO(content)


def polygon_parts(geometries: Geometries) -> tuple[Geometries, npt.NDArray[np.int64]]:
    """Single polygons that have an area, and which of the geometries each comes from; lines and points are left."""
    parts, index = shapely.get_parts(geometries, return_index=True)
    deeper, which = shapely.get_parts(parts, return_index=True)  # a collection may hold multipolygons
    keep = (shapely.get_type_id(deeper) == shapely.GeometryType.POLYGON) & (shapely.area(deeper) > 0)
    return deeper[keep], index[which[keep]]


def wrap_longitudes(polygons: Geometries) -> Geometries:
    """Cut what reaches over the antimeridian there, so that all longitudes lie between -180 and 180."""
    bounds = shapely.bounds(polygons)
    over = (bounds[:, 0] < -180) | (bounds[:, 2] > 180)
    wrapped = polygons.copy()
    for turn in (-360.0, 0.0, 360.0):
        half = shapely.intersection(polygons[over], shapely.box(-180 - turn, -90, 180 - turn, 90))
        half = shapely.transform(half, lambda points, turn=turn: points + np.array([turn, 0.0]))
        wrapped[over] = half if turn == -360.0 else shapely.union(wrapped[over], half)
    return wrapped

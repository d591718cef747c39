"""Places from a file of points: a table with longitude and latitude (CSV, Parquet), or anything that GDAL reads."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import shapely

from geopretext.build.places import Places, places_of, read_table
from geopretext.build.polygon_file import read_vector
from geopretext.errors import InputError

_SPELLINGS = {
    "lon": ("lon", "longitude", "lng", "long", "x"),
    "lat": ("lat", "latitude", "y"),
    "place_id": ("place_id", "id", "tile_id", "name"),
}


def read_points(path: str | Path) -> Places:
    """Read places from a file of points.

    Tables need columns of degrees (``lon`` or ``longitude``, ``lat`` or ``latitude``); an ``id`` or ``place_id`` is
    kept, otherwise places are numbered. Files of shapes (GeoJSON, GeoPackage, shapefile, GeoParquet) give their points
    in any projection.

    Raises:
        InputError: there is no such file, it holds no points, or a position is missing or none on the Earth.
    """
    text = str(path)
    if text.lower().endswith((".csv", ".txt")):
        table = _read_csv(text)
    elif text.lower().endswith((".parquet", ".geoparquet")):
        table = read_table(path)
        if _find(table, "lon") is None and "geometry" in table.column_names:
            table = _read_shapes(text)
    else:
        table = _read_shapes(text)
    if not len(table):
        raise InputError("holds no points", where=text)
    for wanted in ("lon", "lat"):
        if _find(table, wanted) is None:
            raise InputError(
                f"has no column {wanted!r}, it has {', '.join(table.column_names)}",
                where=text,
                hint="name the columns of degrees lon and lat, and that of ids place_id",
            )
    return places_of(_renamed(table), where=text)


def _read_csv(path: str) -> Any:
    if not Path(path).is_file():
        raise InputError("no such file", where=path, hint="give a table of lon and lat: CSV, Parquet, GeoJSON")
    ids = dict.fromkeys(_SPELLINGS["place_id"], pa.string())  # 007 stays 007
    try:
        return pyarrow.csv.read_csv(path, convert_options=pyarrow.csv.ConvertOptions(column_types=ids))
    except pa.ArrowInvalid as error:
        raise InputError(f"cannot be read as CSV: {str(error).splitlines()[0]}", where=path) from error


def _read_shapes(path: str) -> Any:
    frame = read_vector(path)
    points = frame.geometry.to_numpy()
    other = sorted({str(kind) for kind in frame.geom_type.dropna()} - {"Point"})
    if other:
        raise InputError(f"holds {other[0]}s, points are needed", where=path, hint="polygons go to --polygon")
    columns: dict[str, Any] = {"lon": shapely.get_x(points), "lat": shapely.get_y(points)}
    for name in _SPELLINGS["place_id"]:
        if name in frame.columns:
            columns["place_id"] = [str(value) for value in frame[name]]
            break
    return pa.table(columns)


def _find(table: Any, wanted: str) -> str | None:
    by_name = {name.strip().lower(): name for name in table.column_names}
    return next((by_name[name] for name in _SPELLINGS[wanted] if name in by_name), None)


def _renamed(table: Any) -> Any:
    columns = {name: table.column(name) for name in table.column_names if name in ("biome", "ecoregion")}
    for wanted in _SPELLINGS:
        if (name := _find(table, wanted)) is not None:
            columns[wanted] = table.column(name)
    if "place_id" not in columns:
        columns["place_id"] = np.char.mod("%07d", np.arange(len(table)))
    return pa.table(columns)

"""Files of polygons, written a few thousand at a time: GeoParquet in degrees, or a GeoPackage in the map's own grid.

GeoParquet's readers expect longitude and latitude unless they are told otherwise; a GeoPackage is for GIS, where
polygons should lie on the pixels that they were made of. Columns of both: ``class`` (its name), ``code``, ``area_m2``.
"""

import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.local_file import PARTIAL
from geopretext.errors import InputError, MissingLibraryError, StoreError
from geopretext.predict.ground_area import Ground
from geopretext.predict.polygons import Region

try:
    import pyogrio
    import shapely
except ImportError as error:
    raise MissingLibraryError(error.name or "pyogrio", extra="geo", purpose="write polygons") from error

Names: TypeAlias = Mapping[int, str]
_AT_ONCE = 5_000
_LAYER = "classes"
_FIELDS = ("class", "code", "area_m2")


class _Part(NamedTuple):
    """Some polygons."""

    polygons: npt.NDArray[Any]
    """columns and rows"""
    classes: list[str]
    codes: npt.NDArray[np.int32]
    areas: npt.NDArray[np.float64]
    """m2"""


def write_polygons(
    path: Path, regions: Iterable[Region], *, ground: Ground, names: Names, min_area: float = 0.0
) -> int:
    """Write regions of a map, all or none.

    Args:
        path: ends with ``.parquet`` or ``.gpkg``; what is there is replaced.
        regions: of the map.
        ground: under the map.
        names: of the classes, by code.
        min_area: regions that are smaller are left out, m2.

    Returns:
        how many were written.

    Raises:
        InputError: the name ends with neither.
        StoreError: the file cannot be written.
    """
    writers: dict[str, Callable[[Path, Iterator[_Part], Ground], int]] = {
        ".parquet": _write_geoparquet,
        ".gpkg": _write_geopackage,
    }
    if path.suffix.lower() not in writers:
        raise InputError("polygons are written to .parquet or .gpkg", where=str(path))
    partial = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}.", suffix=PARTIAL))
    try:
        beside = partial / path.name
        count = writers[path.suffix.lower()](beside, _parts(regions, ground, names, min_area), ground)
        with beside.open("rb") as file:
            os.fsync(file.fileno())
        beside.replace(path)
    except (OSError, pa.ArrowException, pyogrio.errors.DataSourceError, pyogrio.errors.GeometryError) as error:
        raise StoreError(f"cannot be written: {error}", where=str(path)) from error
    finally:
        for leftover in partial.iterdir():
            leftover.unlink()
        partial.rmdir()
    return count


def _parts(regions: Iterable[Region], ground: Ground, names: Names, min_area: float) -> Iterator[_Part]:
    """At least one part, which may be empty."""
    remaining = iter(regions)
    some = list(islice(remaining, _AT_ONCE))
    while True:
        polygons = np.array([region.polygon for region in some], object)
        codes = np.array([region.code for region in some], np.int32)
        areas = ground.areas(polygons)
        large = areas >= min_area
        yield _Part(polygons[large], [names[code] for code in codes[large].tolist()], codes[large], areas[large])
        some = list(islice(remaining, _AT_ONCE))
        if not some:
            return


def _write_geopackage(path: Path, parts: Iterator[_Part], ground: Ground) -> int:
    count = 0
    for number, part in enumerate(parts):
        pyogrio.raw.write(
            path,
            shapely.to_wkb(ground.in_crs(part.polygons)),
            [np.array(part.classes, object), part.codes, part.areas],
            list(_FIELDS),
            layer=_LAYER,
            driver="GPKG",
            geometry_type="Polygon",
            crs=ground.crs.to_wkt(),
            append=number > 0,
        )
        count += len(part.codes)
    return count


def _write_geoparquet(path: Path, parts: Iterator[_Part], ground: Ground) -> int:
    schema = pa.schema(
        [("class", pa.string()), ("code", pa.int32()), ("area_m2", pa.float64()), ("geometry", pa.binary())]
    )
    count = 0
    low, high = np.full(2, np.inf), np.full(2, -np.inf)
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for part in parts:
            polygons = shapely.orient_polygons(ground.in_degrees(part.polygons))
            columns = [part.classes, part.codes, part.areas, list(shapely.to_wkb(polygons))]
            arrays = [pa.array(column, kind.type) for column, kind in zip(columns, schema, strict=True)]
            writer.write_table(pa.table(arrays, schema))
            count += len(polygons)
            if len(polygons):
                west, south, east, north = shapely.total_bounds(polygons).tolist()
                low, high = np.minimum(low, (west, south)), np.maximum(high, (east, north))
        column: dict[str, Any] = {
            "encoding": "WKB",
            "geometry_types": ["Polygon"],
            "orientation": "counterclockwise",
        }
        if count:
            column["bbox"] = [*low.tolist(), *high.tolist()]
        geo = {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
        writer.add_key_value_metadata({"geo": json.dumps(geo)})
    return count

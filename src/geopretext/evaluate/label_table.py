"""Labels in a table (CSV, Parquet, GeoParquet) for tiles of a store: by the tile's name, or by the nearest tile.

The table has a column ``tile_id``, or ``lon`` and ``lat`` in degrees (or ``longitude`` and ``latitude``), or is
GeoParquet with points. A row at a place belongs to the nearest tile within a distance; a tile with several rows takes
the mean of quantities, and the class only if they agree. A column of text or whole numbers is a class; with decimals it
is a quantity. Tiles are split as the store is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from geopretext.data.tiles import SPLITS, TileReader
from geopretext.errors import CorruptError, InputError, MissingLibraryError
from geopretext.evaluate.inputs import TileInputs
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task, split_hint

Array = npt.NDArray[Any]

TABLE_SUFFIXES = (".csv", ".parquet", ".geoparquet")
FARTHEST = 640.0
"""metres from a row to the centre of its tile: half a tile of 128 pixels of 10 m"""

_EARTH_RADIUS = 6_371_008.8
_LONGITUDE, _LATITUDE = ("lon", "longitude"), ("lat", "latitude")
_MOST_CLASSES = 1000


@dataclass(frozen=True)
class _Rows:
    """The rows of a table that have a label."""

    tiles: npt.NDArray[np.int64]
    """number of the tile that each belongs to; -1: none"""
    values: list[Any]


def table_task(
    table: Path, column: str, reader: TileReader, *, farthest: float = FARTHEST, name: str | None = None
) -> Task:
    """Predict a column of a table from the tiles of a store.

    Args:
        table: CSV, Parquet or GeoParquet.
        column: the label.
        reader: the tiles.
        farthest: metres that a row may be from the centre of its tile, where rows are places.
        name: of the task.

    Raises:
        InputError: there is no such table or column, no row belongs to a tile, or a split is empty.
        CorruptError: the table cannot be read.
    """
    content = _read(table)
    if column not in content.column_names:
        raise InputError(
            f"has no column {column!r}", where=str(table), hint=f"it has {', '.join(content.column_names)}"
        )
    split = reader.coordinates.split
    assert split is not None
    if not (split >= 0).any():
        raise InputError("has no split", where=reader.path, hint=split_hint(f"{reader.path}:{column}"))
    values = content.column(column)
    quantity = pa.types.is_floating(values.type)
    rows = _Rows(_tiles_of(content, reader, farthest, str(table)), values.to_pylist())
    labels, left_out = _join(rows, quantity=quantity)
    if not labels:
        raise InputError(
            f"none of its {len(rows.values)} rows belongs to a tile of {reader.path}",
            where=str(table),
            hint="tile_id has to be the store's, or places have to lie within --max-distance of a tile's centre",
        )
    samples = np.array([tile for tile in sorted(labels) if split[tile] >= 0], np.int64)
    left_out["in_no_split"] = len(labels) - len(samples)
    classes, encoded = _encode([labels[int(tile)] for tile in samples], column, quantity=quantity, where=str(table))
    positions = [np.flatnonzero(split[samples] == number) for number in range(len(SPLITS))]
    return Task(
        name=name or f"{table.stem}:{column}",
        kind=TaskKind.REGRESSION if quantity else TaskKind.SINGLE_LABEL,
        classes=classes,
        inputs=TileInputs(reader),
        samples=samples,
        labels=encoded,
        train=positions[0],
        val=positions[1],
        test=positions[2],
        left_out=left_out,
    )


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise InputError("no such table", where=str(path))
    try:
        if path.suffix.lower() == ".csv":
            as_text = pa.csv.ConvertOptions(column_types={"tile_id": pa.string()})
            return pa.csv.read_csv(path, convert_options=as_text)
        return pa.parquet.read_table(path)
    except (pa.ArrowInvalid, pa.ArrowException, OSError) as error:
        raise CorruptError(f"cannot be read as a table: {error}", where=str(path)) from error


def _tiles_of(content: pa.Table, reader: TileReader, farthest: float, where: str) -> npt.NDArray[np.int64]:
    """Number of the tile of each row, -1 for none."""
    if "tile_id" in content.column_names:
        known = {str(name): number for number, name in enumerate(reader.coordinates.tile_id)}
        return np.array([known.get(str(name), -1) for name in content.column("tile_id").to_pylist()], np.int64)
    longitude, latitude = _places(content, where)
    return _nearest(longitude, latitude, reader, farthest)


def _places(content: pa.Table, where: str) -> tuple[Array, Array]:
    """Longitude and latitude of each row, degrees; NaN where there is none."""
    names = {name.lower(): name for name in content.column_names}
    lon, lat = (next((names[name] for name in accepted if name in names), None) for accepted in (_LONGITUDE, _LATITUDE))
    if lon is not None and lat is not None:
        longitude, latitude = (content.column(name).cast(pa.float64()).to_numpy() for name in (lon, lat))
        return longitude, latitude
    if b"geo" in (content.schema.metadata or {}):
        return _geometry(where)
    raise InputError(
        "does not say which tile a row belongs to",
        where=where,
        hint="a column tile_id, or lon and lat in degrees, or GeoParquet with points",
    )


def _geometry(where: str) -> tuple[Array, Array]:
    try:
        import geopandas
    except ImportError as error:
        raise MissingLibraryError("geopandas", extra="geo", purpose="read GeoParquet") from error
    frame = geopandas.read_parquet(where)
    if frame.crs is not None and not frame.crs.equals("OGC:CRS84"):
        frame = frame.to_crs("OGC:CRS84")
    points = frame.geometry.representative_point()
    return np.asarray(points.x, np.float64), np.asarray(points.y, np.float64)


def _nearest(longitude: Array, latitude: Array, reader: TileReader, farthest: float) -> npt.NDArray[np.int64]:
    """The tile whose centre is nearest on the sphere, within ``farthest`` metres; -1: none."""
    by_latitude = np.argsort(reader.coordinates.lat, kind="stable")  # NaN comes last
    latitudes = reader.coordinates.lat[by_latitude]
    centres = _on_sphere(reader.coordinates.lon, reader.coordinates.lat)
    places = _on_sphere(longitude, latitude)
    angle = farthest / _EARTH_RADIUS
    low = np.searchsorted(latitudes, latitude - np.degrees(angle), "left")
    high = np.searchsorted(latitudes, latitude + np.degrees(angle), "right")
    found = np.full(len(places), -1, np.int64)
    for row in np.flatnonzero(np.isfinite(places).all(1) & (high > low)):
        near = by_latitude[low[row] : high[row]]
        # chords instead of angles: exact for small ones
        distance = np.linalg.norm(centres[near] - places[row], axis=1)
        if np.isfinite(distance).any() and np.nanmin(distance) <= 2 * np.sin(min(angle, np.pi) / 2):
            found[row] = near[np.nanargmin(distance)]
    return found


def _on_sphere(longitude: Array, latitude: Array) -> Array:
    lon, lat = np.radians(longitude), np.radians(latitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=1)


def _join(rows: _Rows, *, quantity: bool) -> tuple[dict[int, Any], dict[str, int]]:
    """One label a tile, and how many rows and tiles are left out."""
    found: dict[int, list[Any]] = {}
    unlabelled = elsewhere = 0
    for tile, value in zip(rows.tiles.tolist(), rows.values, strict=True):
        if value is None or value == "" or (quantity and not np.isfinite(value)):
            unlabelled += 1
        elif tile < 0:
            elsewhere += 1
        else:
            found.setdefault(tile, []).append(value)
    if quantity:
        labels: dict[int, Any] = {tile: float(np.mean(values)) for tile, values in found.items()}
    else:
        labels = {tile: values[0] for tile, values in found.items() if len(set(values)) == 1}
    return labels, {
        "rows_without_label": unlabelled,
        "rows_at_no_tile": elsewhere,
        "tiles_with_contradicting_labels": len(found) - len(labels),
    }


def _encode(values: list[Any], column: str, *, quantity: bool, where: str) -> tuple[tuple[str, ...], Array]:
    if quantity:
        return (column,), np.array(values, np.float64)[:, None]
    classes = sorted(set(values))
    if len(classes) > _MOST_CLASSES:
        raise InputError(
            f"column {column!r} has {len(classes)} different values", where=where, hint="write quantities with decimals"
        )
    number: Mapping[Any, int] = {value: index for index, value in enumerate(classes)}
    return tuple(str(value) for value in classes), np.array([number[value] for value in values], np.int64)

"""Places on the Earth: where tiles are to be, in memory and as ``places.parquet``.

The file is GeoParquet 1.1 with points in longitude and latitude (OGC:CRS84) as WKB, for geopandas, DuckDB and QGIS.
"""

import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.files import Files
from geopretext.errors import InputError, StoreError
from geopretext.modality import BIOMES, ECOREGIONS

_SCHEMA = pa.schema(
    [
        ("place_id", pa.string()),
        ("lat", pa.float64()),
        ("lon", pa.float64()),
        ("biome", pa.int16()),
        ("ecoregion", pa.int16()),
        ("biome_name", pa.string()),
        ("ecoregion_name", pa.string()),
        ("geometry", pa.binary()),
    ]
)
_POINT = np.dtype([("order", "u1"), ("kind", "<u4"), ("lon", "<f8"), ("lat", "<f8")])  # WKB: little-endian, type 1
_GEO = {
    "version": "1.1.0",
    "primary_column": "geometry",
    "columns": {"geometry": {"encoding": "WKB", "geometry_types": ["Point"]}},
}
_FACTS = "geopretext"


@dataclass(frozen=True)
class Places:
    """``n`` places in columns of length n, as ``places.parquet`` holds them.

    Raises:
        InputError: columns differ in length, an id is doubled, or a position is none on the Earth.
    """

    place_id: npt.NDArray[np.str_]
    """unique; becomes the tile's id"""
    lat: npt.NDArray[np.float64]
    """degrees north (WGS 84)"""
    lon: npt.NDArray[np.float64]
    """degrees east, -180 to 180"""
    biome: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    ecoregion: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    biome_name: npt.NDArray[np.object_] | None = None
    """texts, as the polygons call it; None: the published name of its number"""
    ecoregion_name: npt.NDArray[np.object_] | None = None
    """texts, as the polygons call it; None: the published name of its number"""

    def __post_init__(self) -> None:
        for name in ("lat", "lon", "biome", "ecoregion", "biome_name", "ecoregion_name"):
            column = getattr(self, name)
            if column is not None and len(column) != len(self):
                raise InputError(f"column {name!r} has {len(column)} entries for {len(self)} places")
        for name, numbers, published in (
            ("biome", self.biome, BIOMES),
            ("ecoregion", self.ecoregion, ECOREGIONS),
        ):
            unknown = (numbers < -1) | (numbers >= len(published))
            if unknown.any():
                raise InputError(
                    f"{name} {numbers[unknown][0]} is none of the published numbers",
                    hint=f"0 to {len(published) - 1}, or -1 if it is unknown",
                )
        ids, counts = np.unique(self.place_id, return_counts=True)
        if (counts > 1).any():
            raise InputError(f"place id {str(ids[counts > 1][0])!r} is doubled", hint="each place has its own id")
        off = ~((np.abs(self.lat) <= 90) & (np.abs(self.lon) <= 180))
        if off.any():
            first = int(np.flatnonzero(off)[0])
            raise InputError(
                f"lat {self.lat[first]:g}, lon {self.lon[first]:g} is no position on the Earth",
                where=f"place {self.place_id[first]}",
                hint="degrees; are lat and lon swapped?",
            )

    def __len__(self) -> int:
        return len(self.place_id)

    def take(self, numbers: npt.NDArray[np.int64] | slice) -> "Places":
        """Some of the places, in the order asked for."""
        return Places(
            place_id=self.place_id[numbers],
            lat=self.lat[numbers],
            lon=self.lon[numbers],
            biome=self.biome[numbers],
            ecoregion=self.ecoregion[numbers],
            biome_name=None if self.biome_name is None else self.biome_name[numbers],
            ecoregion_name=None if self.ecoregion_name is None else self.ecoregion_name[numbers],
        )

    @property
    def biome_names(self) -> npt.NDArray[np.object_]:
        """Name of each place's biome, empty if it is unknown."""
        return np.array([*BIOMES, ""], object)[self.biome] if self.biome_name is None else self.biome_name

    @property
    def ecoregion_names(self) -> npt.NDArray[np.object_]:
        """Name of each place's ecoregion, empty if it is unknown."""
        return (
            np.array([*ECOREGIONS, ""], object)[self.ecoregion] if self.ecoregion_name is None else self.ecoregion_name
        )


def write_places(path: str | Path, chunks: Iterable[Places], *, facts: Mapping[str, Any] | None = None) -> int:
    """Write ``places.parquet`` chunk by chunk; it appears when it is complete.

    Args:
        path: of the file, on a local disk.
        chunks: places, in the order of the file; ids must differ between chunks too.
        facts: how the places were chosen; kept in the file's metadata under ``geopretext``, as JSON.

    Returns:
        How many places were written.

    Raises:
        InputError: ``path`` is a URL, or its folder does not exist.
        StoreError: the disk refuses.
    """
    file = _local(path)
    partial = file.with_name(f".{file.name}.partial")
    written = 0
    metadata = {"geo": json.dumps(_GEO), _FACTS: json.dumps(facts or {})}
    try:
        with pq.ParquetWriter(partial, _SCHEMA.with_metadata(metadata), compression="zstd") as writer:
            for places in chunks:
                writer.write_table(_table(places).replace_schema_metadata(metadata))
                written += len(places)
        partial.replace(file)
    except OSError as error:
        raise StoreError(f"cannot be written: {error}", where=str(file), hint="check the disk and the path") from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def read_places(path: str | Path) -> Places:
    """Read ``places.parquet``, or any Parquet file with ``place_id``, ``lat`` and ``lon``; local, ``s3://`` or ``gs://``.

    Raises:
        InputError: there is no such file, it is no Parquet file, or its columns are not those of places.
    """
    table = read_table(path)
    missing = [name for name in ("place_id", "lat", "lon") if name not in table.column_names]
    if missing:
        raise InputError(
            f"has no column {missing[0]!r}, it has {', '.join(table.column_names)}",
            where=str(path),
            hint=f"`geopretext places --points {path} --out places.parquet` makes places of other files of points",
        )
    return places_of(table, where=str(path))


def places_of(table: Any, *, where: str) -> Places:
    """Places from a pyarrow table with ``place_id``, ``lat``, ``lon`` and, if they are known, numbers and names.

    Raises:
        InputError: a column holds something else.
    """
    try:
        columns: dict[str, Any] = {name: _column(table, name) for name in _SCHEMA.names[:-1]}
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise InputError(f"cannot be read as places: {str(error).splitlines()[0]}", where=where) from error
    unknown = np.full(len(table), -1, np.int16)
    try:
        return Places(
            place_id=np.asarray(columns["place_id"], np.str_),
            lat=columns["lat"],
            lon=columns["lon"],
            biome=unknown if columns["biome"] is None else columns["biome"],
            ecoregion=unknown if columns["ecoregion"] is None else columns["ecoregion"],
            biome_name=columns["biome_name"],
            ecoregion_name=columns["ecoregion_name"],
        )
    except InputError as error:
        raise InputError(
            error.what, where=f"{where}, {error.where}" if error.where else where, hint=error.hint
        ) from None


def read_table(path: str | Path) -> Any:
    """A pyarrow table from a Parquet file; local, ``s3://`` or ``gs://``.

    Raises:
        InputError: there is no such file, or it is no Parquet file.
    """
    text = str(path)
    source: Any = path
    if "://" in text:
        folder, _, name = text.rpartition("/")
        content = Files(folder).read(name)
        source = None if content is None else io.BytesIO(content)
    elif not Path(text).is_file():
        source = None
    if source is None:
        raise InputError("no such file", where=text, hint="`geopretext places` makes one")
    try:
        return pq.ParquetFile(source).read()
    except pa.ArrowInvalid as error:
        raise InputError(f"is no Parquet file: {str(error).splitlines()[0]}", where=text) from error


def _column(table: Any, name: str) -> npt.NDArray[Any] | None:
    """A column in the type of places, None if the table has none."""
    if name not in table.column_names:
        return None
    kind = _SCHEMA.field(name).type
    column = table.column(name).cast(kind)
    empty = {"biome": -1, "ecoregion": -1, "lat": np.nan, "lon": np.nan}.get(name, "")
    return np.asarray(column.fill_null(pa.scalar(empty, kind)).to_numpy(zero_copy_only=False))


def _table(places: Places) -> Any:
    points = np.empty(len(places), _POINT)
    points["order"], points["kind"], points["lon"], points["lat"] = 1, 1, places.lon, places.lat
    ends = np.arange(len(places) + 1, dtype=np.int32) * _POINT.itemsize
    wkb = pa.Array.from_buffers(pa.binary(), len(places), [None, pa.py_buffer(ends), pa.py_buffer(points)])
    return pa.Table.from_arrays(
        [
            pa.array(places.place_id.tolist(), pa.string()),
            pa.array(places.lat, pa.float64()),
            pa.array(places.lon, pa.float64()),
            pa.array(places.biome, pa.int16()),
            pa.array(places.ecoregion, pa.int16()),
            pa.array(places.biome_names.tolist(), pa.string()),
            pa.array(places.ecoregion_names.tolist(), pa.string()),
            wkb,
        ],
        schema=_SCHEMA,
    )


def _local(path: str | Path) -> Path:
    if "://" in str(path):
        raise InputError("places are written to a local disk", where=str(path), hint="give a path, and copy the file")
    file = Path(path)
    if not file.parent.is_dir():
        raise InputError("no such folder", where=str(file.parent), hint="make it first")
    return file

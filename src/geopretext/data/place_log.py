"""``places.parquet`` of a store: what has become of every place that a build was asked for.

GeoParquet 1.1 with a point a place, for DuckDB, geopandas and QGIS. A store that was not built from places has none.
"""

import io
import json
import struct
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.errors import CorruptError, InputError

DONE, FAILED, WAITING = "done", "failed", "waiting"
"""What may have become of a place: it is a tile, it cannot be one for now, or the build has not come to it yet."""

_TYPES = {
    "place_id": pa.string(),
    "lat": pa.float64(),
    "lon": pa.float64(),
    "biome": pa.int16(),
    "ecoregion": pa.int16(),
    "status": pa.string(),
    "reason": pa.string(),
    "detail": pa.string(),
}


@dataclass(frozen=True)
class PlaceLog:
    """``n`` places and what has become of each, in columns of length n.

    Raises:
        InputError: columns differ in length, or a status is none of the three.
    """

    place_id: npt.NDArray[Any]
    """the tile's id, if it is done"""
    lat: npt.NDArray[np.float64]
    """degrees north (WGS 84)"""
    lon: npt.NDArray[np.float64]
    """degrees east"""
    biome: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    ecoregion: npt.NDArray[np.int16]
    """MMEarth's class number, -1 if unknown"""
    status: npt.NDArray[Any]
    """``done``, ``failed`` or ``waiting``"""
    reason: npt.NDArray[Any]
    """of a failure: a ``geopretext.errors.Reason``; else empty"""
    detail: npt.NDArray[Any]
    """of a failure: what was wrong, where; else empty"""

    def __post_init__(self) -> None:
        for f in fields(self):
            if len(getattr(self, f.name)) != len(self):
                raise InputError(f"column {f.name!r} has {len(getattr(self, f.name))} entries for {len(self)} places")
        unknown = set(np.unique(self.status).tolist()) - {DONE, FAILED, WAITING}
        if unknown:
            raise InputError(f"a place cannot be {', '.join(map(repr, sorted(unknown)))}")

    def __len__(self) -> int:
        return len(self.place_id)

    @property
    def is_settled(self) -> bool:
        """True if no place is waiting."""
        return not np.any(self.status == WAITING)

    def with_tiles(self, tile_ids: npt.NDArray[Any]) -> "PlaceLog":
        """The same, but that places whose tile a store has are done: a build logs them at its end only."""
        done = np.isin(self.place_id, tile_ids)
        columns = ((self.status, DONE), (self.reason, ""), (self.detail, ""))
        status, reason, detail = (np.where(done, np.asarray(word, column.dtype), column) for column, word in columns)
        return replace(self, status=status, reason=reason, detail=detail)

    @property
    def counts(self) -> dict[str, int]:
        """How many places are done, failed and waiting."""
        return {status: int(np.count_nonzero(self.status == status)) for status in (DONE, FAILED, WAITING)}

    @property
    def failures(self) -> dict[str, int]:
        """How many places have failed, by reason; the most frequent first."""
        counts = Counter(self.reason[self.status == FAILED].tolist())
        return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))

    def to_bytes(self) -> bytes:
        """The file; the same log has the same bytes."""
        columns = {name: pa.array(getattr(self, name).tolist(), kind) for name, kind in _TYPES.items()}
        points = zip(self.lon.tolist(), self.lat.tolist(), strict=True)
        columns["geometry"] = pa.array([struct.pack("<BIdd", 1, 1, lon, lat) for lon, lat in points], pa.binary())
        table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(self._geo_metadata())})
        file = io.BytesIO()
        pq.write_table(table, file, compression="zstd")
        return file.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes, *, where: str) -> "PlaceLog":
        """Read what ``to_bytes`` wrote.

        Raises:
            CorruptError: it is something else.
        """
        hint = "delete it: the build that made the store writes it anew, and makes failed places again"
        try:
            table = pq.read_table(io.BytesIO(data), columns=list(_TYPES))
            return cls(**{name: _numpy(table[name].cast(kind)) for name, kind in _TYPES.items()})
        except (pa.ArrowException, OSError, KeyError, InputError) as error:
            raise CorruptError(f"is no log of places: {error}", where=where, hint=hint) from error

    def _geo_metadata(self) -> Mapping[str, Any]:
        """GeoParquet's ``geo`` entry; without a ``crs`` the coordinates are OGC:CRS84."""
        column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Point"]}
        if len(self):
            column["bbox"] = [float(f(axis)) for f in (np.min, np.max) for axis in (self.lon, self.lat)]
        return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}


def _numpy(column: Any) -> npt.NDArray[Any]:
    if pa.types.is_string(column.type):
        return np.array(column.to_pylist(), np.dtypes.StringDType())
    return np.asarray(column.to_numpy())

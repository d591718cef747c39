"""GeoParquet 1.1 of tiles' coordinates and footprints, for DuckDB, geopandas and QGIS: ``tiles.parquet`` of a store.

Footprints are polygons in longitude and latitude (OGC:CRS84), written as WKB by pyarrow alone. With pyproj they are the
four corners of the tile's own grid; without it, or for a tile whose grid is unknown, a box of the tile's size in metres
around its centre, which is right to a few metres but for the rotation of the UTM grid.
"""

import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from geopretext.data.tiles import SPLITS, Coordinates
from geopretext.modality import Modality

_METRES_A_DEGREE = 111_195.0
_CORNERS = ((0, 0), (0, 1), (1, 1), (1, 0), (0, 0))  # (x, y) in tile sizes: counter-clockwise as y points south


def tiles_to_parquet(
    coordinates: Coordinates,
    modalities: Mapping[str, Modality],
    present: npt.NDArray[np.uint32],
    tile_size: int,
    ground_sampling_distance: float,
) -> bytes:
    """The file's bytes.

    Args:
        coordinates: of all tiles.
        modalities: of the store, in order.
        present: (tiles,) bit set of modalities.
        tile_size: height and width in pixels.
        ground_sampling_distance: metres a pixel.
    """
    footprint = footprints(coordinates, tile_size=tile_size, ground_sampling_distance=ground_sampling_distance)
    seconds = coordinates.time.astype("datetime64[s]")
    assert coordinates.split is not None
    assert coordinates.source_items is not None
    split_names = np.array(["none", *SPLITS], object)[coordinates.split.astype(np.int64) + 1]
    columns: dict[str, Any] = {
        "tile": pa.array(np.arange(len(coordinates))),
        "tile_id": pa.array(coordinates.tile_id.tolist(), pa.string()),
        "lat": pa.array(coordinates.lat),
        "lon": pa.array(coordinates.lon),
        "crs": pa.array(coordinates.crs),
        "transform": pa.array(coordinates.transform.tolist(), pa.list_(pa.float64())),
        "time": pa.array(seconds, pa.timestamp("s")).cast(pa.timestamp("ms", tz="UTC")),
        "biome": pa.array(coordinates.biome),
        "ecoregion": pa.array(coordinates.ecoregion),
        "split": pa.array(split_names.tolist(), pa.string()),
        "modalities": pa.array(_present_names(present, tuple(modalities)), pa.list_(pa.string())),
        "source_items": pa.array(coordinates.source_items.tolist(), pa.string()),
    }
    for name, codes in coordinates.levels.items():
        levels = np.array(["unknown", *modalities[name].levels], object)
        columns[f"{name}_level"] = pa.array(levels[codes.astype(np.int64) + 1].tolist(), pa.string())
    for name, dates in coordinates.series.items():
        columns[f"{name}_images"] = pa.array((~np.isnat(dates)).sum(axis=1))
    columns["geometry"] = polygon_column(footprint)
    table = pa.table(columns).replace_schema_metadata({"geo": json.dumps(geo_metadata(footprint))})
    file = io.BytesIO()
    pq.write_table(table, file, compression="zstd")
    return file.getvalue()


def footprints(coordinates: Coordinates, *, tile_size: int, ground_sampling_distance: float) -> npt.NDArray[np.float64]:
    """Closed rings of the tiles' corners: (tiles, 5, 2), degrees east and north; NaN where the position is unknown."""
    half = tile_size * ground_sampling_distance / 2
    corner = np.array(_CORNERS, np.float64)
    height = half / _METRES_A_DEGREE
    with np.errstate(divide="ignore"):
        width = np.minimum(180.0, height / np.maximum(np.cos(np.radians(coordinates.lat)), 1e-9))
    rings = np.empty((len(coordinates), len(_CORNERS), 2))
    rings[:, :, 0] = coordinates.lon[:, None] + (2 * corner[:, 0] - 1) * width[:, None]
    rings[:, :, 1] = np.clip(coordinates.lat[:, None] - (2 * corner[:, 1] - 1) * height, -90, 90)
    try:
        import pyproj
    except ImportError:
        return rings
    a, b, c, d, e, f = coordinates.transform.T[:, :, None]
    x = a * corner[:, 0] * tile_size + b * corner[:, 1] * tile_size + c
    y = d * corner[:, 0] * tile_size + e * corner[:, 1] * tile_size + f
    on_grid = (coordinates.crs > 0) & np.isfinite(coordinates.transform).all(axis=1)
    for code in np.unique(coordinates.crs[on_grid]):
        at = np.flatnonzero(on_grid & (coordinates.crs == code))
        to_degrees = pyproj.Transformer.from_crs(int(code), "OGC:CRS84", always_xy=True)
        rings[at] = np.stack(to_degrees.transform(x[at], y[at]), axis=-1)
    return in_one_piece(rings)


def in_one_piece(rings: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Rings (n, 5, 2) whose corners lie around the first: over the antimeridian they go on beyond 180 degrees."""
    first, result = rings[:, :1, 0], rings.copy()
    result[:, :, 0] = first + (rings[:, :, 0] - first + 180.0) % 360.0 - 180.0
    return result


def polygon_column(rings: npt.NDArray[np.float64]) -> Any:
    """A column of polygons of one ring each, as well-known binary.

    Args:
        rings: (n, 5, 2) degrees east and north; null where any is not finite.
    """
    records = np.zeros(len(rings), [("order", "u1"), ("numbers", "<u4", 3), ("ring", "<f8", rings.shape[1:])])
    records["order"] = 1  # little-endian
    records["numbers"] = (3, 1, rings.shape[1])  # a polygon, of one ring, of so many points
    records["ring"] = rings
    unknown = ~np.isfinite(rings).all(axis=(1, 2))
    plain = records.view(f"V{records.dtype.itemsize}").astype(object) if len(rings) else np.empty(0, object)
    return pa.array(plain, pa.binary(), mask=unknown)


def _present_names(present: npt.NDArray[np.uint32], names: tuple[str, ...]) -> list[list[str]]:
    by_bits = {int(bits): [name for bit, name in enumerate(names) if bits >> bit & 1] for bits in np.unique(present)}
    return [by_bits[bits] for bits in present.tolist()]


def geo_metadata(rings: npt.NDArray[np.float64] | None, *, covering: str | None = None) -> dict[str, Any]:
    """GeoParquet's ``geo`` entry for a column "geometry"; without a ``crs`` the coordinates are OGC:CRS84.

    Args:
        rings: all of them, for the box around them; those that are not finite do not count. None: they are not known.
        covering: column of a struct of xmin, ymin, xmax and ymax, by which readers skip what lies elsewhere.
    """
    column: dict[str, Any] = {"encoding": "WKB", "geometry_types": ["Polygon"], "orientation": "counterclockwise"}
    known = np.empty((0, 5, 2)) if rings is None else rings[np.isfinite(rings).all(axis=(1, 2))]
    if len(known):
        low, high = known.min(axis=(0, 1)), known.max(axis=(0, 1))
        column["bbox"] = [*low.tolist(), *high.tolist()]
    if covering is not None:
        column["covering"] = {"bbox": {side: [covering, side] for side in ("xmin", "ymin", "xmax", "ymax")}}
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}

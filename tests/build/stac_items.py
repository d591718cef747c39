"""Real COGs, the STAC items that describe them, and a real STAC API (`rustac serve`) that answers for them."""

import json
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyproj
import pytest
import rasterio
import rasterio.transform
import shapely
import shapely.geometry
from rasterio.transform import Affine

REFLECTANCE_BANDS = {"nodata": 0, "data_type": "uint16", "scale": 0.0001}


def write_cog(
    path: Path, bands: npt.NDArray[Any], *, crs: int, transform: Affine, nodata: float | None = None, block: int = 256
) -> Path:
    """(C, H, W) numbers as a cloud-optimised GeoTIFF with overviews."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = bands.shape
    profile: dict[str, Any] = {
        "driver": "COG",
        "count": count,
        "height": height,
        "width": width,
        "dtype": bands.dtype.name,
        "crs": f"EPSG:{crs}",
        "transform": transform,
        "nodata": nodata,
        "compress": "deflate",
        "blocksize": block,
    }
    with rasterio.open(path, "w", **profile) as file:
        file.write(bands)
    return path


def outline(*, crs: int, transform: Affine, height: int, width: int) -> Any:
    """What a raster covers, in degrees, as a shapely polygon; for places away from the antimeridian."""
    to_degrees = pyproj.Transformer.from_crs(f"EPSG:{crs}", "EPSG:4326", always_xy=True)
    xs, ys = rasterio.transform.xy(transform, [0, 0, height, height], [0, width, width, 0], offset="ul")
    return shapely.Polygon([to_degrees.transform(x, y) for x, y in zip(xs, ys, strict=True)])


def item(
    name: str,
    *,
    collection: str,
    assets: Mapping[str, str | Mapping[str, Any]],
    footprint: Any,
    date: str | None = "2019-06-01T10:00:00Z",
    **properties: Any,
) -> dict[str, Any]:
    """A STAC 1.0 item.

    Args:
        name: id.
        assets: URLs or paths by key, or mappings with an ``href`` and more fields.
        footprint: a shapely geometry, or None for an item without one.
        date: ``datetime``; None for an item that has an interval among its properties.
        properties: with ``__`` for ``:``, as in ``eo__cloud_cover=5``.
    """
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "stac_extensions": [],
        "id": name,
        "collection": collection,
        "geometry": None if footprint is None else shapely.geometry.mapping(footprint),
        "bbox": None if footprint is None else list(footprint.bounds),
        "properties": {"datetime": date, **{key.replace("__", ":"): value for key, value in properties.items()}},
        "assets": {
            key: {"href": asset} if isinstance(asset, str) else dict(asset) for key, asset in sorted(assets.items())
        },
        "links": [],
    }


def square(lon: float, lat: float, size: float = 1.0) -> Any:
    """A footprint: the square whose south-western corner is there."""
    return shapely.box(lon, lat, lon + size, lat + size)


def write_items(path: Path, items: Sequence[Mapping[str, Any]]) -> Path:
    """An item collection as JSON."""
    path.write_text(json.dumps({"type": "FeatureCollection", "features": list(items)}))
    return path


@contextmanager
def rustac_serve(path: Path) -> Iterator[str]:
    """A STAC API over a file of items: the URL of its root. It knows neither query nor filter nor sort."""
    program = shutil.which("rustac", path=str(Path(sys.executable).parent)) or shutil.which("rustac")
    if program is None:
        pytest.skip("rustac is not installed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    command = [program, "serve", "--create-collections", "--addr", address, str(path)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(f"http://{address}/", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, "rustac serve ended"
                time.sleep(0.05)
        yield f"http://{address}/"
    finally:
        process.terminate()
        process.wait(timeout=20)


def sloping(height: int, width: int, *, base: float = 1000.0) -> npt.NDArray[np.float64]:
    """A raster whose every pixel differs from its neighbours."""
    rows, columns = np.mgrid[0:height, 0:width]
    return base + 3.0 * rows + 7.0 * columns

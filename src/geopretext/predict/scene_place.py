"""Where and when a scene is, as the coordinates of one large tile."""

from pathlib import Path

import numpy as np

from geopretext.data.tiles import Coordinates
from geopretext.errors import MissingLibraryError
from geopretext.predict.scene import Scene


def scene_coordinates(scene: Scene) -> Coordinates:
    """Name, centre and date of a scene; NaN and NaT where it does not say them.

    Raises:
        MissingLibraryError: rasterio is not installed.
    """
    lat, lon = _centre(scene)
    time = np.datetime64("NaT") if scene.time is None else scene.time
    return Coordinates(
        tile_id=np.array([Path(scene.where.rstrip("/")).name or scene.where]),
        lat=np.array([lat]),
        lon=np.array([lon]),
        crs=np.zeros(1, np.int32),
        transform=np.array([scene.georeference.transform]),
        time=np.array([time], "datetime64[s]"),
    )


def _centre(scene: Scene) -> tuple[float, float]:
    """Latitude and longitude, degrees."""
    if not scene.georeference.crs:
        return np.nan, np.nan
    try:
        from rasterio.warp import transform
    except ImportError as error:
        raise MissingLibraryError("rasterio", extra="geo", purpose="say where a scene lies") from error
    a, b, c, d, e, f = scene.georeference.transform
    column, row = scene.width / 2, scene.height / 2
    (lon,), (lat,) = transform(
        scene.georeference.crs, "EPSG:4326", [a * column + b * row + c], [d * column + e * row + f]
    )
    return float(lat), float(lon)

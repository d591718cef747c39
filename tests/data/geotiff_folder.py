"""Writes folders of GeoTIFFs with made-up but plausible numbers, and mappings for them; reads them whole."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
import yaml
from rasterio.transform import Affine

from geopretext.data.geotiff import GeoTiffTiles, survey_geotiffs
from geopretext.data.geotiff_mapping import load_mapping
from geopretext.data.tiles import Coordinates, TileBatch

L2A = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B11", "B12")
L1C = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
GREEN = {"B1": 300, "B2": 350, "B3": 550, "B4": 450, "B5": 900, "B6": 2000, "B7": 2400, "B8": 2600, "B8A": 2700}
GREEN |= {"B9": 2700, "B10": 15, "B11": 1600, "B12": 800}
"""typical surface reflectance x 10000 of mixed vegetation (B10 as seen from above the atmosphere)"""
SAND = {"B1": 1250, "B2": 1350, "B3": 1700, "B4": 2600, "B5": 2900, "B6": 3100, "B7": 3300, "B8": 3400, "B8A": 3500}
SAND |= {"B9": 3500, "B10": 30, "B11": 4500, "B12": 4000}
"""of stony desert: no band is dark"""
SNOW = {"B1": 8800, "B2": 9000, "B3": 8800, "B4": 8700, "B5": 8600, "B6": 8500, "B7": 8300, "B8": 8300, "B8A": 8000}
SNOW |= {"B9": 7500, "B10": 60, "B11": 1000, "B12": 900}


def write_tif(
    path: Path,
    array: np.ndarray,
    *,
    epsg: int | None = 32632,
    origin: tuple[float, float] = (500000.0, 5200000.0),
    pixel: float = 10.0,
    names: tuple[str, ...] = (),
    tags: Mapping[str, str] | None = None,
    scale: float = 1.0,
    **options: Any,
) -> Path:
    """(band, y, x) -> a compressed GeoTIFF at ``origin`` (x, y of the top left corner)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    where = {} if epsg is None else {"crs": f"EPSG:{epsg}"}
    transform = Affine(pixel, 0, origin[0], 0, -pixel, origin[1])
    bands, height, width = array.shape
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=bands,
        height=height,
        width=width,
        dtype=array.dtype,
        transform=transform,
        compress="deflate",
        **where,
        **options,
    ) as dataset:
        dataset.write(array)
        dataset.update_tags(**(tags or {}))
        if scale != 1.0:
            dataset.scales = (scale,) * bands
        for index, name in enumerate(names, start=1):
            dataset.set_band_description(index, name)
    return path


def scene(
    bands: tuple[str, ...], cover: Mapping[str, int] = GREEN, *, size: int = 40, offset: int = 0, seed: int = 0
) -> np.ndarray:
    """Reflectance of one cover with noise: (band, y, x) uint16, perhaps with the offset."""
    rng = np.random.default_rng(seed)
    mean = np.array([cover[band] for band in bands])[:, None, None]
    return np.maximum(mean * rng.lognormal(0, 0.08, (len(bands), size, size)), 1).astype("uint16") + np.uint16(offset)


def ramp(size: int = 40, step: float = 5.0) -> np.ndarray:
    """Elevation that rises by ``step`` metres a pixel to the east."""
    return np.broadcast_to(np.arange(size) * step + 100, (1, size, size)).astype("int16")


def write_folder(root: Path, places: Mapping[str, int], size: int = 40) -> Path:
    """S2 (12 bands L2A), S1 (VV, VH in dB), DEM and LULC of places 150 km apart, by the offset that S2 carries."""
    rng = np.random.default_rng(1)
    for number, (place, offset) in enumerate(places.items()):
        at = {"origin": (500000.0, 5200000.0 - 150000 * number)}
        write_tif(root / "S2" / f"{place}.tif", scene(L2A, size=size, offset=offset, seed=number), **at)
        radar = rng.normal((-11, -18), 2, (size, size, 2)).transpose(2, 0, 1)
        write_tif(root / "S1" / f"{place}.tif", radar, tags={"datetime": "2021-07-23T13:22:41.000000000"}, **at)
        write_tif(root / "DEM" / f"{place}.tif", ramp(size), **at)
        write_tif(root / "LULC" / f"{place}.tif", rng.integers(0, 4, (1, size, size)).astype("uint8"), **at)
    return root


def mapping_of(**changes: Any) -> dict[str, Any]:
    """The mapping of ``write_folder``; a key such as ``folders__S2__unit`` replaces a value, None removes it."""
    plain: dict[str, Any] = {
        "tile_size": 16,
        "dates": {"tag": "datetime", "folder": "S1"},
        "modalities": [
            {
                "name": "crop_map",
                "kind": "categorical map",
                "dtype": "uint8",
                "missing": [0],
                "bands": ["crop"],
                "classes": {1: "maize", 2: "wheat", 3: "soy"},
            }
        ],
        "folders": {
            "S2": {
                "modality": "sentinel2",
                "level": "L2A",
                "bands": list(L2A),
                "unit": "reflectance x 10000",
                "nodata": 0,
            },
            "S1": {"modality": "sentinel1", "bands": ["asc_VV", "asc_VH"], "unit": "dB"},
            "DEM": {"modality": "aster", "bands": ["elevation"], "unit": "m", "derive": {"slope": "elevation"}},
            "LULC": {"modality": "crop_map", "bands": ["crop"]},
        },
    }
    for dotted, value in changes.items():
        *parents, last = dotted.split("__")
        target = plain
        for parent in parents:
            target = target[parent]
        if value is None:
            del target[last]
        else:
            target[last] = value
    return plain


def write_mapping(path: Path, plain: Any) -> Path:
    path.write_text(yaml.safe_dump(plain, sort_keys=False))
    return path


def survey(root: Path, **changes: Any) -> GeoTiffTiles:
    return survey_geotiffs(root, load_mapping(write_mapping(root / "mapping.yaml", mapping_of(**changes))))


def whole(tiles: GeoTiffTiles, skip: int = 0) -> TileBatch:
    batches = list(tiles.batches(skip))
    names = batches[0].arrays.keys()
    arrays = {name: np.concatenate([batch.arrays[name] for batch in batches]) for name in names}
    return TileBatch(Coordinates.concatenate([batch.coordinates for batch in batches]), arrays)


def stored(path: Path) -> np.ndarray:
    with rasterio.open(path) as dataset:
        return dataset.read()

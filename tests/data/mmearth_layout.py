"""Writes directories of exactly the official MMEarth layout, with made-up numbers and every kind of missing value.

Facts from github.com/vishalned/MMEarth-data: names, shapes, dtypes, chunks and compression of the HDF5 datasets, the
``metadata`` compound, and the keys of the three JSON files. Numbers are as its writer leaves them: -inf of a float
raster saturated to the integer's minimum, 255 in int8 saturated to 127, one-hot labels.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

S2 = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8A", "B8", "B9", "B10", "B11", "B12")
BANDS = {
    "sentinel2": 13,
    "sentinel2_cloudmask": 1,
    "sentinel2_cloudprod": 1,
    "sentinel2_scl": 1,
    "sentinel1": 8,
    "aster": 2,
    "era5": 12,
    "dynamic_world": 1,
    "canopy_height_eth": 2,
    "lat": 2,
    "lon": 2,
    "biome": 14,
    "eco_region": 846,
    "month": 2,
    "esa_worldcover": 1,
}
DTYPES = {
    "sentinel2": "uint16",
    "sentinel2_cloudmask": "uint16",
    "sentinel2_cloudprod": "uint16",
    "sentinel2_scl": "uint8",
    "sentinel1": "float32",
    "aster": "int16",
    "era5": "float32",
    "dynamic_world": "uint8",
    "canopy_height_eth": "int8",
    "lat": "float32",
    "lon": "float32",
    "biome": "uint8",
    "eco_region": "uint16",
    "month": "float32",
    "esa_worldcover": "uint8",
}
VECTORS = ("era5", "lat", "lon", "biome", "eco_region", "month")
WORLDCOVER = (10, 20, 30, 40, 50, 60, 70, 80, 90, 95, 100)

Arrays = dict[str, np.ndarray]


def make_arrays(count: int, size: int, seed: int = 0) -> tuple[Arrays, list[dict[str, Any]]]:
    """Arrays as the HDF5 holds them, and the entry of each tile in ``_tile_info.json``.

    Odd tiles are L2A, even ones L1C. Tile 0 has no ascending orbit, tile 1 no canopy height, tile 2 no labels, tile 3
    a no-data stripe in Sentinel-2 and the maps.
    """
    rng = np.random.default_rng(seed)
    maps = (count, 1, size, size)
    level = ["l2a" if tile % 2 else "l1c" for tile in range(count)]
    l2a = np.array([name == "l2a" for name in level])
    arrays: Arrays = {
        "sentinel2": rng.integers(1, 10000, (count, 13, size, size)).astype("uint16"),
        "sentinel2_cloudmask": np.zeros(maps, "uint16"),
        "sentinel2_cloudprod": rng.integers(0, 101, maps).astype("uint16"),
        "sentinel2_scl": rng.integers(0, 12, maps).astype("uint8"),
        "sentinel1": rng.normal(-12, 4, (count, 8, size, size)).astype("float32"),
        "aster": rng.integers(0, 80, (count, 2, size, size)).astype("int16"),
        "era5": rng.uniform(260, 300, (count, 12)).astype("float32"),
        "dynamic_world": rng.integers(1, 10, maps).astype("uint8"),
        "canopy_height_eth": rng.integers(0, 50, (count, 2, size, size)).astype("int8"),
        "esa_worldcover": rng.choice(np.array(WORLDCOVER, "uint8"), maps),
    }
    arrays["era5"][:, 3::4] = 0.1
    arrays["sentinel2"][l2a, S2.index("B10")] = 0
    arrays["sentinel2_scl"][~l2a] = 255
    arrays["sentinel2_cloudprod"][~l2a] = 65535
    arrays["sentinel1"][:, [2, 3, 6, 7]] = -np.inf
    arrays["sentinel1"][0, :4] = -np.inf
    if count > 3:
        arrays["canopy_height_eth"][1] = 127
        arrays["era5"][2, 0] = np.nan
        for name, gap in (("sentinel2", 0), ("dynamic_world", 0), ("esa_worldcover", 0), ("aster", -32768)):
            arrays[name][3, :, :4] = gap
        arrays["canopy_height_eth"][3, :, 0] = -1
        arrays["canopy_height_eth"][3, :, 1] = -128
        arrays["esa_worldcover"][3, :, 5] = 255
    lat, lon = rng.uniform(-60, 70, count), rng.uniform(-180, 180, count)
    month = rng.integers(1, 13, count)
    for name, angle in (("lat", np.deg2rad(lat)), ("lon", np.deg2rad(lon)), ("month", 2 * np.pi * month / 12)):
        arrays[name] = np.stack([np.sin(angle), np.cos(angle)], axis=1).astype("float32")
    biome = [int(number) for number in rng.integers(0, 14, count)]
    ecoregion = [int(number) for number in rng.integers(0, 846, count)]
    arrays["biome"] = np.eye(14, dtype="uint8")[biome]
    arrays["eco_region"] = np.eye(846, dtype="uint16")[ecoregion]
    info = [
        {
            "S2_type": level[tile],
            "S2_DATE": f"2019-{month[tile]:02d}-15",
            "CRS": f"EPSG:{32601 + tile}",
            "lat": float(lat[tile]),
            "lon": float(lon[tile]),
            "biome": biome[tile],
            "eco_region": ecoregion[tile],
            "era5": {"month1": [], "month2": [], "year": []},
            "BANDS": {"sentinel2": list(S2)},
        }
        for tile in range(count)
    ]
    if count > 3:
        # the writer indexes a zero vector with the label: with null it sets every element to 1
        arrays["biome"][2] = 1
        arrays["eco_region"][2] = 0
        info[2]["biome"] = info[2]["eco_region"] = None
    return arrays, info


def write_mmearth(
    folder: Path,
    count: int = 12,
    size: int = 64,
    *,
    seed: int = 0,
    modalities: Iterable[str] = tuple(BANDS),
    splits: dict[str, list[int]] | None = None,
    changes: Arrays | None = None,
    level_in_metadata: bool = True,
) -> Path:
    """Write a directory called ``folder``; its files bear its name, as the official ones do.

    ``changes`` replace arrays; ``splits`` are tile numbers by name (by default all are in train, as published).
    """
    folder.mkdir(parents=True)
    arrays, info = make_arrays(count, size, seed)
    arrays |= changes or {}
    ids = [str(100000 + tile) for tile in range(count)]
    with h5py.File(folder / f"{folder.name}.h5", "w") as file:
        for name in modalities:
            data = arrays[name]
            file.create_dataset(name, data=data, chunks=(1, *data.shape[1:]), compression="gzip")
        compound = [("tile_id", "S100"), ("S2_type", "S10")] if level_in_metadata else [("tile_id", "S100")]
        rows = [(name, tile["S2_type"]) if level_in_metadata else (name,) for name, tile in zip(ids, info, strict=True)]
        file.create_dataset("metadata", data=np.array(rows, dtype=compound), chunks=(1,), compression="gzip")
    splits = splits or {"train": np.random.default_rng(seed).permutation(count).tolist(), "val": [], "test": []}
    for kind, content in {
        "splits": splits,
        "tile_info": dict(zip(ids, info, strict=True)),
        "band_stats": {"sentinel2_l1c": {"mean": [0.0] * 13, "std": [1.0] * 13}},
    }.items():
        (folder / f"{folder.name}_{kind}.json").write_text(json.dumps(content))
    return folder

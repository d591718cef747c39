"""Your own dataset as a tile store, in a hundred lines: BigEarthNet v2 patches from HDF5.

This is what to copy when your tiles lie neither in a folder of GeoTIFFs nor in the MMEarth layout. Four steps:

1. say what there is, as modalities: published ones with the bands that you have, and your own;
2. say where and when each tile is, as coordinates;
3. hand over batches of arrays, in the modalities' stored dtype and no-data numbers;
4. split, and take statistics.

Run it on an extract of BigEarthNet v2 (Clasen et al., arXiv 2407.03653; CDLA-Permissive-1.0)::

    python examples/bigearthnet_to_store.py SRC --out ben.zarr

SRC holds one ``.h5`` and one ``.csv`` of the same patches in the same order. HDF5 datasets: ``sentinel2`` (n, 4, 120,
120) L2A B02 B03 B04 B08; ``sentinel1`` (n, 2, 120, 120) VV VH in dB; ``label19`` (n, 120, 120) CORINE in the 19 classes
of BigEarthNet (255: none of them) with their names as attribute; ``multilabel19`` (n, 19); ``patch_id``, ``lat``,
``lon``, ``epsg``, ``ulx``, ``uly``. CSV columns: ``patch_id``, ``date``, ``s1_name``, ``ECO_NAME``, ``BIOME_NAME``.

What was decided, and why:

* CORINE and the 19 labels have the role "label", so pretraining never sees them: the labels of a patch are the classes
  of its CORINE map, and a score on labels that were a pretext task would mean nothing.
* The name of a Sentinel-1 patch tells when it was taken, not in which orbit. Sentinel-1 crosses at about 18:00 local
  solar time going north and 06:00 going south, so the hour decides between the ascending and descending bands.
* BigEarthNet was processed without the +1000 offset of baseline 04.00. The numbers are asked, to be sure.
"""

import argparse
import csv
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from geopretext.data.offset import Verdict, judge_offset
from geopretext.data.splits import spatial_split
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import InputError
from geopretext.modality import BIOMES, ECOREGIONS, PUBLISHED, Band, ClassLabel, Kind, Modality, Role

TILE_SIZE = 120
PIXEL_METRES = 10.0
SENTINEL2 = PUBLISHED["sentinel2"].select(["B2", "B3", "B4", "B8"])
SENTINEL1 = PUBLISHED["sentinel1"].select(["asc_VV", "asc_VH", "desc_VV", "desc_VH"])

Row = dict[str, str]


def describe_modalities(class_names: list[str]) -> list[Modality]:
    """Step 1: what a tile holds."""
    corine = Modality(
        name="corine",
        kind=Kind.CATEGORICAL_MAP,
        bands=(Band("label19"),),
        dtype="uint8",
        missing=(255,),
        classes=tuple(ClassLabel(code, name) for code, name in enumerate(class_names)),
        role=Role.LABEL,
        title="Land cover, CORINE 2018 in BigEarthNet's 19 classes",
        source="BigEarthNet v2, after Copernicus CORINE Land Cover",
    )
    labels = Modality(
        name="bigearthnet_labels",
        kind=Kind.MULTILABEL_VECTOR,
        bands=tuple(Band(name) for name in class_names),
        dtype="uint8",
        role=Role.LABEL,
        title="Classes present in the patch",
        source="BigEarthNet v2",
    )
    derived = [PUBLISHED[name] for name in ("lat", "lon", "month", "biome", "ecoregion")]
    return [SENTINEL2, SENTINEL1, *derived, corine, labels]


def describe_tiles(file: h5py.File, rows: list[Row]) -> Coordinates:
    """Step 2: where, when and what each tile is."""
    count = len(rows)
    transform = np.zeros((count, 6))
    transform[:, 0], transform[:, 4] = PIXEL_METRES, -PIXEL_METRES
    transform[:, 2], transform[:, 5] = file["ulx"][:], file["uly"][:]
    days = [f"{row['date'][:4]}-{row['date'][4:6]}-{row['date'][6:]}" for row in rows]
    return Coordinates(
        tile_id=file["patch_id"][:].astype(np.str_),
        lat=file["lat"][:],
        lon=file["lon"][:],
        crs=file["epsg"][:].astype(np.int32),
        transform=transform,
        time=np.array(days, "datetime64[s]"),
        levels={"sentinel2": np.full(count, SENTINEL2.levels.index("L2A"), np.int8)},
        biome=numbers_of([row["BIOME_NAME"] for row in rows], BIOMES),
        ecoregion=numbers_of([row["ECO_NAME"] for row in rows], ECOREGIONS),
        source_items=np.array(
            [json.dumps({"sentinel2": row["patch_id"], "sentinel1": row["s1_name"]}) for row in rows]
        ),
    )


def make_batch(file: h5py.File, rows: list[Row], coordinates: Coordinates, tiles: slice) -> TileBatch:
    """Step 3: the arrays of some tiles, as the modalities store them."""
    at = coordinates.take(tiles)
    radar = np.full((len(at), 4, TILE_SIZE, TILE_SIZE), np.nan, np.float32)
    ascending = np.array([is_ascending(row["s1_name"], lon) for row, lon in zip(rows[tiles], at.lon, strict=True)])
    measured = file["sentinel1"][tiles]
    radar[ascending, :2], radar[~ascending, 2:] = measured[ascending], measured[~ascending]
    optical = file["sentinel2"][tiles]
    refuse_offset(optical, at)
    month = at.time.astype("datetime64[M]").astype(int) % 12 + 1
    arrays = {
        "sentinel2": optical,
        "sentinel1": radar,
        "lat": on_circle(np.radians(at.lat)),
        "lon": on_circle(np.radians(at.lon)),
        "month": on_circle(2 * np.pi * month / 12),
        "biome": np.asarray(at.biome)[:, None],
        "ecoregion": np.asarray(at.ecoregion)[:, None],
        "corine": file["label19"][tiles][:, None],
        "bigearthnet_labels": file["multilabel19"][tiles],
    }
    return TileBatch(at, arrays)


def write_store(src: Path, out: Path, *, seed: int = 0, batch_size: int = 32) -> Store:
    """All four steps; a run that was killed goes on where its last commit ended."""
    (h5_path,), (csv_path,) = src.glob("*.h5"), src.glob("*.csv")
    with csv_path.open(encoding="utf-8", newline="") as text:
        rows = list(csv.DictReader(text))
    with h5py.File(h5_path) as file:
        if file["patch_id"][:].astype(np.str_).tolist() != [row["patch_id"] for row in rows]:
            raise InputError("patches differ from those of the HDF5", where=str(csv_path))
        modalities = describe_modalities([str(name) for name in file["label19"].attrs["names"]])
        coordinates = describe_tiles(file, rows)
        with open_writer(out, modalities) as writer:
            for start in range(writer.committed, len(rows), batch_size):
                writer.append(make_batch(file, rows, coordinates, slice(start, start + batch_size)))
    store = Store.open(out)
    store.set_split(spatial_split(coordinates.lat, coordinates.lon, shares=(0.6, 0.2, 0.2), seed=seed))
    store.set_statistics(compute_statistics(store))
    return store


def open_writer(out: Path, modalities: list[Modality]) -> StoreWriter:
    """A new store, or the one that a killed run has left."""
    if out.exists():
        return StoreWriter.resume(out)
    recipe = {"source": "BigEarthNet v2", "made by": "examples/bigearthnet_to_store.py"}
    return StoreWriter.create(
        out, modalities, tile_size=TILE_SIZE, recipe=recipe, ground_sampling_distance=PIXEL_METRES
    )


def numbers_of(names: list[str], classes: tuple[str, ...]) -> npt.NDArray[np.int16]:
    """MMEarth's class numbers by name; -1 where there is no name. A name that is no class is a ValueError."""
    return np.array([classes.index(name) if name else -1 for name in names], np.int16)


def on_circle(angle: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """(n,) radians -> (n, 2) sine and cosine."""
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def is_ascending(s1_name: str, lon: float) -> bool:
    """Whether a patch like ``S1B_IW_GRDH_1SDV_20170612T165809_33UUP_39_66`` was taken in the local evening."""
    time = s1_name.split("_")[4].partition("T")[2]
    local_hour = (int(time[:2]) + int(time[2:4]) / 60 + lon / 15) % 24
    return local_hour > 12


def refuse_offset(optical: npt.NDArray[np.uint16], at: Coordinates) -> None:
    """Raise if an image looks as if it carried the +1000 of baseline 04.00."""
    for image, name in zip(optical, at.tile_id, strict=True):
        if judge_offset(dict(zip(SENTINEL2.band_names, image, strict=True)), "L2A") is Verdict.OFFSET:
            raise InputError("looks as if it carried the +1000 offset of baseline 04.00", where=str(name))


def main() -> None:
    """Parse the command line, write the store, say what is in it."""
    parser = argparse.ArgumentParser(description="BigEarthNet v2 patches (HDF5 and CSV) -> a tile store")
    parser.add_argument("src", type=Path, help="folder with one .h5 and one .csv")
    parser.add_argument("--out", type=Path, required=True, help="the store to write, such as ben.zarr")
    parser.add_argument("--seed", type=int, default=0, help="of the spatial split")
    given = parser.parse_args()
    store = write_store(given.src, given.out, seed=given.seed)
    split = np.asarray(store.coordinates.split)
    print(f"{len(store)} tiles in {given.out}: {', '.join(store.modalities)}")
    print(
        "split: "
        + ", ".join(f"{name} {int((split == code).sum())}" for code, name in enumerate(("train", "val", "test")))
    )


if __name__ == "__main__":
    main()

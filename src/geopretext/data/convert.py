"""Any source of tiles -> a store: folders of GeoTIFFs or of NetCDF cubes, official MMEarth files, the synthetic Earth.

A conversion that was killed goes on where its last commit ended when it is started again with the same source and
mapping; the store records both, and refuses others. At the end it has a split and statistics.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from geopretext.data.cube_mapping import CubeMapping, is_cube_mapping, load_cube_mapping
from geopretext.data.files import is_url
from geopretext.data.findings import ConversionReport
from geopretext.data.geotiff_mapping import GeoTiffMapping, load_mapping
from geopretext.data.splits import split_places
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_root import is_store
from geopretext.data.tiles import SPLITS, TileBatch, TileReader
from geopretext.data.writer import StoreWriter
from geopretext.errors import ClassError, InputError, StoreError
from geopretext.modality import PUBLISHED, Modality

if TYPE_CHECKING:
    from geopretext.data.cubes import CubeTiles
    from geopretext.data.geotiff import GeoTiffTiles

SYNTHETIC = "synthetic"
"""The source that is made up: see ``data.synthetic``."""

Progress = Callable[[int, int], None]
"""Called with the tiles done and the tiles in all."""


def convert(
    src: str | Path,
    out: str | Path,
    *,
    mapping: str | Path | None = None,
    modalities: Mapping[str, Modality] | None = None,
    count: int = 2000,
    series: Mapping[str, int] | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> ConversionReport:
    """Write a store from whatever ``src`` is.

    Args:
        src: a folder of GeoTIFFs or NetCDF cubes (with ``mapping``), an official MMEarth directory, or the word
            ``synthetic``.
        out: the store to write, or to go on with.
        mapping: YAML of ``geotiff_mapping`` or ``cube_mapping``, for a folder of GeoTIFFs or of NetCDF cubes.
        modalities: those that the mapping may name; by default the published ones.
        count: tiles of the synthetic Earth.
        series: of the synthetic Earth, and how many images a tile has of each at most.
        seed: of the synthetic Earth and of the split.
        progress: called after each batch of tiles.

    Raises:
        InputError: ``src`` is nothing that can be converted, or not what series are asked of, or the mapping is wrong
            (see ``load_mapping``).
        StoreError: ``out`` holds something else, or ``src`` lacks a file.
        CorruptError, GridError, UnitError, BandError, ClassError: see ``survey_geotiffs``, ``survey_cubes`` and
            ``MMEarthReader``.
    """
    if str(src) == SYNTHETIC:
        return _convert_synthetic(out, count, series or {}, seed, progress)
    if series:
        raise InputError(
            f"series {', '.join(series)} are those of the synthetic Earth",
            where=str(src),
            hint="NetCDF cubes say by their mapping which series they have: docs/source-series.md",
        )
    if is_url(src):
        raise InputError("is a URL", where=str(src), hint="what is converted lies in a folder; only --out may be a URL")
    if mapping is not None and is_cube_mapping(mapping):
        cubes = load_cube_mapping(mapping, modalities or PUBLISHED)
        return convert_cubes(src, out, cubes, seed=seed, progress=progress)
    if mapping is not None:
        return convert_geotiffs(src, out, load_mapping(mapping, modalities or PUBLISHED), seed=seed, progress=progress)
    if Path(src).suffix == ".h5" or any(Path(src).glob("*.h5")):
        return convert_mmearth(src, out, seed=seed, progress=progress)
    if not Path(src).is_dir():
        raise InputError(
            "no such folder", where=str(src), hint="a folder of images, an MMEarth directory, or 'synthetic'"
        )
    raise InputError(
        "holds no .h5 file, so it is no MMEarth directory, and there is no mapping for a folder of GeoTIFFs",
        where=str(src),
        hint="give --mapping FILE.yaml; docs/data.md and examples/terramind_mapping.yaml show how",
    )


def convert_geotiffs(
    src: str | Path, out: str | Path, mapping: GeoTiffMapping, *, seed: int = 0, progress: Progress | None = None
) -> ConversionReport:
    """Cut a folder of GeoTIFFs into tiles.

    All tiles of a place are in the same split. It is by spatial blocks (see ``spatial_split`` for their size and
    shares); without a georeference, or if there are too few blocks, places are drawn at random, 60 : 20 : 20.

    Raises:
        StoreError: ``out`` was made from another source or mapping; other errors are those of ``survey_geotiffs``.
    """
    from geopretext.data.geotiff import survey_geotiffs  # rasterio is optional

    tiles = survey_geotiffs(src, mapping)
    return _convert_surveyed(tiles, out, spacing=tiles.ground_sampling_distance, seed=seed, progress=progress)


def convert_cubes(
    src: str | Path, out: str | Path, mapping: CubeMapping, *, seed: int = 0, progress: Progress | None = None
) -> ConversionReport:
    """Cut a folder of NetCDF cubes into tiles with series; the split is as that of ``convert_geotiffs``.

    Raises:
        StoreError: ``out`` was made from another source or mapping; other errors are those of ``survey_cubes`` and
            ``CubeTiles.batches``.
    """
    from geopretext.data.cubes import survey_cubes  # xarray is optional

    tiles = survey_cubes(src, mapping)
    spacing = mapping.ground_sampling_distance
    return _convert_surveyed(tiles, out, spacing=spacing, dates=tiles.dates, seed=seed, progress=progress)


def convert_mmearth(
    src: str | Path, out: str | Path, *, seed: int = 0, progress: Progress | None = None
) -> ConversionReport:
    """Copy an official MMEarth directory into a store, with its own split if it has one, else one by spatial blocks.

    Raises:
        StoreError: ``out`` was made from another source; other errors are those of ``MMEarthReader``.
    """
    from geopretext.data.mmearth import MMEarthReader  # h5py is optional

    reader = MMEarthReader(src)
    recipe = {
        "source": "MMEarth directory",
        "folder": Path(reader.path).resolve().name,
        "tiles": len(reader),
        "modalities": list(reader.modalities),
        "tile_size": reader.tile_size,
    }
    resumed_at = _write(
        out,
        tuple(reader.modalities.values()),
        lambda skip: _batches(reader, skip),
        len(reader),
        tile_size=reader.tile_size,
        recipe=recipe,
        ground_sampling_distance=reader.ground_sampling_distance,
        progress=progress,
    )
    store = Store.open(out)
    if np.any(np.asarray(reader.coordinates.split) >= 0):
        return _finish(store, "MMEarth directory", None, resumed_at, [])
    split, notes = split_places(store.coordinates, np.arange(len(store)), seed=seed)
    return _finish(store, "MMEarth directory", split, resumed_at, notes)


def _convert_synthetic(
    out: str | Path, count: int, series: Mapping[str, int], seed: int, progress: Progress | None
) -> ConversionReport:
    from geopretext.data.synthetic import write_synthetic_store  # other sources do without the planet

    write_synthetic_store(out, count=count, seed=seed, series=series, progress=progress)
    store = Store.open(out)
    return ConversionReport(store.path, "synthetic Earth", len(store), 0, tuple(store.modalities), _counts(store))


def _batches(reader: TileReader, skip: int, size: int = 64) -> Iterator[TileBatch]:
    for start in range(skip, len(reader), size):
        tiles = np.arange(start, min(start + size, len(reader)))
        yield TileBatch(reader.coordinates.take(tiles), reader.read(reader.modalities, tiles))


def _convert_surveyed(
    tiles: "GeoTiffTiles | CubeTiles",
    out: str | Path,
    *,
    spacing: float,
    dates: Mapping[str, int] | None = None,
    seed: int,
    progress: Progress | None,
) -> ConversionReport:
    """Write the tiles of a folder that was surveyed, and split them by place; ``spacing`` is metres a pixel."""
    resumed_at = _write(
        out,
        tiles.modalities,
        tiles.batches,
        len(tiles),
        tile_size=tiles.mapping.tile_size,
        recipe=tiles.recipe,
        ground_sampling_distance=spacing,
        dates=dates,
        progress=progress,
    )
    store = Store.open(out)
    split, notes = split_places(store.coordinates, tiles.place_numbers(), seed=seed)
    source = tiles.recipe["source"]
    return _finish(store, source, split, resumed_at, notes, places=len(tiles.places), findings=tiles.findings)


def _write(
    out: str | Path,
    modalities: tuple[Modality, ...],
    batches: Callable[[int], Iterator[TileBatch]],
    total: int,
    *,
    tile_size: int,
    recipe: Mapping[str, Any],
    ground_sampling_distance: float,
    progress: Progress | None,
    dates: Mapping[str, int] | None = None,
) -> int:
    """Write all tiles, or those that an earlier run has not; returns how many that had."""
    recipe = json.loads(json.dumps(recipe))
    if _same_recipe(out, recipe):
        writer = StoreWriter.resume(out)
    else:
        writer = StoreWriter.create(
            out,
            modalities,
            tile_size=tile_size,
            recipe=recipe,
            ground_sampling_distance=ground_sampling_distance,
            dates=dates,
        )
    with writer:
        resumed_at = done = writer.committed
        for batch in batches(resumed_at):
            try:
                writer.append(batch)
            except ClassError as error:
                ids = batch.coordinates.tile_id
                raise ClassError(error.what, where=f"tiles {ids[0]} to {ids[-1]}", hint=error.hint) from error
            done += len(batch)
            if progress:
                progress(done, total)
    return resumed_at


def _same_recipe(out: str | Path, recipe: Mapping[str, Any]) -> bool:
    """Whether there is a store of this recipe, to go on with. One of another recipe is an error."""
    if not is_store(out):
        return False
    there = Store.open(out).attributes["recipe"]
    if there != recipe:
        changed = sorted(key for key in {*there, *recipe} if there.get(key) != recipe.get(key))
        raise StoreError(
            f"was made from another source or mapping (different: {', '.join(changed)})",
            where=str(out),
            hint="choose another --out, or delete it",
        )
    return True


def _finish(
    store: Store,
    source: str,
    split: npt.NDArray[np.int8] | None,
    resumed_at: int,
    notes: list[str],
    **more: Any,
) -> ConversionReport:
    """Store the split, if one is to replace that of the tiles, and statistics."""
    if split is not None:
        store.set_split(split)
    store.set_statistics(compute_statistics(store))
    return ConversionReport(
        store.path, source, len(store), resumed_at, tuple(store.modalities), _counts(store), notes=tuple(notes), **more
    )


def _counts(store: Store) -> dict[str, int]:
    """Tiles by split; empty if there is none."""
    split = np.asarray(store.coordinates.split)
    counts = {name: int(np.sum(split == code)) for code, name in enumerate(SPLITS)}
    return counts if any(counts.values()) else {}

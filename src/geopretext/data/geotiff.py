"""Folders of GeoTIFFs as tiles: every file is surveyed first, then tiles are cut strip by strip.

One subfolder a modality, the same file name (without its ending) for the same place in each; ``geotiff_mapping`` says
what the files hold. The survey opens every file, checks bands, grids, units and classes, and judges the Sentinel-2
offset; nothing is written before all of it has passed. No pixel is ever resampled: grids that differ are an error.
"""

import json
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from geopretext.data.derived import derived_vectors
from geopretext.data.findings import Findings
from geopretext.data.geotiff_dates import place_dates
from geopretext.data.geotiff_file import (
    Grid,
    check_bands,
    check_codes,
    grid_of,
    open_geotiff,
    read_bands,
    read_strip,
    to_degrees,
)
from geopretext.data.geotiff_mapping import FolderMapping, GeoTiffMapping
from geopretext.data.offset import LEVELS, OFFSET, Verdict, judge_offset
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.data.units import REFLECTANCE, check_plausible, to_unit
from geopretext.errors import GridError, StoreError
from geopretext.modality import PUBLISHED, Modality

Array = npt.NDArray[Any]

_ENDINGS = (".tif", ".tiff")
_SURVEY_PIXELS = 1024


@dataclass(frozen=True)
class Place:
    """All files of one place."""

    name: str
    grid: Grid
    files: Mapping[str, Path]
    """by subfolder; a subfolder without a file for this place is absent"""
    subtract: Mapping[str, int]
    """the Sentinel-2 offset to undo, by subfolder; 0 if there is none"""
    date: np.datetime64
    """reference date, NaT if unknown"""


class GeoTiffTiles:
    """The tiles of a folder of GeoTIFFs. Final; made by ``survey_geotiffs``."""

    def __init__(
        self, root: Path, mapping: GeoTiffMapping, places: tuple[Place, ...], findings: Findings, pixel: float
    ) -> None:
        self.root: Final = root
        self.mapping: Final = mapping
        self.places: Final = places
        self.findings: Final = findings
        self.ground_sampling_distance: Final = pixel
        """pixel size in metres (in units of the CRS)"""

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of the mapping, and lat, lon and month as far as georeference and dates give them."""
        derived: list[str] = []
        if any(place.grid.crs for place in self.places):
            derived += ["lat", "lon"]
        if self.mapping.dates:
            derived.append("month")
        return (*self.mapping.modalities, *(PUBLISHED[name] for name in derived))

    @property
    def recipe(self) -> dict[str, Any]:
        """What the tiles are made of: plain types, equal for equal sources and mappings."""
        return {
            "source": "GeoTIFF folder",
            "folder": self.root.name,
            "mapping": json.loads(json.dumps(dict(self.mapping.plain), default=str)),
            "places": {place.name: [place.grid.epsg, *place.grid.transform[:6]] for place in self.places},
            "sentinel2_offset": {
                "undone": self.findings.undone,
                "undecided": self.findings.undecided,
                "left": self.findings.left,
            },
        }

    def __len__(self) -> int:
        size = self.mapping.tile_size
        return sum((place.grid.height // size) * (place.grid.width // size) for place in self.places)

    def place_numbers(self) -> npt.NDArray[np.int64]:
        """For each tile the position of its place in ``places``."""
        size = self.mapping.tile_size
        counts = [(place.grid.height // size) * (place.grid.width // size) for place in self.places]
        numbers = np.repeat(np.arange(len(counts)), counts)
        # places too small for a tile get no number
        return np.unique(numbers, return_inverse=True)[1].astype(np.int64)

    def batches(self, skip: int = 0) -> Iterator[TileBatch]:
        """The tiles in order of place, row and column, a row of tiles at a time, without the first ``skip``.

        Raises:
            CorruptError: a file cannot be read to its end (the message names it).
            UnitError, ClassError: numbers that the survey, which thins out large files, has not met.
        """
        size = self.mapping.tile_size
        for place in self.places:
            columns = place.grid.width // size
            for row in range(place.grid.height // size):
                if skip >= columns:
                    skip -= columns
                    continue
                batch = self._strip(place, row, columns)
                if skip:
                    keep = slice(skip, None)
                    batch = TileBatch(batch.coordinates.take(keep), {k: v[keep] for k, v in batch.arrays.items()})
                    skip = 0
                yield batch

    def _strip(self, place: Place, row: int, columns: int) -> TileBatch:
        size = self.mapping.tile_size
        coordinates = self._coordinates(place, row, columns)
        arrays: dict[str, Array] = {}
        for modality in self.mapping.modalities:
            folders = [f for f in self.mapping.folders.values() if f.modality.name == modality.name]
            bands: dict[str, Array] = {}
            for folder in folders:
                if folder.folder in place.files:
                    bands |= read_strip(
                        place.files[folder.folder],
                        folder.at(place.name),
                        place.grid,
                        rows=slice(row * size, (row + 1) * size),
                        subtract=place.subtract[folder.folder],
                    )
            if bands:
                for name in set(modality.band_names) - set(bands):
                    bands[name] = np.full((size, place.grid.width), modality.fill, modality.dtype)
                strip = np.stack([bands[name] for name in modality.band_names])[:, :, : columns * size]
                tiles = strip.reshape(len(modality.bands), size, columns, size).transpose(2, 0, 1, 3)
                arrays[modality.name] = np.ascontiguousarray(tiles)
        return TileBatch(coordinates, arrays | self._derived(coordinates))

    def _coordinates(self, place: Place, row: int, columns: int) -> Coordinates:
        size = self.mapping.tile_size
        transform = np.array([place.grid.shifted(row * size, column * size) for column in range(columns)])
        a, b, c, d, e, f = transform.T
        lat, lon = to_degrees(place.grid.crs, c + (a + b) * size / 2, f + (d + e) * size / 2)
        levels = {f.modality.name: f for f in self.mapping.folders.values() if f.level}
        return Coordinates(
            tile_id=np.array([f"{place.name}_{row}_{column}" for column in range(columns)]),
            lat=lat,
            lon=lon,
            crs=np.full(columns, place.grid.epsg, np.int32),
            transform=transform,
            time=np.full(columns, place.date, "datetime64[s]"),
            levels={
                name: np.full(columns, folder.modality.levels.index(str(folder.level)), np.int8)
                for name, folder in levels.items()
            },
            source_items=np.full(columns, json.dumps(self._sources(place), sort_keys=True)),
        )

    def _sources(self, place: Place) -> dict[str, Any]:
        items: dict[str, Any] = {}
        for name, file in place.files.items():
            item: dict[str, Any] = {"file": str(file.relative_to(self.root))}
            if place.subtract.get(name):
                item["offset_undone"] = place.subtract[name]
            items.setdefault(self.mapping.folders[name].modality.name, []).append(item)
        return items

    def _derived(self, coordinates: Coordinates) -> dict[str, Array]:
        names = {modality.name for modality in self.modalities}
        return {name: vector for name, vector in derived_vectors(coordinates).items() if name in names}


def survey_geotiffs(root: str | Path, mapping: GeoTiffMapping) -> GeoTiffTiles:
    """Open every file once, check it against the mapping, and decide about offsets. Writes nothing.

    Raises:
        StoreError: the folder, or a subfolder that the mapping names, is missing or empty.
        CorruptError: a file is no GeoTIFF, or is truncated.
        BandError: a file has another number of bands, or names them otherwise than the mapping.
        GridError: files of one place do not lie on one grid; places differ in pixel size; no place holds a tile.
        UnitError: numbers that cannot be in the unit that the mapping gives.
        ClassError: class codes that the modality does not define.
        RecipeError: a date is not one.
    """
    root = Path(root)
    files = {name: _list_files(root, name) for name in mapping.folders}
    names = sorted(files[mapping.reference])
    findings = Findings()
    findings.without_reference = sorted({place for found in files.values() for place in found} - set(names))
    for folder, found in files.items():
        if lacking := [place for place in names if place not in found]:
            findings.missing[folder] = lacking
    dates = place_dates(mapping, names, files)
    places = []
    for name in names:
        here = {folder: found[name] for folder, found in files.items() if name in found}
        grid = _common_grid(name, here, mapping)
        subtract = {
            folder: _survey_file(root, path, mapping.folders[folder].at(name), name, findings)
            for folder, path in here.items()
        }
        places.append(Place(name, grid, here, subtract, dates[name]))
        left_over = (grid.height % mapping.tile_size, grid.width % mapping.tile_size)
        if any(left_over):
            findings.remainders[name] = left_over
    tiles = GeoTiffTiles(root, mapping, tuple(places), findings, _pixel_size(places))
    if not len(tiles):
        raise GridError(
            f"no place is as large as a tile of {mapping.tile_size} px", where=str(root), hint="lower tile_size"
        )
    if findings.left:
        warnings.warn(
            f"these files look as if they carried the Sentinel-2 offset of {OFFSET}, and the mapping leaves it: "
            f"{', '.join(findings.left)}; set 'offset: auto'",
            stacklevel=2,
        )
    return tiles


def _list_files(root: Path, folder: str) -> dict[str, Path]:
    """Files of one subfolder by place."""
    if not (root / folder).is_dir():
        there = sorted(p.name for p in root.iterdir() if p.is_dir()) if root.is_dir() else []
        raise StoreError(
            f"has no subfolder {folder!r}",
            where=str(root),
            hint=f"there are {', '.join(there)}" if there else "check the path",
        )
    found: dict[str, Path] = {}
    for path in sorted((root / folder).iterdir()):
        if path.suffix.lower() in _ENDINGS:
            if path.stem in found:
                raise StoreError(f"{path.name} and {found[path.stem].name} are both place {path.stem!r}", where=folder)
            found[path.stem] = path
    if not found:
        raise StoreError("holds no .tif file", where=str(root / folder))
    return found


def _common_grid(name: str, files: Mapping[str, Path], mapping: GeoTiffMapping) -> Grid:
    """The grid of the reference file; that of all others must be the same."""
    with open_geotiff(files[mapping.reference]) as dataset:
        grid = grid_of(dataset)
    if grid.crs and grid.crs.is_geographic:
        raise GridError(
            f"CRS {grid.crs} is in degrees; tiles are square in metres",
            where=str(files[mapping.reference]),
            hint="reproject all files of the place to UTM (gdalwarp -t_srs EPSG:326xx)",
        )
    for folder, path in files.items():
        with open_geotiff(path) as dataset:
            if difference := grid_of(dataset).difference(grid):
                raise GridError(
                    f"is not on the grid of {files[mapping.reference]}: {difference}",
                    where=str(path),
                    hint="bring the files of a place onto one grid (gdalwarp -te -tr -t_srs); nothing is resampled",
                )
            check_bands(dataset, mapping.folders[folder].at(name))
    return grid


def _pixel_size(places: list[Place]) -> float:
    """The one pixel size of all places."""
    first = places[0]
    size = first.grid.pixel_steps[0]
    for place in places:
        if any(abs(step - size) > 1e-3 * size for step in place.grid.pixel_steps):
            width, height = place.grid.pixel_steps
            raise GridError(
                f"pixels of {width:g} x {height:g}, but {size:g} at place {first.name!r}",
                where=f"place {place.name!r}",
                hint="a store has one ground sampling distance, with square pixels: convert them apart",
            )
    return size


def _survey_file(root: Path, path: Path, folder: FolderMapping, place: str, findings: Findings) -> int:
    """Check one file's numbers; returns the offset to subtract."""
    with open_geotiff(path) as dataset:
        step = max(1, -(-max(dataset.height, dataset.width) // _SURVEY_PIXELS))
        numbers = read_bands(dataset, folder, shape=(-(-dataset.height // step), -(-dataset.width // step)))
        dtype = dataset.dtypes[0]
    if folder.modality.kind.is_categorical:
        check_codes(numbers, folder.modality, where=str(path))
        return 0
    observed = {name: n[np.isfinite(n)] for name, n in numbers.items()}
    bands = {band.name: band for band in folder.modality.bands}
    for name, n in observed.items():
        check_plausible(n, bands[name], folder.units[name], dtype=dtype, where=str(path))
    decided = folder.offset.of(place)
    if folder.level not in LEVELS or any(band.unit != REFLECTANCE for band in bands.values()):
        return decided or 0
    stored = {name: to_unit(n, folder.units[name], REFLECTANCE) for name, n in observed.items()}
    return _decide_offset(str(path.relative_to(root)), judge_offset(stored, folder.level), decided, findings)


def _decide_offset(file: str, verdict: Verdict, decided: int | None, findings: Findings) -> int:
    subtract = decided if decided is not None else OFFSET * (verdict is Verdict.OFFSET)
    if subtract:
        findings.undone[file] = subtract
        if verdict is Verdict.NONE:
            findings.doubtful.append(file)
    elif verdict is Verdict.OFFSET:
        findings.left.append(file)
    elif verdict is Verdict.UNDECIDED and decided is None:
        findings.undecided.append(file)
    return subtract

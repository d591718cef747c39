"""A folder of NetCDF cubes with a time dimension -> tiles with series, as ``cube_mapping`` says what they hold.

The first cube of a place gives the grid, at the mapping's ground sampling distance. Other cubes of the place are
brought onto it by taking, for each pixel, the number of the cube's pixel that holds its centre: nothing is blended, so
that what is stored is what the files hold. A day has one image: the first, where a file has several.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.cube_file import Cube, CubeGrid, open_cube
from geopretext.data.cube_mapping import ClearRule, CubeLayer, CubeMapping
from geopretext.data.date_spread import spread_days
from geopretext.data.derived import derived_vectors
from geopretext.data.findings import Findings
from geopretext.data.offset import LEVELS, OFFSET, Verdict, judge_offset
from geopretext.data.tiles import Array, Coordinates, TileBatch
from geopretext.data.units import REFLECTANCE, check_plausible, to_unit
from geopretext.errors import GridError, StoreError
from geopretext.modality import PUBLISHED, Modality

_NO_DAY = np.datetime64("NaT", "D")


@dataclass(frozen=True)
class CubePlace:
    """The files of one place, and the grid of its tiles."""

    name: str
    files: Mapping[str, Path]
    """by cube"""
    crs: int
    """EPSG code"""
    left: float
    top: float
    columns: int
    """tiles beside each other"""
    rows: int
    """tiles above each other"""

    def __len__(self) -> int:
        return self.columns * self.rows


class CubeTiles:
    """Tiles of a folder of cubes; ``survey_cubes`` makes it.

    Args:
        root: the folder.
        mapping: what the files hold.
        places: in the order of the store.
        findings: of the survey; reading adds what offsets look like.
    """

    def __init__(self, root: Path, mapping: CubeMapping, places: tuple[CubePlace, ...], findings: Findings) -> None:
        self.root = root
        self.mapping = mapping
        self.places = places
        self.findings = findings

    def __len__(self) -> int:
        return sum(map(len, self.places))

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Those of the mapping, and lat, lon and month."""
        return (*self.mapping.modalities, *(PUBLISHED[name] for name in ("lat", "lon", "month")))

    @property
    def dates(self) -> dict[str, int]:
        """Of each series, how many images a tile has at most."""
        return {m.name: self.mapping.max_dates for m in self.mapping.modalities if m.kind.is_series}

    @cached_property
    def recipe(self) -> dict[str, Any]:
        """What the tiles are made of: plain types, equal for equal sources and mappings."""
        return {
            "source": "NetCDF cubes",
            "folder": self.root.name,
            "mapping": json.loads(json.dumps(dict(self.mapping.plain), default=str)),
            "places": {place.name: [place.crs, place.left, place.top, len(place)] for place in self.places},
        }

    def place_numbers(self) -> npt.NDArray[np.int64]:
        """For each tile the position of its place in ``places``."""
        return np.repeat(np.arange(len(self.places)), [len(place) for place in self.places])

    def batches(self, skip: int = 0) -> Iterator[TileBatch]:
        """The tiles in order of place, row and column, one at a time, without the first ``skip``.

        Raises:
            CorruptError: a file cannot be read to its end.
            UnitError: numbers cannot be in the unit that the mapping gives.
            ClassError: a map has class codes that its modality does not define.
        """
        number = 0
        for place in self.places:
            for tile in range(len(place)):
                if number >= skip:
                    yield self._tile(place, *divmod(tile, place.columns))
                number += 1

    def _tile(self, place: CubePlace, row: int, column: int) -> TileBatch:
        size, step = self.mapping.tile_size, self.mapping.ground_sampling_distance
        left, top = place.left + column * size * step, place.top - row * size * step
        x, y = (start + sign * step * (np.arange(size) + 0.5) for start, sign in ((left, 1), (top, -1)))
        items: dict[str, Any] = {}
        arrays: dict[str, Array] = {}
        series: dict[str, Array] = {}
        with _Cubes(place.files) as cubes:
            for modality in self.mapping.modalities:
                layers = {name: cubes[name] for name in self.mapping.layers(modality.name) if name in cubes}
                if not layers:
                    continue
                items[modality.name] = [{"file": str(place.files[name].relative_to(self.root))} for name in layers]
                if modality.kind.is_series:
                    reading = _SeriesReading(self.mapping, modality, cubes, x=x, y=y)
                    days, arrays[modality.name], facts = reading.read()
                    series[modality.name] = days[None]
                    items[modality.name].append(facts)
                    self._judge(f"{place.name}, {modality.name}", modality, arrays[modality.name])
                    arrays[modality.name] = arrays[modality.name][None]
                else:
                    arrays[modality.name] = self._map(modality, layers, x=x, y=y)[None]
            lat, lon = next(iter(cubes.values())).to_degrees(x=float(x.mean()), y=float(y.mean()))
        coordinates = Coordinates(
            tile_id=np.array([f"{place.name}_{row}_{column}"]),
            lat=np.array([lat]),
            lon=np.array([lon]),
            crs=np.array([place.crs], np.int32),
            transform=np.array([[step, 0, left, 0, -step, top]], np.float64),
            time=np.array([_middle(series)], "datetime64[s]"),
            levels=self._levels(arrays),
            source_items=np.array([json.dumps(items, sort_keys=True)]),
            series=series,
        )
        vectors = {name: values for name, values in derived_vectors(coordinates).items() if name in PUBLISHED}
        return TileBatch(coordinates, arrays | vectors)

    def _levels(self, arrays: Mapping[str, Array]) -> dict[str, npt.NDArray[np.int8]]:
        levels = {}
        for modality in self.mapping.modalities:
            if modality.levels:
                (level,) = {layer.level for layer in self.mapping.layers(modality.name).values()}
                number = modality.levels.index(level) if modality.name in arrays else -1
                levels[modality.name] = np.array([number], np.int8)
        return levels

    def _map(self, modality: Modality, cubes: Mapping[str, Cube], *, x: Array, y: Array) -> Array:
        """Stored numbers of a map, (C, H, W): of variables without time, or the same at all times."""
        out = np.full((len(modality.bands), len(y), len(x)), modality.fill, modality.dtype)
        for name, cube in cubes.items():
            layer = self.mapping.cubes[name]
            for band, variable in layer.bands.items():
                (position,) = modality.band_indices((band,))
                numbers, valid = cube.read(variable, None, layer, x=x, y=y)
                out[position] = _stored(modality, position, numbers, valid, layer, cube.where)
        return out

    def _judge(self, name: str, modality: Modality, images: Array) -> None:
        """Note if numbers of Sentinel-2 look as if the offset had been treated wrongly; they stay as they are."""
        layers = list(self.mapping.layers(modality.name).values())
        if layers[0].level not in LEVELS or not layers[0].offset:
            return
        said = {layer.offset_from for layer in layers}
        observed = {
            band.name: images[:, k][images[:, k] > 0]
            for k, band in enumerate(modality.bands)
            if band.unit == REFLECTANCE
        }
        if said == {None} and judge_offset(observed, layers[0].level) is Verdict.OFFSET:
            self.findings.left.append(name)


class _SeriesReading:
    """The images of one series at one tile.

    Args:
        mapping: what the cubes hold.
        modality: the series.
        cubes: of the place, by name.
        x: (W,) centres of the tile's pixels, in the CRS.
        y: (H,) likewise.
    """

    def __init__(
        self, mapping: CubeMapping, modality: Modality, cubes: Mapping[str, Cube], *, x: Array, y: Array
    ) -> None:
        self._modality = modality
        self._most = mapping.max_dates
        self._layers: dict[str, CubeLayer] = {
            name: layer for name, layer in mapping.layers(modality.name).items() if name in cubes
        }
        self._cubes = cubes
        self._rule: ClearRule | None = mapping.clear.get(modality.name)
        self._x, self._y = x, y

    def read(self) -> tuple[npt.NDArray[np.datetime64], Array, dict[str, Any]]:
        """Days (T,), padded by NaT, stored numbers (T, C, H, W), and what the store records."""
        days = np.unique(np.concatenate([self._cubes[name].days for name in self._layers]))
        clear, share = self._clear(days)
        images = self._images(days, clear)
        there = self._modality.decode(images[None])[1][0].any(axis=1).mean(axis=(1, 2)) > 0
        limit = self._rule.min_clear if self._rule and share is not None else 0.0
        good = there & (share >= limit if share is not None else True)
        kept = np.flatnonzero(good)[spread_days(days[good], self._most)]
        shape = (self._most, *images.shape[1:])
        padded = np.full(shape, self._modality.fill, self._modality.dtype)
        padded[: len(kept)] = images[kept]
        facts: dict[str, Any] = {"images": len(days), "clear": int(good.sum())}
        if self._rule and share is None:
            facts["mask"] = "missing"
        return np.concatenate([days[kept], np.full(self._most - len(kept), _NO_DAY)]), padded, facts

    def _clear(
        self, days: npt.NDArray[np.datetime64]
    ) -> tuple[npt.NDArray[np.bool_] | None, npt.NDArray[np.float64] | None]:
        """Where each day is clear, (D, H, W), and the shares of that; None if nothing tells."""
        if self._rule is None or self._rule.cube not in self._cubes:
            return None, None
        cube = self._cubes[self._rule.cube]
        codes, _ = cube.read(self._rule.variable, days, CubeLayer(scale="ignore"), x=self._x, y=self._y)
        clear = np.isin(codes, self._rule.classes)
        return clear, clear.mean(axis=(1, 2))

    def _images(self, days: npt.NDArray[np.datetime64], clear: npt.NDArray[np.bool_] | None) -> Array:
        modality = self._modality
        shape = (len(days), len(modality.bands), len(self._y), len(self._x))
        out = np.full(shape, modality.fill, modality.dtype)
        for name, layer in self._layers.items():
            cube = self._cubes[name]
            carries = days >= layer.offset_from if layer.offset_from is not None else np.zeros(len(days), np.bool_)
            subtract = np.where(carries, float(OFFSET), 0.0)
            for band, variable in layer.bands.items():
                (position,) = modality.band_indices((band,))
                numbers, valid = cube.read(variable, days, layer, x=self._x, y=self._y)
                if clear is not None and self._rule is not None and self._rule.hide:
                    valid &= clear
                out[:, position] = _stored(
                    modality, position, numbers, valid, layer, cube.where, subtract=subtract[:, None, None]
                )
        return out


def _stored(
    modality: Modality,
    position: int,
    numbers: npt.NDArray[np.float64],
    valid: npt.NDArray[np.bool_],
    layer: CubeLayer,
    where: str,
    *,
    subtract: npt.NDArray[np.float64] | None = None,
) -> Array:
    """Numbers of a band as the store holds them: in its unit, rounded for integers, what is missing by its number."""
    band = modality.bands[position]
    if not modality.kind.is_categorical:
        unit = layer.unit or band.unit
        check_plausible(numbers[valid], band, unit, dtype="float64", where=where)
        numbers = to_unit(numbers, unit, band.unit) - (0 if subtract is None else subtract)
        if band.unit == REFLECTANCE:
            # 0 means missing; a dark pixel whose reflectance comes out at or below 0 was observed nevertheless
            numbers = np.maximum(numbers, 1)
    if modality.dtype == "float32":
        return np.where(valid, numbers, np.nan).astype(np.float32)
    limits = np.iinfo(modality.dtype)
    whole = np.clip(np.rint(np.where(valid, numbers, 0)), limits.min, limits.max)
    return np.where(valid, whole, modality.fill).astype(modality.dtype)


def _middle(series: Mapping[str, Array]) -> np.datetime64:
    """The tile's reference date: the middle one of the images of the first series that has any."""
    for days in series.values():
        there = days[~np.isnat(days)]
        if len(there):
            middle: np.datetime64 = there[len(there) // 2]
            return middle
    return _NO_DAY


class _Cubes:
    """Cubes that are open for a while, by name; several may be in one file."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self._files = files

    def __enter__(self) -> dict[str, Cube]:
        self._open = {path: open_cube(path) for path in set(self._files.values())}
        return {name: self._open[path] for name, path in self._files.items()}

    def __exit__(self, *_: object) -> None:
        for cube in self._open.values():
            cube.close()


def survey_cubes(root: str | Path, mapping: CubeMapping) -> CubeTiles:
    """Find the files of each place, and the grid of its tiles. Writes nothing.

    Raises:
        StoreError: no file fits a pattern of the mapping, or a place has two that do.
        CorruptError: a file is no NetCDF cube.
        GridError: a cube has no regular grid or no CRS, or no place holds a tile.
        BandError: a variable is not there.
    """
    root, findings = Path(root), Findings()
    found: dict[Path, list[str]] = {}
    for name, layer in mapping.cubes.items():
        paths = sorted(root.glob(layer.files))
        if not paths:
            raise StoreError(f"no file fits {layer.files!r}", where=f"{root}, cube {name}", hint="correct 'files'")
        for path in paths:
            found.setdefault(path, []).append(name)
    files: dict[str, dict[str, Path]] = {}
    grids: dict[Path, CubeGrid] = {}
    for path, names in found.items():
        with _Cubes({"": path}) as cubes:
            cubes[""].check(variable for name in names for variable in mapping.cubes[name].bands.values())
            there, grids[path] = files.setdefault(cubes[""].place(mapping.place), {}), cubes[""].grid
        for name in names:
            if name in there:
                raise StoreError(
                    f"{path.name} and {there[name].name} are both of one place", where=f"{root}, cube {name}"
                )
            there[name] = path
    for name in mapping.cubes:
        lacking = [place for place in sorted(files) if name not in files[place]]
        if lacking:
            findings.missing[name] = lacking
    places = []
    for place in sorted(files):
        here = {name: files[place][name] for name in mapping.cubes if name in files[place]}
        places.append(_place(place, here, grids, mapping, findings))
    tiles = CubeTiles(root, mapping, tuple(place for place in places if len(place)), findings)
    if not len(tiles):
        raise GridError(
            f"no place is as large as a tile of {mapping.tile_size} px", where=str(root), hint="lower tile_size"
        )
    return tiles


def _place(
    name: str, files: Mapping[str, Path], grids: Mapping[Path, CubeGrid], mapping: CubeMapping, findings: Findings
) -> CubePlace:
    size, step = mapping.tile_size, mapping.ground_sampling_distance
    first = grids[next(iter(files.values()))]
    for path in files.values():
        if grids[path].crs != first.crs:
            raise GridError(f"is in EPSG:{grids[path].crs}, other files of {name} in EPSG:{first.crs}", where=str(path))
    width, height = (round(extent / step) for extent in (first.right - first.left, first.top - first.bottom))
    if (height % size, width % size) != (0, 0):
        findings.remainders[name] = (height % size, width % size)
    return CubePlace(name, files, first.crs, first.left, first.top, width // size, height // size)

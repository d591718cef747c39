"""Official MMEarth directories, read in place: one ``.h5`` and its ``_splits``, ``_tile_info``, ``_band_stats`` JSON.

Layout: HDF5 datasets of n tiles by the published names, and ``metadata`` with (tile_id, S2_type) of each; facts from
github.com/vishalned/MMEarth-data (Nedungadi et al., arXiv 2405.02771). Any subset of the modalities may be there, at 64
or 128 px or any other size.

What the numbers mean here, where the published reader and the published files disagree:

======================= ===============================================================================================
dataset                 meaning
======================= ===============================================================================================
``sentinel2``           0 is missing (all of B10 at level L2A, tiles cut by the edge of a scene); never data
``sentinel1``           -inf is missing: an orbit or polarisation that does not exist at the place
``aster``               int16; its minimum is missing (a missing float, -inf, saturates to it). 0 m is sea level
``canopy_height_eth``   int8, in which the published no-data number 255 became 127 by saturation or -1 by wrapping, and
                        -inf became -128: 127 and everything negative is missing
``dynamic_world``       1 to 9 are classes, all else is missing
``esa_worldcover``      0 (unmapped) and 255 are missing, both before any renumbering; 10 is tree cover
``biome, eco_region``   one-hot; no 1 at all is missing. So are all ones: the published writer fills them for a null
                        label. Anything between is an error
``sentinel2_scl`` ...   255, and 65535 in the two cloud datasets, are missing (all of them at level L1C)
======================= ===============================================================================================

The level (L1C or L2A) of a tile is its ``S2_type``. ``_band_stats.json`` must be there but is not used: it was computed
with the no-data numbers above counted as data; ``statistics`` is None, and those who need them compute them anew.
"""

import json
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.data.statistics import Statistics
from geopretext.data.tiles import SPLITS, Coordinates
from geopretext.errors import CorruptError, GridError, InputError, MissingLibraryError, StoreError
from geopretext.modality import GROUND_SAMPLING_DISTANCE, MMEARTH, Kind, Modality, find_modality

try:
    import h5py
except ImportError as error:
    raise MissingLibraryError("h5py", extra="benchmarks", purpose="read official MMEarth files") from error

Array = npt.NDArray[Any]

_JSON = ("splits", "tile_info", "band_stats")
_DOWNLOAD = "download the directory again: https://github.com/vishalned/MMEarth-data"
_DTYPES = {
    "canopy_height_eth": ("int8", "uint8"),
    "biome": ("uint8",),
    "eco_region": ("uint16",),
}


class MMEarthReader:
    """An official MMEarth directory as a ``TileReader``; arrays come in this package's dtypes and codes.

    Reads are safe from any thread and after a fork; it can be pickled (it reopens by path).

    Args:
        path: the directory, or the HDF5 in it.

    Raises:
        StoreError: a file is missing (the message names it), or the files contradict each other.
        CorruptError: the HDF5 is truncated or a JSON is not JSON.
        GridError: map modalities differ in size.
    """

    def __init__(self, path: str | Path) -> None:
        path = Path(path)
        self._root = path.parent if path.suffix == ".h5" else path
        self._h5 = _single(self._root, "*.h5", ".h5")
        self._json = {kind: _single(self._root, f"*_{kind}.json", f"_{kind}.json") for kind in _JSON}
        self._lock = threading.Lock()
        self._opened: tuple[int, Any] | None = None
        file = self._file()
        if "metadata" not in file:
            raise StoreError("has no dataset 'metadata'", where=str(self._h5), hint=_DOWNLOAD)
        metadata = self._load("metadata", slice(None))
        self._tile_size = 0
        self._modalities = self._find_modalities(file, len(metadata))
        self._coordinates = self._read_coordinates(metadata)

    def __reduce__(self) -> tuple[Any, ...]:
        return (MMEarthReader, (self.path,))

    @property
    def path(self) -> str:
        """The directory."""
        return str(self._root)

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """Those of the published modalities that the HDF5 holds, by name, in published order."""
        return self._modalities

    @property
    def tile_size(self) -> int:
        """Height and width of a tile in pixels."""
        return self._tile_size

    @property
    def ground_sampling_distance(self) -> float:
        """Metres a pixel: 10, as everywhere in MMEarth."""
        return GROUND_SAMPLING_DISTANCE

    @property
    def coordinates(self) -> Coordinates:
        """Of all tiles. The transform is NaN: the files say which CRS, but not where in it."""
        return self._coordinates

    @property
    def statistics(self) -> Statistics | None:
        """None: the published ones count missing numbers as data."""
        return None

    def __len__(self) -> int:
        return len(self._coordinates)

    def read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Stored numbers of some modalities at some tiles, in the order asked for.

        Raises:
            InputError: no such modality, or a tile number out of range.
            CorruptError: the HDF5 is damaged there, or a label is neither one-hot nor missing.
        """
        tiles = np.asarray(tiles, np.int64)
        if tiles.size and not (tiles.min() >= 0 and tiles.max() < len(self)):
            raise InputError(f"no tile {tiles[(tiles < 0) | (tiles >= len(self))][0]} of {len(self)}", where=self.path)
        wanted = [find_modality(name, self._modalities) for name in names]
        unique, back = np.unique(tiles, return_inverse=True)
        return {modality.name: self._read_modality(modality, unique)[back] for modality in wanted}

    def fingerprint(self, samples: npt.NDArray[np.int64]) -> str:
        """Sign of the content of some tiles, in their order: from path, size and date of the files.

        The files have hundreds of gigabytes and are published once: one that is changed in place and given its old date
        is not noticed.
        """
        files = [self._h5, *self._json.values()]
        seen = [f"{file.resolve()} {file.stat().st_size} {file.stat().st_mtime_ns}" for file in files]
        return joined_fingerprint([*seen, np.asarray(samples, "<i8").tobytes().hex()])

    def _read_modality(self, modality: Modality, tiles: npt.NDArray[np.int64]) -> Array:
        """Of sorted, distinct tiles; neighbours are read at once."""
        name = _official(modality)
        runs = np.split(tiles, np.flatnonzero(np.diff(tiles) > 1) + 1) if tiles.size else []
        parts = [self._load(name, slice(int(run[0]), int(run[-1]) + 1)) for run in runs]
        if not parts:
            shape = (len(modality.bands), *((self._tile_size,) * 2 if modality.kind.is_map else ()))
            return np.empty((0, *shape), modality.dtype)
        raw = np.concatenate(parts)
        if name in _MEANING:
            raw = _MEANING[name](raw)
        elif modality.kind is Kind.CATEGORICAL_VECTOR:
            raw = _from_one_hot(raw, where=f"{self._h5}: {name}", tile_ids=self._coordinates.tile_id[tiles])
        return raw.astype(modality.dtype, copy=False)

    def _file(self) -> Any:
        """The open HDF5 of this process."""
        if self._opened is None or self._opened[0] != os.getpid():
            try:
                self._opened = (os.getpid(), h5py.File(self._h5, "r"))
            except OSError as error:
                raise CorruptError(f"cannot be opened: {error}", where=str(self._h5), hint=_DOWNLOAD) from error
        return self._opened[1]

    def _load(self, name: str, tiles: slice) -> Array:
        try:
            with self._lock:
                return np.asarray(self._file()[name][tiles])
        except (OSError, RuntimeError) as error:
            raise CorruptError(
                f"dataset {name!r} cannot be read: {error}", where=str(self._h5), hint=_DOWNLOAD
            ) from error

    def _find_modalities(self, file: Any, count: int) -> dict[str, Modality]:
        there: dict[str, Modality] = {}
        sizes: dict[str, tuple[int, ...]] = {}
        for modality in MMEARTH.values():
            name = _official(modality)
            if name not in file:
                continue
            dataset = file[name]
            where = f"{self._h5}: {name}"
            dtypes = _DTYPES.get(name, (modality.dtype,))
            if str(dataset.dtype) not in dtypes:
                raise StoreError(f"is {dataset.dtype}, not {' or '.join(dtypes)}", where=where, hint=_DOWNLOAD)
            columns = len(modality.classes) if modality.kind is Kind.CATEGORICAL_VECTOR else len(modality.bands)
            if dataset.ndim != (4 if modality.kind.is_map else 2) or dataset.shape[1] != columns:
                raise StoreError(
                    f"has shape {dataset.shape}, wanted (tiles, {columns}, ...)", where=where, hint=_DOWNLOAD
                )
            if len(dataset) != count:
                raise StoreError(f"has {len(dataset)} tiles, 'metadata' has {count}", where=where, hint=_DOWNLOAD)
            if modality.kind.is_map:
                sizes[name] = dataset.shape[2:]
            there[modality.name] = modality
        if not sizes:
            maps = [_official(modality) for modality in MMEARTH.values() if modality.kind.is_map]
            raise StoreError(f"holds no map: none of {', '.join(maps)}", where=str(self._h5))
        if len({side for size in sizes.values() for side in size}) > 1:
            text = ", ".join(f"{name} {height} x {width}" for name, (height, width) in sizes.items())
            raise GridError(f"modalities differ in size: {text}", where=str(self._h5))
        self._tile_size = next(iter(sizes.values()))[0]
        return there

    def _read_coordinates(self, metadata: Array) -> Coordinates:
        tile_id = np.char.decode(metadata["tile_id"], "utf-8")
        info_path = self._json["tile_info"]
        info = _load_json(info_path)
        lacking = [name for name in tile_id.tolist() if name not in info]
        if lacking:
            raise StoreError(
                f"lacks {len(lacking)} of {len(tile_id)} tiles of the HDF5, such as {lacking[0]!r}",
                where=str(info_path),
            )
        tiles = [info[name] for name in tile_id.tolist()]
        types = np.array([text.lower() for text in self._column(tiles, "S2_type")])
        if "S2_type" in (metadata.dtype.names or ()):
            stated = np.char.lower(np.char.decode(metadata["S2_type"], "utf-8"))
            if (stated != types).any():
                tile = int(np.flatnonzero(stated != types)[0])
                raise StoreError(
                    f"tile {str(tile_id[tile])!r} is {types[tile]}, but {stated[tile]} in the HDF5",
                    where=str(info_path),
                )
        return Coordinates(
            tile_id=tile_id,
            lat=np.array(self._column(tiles, "lat"), np.float64),
            lon=np.array(self._column(tiles, "lon"), np.float64),
            crs=np.array([_epsg(text) for text in (tile.get("CRS") for tile in tiles)], np.int32),
            transform=np.full((len(tiles), 6), np.nan),
            time=np.array([_date(tile.get("S2_DATE"), str(info_path)) for tile in tiles], "datetime64[s]"),
            levels={"sentinel2": self._levels(types)} if "sentinel2" in self._modalities else {},
            biome=np.array([_label(tile.get("biome")) for tile in tiles], np.int16),
            ecoregion=np.array([_label(tile.get("eco_region")) for tile in tiles], np.int16),
            split=self._splits(len(tiles)),
        )

    def _column(self, tiles: Sequence[Mapping[str, Any]], key: str) -> list[Any]:
        try:
            return [tile[key] for tile in tiles]
        except KeyError as error:
            raise StoreError(f"a tile lacks {key!r}", where=str(self._json["tile_info"]), hint=_DOWNLOAD) from error

    def _levels(self, types: Array) -> npt.NDArray[np.int8]:
        known = [level.lower() for level in MMEARTH["sentinel2"].levels]
        strange = sorted(set(types.tolist()) - set(known))
        if strange:
            raise StoreError(f"S2_type {strange[0]!r} is none of {known}", where=str(self._json["tile_info"]))
        return np.array([known.index(kind) for kind in types.tolist()], np.int8)

    def _splits(self, count: int) -> npt.NDArray[np.int8]:
        path = self._json["splits"]
        content = _load_json(path)
        split = np.full(count, -1, np.int8)
        for code, name in enumerate(SPLITS):
            tiles = np.array(content.get(name, []))
            if tiles.size and tiles.dtype.kind != "i":
                raise StoreError(f"split {name!r} holds {tiles.flat[0]!r}, not tile numbers", where=str(path))
            tiles = tiles.astype(np.int64)
            strange = tiles[(tiles < 0) | (tiles >= count)]
            if strange.size:
                raise StoreError(
                    f"split {name!r} has tile {strange[0]}; the HDF5 has 0 to {count - 1}", where=str(path)
                )
            if (split[tiles] >= 0).any():
                twice = tiles[split[tiles] >= 0][0]
                raise StoreError(f"tile {twice} is in {SPLITS[split[twice]]!r} and in {name!r}", where=str(path))
            split[tiles] = code
        return split


def _official(modality: Modality) -> str:
    return modality.official_name or modality.name


def _canopy(raw: Array) -> Array:
    return raw if raw.dtype == np.uint8 else np.where((raw < 0) | (raw == 127), 255, raw).astype(np.uint8)


_MEANING: dict[str, Callable[[Array], Array]] = {
    "canopy_height_eth": _canopy,
    "dynamic_world": lambda raw: np.where(raw <= 9, raw, 0),
}
"""What the numbers of a dataset mean in the catalogue's codes, where they differ."""


def _from_one_hot(raw: Array, *, where: str, tile_ids: Array) -> Array:
    """(n, classes) of 0 and 1 -> (n, 1) class numbers, -1 if missing."""
    ones = (raw != 0).sum(axis=1)
    missing = (ones == 0) | (ones == raw.shape[1])
    strange = ~missing & (ones != 1)
    if strange.any():
        tile = int(np.flatnonzero(strange)[0])
        raise CorruptError(
            f"tile {str(tile_ids[tile])!r} has {ones[tile]} classes, wanted one", where=where, hint=_DOWNLOAD
        )
    return np.where(missing, -1, raw.argmax(axis=1))[:, None]


def _single(root: Path, pattern: str, ending: str) -> Path:
    found = sorted(root.glob(pattern))
    if len(found) != 1:
        what = (
            f"has no *{ending}"
            if not found
            else f"has {len(found)} files *{ending}: {', '.join(p.name for p in found)}"
        )
        raise StoreError(
            what,
            where=str(root),
            hint="an official MMEarth directory holds one .h5, _splits.json, _tile_info.json, _band_stats.json",
        )
    return found[0]


def _load_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise CorruptError(f"cannot be read: {error}", where=str(path), hint=_DOWNLOAD) from error
    if not isinstance(content, dict):
        raise CorruptError("is not a JSON object", where=str(path), hint=_DOWNLOAD)
    return content


def _epsg(text: str | None) -> int:
    """``EPSG:32632`` -> 32632; 0 if unknown."""
    code = (text or "").upper().removeprefix("EPSG:")
    return int(code) if code.isdecimal() else 0


def _date(text: str | None, where: str) -> np.datetime64:
    try:
        return np.datetime64(text or "NaT", "s")
    except ValueError as error:
        raise StoreError(f"S2_DATE {text!r} is not a date", where=where) from error


def _label(value: int | None) -> int:
    return -1 if value is None else int(value)

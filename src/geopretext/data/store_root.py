"""The root of a store: its ``zarr.json``, whose replacement commits whatever was written before it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

from geopretext.data.files import Files
from geopretext.data.zarr_format import (
    FORMAT,
    FORMAT_VERSION,
    MAX_MODALITIES,
    ROOT,
    ArrayFormat,
    array_name,
    band_format,
    coordinate_formats,
    dates_format,
    ledger_key,
    map_format,
    series_format,
    to_json,
    vector_format,
)
from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.modality import Modality

_SHARD_SIZE = 256
_SHARD_BYTES = 1 << 29


@dataclass(frozen=True)
class StoreRoot:
    """What a store is and how far it goes; everything else on disk follows from it.

    Raises:
        InputError: sizes are not positive, modalities are none, too many or of the same array name, or series and
            their numbers of dates do not match.
    """

    modalities: Mapping[str, Modality]
    """by name, in order"""
    tile_size: int
    """height and width of a tile in pixels"""
    shard_size: int
    """tiles in one file of a map modality"""
    ground_sampling_distance: float = 10.0
    """metres a pixel"""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """how the store was made: plain types"""
    dates: Mapping[str, int] = field(default_factory=dict)
    """of each series how many dates a tile has at most"""
    tiles: int = 0
    """how many tiles are committed"""
    shards: tuple[str, ...] = ()
    """checksum of the ledger of each committed shard"""

    def __post_init__(self) -> None:
        if self.tile_size < 1 or self.shard_size < 1:
            raise InputError(f"tile_size {self.tile_size} and shard_size {self.shard_size} must be positive")
        if not 1 <= len(self.modalities) <= MAX_MODALITIES:
            raise InputError(f"a store holds 1 to {MAX_MODALITIES} modalities, not {len(self.modalities)}")
        series = {name for name, modality in self.modalities.items() if modality.kind.is_series}
        if set(self.dates) != series or any(count < 1 for count in self.dates.values()):
            raise InputError(
                f"dates are {dict(self.dates)} for the series {', '.join(sorted(series)) or '(none)'}",
                hint="say of each series how many dates a tile has at most, for example dates={'sentinel2_series': 24}",
            )
        names = [f.name for f in (*self.modality_formats.values(), *self.band_formats, *self.coordinates.values())]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise InputError(f"array names clash: {', '.join(twice)}", hint="rename a modality")

    @cached_property
    def modality_formats(self) -> Mapping[str, ArrayFormat]:
        """The array of each modality, by the modality's name."""
        return {name: self._format(modality) for name, modality in self.modalities.items()}

    def _format(self, modality: Modality) -> ArrayFormat:
        size, shard = self.tile_size, self.shard_size
        if modality.kind.is_series:
            return series_format(modality, dates=self.dates[modality.name], tile_size=size, shard_size=shard)
        if modality.kind.is_map:
            return map_format(modality, tile_size=size, shard_size=shard)
        return vector_format(modality, shard_size=shard)

    @cached_property
    def coordinates(self) -> Mapping[str, ArrayFormat]:
        """The coordinate arrays over tiles, by name."""
        formats = coordinate_formats(self.modalities.values(), shard_size=self.shard_size)
        series = [
            dates_format(self.modalities[name], dates=count, shard_size=self.shard_size)
            for name, count in self.dates.items()
        ]
        return {**formats, **{each.name: each for each in series}}

    @cached_property
    def band_formats(self) -> tuple[ArrayFormat, ...]:
        """The arrays of band names, one a modality."""
        return tuple(band_format(modality) for modality in self.modalities.values())

    @property
    def ledgers(self) -> tuple[str, ...]:
        """The key of the ledger of each committed shard."""
        return tuple(
            ledger_key(shard, min(self.shard_size, self.tiles - shard * self.shard_size))
            for shard in range(len(self.shards))
        )

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of the Zarr group."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "tile_size": self.tile_size,
            "ground_sampling_distance": self.ground_sampling_distance,
            "shard_size": self.shard_size,
            "modalities": {name: array_name(modality) for name, modality in self.modalities.items()},
            **({"dates": dict(self.dates)} if self.dates else {}),
            "recipe": dict(self.recipe),
            "recipe_hash": sha256(json.dumps(self.recipe, sort_keys=True, default=str).encode()).hexdigest(),
            "tiles": self.tiles,
            "shards": list(self.shards),
            "coordinates": " ".join(self.coordinates),
        }

    def array_metadata(self) -> dict[str, dict[str, Any]]:
        """The ``zarr.json`` of each array, by array name."""
        over_tiles = {
            f.name: f.metadata(self.tiles) for f in (*self.modality_formats.values(), *self.coordinates.values())
        }
        return {**over_tiles, **{f.name: f.metadata(f.tiles_per_file) for f in self.band_formats}}

    def to_bytes(self) -> bytes:
        """The group's ``zarr.json`` with the metadata of all arrays inline, as ``xarray.open_zarr`` reads it.

        Raises:
            InputError: the recipe is not made of plain types.
        """
        return to_json(
            {
                "zarr_format": 3,
                "node_type": "group",
                "attributes": self.attributes,
                "consolidated_metadata": {
                    "kind": "inline",
                    "must_understand": False,
                    "metadata": self.array_metadata(),
                },
            }
        )


def default_shard_size(modalities: Mapping[str, Modality], tile_size: int, dates: Mapping[str, int]) -> int:
    """Tiles of a shard unless someone says otherwise: 256, or with series the largest power of two of at most 512 MiB.

    A writer holds a shard in memory, and 256 tiles of 64 px with a year of Sentinel-2 are 1.8 GB.
    """
    size = _SHARD_SIZE
    images = sum(
        dates[name] * len(modality.bands) * np.dtype(modality.dtype).itemsize
        for name, modality in modalities.items()
        if name in dates
    )
    while size > 1 and size * images * tile_size**2 > _SHARD_BYTES:
        size //= 2
    return size


def is_store(path: str | Path) -> bool:
    """Whether there is a store, sound or not, at a folder or URL.

    Raises:
        StoreError: the storage cannot be reached.
    """
    return Files(path).read(ROOT) is not None


def read_root(files: Files) -> StoreRoot:
    """Read and check the root of the store at ``files``.

    Raises:
        StoreError: there is no store, it is something else, or of a later version.
        CorruptError: its ``zarr.json`` is damaged.
    """
    data = files.read(ROOT)
    where = files.where(ROOT)
    if data is None:
        files.refuse_missing_bucket()
        raise StoreError(
            "there is no tile store here", where=files.path, hint="`geopretext convert` or `geopretext demo` makes one"
        )
    restore = "restore it from a copy; shards are untouched"
    try:
        document = json.loads(data)
        attributes = document["attributes"]
    except (ValueError, KeyError, TypeError) as error:
        raise CorruptError(f"is not a Zarr group: {error}", where=where, hint=restore) from error
    if attributes.get("format") != FORMAT:
        raise StoreError("is a Zarr group, but no tile store of geopretext", where=files.path, hint="convert it")
    if attributes.get("format_version") != FORMAT_VERSION:
        raise StoreError(
            f"has format version {attributes.get('format_version')}; this geopretext reads {FORMAT_VERSION}",
            where=files.path,
            hint="pip install --upgrade geopretext",
        )
    try:
        arrays = document["consolidated_metadata"]["metadata"]
        root = StoreRoot(
            modalities={
                name: Modality.from_dict(arrays[array]["attributes"]["modality"])
                for name, array in attributes["modalities"].items()
            },
            tile_size=attributes["tile_size"],
            shard_size=attributes["shard_size"],
            ground_sampling_distance=attributes["ground_sampling_distance"],
            recipe=attributes["recipe"],
            dates=attributes.get("dates", {}),
            tiles=attributes["tiles"],
            shards=tuple(attributes["shards"]),
        )
    except (KeyError, TypeError, AttributeError, InputError) as error:
        raise CorruptError(f"contradicts itself: {error}", where=where, hint=restore) from error
    if len(root.shards) != -(-root.tiles // root.shard_size) or arrays != root.array_metadata():
        raise CorruptError("array metadata do not fit the attributes", where=where, hint=restore)
    return root

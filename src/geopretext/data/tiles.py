"""What every source of tiles gives: coordinates of the tiles, and stored numbers by modality.

Shapes: ``n`` tiles; maps (n, C, H, W), vectors (n, C), always in the modality's stored dtype and band order.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.errors import GridError, InputError
from geopretext.modality import Modality

if TYPE_CHECKING:  # statistics are computed from readers, so that module imports this one
    from geopretext.data.statistics import Statistics

Array = npt.NDArray[Any]

SPLITS = ("train", "val", "test")
"""Names of the splits; a tile's split is its position here, or -1 for none."""


@dataclass(frozen=True)
class Coordinates:
    """Where, when and what each of ``n`` tiles is. All arrays have length n."""

    tile_id: npt.NDArray[np.str_]
    """unique name of the tile"""
    lat: npt.NDArray[np.float64]
    """latitude of the centre, degrees north (WGS 84); NaN if unknown"""
    lon: npt.NDArray[np.float64]
    """longitude of the centre, degrees east (WGS 84); NaN if unknown"""
    crs: npt.NDArray[np.int32]
    """EPSG code of the tile's grid; 0 if unknown"""
    transform: npt.NDArray[np.float64]
    """(n, 6): a b c d e f of x = a col + b row + c, y = d col + e row + f (pixel corners, metres or degrees of crs)"""
    time: npt.NDArray[np.datetime64]
    """reference date (``datetime64[s]``, UTC); NaT if unknown"""
    levels: Mapping[str, npt.NDArray[np.int8]] = field(default_factory=dict)
    """for each modality that has levels: position in ``Modality.levels``, or -1 if unknown"""
    biome: npt.NDArray[np.int16] | None = None
    """MMEarth's class number, -1 if unknown (None: all unknown; likewise below)"""
    ecoregion: npt.NDArray[np.int16] | None = None
    """MMEarth's class number, -1 if unknown"""
    split: npt.NDArray[np.int8] | None = None
    """position in ``SPLITS``, -1 if in none"""
    source_items: npt.NDArray[np.str_] | None = None
    """JSON text: what each modality was made of (item ids, files, dates, corrections such as an undone offset)"""

    def __post_init__(self) -> None:
        count = len(self.tile_id)
        filled: dict[str, Array] = {
            "biome": np.full(count, -1, np.int16),
            "ecoregion": np.full(count, -1, np.int16),
            "split": np.full(count, -1, np.int8),
            "source_items": np.full(count, "", np.str_),
        }
        for name, array in filled.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, array)
        for f in fields(self):
            if f.name != "levels" and len(getattr(self, f.name)) != count:
                raise InputError(f"coordinate {f.name!r} has {len(getattr(self, f.name))} entries for {count} tiles")
        if self.transform.shape != (count, 6):
            raise InputError(f"coordinate 'transform' has shape {self.transform.shape}, not ({count}, 6)")

    def __len__(self) -> int:
        return len(self.tile_id)

    def take(self, tiles: npt.NDArray[np.int64] | slice) -> "Coordinates":
        """The coordinates of some of the tiles, in the order asked for."""
        columns = {f.name: getattr(self, f.name)[tiles] for f in fields(self) if f.name != "levels"}
        return replace(self, **columns, levels={name: level[tiles] for name, level in self.levels.items()})

    @staticmethod
    def concatenate(parts: Sequence["Coordinates"]) -> "Coordinates":
        """The tiles of all parts, one after the other."""
        columns = {
            f.name: np.concatenate([getattr(part, f.name) for part in parts])
            for f in fields(Coordinates)
            if f.name != "levels"
        }
        names = parts[0].levels.keys()
        return Coordinates(
            **columns, levels={name: np.concatenate([part.levels[name] for part in parts]) for name in names}
        )


@dataclass(frozen=True)
class TileBatch:
    """Some tiles in memory, as a source hands them to a writer."""

    coordinates: Coordinates
    arrays: Mapping[str, Array]
    """stored numbers by modality; a modality that is absent is missing at all of these tiles"""

    def __len__(self) -> int:
        return len(self.coordinates)

    def check(self, modalities: Mapping[str, Modality], tile_size: int) -> None:
        """Refuse arrays whose name, dtype or shape does not fit.

        Raises:
            InputError: a modality is unknown or its dtype differs.
            GridError: a shape differs from (tiles, bands, tile_size, tile_size) or (tiles, bands).
        """
        for name, array in self.arrays.items():
            if name not in modalities:
                raise InputError(f"no modality {name!r} here", hint=f"there are {', '.join(modalities)}")
            modality = modalities[name]
            shape: tuple[int, ...] = (len(self), len(modality.bands))
            if modality.kind.is_map:
                shape += (tile_size, tile_size)
            if array.shape != shape:
                raise GridError(f"modality {name!r} has shape {array.shape}, wanted {shape} (tiles, bands, y, x)")
            if array.dtype != np.dtype(modality.dtype):
                raise InputError(f"modality {name!r} has dtype {array.dtype}, wanted {modality.dtype}")


class TileReader(Protocol):
    """Anything that tiles can be read from at random: a store, or an official MMEarth directory."""

    @property
    def path(self) -> str:
        """Where it lies, for messages."""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What it holds, by name, in order; bands may be a subset of the published ones."""

    @property
    def tile_size(self) -> int:
        """Height and width of a tile in pixels."""

    @property
    def ground_sampling_distance(self) -> float:
        """Metres a pixel."""

    @property
    def coordinates(self) -> Coordinates:
        """Of all tiles, in memory."""

    @property
    def statistics(self) -> "Statistics | None":
        """Of the bands, as stored with the tiles; None if there are none yet."""

    def __len__(self) -> int: ...

    def read(self, names: Iterable[str], tiles: npt.NDArray[np.int64]) -> dict[str, Array]:
        """Stored numbers of some modalities at some tiles, in the order asked for; safe to call from any thread.

        Raises:
            InputError: no such modality, or a tile number out of range.
            CorruptError: bytes on disk do not match their checksum (the message names the file).
        """

"""What every source of tiles gives: coordinates of the tiles, and stored numbers by modality.

Shapes: ``n`` tiles; maps (n, C, H, W), vectors (n, C), series (n, T, C, H, W), always in the modality's stored dtype
and band order. A tile of fewer than T dates has its images first, in the order of their dates, and then padding: no
date (NaT), and images of nothing but the modality's missing number.
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

Dates = npt.NDArray[np.datetime64]
"""Of a series: ``datetime64[D]``, NaT where there is padding."""

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
    series: Mapping[str, Dates] = field(default_factory=dict)
    """for each series: (n, T) dates of its images (``datetime64[D]``, UTC), ascending; NaT, at the end, is padding"""

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
        for name in COLUMNS:
            if len(getattr(self, name)) != count:
                raise InputError(f"coordinate {name!r} has {len(getattr(self, name))} entries for {count} tiles")
        if self.transform.shape != (count, 6):
            raise InputError(f"coordinate 'transform' has shape {self.transform.shape}, not ({count}, 6)")
        for name, dates in self.series.items():
            check_dates(name, dates, count)

    def __len__(self) -> int:
        return len(self.tile_id)

    def take(self, tiles: npt.NDArray[np.int64] | slice) -> "Coordinates":
        """The coordinates of some of the tiles, in the order asked for."""
        columns = {name: getattr(self, name)[tiles] for name in COLUMNS}
        levels = {name: level[tiles] for name, level in self.levels.items()}
        return replace(self, **columns, levels=levels, series={name: at[tiles] for name, at in self.series.items()})

    @staticmethod
    def concatenate(parts: Sequence["Coordinates"]) -> "Coordinates":
        """The tiles of all parts, one after the other; dates of series are padded to the longest."""
        columns = {name: np.concatenate([getattr(part, name) for part in parts]) for name in COLUMNS}
        levels, series = parts[0].levels.keys(), {name: None for part in parts for name in part.series}
        return Coordinates(
            **columns,
            levels={name: np.concatenate([part.levels[name] for part in parts]) for name in levels},
            series={name: _dates_of_all(parts, name) for name in series},
        )


COLUMNS = tuple(f.name for f in fields(Coordinates) if f.name not in ("levels", "series"))
"""Names of the coordinates that are arrays over tiles."""


def check_dates(name: str, dates: Dates, count: int) -> None:
    """Refuse dates of a series that are not whole days, one row a tile, ascending, with padding at the end.

    Raises:
        InputError: they are not.
    """
    where = f"dates of {name!r}"
    if dates.dtype != np.dtype("datetime64[D]") or dates.ndim != 2 or len(dates) != count:
        wanted = f"datetime64[D] of shape ({count}, T)"
        raise InputError(f"are {dates.dtype} of shape {dates.shape}, not {wanted}", where=where)
    padding = np.isnat(dates)
    if (padding[:, :-1] & ~padding[:, 1:]).any():
        raise InputError("have padding (NaT) before a date", where=where, hint="dates first, padding at the end")
    if (dates[:, 1:] < dates[:, :-1]).any():  # false where either is NaT
        raise InputError("do not ascend", where=where, hint="sort the images of each tile by date")


def pad_dates(array: Array, length: int, fill: Any) -> Array:
    """(n, T, ...) -> (n, length, ...), with ``fill`` at the end; ``length`` is at least T. A copy only if need be."""
    if array.shape[1] == length:
        return array
    padded = np.full((len(array), length, *array.shape[2:]), fill, array.dtype)
    padded[:, : array.shape[1]] = array
    return padded


def _dates_of_all(parts: Sequence[Coordinates], name: str) -> Dates:
    none = np.datetime64("NaT", "D")
    dates = [part.series.get(name, np.full((len(part), 0), none)) for part in parts]
    longest = max(each.shape[1] for each in dates)
    return np.concatenate([pad_dates(each, longest, none) for each in dates])


@dataclass(frozen=True)
class TileBatch:
    """Some tiles in memory, as a source hands them to a writer."""

    coordinates: Coordinates
    arrays: Mapping[str, Array]
    """stored numbers by modality; a modality that is absent is missing at all of these tiles"""

    def __len__(self) -> int:
        return len(self.coordinates)

    def check(self, modalities: Mapping[str, Modality], tile_size: int) -> None:
        """Refuse arrays whose name, dtype or shape does not fit, and series whose dates do not fit their images.

        Raises:
            InputError: a modality is unknown or its dtype differs; or a series has no dates, or values without one.
            GridError: a shape differs from (tiles, bands, tile_size, tile_size), (tiles, bands) or
                (tiles, dates, bands, tile_size, tile_size).
        """
        for name, dates in self.coordinates.series.items():
            if name not in self.arrays and not np.isnat(dates).all():
                raise InputError(f"series {name!r} has dates and no images", hint="give both, or neither")
        for name, array in self.arrays.items():
            if name not in modalities:
                raise InputError(f"no modality {name!r} here", hint=f"there are {', '.join(modalities)}")
            modality = modalities[name]
            shape: tuple[int, ...] = (len(self), len(modality.bands))
            axes = "(tiles, bands, y, x)"
            if modality.kind.is_map:
                shape += (tile_size, tile_size)
            if modality.kind.is_series:
                axes = "(tiles, dates, bands, y, x)"
                shape = (*self._dates(name).shape, len(modality.bands), tile_size, tile_size)
            if array.shape != shape:
                raise GridError(f"modality {name!r} has shape {array.shape}, wanted {shape} {axes}")
            if array.dtype != np.dtype(modality.dtype):
                raise InputError(f"modality {name!r} has dtype {array.dtype}, wanted {modality.dtype}")
            if modality.kind.is_series:
                padding = array[np.isnat(self._dates(name))]
                if not (np.isnan(padding) if modality.dtype == "float32" else padding == modality.fill).all():
                    raise InputError(
                        f"series {name!r} has values where it has no date", hint=f"{modality.fill} is its padding"
                    )

    def _dates(self, name: str) -> Dates:
        if name not in self.coordinates.series:
            raise InputError(f"series {name!r} has no dates", hint="give them in Coordinates.series")
        return self.coordinates.series[name]


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

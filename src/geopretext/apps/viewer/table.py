"""What is known of every tile of a store, in a column each, as the map and the space of embeddings colour and filter.

Rows are the tiles by number; after them come the places that a build has no tile of, as its log names them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from geopretext.data.place_log import DONE, FAILED, PlaceLog
from geopretext.data.store import Store
from geopretext.data.tiles import SPLITS, TileReader
from geopretext.modality import BIOMES, ECOREGIONS

Numbers = npt.NDArray[np.float32]
_SECONDS_A_YEAR = 365.2425 * 86400
MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


@dataclass(frozen=True)
class Column:
    """One number a row; NaN where it is unknown."""

    name: str
    label: str
    values: Numbers
    """of a class: its position in ``classes``"""
    unit: str = ""
    classes: tuple[str, ...] = ()
    """names of classes; empty for quantities"""


class Rows(Protocol):
    """Where, when and what rows are: coordinates of tiles, or a table of embeddings."""

    @property
    def lat(self) -> npt.NDArray[np.float64]:
        """Degrees north."""

    @property
    def lon(self) -> npt.NDArray[np.float64]:
        """Degrees east."""

    @property
    def time(self) -> npt.NDArray[np.datetime64]:
        """UTC; NaT if unknown."""

    @property
    def biome(self) -> npt.NDArray[np.int16] | None:
        """Class numbers, -1 if unknown."""

    @property
    def ecoregion(self) -> npt.NDArray[np.int16] | None:
        """Class numbers, -1 if unknown."""

    @property
    def split(self) -> npt.NDArray[np.int8] | None:
        """Positions in ``SPLITS``, -1 if in none."""


class TileTable:
    """Columns of the tiles of a reader, and what each row is.

    Args:
        reader: the tiles.
    """

    def __init__(self, reader: TileReader) -> None:
        self._reader = reader
        self._places = _places_without_tile(reader)
        self.columns = _known(
            [
                *_columns(reader.coordinates, self._places),
                *_levels(reader, self.places),
                *_series(reader, self.places),
                *_of_store(reader, self._places),
            ]
        )
        """by name"""

    @property
    def tiles(self) -> int:
        """Rows that are tiles: the first ones."""
        return len(self._reader)

    @property
    def places(self) -> int:
        """Rows that are places without a tile: the last ones."""
        return 0 if self._places is None else len(self._places)

    def describe(self, row: int) -> dict[str, Any]:
        """What a row is, in plain types."""
        if row >= self.tiles:
            return self._describe_place(row - self.tiles)
        reader, where = self._reader, self._reader.coordinates
        levels = {name: codes[row] for name, codes in where.levels.items() if codes[row] >= 0}
        absent = [
            name
            for bit, name in enumerate(reader.modalities)
            if isinstance(reader, Store) and not reader.present[row] >> bit & 1
        ]
        assert where.split is not None
        return {
            "tile": row,
            "name": str(where.tile_id[row]),
            "lat": where.lat[row],
            "lon": where.lon[row],
            "date": None if np.isnat(where.time[row]) else str(where.time[row])[:10],
            "levels": {name: reader.modalities[name].levels[code] for name, code in levels.items()},
            "split": SPLITS[where.split[row]] if where.split[row] >= 0 else None,
            "images": {name: int((~np.isnat(dates[row])).sum()) for name, dates in where.series.items()},
            "absent": absent,
            **_regions(where.biome, where.ecoregion, row),
        }

    def _describe_place(self, place: int) -> dict[str, Any]:
        log = self._places
        assert log is not None
        return {
            "tile": None,
            "name": str(log.place_id[place]),
            "lat": log.lat[place],
            "lon": log.lon[place],
            "status": str(log.status[place]),
            "reason": str(log.reason[place]),
            "detail": str(log.detail[place]),
            **_regions(log.biome, log.ecoregion, place),
        }


def _places_without_tile(reader: TileReader) -> PlaceLog | None:
    """None if the store was not built from places."""
    log = reader.place_log if isinstance(reader, Store) else None
    if log is None:
        return None
    log = log.with_tiles(reader.coordinates.tile_id)
    rest = log.status != DONE
    return PlaceLog(
        place_id=log.place_id[rest],
        lat=log.lat[rest],
        lon=log.lon[rest],
        biome=log.biome[rest],
        ecoregion=log.ecoregion[rest],
        status=log.status[rest],
        reason=log.reason[rest],
        detail=log.detail[rest],
    )


def columns_of(rows: Rows) -> Mapping[str, Column]:
    """Columns of rows that are no tiles of a store, by name."""
    return _known([*_columns(rows, None)])


def describe_columns(columns: Mapping[str, Column]) -> list[dict[str, Any]]:
    """What columns there are, in plain types, without their values."""
    return [
        {
            "name": column.name,
            "label": column.label,
            "unit": column.unit,
            "classes": column.classes,
            "range": [float(np.nanmin(column.values)), float(np.nanmax(column.values))],
        }
        for column in columns.values()
    ]


def _known(columns: Sequence[Column]) -> Mapping[str, Column]:
    """By name, without those in which nothing is known."""
    return {column.name: column for column in columns if np.isfinite(column.values).any()}


def _columns(where: Rows, places: PlaceLog | None) -> Iterator[Column]:
    """What follows from coordinates."""
    rest = 0 if places is None else len(places)
    assert where.biome is not None
    assert where.ecoregion is not None
    assert where.split is not None
    yield Column("lat", "Latitude", _row(where.lat, rest if places is None else places.lat), "°")
    yield Column("lon", "Longitude", _row(where.lon, rest if places is None else places.lon), "°")
    yield _classes("biome", "Biome", _row(where.biome, rest if places is None else places.biome), BIOMES)
    if (where.split >= 0).any():
        split = np.where(where.split < 0, len(SPLITS), where.split)
        yield _classes("split", "Split", _row(split, rest), (*SPLITS, "none"))
    month = where.time.astype("datetime64[M]").astype(np.int64) % 12
    years = 1970 + where.time.astype("datetime64[s]").astype(np.int64) / _SECONDS_A_YEAR
    unknown = np.isnat(where.time)
    yield _classes("month", "Month", _row(np.where(unknown, -1, month), rest), MONTHS)
    yield Column("date", "Date", _row(np.where(unknown, np.nan, years), rest), "year")
    yield _classes(
        "ecoregion", "Ecoregion", _row(where.ecoregion, rest if places is None else places.ecoregion), ECOREGIONS
    )


def _levels(reader: TileReader, rest: int) -> Iterator[Column]:
    for name, codes in reader.coordinates.levels.items():
        levels = reader.modalities[name].levels
        yield _classes(f"level_{name}", f"Level of {name}", _row(codes, rest), levels)


def _series(reader: TileReader, rest: int) -> Iterator[Column]:
    for name, dates in reader.coordinates.series.items():
        title = reader.modalities[name].title or name
        yield Column(f"images_{name}", f"Images of {title}", _row((~np.isnat(dates)).sum(axis=1), rest))


def _of_store(reader: TileReader, places: PlaceLog | None) -> Iterator[Column]:
    """What official files do not say, or only when they are read through."""
    if not isinstance(reader, Store):
        return
    rest = 0 if places is None else len(places)
    share = 1 - np.bitwise_count(reader.present) / len(reader.modalities)
    yield Column("absent", "Modalities absent", _row(100 * share, rest), "%")
    if places is not None:
        reasons = sorted({str(reason) for reason in places.reason[places.status == FAILED]})
        number = {reason: 2 + position for position, reason in enumerate(reasons)}
        codes = [
            number[str(reason)] if status == FAILED else 1
            for status, reason in zip(places.status, places.reason, strict=True)
        ]
        names = ("done", "waiting", *(f"failed: {reason or 'no reason given'}" for reason in reasons))
        yield _classes("status", "Status", _row(np.zeros(len(reader)), np.array(codes, np.float32)), names)


def _row(tiles: npt.NDArray[Any], places: npt.NDArray[Any] | int) -> Numbers:
    """A column from what tiles have and what other places have; a number: so many of which it is unknown."""
    rest = np.full(places, np.nan) if isinstance(places, int) else places
    return np.concatenate([tiles.astype(np.float32), rest.astype(np.float32)])


def _classes(name: str, label: str, codes: Numbers, classes: Sequence[str]) -> Column:
    return Column(name, label, np.where(codes < 0, np.float32(np.nan), codes), classes=tuple(classes))


def _regions(
    biome: npt.NDArray[np.int16] | None, ecoregion: npt.NDArray[np.int16] | None, row: int
) -> dict[str, str | None]:
    """Names of biome and ecoregion."""
    assert biome is not None
    assert ecoregion is not None
    return {
        "biome": BIOMES[biome[row]] if biome[row] >= 0 else None,
        "ecoregion": ECOREGIONS[ecoregion[row]] if ecoregion[row] >= 0 else None,
    }

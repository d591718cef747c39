"""What has become of each place of a build, gathered from the store, from its log of places and from parts."""

from collections import Counter

import numpy as np
import numpy.typing as npt

from geopretext.build.parts import Record
from geopretext.build.places import Places
from geopretext.build.tiles import Outcome
from geopretext.data import place_log
from geopretext.data.place_log import PlaceLog
from geopretext.errors import Reason, StoreError

WAITING, DONE, FAILED = 0, 1, 2
_NO_PART = -1
_STATUS = np.array([place_log.WAITING, place_log.DONE, place_log.FAILED], np.dtypes.StringDType())


class PlaceStates:
    """The states of all wanted places.

    Args:
        places: in the order of the build.
        where: the store, for messages.
    """

    def __init__(self, places: Places, *, where: str) -> None:
        self.places = places
        self.status: npt.NDArray[np.int8] = np.full(len(places), WAITING, np.int8)
        """(places,) ``WAITING``, ``DONE`` or ``FAILED``"""
        self.tiles: npt.NDArray[np.int64] = np.empty(0, np.int64)
        """(tiles,) number of the place of each tile of the store"""
        self.latest_run = 0
        self.failures: dict[int, Outcome] = {}
        """by number of the place"""
        self._part = np.full(len(places), _NO_PART, np.int32)
        self._parts: list[str] = []
        self._numbers = {place_id: number for number, place_id in enumerate(places.place_id.tolist())}
        self._where = where

    def __len__(self) -> int:
        return len(self.places)

    @property
    def done(self) -> int:
        """How many places are done."""
        return int(np.count_nonzero(self.status == DONE))

    @property
    def waiting(self) -> npt.NDArray[np.int64]:
        """Numbers of the places that are to be made."""
        return np.flatnonzero(self.status == WAITING)

    @property
    def reasons(self) -> dict[str, int]:
        """How many places have failed, by reason; the most frequent first."""
        return dict(Counter(str(outcome.reason) for outcome in self.failures.values()).most_common())

    def add_log(self, log: PlaceLog) -> None:
        """Take in what the store says about its places; tiles and parts are added after it.

        Raises:
            StoreError: the store was built from other places.
        """
        numbers = np.array([self._number(place_id) for place_id in log.place_id.tolist()], np.int64)
        for name in ("lat", "lon", "biome", "ecoregion"):
            differ = np.flatnonzero(getattr(log, name) != getattr(self.places, name)[numbers])
            if len(differ):
                place_id, was = log.place_id[differ[0]], getattr(log, name)[differ[0]]
                raise self._other_places(f"place {place_id} had the {name} {was:g}")
        for row in np.flatnonzero(log.status == place_log.FAILED):
            self._fail(int(numbers[row]), Outcome(*_failure(log, int(row))))

    def add_tiles(self, tile_ids: npt.NDArray[np.str_]) -> None:
        """Take in which tiles the store holds.

        Raises:
            StoreError: the store was built from other places.
        """
        self.tiles = np.array([self._number(tile_id) for tile_id in tile_ids.tolist()], np.int64)
        self.status[self.tiles] = DONE
        for number in self.tiles.tolist():
            self.failures.pop(number, None)

    def add_record(self, record: Record, *, has_tiles: bool = True) -> None:
        """Take in what became of the places of a task; what is done stays done.

        Args:
            record: of a task.
            has_tiles: whether the file of its tiles is there.

        Raises:
            StoreError: it is about other places.
        """
        self.latest_run = max(self.latest_run, record.run)
        part = len(self._parts)
        self._parts.append(record.tiles)
        for outcome in record.outcomes:
            number = self._number(outcome.place_id)
            if self.status[number] == DONE:
                continue
            if outcome.reason is not None:
                self._fail(number, outcome)
            elif has_tiles:
                self.status[number], self._part[number] = DONE, part
                self.failures.pop(number, None)

    def arrive(self, numbers: list[int]) -> None:
        """The tiles of these places have been appended to the store."""
        self._part[numbers] = _NO_PART

    def move(self, tiles: slice, record: Record) -> None:
        """Tiles of the store are in a part now."""
        self._part[self.tiles[tiles]] = len(self._parts)
        self._parts.append(record.tiles)

    def part_of(self, number: int) -> str:
        """The key of the tiles among which a place's is; empty if it is in none."""
        part = int(self._part[number])
        return "" if part == _NO_PART else self._parts[part]

    @property
    def live_parts(self) -> set[str]:
        """Keys of the tiles that the store has not."""
        live = np.unique(self._part[(self._part != _NO_PART) & (self.status == DONE)])
        return {self._parts[part] for part in live.tolist()}

    def numbers_in(self, key: str, *, start: int) -> npt.NDArray[np.int64]:
        """Which places, from a number on, have their tile in a part."""
        parts = [number for number, name in enumerate(self._parts) if name == key]
        return start + np.flatnonzero(np.isin(self._part[start:], parts) & (self.status[start:] == DONE))

    def wait(self, numbers: npt.NDArray[np.int64]) -> None:
        """These places are to be made again."""
        self.status[numbers] = WAITING
        self._part[numbers] = _NO_PART
        for number in numbers.tolist():
            self.failures.pop(number, None)

    def log(self) -> PlaceLog:
        """All of it, for the store, to which a place whose tile is still in a part is waiting."""
        texts = np.full((2, len(self)), "", np.dtypes.StringDType())
        for number, outcome in self.failures.items():
            texts[:, number] = str(outcome.reason), outcome.detail
        status = np.where((self.status == DONE) & (self._part != _NO_PART), WAITING, self.status)
        p = self.places
        return PlaceLog(p.place_id, p.lat, p.lon, p.biome, p.ecoregion, _STATUS[status], texts[0], texts[1])

    def _fail(self, number: int, outcome: Outcome) -> None:
        self.status[number] = FAILED
        self.failures[number] = outcome

    def _number(self, place_id: str) -> int:
        try:
            return self._numbers[place_id]
        except KeyError:
            raise self._other_places(f"place {place_id} is not among those wanted now") from None

    def _other_places(self, difference: str) -> StoreError:
        return StoreError(
            f"was built from other places: {difference}",
            where=self._where,
            hint="give the same places (and at least the same --limit), or another --out",
        )


def _failure(log: PlaceLog, row: int) -> tuple[str, Reason, str]:
    return str(log.place_id[row]), Reason(str(log.reason[row])), str(log.detail[row])

"""From parts to the store: tiles are appended in the order of the places, as far as it is known what became of them.

The store so has the same bytes whatever the order in which tasks ended, and whatever failed on the way. When a place
is done after all whose successors are in the store already, the store is shortened to the shard before it, once the
tiles that go have become parts; they are then appended again behind it.
"""

from collections import OrderedDict, deque
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from geopretext.build.memory import return_memory
from geopretext.build.parts import Staging
from geopretext.build.states import DONE, FAILED, WAITING, PlaceStates
from geopretext.build.tiles import Made, Outcome
from geopretext.data.store import Store
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import CorruptError, StoreError

_BATCHES_HELD = 3  # the part that places come from, one of places made again, one of tiles that had to go


class Assembly:
    """Brings the tiles of parts into a store.

    Args:
        writer: of the store, open.
        store: where it is.
        staging: where the parts are.
        states: what has become of the places; ``advance`` reads it anew each time.
        run: number of this run, for parts that it makes itself.
    """

    def __init__(self, writer: StoreWriter, store: str, staging: Staging, states: PlaceStates, *, run: int) -> None:
        self._writer = writer
        self._store = store
        self._staging = staging
        self._states = states
        self._run = run
        self._place = 0
        self._tile = 0
        self._batches: OrderedDict[str, tuple[TileBatch, dict[str, int]]] = OrderedDict()
        self._appended: deque[tuple[int, str]] = deque()
        self._damaged: set[str] = set()
        self.has_changed = False
        """whether the store has"""

    @property
    def is_finished(self) -> bool:
        """True if all places are settled, and all tiles appended."""
        return self._place == len(self._states)

    def advance(self) -> npt.NDArray[np.int64]:
        """Go on to the first place that is waiting; returns numbers of places whose part was damaged: they wait again.

        Raises:
            StoreError: the storage refuses, or a place's part is damaged for the second time.
        """
        states, again = self._states, []
        while self._place < len(states) and states.status[self._place] != WAITING:
            if states.status[self._place] == FAILED:
                self._place += 1
            elif self._tile < len(states.tiles) and states.tiles[self._tile] == self._place:
                self._place += 1
                self._tile += 1
            elif self._tile < len(states.tiles):
                self._make_way()
            else:
                again.append(self._append_run())
        return np.concatenate(again) if again else np.empty(0, np.int64)

    def drop_parts(self) -> None:
        """Delete the tiles of parts that the store has."""
        while self._appended and self._appended[0][0] <= self._writer.committed:
            _, key = self._appended.popleft()
            still = any(name == key for _, name in self._appended)
            if not still and not len(self._states.numbers_in(key, start=self._place)):
                self._batches.pop(key, None)
                self._staging.drop_tiles(key)
                return_memory()

    def _append_run(self) -> npt.NDArray[np.int64]:
        """Append the tiles of the next places that are in the same part; or the places that it has lost."""
        states, stop = self._states, self._place
        key, numbers = states.part_of(stop), []
        while stop < len(states) and (states.status[stop] == FAILED or states.part_of(stop) == key):
            if states.status[stop] == DONE:
                numbers.append(stop)
            stop += 1
        try:
            batch, rows = self._batch(key)
            picked = np.array([rows[place] for place in states.places.place_id[numbers].tolist()])
        except (CorruptError, KeyError):
            return self._lose(key)
        arrays = {name: array[picked] for name, array in batch.arrays.items()}
        self._writer.append(TileBatch(batch.coordinates.take(picked), arrays))
        states.arrive(numbers)
        self._place = stop
        self._tile += len(numbers)
        self._appended.append((self._tile, key))
        self.has_changed = True
        return np.empty(0, np.int64)

    def _batch(self, key: str) -> tuple[TileBatch, dict[str, int]]:
        if key in self._batches:
            self._batches.move_to_end(key)
            return self._batches[key]
        batch = self._staging.read_tiles(key)
        rows = {tile_id: row for row, tile_id in enumerate(batch.coordinates.tile_id.tolist())}
        self._batches[key] = batch, rows
        while len(self._batches) > _BATCHES_HELD:
            self._batches.popitem(last=False)
        return batch, rows

    def _lose(self, key: str) -> npt.NDArray[np.int64]:
        """Let the places of a damaged part wait again."""
        numbers = self._states.numbers_in(key, start=self._place)
        ids = set(self._states.places.place_id[numbers].tolist())
        if ids & self._damaged:
            raise StoreError(
                "was made twice, and cannot be read",
                where=self._staging.files.where(key),
                hint="do all workers write to the very folder that this process reads? is its storage sound?",
            )
        self._damaged |= ids
        self._staging.drop_tiles(key)
        self._states.wait(numbers)
        return numbers

    def _make_way(self) -> None:
        """Shorten the store, so that the next place can come before tiles that are there."""
        states, store = self._states, Store.open(self._store)
        size = store.shard_size
        keep = self._tile - self._tile % size
        for start in range(keep, len(states.tiles), size):
            stop = min(start + size, len(states.tiles))
            numbers = np.arange(start, stop)
            where = replace(store.coordinates.take(slice(start, stop)), split=None)
            outcomes = tuple(Outcome(tile_id) for tile_id in where.tile_id.tolist())
            batch = TileBatch(where, store.read(store.modalities, numbers))
            states.move(slice(start, stop), self._staging.put(self._run, Made(batch, outcomes)))
        self._writer.truncate(keep)
        self._place = int(states.tiles[keep - 1]) + 1 if keep else 0
        self._tile = keep
        states.tiles = states.tiles[:keep]
        self.has_changed = True

"""A store full of synthetic Earth, rendered by several processes."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

from geopretext.data.splits import spatial_split
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.store_root import is_store
from geopretext.data.synthetic.earth import SyntheticEarth
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import InputError, StoreError

Place = TypeVar("Place", bound=str | Path)

_CHUNK = 48
"""tiles that a process renders at a time, without long series"""
_IMAGES = 24
"""images of a tile up to which it renders as many; they are handed over whole, several chunks at a time"""
_SPLIT_FROM = 100
"""tiles from which a store is split; fewer may leave a split empty"""


def write_synthetic_store(
    path: Place,
    *,
    count: int,
    seed: int = 0,
    tile_size: int = 64,
    shard_size: int | None = None,
    shares: tuple[float, float, float] = (0.8, 0.1, 0.1),
    series: Mapping[str, int] | None = None,
    workers: int = 2,
    progress: Callable[[int, int], None] | None = None,
) -> Place:
    """Write ``count`` tiles of the planet ``seed`` into a store, with a spatial split and statistics.

    A store that an interrupted call left is continued, one that is complete is left as it is; the result is the same
    bytes either way. With more than one worker, a script must call this under ``if __name__ == "__main__":``, as
    always with processes that Python spawns.

    Args:
        path: folder or URL of the store.
        count: tiles; below 100 they are too few for three splits, and get none.
        seed: which planet.
        tile_size: pixels.
        shard_size: tiles a shard; by default as ``StoreWriter.create`` has it, fewer if there are series.
        shares: of the splits train, val and test.
        series: which of the published series tiles have besides, and how many images a tile has of each at most; each
            image takes nearly as long as everything else.
        workers: processes that render; 1 renders in this one.
        progress: called with (tiles rendered, tiles in all).

    Returns:
        ``path``.

    Raises:
        InputError: a number is not positive, or there is no such series.
        StoreError: there is another dataset at ``path``, or it cannot be written.
    """
    for name, value in (("count", count), ("tile_size", tile_size), ("shard_size", shard_size), ("workers", workers)):
        if value is not None and value < 1:
            raise InputError(f"{name} is {value}, wanted at least 1")
    earth = SyntheticEarth(seed, tile_size=tile_size, series=series)
    with _writer(path, earth, count, shard_size) as writer:
        done = writer.committed
        for batch in _rendered(earth, done, count, workers):
            writer.append(batch)
            done += len(batch)
            if progress is not None:
                progress(done, count)
    store = Store.open(path)
    if store.statistics is None:
        if count >= _SPLIT_FROM:
            place = store.coordinates
            store.set_split(spatial_split(place.lat, place.lon, shares=shares, seed=seed))
        store.set_statistics(compute_statistics(store))
    return path


def _writer(path: str | Path, earth: SyntheticEarth, count: int, shard_size: int | None) -> StoreWriter:
    recipe: dict[str, Any] = {
        "name": "synthetic earth",
        "version": SyntheticEarth.VERSION,
        "seed": earth.seed,
        "tile_size": earth.tile_size,
        "count": count,
        **({"series": dict(earth.dates)} if earth.dates else {}),
    }
    if not is_store(path):
        return StoreWriter.create(
            path,
            earth.modalities.values(),
            tile_size=earth.tile_size,
            shard_size=shard_size,
            recipe=recipe,
            dates=earth.dates,
        )
    found = Store.open(path).attributes.get("recipe")
    if found != recipe:
        raise StoreError(
            f"holds another dataset: {_in_short(found)}, not {_in_short(recipe)}",
            where=str(path),
            hint="name another path, or delete it",
        )
    return StoreWriter.resume(path)


def _in_short(recipe: Any) -> str:
    """The plain fields of a build's recipe, which may be long."""
    if not isinstance(recipe, Mapping):
        return "one without a recipe"
    return ", ".join(f"{key} {value}" for key, value in recipe.items() if isinstance(value, str | int | float))


def _rendered(earth: SyntheticEarth, start: int, stop: int, workers: int) -> Iterator[TileBatch]:
    """Tiles ``start`` to ``stop - 1`` in order, rendered some chunks ahead of who asks."""
    size = max(1, _CHUNK * _IMAGES // max(_IMAGES, sum(earth.dates.values())))
    chunks = ((earth, first, min(size, stop - first)) for first in range(start, stop, size))
    if workers == 1 or stop - start <= size:
        yield from map(_render_chunk, chunks)
        return
    # A fork would copy the locks of tensorstore's and torch's threads in a state that nobody releases.
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(_render_chunk, chunk) for chunk in islice(chunks, 2 * workers)]
        while waiting:
            yield waiting.pop(0).result()
            waiting += [pool.submit(_render_chunk, chunk) for chunk in islice(chunks, 1)]


def _render_chunk(chunk: tuple[SyntheticEarth, int, int]) -> TileBatch:
    earth, start, count = chunk
    return earth.tiles(earth.places(count, start=start))

"""Splitting tiles into train, validation and test, and measuring what leaks between them.

A split is an int8 array over tiles: position in ``data.tiles.SPLITS``, -1 for none. Neighbouring tiles look alike, so a
random split flatters every score; the spatial and the ecoregion split keep neighbours together.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import SPLITS, Coordinates
from geopretext.errors import InputError

EARTH_RADIUS_KM = 6371.0088
"""mean radius (IUGG)"""

SHARES = (0.8, 0.1, 0.1)
"""of train, val and test by default"""

_SHARES_OF_PLACES = (0.6, 0.2, 0.2)  # of places drawn at random: there are few of them
_SMALLEST_CELL = 2e-6  # of a unit sphere: three cell numbers still fit one 64-bit key
_PAIRS_AT_ONCE = 1_000_000

Split = npt.NDArray[np.int8]


def random_split(count: int, shares: Sequence[float] = SHARES, *, seed: int) -> Split:
    """Tiles drawn at random, in exactly these shares (rounded).

    Args:
        count: how many tiles there are.
        shares: of train, val and test; they sum to 1.
        seed: of the draw.

    Raises:
        InputError: shares do not sum to 1, or a split that should have tiles gets none.
    """
    _check_shares(shares)
    bounds = np.rint(np.cumsum(shares) * count).astype(np.int64)
    order = np.random.default_rng(seed).permutation(count)
    split = np.empty(count, np.int8)
    split[order] = np.searchsorted(bounds, np.arange(count), side="right")
    return _refuse_empty(split, shares, hint=f"{count} tiles are too few for these shares")


def spatial_split(
    lat: npt.NDArray[np.float64],
    lon: npt.NDArray[np.float64],
    *,
    block_km: float = 100.0,
    shares: Sequence[float] = SHARES,
    seed: int,
) -> Split:
    """Whole blocks of the Earth's surface, each in one split.

    Blocks are ``block_km`` high and, at their own latitude, as near to ``block_km`` wide as a whole number of them fits
    around the Earth, so they have about the same area everywhere. The split of a block follows from the seed and the
    block alone: adding tiles moves none of the others. Shares are met on average over blocks, not exactly.

    Args:
        lat: degrees north of the tiles' centres.
        lon: degrees east.
        block_km: side of a block in kilometres; choose it much larger than a tile.
        shares: of train, val and test; they sum to 1.
        seed: of the draw of blocks.

    Raises:
        InputError: shares do not sum to 1, a position is unknown, or a split that should have tiles gets none.
    """
    _check_shares(shares)
    _check_positions(lat, lon)
    if not 0 < block_km <= math.pi * EARTH_RADIUS_KM:
        raise InputError(f"block_km is {block_km}", hint="a positive number of kilometres, say 100")
    rows = max(1, round(math.pi * EARTH_RADIUS_KM / block_km))
    row = np.clip(((lat + 90.0) / 180.0 * rows).astype(np.int64), 0, rows - 1)
    middle = np.radians((row + 0.5) / rows * 180.0 - 90.0)
    columns = np.maximum(1, np.rint(2 * math.pi * EARTH_RADIUS_KM * np.cos(middle) / block_km)).astype(np.int64)
    column = np.minimum((np.mod(lon, 360.0) / 360.0 * columns).astype(np.int64), columns - 1)
    split = _by_hash((row << 32) | column, shares, seed)
    return _refuse_empty(split, shares, hint="use smaller blocks or another seed, or add tiles elsewhere")


def ecoregion_split(ecoregion: npt.NDArray[np.int16], shares: Sequence[float] = SHARES, *, seed: int) -> Split:
    """Whole ecoregions, each in one split; tiles whose ecoregion is unknown (-1) are in none.

    The split of an ecoregion follows from the seed and its number alone.

    Raises:
        InputError: shares do not sum to 1, or a split that should have tiles gets none.
    """
    _check_shares(shares)
    split = _by_hash(ecoregion.astype(np.int64), shares, seed)
    split[ecoregion < 0] = -1
    known = len(np.unique(ecoregion[ecoregion >= 0]))
    return _refuse_empty(
        split, shares, hint=f"tiles of {known} ecoregions are there; use another seed or another split"
    )


def split_places(
    coordinates: Coordinates, place: npt.NDArray[np.int64], *, seed: int
) -> tuple[Split | None, list[str]]:
    """The split that a new store gets: by spatial blocks if that can be, else at random, 60 : 20 : 20.

    Args:
        coordinates: of the tiles.
        place: number of the place of each tile, from 0; all tiles of a place are in the same split.
        seed: of the draw.

    Returns:
        The split, or None if there are too few places for one; and what there is to tell about it.
    """
    first = np.unique(place, return_index=True)[1]
    lat, lon = coordinates.lat[first], coordinates.lon[first]
    if np.isfinite(lat).all():
        try:
            return spatial_split(lat, lon, seed=seed)[place], []
        except InputError:
            pass  # fewer blocks than splits: places are drawn instead
    try:
        return random_split(len(first), _SHARES_OF_PLACES, seed=seed)[place], ["split by place at random, 60 : 20 : 20"]
    except InputError:
        return None, [f"no split: {len(first)} place(s) are too few; all tiles are in none"]


def leakage(
    lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64], split: Split, *, distance_km: float
) -> npt.NDArray[np.int64]:
    """Train tiles whose centre lies closer than a distance to that of any validation or test tile.

    Distances are along the great circle. Tiles are sorted into cells of space, so that only neighbours are compared.

    Args:
        lat: degrees north of the tiles' centres.
        lon: degrees east.
        split: of each tile.
        distance_km: how near is too near, in kilometres.

    Returns:
        Their numbers, ascending; take them out by ``split[numbers] = -1``.

    Raises:
        InputError: a position is unknown, or the distance is not positive.
    """
    _check_positions(lat, lon)
    if not distance_km > 0:
        raise InputError(f"distance_km is {distance_km}", hint="a positive number of kilometres")
    train, held_out = np.flatnonzero(split == 0), np.flatnonzero(split > 0)
    if not len(train) or not len(held_out):
        return np.empty(0, np.int64)
    if distance_km > math.pi * EARTH_RADIUS_KM:
        return train
    chord = 2 * math.sin(distance_km / EARTH_RADIUS_KM / 2)
    points = _unit_vectors(lat, lon)
    near = _near(points[train], points[held_out], chord)
    return train[near]


def _near(points: npt.NDArray[np.float64], others: npt.NDArray[np.float64], chord: float) -> npt.NDArray[np.bool_]:
    """For each point on the unit sphere whether any of the others is nearer than a chord.

    The others are sorted by cubic cells whose diagonal is the chord, so a cell that holds both kinds settles its points
    at once; what is left is compared with the others in the columns of cells around.
    """
    side = max(chord / math.sqrt(3) * (1 - 1e-9), _SMALLEST_CELL)
    reach = math.ceil(chord / side)
    width = int(2 / side) + 2 * reach + 2
    keys, cells = (_cell_keys(_cells(p, side, reach), width) for p in (others, points))
    order = np.argsort(keys, kind="stable")
    keys, others = keys[order], others[order]
    found = np.zeros(len(points), np.bool_)
    if side * math.sqrt(3) < chord:
        found |= keys[np.searchsorted(keys, cells).clip(max=len(keys) - 1)] == cells
    left = np.flatnonzero(~found)
    left = left[np.argsort(cells[left])]  # searching in order is several times faster
    for x in range(-reach, reach + 1):
        for y in range(-reach, reach + 1):
            left = left[~found[left]]
            column = cells[left] + (x * width + y) * width
            first, last = np.searchsorted(keys, column - reach), np.searchsorted(keys, column + reach, side="right")
            for some, rows in _pairs(first, last):
                close = np.square(points[left[some]] - others[rows]).sum(axis=1) < chord * chord
                found[left[some[close]]] = True
    return found


def _cells(points: npt.NDArray[np.float64], side: float, margin: int) -> npt.NDArray[np.int64]:
    return np.floor((points + 1) / side).astype(np.int64) + margin


def _pairs(
    first: npt.NDArray[np.int64], last: npt.NDArray[np.int64]
) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(i, row) for each row from ``first[i]`` to ``last[i]``, about a million pairs at a time."""
    counts = last - first
    some = np.flatnonzero(counts)
    while len(some):
        stop = max(1, int(np.searchsorted(np.cumsum(counts[some]), _PAIRS_AT_ONCE, side="right")))
        now, some = some[:stop], some[stop:]
        repeated = np.repeat(now, counts[now])
        within = np.arange(len(repeated)) - np.repeat(np.cumsum(counts[now]) - counts[now], counts[now])
        yield repeated, first[repeated] + within


def _cell_keys(cells: npt.NDArray[np.int64], width: int) -> npt.NDArray[np.int64]:
    return np.asarray((cells[:, 0] * width + cells[:, 1]) * width + cells[:, 2])


def _unit_vectors(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    phi, lam = np.radians(lat), np.radians(lon)
    return np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)


def _by_hash(keys: npt.NDArray[np.int64], shares: Sequence[float], seed: int) -> Split:
    """A split for each key: its hash with the seed, as a number in [0, 1), falls into one of the shares."""
    start = np.uint64(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0]))
    uniform = (_mix(keys.astype(np.uint64) ^ start) >> np.uint64(11)).astype(np.float64) / 2.0**53
    return np.searchsorted(np.cumsum(shares)[:-1], uniform, side="right").astype(np.int8)


def _mix(numbers: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The output function of SplitMix64 (Steele, Lea and Flood 2014): each bit depends on all of the input's."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _check_shares(shares: Sequence[float]) -> None:
    if len(shares) != len(SPLITS) or min(shares) < 0 or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise InputError(
            f"shares are {tuple(shares)}", hint=f"give one for each of {', '.join(SPLITS)}; together they are 1"
        )


def _check_positions(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64]) -> None:
    unknown = np.flatnonzero(~(np.isfinite(lat) & np.isfinite(lon)))
    if len(unknown):
        raise InputError(
            f"{len(unknown)} of {len(lat)} tiles have no position, the first is tile {unknown[0]}",
            hint="split at random, or give their lat and lon",
        )


def _refuse_empty(split: Split, shares: Sequence[float], *, hint: str) -> Split:
    empty = [name for code, name in enumerate(SPLITS) if shares[code] > 0 and not (split == code).any()]
    if empty:
        raise InputError(f"the {' and the '.join(empty)} split would be empty", hint=hint)
    return split

"""Draws places: number ``i`` of a seed depends on the seed and on ``i`` alone.

So the first 1000 of 10000 places are those of a sample of 1000, a sample is the same whatever machine draws it, and
chunks are drawn in constant memory. A place is found in two steps. Which stratum it falls into follows the golden-ratio
sequence, which keeps every prefix as close to the shares as whole numbers allow. Where it lies in the stratum is drawn
evenly by area: from the boxes of its polygons in the equal-area plane, again and again until it lies within one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from geopretext.build.equal_area import to_degrees
from geopretext.build.spacing import Spacing
from geopretext.build.strata import Strata
from geopretext.data.sampling import hash_seeds
from geopretext.errors import InputError

Array = npt.NDArray[Any]

CHUNK = 1 << 16
"""places that are drawn at once"""
_PHASE, _PART, _POINT, _OTHER = 11, 12, 13, 14  # keep the hashes of the steps apart
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio
_DECIMALS = 7  # of degrees: a centimetre, and the same bytes with every version of PROJ
_FEW, _TRIES_AT_ONCE = 16, 256
_DRAWS_AT_ONCE = 1 << 12
_THINNEST = 1 << 17  # draws from a polygon's box after which it is taken to have no area
_PATIENCE = 1000  # positions that are too near to others before a stratum is taken to be full


@dataclass(frozen=True)
class Drawn:
    """Some places of a sample."""

    number: npt.NDArray[np.int64]
    """(n,) of the places in the sample"""
    lat: npt.NDArray[np.float64]
    """(n,) degrees north"""
    lon: npt.NDArray[np.float64]
    """(n,) degrees east"""
    row: npt.NDArray[np.int32]
    """(n,) row of the ecoregion that the place was drawn from, -1 if none"""
    full: tuple[str, ...] = ()
    """strata that have no room left at the distance asked for"""


def draw_places(
    strata: Strata, *, count: int, seed: int, spacing: Spacing | None = None, chunk: int = CHUNK
) -> Iterator[Drawn]:
    """Draw ``count`` places in chunks.

    With ``spacing``, a place that is too near to one of a lower number is drawn again from the same stratum, so that
    the shares stay as they are. When a stratum is full, others of its group take its places, by their shares; when
    the whole group is full, all others.

    Args:
        strata: what to draw from.
        count: places.
        seed: any whole number.
        spacing: distances to keep; must hold no place yet.
        chunk: places at once; changes nothing but memory.

    Raises:
        InputError: a stratum is too thin to draw from, or there is no room for so many places at that distance.
    """
    sampler = _Sampler(strata, seed)
    full = np.zeros(len(strata.share), bool)
    for start in range(0, count, chunk):
        numbers = np.arange(start, min(start + chunk, count))
        stratum = sampler.strata_of(numbers)
        lat, lon, part, used = sampler.first_inside(numbers, stratum)
        if spacing is not None:
            for i in range(len(numbers)):
                if not full[stratum[i]] and spacing.admit(lat=float(lat[i]), lon=float(lon[i])):
                    continue
                again = sampler.anew(int(numbers[i]), int(stratum[i]), int(used[i]) + 1, spacing, full)
                if again is None:
                    raise _no_room(int(numbers[i]), count)
                lat[i], lon[i], part[i] = again
        yield Drawn(numbers, lat, lon, strata.part_row[part], tuple(str(name) for name in strata.name[full]))


def _no_room(placed: int, count: int) -> InputError:
    fits = f"--count {placed}, " if placed else ""
    return InputError(
        f"{placed:,} of {count:,} places fit at that distance, then there is no room for another",
        hint=f"{fits}a smaller --min-distance or --tile-size, or a larger region",
    )


class _Sampler:
    """Positions as functions of (seed, number of the place, number of the try)."""

    def __init__(self, strata: Strata, seed: int) -> None:
        self._strata, self._seed = strata, seed
        self._phase = np.uint64(hash_seeds(_PHASE, seed)[0]) << np.uint64(1)
        self._bounds = np.cumsum(strata.share)[:-1]
        left, bottom, right, top = strata.part_box.T
        self._corner = np.stack([left, bottom])
        self._size = np.stack([right - left, top - bottom])
        # Parts are drawn by the area of their boxes; what then misses the part is drawn anew, part and all, so that
        # what is kept is spread evenly over the whole stratum.
        size = self._size.prod(axis=0)
        self._last = np.searchsorted(strata.part_stratum, np.arange(len(strata.share)), side="right") - 1
        self._first = np.concatenate([[0], self._last[:-1] + 1])
        self._upper = np.cumsum(size)
        self._lower = self._upper - size

    def strata_of(self, numbers: Array) -> npt.NDArray[np.int64]:
        """The stratum of each place."""
        turned = numbers.astype(np.uint64) * _GOLDEN + self._phase
        return np.searchsorted(self._bounds, _unit(turned >> np.uint64(1), 63), side="right")

    def first_inside(self, numbers: Array, stratum: Array) -> tuple[Array, Array, Array, Array]:
        """For each place lat, lon and part of its first position within the stratum, and the try that it was."""
        count = len(numbers)
        lat, lon = np.empty(count), np.empty(count)
        part, used = np.empty(count, np.int64), np.empty(count, np.int64)
        open_, first = np.arange(count), 0
        while len(open_):
            if first >= _THINNEST:
                thin = self._strata.name[stratum[open_[0]]]
                raise InputError(f"{thin} is too thin to draw places from", hint="leave its polygon out")
            tries = int(np.clip(max(count, _DRAWS_AT_ONCE) // len(open_), 1, _TRIES_AT_ONCE))
            at = np.repeat(open_, tries)
            attempt = np.tile(np.arange(first, first + tries), len(open_))
            at_lat, at_lon, at_part, inside = self._positions(numbers[at], stratum[at], attempt)
            hits = inside.reshape(-1, tries)
            done = hits.any(axis=1)
            hit = (np.arange(len(open_)) * tries + hits.argmax(axis=1))[done]
            placed = open_[done]
            lat[placed], lon[placed], part[placed], used[placed] = at_lat[hit], at_lon[hit], at_part[hit], attempt[hit]
            open_, first = open_[~done], first + tries
        return lat, lon, part, used

    def anew(
        self, number: int, stratum: int, first: int, spacing: Spacing, full: npt.NDArray[np.bool_]
    ) -> tuple[float, float, int] | None:
        """A position for a place from try ``first`` on: lat, lon, part; None if all strata are full.

        Strata that turn out to be full are marked in ``full``.
        """
        own = stratum
        for turn in range(len(full) + 1):
            if not full[own]:
                if (found := self._room(number, own, first, spacing)) is not None:
                    return found
                full[own] = True
            others = ~full & (self._strata.group == self._strata.group[stratum])
            if not others.any():
                others = ~full
            if not others.any():
                return None
            weight = np.cumsum(np.where(others, self._strata.share, 0.0))
            along = float(_unit(hash_seeds(_OTHER, self._seed, number, turn), 63)[0])
            own = int(np.searchsorted(weight, along * weight[-1], side="right"))
            first = 0
        return None

    def _room(self, number: int, stratum: int, first: int, spacing: Spacing) -> tuple[float, float, int] | None:
        refused, tries = 0, _FEW
        while refused < _PATIENCE and first < _THINNEST:
            attempt = np.arange(first, first + tries)
            lat, lon, part, inside = self._positions(np.full(tries, number), np.full(tries, stratum), attempt)
            for hit in np.flatnonzero(inside):
                if spacing.admit(lat=float(lat[hit]), lon=float(lon[hit])):
                    return float(lat[hit]), float(lon[hit]), int(part[hit])
            refused += int(inside.sum())
            first, tries = first + tries, min(2 * tries, _TRIES_AT_ONCE)
        return None

    def _positions(self, numbers: Array, stratum: Array, attempt: Array) -> tuple[Array, Array, Array, Array]:
        """(n,) each: lat, lon, part drawn from, and whether the position lies within it."""
        first, last = self._first[stratum], self._last[stratum]
        along = _unit(hash_seeds(_PART, self._seed, numbers, attempt), 63)
        level = self._lower[first] + along * (self._upper[last] - self._lower[first])
        part = np.clip(np.searchsorted(self._upper, level, side="right"), first, last)
        bits = hash_seeds(_POINT, self._seed, numbers, attempt)
        across, up = _unit(bits >> 31, 32), _unit(bits & ((1 << 31) - 1), 31)
        lon, lat = to_degrees(
            self._corner[0, part] + across * self._size[0, part], self._corner[1, part] + up * self._size[1, part]
        )
        lat, lon = lat.round(_DECIMALS), lon.round(_DECIMALS)
        return lat, lon, part, shapely.contains_xy(self._strata.part[part], lon, lat)


def _unit(bits: Array, width: int) -> npt.NDArray[np.float64]:
    """Whole numbers of ``width`` bits to numbers from 0 to just below 1."""
    return np.asarray((bits >> bits.dtype.type(max(0, width - 53))) * 2.0 ** -min(width, 53))

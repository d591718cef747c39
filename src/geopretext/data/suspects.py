"""Tiles that deserve a look, and why: constant, unobserved, implausible, doubled, cloudy, misplaced, offset left in.

A suspect is a hint, not a verdict, and a list full of false alarms is not read. So each rule leaves out what nature
does as well:

======================= ==============================================================================================
suspicion               when
======================= ==============================================================================================
constant                a band has one value all over the tile: always, if it is a measured signal, which is noisy;
                        for other quantities only if the value is not 0 and a class map sees two classes or more there
all missing             a band has nothing at a tile, though 19 of 20 tiles (of its processing level) have it
implausible values      more than 1 in 20 numbers are outside the band's valid range (they are read as missing)
offset not undone       the numbers look as if they held the +1000 of processing baseline 04.00 (``data.offset``);
                        tiles with more than a third of clouds are not judged
misregistered           the edges of a map lie 3 pixels or more from where they lie at other tiles
                        (``data.registration``)
duplicate               a measured signal has the same bytes at another tile
cloudy                  more than half of the pixels that a scene classification knows are cloud or cirrus
======================= ==============================================================================================

The images of a series are looked at together, for what is constant, missing, implausible or a duplicate. An offset left
in is not looked for there: it needs the clouds of each date, and a series may hold dates from before and after it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.offset import LEVELS, Verdict, judge_offset
from geopretext.data.registration import (
    SMALLEST_TILE,
    Mask,
    PairRegistration,
    RegistrationCheck,
    edges,
)
from geopretext.data.tiles import Array
from geopretext.modality import Kind, Modality, Role

REFLECTANCE, DECIBEL = "reflectance x 10000", "dB"
SIGNALS = (REFLECTANCE, DECIBEL)
"""units of what an instrument measures: never twice the same number by chance"""

_USUAL = 0.95
_IMPLAUSIBLE = 0.05
_CLOUDY = 0.5
_TOO_CLOUDY_TO_JUDGE = 1 / 3
_FEWEST_PIXELS = 64  # that say anything about a band
_FLOOR_OF_TILES = 990  # a tile may lack the dark spots that ``data.offset`` counts on in a whole image
_SECOND_CLASS = 0.05  # share of a tile from which a class counts as being there


class Suspicion(StrEnum):
    """What is suspected."""

    CONSTANT = "constant"
    MISSING = "all missing"
    IMPLAUSIBLE = "implausible values"
    OFFSET = "offset not undone"
    MISREGISTERED = "misregistered"
    DUPLICATE = "duplicate"
    CLOUDY = "cloudy"


@dataclass(frozen=True)
class Suspect:
    """One suspicion about one tile."""

    tile: int
    """its number"""
    suspicion: Suspicion
    modality: str
    band: str
    """empty if the whole modality is meant"""
    value: float
    """what was measured: the constant, a share, a distance in pixels, the number of the other tile"""
    detail: str
    """the same in words"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        return {**asdict(self), "suspicion": str(self.suspicion)}


@dataclass
class _Seen:
    """What is kept of all tiles of one modality until the end."""

    tiles: list[npt.NDArray[np.int64]] = field(default_factory=list)
    levels: list[npt.NDArray[np.int8]] = field(default_factory=list)
    observed: list[Mask] = field(default_factory=list)
    """(n, C) whether a band has anything"""
    digests: list[npt.NDArray[np.uint64]] = field(default_factory=list)


class SuspectFinder:
    """Takes in tiles and names those that deserve a look.

    It keeps some bytes a tile and modality, whatever the size of the tiles.

    Args:
        modalities: of the tiles, by name.
        tile_size: pixels.
    """

    def __init__(self, modalities: Mapping[str, Modality], tile_size: int) -> None:
        self._modalities = modalities
        self._seen = {name: _Seen() for name in modalities}
        self._suspects: list[Suspect] = []
        maps = {name: m for name, m in modalities.items() if m.kind.is_map and m.role is Role.PRETEXT}
        self._reference = _reference(maps) if tile_size >= SMALLEST_TILE else ""
        partners = [name for name in maps if name != self._reference] if self._reference else []
        self._checks = {name: RegistrationCheck(self._reference, name) for name in partners}

    def add(
        self,
        tiles: npt.NDArray[np.int64],
        raw: Mapping[str, Array],
        decoded: Mapping[str, tuple[Array, Mask]],
        levels: Mapping[str, npt.NDArray[np.int8]],
    ) -> None:
        """Take in some tiles.

        Args:
            tiles: their numbers.
            raw: stored numbers by modality.
            decoded: the same as ``Modality.decode`` gives them.
            levels: position in ``Modality.levels`` by modality, for those that have levels.
        """
        raw, decoded = self._tall(raw, decoded)
        clouds = self._clouds(tiles, decoded)
        varied = self._varied(decoded, len(tiles))
        for name, modality in self._modalities.items():
            values, valid = decoded[name]
            codes = levels.get(name, np.full(len(tiles), -1, np.int8))
            self._keep(name, tiles, codes, raw[name], valid)
            if modality.kind.is_continuous and modality.role is not Role.SIDE:
                self._find_implausible(tiles, modality, raw[name], valid)
                if not modality.kind.is_vector:
                    self._find_constant(tiles, modality, values, valid, varied)
            if modality.levels and modality.kind is Kind.CONTINUOUS_MAP:
                judged = (clouds <= _TOO_CLOUDY_TO_JUDGE) & (codes >= 0)
                self._find_offset(tiles, modality, (values, valid), codes, judged)
        if self._reference:
            self._register(tiles, decoded)

    def _tall(
        self, raw: Mapping[str, Array], decoded: Mapping[str, tuple[Array, Mask]]
    ) -> tuple[dict[str, Array], dict[str, tuple[Array, Mask]]]:
        """Series as maps (n, C, T H, W), since what is odd in an image is as odd in a stack of them."""
        plain, found = dict(raw), dict(decoded)
        for name, modality in self._modalities.items():
            if modality.kind.is_series:
                plain[name] = _stack(raw[name])
                found[name] = _stack(decoded[name][0]), _stack(decoded[name][1])
        return plain, found

    def finish(self) -> tuple[list[Suspect], list[PairRegistration]]:
        """All suspects by tile, and how the map modalities lie on each other."""
        pairs = [check.finish() for check in self._checks.values()]
        found = list(self._suspects)
        for pair in pairs:
            found += [
                Suspect(
                    tile,
                    Suspicion.MISREGISTERED,
                    pair.modality,
                    "",
                    round(shift.pixels, 2),
                    f"lies {shift} of {pair.reference}; over all tiles {pair.shift}",
                )
                for tile, shift in pair.misplaced
            ]
        for name, seen in self._seen.items():
            if seen.tiles:
                found += _unobserved(self._modalities[name], seen)
                found += _doubled(self._modalities[name], seen)
        return sorted(found, key=lambda one: (one.tile, one.suspicion, one.modality, one.band)), pairs

    def _keep(
        self, name: str, tiles: npt.NDArray[np.int64], codes: npt.NDArray[np.int8], raw: Array, valid: Mask
    ) -> None:
        seen = self._seen[name]
        observed: Mask = np.asarray(valid.reshape(*raw.shape[:2], -1).any(axis=2))
        seen.tiles.append(tiles)
        seen.levels.append(codes)
        seen.observed.append(observed)
        if _is_signal(self._modalities[name]):
            digests = [_digest(raw[at]) if observed[at].any() else 0 for at in range(len(raw))]
            seen.digests.append(np.array(digests, np.uint64))

    def _find_implausible(self, tiles: npt.NDArray[np.int64], modality: Modality, raw: Array, valid: Mask) -> None:
        refused = ~valid & np.isfinite(raw)
        for number in modality.missing:
            refused &= raw != number
        counts = refused.reshape(*raw.shape[:2], -1).sum(axis=2)
        padded = modality.kind.is_series  # by missing numbers, so that all others are counted
        shares = counts / (np.maximum((valid | refused).sum(axis=(2, 3)), 1) if padded else raw[0, 0].size)
        for at, band in zip(*np.nonzero(shares > _IMPLAUSIBLE), strict=True):
            b = modality.bands[band]
            outside = raw[at, band][refused[at, band]]
            self._say(
                tiles[at],
                Suspicion.IMPLAUSIBLE,
                modality,
                b.name,
                shares[at, band],
                f"{shares[at, band]:.0%} of the numbers ({outside.min():g} to {outside.max():g} {b.unit}) are outside"
                f" {b.valid_min:g} to {b.valid_max:g}",
            )

    def _find_constant(
        self, tiles: npt.NDArray[np.int64], modality: Modality, values: Array, valid: Mask, varied: Mask
    ) -> None:
        count = valid.sum(axis=(2, 3))
        top = np.where(valid, values, -np.inf).max(axis=(2, 3))
        same = (top == np.where(valid, values, np.inf).min(axis=(2, 3))) & (count >= _FEWEST_PIXELS)
        for at, band in zip(*np.nonzero(same), strict=True):
            unit, value = modality.bands[band].unit, float(top[at, band])
            if unit in SIGNALS or (value != 0 and varied[at]):
                detail = f"{value:g} {unit} at all {count[at, band]} observed pixels"
                self._say(tiles[at], Suspicion.CONSTANT, modality, modality.band_names[band], value, detail)

    def _find_offset(
        self,
        tiles: npt.NDArray[np.int64],
        modality: Modality,
        decoded: tuple[Array, Mask],
        codes: npt.NDArray[np.int8],
        judged: Mask,
    ) -> None:
        values, valid = decoded
        bands = [index for index, band in enumerate(modality.bands) if band.unit == REFLECTANCE]
        for at in np.flatnonzero(judged):
            level = modality.levels[codes[at]]
            observed = {modality.band_names[b]: values[at, b][valid[at, b]] for b in bands}
            observed = {name: numbers for name, numbers in observed.items() if len(numbers) >= _FEWEST_PIXELS}
            if not observed or level not in LEVELS or judge_offset(observed, level) is not Verdict.OFFSET:
                continue
            floor = min(float(np.percentile(numbers, 1)) for numbers in observed.values())
            if floor < _FLOOR_OF_TILES:
                continue
            self._say(
                tiles[at],
                Suspicion.OFFSET,
                modality,
                "",
                floor,
                f"hardly a pixel of any band is below {floor:.0f} ({level}): is 1000 to be subtracted?",
            )

    def _clouds(
        self, tiles: npt.NDArray[np.int64], decoded: Mapping[str, tuple[Array, Mask]]
    ) -> npt.NDArray[np.float64]:
        """(n,) share of clouds as far as a scene classification knows, 0 without one."""
        clouds = np.zeros(len(tiles))
        for name, modality in self._modalities.items():
            kinds = _cloud_classes(modality)
            if not kinds:
                continue
            values, valid = decoded[name]
            known = valid.sum(axis=(1, 2))
            share = (np.isin(values, kinds) & valid).sum(axis=(1, 2)) / np.maximum(known, 1)
            for at in np.flatnonzero(share > _CLOUDY):
                self._say(tiles[at], Suspicion.CLOUDY, modality, "", share[at], f"{share[at]:.0%} of the tile is cloud")
            clouds = np.maximum(clouds, share)
        return clouds

    def _varied(self, decoded: Mapping[str, tuple[Array, Mask]], count: int) -> Mask:
        """(n,) whether a class map sees two classes or more."""
        varied = np.zeros(count, np.bool_)
        for name, modality in self._modalities.items():
            if modality.kind is not Kind.CATEGORICAL_MAP or modality.role is not Role.PRETEXT:
                continue
            values, valid = decoded[name]
            classes = np.where(valid, values, -1).reshape(count, -1)
            for at in np.flatnonzero(~varied):
                shares = np.bincount(classes[at][classes[at] >= 0], minlength=2) / classes.shape[1]
                varied[at] = np.sum(shares >= _SECOND_CLASS) >= 2
        return varied

    def _register(self, tiles: npt.NDArray[np.int64], decoded: Mapping[str, tuple[Array, Mask]]) -> None:
        reference = edges(self._modalities[self._reference], *decoded[self._reference])
        for name, check in self._checks.items():
            check.add(tiles, reference, edges(self._modalities[name], *decoded[name]))

    def _say(self, tile: Any, suspicion: Suspicion, modality: Modality, band: str, value: Any, detail: str) -> None:
        self._suspects.append(Suspect(int(tile), suspicion, modality.name, band, round(float(value), 4), detail))


def _reference(maps: Mapping[str, Modality]) -> str:
    """The map that others are held against: the optical image, or the continuous map with most bands; empty if none."""
    continuous = [m for m in maps.values() if m.kind is Kind.CONTINUOUS_MAP]
    ranked = sorted(continuous, key=lambda m: (m.bands[0].unit != REFLECTANCE, -len(m.bands)))
    return ranked[0].name if ranked else ""


def _is_signal(modality: Modality) -> bool:
    if modality.kind.is_vector or modality.kind.is_categorical:
        return False
    return all(band.unit in SIGNALS for band in modality.bands)


def _stack(images: Array) -> Array:
    """(n, T, C, H, W) -> (n, C, T H, W)."""
    tiles, _, bands, _, width = images.shape
    return np.moveaxis(images, 2, 1).reshape(tiles, bands, -1, width)


def _cloud_classes(modality: Modality) -> list[int]:
    """Class indices that mean cloud, of a scene classification; empty of all else."""
    if modality.kind is not Kind.CATEGORICAL_MAP or modality.role is not Role.SIDE:
        return []
    named = ((index, label.name.lower()) for index, label in enumerate(modality.classes))
    return [index for index, name in named if ("cloud" in name or "cirrus" in name) and "shadow" not in name]


def _digest(tile: Array) -> int:
    return int.from_bytes(blake2b(np.ascontiguousarray(tile).tobytes(), digest_size=8).digest(), "little")


def _unobserved(modality: Modality, seen: _Seen) -> list[Suspect]:
    tiles, levels = np.concatenate(seen.tiles), np.concatenate(seen.levels)
    observed = np.concatenate(seen.observed)
    found = []
    for level in np.unique(levels):
        at = np.flatnonzero(levels == level)
        usual = observed[at].mean(axis=0)
        for row in at[~observed[at].all(axis=1)]:
            lost = [b for b in np.flatnonzero(~observed[row]) if usual[b] >= _USUAL]
            if not lost:
                continue
            whole = len(lost) == int((usual >= _USUAL).sum())
            bands = "" if whole else " ".join(modality.band_names[b] for b in lost)
            share = float(usual[lost].min())
            detail = f"nothing was observed{f' in {bands}' if bands else ''}; {share:.1%} of the tiles have it"
            found.append(Suspect(int(tiles[row]), Suspicion.MISSING, modality.name, bands, round(share, 4), detail))
    return found


def _doubled(modality: Modality, seen: _Seen) -> list[Suspect]:
    if not seen.digests:
        return []
    tiles, digests = np.concatenate(seen.tiles), np.concatenate(seen.digests)
    order = np.lexsort((tiles, digests))
    tiles, digests = tiles[order], digests[order]
    first = np.maximum.accumulate(np.where(np.diff(digests, prepend=np.uint64(0)) != 0, np.arange(len(digests)), 0))
    again = np.flatnonzero((first != np.arange(len(digests))) & (digests != 0))
    return [
        Suspect(
            int(tiles[at]),
            Suspicion.DUPLICATE,
            modality.name,
            "",
            float(tiles[first[at]]),
            f"the same bytes as tile {tiles[first[at]]}",
        )
        for at in again
    ]

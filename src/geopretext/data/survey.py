"""One look at the tiles of a store, for all that ``inspect`` says: what is missing, histograms, suspects.

Tiles are read some at a time in ascending order, each once, so memory does not grow with the store.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from geopretext.data.histograms import Histogram
from geopretext.data.registration import PairRegistration
from geopretext.data.series import longest_series
from geopretext.data.statistics import StatisticsAccumulator
from geopretext.data.suspects import Suspect, SuspectFinder, Suspicion
from geopretext.data.tiles import Dates, TileReader
from geopretext.modality import Modality

_PIXELS_AT_ONCE = 64 * 64 * 64
_MOST_AT_ONCE = 256


@dataclass(frozen=True)
class Coverage:
    """What of one modality is there."""

    absent: float
    """share of the tiles without any of it"""
    missing: Mapping[str, float]
    """share of the numbers that are not valid, by band; the padding of a series does not count"""

    @property
    def share(self) -> float:
        """Of all numbers that are not valid."""
        return float(np.mean(list(self.missing.values())))


@dataclass(frozen=True)
class Survey:
    """What was seen of some tiles."""

    tiles: npt.NDArray[np.int64]
    """looked at, ascending"""
    coverage: Mapping[str, Coverage]
    """by modality; empty if there are no tiles"""
    histograms: Mapping[str, Mapping[str, Mapping[str, Histogram]]]
    """of valid values by modality, level (empty if there is none) and band"""
    classes: Mapping[str, Mapping[int, int]]
    """of categorical modalities: how often each stored code occurs, the most frequent first"""
    suspects: tuple[Suspect, ...]
    """by tile"""
    registration: tuple[PairRegistration, ...]
    """how each map modality lies on the reference"""

    @property
    def suspicions(self) -> dict[Suspicion, int]:
        """Tiles by suspicion, the most frequent first."""
        pairs = {(suspect.suspicion, suspect.tile) for suspect in self.suspects}
        return dict(Counter(suspicion for suspicion, _ in sorted(pairs)).most_common())

    @property
    def suspected_tiles(self) -> list[int]:
        """Their numbers, those with most different suspicions first."""
        kinds = Counter(tile for tile, _ in {(suspect.tile, suspect.suspicion) for suspect in self.suspects})
        return sorted(kinds, key=lambda tile: (-kinds[tile], tile))


def survey_tiles(
    reader: TileReader, tiles: npt.NDArray[np.int64], *, progress: Callable[[int, int], None] | None = None
) -> Survey:
    """Read some tiles once and take note.

    Args:
        reader: where they are.
        tiles: their numbers.
        progress: called with the tiles done and the tiles in all.

    Raises:
        InputError: there is no such tile.
        CorruptError: bytes on disk do not match their checksum.
        ClassError: a stored code is neither a class nor missing.
    """
    tiles = np.sort(tiles)
    names, modalities = list(reader.modalities), reader.modalities
    levels, series = reader.coordinates.levels, reader.coordinates.series
    finder, statistics = SuspectFinder(modalities, reader.tile_size), StatisticsAccumulator()
    absent, missing = Counter[str](), {name: np.zeros(len(m.bands)) for name, m in modalities.items()}
    step = max(1, min(_MOST_AT_ONCE, _PIXELS_AT_ONCE // reader.tile_size**2 // longest_series(series)))
    for start in range(0, len(tiles), step):
        batch = tiles[start : start + step]
        raw = reader.read(names, batch)
        decoded = {name: modalities[name].decode(raw[name]) for name in names}
        codes = {name: level[batch] for name, level in levels.items()}
        dates = {name: each[batch] for name, each in series.items()}
        for name, modality in modalities.items():
            seen = shares_seen(modality, decoded[name][1], dates.get(name))
            absent[name] += int((~seen.any(axis=1)).sum())
            missing[name] += (1 - seen).sum(axis=0) / len(tiles)
            statistics.update(modality, raw[name], codes.get(name), dates.get(name))
        finder.add(batch, raw, decoded, codes)
        if progress is not None:
            progress(min(start + step, len(tiles)), len(tiles))
    suspects, registration = finder.finish()
    coverage = {
        name: Coverage(absent[name] / len(tiles), dict(zip(modality.band_names, missing[name].tolist(), strict=True)))
        for name, modality in modalities.items()
        if len(tiles)
    }
    return Survey(
        tiles, coverage, statistics.histograms(), statistics.class_counts(), tuple(suspects), tuple(registration)
    )


def shares_seen(
    modality: Modality, valid: npt.NDArray[np.bool_], dates: Dates | None = None
) -> npt.NDArray[np.float64]:
    """(n, C): share of the numbers of each tile and band that are valid, of a series those of its dates.

    Args:
        modality: what they are of.
        valid: as ``Modality.decode`` gives it.
        dates: of a series, (n, T).
    """
    tiles, bands = len(valid), len(modality.bands)
    if dates is None:
        return np.asarray(valid.reshape(tiles, bands, -1).mean(axis=2))
    counts = (~np.isnat(dates)).sum(axis=1)[:, None] * valid.shape[-1] * valid.shape[-2]
    return np.asarray(valid.sum(axis=(1, 3, 4)) / np.maximum(counts, 1))

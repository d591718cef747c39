"""Statistics of the bands of a dataset: streaming, mergeable, per processing level, with what is missing left out.

How exact they are is said in ``data.band_statistics``.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.band_relations import BandRelations, RelationCounts, has_relations
from geopretext.data.band_statistics import PERCENTILES, BandCounts, BandMoments, BandStatistics
from geopretext.data.histograms import Histogram
from geopretext.data.series import longest_series, real_images
from geopretext.data.tiles import SPLITS, Array, Dates, TileReader
from geopretext.errors import BandError, InputError
from geopretext.modality import POOLED, Modality, find_modality

__all__ = [
    "PERCENTILES",
    "POOLED",
    "BandStatistics",
    "ModalityStatistics",
    "Statistics",
    "StatisticsAccumulator",
    "compute_statistics",
]


@dataclass(frozen=True)
class ModalityStatistics:
    """Statistics of one modality."""

    bands: Mapping[str, Mapping[str, BandStatistics]]
    """by level (``all`` for all tiles together), then by band; empty if categorical"""
    class_counts: Mapping[int, int]
    """values of each class, by stored code; empty if not categorical"""
    missing: int
    """values that are not valid, over all bands"""
    relations: Mapping[str, BandRelations] = field(default_factory=dict)
    """how its bands vary together, by level; empty if it is no map, and in files from before this was kept"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON."""
        plain: dict[str, Any] = {
            "bands": {level: {n: b.to_dict() for n, b in bands.items()} for level, bands in self.bands.items()},
            "class_counts": {str(code): count for code, count in self.class_counts.items()},
            "missing": self.missing,
        }
        if self.relations:
            plain["relations"] = {level: relations.to_dict() for level, relations in self.relations.items()}
        return plain

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "ModalityStatistics":
        """Read what ``to_dict`` wrote."""
        return cls(
            bands={
                level: {name: BandStatistics.from_dict(band) for name, band in bands.items()}
                for level, bands in plain["bands"].items()
            },
            class_counts={int(code): int(count) for code, count in plain["class_counts"].items()},
            missing=int(plain["missing"]),
            relations={
                level: BandRelations.from_dict(relations) for level, relations in plain.get("relations", {}).items()
            },
        )


@dataclass(frozen=True)
class Statistics:
    """Statistics of a dataset, by modality."""

    modalities: Mapping[str, ModalityStatistics]
    tiles: int
    """how many tiles they were taken from"""
    split: str
    """of which split: ``train``, or ``all`` if there was none (or if tiles were picked by hand)"""

    def to_dict(self) -> dict[str, Any]:
        """Plain types for JSON; ``from_dict`` reads it back."""
        modalities = {name: statistics.to_dict() for name, statistics in self.modalities.items()}
        return {"tiles": self.tiles, "split": self.split, "modalities": modalities}

    @classmethod
    def from_dict(cls, plain: Mapping[str, Any]) -> "Statistics":
        """Read what ``to_dict`` wrote."""
        modalities = {name: ModalityStatistics.from_dict(entry) for name, entry in plain["modalities"].items()}
        return cls(modalities, tiles=int(plain["tiles"]), split=str(plain["split"]))

    def mean_std(
        self, modality: Modality, bands: Sequence[str], level: str = POOLED
    ) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """Mean and standard deviation of some bands, in the order asked for: what z-scores are made with.

        A band that is constant has the standard deviation 1, one that was never observed has mean 0 as well, so that
        dividing is always safe.

        Raises:
            InputError: there are no statistics of the modality, or none of the level.
            BandError: there are none of a band.
        """
        if modality.name not in self.modalities:
            raise InputError(
                f"no statistics of modality {modality.name!r}",
                hint=f"there are some of {', '.join(self.modalities)}; `geopretext stats` computes them anew",
            )
        levels = self.modalities[modality.name].bands
        if level not in levels:
            raise InputError(
                f"no statistics of modality {modality.name!r} at level {level!r}",
                hint=f"there are some of {', '.join(levels) or 'no level, since it is categorical'}",
            )
        unknown = [name for name in bands if name not in levels[level]]
        if unknown:
            raise BandError(
                f"no statistics of band {', '.join(map(repr, unknown))} of modality {modality.name!r}",
                hint=f"there are some of {', '.join(levels[level])}",
            )
        picked = [levels[level][name] for name in bands]
        mean = np.array([band.mean if band.count else 0.0 for band in picked], np.float32)
        std = np.array([band.std if band.count and band.std > 0 else 1.0 for band in picked], np.float32)
        return mean, std


@dataclass
class StatisticsAccumulator:
    """Takes in tiles, merges with others, and gives the statistics of all that it has seen.

    The order of updates and merges changes results by float rounding only.
    """

    _parts: dict[tuple[str, int], list[BandCounts | BandMoments]] = field(default_factory=dict)
    _relations: dict[tuple[str, int], RelationCounts] = field(default_factory=dict)
    _modalities: dict[str, Modality] = field(default_factory=dict)

    def update(
        self,
        modality: Modality,
        raw: Array,
        level_codes: npt.NDArray[np.int8] | None = None,
        dates: Dates | None = None,
    ) -> None:
        """Take in the stored numbers of a modality at some tiles: (tiles, bands, ...) or (tiles, dates, bands, ...).

        Args:
            modality: what they are.
            raw: stored numbers.
            level_codes: for a modality with levels: position in ``Modality.levels`` of each tile, -1 if unknown.
            dates: of a series: (tiles, dates). All its images are taken together; padding counts for nothing.
        """
        self._modalities[modality.name] = modality
        codes = np.full(len(raw), -1, np.int8) if level_codes is None or not modality.levels else level_codes
        if modality.kind.is_series:
            assert dates is not None
            raw, tiles = real_images(raw, dates)
            codes, modality = codes[tiles], modality.image
        valid = None if _is_exact(modality) else modality.decode(raw)[1].reshape(raw.shape)
        for code in np.unique(codes):
            at = slice(None) if (codes == code).all() else np.flatnonzero(codes == code)
            if has_relations(modality):
                self._related(modality, int(code)).add(modality, raw[at])
            for number, part in enumerate(self._bands(modality, int(code))):
                if isinstance(part, BandCounts):
                    part.add(raw[at, number])
                else:
                    assert valid is not None
                    part.add(raw[at, number], valid[at, number])

    def merge(self, other: "StatisticsAccumulator") -> None:
        """Take in all that another accumulator has seen."""
        for (name, code), parts in other._parts.items():
            self._modalities[name] = other._modalities[name]
            for mine, theirs in zip(self._bands(self._modalities[name], code), parts, strict=True):
                mine.merge(theirs)  # type: ignore[arg-type]  # both are of the kind that the dtype asks for
        for (name, code), relations in other._relations.items():
            self._related(self._modalities[name], code).merge(relations)

    def finish(self, *, tiles: int, split: str) -> Statistics:
        """The statistics of all that was taken in.

        Args:
            tiles: how many tiles that was.
            split: of which split: ``train`` or ``all``.

        Raises:
            ClassError: a stored code is neither a class nor missing.
        """
        return Statistics({name: self._finish(m) for name, m in self._modalities.items()}, tiles, split)

    def histograms(self) -> dict[str, dict[str, dict[str, Histogram]]]:
        """Of each band of quantities that has valid values, by modality and level (empty if none, or unknown)."""
        found: dict[str, dict[str, dict[str, Histogram]]] = {}
        for (name, code), parts in sorted(self._parts.items(), key=lambda item: item[0][1]):
            modality = self._modalities[name]
            if modality.kind.is_categorical:
                continue
            level = modality.levels[code] if code >= 0 else ""
            drawn = {band: Histogram.of(*part.values()) for band, part in zip(modality.band_names, parts, strict=True)}
            present = {band: histogram for band, histogram in drawn.items() if histogram is not None}
            if present:
                found.setdefault(name, {})[level] = present
        return found

    def class_counts(self) -> dict[str, dict[int, int]]:
        """Pixels or tiles of each class that occurs, by modality and stored code, the most frequent first."""
        found = {}
        for (name, _), parts in self._parts.items():
            if self._modalities[name].kind.is_categorical:
                codes, counts = parts[0].values()
                order = np.argsort(-counts, kind="stable")
                found[name] = dict(zip(codes[order].tolist(), counts[order].tolist(), strict=True))
        return found

    def _bands(self, modality: Modality, code: int) -> list[BandCounts | BandMoments]:
        if (modality.name, code) not in self._parts:
            self._parts[modality.name, code] = _empty(modality)
        return self._parts[modality.name, code]

    def _related(self, modality: Modality, code: int) -> RelationCounts:
        return self._relations.setdefault((modality.name, code), RelationCounts(modality.band_names))

    def _finish_relations(self, modality: Modality) -> dict[str, BandRelations]:
        """By level, and pooled over all of them."""
        by_level = {code: part for (name, code), part in sorted(self._relations.items()) if name == modality.name}
        if not by_level:
            return {}
        pooled = RelationCounts(modality.band_names)
        for part in by_level.values():
            pooled.merge(part)
        levels = {modality.levels[code]: part.finish() for code, part in by_level.items() if code >= 0}
        return {POOLED: pooled.finish(), **levels}

    def _finish(self, modality: Modality) -> ModalityStatistics:
        pooled = _empty(modality)
        by_level = {code: parts for (name, code), parts in self._parts.items() if name == modality.name}
        for code in sorted(by_level):
            for mine, theirs in zip(pooled, by_level[code], strict=True):
                mine.merge(theirs)  # type: ignore[arg-type]
        if modality.kind.is_categorical:
            return _classes(modality, pooled[0])
        levels = {POOLED: pooled, **{modality.levels[code]: by_level[code] for code in sorted(by_level) if code >= 0}}
        bands = {
            level: {name: part.finish() for name, part in zip(modality.band_names, parts, strict=True)}
            for level, parts in levels.items()
        }
        missing = sum(band.missing for band in bands[POOLED].values())
        return ModalityStatistics(bands, {}, missing, self._finish_relations(modality))


def _is_exact(modality: Modality) -> bool:
    return np.dtype(modality.dtype).itemsize <= 2


def _empty(modality: Modality) -> list[BandCounts | BandMoments]:
    """Nothing counted yet, for each band."""
    if _is_exact(modality):
        return [BandCounts.empty(modality.select([name])) for name in modality.band_names]
    return [BandMoments.empty(band) for band in modality.bands]


def _classes(modality: Modality, part: BandCounts | BandMoments) -> ModalityStatistics:
    if not isinstance(part, BandCounts):
        raise InputError(
            f"cannot count the classes of modality {modality.name!r} of dtype {modality.dtype}",
            hint="store classes as uint8, uint16, int8 or int16",
        )
    numbers, counts, missing = part.observed()
    by_code = dict(zip(numbers.tolist(), counts.tolist(), strict=True))
    return ModalityStatistics({}, {label.code: by_code.get(label.code, 0) for label in modality.classes}, missing)


def compute_statistics(
    reader: TileReader,
    tiles: npt.NDArray[np.int64] | None = None,
    *,
    names: Sequence[str] | None = None,
    batch_size: int = 256,
    threads: int = 4,
) -> Statistics:
    """Read tiles once and take their statistics; the result does not depend on the number of threads.

    Args:
        reader: where the tiles are.
        tiles: which of them; by default those of the train split, or all if there is no split.
        names: of which modalities; by default of all.
        batch_size: tiles read at once by a thread, best the shard size; if there are series, images of the longest.
        threads: that read and count at the same time.

    Raises:
        InputError: there are no tiles, or no such modality.
        ClassError: a stored code is neither a class nor missing.
    """
    split = POOLED
    if tiles is None:
        assigned = reader.coordinates.split
        assert assigned is not None
        tiles, split = np.flatnonzero(assigned == SPLITS.index("train")), "train"
        if not len(tiles):
            tiles, split = np.arange(len(reader)), POOLED
    if not len(tiles):
        raise InputError("there are no tiles to take statistics of", where=reader.path, hint="add some")
    names = list(reader.modalities) if names is None else list(names)
    modalities = [find_modality(name, reader.modalities) for name in names]
    tiles = np.sort(tiles)
    levels, series = reader.coordinates.levels, reader.coordinates.series

    def take(batch: npt.NDArray[np.int64]) -> StatisticsAccumulator:
        part, arrays = StatisticsAccumulator(), reader.read(names, batch)
        for modality in modalities:
            codes = levels[modality.name][batch] if modality.name in levels else None
            dates = series[modality.name][batch] if modality.name in series else None
            part.update(modality, arrays[modality.name], codes, dates)
        return part

    total = StatisticsAccumulator()
    batch_size = max(1, batch_size // longest_series({name: series[name] for name in names if name in series}))
    batches = (tiles[start : start + batch_size] for start in range(0, len(tiles), batch_size))
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[StatisticsAccumulator]] = deque()
        for batch in batches:
            waiting.append(pool.submit(take, batch))
            if len(waiting) > threads:
                total.merge(waiting.popleft().result())
        for future in waiting:
            total.merge(future.result())
    return total.finish(tiles=len(tiles), split=split)

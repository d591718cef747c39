"""A tile on its way from a place to the store."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from geopretext.build.grid import Grid
from geopretext.build.pairing import Choice, Spot, record
from geopretext.build.source import Candidate, Observation
from geopretext.build.storing import stored
from geopretext.data.tiles import Array, Coordinates, TileBatch
from geopretext.errors import Reason, SourceError
from geopretext.modality import Modality

MAY_LACK = (Reason.NO_IMAGE, Reason.NO_DATA, Reason.NO_ASSET, Reason.NO_FILE)
"""failures that leave a modality missing at a tile, unless the recipe requires it; by all others the place fails"""


@dataclass(eq=False)
class Draft:
    """A tile on its way."""

    spot: Spot
    biome: int
    ecoregion: int
    grid: Grid | None = None
    time: np.datetime64 | None = None
    """of the reference"""
    chosen: dict[str, list[Candidate]] = field(default_factory=dict)
    """by modality"""
    observed: dict[str, Observation] = field(default_factory=dict)
    """by modality, merged"""
    records: dict[str, Any] = field(default_factory=dict)
    """what the store keeps of it, by modality"""
    arrays: dict[str, Array] = field(default_factory=dict)
    """stored numbers by modality"""
    dates: dict[str, Array] = field(default_factory=dict)
    """of the images of each series, (T,) ``datetime64[D]``, NaT at the end where there are fewer"""
    failure: SourceError | None = None

    def finish(self, modalities: Mapping[str, Modality]) -> None:
        """Turn what was observed into stored numbers; the tile fails if that cannot be."""
        for name, observation in self.observed.items():
            try:
                self.arrays[name] = stored(modalities[name], observation)
            except SourceError as error:
                self.failure = self.failure or error
        self.observed.clear()

    def take(self, name: str, choice: Choice, seen: Observation) -> None:
        """Add an observation; where there is one already, that stays."""
        before = self.observed.get(name)
        if before is not None:
            values = np.where(before.valid, before.values, seen.values)
            seen = replace(seen, values=values, valid=before.valid | seen.valid)
        self.observed[name] = seen
        since = self.time if self.chosen else None  # the first that is taken is the reference
        for candidate in choice.parts or (choice.candidate,):
            self.chosen.setdefault(name, []).append(candidate)
            self.records.setdefault(name, []).append(record(candidate, since, seen.notes))

    def lack(self, name: str, error: SourceError, *, required: bool) -> None:
        """Note that a modality cannot be had: the tile fails, or the modality is missing there."""
        if required:
            self.failure = error
        else:
            self.records[name] = [{"missing": str(error.reason), "why": error.what}]


def batch_of(drafts: Sequence[Draft], modalities: Mapping[str, Modality]) -> TileBatch:
    """The finished tiles, at least one; a modality that a tile lacks is missing there."""
    grids = [draft.grid for draft in drafts if draft.grid is not None]
    centers = np.array([grid.center for grid in grids])
    coordinates = Coordinates(
        tile_id=np.array([draft.spot.place for draft in drafts], np.str_),
        lat=centers[:, 0],
        lon=centers[:, 1],
        crs=np.array([grid.crs for grid in grids], np.int32),
        transform=np.array([grid.transform for grid in grids], np.float64),
        time=np.array([draft.time for draft in drafts], "datetime64[s]"),
        levels={
            name: np.array([_level(modality, draft.chosen.get(name, ())) for draft in drafts], np.int8)
            for name, modality in modalities.items()
            if modality.levels
        },
        biome=np.array([draft.biome for draft in drafts], np.int16),
        ecoregion=np.array([draft.ecoregion for draft in drafts], np.int16),
        source_items=np.array([json.dumps(draft.records, sort_keys=True) for draft in drafts], np.str_),
        series=_dates(drafts),
    )
    arrays = {}
    for name, modality in modalities.items():
        there = next((draft.arrays[name] for draft in drafts if name in draft.arrays), None)
        if there is None:
            continue
        missing = np.full_like(there, modality.fill) if not all(name in draft.arrays for draft in drafts) else there
        arrays[name] = np.stack([draft.arrays.get(name, missing) for draft in drafts])
    return TileBatch(coordinates, arrays)


def _dates(drafts: Sequence[Draft]) -> dict[str, Array]:
    """Dates of each series, (n, T), of those that any of the tiles has."""
    there = {name: dates for draft in drafts for name, dates in draft.dates.items()}
    none = {name: np.full_like(dates, "NaT") for name, dates in there.items()}
    return {name: np.stack([draft.dates.get(name, none[name]) for draft in drafts]) for name in there}


def _level(modality: Modality, chosen: Sequence[Candidate]) -> int:
    level = chosen[0].level if chosen else ""
    return modality.levels.index(level) if level in modality.levels else -1

"""Small tiles that follow from the id of their place alone, and faults that follow from a seed."""

import os
import signal
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from geopretext.build.places import Places
from geopretext.build.recipe import BuildRecipe, read_build_recipe
from geopretext.build.tiles import Made, Outcome
from geopretext.data.tiles import Coordinates, TileBatch
from geopretext.errors import Reason, StoreError
from geopretext.modality import PUBLISHED, Modality

SIZE = 8
MODALITIES = {
    "sentinel2": PUBLISHED["sentinel2"].select(("B2", "B4")),
    "sentinel1": PUBLISHED["sentinel1"].select(("asc_VV",)),
    "dynamic_world": PUBLISHED["dynamic_world"],
    "lat": PUBLISHED["lat"],
}
RECIPE: BuildRecipe = read_build_recipe(
    {
        "name": "faulty",
        "tile_size": SIZE,
        "seed": 3,
        "archives": {"a": {"kind": "synthetic", "url": "http://127.0.0.1", "timeout": 3}},
        "modalities": {
            "sentinel2": {"from": "a", "pair": {"rule": "reference"}, "bands": {"B2": "blue", "B4": "red"}},
            "lat": {"derive": "lat"},
        },
    }
)


def make_places(count: int, *, seed: int = 0) -> Places:
    """Places all over the Earth, in no order."""
    random = np.random.default_rng(seed)
    return Places(
        place_id=np.array([f"place-{number}" for number in range(count)]),
        lat=random.uniform(-60, 70, count),
        lon=random.uniform(-180, 180, count),
        biome=(np.arange(count) % 14).astype(np.int16),
        ecoregion=(np.arange(count) % 846).astype(np.int16),
    )


def is_hopeless(place_id: str) -> bool:
    """One place in nine never has an image."""
    return _number(place_id) % 9 == 0


@dataclass
class FaultyMaker:
    """Makes tiles; fails for now at some places, dies at others, as often as is asked for."""

    folder: str = ""
    """where each try of a place is counted, so that another process knows of it; empty: nothing fails for now"""
    seed: int = 0
    share: float = 0.0
    """of tries at a place that fail for now"""
    deaths: Mapping[str, int] | None = None
    """by place: how many times trying it ends the process; -1 for always"""
    seconds: float = 0.0
    """that a place takes"""
    errors: Mapping[str, BaseException] | None = None
    """by place: what trying it raises"""
    full: bool = False
    """the storage is full"""

    @property
    def modalities(self) -> dict[str, Modality]:
        return MODALITIES

    def make(self, places: Places) -> Made:
        if self.full:
            raise StoreError("the disk is full", where=self.folder, hint="free some space")
        outcomes, rows = [], []
        for row, place_id in enumerate(places.place_id.tolist()):
            time.sleep(self.seconds)
            if self.errors and place_id in self.errors:
                raise self.errors[place_id]
            outcome = self._try(place_id)
            outcomes.append(outcome)
            if outcome.reason is None:
                rows.append(row)
        batch = make_tiles(places.take(np.array(rows, np.int64))) if rows else None
        return Made(batch, tuple(outcomes), {"requests": len(places), "bytes": 1000 * len(rows)})

    def _try(self, place_id: str) -> Outcome:
        tries = self._count(place_id)
        deaths = (self.deaths or {}).get(place_id, 0)
        if deaths < 0 or tries < deaths:
            os.kill(os.getpid(), signal.SIGKILL)
        if is_hopeless(place_id):
            return Outcome(place_id, Reason.NO_IMAGE, f"{place_id}: none in the time asked for")
        if self.folder and np.random.default_rng([self.seed, _number(place_id), tries]).random() < self.share:
            return Outcome(place_id, Reason.TIMEOUT, f"{place_id}: no answer in 3 s")
        return Outcome(place_id)

    def _count(self, place_id: str) -> int:
        if not self.folder:
            return 0
        file = Path(self.folder) / place_id
        tries = file.stat().st_size if file.exists() else 0
        with file.open("ab") as log:
            log.write(b".")
        return tries


def make_tiles(places: Places) -> TileBatch:
    """The tiles of some places; a modality that all of them lack is left out."""
    numbers = [_number(place_id) for place_id in places.place_id.tolist()]
    randoms = [np.random.default_rng(number) for number in numbers]
    count = len(numbers)
    coordinates = Coordinates(
        tile_id=places.place_id,
        lat=places.lat + 1e-5,
        lon=places.lon,
        crs=np.array([32601 + number % 60 for number in numbers], np.int32),
        transform=np.array([[10.0, 0, 10 * (number % 1000), 0, -10, 4_900_000] for number in numbers]),
        time=np.array([f"20{17 + number % 4}-06-01T10:00:00" for number in numbers], "datetime64[s]"),
        levels={"sentinel2": np.array([number % 2 for number in numbers], np.int8)},
        biome=places.biome,
        ecoregion=places.ecoregion,
        source_items=np.array([f'{{"sentinel2": "S2 {number} é"}}' for number in numbers]),
    )
    arrays = {
        "sentinel2": np.stack([random.integers(0, 5000, (2, SIZE, SIZE)).astype(np.uint16) for random in randoms]),
        "dynamic_world": np.stack([random.integers(0, 10, (1, SIZE, SIZE)).astype(np.uint8) for random in randoms]),
        "lat": np.stack([np.sin([lat, lat + 1]).astype(np.float32) for lat in places.lat]),
    }
    seen = np.array([number % 3 > 0 for number in numbers])
    if seen.any():
        radar = np.stack([random.normal(-12, 3, (1, SIZE, SIZE)).astype(np.float32) for random in randoms])
        arrays["sentinel1"] = np.where(seen[:, None, None, None], radar, np.float32(np.nan))
    assert len(coordinates) == count
    return TileBatch(coordinates, arrays)


def _number(place_id: str) -> int:
    return zlib.crc32(place_id.encode())

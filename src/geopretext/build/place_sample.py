"""What ``geopretext places`` does: the rule, the region and the polygons together give places, chunk by chunk."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.ecoregions import WHERE_TO_GET, Ecoregions
from geopretext.build.grid import NORTHERNMOST, SOUTHERNMOST
from geopretext.build.places import Places
from geopretext.build.sampling import CHUNK, draw_places
from geopretext.build.spacing import Spacing
from geopretext.build.strata import Strata, Strategy, ecoregion_strata, region_strata
from geopretext.errors import InputError


@dataclass(frozen=True)
class SampleSettings:
    """How places are chosen."""

    strategy: Strategy = "biome-area"
    """by which rule, see ``strata.Strategy``"""
    seed: int = 0
    """places of another seed are other places"""
    min_distance: float = 0.0
    """metres between places"""
    tile_metres: float = 0.0
    """side of the tiles, which then must not overlap; 0: they may"""
    no_ocean: bool = False
    """of ``uniform`` within a region: only where there is a polygon"""
    reach_km: float = 15.0
    """how far a place outside every polygon may be from the one that it is counted to, km"""

    @property
    def spacing(self) -> Spacing | None:
        """A new one, if distances are to be kept."""
        if not self.min_distance and not self.tile_metres:
            return None
        return Spacing(metres=self.min_distance, tile_metres=self.tile_metres)


@dataclass
class Tally:
    """What became of the places, counted while they pass."""

    by_biome: Counter[str] = field(default_factory=Counter)
    """places by the name of the biome; empty: none is known"""
    by_ecoregion: Counter[str] = field(default_factory=Counter)
    """places by the name of the ecoregion"""
    full: tuple[str, ...] = ()
    """ecoregions that had no room left at the distance asked for; others took their places"""
    polar: int = 0
    """places of a file that lie outside the UTM zones: no tile can be made there"""
    too_near: int = 0
    """places of a file that were left out since they are too near to an earlier one"""

    @property
    def count(self) -> int:
        """All places."""
        return self.by_biome.total()


class PlaceSample:
    """Places to be drawn by a rule.

    Args:
        settings: the rule.
        ecoregions: polygons to draw from and to label with; None only for ``uniform`` within a region.
        region: a geometry in degrees that all places lie in; None: anywhere.

    Raises:
        InputError: the rule needs polygons or a region that are not given, or there is nothing to draw from.
    """

    def __init__(self, settings: SampleSettings, *, ecoregions: Ecoregions | None = None, region: Any = None) -> None:
        self.settings, self.ecoregions = settings, ecoregions
        if ecoregions is None and (settings.no_ocean or region is None or settings.strategy != "uniform"):
            what = "keeping out of the ocean" if settings.no_ocean else f"strategy {settings.strategy!r}"
            box = "; without polygons: --strategy uniform within a --box or --polygon" if not settings.no_ocean else ""
            raise InputError(f"{what} needs polygons of ecoregions", hint=WHERE_TO_GET + box)
        if settings.strategy == "uniform" and region is not None and not settings.no_ocean:
            self.strata = region_strata(region)
        else:
            assert ecoregions is not None
            self.strata = ecoregion_strata(ecoregions, settings.strategy, region)
        self._in_region = region is not None
        self.tally = Tally()

    @property
    def rule(self) -> Mapping[str, float]:
        """Share of the places that the rule gives each biome; empty if it speaks of none."""
        return {} if self.settings.strategy == "uniform" else _by_biome(self.strata, self.ecoregions)

    @property
    def unreached(self) -> Sequence[str]:
        """Classified ecoregions of the file that have no share, since nothing of them lies in the UTM zones."""
        if self.ecoregions is None or self.settings.strategy == "uniform" or self._in_region:
            return []
        names = self.ecoregions.name[self.ecoregions.classified]
        return sorted(set(names.tolist()) - set(self.strata.name.tolist()))

    def draw(self, count: int) -> Iterator[Places]:
        """Draw places in chunks; ``tally`` then counts them.

        Raises:
            InputError: there is no room for so many places at the distance asked for.
        """
        self.tally = Tally()
        seed = self.settings.seed
        for drawn in draw_places(self.strata, count=count, seed=seed, spacing=self.settings.spacing):
            ids = np.array([f"s{seed}-{number:07d}" for number in drawn.number.tolist()])
            row = drawn.row
            if self.ecoregions is not None and (row < 0).any():
                row = self.ecoregions.locate(lat=drawn.lat, lon=drawn.lon, reach_km=self.settings.reach_km)
            places = _labelled(ids, drawn.lat, drawn.lon, row, self.ecoregions)
            _count(self.tally, places)
            self.tally.full = drawn.full
            yield places


class PointSample:
    """Places of a file, with the labels of the polygons if there are some.

    Places outside the UTM zones are kept: a build lists them with that reason.

    Args:
        points: the places.
        settings: distances to keep, by leaving out what is too near to an earlier place; how polygons reach.
        ecoregions: polygons to label with; None leaves the labels as they are.
    """

    rule: Mapping[str, float] = MappingProxyType({})
    unreached: Sequence[str] = ()

    def __init__(self, points: Places, settings: SampleSettings, *, ecoregions: Ecoregions | None = None) -> None:
        self.settings, self.ecoregions = settings, ecoregions
        self._points = points
        self.tally = Tally()

    def draw(self, count: int | None = None) -> Iterator[Places]:
        """The first ``count`` places of the file (all by default) in chunks; ``tally`` then counts them."""
        self.tally = Tally()
        spacing = self.settings.spacing
        points = self._points.take(slice(count))
        for start in range(0, len(points), CHUNK):
            chunk = points.take(slice(start, start + CHUNK))
            if spacing is not None:
                positions = zip(chunk.lat.tolist(), chunk.lon.tolist(), strict=True)
                keep = np.flatnonzero([spacing.admit(lat=lat, lon=lon) for lat, lon in positions])
                self.tally.too_near += len(chunk) - len(keep)
                chunk = chunk.take(keep)
            if self.ecoregions is not None:
                row = self.ecoregions.locate(lat=chunk.lat, lon=chunk.lon, reach_km=self.settings.reach_km)
                chunk = _labelled(chunk.place_id, chunk.lat, chunk.lon, row, self.ecoregions)
            self.tally.polar += int(((chunk.lat < SOUTHERNMOST) | (chunk.lat > NORTHERNMOST)).sum())
            _count(self.tally, chunk)
            yield chunk


def _labelled(
    place_id: npt.NDArray[np.str_],
    lat: npt.NDArray[np.float64],
    lon: npt.NDArray[np.float64],
    row: npt.NDArray[np.int32],
    ecoregions: Ecoregions | None,
) -> Places:
    if ecoregions is None:
        unknown = np.full(len(lat), -1, np.int16)
        return Places(place_id=place_id, lat=lat, lon=lon, biome=unknown, ecoregion=unknown)
    return Places(
        place_id=place_id,
        lat=lat,
        lon=lon,
        biome=np.append(ecoregions.biome, np.int16(-1))[row],
        ecoregion=np.append(ecoregions.ecoregion, np.int16(-1))[row],
        biome_name=np.array([*ecoregions.stratum.tolist(), ""], object)[row],
        ecoregion_name=np.array([*ecoregions.name.tolist(), ""], object)[row],
    )


def _count(tally: Tally, places: Places) -> None:
    tally.by_biome.update(places.biome_names.tolist())
    tally.by_ecoregion.update(places.ecoregion_names.tolist())


def _by_biome(strata: Strata, ecoregions: Ecoregions | None) -> dict[str, float]:
    assert ecoregions is not None
    row = strata.part_row[np.searchsorted(strata.part_stratum, np.arange(len(strata.share)))]
    shares: Counter[str] = Counter()
    for biome, share in zip(ecoregions.stratum[row].tolist(), strata.share.tolist(), strict=True):
        shares[biome] += share
    return dict(shares)

"""The synthetic Earth as an archive: every modality of every place, rendered when it is asked for.

::

    archives:
      planet: {kind: synthetic, seed: 0}                     # which planet
    modalities:
      sentinel2: {from: planet, pair: {rule: reference}, level: L2A}     # without level: both, as separate images

It needs no files and no network, and it is exact: what is read is ``synthetic_truth.truth`` of the same grid and day.
The series have the same passes; those of Sentinel-2 are clouded all over on days on which a scene is overcast or dark.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geopretext.build.recipe import ModalityRecipe
from geopretext.build.source import Candidate, Observation, Query, Request
from geopretext.build.synthetic_calendar import FIRST, LAST, ORBITS, Scene, day_of, local_time, optical_passes
from geopretext.build.synthetic_truth import CLIMATE, LEVELS, SERIES, climate, render_tiles, series_image, shown_day
from geopretext.data.fields import read_settings
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import Array
from geopretext.errors import Reason, RecipeError, SourceError
from geopretext.modality import Modality

_IMAGES = {
    "sentinel2": LEVELS,
    "sentinel2_series": LEVELS,
    "sentinel2_cloudmask": LEVELS,
    "sentinel2_scl": ("L2A",),
    "sentinel2_cloudprod": ("L2A",),
}
"""modalities that come with an image of Sentinel-2, and the levels that have them"""
_RADAR = ("sentinel1", "sentinel1_series")
_REPEATED = {"dynamic_world": "Y", CLIMATE: "M"}
"""modalities of which there is one for each year or month"""
_AT_ONCE = 48
"""tiles that are rendered together, to bound memory"""


@dataclass(frozen=True)
class _ArchiveOptions:
    """What a recipe says about the planet."""

    seed: int = 0
    """which planet"""


@dataclass(frozen=True)
class _LayerOptions:
    """What a recipe says about one modality of it."""

    level: str = ""
    """of images of Sentinel-2: ``L1C`` or ``L2A``; empty: all that there are"""


def open_source(entry: ModalityRecipe, archive: Mapping[str, Any], *, seed: int, where: str) -> "SyntheticSource":
    """The source of one modality; see ``archives.ArchiveModule``.

    Raises:
        RecipeError: an option is unknown, or the planet has no such modality, band or level.
    """
    del seed  # of the recipe's draws; the planet has its own
    planet = read_settings(_ArchiveOptions, {k: v for k, v in archive.items() if k != "kind"}, where=where)
    options = read_settings(_LayerOptions, {k: v for k, v in entry.options.items() if k != "bands"}, where=where)
    modality, name = entry.modality, entry.modality.name
    known = SyntheticEarth(planet.seed, series=dict.fromkeys(SERIES, 1)).modalities
    if name not in known:
        raise RecipeError(f"it has no modality {name!r}", where=where, hint=f"there are {', '.join(known)}")
    unknown = [band for band in modality.band_names if band not in known[name].band_names]
    if unknown:
        raise RecipeError(
            f"it has no band {unknown[0]!r} of {name}",
            where=where,
            hint=f"there are {', '.join(known[name].band_names)}",
        )
    if any(band != given for band, given in dict(entry.options.get("bands") or {}).items()):
        raise RecipeError("its bands have the names of the modality's", where=where, hint="leave 'bands' out")
    levels = _IMAGES.get(name, ("",))
    if options.level not in ("", *levels):
        raise RecipeError(f"level is {options.level!r}", where=where, hint=f"one of {', '.join(levels)}, or none")
    return SyntheticSource(modality, planet.seed, (options.level,) if options.level else levels)


@dataclass(frozen=True)
class SyntheticSource:
    """One modality of the synthetic Earth; a ``Source``."""

    modality: Modality
    planet: int
    """seed of the planet"""
    levels: tuple[str, ...]
    """of the images that it gives"""

    def search(self, queries: Sequence[Query]) -> list[list[Candidate] | SourceError]:
        """Passes over the scene that holds each place, or the maps, years or months of its zone.

        Polar places have none.
        """
        return [self._candidates(query) for query in queries]

    def _candidates(self, query: Query) -> list[Candidate]:
        try:
            scene = Scene.at(self.planet, lat=query.lat, lon=query.lon)
        except SourceError:
            return []
        start = FIRST if query.start is None else query.start
        stop = LAST if query.stop is None else query.stop
        if query.item:
            day = day_of(query.item)
            start, stop = (start, stop) if day is None else (max(start, day), min(stop, day + np.timedelta64(1, "D")))
        name = self.modality.name
        if name in _IMAGES:
            found = self._images(scene, start, stop)
        elif name in _RADAR:
            found = self._radar(scene, start, stop)
        elif name in _REPEATED:
            found = self._repeated(scene, start, stop)
        else:
            found = [Candidate(f"{name}-{scene.crs}", crs=scene.crs)]
        return [candidate for candidate in found if query.item in ("", candidate.item)]

    def _images(self, scene: Scene, start: np.datetime64, stop: np.datetime64) -> list[Candidate]:
        passes = optical_passes(scene, start, stop)
        days = np.array([day for day, _, _ in passes], "datetime64[D]")
        hidden = scene.is_hidden(days) if self.modality.kind.is_series else np.zeros(len(days), np.bool_)
        return [
            Candidate(
                f"S2-{level}-{scene.name}-{_digits(day)}",
                time,
                crs=scene.crs,
                cloud=100.0 if is_hidden else cloud,
                level=level,
            )
            for (day, time, cloud), is_hidden in zip(passes, hidden.tolist(), strict=True)
            for level in self.levels
        ]

    def _radar(self, scene: Scene, start: np.datetime64, stop: np.datetime64) -> list[Candidate]:
        found = []
        for orbit in ORBITS:
            group = "" if self.modality.kind.is_series else orbit
            days = scene.days(orbit, start, stop)
            found += [
                Candidate(f"S1-{orbit}-{scene.name}-{_digits(day)}", time, crs=scene.crs, group=group, orbit=orbit)
                for day, time in zip(days, local_time(orbit, scene.crs, days), strict=True)
            ]
        return found

    def _repeated(self, scene: Scene, start: np.datetime64, stop: np.datetime64) -> list[Candidate]:
        unit, name = _REPEATED[self.modality.name], self.modality.name
        first = max(start, FIRST).astype(f"datetime64[{unit}]")
        last = (min(stop, LAST).astype("datetime64[s]") - 1).astype(f"datetime64[{unit}]")
        return [
            Candidate(f"{name}-{scene.crs}-{period}", period.astype("datetime64[s]"), crs=scene.crs)
            for period in np.arange(first, last + 1)
        ]

    def read(self, requests: Sequence[Request]) -> Iterator[tuple[int, Observation | SourceError]]:
        """Render each request, those of one size together; a grid of another zone or raster is refused."""
        sizes: dict[tuple[int, int], list[int]] = {}
        for number, request in enumerate(requests):
            refusal = _refusal(request)
            if refusal:
                yield number, refusal
            else:
                sizes.setdefault((request.grid.height, request.grid.width), []).append(number)
        for numbers in sizes.values():
            for portion in (numbers[i : i + _AT_ONCE] for i in range(0, len(numbers), _AT_ONCE)):
                asked = [requests[number] for number in portion]
                for number, request, values in zip(portion, asked, self._rendered(asked), strict=True):
                    yield number, self._observation(request.candidate, values)

    def _rendered(self, requests: Sequence[Request]) -> Array:
        """Stored numbers of all bands of the planet's modality, (n, C, H, W) or (n, C)."""
        name = self.modality.name
        if name == CLIMATE:
            lat, lon = (np.array([getattr(request, axis) for request in requests]) for axis in ("lat", "lon"))
            times = np.array([request.candidate.time for request in requests], "datetime64[s]")
            return climate(self.planet, lat=lat, lon=lon, times=times)
        rendered = render_tiles(
            self.planet,
            [request.grid for request in requests],
            days=[shown_day(name, request.candidate.time) for request in requests],
            levels=[request.candidate.level or LEVELS[-1] for request in requests],
        )
        if name not in SERIES:
            return rendered[name]
        orbits = [request.candidate.orbit for request in requests]
        return np.stack(
            [
                series_image(name, numbers, orbit=orbit)
                for numbers, orbit in zip(rendered[SERIES[name]], orbits, strict=True)
            ]
        )

    def _observation(self, candidate: Candidate, stored: Array) -> Observation:
        known = SyntheticEarth(self.planet, series=dict.fromkeys(SERIES, 1)).modalities[self.modality.name]
        values = stored[list(known.band_indices(self.modality.band_names))]
        valid = np.isfinite(values)
        for number in known.missing:
            valid &= values != number
        if candidate.group:
            for band, name in enumerate(self.modality.band_names):
                valid[band] &= name.startswith(f"{candidate.group}_")
        return Observation(np.where(valid, values, 0), valid)


def _refusal(request: Request) -> SourceError | None:
    """Why a grid cannot be rendered."""
    grid, wanted = request.grid, request.candidate.crs
    if grid.crs != wanted:
        return SourceError(
            f"is of EPSG:{wanted}, the tile's grid of EPSG:{grid.crs}: each zone of the synthetic Earth has a ground of"
            " its own",
            reason=Reason.NO_GEOREFERENCE,
            where=request.candidate.item,
            hint="pair it with a reference from the same planet",
        )
    if grid.step != 10 or grid.left % 10 or grid.top % 10:
        return SourceError(
            f"the synthetic Earth has pixels of 10 m on multiples of 10 m, not of {grid.step:g} m from"
            f" {grid.left:g}, {grid.top:g}",
            reason=Reason.NO_GEOREFERENCE,
            where=request.candidate.item,
            hint="ground_sampling_distance: 10",
        )
    return None


def _digits(day: np.datetime64) -> str:
    return str(day).replace("-", "")

"""Which observations of the synthetic Earth there are: who passes when over which scene, and how cloudy it is.

The planet can be rendered on any day. An archive of it has days on which satellites pass, as a real one has: every
fifth day for Sentinel-2 and every sixth for each orbit of Sentinel-1, counted from a day that differs between scenes.
"""

import re
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid, utm_zone
from geopretext.data.synthetic.noise import key_of, lattice_hash, stir, uniform
from geopretext.data.synthetic.radar import passes
from geopretext.data.synthetic.series import OPTICAL_DAYS, RADAR_DAYS
from geopretext.data.synthetic.sky import CLOUDED, cloud_at
from geopretext.data.synthetic.weather import SCENE, hidden_days

FIRST, LAST = np.datetime64("2015-07-01", "D"), np.datetime64("2031-01-01", "D")
"""the archive's life: first day, and the day after the last"""
ORBITS = ("asc", "desc")
_LOCAL_HOURS = {"optical": 10.5, "asc": 18.0, "desc": 6.0}
"""mean local solar time of the passes"""
_SAMPLES = 8
"""points a side at which the clouds of a scene are counted"""
_STAMP = re.compile(r"-(\d{4})(\d{2})(\d{2})$")


@dataclass(frozen=True)
class Scene:
    """A square of a UTM zone that is observed at once."""

    seed: int
    """which planet"""
    crs: int
    column: int
    """its left edge in scenes from the zone's origin"""
    row: int
    """its upper edge, growing southwards"""

    @classmethod
    def at(cls, seed: int, *, lat: float, lon: float) -> "Scene":
        """The scene that holds a place.

        Raises:
            SourceError: the place is polar.
        """
        spot = Grid.around(lat=lat, lon=lon, crs=utm_zone(lat=lat, lon=lon), size=2)
        return cls(seed, spot.crs, int(spot.left // (10 * SCENE)), int(-spot.top // (10 * SCENE)))

    @property
    def name(self) -> str:
        """Unique on the planet."""
        return f"{self.crs}-{self.column}-{-self.row}"

    def days(self, purpose: str, start: np.datetime64, stop: np.datetime64) -> npt.NDArray[np.datetime64]:
        """Days of passes, ``datetime64[D]``, whose time lies in [start, stop).

        Args:
            purpose: ``optical``, ``asc`` or ``desc``.
            start: earliest time.
            stop: end of the time.
        """
        every = OPTICAL_DAYS if purpose == "optical" else RADAR_DAYS
        bits = lattice_hash(stir(key_of(self.seed, self.crs), purpose), np.array([self.column]), np.array([self.row]))
        phase = int(uniform(bits)[0] * every)
        days = np.arange(max(start.astype("datetime64[D]"), FIRST), min(stop.astype("datetime64[D]") + 1, LAST))
        days = days[days.astype(np.int64) % every == phase]
        if purpose in ORBITS:
            days = days[passes(self.seed, np.full(len(days), self.crs), days)[ORBITS.index(purpose)]]
        times = local_time(purpose, self.crs, days)
        return np.asarray(days[(times >= start) & (times < stop)])

    def is_hidden(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.bool_]:
        """Whether it is overcast, or in the dark, on some days: an image of a series is then clouded all over."""
        zone, column, row = (np.array([number], np.int64) for number in (self.crs, self.column, self.row))
        return np.asarray(hidden_days(self.seed, epsg=zone, column=column, row=row, dates=days[None])[0])

    def cloud(self, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.float64]:
        """Percent of the scene that is clouded on some days, counted at a few points."""
        spacing = SCENE // _SAMPLES // 24 * 24
        along = np.arange(_SAMPLES) * spacing
        columns, rows = np.meshgrid(self.column * SCENE + along, self.row * SCENE + along)
        cover = cloud_at(self.seed, epsg=self.crs, dates=days, columns=columns.ravel(), rows=rows.ravel())
        return np.asarray(100.0 * np.mean(cover > CLOUDED, axis=1), np.float64)


def local_time(purpose: str, crs: int, days: npt.NDArray[np.datetime64]) -> npt.NDArray[np.datetime64]:
    """When the passes of some days over a UTM zone take place, UTC, ``datetime64[s]``; always on that day."""
    hours = (_LOCAL_HOURS[purpose] - (6.0 * (crs % 100) - 183.0) / 15.0) % 24.0
    times = days.astype("datetime64[s]") + np.timedelta64(round(hours * 3600), "s")
    return np.asarray(times, "datetime64[s]")


@lru_cache(maxsize=256)
def optical_passes(
    scene: Scene, start: np.datetime64, stop: np.datetime64
) -> tuple[tuple[np.datetime64, np.datetime64, float], ...]:
    """(day, time, percent of cloud) of the passes of Sentinel-2 over a scene."""
    days = scene.days("optical", start, stop)
    return tuple(zip(days, local_time("optical", scene.crs, days), scene.cloud(days).round(1).tolist(), strict=True))


def day_of(item: str) -> np.datetime64 | None:
    """The day that an item's id ends with; None if it ends with none."""
    stamp = _STAMP.search(item)
    try:
        return np.datetime64("-".join(stamp.groups()), "D") if stamp else None
    except ValueError:
        return None

"""What the synthetic Earth is on the grids of tiles: what its archives hold, and what builds are compared with.

Each UTM zone of the synthetic Earth has a ground of its own, so that grids of two zones show different planets where
they overlap. A tile and everything that is paired with it is therefore rendered in one zone.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.synthetic.climate import climate_at, era5
from geopretext.data.synthetic.series import OPTICAL, RADAR, orbit_bands
from geopretext.data.tiles import Array, Coordinates
from geopretext.errors import InputError
from geopretext.modality import PUBLISHED

LEVELS = PUBLISHED["sentinel2"].levels
CLIMATE = "era5"
"""the modality that is no picture, but a function of place and month"""

SERIES = {OPTICAL: "sentinel2", RADAR: "sentinel1"}
"""series, and the modality that an image of them shows bands of"""
MIDYEAR = np.datetime64("2020-07-01")
"""day that maps without a date show: canopy height follows the leaves by a few decimetres"""
_DATED = ("sentinel2", "sentinel1", "sentinel2_scl", "sentinel2_cloudmask", "sentinel2_cloudprod")


def shown_day(modality: str, time: np.datetime64 | None) -> np.datetime64:
    """The day that an observation shows: its own (UTC) if it is an image, the middle of 2020 if it is a map."""
    if modality not in (*_DATED, *SERIES) or time is None:
        return MIDYEAR
    return time.astype("datetime64[D]")  # type: ignore[no-any-return] # numpy's stubs know no unit here


def truth(
    modality: str,
    grid: Grid,
    *,
    time: np.datetime64 | None = None,
    level: str = "L2A",
    orbit: str = "asc",
    seed: int = 0,
) -> npt.NDArray[Any]:
    """The stored numbers of one modality on one grid, (C, H, W), or (C,) of a vector; of a series, one image.

    Args:
        modality: by name, any of ``SyntheticEarth.modalities``, or a series.
        grid: in a UTM zone, on its 10 m grid.
        time: of the observation (UTC); only images and climate have one.
        level: of Sentinel-2.
        orbit: of an image of ``sentinel1_series``: ``asc`` or ``desc``.
        seed: which planet.

    Raises:
        InputError: there is no such modality, or its time is missing.
        GridError: the grid is not on the 10 m grid of a UTM zone.
    """
    if modality not in SERIES and modality not in SyntheticEarth(seed).modalities:
        raise InputError(f"the synthetic Earth has no modality {modality!r}")
    if time is None and modality in (*_DATED, *SERIES, CLIMATE):
        raise InputError(f"{modality} depends on time", hint="give the time of the observation")
    if modality == CLIMATE:
        assert time is not None
        lat, lon = grid.center
        row = climate(seed, lat=np.array([lat]), lon=np.array([lon]), times=np.array([time], "datetime64[s]"))
        return np.asarray(row[0])
    rendered = render_tiles(seed, [grid], days=[shown_day(modality, time)], levels=[level])
    if modality in SERIES:
        return series_image(modality, rendered[SERIES[modality]][0], orbit=orbit)
    return np.asarray(rendered[modality][0])


def series_image(modality: str, numbers: npt.NDArray[Any], *, orbit: str = "asc") -> npt.NDArray[Any]:
    """The bands of a series out of those of the modality that it shows, (C, H, W).

    Args:
        modality: the series.
        numbers: all bands of ``SERIES[modality]`` on the day.
        orbit: of ``sentinel1_series``.
    """
    if modality == RADAR:
        return numbers[orbit_bands(orbit)]
    return numbers[list(PUBLISHED[SERIES[modality]].band_indices(PUBLISHED[modality].band_names))]


def climate(
    seed: int, *, lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64], times: npt.NDArray[np.datetime64]
) -> npt.NDArray[np.float32]:
    """The twelve numbers of ``era5``, (n, 12), at places and the months of times, each (n,)."""
    month = times.astype("datetime64[M]").astype(np.int64) % 12 + 1
    return era5(climate_at(seed, lat, lon), month)


def render_tiles(
    seed: int, grids: Sequence[Grid], *, days: Sequence[np.datetime64], levels: Sequence[str]
) -> Mapping[str, Array]:
    """Everything on some grids of one size, (n, C, H, W) or (n, C), as stored; grids, days and levels correspond.

    Raises:
        GridError: a grid is not on the 10 m grid of a UTM zone.
    """
    height, width = grids[0].height, grids[0].width
    centers = np.array([grid.center for grid in grids])
    tiles = SyntheticEarth(seed, tile_size=max(height, width)).tiles(
        Coordinates(
            tile_id=np.array([f"{grid.crs} {grid.left:g} {grid.top:g}" for grid in grids]),
            lat=centers[:, 0],
            lon=centers[:, 1],
            crs=np.array([grid.crs for grid in grids], np.int32),
            transform=np.array([grid.transform for grid in grids], np.float64),
            time=np.array(days, "datetime64[s]"),
            levels={"sentinel2": np.array([LEVELS.index(level) for level in levels], np.int8)},
        )
    )
    return {
        name: values[:, :, :height, :width] if values.ndim == 4 else values for name, values in tiles.arrays.items()
    }

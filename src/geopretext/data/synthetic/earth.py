"""The synthetic Earth: places on a procedural planet, and tiles of all modalities and labels rendered at them."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.data.synthetic import labels, optics, products, radar
from geopretext.data.synthetic.climate import climate_at, era5
from geopretext.data.synthetic.cover import cover_of
from geopretext.data.synthetic.grid import BLOCK, PIXEL, Windows
from geopretext.data.synthetic.places import places_of
from geopretext.data.synthetic.series import OPTICAL, RADAR, series_days, series_images
from geopretext.data.synthetic.site import site_of
from geopretext.data.synthetic.sky import sky_of
from geopretext.data.tiles import Array, Coordinates, TileBatch
from geopretext.errors import GridError, InputError
from geopretext.modality import PUBLISHED, Modality

_BATCH = 24 * 64 * 64
"""pixels rendered at once: few enough to stay in the cache"""
_STRIP = 96
"""pixels: side of the windows that a large grid is rendered in, a multiple of ``BLOCK``"""
_BESIDE = max(1, _BATCH // _STRIP**2)
"""such windows that are rendered at once"""
_LEVELS = PUBLISHED["sentinel2"].levels
_Draw = Callable[[Windows], dict[str, Array]]


class SyntheticEarth:
    """A procedural planet with everything that MMEarth has, and labels for downstream tasks.

    The ground is a function of where one stands and when: tiles that touch fit together without a seam, and a tile is
    the same bytes whoever renders it, with whatever other tiles.

    Args:
        seed: which planet.
        tile_size: height and width of tiles in pixels of 10 m.
        series: which of the published series tiles have besides, and how many images a tile has of each at most, spread
            over a year around its reference date.

    Raises:
        InputError: a number is not positive, or there is no such series.
    """

    VERSION = 1
    """of the planet: counts up whenever the same seed gives other bytes"""

    def __init__(self, seed: int = 0, *, tile_size: int = 64, series: Mapping[str, int] | None = None) -> None:
        if tile_size < 1:
            raise InputError(f"tile_size is {tile_size}, wanted at least 1", hint="64 and 128 are usual")
        for name, count in (series or {}).items():
            if name not in (OPTICAL, RADAR) or count < 1:
                raise InputError(f"{count} images of the series {name!r}", hint=f"1 or more, of {OPTICAL} or {RADAR}")
        self.seed = seed
        self.tile_size = tile_size
        self.dates = {name: (series or {})[name] for name in (OPTICAL, RADAR) if name in (series or {})}
        """images a tile has at most, by series"""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """The published fifteen, the series that were asked for, and the downstream labels."""
        published = {name: m for name, m in PUBLISHED.items() if not m.kind.is_series or name in self.dates}
        return {**published, **labels.LABELS}

    def places(self, count: int, *, start: int = 0) -> Coordinates:
        """Places number ``start`` to ``start + count - 1``; each depends on its number and the seed alone."""
        return places_of(self.seed, self.tile_size, np.arange(start, start + count, dtype=np.int64))

    def tiles(self, coordinates: Coordinates) -> TileBatch:
        """Render the tiles at ``coordinates``, which need not come from ``places``.

        Raises:
            GridError: a transform is not north-up on the 10 m grid, or a CRS is no UTM zone.
            InputError: there are no tiles, or the date or the level of Sentinel-2 of one is unknown.
        """
        _check(coordinates)
        step = max(1, _BATCH // self.tile_size**2)
        parts = [self._tiles(coordinates.take(slice(i, i + step))) for i in range(0, len(coordinates), step)]
        arrays = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
        for name in self.dates:
            days = series_days(name, self.seed, coordinates, self.tile_size, self.dates[name])
            levels = {name: coordinates.levels["sentinel2"]} if self.modalities[name].levels else {}
            coordinates = replace(
                coordinates,
                series={**coordinates.series, name: days},
                levels={**coordinates.levels, **levels},
            )
            arrays[name] = self._series(name, coordinates)
        return TileBatch(coordinates, {name: arrays[name] for name in self.modalities})

    def _tiles(self, coordinates: Coordinates) -> dict[str, Array]:
        windows, down, right = self._around(coordinates)
        maps = {name: _cut(values, down, right, self.tile_size) for name, values in _maps(windows).items()}
        return maps | labels.tile_labels(maps) | self._vectors(coordinates)

    def _series(self, name: str, coordinates: Coordinates) -> Array:
        """Images of one series at its dates, (n, T, C, H, W)."""
        modality, days = self.modalities[name], coordinates.series[name]
        shape = (*days.shape, len(modality.bands), self.tile_size, self.tile_size)
        images = np.full(shape, modality.fill, modality.dtype)
        tile, date = np.nonzero(~np.isnat(days))
        step = max(1, _BATCH // self.tile_size**2)
        for portion in (slice(i, i + step) for i in range(0, len(tile), step)):
            then = replace(coordinates.take(tile[portion]), time=days[tile[portion], date[portion]])
            windows, down, right = self._around(then)
            seen = _cut(series_images(name, windows, then), down, right, self.tile_size)
            images[tile[portion], date[portion]] = seen
        return images

    def _around(self, coordinates: Coordinates) -> tuple[Windows, npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Windows that hold the tiles, and the pixels of these at which the tiles begin: down, right."""
        column = np.rint(coordinates.transform[:, 2] / PIXEL).astype(np.int64)
        row = np.rint(-coordinates.transform[:, 5] / PIXEL).astype(np.int64)
        right, down = column % BLOCK, row % BLOCK
        span = -(-(self.tile_size + int(max(right.max(), down.max()))) // 6) * 6
        windows = Windows(
            seed=self.seed,
            epsg=coordinates.crs.astype(np.int64),
            column=column - right,
            row=row - down,
            height=span,
            width=span,
            date=coordinates.time.astype("datetime64[D]"),
            level=coordinates.levels["sentinel2"],
        )
        return windows, down, right

    def _vectors(self, coordinates: Coordinates) -> dict[str, Array]:
        month = coordinates.time.astype("datetime64[M]").astype(np.int64) % 12 + 1
        assert coordinates.biome is not None
        assert coordinates.ecoregion is not None
        return {
            "lat": _circle(np.radians(coordinates.lat)),
            "lon": _circle(np.radians(coordinates.lon)),
            "month": _circle(2 * np.pi * month / 12),
            "biome": coordinates.biome[:, None],
            "ecoregion": coordinates.ecoregion[:, None],
            "era5": era5(climate_at(self.seed, coordinates.lat, coordinates.lon), month),
        }

    def render(
        self,
        *,
        crs: int,
        x0: float,
        y0: float,
        height: int,
        width: int,
        date: np.datetime64,
        level: str = "L2A",
        names: Collection[str] | None = None,
    ) -> dict[str, Array]:
        """Map modalities and label maps of a grid of any size, (C, height, width) each, as they are stored.

        Memory grows with the grid; render a large scene in strips, which fit together without a seam.

        Args:
            crs: EPSG code of a UTM zone.
            x0: easting of the left edge in metres, a multiple of 10.
            y0: northing of the upper edge in metres, a multiple of 10.
            height: pixels of 10 m.
            width: pixels of 10 m.
            date: of the image.
            level: ``L1C`` or ``L2A``.
            names: of the maps that are wanted; None: all.

        Raises:
            GridError: the grid is not on the 10 m grid of a UTM zone, or empty.
            InputError: no such level.
        """
        if level not in _LEVELS:
            raise InputError(f"no level {level!r} of Sentinel-2", hint=f"there are {', '.join(_LEVELS)}")
        extent = _Extent(crs=crs, x0=x0, y0=y0, height=height, width=width)
        wanted = [name for name, m in self.modalities.items() if m.kind.is_map and (names is None or name in names)]

        def draw(windows: Windows) -> dict[str, Array]:
            maps = _maps(windows)
            return {name: maps[name] for name in wanted}

        return self._mosaic(extent, date, _LEVELS.index(level), draw)

    def elevation(self, *, crs: int, x0: float, y0: float, height: int, width: int) -> npt.NDArray[np.float32]:
        """Metres above the sea of a grid, (height, width), as they are before they are rounded to whole metres.

        Args and errors are those of ``render``.
        """
        extent = _Extent(crs=crs, x0=x0, y0=y0, height=height, width=width)
        ground = self._mosaic(extent, np.datetime64("2020-07-01"), 1, lambda w: {"height": site_of(w).height[:, None]})
        return np.asarray(ground["height"][0])

    def _mosaic(self, extent: "_Extent", date: np.datetime64, level: int, draw: _Draw) -> dict[str, Array]:
        """What ``draw`` gives for windows, (n, C, H, W), put together to maps (C, height, width)."""
        column, row = round(extent.x0 / PIXEL), round(-extent.y0 / PIXEL)
        lefts = np.arange(column // BLOCK * BLOCK, column + extent.width, _STRIP)
        tops = range(row // BLOCK * BLOCK, row + extent.height, _STRIP)
        right = column - int(lefts[0])
        maps: dict[str, Array] = {}
        for top in tops:
            portions = [lefts[i : i + _BESIDE] for i in range(0, len(lefts), _BESIDE)]
            parts = [draw(self._windows(extent.crs, portion, top, date, level)) for portion in portions]
            above = top - row
            start, stop = max(0, above), min(extent.height, above + _STRIP)
            for name in parts[0]:
                strip = np.concatenate([piece for part in parts for piece in part[name]], axis=-1)
                if name not in maps:
                    maps[name] = np.empty((len(strip), extent.height, extent.width), strip.dtype)
                maps[name][:, start:stop] = strip[:, start - above : stop - above, right : right + extent.width]
        return maps

    def _windows(self, crs: int, lefts: npt.NDArray[np.int64], top: int, date: np.datetime64, level: int) -> Windows:
        """Windows beside each other, ``_STRIP`` pixels wide and high."""
        count = len(lefts)
        return Windows(
            seed=self.seed,
            epsg=np.full(count, crs, np.int64),
            column=lefts,
            row=np.full(count, top),
            height=_STRIP,
            width=_STRIP,
            date=np.full(count, date, "datetime64[D]"),
            level=np.full(count, level, np.int8),
        )


@dataclass(frozen=True)
class _Extent:
    """A grid to render."""

    crs: int
    x0: float
    y0: float
    height: int
    width: int

    def __post_init__(self) -> None:
        _check_grid(self.crs, np.array([PIXEL, 0, self.x0, 0, -PIXEL, self.y0]), where="the grid to render")
        if self.height < 1 or self.width < 1:
            raise GridError(f"{self.height} x {self.width} pixels", where="the grid to render")


def _maps(windows: Windows) -> dict[str, Array]:
    """Everything that is a map, (n, C, H, W): stored modalities, and what tile labels are made of."""
    site = site_of(windows)
    cover = cover_of(windows, site)
    sky = sky_of(windows)
    ground = np.stack([site.height, np.degrees(np.arctan(site.slope))], axis=1)
    return {
        "sentinel2": optics.sentinel2(windows, site, cover, sky),
        "sentinel1": radar.sentinel1(windows, site.terrain, cover),
        "aster": np.rint(ground).astype(np.int16),
        "dynamic_world": products.dynamic_world(windows, cover),
        "canopy_height_eth": products.canopy_height(windows, site, cover),
        "esa_worldcover": products.worldcover(windows, cover),
        "sentinel2_scl": products.scene_classes(windows, site, cover, sky),
        "sentinel2_cloudmask": products.cloud_mask(windows, sky),
        "sentinel2_cloudprod": products.cloud_probability(windows, sky),
        **labels.label_maps(cover),
    }


def _cut(values: Array, down: npt.NDArray[np.int64], right: npt.NDArray[np.int64], size: int) -> Array:
    """Tiles of ``size`` pixels that begin at ``down``, ``right`` in the windows (n, C, H, W)."""
    if not down.any() and not right.any():
        return values[:, :, :size, :size]
    return np.stack([m[:, r : r + size, c : c + size] for m, r, c in zip(values, down, right, strict=True)])


def _circle(angle: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    return np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32)


def _check(coordinates: Coordinates) -> None:
    if len(coordinates) == 0:
        raise InputError("no tiles to render", hint="give at least one place")
    for tile, crs, transform in zip(coordinates.tile_id, coordinates.crs, coordinates.transform, strict=True):
        _check_grid(int(crs), transform, where=f"tile {tile}")
    if "sentinel2" not in coordinates.levels or (coordinates.levels["sentinel2"] < 0).any():
        raise InputError("a tile's level of Sentinel-2 is unknown", hint="give levels['sentinel2']: 0 L1C, 1 L2A")
    if np.isnat(coordinates.time).any():
        raise InputError("a tile's date is unknown", hint="give time: the season decides what it looks like")


def _check_grid(crs: int, transform: npt.NDArray[np.float64], *, where: str) -> None:
    if crs // 100 not in (326, 327) or not 1 <= crs % 100 <= 60:
        raise GridError(f"EPSG:{crs} is no UTM zone", where=where, hint="UTM zones are 32601..32660 and 32701..32760")
    corner = np.rint(transform[[2, 5]] / PIXEL) * PIXEL
    if not np.array_equal(transform, [PIXEL, 0, corner[0], 0, -PIXEL, corner[1]]):
        raise GridError(
            f"transform {transform.tolist()} is not north-up on the 10 m grid",
            where=where,
            hint="the synthetic Earth has pixels of 10 m whose corners are at multiples of 10 m",
        )

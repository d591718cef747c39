"""Scenes from whatever a user has: what kind of thing a path or address is, and the module that reads it.

    scene = open_scene("S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS_20240830T134009.SAFE.zip")
    scene = open_scene("mosaic.tif", unit="reflectance x 10000")

What each kind needs to be told, and what it says by itself, stands in ``docs/scenes.md``. What several processes read
is described by a ``SceneSource``, which each of them opens.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Literal, Protocol, TypeAlias, cast
from urllib.parse import urlsplit

from geopretext.errors import InputError
from geopretext.predict.joined_scene import join_scenes
from geopretext.predict.scene import Scene

Clouds: TypeAlias = Literal["mask", "keep"]
"""What is done to pixels that a scene classification (SCL) calls clouded"""

_URL = re.compile(r"^[a-z][a-z0-9+.-]+://")
_RASTER = (".tif", ".tiff", ".jp2", ".vrt", ".png", ".jpg", ".jpeg", ".img")
_CUBE = (".nc", ".zarr")


@dataclass(frozen=True)
class SceneSource:
    """Where a scene is, and what is known of it that it does not say itself."""

    path: str
    """file, folder or address"""
    bands: tuple[str, ...] | None = None
    """names in file order, where the files do not name them; ``-`` leaves one out"""
    unit: str | None = None
    """of the numbers; ``unstated`` accepts that nobody knows"""
    level: str | None = None
    """processing level of Sentinel-2: L1C or L2A"""
    date: str | None = None
    """when it was taken, UTC, ISO 8601; of a cube, which of its dates"""
    clouds: Clouds = "mask"
    """pixels that its scene classification calls clouded are missing, or kept"""
    allow_no_crs: bool = False
    """take images that do not say where they lie"""
    also: tuple["SceneSource", ...] = ()
    """more files of the same place on the same grid, with other bands"""

    def open(self) -> Scene:
        """The scene, with the bands of all files.

        Raises:
            InputError: nothing is there, it is nothing that is read, or it is not as declared (``BandError``,
                ``UnitError``, ``GridError``).
            CorruptError: it cannot be decoded.
            SourceError: an address cannot be reached, or its item cannot be used.
            MissingLibraryError: a library of ``[geo]`` is not installed.
        """
        module = cast("SceneModule", import_module(f"geopretext.predict.{_kind(self.path)}_scene"))
        return join_scenes([module.open_source(self), *(source.open() for source in self.also)])


class SceneModule(Protocol):
    """What the module of a kind of scene offers."""

    def open_source(self, source: SceneSource) -> Scene:
        """See ``SceneSource.open``."""


def open_scene(
    path: str | Path,
    *,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    date: str | None = None,
    clouds: Clouds = "mask",
    allow_no_crs: bool = False,
) -> Scene:
    """A raster, a folder of bands, a Sentinel-2 product, a STAC item or a NetCDF or Zarr cube, as a scene.

    Args:
        path: file, folder or address; what is in memory goes to ``xarray_scene.scene_of_xarray``.
        bands: see ``SceneSource``, as all that follow.
        unit: of the numbers.
        level: of Sentinel-2.
        date: when it was taken.
        clouds: mask or keep.
        allow_no_crs: take images that do not say where they lie.

    Raises:
        InputError, CorruptError, SourceError, MissingLibraryError: see ``SceneSource.open``.
    """
    named = None if bands is None else tuple(bands)
    return SceneSource(str(path), named, unit, level, date, clouds, allow_no_crs).open()


def is_url(path: str) -> bool:
    """Whether a path is an address."""
    return _URL.match(path) is not None


def _kind(path: str) -> str:
    """Which module reads it."""
    suffix = Path(urlsplit(path).path if is_url(path) else path).suffix.lower()
    if is_url(path):
        if suffix in (*_CUBE, ".zip", ".safe"):
            raise InputError("is not read from an address", where=path, hint="download it, or open it with xarray")
        return "raster" if suffix in _RASTER else "stac"
    place = Path(path)
    if not place.exists():
        raise InputError("nothing is there", where=path)
    if suffix in (".json", ".geojson"):
        return "stac"
    if suffix in _CUBE:
        return "xarray"
    if suffix in (".zip", ".safe", ".xml") or (place.is_dir() and next(place.glob("MTD_MSIL*.xml"), None)):
        return "safe"
    return "band_folder" if place.is_dir() else "raster"

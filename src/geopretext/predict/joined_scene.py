"""Several scenes of one place on one grid as one scene: an optical image, a radar image, terrain.

Each keeps its own unit; ``part_of`` gives the one that has a band, which the doors of an encoder's inputs ask for.

Shapes: C bands, h w pixels of a window.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.errors import BandError, GridError
from geopretext.predict.scene import Array, Georeference, Mask, Scene

_ALIKE = 0.01
"""of a pixel, by which corners may differ: files round them"""


@dataclass(frozen=True)
class JoinedScene:
    """See ``scene.Scene``; made by ``join_scenes``."""

    parts: tuple[Scene, ...]
    """the first says where it lies and when it was taken"""

    @property
    def where(self) -> str:
        """See ``Scene``."""
        return self.parts[0].where

    @property
    def bands(self) -> tuple[str, ...]:
        """See ``Scene``."""
        return tuple(name for part in self.parts for name in part.bands)

    @property
    def unit(self) -> str:
        """Those of all parts, with commas."""
        return ", ".join(dict.fromkeys(part.unit for part in self.parts))

    @property
    def dtype(self) -> str:
        """See ``Scene``."""
        return str(np.result_type(*(np.dtype(part.dtype) for part in self.parts)))

    @property
    def height(self) -> int:
        """See ``Scene``."""
        return self.parts[0].height

    @property
    def width(self) -> int:
        """See ``Scene``."""
        return self.parts[0].width

    @property
    def georeference(self) -> Georeference:
        """See ``Scene``."""
        return self.parts[0].georeference

    @property
    def level(self) -> str | None:
        """Of the first part that says one."""
        return next((part.level for part in self.parts if part.level is not None), None)

    @property
    def time(self) -> np.datetime64 | None:
        """Of the first part that says one."""
        return next((part.time for part in self.parts if part.time is not None), None)

    @property
    def record(self) -> Mapping[str, Any]:
        """Of the first part, and those of the others under ``also``."""
        return {**self.parts[0].record, "also": [dict(part.record) for part in self.parts[1:]]}

    def read(self, rows: slice, columns: slice, bands: Sequence[str]) -> tuple[Array, Mask]:
        """See ``Scene``."""
        height, width = rows.stop - rows.start, columns.stop - columns.start
        values = np.zeros((len(bands), height, width), np.float32)
        valid = np.zeros(values.shape, np.bool_)
        for part in self.parts:
            places = [place for place, name in enumerate(bands) if name in part.bands]
            if places:
                values[places], valid[places] = part.read(rows, columns, [bands[place] for place in places])
        return values, valid

    def fingerprint(self) -> str:
        """See ``Scene``."""
        return joined_fingerprint([part.fingerprint() for part in self.parts])


def join_scenes(scenes: Sequence[Scene]) -> Scene:
    """One scene of several; a single one stays itself.

    Raises:
        GridError: they do not lie on the same pixels.
        BandError: two have a band of the same name.
    """
    first, *others = scenes
    for other in others:
        _check_grid(first, other)
    names = [name for scene in scenes for name in scene.bands]
    twice = [name for name in dict.fromkeys(names) if names.count(name) > 1]
    if twice:
        raise BandError(
            f"band {', '.join(twice)} is in more than one of the files",
            where=", ".join(scene.where for scene in scenes),
            hint="name the bands of each, and leave one out with - (--bands, ?bands=)",
        )
    return JoinedScene(tuple(scenes)) if others else first


def part_of(scene: Scene, bands: Sequence[str]) -> Scene:
    """What of a scene has some bands: its part that has one of them, or those parts together; else the scene itself."""
    parts = tuple(part for part in _parts(scene) if set(bands) & set(part.bands))
    if not parts or len(parts) == len(_parts(scene)):
        return scene
    return parts[0] if len(parts) == 1 else JoinedScene(parts)


def require_used(scene: Scene, bands: Collection[str]) -> None:
    """Refuse a scene of several files, one of which has nothing that is read: whoever gave it means it to be used.

    Args:
        scene: of one file or several.
        bands: that are read.

    Raises:
        BandError: names the file and its bands.
    """
    parts = _parts(scene)
    for part in parts:
        if len(parts) > 1 and not set(bands) & set(part.bands):
            raise BandError(
                f"has the bands {', '.join(part.bands)}, none of which is used",
                where=part.where,
                hint=f"name its bands (--bands, ?bands=), which may be {', '.join(bands)}; or leave the file out",
            )


def _parts(scene: Scene) -> tuple[Scene, ...]:
    return scene.parts if isinstance(scene, JoinedScene) else (scene,)


def _check_grid(first: Scene, other: Scene) -> None:
    hint = f"warp it to the grid of {first.where}, as `gdalwarp` does"
    if (first.height, first.width) != (other.height, other.width):
        raise GridError(
            f"has {other.height} x {other.width} pixels, {first.where} {first.height} x {first.width}",
            where=other.where,
            hint=hint,
        )
    one, two = first.georeference, other.georeference
    if bool(one.crs) != bool(two.crs) or (one.crs and not _same_crs(one.crs, two.crs)):
        raise GridError(f"is in another projection than {first.where}", where=other.where, hint=hint)
    if one.crs and not _same_corners(first, other):
        raise GridError(
            f"has its pixels at {two.transform}, {first.where} at {one.transform}", where=other.where, hint=hint
        )


def _same_crs(one: str, two: str) -> bool:
    if one == two:
        return True
    from rasterio.crs import CRS

    return bool(CRS.from_user_input(one) == CRS.from_user_input(two))


def _same_corners(first: Scene, other: Scene) -> bool:
    """Whether the outer corners are at the same places, so that no pixel is off by more than files round."""
    a, b, _, d, e, _ = first.georeference.transform
    side = max(abs(a), abs(b), abs(d), abs(e))
    for column in (0, first.width):
        for row in (0, first.height):
            one, two = (
                (t[0] * column + t[1] * row + t[2], t[3] * column + t[4] * row + t[5])
                for t in (first.georeference.transform, other.georeference.transform)
            )
            if max(abs(one[0] - two[0]), abs(one[1] - two[1])) > _ALIKE * side:
                return False
    return True

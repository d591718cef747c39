"""From a scene to the input of an encoder: the door of images (``predict.image_door``), through which windows go.

What is done to the numbers is decided once for the whole scene, on windows of the size that the encoder was trained on,
spread over the scene.

Shapes: B windows, C bands, h w pixels of a window.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Any

import numpy as np
from torch import Tensor

from geopretext.data.statistics import POOLED
from geopretext.errors import GridError, InputError
from geopretext.modality import Modality, known_scales
from geopretext.nn.bundle import Encoder
from geopretext.predict.chosen_inputs import inputs_record
from geopretext.predict.door_report import PixelSizes, unlike_pixels
from geopretext.predict.image_door import ImageDoor, StatisticsChoice
from geopretext.predict.images import Images
from geopretext.predict.input_gate import GateReport
from geopretext.predict.joined_door import Door, JoinedDoor, judge_door, open_door
from geopretext.predict.joined_scene import part_of, require_used
from geopretext.predict.scene import Array, Mask, Scene
from geopretext.predict.windows import Windows

_LOOKED_AT = 24
"""windows; more say little more, and each may mean decoding a whole block of every band"""
_ENOUGH = 0.02
"""of a window's pixels that must have been observed"""


@dataclass(frozen=True)
class DoorOptions:
    """Choices about the input of a scene; all have a sound default."""

    statistics: StatisticsChoice = "auto"
    """which means and deviations standardise it"""
    level: str | None = None
    """processing level, where the scene does not say it"""
    substitutes: tuple[tuple[str, str], ...] = ()
    """(band of the encoder that the scene lacks, band of the scene to take in its place)"""
    fill: tuple[str, ...] = ()
    """bands of the encoder that may be missing everywhere"""
    strict: bool = False
    """refuse input that the gate finds implausible, instead of warning"""


@dataclass(frozen=True)
class SceneImages:
    """Windows of a scene as ``Images``; what lies beyond its edges is missing."""

    scene: Scene
    corners: tuple[tuple[int, int], ...]
    """first row and column of each window, pixels"""
    height: int
    width: int

    @property
    def where(self) -> str:
        """See ``Images``."""
        return self.scene.where

    @property
    def bands(self) -> tuple[str, ...]:
        """See ``Images``."""
        return self.scene.bands

    @property
    def unit(self) -> str:
        """See ``Images``."""
        return self.scene.unit

    @property
    def dtype(self) -> str:
        """See ``Images``."""
        return self.scene.dtype

    def __len__(self) -> int:
        return len(self.corners)

    def read(self, samples: Array, bands: Sequence[str]) -> tuple[Array, Mask]:
        """See ``Images``."""
        shape = (len(samples), len(bands), self.height, self.width)
        values, valid = np.zeros(shape, np.float32), np.zeros(shape, np.bool_)
        for place, sample in enumerate(samples):
            row, column = self.corners[sample]
            rows = slice(row, min(row + self.height, self.scene.height))
            columns = slice(column, min(column + self.width, self.scene.width))
            inside = (place, slice(None), slice(0, rows.stop - row), slice(0, columns.stop - column))
            values[inside], valid[inside] = self.scene.read(rows, columns, bands)
        return values, valid


@dataclass(frozen=True)
class SceneDoor:
    """A scene on its way into an encoder; made by ``open_scene_door``."""

    scene: Scene
    door: Door
    """its images are windows of the encoder's own size, spread over the scene"""
    gate: GateReport
    """what they looked like"""
    pixel_sizes: PixelSizes = field(default_factory=dict)
    """of ``scene`` and ``encoder``"""
    levels: tuple[str, ...] = ()
    """of which the encoder has statistics"""
    inputs: Mapping[str, Any] = field(default_factory=dict)
    """which inputs of the encoder are used, of ``chosen_inputs.inputs_record``"""

    @property
    def record(self) -> dict[str, Any]:
        """What was done to the numbers, in plain types."""
        return {
            "scene": dict(self.scene.record),
            **self.inputs,
            **self.door.record,
            "pixel_sizes": dict(self.pixel_sizes),
            "levels_of_encoder": list(self.levels),
            "gate": self.gate.to_dict(),
        }

    def closed(self) -> Callable[[Scene], "SceneDoor"]:
        """The same decisions without the scene, to be sent to another process that opens it anew."""
        doors = self.door.doors if isinstance(self.door, JoinedDoor) else (self.door,)
        decisions = tuple(
            {each.name: getattr(door, each.name) for each in fields(door) if each.name != "images"} for door in doors
        )
        images = doors[0].images
        assert isinstance(images, SceneImages)
        facts = (self.gate, self.pixel_sizes, self.levels, self.inputs)
        return partial(_reopened, images.corners, images.height, images.width, decisions, facts)

    def read(self, windows: Windows, numbers: Sequence[int]) -> tuple[Tensor, Tensor]:
        """Some windows.

        Returns:
            standardised values, 0 where missing, float32 (B, C, h, w); and (B, h, w) bool, where all bands that the
            scene has were observed.

        Raises:
            CorruptError: the scene cannot be decoded.
        """
        height, width = windows.down.extent, windows.across.extent
        corners = tuple(windows.corner(number) for number in numbers)

        def windows_of(images: Images) -> Images:
            assert isinstance(images, SceneImages)
            return replace(images, corners=corners, height=height, width=width)

        door = self.door.moved(windows_of, height=height, width=width)
        (observed,) = door.blocks(size=len(numbers))
        return door.normaliser(observed).values, door.seen(observed.valid)


def _reopened(
    corners: tuple[tuple[int, int], ...],
    height: int,
    width: int,
    decisions: tuple[Mapping[str, Any], ...],
    facts: tuple[GateReport, PixelSizes, tuple[str, ...], Mapping[str, Any]],
    scene: Scene,
) -> SceneDoor:
    doors = []
    for decided in decisions:
        stored = [name for name in decided["match"].sources if name is not None]
        doors.append(ImageDoor(images=SceneImages(part_of(scene, stored), corners, height, width), **decided))
    return SceneDoor(scene, JoinedDoor(tuple(doors)) if len(doors) > 1 else doors[0], *facts)


def open_scene_door(scene: Scene, encoder: Encoder, options: DoorOptions | None = None) -> SceneDoor:
    """Decide what is done to a scene's numbers, and hold them against what the encoder was trained on.

    Args:
        scene: at least a patch wide and high.
        encoder: says which bands, unit, statistics, patch and crop size.
        options: choices; by default none is made.

    Raises:
        BandError: the scene lacks a band of the encoder, and nothing is declared for it; or nothing of one of its files
            is used.
        UnitError: its unit cannot be converted exactly, or the numbers contradict it.
        GridError: it is smaller than a patch.
        GridError: ``strict``, and its pixels are of another size than those that the encoder was trained on.
        InputError: nothing was observed anywhere in it; the encoder does not know its processing level; or ``strict``,
            and the gate finds it implausible.
    """
    options = options or DoorOptions()
    substitutes = dict(options.substitutes)
    require_used(scene, [substitutes.get(name, name) for name in encoder.bands])
    level = _level(scene, encoder, options)
    images = _looked_at(scene, encoder)
    if not len(images):
        raise InputError(
            "nothing was observed anywhere in it: all is missing, or under clouds",
            where=scene.where,
            hint="look at its no-data value and at its mask of clouds",
        )
    door = open_door(
        lambda modality: _images_of(modality, images, substitutes),
        encoder,
        statistics=options.statistics,
        level=level if level in known_scales(encoder.statistics) else None,
        substitutes=substitutes,
        fill=options.fill,
    )
    gate = judge_door(door, encoder, np.arange(len(images)), level=level)
    sizes = {"scene": _pixel_sides(scene), "encoder": encoder.ground_sampling_distance}
    if options.strict:
        gate.require_plausible(where=scene.where)
        if warning := unlike_pixels(sizes):
            raise GridError(warning, where=scene.where, hint="resample it first; without --strict this is a warning")
    return SceneDoor(scene, door, gate, sizes, _levels(encoder), inputs_record(encoder))


def _images_of(modality: Modality, images: SceneImages, substitutes: Mapping[str, str]) -> SceneImages:
    """The same windows of the part of the scene that has an input."""
    wanted = [substitutes.get(name, name) for name in modality.band_names]
    return replace(images, scene=part_of(images.scene, [name for name in wanted if name in images.scene.bands]))


def anything_seen(scene: Scene, encoder: Encoder) -> bool:
    """Whether there is a window of it that ``open_scene_door`` would look at."""
    return len(_looked_at(scene, encoder)) > 0


def _levels(encoder: Encoder) -> tuple[str, ...]:
    return tuple(level for level in known_scales(encoder.statistics) if level != POOLED)


def _level(scene: Scene, encoder: Encoder, options: DoorOptions) -> str | None:
    """The scene's processing level, as the encoder spells it.

    Raises:
        InputError: the encoder has statistics of other levels only, which would shift all features; or there is no
            such level.
    """
    given = options.level or scene.level
    levels = _levels(encoder)
    if not levels or options.statistics == "dataset":
        levels = encoder.modality.levels
    if given is None or not levels:
        return given
    spelt = {level.lower(): level for level in levels}
    if given.lower() not in spelt:
        raise InputError(
            f"is of level {given!r}; the encoder knows {', '.join(levels)}",
            where=scene.where,
            hint="correct --level, or standardise the scene by its own means (--statistics dataset)",
        )
    return spelt[given.lower()]


def _pixel_sides(scene: Scene) -> tuple[float, float] | None:
    """Metres; None if the scene does not say where it lies, for which nothing needs to be installed."""
    if not scene.georeference.crs:
        return None
    from geopretext.predict.ground_area import pixel_sides

    return pixel_sides(scene)


def _looked_at(scene: Scene, encoder: Encoder) -> SceneImages:
    """Some windows of the encoder's crop size, or of all of a smaller scene, at random places with anything to see."""
    side = encoder.settings.image_size
    height, width = min(side, scene.height), min(side, scene.width)
    places = [(row, column) for row in range(0, scene.height, height) for column in range(0, scene.width, width)]
    # one band of each input: where any was observed there is something to see
    wanted = [
        next(name for name in modality.band_names if name in scene.bands)
        for modality in encoder.inputs
        if set(modality.band_names) & set(scene.bands)
    ] or list(scene.bands[:1])
    found: list[tuple[int, int]] = []
    for number in np.random.default_rng(0).permutation(len(places)):
        row, column = (
            min(start, length - extent)
            for start, length, extent in zip(places[number], (scene.height, scene.width), (height, width), strict=True)
        )
        _, valid = scene.read(slice(row, row + height), slice(column, column + width), wanted)
        if valid.any(0).mean() > _ENOUGH:
            found.append((row, column))
        if len(found) == _LOOKED_AT:
            break
    return SceneImages(scene, tuple(sorted(found)), height, width)

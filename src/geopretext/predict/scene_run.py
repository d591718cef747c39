"""A map of a whole scene: computed strip by strip, in this process or several, kept, and read back in order.

::

    with run_scene(source, network, parts=folder) as run:
        for rows in run.rows():
            ...

Whatever stops a run leaves its finished strips in the folder of parts, and the same call goes on from there. What is
read back is the same, bit for bit, whether a run was stopped or not.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.errors import InputError
from geopretext.predict.devices import check_device
from geopretext.predict.disk_space import require_space
from geopretext.predict.scene import Georeference, Scene
from geopretext.predict.scene_crew import NetworkSource, SceneOpener, StripJob, compute_in_processes
from geopretext.predict.scene_door import DoorOptions, SceneDoor, open_scene_door
from geopretext.predict.scene_maps import Rows, Strip, join_strips
from geopretext.predict.scene_outputs import Output, check_scene
from geopretext.predict.scene_parts import StripFiles, claimed
from geopretext.predict.windows import Windows

Progress = Callable[[int, int], None]
"""called with (windows done, windows in all)"""
Looked = Callable[[Mapping[str, Any]], None]
"""called with ``SceneRun.record`` as soon as it is known what is done to the numbers"""

_CPU_PIXELS, _DEVICE_PIXELS = 32 * 64 * 64, 2048 * 2048
"""of the windows of a batch: on a CPU, what stays in its caches (see ``predict.features``); elsewhere, what fills it"""

_LARGEST = 1024
"""pixels on a side of windows that were not asked for: a process with an encoder of size micro and patches of 16 then
stays under 2 GB"""


@dataclass(frozen=True)
class RunOptions:
    """Choices about how a scene is computed; all have a sound default."""

    door: DoorOptions = field(default_factory=DoorOptions)
    window: int | None = None
    """pixels on a side; None: six times the margin, of which two thirds count, but for the sake of memory not above
    1024, unless three margins and a ramp are; of a network without a margin, a patch"""
    margin: int | None = None
    """pixels at inner edges of windows that are not used; None: what the network wants"""
    ramp: int | None = None
    """pixels over which windows are blended; None: two patches, or none of a network without a margin"""
    devices: tuple[str, ...] = ("cpu",)
    """where networks run; several processes take turns"""
    workers: int = 1
    """processes; at least one a device. One computes in this process"""
    batch: int | None = None
    """windows at a time; None: as many small ones as do the device good"""
    keep: Literal["float32", "float16"] = "float32"
    """how results are kept in parts"""

    def __post_init__(self) -> None:
        if self.workers < 1 or not self.devices:
            raise InputError(f"{self.workers} processes on {len(self.devices)} devices")
        if self.batch is not None and self.batch < 1:
            raise InputError(f"{self.batch} windows at a time")
        for device in self.devices:
            check_device(device)

    @property
    def processes(self) -> tuple[str, ...]:
        """The device of each process."""
        count = max(self.workers, len(self.devices))
        return tuple(self.devices[number % len(self.devices)] for number in range(count))


@dataclass(frozen=True)
class SceneRun:
    """A map that is computed, or, without parts, is computed whenever it is read."""

    scene: Scene
    windows: Windows
    width: int
    """numbers a cell"""
    record: Mapping[str, Any]
    """what was done to the numbers, and how windows lie, in plain types"""
    files: StripFiles | None
    strips: Callable[[], Iterator[Strip]]
    """in order"""

    @property
    def height(self) -> int:
        """Cells."""
        return self.windows.down.cells

    @property
    def columns(self) -> int:
        """Cells."""
        return self.windows.across.cells

    @property
    def georeference(self) -> Georeference:
        """Of the cells."""
        return self.scene.georeference.coarser(self.windows.across.cell)

    def rows(self) -> Iterator[Rows]:
        """The map from the top; as often as wanted."""
        return join_strips(self.strips(), self.windows)

    def discard(self) -> None:
        """Delete the parts: once the output stands, nobody needs them."""
        if self.files is not None:
            self.files.discard()


def scene_windows(scene: Scene, network: NetworkSource, options: RunOptions) -> Windows:
    """How a scene is cut.

    Raises:
        InputError: the windows that were asked for leave nothing between their margins; or the network says one thing
            of each window, so that neither their size nor margins can be chosen.
    """
    patch = network.patch
    if network.margin == 0 and network.cell == network.extent:  # such a network sees its cell and nothing else
        for pixels, wanted, what in (
            (options.window, patch, "windows"),
            (options.margin, 0, "margins"),
            (options.ramp, 0, "ramps"),
        ):
            if pixels not in (None, wanted):
                raise InputError(
                    f"{what} of {pixels} pixels for tiles of {patch}",
                    hint="each tile is a window of its own: say nothing of windows, or choose the size of tiles",
                )
    margin = _up(network.margin if options.margin is None else options.margin, patch)
    ramp = options.ramp if network.ramp is None or options.ramp is not None else network.ramp
    ramp = (2 * patch if margin else 0) if ramp is None else _up(ramp, patch)
    size = network.window if options.window is None else options.window
    size = _up(max(patch, 3 * margin + ramp, min(6 * margin, _LARGEST)) if size is None else size, patch)
    return Windows.of(scene.height, scene.width, patch=patch, cell=network.cell, size=size, margin=margin, ramp=ramp)


@contextmanager
def run_scene(
    source: SceneOpener,
    network: NetworkSource,
    parts: Path | None,
    options: RunOptions | None = None,
    *,
    outputs: Sequence[Output] = (),
    progress: Progress | None = None,
    looked: Looked | None = None,
) -> Iterator[SceneRun]:
    """Compute a map of a scene; on entering, if there is a folder for its parts, and else as it is read.

    Args:
        source: the scene.
        network: what is computed of it.
        parts: folder for finished strips, which stays until ``SceneRun.discard``; None: nothing is kept, and all is
            computed in this process.
        options: choices; by default none is made.
        outputs: what will be written of it: refused at once if it cannot be, or if there is no room for it.
        progress: told how far it is.
        looked: told what is done to the numbers.

    Raises:
        BandError, UnitError, GridError, InputError: the scene is not for this network, see
            ``scene_door.open_scene_door``; or ``parts`` holds another run's; or an output is one of the scene's files.
        ClusterError: a process died.
        CorruptError: the scene cannot be decoded.
        StoreError: the disk is full, or will be.
    """
    options = options or RunOptions()
    scene = source.open()
    check_scene(scene, getattr(source, "path", None), outputs)
    door = open_scene_door(scene, network.encoder(), options.door)
    windows = scene_windows(scene, network, options)
    record = {**door.record, "windows": _described(windows), "extent": network.extent}
    if looked is not None:
        looked(record)
    devices = options.processes
    if parts is None and len(devices) > 1:
        raise InputError(f"{len(devices)} processes want a folder for what they finish")
    batch = options.batch or _batch(windows, devices[0])
    job = StripJob(source, network, door.closed(), windows, batch)
    every = range(len(windows.down.starts))
    if parts is None:
        yield SceneRun(scene, windows, network.width, record, None, lambda: job.strips(iter(every), devices[0]))
        return
    identity = _identity(scene, network, door, windows, options)
    with claimed(parts, identity, options.keep) as files:
        missing = [number for number in every if not files.has(number)]
        wanted = sum(_strip_bytes(windows, number, network.width, options) for number in missing)
        cells = windows.down.cells * windows.across.cells
        written = [(each.path.parent, int(cells * each.cell_bytes)) for each in outputs]
        require_space([(parts, wanted), *written], what="keeping the finished strips and writing what is made of them")
        _compute(job, files, missing, devices, progress)
        yield SceneRun(scene, windows, network.width, record, files, lambda: map(files.load, every))


def _compute(
    job: StripJob, files: StripFiles, missing: list[int], devices: tuple[str, ...], progress: Progress | None
) -> None:
    """Compute and keep what is missing."""
    columns, total = len(job.windows.across.starts), len(job.windows)
    done = total - columns * len(missing)

    def finished(_number: int) -> None:
        nonlocal done
        done += columns
        if progress is not None:
            progress(done, total)

    if progress is not None:
        progress(done, total)
    if not missing:
        return
    if len(devices) > 1:
        compute_in_processes(job, files, missing, devices[: len(missing)], finished)
        return
    for strip in job.strips(iter(missing), devices[0]):
        files.save(strip)
        finished(strip.number)


def _batch(windows: Windows, device: str) -> int:
    pixels = _CPU_PIXELS if device.startswith("cpu") else _DEVICE_PIXELS
    return max(1, pixels // (windows.down.extent * windows.across.extent))


def _identity(
    scene: Scene, network: NetworkSource, door: SceneDoor, windows: Windows, options: RunOptions
) -> dict[str, str]:
    """Signs of all that strips depend on, apart from the machine."""
    level = options.door.level or scene.level
    settings = {"level": level, "door": door.door.record, "windows": _described(windows), "keep": options.keep}
    return {
        "the scene": scene.fingerprint(),
        "the bundle": network.fingerprint(),
        "the settings": joined_fingerprint([json.dumps(settings, sort_keys=True)]),
    }


def _described(windows: Windows) -> dict[str, Any]:
    axis = windows.down
    return {"size": axis.size, "margin": axis.margin, "ramp": axis.ramp, "cell": axis.cell, "count": len(windows)}


def _strip_bytes(windows: Windows, number: int, width: int, options: RunOptions) -> int:
    counted = windows.down.counted(number)
    rows: int = counted.stop - counted.start
    return rows * windows.across.cells * (width * (2 if options.keep == "float16" else 4) + 4)


def _up(length: int, multiple: int) -> int:
    return -(-length // multiple) * multiple

"""Embeddings of what is in memory, or would be computed by Dask: xarray in, xarray out.

::

    import geopretext.predict

    cube = odc.stac.load(items, bands=["B02", ...], chunks={})  # dimensions time, y, x
    features = geopretext.predict.embed(cube, "runs/first/bundle", unit="reflectance x 10000 + 1000")
    features.sel(time="2024-08-30").to_dataset(name="features").to_zarr("features.zarr")

What is in memory is computed at once. What Dask has not computed becomes a Dask array: a task for each date and block,
on whatever scheduler there is; workers need the bundle's path. What is done to the numbers is decided when ``embed`` is
called, on some windows of the first date with anything to see, and is the same for all dates.

Shapes: H W cells of a date, D features.
"""

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from geopretext.errors import InputError, MissingLibraryError
from geopretext.nn.bundle import Encoder
from geopretext.predict.door_report import gate_lines, unlike_pixels
from geopretext.predict.embedding_source import EmbeddingSource
from geopretext.predict.input_gate import GateVerdict
from geopretext.predict.open_scene import Clouds
from geopretext.predict.scene import Scene
from geopretext.predict.scene_door import DoorOptions, SceneDoor, anything_seen, open_scene_door
from geopretext.predict.scene_maps import compute_strips, join_strips
from geopretext.predict.scene_run import RunOptions, scene_windows
from geopretext.predict.xarray_facts import TIMES
from geopretext.predict.xarray_scene import XarrayScene, scene_of_xarray

try:
    import xarray as xr
except ImportError as error:
    raise MissingLibraryError("xarray", extra="geo", purpose="embed cubes") from error

Floats = npt.NDArray[np.float32]
Cube: TypeAlias = xr.Dataset | xr.DataArray


@dataclass(frozen=True)
class _Plan:
    """What is done to each date and block."""

    source: EmbeddingSource
    door: Callable[[Scene], SceneDoor]
    run: RunOptions
    least_seen: float

    def compute(self, scene: Scene) -> tuple[Floats, Floats]:
        """Features (H, W, D), NaN where too little was seen, and the share that was, (H, W)."""
        windows = scene_windows(scene, self.source, self.run)
        numbers = range(len(windows.down.starts))
        network = self.source.load(self.run.devices[0])
        strips = compute_strips(self.door(scene), network, windows, numbers)
        rows = list(join_strips(strips, windows))
        values, seen = (np.concatenate(parts) for parts in ([r.values for r in rows], [r.seen for r in rows]))
        values[seen < self.least_seen] = np.nan
        return values, seen


@dataclass(frozen=True)
class _Block:
    """Of one direction of a scene, in pixels: a block of the output, and what must be read for it."""

    start: int
    stop: int
    first: int
    last: int

    @property
    def read(self) -> slice:
        return slice(self.first, self.last)

    def cells(self, cell: int) -> slice:
        """The block's cells among those of what was read."""
        return slice((self.start - self.first) // cell, -(-(self.stop - self.first) // cell))

    def count(self, cell: int) -> int:
        """How many those are."""
        return -(-(self.stop - self.start) // cell)


def embed(
    data: "Cube | Scene",
    bundle: str | Path | Encoder,
    *,
    bands: Sequence[str] | None = None,
    unit: str | None = None,
    level: str | None = None,
    clouds: Clouds = "mask",
    allow_no_crs: bool = False,
    context: int | None = None,
    least_seen: float = 0.5,
    door: DoorOptions | None = None,
    run: RunOptions | None = None,
) -> xr.DataArray:
    """One vector a patch, of one date or of each.

    Args:
        data: Dataset whose variables are bands, or DataArray with a dimension ``band``; (y, x), or with a dimension of
            time. Or a scene (``predict.array_scene``, ``predict.open_scene``), of which the five that follow are known.
        bundle: folder, name on the Hugging Face hub, or encoder.
        bands: names of the bands in order, where the data do not name them.
        unit: of the numbers, where attributes do not say it, as ``reflectance x 10000``.
        level: processing level of Sentinel-2, L1C or L2A.
        clouds: pixels that a variable ``SCL`` calls clouded are missing, or kept.
        allow_no_crs: take arrays that do not say where they lie.
        context: pixels on a side of the squares of response norms; by default the crop of training (``nn.local_norm``).
        least_seen: share of a patch's pixels that must have been observed.
        door: choices about the input.
        run: sizes of windows and, of what is in memory, the device; processes are Dask's.

    Returns:
        (y, x, feature) or (time, y, x, feature) float32, NaN where too little was observed; coordinates ``time``, ``y``
        and ``x`` (middles of patches), ``seen`` (share of a patch's pixels that were observed) and ``spatial_ref``;
        attributes ``crs``, ``transform``, ``patch_size`` and, as JSON, what was done to the numbers.

    Raises:
        BandError, UnitError, GridError, InputError: see ``scene_of_xarray`` and ``open_scene_door``.
    """
    source, run = EmbeddingSource(bundle, context), run or RunOptions()
    if isinstance(data, xr.Dataset | xr.DataArray):
        facts: dict[str, Any] = {"bands": bands, "unit": unit, "level": level}
        facts |= {"clouds": clouds, "allow_no_crs": allow_no_crs}
        axis = next((str(name) for name in data.dims if name in TIMES), None)
        if axis is not None and not data.sizes[axis]:
            raise InputError("the cube has no dates")
        several = [data] if axis is None else [data.isel({axis: [number]}) for number in range(data.sizes[axis])]
        scenes: list[Scene] = [scene_of_xarray(one, **facts) for one in several]
        times = None if axis is None else data.coords.get(axis, xr.DataArray(np.arange(len(scenes)), dims="time"))
    else:
        scenes, times = [data], None
    door = door or DoorOptions()
    source = source.of_scene(scenes[0], door)
    decided = _decide(scenes, source, door)
    plan = _Plan(source, decided.closed(), run, least_seen)
    parts = [_lazily(scene, plan) if _is_lazy(scene) else plan.compute(scene) for scene in scenes]
    return _labelled(parts, times, scenes[0], source, decided.record)


def _decide(scenes: Sequence[Scene], source: EmbeddingSource, options: DoorOptions) -> SceneDoor:
    """The door to the first date of which anything was seen."""
    scene = next((scene for scene in scenes[:-1] if anything_seen(scene, source.encoder())), scenes[-1])
    door = open_scene_door(scene, source.encoder(), options)
    lines = gate_lines(door.gate.to_dict()) if door.gate.verdict is GateVerdict.IMPLAUSIBLE else []
    if unlike := unlike_pixels(door.pixel_sizes):
        lines.append(f"warning: {unlike}")
    if lines:
        warnings.warn("\n".join(lines), stacklevel=3)
    return door


def _is_lazy(scene: Scene) -> bool:
    return isinstance(scene, XarrayScene) and any(layer.chunks is not None for layer in scene.layers.values())


def _lazily(scene: Scene, plan: _Plan) -> tuple[Any, Any]:
    """What ``_Plan.compute`` gives, as Dask arrays."""
    dask = _dask()
    assert isinstance(scene, XarrayScene)
    windows = scene_windows(scene, plan.source, plan.run)
    margin, cell = windows.down.margin, windows.down.cell
    chunks = next(layer.chunks for layer in scene.layers.values() if layer.chunks is not None)
    down, across = (
        _blocks(length, max(largest, windows.down.size), margin, cell)
        for length, largest in zip((scene.height, scene.width), map(max, chunks), strict=True)
    )
    # One task that all others ask for the plan: a worker then loads the bundle once.
    shared = dask.delayed(plan, traverse=False)
    rows = []
    for row in down:
        parts = []
        for column in across:
            task = dask.delayed(_compute_block, nout=2)(shared, _cut(scene, row, column), row, column)
            shape = row.count(cell), column.count(cell)
            values = dask.array.from_delayed(task[0], (*shape, plan.source.width), np.float32)
            parts.append((values, dask.array.from_delayed(task[1], shape, np.float32)))
        rows.append([dask.array.concatenate(each, 1) for each in zip(*parts, strict=True)])
    values, seen = (dask.array.concatenate(each, 0) for each in zip(*rows, strict=True))
    return values, seen


def _compute_block(plan: _Plan, scene: Scene, row: _Block, column: _Block) -> tuple[Floats, Floats]:
    """A task: what was read for a block has been computed by Dask."""
    values, seen = plan.compute(scene)
    inside = row.cells(plan.source.cell), column.cells(plan.source.cell)
    return values[inside], seen[inside]


def _blocks(length: int, largest: int, margin: int, cell: int) -> list[_Block]:
    """Blocks of whole cells, no larger than asked for, read with a margin as far as the scene goes."""
    step = max(cell, largest // cell * cell)
    margin = -(-margin // cell) * cell
    bounds = [*range(0, length, step), length]
    return [_Block(start, stop, max(0, start - margin), min(length, stop + margin)) for start, stop in pairwise(bounds)]


def _cut(scene: XarrayScene, row: _Block, column: _Block) -> XarrayScene:
    layers = {name: layer[row.read, column.read] for name, layer in scene.layers.items()}
    clouds = None if scene.clouds is None else scene.clouds[row.read, column.read]
    return replace(scene, layers=layers, clouds=clouds)


def _labelled(
    parts: Sequence[tuple[Any, Any]], times: Any, scene: Scene, source: EmbeddingSource, record: Mapping[str, Any]
) -> xr.DataArray:
    """Dates as one array with its coordinates."""
    georeference = scene.georeference.coarser(source.cell)
    a, _, c, _, e, f = georeference.transform
    values, seen = (list(each) for each in zip(*parts, strict=True))
    dims = ["y", "x"] if times is None else ["time", "y", "x"]
    height, width = seen[0].shape
    if times is not None:
        library = np if isinstance(values[0], np.ndarray) else _dask().array
        values, seen = [library.stack(values)], [library.stack(seen)]
    coordinates: dict[str, Any] = {
        "y": f + e * (np.arange(height) + 0.5),
        "x": c + a * (np.arange(width) + 0.5),
        "feature": np.arange(source.width),
        "seen": (dims, seen[0], {"long_name": "share of the patch's pixels that were observed"}),
        "spatial_ref": (
            (),
            0,
            {"crs_wkt": georeference.crs, "GeoTransform": " ".join(map(str, (c, a, 0.0, f, 0.0, e)))},
        ),
    }
    if times is not None:
        coordinates["time"] = times.to_numpy()
    attributes = {
        "grid_mapping": "spatial_ref",
        "crs": georeference.crs,
        "transform": georeference.transform,
        "patch_size": source.patch,
        "bundle": source.name,
        "geopretext": json.dumps(record),
    }
    return xr.DataArray(values[0], coordinates, [*dims, "feature"], "embedding", attributes)


def _dask() -> Any:
    import dask
    import dask.array

    return dask

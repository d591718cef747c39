"""From a scene to a map of anything that a network says of windows: in constant memory, strip by strip.

A strip is a row of windows. While one window is computed, the next are read. What is put together of windows differs
from what one pass over the whole scene would give by nothing but what lies beyond a window's margin: response norms are
those of a square of the training crop's size around each cell (``nn.local_norm``), not of whatever a window holds.

Shapes: B windows, C bands, H W cells of the scene, D numbers a cell.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.predict.scene_door import SceneDoor
from geopretext.predict.windows import Windows

Floats = npt.NDArray[np.float32]


class SceneNetwork(Protocol):
    """What is computed of windows."""

    @property
    def cell(self) -> int:
        """Pixels on a side of what one result is for."""

    @property
    def width(self) -> int:
        """D."""

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised windows (B, C, h, w) -> (B, D, h / cell, w / cell) float32, on the same device or another."""


@dataclass(frozen=True)
class Strip:
    """What one row of windows adds to a map."""

    number: int
    start: int
    """its first row of cells in the map"""
    values: Floats
    """(rows, W, D): results times the weights of its rows"""
    seen: Floats
    """(rows, W): the share of each cell's pixels that were observed, times the weights of its rows"""


@dataclass(frozen=True)
class Rows:
    """Some finished rows of a map."""

    start: int
    """the first"""
    values: Floats
    """(rows, W, D)"""
    seen: Floats
    """(rows, W): the share of each cell's pixels that were observed, 0 to 1"""


def compute_strip(door: SceneDoor, network: SceneNetwork, windows: Windows, number: int, *, batch: int = 1) -> Strip:
    """One strip.

    Args:
        door: to the scene.
        network: on the device where it is to run, in evaluation mode, with the response norms that are wanted.
        windows: of the scene, with the network's cells.
        number: which row of windows.
        batch: windows at a time.

    Raises:
        CorruptError: the scene cannot be decoded.
    """
    down, across = windows.down, windows.across
    counted = down.counted(number)
    height = counted.stop - counted.start
    values = np.zeros((height, across.cells, network.width), np.float32)
    seen = np.zeros((height, across.cells), np.float32)
    columns = len(across.starts)
    groups = [range(first, min(first + batch, columns)) for first in range(0, columns, batch)]
    weight = down.weights[number][counted][:, None]
    with ThreadPoolExecutor(1) as reader, torch.inference_mode():
        ahead = [reader.submit(door.read, windows, [number * columns + each for each in group]) for group in groups[:2]]
        for position, group in enumerate(groups):
            x, observed = ahead.pop(0).result()
            if position + 2 < len(groups):
                following = [number * columns + each for each in groups[position + 2]]
                ahead.append(reader.submit(door.read, windows, following))
            share = F.avg_pool2d(observed[:, None].float(), network.cell)[:, 0].numpy()
            results = network(x).permute(0, 2, 3, 1).float().cpu().numpy()
            for place, column in enumerate(group):
                inside = across.counted(column)
                left = across.starts[column] // across.cell
                target = slice(left + inside.start, left + inside.stop)
                both = weight * across.weights[column][None, inside]
                values[:, target] += results[place, counted, inside] * both[..., None]
                seen[:, target] += share[place, counted, inside] * both
    return Strip(number, down.starts[number] // down.cell + counted.start, values, seen)


def join_strips(strips: Iterator[Strip], windows: Windows) -> Iterator[Rows]:
    """Finished rows of a map, from strips in their order; each row of the map comes once, from the top."""
    starts = [windows.down.starts[n] // windows.down.cell + windows.down.counted(n).start for n in _rows(windows)]
    values: Floats | None = None
    seen: Floats | None = None
    for strip in strips:
        new_values, new_seen = strip.values, strip.seen
        if values is not None and seen is not None:
            common = len(values)
            new_values[:common] += values
            new_seen[:common] += seen
        following = strip.number + 1
        done = starts[following] - strip.start if following < len(starts) else len(new_values)
        yield Rows(strip.start, new_values[:done], new_seen[:done])
        values, seen = new_values[done:], new_seen[done:]


def _rows(windows: Windows) -> range:
    return range(len(windows.down.starts))

"""From a scene to a map of anything that a network says of windows: in constant memory, strip by strip.

A strip is a row of windows. While one window is computed, the next are read. What is put together of windows differs
from what one pass over the whole scene would give by nothing but what lies beyond a window's margin: response norms are
those of a square of the training crop's size around each cell (``nn.local_norm``), not of whatever a window holds.

Shapes: B windows, C bands, H W cells of the scene, D numbers a cell.
"""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple, Protocol

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


def compute_strips(
    door: SceneDoor,
    network: SceneNetwork,
    windows: Windows,
    numbers: Iterable[int],
    *,
    batch: int = 1,
) -> Iterator[Strip]:
    """Some strips; while windows are computed, the next are read, also those of the next strip.

    Windows of which nothing was observed are not computed: their results are 0.

    Args:
        door: to the scene.
        network: on the device where it is to run, in evaluation mode, with the response norms that are wanted.
        windows: of the scene, with the network's cells.
        numbers: which rows of windows, in the order wanted; asked for as late as can be.
        batch: windows at a time.

    Raises:
        CorruptError: the scene cannot be decoded.
        ValueError: what the network gives is not as long, high or wide as it says.
    """
    across = windows.across
    with closing(_read_ahead(door, windows, numbers, batch)) as groups:
        for number, parts in groupby(groups, key=lambda group: group.strip):
            counted = windows.down.counted(number)
            weight = windows.down.weights[number][counted][:, None]
            height = counted.stop - counted.start
            values = np.zeros((height, across.cells, network.width), np.float32)
            seen = np.zeros((height, across.cells), np.float32)
            for group in parts:
                x, observed = group.images.result()
                if not observed.any():
                    continue
                share = F.avg_pool2d(observed[:, None].float(), network.cell)[:, 0].numpy()
                with torch.inference_mode():
                    results = _checked(network(x), x, network).permute(0, 2, 3, 1).float().cpu().numpy()
                for place, column in enumerate(group.columns):
                    inside = across.counted(column)
                    left = across.starts[column] // across.cell
                    target = slice(left + inside.start, left + inside.stop)
                    both = weight * across.weights[column][None, inside]
                    values[:, target] += results[place, counted, inside] * both[..., None]
                    seen[:, target] += share[place, counted, inside] * both
            yield Strip(number, windows.down.starts[number] // across.cell + counted.start, values, seen)


def _checked(results: Tensor, x: Tensor, network: SceneNetwork) -> Tensor:
    """The results; a single one for a window of many cells would go unnoticed, since numpy repeats it."""
    wanted = (len(x), network.width, x.shape[-2] // network.cell, x.shape[-1] // network.cell)
    if results.shape != wanted:
        raise ValueError(f"a network gave results of shape {tuple(results.shape)} where {wanted} was wanted")
    return results


class _Group(NamedTuple):
    """Windows of one strip that are computed together."""

    strip: int
    columns: range
    images: "Future[tuple[Tensor, Tensor]]"


def _read_ahead(door: SceneDoor, windows: Windows, numbers: Iterable[int], batch: int) -> Generator[_Group, None, None]:
    """Groups in order, each read while the one before is computed."""
    columns = len(windows.across.starts)
    wanted = (
        (number, range(first, min(first + batch, columns))) for number in numbers for first in range(0, columns, batch)
    )
    waiting: deque[_Group] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for number, group in wanted:
            images = pool.submit(door.read, windows, [number * columns + each for each in group])
            waiting.append(_Group(number, group, images))
            if len(waiting) > 1:
                yield waiting.popleft()
        yield from waiting
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def join_strips(strips: Iterable[Strip], windows: Windows) -> Iterator[Rows]:
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

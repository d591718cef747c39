"""Batches of one split of a prepared task, read one ahead of their use, and their parts."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.evaluate.prepared import Labels, Prepared


class Batches:
    """Images and labels of some samples, ``size`` at a time; the last batch may be smaller.

    While a batch is used, a thread reads the next one: at most two are in memory beside what ``prepared`` keeps.

    Args:
        prepared: the task.
        positions: of the samples, in the order in which they come.
        size: samples of a batch.
    """

    def __init__(self, prepared: Prepared, positions: npt.NDArray[np.int64], size: int) -> None:
        self._prepared = prepared
        self._parts = [positions[start : start + size] for start in range(0, len(positions), size)]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[tuple[Tensor, Labels]]:
        with ThreadPoolExecutor(1) as reader:
            ahead = reader.submit(self._prepared.batch, self._parts[0])
            for following in self._parts[1:]:
                batch = ahead.result()
                ahead = reader.submit(self._prepared.batch, following)
                yield batch
            yield ahead.result()


def parts_of(images: Tensor, labels: Labels, size: int) -> Iterator[tuple[Tensor, Labels, Tensor]]:
    """A batch, ``size`` samples at a time, in order.

    Returns:
        images, labels, and the part's share of the labelled samples of the batch, of dense kinds of its labelled
        pixels: means over parts, weighted by it, add up to the mean over the batch. All are 0 if nothing is labelled.
    """
    counts = torch.ones(len(images), device=images.device) if labels.labelled is None else labels.labelled.sum((1, 2))
    whole = counts.sum().clamp(min=1)
    for start in range(0, len(images), size):
        rows = slice(start, start + size)
        labelled = None if labels.labelled is None else labels.labelled[rows]
        yield images[rows], Labels(labels.values[rows], labelled), counts[rows].sum() / whole

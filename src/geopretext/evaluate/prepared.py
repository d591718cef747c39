"""A task as one encoder sees it: standardised images and their labels, by position, for training on images.

What fits is read once and kept in memory, everything else is read again each time; both give the same numbers.

Shapes: B samples, C bands, H W pixels of the window that the encoder sees.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.evaluate.inputs import Feed, Samples, on_one_scale
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.task import Task
from geopretext.nn.bundle import Encoder

MEMORY = 2 << 30
"""Bytes of images and labels that are kept in memory, by default."""
_BLOCK = 64


class Labels(NamedTuple):
    """What is to be predicted."""

    values: Tensor
    """(B,) int64; (B, K) float32 of 0 and 1, or values; dense kinds: (B, H, W) int64, or float32 for quantities"""
    labelled: Tensor | None
    """(B, H, W) bool, dense kinds: which pixels have a label; the values of others are 0"""


Sample: TypeAlias = tuple[Tensor, Labels]
"""Images and labels, of one sample or of several."""


@dataclass(frozen=True)
class Prepared:
    """A task behind the door of an encoder; made by ``Prepared.open``. Positions are those of ``task.samples``."""

    task: Task
    feed: Feed
    """of the images; of change detection, of the earlier ones"""
    later: Feed | None
    """of the later images: change detection, and nothing else"""
    memory: int = MEMORY
    """bytes of images and labels that may be kept"""
    _kept: dict[int, Sample] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def open(cls, task: Task, encoder: Encoder, *, memory: int = MEMORY) -> "Prepared":
        """Settle how the images of a task reach encoders such as ``encoder``.

        Raises:
            BandError, UnitError, GridError, InputError: they cannot.
        """
        training = task.samples[task.train]
        feed = task.inputs.prepare(encoder, training)
        later = None if task.later is None else on_one_scale(task.later.prepare(encoder, training), feed)
        return cls(task, feed, later, memory)

    @property
    def record(self) -> Mapping[str, Any]:
        """What is done to the numbers, and whether they are plausible, in plain types."""
        record = {**self.feed.record, "gate": self.feed.gate.to_dict()}
        if self.later is not None:
            record["later"] = {**self.later.record, "gate": self.later.gate.to_dict()}
        return record

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """Of one sample's images: (C, H, W); of change detection (2, C, H, W), the earlier one first."""
        first = self._read(self.task.samples[self.task.train[:1]])  # the others may be in no split
        return tuple(first.shape[1:])

    @property
    def kept_bytes(self) -> int:
        """What is in memory: images and labels, at most ``memory``."""
        one = next(iter(self._kept.values()), None)  # all samples are alike
        return 0 if one is None else len(self._kept) * _bytes(one)

    def batch(self, positions: npt.NDArray[np.int64]) -> tuple[Tensor, Labels]:
        """Images (B, C, H, W) or (B, 2, C, H, W), float32, standardised, 0 where missing; and their labels. On the CPU.

        Raises:
            CorruptError: an image or a label map cannot be decoded.
            GridError, BandError, ClassError: one is not like the others, or holds codes that are no class.
        """
        missing = np.asarray([position for position in positions.tolist() if position not in self._kept], np.int64)
        fetched: dict[int, Sample] = {}
        for start in range(0, len(missing), _BLOCK):
            some = missing[start : start + _BLOCK]
            images, labels = self._fetch(some)
            # Samples are views of their block, which is kept whole or not at all.
            kept = self._kept if self.kept_bytes + _bytes((images, labels)) <= self.memory else fetched
            for row, position in enumerate(some.tolist()):
                labelled = None if labels.labelled is None else labels.labelled[row]
                kept[position] = (images[row], Labels(labels.values[row], labelled))
        rows = [fetched[position] if position in fetched else self._kept[position] for position in positions.tolist()]
        values = torch.stack([labels.values for _, labels in rows])
        masks = [labels.labelled for _, labels in rows if labels.labelled is not None]
        return torch.stack([image for image, _ in rows]), Labels(values, torch.stack(masks) if masks else None)

    def batches(
        self, positions: npt.NDArray[np.int64], size: int
    ) -> Iterator[tuple[npt.NDArray[np.int64], Tensor, Labels]]:
        """Positions, images and labels, ``size`` samples at a time, in order."""
        for start in range(0, len(positions), size):
            some = positions[start : start + size]
            yield some, *self.batch(some)

    def labels(self, positions: npt.NDArray[np.int64]) -> Labels:
        """The labels alone, of ``batch``; nothing is kept.

        Raises:
            CorruptError, GridError, ClassError: as ``batch``.
        """
        task = self.task
        if task.maps is None:
            values = torch.from_numpy(np.asarray(task.labels[positions]))
            return Labels(values.long() if task.kind is TaskKind.SINGLE_LABEL else values.float(), None)
        window = self.feed.window
        classes, labelled = (part[:, window.rows, window.columns] for part in task.maps.read(task.samples[positions]))
        maps = torch.from_numpy(np.ascontiguousarray(classes))
        maps = maps.float() if task.kind is TaskKind.DENSE_REGRESSION else maps.long()
        return Labels(maps, torch.from_numpy(np.ascontiguousarray(labelled)))

    def _fetch(self, positions: npt.NDArray[np.int64]) -> tuple[Tensor, Labels]:
        return self._read(self.task.samples[positions]), self.labels(positions)

    def _read(self, samples: Samples) -> Tensor:
        first = torch.cat([block.cpu() for block in self.feed.standardised(samples, _BLOCK)])
        if self.later is None:
            return first
        second = torch.cat([block.cpu() for block in self.later.standardised(samples, _BLOCK)])
        return torch.stack([first, second], 1)


def _bytes(sample: Sample) -> int:
    images, (values, labelled) = sample
    return sum(part.nbytes for part in (images, values, labelled) if part is not None)

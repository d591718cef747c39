"""What training asks of data, whatever they are: tiles of a store, or what a pretext method brings a reader for."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from geopretext.data.loader import Batch
from geopretext.data.statistics import Statistics
from geopretext.modality import Modality


@dataclass(frozen=True)
class BatchSettings:
    """What batches are to be like."""

    bands: Mapping[str, tuple[str, ...] | None]
    """of each modality, as ``pretext.method.Method.bands``"""
    crop: int
    """pixels on a side"""
    random_crop: bool
    """crop at a random place, else at the centre"""
    dates: int | None
    """images of each time series of a tile, at most; None: all"""
    batch_size: int
    """over all processes and parts"""
    parts: int
    """that a batch is handed out in, one after the other"""
    seed: int
    """of order, crops and the tiles' seeds"""
    prefetch: int
    """batches to read ahead"""


class BatchLoader(Protocol):
    """Batches of one process, an epoch at a time, as ``data.loader.TileLoader`` gives them."""

    def __len__(self) -> int:
        """Batches of an epoch."""

    def __iter__(self) -> Iterator[Batch]:
        """The rest of the epoch; another iteration is the next epoch."""

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands."""

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on there."""


class TrainingData(Protocol):
    """Data to train on, opened."""

    @property
    def modalities(self) -> Mapping[str, Modality]:
        """What they hold, by name."""

    @property
    def statistics(self) -> Statistics:
        """What batches are standardised with."""

    @property
    def ground_sampling_distance(self) -> float | None:
        """Metres a pixel; None if pixels are no measure of the ground."""

    def __len__(self) -> int:
        """How many there are to train on."""

    def identity(self) -> dict[str, Any]:
        """What tells these data from others, wherever they lie; plain."""

    def make_loader(self, settings: BatchSettings, *, rank: int, world_size: int, device: torch.device) -> BatchLoader:
        """The batches of one process of several: together, those of one."""

"""Batches of streets for training: pictures of several cameras around a car, and the points of its LiDAR.

A folder in the layout of nuScenes comes out as the fields that ``pretext.ns_mae_street`` asks for:

- ``camera``: (B, N, 3, H, W), standardised;
- ``camera_intrinsics``: (B, N, 3, 3), pixels;
- ``camera_pose``: (B, N, 4, 4): from each camera's axes to the car's;
- ``points``: (B, M, 4): x, y, z in the car's axes, metres, and intensity 0 to 1; what pads the shorter is not valid.

Letters: ``B`` samples, ``N`` cameras, ``H W`` pixels, ``M`` points.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geopretext.data.loader import Batch
from geopretext.data.sampling import epoch_order, hash_seeds
from geopretext.data.sources import BatchSettings
from geopretext.data.statistics import Statistics, StatisticsAccumulator
from geopretext.data.street_tables import Moment, StreetTables
from geopretext.errors import InputError
from geopretext.modality import Acquisition, Band, Kind, Modality, Observed

CAMERA = Modality(
    name="camera",
    kind=Kind.CONTINUOUS_MAP,
    bands=(Band("R", "digital number"), Band("G", "digital number"), Band("B", "digital number")),
    dtype="uint8",
    title="Cameras around a car",
)
"""Pictures as they are stored, 0 to 255."""


def open_streets(path: str | Path) -> "Streets":
    """Open a folder in the layout of nuScenes to train on, as the entry of a method names it.

    Raises:
        StoreError, CorruptError, InputError: see ``StreetTables``.
    """
    return Streets(StreetTables(path))


class Streets:
    """All samples of a data set: a ``data.sources.TrainingData``."""

    modalities: Mapping[str, Modality] = {CAMERA.name: CAMERA}
    ground_sampling_distance = None

    def __init__(self, tables: StreetTables) -> None:
        self.tables = tables

    def __len__(self) -> int:
        return len(self.tables)

    @cached_property
    def statistics(self) -> Statistics:
        """Of all pictures."""
        accumulator = StatisticsAccumulator()
        for number in range(len(self)):
            accumulator.update(CAMERA, self.tables.images(number).transpose(0, 3, 1, 2))
        return accumulator.finish(tiles=len(self), split="all")

    def identity(self) -> dict[str, Any]:
        """See ``TrainingData``."""
        digest = hashlib.sha256("\n".join(self.tables.tokens).encode())
        digest.update(json.dumps(self.statistics.to_dict(), sort_keys=True).encode())
        size = f"{self.tables.height} x {self.tables.width}"
        path = str(self.tables.folder)
        return {"path": path, "samples": len(self), "picture": size, "digest": digest.hexdigest()[:16]}

    def make_loader(
        self, settings: BatchSettings, *, rank: int, world_size: int, device: torch.device
    ) -> "StreetLoader":
        """See ``TrainingData``; pictures come whole."""
        return StreetLoader(self, settings, rank=rank, world_size=world_size, device=device)


class StreetLoader:
    """Batches of one process: a ``data.sources.BatchLoader``.

    As ``data.loader.TileLoader``, it visits all samples in an order of seed and epoch, and leaves out what does not
    fill a batch. Files are read when a batch is asked for.
    """

    def __init__(
        self, streets: Streets, settings: BatchSettings, *, rank: int, world_size: int, device: torch.device
    ) -> None:
        if settings.batch_size % (settings.parts * world_size):
            raise InputError(
                f"batch_size {settings.batch_size} cannot be shared evenly",
                hint=f"a multiple of {settings.parts * world_size}",
            )
        self._streets, self._settings = streets, settings
        self._rank, self._world_size, self._device = rank, world_size, device
        self._epoch, self._done, self._resumed = 0, 0, False
        mean, std = streets.statistics.mean_std(CAMERA, CAMERA.band_names)
        self._mean, self._std = (torch.from_numpy(part).to(device).view(3, 1, 1) for part in (mean, std))

    def __len__(self) -> int:
        """Batches of an epoch: whole ones times parts."""
        return len(self._streets) // self._settings.batch_size * self._settings.parts

    def state_dict(self) -> dict[str, int]:
        """Where the iteration stands."""
        return {"epoch": self._epoch, "batch": self._done, "batches": len(self), "seed": self._settings.seed}

    def load_state_dict(self, state: Mapping[str, int]) -> None:
        """Let the next iteration go on where ``state_dict`` was taken.

        Raises:
            InputError: the state belongs to another number of batches or another seed.
        """
        for name, mine in (("batches", len(self)), ("seed", self._settings.seed)):
            if state[name] != mine:
                raise InputError(
                    f"{name} was {state[name]} and is now {mine}",
                    where="state of the loader",
                    hint="resume with the same data, batch size and seed",
                )
        self._epoch, self._done, self._resumed = state["epoch"], state["batch"], True

    def __iter__(self) -> Iterator[Batch]:
        epoch, first = self._epoch, self._done if self._resumed else 0
        self._resumed = False
        order = epoch_order(np.arange(len(self._streets)), seed=self._settings.seed, epoch=epoch)
        size = self._settings.batch_size // self._settings.parts
        share = size // self._world_size
        for number in range(first, len(self)):
            begin = number * size + self._rank * share
            done = number + 1
            # An epoch is over with its last batch: whoever knows the length never asks for one more.
            self._epoch, self._done = (epoch, done) if done < len(self) else (epoch + 1, 0)
            yield self._batch(epoch, order[begin : begin + share])

    def _batch(self, epoch: int, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> Batch:
        moments = [self._streets.tables.moment(int(number)) for number in numbers]
        images = torch.from_numpy(np.stack([moment.images for moment in moments])).to(self._device)
        values = (images.permute(0, 1, 4, 2, 3).float() - self._mean) / self._std
        fields = {
            CAMERA.name: _all_valid(values),
            "camera_intrinsics": self._numbers([moment.intrinsics for moment in moments]),
            "camera_pose": self._numbers([moment.poses for moment in moments]),
            "points": self._points(moments),
        }
        seeds = torch.from_numpy(hash_seeds(self._settings.seed, epoch, numbers)).to(self._device)
        unknown = Observed(torch.zeros(len(numbers)), torch.zeros(len(numbers), dtype=torch.bool))
        nowhere = Observed(unknown.values.to(self._device), unknown.valid.to(self._device))
        acquisition = Acquisition(nowhere, nowhere, nowhere, ground_sampling_distance=float("nan"))
        return Batch(fields, torch.from_numpy(numbers).to(self._device), seeds, acquisition)

    def _numbers(self, parts: list[Any]) -> Observed[Tensor]:
        return _all_valid(torch.from_numpy(np.stack(parts).astype(np.float32)).to(self._device))

    def _points(self, moments: list[Moment]) -> Observed[Tensor]:
        longest = max(len(moment.points) for moment in moments)
        values = np.zeros((len(moments), longest, 4), np.float32)
        valid = np.zeros(values.shape, bool)
        for row, moment in enumerate(moments):
            values[row, : len(moment.points)], valid[row, : len(moment.points)] = moment.points, True
        return Observed(torch.from_numpy(values).to(self._device), torch.from_numpy(valid).to(self._device))


def _all_valid(values: Tensor) -> Observed[Tensor]:
    return Observed(values, torch.ones_like(values, dtype=torch.bool))

"""An encoder as what is computed of a scene: one vector a patch."""

import hashlib
from copy import deepcopy
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder
from geopretext.nn.local_norm import local_norms

_SURROUNDINGS = 1.5
"""extents around a result that it depends on. Measured on encoders of 1 and 2 blocks a stage, on 256 px windows of a
scene: beyond it, features differ from those of one pass by less than 1e-3 of their standard deviation."""


class EmbeddingNetwork:
    """An encoder as ``predict.scene_maps`` computes it; see ``SceneNetwork``.

    Args:
        encoder: on the device where it is to run.
        extent: pixels on a side of the squares of its response norms.
    """

    def __init__(self, encoder: Encoder, extent: int) -> None:
        self.cell = encoder.settings.patch_size
        self.width = encoder.width
        self._encoder = encoder.eval()
        self._extent = extent
        self._device = next(encoder.parameters()).device

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised windows (B, C, h, w) -> features (B, D, h / patch, w / patch)."""
        with local_norms(self._encoder, self._extent):
            features: Tensor = self._encoder(x.to(self._device)).float()
        # A published classifier of patches of 8 has one row and one column fewer, one pixel further in (decision 013):
        # the last are repeated, so that there is a cell for each patch.
        lacking = x.shape[-1] // self.cell - features.shape[-1]
        return F.pad(features, (0, lacking, 0, lacking), mode="replicate") if lacking else features


@dataclass(frozen=True)
class EmbeddingSource:
    """Where an encoder is; see ``scene_crew.NetworkSource``."""

    bundle: str | Path | Encoder
    """folder, name of a repository on the hub, or the encoder itself"""
    context: int | None = None
    """pixels on a side of the squares of response norms; None: the crop that the encoder was trained on"""

    def __post_init__(self) -> None:
        if self.extent < self.patch or self.extent % self.patch:
            raise InputError(
                f"response norms over squares of {self.extent} pixels",
                hint=f"--context wants a multiple of the patch size, {self.patch}",
            )

    @property
    def name(self) -> str:
        """Of the bundle, for people."""
        return "an encoder in memory" if isinstance(self.bundle, Encoder) else str(self.bundle)

    @property
    def patch(self) -> int:
        """See ``NetworkSource``."""
        return self._encoder.settings.patch_size

    @property
    def cell(self) -> int:
        """See ``NetworkSource``."""
        return self.patch

    @property
    def width(self) -> int:
        """See ``NetworkSource``."""
        return self._encoder.width

    @property
    def extent(self) -> int:
        """See ``NetworkSource``."""
        return self._encoder.settings.image_size if self.context is None else self.context

    @property
    def margin(self) -> int:
        """See ``NetworkSource``."""
        return int(_SURROUNDINGS * self.extent)

    def encoder(self) -> Encoder:
        """See ``NetworkSource``."""
        return self._encoder

    def load(self, device: str) -> EmbeddingNetwork:
        """See ``NetworkSource``."""
        there = next(self._encoder.parameters()).device
        same = torch.device(device) == there
        return EmbeddingNetwork(self._encoder if same else deepcopy(self._encoder).to(device), self.extent)

    def fingerprint(self) -> str:
        """See ``NetworkSource``."""
        files = sorted(self._encoder.files().items())
        return joined_fingerprint([*(hashlib.sha256(content).hexdigest() for _, content in files), str(self.extent)])

    @cached_property
    def _encoder(self) -> Encoder:
        return self.bundle if isinstance(self.bundle, Encoder) else Encoder.from_pretrained(self.bundle)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process to which it is sent loads the bundle itself."""
        return (EmbeddingSource, (self.bundle, self.context))

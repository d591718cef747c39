"""An encoder as what is computed of a scene: one vector a patch, or one a tile."""

from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.data.fingerprint import joined_fingerprint
from geopretext.errors import InputError
from geopretext.nn.bundle import Encoder
from geopretext.nn.local_norm import local_norms, needed_margin
from geopretext.nn.settings import POOLINGS
from geopretext.predict.chosen_inputs import given_bands
from geopretext.predict.joined_scene import require_used
from geopretext.predict.scene import Scene
from geopretext.predict.scene_door import DoorOptions
from geopretext.predict.tile_embeddings import encoder_fingerprint
from geopretext.predict.windows import blended


class EmbeddingNetwork:
    """An encoder as ``predict.scene_maps`` computes it: features of patches; see ``SceneNetwork``.

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


class PooledNetwork:
    """An encoder that says one thing of each window.

    Args:
        encoder: on the device where it is to run.
        tile: pixels on a side of windows.
        pooling: one of ``nn.settings.POOLINGS``.
    """

    def __init__(self, encoder: Encoder, tile: int, pooling: str) -> None:
        self.cell = tile
        self.width = encoder.settings.pooled_width(pooling)
        self._encoder = encoder.eval()
        self._pooling = pooling
        self._device = next(encoder.parameters()).device

    def __call__(self, x: Tensor) -> Tensor:
        """Standardised tiles (B, C, h, w) -> (B, D, 1, 1)."""
        return self._encoder.features(x.to(self._device), self._pooling)[..., None, None]


@dataclass(frozen=True)
class EmbeddingSource:
    """Where an encoder is, and of what it gives vectors; see ``scene_crew.NetworkSource``."""

    bundle: str | Path | Encoder
    """folder, name of a repository on the hub, or the encoder itself"""
    context: int | None = None
    """of patches: pixels on a side of the squares of response norms, or, of an encoder without such norms, of windows;
    None: the crop that the encoder was trained on"""
    tile: int | None = None
    """pixels on a side of tiles, each of which gets one vector; None: each patch gets one"""
    pooling: str = "stages"
    """of tiles, see ``nn.settings.POOLINGS``"""
    inputs: tuple[str, ...] | None = None
    """names of the encoder's inputs that it is given; None: all"""

    def __post_init__(self) -> None:
        size = self._encoder.settings.patch_size
        for pixels, option, what in (
            (self.tile, "--tile", "tiles"),
            (self.context, "--context", "response norms over squares"),
        ):
            if pixels is not None and (pixels < size or pixels % size):
                hint = f"{option} wants a multiple of the patch size, {size}"
                raise InputError(f"{what} of {pixels} pixels", hint=hint)
        if self.pooling not in POOLINGS:
            raise InputError(f"pooling is {self.pooling!r}", hint=f"one of {', '.join(POOLINGS)}")

    @property
    def name(self) -> str:
        """Of the bundle, for people."""
        return "an encoder in memory" if isinstance(self.bundle, Encoder) else str(self.bundle)

    @property
    def patch(self) -> int:
        """See ``NetworkSource``."""
        return self._encoder.settings.patch_size if self.tile is None else self.tile

    @property
    def cell(self) -> int:
        """See ``NetworkSource``."""
        return self.patch

    @property
    def width(self) -> int:
        """See ``NetworkSource``."""
        return self._encoder.width if self.tile is None else self._encoder.settings.pooled_width(self.pooling)

    @property
    def extent(self) -> int:
        """See ``NetworkSource``."""
        if self.tile is not None:
            return self.tile
        return self._encoder.settings.image_size if self.context is None else self.context

    @property
    def margin(self) -> int:
        """See ``NetworkSource``; tiles see nothing but themselves."""
        if self.tile is not None:
            return 0
        margin = needed_margin(self._encoder.settings, self.extent)
        return blended(self.extent, self.patch)[0] if margin is None else margin

    @property
    def window(self) -> int | None:
        """See ``NetworkSource``; of an encoder that sees all of a window, as in training."""
        return self.extent if self._sees_all else None

    @property
    def ramp(self) -> int | None:
        """See ``NetworkSource``."""
        return blended(self.extent, self.patch)[1] if self._sees_all else None

    @property
    def _sees_all(self) -> bool:
        """Whether each patch's features depend on all of a window."""
        return self.tile is None and needed_margin(self._encoder.settings, self.extent) is None

    def encoder(self) -> Encoder:
        """See ``NetworkSource``."""
        return self._encoder

    def load(self, device: str) -> EmbeddingNetwork | PooledNetwork:
        """See ``NetworkSource``."""
        there = next(self._encoder.parameters()).device
        encoder = self._encoder if torch.device(device) == there else deepcopy(self._encoder).to(device)
        if self.tile is not None:
            return PooledNetwork(encoder, self.tile, self.pooling)
        return EmbeddingNetwork(encoder, self.extent)

    def fingerprint(self) -> str:
        """See ``NetworkSource``."""
        return joined_fingerprint([encoder_fingerprint(self._encoder), str(self.extent), str(self.tile), self.pooling])

    def of_scene(self, scene: Scene, options: DoorOptions) -> "EmbeddingSource":
        """The same of those of the encoder's inputs that a scene has.

        Raises:
            BandError: it has none of them, or a file of it has nothing of them.
            InputError: the encoder wants all of its inputs.
        """
        substitutes = dict(options.substitutes)
        given = given_bands(self._encoder, scene.bands, substitutes=substitutes, where=scene.where)
        require_used(scene, [substitutes.get(name, name) for name in self._encoder.bands])
        return replace(self, inputs=tuple(modality.name for modality in given.inputs))

    @cached_property
    def _encoder(self) -> Encoder:
        encoder = self.bundle if isinstance(self.bundle, Encoder) else Encoder.from_pretrained(self.bundle)
        return encoder if self.inputs is None else encoder.given(self.inputs)

    def __reduce__(self) -> tuple[Any, ...]:
        """A process to which it is sent loads the bundle itself."""
        return (EmbeddingSource, (self.bundle, self.context, self.tile, self.pooling, self.inputs))

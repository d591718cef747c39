"""Where the inputs of a task come from, behind one interface: tiles of a store, or image files.

Shapes: n samples of a task, B of them at a time, C bands, D features.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
from torch import Tensor

from geopretext.data.tiles import TileReader
from geopretext.modality import Observed
from geopretext.nn.bundle import Encoder
from geopretext.predict.features import Progress, image_features, tile_blocks, tile_features
from geopretext.predict.image_door import ImageDoor, StatisticsChoice
from geopretext.predict.images import ImageFiles

Array = npt.NDArray[Any]
Samples = npt.NDArray[np.int64]


class Feed(Protocol):
    """Inputs, prepared for encoders of one architecture and one set of bands."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What is done to the numbers, in plain types."""

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in their unit and validity, (B, C, H, W), in order."""


class Inputs(Protocol):
    """What samples of a task are read from."""

    def prepare(self, encoder: Encoder, training: Samples) -> Feed:
        """Settle how the inputs reach ``encoder``.

        Args:
            encoder: says which bands, unit, statistics and patch size.
            training: samples that may be used for statistics.

        Raises:
            BandError, UnitError, GridError, InputError: they cannot.
        """


@dataclass(frozen=True)
class TileInputs:
    """Tiles; a sample is a tile number."""

    reader: TileReader

    def prepare(self, encoder: Encoder, training: Samples) -> "TileFeed":  # noqa: ARG002  # the bundle's statistics hold
        """Tiles are in the bundle's unit, or refused; they are standardised by its statistics."""
        return TileFeed(self.reader, encoder)


@dataclass(frozen=True)
class TileFeed:
    """Tiles for encoders such as ``encoder``."""

    reader: TileReader
    encoder: Encoder

    @property
    def record(self) -> Mapping[str, Any]:
        """Bands, unit, crop, and that the bundle's statistics were used."""
        patch_size = self.encoder.settings.patch_size
        crop = self.reader.tile_size // patch_size * patch_size
        return {
            "source": self.reader.path,
            "bands": list(self.encoder.bands),
            "unit": self.encoder.unit,
            "statistics": "bundle",
            "tile_size": [self.reader.tile_size] * 2,
            "centre_crop": [crop, crop],
        }

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""
        return tile_features(encoder, self.reader, samples, pooling=pooling, progress=progress)

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in the bundle's unit and validity."""
        return tile_blocks(self.reader, self.encoder.modality, samples, multiple_of=self.encoder.settings.patch_size)


@dataclass(frozen=True)
class ImageInputs:
    """Image files; a sample is a position in ``images.paths``."""

    images: ImageFiles
    statistics: StatisticsChoice = "auto"
    """which means and deviations standardise the images"""
    level: str | None = None
    """processing level of the images, where the bundle has statistics by level"""

    def prepare(self, encoder: Encoder, training: Samples) -> "ImageFeed":
        """Pick the bands by name, settle unit and statistics."""
        return ImageFeed(
            ImageDoor.open(
                self.images,
                encoder.modality,
                encoder.statistics,
                patch_size=encoder.settings.patch_size,
                statistics=self.statistics,
                training=training,
                level=self.level,
            )
        )


@dataclass(frozen=True)
class ImageFeed:
    """Images behind their door."""

    door: ImageDoor

    @property
    def record(self) -> Mapping[str, Any]:
        """What the door does."""
        return self.door.record

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""
        return image_features(encoder, self.door, samples, pooling=pooling, progress=progress)

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in the door's unit and validity."""
        return self.door.blocks(samples)

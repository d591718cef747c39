"""Where the inputs of a task come from, behind one interface: tiles of a store, or images.

Shapes: n samples of a task, B of them at a time, C bands, D features.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.fingerprint import Fingerprinted
from geopretext.data.statistics import POOLED
from geopretext.data.tiles import TileReader
from geopretext.errors import UnitError
from geopretext.evaluate.series_images import middle_dates, over_dates
from geopretext.modality import Modality, Observed
from geopretext.nn.bundle import Encoder
from geopretext.predict.chosen_inputs import given_bands, given_inputs, inputs_record
from geopretext.predict.features import (
    Progress,
    image_features,
    tile_blocks,
    tile_features,
)
from geopretext.predict.image_door import StatisticsChoice, spread
from geopretext.predict.images import Images
from geopretext.predict.input_gate import SAMPLE, GateReport, judge_inputs
from geopretext.predict.joined_door import Door, join_reports, judge_door, open_door
from geopretext.predict.reference import reference_of
from geopretext.predict.tile_inputs import input_batches, tile_inputs, tile_levels

Array = npt.NDArray[Any]
Samples = npt.NDArray[np.int64]

_MAPS_AT_ONCE, _SERIES_AT_ONCE = 256, 16
"""tiles whose numbers are held at a time"""
_OVER_DATES = "the encoder sees each date; baselines see the mean and the deviation over the dates of each band"


@dataclass(frozen=True)
class Window:
    """What encoders see of an image: its centre, cut to a multiple of the patch size; pixels."""

    image_height: int
    image_width: int
    height: int
    width: int

    @property
    def rows(self) -> slice:
        """Of the image."""
        top = (self.image_height - self.height) // 2
        return slice(top, top + self.height)

    @property
    def columns(self) -> slice:
        """Of the image."""
        left = (self.image_width - self.width) // 2
        return slice(left, left + self.width)


class Feed(Protocol):
    """Inputs, prepared for encoders of one architecture and one set of bands."""

    @property
    def record(self) -> Mapping[str, Any]:
        """What is done to the numbers, in plain types."""

    @property
    def gate(self) -> GateReport:
        """Whether the numbers are plausible for the encoder."""

    @property
    def window(self) -> Window:
        """Where ``blocks`` and ``standardised`` lie in the images."""

    @property
    def training(self) -> Samples:
        """Samples that may be used for whatever is made of the inputs, as ``Inputs.prepare`` was told."""

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""

    def standardised(self, samples: Samples, batch_size: int = 256) -> Iterator[Tensor]:
        """Images as encoders take them, (B, C, H, W), 0 where nothing was observed, in order.

        For what sees images: of an encoder that sees time series too, they are followed by ``over_dates`` of each.
        """

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in their unit and validity, (B, C, H, W), in order."""

    def fingerprint(self, samples: Samples) -> str:
        """Sign of what is read for some samples, in their order; what is done to it is in ``record``."""


class Inputs(Protocol):
    """What samples of a task are read from."""

    def suited(self, encoder: Encoder) -> Encoder:
        """The encoder of those of its inputs that the samples have, see ``predict.chosen_inputs``.

        Raises:
            InputError, BandError: there is none of them.
        """

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

    def suited(self, encoder: Encoder) -> Encoder:
        """Of the modalities that the tiles have."""
        return given_inputs(encoder, self.reader.modalities, where=self.reader.path)

    def prepare(self, encoder: Encoder, training: Samples) -> "TileFeed":
        """Tiles are in the bundle's unit, or refused; they are standardised by its statistics."""
        some = spread(training, SAMPLE)
        each = (encoder.alone(name).modality for name in encoder.input_names)
        gates = {modality.name: _judge_tiles(self.reader, encoder, modality, some) for modality in each}
        return TileFeed(self.reader, encoder, join_reports(gates), training)


def _judge_tiles(reader: TileReader, encoder: Encoder, modality: Modality, tiles: Samples) -> GateReport:
    """One input, of the level that most of the tiles have, since each has its own distribution.

    Of a series, the image of each tile that is in the middle.
    """
    levels = tile_levels(reader, modality, tiles).numpy()
    codes, counts = np.unique(levels, return_counts=True)
    code = int(codes[counts.argmax()])
    blocks = _images_of(reader, modality, tiles[levels == code])
    values, valid = (np.concatenate(arrays) for arrays in zip(*(_numpy(block) for block in blocks), strict=True))
    level = modality.levels[code] if code >= 0 else None
    return judge_inputs(values, valid, reference_of(encoder, modality.name), level=level)


def _images_of(reader: TileReader, modality: Modality, tiles: Samples) -> Iterator[Observed[Tensor]]:
    if not modality.kind.is_series:
        yield from tile_blocks(reader, modality, tiles)
        return
    for batch in input_batches(reader, (modality,), tiles, batch_size=_SERIES_AT_ONCE):
        yield middle_dates(batch.fields[modality.name], batch.acquisition.series[modality.name])


def _numpy(observed: Observed[Tensor]) -> tuple[Array, Array]:
    return observed.values.numpy(), observed.valid.numpy()


@dataclass(frozen=True)
class TileFeed:
    """Tiles for encoders such as ``encoder``."""

    reader: TileReader
    encoder: Encoder
    gate: GateReport
    training: Samples

    @property
    def record(self) -> Mapping[str, Any]:
        """Bands, unit, crop, and that the bundle's statistics were used."""
        series = [f"{one.modality.name} {band}" for one in self.encoder.series for band in one.modality.band_names]
        bands = [*self.encoder.bands, *series]
        return {
            "source": self.reader.path,
            **inputs_record(self.encoder),
            "bands": bands,
            "matched": bands,
            "unit": self.encoder.unit,
            "unit_of_encoder": self.encoder.unit,
            "statistics": "bundle",
            "tile_size": [self.reader.tile_size] * 2,
            "centre_crop": [self.window.height, self.window.width],
            **({"series": _OVER_DATES} if self.encoder.series else {}),
        }

    @property
    def window(self) -> Window:
        """The centre of a tile."""
        size, patch_size = self.reader.tile_size, self.encoder.settings.patch_size
        crop = size // patch_size * patch_size
        return Window(size, size, crop, crop)

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""
        return tile_features(encoder, self.reader, samples, pooling=pooling, progress=progress)

    def standardised(self, samples: Samples, batch_size: int = 256) -> Iterator[Tensor]:
        """Images as encoders take them; of series, what ``over_dates`` makes of them, standardised likewise."""
        for image, series in tile_inputs(self.encoder, self.reader, samples, batch_size):
            yield torch.cat([image, *(over_dates(one.images).values for one in series.values())], 1)

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in the bundle's unit and validity; of series likewise."""
        encoder, size = self.encoder, self.encoder.settings.patch_size
        series = [one.modality for one in encoder.series]
        for batch in input_batches(
            self.reader,
            (*encoder.inputs, *series),
            samples,
            multiple_of=size,
            batch_size=_SERIES_AT_ONCE if series else _MAPS_AT_ONCE,
        ):
            parts = [batch.fields[modality.name] for modality in encoder.inputs]
            parts += [over_dates(batch.fields[modality.name]) for modality in series]
            yield Observed(torch.cat([p.values for p in parts], 1), torch.cat([p.valid for p in parts], 1))

    def fingerprint(self, samples: Samples) -> str:
        """Of the tiles."""
        return _fingerprint(self.reader, samples, self.blocks)


@dataclass(frozen=True)
class ImageInputs:
    """Images; a sample is a position among them."""

    images: Images
    statistics: StatisticsChoice = "auto"
    """which means and deviations standardise the images"""
    level: str | None = None
    """processing level of the images, where the bundle has statistics by level"""
    substitutes: Mapping[str, str] = field(default_factory=dict)
    """for a band that the images lack, the one to take instead"""
    fill: tuple[str, ...] = ()
    """bands that may be missing everywhere"""
    notes: Mapping[str, Any] = field(default_factory=dict)
    """what the source says of itself, for the record: corrections of names, facts that were assumed"""

    def suited(self, encoder: Encoder) -> Encoder:
        """Of the bands that the images have."""
        return given_bands(encoder, self.images.bands, substitutes=self.substitutes, where=self.images.where)

    def prepare(self, encoder: Encoder, training: Samples) -> "ImageFeed":
        """Pick the bands by name, settle unit and statistics, and look whether the result is plausible."""
        by_level = any(level != POOLED for level in encoder.statistics)
        door = open_door(
            lambda _: self.images,
            encoder,
            statistics=self.statistics,
            training=training,
            level=self.level if by_level else None,
            substitutes=self.substitutes,
            fill=self.fill,
        )
        gate = judge_door(door, encoder, training, level=self.level)
        return ImageFeed(door, gate, {**inputs_record(encoder), **self.notes}, training)


@dataclass(frozen=True)
class ImageFeed:
    """Images behind their door."""

    door: Door
    gate: GateReport
    notes: Mapping[str, Any]
    training: Samples

    @property
    def record(self) -> Mapping[str, Any]:
        """What the door does, and what the source says."""
        return {**self.door.record, **self.notes}

    @property
    def window(self) -> Window:
        """The centre of an image."""
        images = self.door.images
        return Window(images.height, images.width, self.door.height, self.door.width)

    def features(
        self, encoder: Encoder, samples: Samples, *, pooling: str = "stages", progress: Progress | None = None
    ) -> Array:
        """Features (n, D) float32."""
        return image_features(encoder, self.door, samples, pooling=pooling, progress=progress)

    def standardised(self, samples: Samples, batch_size: int = 256) -> Iterator[Tensor]:
        """Images as encoders take them."""
        normaliser = self.door.normaliser
        return (normaliser(observed).values for observed in self.door.blocks(samples, batch_size))

    def blocks(self, samples: Samples) -> Iterator[Observed[Tensor]]:
        """Values in the door's unit and validity."""
        return self.door.blocks(samples)

    def fingerprint(self, samples: Samples) -> str:
        """Of the images."""
        return _fingerprint(self.door.images, samples, self.blocks)


def on_one_scale(later: Feed, earlier: Feed) -> Feed:
    """The later images of pairs, standardised as the earlier ones unless both are by the bundle's statistics.

    Scales of their own would take the difference of the dates away, and a saved bundle has room for one.

    Raises:
        UnitError: they are in different units, or one is of tiles and the other is not standardised by the bundle.
    """
    if later.record["statistics"] == earlier.record["statistics"] == "bundle":
        return later
    if isinstance(later, ImageFeed) and isinstance(earlier, ImageFeed):
        # both are doors of one encoder, and so of one class
        return replace(later, door=later.door.like(earlier.door))  # type: ignore[arg-type]
    raise UnitError(
        "images of one date are standardised by the bundle's statistics, those of the other by their own",
        where=str(later.record.get("source", "the later images")),
        hint="give both in the bundle's unit",
    )


def _fingerprint(source: object, samples: Samples, blocks: Callable[[Samples], Iterator[Observed[Tensor]]]) -> str:
    """What the source says of itself; of sources that say nothing, a hash of all numbers."""
    if isinstance(source, Fingerprinted):
        return source.fingerprint(samples)
    digest = hashlib.sha256(f"{len(samples)}".encode())
    for values, valid in blocks(samples):
        digest.update(values.cpu().numpy().tobytes())
        digest.update(valid.cpu().numpy().tobytes())
    return digest.hexdigest()

"""Features of tiles and of images: what a frozen encoder says about each, pooled over its cells.

Memory does not grow with the number of inputs, apart from the features themselves.

Shapes: n inputs, B of them at a time, C bands, H W pixels, D features.
"""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.tiles import TileReader
from geopretext.modality import Modality, Observed
from geopretext.nn.bundle import Encoder
from geopretext.nn.temporal_attention import Series
from geopretext.predict.chosen_inputs import given_inputs
from geopretext.predict.joined_door import Door
from geopretext.predict.tile_inputs import TileInput, input_batches, tile_inputs

Array = npt.NDArray[Any]
Progress = Callable[[int, int], None]
"""called with (inputs done, inputs in all)"""

_CPU_PIXELS = 32 * 64 * 64
"""On a CPU the activations of more pixels than this leave the cache: 256 tiles of 64 px at once take 1.4 times longer
than 32 at a time."""


def tile_features(
    encoder: Encoder,
    reader: TileReader,
    tiles: npt.NDArray[np.int64] | None = None,
    *,
    pooling: str = "stages",
    batch_size: int = 256,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Features (n, D) of tiles, in the order asked for, from those of the encoder's inputs that the reader has.

    Time series among them are given with all their dates.

    Args:
        encoder: on the device where it is to run.
        reader: where the tiles are.
        tiles: their numbers; None: all.
        pooling: how a grid of features becomes one vector, see ``geopretext.nn.settings.POOLINGS``.
        batch_size: images at a time, those of a series counted by date.
        progress: told how far it is.

    Raises:
        InputError: the reader has none of the encoder's inputs, or lacks one and the encoder wants all, or the bundle
            has no statistics for a level.
        BandError: it lacks a band of an input that it has.
        UnitError: a band is in another unit.
        GridError: tiles are smaller than a patch.
    """
    tiles = np.arange(len(reader)) if tiles is None else np.asarray(tiles, np.int64)
    encoder = given_inputs(encoder, reader.modalities, where=reader.path)
    blocks = tile_inputs(encoder, reader, tiles, batch_size)
    return _encode(encoder, blocks, len(tiles), pooling, progress)


def image_features(
    encoder: Encoder,
    door: Door,
    samples: Array | None = None,
    *,
    pooling: str = "stages",
    batch_size: int = 256,
    progress: Progress | None = None,
) -> npt.NDArray[np.float32]:
    """Features (n, D) of images, in the order asked for.

    Args:
        encoder: on the device where it is to run.
        door: the images and what is done to them.
        samples: positions in the images; None: all.
        pooling: how a grid of features becomes one vector, see ``geopretext.nn.settings.POOLINGS``.
        batch_size: images at a time.
        progress: told how far it is.

    Raises:
        CorruptError, GridError, BandError: a file cannot be decoded or differs from the first one.
    """
    count = len(door.images) if samples is None else len(samples)
    normaliser = door.normaliser
    blocks = (TileInput(normaliser(observed).values, {}) for observed in door.blocks(samples, batch_size))
    return _encode(encoder, blocks, count, pooling, progress)


def tile_blocks(
    reader: TileReader,
    modality: Modality,
    tiles: npt.NDArray[np.int64],
    *,
    multiple_of: int = 1,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> Iterator[Observed[Tensor]]:
    """Values in their unit and validity, (B, C, H, W), of one modality at some tiles, as ``input_batches`` gives them.

    Raises:
        InputError, BandError, UnitError, GridError: as ``input_batches``.
    """
    for batch in input_batches(
        reader, (modality,), tiles, multiple_of=multiple_of, batch_size=batch_size, device=device
    ):
        yield batch.fields[modality.name]


def _encode(
    encoder: Encoder, blocks: Iterable[TileInput], count: int, pooling: str, progress: Progress | None
) -> Array:
    device = _device(encoder)
    parts: list[Array] = []
    done = 0
    with _evaluating(encoder), torch.inference_mode():
        for image, series in blocks:
            images = 1 + sum(one.days.values.shape[1] for one in series.values())
            pixels = images * image.shape[-2] * image.shape[-1]
            step = len(image) if device.type != "cpu" else max(1, _CPU_PIXELS // pixels)
            for start in range(0, len(image), step):
                part = slice(start, start + step)
                some = {name: _rows(one, part) for name, one in series.items()}
                features = encoder.features(image[part].to(device), pooling, series=some)
                parts.append(features.cpu().numpy())
                done += len(features)
                if progress is not None:
                    progress(done, count)
    return np.concatenate(parts) if parts else np.empty((0, encoder.settings.pooled_width(pooling)), np.float32)


def _rows(series: Series, part: slice) -> Series:
    """Some of the tiles."""
    (values, valid), (days, known) = series
    return Series(Observed(values[part], valid[part]), Observed(days[part], known[part]))


def _device(encoder: Encoder) -> torch.device:
    return next(encoder.parameters()).device


@contextmanager
def _evaluating(encoder: Encoder) -> Iterator[None]:
    """Without dropped paths; as it was before, afterwards."""
    training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(training)

"""Features of tiles and of images: what a frozen encoder says about each, pooled over its cells.

Memory does not grow with the number of inputs, apart from the features themselves.

Shapes: n inputs, B of them at a time, C bands, H W pixels, D features.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.loader import TileLoader
from geopretext.data.normalise import Normaliser
from geopretext.data.tiles import TileReader
from geopretext.errors import GridError, InputError, UnitError
from geopretext.modality import Modality, Observed, known_scales
from geopretext.nn.bundle import Encoder
from geopretext.predict.chosen_inputs import given_inputs
from geopretext.predict.joined_door import Door

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

    Args:
        encoder: on the device where it is to run.
        reader: where the tiles are.
        tiles: their numbers; None: all.
        pooling: how a grid of features becomes one vector, see ``geopretext.nn.settings.POOLINGS``.
        batch_size: tiles at a time.
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
    blocks = standardised_tiles(encoder, reader, tiles, batch_size)
    return _encode(encoder, blocks, len(tiles), pooling, progress)


def standardised_tiles(
    encoder: Encoder, reader: TileReader, tiles: npt.NDArray[np.int64], batch_size: int = 256
) -> Iterator[Tensor]:
    """Tiles as the encoder takes them, (B, C, H, W) on its device, in the order asked for.

    The bands of its inputs are picked by name and standardised with the bundle's statistics, by the level of each tile;
    missing pixels become 0, the mean. Tiles whose size is no multiple of the patch size are cut to the largest multiple
    around their centre.

    Raises:
        InputError: the reader lacks an input (``given_inputs`` gives an encoder without it).
        BandError, UnitError, GridError: as ``tile_features``.
    """
    device = _device(encoder)
    levels, normalisers = {}, {}
    for modality in encoder.inputs:
        name = modality.name
        levels[name] = tile_levels(reader, modality, tiles)
        normalisers[name] = Normaliser(modality, known_scales(encoder.alone(name).statistics), device)
        normalisers[name].check_levels(levels[name].numpy())
    levels = {name: numbers.to(device) for name, numbers in levels.items()}
    start = 0
    for fields in input_blocks(
        reader,
        encoder.inputs,
        tiles,
        multiple_of=encoder.settings.patch_size,
        batch_size=batch_size,
        device=device,
    ):
        stop = start + len(next(iter(fields.values())).values)
        parts = [normalisers[name](observed, levels[name][start:stop]).values for name, observed in fields.items()]
        yield parts[0] if len(parts) == 1 else torch.cat(parts, 1)
        start = stop


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
    blocks = (normaliser(observed).values for observed in door.blocks(samples, batch_size))
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
    """Values in their unit and validity, (B, C, H, W), of one modality at some tiles, as ``input_blocks`` gives them.

    Raises:
        InputError, BandError, UnitError, GridError: as ``input_blocks``.
    """
    for fields in input_blocks(
        reader, (modality,), tiles, multiple_of=multiple_of, batch_size=batch_size, device=device
    ):
        yield fields[modality.name]


def input_blocks(
    reader: TileReader,
    inputs: Sequence[Modality],
    tiles: npt.NDArray[np.int64],
    *,
    multiple_of: int = 1,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> Iterator[dict[str, Observed[Tensor]]]:
    """Values in their unit and validity, (B, C, H, W), of an encoder's inputs by name at some tiles, in order.

    Args:
        reader: where the tiles are.
        inputs: bands and units that are wanted; their names are the modalities that are read.
        tiles: their numbers.
        multiple_of: height and width are cut to a multiple of this around the centre, pixels.
        batch_size: tiles at a time.
        device: where they come to lie.

    Raises:
        InputError: the reader lacks a modality.
        BandError: it lacks a band.
        UnitError: a band is in another unit.
        GridError: tiles are smaller than ``multiple_of``.
    """
    for modality in inputs:
        _check_input(reader, modality)
    crop = reader.tile_size // multiple_of * multiple_of
    if not crop:
        raise GridError(
            f"tiles of {reader.tile_size} pixels are smaller than a patch of {multiple_of}", where=reader.path
        )
    if not len(tiles):
        return
    loader = TileLoader(
        reader,
        modalities={modality.name: modality.band_names for modality in inputs},
        statistics=None,
        batch_size=batch_size,
        crop=crop,
        random_crop=False,
        shuffle=False,
        tiles=tiles,
        drop_last=False,
        device=device,
    )
    for batch in loader:
        yield {modality.name: batch.fields[modality.name] for modality in inputs}


def tile_levels(reader: TileReader, modality: Modality, tiles: npt.NDArray[np.int64]) -> Tensor:
    """Processing level of each tile as a position in ``modality.levels``, int64 (n,); -1 if unknown.

    Raises:
        InputError: the reader lacks the modality, or it has a level that the encoder does not know.
    """
    _check_input(reader, modality)
    stored = reader.modalities[modality.name].levels
    if modality.name not in reader.coordinates.levels or not modality.levels:
        return torch.full((len(tiles),), -1)
    codes = reader.coordinates.levels[modality.name][tiles].astype(np.int64)
    unknown = [stored[code] for code in np.unique(codes) if code >= 0 and stored[code] not in modality.levels]
    if unknown:
        raise InputError(
            f"level {', '.join(unknown)} of modality {modality.name!r} is unknown to the encoder, which knows"
            f" {', '.join(modality.levels)}",
            where=reader.path,
        )
    table = np.array([*(modality.levels.index(name) if name in modality.levels else -1 for name in stored), -1])
    return torch.from_numpy(table[codes])


def _check_input(reader: TileReader, modality: Modality) -> None:
    if modality.name not in reader.modalities:
        raise InputError(
            f"has no modality {modality.name!r}, which the encoder reads; it has {', '.join(reader.modalities)}",
            where=reader.path,
        )
    stored = reader.modalities[modality.name]
    for wanted, given in zip(modality.bands, stored.select(modality.band_names).bands, strict=True):
        if wanted.unit != given.unit:
            raise UnitError(
                f"band {wanted.name!r} of {modality.name!r} is in {given.unit!r}, the encoder wants {wanted.unit!r}",
                where=reader.path,
                hint="convert the tiles again with the right unit in the mapping",
            )


def _encode(encoder: Encoder, blocks: Iterable[Tensor], count: int, pooling: str, progress: Progress | None) -> Array:
    device = _device(encoder)
    parts: list[Array] = []
    done = 0
    with _evaluating(encoder), torch.inference_mode():
        for block in blocks:
            step = len(block) if device.type != "cpu" else max(1, _CPU_PIXELS // block[0, 0].numel())
            for some in torch.split(block, step):
                parts.append(encoder.features(some.to(device), pooling).cpu().numpy())
                done += len(some)
                if progress is not None:
                    progress(done, count)
    return np.concatenate(parts) if parts else np.empty((0, encoder.settings.pooled_width(pooling)), np.float32)


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

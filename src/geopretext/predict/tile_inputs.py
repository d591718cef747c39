"""Tiles as an encoder takes them: its maps as one image, and its time series with their dates.

Every reader of a store (features, probes, embeddings, the viewer) takes them from here, so that all see the same: bands
by name, standardised with the bundle's statistics by the level of each tile, all dates that a tile has, missing numbers
and padding 0.

Shapes: B tiles, C bands, T dates, H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.loader import Batch, TileLoader
from geopretext.data.normalise import Normaliser
from geopretext.data.tiles import TileReader
from geopretext.errors import GridError, InputError, UnitError
from geopretext.modality import Modality, Observed, known_scales
from geopretext.nn.bundle import Encoder
from geopretext.nn.temporal_attention import Series


class TileInput(NamedTuple):
    """What an encoder sees of some tiles, on its device."""

    image: Tensor
    """(B, C, H, W): all maps, 0 where nothing was observed; C is 0 of an encoder that sees series only"""
    series: Mapping[str, Series]
    """by name; T is the most dates that any of these tiles has, at least 1"""


def tile_inputs(
    encoder: Encoder, reader: TileReader, tiles: npt.NDArray[np.int64], batch_size: int = 256
) -> Iterator[TileInput]:
    """Tiles as the encoder takes them, in the order asked for.

    Tiles whose size is no multiple of the patch size are cut to the largest multiple around their centre, series with
    them.

    Args:
        encoder: of those of its inputs that the reader has (``chosen_inputs.given_inputs``).
        reader: where the tiles are.
        tiles: their numbers.
        batch_size: images at a time; a date of a series is one, so that there are fewer tiles if they have series.

    Raises:
        InputError: the reader lacks an input, it is of another kind, or the bundle has no statistics for a level.
        BandError: it lacks a band.
        UnitError: a band is in another unit.
        GridError: tiles are smaller than a patch.
    """
    device = next(encoder.parameters()).device
    levels, normalisers = {}, {}
    for name in encoder.input_names:
        modality, scales, _ = encoder.alone(name)
        levels[name] = tile_levels(reader, modality, tiles)
        normalisers[name] = Normaliser(modality, known_scales(scales), device)
        normalisers[name].check_levels(levels[name].numpy())
    levels = {name: numbers.to(device) for name, numbers in levels.items()}
    series = [one.modality for one in encoder.series]
    dates = sum(reader.coordinates.series[modality.name].shape[1] for modality in series)
    start = 0
    for batch in input_batches(
        reader,
        (*encoder.inputs, *series),
        tiles,
        multiple_of=encoder.settings.patch_size,
        batch_size=max(1, batch_size // (1 + dates)),
        device=device,
    ):
        stop = start + len(batch)
        seen = {}
        for modality in series:
            name = modality.name
            images, days = trimmed(batch.fields[name], batch.acquisition.series[name])
            seen[name] = Series(normalisers[name](images, levels[name][start:stop]), days)
        maps = [normalisers[m.name](batch.fields[m.name], levels[m.name][start:stop]).values for m in encoder.inputs]
        if not maps:
            shape = next(iter(seen.values())).images.values.shape
            maps = [torch.zeros(shape[0], 0, *shape[-2:], device=device)]
        yield TileInput(maps[0] if len(maps) == 1 else torch.cat(maps, 1), seen)
        start = stop


def trimmed(images: Observed[Tensor], days: Observed[Tensor]) -> tuple[Observed[Tensor], Observed[Tensor]]:
    """Without the dates that are padding in all tiles, of which one stays if there are no others."""
    longest = max(1, int(days.valid.sum(1).max()))
    one, other = (Observed(*(part[:, :longest] for part in both)) for both in (images, days))
    return one, other


def input_batches(
    reader: TileReader,
    inputs: Sequence[Modality],
    tiles: npt.NDArray[np.int64],
    *,
    multiple_of: int = 1,
    batch_size: int = 256,
    device: torch.device | str = "cpu",
) -> Iterator[Batch]:
    """Values in their unit and validity of maps and series at some tiles, in order; dates in ``Batch.acquisition``.

    Args:
        reader: where the tiles are.
        inputs: bands and units that are wanted; their names are the modalities that are read.
        tiles: their numbers.
        multiple_of: height and width are cut to a multiple of this around the centre, pixels.
        batch_size: tiles at a time.
        device: where they come to lie.

    Raises:
        InputError: the reader lacks a modality, or it is of another kind.
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
    yield from TileLoader(
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
            hint="take tiles of these levels, or an encoder that was trained on both",
        )
    table = np.array([*(modality.levels.index(name) if name in modality.levels else -1 for name in stored), -1])
    return torch.from_numpy(table[codes])


def _check_input(reader: TileReader, modality: Modality) -> None:
    if modality.name not in reader.modalities:
        raise InputError(
            f"has no modality {modality.name!r}, which the encoder reads; it has {', '.join(reader.modalities)}",
            where=reader.path,
            hint="take a store that has it, or leave it out (--inputs) if the encoder takes any of its inputs",
        )
    stored = reader.modalities[modality.name]
    if stored.kind.is_series != modality.kind.is_series:
        raise InputError(
            f"{modality.name!r} is a {stored.kind}, and the encoder takes a {modality.kind} of that name",
            where=reader.path,
            hint="take a store of the kind that the encoder was trained on",
        )
    for wanted, given in zip(modality.bands, stored.select(modality.band_names).bands, strict=True):
        if wanted.unit != given.unit:
            raise UnitError(
                f"band {wanted.name!r} of {modality.name!r} is in {given.unit!r}, the encoder wants {wanted.unit!r}",
                where=reader.path,
                hint="convert the tiles again with the right unit in the mapping",
            )

"""What a pretrained network believes of a tile of which it sees only some patches, in physical units.

Shapes: ``n`` tiles, ``C`` bands, ``K`` classes, ``H W`` pixels, ``P`` patches, ``p`` pixels on a side of a patch.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from geopretext.data.normalise import Normaliser
from geopretext.data.sampling import hash_seeds
from geopretext.data.statistics import Statistics
from geopretext.data.tiles import Coordinates, TileReader
from geopretext.errors import GridError, InputError
from geopretext.modality import Kind, Modality, Observed
from geopretext.nn.bundle_pretext import load_reconstructor, load_statistics
from geopretext.nn.masking import patch_grid, patchify, sample_visible, unpatchify
from geopretext.nn.reconstructor import Reconstructor
from geopretext.predict.features import tile_blocks
from geopretext.predict.tile_inputs import tile_levels

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Pretrained:
    """A network as pretraining saved it: loaded once, for many reconstructions."""

    network: Reconstructor
    """in evaluation mode"""
    statistics: Statistics
    """that its numbers are standardised with"""

    @classmethod
    def load(cls, bundle: str | Path) -> "Pretrained":
        """Read a bundle that pretraining wrote.

        Raises:
            BundleError: it cannot be read, holds an encoder only, or has no statistics.
        """
        return cls(load_reconstructor(bundle), Statistics.from_dict(load_statistics(bundle)))


@dataclass(frozen=True)
class Target:
    """Truth and prediction of one modality at ``n`` tiles, in its physical units."""

    modality: Modality
    """with only the bands that are predicted"""
    truth: Observed[Array]
    """as ``Observed`` lays it out for the modality's kind"""
    prediction: Array
    """continuous map (n, C, H, W); categorical map (n, H, W) class index; continuous vector (n, C);
    categorical vector (n, K) and multi-label vector (n, C) probabilities"""
    restored: bool = False
    """True if the network predicts each patch without its own mean and standard deviation, and both were put back
    from the truth: contrast and texture are predicted, brightness is not"""
    everywhere: bool = False
    """True if the network was trained to predict the patches that it is shown, too, and not the hidden ones only"""

    def error(self) -> Observed[Array]:
        """Absolute error (categorical: 1.0 where the class is wrong), valid where the truth is; in the truth's shape.

        For a multi-label vector it is the distance of the probability from 0 or 1.
        """
        values, valid = self.truth
        match self.modality.kind:
            case Kind.CATEGORICAL_MAP:
                wrong = (self.prediction != values).astype(np.float32)
            case Kind.CATEGORICAL_VECTOR:
                wrong = (self.prediction.argmax(axis=1) != values).astype(np.float32)
            case _:
                wrong = np.abs(self.prediction - values)
        return Observed(np.where(valid, wrong, np.float32(0)), valid)


@dataclass(frozen=True)
class Compared:
    """What a loss compares, as the network has it."""

    visible: Tensor
    """(n, P) bool: patches that the encoder saw, row by row"""
    outputs: Mapping[str, Tensor]
    """of the heads, by target, for all patches, see ``Reconstructor.forward``"""
    fields: Mapping[str, Observed[Tensor]]
    """standardised truth by target, with the bands that are predicted"""


@dataclass(frozen=True)
class Reconstruction:
    """Some tiles, what was shown of them, and what was predicted."""

    coordinates: Coordinates
    """of the n tiles"""
    input: Modality
    """of the encoder, with its bands; of several that it was given, the first"""
    shown: Observed[Array]
    """``input`` in physical units, complete, (n, C, H, W)"""
    visible: npt.NDArray[np.bool_]
    """(n, H, W): pixels of patches that the encoder saw"""
    targets: tuple[Target, ...]
    """in the order of the network"""
    compared: Compared | None = None
    """None if it does not come from ``reconstruct``"""
    used: tuple[str, ...] = ()
    """names of the inputs that the encoder was given; empty: just ``input``"""
    absent: tuple[str, ...] = ()
    """those that it was not given, and which are predicted on all patches if they are targets"""

    def is_input(self, name: str) -> bool:
        """Whether the encoder saw a modality."""
        return name in (self.used or (self.input.name,))


def reconstruct(
    bundle: str | Path | Pretrained,
    reader: TileReader,
    tiles: Sequence[int] | npt.NDArray[np.int64],
    seed: int = 0,
    *,
    visible: npt.NDArray[np.bool_] | None = None,
    inputs: Sequence[str] | None = None,
) -> Reconstruction:
    """Hide patches of some tiles and predict every modality from the visible ones.

    Tiles whose size is no multiple of the patch size are cut to the largest multiple around their centre. Modalities
    that the reader lacks are predicted all the same; their truth is not observed.

    Args:
        bundle: that pretraining wrote (a bundle of an encoder alone cannot predict modalities), or what was loaded of
            it.
        reader: of the tiles.
        tiles: their numbers.
        seed: of the patches that are hidden; each tile hides others.
        visible: (n, P), which patches are shown, row by row; the same number in every tile, at least one. None: as many
            as in pretraining, by ``seed``.
        inputs: of a network that takes any of several inputs (``nn.fused``), the names of those that it is given; None:
            all that the reader has.

    Raises:
        BundleError: the bundle cannot be read, or holds an encoder only.
        InputError: the reader has no input of the network, or lacks one that it needs or that is asked for; there is no
            such tile, or none is asked for; ``visible`` shows no patch of a tile.
        BandError, UnitError, GridError: a band, a unit or the size of the tiles does not fit the bundle, or ``visible``
            does not fit the tiles.
    """
    numbers = np.asarray(tiles, np.int64)
    if not len(numbers):
        raise InputError("no tile is asked for", where=reader.path)
    loaded = bundle if isinstance(bundle, Pretrained) else Pretrained.load(bundle)
    network, settings = loaded.network, loaded.network.encoder.settings
    source = _Source(reader, numbers, settings.patch_size, loaded.statistics)
    used = _used_inputs(network, reader, inputs)
    observed, x = _image(source, network, used)
    grid = patch_grid(height=x.shape[2], width=x.shape[3], patch_size=settings.patch_size)
    if visible is None:
        seeds = torch.from_numpy(hash_seeds(seed, numbers))
        shown = sample_visible(seeds, grid[0] * grid[1], network.settings.mask_ratio)
    else:
        shown = torch.from_numpy(_checked_patches(visible, len(numbers), grid))
    with torch.inference_mode():
        predictions = network(x, shown, everywhere=True)
    absent = tuple(modality.name for modality in network.inputs if modality not in used)
    targets = {
        name: _target(name, network, predictions[name], source, grid, everywhere=name in absent)
        for name in network.targets
    }
    pixels = shown.reshape(-1, *grid).repeat_interleave(settings.patch_size, 1)
    return Reconstruction(
        coordinates=reader.coordinates.take(numbers),
        input=used[0],
        shown=_numpy(observed),
        visible=pixels.repeat_interleave(settings.patch_size, 2).numpy(),
        targets=tuple(target for target, _ in targets.values()),
        compared=Compared(shown, predictions, {name: field for name, (_, field) in targets.items()}),
        used=tuple(modality.name for modality in used),
        absent=absent,
    )


def _used_inputs(network: Reconstructor, reader: TileReader, wanted: Sequence[str] | None) -> tuple[Modality, ...]:
    """The inputs that the network is to be given."""
    known = {modality.name: modality for modality in network.inputs}
    for name in wanted or ():
        if name not in known:
            raise InputError(f"the network has no input {name!r}", hint=f"its inputs are {', '.join(known)}")
    asked = list(known) if wanted is None else [name for name in known if name in wanted]
    used = [name for name in asked if name in reader.modalities]
    if not used or (wanted is not None and used != asked) or (used != list(known) and not network.encoder.any_input):
        lacks = [name for name in asked if name not in used] or [name for name in known if name not in asked]
        if set(lacks) <= set(reader.modalities):
            raise InputError(
                f"the network wants all of its inputs: {', '.join(known)}",
                hint="give all; the families fused, omnisat and a2_mae take any",
            )
        raise InputError(
            f"has no modality {', '.join(map(repr, lacks))}, which the encoder reads;"
            f" it has {', '.join(reader.modalities)}",
            where=reader.path,
        )
    return tuple(known[name] for name in used)


def _image(source: "_Source", network: Reconstructor, used: Sequence[Modality]) -> tuple[Observed[Tensor], Tensor]:
    """The first input that is used, in its unit, and the image (n, C, H, W) of all inputs, 0 where they are absent."""
    observed, parts = {}, []
    for modality in used:
        observed[modality.name], normaliser, levels = source.read(modality, needed=True)
        parts.append(normaliser(observed[modality.name], levels).values)
    first = observed[used[0].name]
    given = dict(zip(observed, parts, strict=True))
    size = first.values.shape
    every = [
        given.get(modality.name, torch.zeros(size[0], len(modality.bands), *size[2:])) for modality in network.inputs
    ]
    return first, every[0] if len(every) == 1 else torch.cat(every, 1)


def _checked_patches(visible: npt.NDArray[np.bool_], tiles: int, grid: tuple[int, int]) -> npt.NDArray[np.bool_]:
    if visible.shape != (tiles, grid[0] * grid[1]):
        raise GridError(
            f"visible patches have the shape {visible.shape}, the tiles {(tiles, grid[0] * grid[1])}",
            hint=f"one for each of {grid[0]} rows of {grid[1]} patches of each tile, row by row",
        )
    if not visible.any(axis=1).all():
        raise InputError("no patch is visible, so that there is nothing to predict from", hint="show at least one")
    return np.ascontiguousarray(visible, np.bool_)


@dataclass(frozen=True)
class _Source:
    """Truth of some tiles, as the network was trained to see it."""

    reader: TileReader
    tiles: npt.NDArray[np.int64]
    patch_size: int
    statistics: Statistics

    def read(self, modality: Modality, *, needed: bool = False) -> tuple[Observed[Tensor], Normaliser, Tensor]:
        """Values in their unit, what standardises them, and the level of each tile.

        What the reader lacks is not observed, or an error if it is ``needed``.
        """
        normaliser = Normaliser.of(modality, self.statistics)
        here = self.reader.modalities.get(modality.name)
        if not needed and (here is None or not set(modality.band_names) <= set(here.band_names)):
            return self._unobserved(modality), normaliser, torch.full((len(self.tiles),), -1)
        blocks = list(tile_blocks(self.reader, modality, self.tiles, multiple_of=self.patch_size))
        observed = Observed(torch.cat([b.values for b in blocks]), torch.cat([b.valid for b in blocks]))
        return observed, normaliser, tile_levels(self.reader, modality, self.tiles)

    def _unobserved(self, modality: Modality) -> Observed[Tensor]:
        side = self.reader.tile_size // self.patch_size * self.patch_size
        bands = () if modality.kind.is_categorical else (len(modality.bands),)
        pixels = (side, side) if modality.kind.is_map else ()
        shape = (len(self.tiles), *bands, *pixels)
        values = torch.zeros(shape, dtype=torch.int64 if modality.kind.is_categorical else torch.float32)
        return Observed(values, torch.zeros(shape, dtype=torch.bool))


def _target(
    name: str,
    network: Reconstructor,
    prediction: Tensor,
    source: _Source,
    grid: tuple[int, int],
    *,
    everywhere: bool,
) -> tuple[Target, Observed[Tensor]]:
    """Raw output of a head, (n, P, p p channels) or (n, channels), beside the truth and in its units.

    The truth comes standardised, too.
    """
    modality, restore = network.targets[name], name in network.settings.standardise_patches
    truth, normaliser, levels = source.read(modality)
    field = normaliser(truth, levels)
    if modality.kind.is_map:
        if restore:
            prediction = _restore(prediction, *(patchify(part, source.patch_size) for part in field))
        prediction = unpatchify(prediction, source.patch_size, grid=grid)
    match modality.kind:
        case Kind.CONTINUOUS_MAP | Kind.CONTINUOUS_VECTOR:
            prediction = normaliser.inverse(prediction, levels)
        case Kind.CATEGORICAL_MAP:
            prediction = prediction.argmax(1)
        case Kind.CATEGORICAL_VECTOR:
            prediction = prediction.softmax(1)
        case Kind.MULTILABEL_VECTOR:
            prediction = prediction.sigmoid()
    everywhere = everywhere or network.predicts_visible(name)
    return Target(modality, _numpy(truth), prediction.numpy(), restored=restore, everywhere=everywhere), field


def _restore(prediction: Tensor, truth: Tensor, valid: Tensor) -> Tensor:
    """Give standardised patches (n, P, N) the mean and standard deviation of the true ones, over valid numbers."""
    count = valid.sum(-1, keepdim=True)
    mean = (truth * valid).sum(-1, keepdim=True) / count.clamp(min=1)
    variance = ((truth - mean) * valid).square().sum(-1, keepdim=True) / (count - 1).clamp(min=1)
    return prediction * variance.sqrt() + mean


def _numpy(observed: Observed[Tensor]) -> Observed[Array]:
    return Observed(observed.values.numpy(), observed.valid.numpy())

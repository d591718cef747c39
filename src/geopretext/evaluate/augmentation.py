"""What is done to training batches at random: turns and mirror images, mixup, CutMix.

Randomness comes in as a generator on the CPU, so that a seed gives the same batches on every device.

Shapes: B samples, H W pixels, K classes or labels; images are (B, ..., H, W).
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.prepared import Labels

_MIRROR_COLUMNS, _MIRROR_ROWS, _SWAP_AXES = 1, 2, 4
MIXABLE = (TaskKind.SINGLE_LABEL, TaskKind.MULTI_LABEL)
"""Kinds whose labels can be mixed."""


def turn(maps: Tensor, code: int) -> Tensor:
    """One of the eight ways in which a square can lie.

    Args:
        maps: (..., H, W).
        code: 0 to 7: the sum of 1 (left and right exchanged), 2 (top and bottom) and 4 (rows and columns, first).
    """
    if code & _SWAP_AXES:
        maps = maps.transpose(-1, -2)
    axes = [axis for bit, axis in ((_MIRROR_COLUMNS, -1), (_MIRROR_ROWS, -2)) if code & bit]
    return maps.flip(axes) if axes else maps


def turn_at_random(images: Tensor, labels: Labels, generator: np.random.Generator) -> tuple[Tensor, Labels]:
    """Each sample lies in one of the eight ways (those four that mirror, if images are not square), its labels with it.

    Args:
        images: (B, ..., H, W).
        labels: those of pixels turn along; others stay.
        generator: draws the ways.
    """
    square = images.shape[-1] == images.shape[-2]
    codes = generator.integers(8 if square else 4, size=len(images))

    def turned(maps: Tensor) -> Tensor:
        result = torch.empty_like(maps)
        for code in np.unique(codes).tolist():
            rows = torch.from_numpy(np.flatnonzero(codes == code)).to(maps.device)
            result[rows] = turn(maps[rows], code)
        return result

    if labels.labelled is not None:
        labels = Labels(turned(labels.values), turned(labels.labelled))
    return turned(images), labels


def mix(
    images: Tensor, labels: Labels, classes: int, *, mixup: float, cutmix: float, generator: np.random.Generator
) -> tuple[Tensor, Labels]:
    """Blend each sample with another of its batch (mixup), or paste a box of the other (CutMix).

    One share is drawn for a batch from a beta distribution; with both methods, a coin decides which it is.

    Args:
        images: (B, ..., H, W).
        labels: (B,) class indices or (B, K) of 0 and 1.
        classes: K.
        mixup: alpha of the distribution (Zhang et al. 2018, arXiv 1710.09412, section 2); 0: no mixup.
        cutmix: alpha (Yun et al. 2019, arXiv 1905.04899, section 3.1); 0: no CutMix.
        generator: draws method, share, partner and box.

    Returns:
        images, and labels (B, K): each sample's share of its own and of the other's.
    """
    if not mixup and not cutmix:
        return images, labels
    pastes = bool(cutmix) and (not mixup or generator.random() < 0.5)
    alpha = cutmix if pastes else mixup
    own = float(generator.beta(alpha, alpha))
    # Batches are in random order: the sample so many places further on is any other one.
    further = int(generator.integers(1, max(len(images), 2)))
    partners = images.roll(further, 0)
    if pastes:
        rows, columns = _box(images.shape[-2], images.shape[-1], 1 - own, generator)
        mixed = images.clone()
        mixed[..., rows, columns] = partners[..., rows, columns]
        area = (rows.stop - rows.start) * (columns.stop - columns.start)
        own = 1 - area / (images.shape[-1] * images.shape[-2])
    else:
        mixed = own * images + (1 - own) * partners
    values = labels.values
    if values.ndim == 1:
        values = F.one_hot(values, classes).to(images.dtype)
    return mixed, Labels(own * values + (1 - own) * values.roll(further, 0), None)


def _box(height: int, width: int, share: float, generator: np.random.Generator) -> tuple[slice, slice]:
    """A box of about this share of an image, in its proportions, around any pixel, cut at the borders."""
    side = np.sqrt(share)
    slices = []
    for size in (height, width):
        centre, half = generator.integers(size), int(size * side) // 2
        slices.append(slice(max(int(centre) - half, 0), min(int(centre) + half, size)))
    return slices[0], slices[1]

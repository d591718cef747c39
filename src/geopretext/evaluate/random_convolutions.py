"""Random convolution features: image patches as filters, and how strongly an image answers to them.

In the manner of MOSAIKS (Rolf et al. 2021, doi 10.1038/s41467-021-24638-z, Methods, "Random convolutional features"):
patches are cut from training images at random places and whitened; each is convolved with an image, a bias is added,
and the means of what is above and of what is below zero are two features. Nothing is trained and no label is seen.

What differs: bands are standardised before; patches are centred on their mean patch and not scaled to length 1; each
answer is scaled to variance 1 over the patches, so that one bias suits images of any bands and contrast.

Shapes: B images, C bands, H W pixels, F filters, k pixels on a side of a filter, N = C k k.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.evaluate.inputs import Feed, Samples

FILTERS = 512
"""How many patches are drawn; twice as many features come of them."""
SIDE = 3
"""k, as in torchgeo's ``RCF``."""
BIAS = -1.0
"""As in torchgeo's ``RCF``; in standard deviations of an answer."""
_WHITENING = 1e-3
"""What is added to the variances, of their mean: directions of noise are not blown up without end."""
_ANSWERS_AT_ONCE = 1 << 23  # 32 MiB of float32: what stays near the processor is faster


@dataclass(frozen=True)
class Filters:
    """Patches as filters of a convolution."""

    weight: Tensor
    """(F, C, k, k) float32"""
    bias: Tensor
    """(F,) float32"""

    def features(self, images: Tensor) -> Tensor:
        """Means over all places of the answers above zero, and of those below: (B, C, H, W) -> (B, 2 F)."""
        weight, bias = self.weight.to(images.device), self.bias.to(images.device)
        step = max(1, _ANSWERS_AT_ONCE // (len(weight) * images[0, 0].numel()))
        parts = []
        for some in torch.split(images, step):
            answers = F.conv2d(some, weight, bias)
            above = answers.clamp_min(0).mean((2, 3))
            parts.append(torch.cat([above, above - answers.mean((2, 3))], 1))
        return torch.cat(parts)


def draw_filters(feed: Feed, *, seed: int, count: int = FILTERS, side: int = SIDE) -> Filters:
    """Filters from random places of the feed's training images.

    Args:
        feed: gives the images, standardised.
        seed: of images and places.
        count: F.
        side: k, pixels.
    """
    return filters_of(_draw_patches(feed, np.random.default_rng(seed), count, side))


def filters_of(patches: Tensor) -> Filters:
    """Whiten patches (F, C, k, k), and scale what they answer to each other to variance 1."""
    flat = patches.flatten(1).double()
    mean = flat.mean(0)
    centred = flat - mean
    variances, axes = torch.linalg.eigh(centred.T @ centred / len(centred))
    # twice: an image's patch is whitened as the filter is, and both whitenings can be had in the filter
    floor = (_WHITENING * variances.mean()).clamp_min(torch.finfo(torch.float64).tiny)
    filters = centred @ (axes / (variances.clamp_min(0) + floor)) @ axes.T
    deviations = (centred @ filters.T).std(0, correction=0)
    filters = torch.where(deviations > 0, 1 / deviations, 0.0)[:, None] * filters
    return Filters(filters.view_as(patches).float(), (BIAS - filters @ mean).float())


def _draw_patches(feed: Feed, generator: np.random.Generator, count: int, side: int) -> Tensor:
    """Patches (F, C, k, k), in the order of their images."""
    training = feed.training
    of_image = np.sort(generator.choice(len(training), count, replace=count > len(training)))
    images, uses = np.unique(of_image, return_counts=True)
    heights = generator.integers(0, feed.window.height - side + 1, count)
    widths = generator.integers(0, feed.window.width - side + 1, count)
    parts: list[Tensor] = []
    for image, times in zip(_each(feed, training[images]), uses, strict=True):
        for _ in range(times):
            top, left = heights[len(parts)], widths[len(parts)]
            parts.append(image[:, top : top + side, left : left + side].cpu())
    return torch.stack(parts)


def _each(feed: Feed, samples: Samples) -> Iterator[Tensor]:
    return (image for block in feed.standardised(samples, 64) for image in block)

"""Random views of images with many bands and gaps, on their device, each tile's own.

Numbers are standardised, so that 0 is a band's mean; a missing one is 0 and stays missing. Each function takes the
seeds of a view, and draws from a stream of its own: what one draws depends on no other.

What is done, and how strongly, is what the training code of SSL4EO-S12 does to images with many bands
(github.com/zhu-xlab/SSL4EO-S12, ``pretrain_moco_v3_s2c.py`` and ``rs_transforms_uint8.py``), with these differences:

- there, numbers are bytes from two standard deviations below the mean to two above, and what brightness or contrast
  takes beyond wraps around: the brightest pixels turn black. Here numbers have no such ends;
- a box too long to fit is made as long as fits, of the same area, where torchvision draws up to ten others;
- a dropped band is missing here, so 0; there it is the least number.

Letters: ``B`` tiles, ``C`` bands, ``H W`` pixels, ``S`` pixels on a side of a view.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from geopretext.modality import Observed
from geopretext.nn.seeded import derived, uniform

_BOX, _BRIGHTNESS, _CONTRAST, _JITTER, _GRAY, _BLUR, _SIGMA, _FLIP, _DROP, _DROPPED = range(1, 11)
_LONGEST = 4 / 3  # sides of a box relate at most so, as in torchvision
_DARKEST = -2.0  # standardised: where the bytes of SSL4EO-S12 begin, which brightness multiplies
_REACH = 3.0  # standard deviations of a blur after which its kernel ends
_HALF = 0.5


def random_boxes(seeds: Tensor, *, height: int, width: int, smallest: float) -> Tensor:
    """Boxes of random area, shape and place.

    Args:
        seeds: (B,) int64, of the view.
        height: of the image, in pixels.
        width: of the image, in pixels.
        smallest: share of the image that a box has at least, above 0 to 1; uniform from there to 1.

    Returns:
        (B, 4) int64: upper row, left column, rows, columns; at least one pixel, within the image.
    """
    draws = uniform(derived(seeds, _BOX), 4)
    area = (smallest + (1 - smallest) * draws[:, 0]) * height * width
    side = area.sqrt()
    root = torch.exp(math.log(_LONGEST) * (draws[:, 1] - _HALF))  # of the ratio of the sides
    root = root.clamp(min=side / height, max=width / side)  # so that the box fits
    rows = (side / root).round().clamp(1, height)
    columns = (side * root).round().clamp(1, width)
    top = (draws[:, 2] * (height - rows + 1)).floor()
    left = (draws[:, 3] * (width - columns + 1)).floor()
    return torch.stack([top, left, rows, columns], 1).long()


def cut(image: Observed[Tensor], boxes: Tensor, side: int) -> Observed[Tensor]:
    """The content of boxes, resized bilinearly; nothing from outside a box comes in.

    Args:
        image: (B, C, H, W).
        boxes: (B, 4), as ``random_boxes`` gives them; not much larger than a view, since nothing is smoothed first.
        side: S.

    Returns:
        (B, C, S, S): weighted means of the observed numbers, missing where less than half the weight is observed.
    """
    steps = (torch.arange(side, device=boxes.device) + _HALF) / side
    rows, columns = (
        _weights(steps, boxes[:, axis, None], boxes[:, axis + 2, None], size)
        for axis, size in enumerate(image.values.shape[2:])
    )
    values, weight = (rows[:, None] @ x.float() @ columns[:, None].mT for x in image)
    return _weighted(values, weight, weight > _HALF - 1e-4)


def flip(image: Observed[Tensor], seeds: Tensor, share: float) -> Observed[Tensor]:
    """Exchange left and right, in a share of the tiles."""
    chosen = _chosen(seeds, _FLIP, share)
    return Observed(*(torch.where(chosen, x.flip(-1), x) for x in image))


def jitter(image: Observed[Tensor], seeds: Tensor, *, strength: float, share: float) -> Observed[Tensor]:
    """Multiply brightness and contrast, in a share of the tiles.

    Args:
        image: (B, C, H, W).
        seeds: (B,) int64, of the view.
        strength: factors are uniform from 1 - strength to 1 + strength; those of brightness multiply the distance from
            two standard deviations below the mean, those of contrast that from the band's mean over the view.
        share: of the tiles, 0 to 1.
    """
    brightness, contrast = (
        1 + strength * (2 * uniform(derived(seeds, stream), 1)[..., None, None] - 1)
        for stream in (_BRIGHTNESS, _CONTRAST)
    )
    values, valid = image
    changed = (values - _DARKEST) * brightness + _DARKEST
    mean = torch.where(valid, changed, 0.0).sum((2, 3), keepdim=True) / valid.sum((2, 3), keepdim=True).clamp(min=1)
    changed = (changed - mean) * contrast + mean
    return _where(_chosen(seeds, _JITTER, share), changed, image)


def gray(image: Observed[Tensor], seeds: Tensor, share: float) -> Observed[Tensor]:
    """Give all bands the mean over the observed ones, in a share of the tiles."""
    values, valid = image
    mean = values.sum(1, keepdim=True) / valid.sum(1, keepdim=True).clamp(min=1)
    return _where(_chosen(seeds, _GRAY, share), mean.expand_as(values), image)


def blur(image: Observed[Tensor], seeds: Tensor, *, sigma: tuple[float, float], share: float) -> Observed[Tensor]:
    """Weight neighbours by a Gaussian, in a share of the tiles; missing ones and those beyond the edge have no weight.

    Args:
        image: (B, C, H, W).
        seeds: (B,) int64, of the view.
        sigma: least and largest standard deviation in pixels, above 0.
        share: of the tiles, 0 to 1.
    """
    values, valid = image
    batch, bands, height, width = values.shape
    reach = math.ceil(_REACH * sigma[1])
    offsets = torch.arange(-reach, reach + 1, device=values.device)
    width_of = sigma[0] + (sigma[1] - sigma[0]) * uniform(derived(seeds, _SIGMA), 1)
    kernel = torch.exp(-(offsets**2) / (2 * width_of**2)).repeat_interleave(2 * bands, 0)[:, None]
    both = torch.cat([values, valid.float()], 1).reshape(1, batch * 2 * bands, height, width)
    both = F.conv2d(both, kernel[..., None, :], padding=(0, reach), groups=len(kernel))
    both = F.conv2d(both, kernel[..., None], padding=(reach, 0), groups=len(kernel))
    sums, weight = both.reshape(batch, 2 * bands, height, width).chunk(2, 1)
    blurred = _weighted(sums, weight, valid).values
    return _where(_chosen(seeds, _BLUR, share), blurred, image)


def drop_bands(image: Observed[Tensor], seeds: Tensor, *, most: int, share: float) -> Observed[Tensor]:
    """Let some bands be missing, in a share of the tiles.

    Args:
        image: (B, C, H, W).
        seeds: (B,) int64, of the view.
        most: bands that are dropped, 1 to this number, each number as often; at least one band stays.
        share: of the tiles, 0 to 1.
    """
    values, valid = image
    bands = values.shape[1]
    most = min(most, bands - 1)
    if most < 1:
        return image
    count = 1 + (uniform(derived(seeds, _DROP), 2)[:, 1:] * most).floor()  # the first draw is that of ``_chosen``
    rank = uniform(derived(seeds, _DROPPED), bands).argsort(dim=1, stable=True).argsort(dim=1)
    dropped = _chosen(seeds, _DROP, share) & (rank < count)[..., None, None]
    return Observed(torch.where(dropped, 0.0, values), valid & ~dropped)


def _weights(steps: Tensor, start: Tensor, size: Tensor, pixels: int) -> Tensor:
    """Of each pixel in each place along one axis of a view: (S,) shares of a box, (B, 1), (B, 1) -> (B, S, pixels)."""
    places = (start + steps * size - _HALF).clamp(min=start, max=start + size - 1)
    distances = (places[..., None] - torch.arange(pixels, device=steps.device)).abs()
    return (1 - distances).clamp(min=0)


def _chosen(seeds: Tensor, stream: int, share: float) -> Tensor:
    """(B, 1, 1, 1) bool: a share of the tiles."""
    return (uniform(derived(seeds, stream), 1) < share)[..., None, None]


def _where(chosen: Tensor, changed: Tensor, image: Observed[Tensor]) -> Observed[Tensor]:
    """Changed numbers of the chosen tiles, 0 where missing."""
    return Observed(torch.where(chosen & image.valid, changed, image.values), image.valid)


def _weighted(sums: Tensor, weight: Tensor, valid: Tensor) -> Observed[Tensor]:
    return Observed(torch.where(valid, sums / weight.clamp(min=1e-6), 0.0), valid)

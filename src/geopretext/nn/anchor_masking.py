"""Which tokens of a set of images are hidden: masks that follow from one image, the anchor, by what covers what.

The tokens of the anchor are hidden at random. How many tokens an image shows is fixed; which ones follows from its
ground sampling distance beside the anchor's:

- the same: of the tokens over ground that the anchor hides, those that a coin keeps are shown first, then those over
  ground that it shows, then the others: the images complement each other more than chance would have it;
- finer: a hidden token of the anchor hides all tokens under it, unless a coin keeps them, so that its mean cannot be
  read off them; of the others any are shown;
- coarser: a token is hidden where the anchor hides half of its ground or more; of the others any are shown.

Where these rules would hide more than the number allows, tokens that they hide are shown after all: at random, of a
coarser image those first of which the least is hidden. A token of a finer image that lies over several of the anchor's
goes with the half of its area or more.

Letters: ``B`` tiles, ``K`` images, ``N`` tokens.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from geopretext.nn.footprints import TokenGrid, overlaps
from geopretext.nn.seeded import derived, uniform

_ANCHOR, _IMAGES = 1, 16  # streams of the seeds: of the choice of the anchor, and from where on two for each image
_HALF = 0.5 - 1e-5  # overlaps are rounded
_FIRST, _NEXT, _LAST = 0.0, 2.0, 4.0  # the order in which tokens are shown; noise below 1 decides within each
_PER_SHARE = 4096.0  # in which less of the ground being hidden comes before the noise


def choose_anchors(seeds: Tensor, present: Tensor) -> Tensor:
    """The anchor of each set, any of the images that are there with the same probability.

    Args:
        seeds: (B,) int64.
        present: (B, K) bool: images that have any valid number; of a set without any, all count.

    Returns:
        (B,) int64.
    """
    draws = uniform(derived(seeds, _ANCHOR), present.shape[1])
    return torch.where(present, draws, 1 + draws).argmin(1)


def independent_masks(seeds: Tensor, grids: Sequence[TokenGrid], counts: Sequence[int]) -> list[Tensor]:
    """Tokens that are shown, of each image by chance alone; as ``anchor_masks`` returns them."""
    return [_smallest(_noise(seeds, k, grid.count), count) for k, (grid, count) in enumerate(_pairs(grids, counts))]


def anchor_masks(
    seeds: Tensor, grids: Sequence[TokenGrid], counts: Sequence[int], anchors: Tensor, *, keep_share: float
) -> list[Tensor]:
    """Tokens that are shown.

    Args:
        seeds: (B,) int64, from which all randomness follows.
        grids: of the images.
        counts: how many tokens each shows.
        anchors: (B,) int64: number of the anchor of each set.
        keep_share: probability that a coin keeps a token, 0 to 1.

    Returns:
        Of each image (B, N) bool, with exactly so many True in each row.
    """
    noises = [_noise(seeds, k, grid.count) for k, grid in enumerate(grids)]
    coins = [uniform(derived(seeds, _IMAGES + 2 * k + 1), grid.count) < keep_share for k, grid in enumerate(grids)]
    masks = []
    for k, grid in enumerate(grids):
        order = noises[k]
        for a, anchor in enumerate(grids):
            if a != k:
                hidden = ~_smallest(noises[a], counts[a])
                ranks = _ranks(grid, anchor, hidden, kept=coins[k], spared=coins[a])
                order = torch.where((anchors == a)[:, None], ranks + noises[k], order)
        masks.append(_smallest(order, counts[k]))
    return masks


def _ranks(grid: TokenGrid, anchor: TokenGrid, hidden: Tensor, *, kept: Tensor, spared: Tensor) -> Tensor:
    """(B, N): which tokens of an image are shown first, the lowest, by what the anchor hides (B, N')."""
    covers = overlaps(grid, anchor).to(hidden.device).T
    if grid.side < anchor.side:
        return torch.where((hidden & ~spared).float() @ covers >= _HALF, _NEXT, _FIRST)
    share = hidden.float() @ covers
    if grid.side > anchor.side:
        return torch.where(share >= _HALF, _NEXT + _PER_SHARE * share, _FIRST)
    under = share >= _HALF
    return torch.where(under, torch.where(kept, _FIRST, _LAST), _NEXT)


def _noise(seeds: Tensor, image: int, count: int) -> Tensor:
    return uniform(derived(seeds, _IMAGES + 2 * image), count)


def _smallest(order: Tensor, count: int) -> Tensor:
    chosen = order.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, chosen, True)


def _pairs(grids: Sequence[TokenGrid], counts: Sequence[int]) -> zip[tuple[TokenGrid, int]]:  # both of each image
    return zip(grids, counts, strict=True)

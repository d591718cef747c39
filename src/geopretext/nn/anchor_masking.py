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

import itertools
from collections.abc import Sequence
from math import inf

import torch
from torch import Tensor, nn

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


class TokenMasks(nn.Module):
    """Draws masks of sets of the same images. Holds no weights.

    Args:
        grids: of the images.
        counts: how many tokens each shows.
        keep_share: probability that a coin keeps a token, 0 to 1.
        ground: metres on a side of the crop; tokens may reach beyond.
    """

    def __init__(
        self, grids: Sequence[TokenGrid], counts: Sequence[int], *, keep_share: float, ground: float = inf
    ) -> None:
        super().__init__()
        self.grids, self.counts, self.keep_share = tuple(grids), tuple(counts), keep_share
        for k, a in itertools.permutations(range(len(grids)), 2):
            # A buffer, so that it moves to the device once.
            self.register_buffer(f"covers_{k}_{a}", overlaps(grids[k], grids[a], ground=ground).T, persistent=False)

    def independent(self, seeds: Tensor) -> list[Tensor]:
        """Tokens that are shown, of each image by chance alone; as ``forward``."""
        return [_smallest(noise, count) for noise, count in zip(self._noises(seeds), self.counts, strict=True)]

    def forward(self, seeds: Tensor, anchors: Tensor) -> list[Tensor]:
        """Tokens that are shown, by the rules above.

        Args:
            seeds: (B,) int64, from which all randomness follows.
            anchors: (B,) int64: number of the anchor of each set.

        Returns:
            Of each image (B, N) bool, with exactly its count of True in each row.
        """
        noises = self._noises(seeds)
        coins = [
            uniform(derived(seeds, _IMAGES + 2 * k + 1), grid.tokens) < self.keep_share
            for k, grid in enumerate(self.grids)
        ]
        by_chance = [~_smallest(noise, count) for noise, count in zip(noises, self.counts, strict=True)]
        orders = list(noises)
        for k, a in itertools.permutations(range(len(self.grids)), 2):
            hidden = by_chance[a]
            finer, coarser = (self.grids[k].side < self.grids[a].side, self.grids[k].side > self.grids[a].side)
            covers = self.get_buffer(f"covers_{k}_{a}")
            if finer:
                ranks = _ranks_of_finer(hidden & ~coins[a], covers)
            elif coarser:
                ranks = _ranks_of_coarser(hidden, covers)
            else:
                ranks = _ranks_of_like(hidden, covers, coins[k])
            orders[k] = torch.where((anchors == a)[:, None], ranks + noises[k], orders[k])
        return [_smallest(order, count) for order, count in zip(orders, self.counts, strict=True)]

    def _noises(self, seeds: Tensor) -> list[Tensor]:
        return [uniform(derived(seeds, _IMAGES + 2 * k), grid.tokens) for k, grid in enumerate(self.grids)]


def _ranks_of_like(hidden: Tensor, covers: Tensor, kept: Tensor) -> Tensor:
    """(B, N): which tokens are shown first, the lowest.

    Args:
        hidden: (B, N') bool, of the anchor.
        covers: (N', N): share of each token that those of the anchor cover.
        kept: (B, N) bool, by coins.
    """
    under = hidden.float() @ covers >= _HALF
    return torch.where(under, torch.where(kept, _FIRST, _LAST), _NEXT)


def _ranks_of_finer(hidden: Tensor, covers: Tensor) -> Tensor:
    """Likewise; ``hidden``: tokens of the anchor that hide those under them."""
    return torch.where(hidden.float() @ covers >= _HALF, _NEXT, _FIRST)


def _ranks_of_coarser(hidden: Tensor, covers: Tensor) -> Tensor:
    """Likewise."""
    share = hidden.float() @ covers
    return torch.where(share >= _HALF, _NEXT + _PER_SHARE * share, _FIRST)


def _smallest(order: Tensor, count: int) -> Tensor:
    chosen = order.argsort(dim=1, stable=True)[:, :count]
    return torch.zeros_like(order, dtype=torch.bool).scatter(1, chosen, True)

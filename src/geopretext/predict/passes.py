"""Which patches are shown in which pass, so that each is predicted in the way that pretraining asked for.

A network learnt with a share of the patches hidden. Shown all of them at once it is out of its depth (decision 121
says by how much), so a window is passed several times, each time showing another part of its patches: in N passes each
patch is shown M times and hidden N - M times, with M / N the share that pretraining showed.

Patches that are shown together form a lattice, which spreads them evenly: in five passes, along a knight's move. That
is one of the choices that pretraining's random masks could have made, and it needs no seed.
"""

from dataclasses import dataclass
from fractions import Fraction

import torch
from torch import Tensor

from geopretext.errors import GridError

_MOST = 10
"""passes; more would bring the share closer to pretraining's than the patches of a window allow"""


@dataclass(frozen=True)
class Passes:
    """What is shown of a window in each pass."""

    visible: Tensor
    """(N, P) bool, patches row by row"""
    shown: int
    """passes that show a patch, the same for every patch; from 1 to N - 1"""

    @property
    def hidden(self) -> int:
        """Passes that hide a patch, the same for every patch."""
        return len(self.visible) - self.shown


def complementary_passes(grid: tuple[int, int], mask_ratio: float) -> Passes:
    """The passes over a window.

    Args:
        grid: patches along y and along x.
        mask_ratio: share of the patches that pretraining hid, above 0 and below 1.

    Raises:
        GridError: there is a single patch, of which nothing can be shown while it is hidden.
    """
    patches = grid[0] * grid[1]
    if patches < 2:
        raise GridError(
            "a window of one patch: no patch is left to predict it from",
            hint="give a scene of at least two patches, better of the crop that the encoder was trained on",
        )
    most = min(patches, _MOST)
    share = Fraction(1 - mask_ratio).limit_denominator(most)
    share = min(max(share, Fraction(1, most)), Fraction(most - 1, most))
    shown, passes = share.numerator, share.denominator
    row, column = torch.meshgrid(torch.arange(grid[0]), torch.arange(grid[1]), indexing="ij")
    residue = ((_slope(passes) * row + column) % passes).flatten()
    # Equal parts in the order of residues are the residues where these are equally frequent, and equal everywhere.
    rank = residue.argsort(stable=True).argsort()
    part = rank * passes // patches
    visible = torch.stack([(part - number) % passes < shown for number in range(passes)])
    return Passes(visible, shown)


def _slope(count: int) -> int:
    """The a for which cells with equal ``(a row + column) mod count`` lie farthest from each other."""

    def nearest(slope: int) -> int:
        offsets = ((row, (-slope * row) % count) for row in range(count))
        return min(
            row**2 + across**2 for row, column in offsets for across in (column, column - count) if row or across
        )

    return max(range(1, count), key=nearest)

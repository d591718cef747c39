"""Masks of sets of images: what each rule promises, over many seeds."""

import numpy as np
import pytest
import torch
from torch import Tensor

from geopretext.nn.anchor_masking import TokenMasks, choose_anchors
from geopretext.nn.footprints import TokenGrid

SEEDS = torch.arange(800)
FINE, LIKE, MIDDLE, ODD, COARSE = range(5)
SIDES = (12, 12, 6, 4, 2)  # tokens on a side over 480 m: of 40, 40, 80, 120 and 240 m
GRIDS = [TokenGrid(side, side, 480 / side) for side in SIDES]
COUNTS = [side * side // 4 for side in SIDES]


def masks_for(anchor: int, keep_share: float = 0.5, counts: list[int] = COUNTS) -> list[Tensor]:
    return TokenMasks(GRIDS, counts, keep_share=keep_share)(SEEDS, torch.full_like(SEEDS, anchor))


def on_pixels(mask: Tensor) -> np.ndarray:
    """(B, N) -> (B, 12, 12): each token's number on the squares of 40 m that it covers."""
    side = int(mask.shape[1] ** 0.5)
    square = mask.reshape(-1, side, side).numpy().astype(float)
    return square.repeat(12 // side, 1).repeat(12 // side, 2)


def share_under(hidden: Tensor, side: int) -> np.ndarray:
    """(B, N): of each of side x side tokens, the share of its ground that is hidden."""
    step = 12 // side
    return on_pixels(hidden).reshape(len(hidden), side, step, side, step).mean((2, 4)).reshape(len(hidden), -1)


@pytest.mark.parametrize("anchor", range(5))
@pytest.mark.parametrize("keep_share", [0.0, 0.3, 1.0])
def test_each_image_always_shows_its_number(anchor: int, keep_share: float) -> None:
    for mask, count in zip(masks_for(anchor, keep_share), COUNTS, strict=True):
        assert (mask.sum(1) == count).all()


def test_the_anchor_is_hidden_uniformly() -> None:
    shares = masks_for(FINE)[FINE].float().mean(0)
    assert abs(shares - 0.25).max() < 0.06
    assert len(torch.unique(masks_for(FINE)[FINE], dim=0)) > 790


def test_like_images_complement_each_other() -> None:
    def share_of_shown_under_hidden(keep_share: float) -> float:
        masks = masks_for(FINE, keep_share)
        return float((masks[LIKE] & ~masks[FINE]).sum() / masks[LIKE].sum())

    assert share_of_shown_under_hidden(0.0) == 0
    # By chance 3 of 4 shown tokens lie where the anchor is hidden; coins that keep 1 of 4 do the same.
    assert share_of_shown_under_hidden(0.25) == pytest.approx(0.75, abs=0.02)
    assert share_of_shown_under_hidden(0.15) == pytest.approx(0.15 * 108 / 36, abs=0.02)
    # Coins that keep more than are to be shown: the images complement each other wholly.
    assert share_of_shown_under_hidden(0.5) == pytest.approx(1, abs=0.001)


def test_kept_tokens_are_a_fair_draw_of_those_under_hidden_ground() -> None:
    masks = masks_for(FINE, 0.15)
    under = ~masks[FINE]
    shares = (masks[LIKE] & under).sum(0) / under.sum(0)
    assert abs(shares - 0.15).max() < 0.06


@pytest.mark.parametrize(("anchor", "finer"), [(MIDDLE, FINE), (ODD, FINE), (COARSE, FINE), (COARSE, ODD)])
def test_a_finer_image_hides_all_or_none_under_a_hidden_token(anchor: int, finer: int) -> None:
    everything = [grid.tokens - 1 for grid in GRIDS]  # so many are shown that nothing but the rule hides more than one
    everything[anchor] = COUNTS[anchor]
    masks = masks_for(anchor, 0.4, counts=everything)
    hidden = ~masks[anchor]
    under = share_under(
        masks[finer], SIDES[anchor]
    )  # of each token of the anchor: share of its children that are shown
    children = (SIDES[finer] // SIDES[anchor]) ** 2
    # The number to show makes the rule yield here: all but one token are shown, and that one lies under a hidden token.
    assert ((under < 1) & ~hidden.numpy()).sum() == (under[hidden.numpy()].reshape(len(SEEDS), -1) == 1).all(1).sum()
    assert under.min() == pytest.approx(1 - 1 / children)


@pytest.mark.parametrize(("anchor", "finer"), [(MIDDLE, FINE), (ODD, FINE), (COARSE, FINE), (COARSE, MIDDLE)])
def test_children_of_hidden_tokens_are_hidden_with_the_rest_of_the_probability(anchor: int, finer: int) -> None:
    masks = masks_for(anchor, 0.5)
    hidden = ~masks[anchor].numpy()
    shown = share_under(masks[finer], SIDES[anchor])
    wholly_hidden = (shown == 0)[hidden].mean()
    assert wholly_hidden >= 0.5 - 0.03
    none_kept = masks_for(anchor, 0.0)
    # Without coins nothing is shown under hidden tokens, since there is enough elsewhere: as much as is to be shown.
    assert not share_under(none_kept[finer], SIDES[anchor])[~none_kept[anchor].numpy()].any()
    all_kept = masks_for(anchor, 1.0)
    under_hidden = share_under(all_kept[finer], SIDES[anchor])[~all_kept[anchor].numpy()]
    assert under_hidden.mean() == pytest.approx(0.25, abs=0.02)  # by chance


def test_children_that_straddle_go_with_half_of_their_area() -> None:
    # Tokens of 80 m under an anchor of 120 m: the second of three spans two.
    masks = TokenMasks([TokenGrid(1, 2, 120.0), TokenGrid(1, 3, 80.0)], [1, 1], keep_share=0.0)(
        SEEDS, torch.zeros_like(SEEDS)
    )
    left = masks[0][:, 0]
    assert torch.equal(masks[1][left], torch.tensor([[True, False, False]]).expand(int(left.sum()), -1))
    assert torch.equal(masks[1][~left], torch.tensor([[False, False, True]]).expand(int((~left).sum()), -1))


@pytest.mark.parametrize("quarters", [1, 2])
@pytest.mark.parametrize(("anchor", "coarser"), [(FINE, MIDDLE), (FINE, ODD), (MIDDLE, COARSE)])
def test_a_coarser_image_is_hidden_where_half_its_ground_is(anchor: int, coarser: int, quarters: int) -> None:
    counts = list(COUNTS)
    counts[anchor] *= quarters  # of four tokens, the anchor shows so many
    masks = masks_for(anchor, counts=counts)
    share = share_under(~masks[anchor], SIDES[coarser])
    shown = masks[coarser].numpy()
    free = share < 0.5
    enough = free.sum(1) >= COUNTS[coarser]
    assert enough.any() == (quarters == 2) or coarser == COARSE
    assert not (shown & ~free)[enough].any()
    # Where too few are free, all of these are shown, and of the others those of which the least is hidden.
    assert (shown | ~free)[~enough].all()
    least_hidden = np.where(shown, np.inf, share).min(1)
    assert (np.where(shown, share, -np.inf).max(1) <= least_hidden + 1e-6)[~enough].all()


def test_masks_follow_from_each_tiles_own_seed() -> None:
    masks = TokenMasks(GRIDS, COUNTS, keep_share=0.5)
    anchors = torch.arange(800) % 5
    whole, part = masks(SEEDS, anchors), masks(SEEDS[500:510], anchors[500:510])
    assert all(torch.equal(one[500:510], other) for one, other in zip(whole, part, strict=True))


def test_independent_masks_know_nothing_of_each_other() -> None:
    one, other, *_ = TokenMasks(GRIDS, COUNTS, keep_share=0.5).independent(SEEDS)
    assert (one.sum(1) == 36).all()
    assert float((one & other).sum() / one.sum()) == pytest.approx(0.25, abs=0.01)


def test_any_image_that_is_there_is_the_anchor() -> None:
    present = torch.ones(800, 5, dtype=torch.bool)
    present[:, 1] = False
    present[0] = False
    shares = torch.bincount(choose_anchors(SEEDS, present)[1:], minlength=5) / 799
    assert shares[1] == 0
    assert abs(shares[[0, 2, 3, 4]] - 0.25).max() < 0.06

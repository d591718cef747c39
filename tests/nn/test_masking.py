import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.errors import GridError
from geopretext.nn.masking import patch_grid, patchify, sample_visible, unpatchify, visible_count


@settings(derandomize=True, deadline=None, max_examples=30)
@given(
    batch=st.integers(1, 3),
    bands=st.integers(1, 4),
    h=st.integers(1, 4),
    w=st.integers(1, 4),
    patch=st.sampled_from([1, 2, 8]),
)
def test_unpatchify_undoes_patchify(batch, bands, h, w, patch):
    x = torch.arange(batch * bands * h * w * patch**2).reshape(batch, bands, h * patch, w * patch)
    patches = patchify(x, patch)
    assert patches.shape == (batch, h * w, patch * patch * bands)
    assert torch.equal(unpatchify(patches, patch, grid=(h, w)), x)


def test_a_patch_is_laid_out_by_row_then_column_then_band():
    x = torch.randn(1, 5, 16, 24)
    patches = patchify(x, 8)
    row_of_patches, column_of_patches, row, column, band = 1, 2, 3, 6, 4
    number = row_of_patches * 3 + column_of_patches
    assert patches[0, number, (row * 8 + column) * 5 + band] == x[0, band, 8 + row, 16 + column]


def test_sizes_that_do_not_divide_are_refused():
    assert patch_grid(height=16, width=24, patch_size=8) == (2, 3)
    with pytest.raises(GridError, match=r"(?s)16 x 20 pixels do not divide into patches of 8 x 8.*hint: crop"):
        patchify(torch.zeros(1, 1, 16, 20), 8)


@pytest.mark.parametrize(("patches", "ratio", "count"), [(49, 0.6, 19), (49, 0.75, 12), (64, 0.6, 25), (16, 0.5, 8)])
def test_the_number_shown_is_rounded_down_as_in_the_papers(patches, ratio, count):
    assert visible_count(patches, ratio) == count
    visible = sample_visible(torch.arange(100), patches, ratio)
    assert visible.shape == (100, patches)
    assert (visible.sum(1) == count).all()


def test_a_mask_depends_on_the_seed_of_its_tile_alone():
    seeds = torch.tensor([7, -3, 2**62, 7])
    together = sample_visible(seeds, 49, 0.6)
    torch.manual_seed(99)
    alone = torch.cat([sample_visible(seed[None], 49, 0.6) for seed in seeds])
    assert torch.equal(together, alone)
    assert torch.equal(together[0], together[3])
    assert not torch.equal(together[0], together[1])


def test_masks_are_these_on_every_device_and_in_every_release():
    assert sample_visible(torch.tensor([0]), 16, 0.6).nonzero()[:, 1].tolist() == [0, 2, 8, 12, 13, 15]
    assert sample_visible(torch.tensor([1]), 16, 0.6).nonzero()[:, 1].tolist() == [2, 4, 5, 9, 12, 13]


def test_neighbouring_seeds_hide_every_patch_and_pair_of_patches_equally_often():
    visible = sample_visible(torch.arange(20_000), 16, 0.5).double()
    assert (visible.mean(0) - 0.5).abs().max() < 0.015
    pairs = visible.T @ visible / len(visible)
    off = pairs[~torch.eye(16, dtype=torch.bool)]
    assert (off - 0.5 * 7 / 15).abs().max() < 0.015  # without replacement: 8/16 x 7/15
    successive = (visible[1:] * visible[:-1]).mean()
    assert abs(float(successive) - 0.25) < 0.005

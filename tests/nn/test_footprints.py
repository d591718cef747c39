"""Ground that tokens cover, against pixels counted one by one."""

import itertools

import numpy as np
import pytest
import torch

from geopretext.nn.footprints import TokenGrid, area_means, overlaps


@pytest.mark.parametrize(("one", "other"), [*itertools.permutations((4, 8, 12, 24), 2)])
def test_overlaps_are_shares_of_pixels_that_both_cover(one: int, other: int) -> None:
    side = 48

    def owners(patch: int) -> np.ndarray:
        """Number of the token that each pixel of 10 m belongs to."""
        return np.array([[y // patch * (side // patch) + x // patch for x in range(side)] for y in range(side)])

    first, second = owners(one), owners(other)
    wanted = np.zeros(((side // one) ** 2, (side // other) ** 2))
    np.add.at(wanted, (first.ravel(), second.ravel()), 1 / one**2)
    found = overlaps(
        TokenGrid(side // one, side // one, one * 10.0), TokenGrid(side // other, side // other, other * 10.0)
    )
    np.testing.assert_allclose(found, wanted, atol=1e-6)


def test_overlaps_with_an_image_of_less_ground_do_not_reach_one() -> None:
    found = overlaps(TokenGrid(2, 1, 30.0), TokenGrid(1, 1, 40.0))
    torch.testing.assert_close(found, torch.tensor([[1.0], [1 / 3]]))


def test_what_lies_beyond_the_ground_does_not_count() -> None:
    """Tokens of 40 and of 30 m over 50 m of ground: the last of each reach beyond."""
    found = overlaps(TokenGrid(2, 2, 40.0), TokenGrid(2, 2, 30.0), ground=50.0)
    # Of the second row of 40 m, 10 m are left, which the second row of 30 m covers; so in columns.
    along = torch.tensor([[0.75, 0.25], [0.0, 1.0]])
    wanted = torch.einsum("ab,cd->acbd", along, along).reshape(4, 4)
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(found.sum(1), torch.ones(4))


def test_boxes_and_centres_go_row_by_row() -> None:
    grid = TokenGrid(2, 3, 50.0)
    assert grid.tokens == 6
    assert grid.boxes()[4].tolist() == [50.0, 50.0, 100.0, 100.0]
    assert grid.centres()[2].tolist() == [25.0, 125.0]


def test_area_means_are_over_valid_numbers_only() -> None:
    generator = torch.Generator().manual_seed(0)
    valid = torch.rand(2, 3, 12, 18, generator=generator) < 0.3
    valid[0, 1, :3, :3] = False
    values = torch.randn(2, 3, 12, 18, generator=generator) * valid
    means, there = area_means(values, valid, 3)
    assert means.shape == there.shape == (2, 3, 4, 6)
    for tile, band, row, column in itertools.product(range(2), range(3), range(4), range(6)):
        window = (tile, band, slice(3 * row, 3 * row + 3), slice(3 * column, 3 * column + 3))
        numbers = values[window][valid[window]].numpy()
        assert there[tile, band, row, column] == (len(numbers) > 0)
        wanted = numbers.mean() if len(numbers) else 0.0
        assert means[tile, band, row, column].item() == pytest.approx(wanted, abs=1e-6)
    assert not there[0, 1, 0, 0]
    assert area_means(values, valid, 1)[0] is values

"""Which distance two tokens of several modalities have, against a loop over pairs."""

import math

import pytest
import torch

from geopretext.nn.relative_position import distance_buckets, grid_buckets, tiled_buckets


def bucket_by_hand(distance: float, buckets: int) -> int:
    beta = buckets - 1
    alpha, gamma = beta / 2, 4 * beta
    if distance <= alpha:
        return round(distance)
    return round(min(beta, alpha + math.log(distance / alpha) / math.log(gamma / alpha) * (beta - alpha)))


@pytest.mark.parametrize("buckets", [2, 5, 7])
def test_buckets_are_those_of_the_piecewise_function(buckets: int) -> None:
    distances = [0.0, 1.0, math.sqrt(2), 2.0, math.sqrt(5), 3.0, math.sqrt(13), 5.0, 9.0, 17.3, 30.0, 400.0]
    found = distance_buckets(torch.tensor(distances), buckets)
    assert found.tolist() == [bucket_by_hand(distance, buckets) for distance in distances]
    assert found.min() == 0
    assert found.max() == buckets - 1


def test_a_grid_is_tiled_for_each_pair_of_modalities() -> None:
    height, width, modalities, buckets = 2, 3, 3, 7
    patches = height * width
    found = tiled_buckets(height, width, buckets, queries=modalities, keys=modalities)
    assert found.shape == (1 + modalities * patches,) * 2
    for i in range(modalities * patches):
        for j in range(modalities * patches):
            (y, x), (v, u) = divmod(i % patches, width), divmod(j % patches, width)
            assert found[1 + i, 1 + j] == bucket_by_hand(math.hypot(y - v, x - u), buckets), (i, j)
    assert (found[0] == buckets).all()
    assert (found[:, 0] == buckets).all()


def test_one_modality_of_three_is_as_far_apart_as_alone() -> None:
    """The published code reads a square grid from the number of tokens, so that this depends on the modalities."""
    three = tiled_buckets(6, 6, 7, queries=3, keys=3)
    alone = tiled_buckets(6, 6, 7, queries=1, keys=1)
    for query in range(3):
        for key in range(3):
            block = three[1 + 36 * query : 37 + 36 * query, 1 + 36 * key : 37 + 36 * key]
            assert torch.equal(block, alone[1:, 1:])
    assert torch.equal(alone[1:, 1:], grid_buckets(6, 6, 7))

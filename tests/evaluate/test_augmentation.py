"""Turned and mixed batches keep images and labels together."""

import numpy as np
import pytest
import torch

from geopretext.evaluate.augmentation import mix, turn, turn_at_random
from geopretext.evaluate.prepared import Labels


def test_the_eight_ways_are_those_of_a_square() -> None:
    square = np.arange(9).reshape(3, 3)
    expected = {np.rot90(side, turns).tobytes() for side in (square, square.T) for turns in range(4)}
    found = {turn(torch.from_numpy(square), code).numpy().copy().tobytes() for code in range(8)}
    assert found == expected
    assert len(found) == 8


@pytest.mark.parametrize("pairs", [False, True], ids=["images", "pairs of images"])
@pytest.mark.parametrize("width", [6, 4])
def test_label_maps_turn_with_their_images(width: int, *, pairs: bool) -> None:
    values = torch.arange(40 * 6 * width).reshape(40, 6, width)
    images = values.float()[:, None, None].expand(40, 2, 3, 6, width) if pairs else values.float()[:, None]
    before = Labels(values, values % 2 == 0)
    turned, labels = turn_at_random(images, before, np.random.default_rng(0))
    assert turned.shape == images.shape
    assert torch.equal(turned[:, -1, -1] if pairs else turned[:, 0], labels.values.float())
    assert labels.labelled is not None
    assert torch.equal(labels.labelled, labels.values % 2 == 0)
    # every sample is still itself, and all ways occur: eight of a square, four of another image
    assert torch.equal(labels.values.flatten(1).sort(1).values, values.flatten(1))
    corners = {tuple((sample[0, :2] - sample.min()).tolist()) for sample in labels.values}
    assert len(corners) == (8 if width == 6 else 4)


def test_labels_of_images_stay_as_they_are() -> None:
    labels = Labels(torch.arange(4), None)
    assert turn_at_random(torch.zeros(4, 1, 2, 2), labels, np.random.default_rng(0))[1] is labels


@pytest.mark.parametrize("values", [torch.tensor([0, 1, 2, 1]), torch.tensor([[1.0, 1], [0, 1], [0, 0], [1, 0]])])
def test_mixup_blends_images_and_labels_by_one_share(values: torch.Tensor) -> None:
    images = torch.eye(4)[:, :, None, None].expand(4, 4, 2, 2)  # image i has its share in band i
    mixed, labels = mix(images, Labels(values, None), 3, mixup=0.8, cutmix=0, generator=np.random.default_rng(1))
    shares = mixed[:, :, 0, 0]
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-6)
    assert 0.01 < shares[0, 0] < 0.99
    np.testing.assert_allclose(shares.diagonal(), shares[0, 0].expand(4))
    plain = torch.nn.functional.one_hot(values, 3).float() if values.ndim == 1 else values
    np.testing.assert_allclose(labels.values, shares @ plain, rtol=1e-6)


def test_cutmix_labels_are_the_shares_of_the_pixels() -> None:
    images = torch.eye(4)[:, :, None, None].expand(4, 4, 20, 30)
    seen = set()
    for seed in range(30):
        mixed, labels = mix(
            images, Labels(torch.arange(4), None), 4, mixup=0, cutmix=1, generator=np.random.default_rng(seed)
        )
        assert set(mixed.unique().tolist()) <= {0.0, 1.0}
        np.testing.assert_allclose(labels.values, mixed.mean((2, 3)), atol=1e-6)
        np.testing.assert_allclose(labels.values.sum(1), 1, rtol=1e-6)
        other = mixed[0, 1:].sum(0)
        rows, columns = other.any(1).sum(), other.any(0).sum()
        assert int(other.sum()) == int(rows * columns)  # a box
        seen.add(round(float(labels.values.diagonal().min()), 2))
    assert len(seen) > 5


def test_with_both_a_coin_decides() -> None:
    images = torch.eye(4)[:, :, None, None].expand(4, 4, 20, 20)
    pasted = 0
    for seed in range(60):
        mixed, _ = mix(
            images, Labels(torch.arange(4), None), 4, mixup=1, cutmix=1, generator=np.random.default_rng(seed)
        )
        pasted += set(mixed.unique().tolist()) <= {0.0, 1.0}
    assert 15 < pasted < 45


def test_without_either_nothing_changes() -> None:
    images, labels = torch.rand(2, 1, 2, 2), Labels(torch.arange(2), None)
    same = mix(images, labels, 2, mixup=0, cutmix=0, generator=np.random.default_rng(0))
    assert same[0] is images
    assert same[1] is labels

import math

import numpy as np
import pytest
import torch

from geopretext.modality import Observed
from geopretext.nn.augmentation import blur, cut, drop_bands, flip, gray, jitter, random_boxes

SEEDS = torch.arange(40)


def random_image(batch=40, bands=5, height=12, width=12, missing=0.2, seed=0):
    generator = torch.Generator().manual_seed(seed)
    valid = torch.rand(batch, bands, height, width, generator=generator) >= missing
    values = torch.randn(batch, bands, height, width, generator=generator)
    return Observed(values.masked_fill(~valid, 0), valid)


EVERY = {
    "flip": lambda image, seeds: flip(image, seeds, 0.5),
    "jitter": lambda image, seeds: jitter(image, seeds, strength=0.4, share=0.8),
    "gray": lambda image, seeds: gray(image, seeds, 0.5),
    "blur": lambda image, seeds: blur(image, seeds, sigma=(0.1, 2.0), share=0.5),
    "drop_bands": lambda image, seeds: drop_bands(image, seeds, most=3, share=0.5),
}


@pytest.mark.parametrize("name", EVERY)
def test_a_view_depends_on_its_own_seed_alone(name):
    image = random_image()
    whole = EVERY[name](image, SEEDS)
    part = EVERY[name](Observed(*(x[7:9] for x in image)), SEEDS[7:9])
    assert torch.equal(whole.values[7:9], part.values)
    assert torch.equal(whole.valid[7:9], part.valid)
    changed = (whole.values != image.values).flatten(1).any(1)
    assert 0.2 < changed.float().mean() < 0.95


@pytest.mark.parametrize("name", EVERY)
def test_missing_numbers_stay_missing_and_zero(name):
    image = random_image()
    values, valid = EVERY[name](image, SEEDS)
    assert not values[~valid].any()
    assert values.isfinite().all()
    if name != "flip":
        assert not valid[~image.valid].any()


def test_boxes_lie_within_the_image_and_have_the_areas_and_shapes_asked_for():
    top, left, rows, columns = random_boxes(torch.arange(4000), height=60, width=90, smallest=0.2).T
    assert min(top.min(), left.min()) == 0
    assert (top + rows).max() == 60
    assert (left + columns).max() == 90
    share = rows * columns / (60 * 90)
    assert 0.18 < share.min() < 0.22
    free = (rows < 60) & (columns < 90)
    assert (rows / columns)[free].min() > 0.7
    assert (rows / columns)[free].max() < 1.4
    assert abs((share < 0.4).float().mean() - 0.25) < 0.03  # uniform from 0.2 to 1


def test_boxes_show_the_share_that_they_must_and_no_less():
    whole = torch.tensor([0, 0, 64, 64])
    assert (random_boxes(torch.arange(500), height=64, width=64, smallest=1.0) == whole).all()
    rows, columns = random_boxes(torch.arange(500), height=640, width=640, smallest=0.9).T[2:]
    assert (rows * columns / 640**2).min() > 0.897  # sides are whole pixels
    assert (rows != columns).float().mean() > 0.9


def test_tiny_boxes_have_a_pixel():
    assert random_boxes(SEEDS, height=2, width=2, smallest=1e-6)[:, 2:].min() == 1


def resized(values, valid, box, side):
    """Bilinear, pixel by pixel: the means of what is observed."""
    top, left, rows, columns = box
    out, seen = np.zeros((side, side)), np.zeros((side, side), bool)
    for i in range(side):
        for j in range(side):
            y = min(max((i + 0.5) * rows / side - 0.5, 0), rows - 1)
            x = min(max((j + 0.5) * columns / side - 0.5, 0), columns - 1)
            total = weight = 0.0
            for r, a in ((math.floor(y), 1 - y % 1), (math.floor(y) + 1, y % 1)):
                for c, b in ((math.floor(x), 1 - x % 1), (math.floor(x) + 1, x % 1)):
                    if a * b and valid[top + r, left + c]:
                        total, weight = total + a * b * values[top + r, left + c], weight + a * b
            seen[i, j] = weight > 0.5 - 1e-4
            out[i, j] = total / weight if seen[i, j] else 0
    return out, seen


def test_boxes_are_resized_bilinearly_from_what_is_observed_in_them():
    image = random_image(6, 2, 9, 12, missing=0.3)
    boxes = random_boxes(SEEDS[:6], height=9, width=12, smallest=0.1)
    values, valid = cut(image, boxes, 7)
    for tile in range(6):
        for band in range(2):
            numbers, observed = (x[tile, band].numpy() for x in image)
            expected, seen = resized(numbers, observed, boxes[tile].tolist(), 7)
            assert np.array_equal(valid[tile, band].numpy(), seen)
            np.testing.assert_allclose(values[tile, band].numpy(), expected, atol=1e-5)


def test_nothing_outside_a_box_comes_in():
    image = random_image(1, 1, 8, 8, missing=0)
    box = torch.tensor([[2, 3, 4, 3]])
    changed = Observed(torch.full_like(image.values, 1e6), image.valid)
    changed.values[:, :, 2:6, 3:6] = image.values[:, :, 2:6, 3:6]
    assert torch.equal(cut(image, box, 5).values, cut(changed, box, 5).values)


def test_brightness_is_about_two_deviations_below_and_contrast_about_the_mean_of_the_view():
    image = random_image(200, 2, 6, 6)
    values, valid = jitter(image, torch.arange(200), strength=0.4, share=1.0)
    factors = []
    for tile in range(200):
        known = valid[tile, 0]
        before, after = image.values[tile, 0][known].double(), values[tile, 0][known].double()
        slope, offset = np.polyfit(before.numpy(), after.numpy(), 1)
        np.testing.assert_allclose(after.numpy(), slope * before.numpy() + offset, atol=1e-5)
        brightness = (after.mean() + 2) / (before.mean() + 2)  # contrast leaves the mean alone
        factors.append((float(brightness), slope / float(brightness)))
    brightness, contrast = np.array(factors).T
    for factor in (brightness, contrast):
        assert 0.59 < factor.min() < 0.63
        assert 1.37 < factor.max() < 1.41
    assert abs(np.corrcoef(brightness, contrast)[0, 1]) < 0.2


def test_gray_is_the_mean_of_the_observed_bands():
    image = random_image(10)
    values, valid = gray(image, SEEDS[:10], 1.0)
    for tile, band, y, x in [(0, 0, 0, 0), (3, 4, 5, 6), (9, 2, 11, 11), (5, 1, 3, 8)]:
        seen = image.valid[tile, :, y, x]
        expected = image.values[tile, :, y, x][seen].mean() if valid[tile, band, y, x] else 0.0
        assert float(values[tile, band, y, x]) == pytest.approx(float(expected), abs=1e-6)


def test_blur_weighs_observed_neighbours_by_a_gaussian():
    image = random_image(2, 1, 9, 7)
    sigma = 0.8
    values, valid = blur(image, SEEDS[:2], sigma=(sigma, sigma), share=1.0)
    numbers, observed = (x[1, 0].numpy() for x in image)
    reach = math.ceil(3 * sigma)
    for y, x in [(0, 0), (4, 3), (8, 6), (2, 5)]:
        total = weight = 0.0
        for dy in range(-reach, reach + 1):
            for dx in range(-reach, reach + 1):
                if 0 <= y + dy < 9 and 0 <= x + dx < 7 and observed[y + dy, x + dx]:
                    w = math.exp(-(dy**2 + dx**2) / (2 * sigma**2))
                    total, weight = total + w * numbers[y + dy, x + dx], weight + w
        if valid[1, 0, y, x]:
            assert float(values[1, 0, y, x]) == pytest.approx(total / weight, abs=1e-5)


def test_dropped_bands_are_missing_and_one_stays():
    image = random_image(2000, 4, 2, 2, missing=0)
    values, valid = drop_bands(image, torch.arange(2000), most=9, share=0.5)
    dropped = (~valid).flatten(2).all(2)
    assert torch.equal(dropped, (~valid).flatten(2).any(2))  # whole bands
    counts = torch.bincount(dropped.sum(1), minlength=5)
    assert counts[4] == 0
    assert 900 < counts[0] < 1100
    assert ((counts[1:4] - 333).abs() < 70).all()
    assert (dropped.sum(0) / dropped.sum() - 0.25).abs().max() < 0.03
    assert not values[~valid].any()
    assert drop_bands(Observed(*(x[:, :1] for x in image)), torch.arange(2000), most=3, share=1.0).valid.all()

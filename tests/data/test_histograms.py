"""Histograms for people: where bins lie, and that nothing within them is lost."""

import numpy as np
import pytest

from geopretext.data.band_statistics import BandCounts, BandMoments
from geopretext.data.histograms import BINS, PUBLISHED_BANDS, Histogram
from geopretext.modality import PUBLISHED, Band


def distinct(numbers: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return np.unique(numbers, return_counts=True)


def test_bins_of_whole_numbers_hold_equally_many() -> None:
    histogram = Histogram.of(*distinct(np.arange(1000)))
    assert histogram is not None
    assert (histogram.high - histogram.low) % len(histogram.counts) == 0
    assert len(set(histogram.counts[:-1].tolist())) == 1


def test_few_whole_numbers_have_a_bin_each() -> None:
    histogram = Histogram.of(*distinct(np.array([0] * 5 + [2] * 3)))
    assert histogram is not None
    assert (histogram.low, histogram.high, histogram.counts.tolist()) == (-0.5, 2.5, [5, 0, 3])


def test_outliers_do_not_widen_it() -> None:
    values = np.concatenate([np.random.default_rng(0).normal(0, 1, 10_000), [1e6]])
    histogram = Histogram.of(*distinct(values))
    assert histogram is not None
    assert -4 < histogram.low < histogram.high < 4
    assert len(histogram.counts) == BINS
    assert 0.98 * len(values) < histogram.counts.sum() < len(values)


def test_one_value_and_none() -> None:
    histogram = Histogram.of(*distinct(np.array([2.5, 2.5])))
    assert histogram is not None
    assert histogram.low < 2.5 < histogram.high
    assert histogram.counts.sum() == 2
    assert Histogram.of(np.empty(0), np.empty(0, np.int64)) is None


@pytest.mark.parametrize("band", [Band("a", "dB", -60, 40), Band("a")])
def test_values_of_moments_are_within_their_bins(band: Band) -> None:
    numbers = np.random.default_rng(1).normal(-10, 4, 5000).astype(np.float32)
    moments = BandMoments.empty(band)
    moments.add(numbers, np.ones(len(numbers), np.bool_))
    values, counts = moments.values()
    assert counts.sum() == len(numbers)
    np.testing.assert_allclose(np.repeat(values, counts), np.sort(numbers), rtol=0.01, atol=0.002)


def test_values_of_counts_leave_out_what_is_missing() -> None:
    counts = BandCounts.empty(PUBLISHED["sentinel2"].select(["B4"]))
    counts.add(np.array([0, 0, 7, 7, 9, 65535], np.uint16))
    values, times = counts.values()
    assert (values.tolist(), times.tolist()) == ([7, 9], [2, 1])


def test_published_numbers_are_of_bands_that_exist() -> None:
    for (name, level), bands in PUBLISHED_BANDS.items():
        modality = PUBLISHED[name]
        assert set(bands) <= set(modality.band_names)
        assert level in modality.levels or not modality.levels

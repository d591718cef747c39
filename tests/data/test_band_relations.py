"""How bands vary together: as numpy has it, over what was observed, whatever the order of merging."""

import numpy as np
import pytest

from geopretext.data.band_relations import PIXEL_STEP, BandRelations, RelationCounts, has_relations
from geopretext.data.statistics import Statistics, StatisticsAccumulator
from geopretext.modality import PUBLISHED

S2 = PUBLISHED["sentinel2"].select(("B2", "B3", "B4", "B10"))


def tiles(count: int = 20, size: int = 31, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    level = generator.uniform(2000, 4000, (count, 1, 1, 1))
    detail = generator.normal(0, 100, (count, 1, size, size))
    own = generator.normal(0, 40, (count, 3, size, size))
    values = level + detail * np.array([1, 2, 3]).reshape(3, 1, 1) + own
    return np.concatenate([values, np.zeros((count, 1, size, size))], axis=1).clip(0).astype(np.uint16)


def counted(raw: np.ndarray) -> RelationCounts:
    counts = RelationCounts(S2.band_names)
    counts.add(S2, raw)
    return counts


def test_they_are_those_of_numpy_over_the_sampled_pixels() -> None:
    raw = tiles()
    sample = raw.reshape(*raw.shape[:2], -1)[:, :3, ::PIXEL_STEP].astype(float)
    found = counted(raw).finish()
    np.testing.assert_allclose(
        np.array(found.correlation)[:3, :3], np.corrcoef(np.moveaxis(sample, 1, 0).reshape(3, -1)), atol=1e-5
    )
    centred = np.moveaxis(sample - sample.mean(2, keepdims=True), 1, 0).reshape(3, -1)
    within = centred @ centred.T / centred.shape[1]
    np.testing.assert_allclose(found.contrast[:3], np.sqrt(np.diag(within)), rtol=1e-5)
    scale = np.outer(found.contrast[:3], found.contrast[:3])
    np.testing.assert_allclose(np.array(found.contrast_correlation)[:3, :3], within / scale, atol=1e-5)


def test_a_band_that_is_never_observed_is_unknown_and_leaves_the_others_alone() -> None:
    found = counted(tiles()).finish()
    assert np.isnan(found.correlation[0][3])
    assert np.isnan(found.contrast[3])
    assert np.isfinite(np.array(found.correlation)[:3, :3]).all()


def test_the_order_of_merging_does_not_matter() -> None:
    raw = tiles()
    parts = [counted(raw[start : start + 5]) for start in range(0, 20, 5)]
    forward, backward = RelationCounts(S2.band_names), RelationCounts(S2.band_names)
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    whole = counted(raw).finish().to_dict()
    assert forward.finish().to_dict() == whole
    assert backward.finish().to_dict() == whole


def test_statistics_keep_them_by_level_and_files_without_them_are_read() -> None:
    accumulator = StatisticsAccumulator()
    accumulator.update(S2, tiles(), np.array([0, 1] * 10, np.int8))
    statistics = accumulator.finish(tiles=20, split="all")
    plain = statistics.to_dict()
    assert list(plain["modalities"]["sentinel2"]["relations"]) == ["all", "L1C", "L2A"]
    assert Statistics.from_dict(plain).to_dict() == plain
    del plain["modalities"]["sentinel2"]["relations"]
    assert Statistics.from_dict(plain).modalities["sentinel2"].relations == {}


def test_some_bands_in_another_order() -> None:
    found = counted(tiles()).finish()
    picked = found.select(("B4", "B2"))
    assert picked.contrast == (found.contrast[2], found.contrast[0])
    assert picked.correlation[0][1] == found.correlation[2][0]
    assert BandRelations.from_dict(picked.to_dict()) == picked


@pytest.mark.parametrize(("name", "expected"), [("sentinel2", True), ("era5", False), ("dynamic_world", False)])
def test_only_maps_of_quantities_have_them(name: str, expected: bool) -> None:
    assert has_relations(PUBLISHED[name]) is expected

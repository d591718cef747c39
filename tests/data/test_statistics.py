"""Statistics against numpy on the same numbers, however they are cut up."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from geopretext.data.statistics import (
    PERCENTILES,
    BandStatistics,
    Statistics,
    StatisticsAccumulator,
    compute_statistics,
)
from geopretext.data.store import Store
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import BandError, ClassError, InputError
from geopretext.modality import PUBLISHED, Band, Kind, Modality

from .store_tiles import MODALITIES, SIZE, make_tiles

SENTINEL2 = PUBLISHED["sentinel2"]
SENTINEL1 = PUBLISHED["sentinel1"]


def accumulate(modality: Modality, raw: np.ndarray, levels: np.ndarray | None = None) -> Statistics:
    accumulator = StatisticsAccumulator()
    accumulator.update(modality, raw, levels)
    return accumulator.finish(tiles=len(raw), split="all")


def check_against_numpy(found: BandStatistics, values: np.ndarray, *, resolution: float = 0.0) -> None:
    values = values.astype(np.float64)
    assert found.count == len(values)
    assert found.mean == pytest.approx(values.mean(), rel=1e-9, abs=1e-9)
    assert found.std == pytest.approx(values.std(), rel=1e-9, abs=1e-9)
    assert (found.min, found.max) == (values.min(), values.max())
    for p in PERCENTILES:
        low, high = np.percentile(values, p, method="lower"), np.percentile(values, p, method="higher")
        assert low - resolution <= found.percentiles[p] <= high + resolution


def test_integers_are_exact_per_band_and_level_with_missing_left_out() -> None:
    random = np.random.default_rng(0)
    raw = random.integers(0, 3000, (9, 13, 6, 6)).astype(np.uint16)
    raw[:, 2, :3] = 0
    raw[0, 3] = 65535
    raw[0, 4] = 29_000  # above the valid range
    levels = np.array([0, 1, 1, 0, -1, 1, 0, 0, 1], np.int8)
    found = accumulate(SENTINEL2, raw, levels).modalities["sentinel2"]
    assert list(found.bands) == ["all", "L1C", "L2A"]
    for level, tiles in (("all", levels >= -1), ("L1C", levels == 0), ("L2A", levels == 1)):
        for number, name in enumerate(SENTINEL2.band_names):
            numbers = raw[tiles, number].ravel()
            valid = numbers[(numbers > 0) & (numbers <= 28_000)]
            check_against_numpy(found.bands[level][name], valid)
            assert found.bands[level][name].missing == len(numbers) - len(valid)
            for p in PERCENTILES:
                wanted = np.percentile(valid, p, method="inverted_cdf")
                assert found.bands[level][name].percentiles[p] == wanted
    assert found.missing == int(((raw == 0) | (raw > 28_000)).sum())


def test_signed_integers_are_counted_from_their_lowest_number() -> None:
    aster = PUBLISHED["aster"]
    raw = np.random.default_rng(0).integers(-300, 4000, (4, 2, 5, 5)).astype(np.int16)
    raw[:, 1] = np.abs(raw[:, 1]) % 90
    raw[0, 0] = -32768
    found = accumulate(aster, raw).modalities["aster"].bands["all"]["elevation"]
    check_against_numpy(found, raw[1:, 0].ravel())
    assert found.missing == 25


def test_floats_have_exact_moments_and_fine_percentiles() -> None:
    random = np.random.default_rng(0)
    raw = random.normal(-12, 4, (8, 8, 16, 16)).astype(np.float32)
    raw[random.random(raw.shape) < 0.3] = np.nan
    raw[:, 5] = np.nan
    raw[0, 0, 0, 0] = -100  # below the valid range
    found = accumulate(SENTINEL1, raw).modalities["sentinel1"].bands["all"]
    for number, name in enumerate(SENTINEL1.band_names):
        values = raw[:, number][np.isfinite(raw[:, number]) & (raw[:, number] >= -60)]
        if name == "desc_VH":
            assert found[name].count == 0
            assert math.isnan(found[name].mean)
            assert found[name].missing == raw[:, number].size
        else:
            check_against_numpy(found[name], values, resolution=100 / 65536)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(st.floats(-(2.0**99), 2.0**99, width=32), min_size=1, max_size=60))
def test_floats_without_a_valid_range_have_percentiles_of_a_share_of_the_value(numbers: list[float]) -> None:
    free = Modality("free", Kind.CONTINUOUS_VECTOR, (Band("a"),), "float32")
    values = np.array(numbers, np.float32)
    found = accumulate(free, values[:, None]).modalities["free"].bands["all"]["a"]
    for p in PERCENTILES:
        low = float(np.percentile(values, p, method="lower"))
        high = float(np.percentile(values, p, method="higher"))
        assert low - 0.008 * abs(low) - 1e-37 <= found.percentiles[p] <= high + 0.008 * abs(high) + 1e-37


@settings(derandomize=True, deadline=None, max_examples=12)
@given(st.lists(st.integers(0, 11), max_size=4), st.randoms(use_true_random=False))
def test_merging_in_any_order_and_cut_gives_the_same(cuts: list[int], shuffler: object) -> None:
    random = np.random.default_rng(1)
    optical, radar = SENTINEL2.select(["B4"]), SENTINEL1.select(["asc_VV", "desc_VH"])
    sentinel2 = random.integers(0, 500, (12, 1, 2, 2)).astype(np.uint16)
    sentinel1 = random.normal(-10, 3, (12, 2, 2, 2)).astype(np.float32)
    sentinel1[3] = np.nan
    levels = random.integers(-1, 2, 12).astype(np.int8)

    def of(tiles: np.ndarray) -> StatisticsAccumulator:
        part = StatisticsAccumulator()
        part.update(optical, sentinel2[tiles], levels[tiles])
        part.update(radar, sentinel1[tiles])
        return part

    parts = [of(tiles) for tiles in np.split(np.arange(12), sorted(cuts))]
    shuffler.shuffle(parts)  # type: ignore[attr-defined]
    merged = StatisticsAccumulator()
    for part in parts:
        merged.merge(part)
    got, wanted = (a.finish(tiles=12, split="all") for a in (merged, of(np.arange(12))))
    assert got.modalities["sentinel2"] == wanted.modalities["sentinel2"]
    for name, band in wanted.modalities["sentinel1"].bands["all"].items():
        other = got.modalities["sentinel1"].bands["all"][name]
        assert other.mean == pytest.approx(band.mean, rel=1e-12)
        assert other.std == pytest.approx(band.std, rel=1e-12)
        assert replace(other, mean=0, std=0) == replace(band, mean=0, std=0)


def test_moments_keep_their_precision_far_from_zero() -> None:
    free = Modality("free", Kind.CONTINUOUS_VECTOR, (Band("a"),), "float32")
    accumulator = StatisticsAccumulator()
    values = (1e6 + np.random.default_rng(0).normal(0, 1, 30_000)).astype(np.float32)
    for part in np.split(values, 300):
        accumulator.update(free, part[:, None])
    found = accumulator.finish(tiles=300, split="all").modalities["free"].bands["all"]["a"]
    assert found.std == pytest.approx(values.astype(np.float64).std(), rel=1e-9)


def test_classes_are_counted_by_code_and_strangers_refused() -> None:
    cover = PUBLISHED["esa_worldcover"]
    raw = np.array([10, 10, 95, 0, 255, 100], np.uint8).reshape(1, 1, 2, 3)
    found = accumulate(cover, raw).modalities["esa_worldcover"]
    assert {code: count for code, count in found.class_counts.items() if count} == {10: 2, 95: 1, 100: 1}
    assert list(found.class_counts) == [label.code for label in cover.classes]
    assert found.missing == 2
    with pytest.raises(ClassError, match="code 11 is not a class of modality 'esa_worldcover'"):
        accumulate(cover, np.full((1, 1, 2, 2), 11, np.uint8))


def test_round_trip_through_json_keeps_what_was_never_observed() -> None:
    raw = np.full((2, 8, 2, 2), np.nan, np.float32)
    raw[:, 0] = -7.25
    statistics = accumulate(SENTINEL1, raw)
    again = Statistics.from_dict(json.loads(json.dumps(statistics.to_dict(), allow_nan=False)))
    assert again.to_dict() == statistics.to_dict()
    assert math.isnan(again.modalities["sentinel1"].bands["all"]["asc_VH"].std)
    mean, std = again.mean_std(SENTINEL1, ["asc_VH", "asc_VV"])
    assert mean.tolist() == [0.0, -7.25]
    assert std.tolist() == [1.0, 1.0]
    assert mean.dtype == std.dtype == np.float32


def test_what_there_are_no_statistics_of_is_named() -> None:
    statistics = accumulate(SENTINEL2.select(["B4", "B3"]), np.ones((2, 2, 2, 2), np.uint16), np.zeros(2, np.int8))
    for modality, bands, level, error, message in (
        (SENTINEL1, ["asc_VV"], "all", InputError, "no statistics of modality 'sentinel1'"),
        (SENTINEL2, ["B4"], "L2A", InputError, "at level 'L2A'"),
        (SENTINEL2, ["B4", "B8"], "L1C", BandError, "band 'B8' of modality 'sentinel2'"),
    ):
        with pytest.raises(error, match=message) as caught:
            statistics.mean_std(modality, bands, level)
        assert "there are" in caught.value.hint


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("statistics") / "tiles.zarr"
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=5) as writer:
        writer.append(make_tiles(0, 17))
    return Store.open(path)


def test_of_the_train_split_by_default_whatever_the_threads_and_batches(store: Store) -> None:
    found = compute_statistics(store, batch_size=4)
    assert (found.tiles, found.split) == (6, "train")
    assert compute_statistics(store, batch_size=4, threads=1) == found
    raw = make_tiles(0, 17).arrays
    blue = raw["sentinel2"][::3, 1].ravel()
    check_against_numpy(found.modalities["sentinel2"].bands["all"]["B2"], blue[blue > 0])
    even = raw["sentinel2"][::6, 1].ravel()
    check_against_numpy(found.modalities["sentinel2"].bands["L1C"]["B2"], even[even > 0])
    assert found.modalities["crops"].bands["all"]["maize"].mean == pytest.approx(raw["crops"][::3, 0].mean())
    assert sum(found.modalities["biome"].class_counts.values()) == 6
    assert not found.modalities["biome"].bands


def test_of_all_tiles_if_there_is_no_split_and_of_some_if_asked(tmp_path: Path, store: Store) -> None:
    assert compute_statistics(store, np.array([1, 2]), names=["lat"]).tiles == 2
    assert list(compute_statistics(store, names=["lat"]).modalities) == ["lat"]
    batch = make_tiles(0, 3)
    coordinates = replace(batch.coordinates, split=np.full(3, -1, np.int8))
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE) as writer:
        writer.append(TileBatch(coordinates, batch.arrays))
    found = compute_statistics(Store.open(tmp_path / "s"))
    assert (found.tiles, found.split) == (3, "all")
    with pytest.raises(InputError, match="no tiles to take statistics of"):
        compute_statistics(store, np.empty(0, np.int64))
    with pytest.raises(InputError, match="no modality 'other'"):
        compute_statistics(store, names=["other"])

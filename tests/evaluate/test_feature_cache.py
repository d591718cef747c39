"""Features are kept whole or not at all, and never trusted blindly."""

import os
import time
import tracemalloc
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import InputError
from geopretext.evaluate.feature_cache import BLOCK, FeatureCache

KEY = "0123abcd"
SAMPLES = np.arange(BLOCK + 300)


def features(samples: np.ndarray) -> np.ndarray:
    return np.stack([samples, samples % 7, np.sqrt(samples)], 1).astype(np.float32)


def never(samples: np.ndarray) -> np.ndarray:
    raise AssertionError("computed again")


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_features_are_computed_block_by_block_and_only_once(tmp_path: Path) -> None:
    sizes, told = [], []

    def compute(samples: np.ndarray) -> np.ndarray:
        sizes.append(len(samples))
        return features(samples)

    cache = FeatureCache(tmp_path / "features")
    first = cache.get(KEY, SAMPLES, compute, lambda *done: told.append(done))
    assert sizes == [BLOCK, 300]
    assert told == [(BLOCK, BLOCK + 300), (BLOCK + 300, BLOCK + 300)]
    np.testing.assert_array_equal(first, features(SAMPLES))
    assert isinstance(first, np.memmap)
    assert first.dtype == np.float32
    for other in (cache, FeatureCache(tmp_path / "features")):
        np.testing.assert_array_equal(other.get(KEY, SAMPLES, never), first)
        np.testing.assert_array_equal(other.find(KEY), first)
    assert cache.find("another") is None
    (name,) = files(tmp_path / "features")
    np.testing.assert_array_equal(np.load(tmp_path / "features" / name, allow_pickle=False), first)


@pytest.mark.parametrize("damage", ["bit", "end", "all"])
def test_a_damaged_file_is_computed_again(damage: str, tmp_path: Path) -> None:
    FeatureCache(tmp_path).get(KEY, SAMPLES, features)
    path = tmp_path / files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[-5] ^= 4
    path.write_bytes({"bit": bytes(content), "end": bytes(content[:-8]), "all": b""}[damage])
    cache = FeatureCache(tmp_path)
    assert cache.find(KEY) is None
    assert files(tmp_path) == []
    np.testing.assert_array_equal(cache.get(KEY, SAMPLES, features), features(SAMPLES))


def test_what_is_damaged_while_a_process_runs_is_noticed(tmp_path: Path) -> None:
    cache = FeatureCache(tmp_path)
    cache.get(KEY, SAMPLES, features)
    path = tmp_path / files(tmp_path)[0]
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    assert cache.find(KEY) is None


def test_what_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(samples: np.ndarray) -> np.ndarray:
        if samples[0]:
            raise RuntimeError("no more")
        return features(samples)

    cache = FeatureCache(tmp_path)
    with pytest.raises(RuntimeError, match="no more"):
        cache.get(KEY, SAMPLES, fails)
    assert files(tmp_path) == []
    with pytest.raises(InputError, match=r"of 2048 samples have shape \(2047, 3\)"):
        cache.get(KEY, SAMPLES, lambda samples: features(samples)[1:])
    with pytest.raises(InputError, match=r"of 300 samples have shape \(300, 2\), not \(300, 3\)"):
        cache.get(KEY, SAMPLES, lambda samples: features(samples)[:, : 2 + (len(samples) == BLOCK)])
    with pytest.raises(InputError, match="no samples"):
        cache.get(KEY, SAMPLES[:0], features)
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        cache.get(KEY, SAMPLES, features)
    assert files(tmp_path) == []


def test_leftovers_of_dead_processes_are_cleared_away_and_files_in_work_are_not(tmp_path: Path) -> None:
    for name, age in (("old", 200_000), ("new", 100)):
        path = tmp_path / f".{name}.partial"
        path.touch()
        os.utime(path, (time.time() - age,) * 2)
    FeatureCache(tmp_path)
    assert files(tmp_path) == [".new.partial"]


def test_memory_does_not_grow_with_the_number_of_samples(tmp_path: Path) -> None:
    width, peaks = 64, []
    for count in (4 * BLOCK, 60 * BLOCK):
        samples = np.arange(count)
        tracemalloc.start()
        found = FeatureCache(tmp_path).get(
            str(count), samples, lambda some: np.repeat(some.astype(np.float32)[:, None], width, 1)
        )
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.shape == (count, width)
        assert found[-1, 0] == count - 1
    block = BLOCK * width * 4
    assert peaks[0] < 6 * block
    assert peaks[1] < peaks[0] + block / 2


def compute_many(folder: str, start: float) -> str:
    while time.time() < start:
        pass
    cache = FeatureCache(Path(folder))
    for number in range(20):
        found = cache.get(f"key{number}", SAMPLES, features)
        if not np.array_equal(found, features(SAMPLES)):
            return "wrong"
    return "right"


@pytest.mark.slow
def test_two_processes_that_compute_the_same_do_not_disturb_each_other(tmp_path: Path) -> None:
    with get_context("spawn").Pool(2) as pool:
        answers = pool.starmap(compute_many, [(str(tmp_path), time.time() + 20)] * 2)
    assert answers == ["right"] * 2
    assert len(files(tmp_path)) == 20

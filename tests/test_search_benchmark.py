"""The benchmark of the search at tiny size: its rows, its truth and its figures."""

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def search(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module("search")
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in {path.stem for path in BENCHMARKS.iterdir()}:
            del sys.modules[name]


def test_brute_force_is_the_truth(search: Any) -> None:
    units = np.random.default_rng(0).standard_normal((700, 8)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    order = np.argsort(-(units @ units[5]))
    np.testing.assert_array_equal(search._BruteForce(units, 2)(5)[:20], order[order != 5][:20])


def test_it_reports_figures_and_targets(search: Any) -> None:
    options = search.Options(rows=1500, width=16, queries=3, threads=1)
    found = search.measure(search.clustered(options), options.width, options)
    assert found["recall"] == {"search": 1.0, "filtered": 1.0}
    assert found["index_bytes"] > 1500 * 16 * 4
    text = search.report({"machine": "here", "options": options, "kinds": {"clustered": found}})
    assert text.count("met") == 2
    assert "1.0000" in text


def test_rows_between_neighbours_keep_the_shape_of_a_table(search: Any) -> None:
    real = np.random.default_rng(0).standard_normal((300, 6)).astype(np.float32) * np.array([9, 1, 1, 1, 1, 0], "f")
    rows = np.concatenate(list(search.lattice(search.Options(rows=5000), real)))
    assert rows.shape == (5000, 6)
    np.testing.assert_allclose(rows.std(axis=0), real.std(axis=0), rtol=0.35, atol=1e-6)

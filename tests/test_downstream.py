"""The experiment of benchmarks/downstream.py: gaps between encoders, and the recipes that are compared."""

import importlib
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from scipy import stats

from geopretext.apps.demo import QUICK, Settings
from geopretext.evaluate.cells import Cell, CellResult, TaskFacts
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import Run, SampleOutcome
from geopretext.train.recipe import load_recipe

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A function that imports a module of the experiment by name."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    before = set(sys.modules)
    yield importlib.import_module
    for name in set(sys.modules) - before:
        if name.partition(".")[0] in ("worth", "downstream"):
            del sys.modules[name]


def make_pairs(claim: Any, slope: float = 0.0) -> list[Any]:
    """Two tasks, three amounts, four planets; the gap of a planet falls by ``slope`` for ten times the labels."""
    generator = np.random.default_rng(0)
    pairs = []
    for planet in range(4):
        luck = generator.normal(0, 0.01)
        for task in ("a", "b"):
            for amount, labels in (("1%", 10.0), ("10%", 100.0), ("100%", 1000.0)):
                gap = 0.05 + luck - slope * np.log10(labels) + (0.01 if task == "b" else -0.01)
                pairs.append(claim.Pair("earth", task, "probe", amount, labels, "accuracy", planet, 0.5 + gap, 0.5))
    return pairs


def test_a_planet_counts_once_however_many_tasks_it_has(load: Any) -> None:
    claim = load("worth.claim")
    pairs = make_pairs(claim)
    (means,) = [group for group in claim.by(claim.mean_over_tasks(pairs), "amount") if group[0].amount == "1%"]
    assert len(means) == 4
    of_planet = [
        np.mean([pair.gap for pair in pairs if pair.planet == planet and pair.amount == "1%"]) for planet in range(4)
    ]
    low, high = stats.ttest_1samp(of_planet, 0).confidence_interval(0.95)
    interval = claim.gap_of(means)
    assert interval.paired
    assert (interval.low, interval.high) == pytest.approx((low, high), abs=1e-6)


def test_the_trend_is_that_of_the_gap_in_tenfold_labels(load: Any) -> None:
    claim = load("worth.claim")
    pairs = [pair for pair in make_pairs(claim, slope=0.02) if pair.task == "a"]
    trend = claim.trend_of(pairs)
    assert trend.value == pytest.approx(-0.02)
    assert trend.high - trend.low < 1e-9  # the same on every planet
    assert claim.trend_of([pair for pair in pairs if pair.amount == "1%"]) is None


def test_pairs_are_read_from_the_table_of_a_suite(load: Any, tmp_path: Path) -> None:
    claim = load("worth.claim")

    def row(bundle: str, value: float, **other: Any) -> dict[str, Any]:
        plain = {
            "task": "runs/earth0/tiles.zarr:t",
            "head": "probe",
            "amount": "5%",
            "metric": "accuracy",
            "headline": True,
            "n_train": 7,
        }
        return {**plain, "bundle": bundle, "representation": "pretrained", "value": value, **other}

    rows = [
        row("e0/mp", 0.8),
        row("e0/s2", 0.7),
        row("e0/mp", 0.1, metric="f1", headline=False),
        row("e0/mp", 0.2, representation="random_init"),
        row("e1/mp", 0.9),  # its other encoder has no result
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "scores.parquet")
    bundles = {"e0/mp": (0, "mp_mae"), "e0/s2": (0, "s2_mae"), "e1/mp": (1, "mp_mae"), "e1/s2": (1, "s2_mae")}
    (pair,) = claim.read_pairs(tmp_path / "scores.parquet", "earth", bundles)
    assert (pair.planet, pair.task, pair.amount, pair.labels) == (0, "t", "5%", 7)
    assert pair.gap == pytest.approx(0.1)


def test_the_table_and_the_files_say_the_same(load: Any, tmp_path: Path) -> None:
    claim = load("worth.claim")
    pairs = make_pairs(claim, slope=0.02)
    claim.write_pairs(pairs, tmp_path / "claim.parquet")
    stored = pq.read_table(tmp_path / "claim.parquet").to_pylist()
    assert len(stored) == len(pairs)
    chosen = [row["gap"] for row in stored if row["task"] == "b" and row["amount"] == "10%"]
    text = claim.markdown(pairs)
    (line,) = [line for line in text.splitlines() if line.startswith("| b |")]
    assert line.split("|")[3].strip().startswith(f"{np.mean(chosen):+.3f} [")
    (entry,) = [row for row in claim.summary(pairs) if row["task"] == "b" and row["amount"] == "10%"]
    assert entry["gap"]["value"] == pytest.approx(np.mean(chosen))
    assert entry["gap_of_ten_times_the_labels"]["value"] == pytest.approx(-0.02)


def test_a_planet_counts_once_however_often_its_head_was_trained(load: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    table = load("worth.table")

    def result(bundle: str, seed: int, right: float, representation: str = "pretrained") -> CellResult:
        scores = np.eye(2)[(np.arange(400) >= 400 * right).astype(int)]
        outcome = SampleOutcome(TaskKind.SINGLE_LABEL, scores, np.zeros(400, int))
        cell = Cell("t", bundle, representation, "finetune:unet", "100%", seed)
        return CellResult(
            cell, TaskFacts("t", outcome.kind, ("a", "b"), {}), Run(outcome, 0, {}, {}), np.arange(400), {}
        )

    planets = [result(f"e{planet}", seed, 0.5 + 0.1 * planet) for planet in range(4) for seed in range(3)]
    others = [result("gone", 0, 0.1), *(result(f"e{number}", 0, 0.3, "random_init") for number in (1, 0))]
    monkeypatch.setattr(table, "read_cells", lambda _: [*planets, *others])
    text = table.real_table(Path(), {f"e{planet}": (planet, "mp_mae") for planet in range(4)})
    ours, random = ([float(number) for number in re.findall(r"\d\.\d+", line)] for line in text.splitlines()[2:4])
    assert ours[0] == pytest.approx(0.65)
    # Student's t of four planets: 0.65 +- 3.18 x 0.129 / 2; twelve runs would give 0.65 +- 2.2 x 0.117 / 3.5
    assert ours[2] - ours[1] == pytest.approx(2 * 3.18 * 0.129 / 2, rel=0.15)
    assert random[0] == pytest.approx(0.3)


@pytest.mark.parametrize("bands", ["all", "rgb", "bgrn"])
def test_the_two_recipes_differ_in_their_targets_only(load: Any, bands: str) -> None:
    encoders = load("worth.encoders")
    ours, optical = (
        encoders.recipe_of(Settings(seed=3), method, bands, train_tiles=3900) for method in encoders.RECIPES
    )
    assert ours.encoder == optical.encoder
    assert ours.seed == optical.seed == 3
    seen = list(ours.encoder.bands)
    assert list(optical.pretext.targets) == ["sentinel2"]
    assert [list(targets["sentinel2"]) for targets in (ours.pretext.targets, optical.pretext.targets)] == [seen, seen]
    assert set(ours.pretext.targets) == set(load_recipe("mp-mae-demo").pretext.targets)
    small = encoders.recipe_of(QUICK, "mp_mae", bands, train_tiles=8)
    assert small.batch_size == 8


@pytest.mark.slow
def test_the_synthetic_part_from_nothing_and_again(load: Any, tmp_path: Path) -> None:
    downstream, suites = load("downstream"), load("worth.suites")
    size = suites.Size(
        planets=(0, 1), earth=Settings(tiles=150, steps=2), amounts=("50%", "100%"), seeds=(0,), workers=2
    )
    text = downstream.run(tmp_path, size, ("synthetic",))
    rows = pq.read_table(tmp_path / "claim.parquet").to_pylist()
    assert len(rows) == 2 * 2 * (5 + 2)  # planets, amounts, tasks and two means
    assert {(row["planet"], row["labels"] > 60) for row in rows} == {(0, False), (0, True), (1, False), (1, True)}
    assert "| mean of the tasks |" in text
    assert (tmp_path / "synthetic" / "planet0" / "report.html").stat().st_size > 10_000
    cells = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cells/*.json")}
    assert downstream.run(tmp_path, size, ("synthetic",)) == text
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("cells/*.json")} == cells


@pytest.mark.slow
def test_the_real_part_from_nothing(
    load: Any, tmp_path: Path, test_data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GEOPRETEXT_TEST_DATA", str(test_data))
    downstream, suites = load("downstream"), load("worth.suites")
    heads = suites.REAL["worldcereal_crops"].heads[:1]
    real = {
        "bigearthnet_labels": suites.RealTask("bgrn", heads=("probe",)),
        "worldcereal_crops": suites.RealTask("bgrn", heads=heads),
    }
    size = suites.Size(planets=(0, 1), earth=Settings(tiles=150, steps=2), seeds=(0,), real=real)
    text = downstream.run(tmp_path, size, ("real",))
    table, _, gaps = text.partition("\n\n")
    assert table.startswith("| method | bigearthnet_labels, probe, micro f1 | worldcereal_crops, frozen linear,")
    assert [line.split("|")[1].strip() for line in table.splitlines()[2:]] == [
        "MP-MAE, all modalities",
        "MAE, Sentinel-2 alone",
        "random weights",
        "random convolutions",
        "band statistics",
    ]
    assert "| bigearthnet_labels |" in gaps
    assert (tmp_path / "table.md").read_text() in text

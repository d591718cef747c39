"""Grids of cells: complete, resumed, in several processes, and with parts that fail."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import ClusterError, RecipeError
from geopretext.evaluate.cells import Cell, read_result
from geopretext.evaluate.evaluation import evaluate
from geopretext.evaluate.examples import read_examples
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.metrics import METRICS, TaskKind
from geopretext.evaluate.outcome import Run, SampleOutcome
from geopretext.evaluate.prepared import Prepared
from geopretext.evaluate.suite import SuiteOutcome, SuiteProgress, run_suite
from geopretext.evaluate.suite_settings import SuiteSettings, read_suite
from geopretext.evaluate.suite_table import SCHEMA, read_cells
from geopretext.evaluate.tasks import load_task
from geopretext.nn.bundle import Encoder

from .suite_parts import results, small, table, write_parts

CELLS = 52
"""Two tasks, two heads: random weights 2 seeds x 2 amounts; A, B and the bands 2 seeds at 50 %, one at 100 %."""


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> SuiteSettings:
    return write_parts(tmp_path_factory.mktemp("suite"))


@pytest.fixture(scope="module")
def whole(settings: SuiteSettings, tmp_path_factory: pytest.TempPathFactory) -> SuiteOutcome:
    """The whole grid, computed in this process."""
    return run_suite(settings, tmp_path_factory.mktemp("whole"))


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """How many inputs each call of an encoder had."""
    counts: list[int] = []
    features = Encoder.features

    def counted(self: Encoder, inputs: object, *args: object, **more: object) -> object:
        counts.append(len(inputs))
        return features(self, inputs, *args, **more)

    monkeypatch.setattr(Encoder, "features", counted)
    return counts


def test_the_whole_grid_is_computed(settings: SuiteSettings, whole: SuiteOutcome) -> None:
    assert (whole.cells, whole.computed, whole.reused, whole.failures, whole.left_out) == (CELLS, CELLS, 0, (), {})
    assert read_suite(whole.folder / "suite.yaml") == settings
    assert whole.report is not None
    assert whole.report.is_file()
    rows = table(whole.folder)
    assert set(rows[0]) == {*SCHEMA.names} - {"seconds"}
    # four methods, two heads, two amounts, two tasks
    assert len(rows) == 4 * 2 * 2 * 2 * len(METRICS[TaskKind.SINGLE_LABEL])
    assert list(dict.fromkeys(row["method"] for row in rows)) == ["A", "B", "random_init", "band_statistics"]
    assert {row["bundle"] for row in rows if row["representation"] != "pretrained"} == {settings.bundles[0]}
    random = next(row for row in rows if row["method"] == "random_init" and row["amount"] == "100%")
    assert random["seeds"] == 2
    assert {row["n_train"] for row in rows if row["title"] == "pictures"} == {8, 16}


def test_a_cell_is_what_evaluate_says(settings: SuiteSettings, whole: SuiteOutcome) -> None:
    store = settings.tasks[1]
    for head in ("knn", "probe"):
        scores = evaluate(settings.bundles[1], load_task(store), head=head, pooling="mean", baselines=())
        rows = [row for row in table(whole.folder) if (row["task"], row["method"], row["head"]) == (store, "B", head)]
        row = next(row for row in rows if row["headline"] and row["amount"] == "100%")
        assert (row["value"], row["low"], row["high"]) == tuple(scores.scores["pretrained"].to_dict().values())


def test_results_name_their_samples_and_what_the_door_did(settings: SuiteSettings, whole: SuiteOutcome) -> None:
    cell = Cell(settings.tasks[0], settings.bundles[0], "pretrained", "probe", "50%", 1)
    result = read_result(whole.folder / "cells", cell.key)
    task = load_task(settings.tasks[0])
    np.testing.assert_array_equal(result.test, task.test)
    np.testing.assert_array_equal(result.run.outcome.arrays()["labels"], task.labels[task.test])
    assert result.record["matched"] == ["B2", "B3", "B4"]
    assert "gate" in result.record
    assert result.run.facts["seconds"] > 0


def test_nothing_is_computed_twice(
    settings: SuiteSettings, whole: SuiteOutcome, encoded: list[int], tmp_path: Path
) -> None:
    shutil.copytree(whole.folder, tmp_path / "again")
    before = results(tmp_path / "again")
    outcome = run_suite(settings, tmp_path / "again")
    assert (outcome.computed, outcome.reused) == (0, CELLS)
    assert results(tmp_path / "again") == before
    assert encoded == []
    assert table(outcome.folder) == table(whole.folder)


def test_a_larger_grid_adds_its_cells(settings: SuiteSettings, tmp_path: Path, encoded: list[int]) -> None:
    few = small(settings)
    first = run_suite(few, tmp_path)
    assert (first.cells, first.computed, len(encoded)) == (2, 2, 1)
    outcome = run_suite(replace(few, heads=("probe",), seeds=(0, 1)), tmp_path)
    assert (outcome.cells, outcome.computed) == (2, 2)
    assert len(encoded) == 1  # the features were there
    assert read_suite(tmp_path / "suite.yaml").heads == ("knn", "probe")
    assert {row["head"] for row in table(tmp_path)} == {"knn", "probe"}
    with pytest.raises(RecipeError, match="have pooling 'mean', not 'stages'") as caught:
        run_suite(replace(few, pooling="stages"), tmp_path)
    assert "another --out" in caught.value.hint


def copied(settings: SuiteSettings, folder: Path) -> SuiteSettings:
    """A small suite over copies that a test may change."""
    few = small(settings)
    shutil.copytree(few.tasks[0], folder / "pictures")
    shutil.copytree(few.bundles[0], folder / "A")
    return replace(few, tasks=(str(folder / "pictures"),), bundles=(str(folder / "A"),), names={})


def test_one_changed_pixel_is_computed_again(settings: SuiteSettings, tmp_path: Path, encoded: list[int]) -> None:
    pillow = pytest.importorskip("PIL.Image")
    few = copied(settings, tmp_path)
    run_suite(few, tmp_path / "out")
    path = next((tmp_path / "pictures" / "crop").iterdir())
    stat = path.stat()
    with pillow.open(path) as image:
        image.putpixel((7, 7), (255, 255, 255))
        image.save(path)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    encoded.clear()
    outcome = run_suite(few, tmp_path / "out")
    assert (outcome.computed, outcome.reused, len(encoded)) == (2, 0, 1)
    assert len(list((tmp_path / "out" / "features").glob("*.npy"))) == 4


def test_other_weights_are_computed_again_and_leave_baselines_alone(settings: SuiteSettings, tmp_path: Path) -> None:
    few = copied(settings, tmp_path)
    run_suite(few, tmp_path / "out")
    shutil.rmtree(tmp_path / "A")
    shutil.copytree(settings.bundles[1], tmp_path / "A")
    outcome = run_suite(few, tmp_path / "out")
    assert (outcome.computed, outcome.reused) == (1, 1)


def test_features_need_not_be_kept_and_may_be_shared(
    settings: SuiteSettings, tmp_path: Path, encoded: list[int]
) -> None:
    few = small(settings)
    run_suite(few, tmp_path / "a", keep_features=False)
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        *("suite.yaml", "cells", "scores.parquet", "report.html")
    }
    run_suite(few, tmp_path / "b", cache=tmp_path / "shared")
    assert len(encoded) == 2
    run_suite(few, tmp_path / "c", cache=tmp_path / "shared")
    assert len(encoded) == 2
    assert table(tmp_path / "a") == table(tmp_path / "c")


def test_a_broken_task_fails_its_cells_only(settings: SuiteSettings, tmp_path: Path) -> None:
    missing = str(tmp_path / "nowhere")
    few = replace(small(settings), tasks=(missing, *settings.tasks[:1]), representations=("pretrained",))
    told: list[SuiteProgress] = []
    outcome = run_suite(few, tmp_path / "out", progress=told.append)
    assert (outcome.cells, outcome.computed, len(outcome.failures)) == (2, 1, 1)
    failure = outcome.failures[0]
    assert failure.cell == Cell(missing, few.bundles[0], "pretrained", "knn")
    assert (failure.what, failure.where) == ("no such task", missing)
    written = json.loads((tmp_path / "out" / "cells" / f"{failure.cell.key}.error.json").read_text())
    assert written["what"] == "no such task"
    assert written["hint"] == failure.hint != ""
    assert (told[-1].done, told[-1].failed, told[-1].cells) == (1, 1, 2)
    assert {row["task"] for row in table(outcome.folder)} == {settings.tasks[0]}
    assert read_suite(tmp_path / "out" / "suite.yaml").tasks == settings.tasks[:1]  # the folder's own can be run again
    shutil.copytree(settings.tasks[0], missing)
    mended = run_suite(few, tmp_path / "out")
    assert (mended.computed, mended.reused, mended.failures) == (1, 1, ())
    assert not list((tmp_path / "out" / "cells").glob("*.error.json"))
    assert len(read_cells(tmp_path / "out")) == 2


def test_a_bundle_that_was_away_hides_nothing_when_it_is_back(settings: SuiteSettings, tmp_path: Path) -> None:
    few = copied(settings, tmp_path)
    first = run_suite(few, tmp_path / "out")
    assert first.scores is not None
    before = first.scores.read_bytes()
    (tmp_path / "A").rename(tmp_path / "away")
    without = run_suite(few, tmp_path / "out")
    assert (len(without.failures), without.scores, without.report) == (2, None, None)
    assert first.scores.read_bytes() == before
    (tmp_path / "away").rename(tmp_path / "A")
    again = run_suite(few, tmp_path / "out")
    assert (again.computed, again.reused, again.failures) == (0, 2, ())
    assert first.scores.read_bytes() == before


def test_what_an_earlier_grid_has_serves_a_later_one(settings: SuiteSettings, tmp_path: Path) -> None:
    few = replace(small(settings), heads=("probe",), seeds=(0,))
    run_suite(few, tmp_path)
    other = run_suite(replace(few, bundles=settings.bundles[1:], seeds=(3,)), tmp_path)
    assert (other.cells, other.computed, other.reused) == (2, 1, 1)
    methods = [row["method"] for row in table(tmp_path) if row["headline"]]
    assert methods == ["A", "B", "band_statistics"]
    assert run_suite(replace(few, seeds=(3,)), tmp_path).computed == 0


def test_results_of_other_labels_are_set_aside_and_told(settings: SuiteSettings, tmp_path: Path) -> None:
    few = replace(copied(settings, tmp_path), heads=("knn", "probe"))
    run_suite(few, tmp_path / "out")
    crops, forests = ([*(tmp_path / "pictures" / name).iterdir()] for name in ("crop", "forest"))
    crops[0].rename(forests[0].parent / "moved.png")
    outcome = run_suite(replace(few, heads=("knn",)), tmp_path / "out")
    assert (outcome.computed, list(outcome.left_out.values())) == (2, [2])
    assert "moved to cells/stale" in next(iter(outcome.left_out))
    assert {row["head"] for row in table(tmp_path / "out")} == {"knn"}
    assert len(list((tmp_path / "out" / "cells" / "stale").iterdir())) == 4


def test_a_preset_that_changes_during_the_training_is_not_what_was_used(
    settings: SuiteSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    preset, kept = tmp_path / "short.yaml", []
    preset.write_text("epochs: 1\nwarmup_epochs: 0\n")

    def train(encoder: Encoder, prepared: Prepared, preset_: FinetuneSettings, **more: object) -> Run:
        preset.write_text("epochs: 2\nwarmup_epochs: 0\n")
        kept.append(prepared._kept)
        labels = prepared.task.labels[prepared.task.test]
        return Run(SampleOutcome(prepared.task.kind, np.eye(2)[labels], labels), 1.0, {}, {"epochs": preset_.epochs})

    monkeypatch.setattr("geopretext.evaluate.suite_work.finetune", train)
    few = replace(small(settings), heads=(f"finetune:{preset}",), representations=("pretrained",))
    run_suite(few, tmp_path / "out")
    assert all(result.run.facts["epochs"] == 1 for result in read_cells(tmp_path / "out"))
    assert len({id(one) for one in kept}) == 1 < len(kept)  # what is in memory serves all seeds


def test_a_head_that_fails_is_told_with_its_reason(settings: SuiteSettings, tmp_path: Path) -> None:
    few = copied(settings, tmp_path)
    for path in (tmp_path / "pictures" / "crop").iterdir():
        if path.name > "3":
            path.write_bytes(path.read_bytes()[:60])
            break
    outcome = run_suite(few, tmp_path / "out")
    assert len(outcome.failures) == 2
    assert {failure.what.split(":")[0] for failure in outcome.failures} == {"cannot be decoded"}
    assert (outcome.scores, outcome.report) == (None, None)


def test_heads_that_a_task_has_no_use_for_are_left_out(settings: SuiteSettings, tmp_path: Path) -> None:
    pillow = pytest.importorskip("PIL.Image")
    for folder in ("images", "masks"):
        (tmp_path / "maps" / folder).mkdir(parents=True)
    generator = np.random.default_rng(0)
    for number in range(10):
        codes = generator.integers(1, 3, (16, 16)).astype(np.uint8)
        pillow.fromarray(np.repeat(codes[:, :, None] * 90, 3, 2)).save(tmp_path / "maps" / "images" / f"{number}.png")
        pillow.fromarray(codes).save(tmp_path / "maps" / "masks" / f"{number}.png")
    (tmp_path / "maps" / "task.yaml").write_text("kind: segmentation\nclasses: {1: a, 2: b}\n")
    (tmp_path / "short.yaml").write_text("epochs: 1\nwarmup_epochs: 0\n")
    heads = ("knn", f"finetune:{tmp_path / 'short.yaml'}")
    few = replace(small(settings), tasks=(str(tmp_path / "maps"), *settings.tasks[:1]), heads=heads)
    outcome = run_suite(few, tmp_path / "out")
    assert (outcome.cells, outcome.failures) == (6, ())
    assert outcome.left_out == {
        "knn needs one label a sample, not segmentation": 2,
        "band_statistics is nothing that can be fine-tuned": 4,
    }
    rows = [row for row in table(outcome.folder) if row["headline"]]
    assert {(row["kind"], row["head"], row["metric"]) for row in rows} == {
        ("segmentation", heads[1], "mean_jaccard"),
        ("single-label", heads[1], "accuracy"),
        ("single-label", "knn", "accuracy"),
    }
    assert all(row["parameters"] >= row["trainable_parameters"] > 0 for row in rows if row["head"] == heads[1])
    # Of cells on maps, some are kept to look at.
    kept = [result for result in read_cells(outcome.folder) if result.task.kind is TaskKind.SEGMENTATION]
    assert kept
    for result in kept:
        maps = read_examples(outcome.folder / "cells", result.cell.key)
        assert maps is not None
        assert set(maps.positions) <= set(result.test)
        assert maps.predicted.shape == maps.truth.shape == (len(maps.positions), 16, 16)
    (tmp_path / "short.yaml").write_text("epochs: 2\nwarmup_epochs: 0\n")
    again = run_suite(few, tmp_path / "out")
    assert (again.computed, again.reused) == (4, 2)


def test_settings_that_cannot_be_are_refused_before_anything_is_written(
    settings: SuiteSettings, tmp_path: Path
) -> None:
    few = small(settings)
    with pytest.raises(RecipeError, match="nonsense"):
        run_suite(replace(few, heads=("finetune:nonsense",)), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(RecipeError, match="no head 'svm'"):
        replace(few, heads=("svm",))
    with pytest.raises(RecipeError, match="seeds has 1 twice"):
        replace(few, seeds=(1, 1))
    with pytest.raises(RecipeError, match="tasks is empty"):
        replace(few, tasks=())
    with pytest.raises(RecipeError, match="two bundles have the name 'x'"):
        replace(few, bundles=("a", "b"), names={"a": "x", "b": "x"})
    with pytest.raises(RecipeError, match="'z', which is none of the bundles"):
        replace(few, names={"z": "x"})
    with pytest.raises(RecipeError, match="name 'random_init' of a baseline"):
        replace(few, bundles=("a",), names={"a": "random_init"})


KILLED = """\
import sys
from pathlib import Path
from geopretext.evaluate.suite import run_suite
from geopretext.evaluate.suite_settings import read_suite

if __name__ == "__main__":
    run_suite(read_suite(Path(sys.argv[1])), sys.argv[2], workers=int(sys.argv[3]))
"""


@pytest.mark.slow
def test_a_killed_suite_goes_on_and_comes_to_the_same(
    settings: SuiteSettings, tmp_path: Path, encoded: list[int]
) -> None:
    few = replace(settings, bundles=settings.bundles[:1], names={}, tasks=settings.tasks[1:])
    whole = run_suite(few, tmp_path / "whole")
    assert len(encoded) == 3  # once with the bundle's weights, once with either random ones
    encoded.clear()
    (tmp_path / "run.py").write_text(KILLED)
    few.write(tmp_path / "suite.yaml")
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "suite.yaml"), str(tmp_path / "out"), "1"]
    process = subprocess.Popen(command)
    cells = tmp_path / "out" / "cells"
    while len(list(cells.glob("*.json"))) < 8 and process.poll() is None:
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    complete = {path.stem for path in cells.glob("*.json")}
    kept = {key: inode for key, inode in results(tmp_path / "out").items() if key in complete}
    missing = len(list((tmp_path / "whole" / "features").glob("*.npy")))
    missing -= len(list((tmp_path / "out" / "features").glob("*.npy")))
    outcome = run_suite(few, tmp_path / "out")
    assert 8 <= outcome.reused == len(complete) < outcome.cells == whole.cells
    assert outcome.computed == outcome.cells - len(complete)
    assert kept.items() <= results(tmp_path / "out").items()
    assert table(outcome.folder) == table(whole.folder)
    assert len(encoded) == max(0, missing - 1)  # one of the missing sets, the last, needs no encoder


@pytest.mark.slow
def test_processes_come_to_what_one_process_does(settings: SuiteSettings, whole: SuiteOutcome, tmp_path: Path) -> None:
    outcome = run_suite(settings, tmp_path, workers=2)
    assert (outcome.computed, outcome.failures) == (CELLS, ())
    assert table(tmp_path) == table(whole.folder)


@pytest.mark.slow
def test_a_dask_cluster_comes_to_what_one_process_does(
    settings: SuiteSettings, whole: SuiteOutcome, tmp_path: Path
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address=None
    ) as cluster:
        outcome = run_suite(settings, tmp_path, scheduler=cluster.scheduler_address)
    assert (outcome.computed, outcome.failures) == (CELLS, ())
    assert table(tmp_path) == table(whole.folder)


def test_no_cluster_no_suite(settings: SuiteSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed")
    monkeypatch.setattr("geopretext.evaluate.suite_crew._CONNECT_SECONDS", 0.2)
    with pytest.raises(ClusterError, match=r"no Dask scheduler answers at tcp://127\.0\.0\.1:9"):
        run_suite(small(settings), tmp_path, scheduler="tcp://127.0.0.1:9")


DYING = """\
import os, signal
from pathlib import Path
from geopretext.evaluate.tasks import load_task

HERE = Path(__file__).parent

def dies_once():
    return _die("once", 1)

def dies_always():
    return _die("always", 99)

def _die(name, times):
    count = len(list(HERE.glob(name + "-*")))
    if count < times:
        (HERE / f"{name}-{count}").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return load_task(str(HERE / "pictures"))
"""


@pytest.mark.slow
def test_a_process_that_dies_loses_its_own_work_only(settings: SuiteSettings, tmp_path: Path) -> None:
    few = copied(settings, tmp_path)
    (tmp_path / "dying.py").write_text(DYING)
    tasks = (f"{tmp_path}/dying.py:dies_once", f"{tmp_path}/dying.py:dies_always", *few.tasks)
    outcome = run_suite(replace(few, tasks=tasks), tmp_path / "out", workers=2)
    assert {failure.cell.task for failure in outcome.failures} == {tasks[1]}
    assert all("died, 2 times" in failure.what for failure in outcome.failures)
    assert len(list(tmp_path.glob("always-*"))) == 2
    assert outcome.computed == 4


@pytest.mark.slow
def test_an_interrupt_leaves_complete_cells_and_no_process(settings: SuiteSettings, tmp_path: Path) -> None:
    (tmp_path / "run.py").write_text(KILLED)
    settings.write(tmp_path / "suite.yaml")
    command = [sys.executable, str(tmp_path / "run.py"), str(tmp_path / "suite.yaml"), str(tmp_path / "out"), "2"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, start_new_session=True)
    cells = tmp_path / "out" / "cells"
    while len(list(cells.glob("*.json"))) < 5 and process.poll() is None:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
    _, errors = process.communicate(timeout=60)
    assert errors.decode().count("KeyboardInterrupt") == 1
    for path in cells.glob("*.json"):
        read_result(cells, path.stem)
    for _ in range(200):  # what Python keeps beside its processes ends a moment after them
        if not group_lives(process.pid):
            break
        time.sleep(0.05)
    assert not group_lives(process.pid)


def group_lives(number: int) -> bool:
    try:
        os.killpg(number, 0)
    except ProcessLookupError:
        return False
    return True

"""``geopretext evaluate suite`` and ``curve``: from words to a table, a report and an exit code."""

import json
from pathlib import Path

import pytest

from geopretext.apps.cli import main
from geopretext.evaluate.suite import SuiteProgress
from geopretext.evaluate.suite_settings import SuiteSettings, read_suite


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> SuiteSettings:
    from ..evaluate.suite_parts import write_parts

    return write_parts(tmp_path_factory.mktemp("verbs"))


def test_a_suite_in_words_and_in_a_file(
    parts: SuiteSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "suite", *parts.bundles, "--tasks", ",".join(parts.tasks), "--heads", "knn", "--seeds", "0"]
    words += ["--baselines", "band_statistics", "--pooling", "mean", "--names", f"first={parts.bundles[0]}"]
    assert main([*words, "--out", str(tmp_path / "out")]) == 0
    out, err = capsys.readouterr()
    assert "100% of the labels, [95 % interval]" in out
    lines = [line.split("│")[2].strip() for line in out.splitlines() if line.count("│") > 3]
    assert lines == ["first", "B", "band_statistics"]
    assert "6 cells computed, 0 were there, 0 failed" in err
    assert "cells: 6 of 6" in err
    assert f"wrote {tmp_path / 'out' / 'report.html'}" in err
    held = read_suite(tmp_path / "out" / "suite.yaml")
    assert held.representations == ("pretrained", "band_statistics")
    assert held.names == {parts.bundles[0]: "first"}

    file = str(tmp_path / "out" / "suite.yaml")
    assert main(["evaluate", "suite", file, "--heads", "knn,probe", "--out", str(tmp_path / "out"), "--json"]) == 0
    out, err = capsys.readouterr()
    assert "6 cells computed, 6 were there, 0 failed" in err
    answer = json.loads(out)
    assert {row["head"] for row in answer["scores"]} == {"knn", "probe"}
    assert answer["failures"] == []
    assert Path(answer["report"]).is_file()


def test_a_curve_is_a_suite_of_one_bundle_and_task(
    parts: SuiteSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "curve", parts.bundles[0], "--task", parts.tasks[1], "--amounts", "20%,100%", "--seeds", "0,1"]
    words += ["--baselines", "none", "--heads", "knn", "--pooling", "mean", "--no-cache"]
    assert main([*words, "--out", str(tmp_path / "curve")]) == 0
    out, err = capsys.readouterr()
    assert "surface: accuracy, [95 % interval]" in " ".join(out.split())
    assert "20%" in out
    assert "84 samples" in out
    assert "3 cells computed" in err  # two subsets of 20 %, and all of them once
    assert not (tmp_path / "curve" / "features").exists()


def test_failed_cells_are_told_by_reason_and_in_the_exit_code(
    parts: SuiteSettings, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "suite", parts.bundles[0], "--tasks", f"{tmp_path / 'none'},{parts.tasks[0]}", "--seeds", "0"]
    words += ["--baselines", "none", "--heads", "knn,probe", "--pooling", "mean", "--out", str(tmp_path / "out")]
    assert main(words) == 1
    out, err = capsys.readouterr()
    assert "pictures" in out
    assert f"error: 2 cells failed: {tmp_path / 'none'}: no such task\nhint: STORE:LABEL" in err
    assert "2 cells computed, 0 were there, 2 failed" in err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite", "a", "--out", "x"], "the following arguments are required: --tasks"),
        (["suite", "a.yaml", "b", "--out", "x"], "a.yaml is a suite: it names its bundles itself"),
        (["suite", "a", "--tasks", ",", "--out", "x"], "argument --tasks: names nothing"),
        (["suite", "a", "--tasks", "t", "--seeds", "0,-1", "--out", "x"], "-1 is below 0"),
        (["suite", "a", "--tasks", "t", "--names", "b", "--out", "x"], "'b' is not NAME=BUNDLE,..."),
        (["curve", "a", "--out", "x"], "the following arguments are required: --task"),
    ],
)
def test_wrong_words_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", *words]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["suite", "none.yaml", "--out", "x"], "none.yaml: no such file"),
        (["suite", "a", "--tasks", "t", "--heads", "svm", "--out", "x"], "no head 'svm'"),
        (["suite", "a", "--tasks", "t", "--amounts", "some", "--out", "x"], "'some' is no amount of labels"),
        (["suite", "a", "--tasks", "t", "--names", "z=b", "--out", "x"], "names has 'b', which is none of the bundles"),
    ],
)
def test_grids_that_cannot_be_are_refused(
    words: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["evaluate", *words]) == 1
    assert message in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_time_left_and_failures_are_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    from geopretext.apps import suite_progress

    clock = iter([0.0, 1.0, 5.0, 60.0, 110.0])
    monkeypatch.setattr(suite_progress, "monotonic", lambda: next(clock))
    with suite_progress.suite_progress() as tell:
        tell(SuiteProgress(0, 0, 0, 0, "opening a"))
        tell(SuiteProgress(10, 40, 10, 0, "too soon"))
        tell(SuiteProgress(28, 40, 10, 2, "probe on a"))
        tell(SuiteProgress(38, 40, 10, 2, "probe on b"))
    assert capsys.readouterr().err.splitlines() == [
        "opening a",
        "cells: 30 of 40, 30 s left, 2 failed, probe on a",
        "cells: 40 of 40, 2 failed, probe on b",
    ]

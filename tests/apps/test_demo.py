"""The demo, as small as it gets: every part runs, is left alone when finished, and is done again when it is lost."""

import json
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.apps.demo import METHODS, Settings, _part, demo
from geopretext.errors import InputError

TINY = ["--tiles", "160", "--steps", "2", "--seed", "4"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("demo") / "runs"
    assert main(["demo", *TINY, "--quick", "--out", str(out)]) == 0
    return out


def test_the_summary_has_scores_of_every_method_on_every_task(finished: Path) -> None:
    summary = json.loads((finished / "summary.json").read_text())
    assert set(summary["scores"]) == set(METHODS)
    tasks = set(summary["tasks"])
    assert len(tasks) >= 3
    for scores in summary["scores"].values():
        assert set(scores) == {*tasks, "mean"}
        values = [scores[task]["value"] for task in tasks]
        assert scores["mean"]["value"] == pytest.approx(np.mean(values))
        assert all(score["low"] <= score["high"] for score in scores.values())
    assert summary["seconds"] == pytest.approx(sum(summary["seconds_by_part"].values()), abs=0.01)
    assert summary["tiles_per_second"] > 0
    assert summary["settings"]["tiles"] == 160
    assert "torch" in summary["versions"]


def test_the_report_has_pictures_and_curves(finished: Path) -> None:
    page = (finished / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 2
    for text in ("canopy_height_eth", "MP-MAE", "S2-only MAE", f"geopretext inspect {finished}/tiles.zarr"):
        assert text in page


def test_a_finished_demo_is_only_read(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in (finished / "parts").iterdir()}
    assert main(["demo", *TINY, "--quick", "--out", str(finished)]) == 0
    printed = capsys.readouterr()
    assert "Mean over the tasks" in printed.out
    assert printed.out.endswith(f"report: {finished / 'report.html'}\n")
    assert printed.err.count("finished before") == len(before) == 5
    assert {path: path.stat().st_mtime_ns for path in (finished / "parts").iterdir()} == before


def test_a_lost_part_is_done_again(finished: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (finished / "parts" / "pictures.json").unlink()
    (finished / "reconstruction.png").unlink()
    assert main(["demo", *TINY, "--quick", "--json", "--out", str(finished)]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["settings"]["steps"] == 2
    assert printed.err.count("finished before") == 4
    assert (finished / "reconstruction.png").exists()


def test_other_settings_do_not_mix_with_a_folder(finished: Path) -> None:
    with pytest.raises(InputError, match=r"steps 2 -> 3(.|\n)*hint: choose another --out"):
        demo(finished, Settings(tiles=160, steps=3, seed=4, pictures=2))


def test_a_part_that_fails_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail() -> dict[str, object]:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        _part(tmp_path, "x", fail)
    assert not (tmp_path / "parts").exists()
    assert _part(tmp_path, "x", lambda: {"a": 1})["a"] == 1
    assert _part(tmp_path, "x", fail)["a"] == 1

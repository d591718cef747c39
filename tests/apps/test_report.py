"""The page and the summary of the demo: complete, self-contained, honest about what is not settled."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from geopretext.apps.report import write_report
from geopretext.apps.summary import MEAN, Summary, TaskFacts, score_table
from geopretext.evaluate.charts import Interval, Line, interval_chart, line_chart, smooth

METHODS = {"ours": "Ours <1>", "other": "Other", "random": "Random"}
TASKS = {
    "crops": TaskFacts("Crops & fields", "single-label", "accuracy", 80, 10, 10),
    "biomass": TaskFacts("Biomass", "regression", "R²", 80, 10, 10),
}
PIXEL = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108060000001f15c4890000000d4944415478da63fccfc0500f000485"
    "018084a98c210000000049454e44ae426082"
)


def summary() -> Summary:
    scores = {
        method: {task: Interval(value, value - 0.1, value + 0.1) for task in (*TASKS, MEAN)}
        for method, value in zip(METHODS, (0.8, 0.75, -0.2), strict=True)
    }
    return Summary(
        settings={"tiles": 100, "steps": 7, "tile_size": 64, "seed": 0},
        methods=METHODS,
        tasks=TASKS,
        probe=scores,
        knn=scores,
        differences={"other": Interval(0.05, -0.01, 0.11), "random": Interval(1.0, 0.9, 1.1)},
        curves={"ours": {"sentinel2": [(1, 1.0), (2, 0.5)], "aster": [(1, float("nan")), (2, 3.0)]}},
        seconds={"Making the tiles": 12.5, "Pretraining": 75.0},
        tiles_per_second={"ours": 1234.5},
        versions={"geopretext": "0.1.0"},
        commands=("geopretext inspect a.zarr --out <b>",),
    )


@pytest.fixture
def page(tmp_path: Path) -> str:
    (tmp_path / "p.png").write_bytes(PIXEL)
    write_report(tmp_path / "r.html", summary(), contact_sheet=tmp_path / "p.png", reconstruction=tmp_path / "p.png")
    return (tmp_path / "r.html").read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Checks that elements are closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        pass

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_needs_no_network(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert re.findall(r'(?:src|href)="(?!data:)', page) == []
    assert "http" not in page.replace("http-equiv", "")
    assert "url(" not in page
    assert "<script" not in page
    assert "prefers-color-scheme: dark" in page
    assert 'content="width=device-width' in page


def test_the_page_has_every_task_and_method_and_escapes_them(page: str) -> None:
    for text in ("Crops &amp; fields", "Biomass", "Ours &lt;1&gt;", "Other", "sentinel2", "--out &lt;b&gt;"):
        assert text in page
    assert page.count("data:image/png;base64,") == 2
    assert "1 min 27 s" in page
    assert "1,234 tiles/s" in page


def test_the_page_says_what_the_run_settles_and_what_not(page: str) -> None:
    assert "It is above Random beyond what the choice of test tiles explains." in page
    assert "Against Other this small run does not settle it." in page


def test_losing_is_said_plainly(tmp_path: Path) -> None:
    (tmp_path / "p.png").write_bytes(PIXEL)
    lost = replace(summary(), differences={"other": Interval(-0.2, -0.3, -0.1), "random": Interval(1.0, 0.9, 1.1)})
    write_report(tmp_path / "r.html", lost, contact_sheet=tmp_path / "p.png", reconstruction=tmp_path / "p.png")
    assert "It is below Other." in (tmp_path / "r.html").read_text(encoding="utf-8")


def test_the_summary_has_the_promised_keys() -> None:
    plain = json.loads(json.dumps(summary().to_plain(), allow_nan=False))
    assert plain["scores"]["ours"]["crops"] == {"value": 0.8, "low": pytest.approx(0.7), "high": 0.9}
    assert set(plain["scores"]["random"]) == {*TASKS, "mean"}
    assert plain["seconds"] == 87.5
    assert plain["tiles_per_second"] == 1234.5
    assert {"versions", "settings", "differences", "tasks", "scores_knn"} <= set(plain)


def test_the_table_has_a_row_a_task() -> None:
    lines = score_table(summary()).splitlines()
    assert lines[2].split("  ")[0] == "Crops & fields (accuracy)"
    assert lines[-1].startswith("Mean over the tasks")
    assert "0.800 [0.700, 0.900]" in lines[-1]
    assert "−0.200 [−0.300, −0.100]" in lines[-1]


def test_intervals_lie_within_the_axis() -> None:
    chart = interval_chart("t", "n", {"a": (1, Interval(0.5, 0.1, 0.9)), "b": (2, Interval(-0.4, -0.5, -0.3))})
    numbers = [float(number) for number in re.findall(r"left:([\d.]+)%", chart)]
    assert all(0 < number < 100 for number in numbers)
    assert "−0.60" in chart  # the left end of the axis


def test_curves_are_smoothed_and_gaps_left_out() -> None:
    points = [(float(step), float("nan") if step == 3 else 1.0) for step in range(1000)]
    smoothed = smooth(points)
    assert 100 <= len(smoothed) <= 130
    assert {value for _, value in smoothed} == {1.0}
    assert line_chart("x", [Line(1, [(1, float("nan"))])]) == ""
    assert "nan" not in line_chart("x", [Line(1, [(1, float("nan")), (2, 3.0), (4, 1.0)])])

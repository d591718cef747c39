"""Curves as SVG, confusion and labels as tables: the numbers stand where they belong."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from geopretext.evaluate.calibration import calibration
from geopretext.evaluate.charts import Interval
from geopretext.evaluate.curve_charts import Chart, Series, marker, sample
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.outcome import SampleOutcome
from geopretext.evaluate.outcome_charts import confusion_html, label_table, reliability_chart, scatter_chart
from geopretext.evaluate.per_class import per_class

SVG = "{http://www.w3.org/2000/svg}"


def points(*scores: float, numbers: tuple[float, ...] = (10, 100, 1000)) -> list[tuple[float, Interval]]:
    return [(x, Interval(y, y - 0.05, y + 0.02)) for x, y in zip(numbers, scores, strict=True)]


def chart(**options: object) -> Chart:
    series = [Series("ours <1>", 0, points(0.5, 0.7, 0.9)), Series("other", 1, points(0.4, 0.5, 0.6))]
    return Chart("EuroSAT & co", "labels", "accuracy", series, **options)


def coordinates(path: str) -> np.ndarray:
    return np.array([[float(part) for part in pair.split()] for pair in path.strip("MZ").split("L")])


def test_lines_are_logarithmic_across_and_linear_up() -> None:
    lines = re.findall(r'<path class="line" d="([^"]+)"', chart().drawing)
    other, ours = (coordinates(line) for line in lines)  # the first method is drawn last
    assert np.diff(ours[:, 0]) == pytest.approx([np.diff(ours[:, 0])[0]] * 2, abs=0.11)
    assert np.diff(ours[:, 1]) == pytest.approx(2 * np.diff(other[:, 1]), abs=0.11)
    assert (ours[:, 1] < other[:, 1]).all()
    band = coordinates(re.findall(r'class="band hue-1" d="([^"]+)"', chart().drawing)[0])
    unit = (other[0, 1] - ours[0, 1]) / 0.1
    assert band[0, 1] == pytest.approx(ours[0, 1] - 0.02 * unit, abs=0.11)
    assert band[-1, 1] == pytest.approx(ours[0, 1] + 0.05 * unit, abs=0.11)


def test_everything_lies_within_the_frame_and_ticks_name_the_numbers() -> None:
    drawing = ET.fromstring(chart().drawing)
    _, _, width, height = map(float, drawing.get("viewBox").split())
    for line in drawing.iter("path"):
        if (line.get("class") or "").split()[:1] in (["line"], ["band"]):
            assert (coordinates(line.get("d")) >= 0).all()
            assert (coordinates(line.get("d")) <= [width, height]).all()
    texts = [text.text for text in drawing.iter("text")]
    assert {"10", "100", "1,000", "labels", "accuracy"} <= set(texts)
    values = [float(text) for text in texts if re.fullmatch(r"0\.\d+|1\.0", text)]
    assert min(values) <= 0.35
    assert max(values) >= 0.92


def test_crowded_ticks_are_thinned_but_the_last_is_named() -> None:
    numbers = tuple(float(number) for number in range(1000, 3000, 50))
    many = Chart("t", "x", "y", [Series("a", 0, points(*np.linspace(0.1, 0.9, 40), numbers=numbers))])
    texts = [text.text for text in ET.fromstring(many.drawing).iter("text")]
    assert "2,950" in texts
    assert sum("," in text for text in texts) < 12


def test_many_methods_have_bars_and_only_the_first_a_band() -> None:
    many = Chart("t", "x", "y", [Series(str(n), n, points(0.5, 0.6, 0.7)) for n in range(6)])
    assert re.findall(r'class="band (hue-\d)"', many.drawing) == ["hue-1"]
    assert len(re.findall(r'class="whisker', many.drawing)) == 5


def test_a_standalone_file_is_svg_with_legend_and_nothing_from_outside() -> None:
    drawing = ET.fromstring(chart().standalone)
    texts = [text.text for text in drawing.iter(f"{SVG}text")]
    assert {"EuroSAT & co", "ours <1>", "other"} <= set(texts)
    assert "prefers-color-scheme: dark" in drawing.find(f"{SVG}style").text
    assert not re.findall(r"href|url\(|@import", chart().standalone)


def test_methods_differ_without_colour() -> None:
    looks = {re.sub(r"hue-\d", "", sample(look)) for look in range(8)}
    assert len(looks) == 8
    assert marker(0, 0, 0) != marker(8, 0, 0)  # the same colour again


def test_points_of_one_number_stand_beside_each_other() -> None:
    series = [Series(str(n), n, [(4.1e6, Interval(0.5, 0.4, 0.6))]) for n in range(3)]
    drawing = Chart("t", "parameters", "y", series, joined=False).drawing
    across = [float(x) for x in re.findall(r'class="bar" d="M([\d.]+)', drawing)]
    assert len(set(across)) == 3
    assert "4.1M" in drawing


def test_shares_are_in_per_cent_and_negative_scores_have_a_minus() -> None:
    series = [Series("a", 0, points(-0.4, 0.1, numbers=(0.023, 1.0)))]
    drawing = Chart("t", "share", "R²", series, joined=False, percent=True).drawing
    assert "2.3 %" in drawing
    assert "100 %" in drawing
    assert "−0.4" in drawing


def test_confusion_is_in_per_cent_of_the_true_class() -> None:
    html = confusion_html(np.array([[3, 1, 0], [0, 0, 0], [0, 1, 399]]), ("a", "b<", "c"))
    rows = re.findall(r"<tr><th scope=\"row\">.*?</tr>", html)
    assert re.findall(r">([^<>]*)</td>", rows[0]) == ["75", "25", ""]
    assert "not in the test set" in rows[1]
    assert re.findall(r">([^<>]*)</td>", rows[2]) == ["", "·", "100"]
    assert "b&lt;" in html
    assert 'title="a as b&lt;: 1"' in html


def test_many_classes_become_a_list_of_the_worst_pairs() -> None:
    counts = np.eye(30, dtype=np.int64) * 50
    counts[4, 7], counts[9, 2] = 25, 50
    names = [f"class {number}" for number in range(30)]
    rows = re.findall(r"<tr><td>.*?</tr>", confusion_html(counts, names))
    assert len(rows) == 2
    assert re.findall(r">([^<>]+)</td>", rows[0]) == ["class 9", "class 2", "50", "50 %"]
    assert re.findall(r">([^<>]+)</td>", rows[1]) == ["class 4", "class 7", "25", "33 %"]
    assert "Nothing is confused" in confusion_html(np.eye(30, dtype=np.int64), names)


def test_labels_are_listed_by_frequency() -> None:
    scores = np.array([[0.9, 0.1, 0.2], [0.8, 0.9, 0.1], [0.4, 0.2, 0.1]])
    truth = np.array([[1, 0, 0], [1, 1, 0], [1, 0, 0]])
    report = per_class(SampleOutcome(TaskKind.MULTI_LABEL, scores, truth))
    rows = re.findall(r"<tr><td>.*?</tr>", label_table(report, ("x", "y", "z"), runs=1))
    assert [re.findall(r">([^<>]+)</td>", row) for row in rows] == [
        ["x", "3", "1.00", "0.67", "0.80"],
        ["y", "1", "1.00", "1.00", "1.00"],
        ["z", "0", "–", "–", "–"],
    ]


def test_reliability_shows_how_often_it_came_true() -> None:
    confidence = np.repeat([0.7, 0.9], 100)
    right = np.concatenate([np.arange(100) < 40, np.arange(100) < 90])
    scores = np.stack([confidence, 1 - confidence], 1)
    measured = calibration([SampleOutcome(TaskKind.SINGLE_LABEL, scores, (~right).astype(np.int64))], resamples=50)
    drawing = reliability_chart("a<b", "hue-1", measured)
    dots = re.findall(r'class="mark" cx="([\d.]+)" cy="([\d.]+)"', drawing)
    assert [(float(x) / 150, 1 - float(y) / 150) for x, y in dots] == [
        pytest.approx((0.7, 0.4)),
        pytest.approx((0.9, 0.9)),
    ]
    assert "ECE 0.150" in drawing
    assert "a&lt;b" in drawing


def test_predictions_that_are_right_lie_on_the_diagonal() -> None:
    values = np.random.default_rng(0).normal(size=(5000, 2))
    drawing = scatter_chart(SampleOutcome(TaskKind.REGRESSION, values, values), 1, "biomass")
    dots = np.array(re.findall(r'cx="([\d.]+)" cy="([\d.]+)"', drawing), float)
    assert len(dots) <= 400
    assert dots.sum(1) == pytest.approx(np.full(len(dots), 150), abs=0.11)

"""The page of a suite: complete, self-contained, safe to open, and honest about what is not settled."""

import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.suite_report import write_suite_report
from geopretext.evaluate.task import Task

from .suite_folder import BUNDLES, COVER, METHODS, TASKS, MadeTask, opener, write_suite_folder

AMOUNTS = {"1%": 27, "100%": 2700}


@pytest.fixture(scope="module")
def suite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A suite, never changed by a test."""
    pytest.importorskip("PIL.Image", reason="pillow writes the pictures")
    folder = tmp_path_factory.mktemp("suite")
    write_suite_folder(folder, amounts=AMOUNTS, seeds=(0, 1), resamples=10)
    write_suite_report(folder, open_task=opener())
    return folder


@pytest.fixture(scope="module")
def page(suite: Path) -> str:
    return (suite / "report.html").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def one_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("one")
    write_suite_folder(folder, TASKS[:1], amounts={"100%": 2700}, seeds=(0,), resamples=10)
    write_suite_report(folder, open_task=opener())
    return folder


@pytest.fixture
def small(one_task: Path, tmp_path: Path) -> Path:
    """A suite of one task that a test may change."""
    return Path(shutil.copytree(one_task, tmp_path / "small"))


@pytest.fixture
def copy(suite: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(suite, tmp_path / "suite"))


class Tags(HTMLParser):
    """Checks that elements are closed in the order in which they were opened; keeps tags and text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def assert_is_self_contained(page: str) -> Tags:
    tags = Tags(page)
    assert tags.open == []
    for tag, attributes in tags.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "srcset", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/png;base64,")), (tag, attributes)
        assert tag not in ("link", "iframe", "object", "embed", "base")
    assert [tag for tag, _ in tags.tags].count("script") == 1
    assert "url(" not in page
    assert "@import" not in page
    return tags


def rows_of(folder: Path) -> list[dict[str, Any]]:
    return pq.read_table(folder / "scores.parquet").to_pylist()


def rewrite(folder: Path, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows), folder / "scores.parquet")


def answers(page: str) -> list[str]:
    return [unescape(re.sub(r"<[^>]+>", "", part)) for part in re.findall(r'<li><a href="#task.*?</li>', page)]


def test_the_page_is_well_formed_and_needs_no_network(page: str) -> None:
    tags = assert_is_self_contained(page)
    assert "http" not in re.sub(r"base64,[^\"]+", "", page)
    assert "prefers-color-scheme: dark" in page
    assert 'content="width=device-width' in page
    anchors = {attributes["href"] for _, attributes in tags.tags if "href" in attributes}
    assert anchors <= {f"#{attributes['id']}" for _, attributes in tags.tags if "id" in attributes}


def test_every_score_stands_in_a_table(page: str, suite: Path) -> None:
    text = Tags(page).text
    headlines = {"accuracy": "m-eurosat", "micro_f1": "labels", "mean_jaccard": "worldcereal"}
    for row in rows_of(suite):
        if headlines.get(row["metric"]) == row["title"]:
            assert f"{row['value']:.3f}" in text
            assert f"[{row['low']:.3f}, {row['high']:.3f}]" in text
    for name in (*METHODS, *(task.title for task in TASKS), "linear probe", "fine-tuning (lora)"):
        assert name in text


def test_ranks_and_the_best_are_marked(page: str) -> None:
    table = page[page.index("<h3>linear probe</h3>") :]
    rows = re.findall(r"<tr><td data-sort.*?</tr>", table[: table.index("</table>")])
    assert [re.findall(r'class="rank">([\d.]+)<', row) for row in rows] == [
        ["1", "1"],
        ["2", "2"],
        ["4", "4"],
        ["3", "3"],
    ]
    assert [row.count('class="best"') for row in rows] == [2, 0, 0, 0]
    assert [re.search(r">([\d.]+)</td></tr>", row)[1] for row in rows] == ["1.0", "2.0", "4.0", "3.0"]


def test_the_answer_claims_only_what_holds(small: Path) -> None:
    rows = rows_of(small)
    verdicts = {"sentinel2-only": (0.3, 0.01), "random_init": (0.001, 0.4), "band_statistics": (0.02, -0.1)}
    for row in rows:
        if row["method"] in verdicts and row["title"] == "m-eurosat":
            row["p"], row["gain"] = verdicts[row["method"]]
            row["value"] = 0.9 - row["gain"]
        elif row["title"] == "m-eurosat":
            row["value"] = 0.9
    rewrite(small, rows)
    page = write_suite_report(small, open_task=opener()).read_text(encoding="utf-8")
    answer = answers(page)[0]
    assert "all-modalities reaches accuracy 0.900" in answer
    assert "It is above random_init, and below band_statistics." in answer
    assert "Against sentinel2-only these test samples do not settle it." in answer
    assert "≈ −0.010, p 0.300" in page
    assert "▲ +0.100, p 0.020" in page
    assert "▼ −0.400, p 0.001" in page


def test_what_was_not_tested_is_said(small: Path) -> None:
    rows = rows_of(small)
    for row in rows:
        row["p"] = None
    rewrite(small, rows)
    page = write_suite_report(small, open_task=opener()).read_text(encoding="utf-8")
    assert "It was not tested against sentinel2-only, random_init and band_statistics." in answers(page)[0]


def test_the_answer_is_of_the_head_that_validates_best(small: Path) -> None:
    rows = rows_of(small)
    for row in rows:
        row["validation"] = 0.9 if row["head"] == "knn" else 0.1
    rewrite(small, rows)
    page = write_suite_report(small, open_task=opener()).read_text(encoding="utf-8")
    assert answers(page)[0].startswith("m-eurosatK nearest neighbours, all 2,700 training samples")
    chapter = page[page.index('id="task-1"') :]
    assert "Are the probabilities right?" not in chapter  # votes are no probabilities


def test_there_is_a_curve_for_each_task_and_head(page: str, suite: Path) -> None:
    names = {path.name for path in suite.glob("*.svg")}
    assert len(names) == 6
    assert "curves-m-eurosat-linear-probe.svg" in names
    assert page.count('class="chart"') == 6 + 2  # and parameters of the one task that knows them
    assert "share that is trained" in page


def test_without_amounts_and_parameters_there_are_no_curves(tmp_path: Path) -> None:
    write_suite_folder(tmp_path, TASKS[1:2], amounts={"100%": 2700}, seeds=(0,), resamples=10)
    page = write_suite_report(tmp_path, open_task=opener()).read_text(encoding="utf-8")
    assert 'class="chart"' not in page
    assert list(tmp_path.glob("*.svg")) == []


def test_examples_have_pictures_truth_and_prediction(page: str) -> None:
    first = page[page.index('id="task-1"') : page.index('id="task-2"')]
    assert first.count("data:image/png") == 12
    assert first.count('class="right">✓') == 6
    assert re.search(r'class="wrong">✗ \w+ \d+\N{NO-BREAK SPACE}%', first)
    dense = page[page.index('id="task-3"') : page.index('id="again"')]
    assert dense.count("data:image/png") == 6 * 3
    assert dense.count("mean Jaccard index of this image") == 6
    for name in ("truth", "prediction", "no label", *COVER):
        assert name in dense


def test_an_implausible_door_stands_beside_the_answer(page: str) -> None:
    assert "Caution" not in answers(page)[0]
    assert "the inputs of sentinel2-only do not look like what they are said to be" in answers(page)[2]
    assert re.search(r'<li class="warn">warning: .*B8 and B8A look exchanged</li>', page)
    assert "bands matched by name: B2, B3, B4, B8" in page


def test_failed_cells_stand_with_their_reasons(page: str) -> None:
    for text in ("Cells without a result: 1", "the loss is not finite", "use a smaller learning rate", "seed 2"):
        assert text in page
    assert "geopretext evaluate suite " in page
    assert "split_seed: 0" in page


def test_a_result_whose_cell_failed_since_is_not_shown(copy: Path) -> None:
    path = next(path for path in sorted((copy / "cells").glob("*.json")) if not path.name.endswith(".error.json"))
    failure = {"cell": json.loads(path.read_text())["cell"], "what": "weights are gone", "where": "", "hint": ""}
    path.with_suffix(".error.json").write_text(json.dumps(failure))
    page = write_suite_report(copy, open_task=opener()).read_text(encoding="utf-8")
    assert "weights are gone" in page
    assert "<dt>results</dt><dd>87</dd>" in page


def test_tasks_that_cannot_be_opened_are_reported_without_pictures(small: Path) -> None:
    def gone(name: str) -> Task:
        raise InputError(f"no folder {name!r}")

    page = write_suite_report(small, open_task=gone).read_text(encoding="utf-8")
    assert "the task cannot be opened: no folder &#x27;m-eurosat.yaml&#x27;" in page
    first = page[page.index('id="task-1"') : page.index('id="again"')]
    assert "data:image/png" not in first
    assert "✗" in first


def test_a_task_of_ones_own_may_raise_anything(small: Path) -> None:
    def broken(name: str) -> Task:
        raise ZeroDivisionError("by <zero>")

    page = write_suite_report(small, open_task=broken).read_text(encoding="utf-8")
    assert "the task cannot be opened: by &lt;zero&gt;" in page


def test_by_default_tasks_are_opened_by_their_name(small: Path) -> None:
    page = write_suite_report(small).read_text(encoding="utf-8")
    assert page.count("the task cannot be opened: ") == 1


def test_a_task_that_has_changed_shows_no_wrong_pictures(copy: Path) -> None:
    def changed(name: str) -> Task:
        task = opener()(name)
        return replace(task, classes=tuple(reversed(task.classes)))

    page = write_suite_report(copy, open_task=changed).read_text(encoding="utf-8")
    assert page.count("the task is not the one that was scored any more") == 3


def test_nor_does_a_task_of_other_labels(small: Path) -> None:
    def shuffled(name: str) -> Task:
        task = opener()(name)
        return replace(task, labels=task.labels[::-1].copy())

    page = write_suite_report(small, open_task=shuffled).read_text(encoding="utf-8")
    assert "the task is not the one that was scored any more" in page
    assert "data:image/png" not in page


def test_without_pillow_pictures_are_missing_and_said_to_be(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL", None)
    page = write_suite_report(copy, open_task=opener()).read_text(encoding="utf-8")
    assert "data:image/png" not in page
    assert page.count("PIL is not installed") == 3
    assert "pip install" in page


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>&amp;'


@pytest.mark.parametrize("kind", list(TaskKind), ids=str)
def test_names_are_text_and_nothing_else_on_tasks_of_every_kind(tmp_path: Path, kind: TaskKind) -> None:
    classes = (HOSTILE, HOSTILE + "b", HOSTILE + "c")[: 2 if kind is TaskKind.CHANGE_DETECTION else 3]
    task = MadeTask(HOSTILE, HOSTILE, kind, classes, 12, (f"finetune:{HOSTILE}",))
    methods = {HOSTILE: (HOSTILE, "pretrained", 0.2), HOSTILE + "2": (HOSTILE + "2", "pretrained", 0.3)}
    write_suite_folder(tmp_path, (task,), methods=methods, amounts={HOSTILE: 5, "100%": 50}, seeds=(0,), resamples=10)
    (record,) = (path for path in (tmp_path / "cells").glob("*.error.json"))
    record.write_text(record.read_text().replace("epoch 3", json.dumps(HOSTILE)[1:-1]))
    page = write_suite_report(tmp_path, open_task=opener((task,))).read_text(encoding="utf-8")
    tags = assert_is_self_contained(page)
    assert HOSTILE in tags.text
    assert [tag for tag, _ in tags.tags].count("img") == page.count("data:image/png") > 0
    (curve,) = tmp_path.glob("curves-*.svg")
    assert re.fullmatch(r"curves-[a-z0-9-]+\.svg", curve.name)
    assert "<script" not in curve.read_text(encoding="utf-8")


def test_changes_are_shown_between_two_images(tmp_path: Path) -> None:
    task = MadeTask("oscd", "oscd", TaskKind.CHANGE_DETECTION, ("unchanged", "changed"), 12, ("finetune:mmearth",))
    write_suite_folder(tmp_path, (task,), amounts={"100%": 50}, seeds=(0,), resamples=10)
    page = write_suite_report(tmp_path, open_task=opener((task,))).read_text(encoding="utf-8")
    assert page.count("<span>earlier</span>") == page.count("<span>later</span>") == 6


def test_quantities_have_a_scale(tmp_path: Path) -> None:
    task = MadeTask("height", "height", TaskKind.DENSE_REGRESSION, ("canopy height",), 12, ("finetune:mmearth",))
    write_suite_folder(tmp_path, (task,), amounts={"100%": 50}, seeds=(0,), resamples=10)
    page = write_suite_report(tmp_path, open_task=opener((task,))).read_text(encoding="utf-8")
    assert page.count("RMSE of this image") == 6
    scale = re.search(r'class="ramp">\N{MINUS SIGN}(\d+)<i.*?</i>(\d+)<span>canopy height', page)
    assert (scale[1], scale[2]) == ("20", "20")
    assert "R² " in answers(page)[0]


def test_two_tasks_of_one_name_in_files_do_not_overwrite_each_other(tmp_path: Path) -> None:
    tasks = [replace(TASKS[1], name=name, title=name, heads=("probe",)) for name in ("a/b", "a:b")]
    write_suite_folder(tmp_path, tasks, amounts=AMOUNTS, seeds=(0,), resamples=10)
    write_suite_report(tmp_path, open_task=opener(tasks))
    assert {path.name for path in tmp_path.glob("*.svg")} == {"curves-a-b.svg", "curves-a-b-2.svg"}


def test_files_of_curves_have_names_of_their_own_and_old_ones_go(tmp_path: Path) -> None:
    tasks = [replace(TASKS[1], name=name, title=name, heads=("probe",)) for name in ("a 3", "a", "a!")]
    write_suite_folder(tmp_path, tasks, amounts=AMOUNTS, seeds=(0,), resamples=10)
    (tmp_path / "curves-task-that-was.svg").touch()
    write_suite_report(tmp_path, open_task=opener(tasks))
    assert {path.name for path in tmp_path.glob("*.svg")} == {"curves-a-3.svg", "curves-a.svg", "curves-a-2.svg"}


def test_an_amount_that_is_the_largest_of_another_task_has_its_table(copy: Path) -> None:
    rewrite(copy, [row for row in rows_of(copy) if (row["title"], row["amount"]) != ("m-eurosat", "100%")])
    page = write_suite_report(copy, open_task=opener()).read_text(encoding="utf-8")
    table = page[page.index("<summary>1% of the labels") :].partition("</table>")[0]
    assert "labels<small>" in table
    assert "m-eurosat" not in table


def test_ten_tasks_make_a_page_of_less_than_five_megabytes(suite: Path) -> None:
    size = (suite / "report.html").stat().st_size
    assert size / len(TASKS) * 10 < 5e6


def test_a_killed_write_leaves_the_old_page(small: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (small / "report.html").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("no space left on device")))
    with pytest.raises(OSError, match="no space left"):
        write_suite_report(small, open_task=opener())
    assert (small / "report.html").read_bytes() == before
    assert not list(small.glob(".*"))


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"it has no suite\.yaml") as caught:
        write_suite_report(tmp_path)
    assert "--out" in caught.value.hint


def test_an_unfinished_suite_is_named(small: Path) -> None:
    (small / "scores.parquet").unlink()
    with pytest.raises(StoreError, match=r"no scores\.parquet yet"):
        write_suite_report(small)


def test_a_suite_without_a_result_says_why(small: Path) -> None:
    for path in (small / "cells").glob("*.json"):
        if not path.name.endswith(".error.json"):
            path.unlink()
    with pytest.raises(StoreError, match="no cell has a result, 1 failed: the loss is not finite"):
        write_suite_report(small)


def test_a_table_without_scores_is_refused(small: Path) -> None:
    rewrite(small, [{**rows_of(small)[0], "value": None}])
    with pytest.raises(StoreError, match="has no score"):
        write_suite_report(small)


@pytest.mark.parametrize("damage", ["bytes", "columns", "metric"])
def test_a_damaged_table_is_named(small: Path, damage: str) -> None:
    if damage == "bytes":
        (small / "scores.parquet").write_bytes(b"PAR1 no more")
    elif damage == "columns":
        rewrite(small, [{"task": "x", "value": 1.0}])
    else:
        rewrite(small, [{**row, "metric": "luck"} for row in rows_of(small)])
    with pytest.raises(CorruptError, match=r"scores\.parquet: is no table of scores"):
        write_suite_report(small)


@pytest.mark.parametrize("content", ["- a\n- b", "a: [", "\x00"])
def test_damaged_settings_are_named(small: Path, content: str) -> None:
    (small / "suite.yaml").write_text(content)
    with pytest.raises(CorruptError, match=r"suite\.yaml"):
        write_suite_report(small)


def test_a_damaged_result_is_named(small: Path) -> None:
    path = next(iter((small / "cells").glob("*.error.json")))
    path.write_text("{")
    with pytest.raises(CorruptError, match=path.name):
        write_suite_report(small)


def test_a_score_without_its_result_is_refused(small: Path) -> None:
    rows = rows_of(small)
    rewrite(small, [*rows, {**rows[0], "bundle": "elsewhere"}])
    with pytest.raises(CorruptError, match="of which there is no result"):
        write_suite_report(small)


BROWSER = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
)


def browse(page: Path, profile: Path) -> subprocess.CompletedProcess[str]:
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0", "--dump-dom")
    command = [str(BROWSER), *flags, f"--user-data-dir={profile}", page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="needs chromium")
def test_a_browser_opens_it_without_errors_and_sorts(copy: Path, tmp_path: Path) -> None:
    page = (copy / "report.html").read_text(encoding="utf-8")
    press = """<script>
      const heads = document.querySelectorAll(".scores th button"), said = [];
      const order = () => [...heads[0].closest("table").tBodies[0].rows].map((row) => row.cells[0].textContent);
      for (const place of [1, 1, 3, 0]) { heads[place].click(); said.push(order().join(" ")); }
      console.log("scrolls " + (document.documentElement.scrollWidth > innerWidth));
      document.title = said.join("; ");
    </script></body>"""
    (copy / "pressed.html").write_text(page.replace("</body>", press), encoding="utf-8")
    seen = browse(copy / "pressed.html", tmp_path / "profile")
    messages = [line for line in seen.stderr.splitlines() if "CONSOLE" in line]
    assert len(messages) == 1
    assert "scrolls false" in messages[0]
    title = re.search(r"<title>(.*?)</title>", seen.stdout)
    best, worst = "all-modalities sentinel2-only band_statistics random_init", "random_init band_statistics"
    first, again, rank, back = title[1].split("; ")
    assert first == rank == best
    assert again.startswith(worst)
    assert back == " ".join(METHODS)
    assert BUNDLES[0] in seen.stdout

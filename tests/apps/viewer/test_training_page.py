"""The page of runs in a real browser: curves grow with ``metrics.csv``, and read what it holds."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geopretext.data.local_file import replace_file

from .charts import chart_table
from .pretrained import ROWS, metrics, write_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page


@pytest.fixture(scope="module")
def address(store: Path, tmp_path_factory: pytest.TempPathFactory, serve_viewer: Callable[..., str]) -> str:
    return serve_viewer(write_runs(tmp_path_factory.mktemp("runs"), store))


def rows(page: "Page", curve: str) -> list[list[str]]:
    """The table of a curve."""
    return chart_table(page, f'[data-curve="{curve}"]')


@pytest.mark.slow
def test_curves_follow_a_run_while_it_trains(
    open_page: "Callable[..., Page]", serve_viewer: Callable[..., str], store: Path, tmp_path: Path
) -> None:
    runs = write_runs(tmp_path, store)
    (runs / "first" / "metrics.csv").write_text("".join(metrics(0, rows=5)))  # it is trained again
    page = open_page(f"{serve_viewer(runs)}#/training?runs=first&smooth=0")
    assert "running" in page.inner_text('[data-run="first"] .state')
    assert "finished" in page.inner_text('[data-run="second"] .state')
    assert [float(row[1]) for row in rows(page, "loss/sentinel2")] == pytest.approx(
        [1 / n for n in range(1, 6)], rel=1e-3
    )
    plot = page.locator('[data-curve="loss"] .line-plot')
    plot.focus()
    page.keyboard.press("Home")
    page.eval_on_selector(
        '[data-curve="loss/sentinel2"] .table-box', "box => { box.style.height = '40px'; box.scrollTop = 30; }"
    )
    with (runs / "first" / "metrics.csv").open("a") as file:
        file.write("".join(metrics(0, first=5, rows=3)))
    page.wait_for_selector('[data-curve="loss/sentinel2"] tbody tr:nth-child(8)')
    # Who reads a table or a point goes on reading it.
    assert page.eval_on_selector('[data-curve="loss/sentinel2"] .table-box', "box => box.scrollTop") == 30
    assert page.locator('[data-curve="loss"] .tip').inner_text().startswith("step 20\n")
    last = rows(page, "loss/sentinel2")[-1]
    assert last[0] == "step 160"
    assert float(last[1]) == pytest.approx(1 / 8)
    assert "160" in page.inner_text('[data-run="first"] .facts')
    # resumed from a checkpoint: rows after it are dropped
    replace_file(runs / "first" / "metrics.csv", "".join(metrics(0, rows=6)).encode())
    page.wait_for_selector('[data-curve="loss/sentinel2"] tbody tr:nth-child(7)', state="detached")
    assert len(rows(page, "loss/sentinel2")) == 6


def test_runs_over_each_other_are_read_under_the_pointer(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/training?runs=first,second&smooth=0")
    plot = page.locator('[data-curve="loss"] .line-plot')
    box = plot.bounding_box()
    page.mouse.move(box["x"] + 0.5 * box["width"], box["y"] + 50)
    tip = page.locator('[data-curve="loss"] .tip').inner_text().split("\n")
    step = int(tip[0].removeprefix("step "))
    assert 300 < step < 500
    number = step / 20
    assert tip[1::2] == ["first", "second"]
    assert [float(value) for value in tip[2::2]] == pytest.approx([8 / number, 8 / number + 1], rel=1e-3)
    other = page.locator('[data-curve="learning_rate"] .tip')  # one cursor for all curves
    assert other.inner_text().startswith(f"step {step}\n")
    plot.focus()
    page.keyboard.press("End")
    assert page.locator('[data-curve="loss"] .tip').inner_text().startswith(f"step {20 * ROWS}\n")
    paths = page.eval_on_selector_all(
        '[data-curve="loss"] path.line', "all => all.map((p) => p.getAttribute('stroke-dasharray'))"
    )
    assert len(set(paths)) == 2  # told apart without colour
    assert page.inner_text('[data-curve="loss"] .chart-names').split() == ["first", "second"]
    assert page.locator('[data-curve="loss"] .chart-names').is_visible()
    whole = page.evaluate(
        "import('/static/chart.js').then(({ tick }) => [12345, 123456, 1234567, 98765432, 1234.5, 0.02].map(tick))"
    )
    assert whole == ["12,345", "123,456", "1,234,567", "98,765,432", "1,235", "0.02"]
    assert not page.locator("text=not comparable").is_visible()


@pytest.mark.slow
def test_settings_are_kept_in_the_address(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/training")
    straight = page.locator('[data-curve="loss"] path.line').last.get_attribute("d")
    page.check("#log")
    page.select_option("#axis", "epoch")
    page.locator("#smooth").fill("0.9")
    page.check('[data-run="second"] input')
    assert page.locator('[data-curve="loss"] path.line').last.get_attribute("d") != straight
    assert page.locator('[data-curve="loss"] path.faint').count() == 2
    page.click('summary:has-text("Configuration")')
    page.wait_for_selector('tr:has-text("recipe.seed ≠")')
    assert page.inner_text('tr:has-text("recipe.seed")').split()[-2:] == ["0", "1"]
    page.uncheck('[data-run="second"] input')
    page.wait_for_selector('.config-table th:text("second")', state="detached")
    assert page.inner_text('tr:has-text("recipe.seed")').split() == ["recipe.seed", "0"]
    page.check('[data-run="second"] input')
    page.wait_for_selector('.config-table th:text("second")')
    again = open_page(page.url, phone=True, theme="dark")
    assert again.is_checked("#log")
    assert again.input_value("#axis") == "epoch"
    assert again.input_value("#smooth") == "0.9"
    assert again.is_checked('[data-run="second"] input')
    assert again.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.mark.slow
def test_sums_of_other_tasks_are_said_to_be_other_sums(
    open_page: "Callable[..., Page]", serve_viewer: Callable[..., str], store: Path, tmp_path: Path
) -> None:
    runs = write_runs(tmp_path, store)
    path = runs / "second" / "metrics.csv"
    path.write_text(path.read_text().replace("loss/sentinel2", "loss/era5"))
    page = open_page(f"{serve_viewer(runs)}#/training?runs=first,second", phone=True)
    assert page.locator("text=not comparable").is_visible()
    assert page.locator('[data-run="first"]').bounding_box()["height"] < 50  # a line each
    page.uncheck('[data-run="second"] input')
    assert not page.locator("text=not comparable").is_visible()


def test_without_a_run_the_page_says_what_is_missing(open_page: "Callable[..., Page]", viewer: str) -> None:
    page = open_page(f"{viewer}#/training")
    assert "No run is open" in page.inner_text("main")

"""The frame: pages, theme, keyboard, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Page

OpenPage = Callable[..., "Page"]


def test_the_overview_says_what_is_open(open_page: OpenPage, viewer: str, store: Path) -> None:
    page = open_page(f"{viewer}#/overview")
    assert page.title() == "Overview · geopretext"
    card = page.locator("article", has_text="Store").first
    assert "120" in card.inner_text()
    assert "a synthetic Earth (seed 1)" in card.inner_text()
    assert page.locator("#opened").inner_text() == str(store)


def test_pages_by_keyboard_and_colours_for_the_dark(open_page: OpenPage, viewer: str) -> None:
    page = open_page(viewer)
    assert page.locator('[aria-current="page"]').inner_text() == "Earth"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "skip"
    page.locator("#pages a", has_text="Overview").press("Enter")
    page.wait_for_url("**#/overview")
    page.settle()
    background = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(background)
    page.get_by_role("button", name="Use dark colours").click()
    dark = page.evaluate(background)
    assert sum(map(int, dark[4:-1].split(","))) < 150 < sum(map(int, light[4:-1].split(",")))
    page.reload()
    page.settle()
    assert page.evaluate(background) == dark


def test_a_phone_has_nothing_beside_the_screen(open_page: OpenPage, viewer: str) -> None:
    for name in ("overview", "earth", "embedding"):
        page = open_page(f"{viewer}#/{name}", phone=True, theme="dark")
        assert page.evaluate(
            "[document.documentElement, document.getElementById('main')].every((box) => box.scrollWidth <= innerWidth)"
        )
        bar = page.locator("#pages").bounding_box()
        assert bar is not None
        assert bar["y"] + bar["height"] == pytest.approx(844)


def test_what_the_server_refuses_is_shown(open_page: OpenPage, viewer: str) -> None:
    page = open_page(f"{viewer}#/overview")
    page.route(
        "**/api/stores/tiles/columns",
        lambda route: route.fulfill(
            status=422, json={"what": "is truncated", "where": "lat/c/0", "hint": "copy it again"}
        ),
    )
    page.locator("#pages a", has_text="Earth").click()
    alert = page.get_by_role("alert")
    alert.wait_for()
    assert [text in alert.inner_text() for text in ("is truncated", "lat/c/0", "copy it again")] == [True] * 3
    page.complaints.clear()


def test_a_server_that_has_gone_is_said(open_page: OpenPage, viewer: str) -> None:
    page = open_page(f"{viewer}#/overview")
    page.route("**/api/**", lambda route: route.abort())
    page.locator("#pages a", has_text="Earth").click()
    page.get_by_role("alert").get_by_text("does not answer").wait_for()
    page.complaints.clear()


def test_a_report_is_shown_in_a_box_that_runs_nothing(
    open_page: OpenPage, serve_viewer: Callable[..., str], tmp_path: Path
) -> None:
    (tmp_path / "report.html").write_text("<h1>Scores</h1><script>document.body.textContent = 'ran'</script>")
    page = open_page(f"{serve_viewer(tmp_path)}#/overview")
    page.get_by_role("link", name="Read").click()
    assert page.frame_locator("iframe").get_by_role("heading").inner_text() == "Scores"
    # The browser says that it did not run the script, which is what is wanted.
    assert all("sandbox" in complaint for complaint in page.complaints)
    page.complaints.clear()

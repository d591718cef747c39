"""The frame: pages, theme, keyboard, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
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
    assert page.evaluate("document.activeElement.tagName") == "H1"
    light = page.evaluate(background)
    page.get_by_role("button", name="Use dark colours").click()
    dark = page.evaluate(background)
    assert sum(map(int, dark[4:-1].split(","))) < 150 < sum(map(int, light[4:-1].split(",")))
    page.reload()
    page.settle()
    assert page.evaluate(background) == dark


@pytest.mark.parametrize("name", ["overview", "earth", pytest.param("embedding", marks=pytest.mark.slow)])
def test_a_phone_has_nothing_beside_the_screen(open_page: OpenPage, viewer: str, name: str) -> None:
    page = open_page(f"{viewer}#/{name}", phone=True, theme="dark")
    assert page.evaluate(
        "[document.documentElement, document.getElementById('main')].every((box) => box.scrollWidth <= innerWidth)"
    )
    bar = page.locator("#pages").bounding_box()
    assert bar is not None
    assert bar["y"] + bar["height"] == pytest.approx(844)


def test_pages_are_gone_on_with_as_they_were_left(open_page: OpenPage, viewer: str) -> None:
    page = open_page(f"{viewer}#/earth?color=month&store=tiles")
    page.locator("#pages a", has_text="Overview").click()
    page.wait_for_url("**#/overview*")
    page.settle()
    page.locator("#pages a", has_text="Earth").click()
    page.wait_for_url("**color=month*")


def test_a_short_window_never_scrolls_the_page_away(open_page: OpenPage, viewer: str) -> None:
    page = open_page(f"{viewer}#/earth?tile=3")
    page.set_viewport_size({"width": 844, "height": 390})
    page.locator(".tile-card h2").wait_for()
    card, plane = page.locator(".tile-card").bounding_box(), page.locator(".map").bounding_box()
    assert card is not None
    assert plane is not None
    assert card["y"] >= plane["y"]
    assert card["y"] + card["height"] <= plane["y"] + plane["height"]
    # What is read aloud only, far down in a page.
    page.evaluate(
        """() => {
          const heard = Object.assign(document.createElement("p"), { className: "visually-hidden" });
          const high = document.createElement("div");
          high.style.height = "2000px";
          high.append(heard);
          high.prepend(Object.assign(document.createElement("div"), { style: "height: 1900px" }));
          document.querySelector(".root").append(high);
        }"""
    )
    assert page.evaluate("document.scrollingElement.scrollHeight") == 390
    page.evaluate("document.querySelector('main .visually-hidden').scrollIntoView()")
    assert page.evaluate("document.scrollingElement.scrollTop + document.body.scrollTop") == 0


def test_every_biome_has_a_colour_that_is_seen(open_page: OpenPage, viewer: str) -> None:
    page = open_page(f"{viewer}#/overview")
    colours, ramps = page.evaluate(
        """import("/static/palette.js").then(({ classColor, ramp }) => ["light", "dark"].map((theme) => [
          Array.from({ length: 15 }, (_, code) => classColor(code === 14 ? 255 : code, theme)),
          [0, 1].map((end) => ramp(end, theme))])).then(([a, b]) => [[a[0], b[0]], [a[1], b[1]]])"""
    )
    for theme in colours:
        lab = np.array([oklab(np.frombuffer(bytes.fromhex(colour[1:]), np.uint8) / 255) for colour in theme])
        apart = np.linalg.norm(lab[:, None] - lab, axis=2) + np.eye(len(lab))
        assert apart.min() > 0.15
    for ends, surface in zip(ramps, ("ffffff", "161e25"), strict=True):
        for end in ends:
            assert contrast(np.array(end) / 255, np.frombuffer(bytes.fromhex(surface), np.uint8) / 255) > 1.5


def linear(colour: np.ndarray) -> np.ndarray:
    return np.where(colour <= 0.04045, colour / 12.92, ((colour + 0.055) / 1.055) ** 2.4)


def oklab(colour: np.ndarray) -> np.ndarray:
    """Ottosson 2020."""
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    axes = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return axes @ np.cbrt(cones @ linear(colour))


def contrast(one: np.ndarray, other: np.ndarray) -> float:
    """WCAG 2."""
    dark, light = sorted(0.05 + linear(colour) @ [0.2126, 0.7152, 0.0722] for colour in (one, other))
    return float(light / dark)


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
    page.route("**/static/page_*", lambda route: route.abort())
    page.locator("#pages a", has_text="Training").click()
    page.wait_for_selector('main[data-page="training"][aria-busy="false"]')
    assert "does not answer" in page.get_by_role("alert").inner_text()
    page.unroute("**/static/page_*")
    page.unroute("**/api/**")
    page.locator("#pages a", has_text="Overview").click()
    page.locator("#pages a", has_text="Training").click()
    page.wait_for_selector('main[data-page="training"][aria-busy="false"]')
    assert "does not answer" not in page.locator("main").inner_text()
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

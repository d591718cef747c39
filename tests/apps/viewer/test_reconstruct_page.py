"""The page of reconstructions in a real browser: patches that are toggled change what is asked and what is shown."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit
from urllib.request import urlopen

import numpy as np
import pytest

from geopretext.apps.viewer.packet import unpack

from .pretrained import write_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

TILE = 3


@pytest.fixture(scope="module")
def runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_runs(tmp_path_factory.mktemp("runs"), store)


@pytest.fixture(scope="module")
def address(serve_viewer: Callable[..., str], runs: Path) -> str:
    return serve_viewer(runs)


def loss(page: "Page", letter: str, name: str) -> str:
    return page.locator(f'[data-loss="{letter}/{name}"]').inner_text()


def colours(page: "Page", name: str, part: str = "prediction") -> list[int]:
    """Of a picture, pixel by pixel, red green blue alpha."""
    return page.eval_on_selector(
        f'[data-target="{name}"] [data-part="{part}"] canvas',
        """canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]""",
    )


def patches(page: "Page") -> str:
    """Which are shown, row by row."""
    return page.eval_on_selector_all(
        "rect[data-patch]",
        """all => all.sort((a, b) => a.dataset.patch - b.dataset.patch)
            .map((each) => each.classList.contains("shown") ? 1 : 0).join("")""",
    )


def answer(page: "Page", act: "Callable[[], object]") -> str:
    """Do something and wait for the prediction that it asks for; its address."""
    with page.expect_response(lambda response: "/reconstruct/" in response.url and response.ok) as caught:
        act()
    page.wait_for_selector(".reconstruct-page[aria-busy=false]")
    return caught.value.url


def test_toggled_patches_change_the_question_and_the_answer(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first")
    before = patches(page)
    assert before.count("1") == 8
    loss_before, seen_before = loss(page, "A", "sentinel1"), colours(page, "sentinel1")
    box = page.locator(".patch-frame").bounding_box()
    asked = answer(page, lambda: page.mouse.click(box["x"] + 0.3 * box["width"], box["y"] + 0.1 * box["height"]))
    toggled = before[0] + ("0" if before[1] == "1" else "1") + before[2:]
    assert parse_qs(urlsplit(asked).query)["visible"] == [toggled]
    assert patches(page) == toggled
    assert colours(page, "sentinel1") != seen_before
    assert loss(page, "A", "sentinel1") != loss_before
    header, _ = unpack(urlopen(asked).read())
    for name in ("sentinel2", "sentinel1", "biome"):
        told = next(target["loss"] for target in header["targets"] if target["name"] == name)
        assert float(loss(page, "A", name)) == pytest.approx(told, rel=1e-3)


@pytest.mark.slow
def test_patches_by_keyboard_and_a_link_that_restores_them(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first")
    answer(page, lambda: page.click("#patches-all"))
    assert patches(page) == "1" * 16
    assert loss(page, "A", "sentinel2") == "nothing to compare"
    page.focus(".patch-frame")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowRight")
    answer(page, lambda: page.keyboard.press("Space"))
    wanted = "1" * 5 + "0" + "1" * 10
    assert patches(page) == wanted
    shown, told = colours(page, "sentinel2"), loss(page, "A", "sentinel2")
    again = open_page(page.url)
    assert patches(again) == wanted
    assert loss(again, "A", "sentinel2") == told
    assert colours(again, "sentinel2") == shown


@pytest.mark.slow
def test_nothing_visible_is_no_question(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first")
    page.click("#patches-none")
    page.wait_for_selector("text=Nothing is visible")
    answer(page, lambda: page.click("#patches-random"))
    assert 0 < patches(page).count("1") < 16
    page.locator("#ratio").fill("25")
    page.wait_for_selector('.share:text("4 of 16")')


def test_two_networks_see_the_same(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first&beside=second")
    assert len(patches(page)) == 4  # the coarser grid of the two
    assert page.locator('[data-target="sentinel2"] .part').count() == 5
    for letter in "AB":
        assert float(loss(page, letter, "sentinel2").removesuffix(" ◂")) > 0
    asked = []
    page.on("request", lambda request: asked.append(request.url) if "/reconstruct/" in request.url else None)
    answer(page, lambda: page.click("#patches-invert"))
    seen = {parse_qs(urlsplit(url).query)["visible"][0] for url in asked}
    assert len(asked) == 2
    assert seen == {patches(page)}


@pytest.mark.slow
def test_an_encoder_alone_says_so(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=encoder")
    assert "holds an encoder only" in page.locator(".mask-card [role=alert]").inner_text()
    assert page.locator("text=No prediction").count() == 1
    page.complaints.clear()  # the browser logs every answer that is no 200


@pytest.mark.slow
def test_without_a_bundle_the_page_says_what_is_missing(
    open_page: "Callable[..., Page]", serve_viewer: Callable[..., str], store: Path
) -> None:
    page = open_page(f"{serve_viewer(store)}#/reconstruct")
    assert "No bundle is open" in page.inner_text("main")


@pytest.mark.slow
def test_the_picture_of_the_truth_is_that_of_the_store(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first", phone=True, theme="dark")
    picture = np.array(colours(page, "dynamic_world", "truth")).reshape(32, 32, 4)
    opened = json.load(urlopen(f"{address}api/opened"))
    header, arrays = unpack(urlopen(f"{address}api/stores/{opened['stores'][0]['id']}/tiles/{TILE}").read())
    colors = next(each for each in header["maps"] if each["name"] == "dynamic_world")["classes"]
    palette = np.array([[int(each["color"][i : i + 2], 16) for i in (1, 3, 5)] for each in colors])
    seen = ~np.isnan(arrays["dynamic_world"][0])
    assert np.array_equal(picture[seen][:, :3], palette[arrays["dynamic_world"][0][seen].astype(int)])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

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
from geopretext.data.store import Store
from geopretext.pretext.settings import MPMAESettings

from .pretrained import write_bundle, write_runs

if TYPE_CHECKING:
    from playwright.sync_api import Page

TILE = 3


@pytest.fixture(scope="module")
def runs(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_runs(tmp_path_factory.mktemp("runs"), store)
    targets = {"sentinel2": ("B8", "B4"), "sentinel1": None}  # another order, and not all
    chosen = MPMAESettings(targets=targets, decoder_dim=16, standardise_patches=())
    write_bundle(folder / "bands", Store.open(store), chosen, patch=8, seed=5)
    inputs = {"sentinel2": ("B2", "B3", "B4"), "sentinel1": ("asc_VV", "asc_VH")}
    both = MPMAESettings(targets=dict(inputs), decoder_dim=16, standardise_patches=(), input_dropout=0.5)
    write_bundle(folder / "fused", Store.open(store), both, patch=8, seed=6, inputs=inputs)
    return folder


@pytest.fixture(scope="module")
def address(serve_viewer: Callable[..., str], runs: Path) -> str:
    return serve_viewer(runs)


def store_id(address: str) -> str:
    return str(json.load(urlopen(f"{address}api/opened"))["stores"][0]["id"])


def loss(page: "Page", letter: str, name: str) -> str:
    return page.locator(f'[data-loss="{letter}/{name}"]').inner_text()


def colours(page: "Page", name: str, part: str = "prediction", place: int = 0) -> list[int]:
    """Of a picture, pixel by pixel, red green blue alpha; ``place`` counts the networks."""
    return page.eval_on_selector_all(
        f'[data-target="{name}"] [data-part="{part}"] canvas',
        f"""all => (canvas => [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data])(
            all[{place}])""",
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


@pytest.mark.slow
def test_inputs_are_switched_off_and_on(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=fused")
    everything, seen = loss(page, "A", "sentinel2"), colours(page, "sentinel2")
    asked = answer(page, lambda: page.click("#input-sentinel2"))
    assert parse_qs(urlsplit(asked).query)["inputs"] == ["sentinel1"]
    assert page.get_attribute("#input-sentinel2", "aria-pressed") == "false"
    assert "sees sentinel1" in page.locator(".reconstruct-page").inner_text()
    assert loss(page, "A", "sentinel2") != everything
    assert colours(page, "sentinel2") != seen
    again = open_page(page.url)
    assert again.get_attribute("#input-sentinel2", "aria-pressed") == "false"
    assert loss(again, "A", "sentinel2") == loss(page, "A", "sentinel2")
    answer(page, lambda: page.click("#input-sentinel1"))  # something must be seen: it stays
    assert page.get_attribute("#input-sentinel1", "aria-pressed") == "true"
    answer(page, lambda: page.click("#input-sentinel2"))
    assert loss(page, "A", "sentinel2") == everything
    assert colours(page, "sentinel2") == seen


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


def test_networks_of_other_bands_are_read_by_name(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first&beside=bands&patches=16-a5a5&views=sentinel2:B8")
    query = f"reconstruct/{store_id(address)}/{TILE}?visible={patches(page)}"
    answers = [unpack(urlopen(f"{address}api/bundles/{name}/{query}").read()) for name in ("first", "bands")]
    places = []
    for header, _ in answers:
        target = next(each for each in header["targets"] if each["name"] == "sentinel2")
        places.append([band["name"] for band in target["bands"]].index("B8"))
    assert places == [3, 0]
    truth = answers[0][1]["sentinel2/truth"][3]
    low, high = np.nanpercentile(truth, (2, 98))
    hidden = np.array([each == "0" for each in patches(page)]).reshape(4, 4).repeat(8, 0).repeat(8, 1)
    for side, place in enumerate(places):
        believed = answers[side][1]["sentinel2/prediction"][place]
        seen = hidden & ~np.isnan(believed)
        grey = np.clip((believed - low) / (high - low), 0, 1)[seen] * 255
        drawn = np.array(colours(page, "sentinel2", place=side)).reshape(32, 32, 4)[seen][:, 0]
        assert np.abs(drawn - grey).max() <= 1
    # The losses of other bands, or of patches that are standardised by one network only, have no better one.
    assert "◂" not in loss(page, "A", "sentinel2") + loss(page, "B", "sentinel2")
    assert (loss(page, "A", "sentinel1") + loss(page, "B", "sentinel1")).count("◂") == 1
    page.select_option('[data-target="sentinel2"] select', "B2")
    assert page.locator("text=does not predict B2").count() == 1
    assert "views=sentinel2%3AB2" in page.url
    assert open_page(page.url).input_value('[data-target="sentinel2"] select') == "B2"


@pytest.mark.slow
def test_a_tile_that_cannot_be_shown_is_named_all_the_same(open_page: "Callable[..., Page]", address: str) -> None:
    page = open_page(f"{address}#/reconstruct?tile={TILE}&bundle=first")
    page.evaluate("location.hash = location.hash.replace('tile=3', 'tile=4200')")
    page.wait_for_selector("text=there is no tile 4200")
    assert "tile 4,200 " in page.inner_text(".tile-count")
    answer(page, lambda: page.click("#next"))
    assert "tile=0" in page.url
    page.complaints.clear()  # the browser logs every answer that is no 200


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
    header, arrays = unpack(urlopen(f"{address}api/stores/{store_id(address)}/tiles/{TILE}").read())
    colors = next(each for each in header["maps"] if each["name"] == "dynamic_world")["classes"]
    palette = np.array([[int(each["color"][i : i + 2], 16) for i in (1, 3, 5)] for each in colors])
    seen = ~np.isnan(arrays["dynamic_world"][0])
    assert np.array_equal(picture[seen][:, :3], palette[arrays["dynamic_world"][0][seen].astype(int)])
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

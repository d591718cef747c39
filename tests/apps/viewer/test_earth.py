"""The map in a real browser: what it shows is what the store holds."""

import re
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from shutil import copytree
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from geopretext.data.place_log import PlaceLog
from geopretext.data.store import Store
from geopretext.data.writer import StoreWriter
from geopretext.modality import BIOMES, PUBLISHED

if TYPE_CHECKING:
    from playwright.sync_api import Page

OpenPage = Callable[..., "Page"]
SCALE = 170.0


def equal_earth(lat, lon):
    """Map units by the formula of Savric, Patterson and Jenny (2018)."""
    a = (1.340264, -0.081106, 0.000893, 0.003796)
    theta = np.arcsin(np.sqrt(3) / 2 * np.sin(np.radians(lat)))
    slope = sum(
        (2 * i + 1 if i < 2 else 2 * i + 3) * c * theta ** (2 * i if i < 2 else 2 * i + 2) for i, c in enumerate(a)
    )
    y = sum(c * theta ** (2 * i + 1 if i < 2 else 2 * i + 3) for i, c in enumerate(a))
    return 2 * np.radians(lon) * np.cos(theta) / (np.sqrt(3) * slope), y


@pytest.fixture(scope="module")
def where(store: Path):
    return Store.open(store).coordinates


@pytest.fixture
def earth(open_page: OpenPage, viewer: str):
    return open_page(f"{viewer}#/earth?at=0,0,{SCALE}")


def screen(page: "Page", where) -> tuple[np.ndarray, np.ndarray]:
    """Where tiles should be on the page, pixels."""
    box = page.locator(".plot").bounding_box()
    assert box is not None
    x, y = equal_earth(where.lat, where.lon)
    return box["x"] + box["width"] / 2 + x * SCALE, box["y"] + box["height"] / 2 - y * SCALE


def loneliest(x, y) -> int:
    """The tile with the farthest neighbour."""
    distance = np.hypot(x[:, None] - x, y[:, None] - y) + np.diag(np.full(len(x), np.inf))
    return int(distance.min(axis=1).argmax())


def view_of(url: str) -> list[float]:
    """Middle of the map and pixels a map unit, as the address has them."""
    return [float(word) for word in parse_qs(urlsplit(url).fragment.partition("?")[2])["at"][0].split(",")]


def counted(page: "Page", count: int) -> None:
    """Wait until so many tiles are shown."""
    page.wait_for_selector(f'[data-shown="{count}"]', state="attached")


def test_a_tile_is_where_it_should_be_in_the_colour_of_its_class(earth: "Page", where) -> None:
    Image = pytest.importorskip("PIL.Image", reason="needs pillow")
    earth.wait_for_selector(".credit[data-ready]")
    assert earth.locator(".credit").inner_text() == "Coastlines: of synthetic Earth 1"
    counted(earth, 120)
    x, y = screen(earth, where)
    tile = loneliest(x, y)
    entry = earth.locator(f'.legend-entry[data-code="{where.biome[tile]}"]')
    assert BIOMES[where.biome[tile]] in entry.inner_text()
    wanted = entry.locator("path").get_attribute("fill")
    picture = Image.open(BytesIO(earth.screenshot())).convert("RGB")
    around = [
        picture.getpixel((round(x[tile]) + dx, round(y[tile]) + dy)) for dx in range(-4, 5) for dy in range(-4, 5)
    ]
    nearest = min(max(abs(a - b) for a, b in zip(pixel, bytes.fromhex(wanted[1:]), strict=True)) for pixel in around)
    assert nearest < 25
    earth.mouse.click(x[tile] + 1, y[tile])
    card = earth.locator(".tile-card")
    card.get_by_role("heading", name=f"Tile {tile}", exact=True).wait_for()
    text = card.inner_text()
    assert str(where.tile_id[tile]) in text
    assert BIOMES[where.biome[tile]] in text
    assert str(where.time[tile])[:10] in text
    assert earth.evaluate("document.querySelector('.thumbnail').decode().then(() => true)")
    assert f"tile={tile}" in earth.url
    earth.keyboard.press("Escape")
    assert not card.is_visible()
    assert earth.evaluate("document.activeElement.className").startswith("plot-marks")


def test_legends_count_and_switch_classes(earth: "Page", where) -> None:
    codes, counts = np.unique(where.biome, return_counts=True)
    shown = {
        int(entry.get_attribute("data-code")): entry.inner_text() for entry in earth.locator(".legend-entry").all()
    }
    assert {code: int(text.split("\n")[-1]) for code, text in shown.items()} == dict(
        zip(codes.tolist(), counts.tolist(), strict=True)
    )
    earth.locator(f'.legend-entry[data-code="{codes[0]}"]').click()
    counted(earth, 120 - counts[0])
    assert f"hide={codes[0]}" in earth.url
    earth.get_by_role("button", name="clear filters").click()
    counted(earth, 120)
    assert "hide" not in earth.url
    earth.get_by_label("Colour by").select_option("split")
    counts = [int(entry.inner_text().split("\n")[-1]) for entry in earth.locator(".legend-entry").all()]
    assert counts == sorted(np.unique(where.split, return_counts=True)[1].tolist(), reverse=True)
    assert "color=split" in earth.url


def test_sliders_filter_by_keyboard_and_the_link_restores_it(earth: "Page", where, open_page: OpenPage) -> None:
    month = where.time.astype("datetime64[M]").astype(int) % 12
    lowest = earth.get_by_role("slider", name="Month: lowest")
    lowest.focus()
    for _ in range(5):
        lowest.press("ArrowRight")
    earth.get_by_role("slider", name="Month: highest").press("ArrowLeft")
    wanted = int(((month >= 5) & (month <= 10)).sum())
    counted(earth, wanted)
    assert f"{wanted} of 120 tiles" in earth.locator(".counted").inner_text()
    again = open_page(earth.url)
    counted(again, wanted)
    assert again.get_by_role("slider", name="Month: lowest").input_value() == "5"
    # The address has numbers of the column, so it means the same of a store that has grown since.
    northern = open_page(earth.url.split("#")[0] + "#/earth?only_lat=0..")
    edges = np.linspace(where.lat.min(), where.lat.max(), 41)
    wanted = int((where.lat >= edges[np.abs(edges).argmin()]).sum())
    counted(northern, wanted)
    said = northern.locator(".histogram", has_text="Latitude").locator("output").inner_text()
    assert re.fullmatch(r"\d+°( [NS])? – \d+° N", said)
    assert re.fullmatch(
        r"[A-Z][a-z]{2} \d{4} – [A-Z][a-z]{2} \d{4}",
        northern.locator(".histogram", has_text="Date").locator("output").inner_text(),
    )


def test_boxes_and_lassos_select(earth: "Page", where) -> None:
    x, y = screen(earth, where)
    west, east, top, bottom = (
        np.percentile(x, 20) + 0.5,
        np.percentile(x, 70) + 0.5,
        np.percentile(y, 20),
        np.percentile(y, 80),
    )
    earth.get_by_role("button", name="Select in a box").click()
    earth.mouse.move(west, top)
    earth.mouse.down()
    earth.mouse.move(east, bottom, steps=3)
    earth.mouse.up()
    inside = (x > west) & (x < east) & (y > top) & (y < bottom)
    counted(earth, int(inside.sum()))
    earth.get_by_role("button", name="Select by drawing around").click()
    earth.mouse.move(west, top)
    earth.mouse.down()
    earth.mouse.move(east, top, steps=2)
    earth.mouse.move(east, bottom, steps=2)
    earth.mouse.up()
    # Right of the diagonal from the first corner to the last.
    above = (y - top) / (bottom - top) < (x - west) / (east - west)
    counted(earth, int((inside & above).sum()))
    earth.locator(".plot-marks").press("Escape")
    counted(earth, 120)


def test_moving_by_keyboard_and_wheel(earth: "Page") -> None:
    marks = earth.locator(".plot-marks")
    marks.focus()
    marks.press("+")
    marks.press("ArrowRight")
    earth.wait_for_url(lambda url: view_of(url)[2] == pytest.approx(SCALE * 1.4))
    assert view_of(earth.url)[:2] == pytest.approx([60 / (SCALE * 1.4), 0], rel=1e-3)
    box = marks.bounding_box()
    assert box is not None
    corner = (box["x"] + 50, box["y"] + 50)
    earth.mouse.move(*corner)
    earth.mouse.wheel(0, -400)
    earth.wait_for_url(lambda url: view_of(url)[2] > SCALE * 1.6)
    marks.press("Home")
    earth.wait_for_url(lambda url: "at=" not in url)


def test_a_card_that_loses_its_memory_draws_again(earth: "Page") -> None:
    Image = pytest.importorskip("PIL.Image", reason="needs pillow")
    earth.wait_for_selector(".credit[data-ready]")
    counted(earth, 120)

    def colours() -> int:
        picture = Image.open(BytesIO(earth.locator(".map").screenshot())).convert("RGB")
        return len(set(np.asarray(picture).reshape(-1, 3)[:, 0].tolist()))

    def reaches(wanted: Callable[[int], bool]) -> bool:
        """Within ten seconds: who draws the map is told later."""
        for _ in range(100):
            if wanted(colours()):
                return True
            earth.wait_for_timeout(100)
        return False

    earth.settle()  # the last thing drawn
    before = colours()
    lose = (
        "window.lost = document.querySelector('.plot-points').getContext('webgl2').getExtension('WEBGL_lose_context')"
    )
    earth.evaluate(f"{lose}; lost.loseContext()")
    assert reaches(lambda now: now < before)
    earth.evaluate("lost.restoreContext()")
    assert reaches(lambda now: now == before)


def test_places_that_a_build_could_not_make(
    open_page: OpenPage, serve_viewer: Callable[..., str], store: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "built.zarr"
    copytree(store, folder)
    reader = Store.open(folder)
    ids = ["late", *reader.coordinates.tile_id[:3].tolist(), "cloudy", "gone"]
    reader.set_place_log(
        PlaceLog(
            place_id=np.array(ids),
            lat=np.array([10.0, 0, 0, 0, -20.0, 30.0]),
            lon=np.array([20.0, 0, 0, 0, 100.0, -60.0]),
            biome=np.array([3, 0, 0, 0, -1, 5], np.int16),
            ecoregion=np.full(6, -1, np.int16),
            # The build was killed before it noted the three tiles.
            status=np.array(["waiting"] * 4 + ["failed"] * 2),
            reason=np.array([""] * 4 + ["cloudy", "server"]),
            detail=np.array([""] * 4 + ["clear over 12 % of the tile", "503"]),
        )
    )
    page = open_page(f"{serve_viewer(folder)}#/earth?at=0,0,{SCALE}")
    counted(page, 120)
    page.get_by_label("Colour by").select_option("status")
    counted(page, 123)
    shown = dict(entry.inner_text().split("\n") for entry in page.locator(".legend-entry").all())
    assert shown == {"done": "120", "waiting": "1", "failed: cloudy": "1", "failed: server": "1"}
    for word in ("done", "waiting", "failed: server"):
        page.get_by_role("button", name=word).click()
    counted(page, 1)
    page.locator(".plot-marks").press("Enter")
    card = page.locator(".tile-card")
    card.get_by_text("clear over 12 % of the tile").wait_for()
    assert "Place without a tile" in card.inner_text()


def test_a_store_without_tiles(open_page: OpenPage, serve_viewer: Callable[..., str], tmp_path: Path) -> None:
    with StoreWriter.create(tmp_path / "new.zarr", [PUBLISHED["month"]], tile_size=8):
        pass
    page = open_page(f"{serve_viewer(tmp_path / 'new.zarr')}#/earth")
    assert "new.zarr has no tiles yet" in page.locator(".notice").inner_text()

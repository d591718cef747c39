"""The page of one tile in a real browser: what it says under the cursor is what the store holds."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from geopretext.data.store import Store

from .charts import chart_table

if TYPE_CHECKING:
    from playwright.sync_api import Page

TILE, SIZE = 7, 32


@pytest.fixture(scope="module")
def reader(store: Path) -> Store:
    return Store.open(store)


def shown(page: "Page") -> dict[str, dict[str, str]]:
    """Values of the table under the cursor, by modality and band."""
    return page.eval_on_selector_all(
        ".readings tbody",
        """groups => Object.fromEntries(groups.map((group) => [group.dataset.modality, Object.fromEntries(
            [...group.querySelectorAll("[data-band]")].map((row) => [row.dataset.band, row.cells[1].innerText]))]))""",
    )


def check_values(table: dict[str, dict[str, str]], reader: Store, *, tile: int, row: int, column: int) -> int:
    """Every value of the table against the store; returns how many were not observed."""
    maps = {name: modality for name, modality in reader.modalities.items() if modality.kind.is_map}
    assert list(table) == list(maps)
    gaps = 0
    raw = reader.read(list(maps), np.array([tile]))
    for name, modality in maps.items():
        values, valid = modality.decode(raw[name])
        for place, band in enumerate(modality.band_names):
            spot: Any = (0, row, column) if modality.kind.is_categorical else (0, place, row, column)
            text = table[name][band]
            if not valid[spot]:
                gaps += 1
                assert text == "not observed"
            elif modality.kind.is_categorical:
                assert text == modality.classes[values[spot]].name
            else:
                assert float(text) == pytest.approx(float(values[spot]), rel=1e-3, abs=1e-4)
    return gaps


def point(page: "Page", modality: str, *, row: int, column: int) -> None:
    """Move the pointer to the middle of a pixel."""
    frame = page.locator(f'[data-modality="{modality}"] .frame')
    frame.scroll_into_view_if_needed()
    box = frame.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + (column + 0.5) / SIZE * box["width"], box["y"] + (row + 0.5) / SIZE * box["height"])
    page.wait_for_selector(f'.readings p:text("row {row}, column {column} ")')


def test_values_under_the_cursor_are_those_of_the_store(
    open_page: "Callable[..., Page]", viewer: str, reader: Store
) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}")
    gaps = 0
    for modality, row, column in (("sentinel2", 3, 20), ("dynamic_world", 30, 1), ("sentinel1", 0, 31)):
        point(page, modality, row=row, column=column)
        gaps += check_values(shown(page), reader, tile=TILE, row=row, column=column)
        lines = page.eval_on_selector_all(
            ".panel .crosshair .line-over.down", "all => all.map((l) => l.getAttribute('x1'))"
        )
        assert set(lines) == {str(column + 0.5)}
    assert gaps > 0


@pytest.mark.slow
def test_the_cursor_is_held_by_a_click_and_moved_by_keys(
    open_page: "Callable[..., Page]", viewer: str, reader: Store
) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}")
    point(page, "sentinel2", row=10, column=10)
    page.mouse.down()
    page.mouse.up()
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Shift+ArrowRight")
    page.mouse.move(5, 5)
    check_values(shown(page), reader, tile=TILE, row=11, column=18)
    assert "row=11" in page.url
    assert "column=18" in page.url
    page.keyboard.press("n")
    page.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[TILE + 1]}")')
    # The map keeps the keyboard, so that the cursor can be moved on.
    assert page.evaluate("document.activeElement.closest('.panel').dataset.modality") == "sentinel2"
    check_values(shown(page), reader, tile=TILE + 1, row=11, column=18)
    again = open_page(page.url)
    check_values(shown(again), reader, tile=TILE + 1, row=11, column=18)


def test_the_picture_is_the_stretched_bands(open_page: "Callable[..., Page]", viewer: str, reader: Store) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}&views=sentinel2%3AB12%2CB8%2CB4")
    drawn = page.evaluate(
        """() => { const canvas = document.querySelector('[data-modality="sentinel2"] canvas');
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; }"""
    )
    picture = np.array(drawn).reshape(SIZE, SIZE, 4)
    modality = reader.modalities["sentinel2"]
    bands = list(modality.band_indices(("B12", "B8", "B4")))
    raw = np.moveaxis(reader.read(["sentinel2"], np.array([TILE]))["sentinel2"][0][bands].astype(float), 0, -1)
    valid = (raw > 0).all(-1)
    low, high = np.percentile(raw[raw > 0], (2, 98))
    expected = np.clip((raw - low) / (high - low), 0, 1) * 255
    assert np.abs(picture[valid][:, :3] - expected[valid]).max() <= 1
    assert (picture[..., 3] == np.where(valid, 255, 0)).all()
    assert page.locator('[data-modality="sentinel2"] select').first.input_value() == "own"


def test_the_spectrum_reads_the_bands_by_wavelength(
    open_page: "Callable[..., Page]", viewer: str, reader: Store
) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}&row=4&column=5")
    rows = chart_table(page, ".spectrum")
    raw = reader.read(["sentinel2"], np.array([TILE]))["sentinel2"][0].astype(float)
    names = reader.modalities["sentinel2"].band_names
    told = {row[0].split()[0]: row for row in rows}
    assert [float(row[0].split()[1]) for row in rows] == sorted(float(row[0].split()[1]) for row in rows)
    assert "B12" in told
    for name, (where, at, mean) in told.items():
        band = raw[names.index(name)]
        assert where.endswith("nm")
        assert float(at) == band[4, 5]
        assert float(mean) == pytest.approx(band[band > 0].mean(), rel=1e-3)


@pytest.mark.slow
def test_tiles_are_found_and_what_is_not_there_is_said(
    open_page: "Callable[..., Page]", viewer: str, reader: Store
) -> None:
    page = open_page(f"{viewer}#/tile")
    page.fill("#tile-entry", "nowhere")
    page.complaints.clear()
    page.press("#tile-entry", "Enter")
    page.wait_for_selector("text=no tile has 'nowhere' in its id")
    page.complaints.clear()  # the browser logs every answer that is no 200
    page.fill("#tile-entry", str(reader.coordinates.tile_id[42]))
    page.press("#tile-entry", "Enter")
    page.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[42]}")')
    page.goto(f"{viewer}#/tile?tile=4200")
    page.reload()
    page.wait_for_selector("text=there is no tile 4200")
    assert page.inner_text("h1") == "Tile 4,200"
    assert "tile 4,200 " in page.inner_text(".tile-count")
    assert "tile=4200" in page.url
    page.complaints.clear()


@pytest.mark.slow
def test_keys_work_on_a_fresh_page_and_count_from_what_was_asked_for(
    open_page: "Callable[..., Page]", viewer: str, reader: Store
) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}")
    page.evaluate("""() => { for (let n = 0; n < 3; n += 1) document.querySelector("#next").click(); }""")
    page.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[TILE + 3]}")')
    fresh = open_page(f"{viewer}#/tile?tile={TILE}")
    fresh.keyboard.press("p")
    fresh.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[TILE - 1]}")')
    fresh.focus("#tile-entry")
    fresh.keyboard.press("n")
    assert fresh.input_value("#tile-entry") == "n"
    fresh.goto(f"{viewer}#/training")
    fresh.wait_for_selector("text=No run is open")
    fresh.keyboard.press("n")  # the page that listened is gone
    assert "#/training" in fresh.url
    tops = page.eval_on_selector_all(".panel .frame", "all => all.map((each) => each.getBoundingClientRect().top)")
    assert len(set(tops[:3])) == 1  # maps of a row begin at one height
    assert page.inner_text('[data-modality="sentinel2"] .panel-legend').endswith(" × 10⁻⁴")


@pytest.mark.slow
def test_a_tile_is_saved(open_page: "Callable[..., Page]", viewer: str, reader: Store) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    page = open_page(f"{viewer}#/tile?tile={TILE}")
    page.click('summary:has-text("Save")')
    with page.expect_download() as download:
        page.click('.saves tr:has-text("Sentinel-2 reflectance") a:has-text("GeoTIFF")')
    with rasterio.open(download.value.path()) as file:
        assert np.array_equal(file.read(), reader.read(["sentinel2"], np.array([TILE]))["sentinel2"][0])


@pytest.mark.slow
def test_a_finger_moves_the_cursor_on_a_phone(open_page: "Callable[..., Page]", viewer: str, reader: Store) -> None:
    page = open_page(f"{viewer}#/tile?tile={TILE}", phone=True, theme="dark")
    box = page.locator('[data-modality="sentinel2"] .frame').bounding_box()
    page.touchscreen.tap(box["x"] + 0.5 * box["width"], box["y"] + 0.25 * box["height"])
    page.wait_for_selector('.readings p:text("row 8, column 16 ")')
    check_values(shown(page), reader, tile=TILE, row=8, column=16)
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")

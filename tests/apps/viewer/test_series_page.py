"""Series on the page of a tile, in a real browser: dates, pixels over time, files; and no page minds them."""

import csv
import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geopretext.apps.viewer.opened import StoreEntry
from geopretext.apps.viewer.packet import unpack
from geopretext.apps.viewer.table import TileTable
from geopretext.apps.viewer.thumbnails import Thumbnails, picture
from geopretext.apps.viewer.tile_api import TileDesk
from geopretext.apps.viewer.tile_files import save_tile
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import InputError
from geopretext.modality import PUBLISHED

from .charts import chart_table

if TYPE_CHECKING:
    from playwright.sync_api import Page

OPTICAL, RADAR = PUBLISHED["sentinel2_series"], PUBLISHED["sentinel1_series"]
SIZE, TILES, LONGEST = 16, 6, 8
DATES = (5, 8, 0, 1, 3, 6)
"""images of Sentinel-2 of each tile; of Sentinel-1 there are four of all but the third tile"""
MAPS = ("sentinel2", "dynamic_world", "biome")


@pytest.fixture(scope="module")
def series_store(store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some tiles of the synthetic Earth, smaller, with series of ragged length beside them."""
    source, path = Store.open(store), tmp_path_factory.mktemp("series") / "series.zarr"
    tiles, random = np.arange(TILES), np.random.default_rng(0)
    arrays = source.read(MAPS, tiles)
    arrays = {name: raw[..., :SIZE, :SIZE] if raw.ndim == 4 else raw for name, raw in arrays.items()}
    optical = np.zeros((TILES, LONGEST, 12, SIZE, SIZE), np.uint16)
    radar = np.full((TILES, 4, 2, SIZE, SIZE), np.nan, np.float32)
    days = np.full((TILES, LONGEST), np.datetime64("NaT", "D"))
    passes = np.full((TILES, 4), np.datetime64("NaT", "D"))
    for tile, count in enumerate(DATES):
        days[tile, :count] = np.datetime64("2021-01-10") + 40 * np.arange(count)
        optical[tile, :count] = random.integers(200, 5000, (count, 12, SIZE, SIZE))
        if count:
            passes[tile] = np.datetime64("2021-02-01") + np.array([0, 90, 90, 200])  # two of one day
            radar[tile] = random.normal(-12, 3, radar.shape[1:])
    optical[0, 1, :, :4] = 0  # a gap in one image
    at = source.coordinates.take(tiles)
    coordinates = replace(
        at,
        levels={"sentinel2": at.levels["sentinel2"], OPTICAL.name: at.levels["sentinel2"]},
        series={OPTICAL.name: days, RADAR.name: passes},
    )
    modalities = [*(source.modalities[name] for name in MAPS), OPTICAL, RADAR]
    longest = {OPTICAL.name: LONGEST, RADAR.name: 4}
    with StoreWriter.create(path, modalities, tile_size=SIZE, dates=longest) as writer:
        writer.append(TileBatch(coordinates, {**arrays, OPTICAL.name: optical, RADAR.name: radar}))
    written = Store.open(path)
    written.set_statistics(compute_statistics(written))
    return path


@pytest.fixture(scope="module")
def reader(series_store: Path) -> Store:
    return Store.open(series_store)


def stored(reader: Store, name: str, tile: int) -> np.ndarray:
    return reader.read([name], np.array([tile]))[name][0]


def test_a_packet_holds_the_images_of_the_dates_that_there_are(reader: Store, series_store: Path) -> None:
    desk = TileDesk(StoreEntry("tiles", "tiles", str(series_store)))
    for tile, count in enumerate(DATES):
        header, arrays = unpack(desk.packet(tile))
        assert [each["name"] for each in header["series"]] == [OPTICAL.name, RADAR.name]
        assert arrays[OPTICAL.name].shape == (count, 12, SIZE, SIZE)
        assert len(header["tile"]["dates"][OPTICAL.name]) == count
        raw = stored(reader, OPTICAL.name, tile)[:count].astype(np.float32)
        np.testing.assert_array_equal(arrays[OPTICAL.name], np.where(raw == 0, np.nan, raw))
    assert [group["name"] for group in header["vectors"]] == ["biome"]
    assert header["tile"]["dates"][OPTICAL.name][1] == "2021-02-19"


def test_files_hold_every_date(reader: Store) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    saved = save_tile(reader, 0, "tif", OPTICAL.name)
    with rasterio.io.MemoryFile(saved.content) as memory, memory.open() as file:
        np.testing.assert_array_equal(file.read(), stored(reader, OPTICAL.name, 0)[:5].reshape(60, SIZE, SIZE))
        assert file.descriptions[12 * 1 + 3] == "2021-02-19 B4"
        assert file.nodata == 0
    rows = list(csv.reader(io.StringIO(save_tile(reader, 0, "csv", RADAR.name).content.decode())))
    assert rows[0] == ["date", "row", "column", "x", "y", "VV (dB)", "VH (dB)"]
    assert len(rows) == 1 + 4 * SIZE**2
    assert rows[1 + SIZE**2 + 5][0] == "2021-05-02"
    assert np.float32(rows[1 + SIZE**2 + 5][6]) == stored(reader, RADAR.name, 0)[1, 1, 0, 5]
    with np.load(io.BytesIO(save_tile(reader, 3, "npz").content)) as arrays:
        assert arrays[OPTICAL.name].shape == (1, 12, SIZE, SIZE)
        assert arrays[f"{OPTICAL.name}_time"].astype(str).tolist() == ["2021-01-10"]
    with pytest.raises(InputError, match="has no date here"):
        save_tile(reader, 2, "tif", OPTICAL.name)
    assert save_tile(reader, 2, "csv", OPTICAL.name).content.count(b"\n") == 1


def test_a_store_of_series_alone_has_thumbnails(reader: Store, tmp_path: Path) -> None:
    at = replace(
        reader.coordinates,
        levels={OPTICAL.name: reader.coordinates.levels[OPTICAL.name]},
        series={OPTICAL.name: reader.coordinates.series[OPTICAL.name]},
    )
    images = reader.read([OPTICAL.name], np.arange(TILES))
    with StoreWriter.create(tmp_path / "s", [OPTICAL], tile_size=SIZE, dates={OPTICAL.name: LONGEST}) as writer:
        writer.append(TileBatch(at, images))
    alone = Store.open(tmp_path / "s")
    assert Thumbnails(alone).png(0, 32).startswith(b"\x89PNG")
    best = picture(alone, 0).astype(int)
    assert len(np.unique(best[:4].reshape(-1, 3), axis=0)) > 4  # an image without the gap of the second one
    assert (picture(alone, 2) == (207, 212, 216)).all()  # no image at all


def test_images_are_counted_for_the_map_of_the_earth(reader: Store) -> None:
    table = TileTable(reader)
    assert table.columns[f"images_{OPTICAL.name}"].values.tolist() == list(DATES)
    assert table.describe(1)["images"] == {OPTICAL.name: 8, RADAR.name: 4}


@pytest.fixture(scope="module")
def address(serve_viewer: Callable[..., str], series_store: Path, bundle: Path) -> str:
    return serve_viewer(series_store, "--bundle", bundle)


def drawn(page: "Page", name: str) -> np.ndarray:
    """(y, x) red of what is drawn of a modality."""
    pixels = page.evaluate(
        """(name) => { const canvas = document.querySelector(`[data-modality="${name}"] canvas`);
        return [...canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data]; }""",
        name,
    )
    return np.array(pixels).reshape(SIZE, SIZE, 4)[..., 0]


def told(page: "Page", name: str) -> list[float]:
    """Values of the bands of a modality in the table under the cursor."""
    texts = page.eval_on_selector_all(
        f'.readings tbody[data-modality="{name}"] [data-band]', "rows => rows.map((row) => row.cells[1].innerText)"
    )
    return [np.nan if text == "not observed" else float(text.replace("\u2212", "-")) for text in texts]


def test_dates_are_stepped_through_and_pixels_read(
    open_page: "Callable[..., Page]", address: str, reader: Store
) -> None:
    page = open_page(f"{address}#/tile?tile=0&row=2&column=9&date=2021-01-10&views=sentinel2_series%3AB4")
    raw = stored(reader, OPTICAL.name, 0)[:5].astype(float)
    place = OPTICAL.band_names.index("B4")
    low, high = np.nanpercentile(np.where(raw[:, place] == 0, np.nan, raw[:, place]), (2, 98))
    panel = page.locator(f'.panel[data-modality="{OPTICAL.name}"]')
    assert panel.locator(".date").inner_text() == "10 Jan 2021 · 1 of 5"
    slider = panel.locator('input[type="range"]')
    slider.focus()
    for at in range(5):
        grey = drawn(page, OPTICAL.name)
        if at != 1:  # all dates between the same ends, of which the page takes a sample
            expected = np.clip((raw[at, place] - low) / (high - low), 0, 1) * 255
            assert np.corrcoef(grey.ravel(), expected.ravel())[0, 1] > 0.99
            assert np.abs(grey - expected).max() < 16
        values = raw[at, :, 2, 9]
        np.testing.assert_allclose(told(page, OPTICAL.name), np.where(values == 0, np.nan, values))
        slider.press("ArrowRight")
    assert panel.locator(".date").inner_text() == "19 Jun 2021 · 5 of 5"
    assert "date=2021-06-19" in page.url
    assert slider.get_attribute("aria-valuetext") == "19 Jun 2021"
    # The other series shows its image nearest to that day.
    other = page.locator(f'.panel[data-modality="{RADAR.name}"]')
    assert other.locator(".date").inner_text() in ("2 May 2021 · 2 of 4", "2 May 2021 · 3 of 4")
    page.locator("h1").click()
    page.keyboard.press("[")
    assert panel.locator(".date").inner_text() == "10 May 2021 · 4 of 5"
    other.get_by_label("Image after").click()
    other.get_by_label("Image after").click()
    assert other.locator(".date").inner_text() == "20 Aug 2021 · 4 of 4"
    # The day is kept from tile to tile, and by the address.
    page.keyboard.press("n")
    page.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[1]}")')
    assert page.locator(f'.panel[data-modality="{OPTICAL.name}"] .date').inner_text() == "7 Sept 2021 · 7 of 8"
    again = open_page(page.url)
    assert again.locator(f'.panel[data-modality="{RADAR.name}"] .date').inner_text() == "20 Aug 2021 · 4 of 4"


def test_a_pixel_over_time_is_what_the_store_holds(
    open_page: "Callable[..., Page]", address: str, reader: Store
) -> None:
    page = open_page(f"{address}#/tile?tile=0&row=2&column=9&views=sentinel2_series%3AB8")
    profile = f'.profile[data-modality="{OPTICAL.name}"]'
    rows = chart_table(page, profile)
    pixel = stored(reader, OPTICAL.name, 0)[:5, OPTICAL.band_names.index("B8"), 2, 9]
    assert [day for day, _ in rows] == ["10 Jan 2021", "19 Feb 2021", "31 Mar 2021", "10 May 2021", "19 Jun 2021"]
    assert [value for _, value in rows] == [str(value) if value else "" for value in pixel]
    assert rows[1][1] == ""  # the gap
    page.focus(f"{profile} svg.line-plot")
    page.keyboard.press("Home")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.locator(f'.panel[data-modality="{OPTICAL.name}"] .date').inner_text() == "31 Mar 2021 · 3 of 5"


@pytest.mark.slow
def test_no_page_minds_series(open_page: "Callable[..., Page]", address: str, reader: Store) -> None:
    page = open_page(f"{address}#/tile?tile=2", phone=True, theme="dark")  # without a single date
    assert page.locator(".panel").count() == 4
    assert page.locator(".profile").count() == 0
    assert page.inner_text(f'.panel[data-modality="{OPTICAL.name}"] .unseen') == "not observed at this tile"
    page.keyboard.press("]")
    page.keyboard.press("n")
    page.wait_for_selector(f'h1:text("{reader.coordinates.tile_id[3]}")')
    assert page.inner_text(f'.panel[data-modality="{OPTICAL.name}"] .date') == "10 Jan 2021 · 1 of 1"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    for name in ("overview", "earth", "reconstruct", "embedding", "training"):
        page.goto(f"{address}#/{name}")
        page.settle()
        assert "cannot be shown" not in page.inner_text("main")

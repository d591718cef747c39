"""The page of embeddings in a real browser: neighbours are those of an independent search."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geopretext.data.store import Store
from geopretext.nn.bundle import Encoder
from geopretext.predict.features import tile_features
from geopretext.predict.tile_embeddings import embed_tiles

if TYPE_CHECKING:
    from playwright.sync_api import Page

OpenPage = Callable[..., "Page"]


@pytest.fixture(scope="module")
def vectors(store: Path, bundle: Path) -> np.ndarray:
    """Of all tiles, standardised, of length 1."""
    found = tile_features(Encoder.from_pretrained(bundle), Store.open(store))
    found = (found - found.mean(axis=0)) / found.std(axis=0)
    return found / np.linalg.norm(found, axis=1, keepdims=True)


def found_tiles(page: "Page") -> list[int]:
    page.wait_for_selector(".found li")
    return [int(image.get_attribute("alt").split(",")[0].split()[1]) for image in page.locator(".found img").all()]


@pytest.mark.slow
def test_neighbours_of_a_tile_that_a_bundle_embeds(open_page: OpenPage, viewer: str, vectors: np.ndarray) -> None:
    page = open_page(f"{viewer}#/embedding?tile=7")
    assert "120 rows" in page.locator(".counted").inner_text()
    assert "of the variance" in page.locator(".plane-note").inner_text()
    similarity = vectors @ vectors[7]
    similarity[7] = -2
    best = np.argsort(-similarity)[:12]
    assert found_tiles(page) == best.tolist()
    assert page.locator(".found li").first.locator("span").first.inner_text() == f"{similarity[best[0]]:.2f}"
    page.get_by_role("button", name=f"Tile {best[1]}: more like this").click()
    page.wait_for_url(lambda url: f"like=7%2C{best[1]}" in url)
    both = vectors @ (vectors[7] + vectors[best[1]]) / 2
    both[[7, best[1]]] = -2
    page.locator(f'.example img[alt^="Tile {best[1]},"]').wait_for()
    assert found_tiles(page) == np.argsort(-both)[:12].tolist()
    page.locator(".plane").get_by_role("button", name="Zoom in").click()
    page.wait_for_url("**at=*")
    again = open_page(page.url)
    assert found_tiles(again) == np.argsort(-both)[:12].tolist()
    again.wait_for_timeout(400)
    assert again.url == page.url


def test_a_table_with_its_store(
    open_page: OpenPage, serve_viewer: Callable[..., str], store: Path, bundle: Path, tmp_path: Path
) -> None:
    tiles = np.array([90, 3, 41, 7, 66, 12], np.int64)
    embed_tiles(Encoder.from_pretrained(bundle), Store.open(store), tmp_path / "some.parquet", tiles=tiles)
    address = serve_viewer(tmp_path / "some.parquet", "--data", store)
    absent = open_page(f"{address}#/embedding?tile=5")
    assert "Tile 5 is not among the 6 that were embedded" in absent.locator(".neighbours").inner_text()
    page = open_page(f"{address}#/embedding")
    assert "6 rows" in page.locator(".counted").inner_text()
    page.locator(".plane .plot-marks").press("Enter")
    assert set(found_tiles(page)) < set(tiles.tolist())
    page.get_by_role("button", name="End the search").click()
    assert not page.locator(".neighbours").is_visible()


def test_without_embeddings_the_page_says_how_to_make_them(
    open_page: OpenPage, serve_viewer: Callable[..., str], store: Path
) -> None:
    page = open_page(f"{serve_viewer(store)}#/embedding")
    assert "No embeddings are open" in page.locator(".notice").inner_text()
    assert f"geopretext pretrain mp-mae-atto-56-8 --data {store}" in page.locator("code").inner_text()


@pytest.mark.slow
def test_umap_on_demand(open_page: OpenPage, viewer: str) -> None:
    pytest.importorskip("umap", reason="needs umap-learn")
    page = open_page(f"{viewer}#/embedding")
    page.get_by_role("button", name="UMAP").click()
    page.wait_for_url(lambda url: "layout=umap" in url, timeout=120_000)
    assert "distances between groups mean nothing" in page.locator(".plane-note").inner_text()

"""Tiles that a bundle embeds for the viewer are encoded with their series, and the page says so."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from geopretext.apps.viewer.embeddings import Embeddings, Ready, Source
from geopretext.apps.viewer.opened import look_at
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.nn.bundle import Encoder
from geopretext.predict.features import tile_features

from ...predict.omnisat_bundles import save_omnisat

if TYPE_CHECKING:
    from playwright.sync_api import Page

MAPS, SERIES = {"sentinel2": ("B2", "B8")}, {"sentinel2_series": ("B8", "B4")}


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store with series, and a bundle that knows them."""
    folder = tmp_path_factory.mktemp("viewer_series")
    write_synthetic_store(folder / "tiles.zarr", count=12, tile_size=32, series={"sentinel2_series": 3}, workers=1)
    store = Store.open(folder / "tiles.zarr")
    save_omnisat(folder / "bundle", store, MAPS, SERIES, patch_size=16)
    return folder / "tiles.zarr", folder / "bundle"


def test_vectors_are_made_from_series_and_say_so(parts: tuple[Path, Path]) -> None:
    store, bundle = parts
    embeddings = Embeddings(look_at(store, bundles=[bundle]))
    try:
        (source,) = embeddings.sources.values()
        table = made(embeddings, source).table
        assert table.facts["inputs"] == {"used": ["sentinel2", "sentinel2_series"], "absent": []}
        wanted = tile_features(Encoder.from_pretrained(bundle), Store.open(store))
        np.testing.assert_allclose(table.vectors(), wanted, rtol=1e-5, atol=1e-6)
    finally:
        embeddings.stop()


def made(embeddings: Embeddings, source: Source) -> Ready:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        embeddings.begin(source)
        ready = embeddings.ready(source)
        if ready is not None:
            return ready
        time.sleep(0.05)
    raise AssertionError("not made within a minute")


@pytest.mark.slow
def test_the_page_says_which_inputs(
    open_page: Callable[..., "Page"], serve_viewer: Callable[..., str], parts: tuple[Path, Path]
) -> None:
    store, bundle = parts
    page = open_page(f"{serve_viewer(store, '--bundle', bundle)}#/embedding")
    assert page.locator(".inputs").inner_text() == "Made from sentinel2, sentinel2_series."

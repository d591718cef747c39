"""The frame: pages, theme, keyboard, errors."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def test_the_overview_says_what_is_open(open_page: "Callable[..., Page]", viewer: str, store: Path) -> None:
    page = open_page(f"{viewer}#/overview")
    assert page.title() == "Overview · geopretext"
    card = page.locator("article", has_text="Store").first
    assert "120" in card.inner_text()
    assert "a synthetic Earth (seed 1)" in card.inner_text()
    assert page.locator("#opened").inner_text() == str(store)

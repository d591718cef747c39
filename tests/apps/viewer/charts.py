"""Reading the charts of a page."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Page


def chart_table(page: "Page", chart: str) -> list[list[str]]:
    """Rows of the table of a chart, opened if need be; a browser says later than the click that it is open."""
    page.eval_on_selector(f"{chart} details", "each => { each.open = true; }")
    page.wait_for_selector(f"{chart} tbody tr")
    return page.eval_on_selector_all(
        f"{chart} tbody tr", "all => all.map((row) => [...row.cells].map((c) => c.innerText))"
    )

"""What stands above and below a panel: its title, and which colour means which class."""

from collections.abc import Sequence

from geopretext.modality import Modality
from geopretext.predict.page import QUIET, Page
from geopretext.predict.panels import class_colors

LINE = 0.118
"""height of a line of a legend, inches"""


def draw_title(page: Page, left: float, top: float, title: str, detail: str, *, width: float = 1.42) -> None:
    """Two lines above a panel of some width, inches."""
    fits = width * 14.8
    page.text(left, top + 0.03, title, size=7.5 * min(1.0, fits / len(title)), weight="bold")
    page.text(left, top + 0.165, detail, size=6.5, color=QUIET)


def draw_legend(
    page: Page,
    left: float,
    top: float,
    modality: Modality,
    present: Sequence[int],
    more: int,
    notes: Sequence[str] = (),
) -> float:
    """A line for each class: its colour and its name.

    Args:
        page: to draw on.
        left: inches.
        top: inches.
        modality: whose classes they are.
        present: class indices, in the order wanted.
        more: how many classes are not in the list; said if there are any.
        notes: what else is said of each class, in front of its name.

    Returns:
        The top of the line that says how many more there are, or would.
    """
    colors = class_colors(modality)
    for line, number in enumerate(present):
        y = top + line * LINE
        page.swatch(left, y + 0.01, colors[number])
        name = modality.classes[number].name
        page.text(left + 0.12, y, f"{notes[line]}  {name}" if notes else name, size=6.2)
    last = top + len(present) * LINE
    if more:
        page.text(left + 0.12, last, f"and {more} more", size=6.2, color=QUIET)
    return last

"""A page to draw on. Only matplotlib's objects are used: no window, no global state, safe in any thread."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from geopretext.errors import MissingLibraryError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK = "#1b2a33"
QUIET = "#5d6b74"


class Page:
    """A white figure on which things are placed in inches from its upper left corner.

    Args:
        width: of the page.
        height: of the page.

    Raises:
        MissingLibraryError: matplotlib is not installed.
    """

    def __init__(self, width: float, height: float) -> None:
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise MissingLibraryError("matplotlib", extra="report", purpose="draw pictures") from error
        self.width, self.height = width, height
        self.figure = Figure(figsize=(width, height), facecolor="white")
        FigureCanvasAgg(self.figure)

    def axes(self, left: float, top: float, width: float, height: float) -> "Axes":
        """A frame to draw in."""
        box = (left / self.width, 1 - (top + height) / self.height, width / self.width, height / self.height)
        return self.figure.add_axes(box)

    def text(self, left: float, top: float, text: str, size: float = 7.5, **style: Any) -> None:
        """Text in points; by default its upper left corner is at (left, top)."""
        style = {"color": INK, "ha": "left", "va": "top", **style}
        self.figure.text(left / self.width, 1 - top / self.height, text, fontsize=size, **style)

    def swatch(self, left: float, top: float, color: str | tuple[float, float, float], size: float = 0.085) -> None:
        """A small square of one colour, for legends."""
        self.bar(left, top, size, size, color)

    def bar(
        self, left: float, top: float, width: float, height: float, color: str | tuple[float, float, float]
    ) -> None:
        """A rectangle of one colour with a fine outline."""
        from matplotlib.patches import Rectangle

        corner = (left / self.width, 1 - (top + height) / self.height)
        size = (width / self.width, height / self.height)
        style: dict[str, Any] = {"facecolor": color, "edgecolor": QUIET, "linewidth": 0.3}
        self.figure.add_artist(Rectangle(corner, *size, transform=self.figure.transFigure, **style))

    def save(self, path: Path, dpi: int) -> None:
        """Write the picture, making its folder."""
        path.parent.mkdir(parents=True, exist_ok=True)
        self.figure.savefig(path, dpi=dpi)

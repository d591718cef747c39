"""Time series of images in memory: which of them are real, and which are seen.

Shapes: n tiles, T dates, C bands, H W pixels; what is said here of padding is in ``data.tiles``.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from geopretext.data.memory import Recycler
from geopretext.data.sampling import choose_dates
from geopretext.data.tiles import Array, Dates


def real_images(raw: Array, dates: Dates) -> tuple[Array, npt.NDArray[np.int64]]:
    """The images that are no padding, (N, C, H, W), and the number of the tile that each is of, (N,)."""
    tiles, positions = np.nonzero(~np.isnat(dates))
    return raw[tiles, positions], tiles


def thin_series(
    raw: Array, dates: Dates, seeds: npt.NDArray[np.int64], most: int | None, memory: Recycler
) -> tuple[Array, Dates]:
    """At most so many images of each tile, in their order; the tile's seed chooses them.

    Args:
        raw: (n, T, C, H, W).
        dates: (n, T).
        seeds: (n,) of the tiles.
        most: S; None, or any number from T on, leaves all.
        memory: for the copy.

    Returns:
        (n, S, C, H, W) and (n, S).
    """
    if most is None or most >= dates.shape[1]:
        return raw, dates
    chosen = choose_dates(seeds, dates, most=most)
    kept = memory.empty((len(raw), most, *raw.shape[2:]), raw.dtype)
    for to, images, at in zip(kept, raw, chosen, strict=True):
        images.take(at, axis=0, out=to, mode="clip")  # any other mode copies twice
    return kept, np.take_along_axis(dates, chosen, axis=1)


def longest_series(series: Mapping[str, Dates]) -> int:
    """How many images a tile has at most, 1 if there are no series: what bounds the tiles that are read at once."""
    return max((dates.shape[1] for dates in series.values()), default=1) or 1


def days_of(dates: Dates) -> npt.NDArray[np.float64]:
    """Days since 1970-01-01; NaN is padding."""
    return np.where(np.isnat(dates), np.nan, dates.astype(np.float64))

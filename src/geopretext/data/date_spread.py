"""Which dates of many to keep, if not all can be."""

import numpy as np
import numpy.typing as npt


def spread_order(days: npt.NDArray[np.datetime64], *, first: np.datetime64 | None = None) -> npt.NDArray[np.int64]:
    """Positions of all days in an order of which every beginning is spread over the time as evenly as may be.

    Each is the one that is farthest from those before it; of two as far, the earlier. So no day is farther from the
    beginning of ``k`` days than twice what the best choice of ``k`` days would leave (Gonzalez 1985, Theoretical
    Computer Science 38), and when one of them turns out useless, the next in order stands in for it.

    Args:
        days: (n,) ``datetime64[D]``, ascending, none twice.
        first: the day, or the one nearest to it, that is the first in order; None: the earliest.
    """
    count = len(days)
    if not count:
        return np.empty(0, np.int64)
    at = days.astype("datetime64[D]").astype(np.int64)
    start = 0 if first is None else int(np.abs(at - first.astype("datetime64[D]").astype(np.int64)).argmin())
    order, distance = [start], np.abs(at - at[start])
    while len(order) < count:
        order.append(int(distance.argmax()))
        distance = np.minimum(distance, np.abs(at - at[order[-1]]))
    return np.array(order, np.int64)


def spread_days(
    days: npt.NDArray[np.datetime64], count: int, *, first: np.datetime64 | None = None
) -> npt.NDArray[np.int64]:
    """Positions of at most ``count`` days, ascending; arguments are those of ``spread_order``."""
    return np.sort(spread_order(days, first=first)[:count])

"""Memory for large arrays that is used again as soon as nobody refers to it.

A batch of tiles takes tens of megabytes. The operating system clears such memory page by page each time that it is
allotted anew, which took a third of the loader's time.
"""

import math
import weakref
from collections import deque
from typing import Any

import numpy as np
import numpy.typing as npt

_LARGE = 1 << 20
_IDLE = 32


class Recycler:
    """Hands out arrays, and takes their memory back when the last array, view or tensor of it is gone.

    It keeps at most 32 idle pieces of memory (those that a loader of six maps needs at a time), and lets go of the one
    that has been idle longest. Safe to use from any thread.
    """

    def __init__(self) -> None:
        self._idle: deque[npt.NDArray[np.uint8]] = deque(maxlen=_IDLE)

    def empty(self, shape: tuple[int, ...], dtype: npt.DTypeLike) -> npt.NDArray[Any]:
        """An array of any content, as ``numpy.empty`` gives it; small ones are left to numpy."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        if size < _LARGE:
            return np.empty(shape, dtype)
        piece = self._take(size)
        # Views of an array refer to the array that their memory belongs to, but if that is no array, to each other. So
        # all views of this one refer to it, and it lives as long as they do.
        array = np.frombuffer(piece.data, np.uint8)
        weakref.finalize(array, self._idle.append, piece).atexit = False
        return array.view(dtype).reshape(shape)

    def _take(self, size: int) -> npt.NDArray[np.uint8]:
        for _ in range(len(self._idle)):
            try:
                piece = self._idle.popleft()
            except IndexError:  # another thread has taken it
                break
            if len(piece) == size:
                return piece
            self._idle.append(piece)
        return np.empty(size, np.uint8)

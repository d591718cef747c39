"""Which blocks of files GDAL holds decoded, as far as can be said from outside.

GDAL keeps decoded blocks of open files, and drops those that were not used for longest when they become too many. It
does not tell which it has. Whoever fetches blocks ahead asks here, so that none is fetched that would not be read.
"""

import itertools
from collections import OrderedDict
from threading import Lock

_numbers = itertools.count()


class BlockMemory:
    """Remembers blocks that were used last, up to a number of bytes. Safe for threads.

    Args:
        limit: bytes, decoded; fewer than GDAL keeps, since it is a guess.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._blocks: OrderedDict[tuple[int, int], int] = OrderedDict()
        self._lock = Lock()

    @staticmethod
    def new_file() -> int:
        """A number for a file that was opened, none of whose blocks are known yet."""
        return next(_numbers)

    def use(self, file: int, start: int, size: int) -> bool:
        """Note that a block is used, and say whether it was there already.

        Args:
            file: its number.
            start: of the block in the file, bytes.
            size: of the block, decoded, bytes.
        """
        key = file, start
        with self._lock:
            known = key in self._blocks
            self._blocks[key] = size
            self._blocks.move_to_end(key)
            self._held += 0 if known else size
            while self._held > self._limit:
                self._held -= self._blocks.popitem(last=False)[1]
        return known

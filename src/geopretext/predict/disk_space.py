"""Is there room for what is about to be written?"""

import shutil
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from geopretext.errors import StoreError


def require_space(wanted: Iterable[tuple[Path, int]], *, what: str) -> None:
    """Refuse before the work what would fail after it.

    Args:
        wanted: folders, and bytes in each; of a folder that is not there yet, the nearest above it counts. Folders on
            one disk count together.
        what: that needs them, for the message.

    Raises:
        StoreError: a disk has fewer left.
    """
    bytes_by_disk: dict[int, int] = defaultdict(int)
    folders: dict[int, tuple[Path, Path]] = {}
    for folder, count in wanted:
        there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
        disk = there.stat().st_dev
        bytes_by_disk[disk] += count
        folders.setdefault(disk, (folder, there))
    for disk, (folder, there) in folders.items():
        free = shutil.disk_usage(there).free
        if bytes_by_disk[disk] > free:
            raise StoreError(
                f"{what} takes up to {_size(bytes_by_disk[disk])}, and {_size(free)} are free",
                where=str(folder),
                hint="free some space, or write to another disk",
            )


def _size(count: int) -> str:
    """In a unit in which it is no small fraction."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"

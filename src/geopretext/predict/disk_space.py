"""Is there room for what is about to be written?"""

import shutil
from pathlib import Path

from geopretext.errors import StoreError


def require_space(folder: Path, wanted: int, *, what: str) -> None:
    """Refuse before the work what would fail after it.

    Args:
        folder: where; or where it will be, in the nearest folder above that is there.
        wanted: bytes.
        what: that needs them, for the message.

    Raises:
        StoreError: the disk has fewer left.
    """
    there = next(each for each in (folder, *folder.absolute().parents) if each.is_dir())
    free = shutil.disk_usage(there).free
    if wanted > free:
        raise StoreError(
            f"{what} takes up to {wanted / 1e9:,.1f} GB, and {free / 1e9:,.1f} GB are free",
            where=str(folder),
            hint="free some space, or write to another disk",
        )

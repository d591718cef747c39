"""Memory of long-lived processes."""

import ctypes
import sys


def return_memory() -> None:
    """Give what was freed back to the system; glibc keeps most of it: 800 MB for 370, at tiles of 290 KB."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None  # musl has none
    if trim is not None:
        trim(0)

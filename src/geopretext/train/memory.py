"""How the C library treats memory that a step frees."""

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_MAX = -1, -4  # of glibc's malloc.h
_NEVER = -1


def keep_freed_memory() -> bool:
    """Let this process keep the memory that it frees, for the next step, until it ends.

    By default glibc gives large pieces back to the system at once. Every step then gets them anew, zeroed page by page:
    8 to 14 % of a step on a CPU (docs/decisions/012). Where malloc is another one nothing changes.

    Returns:
        Whether it took effect.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(_MMAP_MAX, 0)) and bool(mallopt(_TRIM_THRESHOLD, _NEVER))

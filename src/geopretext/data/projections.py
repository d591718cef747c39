"""Libraries that bring a PROJ of their own, loaded in an order in which they do not meet.

xarray loads all its engines when it opens anything, cfgrib among them. That loads ecCodes, whose libraries are made
visible to all that is loaded after them (``findlibs`` asks for RTLD_GLOBAL), a PROJ of their own included: a pyproj or
rasterio that comes later calls that one, finds no database, or crashes when memory is freed.
"""

import ctypes
import sys
from contextlib import suppress
from importlib import import_module

from geopretext.errors import MissingLibraryError

_ECCODES = "eckitlib"
"""of the wheels; where ecCodes was not installed from wheels, all share one PROJ"""


def settle_projections() -> None:
    """Load pyproj and rasterio, where they are installed; to be called before xarray opens anything.

    Raises:
        MissingLibraryError: it is too late: another library's PROJ would take the place of theirs.
    """
    for name in ("pyproj", "rasterio"):
        if name in sys.modules:
            continue
        if _ECCODES in sys.modules and hasattr(ctypes.CDLL(None), "proj_create"):
            raise MissingLibraryError(
                name,
                extra="geo",
                purpose="know where an image lies, and cfgrib's PROJ, which xarray has loaded, would take its place",
                hint="import rasterio and pyproj before xarray opens a file, or `pip uninstall cfgrib`",
            )
        with suppress(ImportError):
            import_module(name)

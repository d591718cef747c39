"""Numbers for the browser: a JSON header and float32 arrays in one answer.

Layout: the length of the header in bytes (uint32, little-endian), the header (JSON in UTF-8, padded with spaces to a
multiple of 4 bytes), then the arrays one after the other (float32, little-endian, NaN where nothing was observed).
``header["arrays"]`` gives the shape of each array by name, in the order in which they follow. float32 holds every
number that the stores keep in 8 or 16 bits exactly, and class indices too.
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from geopretext.modality import Observed

Array = npt.NDArray[Any]

CONTENT_TYPE = "application/octet-stream"


def pack(header: Mapping[str, Any], arrays: Mapping[str, Array]) -> bytes:
    """One answer.

    Args:
        header: plain data; ``arrays`` is added to it.
        arrays: by name, any dtype that float32 can hold.
    """
    text = json.dumps(
        {**header, "arrays": {name: list(array.shape) for name, array in arrays.items()}}, allow_nan=False
    )
    encoded = text.encode()
    encoded += b" " * (-len(encoded) % 4)
    parts = [np.uint32(len(encoded)).astype("<u4").tobytes(), encoded]
    return b"".join([*parts, *(np.ascontiguousarray(array, "<f4").tobytes() for array in arrays.values())])


def unpack(content: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[np.float32]]]:
    """Undo ``pack``: what the browser does, for programs that ask the viewer for numbers."""
    start = 4 + int(np.frombuffer(content, "<u4", 1)[0])
    header = json.loads(content[4:start])
    arrays = {}
    for name, shape in header["arrays"].items():
        count = int(np.prod(shape))
        arrays[name] = np.frombuffer(content, "<f4", count, start).reshape(shape)
        start += 4 * count
    return header, arrays


def with_gaps(observed: Observed[Array]) -> npt.NDArray[np.float32]:
    """Values as float32 with NaN where they are not valid."""
    return np.where(observed.valid, observed.values.astype(np.float32), np.float32(np.nan))

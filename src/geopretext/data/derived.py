"""Modalities that follow from where and when a tile is: sines and cosines of its position, and of the month.

Shapes: n tiles.
"""

import numpy as np
import numpy.typing as npt

from geopretext.data.tiles import Coordinates


def derived_vectors(coordinates: Coordinates) -> dict[str, npt.NDArray[np.float32]]:
    """``lat``, ``lon`` and ``month`` of tiles as MMEarth publishes them, (n, 2) each; NaN where they are not known."""
    month = coordinates.time.astype("datetime64[M]").astype(int) % 12 + 1
    angles = {
        "lat": np.deg2rad(coordinates.lat),
        "lon": np.deg2rad(coordinates.lon),
        "month": np.where(np.isnat(coordinates.time), np.nan, 2 * np.pi * month / 12),
    }
    return {name: np.stack([np.sin(angle), np.cos(angle)], axis=1).astype(np.float32) for name, angle in angles.items()}

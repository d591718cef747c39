"""A made-up scene of twelve bands as a file: tiled, compressed, with a georeference, as mosaics are kept."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.windows import Window

from geopretext.nn.settings import SENTINEL2_BANDS

_BLOCK = 1024
UNIT = "reflectance x 10000"


def write_made_scene(path: Path, *, height: int, width: int) -> None:
    """Write a scene, block by block; what blocks show is alike, and no two are the same.

    Args:
        path: the file, ``.tif``.
        height: pixels.
        width: pixels.
    """
    random = np.random.default_rng(0)
    land = _land(random)
    profile = {
        "driver": "GTiff",
        "width": width,
        "height": height,
        "count": len(SENTINEL2_BANDS),
        "dtype": "uint16",
        "nodata": 0,
        "crs": "EPSG:32632",
        "transform": rasterio.Affine(10.0, 0.0, 600000.0, 0.0, -10.0, 5300040.0),
        "tiled": True,
        "blockxsize": 512,
        "blockysize": 512,
        "compress": "deflate",
        "zlevel": 1,
        "predictor": 2,
        "bigtiff": "if_safer",
        "num_threads": "all_cpus",
    }
    with rasterio.open(path, "w", **profile) as file:
        file.descriptions = SENTINEL2_BANDS
        for row in range(0, height, _BLOCK):
            for column in range(0, width, _BLOCK):
                rows, columns = min(_BLOCK, height - row), min(_BLOCK, width - column)
                shift = tuple(random.integers(0, _BLOCK, 2))
                block = np.roll(land, shift, (1, 2)) * random.uniform(0.5, 1.5)
                file.write(block[:, :rows, :columns].astype(np.uint16), window=Window(column, row, columns, rows))


def _land(random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Numbers above 0 of a block: structure of all sizes that bands share, and noise of their own."""
    distance = np.hypot(*np.meshgrid(*[np.fft.fftfreq(_BLOCK)] * 2)) + 1 / _BLOCK
    fields = np.fft.ifft2(np.fft.fft2(random.standard_normal((4, _BLOCK, _BLOCK))) / distance**1.2).real
    fields /= fields.std((1, 2), keepdims=True)
    mixed = np.einsum("bf,fyx->byx", random.normal(size=(len(SENTINEL2_BANDS), 4)) / 2, fields)
    noise = 0.05 * random.standard_normal(mixed.shape)
    land: npt.NDArray[np.float32] = (1500 * np.exp(0.4 * mixed + noise)).clip(1, 20000).astype(np.float32)
    return land

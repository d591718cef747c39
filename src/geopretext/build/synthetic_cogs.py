"""Cloud-optimised GeoTIFFs, written as archives write them: tiled, deflated, overviews behind the full resolution."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from geopretext.build.grid import Grid
from geopretext.errors import MissingLibraryError

try:
    import rasterio
    from rasterio.enums import Resampling
    from rasterio.warp import reproject
except ImportError as error:
    raise MissingLibraryError(error.name or "rasterio", extra="geo", purpose="write GeoTIFFs") from error

_BLOCK = 512


@dataclass(frozen=True)
class Layer:
    """One band on disk: a file of an item."""

    values: npt.NDArray[Any]
    """(H, W), of the dtype to store"""
    transform: tuple[float, float, float, float, float, float]
    """a b c d e f of x = a col + b row + c, y = d col + e row + f (pixel corners)"""
    crs: int
    """EPSG code"""
    nodata: float | None = None
    """number that the file says is "not observed"; None: it says nothing"""
    overviews: Literal["average", "nearest"] = "average"
    title: str = ""
    """for people"""
    roles: tuple[str, ...] = ("data",)

    @property
    def facts(self) -> Mapping[str, Any]:
        """Where it lies, as the projection extension has it for an asset."""
        return {"proj:shape": list(self.values.shape), "proj:transform": list(self.transform)}


def native(values: npt.NDArray[Any], grid: Grid, *, metres: int, **fields: Any) -> Layer:
    """A band at its native resolution, from one whose pixels are repeated to 10 m on a granule's grid.

    Args:
        values: (H, W) at 10 m.
        grid: of ``values``; its edges are multiples of ``metres``.
        metres: 10, 20 or 60.
        fields: others of ``Layer``.
    """
    size = metres // 10
    transform = (float(metres), 0.0, grid.left, 0.0, -float(metres), grid.top)
    return Layer(np.ascontiguousarray(values[::size, ::size]), transform, grid.crs, **fields)


def write_cog(path: Path, layer: Layer) -> None:
    """Write one band into a file of its own; blocks without data take no room.

    Raises:
        OSError: it cannot be written.
    """
    height, width = layer.values.shape
    with rasterio.open(
        path,
        "w",
        driver="COG",
        height=height,
        width=width,
        count=1,
        dtype=layer.values.dtype,
        crs=f"EPSG:{layer.crs}",
        transform=rasterio.Affine(*layer.transform),
        nodata=layer.nodata,
        compress="deflate",
        predictor=3 if layer.values.dtype.kind == "f" else 2,
        blocksize=_BLOCK,
        overview_resampling=layer.overviews,
        sparse_ok=True,
    ) as file:
        file.write(layer.values, 1)


def paste(canvas: Layer, values: npt.NDArray[Any], grid: Grid) -> None:
    """Draw an array (H, W) on a UTM grid into a canvas in another projection, over what is there.

    Numbers are taken from the nearest pixel, those of a canvas whose overviews are averages bilinearly.
    """
    nearest = canvas.overviews == "nearest"
    reproject(
        values,
        canvas.values,
        src_transform=rasterio.Affine(*grid.transform),
        src_crs=f"EPSG:{grid.crs}",
        dst_transform=rasterio.Affine(*canvas.transform),
        dst_crs=f"EPSG:{canvas.crs}",
        src_nodata=canvas.nodata,
        dst_nodata=canvas.nodata,
        init_dest_nodata=False,
        resampling=Resampling.nearest if nearest else Resampling.bilinear,
        tolerance=0,
    )

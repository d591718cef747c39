"""Files of scenes that tests write: rasters, and a small Sentinel-2 product in the layout of real ones."""

import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rasterio
from rasterio.io import MemoryFile
from rasterio.shutil import copy
from rasterio.transform import Affine

CRS = "EPSG:32632"
ORIGIN = (600_000.0, 5_200_020.0)
NATIVE = {
    **dict.fromkeys(("B02", "B03", "B04", "B08"), 10),
    **dict.fromkeys(("B05", "B06", "B07", "B8A", "B11", "B12"), 20),
    **dict.fromkeys(("B01", "B09", "B10"), 60),
}
PHYSICAL = ("B1", "B2", "B3", "B4", "B5", "B6", "B7", "B8", "B8A", "B9", "B10", "B11", "B12")
DATATAKE, TILE = "20240830T100559", "T32TPS"


def write_raster(path: Path, values: npt.NDArray[Any], names: Sequence[str] = (), **profile: Any) -> Path:
    """(C, H, W) as a GeoTIFF at 10 m, or whatever ``profile`` says; ``names`` are described in it."""
    options = {"driver": "GTiff", "crs": CRS, "transform": transform(10)} | profile
    count, height, width = values.shape
    path.parent.mkdir(parents=True, exist_ok=True)
    tags = {key: options.pop(key) for key in ("scales", "offsets", "units", "colorinterp") if key in options}
    with rasterio.open(path, "w", count=count, height=height, width=width, dtype=values.dtype, **options) as file:
        file.write(values)
        if names:
            file.descriptions = tuple(names)
        for key, value in tags.items():
            setattr(file, key, value)
    return path


def transform(side: float) -> Affine:
    """Of pixels of a size, from the common corner."""
    return Affine(side, 0, ORIGIN[0], 0, -side, ORIGIN[1])


def write_jp2(path: Path, values: npt.NDArray[Any], side: float) -> Path:
    """(H, W) as a lossless JPEG 2000 with georeference."""
    path.parent.mkdir(parents=True, exist_ok=True)
    height, width = values.shape
    profile = {"count": 1, "height": height, "width": width, "dtype": values.dtype, "crs": CRS}
    with MemoryFile() as memory:
        with memory.open(driver="GTiff", transform=transform(side), **profile) as file:
            file.write(values, 1)
        with memory.open() as file:
            copy(file, path, driver="JP2OpenJPEG", QUALITY="100", REVERSIBLE="YES")
    return path


def smooth(height: int, width: int, seed: int, low: float = 300, high: float = 3500) -> npt.NDArray[np.uint16]:
    """Numbers that differ between neighbours, without leaps."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    a, b, c = random.uniform(0.05, 0.3, 3)
    waves = np.sin(a * rows + b * columns) + np.cos(c * columns - a * rows)
    return np.round(low + (high - low) * (waves + 2) / 4).astype(np.uint16)


def write_product(
    folder: Path,
    *,
    level: str = "L2A",
    offset: int | None = -1000,
    size: int = 120,
    classes: npt.NDArray[np.uint8] | None = None,
    quantification: str = "10000",
) -> tuple[Path, dict[str, npt.NDArray[np.uint16]]]:
    """A product as the Copernicus Data Space gives it, smaller.

    The layout is that of ``S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS_20240830T134009.SAFE``: bands with
    copies at other resolutions, named without their suffix in the metadata, beside files of other kinds.

    Args:
        folder: to write into.
        level: L1C or L2A.
        offset: as baselines from 04.00 state it; None for an older one.
        size: pixels at 10 m, a multiple of 6.
        classes: (size / 2, size / 2) scene classification of an L2A; by default all is vegetation.
        quantification: as stated.

    Returns:
        the ``.SAFE`` folder, and the numbers of each band at its own resolution.
    """
    baseline = "0511" if offset is not None else "0214"
    name = f"S2B_MSI{level}_{DATATAKE}_N{baseline}_R022_{TILE}_20240830T134009.SAFE"
    safe, granule = folder / name, f"GRANULE/{level}_{TILE}_A038765_20240830T100558"
    images: list[str] = []
    bands = {}
    for seed, (band, native) in enumerate(NATIVE.items()):
        if band == "B10" and level == "L2A":
            continue
        values = (smooth(size * 10 // native, size * 10 // native, seed) - np.int32(offset or 0)).astype(np.uint16)
        values[:2, :3] = 0  # outside of the swath
        bands[band] = values
        for side in (10, 20, 60):
            stored = _at(band, native, side, level)
            if not stored:
                continue
            # copies at another resolution hold other numbers, so that taking one shows
            copied = values if side == native else smooth(size * 10 // side, size * 10 // side, 100 + seed)
            images.append(_image(safe, granule, band, side, level, copied))
    if level == "L2A":
        for side in (20, 60):
            own = np.full((size * 10 // side,) * 2, 4, np.uint8)
            if side == 20 and classes is not None:
                own = classes
            images.append(_image(safe, granule, "SCL", side, level, own))
        images.append(_image(safe, granule, "AOT", 10, level, smooth(size, size, 50)))
    images.append(_image(safe, granule, "TCI", 10, level, smooth(size, size, 51).astype(np.uint8)))
    (safe / f"MTD_MSI{level}.xml").write_text(
        _metadata(name, level, baseline, offset, quantification, granule, images), encoding="utf-8"
    )
    (safe / granule / "MTD_TL.xml").write_text(_tile_metadata(level, size), encoding="utf-8")
    (safe / "manifest.safe").write_text("<xfdu:XFDU/>")
    (safe / "DATASTRIP").mkdir()
    (safe / granule / "QI_DATA").mkdir()
    return safe, bands


def _at(band: str, native: int, side: int, level: str) -> bool:
    """Whether a band is there at a resolution: L1C has each once, L2A copies, of which there are some here."""
    if level == "L1C" or side == native:
        return side == native
    return (band, side) in (("B01", 20), ("B02", 20), ("B02", 60), ("B12", 60))


def _image(safe: Path, granule: str, band: str, side: int, level: str, values: npt.NDArray[Any]) -> str:
    inner = f"{granule}/IMG_DATA/{TILE}_{DATATAKE}_{band}"
    if level == "L2A":
        inner = f"{granule}/IMG_DATA/R{side}m/{TILE}_{DATATAKE}_{band}_{side}m"
    write_jp2(safe / f"{inner}.jp2", values, side)
    return inner


def _metadata(
    name: str, level: str, baseline: str, offset: int | None, quantification: str, granule: str, images: Sequence[str]
) -> str:
    number = level[1:]
    files = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    spectral = "".join(
        f'<Spectral_Information bandId="{at}" physicalBand="{band}"/>' for at, band in enumerate(PHYSICAL)
    )
    word, group = ("BOA", "BOA_ADD_OFFSET_VALUES_LIST") if level == "L2A" else ("RADIO", "Radiometric_Offset_List")
    stated = [f'<{word}_ADD_OFFSET band_id="{at}">{offset}</{word}_ADD_OFFSET>' for at in range(len(PHYSICAL))]
    offsets = f"<{group}>{''.join(stated)}</{group}>" if offset is not None else ""
    scale = (
        "<QUANTIFICATION_VALUES_LIST>"
        f'<BOA_QUANTIFICATION_VALUE unit="none">{quantification}</BOA_QUANTIFICATION_VALUE>'
        '<AOT_QUANTIFICATION_VALUE unit="none">1000.0</AOT_QUANTIFICATION_VALUE></QUANTIFICATION_VALUES_LIST>'
        if level == "L2A"
        else f'<QUANTIFICATION_VALUE unit="none">{quantification}</QUANTIFICATION_VALUE>'
    )
    special = "".join(
        f"<Special_Values><SPECIAL_VALUE_TEXT>{text}</SPECIAL_VALUE_TEXT>"
        f"<SPECIAL_VALUE_INDEX>{index}</SPECIAL_VALUE_INDEX></Special_Values>"
        for text, index in (("NODATA", 0), ("SATURATED", 65535))
    )
    schema = f"https://psd-15.sentinel2.eo.esa.int/PSD/User_Product_Level-{number}.xsd"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{number}_User_Product xmlns:n1="{schema}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{schema}">
  <n1:General_Info>
    <Product_Info>
      <PRODUCT_START_TIME>2024-08-30T10:05:59.024Z</PRODUCT_START_TIME>
      <PRODUCT_STOP_TIME>2024-08-30T10:05:59.024Z</PRODUCT_STOP_TIME>
      <PRODUCT_URI>{name}</PRODUCT_URI>
      <PROCESSING_LEVEL>Level-{number}</PROCESSING_LEVEL>
      <PRODUCT_TYPE>S2MSI{number}</PRODUCT_TYPE>
      <PROCESSING_BASELINE>{baseline[:2]}.{baseline[2:]}</PROCESSING_BASELINE>
      <Query_Options completeSingleTile="true"><PRODUCT_FORMAT>SAFE_COMPACT</PRODUCT_FORMAT></Query_Options>
      <Product_Organisation><Granule_List>
        <Granule datastripIdentifier="S2B_OPER_MSI_{level}_DS_2BPS_20240830T134009_S20240830T100558_N05.11" \
granuleIdentifier="{granule.removeprefix("GRANULE/")}" imageFormat="JPEG2000">{files}</Granule>
      </Granule_List></Product_Organisation>
    </Product_Info>
    <Product_Image_Characteristics>
      {special}{scale}{offsets}
      <Spectral_Information_List>{spectral}</Spectral_Information_List>
    </Product_Image_Characteristics>
  </n1:General_Info>
</n1:Level-{number}_User_Product>
"""


def _tile_metadata(level: str, size: int) -> str:
    number = level[1:]
    sizes = "".join(
        f'<Size resolution="{side}"><NROWS>{size * 10 // side}</NROWS><NCOLS>{size * 10 // side}</NCOLS></Size>'
        f'<Geoposition resolution="{side}"><ULX>{ORIGIN[0]:.0f}</ULX><ULY>{ORIGIN[1]:.0f}</ULY>'
        f"<XDIM>{side}</XDIM><YDIM>-{side}</YDIM></Geoposition>"
        for side in (10, 20, 60)
    )
    schema = f"https://psd-15.sentinel2.eo.esa.int/PSD/S2_PDI_Level-{number}_Tile_Metadata.xsd"
    return f"""<?xml version="1.0" encoding="UTF-8" standalone="no"?>
<n1:Level-{number}_Tile_ID xmlns:n1="{schema}" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" \
xsi:schemaLocation="{schema}">
  <n1:General_Info><SENSING_TIME>2024-08-30T10:06:21.919283Z</SENSING_TIME></n1:General_Info>
  <n1:Geometric_Info><Tile_Geocoding metadataLevel="Brief">
    <HORIZONTAL_CS_NAME>WGS84 / UTM zone 32N</HORIZONTAL_CS_NAME>
    <HORIZONTAL_CS_CODE>{CRS}</HORIZONTAL_CS_CODE>{sizes}
  </Tile_Geocoding></n1:Geometric_Info>
</n1:Level-{number}_Tile_ID>
"""


def zipped(safe: Path) -> Path:
    """A product's zip, whose entries start with the product's name, as downloads do."""
    path = safe.with_suffix(".SAFE.zip")
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(safe.rglob("*")):
            if file.is_file():
                archive.write(file, file.relative_to(safe.parent))
    return path


def files_of(bands: Mapping[str, npt.NDArray[Any]], folder: Path) -> Path:
    """A folder with a GeoTIFF for each band at its own resolution."""
    for band, values in bands.items():
        write_raster(folder / f"{band}.tif", values[None], transform=transform(NATIVE[band]))
    return folder

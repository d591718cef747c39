"""Folders with a file a band: several resolutions on one grid, and what does not fit together is refused."""

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.transform import Affine
from rasterio.warp import Resampling, reproject

from geopretext.errors import BandError, GeopretextError, GridError, InputError, UnitError
from geopretext.predict.open_scene import open_scene

from .scene_files import CRS, NATIVE, files_of, smooth, transform, write_jp2, write_raster

UNIT = "reflectance x 10000"
SIZE = 120
BANDS = {
    band: smooth(SIZE * 10 // NATIVE[band], SIZE * 10 // NATIVE[band], seed)
    for seed, band in enumerate(("B02", "B8A", "B09"))
}


def bilinear(values: npt.NDArray[np.float64], side: int) -> npt.NDArray[np.float64]:
    """On the grid of 10 m by GDAL's warp; NaN is missing."""
    found = np.full((SIZE, SIZE), np.nan)
    reproject(
        values,
        found,
        src_transform=transform(side),
        src_crs=CRS,
        src_nodata=np.nan,
        dst_transform=transform(10),
        dst_crs=CRS,
        dst_nodata=np.nan,
        resampling=Resampling.bilinear,
    )
    return found


def test_coarser_bands_are_those_of_gdals_warp(tmp_path: Path) -> None:
    bands = {name: values.copy() for name, values in BANDS.items()}
    for values in bands.values():
        values[3, 5] = 0
        values[-1, -1] = 0
    scene = open_scene(files_of(bands, tmp_path), unit=UNIT)
    assert (scene.bands, scene.height, scene.width) == (("B2", "B8A", "B9"), SIZE, SIZE)
    values, valid = scene.read(slice(0, SIZE), slice(0, SIZE), scene.bands)
    for at, (name, native) in enumerate(bands.items()):
        known = np.where(native == 0, np.nan, native.astype(np.float64))
        expected = known if NATIVE[name] == 10 else bilinear(known, NATIVE[name])
        np.testing.assert_array_equal(valid[at], np.isfinite(expected), err_msg=name)
        assert np.abs(values[at] - expected)[valid[at]].max() < 1e-2, name
    for top, bottom, left, right in [(0, 1, 0, 1), (17, 61, 101, 120), (119, 120, 0, 120), (5, 31, 7, 8)]:
        part, known = scene.read(slice(top, bottom), slice(left, right), ["B9", "B8A"])
        np.testing.assert_array_equal(part, values[[2, 1], top:bottom, left:right])
        np.testing.assert_array_equal(known, valid[[2, 1], top:bottom, left:right])


def test_names_of_products_and_of_benchmarks_are_understood(tmp_path: Path) -> None:
    flat = files_of({}, tmp_path / "S2A_MSIL2A_20170617T113321_36_85")
    for band, values in BANDS.items():
        write_raster(flat / f"{flat.name}_{band}.tif", values[None], transform=transform(NATIVE[band]))
    write_raster(flat / f"{flat.name}_TCI.tif", BANDS["B02"][None])
    (flat / "labels_metadata.json").write_text("{}")
    scene = open_scene(flat, unit=UNIT)
    assert (scene.bands, scene.level) == (("B2", "B8A", "B9"), "L2A")
    nested = tmp_path / "IMG_DATA"
    for band, values in BANDS.items():
        side = NATIVE[band]
        write_jp2(nested / f"R{side}m" / f"T32TPS_20240830T100559_{band}_{side}m.jp2", values, side)
    write_jp2(nested / "R20m" / "T32TPS_20240830T100559_B02_20m.jp2", smooth(60, 60, 9), 20)
    np.testing.assert_array_equal(
        open_scene(nested, unit=UNIT).read(slice(0, 50), slice(0, 50), ["B2", "B9"])[0],
        scene.read(slice(0, 50), slice(0, 50), ["B2", "B9"])[0],
    )


def test_a_classification_masks_clouds(tmp_path: Path) -> None:
    folder = files_of(BANDS, tmp_path)
    classes = np.full((60, 60), 5, np.uint8)
    classes[:, 30:45], classes[:, 45:] = 8, 255
    write_raster(folder / "SCL.tif", classes[None], transform=transform(20), nodata=255)
    _, valid = open_scene(folder, unit=UNIT).read(slice(0, SIZE), slice(0, SIZE), ["B2", "B9"])
    assert valid[:, :, :60].all()
    assert not valid[:, :, 60:].any()
    assert "SCL" not in open_scene(folder, unit=UNIT).bands


@pytest.mark.parametrize(
    ("name", "values", "profile", "error", "says"),
    [
        (
            "B8A",
            smooth(60, 60, 1),
            {"crs": "EPSG:32633"},
            GridError,
            "B8A do not nest .*: CRS EPSG:32633",
        ),
        ("B8A", smooth(59, 60, 1), {}, GridError, "59 x 60 pixels of 20, and 120 x 120 of 10"),
        ("B8A", smooth(60, 60, 1), {"transform": transform(20) @ Affine.translation(0.5, 0)}, GridError, "transform"),
        ("B8A", smooth(80, 80, 1), {"transform": transform(15)}, GridError, "80 x 80 pixels of 15"),
        ("B8A", smooth(60, 60, 1), {"crs": None}, GridError, "it has no CRS"),
        ("B8A", smooth(60, 60, 1), {"scales": (1e-4,), "offsets": (-0.1,)}, UnitError, "B2 and B8A differ in unit"),
        ("copy_B02", smooth(120, 120, 1), {"transform": transform(10)}, BandError, "two files are band B2"),
    ],
)
def test_files_that_do_not_fit_are_refused(
    tmp_path: Path,
    name: str,
    values: npt.NDArray[np.uint16],
    profile: dict[str, Any],
    error: type[GeopretextError],
    says: str,
) -> None:
    folder = files_of({"B02": BANDS["B02"], "B09": BANDS["B09"]}, tmp_path)
    write_raster(folder / f"{name}.tif", values[None], **({"transform": transform(20)} | profile))
    with pytest.raises(error, match=says):
        open_scene(folder, unit=UNIT)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no file that is named like a band of Sentinel-2"):
        open_scene(tmp_path, unit=UNIT)
    for name in ("LC08_L2SP_193027_20200801_02_T1_SR_B4.TIF", "HLS.L30.T32TPS.2020214T100559.v2.0.B05.tif"):
        path = write_raster(tmp_path / name, BANDS["B02"][None])
        with pytest.raises(BandError, match=r"is a band of Landsat: its B[45] is not Sentinel-2's"):
            open_scene(tmp_path, unit=UNIT)
        path.unlink()
    folder = files_of(BANDS, tmp_path / "bands")
    with pytest.raises(UnitError, match="does not say what its numbers are"):
        open_scene(folder)
    with pytest.raises(BandError, match="leave --bands out"):
        open_scene(folder, unit=UNIT, bands=["B2"])
    with rasterio.open(folder / "B02.tif") as file:
        profile = dict(file.profile)
    write_raster(folder / "B03.tif", np.repeat(BANDS["B02"][None], 2, 0), transform=profile["transform"])
    with pytest.raises(BandError, match="has 2 bands, and the name of one"):
        open_scene(folder, unit=UNIT)


def test_upper_case_endings_are_read(tmp_path: Path) -> None:
    write_jp2(tmp_path / "B02.JP2", BANDS["B02"], 10)
    values, _ = open_scene(tmp_path, unit=UNIT).read(slice(0, SIZE), slice(0, SIZE), ["B2"])
    np.testing.assert_array_equal(values[0], BANDS["B02"])


@pytest.mark.parametrize("other", ["T33UUP_20240830T100559_B8A_20m", "T32TPS_20240829T100559_B8A_20m"])
def test_files_of_several_places_or_dates_are_refused(tmp_path: Path, other: str) -> None:
    write_raster(tmp_path / "T32TPS_20240830T100559_B02_10m.tif", BANDS["B02"][None])
    path = write_raster(tmp_path / f"{other}.tif", BANDS["B8A"][None], transform=transform(20))
    with pytest.raises(InputError, match=f"mixes .*{other[:6]}|mixes .*{other[7:22]}"):
        open_scene(tmp_path, unit=UNIT)
    path.rename(tmp_path / "B8A.tif")
    assert open_scene(tmp_path, unit=UNIT).bands == ("B2", "B8A"), "a name that says neither contradicts nothing"

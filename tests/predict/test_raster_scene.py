"""Single rasters as scenes: what they say is used, what they do not say must be declared, and the rest is refused."""

import os
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from rasterio.enums import ColorInterp
from rasterio.transform import Affine

from geopretext.build.file_server import serve_files
from geopretext.errors import (
    BandError,
    CorruptError,
    GeopretextError,
    GridError,
    InputError,
    Reason,
    SourceError,
    UnitError,
)
from geopretext.predict.images import DIGITAL_NUMBER, UNSTATED
from geopretext.predict.open_scene import SceneSource, open_scene
from geopretext.predict.scene import Georeference, Scene

from .scene_files import ORIGIN, smooth, transform, write_raster

UNIT = "reflectance x 10000"
NAMES = ("B04", "B8A", "B2")
VALUES = np.stack([smooth(90, 70, seed) for seed in range(3)])


def whole(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    return scene.read(slice(0, scene.height), slice(0, scene.width), scene.bands)


def test_named_bands_are_read_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "S2A_MSIL2A_20170617T113321_x.tif", VALUES, NAMES)
    scene = open_scene(path, unit=UNIT)
    assert scene.bands == ("B4", "B8A", "B2")
    assert (scene.height, scene.width, scene.dtype, scene.unit) == (90, 70, "uint16", UNIT)
    assert (scene.level, scene.time) == ("L2A", np.datetime64("2017-06-17T11:33:21"))
    assert scene.georeference == Georeference("EPSG:32632", (10.0, 0.0, ORIGIN[0], 0.0, -10.0, ORIGIN[1]))
    values, valid = scene.read(slice(3, 50), slice(60, 70), ["B2", "B4"])
    assert values.dtype == np.float32
    np.testing.assert_array_equal(values, VALUES[[2, 0], 3:50, 60:70])
    assert valid.all()


def test_declared_bands_leave_others_out(tmp_path: Path) -> None:
    scene = open_scene(write_raster(tmp_path / "a.tif", VALUES), bands=["B02", "-", "B8"], unit=UNIT, level="L1C")
    assert (scene.bands, scene.level) == (("B2", "B8"), "L1C")
    np.testing.assert_array_equal(whole(scene)[0], VALUES[[0, 2]])


def test_what_the_file_calls_missing_is_missing(tmp_path: Path) -> None:
    numbers = VALUES.astype(np.float32) / 10000
    numbers[0, 3, 4], numbers[1, 5, 6], numbers[2, 7, 8] = -9, np.nan, np.inf
    scene = open_scene(write_raster(tmp_path / "a.tif", numbers, NAMES, nodata=-9), unit="reflectance")
    values, valid = whole(scene)
    assert [tuple(place) for place in np.argwhere(~valid)] == [(0, 3, 4), (1, 5, 6), (2, 7, 8)]
    assert not values[~valid].any()
    np.testing.assert_array_equal(values[valid], numbers[valid])


def test_zero_is_missing_in_whole_numbers_of_reflectance_only(tmp_path: Path) -> None:
    numbers = VALUES.copy()
    numbers[:, 0, 0] = 0
    path = write_raster(tmp_path / "a.tif", numbers, NAMES)
    assert not whole(open_scene(path, unit=UNIT))[1][:, 0, 0].any()
    assert whole(open_scene(path, unit=UNSTATED))[1].all()


def test_masks_and_alpha_are_masks(tmp_path: Path) -> None:
    mask = np.ones((90, 70), np.bool_)
    mask[10:20, :30] = False
    own = write_raster(tmp_path / "own.tif", VALUES, NAMES)
    with rasterio.open(own, "r+") as file:
        file.write_mask(mask)
    shown = np.where(mask, 65535, 0)[None].astype(np.uint16)
    alpha = write_raster(tmp_path / "alpha.tif", np.concatenate([VALUES, shown]), photometric="RGB", alpha="YES")
    for scene in (open_scene(own, unit=UNIT), open_scene(alpha, bands=NAMES, unit=UNIT)):
        values, valid = scene.read(slice(5, 40), slice(5, 40), ["B2", "B4"])
        np.testing.assert_array_equal(valid, np.broadcast_to(mask[5:40, 5:40], valid.shape))
        np.testing.assert_array_equal(values, np.where(valid, VALUES[[2, 0], 5:40, 5:40], 0))


def test_a_band_called_scl_masks_clouds(tmp_path: Path) -> None:
    classes = np.full((1, 90, 70), 4, np.uint16)
    classes[0, 30:, :] = 9
    path = write_raster(tmp_path / "a.tif", np.concatenate([VALUES, classes]), (*NAMES, "SCL"))
    scene = open_scene(path, unit=UNIT)
    assert scene.bands == ("B4", "B8A", "B2")
    _, valid = whole(scene)
    assert valid[:, :30].all()
    assert not valid[:, 30:].any()
    assert "cloud, high probability" in scene.record["clouds"]["masked"]
    assert whole(open_scene(path, unit=UNIT, clouds="keep"))[1].all()


@pytest.mark.parametrize(("offset", "added"), [(0.0, 0), (-0.1, -1000)])
def test_scale_and_offset_of_reflectance_are_understood(tmp_path: Path, offset: float, added: int) -> None:
    path = write_raster(tmp_path / "a.tif", VALUES, NAMES, scales=(1e-4,) * 3, offsets=(offset,) * 3)
    for unit in (None, UNIT, "reflectance"):
        scene = open_scene(path, unit=unit)
        assert scene.unit == UNIT
        np.testing.assert_array_equal(whole(scene)[0], np.maximum(VALUES.astype(np.float32) + added, 1))
    with pytest.raises(UnitError, match="that is reflectance; declared is 'dB'"):
        open_scene(path, unit="dB")


def test_other_scales_are_applied_before_the_declared_unit(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", VALUES, NAMES, scales=(0.5,) * 3, offsets=(2.0,) * 3)
    with pytest.raises(UnitError, match=r"0\.5 and 2, and it does not say the unit"):
        open_scene(path)
    np.testing.assert_array_equal(whole(open_scene(path, unit="m"))[0], VALUES * 0.5 + 2)
    with rasterio.open(path, "r+") as file:
        file.scales = (0.5, 0.5, 0.25)
    with pytest.raises(UnitError, match="bands differ in scale"):
        open_scene(path, unit="m")


def test_a_stated_unit_and_colours_need_no_declaration(tmp_path: Path) -> None:
    stated = write_raster(tmp_path / "a.tif", VALUES, NAMES, units=("reflectance",) * 3)
    assert open_scene(stated).unit == "reflectance"
    colours = (VALUES // 16).astype(np.uint8)
    for order, name in [((0, 1, 2), "rgb.tif"), ((2, 1, 0), "bgr.tif")]:
        names = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
        picture = write_raster(tmp_path / name, colours[list(order)], colorinterp=[names[at] for at in order])
        scene = open_scene(picture)
        assert scene.unit == DIGITAL_NUMBER
        np.testing.assert_array_equal(
            scene.read(slice(0, 90), slice(0, 70), ["B4", "B3", "B2"])[0], colours, err_msg=name
        )


@pytest.mark.filterwarnings("ignore::rasterio.errors.NotGeoreferencedWarning")
def test_without_a_crs_positions_may_be_pixels(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", VALUES, NAMES, crs=None, transform=Affine.identity())
    with pytest.raises(GridError, match=r"it has no CRS\nhint: write one .*--allow-no-crs"):
        open_scene(path, unit=UNIT)
    scene = open_scene(path, unit=UNIT, allow_no_crs=True)
    assert scene.georeference.crs == ""
    np.testing.assert_array_equal(whole(scene)[0], VALUES)


@pytest.mark.parametrize(
    ("changes", "declared", "error", "says"),
    [
        ({"names": ()}, {}, BandError, "does not name its 3 bands\nhint: declare them in file order"),
        ({"names": ("bands",) * 3}, {}, BandError, "band names repeat: bands, bands, bands"),
        ({}, {"bands": ("B2", "B3")}, BandError, r"has 3 bands, but 2 are declared \(B2, B3\)"),
        (
            {},
            {"bands": ("B2", "B8A", "B4")},
            BandError,
            "calls its bands B4, B8A, B2; declared is B2 for B4",
        ),
        ({}, {"bands": ("B4", "B8A", "B3")}, BandError, "calls its bands B4, B8A, B2; declared is B3 for B2"),
        ({}, {"unit": None}, UnitError, "does not say what its numbers are\nhint: declare it: --unit 'reflectance x"),
        ({}, {"unit": "reflektance"}, UnitError, "there is no unit 'reflektance'"),
        ({}, {"date": "yesterday"}, InputError, "'yesterday' is not a date"),
        ({"transform": transform(10) @ Affine.rotation(3)}, {}, GridError, "its pixels are turned: the transform is"),
        ({"transform": Affine(10, 0, 0, 0, 10, 0)}, {}, GridError, "its pixels are mirrored"),
        ({"values": VALUES.astype(np.complex64)}, {}, UnitError, "its numbers are complex"),
    ],
)
def test_bad_rasters_are_refused(
    tmp_path: Path, changes: dict[str, Any], declared: dict[str, Any], error: type[GeopretextError], says: str
) -> None:
    options = {"values": VALUES, "names": NAMES} | changes
    path = write_raster(tmp_path / "a.tif", **options)
    with pytest.raises(error, match=says) as caught:
        open_scene(path, **({"unit": UNIT} | declared))
    assert caught.value.where == str(path)


@pytest.mark.parametrize("share", [0.01, 0.5, 0.95])
@pytest.mark.parametrize("driver", ["GTiff", "COG"])
def test_truncated_files_are_refused(tmp_path: Path, driver: str, share: float) -> None:
    noise = np.random.default_rng(0).integers(1, 9999, (3, 300, 300), dtype=np.uint16)
    path = write_raster(tmp_path / "a.tif", noise, NAMES, driver=driver)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * share)])
    with pytest.raises(CorruptError, match=r"a\.tif: cannot be decoded: .*\nhint: copy or download it again"):
        whole(open_scene(path, unit=UNIT))


@pytest.mark.parametrize(
    ("content", "error", "says"),
    [(b"", CorruptError, "is empty"), (b"P" * 5000, InputError, "is no raster that GDAL reads")],
)
def test_what_is_no_image_is_refused(tmp_path: Path, content: bytes, error: type[GeopretextError], says: str) -> None:
    (tmp_path / "a.tif").write_bytes(content)
    with pytest.raises(error, match=says):
        open_scene(tmp_path / "a.tif", unit=UNIT)
    with pytest.raises(InputError, match="nothing is there"):
        open_scene(tmp_path / "b.tif")
    with pytest.raises(InputError, match="is not read from an address"):
        open_scene("https://127.0.0.1:9/product.SAFE.zip")


def test_threads_and_copies_read_the_same(tmp_path: Path) -> None:
    path = write_raster(tmp_path / "a.tif", VALUES, NAMES, tiled=True, blockxsize=16, blockysize=16, compress="deflate")
    source = SceneSource(str(path), unit=UNIT)
    scene: Scene = pickle.loads(pickle.dumps(pickle.loads(pickle.dumps(source)).open()))
    corners = [(row, column) for row in range(0, 80, 7) for column in range(0, 60, 7)]

    def window(corner: tuple[int, int]) -> bool:
        rows, columns = (slice(start, start + 10) for start in corner)
        return bool((scene.read(rows, columns, ["B2"])[0][0] == VALUES[2, rows, columns]).all())

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(window, corners * 3))


def test_the_fingerprint_is_of_content_and_meaning(tmp_path: Path) -> None:
    first = open_scene(write_raster(tmp_path / "a.tif", VALUES, NAMES), unit=UNIT)
    moved = open_scene(write_raster(tmp_path / "sub" / "a.tif", VALUES, NAMES), unit=UNIT)
    assert first.fingerprint() == moved.fingerprint()
    other = open_scene(write_raster(tmp_path / "b.tif", VALUES + np.uint16(1), NAMES), unit=UNIT)
    meant = open_scene(tmp_path / "a.tif", unit="reflectance x 10000 + 1000")
    assert len({scene.fingerprint() for scene in (first, other, meant)}) == 3


def test_an_address_is_read_by_ranges(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(1, 9999, (3, 1024, 1024), dtype=np.uint16)
    write_raster(tmp_path / "a.tif", noise, NAMES, driver="COG", blocksize=128)
    log = tmp_path / "log.tsv"
    with serve_files(tmp_path, log=log) as url:
        scene = open_scene(f"{url}/a.tif", unit=UNIT)
        np.testing.assert_array_equal(scene.read(slice(500, 600), slice(0, 70), ["B2"])[0][0], noise[2, 500:600, :70])
        answers = [line.split("\t") for line in log.read_text().splitlines()]
        sent = sum(int(answer[2]) for answer in answers if answer[0] == "206")
        assert 0 < sent < 0.3 * (tmp_path / "a.tif").stat().st_size
        assert scene.fingerprint() == open_scene(f"{url}/a.tif", unit=UNIT).fingerprint()
        with pytest.raises(SourceError, match="cannot be read") as caught:
            open_scene(f"{url}/b.tif", unit=UNIT)
        assert caught.value.reason is Reason.NO_FILE


def test_a_mosaic_is_signed_with_its_sources(tmp_path: Path) -> None:
    source = write_raster(tmp_path / "a.tif", VALUES, NAMES)
    for virtual, of in (("inner.vrt", source), ("outer.vrt", tmp_path / "inner.vrt")):
        rasterio.shutil.copy(of, tmp_path / virtual, driver="VRT")
    signs = [open_scene(tmp_path / name, unit=UNIT).fingerprint() for name in ("inner.vrt", "outer.vrt")]
    assert signs == [open_scene(tmp_path / name, unit=UNIT).fingerprint() for name in ("inner.vrt", "outer.vrt")]
    write_raster(source, VALUES + np.uint16(500), NAMES)
    for name, sign in zip(("inner.vrt", "outer.vrt"), signs, strict=True):
        assert open_scene(tmp_path / name, unit=UNIT).fingerprint() != sign


def test_a_mosaic_of_what_is_elsewhere_is_signed_by_its_numbers(tmp_path: Path) -> None:
    write_raster(tmp_path / "a.tif", VALUES, NAMES)
    signs = set()
    with serve_files(tmp_path) as url:
        rasterio.shutil.copy(f"/vsicurl/{url}/a.tif", tmp_path / "a.vrt", driver="VRT")
        signs.add(open_scene(tmp_path / "a.vrt", unit=UNIT).fingerprint())
    write_raster(tmp_path / "a.tif", VALUES + np.uint16(500), NAMES)
    with serve_files(tmp_path) as url:
        rasterio.shutil.copy(f"/vsicurl/{url}/a.tif", tmp_path / "a.vrt", driver="VRT")
        scene = open_scene(tmp_path / "a.vrt", unit=UNIT)
        assert scene.local == ()  # type: ignore[attr-defined]  # of a FileScene
        signs.add(scene.fingerprint())
    assert len(signs) == 2


def test_the_environment_of_the_process_stays_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("GDAL_CACHEMAX", raising=False)
    open_scene(write_raster(tmp_path / "a.tif", VALUES, NAMES), unit=UNIT)
    assert "GDAL_CACHEMAX" not in os.environ
    assert rasterio.env.get_gdal_config("GDAL_CACHEMAX") <= 400 * 2**20

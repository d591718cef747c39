"""Sentinel-2 products: against what GDAL's own driver for them reads, and refusals."""

import shutil
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
import rasterio
from rasterio.warp import Resampling, reproject

from geopretext.errors import BandError, CorruptError, GeopretextError, InputError, UnitError
from geopretext.predict.open_scene import SceneSource, open_scene
from geopretext.predict.scene import Array, Scene

from .scene_files import CRS, NATIVE, transform, write_jp2, write_product, zipped

WHOLE = slice(0, 120)


@pytest.fixture(scope="module")
def product(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, npt.NDArray[np.uint16]]]:
    return write_product(tmp_path_factory.mktemp("product"))


def whole(scene: Scene) -> tuple[Array, npt.NDArray[np.bool_]]:
    return scene.read(WHOLE, WHOLE, scene.bands)


def plain(band: str) -> str:
    return band.replace("B0", "B")


def gdal_bilinear(values: npt.NDArray[np.uint16], side: int, size: int = 120) -> npt.NDArray[np.float64]:
    """A band on the grid of 10 m by GDAL's warp."""
    found = np.full((size, size), np.nan)
    reproject(
        np.where(values == 0, np.nan, values.astype(np.float64)),
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


@pytest.mark.parametrize(("level", "offset"), [("L2A", -1000), ("L1C", -1000), ("L1C", None)])
def test_bands_are_those_that_gdal_finds(tmp_path: Path, level: str, offset: int | None) -> None:
    safe, _ = write_product(tmp_path, level=level, offset=offset)
    scene = open_scene(safe)
    assert scene.level == level
    assert ("B10" in scene.bands) == (level == "L1C")
    seen = set()
    for side in (10, 20, 60):
        name = f"SENTINEL2_{level}:{safe / f'MTD_MSI{level}.xml'}:{side}m:EPSG_32632"
        with rasterio.open(name) as dataset:
            for index, description in enumerate(dataset.descriptions, start=1):
                band = description.split(",")[0]
                if band not in scene.bands or NATIVE.get(f"B{band[1:].zfill(2)}") != side:
                    continue
                seen.add(band)
                raw = dataset.read(index).astype(np.float64)
                values, valid = scene.read(WHOLE, WHOLE, [band])
                if side == 10:
                    expected = raw
                    np.testing.assert_array_equal(valid[0], raw > 0)
                else:
                    expected = gdal_bilinear(raw.astype(np.uint16), side)
                    np.testing.assert_array_equal(valid[0], np.isfinite(expected))
                difference = values[0] - (expected + (offset or 0))
                assert np.abs(difference[valid[0]]).max() < 1e-2
    assert seen == set(scene.bands)


def test_a_zip_is_its_folder(product: tuple[Path, object], tmp_path: Path) -> None:
    folder = shutil.copytree(product[0], tmp_path / product[0].name)
    archive = zipped(folder)
    shutil.rmtree(folder)
    scene, packed = open_scene(product[0]), open_scene(archive)
    assert packed.georeference == scene.georeference
    for one, other in zip(whole(scene), whole(packed), strict=True):
        np.testing.assert_array_equal(one, other)
    assert packed.time == scene.time == np.datetime64("2024-08-30T10:05:59", "s")
    renamed = archive.rename(tmp_path / "download of mine.zip")
    np.testing.assert_array_equal(whole(open_scene(renamed))[0], whole(scene)[0])


def test_what_was_undone_is_recorded(product: tuple[Path, object]) -> None:
    record = open_scene(product[0]).record
    assert record["offsets_undone"]["B8A"] == -1000
    assert record["processing_baseline"] == "05.11"
    assert record["resampled"]["B11"] == "bilinear from 20"
    assert record["files"]["B1"].endswith("_B01_60m.jp2"), "not its copy at 20 m"


def test_windows_are_cut_from_the_whole(product: tuple[Path, object]) -> None:
    scene = open_scene(product[0])
    values, valid = whole(scene)
    for rows, columns in [
        (slice(0, 1), slice(119, 120)),
        (slice(31, 77), slice(59, 120)),
        (slice(113, 120), slice(3, 8)),
    ]:
        part, known = scene.read(rows, columns, ["B12", "B1", "B4"])
        chosen = [scene.bands.index(name) for name in ("B12", "B1", "B4")]
        np.testing.assert_array_equal(part, values[chosen, rows, columns])
        np.testing.assert_array_equal(known, valid[chosen, rows, columns])


def test_clouds_are_masked_and_said(tmp_path: Path) -> None:
    classes = np.tile(np.arange(12, dtype=np.uint8).repeat(5), (60, 1))
    safe, _ = write_product(tmp_path, classes=classes)
    scene, kept = open_scene(safe), open_scene(safe, clouds="keep")
    _, valid = whole(scene)
    clear = [bool(valid[:, 20:, number * 10 : number * 10 + 10].any()) for number in range(12)]
    assert [number for number in range(12) if not clear[number]] == [0, 1, 3, 8, 9, 10]
    assert all(valid[:, 20:, number * 10 : number * 10 + 10].all() for number in (2, 4, 5, 6, 7, 11))
    assert whole(kept)[1][:, 20:].all()
    assert scene.record["clouds"]["masked"][-1] == "thin cirrus"
    assert kept.record["clouds"]["masked"] == []
    assert scene.fingerprint() != kept.fingerprint()


def test_dark_pixels_below_the_offset_stay_observed(tmp_path: Path) -> None:
    safe, bands = write_product(tmp_path)
    (jp2,) = safe.rglob("*_B02_10m.jp2")
    values = bands["B02"].copy()
    values[50, 50:52] = 990, 65535
    write_jp2(jp2, values, 10)
    read, valid = open_scene(safe).read(slice(50, 51), slice(50, 52), ["B2"])
    assert read[0, 0, 0] == 1
    assert valid[0, 0].tolist() == [True, False], "saturated is not observed"


def test_another_quantification_is_scaled(tmp_path: Path) -> None:
    safe, bands = write_product(tmp_path, quantification="5000", offset=None, level="L1C")
    values, _ = open_scene(safe).read(WHOLE, WHOLE, ["B2"])
    np.testing.assert_array_equal(values[0], bands["B02"] * 2.0)


def change(safe: Path, old: str, new: str) -> None:
    metadata = next(safe.glob("MTD_*.xml"))
    text = metadata.read_text()
    assert old in text
    metadata.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "error", "says"),
    [
        ("<n1:General_Info>", "<n1:General_Info", CorruptError, "is no XML of a product"),
        ("Level-2A</PROCESSING", "Level-1B</PROCESSING", InputError, "is of level Level-1B"),
        ("</Granule>", "</Granule><Granule/>", InputError, "has 2 granules"),
        (">10000</BOA", ">many</BOA", UnitError, "'many' is not a number"),
        ('band_id="7"', 'band_id="77"', UnitError, "an offset is of band '77'"),
        (
            ">GRANULE/L2A_T32TPS_A038765_20240830T100558/IMG_DATA/R10m",
            ">../../R10m",
            InputError,
            "outside of the product",
        ),
        (">GRANULE/L2A", ">/etc/L2A", InputError, "outside of the product"),
        (
            ">2024-08-30T10:05:59.024Z</PRODUCT_START",
            ">yesterday</PRODUCT_START",
            InputError,
            "'yesterday' is not a date",
        ),
    ],
)
def test_damaged_metadata_are_refused(
    product: tuple[Path, object], tmp_path: Path, old: str, new: str, error: type[GeopretextError], says: str
) -> None:
    safe = shutil.copytree(product[0], tmp_path / "p.SAFE")
    change(safe, old, new)
    with pytest.raises(error, match=says):
        open_scene(safe)


def test_entities_are_not_expanded(product: tuple[Path, object], tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("Level-2A")
    safe = shutil.copytree(product[0], tmp_path / "p.SAFE")
    start = '<?xml version="1.0" encoding="UTF-8" standalone="no"?>'
    for document_type in (
        f'<!DOCTYPE x [<!ENTITY e SYSTEM "{secret.as_uri()}">]>',
        '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY e "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>',
        '<!DOCTYPE x SYSTEM "http://127.0.0.1:9/x.dtd">',
    ):
        change(safe, start, start + document_type)
        with pytest.raises(CorruptError, match="document type"):
            open_scene(safe)
        change(safe, start + document_type, start)


def test_a_truncated_image_is_not_read_as_zeros(product: tuple[Path, object], tmp_path: Path) -> None:
    safe = shutil.copytree(product[0], tmp_path / "p.SAFE")
    (jp2,) = safe.rglob("*_B02_10m.jp2")
    jp2.write_bytes(jp2.read_bytes()[: jp2.stat().st_size // 2])
    with pytest.raises(CorruptError, match=r"_B02_10m\.jp2: cannot be decoded"):
        open_scene(safe).read(WHOLE, WHOLE, ["B2"])


@pytest.mark.parametrize(
    ("declared", "error"),
    [({"bands": ["B2"]}, BandError), ({"unit": "reflectance"}, UnitError), ({"level": "L1C"}, InputError)],
)
def test_a_product_says_it_itself(
    product: tuple[Path, object], declared: dict[str, object], error: type[GeopretextError]
) -> None:
    with pytest.raises(error, match="hint: leave --"):
        SceneSource(str(product[0]), **declared).open()  # type: ignore[arg-type]


def test_what_is_no_product_is_refused(tmp_path: Path) -> None:
    (tmp_path / "empty.SAFE").mkdir()
    with pytest.raises(InputError, match="is no Sentinel-2 product"):
        open_scene(tmp_path / "empty.SAFE")
    broken = tmp_path / "p.zip"
    broken.write_bytes(b"PK\x03\x04 and nothing more")
    with pytest.raises(CorruptError, match="cannot be unpacked"):
        open_scene(broken)


def test_zips_may_have_any_name(product: tuple[Path, object], tmp_path: Path) -> None:
    path = zipped(product[0])
    expected = open_scene(path).read(slice(0, 30), slice(0, 30), ["B2"])[0]
    for name in ("a}b/A.zip", "{a}/A.ZIP", "a{/B.SAFE.zip", "plain/A.ZIP"):
        (tmp_path / name).parent.mkdir()
        shutil.copy(path, tmp_path / name)
        np.testing.assert_array_equal(open_scene(tmp_path / name).read(slice(0, 30), slice(0, 30), ["B2"])[0], expected)


def test_an_image_that_is_not_there_is_said(tmp_path: Path) -> None:
    safe, _ = write_product(tmp_path)
    lost = next(safe.rglob("*_B02_10m.jp2"))
    lost.unlink()
    for path in (safe, zipped(safe)):
        with pytest.raises(InputError, match=f"{lost.name}: there is no such file, named by the product's metadata"):
            open_scene(path)

"""STAC items of several archives, here and over HTTP: bands by their names, numbers by what the item says."""

import json
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.build.file_server import serve_files
from geopretext.errors import BandError, GeopretextError, GridError, InputError, Reason, SourceError, UnitError
from geopretext.predict.open_scene import open_scene

from .scene_files import smooth, transform, write_jp2, write_raster

RED, EDGE = smooth(64, 64, 0) + np.uint16(1000), smooth(32, 32, 1) + np.uint16(1000)
CLASSES = np.where(np.arange(32)[None] < 16, 4, 9).astype(np.uint8).repeat(32, 0).reshape(32, 32)
URI = "S2B_MSIL2A_20240830T100559_N0511_R022_T32TPS_20240830T134009"
DATE = "2024-08-30T10:06:21.919000Z"
RASTER = {"nodata": 0, "data_type": "uint16", "scale": 0.0001, "offset": -0.1}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("archive")
    write_raster(place / "B04.tif", RED[None], driver="COG")
    write_raster(place / "B05.tif", EDGE[None], driver="COG", transform=transform(20))
    write_raster(place / "SCL.tif", CLASSES[None], driver="COG", transform=transform(20))
    write_raster(place / "TCI.tif", np.zeros((3, 64, 64), np.uint8), driver="COG")
    write_raster(place / "B04_20m.tif", EDGE[None], driver="COG", transform=transform(20))
    write_jp2(place / "B04.jp2", RED + np.uint16(7), 10)
    return place


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[str]:
    with serve_files(folder) as url:
        yield url


def earth_search() -> dict[str, Any]:
    """As ``sentinel-2-c1-l2a`` of Earth Search writes it: keys that are common names, and JPEG 2000 beside COGs."""
    tiff, jp2 = "image/tiff; application=geotiff; profile=cloud-optimized", "image/jp2"

    def asset(href: str, kind: str = tiff, *roles: str, **fields: Any) -> dict[str, Any]:
        return {"href": href, "type": kind, "roles": list(roles or ("data", "reflectance")), **fields}

    red = {"eo:bands": [{"name": "B04", "common_name": "red"}], "raster:bands": [RASTER]}
    return {
        "type": "Feature",
        "stac_version": "1.0.0",
        "id": "S2B_T32TPS_20240830T100559_L2A",
        "collection": "sentinel-2-c1-l2a",
        "geometry": None,
        "properties": {"datetime": DATE, "platform": "sentinel-2b", "s2:processing_baseline": "05.11"},
        "links": [],
        "assets": {
            "red": asset("B04.tif", **red),
            "red-jp2": asset("B04.jp2", jp2, **red),
            "rededge1": asset("B05.tif", **{"eo:bands": [{"name": "B05"}], "raster:bands": [RASTER]}),
            "scl": asset("SCL.tif", tiff, "data"),
            "visual": asset("TCI.tif", tiff, "visual"),
            "thumbnail": asset("thumbnail.jpg", "image/jpeg", "thumbnail"),
            "tileinfo_metadata": asset("tileInfo.json", "application/json", "metadata"),
        },
    }


def data_space() -> dict[str, Any]:
    """As the Copernicus Data Space writes it: STAC 1.1, a band at several resolutions."""
    plain = earth_search()

    def asset(href: str, name: str, gsd: int) -> dict[str, Any]:
        return {
            "href": href,
            "type": "image/tiff",
            "gsd": gsd,
            "bands": [{"name": name}],
            "raster:scale": 0.0001,
            "raster:offset": -0.1,
            "roles": ["data"],
        }

    plain["stac_version"] = "1.1.0"
    plain["properties"] = {"datetime": DATE, "constellation": "sentinel-2", "processing:version": "05.11"}
    plain["assets"] = {
        "B04_20m": asset("B04_20m.tif", "B04", 20),
        "B04_10m": asset("B04.tif", "B04", 10),
        "B05_20m": asset("B05.tif", "B05", 20),
        "SCL_20m": {"href": "SCL.tif", "type": "image/tiff", "gsd": 20, "roles": ["data"]},
    }
    return plain


def planetary_computer() -> dict[str, Any]:
    """As the Planetary Computer writes it: no scale, no offset, a baseline."""
    plain = earth_search()
    plain["properties"] = {"datetime": DATE, "s2:processing_baseline": "05.11", "s2:product_uri": f"{URI}.SAFE"}
    plain["id"] = URI
    plain["assets"] = {
        key: {"href": f"{name}.tif", "type": "image/tiff", "roles": ["data"]}
        for key, name in [("B04", "B04"), ("B05", "B05"), ("SCL", "SCL"), ("visual", "TCI")]
    }
    return plain


def write(folder: Path, plain: Mapping[str, Any], name: str = "item.json") -> Path:
    (folder / name).write_text(json.dumps(plain))
    return folder / name


def check(scene: Any, subtracted: int) -> None:
    assert (scene.bands, scene.unit, scene.level) == (("B4", "B5"), "reflectance x 10000", "L2A")
    assert scene.time == np.datetime64("2024-08-30T10:06:21")
    values, valid = scene.read(slice(0, 64), slice(0, 64), ["B4"])
    np.testing.assert_array_equal(values[0], np.where(valid[0], RED - np.float32(subtracted), 0))
    assert valid[:, :, :32].all()
    assert not valid[:, :, 32:].any()
    coarse, _ = scene.read(slice(10, 11), slice(10, 11), ["B5"])
    share = np.array([0.25, 0.75])
    np.testing.assert_allclose(coarse[0, 0, 0], share @ EDGE[4:6, 4:6] @ share - subtracted, rtol=1e-6)


@pytest.mark.parametrize("archive", [earth_search, data_space, planetary_computer])
def test_archives_are_read_from_files_and_addresses(folder: Path, server: str, archive: Any) -> None:
    path = write(folder, archive())
    check(open_scene(path), 1000)
    remote = open_scene(f"{server}/item.json")
    check(remote, 1000)
    assert remote.record["offset"] == -1000
    assert remote.record["files"]["B4"] == f"{server}/B04.tif"


@pytest.mark.parametrize(
    ("properties", "unit", "subtracted"),
    [
        ({"s2:processing_baseline": "05.11", "earthsearch:boa_offset_applied": True}, None, 0),
        ({"s2:processing_baseline": "02.14"}, "reflectance x 10000", 0),
        ({"s2:processing_baseline": "02.14"}, "reflectance x 10000 + 1000", 1000),
    ],
)
def test_the_offset_is_what_the_item_says_or_what_is_declared(
    folder: Path, properties: dict[str, Any], unit: str | None, subtracted: int
) -> None:
    plain = earth_search()
    plain["properties"] = {"datetime": DATE, "platform": "sentinel-2b", **properties}
    path = write(folder, plain, "offset.json")
    check(open_scene(path, unit=unit), subtracted)
    if unit:
        with pytest.raises(UnitError, match=r"contradict each other.*\nhint: decide with --unit"):
            open_scene(path)


def changed(key: str, **fields: Any) -> dict[str, Any]:
    plain = earth_search()
    plain["assets"][key] |= fields
    return plain


@pytest.mark.parametrize(
    ("plain", "error", "says"),
    [
        ({"type": "FeatureCollection", "features": []}, InputError, "is no STAC item"),
        ({**earth_search(), "assets": {}}, InputError, "has no asset with a band"),
        ([1, 2], InputError, "is no STAC item"),
        (changed("red", **{"raster:bands": [{"scale": 0.001}]}), UnitError, "states scale 0.0001, 0.001"),
        (changed("red", **{"raster:bands": [{**RASTER, "offset": 0}]}), UnitError, "state different offsets: -1000, 0"),
        (changed("rededge1", href="B04.tif", **{"eo:bands": [{"name": "B04"}]}), BandError, "two files are band B4"),
        (
            changed("rededge1", href="nothing.tif"),
            InputError,
            r"nothing\.tif: there is no such file, named by the item .*bad\.json",
        ),
        (changed("red", href="/vsicurl/http://127.0.0.1:9/B04.tif"), InputError, "names a file system of GDAL's"),
        (changed("rededge1", href="item.json"), InputError, "is no raster that GDAL reads"),
    ],
)
def test_bad_items_are_refused(folder: Path, plain: Any, error: type[GeopretextError], says: str) -> None:
    with pytest.raises(error, match=says):
        open_scene(write(folder, plain, "bad.json"))


def test_other_satellites_need_a_unit(folder: Path) -> None:
    plain = earth_search()
    plain["properties"] = {"datetime": DATE, "platform": "landsat-8"}
    plain["assets"] = {"SR_B4": {"href": "B04.tif", "eo:bands": [{"name": "SR_B4", "common_name": "red"}]}}
    path = write(folder, plain, "landsat.json")
    with pytest.raises(UnitError, match="does not say what its numbers are"):
        open_scene(path)
    scene = open_scene(path, unit="reflectance x 10000")
    assert scene.bands == ("SR_B4",), "its B4 is not Sentinel-2's"


def test_items_of_the_network_name_no_files_of_this_machine(folder: Path, server: str, tmp_path: Path) -> None:
    for number, href in enumerate((f"file://{folder}/B04.tif", f"/vsimem/{folder}/B04.tif", "ftp://127.0.0.1/B04.tif")):
        write(folder, changed("red", href=href), f"local{number}.json")
        with pytest.raises((InputError, SourceError)):
            open_scene(f"{server}/local{number}.json")
    vrt = f'<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="UInt16" band="1"><SimpleSource>\
<SourceFilename>{folder}/B04.tif</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>'
    (folder / "trap.tif").write_text(vrt)
    path = write(folder, changed("red", href="trap.tif"), "trap.json")
    with pytest.raises(InputError, match="is no raster"):
        open_scene(path)
    (folder / "trap.tif").write_bytes((folder / "B04.tif").read_bytes())
    elsewhere = pickle.dumps(open_scene(path))
    (folder / "trap.tif").write_text(vrt)
    with pytest.raises(InputError, match="is no raster"):
        pickle.loads(elsewhere).read(slice(0, 9), slice(0, 9), ["B4"])


def test_addresses_that_do_not_answer_are_said(server: str) -> None:
    with pytest.raises(SourceError, match="answers 404") as caught:
        open_scene(f"{server}/nothing.json")
    assert caught.value.reason is Reason.NO_FILE
    with pytest.raises(SourceError, match="does not answer"):
        open_scene("http://127.0.0.1:9/item.json")
    with pytest.raises(InputError, match="no address that items are fetched from"):
        open_scene("s3://bucket/item.json")


@pytest.mark.parametrize("link", ["./item.json", "/moved/item.json", "https://archive.invalid/item.json", None])
def test_files_beside_an_item_go_before_the_address_that_it_calls_its_own(folder: Path, link: str | None) -> None:
    plain = earth_search() | {"links": [{"rel": "self"} if link is None else {"rel": "self", "href": link}]}
    check(open_scene(write(folder, plain, "copied.json")), 1000)


def test_an_item_without_its_files_is_read_from_its_own_address(folder: Path, server: str, tmp_path: Path) -> None:
    plain = earth_search() | {"links": [{"rel": "self", "href": f"{server}/item.json"}]}
    scene = open_scene(write(tmp_path, plain))
    check(scene, 1000)
    assert scene.record["files"]["B4"] == f"{server}/B04.tif"


def test_items_without_a_crs_may_be_taken(folder: Path, tmp_path: Path) -> None:
    write_raster(tmp_path / "B04.tif", RED[None], crs=None)
    plain = earth_search()
    plain["assets"] = {"red": plain["assets"]["red"]}
    path = write(tmp_path, plain)
    with pytest.raises(GridError, match="it has no CRS"):
        open_scene(path)
    assert open_scene(path, allow_no_crs=True).georeference.crs == ""

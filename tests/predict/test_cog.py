"""COGs: laid out as such, at the place they say, with overviews that know what is missing."""

import struct
from pathlib import Path

import numpy as np
import pytest

from geopretext.errors import InputError, StoreError
from geopretext.predict import disk_space
from geopretext.predict.cog import Bands, block_side, write_cog
from geopretext.predict.scene import Georeference

rasterio = pytest.importorskip("rasterio")

UTM = Georeference("EPSG:32632", (80.0, 0.0, 500_000.0, 0.0, -80.0, 5_000_000.0))


def write(path, values, bands, *, step=37, georeference=UTM, **options):
    blocks = (values[row : row + step] for row in range(0, len(values), step))
    height, width = values.shape[:2]
    write_cog(path, blocks, height=height, width=width, georeference=georeference, bands=bands, **options)


def directories(path):
    """Of a classic TIFF, in order: where each directory stands, its width, and where its blocks begin."""
    content = Path(path).read_bytes()
    assert content[:4] == b"II*\0"
    (at,) = struct.unpack_from("<I", content, 4)
    found = []
    while at:
        (count,) = struct.unpack_from("<H", content, at)
        entries = {}
        for number in range(count):
            tag, kind, length, value = struct.unpack_from("<HHII", content, at + 2 + 12 * number)
            letter = {3: "H", 4: "I"}.get(kind)
            if letter is not None:
                inline = struct.calcsize(f"<{length}{letter}") <= 4
                entries[tag] = struct.unpack_from(
                    f"<{length}{letter}", content, at + 10 + 12 * number if inline else value
                )
        found.append((at, entries[256][0], entries[324]))
        (at,) = struct.unpack_from("<I", content, at + 2 + 12 * count)
    return found


@pytest.mark.parametrize(
    ("dtype", "nodata", "count"), [("int8", -128, 300), ("uint8", 0, 1), ("float32", np.nan, 3), ("float16", np.nan, 3)]
)
def test_what_is_written_is_read(tmp_path, dtype, nodata, count):
    rng = np.random.default_rng(0)
    values = rng.uniform(1, 100, (150, 170, count)).astype("float32" if dtype == "float16" else dtype)
    values[:20, :30] = nodata
    names = tuple(f"band {number}" for number in range(count))
    scales, offsets = (tuple(rng.uniform(1, 2, count).tolist()) for _ in range(2))
    bands = Bands(names, dtype, nodata, scales, offsets, ("m",) * count, tags={"GEOPRETEXT": '{"a": "b"}'})
    write(tmp_path / "out.tif", values, bands)
    with rasterio.open(tmp_path / "out.tif") as file:
        read = file.read().transpose(1, 2, 0)
        assert file.descriptions == names
        assert (file.scales, file.offsets, file.units) == (scales, offsets, ("m",) * count)
        assert file.tags()["GEOPRETEXT"] == '{"a": "b"}'
        np.testing.assert_equal(file.nodata, nodata)
    expected = values.astype(np.float16).astype(np.float32) if dtype == "float16" else values
    np.testing.assert_array_equal(read, expected)
    assert [each.name for each in tmp_path.iterdir()] == ["out.tif"]


def test_the_layout_is_that_of_a_cog(tmp_path):
    values = np.random.default_rng(0).integers(0, 99, (1500, 1100, 2)).astype(np.uint8)
    write(tmp_path / "out.tif", values, Bands(("a", "b"), "uint8"))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(ns="IMAGE_STRUCTURE")["LAYOUT"] == "COG"
        assert file.overviews(1) == [2, 4, 8]
        assert file.profile["interleave"] == "pixel"
    levels = directories(tmp_path / "out.tif")
    assert [width for _, width, _ in levels] == [1100, 550, 275, 138]
    places = [at for at, _, _ in levels]
    assert places == sorted(places)
    firsts = [min(blocks) for _, _, blocks in levels]
    assert firsts == sorted(firsts, reverse=True)  # coarse first, so that the beginning of the file is a picture
    assert min(firsts) > max(places)


@pytest.mark.parametrize(("longitude", "latitude"), [(9.01, 45.1), (9.06, 45.14)])
def test_a_bright_place_is_found_where_it_is(tmp_path, longitude, latitude):
    from pyproj import Transformer

    x, y = Transformer.from_crs("EPSG:4326", "EPSG:32632", always_xy=True).transform(longitude, latitude)
    values = np.zeros((300, 200, 1), np.float32)
    values[int((5_000_000 - y) // 80), int((x - 500_000) // 80)] = 7
    write(tmp_path / "out.tif", values, Bands(("a",), "float32"))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert next(file.sample([(x, y)]))[0] == 7
        assert file.read().sum() == 7
        assert file.crs.to_epsg() == 32632


def test_overviews_of_numbers_are_means_of_what_is_there(tmp_path):
    values = np.full((600, 600, 1), -128, np.int8)
    values[::2, ::2] = 40
    values[:, 300:] = -128
    write(tmp_path / "out.tif", values, Bands(("a",), "int8", -128))
    with rasterio.open(tmp_path / "out.tif", overview_level=0) as file:
        coarse = file.read(1)
    assert (coarse[:, :150] == 40).all()
    assert (coarse[:, 150:] == -128).all()


def test_classes_have_names_colours_and_no_means(tmp_path):
    values = np.random.default_rng(0).choice([10, 20, 80], (600, 700, 1)).astype(np.uint8)
    names = {10: "Tree cover", 20: "Shrub & <herb>", 80: "Water"}
    colours = {10: (0, 100, 0, 255), 20: (255, 187, 34, 255), 80: (0, 100, 200, 255)}
    write(tmp_path / "out.tif", values, Bands(("class",), "uint8", 0, colours=colours, categories=names))
    with rasterio.open(tmp_path / "out.tif") as file:
        assert file.tags(1)["CLASS_20"] == "Shrub & <herb>"
        assert file.colormap(1)[80] == (0, 100, 200, 255)
    with rasterio.open(tmp_path / "out.tif", overview_level=0) as file:
        assert set(np.unique(file.read(1))) == {10, 20, 80}
    beside = (tmp_path / "out.tif.aux.xml").read_text()
    assert beside.count("<Category>") == 81
    assert "Shrub &amp; &lt;herb&gt;" in beside


def test_blocks_of_many_bands_are_smaller():
    few, many = (Bands(("x",) * count, "int8") for count in (1, 320))
    assert block_side(few) == 512
    assert block_side(many) == 128


def test_what_stops_it_leaves_what_there_was(tmp_path):
    path = tmp_path / "out.tif"
    path.write_bytes(b"before")

    def blocks():
        yield np.zeros((10, 20, 1), np.uint8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_cog(path, blocks(), height=20, width=20, georeference=UTM, bands=Bands(("a",), "uint8"))
    assert path.read_bytes() == b"before"
    assert [each.name for each in tmp_path.iterdir()] == ["out.tif"]


def test_a_folder_that_is_not_there_and_an_unknown_crs_are_refused(tmp_path):
    values = np.zeros((5, 5, 1), np.uint8)
    with pytest.raises(InputError, match="no such folder"):
        write(tmp_path / "none" / "out.tif", values, Bands(("a",), "uint8"))
    with pytest.raises(InputError, match="does not know the CRS 'EPSG:1'"):
        write(tmp_path / "out.tif", values, Bands(("a",), "uint8"), georeference=Georeference("EPSG:1", UTM.transform))


def test_a_disk_that_is_too_small_is_said_before_the_work(tmp_path, monkeypatch):
    monkeypatch.setattr(disk_space.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1_000_000}))
    with pytest.raises(StoreError, match=r"writing out.tif takes up to 2\.7 GB, and 1\.0 MB are free"):
        write_cog(
            tmp_path / "out.tif", iter(()), height=10_000, width=10_000, georeference=UTM,
            bands=Bands(("a",) * 10, "uint8"),
        )  # fmt: skip

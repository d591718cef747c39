"""Tiles as numbers, pictures and files: what comes out is what the store holds."""

import csv
import io
import json
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import numpy as np
import pytest

from geopretext.apps.viewer.describe import (
    describe_modality,
    describe_tile,
    describe_vectors,
    find_tile,
    parse_sources,
    wavelength,
)
from geopretext.apps.viewer.opened import StoreEntry
from geopretext.apps.viewer.packet import pack, unpack, with_gaps
from geopretext.apps.viewer.thumbnails import Thumbnails, encode_png, picture
from geopretext.apps.viewer.tile_api import TileDesk, attachment
from geopretext.apps.viewer.tile_files import save_tile
from geopretext.data.store import Store
from geopretext.errors import InputError
from geopretext.modality import BIOMES, ECOREGIONS, PUBLISHED, Band, Observed

TILE = 7


@pytest.fixture(scope="module")
def reader(store: Path) -> Store:
    return Store.open(store)


def test_a_packet_holds_every_map_as_stored(reader: Store, store: Path) -> None:
    header, arrays = unpack(TileDesk(StoreEntry("tiles", "tiles", str(store))).packet(TILE))
    maps = [name for name, modality in reader.modalities.items() if modality.kind.is_map]
    assert [each["name"] for each in header["maps"]] == list(arrays) == maps
    stored = reader.read(["sentinel2", "dynamic_world"], np.array([TILE]))
    bands = stored["sentinel2"][0].astype(np.float32)
    assert np.array_equal(arrays["sentinel2"], np.where(bands == 0, np.nan, bands), equal_nan=True)
    codes = [label.code for label in PUBLISHED["dynamic_world"].classes]
    seen = stored["dynamic_world"][0] > 0
    index = arrays["dynamic_world"][seen].astype(int)
    assert np.array_equal(np.array(codes)[index], stored["dynamic_world"][0][seen])
    assert np.isnan(arrays["dynamic_world"][~seen]).all()


def test_packets_are_aligned_and_come_back() -> None:
    arrays = {"odd": np.arange(3, dtype=np.uint16).reshape(1, 3), "empty": np.zeros((0, 2)), "one": np.float64(2.5)}
    content = pack({"text": "ä"}, arrays)  # two bytes in UTF-8
    assert (len(content) - 4 * 4) % 4 == 0
    header, back = unpack(content)
    assert header["text"] == "ä"
    assert {name: array.tolist() for name, array in back.items()} == {"odd": [[0, 1, 2]], "empty": [], "one": 2.5}
    gaps = with_gaps(Observed(np.array([1, 0]), np.array([True, False])))
    assert gaps.tolist()[0] == 1.0
    assert np.isnan(gaps[1])


def test_what_is_known_of_a_tile(reader: Store) -> None:
    about = describe_tile(reader, TILE)
    assert (about["number"], about["count"], about["size"]) == (TILE, len(reader), 32)
    assert about["id"] == reader.coordinates.tile_id[TILE]
    assert about["biome"] == BIOMES[reader.coordinates.biome[TILE]]
    assert about["ecoregion"] == ECOREGIONS[reader.coordinates.ecoregion[TILE]]
    assert about["levels"]["sentinel2"] in ("L1C", "L2A")
    assert about["sources"]["place"] == TILE
    json.dumps(about, allow_nan=False)
    with pytest.raises(InputError, match="no tile 120"):
        describe_tile(reader, len(reader))


def test_vectors_are_readable(reader: Store) -> None:
    groups = {group["name"]: group["rows"] for group in describe_vectors(reader, TILE)}
    stored = float(reader.read(["era5"], np.array([TILE]))["era5"][0, 0])
    assert groups["era5"][0] == {
        "quantity": "Mean temperature, previous month",
        "value": f"{stored - 273.15:.1f} °C ({stored:.1f} K)",
    }
    lat = float(reader.coordinates.lat[TILE])
    assert groups["lat"][0]["value"] == f"{lat:.1f}°"


def test_tiles_are_found_by_number_id_and_part_of_it(reader: Store) -> None:
    ids = reader.coordinates.tile_id
    assert find_tile(reader, "12") == 12
    assert find_tile(reader, f" {ids[33]} ") == 33
    assert find_tile(reader, str(ids[101])[-4:].lstrip("0").rjust(4, "0")) == 101
    with pytest.raises(InputError, match="no tile has 'nowhere'"):
        find_tile(reader, "nowhere")
    with pytest.raises(InputError, match="120 tiles have 'synthetic'"):
        find_tile(reader, "synthetic")


def test_wavelengths_come_from_the_modality_table() -> None:
    found = {band.name: wavelength(band) for band in PUBLISHED["sentinel2"].bands}
    assert found["B4"] == 665
    assert found["B12"] == 2190
    assert None not in found.values()
    assert wavelength(Band("x", title="400 nmi from shore")) is None
    assert wavelength(PUBLISHED["sentinel1"].bands[0]) is None


def test_percentiles_are_those_of_the_level(reader: Store) -> None:
    statistics = reader.statistics
    assert statistics is not None
    modality = reader.modalities["sentinel2"]
    told = describe_modality(modality, statistics, "L2A")["bands"][3]
    assert told["percentiles"] == dict(statistics.modalities["sentinel2"].bands["L2A"]["B4"].percentiles)
    # B10 is of L1C alone: its other percentiles are those of all levels
    assert describe_modality(modality, None)["bands"][3]["percentiles"] is None


def test_sources_that_are_no_json_are_text() -> None:
    assert parse_sources('{"a": [1]}') == {"a": [1]}
    assert parse_sources("made by hand") == "made by hand"
    assert parse_sources("") is None


def test_thumbnails_are_true_colour(reader: Store) -> None:
    image = pytest.importorskip("PIL.Image", reason="needs pillow")
    thumbnails = Thumbnails(reader)
    content = thumbnails.png(TILE, 32)
    seen = np.asarray(image.open(io.BytesIO(content)))
    raw = reader.read(["sentinel2"], np.array([TILE]))["sentinel2"][0].astype(float)
    red, green, blue = (raw[reader.modalities["sentinel2"].band_names.index(name)] for name in ("B4", "B3", "B2"))
    valid = (red > 0) & (green > 0) & (blue > 0)
    bands = np.stack([red, green, blue], -1)
    low, high = np.percentile(bands[bands > 0], (2, 98))
    expected = np.clip((bands - low) / (high - low), 0, 1) * 255
    assert np.abs(seen[valid] - expected[valid]).max() <= 1
    assert (seen[~valid] == (207, 212, 216)).all()
    assert thumbnails.png(TILE, 32) is content
    assert image.open(io.BytesIO(thumbnails.png(TILE, 64))).size == (64, 64)
    with pytest.raises(InputError, match="size is 5000"):
        thumbnails.png(TILE, 5000)


def test_a_store_of_classes_has_thumbnails_too(reader: Store) -> None:
    classes = SimpleNamespace(path="memory", read=reader.read, modalities={"dynamic_world": PUBLISHED["dynamic_world"]})
    drawn = picture(classes, TILE)
    raw = reader.read(["dynamic_world"], np.array([TILE]))["dynamic_world"][0, 0]
    row, column = np.argwhere(raw > 0)[0]
    color = PUBLISHED["dynamic_world"].classes[raw[row, column] - 1].color
    assert "#" + bytes(drawn[row, column]).hex() == color
    assert encode_png(drawn, 16)[:4] == b"\x89PNG"
    classes.modalities = {"era5": PUBLISHED["era5"]}
    with pytest.raises(InputError, match="no map"):
        picture(classes, TILE)


def test_a_geotiff_lies_where_the_tile_lies(reader: Store) -> None:
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    for name in ("sentinel2", "dynamic_world", "sentinel1"):
        saved = save_tile(reader, TILE, "tif", name)
        with rasterio.MemoryFile(saved.content) as memory, memory.open() as file:
            stored = reader.read([name], np.array([TILE]))[name][0]
            assert np.array_equal(file.read(), stored, equal_nan=name == "sentinel1")
            assert file.crs.to_epsg() == reader.coordinates.crs[TILE]
            assert tuple(file.transform)[:6] == tuple(reader.coordinates.transform[TILE])
            assert file.descriptions == reader.modalities[name].band_names
            assert file.nodata == 0 or name == "sentinel1"
            if name == "dynamic_world":
                assert file.colormap(1)[1] == (0x41, 0x9B, 0xDF, 255)
                assert file.tags(1)["class_2"] == "trees"


def test_tables_name_units_and_leave_gaps_empty(reader: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(save_tile(reader, TILE, "csv", "sentinel2").content.decode())))
    raw = reader.read(["sentinel2"], np.array([TILE]))["sentinel2"][0]
    assert len(rows) == 32 * 32
    row = rows[5 * 32 + 9]
    assert (row["row"], row["column"]) == ("5", "9")
    a, _, c, _, e, f = reader.coordinates.transform[TILE]
    assert (float(row["x"]), float(row["y"])) == (c + 9.5 * a, f + 5.5 * e)
    for place, name in enumerate(reader.modalities["sentinel2"].band_names):
        text = row[f"{name} (reflectance x 10000)"]
        assert text == ("" if raw[place, 5, 9] == 0 else str(raw[place, 5, 9]))
    classes = list(csv.DictReader(io.StringIO(save_tile(reader, TILE, "csv", "dynamic_world").content.decode())))
    assert {row["landcover"] for row in classes} <= {"", *(c.name for c in PUBLISHED["dynamic_world"].classes)}


def test_tables_hold_numbers_to_the_last_bit(reader: Store) -> None:
    rows = list(csv.DictReader(io.StringIO(save_tile(reader, TILE, "csv", "sentinel1").content.decode())))
    modality = reader.modalities["sentinel1"]
    values, valid = (part[0] for part in modality.decode(reader.read(["sentinel1"], np.array([TILE]))["sentinel1"]))
    assert valid.any()
    for place, name in enumerate(modality.band_names):
        texts = [row[f"{name} (dB)"] for row in rows]
        assert [text != "" for text in texts] == valid[place].ravel().tolist()
        told = np.array([text for text in texts if text], np.float32)
        assert np.array_equal(told, values[place][valid[place]].astype(np.float32))


def test_files_are_named_in_any_script() -> None:
    assert attachment("tile_7.csv") == 'attachment; filename="tile_7.csv"'
    for name, plain in (("Überlingen.csv", "_berlingen.csv"), ("北京-2.csv", "__-2.csv")):
        header = attachment(name)
        assert header.isascii()
        assert header.startswith(f'attachment; filename="{plain}"; ')
        assert unquote(header.partition("filename*=UTF-8''")[2]) == name


def test_all_numbers_of_a_tile_in_one_file(reader: Store) -> None:
    with np.load(io.BytesIO(save_tile(reader, TILE, "npz").content), allow_pickle=False) as file:
        stored = reader.read(["sentinel2", "era5"], np.array([TILE]))
        assert np.array_equal(file["sentinel2"], stored["sentinel2"][0])
        assert np.array_equal(file["era5"], stored["era5"][0], equal_nan=True)
        assert file["sentinel2_bands"].tolist() == list(reader.modalities["sentinel2"].band_names)
    about = json.loads(save_tile(reader, TILE, "json").content)
    assert about["tile"]["number"] == TILE
    for form, modality, told in (("exe", "", "not saved as 'exe'"), ("tif", "era5", "not a map"), ("tif", "x", "'x'")):
        with pytest.raises(InputError, match=told):
            save_tile(reader, TILE, form, modality)


def test_official_tiles_that_say_not_where_they_lie(tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs h5py")
    from ...data.mmearth_layout import write_mmearth

    folder = write_mmearth(tmp_path / "data_100k_v001_64", count=4)
    desk = TileDesk(StoreEntry("official", "official", str(folder)))
    header, arrays = unpack(desk.packet(1))
    assert header["tile"]["transform"] is None
    assert arrays["sentinel2"].shape == (13, 64, 64)
    assert all(band["percentiles"] is None for band in header["maps"][0]["bands"])
    rows = list(csv.DictReader(io.StringIO(save_tile(desk.reader, 1, "csv", "aster").content.decode())))
    assert {(row["x"], row["y"]) for row in rows} == {("", "")}
    rasterio = pytest.importorskip("rasterio", reason="needs rasterio")
    with rasterio.MemoryFile(save_tile(desk.reader, 1, "tif", "aster").content) as memory, memory.open() as file:
        assert file.transform.is_identity
        assert np.array_equal(file.read(), desk.reader.read(["aster"], np.array([1]))["aster"][0])

"""Opening, reading and verifying a store, here and with the libraries that people will open it with."""

import json
import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import tensorstore

from geopretext.data.reader import open_tiles, statistics_of
from geopretext.data.statistics import compute_statistics
from geopretext.data.store import Store
from geopretext.data.writer import StoreWriter
from geopretext.errors import CorruptError, InputError, StoreError

from .store_tiles import MODALITIES, SIZE, make_tiles

COUNT = 23


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("store") / "tiles.zarr"
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=5, recipe={"name": "test"}) as writer:
        writer.append(make_tiles(0, COUNT))
    return path


@pytest.fixture
def copy(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "tiles.zarr"))


def test_reads_what_was_written_in_the_order_asked_for(written: Path) -> None:
    store = Store.open(written)
    tiles = np.array([22, 0, 7, 7, 3])
    wanted = make_tiles(0, COUNT).arrays
    got = store.read(store.modalities, tiles)
    assert list(got) == [modality.name for modality in MODALITIES]
    for name, array in got.items():
        assert array.dtype == wanted[name].dtype
        np.testing.assert_array_equal(array, wanted[name][tiles], err_msg=name)
    assert store.read(["sentinel2"], np.empty(0, np.int64))["sentinel2"].shape == (0, 13, SIZE, SIZE)


def test_coordinates_come_back(written: Path) -> None:
    store = Store.open(written)
    wanted, got = make_tiles(0, COUNT).coordinates, store.coordinates
    for name in ("tile_id", "lat", "lon", "crs", "transform", "time", "biome", "ecoregion", "split"):
        np.testing.assert_array_equal(getattr(got, name), getattr(wanted, name), err_msg=name)
    assert got.source_items is not None
    assert json.loads(got.source_items[4])["sentinel2"] == "S2A 4 ü"
    np.testing.assert_array_equal(got.levels["sentinel2"], wanted.levels["sentinel2"])
    assert dict(store.modalities) == {modality.name: modality for modality in MODALITIES}
    assert store.attributes["recipe"] == {"name": "test"}
    assert store.tile_size == SIZE


def test_a_modality_is_present_where_any_value_is_valid(tmp_path: Path) -> None:
    batch = make_tiles(0, 4)
    batch.arrays["sentinel2"][1] = 0  # no data
    batch.arrays["sentinel2"][2] = 0
    batch.arrays["sentinel2"][2, 3, 5, 7] = 100  # one single valid value
    arrays = {name: array for name, array in batch.arrays.items() if name != "sentinel1"}
    with StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE) as writer:
        writer.append(type(batch)(batch.coordinates, arrays))
    store = Store.open(tmp_path / "s")
    assert (store.present & 1).tolist() == [1, 0, 1, 1]
    assert (store.present >> 1 & 1).tolist() == [0, 0, 0, 0]
    assert np.isnan(store.read(["sentinel1"], np.arange(4))["sentinel1"]).all()


def test_many_threads_may_read(written: Path) -> None:
    store, wanted = Store.open(written), make_tiles(0, COUNT).arrays
    draws = [np.random.default_rng(seed).integers(0, COUNT, 9) for seed in range(24)]
    with ThreadPoolExecutor(8) as pool:
        for tiles, got in zip(
            draws, pool.map(lambda tiles: store.read(["sentinel2", "lat"], tiles), draws), strict=True
        ):
            np.testing.assert_array_equal(got["sentinel2"], wanted["sentinel2"][tiles])
            np.testing.assert_array_equal(got["lat"], wanted["lat"][tiles])


def test_a_pickled_store_reopens(written: Path) -> None:
    again = pickle.loads(pickle.dumps(Store.open(written)))
    assert len(again) == COUNT


def test_opens_in_xarray_with_named_dimensions(written: Path) -> None:
    xarray = pytest.importorskip("xarray")
    with xarray.open_zarr(written) as dataset:
        assert dataset.sentinel2.dims == ("tile", "sentinel2_band", "y", "x")
        assert dataset.sentinel2.dtype == np.uint16
        assert {"tile_id", "lat", "lon", "time", "split", "sentinel2_level"} <= set(dataset.coords)
        wanted = make_tiles(0, COUNT)
        blue = dataset.sentinel2.sel(sentinel2_band="B2").values
        np.testing.assert_array_equal(blue, wanted.arrays["sentinel2"][:, 1])
        np.testing.assert_array_equal(dataset.lat.values, wanted.coordinates.lat)
        np.testing.assert_array_equal(dataset.lat_vector.values, wanted.arrays["lat"])
        np.testing.assert_array_equal(dataset.time.values.astype("datetime64[s]"), wanted.coordinates.time)
        assert dataset.tile_id.values[5] == "tile-5"
        assert json.loads(dataset.source_items.values[4])["sentinel2"] == "S2A 4 ü"
        assert dataset.sentinel2.attrs["unit"] == "reflectance x 10000"
        assert dataset.sentinel2.attrs["no_data"] == [0, 65535]
        assert dataset.split.attrs["flag_meanings"] == "none train val test"


def test_opens_in_tensorstore_and_zarr_as_they_are(written: Path) -> None:
    wanted = make_tiles(0, COUNT).arrays["sentinel1"]
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": f"{written}/sentinel1/"}}
    array = tensorstore.open(spec).result()
    assert array.domain.labels == ("tile", "sentinel1_band", "y", "x")
    np.testing.assert_array_equal(array.read().result(), wanted)
    zarr = pytest.importorskip("zarr")
    group = zarr.open_group(written, mode="r")
    np.testing.assert_array_equal(group["sentinel1"][3:9], wanted[3:9])
    assert group["sentinel1_band"][0] == "asc_VV"
    chunk = group["sentinel1"].chunks
    assert chunk == (1, 8, SIZE, SIZE)


def test_opens_in_geopandas_with_footprints(written: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    pyproj = pytest.importorskip("pyproj")
    frame = geopandas.read_parquet(written / "tiles.parquet")
    assert len(frame) == COUNT
    assert frame.crs.to_authority() == ("OGC", "CRS84")
    on_grid = frame.to_crs(32632).geometry
    np.testing.assert_allclose(on_grid.area, (SIZE * 10) ** 2, rtol=1e-6)
    np.testing.assert_allclose(on_grid.bounds.minx, 500_000 + np.arange(COUNT) * 80, atol=1e-3)
    assert frame.geometry.is_valid.all()
    assert frame.geometry.iloc[0].exterior.is_ccw
    assert frame.split.tolist()[:4] == ["train", "val", "test", "train"]
    assert list(frame.modalities.iloc[0]) == [modality.name for modality in MODALITIES]
    assert frame.time.isna().tolist() == [number == 3 for number in range(COUNT)]
    del pyproj


def test_footprints_without_pyproj_are_boxes_around_the_centre(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    geopandas = pytest.importorskip("geopandas")
    monkeypatch.setitem(__import__("sys").modules, "pyproj", None)
    Store.open(copy).write_parquet()
    monkeypatch.undo()
    frame = geopandas.read_parquet(copy / "tiles.parquet")
    np.testing.assert_allclose(frame.bounds[["miny", "maxy"]].mean(axis=1), frame.lat)
    np.testing.assert_allclose(frame.to_crs(32632).area, (SIZE * 10) ** 2, rtol=0.01)


def test_re_splitting_keeps_everything_else(copy: Path) -> None:
    store = Store.open(copy)
    split = np.full(COUNT, -1, np.int8)
    split[:4] = 2
    store.set_split(split)
    np.testing.assert_array_equal(store.coordinates.split, split)
    again = Store.open(copy)
    np.testing.assert_array_equal(again.coordinates.split, split)
    assert again.verify() == []
    with StoreWriter.resume(copy) as writer:
        writer.append(make_tiles(COUNT, COUNT + 4))
    np.testing.assert_array_equal(Store.open(copy).coordinates.split[:COUNT], split)


@pytest.mark.parametrize("split", [np.zeros(3, np.int8), np.full(COUNT, 3, np.int8), np.zeros(COUNT, np.float32)])
def test_a_wrong_split_is_refused(written: Path, split: np.ndarray) -> None:
    with pytest.raises(InputError, match="a split is"):
        Store.open(written).set_split(split)


def test_statistics_lie_with_the_store(copy: Path) -> None:
    store = Store.open(copy)
    assert store.statistics is None
    computed = statistics_of(store)
    store.set_statistics(computed)
    assert Store.open(copy).statistics == computed == compute_statistics(store)
    (copy / "statistics.json").write_text("{")
    with pytest.raises(CorruptError, match=r"statistics\.json") as caught:
        _ = Store.open(copy).statistics
    assert "geopretext stats" in caught.value.hint
    assert Store.open(copy).verify()[0].startswith("statistics.json: cannot be read")


@pytest.mark.parametrize(
    ("names", "tiles", "message"),
    [
        (["sentinel3"], [0], "no modality 'sentinel3'"),
        (["sentinel2"], [0, COUNT], f"no tile {COUNT}; there are 0 to {COUNT - 1}"),
        (["sentinel2"], [-1], "no tile -1"),
        (["sentinel2"], [[0]], "a row of whole numbers"),
        (["sentinel2"], [0.5], "a row of whole numbers"),
    ],
)
def test_bad_requests_are_refused(written: Path, names: list[str], tiles: list[int], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Store.open(written).read(names, np.array(tiles))


def test_a_sound_store_has_nothing_to_report(written: Path) -> None:
    assert Store.open(written).verify() == []


def _flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0x55
    path.write_bytes(bytes(data))


def test_a_flipped_byte_is_found_on_reading_and_named(copy: Path) -> None:
    _flip(copy / "sentinel2/c/1/0/0/0", 200)  # in the first tile of the shard
    store = Store.open(copy)
    store.read(["sentinel2"], np.array([0, 6]))  # other tiles are readable
    with pytest.raises(CorruptError, match="sentinel2/c/1/0/0/0: is corrupt") as caught:
        store.read(["sentinel2"], np.array([0, 5]))
    assert str(copy) in caught.value.where
    assert "verify" in caught.value.hint


def test_a_truncated_and_a_missing_shard_are_named(copy: Path) -> None:
    shard = copy / "dynamic_world/c/2/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-7])
    (copy / "sentinel2/c/0/0/0/0").unlink()
    store = Store.open(copy)
    with pytest.raises(CorruptError, match="dynamic_world/c/2/0/0/0: is truncated"):
        store.read(["dynamic_world"], np.array([11]))
    with pytest.raises(CorruptError, match="sentinel2/c/0/0/0/0: is missing"):
        store.read(["sentinel2"], np.array([1]))


def test_verify_lists_all_that_is_wrong(copy: Path) -> None:
    _flip(copy / "sentinel2/c/1/0/0/0", 200)
    shard = copy / "dynamic_world/c/2/0/0/0"
    shard.write_bytes(shard.read_bytes()[:-7])
    (copy / "sentinel1/c/0/0/0/0").unlink()
    _flip(copy / "tile_id/c/0", 20)
    _flip(copy / "lat_vector/c/0/0", 3)
    _flip(copy / "split/c/0", 3)
    _flip(copy / "sentinel2_band/c/0", 9)
    (copy / "shards/00003-00005.json").unlink()
    report = "\n".join(Store.open(copy).verify())
    for part in (
        "sentinel2/c/1/0/0/0: is corrupt",
        "dynamic_world/c/2/0/0/0: is truncated",
        "sentinel1/c/0/0/0/0: is missing",
        "tile_id/c/0: is corrupt",
        "lat_vector/c/0/0: is corrupt",
        "split:",
        "sentinel2_band:",
        "shards/00003-00005.json: is missing",
    ):
        assert part in report
    assert len(report.splitlines()) == 8


@pytest.mark.parametrize("key", ["tile_id/c/0", "lat/c/0", "lat_vector/c/0/0"])
def test_damaged_tables_are_named_on_reading(copy: Path, key: str) -> None:
    _flip(copy / key, 20)
    store = Store.open(copy)
    with pytest.raises(CorruptError, match=key):
        _ = store.read(["lat"], np.array([0])) if "vector" in key else store.coordinates


def test_what_is_no_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no tile store here") as caught:
        Store.open(tmp_path / "nothing.zarr")
    assert "geopretext convert" in caught.value.hint
    (tmp_path / "zarr.json").write_text('{"zarr_format": 3, "node_type": "group", "attributes": {}}')
    with pytest.raises(StoreError, match="no tile store of geopretext"):
        Store.open(tmp_path)
    with pytest.raises(StoreError, match="cannot reach ftp://"):
        Store.open("ftp://somewhere/tiles.zarr")


def test_a_damaged_root_and_a_later_version_are_told_apart(copy: Path) -> None:
    root = copy / "zarr.json"
    text = root.read_text()
    root.write_text(text.replace('"format_version": 1', '"format_version": 2'))
    with pytest.raises(StoreError, match="format version 2") as caught:
        Store.open(copy)
    assert "upgrade" in caught.value.hint
    for damaged in (text[:-100], text.replace(f'"tiles": {COUNT}', '"tiles": 99'), text.replace("uint16", "uint32", 1)):
        root.write_text(damaged)
        with pytest.raises(CorruptError, match=r"zarr\.json"):
            Store.open(copy)


def test_one_door_for_all_readers(written: Path, tmp_path: Path) -> None:
    assert len(open_tiles(written)) == COUNT
    with pytest.raises(StoreError, match="there is nothing here"):
        open_tiles(tmp_path / "nothing")
    with pytest.raises(StoreError, match="neither a tile store") as caught:
        open_tiles(tmp_path)
    assert "geopretext convert" in caught.value.hint


def test_a_store_may_live_in_memory() -> None:
    path = "memory://a-bucket/tiles.zarr"
    with StoreWriter.create(path, MODALITIES, tile_size=SIZE, shard_size=5) as writer:
        writer.append(make_tiles(0, 7))
    store = open_tiles(path)
    np.testing.assert_array_equal(store.read(["lat"], np.arange(7))["lat"], make_tiles(0, 7).arrays["lat"])

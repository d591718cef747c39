"""Official MMEarth directories: what their numbers mean, and what is said when they are broken."""

import json
import pickle
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import h5py
import numpy as np
import pytest

from geopretext.data.mmearth import MMEarthReader
from geopretext.errors import CorruptError, GridError, InputError, StoreError
from geopretext.modality import MMEARTH

from .mmearth_layout import BANDS, make_arrays, write_mmearth

ALL = np.arange(12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mmearth(tmp_path_factory.mktemp("official") / "data_1k_v001_64")


def test_holds_every_published_modality_in_our_names_and_dtypes(folder: Path) -> None:
    reader = MMEarthReader(folder)
    assert list(reader.modalities) == list(MMEARTH)
    assert (len(reader), reader.tile_size) == (12, 64)
    for name, array in reader.read(MMEARTH, ALL).items():
        modality = MMEARTH[name]
        assert array.dtype == modality.dtype
        assert array.shape == (12, len(modality.bands), *((64, 64) if modality.kind.is_map else ()))
        modality.decode(array)


def test_missing_means_missing(folder: Path) -> None:
    """Each published no-data number, and each form that it took on its way into the HDF5."""
    reader = MMEarthReader(folder)
    arrays = reader.read(MMEARTH, ALL)
    valid = {name: MMEARTH[name].decode(raw)[1] for name, raw in arrays.items()}
    sentinel2 = MMEARTH["sentinel2"]
    b10 = sentinel2.band_indices(["B10"])[0]
    assert not valid["sentinel2"][1::2, b10].any()
    assert valid["sentinel2"][0].all()
    assert not valid["sentinel2"][3, :, :4].any()
    assert valid["sentinel2"][3, 0, 4:].all()
    assert not valid["sentinel1"][0, :4].any()
    assert valid["sentinel1"][0, 4:6].all()
    assert not valid["sentinel1"][:, [2, 3, 6, 7]].any()
    assert not valid["aster"][3, :, :4].any()
    assert valid["aster"][:3].all(), "0 m is sea level, not missing"
    assert not valid["canopy_height_eth"][1].any(), "255 saturated to 127"
    assert not valid["canopy_height_eth"][3, :, :2].any(), "255 wrapped to -1, -inf saturated to -128"
    assert valid["canopy_height_eth"][3, :, 2:].all()
    assert (
        arrays["canopy_height_eth"][~valid["canopy_height_eth"]].tolist() == [255] * (~valid["canopy_height_eth"]).sum()
    )
    assert not valid["dynamic_world"][3, :4].any()
    assert not valid["esa_worldcover"][3, :4].any(), "0 is unmapped"
    assert not valid["esa_worldcover"][3, 5].any(), "255 is missing"
    assert not valid["sentinel2_scl"][::2].any()
    assert not valid["sentinel2_cloudprod"][::2].any()
    np.testing.assert_array_equal(valid["era5"][2], np.arange(12) > 0)
    for name in ("biome", "ecoregion"):
        np.testing.assert_array_equal(valid[name], ALL != 2)


def test_values_are_those_of_the_file(folder: Path) -> None:
    reader = MMEarthReader(folder)
    arrays, info = make_arrays(12, 64)
    values = {name: MMEARTH[name].decode(raw)[0] for name, raw in reader.read(MMEARTH, ALL).items()}
    np.testing.assert_array_equal(values["sentinel2"][5], arrays["sentinel2"][5])
    np.testing.assert_array_equal(values["canopy_height_eth"][5], arrays["canopy_height_eth"][5])
    covers = np.array([label.code for label in MMEARTH["esa_worldcover"].classes])
    np.testing.assert_array_equal(covers[values["esa_worldcover"][5]], arrays["esa_worldcover"][5, 0])
    assert (arrays["esa_worldcover"][5] == 10).any(), "tree cover is a class like any other"
    assert [values["biome"][tile] for tile in (0, 1, 5)] == [info[tile]["biome"] for tile in (0, 1, 5)]
    assert [values["ecoregion"][tile] for tile in (0, 1, 5)] == [info[tile]["eco_region"] for tile in (0, 1, 5)]


def test_coordinates(folder: Path) -> None:
    reader = MMEarthReader(folder)
    _, info = make_arrays(12, 64)
    at = reader.coordinates
    assert at.tile_id[0] == "100000"
    np.testing.assert_allclose(at.lat, [tile["lat"] for tile in info])
    np.testing.assert_array_equal(at.levels["sentinel2"], ALL % 2)
    assert at.crs[3] == 32604
    assert str(at.time[0])[:10] == info[0]["S2_DATE"]
    assert np.isnan(at.transform).all()
    assert at.biome is not None
    assert at.biome[2] == -1
    assert (at.split == 0).all()
    assert reader.statistics is None


@pytest.mark.parametrize("tiles", [[], [3], [7, 2, 2, 11, 0], list(range(11, -1, -1))])
def test_tiles_come_in_the_order_asked_for(folder: Path, tiles: list[int]) -> None:
    arrays, _ = make_arrays(12, 64)
    got = MMEarthReader(folder).read(["sentinel2", "lat", "biome"], np.array(tiles, np.int64))
    np.testing.assert_array_equal(got["sentinel2"], arrays["sentinel2"][tiles])
    np.testing.assert_array_equal(got["lat"], arrays["lat"][tiles])
    assert got["biome"].shape == (len(tiles), 1)


def test_reads_from_many_threads_and_survives_pickling(folder: Path) -> None:
    reader = pickle.loads(pickle.dumps(MMEarthReader(folder)))
    arrays, _ = make_arrays(12, 64)
    with ThreadPoolExecutor(8) as pool:
        futures = [pool.submit(reader.read, ["sentinel2"], np.array([tile])) for tile in range(12)]
    for tile, future in enumerate(futures):
        np.testing.assert_array_equal(future.result()["sentinel2"][0], arrays["sentinel2"][tile])


def test_any_subset_of_modalities_at_128_px(tmp_path: Path) -> None:
    subset = ("sentinel2", "aster", "biome")
    reader = MMEarthReader(write_mmearth(tmp_path / "data_100k_v001", 4, 128, modalities=subset))
    assert list(reader.modalities) == list(subset)
    assert reader.tile_size == 128
    with pytest.raises(InputError, match=r"no modality 'sentinel1'\nhint: there are sentinel2, aster, biome"):
        reader.read(["sentinel1"], ALL[:1])


def test_levels_from_tile_info_where_metadata_lacks_them(tmp_path: Path) -> None:
    reader = MMEarthReader(write_mmearth(tmp_path / "data_old", 4, 16, level_in_metadata=False))
    np.testing.assert_array_equal(reader.coordinates.levels["sentinel2"], [0, 1, 0, 1])


def test_published_splits_are_kept(tmp_path: Path) -> None:
    splits = {"train": [3, 0], "val": [2], "test": []}
    reader = MMEarthReader(write_mmearth(tmp_path / "data", 5, 16, splits=splits))
    np.testing.assert_array_equal(reader.coordinates.split, [0, -1, 1, 0, -1])


@pytest.mark.parametrize("kind", ["splits", "tile_info", "band_stats"])
def test_missing_json_is_named(tmp_path: Path, kind: str) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    (folder / f"data_{kind}.json").unlink()
    with pytest.raises(StoreError, match=rf"data: has no \*_{kind}\.json\nhint: .*one \.h5, _splits\.json"):
        MMEarthReader(folder)


def test_two_hdf5_files_are_named(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    (folder / "other.h5").write_bytes(b"")
    with pytest.raises(StoreError, match=r"has 2 files \*\.h5: data\.h5, other\.h5"):
        MMEarthReader(folder)


def test_truncated_hdf5(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    file = folder / "data.h5"
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    with pytest.raises(CorruptError, match=r"data\.h5: cannot be opened: .*truncated(.|\n)*hint: download"):
        MMEarthReader(folder)


def test_damaged_chunk(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    with h5py.File(folder / "data.h5") as file:
        chunk = file["aster"].id.get_chunk_info(1)
    with (folder / "data.h5").open("r+b") as file:
        file.seek(chunk.byte_offset)
        file.write(b"\0" * chunk.size)
    reader = MMEarthReader(folder)
    reader.read(["aster"], np.array([0]))
    with pytest.raises(CorruptError, match=r"data\.h5: dataset 'aster' cannot be read"):
        reader.read(["aster"], np.array([1]))


def test_json_that_is_none(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    (folder / "data_tile_info.json").write_text('{"100000": {')
    with pytest.raises(CorruptError, match=r"data_tile_info\.json: cannot be read"):
        MMEarthReader(folder)


def test_lengths_that_differ(tmp_path: Path) -> None:
    short = make_arrays(4, 16)[0]["aster"][:3]
    with pytest.raises(StoreError, match=r"data\.h5: aster: has 3 tiles, 'metadata' has 4"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, changes={"aster": short}))


def test_sizes_that_differ(tmp_path: Path) -> None:
    small = make_arrays(4, 8)[0]["aster"]
    with pytest.raises(GridError, match=r"sentinel2 16 x 16, .*aster 8 x 8"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, changes={"aster": small}))


def test_another_dtype(tmp_path: Path) -> None:
    changed = make_arrays(4, 16)[0]["sentinel2"].astype("float32")
    with pytest.raises(StoreError, match=r"sentinel2: is float32, not uint16"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, changes={"sentinel2": changed}))


def test_another_number_of_bands(tmp_path: Path) -> None:
    changed = make_arrays(4, 16)[0]["sentinel2"][:, :12]
    with pytest.raises(StoreError, match=r"sentinel2: has shape \(4, 12, 16, 16\), wanted \(tiles, 13"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, changes={"sentinel2": changed}))


def test_no_map(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no map: none of sentinel2, sentinel1"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, modalities=("lat", "biome")))


@pytest.mark.parametrize(
    ("splits", "what"),
    [
        ({"train": [0, 4]}, r"split 'train' has tile 4; the HDF5 has 0 to 3"),
        ({"train": [0, 1], "val": [1]}, r"tile 1 is in 'train' and in 'val'"),
        ({"train": ["100000"]}, r"split 'train' holds .*100000.*, not tile numbers"),
    ],
)
def test_splits_that_do_not_fit(tmp_path: Path, splits: dict[str, list[int]], what: str) -> None:
    with pytest.raises(StoreError, match=rf"data_splits\.json: {what}"):
        MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, splits=splits))


def edit_tile_info(folder: Path, tile: str, **fields: object) -> None:
    path = folder / f"{folder.name}_tile_info.json"
    info = json.loads(path.read_text())
    info[tile] |= fields
    path.write_text(json.dumps(info))


def test_tile_info_that_lacks_a_tile(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    path = folder / "data_tile_info.json"
    info = json.loads(path.read_text())
    del info["100002"]
    path.write_text(json.dumps(info))
    with pytest.raises(StoreError, match=r"lacks 1 of 4 tiles of the HDF5, such as '100002'"):
        MMEarthReader(folder)


def test_levels_that_contradict_each_other(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16)
    edit_tile_info(folder, "100000", S2_type="l2a")
    with pytest.raises(StoreError, match=r"tile '100000' is l2a, but l1c in the HDF5"):
        MMEarthReader(folder)


def test_unknown_level(tmp_path: Path) -> None:
    folder = write_mmearth(tmp_path / "data", 4, 16, level_in_metadata=False)
    edit_tile_info(folder, "100001", S2_type="l3")
    with pytest.raises(StoreError, match=r"S2_type 'l3' is none of \['l1c', 'l2a'\]"):
        MMEarthReader(folder)


def test_two_classes_at_once(tmp_path: Path) -> None:
    biome = make_arrays(4, 16)[0]["biome"]
    biome[1] = 0
    biome[1, [3, 5]] = 1
    reader = MMEarthReader(write_mmearth(tmp_path / "data", 4, 16, changes={"biome": biome}))
    with pytest.raises(CorruptError, match=r"biome: tile '100001' has 2 classes, wanted one"):
        reader.read(["biome"], np.arange(4))


def test_tile_number_out_of_range(folder: Path) -> None:
    with pytest.raises(InputError, match="no tile 12 of 12"):
        MMEarthReader(folder).read(["lat"], np.array([12]))


def test_layout_is_complete() -> None:
    assert {modality.official_name or name for name, modality in MMEARTH.items()} == set(BANDS)

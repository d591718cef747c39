"""Any source to a store: what is written, that a killed conversion goes on, and what is refused."""

import runpy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from geopretext.data import convert as convert_room
from geopretext.data.convert import convert
from geopretext.data.mmearth import MMEarthReader
from geopretext.data.splits import spatial_split
from geopretext.data.store import Store
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter
from geopretext.errors import ClassError, CorruptError, InputError, StoreError
from geopretext.modality import MMEARTH

from .geotiff_folder import mapping_of, write_folder, write_mapping
from .mmearth_layout import make_arrays, write_mmearth

PLACES = {name: 1000 * (name == "c") for name in "abcdefgh"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "places", PLACES)


@pytest.fixture
def mapping(tmp_path: Path) -> Path:
    return write_mapping(tmp_path / "mapping.yaml", mapping_of())


def files(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in sorted(store.rglob("*")) if path.is_file()}


def test_geotiffs_to_store(root: Path, mapping: Path, tmp_path: Path) -> None:
    done: list[tuple[int, int]] = []
    report = convert(root, tmp_path / "t.zarr", mapping=mapping, progress=lambda *numbers: done.append(numbers))
    store = Store.open(tmp_path / "t.zarr")
    assert store.verify() == []
    assert len(store) == report.tiles == 32
    assert done[-1] == (32, 32)
    assert report.modalities == ("sentinel2", "sentinel1", "aster", "crop_map", "lat", "lon", "month")
    assert report.places == 8
    assert report.findings.undone == {"S2/c.tif": 1000}
    assert store.attributes["recipe"]["sentinel2_offset"]["undone"] == {"S2/c.tif": 1000}
    assert store.attributes["recipe"]["mapping"]["folders"]["S2"]["level"] == "L2A"
    assert store.attributes["ground_sampling_distance"] == 10
    assert (store.coordinates.levels["sentinel2"] == 1).all()
    text = "\n".join(report.lines())
    assert "GeoTIFF folder: 32 tiles from 8 places" in text
    assert "Sentinel-2 offset undone: 1: S2/c.tif (-1000)" in text
    assert "not covered by whole tiles (8 rows and 8 columns): 8: a, b" in text


def test_statistics_and_split_are_stored_and_places_stay_together(root: Path, mapping: Path, tmp_path: Path) -> None:
    lat, lon = np.linspace(46.95, 37.5, 8), np.full(8, 9.0)
    seed = next(seed for seed in range(100) if splittable(lat, lon, seed))
    report = convert(root, tmp_path / "t.zarr", mapping=mapping, seed=seed)
    store = Store.open(tmp_path / "t.zarr")
    split = np.asarray(store.coordinates.split).reshape(8, 4)
    assert (split == split[:, :1]).all()
    assert report.notes == (), "by blocks of the Earth, not by place"
    first = slice(None, None, 4)
    blocks = spatial_split(store.coordinates.lat[first], store.coordinates.lon[first], seed=seed)
    np.testing.assert_array_equal(split[:, 0], blocks)
    assert sum(report.splits.values()) == 32
    statistics = store.statistics
    assert statistics is not None
    assert statistics.split == "train"
    assert statistics.tiles == report.splits["train"]
    bands = statistics.modalities["sentinel2"].bands["L2A"]
    assert 300 < bands["B2"].mean < 400, "the offset of place c is undone"
    assert statistics.modalities["crop_map"].class_counts.keys() == {1, 2, 3}


def splittable(lat: np.ndarray, lon: np.ndarray, seed: int) -> bool:
    try:
        return len(spatial_split(lat, lon, seed=seed)) > 0
    except InputError:
        return False


def test_few_places_are_drawn_at_random_and_stay_together(mapping: Path, tmp_path: Path) -> None:
    report = convert(write_folder(tmp_path / "p", dict.fromkeys("abcde", 0)), tmp_path / "t.zarr", mapping=mapping)
    assert report.splits == {"train": 12, "val": 4, "test": 4}
    assert report.notes == ("split by place at random, 60 : 20 : 20",)


def test_one_place_has_no_split(tmp_path: Path, mapping: Path) -> None:
    report = convert(write_folder(tmp_path / "p", {"a": 0}), tmp_path / "t.zarr", mapping=mapping)
    assert report.splits == {}
    assert any("too few" in note for note in report.notes)
    statistics = Store.open(tmp_path / "t.zarr").statistics
    assert statistics is not None
    assert statistics.split == "all"


class Killed(BaseException):
    """Stands for a signal."""


def interrupt(monkeypatch: pytest.MonkeyPatch, after: int) -> None:
    """The conversion dies when it is about to append batch number ``after``; shards are 5 tiles."""
    append, create = StoreWriter.append, StoreWriter.create
    calls = iter(range(1000))

    def dying(self: StoreWriter, batch: TileBatch) -> None:
        if next(calls) == after:
            raise Killed
        append(self, batch)

    monkeypatch.setattr(StoreWriter, "append", dying)
    monkeypatch.setattr(StoreWriter, "create", lambda *args, **kwargs: create(*args, **kwargs, shard_size=5))


def test_killed_conversion_goes_on_to_the_same_store(
    root: Path, mapping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt(patch, after=-1)
        convert(root, tmp_path / "whole.zarr", mapping=mapping)
    with monkeypatch.context() as patch:
        interrupt(patch, after=6)
        with pytest.raises(Killed):
            convert(root, tmp_path / "killed.zarr", mapping=mapping)
    assert len(Store.open(tmp_path / "killed.zarr")) == 10
    report = convert(root, tmp_path / "killed.zarr", mapping=mapping)
    assert report.resumed_at == 10
    assert "(10 of them from an earlier run)" in report.lines()[0]
    assert files(tmp_path / "killed.zarr") == files(tmp_path / "whole.zarr")


def test_finished_conversion_may_be_run_again(root: Path, mapping: Path, tmp_path: Path) -> None:
    convert(root, tmp_path / "t.zarr", mapping=mapping)
    before = files(tmp_path / "t.zarr")
    assert convert(root, tmp_path / "t.zarr", mapping=mapping).resumed_at == 32
    assert files(tmp_path / "t.zarr") == before


def test_another_mapping_does_not_go_on(root: Path, mapping: Path, tmp_path: Path) -> None:
    convert(root, tmp_path / "t.zarr", mapping=mapping)
    other = write_mapping(tmp_path / "other.yaml", mapping_of(tile_size=8))
    with pytest.raises(
        StoreError, match=r"t\.zarr: was made from another source or mapping \(different: mapping\)\nhint: "
    ):
        convert(root, tmp_path / "t.zarr", mapping=other)


def test_nothing_is_written_before_the_survey_has_passed(root: Path, mapping: Path, tmp_path: Path) -> None:
    (root / "S1" / "h.tif").write_bytes(b"")
    with pytest.raises(CorruptError, match=r"S1/h\.tif"):
        convert(root, tmp_path / "t.zarr", mapping=mapping)
    assert not (tmp_path / "t.zarr").exists()


def test_mmearth_to_store(tmp_path: Path) -> None:
    splits = {"train": list(range(8)), "val": [8, 9], "test": [10, 11]}
    source = write_mmearth(tmp_path / "data_1k_v001", 12, 32, splits=splits)
    report = convert(source, tmp_path / "m.zarr")
    store, reader = Store.open(tmp_path / "m.zarr"), MMEarthReader(source)
    assert store.verify() == []
    assert list(store.modalities) == list(MMEARTH)
    assert report.splits == {"train": 8, "val": 2, "test": 2}
    tiles = np.arange(12)
    for name, array in reader.read(MMEARTH, tiles).items():
        np.testing.assert_array_equal(store.read([name], tiles)[name], array)
    np.testing.assert_array_equal(store.coordinates.levels["sentinel2"], tiles % 2)
    statistics = store.statistics
    assert statistics is not None
    canopy = statistics.modalities["canopy_height_eth"].bands["all"]["height"]
    assert canopy.max < 50, "127 is missing, not a height"


def test_mmearth_without_a_split_gets_one(tmp_path: Path) -> None:
    everything_nowhere: dict[str, list[int]] = {"train": [], "val": [], "test": []}
    source = write_mmearth(tmp_path / "data", 30, 8, modalities=("sentinel2", "lat"), splits=everything_nowhere)
    report = convert(source / "data.h5", tmp_path / "m.zarr")
    assert sum(report.splits.values()) == 30
    assert all(report.splits.values())


def test_unknown_class_code_names_the_tiles(tmp_path: Path) -> None:
    cover = make_arrays(4, 16)[0]["esa_worldcover"]
    cover[2, 0, 0, 0] = 15
    source = write_mmearth(tmp_path / "data", 4, 16, changes={"esa_worldcover": cover})
    with pytest.raises(
        ClassError, match=r"tiles 100000 to 100003: code 15 is not a class of modality 'esa_worldcover'"
    ):
        convert(source, tmp_path / "m.zarr")


def test_full_disk_says_so_and_the_conversion_goes_on(
    root: Path, mapping: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Iterator[None]:
        raise StoreError("No space left on device", where="t.zarr", hint="free some space and start again")

    with monkeypatch.context() as patch:
        patch.setattr(StoreWriter, "_commit", full)
        with pytest.raises(StoreError, match="No space left"):
            convert(root, tmp_path / "t.zarr", mapping=mapping)
    assert convert(root, tmp_path / "t.zarr", mapping=mapping).tiles == 32


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda path: None, r"src: no such folder\nhint: a folder of images, an MMEarth directory, or 'synthetic'"),
        (lambda path: path.mkdir(), r"src: holds no \.h5 file.*there is no mapping(.|\n)*hint: give --mapping"),
    ],
)
def test_source_that_is_none(tmp_path: Path, make: Any, what: str) -> None:
    make(tmp_path / "src")
    with pytest.raises(InputError, match=what):
        convert(tmp_path / "src", tmp_path / "t.zarr")


def test_synthetic_earth_by_its_name(tmp_path: Path) -> None:
    report = convert(convert_room.SYNTHETIC, tmp_path / "s.zarr", count=24, seed=1)
    store = Store.open(tmp_path / "s.zarr")
    assert report.tiles == len(store) == 24
    assert store.statistics is not None
    assert report.source == "synthetic Earth"


def test_bigearthnet_example_on_real_patches(test_data: Path, tmp_path: Path) -> None:
    example = runpy.run_path(str(Path(__file__).parents[2] / "examples" / "bigearthnet_to_store.py"))
    store: Store = example["write_store"](test_data / "bigearthnet_v2_120", tmp_path / "ben.zarr")
    assert store.verify() == []
    assert (len(store), store.tile_size) == (120, 120)
    raw = store.read(store.modalities, np.arange(120))
    valid = {name: modality.decode(raw[name])[1] for name, modality in store.modalities.items()}
    orbit = valid["sentinel1"].reshape(120, 2, -1).all(axis=2)
    assert (orbit.sum(axis=1) == 1).all(), "each patch has one orbit of Sentinel-1"
    assert orbit[:, 0].sum() == 59, "those taken in the local evening are ascending"
    assert valid["biome"].sum() == valid["ecoregion"].sum() == 108
    assert valid["sentinel2"].all()
    labels, corine = raw["bigearthnet_labels"], raw["corine"]
    assert all(labels[tile, code] for tile in range(120) for code in np.unique(corine[tile]) if code != 255)
    assert set(np.unique(np.asarray(store.coordinates.split)).tolist()) == {0, 1, 2}
    assert {name for name, modality in store.modalities.items() if modality.role == "label"} == {
        "corine",
        "bigearthnet_labels",
    }

"""Parts: what tasks leave comes back bit for bit, and damage is noticed."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from geopretext.build.parts import Record, Staging, staging_path
from geopretext.build.tiles import Made, Outcome
from geopretext.errors import CorruptError, Reason

from .faulty_maker import make_places, make_tiles

OUTCOMES = (Outcome("a"), Outcome("b", Reason.TIMEOUT, "no answer in 3 s: é"))


def test_tiles_come_back_bit_for_bit(tmp_path: Path) -> None:
    staging = Staging(str(tmp_path / "s"))
    wanted = make_tiles(make_places(7))
    record = staging.put(1, Made(wanted, tuple(Outcome(str(name)) for name in wanted.coordinates.tile_id)))
    read = staging.read_tiles(record.tiles)
    assert read.arrays.keys() == wanted.arrays.keys()
    for name, array in wanted.arrays.items():
        assert read.arrays[name].dtype == array.dtype
        np.testing.assert_array_equal(read.arrays[name], array)
    for name, column in vars(wanted.coordinates).items():
        if name == "levels":
            np.testing.assert_array_equal(read.coordinates.levels["sentinel2"], column["sentinel2"])
        else:
            np.testing.assert_array_equal(getattr(read.coordinates, name), column, err_msg=name)


def test_records_come_back_in_the_order_of_the_runs(tmp_path: Path) -> None:
    staging = Staging(str(tmp_path / "s"))
    assert staging.records() == ([], set())
    late = staging.put(12, Made(None, OUTCOMES[1:], {"requests": 3}))
    early = staging.put(2, Made(make_tiles(make_places(1)), OUTCOMES))
    assert staging.records() == ([early, late], {early.tiles})
    assert late == Record(12, OUTCOMES[1:], "", {"requests": 3})


def test_a_task_that_runs_twice_leaves_one_part(tmp_path: Path) -> None:
    staging = Staging(str(tmp_path / "s"))
    for _ in range(2):
        staging.put(1, Made(make_tiles(make_places(2)), OUTCOMES))
    assert len(staging.files.list()) == 2
    staging.put(1, Made(None, OUTCOMES))  # a late one, which knows less, replaces nothing
    assert len(staging.records()[0]) == 2


def test_records_of_another_build_do_not_count_and_are_swept(tmp_path: Path) -> None:
    folder = Staging(str(tmp_path / "s"))
    assert folder.of_build(b"a").build != folder.of_build(b"a").build
    assert folder.files.list() == []
    mine = folder.of_build(b"a", start=True)
    assert folder.of_build(b"a").build == folder.of_build(b"a", start=True).build == mine.build
    record = mine.put(1, Made(make_tiles(make_places(1)), OUTCOMES))
    other = folder.of_build(b"b")
    assert other.records() == ([], {record.tiles})
    other.put(1, Made(make_tiles(make_places(1, seed=1)), OUTCOMES))
    assert mine.records()[0] == [record]
    mine.keep_tiles({record.tiles})
    assert mine.records() == ([record], {record.tiles})
    assert len(folder.files.list()) == 3
    folder.remove()
    mine.put(2, Made(None, OUTCOMES))
    assert folder.of_build(b"a", start=True).records()[0] == []


def test_a_folder_into_which_a_late_task_writes_goes_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    staging = Staging(str(tmp_path / "s"))
    plain, late = shutil.rmtree, iter([True, False])

    def rmtree(folder: Path) -> None:
        if next(late):
            staging.put(1, Made(None, OUTCOMES))
            raise OSError("Directory not empty")
        plain(folder)

    monkeypatch.setattr(shutil, "rmtree", rmtree)
    staging.remove()
    assert list(tmp_path.iterdir()) == []


def test_damage_is_noticed(tmp_path: Path) -> None:
    staging = Staging(str(tmp_path / "s"))
    record = staging.put(1, Made(make_tiles(make_places(3)), OUTCOMES))
    file = tmp_path / "s" / record.tiles
    whole = file.read_bytes()
    for damaged in (whole[:-1], whole[:40] + b"x" + whole[41:], b""):
        file.write_bytes(damaged)
        with pytest.raises(CorruptError, match="is damaged"):
            staging.read_tiles(record.tiles)
    staging.drop_tiles(record.tiles)
    with pytest.raises(CorruptError, match="is missing"):
        staging.read_tiles(record.tiles)
    for damaged in (b"", b"[]", b"{", record.to_bytes()[:-4], b'{"run": 1, "outcomes": [["a", "odd", ""]]}'):
        next((tmp_path / "s/records").rglob("*.json")).write_bytes(damaged)
        assert staging.records() == ([], set())


def test_what_is_not_kept_is_deleted_and_all_of_it_in_the_end(tmp_path: Path) -> None:
    staging = Staging(str(tmp_path / "s"))
    one, two = (staging.put(1, Made(make_tiles(make_places(1, seed=seed)), OUTCOMES)) for seed in (1, 2))
    staging.keep_tiles({two.tiles})
    assert staging.records()[1] == {two.tiles}
    assert one.tiles != two.tiles
    staging.remove()
    assert list(tmp_path.iterdir()) == []
    staging.remove()


def test_parts_lie_beside_the_store(tmp_path: Path) -> None:
    assert staging_path(tmp_path / "tiles.zarr") == str(tmp_path / "tiles.zarr.build")
    assert staging_path("s3://bucket/tiles.zarr/") == "s3://bucket/tiles.zarr.build"
    assert Path(staging_path("tiles.zarr")).is_absolute()

"""What a path is: a store, a run, a bundle, a table, a report, or a folder of them."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from threading import enumerate as enumerate_threads
from time import sleep

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geopretext.apps.cli import main
from geopretext.apps.viewer.embeddings import Embeddings, Source
from geopretext.apps.viewer.jobs import Jobs
from geopretext.apps.viewer.opened import Opened, look_at
from geopretext.apps.viewer.shell_api import describe
from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.errors import InputError, StoreError
from geopretext.nn.bundle import Encoder
from geopretext.predict.tile_embeddings import embed_tiles


def table(path: Path) -> Path:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    pq.write_table(pa.table({"lat": [0.0, 1.0], "lon": [0.0, 1.0], "embedding": vectors}), path)
    return path


def sources_of(opened: Opened) -> Mapping[str, Source]:
    embeddings = Embeddings(opened)
    try:
        return embeddings.sources
    finally:
        embeddings.stop()


@pytest.fixture
def demo(store: Path, bundle: Path, tmp_path: Path) -> Path:
    """A folder as ``geopretext demo`` leaves it."""
    folder = tmp_path / "demo"
    run = folder / "My Run"
    run.mkdir(parents=True)
    (folder / "tiles.zarr").symlink_to(store)
    (run / "metrics.csv").write_text("step,loss\n1,2.0\n")
    (run / "config.yaml").write_text("data: {path: somewhere/else/tiles.zarr}\n")
    shutil.copytree(bundle, run / "bundle")
    (folder / "report.html").write_text("<p>scores</p>")
    (folder / "places.parquet").write_bytes(b"PAR1")
    table(folder / "vectors.parquet")
    return folder


def test_a_folder_of_everything(demo: Path) -> None:
    opened = look_at(demo)
    assert list(opened.stores) == ["tiles"]
    run = opened.runs["my-run"]
    assert (run.name, run.bundle, run.store) == ("My Run", "my-run", "tiles")
    assert opened.bundles["my-run"].folder == demo / "My Run" / "bundle"
    assert list(opened.tables) == ["vectors"]
    assert list(opened.reports) == ["demo"]


def test_one_thing_each(demo: Path, store: Path, bundle: Path) -> None:
    assert list(look_at(store).stores) == ["tiles"]
    assert len(look_at(bundle).bundles) == 1
    assert list(look_at(demo / "vectors.parquet").tables) == ["vectors"]
    run = look_at(demo / "My Run")
    assert (list(run.runs), list(run.bundles), list(run.stores)) == (["my-run"], ["my-run"], ["tiles"])


def test_a_run_that_has_just_begun(demo: Path) -> None:
    shutil.rmtree(demo / "My Run" / "bundle")
    assert look_at(demo).runs["my-run"].bundle is None


def test_more_may_be_named_and_nothing_comes_twice(demo: Path, store: Path, bundle: Path) -> None:
    opened = look_at(demo, bundles=[bundle, bundle], embeddings=[demo / "vectors.parquet"], data=str(store))
    assert len(opened.bundles) == 2
    assert len(opened.tables) == 1
    assert len(opened.stores) == 1


def test_two_of_one_name(demo: Path) -> None:
    shutil.copytree(demo / "My Run", demo / "my_run")
    assert set(look_at(demo).runs) == {"my-run", "my-run-2"}


def test_what_cannot_be_shown(tmp_path: Path, store: Path) -> None:
    with pytest.raises(StoreError, match="nothing here"):
        look_at(tmp_path / "none")
    with pytest.raises(InputError, match="holds nothing that can be shown"):
        look_at(tmp_path)
    with pytest.raises(InputError, match="is no bundle"):
        look_at(store, bundles=[tmp_path])
    with pytest.raises(InputError, match="is no embedding table"):
        look_at(store, embeddings=[tmp_path / "x.parquet"])
    with pytest.raises(StoreError, match="there is nothing here"):
        look_at(store, data=str(tmp_path / "none.zarr"))
    (tmp_path / "bad.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="is no Parquet file"):
        look_at(store, embeddings=[tmp_path / "bad.parquet"])


def test_one_bad_store_or_table_spoils_nothing_else(demo: Path, store: Path) -> None:
    (demo / "bad.zarr").mkdir()
    (demo / "bad.zarr" / "zarr.json").write_text((store / "zarr.json").read_text()[:400])
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    pq.write_table(pa.table({"embedding": vectors}), demo / "placeless.parquet")
    (demo / "My Run" / "config.yaml").write_bytes(b"data: {path: \xff\xfe}")
    opened = look_at(demo)
    told = describe(opened)
    assert [each["name"] for each in told["stores"]] == ["tiles.zarr"]
    assert [each["name"] for each in told["broken"]] == ["bad.zarr", "placeless.parquet"]
    assert all(each["error"]["what"] for each in told["broken"])
    sources = sources_of(opened)
    assert set(sources) == {"placeless", "vectors", "my-run.tiles"}
    assert "cannot be read" in sources["placeless"].note


def test_a_folder_that_may_not_be_read_is_said(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (demo / "secret").mkdir()
    listed = Path.iterdir

    def iterdir(folder: Path):
        if folder.name == "secret":
            raise PermissionError(13, "Permission denied")
        return listed(folder)

    monkeypatch.setattr(Path, "iterdir", iterdir)
    opened = look_at(demo)
    assert opened.notes == [f"{demo / 'secret'} is left out: Permission denied"]
    assert list(opened.stores) == ["tiles"]


def test_names_where_the_command_stands(demo: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(demo / "My Run")
    assert [run.name for run in look_at(".").runs.values()] == ["My Run"]
    monkeypatch.chdir(demo / "My Run" / "bundle")
    assert [bundle.name for bundle in look_at(".").bundles.values()] == ["My Run"]


def test_what_comes_later_is_found_under_new_ids(demo: Path, bundle: Path) -> None:
    shutil.rmtree(demo / "My Run" / "bundle")
    opened = look_at(demo)
    ids = list(opened.runs), list(opened.tables), list(opened.reports)
    opened.refresh()
    assert (list(opened.runs), list(opened.tables), list(opened.reports)) == ids
    shutil.copytree(bundle, demo / "My Run" / "bundle")
    shutil.copytree(demo / "My Run", demo / "A" / "my-run")
    table(demo / "more.parquet")
    opened.refresh()
    found = opened.runs["my-run"].bundle
    assert found is not None
    assert opened.bundles[found].folder == demo / "My Run" / "bundle"
    assert opened.runs["my-run-2"].folder == demo / "A" / "my-run"
    assert list(opened.tables) == ["vectors", "more"]


def test_a_store_that_grows(tmp_path: Path) -> None:
    path = tmp_path / "tiles.zarr"
    write_synthetic_store(path, count=2, seed=1, tile_size=8, workers=1)
    entry = look_at(path).stores["tiles"]
    first = entry.reader
    assert entry.reader is first
    shutil.rmtree(path)
    write_synthetic_store(path, count=3, seed=1, tile_size=8, workers=1)
    assert len(entry.reader) == 3


def test_a_table_is_of_a_store_whose_tiles_it_names(store: Path, bundle: Path, tmp_path: Path) -> None:
    other = tmp_path / "other" / store.name
    write_synthetic_store(other, count=120, seed=2, tile_size=32, workers=1)
    tiles = np.array([5, 3, 90], np.int64)
    path = tmp_path / "some.parquet"
    embed_tiles(Encoder.from_pretrained(bundle), Store.open(store), path, tiles=tiles)
    (wrong,) = sources_of(look_at(path, data=str(other))).values()
    assert wrong.store is None
    assert "no store that is open" in wrong.note
    (right,) = sources_of(look_at(path, data=str(store))).values()
    assert right.store is not None
    # As another program may leave it: without ids, places tell.
    pq.write_table(pq.read_table(path).drop_columns(["tile_id"]), path)
    for folder, found in ((other, False), (store, True)):
        (source,) = sources_of(look_at(path, data=str(folder))).values()
        assert (source.store is not None) is found


def test_jobs_follow_their_files_and_hold_nobody_up() -> None:
    jobs: Jobs[int] = Jobs()

    def done(version: int) -> int | None:
        while jobs.ask("key", "counting", lambda _: version, version=version)["state"] == "running":
            sleep(0.001)
        return jobs.result("key", version=version)

    assert (done(1), done(2), jobs.result("key", version=1)) == (1, 2, None)
    assert all(thread.daemon for thread in enumerate_threads() if thread.name.startswith("viewer-job"))
    assert any(thread.name.startswith("viewer-job") for thread in enumerate_threads())


def test_the_verb_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path), "--no-browser"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("holds nothing that can be shown: no store, run, bundle, embedding table or report")
    assert hint == "hint: `geopretext demo` makes all of them"

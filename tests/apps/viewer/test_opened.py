"""What a path is: a store, a run, a bundle, a table, a report, or a folder of them."""

import shutil
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from geopretext.apps.cli import main
from geopretext.apps.viewer.opened import look_at
from geopretext.errors import InputError, StoreError


def table(path: Path) -> Path:
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(np.zeros(8, np.float32)), 4)
    pq.write_table(pa.table({"lat": [0.0, 1.0], "lon": [0.0, 1.0], "embedding": vectors}), path)
    return path


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


def test_the_verb_says_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["view", str(tmp_path), "--no-browser"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.endswith("holds nothing that can be shown: no store, run, bundle, embedding table or report")
    assert hint == "hint: `geopretext demo` makes all of them"

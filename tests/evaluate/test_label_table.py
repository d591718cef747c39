"""Labels in tables over a store: by name, by place, with what does not fit left out and counted."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.data.store import Store
from geopretext.data.tiles import Coordinates
from geopretext.errors import CorruptError, InputError
from geopretext.evaluate.label_table import table_task
from geopretext.evaluate.metrics import TaskKind
from geopretext.evaluate.tasks import load_task

from .small_store import COUNT, write_store


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return write_store(tmp_path_factory.mktemp("tables") / "tiles.zarr")


def write(path: Path, header: str, *rows: str) -> Path:
    path.write_text("\n".join([header, *rows]) + "\n")
    return path


def test_a_class_by_tile_id(store: Store, tmp_path: Path) -> None:
    rows = [f"t{n},{('wheat', 'maize')[n % 2]}" for n in range(60, COUNT)]
    table = write(tmp_path / "crops.csv", "tile_id,crop", *rows, "t60,wheat", "t61,wheat", "t999,wheat", "t62,")
    task = load_task(f"{table}:crop", data=store.path)
    assert (task.name, task.kind, task.classes) == ("crops:crop", TaskKind.SINGLE_LABEL, ("maize", "wheat"))
    assert task.left_out["tiles_with_contradicting_labels"] == 1
    assert task.left_out["rows_at_no_tile"] == 1
    assert task.left_out["rows_without_label"] == 1
    np.testing.assert_array_equal(task.labels, [(n + 1) % 2 for n in task.samples])
    assert 61 not in task.samples


def test_a_quantity_is_the_mean_of_its_rows(store: Store, tmp_path: Path) -> None:
    rows = [f"t{n},{n}.5" for n in range(COUNT)] + ["t0,2.5"]
    task = load_task(f"{write(tmp_path / 'y.csv', 'tile_id,yield', *rows)}:yield", data=store.path)
    assert (task.kind, task.classes) == (TaskKind.REGRESSION, ("yield",))
    assert task.labels[0, 0] == 1.5


class Placed:
    """A reader of tiles at known places."""

    path = "placed.zarr"

    def __init__(self, store: Store) -> None:
        self.store = store
        self.modalities, self.tile_size = store.modalities, store.tile_size
        lon = 10 + 0.02 * np.arange(COUNT)
        known = {
            name: getattr(store.coordinates, name)
            for name in ("tile_id", "crs", "transform", "time", "levels", "split")
        }
        self.coordinates = Coordinates(lat=np.full(COUNT, 50.0), lon=lon, **known)


def test_a_place_belongs_to_the_nearest_tile_within_reach(store: Store, tmp_path: Path) -> None:
    # 0.003 degrees of longitude are 214 m at 50 N, 0.01 are 715 m.
    rows = [f"{10 + 0.02 * n + 0.003},50.0,{n % 3}" for n in range(COUNT)] + ["10.01,50.0,1", "nan,50.0,1", "10,-50,1"]
    table = write(tmp_path / "points.csv", "lon,lat,kind", *rows)
    task = table_task(table, "kind", Placed(store))
    assert task.classes == ("0", "1", "2")
    np.testing.assert_array_equal(task.labels, task.samples % 3)
    assert task.left_out["rows_at_no_tile"] == 3
    with pytest.raises(InputError, match="none of its 153 rows belongs to a tile"):
        table_task(table, "kind", Placed(store), farthest=100)


def test_geoparquet_points_in_any_projection(store: Store, tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas", reason="writes GeoParquet")
    lon = 10 + 0.02 * np.arange(COUNT)
    frame = geopandas.GeoDataFrame(
        {"kind": np.arange(COUNT) % 2}, geometry=geopandas.points_from_xy(lon, np.full(COUNT, 50.0)), crs="EPSG:4326"
    )
    frame.to_crs("EPSG:3857").to_parquet(tmp_path / "points.parquet")
    task = table_task(tmp_path / "points.parquet", "kind", Placed(store))
    np.testing.assert_array_equal(task.labels, task.samples % 2)


def test_what_is_wrong_is_said(store: Store, tmp_path: Path) -> None:
    table = write(tmp_path / "a.csv", "tile_id,crop", "t1,wheat")
    with pytest.raises(InputError, match="of which store's tiles") as caught:
        load_task(f"{table}:crop")
    assert "--data STORE" in caught.value.hint
    with pytest.raises(InputError, match="has no column 'soil'") as caught:
        load_task(f"{table}:soil", data=store.path)
    assert "tile_id, crop" in caught.value.hint
    with pytest.raises(InputError, match="does not say which tile a row belongs to"):
        load_task(f"{write(tmp_path / 'b.csv', 'name,crop', 'x,wheat')}:crop", data=store.path)
    (tmp_path / "c.parquet").write_bytes(b"nothing")
    with pytest.raises(CorruptError, match="cannot be read as a table"):
        load_task(f"{tmp_path / 'c.parquet'}:crop", data=store.path)
    with pytest.raises(InputError, match="no such table"):
        load_task(f"{tmp_path / 'd.csv'}:crop", data=store.path)

"""The log of places: GeoParquet that says of each place what has become of it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.data.place_log import PlaceLog
from geopretext.data.store import Store
from geopretext.data.writer import StoreWriter
from geopretext.errors import CorruptError, InputError

from .store_tiles import MODALITIES, SIZE

LOG = PlaceLog(
    place_id=np.array(["a", "b", "c", "d"]),
    lat=np.array([1.5, -2.0, 3.0, 4.0]),
    lon=np.array([10.0, 20.5, -30.0, 40.0]),
    biome=np.array([1, -1, 3, 4], np.int16),
    ecoregion=np.array([5, 6, -1, 7], np.int16),
    status=np.array(["done", "failed", "failed", "waiting"]),
    reason=np.array(["", "timeout", "cloudy", ""]),
    detail=np.array(["", "no answer in 30 s", "é", ""]),
)


def test_places_that_are_tiles_are_done_whatever_was_logged() -> None:
    log = LOG.with_tiles(np.array(["a", "c", "d"]))
    assert log.status.tolist() == ["done", "failed", "done", "done"]
    assert (log.reason.tolist(), log.detail.tolist()) == (["", "timeout", "", ""], ["", "no answer in 30 s", "", ""])
    assert (log.counts, log.failures) == ({"done": 3, "failed": 1, "waiting": 0}, {"timeout": 1})
    assert LOG.with_tiles(np.array([], str)).counts == LOG.counts == {"done": 1, "failed": 2, "waiting": 1}


def test_a_store_keeps_it(tmp_path: Path) -> None:
    StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE).close()
    store = Store.open(tmp_path / "s")
    assert store.place_log is None
    store.set_place_log(LOG)
    StoreWriter.resume(tmp_path / "s").close()
    kept = Store.open(tmp_path / "s").place_log
    assert kept is not None
    for name, column in vars(LOG).items():
        assert getattr(kept, name).tolist() == column.tolist(), name
    assert kept.to_bytes() == LOG.to_bytes()
    assert not kept.is_settled
    assert replace(kept, status=np.array(["done"] * 4)).is_settled
    assert kept.failures == {"cloudy": 1, "timeout": 1}
    assert store.verify() == []


def test_damage_is_told(tmp_path: Path) -> None:
    StoreWriter.create(tmp_path / "s", MODALITIES, tile_size=SIZE).close()
    for damaged in (b"", b"PAR1", LOG.to_bytes()[:-9]):
        (tmp_path / "s/places.parquet").write_bytes(damaged)
        with pytest.raises(CorruptError, match="is no log of places") as caught:
            _ = Store.open(tmp_path / "s").place_log
        assert str(tmp_path / "s/places.parquet") in caught.value.where
        assert [line.split(":")[0] for line in Store.open(tmp_path / "s").verify()] == ["places.parquet"]


def test_columns_must_agree() -> None:
    with pytest.raises(InputError, match="'lat' has 1 entries for 4 places"):
        replace(LOG, lat=np.zeros(1))
    with pytest.raises(InputError, match="a place cannot be 'lost'"):
        replace(LOG, status=np.array(["done", "lost", "done", "done"]))


def test_geopandas_reads_it(tmp_path: Path) -> None:
    geopandas = pytest.importorskip("geopandas")
    (tmp_path / "places.parquet").write_bytes(LOG.to_bytes())
    frame = geopandas.read_parquet(tmp_path / "places.parquet")
    assert frame.crs == "OGC:CRS84"
    assert [(point.x, point.y) for point in frame.geometry] == list(zip(LOG.lon, LOG.lat, strict=True))
    assert frame.total_bounds.tolist() == [-30.0, -2.0, 40.0, 4.0]

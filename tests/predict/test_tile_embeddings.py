"""A table of embeddings holds what the encoder says of each tile, opens elsewhere, and is whole or not there."""

import json
from collections.abc import Iterator
from pathlib import Path

import geopandas
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from geopretext.data.store import Store
from geopretext.data.synthetic import write_synthetic_store
from geopretext.data.tiles import SPLITS
from geopretext.errors import CorruptError, InputError, StoreError
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_statistics import input_scales
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict import embedding_file, tile_embeddings
from geopretext.predict.embedding_file import EmbeddingRows, write_embeddings
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.features import tile_features
from geopretext.predict.scene import Georeference
from geopretext.predict.scene_table import _rings
from geopretext.predict.tile_embeddings import embed_tiles, encoder_fingerprint

TILES = 24


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("embeddings") / "tiles.zarr"
    write_synthetic_store(path, count=TILES, seed=2, tile_size=32, workers=1)
    return Store.open(path)


def make_encoder(store: Store, seed: int = 0) -> Encoder:
    torch.manual_seed(seed)
    settings = EncoderSettings(size="micro", image_size=32)
    modality = store.modalities["sentinel2"].select(settings.bands)
    assert store.statistics is not None
    return Encoder(ConvNeXtV2(settings), modality, statistics=input_scales(store.statistics.to_dict(), modality))


@pytest.fixture(scope="module")
def encoder(store: Store) -> Encoder:
    return make_encoder(store)


@pytest.fixture(scope="module")
def path(store: Store, encoder: Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("table") / "embeddings.parquet"
    embed_tiles(encoder, store, out)
    return out


def places(count: int, width: int = 4, start: int = 0) -> EmbeddingRows:
    """Squares of a degree along the equator."""
    rng = np.random.default_rng(start)
    west = np.arange(start, start + count, dtype=float)
    corners = np.array([[0, 1], [0, 0], [1, 0], [1, 1], [0, 1]], float)
    rings = corners + np.stack([west, np.zeros(count)], axis=1)[:, None]
    names = np.array([f"cell {number}" for number in range(start, start + count)])
    days = np.datetime64("2020-01-01T10:00:00") + np.arange(start, start + count) * np.timedelta64(86400, "s")
    vectors = rng.standard_normal((count, width)).astype(np.float32)
    return EmbeddingRows.of_places(
        np.arange(start, start + count), names=names, rings=rings, time=days, vectors=vectors
    )


def test_rows_are_the_tiles_and_what_the_encoder_says_of_them(store: Store, encoder: Encoder, path: Path) -> None:
    table = EmbeddingTable.open(path)
    wanted = tile_features(encoder, store)
    np.testing.assert_array_equal(table.vectors(), wanted)
    np.testing.assert_array_equal(table.vectors(np.array([7, 2, 7])), wanted[[7, 2, 7]])
    np.testing.assert_array_equal(np.concatenate([block for _, block in table.blocks()]), wanted)
    coordinates = store.coordinates
    assert table.names(np.arange(TILES)) == coordinates.tile_id.tolist()
    for name in ("lat", "lon", "time", "biome", "ecoregion", "split"):
        np.testing.assert_array_equal(getattr(table, name), getattr(coordinates, name))
    np.testing.assert_array_equal(table.tile, np.arange(TILES))
    assert table.facts["source"] == store.path
    assert table.facts["pooling"] == "stages"
    assert table.facts["encoder"] == encoder_fingerprint(encoder)
    assert table.facts["bands"] == list(encoder.bands)


def test_geopandas_reads_it_and_footprints_lie_where_the_tiles_do(store: Store, path: Path) -> None:
    frame = geopandas.read_parquet(path)
    assert frame.crs.to_string() == "OGC:CRS84"
    assert frame.embedding[3].dtype == np.float32
    np.testing.assert_array_equal(np.stack(frame.embedding), EmbeddingTable.open(path).vectors())
    assert frame.split.tolist() == [SPLITS[code] if code >= 0 else "none" for code in store.coordinates.split]
    # against the store's own grid, by another library
    for tile in (0, 9):
        square = frame.geometry[[tile]].to_crs(int(store.coordinates.crs[tile]))
        np.testing.assert_allclose(square.total_bounds[2] - square.total_bounds[0], 320, atol=0.01)
        np.testing.assert_allclose(square.total_bounds[0], store.coordinates.transform[tile, 2], atol=0.01)
    west, south, east, north = frame.geometry[5].bounds
    there = geopandas.read_parquet(path, bbox=(west, south, east, north))
    assert 5 in there.tile.to_numpy()
    assert len(there) < TILES
    rings = EmbeddingTable.open(path).rings(np.array([5, 0]))
    np.testing.assert_array_equal(rings[0], np.array(frame.geometry[5].exterior.coords))


def test_half_precision_is_rounded_and_nothing_else(store: Store, encoder: Encoder, tmp_path: Path) -> None:
    embed_tiles(encoder, store, tmp_path / "half.parquet", tiles=np.array([5, 3]), dtype="float16", pooling="mean")
    table = EmbeddingTable.open(tmp_path / "half.parquet")
    wanted = tile_features(encoder, store, np.array([5, 3]), pooling="mean")
    np.testing.assert_array_equal(table.vectors(), wanted.astype(np.float16).astype(np.float32))
    assert table.tile.tolist() == [5, 3]
    assert pq.read_schema(tmp_path / "half.parquet").field("embedding").type == pa.list_(
        pa.field("element", pa.float16()), encoder.width
    )


def test_a_killed_run_goes_on_where_it_stopped(
    store: Store, encoder: Encoder, path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tile_embeddings, "GROUP", 8)
    out = tmp_path / "table.parquet"
    computed: list[int] = []
    compute = tile_embeddings.tile_features

    def until_the_third(*args: object, **options: object) -> object:
        computed.append(len(computed))
        if len(computed) == 3:
            raise KeyboardInterrupt
        return compute(*args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(tile_embeddings, "tile_features", until_the_third)
    with pytest.raises(KeyboardInterrupt):
        embed_tiles(encoder, store, out)
    assert not out.exists()
    told: list[tuple[int, int]] = []
    embed_tiles(encoder, store, out, progress=lambda done, total: told.append((done, total)))
    assert len(computed) == 4
    assert told[0] == (8, TILES)
    assert told[-1] == (TILES, TILES)
    np.testing.assert_array_equal(EmbeddingTable.open(out).vectors(), EmbeddingTable.open(path).vectors())
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet"]


def test_parts_of_another_encoder_are_not_taken(
    store: Store, encoder: Encoder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "table.parquet"
    with monkeypatch.context() as patch:
        patch.setattr(tile_embeddings, "write_embeddings", lambda path, rows, **_: list(rows) and 1 / 0)
        with pytest.raises(ZeroDivisionError):
            embed_tiles(encoder, store, out)
    other = make_encoder(store, seed=1)
    embed_tiles(other, store, out)
    np.testing.assert_array_equal(EmbeddingTable.open(out).vectors(), tile_features(other, store))


def test_blocks_of_any_size_make_one_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedding_file, "GROUP", 5)
    blocks = [places(12), places(1, start=12), places(7, start=13)]
    path = tmp_path / "cells.parquet"
    assert write_embeddings(path, iter(blocks), width=4, facts={"source": "scene"}) == 20
    table = EmbeddingTable.open(path)
    np.testing.assert_array_equal(table.vectors(), np.concatenate([block.vectors for block in blocks]))
    rows = np.array([19, 0, 13])
    np.testing.assert_array_equal(table.vectors(rows), table.vectors()[rows])
    assert table.lon[13] == 13.5
    assert table.lat[13] == 0.5
    assert table.time[13] == np.datetime64("2020-01-14T10:00:00")
    assert set(table.biome) == {-1}
    assert pq.ParquetFile(path).metadata.num_row_groups == 6


def test_tiles_over_the_antimeridian_lie_there(tmp_path: Path) -> None:
    """As a projection gives their corners: the eastern ones beyond 180 degrees as negative numbers."""
    metres = Georeference("EPSG:32601", (640.0, 0.0, 168_000.0, 0.0, -640.0, 1_108_000.0))
    columns = np.arange(10)
    rings = _rings(metres, np.zeros(10, np.int64), columns)
    across = np.ptp(rings[:, :, 0], axis=1) > 180
    assert across.any()
    rows = EmbeddingRows.of_places(
        columns,
        names=np.array([f"cell {number}" for number in columns]),
        rings=rings,
        time=np.full(10, np.datetime64("NaT", "s")),
        vectors=np.ones((10, 4), np.float32),
    )
    write_embeddings(tmp_path / "t.parquet", [rows], width=4)
    table = EmbeddingTable.open(tmp_path / "t.parquet")
    assert (np.abs(table.lon) > 179.9).all()
    assert np.ptp(table.rings(columns)[:, :, 0], axis=1).max() < 0.01
    steps = np.diff(np.where(table.lon < 0, table.lon + 360, table.lon))
    np.testing.assert_allclose(steps, steps.mean(), rtol=1e-3)
    boxes = pq.read_table(tmp_path / "t.parquet").column("bbox").to_pylist()
    assert all(box["xmax"] - box["xmin"] < 0.01 for box in boxes)


def test_what_cannot_be_stored_is_refused_and_leaves_the_old_table(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, [places(3)], width=4)
    before = path.read_bytes()
    large = places(3)
    large.vectors[1, 2] = 1e6
    with pytest.raises(InputError, match="vector of cell 1 is not finite as float16\nhint: write float32"):
        write_embeddings(path, [large], width=4, dtype="float16")
    large.vectors[2, 0] = np.nan
    with pytest.raises(InputError, match="vector of cell 2 is not finite as float32\nhint: leave out"):
        write_embeddings(path, [places(3), large], width=4)
    with pytest.raises(InputError, match=r"shape \(3, 4\), not \(3, 5\)"):
        write_embeddings(path, [places(3)], width=5)
    assert path.read_bytes() == before
    assert [entry.name for entry in tmp_path.iterdir()] == ["table.parquet"]


def test_bad_tiles_are_refused(store: Store, encoder: Encoder, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no tile 24\nhint: its tiles are 0 to 23"):
        embed_tiles(encoder, store, tmp_path / "t.parquet", tiles=np.array([3, 24]))
    with pytest.raises(InputError, match="has no tiles to embed"):
        embed_tiles(encoder, store, tmp_path / "t.parquet", tiles=np.empty(0, np.int64))
    assert not list(tmp_path.iterdir())
    (tmp_path / "t.parquet").mkdir()
    with pytest.raises(InputError, match=r"t\.parquet: is a folder"):
        embed_tiles(encoder, store, tmp_path / "t.parquet")


def test_a_table_that_another_program_made_of_ours_is_one(path: Path, tmp_path: Path) -> None:
    frame = geopandas.read_parquet(path).iloc[[4, 9, 1]].drop(columns=["ecoregion", "tile"])
    frame.to_parquet(tmp_path / "some.parquet")
    table, whole = EmbeddingTable.open(tmp_path / "some.parquet"), EmbeddingTable.open(path)
    np.testing.assert_array_equal(table.vectors(), whole.vectors(np.array([4, 9, 1])))
    assert table.tile.tolist() == [0, 1, 2]
    assert set(table.ecoregion) == {-1}
    np.testing.assert_array_equal(table.time, whole.time[[4, 9, 1]])
    assert not table.facts
    assert table.fingerprint != whole.fingerprint


def test_other_files_are_refused(tmp_path: Path, path: Path) -> None:
    with pytest.raises(StoreError, match="there is no such file"):
        EmbeddingTable.open(tmp_path / "none.parquet")
    (tmp_path / "text.parquet").write_text("no table")
    with pytest.raises(InputError, match="is no Parquet file"):
        EmbeddingTable.open(tmp_path / "text.parquet")

    def refused(columns: dict[str, object], match: str) -> None:
        pq.write_table(pa.table(columns), tmp_path / "other.parquet")
        with pytest.raises(InputError, match=match):
            EmbeddingTable.open(tmp_path / "other.parquet")

    refused({"lat": [1.0], "lon": [1.0]}, "has no column 'embedding', but lat, lon")
    refused({"lat": [1.0], "lon": [1.0], "embedding": [1.0]}, "is of double, not of lists of floats")
    refused({"lat": [], "lon": [], "embedding": pa.array([], pa.list_(pa.float32()))}, "has no rows")
    pq.write_table(pa.table({"lat": [1.0, 2], "lon": [1.0, 2], "embedding": [[1.0, 2], [3.0]]}), tmp_path / "o.parquet")
    with pytest.raises(CorruptError, match="not all of 2 numbers"):
        EmbeddingTable.open(tmp_path / "o.parquet").vectors()
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 3 : len(damaged) // 3 + 4000] = bytes(4000)
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    with pytest.raises((CorruptError, InputError)):
        EmbeddingTable.open(tmp_path / "damaged.parquet").vectors()
    with pytest.raises(InputError, match="there is no row 99"):
        EmbeddingTable.open(path).vectors(np.array([3, 99]))


def test_a_table_that_changes_while_it_is_open_is_not_read_on(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, [places(20)], width=4)
    table = EmbeddingTable.open(path)
    assert len(table.vectors()) == 20
    write_embeddings(path, [places(12)], width=4)
    for read in (
        table.vectors,
        lambda: table.vectors(np.array([15])),
        lambda: list(table.blocks()),
        lambda: table.rings(np.array([3])),
        lambda: table.names(np.array([3])),
    ):
        with pytest.raises(StoreError, match="was changed since it was opened\nhint: open it again"):
            read()
    path.write_text("no table")
    with pytest.raises(StoreError, match="was changed since it was opened"):
        table.vectors()
    path.unlink()
    with pytest.raises(StoreError, match="was changed since it was opened"):
        table.vectors()


def foreign(path: Path, vectors: np.ndarray, **columns: object) -> Path:
    """A table that another program wrote."""
    lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.ravel()), vectors.shape[1])
    degrees = np.linspace(0, 50, len(vectors))
    content = pa.table({"embedding": lists, "lat": degrees, "lon": degrees, **columns})
    pq.write_table(content, path, compression="none", use_dictionary=False)
    return path


def test_another_programs_table_is_told_from_one_with_the_same_footer(tmp_path: Path) -> None:
    """Rows that change their places change neither sizes nor extremes."""
    vectors = np.random.default_rng(0).standard_normal((50, 4)).astype(np.float32)
    first = EmbeddingTable.open(foreign(tmp_path / "t.parquet", vectors)).fingerprint
    assert EmbeddingTable.open(tmp_path / "t.parquet").fingerprint == first
    vectors[[20, 30]] = vectors[[30, 20]]
    foreign(tmp_path / "t.parquet", vectors)
    assert EmbeddingTable.open(tmp_path / "t.parquet").fingerprint != first
    write_embeddings(tmp_path / "ours.parquet", [places(3)], width=4)
    ours = EmbeddingTable.open(tmp_path / "ours.parquet").fingerprint
    (tmp_path / "copied.parquet").write_bytes((tmp_path / "ours.parquet").read_bytes())
    assert EmbeddingTable.open(tmp_path / "copied.parquet").fingerprint == ours


@pytest.mark.parametrize("number", [np.nan, np.inf, 1e300])
def test_vectors_that_are_not_finite_are_named(tmp_path: Path, number: float) -> None:
    vectors = np.random.default_rng(0).standard_normal((50, 4))
    vectors[37, 2] = number
    table = EmbeddingTable.open(foreign(tmp_path / "t.parquet", vectors))
    for read in (table.vectors, lambda: list(table.blocks()), lambda: table.vectors(np.array([37]))):
        with pytest.raises(InputError, match="the vector of row 37 holds what is no finite number"):
            read()


def test_columns_of_other_kinds_are_named(tmp_path: Path) -> None:
    vectors = np.ones((3, 4), np.float32)
    path = foreign(tmp_path / "t.parquet", vectors, time=pa.array(["July", "June", "May"]))
    with pytest.raises(InputError, match="column 'time' is of string and cannot be read as timestamps"):
        EmbeddingTable.open(path)
    with pytest.raises(InputError, match="column 'biome' is of string and cannot be read as numbers"):
        EmbeddingTable.open(foreign(tmp_path / "t.parquet", vectors, biome=pa.array(["tundra"] * 3)))


def test_newer_formats_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "table.parquet"
    write_embeddings(path, [places(3)], width=4)
    content = pq.read_table(path)
    facts = {**json.loads(content.schema.metadata[b"geopretext"]), "format_version": 2}
    metadata = {**content.schema.metadata, b"geopretext": json.dumps(facts)}
    pq.write_table(content.replace_schema_metadata(metadata), path)
    with pytest.raises(InputError, match="format version 2, and 1 is read"):
        EmbeddingTable.open(path)


def test_rows_come_from_an_iterator_as_they_are_made(tmp_path: Path) -> None:
    """Memory does not grow with the table: what was written is let go before the next is asked for."""
    alive: list[int] = []

    def blocks() -> Iterator[EmbeddingRows]:
        for start in range(0, 30, 10):
            alive.append(start)
            yield places(10, start=start)
            assert sum(entry.suffix == ".partial" for entry in tmp_path.iterdir()) == 1

    assert write_embeddings(tmp_path / "t.parquet", blocks(), width=4) == 30
    assert alive == [0, 10, 20]

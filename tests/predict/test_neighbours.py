"""Neighbours are those of brute force, whatever the index, the conditions and the examples."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open

from geopretext.errors import InputError, StoreError
from geopretext.modality import PUBLISHED
from geopretext.nn.bundle import Encoder
from geopretext.nn.convnextv2 import ConvNeXtV2
from geopretext.nn.settings import EncoderSettings
from geopretext.predict import neighbour_file, neighbours
from geopretext.predict.embedding_file import EmbeddingRows, write_embeddings
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.features import image_features
from geopretext.predict.image_door import ImageDoor
from geopretext.predict.images import ImageFiles
from geopretext.predict.neighbour_file import index_path
from geopretext.predict.neighbours import NeighbourIndex
from geopretext.predict.row_filter import Box, RowFilter, biome_number, named_row, nearest_row
from geopretext.predict.unit_space import UnitSpace

ROWS, WIDTH = 6_000, 24


def write(path: Path, vectors: np.ndarray, seed: int = 0) -> EmbeddingTable:
    rng = np.random.default_rng(seed)
    count = len(vectors)
    centre = np.stack([rng.uniform(-180, 180, count), rng.uniform(-80, 80, count)], axis=1)
    corners = 0.01 * np.array([[-1, 1], [-1, -1], [1, -1], [1, 1], [-1, 1]])
    names = np.array([f"t{number}" for number in range(count)])
    days = np.datetime64("2020-01-01") + (np.arange(count) % 366).astype("timedelta64[D]")
    rows = EmbeddingRows.of_places(
        np.arange(count), names=names, rings=centre[:, None] + corners, time=days, vectors=vectors
    )
    assert rows.coordinates.biome is not None
    assert rows.coordinates.split is not None
    rows.coordinates.biome[:] = rng.integers(0, 14, count)
    rows.coordinates.split[:] = rng.integers(-1, 3, count)
    write_embeddings(path, [rows], width=vectors.shape[1])
    return EmbeddingTable.open(path)


def clustered() -> np.ndarray:
    """Rows in clusters, with features of different sizes and far from 0."""
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((40, WIDTH))
    rows = centres[rng.integers(0, 40, ROWS)] + 0.3 * rng.standard_normal((ROWS, WIDTH))
    return (rows * np.geomspace(0.1, 10, WIDTH) + 5).astype(np.float32)


@pytest.fixture(scope="module", params=["gaussian", "clustered"])
def table(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> EmbeddingTable:
    rng = np.random.default_rng(1)
    vectors = rng.standard_normal((ROWS, WIDTH)).astype(np.float32) if request.param == "gaussian" else clustered()
    return write(tmp_path_factory.mktemp(request.param) / "table.parquet", vectors)


def brute_force(table: EmbeddingTable, query: np.ndarray, forbidden: list[int], where: np.ndarray | None) -> np.ndarray:
    """Rows by falling similarity, in double precision; ``query`` is a sum of unit vectors of rows."""
    similarity = standardised(table) @ query
    allowed = np.ones(len(table), bool) if where is None else where.copy()
    allowed[forbidden] = False
    return np.argsort(np.where(allowed, -similarity, np.inf))[: allowed.sum()]


def standardised(table: EmbeddingTable) -> np.ndarray:
    vectors = table.vectors().astype(np.float64)
    units = (vectors - vectors.mean(axis=0)) / vectors.std(axis=0)
    return units / np.linalg.norm(units, axis=1, keepdims=True)


def recall(index: NeighbourIndex, where: np.ndarray | None = None, queries: int = 30) -> float:
    units = standardised(index.table)
    rows = np.random.default_rng(7).choice(len(index.table), queries, replace=False)
    return float(
        np.mean(
            [
                np.isin(brute_force(index.table, units[row], [row], where)[:10], index.like([row], where=where).rows)
                for row in rows.tolist()
            ]
        )
    )


def test_small_tables_are_searched_as_they_are(table: EmbeddingTable) -> None:
    index = NeighbourIndex.open(table)
    assert recall(index) == 1
    assert not index_path(table).exists()
    found = index.like([5], count=4)
    np.testing.assert_allclose(found.similarity, standardised(table)[found.rows] @ standardised(table)[5], atol=1e-6)
    assert (np.diff(found.similarity) <= 0).all()


def few_candidates(monkeypatch: pytest.MonkeyPatch) -> None:
    """As for a table that is large beside what is compared."""
    monkeypatch.setattr(neighbours, "_CANDIDATES", 500)
    monkeypatch.setattr(neighbours, "_CANDIDATES_NEAR", 500)
    monkeypatch.setattr(neighbours, "_FEW", 100)
    monkeypatch.setattr(neighbour_file, "_PART", 2500)


def test_the_index_finds_what_brute_force_finds(table: EmbeddingTable, monkeypatch: pytest.MonkeyPatch) -> None:
    few_candidates(monkeypatch)
    index_path(table).unlink(missing_ok=True)
    index = NeighbourIndex.open(table, indexed=True)
    assert recall(index) >= 0.99
    rng = np.random.default_rng(0)
    assert recall(index, where=rng.random(ROWS) < 0.5) >= 0.99
    assert recall(index, where=rng.random(ROWS) < 0.005) == 1


def test_clusters_are_looked_at_where_they_hold_neighbours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    few_candidates(monkeypatch)
    monkeypatch.setattr(neighbour_file, "CLUSTERS", 64)
    shares = {}
    for name, vectors in (("near", clustered()), ("far", np.random.default_rng(0).standard_normal((ROWS, WIDTH)))):
        index = NeighbourIndex.open(write(tmp_path / f"{name}.parquet", vectors.astype(np.float32)), indexed=True)
        shares[name] = index.share
        assert recall(index) >= 0.99
        # all clusters are looked at where a condition may leave out the near ones
        far_side = standardised(index.table)[:, 0] < 0
        assert recall(index, where=far_side) >= 0.99
    assert 0 < shares["near"] <= 0.5
    assert shares["far"] == 0


def test_a_condition_that_leaves_out_all_that_is_near_is_fulfilled(
    table: EmbeddingTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    few_candidates(monkeypatch)
    index = NeighbourIndex.open(table, indexed=True)
    order = brute_force(table, standardised(table)[11], [11], None)
    where = np.zeros(ROWS, bool)
    where[order[-1000:]] = True
    np.testing.assert_array_equal(np.sort(index.like([11], where=where).rows), np.sort(order[-1000:-990]))


def test_several_examples_are_one_question(table: EmbeddingTable) -> None:
    units = standardised(table)
    query = units[[3, 70, 8]].mean(axis=0) - 0.25 * units[[9, 2]].mean(axis=0)
    found = NeighbourIndex.open(table).like([3, 70, 8], unlike=[9, 2], count=15)
    np.testing.assert_array_equal(found.rows, brute_force(table, query, [3, 70, 8, 9, 2], None)[:15])
    np.testing.assert_allclose(found.similarity, units[found.rows] @ query, atol=1e-6)
    plain = NeighbourIndex.open(table).like([3], unlike=[9], against=0)
    np.testing.assert_array_equal(plain.rows, brute_force(table, units[3], [3, 9], None)[:10])


def test_a_vector_is_an_example(table: EmbeddingTable) -> None:
    index = NeighbourIndex.open(table)
    found = index.like(vectors=table.vectors(np.array([17])), count=3)
    assert found.rows[0] == 17
    np.testing.assert_allclose(found.similarity[0], 1, atol=1e-5)
    np.testing.assert_array_equal(found.rows[1:], index.like([17], count=2).rows)


def test_plain_cosine(table: EmbeddingTable) -> None:
    vectors = table.vectors()
    units = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    found = NeighbourIndex.open(table, standardised=False).like([4], count=5)
    np.testing.assert_allclose(found.similarity, np.sort(units @ units[4])[::-1][1:6], atol=1e-5)


def test_fewer_rows_than_wanted(table: EmbeddingTable) -> None:
    where = np.zeros(ROWS, bool)
    where[[4, 5, 6]] = True
    found = NeighbourIndex.open(table).like([5], where=where)
    assert sorted(found.rows) == [4, 6]
    where[:] = False
    assert not len(NeighbourIndex.open(table).like([5], where=where))


def test_the_index_is_kept_and_made_anew_when_the_table_changes(tmp_path: Path) -> None:
    told: list[str] = []
    table = write(tmp_path / "table.parquet", clustered())
    NeighbourIndex.open(table, indexed=True, notice=told.append)
    assert told == [
        f"making the index {tmp_path / 'table.parquet.index'} of 6,000 rows, which is kept for the next time"
    ]
    NeighbourIndex.open(table, indexed=True, notice=told.append)
    assert len(told) == 1
    index_path(table).write_bytes(index_path(table).read_bytes()[:100_000])  # truncated
    NeighbourIndex.open(table, indexed=True, notice=told.append)
    assert len(told) == 2
    NeighbourIndex.open(table, indexed=True, standardised=False, notice=told.append)
    assert len(told) == 3
    changed = clustered()
    changed[7] = changed[4000]
    table = write(tmp_path / "table.parquet", changed)
    found = NeighbourIndex.open(table, indexed=True, notice=told.append).like([7], count=1)
    assert len(told) == 4
    assert found.rows.tolist() == [4000]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["table.parquet", "table.parquet.index"]


def test_an_index_that_is_not_what_was_written_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No byte of it is believed, and FAISS sees none, before all are checked."""
    told: list[str] = []
    table = write(tmp_path / "table.parquet", clustered())
    wanted = NeighbourIndex.open(table, indexed=True, notice=told.append).like([3]).rows
    whole = index_path(table).read_bytes()
    read: list[int] = []
    true_init = neighbour_file.NeighbourFile.__init__

    def init(self: neighbour_file.NeighbourFile, arrays: Any, share: float) -> None:
        read.append(1)
        true_init(self, arrays, share)

    monkeypatch.setattr(neighbour_file.NeighbourFile, "__init__", init)
    for place in (5_000, len(whole) // 2, len(whole) - 40):  # a vector, and codes
        broken = bytearray(whole)
        broken[place] ^= 64
        index_path(table).write_bytes(broken)
        told.clear()
        read.clear()
        np.testing.assert_array_equal(
            NeighbourIndex.open(table, indexed=True, notice=told.append).like([3]).rows, wanted
        )
        assert len(told) == 1
        assert len(read) == 1
    index_path(table).write_bytes(whole + b"more")
    NeighbourIndex.open(table, indexed=True, notice=told.append)
    assert len(told) == 2


def test_a_folder_in_the_place_of_the_index_is_said(tmp_path: Path) -> None:
    table = write(tmp_path / "table.parquet", clustered())
    index_path(table).mkdir()
    with pytest.raises(StoreError, match="index: cannot be read: Is a directory\nhint: delete it"):
        NeighbourIndex.open(table, indexed=True)


@pytest.mark.parametrize("width", [1, 2, 7])
def test_vectors_of_few_features_get_no_index(tmp_path: Path, width: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((500, width)).astype(np.float32)
    table = write(tmp_path / "table.parquet", vectors)
    assert len(NeighbourIndex.open(table, indexed=True).like([3])) == 10
    assert not index_path(table).exists()


@pytest.mark.parametrize("width", [9, 11])
def test_codes_hold_all_directions_of_an_odd_width(tmp_path: Path, width: int) -> None:
    vectors = np.random.default_rng(0).standard_normal((ROWS, width)).astype(np.float32)
    index = NeighbourIndex.open(write(tmp_path / "table.parquet", vectors), indexed=True)
    assert index._file is not None
    axes = index._file._axes
    assert axes.shape == (width, width + 1)
    np.testing.assert_allclose(axes @ axes.T, np.eye(width), atol=1e-5)
    assert recall(index) >= 0.99


@pytest.mark.parametrize("crowd", [480, 900])
def test_many_examples_that_crowd_leave_room_for_what_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crowd: int
) -> None:
    few_candidates(monkeypatch)
    vectors = np.random.default_rng(0).standard_normal((ROWS, WIDTH)).astype(np.float32)
    vectors[:1000] = vectors[0] + 0.01 * vectors[:1000]
    index = NeighbourIndex.open(write(tmp_path / "table.parquet", vectors), indexed=True)
    rows = list(range(crowd))
    found = index.like(rows, count=10)
    units = standardised(index.table)
    order = brute_force(index.table, units[rows].mean(axis=0), rows, None)
    np.testing.assert_allclose(found.similarity, units[order[:10]] @ units[rows].mean(axis=0), atol=1e-5)


def test_an_index_that_fails_leaves_nothing(tmp_path: Path) -> None:
    table = write(tmp_path / "table.parquet", clustered())

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        NeighbourIndex.open(table, indexed=True, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["table.parquet"]


def test_the_index_is_a_safetensors_file(tmp_path: Path) -> None:
    table = write(tmp_path / "table.parquet", clustered())
    NeighbourIndex.open(table, indexed=True)
    with safe_open(index_path(table), "numpy") as file:
        np.testing.assert_allclose(file.get_tensor("units"), standardised(table), atol=1e-5)
        np.testing.assert_allclose(file.get_tensor("mean"), table.vectors().mean(axis=0), rtol=1e-4)


def test_bad_questions_are_refused(table: EmbeddingTable) -> None:
    index = NeighbourIndex.open(table)
    with pytest.raises(InputError, match="no example is given"):
        index.like()
    with pytest.raises(InputError, match="there is no row 6000\nhint: rows are 0 to 5999"):
        index.like([3], unlike=[6000])
    with pytest.raises(InputError, match=r"shape \(2, 5\), not \(m, 24\)"):
        index.like(vectors=np.zeros((2, 5), np.float32))
    with pytest.raises(InputError, match=r"where has shape \(3,\), not \(6000,\)"):
        index.like([3], where=np.ones(3, bool))


def test_moments_do_not_depend_on_blocks_and_constants_do_not_count() -> None:
    rng = np.random.default_rng(0)
    vectors = rng.normal(3, [1, 20, 0.01], (1000, 3)).astype(np.float32)
    vectors = np.concatenate([vectors, np.full((1000, 1), 0.7, np.float32)], axis=1)
    space = UnitSpace.measured(np.split(vectors, [10, 300, 301]), 4)
    np.testing.assert_allclose(space.mean, vectors.mean(axis=0, dtype=np.float64), rtol=1e-5)
    np.testing.assert_allclose(space.deviation[:3], vectors.std(axis=0, dtype=np.float64)[:3], rtol=1e-4)
    assert np.abs(space(vectors)[:, 3]).max() < 1e-5
    assert not space(space.mean[None]).any()


def test_conditions_hold_together(table: EmbeddingTable) -> None:
    assert RowFilter().mask(table) is None
    first, last = np.datetime64("2020-03-01"), np.datetime64("2020-03-31")
    wanted = RowFilter(Box(-20, -10, 40, 60), first, last, biomes=(3, 4), splits=("train",))
    expected = [
        -20 <= table.lon[row] <= 40
        and -10 <= table.lat[row] <= 60
        and str(table.time[row]).startswith("2020-03")
        and table.biome[row] in (3, 4)
        and table.split[row] == 0
        for row in range(ROWS)
    ]
    mask = wanted.mask(table)
    assert mask is not None
    assert mask.tolist() == expected
    across = RowFilter(Box(170, -80, -170, 80)).mask(table)
    assert across is not None
    np.testing.assert_array_equal(across, np.abs(table.lon) >= 170)
    with pytest.raises(InputError, match="no row fulfils all conditions"):
        RowFilter(first_day=np.datetime64("2021-06-01")).mask(table)
    with pytest.raises(InputError, match="there is no split 'dev'\nhint: one of train, val, test"):
        RowFilter(splits=("dev",)).mask(table)
    with pytest.raises(InputError, match="has no area"):
        Box(0, 50, 10, 40)
    with pytest.raises(InputError, match="longitudes are -180 to 180"):
        Box(0, 50, 190, 60)


def test_biomes_by_number_and_name() -> None:
    assert biome_number("3") == 3
    assert biome_number("tundra") == 0
    assert biome_number("Mangr") == 9
    with pytest.raises(InputError, match="several biomes are called 'tropical'"):
        biome_number("tropical")
    with pytest.raises(InputError, match="no biome is called 'sea'"):
        biome_number("sea")
    with pytest.raises(InputError, match="there is no biome 14"):
        biome_number("14")


def test_places_and_names(table: EmbeddingTable) -> None:
    row, away = nearest_row(table, lat=float(table.lat[77]), lon=float(table.lon[77]) - 360)
    assert row == 77
    assert away < 1e-3
    lat, lon = 10.0, 179.99  # over the antimeridian, against the chord in space
    phi, lam = np.radians(table.lat), np.radians(table.lon)
    points = np.stack([np.cos(phi) * np.cos(lam), np.cos(phi) * np.sin(lam), np.sin(phi)], axis=1)
    p, q = np.radians([lat, lon])
    chord = np.linalg.norm(points - [np.cos(p) * np.cos(q), np.cos(p) * np.sin(q), np.sin(p)], axis=1)
    row, away = nearest_row(table, lat=lat, lon=lon)
    assert row == chord.argmin()
    np.testing.assert_allclose(away, 2 * 6371 * np.arcsin(chord.min() / 2), rtol=1e-6)
    assert named_row(table, "t4") == named_row(table, "4") == 4
    with pytest.raises(InputError, match="there is no tile 't6000'"):
        named_row(table, "t6000")
    with pytest.raises(InputError, match="there is no place 8,95"):
        nearest_row(table, lat=95, lon=8)


def test_neighbours_of_real_images_share_their_class(test_data: Path) -> None:
    """Even random features tell EuroSAT's classes apart far better than chance (0.1)."""
    folders = sorted(path for path in (test_data / "eurosat_rgb" / "2750").iterdir() if path.is_dir())
    paths = [path for folder in folders for path in sorted(folder.glob("*.jpg"))[:12]]
    torch.manual_seed(0)
    encoder = Encoder(
        ConvNeXtV2(EncoderSettings(size="micro", bands=("B4", "B3", "B2"), image_size=64)),
        PUBLISHED["sentinel2"].select(("B4", "B3", "B2")),
    )
    door = ImageDoor.open(ImageFiles.open(paths), encoder.modality, {}, patch_size=encoder.settings.patch_size)
    vectors = image_features(encoder, door)
    units = UnitSpace.measured([vectors], vectors.shape[1])(vectors)
    similarity = units @ units.T - 9 * np.eye(len(units))
    nearest = np.argsort(-similarity, axis=1)[:, :5]
    label = np.repeat(np.arange(len(folders)), 12)
    assert (label[nearest] == label[:, None]).mean() > 0.25

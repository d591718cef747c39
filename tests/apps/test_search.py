"""search: which examples, which conditions, what is printed and written."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
from PIL import Image

from geopretext.apps.cli import main
from geopretext.data.store import Store
from geopretext.nn.bundle import Encoder
from geopretext.predict import neighbours
from geopretext.predict.embedding_table import EmbeddingTable
from geopretext.predict.neighbours import NeighbourIndex
from geopretext.predict.tile_embeddings import embed_tiles


@pytest.fixture(scope="module")
def table(bundle: Path, store: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("search") / "embeddings.parquet"
    embed_tiles(Encoder.from_pretrained(bundle), Store.open(store), path, pooling="mean")
    return path


def search(capsys: pytest.CaptureFixture[str], *words: object) -> dict[str, object]:
    assert main(["search", *map(str, words), "--json"]) == 0
    answer: dict[str, object] = json.loads(capsys.readouterr().out)
    return answer


def test_a_place_stands_for_the_nearest_tile(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = EmbeddingTable.open(table)
    assert main(["search", str(table), "--like", f"{opened.lon[7]:.4f},{opened.lat[7]:.4f}", "--count", "3"]) == 0
    printed = capsys.readouterr()
    assert ": tile 7, whose centre is 0.0 km away\n" in printed.err
    header, _, *rows = printed.out.splitlines()
    assert header.split() == ["rank", "similarity", "tile", "id", "lat", "lon", "date", "biome"]
    wanted = NeighbourIndex.open(opened).like([7], count=3)
    assert [row.split()[2] for row in rows] == [str(row) for row in wanted.rows]
    assert [row.split()[1] for row in rows] == [f"{similarity:.4f}" for similarity in wanted.similarity]
    assert main(["search", str(table), "--like", "0,-89.9"]) == 0
    assert "the table has nothing closer" in capsys.readouterr().err


def test_examples_and_conditions_come_together(table: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = EmbeddingTable.open(table)
    name = opened.names(np.array([4]))[0]
    biome = int(np.bincount(opened.biome).argmax())
    words = ["--like", 3, "--like", name, "--unlike", 9, "--biome", biome, "--from", "2017-06-01", "--to", "2020-06-30"]
    answer = search(capsys, table, *words, "--bbox", "-180,-60,180,85", "--split", "train", "--split", "val")
    day = opened.time.astype("datetime64[D]")
    where = (
        (opened.biome == biome)
        & (day >= np.datetime64("2017-06-01"))
        & (day <= np.datetime64("2020-06-30"))
        & (opened.lat >= -60)
        & np.isin(opened.split, (0, 1))
    )
    found = NeighbourIndex.open(opened).like([3, 4], unlike=[9], where=where)
    assert [hit["row"] for hit in answer["hits"]] == found.rows.tolist()
    assert [row["tile"] for row in answer["like"]] == [3, 4]
    assert [row["tile"] for row in answer["unlike"]] == [9]


def test_hits_are_written_for_a_map(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    opened = EmbeddingTable.open(table)
    frames = []
    for ending in ("parquet", "geojson"):
        out = tmp_path / "new" / f"hits.{ending}"
        hits = search(capsys, table, "--like", 3, "--count", 4, "--out", out)["hits"]
        frame = geopandas.read_parquet(out) if ending == "parquet" else geopandas.read_file(out)
        assert frame["rank"].tolist() == [1, 2, 3, 4]
        assert frame.tile.tolist() == [hit["tile"] for hit in hits]
        assert frame.biome.tolist() == [hit["biome"] for hit in hits]
        frames.append(frame)
    centre = frames[0].geometry.union_all().centroid
    assert -180 <= centre.x <= 180
    for frame in frames:
        rows = frame.row.to_numpy()
        bounds = frame.geometry.bounds.to_numpy()
        assert (bounds[:, 1] < opened.lat[rows]).all()
        assert (bounds[:, 3] > opened.lat[rows]).all()
        np.testing.assert_allclose(bounds[:, [0, 2]].mean(axis=1), opened.lon[rows], atol=1e-3)
    np.testing.assert_allclose(frames[0].geometry.bounds, frames[1].geometry.bounds, atol=1e-6)


def test_a_picture_of_the_hits(table: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture = tmp_path / "hits.png"
    search(capsys, table, "--like", 3, "--unlike", 5, "--count", 7, "--picture", picture)
    with Image.open(picture) as image:
        two_lines, _ = image.size[1], image.size[0]
    search(capsys, table, "--like", 3, "--count", 3, "--picture", picture, "--data", store)
    with Image.open(picture) as image:
        assert image.size[1] < two_lines
        assert np.asarray(image).std() > 20


def test_a_picture_needs_the_tiles_of_the_table(
    bundle: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from geopretext.data.synthetic import write_synthetic_store

    other = tmp_path / "other.zarr"
    write_synthetic_store(other, count=120, seed=9, tile_size=32, workers=1)
    words = ["search", str(table), "--like", "3", "--picture", str(tmp_path / "p.png"), "--data", str(other)]
    assert main(words) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {other}: holds other tiles than {table} was made of"
    assert hint.startswith("hint: take ")
    assert not (tmp_path / "p.png").exists()


def test_an_image_is_an_example(
    bundle: Path, store: Path, table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A tile's own pixels, from a file, are most like that tile."""
    rasterio = pytest.importorskip("rasterio")
    reader = Store.open(store)
    level = reader.modalities["sentinel2"].levels
    codes = reader.coordinates.levels["sentinel2"]
    tile = int(np.flatnonzero(codes == level.index("L2A"))[0])
    encoder = Encoder.from_pretrained(bundle)
    modality = reader.modalities["sentinel2"]
    pixels = reader.read(["sentinel2"], np.array([tile]))["sentinel2"][0][list(modality.band_indices(encoder.bands))]
    path = tmp_path / "tile.tif"
    shape = {"count": len(pixels), "height": pixels.shape[1], "width": pixels.shape[2], "dtype": "uint16"}
    with rasterio.open(
        path, "w", driver="GTiff", nodata=0, transform=rasterio.Affine(10, 0, 0, 0, -10, 0), **shape
    ) as file:
        file.write(pixels)
        file.descriptions = encoder.bands
    words = ["--like-image", path, "--bundle", bundle, "--unit", encoder.unit, "--level", "L2A", "--count", 1]
    assert main(["search", str(table), *map(str, words), "--json"]) == 0
    printed = capsys.readouterr()
    (hit,) = json.loads(printed.out)["hits"]
    assert "bands matched by name: B" in printed.err
    assert "standardised by means and deviations of the bundle" in printed.err
    assert "no --level is given" not in printed.err
    without = [word for word in words if word not in ("--level", "L2A")]
    assert main(["search", str(table), *map(str, without)]) == 0
    assert "warning: the bundle knows levels L1C, L2A, and no --level is given" in capsys.readouterr().err
    assert hit["tile"] == tile
    assert hit["similarity"] > 0.999
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path / "same")
    other = Encoder.from_pretrained(bundle)
    next(iter(other.network.parameters())).data.add_(1)
    other.save_pretrained(tmp_path / "other")
    words[3] = tmp_path / "other"
    assert main(["search", str(table), *map(str, words)]) == 1
    assert "was made with another bundle" in capsys.readouterr().err


def test_an_index_is_made_and_said(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = search(capsys, table, "--like", 3)["hits"]
    monkeypatch.setattr(neighbours, "INDEXED_FROM", 100)
    assert main(["search", str(table), "--like", "3", "--json"]) == 0
    printed = capsys.readouterr()
    assert f"making the index {table}.index of 120 rows" in printed.err
    assert json.loads(printed.out)["hits"] == plain
    assert main(["search", str(table), "--like", "3", "--json"]) == 0
    assert "making the index" not in capsys.readouterr().err
    Path(f"{table}.index").unlink()


def test_bad_words(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str, code: int) -> str:
        assert main(["search", *words]) == code
        return capsys.readouterr().err

    assert "one of --like and --like-image is required" in refused(str(table), code=2)
    assert "--like-image needs --bundle" in refused(str(table), "--like-image", "x.png", code=2)
    assert "is none of .parquet, .geojson" in refused(str(table), "--like", "3", "--out", "hits.csv", code=2)
    assert "is not four numbers W,S,E,N" in refused(str(table), "--like", "3", "--bbox", "1,2", code=2)
    assert "has no area (the order is W,S,E,N)" in refused(str(table), "--like", "3", "--bbox", "-1,5,9,2", code=2)
    assert "'July' is no date such as 2020-07-31" in refused(str(table), "--like", "3", "--from", "July", code=2)
    assert "'2020' is no date" in refused(str(table), "--like", "3", "--from", "2020", code=2)
    assert "'NaT' is no date" in refused(str(table), "--like", "3", "--to", "NaT", code=2)
    assert "longitudes are -180 to 180" in refused(str(table), "--like", "3", "--bbox", "1,2,nan,4", code=2)
    assert "no biome is called '²'" in refused(str(table), "--like", "3", "--biome", "²", code=2)
    assert "there is no tile '²'" in refused(str(table), "--like", "²", code=1)
    (tmp_path / "hits.geojson").mkdir()
    assert "hits.geojson is a folder" in refused(
        str(table), "--like", "3", "--out", str(tmp_path / "hits.geojson"), code=2
    )
    assert "no biome is called 'moon'" in refused(str(table), "--like", "3", "--biome", "moon", code=2)
    assert "is no number from 0" in refused(str(table), "--like", "3", "--against", "-1", code=2)
    assert "there is no tile 'x'" in refused(str(table), "--like", "x", code=1)
    assert "there is no place 8,99" in refused(str(table), "--like", "8,99", code=1)
    assert "there is no such file" in refused(str(tmp_path / "no.parquet"), "--like", "3", code=1)
    assert "no row fulfils all conditions" in refused(str(table), "--like", "3", "--to", "1999-01-01", code=1)


def test_the_documented_lines_run(
    table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    text = (Path(__file__).parents[2] / "docs" / "search.md").read_text(encoding="utf-8")
    lines = text.partition("## In Python\n\n```python\n")[2].partition("```")[0]
    (tmp_path / "embeddings.parquet").symlink_to(table)
    monkeypatch.chdir(tmp_path)
    exec(lines, {})
    printed = capsys.readouterr().out.splitlines()
    assert len(printed) == 20
    assert all(float(line.split()[1]) >= 0 for line in printed)

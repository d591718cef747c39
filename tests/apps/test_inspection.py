"""What ``geopretext inspect`` says and writes about tiles that deserve a look."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.data.store import Store
from geopretext.data.synthetic import SyntheticEarth
from geopretext.data.tiles import TileBatch
from geopretext.data.writer import StoreWriter

from ..data import series_tiles

COUNT = 40
FILES = {
    "summary.json", "modalities.csv", "suspects.csv", "histograms.png", "contact_sheet.png", "suspects.png",
    "places_by_biome.png",
}  # fmt: skip


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a constant band, a doubled image, and land cover that lies a pixel too far north everywhere."""
    path = tmp_path_factory.mktemp("faulty") / "tiles.zarr"
    earth = SyntheticEarth(2, tile_size=64)
    batch = earth.tiles(earth.places(COUNT))
    arrays = {name: array.copy() for name, array in batch.arrays.items()}
    arrays["sentinel2"][4, 1] = 700
    arrays["sentinel2"][9] = arrays["sentinel2"][3]
    arrays["esa_worldcover"] = np.roll(arrays["esa_worldcover"], -1, axis=2)
    with StoreWriter.create(path, earth.modalities.values(), tile_size=64, shard_size=16) as writer:
        writer.append(TileBatch(batch.coordinates, arrays))
    return path


def test_the_summary_names_suspects_and_shifts(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(faulty)]) == 0
    text = capsys.readouterr().out
    line = next(line for line in text.splitlines() if line.startswith("suspects: "))
    assert f"of {COUNT} tiles: " in line
    assert "constant 1" in line
    assert "duplicate 1" in line
    assert "`--out DIR` writes suspects.csv" in line
    shifted = [line for line in text.splitlines() if line.startswith("shifted: ")]
    assert shifted == [
        "shifted: esa_worldcover lies 1.0 px north, 0.0 px east of sentinel2 over all of these tiles"
    ] or (len(shifted) == 1 and shifted[0].startswith("shifted: esa_worldcover lies 1.0 px north, 0.0 px west"))
    assert "aligned with sentinel2 by their edges: sentinel1" in text


def test_json_holds_the_same(faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(faulty), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    kinds = {(one["suspicion"], one["tile"], one["band"]) for one in summary["suspects"]}
    assert {("constant", 4, "B2"), ("duplicate", 9, "")} <= kinds
    assert summary["suspicions"]["constant"] == 1
    assert {one["tile_id"] for one in summary["suspects"] if one["tile"] == 4} == {
        str(Store.open(faulty).coordinates.tile_id[4])
    }
    pairs = {pair["modality"]: pair for pair in summary["registration"]}
    assert pairs["esa_worldcover"]["shifted"]
    assert pairs["esa_worldcover"]["pixels_south"] == pytest.approx(-1, abs=0.15)
    assert not pairs["sentinel1"]["shifted"]
    assert {pair["reference"] for pair in pairs.values()} == {"sentinel2"}


def test_out_writes_pictures_and_tables(faulty: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(faulty), "--out", str(tmp_path / "look"), "--count", "3", "--all"]) == 0
    said = capsys.readouterr().err
    assert {path.name for path in (tmp_path / "look").iterdir()} == FILES
    assert all(name in said.splitlines()[-1] for name in FILES)
    assert f"tiles looked at: {COUNT} of {COUNT}" in said
    for picture in (tmp_path / "look").glob("*.png"):
        assert picture.read_bytes()[:4] == b"\x89PNG"
    with (tmp_path / "look" / "suspects.csv").open() as file:
        rows = list(csv.DictReader(file))
    (row,) = (row for row in rows if row["suspicion"] == "constant")
    assert (row["tile"], row["modality"], row["band"], row["value"]) == ("4", "sentinel2", "B2", "700.0")
    assert row["detail"] == "700 reflectance x 10000 at all 4096 observed pixels"
    where = Store.open(faulty).coordinates
    assert (float(row["lat"]), float(row["lon"])) == (where.lat[4], where.lon[4])
    summary = json.loads((tmp_path / "look" / "summary.json").read_text())
    assert len(summary["suspects"]) == len(rows)
    assert sum(summary["histograms"]["sentinel1"][""]["asc_VV"]["counts"]) > 1000
    assert summary["classes"]["biome"]


def test_a_store_without_tiles_or_maps(tmp_path: Path, faulty: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = Store.open(faulty)
    vectors = [store.modalities["era5"], store.modalities["biome"]]
    with StoreWriter.create(tmp_path / "none.zarr", vectors, tile_size=64):
        pass
    assert main(["inspect", str(tmp_path / "none.zarr"), "--out", str(tmp_path / "look")]) == 0
    assert "suspects" not in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "look").iterdir()} == {"summary.json", "modalities.csv", "suspects.csv"}
    shutil.rmtree(tmp_path / "look")
    with StoreWriter.resume(tmp_path / "none.zarr") as writer:
        tiles = np.arange(5)
        coordinates = replace(store.coordinates.take(tiles), levels={})
        writer.append(TileBatch(coordinates, store.read(["era5", "biome"], tiles)))
    assert main(["inspect", str(tmp_path / "none.zarr"), "--out", str(tmp_path / "look")]) == 0
    assert "suspects: 0 of 5 tiles" in capsys.readouterr().out
    assert {path.name for path in (tmp_path / "look").iterdir()} == {
        "summary.json", "modalities.csv", "suspects.csv", "histograms.png", "places_by_biome.png",
    }  # fmt: skip


def test_series_are_told_by_their_dates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, name = tmp_path / "series.zarr", series_tiles.OPTICAL.name
    with StoreWriter.create(path, series_tiles.MODALITIES, tile_size=8, dates=series_tiles.LONGEST) as writer:
        writer.append(series_tiles.make_series_tiles(0, 14))
    main(["inspect", str(path), "--json", "--out", str(tmp_path / "look")])
    summary = json.loads(capsys.readouterr().out)
    counts = [series_tiles.count_of(series_tiles.OPTICAL, tile) for tile in range(14)]
    assert summary["series"][name]["dates_a_tile"] == [0, np.median(counts), 6]
    assert summary["series"][name]["room"] == 6
    first, last = summary["series"][name]["time"]
    assert "2020-01-01" <= first < last <= "2020-12-31"
    entry = next(entry for entry in summary["modalities"] if entry["name"] == name)
    assert entry["kind"] == "continuous series"
    assert entry["absent"] == counts.count(0) / 14
    assert {"histograms.png", "contact_sheet.png"} <= {file.name for file in (tmp_path / "look").iterdir()}
    main(["inspect", str(path)])
    assert f"{name} dates" in capsys.readouterr().out

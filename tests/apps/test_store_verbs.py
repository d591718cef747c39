"""convert, inspect, stats, split: what they print, write and refuse."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.data.store import Store
from geopretext.data.writer import StoreWriter
from geopretext.modality import PUBLISHED

TILES = 120


@pytest.fixture
def own(store: Path, tmp_path: Path) -> Path:
    """A copy of the store that a test may change."""
    return Path(shutil.copytree(store, tmp_path / "own.zarr"))


def test_inspect_says_what_a_store_holds(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(store)]) == 0
    text = capsys.readouterr().out
    assert "tiles            120 of 32 x 32 px of 10 m" in text
    assert "sentinel2 level  L1C" in text
    table = text[text.index("\nmodality ") :].splitlines()
    for name, modality in Store.open(store).modalities.items():
        row = next(line for line in table if line.startswith(f"{name} "))
        assert str(modality.kind) in row
        assert row.endswith("%")


def test_inspect_counts_what_is_missing(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(store), "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert summary["tiles"] == sum(summary["splits"].values()) == TILES
    reader = Store.open(store)
    radar = next(entry for entry in summary["modalities"] if entry["name"] == "sentinel1")
    raw = reader.read(["sentinel1"], np.arange(TILES))["sentinel1"]
    for band, share in radar["missing_by_band"].items():
        position = reader.modalities["sentinel1"].band_names.index(band)
        assert share == pytest.approx(np.mean(~np.isfinite(raw[:, position])), abs=1e-6)
    assert radar["missing"] == pytest.approx(np.mean(~np.isfinite(raw)), abs=1e-6)


def test_inspect_writes_pictures_and_tables(store: Path, tmp_path: Path) -> None:
    assert main(["inspect", str(store), "--out", str(tmp_path / "look"), "--count", "2"]) == 0
    assert (tmp_path / "look" / "contact_sheet.png").read_bytes()[:4] == b"\x89PNG"
    assert json.loads((tmp_path / "look" / "summary.json").read_text())["tiles"] == TILES
    with (tmp_path / "look" / "modalities.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(modality.bands) for modality in Store.open(store).modalities.values())
    assert {"modality": "aster", "band": "elevation", "unit": "m"}.items() <= rows[21].items()


def test_inspect_verifies(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(own), "--verify"]) == 0
    assert "verified: every file agrees with its checksum" in capsys.readouterr().out
    shard = max((own / "sentinel2").rglob("0"), key=lambda path: path.stat().st_size if path.is_file() else 0)
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 0xFF
    shard.write_bytes(content)
    assert main(["inspect", str(own), "--verify"]) == 1
    printed = capsys.readouterr()
    assert "sentinel2" in printed.out
    error, hint = printed.err.splitlines()
    assert error == f"error: {own}: 1 file is not sound"
    assert hint.startswith("hint: restore what is named")
    assert main(["inspect", str(own), "--verify", "--json"]) == 1
    assert len(json.loads(capsys.readouterr().out)["problems"]) == 1


def test_inspect_shows_undone_offsets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = {"sentinel2_offset": {"undone": {"S2L2A/433D.tif": 1000}, "undecided": ["S2L1C/9A.tif"], "left": []}}
    with StoreWriter.create(tmp_path / "empty.zarr", [PUBLISHED["aster"]], tile_size=8, recipe=recipe):
        pass
    assert main(["inspect", str(tmp_path / "empty.zarr")]) == 0
    text = capsys.readouterr().out
    assert "S2L2A/433D.tif: 1000 subtracted" in text
    assert "S2L1C/9A.tif: cannot tell, left as it is" in text


def test_stats_are_kept_in_the_store(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (own / "statistics.json").unlink()
    assert main(["stats", str(own), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    kept = Store.open(own).statistics
    assert kept is not None
    assert printed == json.loads(json.dumps(kept.to_dict()))
    assert main(["stats", str(own)]) == 0
    printed_text = capsys.readouterr()
    assert "sentinel2" in printed_text.out
    assert "(train)" in printed_text.err


@pytest.mark.parametrize("method", ["random", "spatial", "ecoregion"])
def test_split_is_kept_and_statistics_follow_it(method: str, own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["split", str(own), "--method", method, "--shares", "0.5,0.25,0.25", "--seed", "3", "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    store = Store.open(own)
    split = np.asarray(store.coordinates.split)
    assert printed["tiles"] == {name: int((split == code).sum()) for code, name in enumerate(("train", "val", "test"))}
    assert min(printed["tiles"].values()) > 0
    assert store.statistics is not None
    assert store.statistics.tiles == printed["tiles"]["train"]
    assert main(words) == 0
    capsys.readouterr()
    np.testing.assert_array_equal(np.asarray(Store.open(own).coordinates.split), split)


def test_split_reports_leakage(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", str(own), "--method", "random", "--leakage-km", "30000"]) == 0
    printed = capsys.readouterr()
    train = int(printed.out.split()[1])
    assert f"{train} train tiles (100.0%) are closer than 30000 km to a val or test tile" in printed.err


def test_convert_makes_a_synthetic_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", "synthetic", "--count", "40", "--out", str(tmp_path / "s.zarr"), "--json"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["tiles"] == len(Store.open(tmp_path / "s.zarr")) == 40


def test_convert_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", str(tmp_path), "--out", str(tmp_path / "s.zarr")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {tmp_path}: holds no .h5 file")
    assert "--mapping" in hint

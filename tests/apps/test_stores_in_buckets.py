"""Verbs on a store in a bucket: written, looked at, split, trained on and pictured as on a disk."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from geopretext.apps.cli import main
from geopretext.data.store import Store

from ..data.s3_server import BUCKET, KEYS, s3_server

PLACE = f"s3://{BUCKET}/folder/tiles.zarr"
COUNT = 12
SMALL = (
    "--max_steps=1", "--warmup_epochs=0", "--batch-size=4", "--encoder.patch_size=8", "--encoder.image_size=24",
)  # fmt: skip


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with s3_server() as address:
        yield address


@pytest.fixture(autouse=True)
def _environment(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def tiles(endpoint: str) -> str:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**KEYS, "AWS_ENDPOINT_URL": endpoint}.items():
            patch.setenv(name, value)
        assert main(["convert", "synthetic", "--count", str(COUNT), "--out", PLACE]) == 0
    return PLACE


def test_convert_writes_and_goes_on(tiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert len(Store.open(tiles)) == COUNT
    assert main(["convert", "synthetic", "--count", str(COUNT), "--out", tiles, "--json"]) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out)["path"] == tiles
    assert printed.err.splitlines()[-1] == f"next: geopretext inspect {tiles}"
    assert main(["convert", "synthetic", "--count", str(COUNT + 1), "--out", tiles]) == 1
    assert "holds another dataset" in capsys.readouterr().err


def test_convert_takes_geotiffs_from_a_folder_only(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["convert", f"s3://{BUCKET}/geotiffs", "--out", PLACE, "--mapping", "m.yaml"]) == 1
    assert "only --out may be a URL" in capsys.readouterr().err


def test_inspect(tiles: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", tiles, "--verify", "--json"]) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["path"], summary["tiles"], summary["sampled_tiles"]) == (tiles, COUNT, COUNT)
    assert main(["inspect", f"s3://{BUCKET}/folder/other.zarr"]) == 1
    assert f"s3://{BUCKET}/folder/other.zarr: there is no tile store here" in capsys.readouterr().err


def test_split_stats_pretrain_and_evaluate(tiles: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["split", tiles, "--method", "random", "--shares", "0.6,0.2,0.2"]) == 0
    assert main(["stats", tiles]) == 0
    assert capsys.readouterr().err.splitlines()[-1] == f"over 7 tiles (train); kept in {tiles}"
    run = ["pretrain", "s2-mae-demo", "--data", tiles, "--out", str(tmp_path / "run"), "--quiet", *SMALL]
    assert main(run) == 0
    bundle = capsys.readouterr().out.strip()
    assert main(run) == 0  # resumes: the data are known again
    task = ["--task", f"{tiles}:crop_calendar", "--out", str(tmp_path / "knn"), "--no-baselines"]
    assert main(["evaluate", "knn", bundle, *task]) == 0
    assert (tmp_path / "knn" / "scores.json").exists()


def test_nothing_local_was_made_of_a_url(tiles: str) -> None:
    assert not [path for path in Path.cwd().iterdir() if path.name in ("s3:", "folder")]

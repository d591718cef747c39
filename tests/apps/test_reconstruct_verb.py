"""reconstruct: which tiles, which file, what is refused."""

from pathlib import Path

import numpy as np
import pytest

from geopretext.apps.cli import main
from geopretext.apps.reconstruct import choose_tiles
from geopretext.data.store import Store
from geopretext.nn.bundle import Encoder


def test_the_picture_is_written_and_named(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "picture.png"
    assert main(["reconstruct", str(bundle), "--data", str(store), "--tiles", "3,59", "--out", str(out)]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "tiles 3, 59" in printed.err
    assert out.read_bytes()[:4] == b"\x89PNG"


def test_test_tiles_are_taken_unless_told(store: Path) -> None:
    reader = Store.open(store)
    tiles = choose_tiles(reader, 3, seed=0)
    assert (np.asarray(reader.coordinates.split)[tiles] == 2).all()
    np.testing.assert_array_equal(tiles, choose_tiles(reader, 3, seed=0))
    assert len(choose_tiles(reader, 1000, seed=0)) == (np.asarray(reader.coordinates.split) == 2).sum()


def test_bad_input(bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    common = ["reconstruct", str(bundle), "--data", str(store)]
    assert main([*common, "--tiles", "120", "--out", str(tmp_path / "p.png")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {store}: there is no tile 120"
    assert hint == "hint: its tiles are 0 to 119"
    assert main([*common, "--out", str(tmp_path / "p.txt")]) == 2
    assert "is none of .png, .pdf, .svg, .jpg" in capsys.readouterr().err
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path / "encoder")
    words = ["reconstruct", str(tmp_path / "encoder"), "--data", str(store), "--out", str(tmp_path / "p.png")]
    assert main(words) == 1
    assert "holds an encoder only" in capsys.readouterr().err
    assert not (tmp_path / "p.png").exists()

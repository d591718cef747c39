"""reconstruct: which tiles, which file, what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio

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


def _scene_file(store: Path, path: Path) -> Path:
    """Two tiles of the store beside each other, as a GeoTIFF."""
    reader = Store.open(store)
    modality = reader.modalities["sentinel2"]
    raw = reader.read(["sentinel2"], np.array([3, 4]))["sentinel2"]
    values = np.concatenate(list(raw), axis=2)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=32,
        width=64,
        count=len(values),
        dtype="uint16",
        nodata=0,
        crs="EPSG:32632",
        transform=rasterio.Affine(10, 0, 500_000, 0, -10, 5_000_000),
    ) as file:
        file.write(values)
        file.descriptions = modality.band_names
    return path


def test_a_scene_becomes_a_folder_of_maps(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scene, out = _scene_file(store, tmp_path / "scene.tif"), tmp_path / "new" / "maps"
    words = ["reconstruct", str(bundle), "--scene", str(scene), "--out", str(out)]
    unit = ["--unit", "reflectance x 10000", "--level", "L2A", "--date", "2019-07-04"]
    assert main([*words, *unit, "--confidence"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "bands matched by name" in printed.err
    assert {path.name for path in out.iterdir()} == {
        "sentinel1.tif",
        "dynamic_world.tif",
        "dynamic_world.tif.aux.xml",
        "dynamic_world_confidence.tif",
        "reconstruction.json",
        "reconstruction.png",
    }
    maps = {name: out / f"{name}.tif" for name in ("sentinel1", "dynamic_world")}
    truth = ["--truth", f"sentinel1={maps['sentinel1']}"]
    capsys.readouterr()
    assert main([*words, *unit, *truth]) == 1
    assert "is read from and would be written to" in capsys.readouterr().err
    again = tmp_path / "again"
    assert main([*words[:-1], str(again), *unit, *truth]) == 0
    record = json.loads((again / "reconstruction.json").read_text())
    assert record["compared"]["sentinel1"]["bands"]["asc_VV"]["rmse"] == 0
    assert record["time"].startswith("2019-07-04")


def test_a_scene_and_tiles_exclude_each_other(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["reconstruct", str(bundle), "--out", str(tmp_path / "out.png")]
    assert main([*words, "--data", str(store), "--scene", "s.tif"]) == 2
    assert "not allowed with argument" in capsys.readouterr().err
    assert main(words) == 2
    assert "one of the arguments --data --scene is required" in capsys.readouterr().err
    assert main([*words, "--scene", "s.tif", "--truth", "sentinel1"]) == 2
    assert "is no NAME=FILE" in capsys.readouterr().err


def test_options_of_the_other_mode_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def refused(*words: str) -> str:
        assert main(["reconstruct", "bundle", *words]) == 2
        return capsys.readouterr().err

    tiles = ["--data", "t.zarr", "--out", "p.png"]
    assert "--unit is not for --data" in refused(*tiles, "--unit", "dB")
    assert "--truth is not for --data" in refused(*tiles, "--truth", "sentinel1=s1.tif")
    assert "--keep-clouds is not for --data" in refused(*tiles, "--keep-clouds")
    assert "--workers is not for --data" in refused(*tiles, "--workers", "2")
    scene = ["--scene", "s.tif", "--out", "maps"]
    assert "--seed is not for --scene" in refused(*scene, "--seed", "3")
    assert "--tiles is not for --scene" in refused(*scene, "--tiles", "3")
    (tmp_path / "p.png").mkdir()
    assert "p.png is a folder" in refused("--data", "t.zarr", "--out", str(tmp_path / "p.png"))


def test_without_matplotlib_the_maps_are_written_all_the_same(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.startswith("matplotlib")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    scene, out = _scene_file(store, tmp_path / "scene.tif"), tmp_path / "maps"
    words = ["--scene", str(scene), "--out", str(out), "--unit", "reflectance x 10000", "--level", "L2A"]
    assert main(["reconstruct", str(bundle), *words]) == 0
    assert "no picture" in capsys.readouterr().err
    assert (out / "sentinel1.tif").exists()

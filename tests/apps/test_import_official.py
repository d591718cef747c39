"""import-official: published files in, bundles that the other verbs take out."""

import json
import os
from pathlib import Path

import pytest
import torch

from geopretext.apps.cli import main
from geopretext.nn.bundle import Encoder

from ..nn import official_files as published

FOLDER = "pt-all_mod_atto_1M_64_uncertainty_56-8"


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("published") / FOLDER / "checkpoint-199.pth"
    return published.save(path, published.mmearth_pretraining())


@pytest.fixture
def band_stats(tmp_path: Path) -> Path:
    """A file of the official layout, with numbers that are no one's."""
    counts = {"sentinel1": 8, "aster": 2, "canopy_height_eth": 2, "era5": 12, "lat": 2, "lon": 2, "month": 2}
    counts |= {"sentinel2_l1c": 13, "sentinel2_l2a": 13}
    names = ("mean", "std", "min", "max")
    content = {name: {key: [2.0 + band for band in range(count)] for key in names} for name, count in counts.items()}
    path = tmp_path / "data_1M_v001_64_band_stats.json"
    path.write_text(json.dumps(content))
    return path


def test_a_checkpoint_becomes_a_bundle_that_reconstructs(
    checkpoint: Path, band_stats: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [
        "import-official",
        str(checkpoint),
        "--out",
        str(tmp_path / "b"),
        "--statistics",
        str(band_stats),
        "--json",
    ]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert printed.err == ""
    report = json.loads(printed.out)
    assert report["recognised"] == "MMEarth pretraining checkpoint"
    assert (report["size"], report["patch_size"], report["image_size"]) == ("atto", 8, 56)
    assert report["bands"][7:9] == ["B8A", "B8"]
    assert (report["parameters"], report["parameters_of_encoder"]) == (7_580_662, 3_389_320)
    assert report["predicts"]["ecoregion"] == 846
    assert report["statistics"] == ["L1C", "L2A"]
    assert report["unused"] == []
    encoder = Encoder.from_pretrained(tmp_path / "b")
    assert encoder.statistics["L2A"][0][7:9] == (9.0, 10.0)
    words = ["reconstruct", str(tmp_path / "b"), "--data", str(store), "--tiles", "0", "--out", str(tmp_path / "p.png")]
    assert main(words) == 0
    assert (tmp_path / "p.png").read_bytes()[:4] == b"\x89PNG"


def test_a_bundle_without_statistics_says_so_and_what_to_do(
    checkpoint: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["import-official", str(checkpoint), "--out", str(tmp_path / "b")]) == 0
    printed = capsys.readouterr()
    lines = {line.split("  ")[0]: line for line in printed.out.splitlines()}
    assert lines["statistics"].endswith("  none")
    assert lines["name"].endswith(FOLDER)
    assert lines["bundle"].endswith(str(tmp_path / "b"))
    warning, hint = printed.err.splitlines()
    assert warning.startswith("warning: the bundle has no statistics")
    assert "--statistics FILE" in hint
    words = ["reconstruct", str(tmp_path / "b"), "--data", str(store), "--out", str(tmp_path / "p.png")]
    assert main(words) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == f"error: {tmp_path / 'b'}: holds no statistics: it was imported without any"
    assert "import-official FILE --statistics FILE" in hint
    words = ["evaluate", "knn", str(tmp_path / "b"), "--task", f"{store}:biome", "--out", str(tmp_path / "s")]
    assert main(words) == 1
    assert "hint: a bundle without statistics has to be imported again" in capsys.readouterr().err


def test_what_was_assumed_is_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = published.save(tmp_path / "tuned.pth", published.mmearth_unet())
    assert main(["import-official", str(path), "--out", str(tmp_path / "b"), "--image-size", "64"]) == 0
    printed = capsys.readouterr()
    assert "kind=unet, classes=7" in printed.out
    assert "norm.weight, norm.bias" in printed.out
    assert printed.err.startswith("note: bands in GEO-Bench's order, B8 before B8A: assumed")


def test_every_unit_of_the_input_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = published.save(tmp_path / "x.pth", published.mmearth_pretraining(bands=2, outputs=("sentinel2",)))
    words = ["import-official", str(path), "--out", str(tmp_path / "b"), "--json", "--modality", "aster"]
    assert main([*words, "--bands", "elevation,slope", "--targets", "{sentinel2: [B3, B2]}"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["bands"], report["unit"]) == (["elevation", "slope"], "m, degree")


def test_options_reach_the_bundle(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    weights = published.mmearth_pretraining(bands=3, outputs=("sentinel2",))
    path = published.save(tmp_path / "x.pth", weights)
    words = ["import-official", str(path), "--out", str(tmp_path / "b"), "--json", "--as-published"]
    words += ["--bands", "B4,B3,B2", "--targets", "{sentinel2: [B8, B3, B2]}", "--patch-size", "8"]
    assert main(words) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["bands"] == ["B4", "B3", "B2"]
    assert (report["dense_padding"], report["dense_grn_epsilon"]) == ("published-classifier", 1e-4)
    config = json.loads((tmp_path / "b" / "config.json").read_text())
    assert [band["name"] for band in config["pretext"]["targets"]["sentinel2"]["bands"]] == ["B8", "B3", "B2"]


def test_a_hostile_file_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    class Hostile:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"touch {tmp_path / 'owned'}",)

    torch.save({"model": {}, "args": Hostile()}, tmp_path / "x.pth")
    assert main(["import-official", str(tmp_path / "x.pth"), "--out", str(tmp_path / "b")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {tmp_path / 'x.pth'}: holds ")
    assert "refused, and nothing of it was run" in error
    assert hint.startswith("hint: do not open it")
    assert not (tmp_path / "owned").exists()
    assert not (tmp_path / "b").exists()


def test_a_folder_that_is_no_bundle_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    assert main(["import-official", str(tmp_path / "x.pth"), "--out", str(tmp_path / "mine")]) == 1
    assert "is there already, and is no bundle" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--bands", "B2,,B3"], "argument --bands: 'B2,,B3' is not a list of bands such as B2,B3,B4"),
        (["--targets", "sentinel1"], "argument --targets: 'sentinel1' is not a mapping such as {sentinel1: [asc_VV"),
        (["--targets", "{a: 3}"], "argument --targets: '{a: 3}' is not a mapping"),
        (["--targets", "{"], "argument --targets: '{' is not a mapping"),
        (["--image-size", "0"], "argument --image-size: 0 is below 1"),
    ],
)
def test_wrong_command_lines(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["import-official", "x.pth", "--out", "b", *words]) == 2
    assert message in capsys.readouterr().err

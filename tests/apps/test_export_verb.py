"""export: what is written and printed, and what is refused."""

import json
from pathlib import Path

import pytest
import torch

from geopretext.apps.cli import main
from geopretext.nn.bundle import Encoder
from geopretext.nn.bundle_heads import make_head, save_head
from geopretext.nn.settings import HeadSettings


def test_a_hub_folder_is_written_and_named(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "encoder"
    assert main(["export", str(bundle), "--to", "hub", "--out", str(out), "--licence", "cc-by-4.0"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "licence: cc-by-4.0" in printed.err
    assert "checked: features differ from the bundle's by 0.0e+00 at most" in printed.err
    assert f'Encoder.from_pretrained("{out}")' in printed.err
    images = torch.randn(1, 12, 16, 16)
    with torch.no_grad():
        assert torch.equal(Encoder.from_pretrained(out)(images), Encoder.from_pretrained(bundle)(images))
    assert "license: cc-by-4.0\n" in (out / "README.md").read_text()


def test_a_head_is_not_exported_and_that_is_said(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    encoder = Encoder.from_pretrained(bundle)
    network = make_head(HeadSettings("classifier", 5), encoder.network)
    save_head(tmp_path / "tuned", network, modality=encoder.modality, statistics=None, recipe={}, metrics={})
    for target in ("hub", "timm"):
        assert main(["export", str(tmp_path / "tuned"), "--to", target, "--out", str(tmp_path / target)]) == 0
        note = capsys.readouterr().err.splitlines()[-1]
        assert note == "note: only the encoder was exported, without the bundle's classifier of 5 classes"
    assert main(["export", str(bundle), "--to", "hub", "--out", str(tmp_path / "other")]) == 0
    assert "note:" not in capsys.readouterr().err


def test_json_tells_a_program_everything(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "timm"
    assert main(["export", str(bundle), "--to", "timm", "--out", str(out), "--level", "L2A", "--json"]) == 0
    written = json.loads(capsys.readouterr().out)
    assert (written["to"], written["path"]) == ("timm", str(out))
    assert written["facts"] == {"architecture": "geopretext_convnextv2_micro_patch8", "level": "L2A"}
    assert written["bytes"] == sum(path.stat().st_size for path in out.iterdir())
    assert "timm.create_model" in written["use"]
    assert written["difference"] is None or written["difference"] < 1e-4
    mean = json.loads((out / "config.json").read_text())["pretrained_cfg"]["mean"]
    assert mean == pytest.approx(Encoder.from_pretrained(bundle).statistics["L2A"][0])


@pytest.mark.slow  # what it writes is tested in tests/nn
def test_onnx(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    out = tmp_path / "encoder.onnx"
    assert main(["export", str(bundle), "--to", "onnx", "--out", str(out), "--no-normalise", "--size", "32"]) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{out}\n"
    assert "image: (batch, 12, 32, 32)" in printed.err
    assert "image_holds: standardised numbers" in printed.err
    assert "outputs: grid, pooled_mean, pooled_stages" in printed.err
    images = torch.randn(3, 12, 32, 32)
    session = onnxruntime.InferenceSession(str(out), providers=["CPUExecutionProvider"])
    (pooled,) = session.run(["pooled_stages"], {"image": images.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(
            torch.from_numpy(pooled), Encoder.from_pretrained(bundle).features(images), rtol=1e-4, atol=1e-4
        )


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--to", "hub", "--level", "L2A"], "--level is for --to timm and onnx"),
        (["--to", "timm", "--size", "64"], "--size is for --to onnx"),
        (["--to", "hub", "--no-normalise"], "--normalise is for --to onnx"),
        (["--to", "onnx", "--no-normalise", "--level", "L2A"], "--level chooses statistics, and --no-normalise leaves"),
        (["--to", "hub", "--licence", "CC BY"], "argument --licence: 'CC BY' is not a licence as the hub spells it"),
        (["--to", "tensorflow"], "argument --to: invalid choice: 'tensorflow'"),
    ],
)
def test_options_that_do_not_go_together(
    words: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "nowhere", *words, "--out", str(tmp_path / "out")]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith(f"error: {says}")
    assert hint == "hint: geopretext export --help"


def test_a_bundle_is_not_exported_over_itself(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path / "encoder")
    before = (tmp_path / "encoder" / "config.json").read_bytes()
    words = ["export", str(tmp_path / "encoder"), "--to", "timm", "--out", f"{tmp_path}/./encoder", "--overwrite"]
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines() == [
        f"error: {tmp_path / 'encoder'}: is the bundle itself",
        "hint: choose another --out",
    ]
    assert (tmp_path / "encoder" / "config.json").read_bytes() == before


def test_what_pretraining_wrote_is_never_replaced(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Encoder.from_pretrained(bundle).save_pretrained(tmp_path / "encoder")
    words = ["export", str(tmp_path / "encoder"), "--to", "hub", "--out", str(bundle), "--overwrite"]
    assert main(words) == 1
    assert "pretext.safetensors, which no export writes" in capsys.readouterr().err


def test_existing_exports_are_kept_unless_told(
    bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(bundle), "--to", "hub", "--out", str(tmp_path / "out")]
    assert main(words) == 0
    assert main(words) == 1
    assert capsys.readouterr().err.splitlines()[-2:] == [
        f"error: {tmp_path / 'out'}: exists already",
        "hint: choose another --out, or give --overwrite",
    ]
    assert main([*words, "--overwrite"]) == 0

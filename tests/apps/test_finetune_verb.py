"""geopretext evaluate finetune: options reach the settings; scores, table and bundle are written."""

import json
from pathlib import Path

import pytest

from geopretext.apps.cli import main
from geopretext.evaluate.presets import preset_fields, preset_names
from geopretext.nn.bundle_heads import load_head

SMALL = ["--epochs", "1", "--warmup-epochs", "0", "--batch_size", "8", "--trained", "head"]


def words(bundle: Path, store: Path, out: Path) -> list[str]:
    return ["evaluate", "finetune", str(bundle), "--task", f"{store}:biomass", "--out", str(out), *SMALL]


def test_scores_are_written_beside_those_from_scratch(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(bundle, store, tmp_path / "out"), "--seeds", "0,3", "--save-bundle"]) == 0
    printed = capsys.readouterr()
    assert "from_scratch" in printed.out
    assert "steps, finetuned, seed 3" in printed.err
    assert f"wrote {tmp_path / 'out' / 'scores.json'}" in printed.err
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert list(scores["scores"]) == ["finetuned", "from_scratch"]
    assert list(scores["gains"]) == ["from_scratch"]
    assert scores["head"] == "finetune"
    assert [run["epoch"] for run in scores["chosen"]["finetuned"]] == [1, 1]
    assert scores["settings"]["finetune"]["trained"] == "head"
    assert scores["settings"]["finetune"]["batch_size"] == 8
    assert scores["settings"]["seeds"] == [0, 3]
    assert scores["settings"]["facts"]["finetuned"][0]["trainable_parameters"] < 2000
    assert scores["settings"]["inputs"]["statistics"] == "bundle"
    assert load_head(tmp_path / "out" / "bundle").classes == 1
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["bundle", "scores.json"]


@pytest.mark.parametrize(("option", "method"), [("--from-scratch", "from_scratch"), ("--no-baselines", "finetuned")])
def test_one_method_alone(
    option: str, method: str, bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(bundle, store, tmp_path), option, "--seeds", "1", "--json", "--quiet"]) == 0
    printed = capsys.readouterr()
    scores = json.loads(printed.out)
    assert set(scores["scores"]) == {method}
    assert "steps" not in printed.err


def test_help_shows_presets_fields_and_the_values_of_a_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "finetune", "--help", "--preset", "mmearth-finetune"]) == 0
    text = capsys.readouterr().out
    joined = "".join(text.split())
    for field in preset_fields():
        assert f"--{field.name} VALUE" in text
        assert "".join(field.text.split()) in joined
    assert "[1024]" in joined
    for name in preset_names():
        assert name.removesuffix("-official") in text


@pytest.mark.parametrize(
    ("more", "says", "code"),
    [
        (["--preset", "mmearth"], "no preset or file 'mmearth'", 1),
        (["--epochs", "many"], "epochs is 'many'", 1),
        (["--network", "unet"], "network 'unet' does not fit regression", 1),
        (["--mixup", "0.2"], "mixup is 0.2, and the task is regression", 1),
        (["--seeds", "1,1"], "seeds 1,1 are not different numbers", 2),
        (["--seeds", "x"], "'x' is not a list of seeds", 2),
        (["--epoch", "3"], "unrecognized arguments: --epoch 3", 2),
    ],
)
def test_what_is_wrong_is_named(
    more: list[str], says: str, code: int, bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words(bundle, store, tmp_path / "out"), *more]) == code
    assert says in capsys.readouterr().err
    assert not (tmp_path / "out").exists()

"""pretrain and evaluate: options reach the recipe and the task, results are printed and written."""

import json
from pathlib import Path
from typing import get_args

import pytest

from geopretext.apps.cli import main
from geopretext.apps.task_arguments import STATISTICS
from geopretext.evaluate.feature_file import read_features
from geopretext.nn.bundle import Encoder
from geopretext.predict.image_door import StatisticsChoice
from geopretext.train.recipe import recipe_fields, recipe_patterns

SMALL = [
    "--max_steps",
    "2",
    "--warmup_epochs",
    "0",
    "--batch-size",
    "8",
    "--encoder.patch_size",
    "8",
    "--encoder.image_size",
    "24",
    "--pretext.decoder-dim",
    "16",
]


def test_help_of_a_recipe_lists_every_field_with_its_value(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["pretrain", "mp-mae-demo", "--help"]) == 0
    text = capsys.readouterr().out
    words = " ".join(text.split())
    for field in recipe_fields():
        if field.name != "name":
            assert f"--{field.name} VALUE" in text
            assert field.text in words
    assert "[micro]" in words
    for pattern in recipe_patterns():
        assert f"  {pattern}\n" in text


def test_pretrain_writes_a_bundle_and_prints_it(
    store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = ["pretrain", "s2-mae-demo", "--data", str(store), "--out", str(tmp_path / "run"), "--quiet", *SMALL]
    assert main(run) == 0
    bundle = capsys.readouterr().out.strip()
    encoder = Encoder.from_pretrained(bundle)
    assert encoder.settings.image_size == 24
    assert encoder.recipe["batch_size"] == 8
    # the same command on a finished run only says what there is
    assert main([*run, "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bundle"] == bundle
    assert result["tiles_per_second"] > 0
    assert result["metrics"]["step"] == 2
    # of several processes, only the first one speaks
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert main(run) == 0
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["mp-mae-dmo"], "mp-mae-dmo"),
        (["mp-mae-demo", "--mask_ratio", "0.5"], "unrecognized arguments: --mask_ratio 0.5"),
        (["mp-mae-demo", "--batch_size", "many"], "batch_size is 'many'"),
        (["mp-mae-demo", "--pretext.mask_ratio", "1.5"], "mask_ratio is 1.5"),
    ],
)
def test_a_wrong_recipe_is_named(
    words: list[str], says: str, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["pretrain", *words, "--data", str(store), "--out", str(tmp_path / "run")]) in (1, 2)
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: ")
    assert says in error
    assert hint.startswith("hint: ")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("head", ["knn", "probe"])
def test_evaluate_writes_scores_and_prints_a_table(
    head: str, bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", head, str(bundle), "--task", f"{store}:elements", "--out", str(tmp_path)]
    assert main([*words, "--no-baselines"]) == 0
    printed = capsys.readouterr()
    assert "pretrained" in printed.out
    assert "micro f1" in printed.out
    assert f"wrote {tmp_path / 'scores.json'}" in printed.err
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["head"] == head
    assert set(scores["scores"]) == {"pretrained"}


def test_evaluate_prints_json(bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["evaluate", "knn", str(bundle), "--task", f"{store}:biomass", "--out", str(tmp_path), "--json"]
    assert main(words) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "scores.json").read_text())
    assert set(printed["scores"]) == {"pretrained", "random_init", "band_statistics", "random_convolutions"}


@pytest.mark.parametrize(
    ("words", "methods"),
    [
        (["--baselines", "none"], ["pretrained"]),
        (["--baselines", "band_statistics, bundle:{bundle}"], ["pretrained", "band_statistics", "bundle:{bundle}"]),
    ],
)
def test_evaluate_scores_the_baselines_that_are_asked_for_and_saves_features(
    words: list[str], methods: list[str], bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, methods = ([word.format(bundle=bundle) for word in some] for some in (words, methods))
    task = ["--task", f"{store}:biomass", "--out", str(tmp_path)]
    assert main(["evaluate", "knn", str(bundle), *task, *words, "--save-features", "--json"]) == 0
    printed = capsys.readouterr()
    assert list(json.loads(printed.out)["scores"]) == methods
    assert f"wrote {tmp_path / 'features.parquet'}" in printed.err
    assert list(read_features(tmp_path / "features.parquet").features) == methods


def test_evaluate_refuses_an_unknown_baseline(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["evaluate", "knn", str(bundle), "--task", f"{store}:biomass", "--out", str(tmp_path / "o")]
    assert main([*words, "--baselines", "imagenet"]) == 1
    assert "no representation 'imagenet'\nhint: one of pretrained" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_evaluate_refuses_an_unknown_task(
    bundle: Path, store: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["evaluate", "knn", str(bundle), "--task", "nothing", "--out", str(tmp_path / "o")]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error == "error: nothing: no such task"
    assert "STORE:LABEL" in hint
    assert main(["evaluate", "knn", str(bundle), "--task", f"{store}:nothing", "--out", str(tmp_path / "o")]) == 1
    assert "no modality 'nothing'" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()


def test_choices_are_those_of_the_library() -> None:
    assert set(get_args(StatisticsChoice)) == set(STATISTICS)

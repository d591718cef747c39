"""Presets by name and from files; MMEarth's against the numbers of its scripts."""

from pathlib import Path

import pytest
import yaml

from geopretext.data.fields import SettingsField
from geopretext.errors import RecipeError
from geopretext.evaluate.finetune_settings import FinetuneSettings
from geopretext.evaluate.presets import load_preset, preset_fields, preset_names, settings_to_plain

PUBLISHED = {
    # name: batch, peak learning rate, epochs, frozen epochs, smoothing, trained
    "mmearth-linear-probe": (1024, 8e-4, 100, 0, 0.2, "head"),
    "mmearth-finetune": (1024, 8e-4, 100, 0, 0.2, "all"),
    "mmearth-linear-probe-tiny": (1024, 4e-2, 100, 0, 0.2, "head"),
    "mmearth-finetune-tiny": (1024, 4e-4, 100, 0, 0.2, "all"),
    "mmearth-few-shot": (32, 2.5e-5, 100, 0, 0.2, "head"),
    "mmearth-few-shot-eurosat": (8, 6.25e-6, 100, 0, 0.2, "head"),
    "mmearth-segmentation": (32, 1.25e-3, 200, 50, 0.0, "all"),
}


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("name", PUBLISHED)
def test_protocols_of_mmearth_have_its_numbers(name: str, *, official: bool) -> None:
    settings = load_preset(f"{name}-official" if official else name)
    batch, rate, epochs, frozen, smoothing, trained = PUBLISHED[name]
    assert settings.batch_size == batch
    assert settings.learning_rate == pytest.approx(rate)
    assert (settings.epochs, settings.frozen_epochs, settings.trained) == (epochs, frozen, trained)
    assert settings.label_smoothing == smoothing
    assert (settings.weight_decay, settings.layer_decay, settings.drop_path) == (0.3, 0.9, 0.1)
    assert (settings.warmup_epochs, settings.min_learning_rate, settings.head_scale) == (0, 1e-6, 2e-5)
    assert (settings.mixup, settings.cutmix, settings.flips, settings.ema, settings.patience) == (0, 0, False, 0, None)
    assert settings.precision == "float32"
    segments = "segmentation" in name
    assert settings.network == ("unet" if segments else "auto")
    # what its code does by mistake, only if asked for
    assert settings.keep == ("last" if official else "best")
    assert settings.clip_norm == (None if official else 1.0)
    assert settings.published_groups is official
    assert settings.drop_path_when_frozen is official
    assert settings.padding == ("published-classifier" if official and not segments else "same")


@pytest.mark.parametrize("name", preset_names())
def test_every_preset_loads_and_is_complete_as_a_file(name: str, tmp_path: Path) -> None:
    settings = load_preset(name)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(settings_to_plain(settings)))
    assert load_preset(tmp_path / "mine.yaml") == settings


def test_there_is_a_preset_for_each_purpose() -> None:
    assert {"default", "segmentation", "linear-probe", *PUBLISHED} <= set(preset_names())
    assert load_preset("linear-probe").trained == "head"
    assert load_preset("segmentation").frozen_epochs > 0


def test_a_file_changes_a_base_and_the_line_changes_the_file(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("base: mmearth-finetune-official\nepochs: 7\n")
    settings = load_preset(tmp_path / "mine.yaml", {"ema": "0.99", "flips": "true", "patience": "null"})
    assert (settings.epochs, settings.batch_size, settings.keep) == (7, 1024, "last")
    assert (settings.ema, settings.flips, settings.patience) == (0.99, True, None)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("epochs: [1", "is not YAML"),
        ("- epochs", "is not a mapping of fields"),
        ("base: mmearth", "base is 'mmearth'"),
        ("epoch: 3", "no field epoch"),
        ("epochs: 0", "epochs is 0"),
        ("network: fpn", "network is 'fpn'"),
        ("ema: 1", "ema is 1.0"),
        ("warmup_epochs: 50", "warmup_epochs is 50, and epochs 50"),
        ("frozen_epochs: 50", "frozen_epochs is 50, and epochs 50"),
        ("min_learning_rate: 0.1", "min_learning_rate 0.1 is above the peak"),
    ],
)
def test_a_wrong_file_is_refused_by_name(text: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text(text)
    with pytest.raises(RecipeError, match=says) as caught:
        load_preset(tmp_path / "mine.yaml")
    assert "mine.yaml" in str(caught.value)


def test_an_unknown_name_is_answered_with_those_that_are_near() -> None:
    with pytest.raises(RecipeError, match="no preset or file 'mmearth-finetun'") as caught:
        load_preset("mmearth-finetun")
    assert "did you mean mmearth-finetune" in caught.value.hint


def test_every_field_has_a_text_for_help() -> None:
    fields: tuple[SettingsField, ...] = preset_fields()
    assert {field.name for field in fields} == set(settings_to_plain(FinetuneSettings()))
    assert all(field.text for field in fields)


def test_the_rate_rises_linearly_and_falls_as_half_a_cosine() -> None:
    settings = FinetuneSettings(epochs=12, warmup_epochs=2, batch_size=256, base_learning_rate=1, min_learning_rate=0.2)
    rates = [settings.learning_rate_at(step, 10) for step in (0, 10, 20, 45, 70, 120)]
    assert rates == pytest.approx([0, 0.5, 1, 0.2 + 0.8 * (1 + 0.5**0.5) / 2, 0.6, 0.2])

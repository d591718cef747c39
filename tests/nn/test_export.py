import json
import math
from pathlib import Path

import pytest
import safetensors.torch
import torch
from huggingface_hub import ModelCard, ModelHubMixin

import geopretext.nn.export as export
from geopretext.errors import BundleError, InputError
from geopretext.nn.bundle import Encoder
from geopretext.nn.export import check_settings, export_hub, export_timm


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_hub_folder_gives_the_encoder_back(make_encoder, tmp_path):
    encoder = make_encoder()
    exported = export_hub(encoder, tmp_path / "deep" / "out")
    assert exported.path == tmp_path / "deep" / "out"
    assert exported.difference == 0
    assert names(exported.path) == {"README.md", "config.json", "model.safetensors"}
    assert exported.bytes == sum(path.stat().st_size for path in exported.path.iterdir())
    again = Encoder.from_pretrained(exported.path)
    images = torch.randn(2, 3, 16, 24)
    with torch.no_grad():
        assert torch.equal(again(images), encoder(images))
    assert (again.statistics, again.modality, again.licence) == (encoder.statistics, encoder.modality, "cc-by-4.0")
    assert names(tmp_path) == {"deep"}
    assert names(tmp_path / "deep") == {"out"}
    assert Encoder.push_to_hub is ModelHubMixin.push_to_hub or Encoder.push_to_hub.__func__ is ModelHubMixin.push_to_hub


def test_the_card_is_one_of_the_hub_with_licence_bands_and_statistics(make_encoder, tmp_path):
    export_hub(make_encoder(), tmp_path / "out")
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert card.data.license == "cc-by-4.0"
    assert card.data.library_name == "geopretext"
    for text in (
        "Encoder.from_pretrained(",
        "standardiser(encoder)",
        "| 1 | B8A | reflectance x 10000 |",
        "| band | mean (L1C) | standard deviation (L1C) | mean (L2A) |",
        "| B8A | 1010 | 301 | 1110 | 321 | 1210 | 341 |",
        "(stored as 0, 65535)",
    ):
        assert text in card.text


def test_the_lines_of_the_card_run(make_encoder, tmp_path):
    export_hub(make_encoder(), tmp_path / "out")
    code = ModelCard.load(tmp_path / "out" / "README.md").text.partition("```python\n")[2].partition("```")[0]
    found = {"images": torch.randint(1, 5000, (2, 3, 16, 16)).float()}
    exec(code.replace("owner/name", str(tmp_path / "out")), found)
    assert found["grid"].shape == (2, 256, 2, 2)
    assert found["vectors"].shape == (2, 960)


@pytest.mark.parametrize(
    ("levels", "line"),
    [
        (("L1C", "L2A", "all"), 'standardiser(encoder)  # standardiser(encoder, "L2A") for one processing level'),
        (("L1C", "L2A"), 'standardiser(encoder, "L1C")  # or "L2A": the images\' processing level'),
        (("L2A",), "standardiser(encoder)\n"),
        (("all",), "standardiser(encoder)\n"),
    ],
)
def test_the_card_names_a_level_where_one_must_be_chosen(make_encoder, tmp_path, levels, line):
    make_encoder(levels=levels).save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md").text
    assert f"standardise = {line}" in card
    code = card.partition("```python\n")[2].partition("```")[0]
    found = {"images": torch.randint(1, 5000, (2, 3, 16, 16)).float()}
    exec(code.replace("owner/name", str(tmp_path)), found)
    assert found["vectors"].shape == (2, 960)


def test_a_licence_that_nobody_gave_is_unknown(make_encoder, tmp_path):
    Encoder(make_encoder().network, make_encoder().modality).save_pretrained(tmp_path)
    assert ModelCard.load(tmp_path / "README.md").data.license == "unknown"
    assert Encoder.from_pretrained(tmp_path).licence == "unknown"


def test_a_card_without_statistics_says_so_and_its_lines_run(make_encoder, tmp_path):
    Encoder(make_encoder().network, make_encoder().modality).save_pretrained(tmp_path)
    card = ModelCard.load(tmp_path / "README.md").text
    assert "are not known here (`encoder.statistics` is empty)" in card
    assert "## Statistics" not in card
    code = card.partition("```python\n")[2].partition("```")[0]
    found = {"images": torch.randn(2, 3, 16, 16)}
    exec(code.replace("owner/name", str(tmp_path)), found)
    assert found["vectors"].shape == (2, 960)


def test_a_timm_folder_describes_the_model(make_encoder, tmp_path):
    exported = export_timm(make_encoder(patch_size=16), tmp_path / "out", level="L2A")
    assert exported.facts == {"architecture": "geopretext_convnextv2_micro_patch16", "level": "L2A"}
    assert "import geopretext.nn.timm_models" in exported.use
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["architecture"] == "geopretext_convnextv2_micro_patch16"
    assert (config["num_classes"], config["num_features"], config["model_args"]) == (0, 256, {"in_chans": 3})
    described = config["pretrained_cfg"]
    assert described["input_size"] == [3, 64, 64]
    assert described["mean"] == [1100.0, 1110.0, 1120.0]
    assert described["std"] == [320.0, 321.0, 322.0]
    assert (described["license"], described["first_conv"]) == ("cc-by-4.0", None)
    assert [band["name"] for band in config["geopretext"]["input"]["bands"]] == ["B2", "B8A", "B11"]
    assert safetensors.torch.load_file(tmp_path / "out" / "model.safetensors")["stem.0.weight"].shape == (32, 3, 3, 3)
    card = ModelCard.load(tmp_path / "out" / "README.md")
    assert (card.data.library_name, card.data.license) == ("timm", "cc-by-4.0")
    assert 'timm.create_model("hf-hub:owner/name", pretrained=True, features_only=True)' in card.text


def test_timms_own_architecture_needs_nothing_of_ours(make_encoder, tmp_path):
    exported = export_timm(make_encoder(patch_size=32, size="atto", stem="convnextv2"), tmp_path / "out")
    assert exported.facts == {"architecture": "convnextv2_atto", "level": "all"}
    assert "geopretext.nn" not in exported.use
    assert json.loads((tmp_path / "out" / "config.json").read_text())["model_args"] == {"in_chans": 3, "patch_size": 4}


@pytest.mark.parametrize("statistics", [{}, {"all": ((math.nan,) * 3, (math.nan,) * 3)}])
def test_without_statistics_a_timm_folder_says_that_numbers_come_standardised(make_encoder, tmp_path, statistics):
    encoder = make_encoder()
    encoder.statistics = statistics
    exported = export_timm(encoder, tmp_path / "out")
    placeholder = "config.json has mean 0 and std 1, which are not the training's"
    assert exported.facts["statistics"].startswith(f"none: {placeholder}")
    card = (tmp_path / "out" / "README.md").read_text()
    assert placeholder in card.replace("`", "")
    assert "are not known here" in card
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert (config["pretrained_cfg"]["mean"], config["pretrained_cfg"]["std"]) == ([0.0] * 3, [1.0] * 3)
    assert config["geopretext"]["level"] is None


@pytest.mark.parametrize("write", [export_hub, export_timm])
def test_what_exists_is_replaced_when_asked_only(make_encoder, tmp_path, write):
    out = tmp_path / "out"
    write(make_encoder(), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}
    with pytest.raises(InputError, match=r"(?s)out: exists already\nhint: .*--overwrite"):
        write(make_encoder(patch_size=16), out)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    write(make_encoder(patch_size=16), out, overwrite=True)
    assert (out / "config.json").read_bytes() != before["config.json"]
    assert names(tmp_path) == {"out"}


def test_a_folder_with_anything_else_in_it_is_never_replaced(make_encoder, tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"(?s)holds thesis\.tex, which no export writes\nhint: choose another --out"):
        export_hub(make_encoder(), tmp_path, overwrite=True)
    with pytest.raises(InputError, match="is a file; this export is a folder"):
        export_timm(make_encoder(), tmp_path / "thesis.tex", overwrite=True)
    assert names(tmp_path) == {"thesis.tex"}


def test_an_empty_folder_is_as_good_as_none(make_encoder, tmp_path):
    (tmp_path / "out").mkdir()
    export_hub(make_encoder(), tmp_path / "out")
    assert names(tmp_path / "out") == {"README.md", "config.json", "model.safetensors"}


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_write_that_fails_leaves_what_was_there(make_encoder, tmp_path, monkeypatch, error):
    out = tmp_path / "out"
    export_hub(make_encoder(), out)
    before = {path.name: path.read_bytes() for path in out.iterdir()}

    def fail(*_):
        raise error

    monkeypatch.setattr("geopretext.nn.export_files._flush", fail)
    with pytest.raises(type(error)):
        export_timm(make_encoder(patch_size=16), out, overwrite=True)
    assert {path.name: path.read_bytes() for path in out.iterdir()} == before
    assert names(tmp_path) == {"out"}


def test_a_swap_that_is_cut_short_leaves_what_was_there(make_encoder, tmp_path, monkeypatch):
    out = tmp_path / "out"
    export_hub(make_encoder(), out)
    before = (out / "config.json").read_bytes()
    replace = Path.replace

    def cut_short(self, target):
        if self.name == "new":
            raise KeyboardInterrupt
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", cut_short)
    with pytest.raises(KeyboardInterrupt):
        export_timm(make_encoder(patch_size=16), out, overwrite=True)
    assert (out / "config.json").read_bytes() == before
    assert names(tmp_path) == {"out"}


def test_an_export_with_other_features_is_not_left_behind(make_encoder, tmp_path, monkeypatch):
    other = make_encoder(patch_size=8)
    with torch.no_grad():
        other.network.stages[0][0].norm.weight += 0.1
    monkeypatch.setattr(export.Encoder, "from_pretrained", lambda _: other)
    with pytest.raises(BundleError, match=r"(?s)out: the export gives other features.*nothing is left\nhint: "):
        export_hub(make_encoder(), tmp_path / "out")
    assert names(tmp_path) == set()


def test_features_that_are_no_numbers_are_not_the_same():
    with pytest.raises(BundleError, match="largest difference nan"):
        export.compare(torch.tensor([torch.nan]), torch.tensor([0.0]), "out")


def test_an_encoder_in_training_stays_so(make_encoder, tmp_path):
    encoder = make_encoder(drop_path=0.9).train()
    torch.set_float32_matmul_precision("high")
    try:
        export_hub(encoder, tmp_path / "out")
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision("highest")
    assert encoder.training


def test_what_another_program_would_compute_otherwise_is_refused(make_encoder, monkeypatch):
    settings = make_encoder(grn_scope="batch", drop_path=0.5).settings
    check_settings(settings, "timm")
    monkeypatch.setattr(export, "_WRITTEN", ("size", "modality", "bands", "patch_size"))
    check_settings(settings, "timm")
    with pytest.raises(
        BundleError, match=r"(?s)encoder\.stem is 'convnextv2', which an export to timm cannot say\nhint: "
    ):
        check_settings(make_encoder(stem="convnextv2").settings, "timm")
